-- query: free_rooms
-- uses: availability
-- param: hotel text
-- param: from date
-- param: to date
-- One row for each room type and night from `from` on; `to` is a departure date and not among them. Nights that nobody
-- has booked are there too, with every room free. At most ten years.

with recursive nights (night) as (
    select date(:from) where date(:from) < date(:to)
    union all
    select date(night, '+1 day') from nights where date(night, '+1 day') < date(:to)
    limit 3660
)
select t.hotel, t.room_type, n.night, t.rooms, coalesce(a.booked, 0) as booked, t.rooms - coalesce(a.booked, 0) as free
from room_types t
cross join nights n
left join availability a on a.hotel = t.hotel and a.room_type = t.room_type and a.night = n.night
where t.hotel = :hotel
order by t.room_type, n.night;
