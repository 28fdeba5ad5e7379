/* reservation: the state of the tag reservation:NUMBER: what was booked, and what became of it. */
#pragma once

#include <daybook/app.h>

enum { HOTEL_SIZE_MAX = 48, ROOM_TYPE_SIZE_MAX = 32, RESERVATION_SIZE_MAX = 64, GUEST_SIZE_MAX = 200 };

enum reservation_status {
    RESERVATION_UNKNOWN, /* zeroes: nobody has used this number */
    RESERVATION_BOOKED,
    RESERVATION_CHECKED_IN,
    RESERVATION_CHECKED_OUT,
    RESERVATION_CANCELLED,
    RESERVATION_NO_SHOW,
    RESERVATION_STATUS_COUNT,
};

struct reservation {
    int64_t status;    /* enum reservation_status */
    int64_t status_on; /* days since 1970-01-01 */
    int64_t arrival, departure;
    uint32_t hotel_size, room_type_size;
    char hotel[HOTEL_SIZE_MAX];
    char room_type[ROOM_TYPE_SIZE_MAX];
};

/* daybook_kind.evolve */
void reservation_evolve(struct daybook_state *state, const struct daybook_event *event);
