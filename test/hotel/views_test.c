/* The hotel's views and queries over what its own deciders make.
 *
 * Usage: views_test FOLDER: the folder with views/ and queries/. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "command/command.h"
#include "lib/command_kit.h"
#include "lib/view_kit.h"

static const char *folder;

struct hotel {
    struct view_kit views;
    struct command_runtime *runtime;
};

static void take_file(struct view_kit *kit, const char *name)
{
    char path[4096], text[16384];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[size] = '\0';
    view_kit_write(kit, name, text);
}

static int setup(void **state)
{
    struct hotel *hotel = calloc(1, sizeof(*hotel));
    char error[256];
    assert_non_null(hotel);
    view_kit_init(&hotel->views);
    take_file(&hotel->views, "views/availability.sql");
    take_file(&hotel->views, "views/reservations.sql");
    take_file(&hotel->views, "queries/free_rooms.sql");
    take_file(&hotel->views, "queries/occupancy.sql");
    assert_ok(command_runtime_new(hotel->views.journal, daybook_app, NULL, &hotel->runtime, error));
    int r = view_kit_open(&hotel->views);
    if (r != 0)
        print_message("%s\n", hotel->views.error);
    assert_ok(r);
    *state = hotel;
    return 0;
}

static int teardown(void **state)
{
    struct hotel *hotel = *state;
    command_runtime_close(hotel->runtime);
    view_kit_deinit(&hotel->views);
    free(hotel);
    return 0;
}

static void run(struct hotel *hotel, const char *name, const char *json)
{
    struct kit_command command;
    assert_int_equal(kit_command(hotel->runtime, &command, name, json, NULL), 0);
}

static void add_rooms(struct hotel *hotel, const char *hotel_name, const char *type, int rooms)
{
    char json[256];
    snprintf(json, sizeof(json), "{\"hotel\":\"%s\",\"room_type\":\"%s\",\"rooms\":%d}", hotel_name, type,
             rooms);
    run(hotel, "AddRooms", json);
}

static void book(struct hotel *hotel, const char *reservation, const char *type, const char *arrival,
                 int nights)
{
    char json[512];
    snprintf(
        json, sizeof(json),
        "{\"reservation\":\"%s\",\"hotel\":\"Sea\",\"room_type\":\"%s\",\"arrival\":\"%s\",\"nights\":%d,"
        "\"guest\":\"Ana\",\"on\":\"2026-01-01\"}",
        reservation, type, arrival, nights);
    run(hotel, "BookRoom", json);
}

static void change(struct hotel *hotel, const char *name, const char *reservation, const char *on)
{
    char json[256];
    snprintf(json, sizeof(json), "{\"reservation\":\"%s\",\"on\":\"%s\"}", reservation, on);
    run(hotel, name, json);
}

static void expect(struct hotel *hotel, const char *url, const char *body)
{
    view_kit_catch_up(&hotel->views);
    view_kit_expect(&hotel->views, url, body);
}

static void availability_has_a_row_for_each_night_that_is_booked(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "A", 2);
    book(hotel, "R-1", "A", "2026-02-27", 2);
    book(hotel, "R-2", "A", "2026-02-28", 1);
    expect(hotel, "views/availability",
           "[{\"hotel\":\"Sea\",\"room_type\":\"A\",\"night\":\"2026-02-27\",\"rooms\":2,\"booked\":1,"
           "\"free\":1},\n"
           "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"night\":\"2026-02-28\",\"rooms\":2,\"booked\":2,"
           "\"free\":0}]\n");
    add_rooms(hotel, "Sea", "A", 3);
    change(hotel, "CancelReservation", "R-1", "2026-01-02");
    expect(hotel, "views/availability",
           "[{\"hotel\":\"Sea\",\"room_type\":\"A\",\"night\":\"2026-02-28\",\"rooms\":5,\"booked\":1,"
           "\"free\":4}]\n");
}

static void reservations_show_what_became_of_each(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "A", 9);
    for (int i = 1; i <= 5; i++) {
        char reservation[16];
        snprintf(reservation, sizeof(reservation), "R-%d", i);
        book(hotel, reservation, "A", "2026-02-27", i == 1 ? 0 : 1);
    }
    change(hotel, "CheckIn", "R-2", "2026-02-27");
    change(hotel, "CheckOut", "R-3", "2026-02-28");
    change(hotel, "CancelReservation", "R-4", "2026-01-05");
    change(hotel, "MarkNoShow", "R-5", "2026-03-01");
    expect(hotel, "views/reservations?select=reservation,nights,status,status_on",
           "[{\"reservation\":\"R-1\",\"nights\":0,\"status\":\"booked\",\"status_on\":\"2026-01-01\"},\n"
           "{\"reservation\":\"R-2\",\"nights\":1,\"status\":\"checked_in\",\"status_on\":\"2026-02-27\"},\n"
           "{\"reservation\":\"R-3\",\"nights\":1,\"status\":\"checked_out\",\"status_on\":\"2026-02-28\"},\n"
           "{\"reservation\":\"R-4\",\"nights\":1,\"status\":\"cancelled\",\"status_on\":\"2026-01-05\"},\n"
           "{\"reservation\":\"R-5\",\"nights\":1,\"status\":\"no_show\",\"status_on\":\"2026-03-01\"}]\n");
    expect(hotel, "views/reservations?reservation=eq.R-1",
           "[{\"reservation\":\"R-1\",\"hotel\":\"Sea\",\"room_type\":\"A\",\"arrival\":\"2026-02-27\","
           "\"nights\":0,"
           "\"guest\":\"Ana\",\"status\":\"booked\",\"booked_on\":\"2026-01-01\",\"status_on\":\"2026-01-"
           "01\"}]\n");
}

static void free_rooms_shows_nights_never_booked_and_not_the_departure(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "B", 1);
    add_rooms(hotel, "Sea", "A", 2);
    add_rooms(hotel, "Hill", "A", 7);
    book(hotel, "R-1", "A", "2026-03-01", 1);
    expect(hotel, "queries/free_rooms?hotel=Sea&from=2026-02-28&to=2026-03-02",
           "[{\"hotel\":\"Sea\",\"room_type\":\"A\",\"night\":\"2026-02-28\",\"rooms\":2,\"booked\":0,"
           "\"free\":2},\n"
           "{\"hotel\":\"Sea\",\"room_type\":\"A\",\"night\":\"2026-03-01\",\"rooms\":2,\"booked\":1,"
           "\"free\":1},\n"
           "{\"hotel\":\"Sea\",\"room_type\":\"B\",\"night\":\"2026-02-28\",\"rooms\":1,\"booked\":0,"
           "\"free\":1},\n"
           "{\"hotel\":\"Sea\",\"room_type\":\"B\",\"night\":\"2026-03-01\",\"rooms\":1,\"booked\":0,"
           "\"free\":1}]\n");
    expect(hotel, "queries/free_rooms?hotel=Sea&from=2026-03-02&to=2026-03-02", "[]\n");
    expect(hotel, "queries/free_rooms?hotel=Nowhere&from=2026-03-01&to=2026-03-02", "[]\n");
}

static void an_early_check_out_frees_the_nights_that_are_left(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "A", 1);
    book(hotel, "R-1", "A", "2026-03-01", 3);
    change(hotel, "CheckIn", "R-1", "2026-03-01");
    change(hotel, "CheckOut", "R-1", "2026-03-02");
    expect(hotel, "views/availability?select=night,free", "[{\"night\":\"2026-03-01\",\"free\":0}]\n");
}

static void a_query_refuses_days_that_do_not_exist_and_words_it_does_not_know(void **state)
{
    struct hotel *hotel = *state;
    view_kit_catch_up(&hotel->views);
    view_kit_refused(&hotel->views, "queries/free_rooms?hotel=Sea&from=2027-02-29&to=2027-03-01", VIEW_E_PARAMETER,
                     "from is a date that exists");
    view_kit_refused(&hotel->views, "queries/free_rooms?from=x&to=y", VIEW_E_PARAMETER,
                     "from is a date that exists, as YYYY-MM-DD, not 'x'; to is a date that exists, as YYYY-MM-DD, not 'y'; "
                     "query free_rooms needs the parameter hotel");
    view_kit_refused(&hotel->views, "queries/occupancy?hotel=Sea&by=week", VIEW_E_PARAMETER, "by is one of month, not 'week'");
}

static void occupancy_is_the_share_of_all_room_nights_of_a_month(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "A", 2);
    add_rooms(hotel, "Sea", "B", 2);
    book(hotel, "R-1", "A", "2026-02-15", 28);
    expect(hotel, "queries/occupancy?hotel=Sea&by=month",
           "[{\"hotel\":\"Sea\",\"month\":\"2026-02\",\"rooms\":112,\"booked\":14,\"rate\":0.125},\n"
           "{\"hotel\":\"Sea\",\"month\":\"2026-03\",\"rooms\":124,\"booked\":14,\"rate\":0.1129}]\n");
}

static void the_past_is_seen_as_it_was(void **state)
{
    struct hotel *hotel = *state;
    add_rooms(hotel, "Sea", "A", 1);
    book(hotel, "R-1", "A", "2026-02-15", 1);
    change(hotel, "CancelReservation", "R-1", "2026-01-02");
    view_kit_catch_up(&hotel->views);
    view_kit_expect(&hotel->views, "views/availability?select=night,free&as_of=2",
                    "[{\"night\":\"2026-02-15\",\"free\":0}]\n");
    view_kit_expect(&hotel->views, "views/availability?select=night,free&as_of=3", "[]\n");
}

int main(int argc, char **argv)
{
    folder = argc > 1 ? argv[1] : ".";
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(availability_has_a_row_for_each_night_that_is_booked),
        TEST(reservations_show_what_became_of_each),
        TEST(free_rooms_shows_nights_never_booked_and_not_the_departure),
        TEST(an_early_check_out_frees_the_nights_that_are_left),
        TEST(a_query_refuses_days_that_do_not_exist_and_words_it_does_not_know),
        TEST(occupancy_is_the_share_of_all_room_nights_of_a_month),
        TEST(the_past_is_seen_as_it_was),
    };
    return cmocka_run_group_tests_name("views", tests, NULL, NULL);
}
