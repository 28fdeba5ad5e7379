#include <string.h>

#include "hotel.h"
#include "reservation.h"

/* Copy a member's text into the state. What does not fit was not written by this application and is left out. */
static uint32_t take_text(const struct daybook_event *event, const char *name, char *to, size_t size_max)
{
    struct daybook_text text;
    if (!host->get_text(event, name, &text) || text.size > size_max)
        return 0;
    memcpy(to, text.data, text.size);
    return (uint32_t)text.size;
}

static void book(struct reservation *reservation, const struct daybook_event *event)
{
    reservation->hotel_size = take_text(event, "hotel", reservation->hotel, sizeof(reservation->hotel));
    reservation->room_type_size =
        take_text(event, "room_type", reservation->room_type, sizeof(reservation->room_type));
    host->get_date(event, "arrival", &reservation->arrival);
    host->get_date(event, "departure", &reservation->departure);
}

void reservation_evolve(struct daybook_state *state, const struct daybook_event *event)
{
    static const struct {
        const char *type;
        enum reservation_status status;
    } changes[] = {
        {"RoomBooked", RESERVATION_BOOKED},         {"ReservationCancelled", RESERVATION_CANCELLED},
        {"GuestCheckedIn", RESERVATION_CHECKED_IN}, {"GuestCheckedOut", RESERVATION_CHECKED_OUT},
        {"GuestMissing", RESERVATION_NO_SHOW},
    };
    struct reservation *reservation = state->data;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        if (!is(event, changes[i].type))
            continue;
        reservation->status = changes[i].status;
        host->get_date(event, "on", &reservation->status_on);
        if (changes[i].status == RESERVATION_BOOKED)
            book(reservation, event);
    }
}
