/* Every rule of the hotel, each in a hotel of its own. */

#include "lib/cmocka_all.h"

#include <stdio.h>

#include "command/command.h"
#include "lib/app_kit.h"

static int setup(void **state)
{
    struct app_kit *kit = app_kit_new(daybook_app);
    *state = kit;
    return 0;
}

static int teardown(void **state)
{
    app_kit_free(*state);
    return 0;
}

/* ---- given, when ---- */

static struct app_kit_answer run(void **state, const char *name, const char *json)
{
    return app_kit_command(*state, name, bytes_from_string(json));
}

static void given(void **state, const char *name, const char *json)
{
    struct app_kit_answer answer = run(state, name, json);
    assert_int_equal(answer.answer, 0);
    assert_int_equal(answer.event_count, 1);
}

static struct app_kit_answer book(void **state, const char *reservation, const char *arrival, int nights)
{
    char json[512];
    snprintf(json, sizeof(json),
             "{\"reservation\":\"%s\",\"hotel\":\"Sea\",\"room_type\":\"A\",\"arrival\":\"%s\",\"nights\":%d,"
             "\"guest\":\"Ana\",\"on\":\"2026-01-01\"}",
             reservation, arrival, nights);
    return run(state, "BookRoom", json);
}

static struct app_kit_answer change(void **state, const char *name, const char *reservation)
{
    char json[256];
    snprintf(json, sizeof(json), "{\"reservation\":\"%s\",\"on\":\"2026-02-03\"}", reservation);
    return run(state, name, json);
}

static void add_rooms(void **state, int rooms)
{
    char json[256];
    snprintf(json, sizeof(json), "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":%d}", rooms);
    given(state, "AddRooms", json);
}

/* ---- then ---- */

static void assert_text(struct bytes text, const char *expected)
{
    char actual[1024];
    snprintf(actual, sizeof(actual), "%.*s", BYTES_PRINT(text));
    assert_string_equal(actual, expected);
}

static void assert_event(void **state, struct app_kit_answer answer, const char *type, const char *data)
{
    assert_int_equal(answer.answer, 0);
    assert_int_equal(answer.event_count, 1);
    const struct app_kit_event *event = app_kit_event_at(*state, answer.event_first);
    assert_text(event->type, type);
    assert_text(event->data, data);
}

static void assert_refused(struct app_kit_answer answer, const char *rule, const char *facts)
{
    assert_int_equal(answer.answer, COMMAND_E_REJECTED);
    assert_int_equal(answer.event_count, 0);
    assert_text(answer.rule, rule);
    assert_text(answer.facts, facts);
    assert_true(answer.sentence.size > 0);
}

/* ---- rooms and bookings ---- */

static void rooms_are_added_to_those_there_are(void **state)
{
    add_rooms(state, 1);
    assert_event(state, run(state, "AddRooms", "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":10000}"),
                 "RoomsAdded", "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":10000}");
    assert_int_equal(book(state, "R-1", "2026-05-01", 1).answer, 0);
    assert_int_equal(book(state, "R-2", "2026-05-01", 1).answer, 0);
}

static void a_booking_names_its_nights_and_both_tags(void **state)
{
    add_rooms(state, 1);
    struct app_kit_answer answer = book(state, "R-1", "2026-02-27", 3);
    assert_event(state, answer, "RoomBooked",
                 "{\"reservation\":\"R-1\",\"hotel\":\"Sea\",\"room_type\":\"A\",\"arrival\":\"2026-02-27\","
                 "\"departure\":\"2026-03-02\",\"nights\":[\"2026-02-27\",\"2026-02-28\",\"2026-03-01\"],"
                 "\"guest\":\"Ana\",\"on\":\"2026-01-01\"}");
    const struct app_kit_event *event = app_kit_event_at(*state, answer.event_first);
    assert_int_equal(event->tag_count, 2);
    assert_text(event->tags[0], "reservation:R-1");
    assert_text(event->tags[1], "rooms:Sea/A");
}

