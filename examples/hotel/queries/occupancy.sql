-- query: occupancy
-- uses: availability
-- param: hotel text
-- param: by (month) = month
-- How full the hotel is: the room-nights there are in each month somebody has booked, those taken, and their share.

with
capacity as (
    select sum(rooms) as rooms from room_types where hotel = :hotel
),
taken as (
    select substr(night, 1, 7) as month, sum(booked) as booked
    from availability
    where hotel = :hotel and :by = 'month' -- the only one there is so far
    group by substr(night, 1, 7)
),
months as (
    select month, booked,
           cast(julianday(month || '-01', '+1 month') - julianday(month || '-01') as integer) * rooms as rooms
    from taken, capacity
)
select :hotel as hotel, month, rooms, booked, round(1.0 * booked / rooms, 4) as rate
from months
order by month;
