/* The hotel's commands: their fields, what each decision depends on, and every rule.
 *
 * A rule is a name for programs and a sentence for people; its facts say what it was decided on. */

#include "hotel.h"
#include "names.h"
#include "reservation.h"
#include "rooms.h"

enum { ROOMS_MAX = 10000, NIGHTS_MAX = 365 };

/* 9999-12-31, the last day a date can say. */
#define DAY_MAX INT64_C(2932896)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- tags, as every command and event spells them ---- */

static void want_reservation(struct daybook_tags *tags, struct daybook_text number)
{
    host->tag(tags, "reservation", &number, 1);
}

static void want_rooms(struct daybook_tags *tags, struct daybook_text hotel, struct daybook_text room_type)
{
    host->tag(tags, "rooms", (const struct daybook_text[]){hotel, room_type}, 2);
}

static void tag_reservation(struct daybook_out *out, struct daybook_text number)
{
    host->event_tag(out, "reservation", &number, 1);
}

static void tag_rooms(struct daybook_out *out, struct daybook_text hotel, struct daybook_text room_type)
{
    host->event_tag(out, "rooms", (const struct daybook_text[]){hotel, room_type}, 2);
}

/* The nights of a stay: every one from the arrival on, the day of departure not among them. */
static void put_nights(struct daybook_out *out, int64_t arrival, int64_t departure)
{
    host->open_array(out, "nights");
    for (int64_t day = arrival; day < departure; day++)
        host->put_date(out, NULL, day);
    host->close(out);
}

/* Refuse the command when a text field of it is no name, and say which are not. */
static bool refuse_names(const struct daybook_field *fields, const struct daybook_value *values, size_t count,
                         struct daybook_out *out)
{
    bool good = true;
    for (size_t i = 0; i < count; i++)
        good &= fields[i].type != DAYBOOK_TYPE_TEXT || name_is_good(values[i].text);
    if (good)
        return false;
    host->refuse(out, "unreadable-name",
                 "A name is words that can be seen, one blank apart, without control or direction characters.");
    host->open_array(out, "fields");
    for (size_t i = 0; i < count; i++)
        if (fields[i].type == DAYBOOK_TYPE_TEXT && !name_is_good(values[i].text))
            host->put_text(out, NULL, (struct daybook_text){fields[i].name, strlen(fields[i].name)});
    host->close(out);
    return true;
}

/* ---- AddRooms ---- */

enum { ADD_HOTEL, ADD_ROOM_TYPE, ADD_ROOMS };

static const struct daybook_field add_rooms_fields[] = {
    [ADD_HOTEL] = {"hotel", DAYBOOK_TYPE_TEXT, 1, HOTEL_SIZE_MAX, "the hotel's name"},
    [ADD_ROOM_TYPE] = {"room_type", DAYBOOK_TYPE_TEXT, 1, ROOM_TYPE_SIZE_MAX, "the kind of room"},
    [ADD_ROOMS] = {"rooms", DAYBOOK_TYPE_INTEGER, 1, ROOMS_MAX, "how many rooms are new"},
};

static void add_rooms_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    want_rooms(tags, values[ADD_HOTEL].text, values[ADD_ROOM_TYPE].text);
}

static void add_rooms_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                             struct daybook_out *out)
{
    if (refuse_names(add_rooms_fields, values, COUNT(add_rooms_fields), out))
        return;
    host->event(out, "RoomsAdded", (struct daybook_text){0});
    tag_rooms(out, values[ADD_HOTEL].text, values[ADD_ROOM_TYPE].text);
    host->put_text(out, "hotel", values[ADD_HOTEL].text);
    host->put_text(out, "room_type", values[ADD_ROOM_TYPE].text);
    host->put_integer(out, "rooms", values[ADD_ROOMS].integer);
}

/* ---- BookRoom ---- */

enum { BOOK_RESERVATION, BOOK_HOTEL, BOOK_ROOM_TYPE, BOOK_ARRIVAL, BOOK_NIGHTS, BOOK_GUEST, BOOK_ON };

static const struct daybook_field book_room_fields[] = {
    [BOOK_RESERVATION] = {"reservation", DAYBOOK_TYPE_TEXT, 1, RESERVATION_SIZE_MAX,
                          "a number nobody has used"},
    [BOOK_HOTEL] = {"hotel", DAYBOOK_TYPE_TEXT, 1, HOTEL_SIZE_MAX, "the hotel's name"},
    [BOOK_ROOM_TYPE] = {"room_type", DAYBOOK_TYPE_TEXT, 1, ROOM_TYPE_SIZE_MAX, "the kind of room"},
    [BOOK_ARRIVAL] = {"arrival", DAYBOOK_TYPE_DATE, 0, 0, "the first night"},
    [BOOK_NIGHTS] = {"nights", DAYBOOK_TYPE_INTEGER, 0, NIGHTS_MAX, "how many nights; 0 is a day visit"},
    [BOOK_GUEST] = {"guest", DAYBOOK_TYPE_TEXT, 1, GUEST_SIZE_MAX, "the guest's name"},
    [BOOK_ON] = {"on", DAYBOOK_TYPE_DATE, 0, 0, "the day of the booking"},
};