static void a_booking_is_refused_with_the_nights_that_are_full(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-02", 1);
    book(state, "R-2", "2026-05-04", 1);
    assert_refused(book(state, "R-3", "2026-05-01", 5), "no-free-room",
                   "{\"nights\":[\"2026-05-02\",\"2026-05-04\"]}");
    assert_int_equal(book(state, "R-3", "2026-05-03", 1).answer, 0);
}

static void the_day_of_departure_is_free_for_the_next_guest(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-02", 2);
    assert_int_equal(book(state, "R-2", "2026-05-04", 1).answer, 0);
    assert_int_equal(book(state, "R-3", "2026-05-01", 1).answer, 0);
    assert_int_equal(book(state, "R-4", "2026-05-03", 1).answer, COMMAND_E_REJECTED);
}

static void without_rooms_every_night_is_full(void **state)
{
    assert_refused(book(state, "R-1", "2026-05-01", 2), "no-free-room",
                   "{\"nights\":[\"2026-05-01\",\"2026-05-02\"]}");
}

static void a_day_visit_takes_no_night(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-01", 1);
    struct app_kit_answer answer = book(state, "R-2", "2026-05-01", 0);
    assert_event(state, answer, "RoomBooked",
                 "{\"reservation\":\"R-2\",\"hotel\":\"Sea\",\"room_type\":\"A\",\"arrival\":\"2026-05-01\","
                 "\"departure\":\"2026-05-01\",\"nights\":[],\"guest\":\"Ana\",\"on\":\"2026-01-01\"}");
}

static void a_stay_may_last_365_nights(void **state)
{
    add_rooms(state, 1);
    assert_int_equal(book(state, "R-1", "2026-05-01", 365).answer, 0);
    assert_refused(book(state, "R-2", "2027-04-30", 1), "no-free-room", "{\"nights\":[\"2027-04-30\"]}");
    assert_int_equal(book(state, "R-3", "2027-05-01", 1).answer, 0);
}

static void a_reservation_number_is_used_once(void **state)
{
    add_rooms(state, 5);
    book(state, "R-1", "2026-05-01", 1);
    assert_refused(book(state, "R-1", "2026-06-01", 1), "reservation-used", "{}");
    change(state, "CancelReservation", "R-1");
    assert_refused(book(state, "R-1", "2026-06-01", 1), "reservation-used", "{}");
}

static void a_refused_booking_does_not_use_its_number(void **state)
{
    assert_int_equal(book(state, "R-1", "2026-05-01", 1).answer, COMMAND_E_REJECTED);
    add_rooms(state, 1);
    assert_int_equal(book(state, "R-1", "2026-05-01", 1).answer, 0);
}

static void a_stay_cannot_leave_the_calendar(void **state)
{
    add_rooms(state, 1);
    assert_int_equal(book(state, "R-1", "9999-12-30", 1).answer, 0);
    assert_refused(book(state, "R-2", "9999-12-31", 1), "beyond-calendar", "{}");
}

static void hotels_and_types_have_rooms_of_their_own(void **state)
{
    add_rooms(state, 1);
    assert_int_equal(
        run(state, "BookRoom",
            "{\"reservation\":\"R-1\",\"hotel\":\"Sea/A\",\"room_type\":\"A\",\"arrival\":\"2026-05-01\","
            "\"nights\":1,\"guest\":\"Ana\",\"on\":\"2026-01-01\"}")
            .answer,
        COMMAND_E_REJECTED);
    assert_int_equal(
        run(state, "BookRoom",
            "{\"reservation\":\"R-1\",\"hotel\":\"Sea\",\"room_type\":\"B\",\"arrival\":\"2026-05-01\","
            "\"nights\":1,\"guest\":\"Ana\",\"on\":\"2026-01-01\"}")
            .answer,
        COMMAND_E_REJECTED);
}

