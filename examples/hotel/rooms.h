/* rooms: the state of the tag rooms:HOTEL/TYPE: how many rooms there are, and how many are booked on each night.
 *
 * A state is flat bytes (daybook/app.h A2): a head, then the nights that were ever booked, sorted by date. Most nights
 * of the calendar never are, so a sorted list is smaller than a table of days, and a booking far in the future costs no
 * more than one for tomorrow.
 */
#pragma once

#include <daybook/app.h>

struct rooms_night {
    int32_t day;     /* days since 1970-01-01 */
    uint32_t booked; /* rooms */
};

struct rooms {
    uint64_t rooms;
    uint64_t night_count;
    struct rooms_night nights[];
};

/* Rooms booked on a night. */
uint32_t rooms_booked(const struct rooms *rooms, int64_t day);

/* daybook_kind.evolve */
void rooms_evolve(struct daybook_state *state, const struct daybook_event *event);