static void book_room_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    want_reservation(tags, values[BOOK_RESERVATION].text);
    want_rooms(tags, values[BOOK_HOTEL].text, values[BOOK_ROOM_TYPE].text);
}

static bool all_nights_free(const struct rooms *rooms, int64_t arrival, int64_t departure)
{
    for (int64_t day = arrival; day < departure; day++)
        if (rooms_booked(rooms, day) >= rooms->rooms)
            return false;
    return true;
}

static void refuse_full(const struct rooms *rooms, int64_t arrival, int64_t departure,
                        struct daybook_out *out)
{
    host->refuse(out, "no-free-room", "There is no free room of this type on every night.");
    host->open_array(out, "nights");
    for (int64_t day = arrival; day < departure; day++)
        if (rooms_booked(rooms, day) >= rooms->rooms)
            host->put_date(out, NULL, day);
    host->close(out);
}

static void book_room_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                             struct daybook_out *out)
{
    const struct reservation *reservation = states[0]->data;
    const struct rooms *rooms = states[1]->data;
    const int64_t arrival = values[BOOK_ARRIVAL].integer;
    const int64_t departure = arrival + values[BOOK_NIGHTS].integer;

    if (refuse_names(book_room_fields, values, COUNT(book_room_fields), out))
        return;
    if (reservation->status != RESERVATION_UNKNOWN) {
        host->refuse(out, "reservation-used", "This reservation number has been used before.");
    } else if (departure > DAY_MAX) {
        host->refuse(out, "beyond-calendar", "The stay ends after the last day of the calendar.");
    } else if (!all_nights_free(rooms, arrival, departure)) {
        refuse_full(rooms, arrival, departure, out);
    } else {
        host->event(out, "RoomBooked", (struct daybook_text){0});
        tag_reservation(out, values[BOOK_RESERVATION].text);
        tag_rooms(out, values[BOOK_HOTEL].text, values[BOOK_ROOM_TYPE].text);
        host->put_text(out, "reservation", values[BOOK_RESERVATION].text);
        host->put_text(out, "hotel", values[BOOK_HOTEL].text);
        host->put_text(out, "room_type", values[BOOK_ROOM_TYPE].text);
        host->put_date(out, "arrival", arrival);
        host->put_date(out, "departure", departure);
        put_nights(out, arrival, departure);
        host->put_text(out, "guest", values[BOOK_GUEST].text);
        host->put_date(out, "on", values[BOOK_ON].integer);
    }
}

/* ---- what becomes of a reservation: four commands of the same shape ---- */

enum { CHANGE_RESERVATION, CHANGE_ON };

static const struct daybook_field change_fields[] = {
    [CHANGE_RESERVATION] = {"reservation", DAYBOOK_TYPE_TEXT, 1, RESERVATION_SIZE_MAX,
                            "the reservation's number"},
    [CHANGE_ON] = {"on", DAYBOOK_TYPE_DATE, 0, 0, "the day it happens"},
};

static void change_tags(const struct daybook_value *values, struct daybook_tags *tags)
{
    want_reservation(tags, values[CHANGE_RESERVATION].text);
}

/* Why a reservation in this status cannot go on. */
static const struct refusal {
    const char *rule, *sentence, *status;
} refusals[RESERVATION_STATUS_COUNT] = {
    [RESERVATION_UNKNOWN] = {"unknown-reservation", "There is no reservation with this number.", NULL},
    [RESERVATION_BOOKED] = {"not-checked-in", "The guest has not checked in.", "booked"},
    [RESERVATION_CHECKED_IN] = {"already-checked-in", "The guest has checked in.", "checked_in"},
    [RESERVATION_CHECKED_OUT] = {"already-checked-out", "The guest has checked out.", "checked_out"},
    [RESERVATION_CANCELLED] = {"already-cancelled", "The reservation has been cancelled.", "cancelled"},
    [RESERVATION_NO_SHOW] = {"already-no-show", "The guest did not come.", "no_show"},
};

static void refuse_status(const struct reservation *reservation, struct daybook_out *out)
{
    const struct refusal *refusal = &refusals[reservation->status];
    host->refuse(out, refusal->rule, refusal->sentence);
    if (!refusal->status)
        return;
    host->put_text(out, "reservation_status",
                   (struct daybook_text){refusal->status, strlen(refusal->status)});
    host->put_date(out, "status_on", reservation->status_on);
}