/* Nights are kept sorted while they are booked out of order: a naive table of days says the same. */
static void nights_booked_in_any_order_are_counted_right(void **state)
{
    enum { DAYS = 40, ROOMS = 3 };
    int booked[DAYS + 8] = {0};
    unsigned seed = 1;
    add_rooms(state, ROOMS);
    for (int i = 0; i < 200; i++) {
        char reservation[16], arrival[16];
        seed = seed * 1103515245u + 12345u;
        int from = (int)(seed >> 16) % DAYS, nights = 1 + (int)(seed >> 8) % 5;
        bool fits = true;
        for (int day = from; day < from + nights; day++)
            fits = fits && booked[day] < ROOMS;
        for (int day = from; day < from + nights && fits; day++)
            booked[day]++;
        snprintf(reservation, sizeof(reservation), "R-%d", i);
        snprintf(arrival, sizeof(arrival), "2026-%02d-%02d", 3 + from / 31, 1 + from % 31);
        assert_int_equal(book(state, reservation, arrival, nights).answer, fits ? 0 : COMMAND_E_REJECTED);
    }
}

/* ---- what becomes of a reservation ---- */

static void cancelling_frees_every_night(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-01", 2);
    assert_event(state, change(state, "CancelReservation", "R-1"), "ReservationCancelled",
                 "{\"reservation\":\"R-1\",\"on\":\"2026-02-03\",\"hotel\":\"Sea\",\"room_type\":\"A\","
                 "\"arrival\":\"2026-05-01\",\"departure\":\"2026-05-03\",\"nights\":[\"2026-05-01\",\"2026-"
                 "05-02\"]}");
    assert_int_equal(book(state, "R-2", "2026-05-01", 2).answer, 0);
}

static void check_out_and_no_show_free_no_night(void **state)
{
    add_rooms(state, 2);
    book(state, "R-1", "2026-05-01", 1);
    book(state, "R-2", "2026-05-01", 1);
    assert_event(state, change(state, "CheckOut", "R-1"), "GuestCheckedOut",
                 "{\"reservation\":\"R-1\",\"on\":\"2026-02-03\"}");
    assert_event(state, change(state, "MarkNoShow", "R-2"), "GuestMissing",
                 "{\"reservation\":\"R-2\",\"on\":\"2026-02-03\"}");
    assert_refused(book(state, "R-3", "2026-05-01", 1), "no-free-room", "{\"nights\":[\"2026-05-01\"]}");
}

static struct app_kit_answer change_on(void **state, const char *name, const char *reservation, const char *day)
{
    char json[128];
    snprintf(json, sizeof(json), "{\"reservation\":\"%s\",\"on\":\"%s\"}", reservation, day);
    return run(state, name, json);
}

static void a_guest_checks_in_and_then_out(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-01", 1);
    assert_event(state, change_on(state, "CheckIn", "R-1", "2026-05-01"), "GuestCheckedIn",
                 "{\"reservation\":\"R-1\",\"on\":\"2026-05-01\"}");
    assert_event(state, change_on(state, "CheckOut", "R-1", "2026-05-02"), "GuestCheckedOut",
                 "{\"reservation\":\"R-1\",\"on\":\"2026-05-02\"}");
}

static void a_guest_checks_in_during_the_stay_and_out_after_that(void **state)
{
    static const char *const facts = "{\"arrival\":\"2026-05-01\",\"departure\":\"2026-05-04\"}";
    add_rooms(state, 3);
    book(state, "R-1", "2026-05-01", 3);
    book(state, "R-2", "2026-05-01", 0);
    assert_refused(change_on(state, "CheckIn", "R-1", "2026-04-30"), "before-arrival", facts);
    assert_refused(change_on(state, "CheckIn", "R-1", "2019-05-01"), "before-arrival", facts);
    assert_refused(change_on(state, "CheckIn", "R-1", "2026-05-04"), "stay-over", facts);
    assert_refused(change_on(state, "CheckIn", "R-1", "2036-05-01"), "stay-over", facts);
    assert_refused(change_on(state, "CheckIn", "R-2", "2026-05-02"), "stay-over",
                   "{\"arrival\":\"2026-05-01\",\"departure\":\"2026-05-01\"}");
    assert_int_equal(change_on(state, "CheckIn", "R-2", "2026-05-01").answer, 0);
    assert_int_equal(change_on(state, "CheckIn", "R-1", "2026-05-03").answer, 0);
    assert_refused(change_on(state, "CheckOut", "R-1", "2026-05-02"), "before-check-in", "{\"status_on\":\"2026-05-03\"}");
}

