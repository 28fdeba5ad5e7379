#include <string.h>

#include "hotel.h"
#include "rooms.h"

/* Index of the first night that is not before `day`. */
static uint64_t night_index(const struct rooms *rooms, int64_t day)
{
    uint64_t low = 0, high = rooms->night_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (rooms->nights[middle].day < day)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t rooms_booked(const struct rooms *rooms, int64_t day)
{
    uint64_t index = night_index(rooms, day);
    return index < rooms->night_count && rooms->nights[index].day == day ? rooms->nights[index].booked : 0;
}

/* The night's entry, put in where it is missing; NULL when the state cannot grow. */
static struct rooms_night *night_take(struct daybook_state *state, int64_t day)
{
    struct rooms *rooms = state->data;
    uint64_t index = night_index(rooms, day);
    if (index < rooms->night_count && rooms->nights[index].day == day)
        return &rooms->nights[index];

    /* Grow by doubling, so that a busy hotel does not move its state with each new night. */
    size_t needed = sizeof(*rooms) + (size_t)(rooms->night_count + 1) * sizeof(rooms->nights[0]);
    if (needed > state->size)
        rooms = host->grow(state, needed > state->size * 2 ? needed : state->size * 2);
    if (!rooms)
        return NULL;
    struct rooms_night *night = &rooms->nights[index];
    memmove(night + 1, night, (size_t)(rooms->night_count - index) * sizeof(*night));
    *night = (struct rooms_night){.day = (int32_t)day};
    rooms->night_count++;
    return night;
}

/* Take (by = 1) or free (by = -1) a room on every night of the event's stay, from the day that `first` names on. */
static void book_nights(struct daybook_state *state, const struct daybook_event *event, const char *first, int by)
{
    int64_t day, departure;
    if (!host->get_date(event, first, &day) || !host->get_date(event, "departure", &departure))
        return;
    for (; day < departure; day++) {
        struct rooms_night *night = night_take(state, day);
        if (!night)
            return; /* daybook knows that the state could not grow and gives the command up */
        night->booked += (uint32_t)by;
    }
}

void rooms_evolve(struct daybook_state *state, const struct daybook_event *event)
{
    struct rooms *rooms = state->data;
    int64_t added;

    if (is(event, "RoomsAdded") && host->get_integer(event, "rooms", &added))
        rooms->rooms += (uint64_t)added;
    else if (is(event, "RoomBooked"))
        book_nights(state, event, "arrival", 1);
    else if (is(event, "ReservationCancelled"))
        book_nights(state, event, "arrival", -1);
    else if (is(event, "GuestCheckedOut")) /* with a departure when nights are left */
        book_nights(state, event, "on", -1);
}
