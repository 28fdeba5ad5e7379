-- view: reservations
-- version: 1
-- Every reservation and what became of it.

create table reservations (
    reservation text primary key,
    hotel text not null,
    room_type text not null,
    arrival text not null,      -- YYYY-MM-DD, as all dates
    nights integer not null,    -- 0: a day visit
    guest text not null,
    status text not null,       -- booked, checked_in, checked_out, cancelled, no_show
    booked_on text not null,
    status_on text not null
) without rowid;

create index reservations_by_arrival on reservations (hotel, arrival);
create index reservations_by_status on reservations (status, arrival);

-- on RoomBooked
insert into reservations (reservation, hotel, room_type, arrival, nights, guest, status, booked_on, status_on)
values (:data ->> 'reservation', :data ->> 'hotel', :data ->> 'room_type', :data ->> 'arrival',
        json_array_length(:data, '$.nights'), :data ->> 'guest', 'booked', :data ->> 'on', :data ->> 'on');

-- on ReservationCancelled, GuestCheckedIn, GuestCheckedOut, GuestMissing
update reservations
set status = case :type when 'ReservationCancelled' then 'cancelled'
                        when 'GuestCheckedIn' then 'checked_in'
                        when 'GuestCheckedOut' then 'checked_out'
                        else 'no_show' end,
    status_on = :data ->> 'on'
where reservation = :data ->> 'reservation';