static void a_guest_who_leaves_early_frees_the_nights_that_are_left(void **state)
{
    add_rooms(state, 1);
    book(state, "R-1", "2026-05-01", 4);
    assert_int_equal(change_on(state, "CheckIn", "R-1", "2026-05-01").answer, 0);
    assert_event(state, change_on(state, "CheckOut", "R-1", "2026-05-03"), "GuestCheckedOut",
                 "{\"reservation\":\"R-1\",\"on\":\"2026-05-03\",\"hotel\":\"Sea\",\"room_type\":\"A\","
                 "\"arrival\":\"2026-05-01\",\"departure\":\"2026-05-05\",\"nights\":[\"2026-05-03\",\"2026-05-04\"]}");
    assert_refused(book(state, "R-2", "2026-05-02", 2), "no-free-room", "{\"nights\":[\"2026-05-02\"]}");
    assert_int_equal(book(state, "R-3", "2026-05-03", 2).answer, 0);
}

static void a_name_is_what_people_can_read(void **state)
{
    static const char *const good[] = {"Ana", "김 하은", "Zoë D'Arcy-Łuk", "محمد علی", "می\u200cخواهم", "山田 太郎", "O", "👩\u200d🍳"};
    static const char *const bad[] = {" ", "   ", " Ana", "Ana ", "Ana  B", "A\u00a0B", "A\u3000B", "\u3164", "\u200d",
                                      "Hotel \u202egnp.exe", "\u2066x\u2069", "x\u200f", "a\u200bb", "\ufeffA", "A\u2028B",
                                      "\u061cA", "\u2800", "A\u00adB"};
    char json[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(json, sizeof(json), "{\"hotel\":\"%s\",\"room_type\":\"A\",\"rooms\":1}", good[i]);
        assert_int_equal(run(state, "AddRooms", json).answer, 0);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(json, sizeof(json), "{\"hotel\":\"Sea\",\"room_type\":\"%s\",\"rooms\":1}", bad[i]);
        assert_refused(run(state, "AddRooms", json), "unreadable-name", "{\"fields\":[\"room_type\"]}");
        snprintf(json, sizeof(json),
                 "{\"reservation\":\"%s\",\"hotel\":\"Sea\",\"room_type\":\"A\",\"arrival\":\"2026-05-01\",\"nights\":1,"
                 "\"guest\":\"%s\",\"on\":\"2026-01-01\"}",
                 bad[i], bad[i]);
        assert_refused(run(state, "BookRoom", json), "unreadable-name", "{\"fields\":[\"reservation\",\"guest\"]}");
    }
}

/* One row a status, one column a command: which rule says no; NULL: allowed. */
static void each_change_is_allowed_from_the_right_status_only(void **state)
{
    static const char *const commands[] = {"CancelReservation", "CheckIn", "CheckOut", "MarkNoShow"};
    static const struct {
        const char *by, *status, *rules[4];
    } rows[] = {
        {NULL, "booked", {NULL, NULL, NULL, NULL}},
        {"CheckIn", "checked_in", {"already-checked-in", "already-checked-in", NULL, "already-checked-in"}},
        {"CheckOut",
         "checked_out",
         {"already-checked-out", "already-checked-out", "already-checked-out", "already-checked-out"}},
        {"CancelReservation",
         "cancelled",
         {"already-cancelled", "already-cancelled", "already-cancelled", "already-cancelled"}},
        {"MarkNoShow",
         "no_show",
         {"already-no-show", "already-no-show", "already-no-show", "already-no-show"}},
    };
    add_rooms(state, 100);
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        for (size_t column = 0; column < 4; column++) {
            char reservation[32], facts[128];
            snprintf(reservation, sizeof(reservation), "R-%zu-%zu", row, column);
            snprintf(facts, sizeof(facts), "{\"reservation_status\":\"%s\",\"status_on\":\"2026-02-03\"}",
                     rows[row].status);
            assert_int_equal(book(state, reservation, "2026-02-03", 1).answer, 0);
            if (rows[row].by)
                assert_int_equal(change(state, rows[row].by, reservation).answer, 0);
            struct app_kit_answer answer = change(state, commands[column], reservation);
            if (rows[row].rules[column])
                assert_refused(answer, rows[row].rules[column], facts);
            else
                assert_int_equal(answer.answer, 0);
        }
    }
}

