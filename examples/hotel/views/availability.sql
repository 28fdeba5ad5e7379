-- view: availability
-- version: 2
-- The rooms of each type on each night that somebody has booked. A night nobody has booked has no row.

create table room_types (
    hotel text not null,
    room_type text not null,
    rooms integer not null,
    primary key (hotel, room_type)
) without rowid;

create table availability (
    hotel text not null,
    room_type text not null,
    night text not null,        -- YYYY-MM-DD
    rooms integer not null,
    booked integer not null,
    free integer not null,
    primary key (hotel, room_type, night)
) without rowid;

-- on RoomsAdded
insert into room_types (hotel, room_type, rooms)
values (:data ->> 'hotel', :data ->> 'room_type', :data ->> 'rooms')
on conflict do update set rooms = rooms + excluded.rooms;

update availability
set rooms = rooms + (:data ->> 'rooms'), free = free + (:data ->> 'rooms')
where hotel = :data ->> 'hotel' and room_type = :data ->> 'room_type';

-- on RoomBooked
insert into availability (hotel, room_type, night, rooms, booked, free)
select t.hotel, t.room_type, n.value, t.rooms, 1, t.rooms - 1
from room_types t join json_each(:data ->> 'nights') n
where t.hotel = :data ->> 'hotel' and t.room_type = :data ->> 'room_type'
on conflict do update set booked = booked + 1, free = free - 1;

-- on ReservationCancelled, GuestCheckedOut
update availability
set booked = booked - 1, free = free + 1
where hotel = :data ->> 'hotel' and room_type = :data ->> 'room_type'
  and night in (select value from json_each(:data ->> 'nights'));

delete from availability
where hotel = :data ->> 'hotel' and room_type = :data ->> 'room_type' and booked = 0
  and night in (select value from json_each(:data ->> 'nights'));