/* Begin the event of a change that the rules allow. */
static void change(struct daybook_out *out, const char *type, const struct daybook_value *values)
{
    host->event(out, type, (struct daybook_text){0});
    tag_reservation(out, values[CHANGE_RESERVATION].text);
    host->put_text(out, "reservation", values[CHANGE_RESERVATION].text);
    host->put_date(out, "on", values[CHANGE_ON].integer);
}

/* The nights from `first` on become free again, so the rooms' tag is on the event. */
static void free_nights(struct daybook_out *out, const struct reservation *reservation, int64_t first)
{
    const struct daybook_text hotel = {reservation->hotel, reservation->hotel_size};
    const struct daybook_text room_type = {reservation->room_type, reservation->room_type_size};
    tag_rooms(out, hotel, room_type);
    host->put_text(out, "hotel", hotel);
    host->put_text(out, "room_type", room_type);
    host->put_date(out, "arrival", reservation->arrival);
    host->put_date(out, "departure", reservation->departure);
    put_nights(out, first, reservation->departure);
}

/* Only what is still booked can be cancelled. */
static void cancel_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                          struct daybook_out *out)
{
    const struct reservation *reservation = states[0]->data;
    if (reservation->status != RESERVATION_BOOKED) {
        refuse_status(reservation, out);
        return;
    }
    change(out, "ReservationCancelled", values);
    free_nights(out, reservation, reservation->arrival);
}

static void refuse_day(const struct reservation *reservation, const char *rule, const char *sentence,
                       struct daybook_out *out)
{
    host->refuse(out, rule, sentence);
    host->put_date(out, "arrival", reservation->arrival);
    host->put_date(out, "departure", reservation->departure);
}

/* A guest checks in from the day of arrival on, for a night of the stay: before the day of departure, or on that of a day visit. */
static void check_in_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                            struct daybook_out *out)
{
    const struct reservation *reservation = states[0]->data;
    int64_t on = values[CHANGE_ON].integer;
    if (reservation->status != RESERVATION_BOOKED)
        refuse_status(reservation, out);
    else if (on < reservation->arrival)
        refuse_day(reservation, "before-arrival", "The stay has not begun.", out);
    else if (on > reservation->arrival && on >= reservation->departure)
        refuse_day(reservation, "stay-over", "The stay is over.", out);
    else
        change(out, "GuestCheckedIn", values);
}

/* Who checked in and leaves early frees the nights that are left. Who never checked in has them: what is known is when
 * the stay was closed, not that the room was empty. */
static void check_out_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                             struct daybook_out *out)
{
    const struct reservation *reservation = states[0]->data;
    int64_t on = values[CHANGE_ON].integer;
    bool came = reservation->status == RESERVATION_CHECKED_IN;
    if (!came && reservation->status != RESERVATION_BOOKED) {
        refuse_status(reservation, out);
    } else if (came && on < reservation->status_on) {
        host->refuse(out, "before-check-in", "The guest checked in later than that.");
        host->put_date(out, "status_on", reservation->status_on);
    } else {
        change(out, "GuestCheckedOut", values);
        if (came && on < reservation->departure)
            free_nights(out, reservation, on);
    }
}

static void no_show_decide(const struct daybook_state *const states[], const struct daybook_value *values,
                           struct daybook_out *out)
{
    const struct reservation *reservation = states[0]->data;
    if (reservation->status == RESERVATION_BOOKED)
        change(out, "GuestMissing", values);
    else
        refuse_status(reservation, out);
}

/* ---- the table ---- */

#define FIELDS(array) .fields = (array), .field_count = COUNT(array)

const struct daybook_command hotel_commands[] = {
    {.name = "AddRooms",
     .title = "Add rooms of a type to a hotel",
     FIELDS(add_rooms_fields),
     .tags = add_rooms_tags,
     .decide = add_rooms_decide},
    {.name = "BookRoom",
     .title = "Book a room for every night of a stay",
     FIELDS(book_room_fields),
     .tags = book_room_tags,
     .decide = book_room_decide},
    {.name = "CancelReservation",
     .title = "Cancel a reservation and free its nights",
     FIELDS(change_fields),
     .tags = change_tags,
     .decide = cancel_decide},
    {.name = "CheckIn",
     .title = "The guest has arrived",
     FIELDS(change_fields),
     .tags = change_tags,
     .decide = check_in_decide},
    {.name = "CheckOut",
     .title = "The guest has left",
     FIELDS(change_fields),
     .tags = change_tags,
     .decide = check_out_decide},
    {.name = "MarkNoShow",
     .title = "The guest did not come",
     FIELDS(change_fields),
     .tags = change_tags,
     .decide = no_show_decide},
};
const size_t hotel_command_count = COUNT(hotel_commands);