static void an_unknown_reservation_cannot_change(void **state)
{
    static const char *const commands[] = {"CancelReservation", "CheckIn", "CheckOut", "MarkNoShow"};
    for (size_t i = 0; i < 4; i++)
        assert_refused(change(state, commands[i], "R-1"), "unknown-reservation", "{}");
}

/* ---- fields ---- */

static void fields_have_limits(void **state)
{
    static const struct {
        const char *name, *json, *problem;
    } rows[] = {
        {"AddRooms", "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":0}",
         "/rooms must be an integer from 1 to 10000"},
        {"AddRooms", "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":10001}",
         "/rooms must be an integer from 1 to 10000"},
        {"AddRooms", "{\"hotel\":\"\",\"room_type\":\"A\",\"rooms\":1}", "/hotel must not be empty"},
        {"AddRooms", "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"rooms\":1,\"on\":1}",
         "/on is not a field of AddRooms"},
        {"CheckIn", "{\"reservation\":\"R-1\"}", "/on is required"},
        {"CheckIn", "{\"reservation\":\"R-1\",\"on\":\"2026-02-29\"}",
         "/on must be a date that exists, as \"YYYY-MM-DD\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct app_kit_answer answer = run(state, rows[i].name, rows[i].json);
        assert_int_equal(answer.answer, COMMAND_E_INVALID);
        assert_string_equal(answer.problem, rows[i].problem);
    }
    assert_int_equal(book(state, "R-1", "2026-05-01", 366).answer, COMMAND_E_INVALID);
    assert_int_equal(book(state, "R-1", "2026-05-01", -1).answer, COMMAND_E_INVALID);
}

/* The longest names, every byte of them escaped, still make tags that the journal takes. */
static void the_longest_names_make_valid_tags(void **state)
{
    char slashes[65], json[1024];
    memset(slashes, '/', 64);
    slashes[64] = '\0';
    snprintf(json, sizeof(json), "{\"hotel\":\"%.48s\",\"room_type\":\"%.32s\",\"rooms\":1}", slashes,
             slashes);
    given(state, "AddRooms", json);
    snprintf(json, sizeof(json),
             "{\"reservation\":\"%s\",\"hotel\":\"%.48s\",\"room_type\":\"%.32s\",\"arrival\":\"2026-05-01\","
             "\"nights\":1,\"guest\":\"Ana\",\"on\":\"2026-01-01\"}",
             slashes, slashes, slashes);
    given(state, "BookRoom", json);
    assert_int_equal(change(state, "CancelReservation", slashes).answer, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rooms_are_added_to_those_there_are),
        TEST(a_booking_names_its_nights_and_both_tags),
        TEST(a_booking_is_refused_with_the_nights_that_are_full),
        TEST(the_day_of_departure_is_free_for_the_next_guest),
        TEST(without_rooms_every_night_is_full),
        TEST(a_day_visit_takes_no_night),
        TEST(a_stay_may_last_365_nights),
        TEST(a_reservation_number_is_used_once),
        TEST(a_refused_booking_does_not_use_its_number),
        TEST(a_stay_cannot_leave_the_calendar),
        TEST(hotels_and_types_have_rooms_of_their_own),
        TEST(nights_booked_in_any_order_are_counted_right),
        TEST(cancelling_frees_every_night),
        TEST(check_out_and_no_show_free_no_night),
        TEST(a_guest_checks_in_and_then_out),
        TEST(a_guest_checks_in_during_the_stay_and_out_after_that),
        TEST(a_guest_who_leaves_early_frees_the_nights_that_are_left),
        TEST(a_name_is_what_people_can_read),
        TEST(each_change_is_allowed_from_the_right_status_only),
        TEST(an_unknown_reservation_cannot_change),
        TEST(fields_have_limits),
        TEST(the_longest_names_make_valid_tags),
    };
    return cmocka_run_group_tests_name("hotel", tests, NULL, NULL);
}
