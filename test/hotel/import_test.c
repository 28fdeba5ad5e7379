/* The real bookings, in process: import-bookings makes the commands, the runtime decides them one after another, and the
 * totals must be those of the data set's own README. The journal is then read back and counted by hand.
 *
 * Usage: import_test IMPORT-BOOKINGS FOLDER; without the data set in FOLDER every test says so and is skipped. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "command/command.h"
#include "lib/command_kit.h"
#include "lib/journal_kit.h"

enum {
    ACCEPTED = 19812,
    REFUSED = 186,
    CANCELLED = 6096,
    CHECKED_OUT = 3650,
    NO_SHOWS = 160,
    ROOM_NIGHTS = 17861,
    PAIRS = 2085,
    ROOM_TYPES = 9,
    LINE_COUNT_MAX = 20100,
};

static const char *program, *folder;

struct hotel {
    struct memory_store *store;
    struct journal *journal;
    struct command_runtime *runtime;
    int accepted, refused, replayed, other;
    char refusals[LINE_COUNT_MAX]; /* by line: refused the first time */
};

static void hotel_open(struct hotel *hotel)
{
    char error[256] = "";
    hotel->journal = kit_open(hotel->store, false);
    assert_ok(command_runtime_new(hotel->journal, daybook_app, NULL, &hotel->runtime, error));
}

static void hotel_close(struct hotel *hotel)
{
    command_runtime_close(hotel->runtime);
    journal_close(hotel->journal);
}

/* One line of the import: {"command":NAME,"key":KEY,"data":{…}}. */
static void run_line(struct hotel *hotel, struct bytes line, size_t index)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(freep) char *name = NULL, *key = NULL, *data = NULL;
    struct kit_command command;
    assert_ok(json_parse(line, &doc, NULL));
    assert_ok(json_string_dup(json_get(json_root(&doc), "command"), &name));
    assert_ok(json_string_dup(json_get(json_root(&doc), "key"), &key));
    data = bytes_dup_string(json_raw(json_get(json_root(&doc), "data")));

    int answer = kit_command(hotel->runtime, &command, name, data, key);
    if (strcmp(name, "AddRooms") == 0) {
        assert_int_equal(answer, 0);
        return;
    }
    hotel->accepted += answer == 0;
    hotel->refused += answer == COMMAND_E_REJECTED;
    hotel->refusals[index] = answer == COMMAND_E_REJECTED;
    hotel->replayed += command.replayed;
    hotel->other += answer != 0 && answer != COMMAND_E_REJECTED;
}

static void import_all(struct hotel *hotel)
{
    char shell[4096];
    _cleanup_(freep) char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    hotel->accepted = hotel->refused = hotel->replayed = hotel->other = 0;
    snprintf(shell, sizeof(shell), "'%s' '%s/hotel_bookings.csv' '%s/hotel_rooms.csv'", program, folder,
             folder);
    FILE *lines = popen(shell, "r");
    assert_non_null(lines);
    for (size_t i = 0; (size = getline(&line, &capacity, lines)) > 0; i++) {
        assert_true(i < LINE_COUNT_MAX);
        if (!hotel->refusals[i])
            run_line(hotel, bytes_make(line, (size_t)size), i);
    }
    assert_int_equal(pclose(lines), 0);
}

/* ---- counting by hand ---- */

/* Rooms taken by type and night; types are single letters, nights days since 1970. */
struct count {
    int cancelled, checked_out, no_shows, booked, rooms;
    int taken[26][40000];
};

static void count_nights(struct count *count, struct json_value data, int by)
{
    struct bytes type;
    assert_true(json_string_plain(json_get(data, "room_type"), &type));
    struct json_cursor cursor = json_walk(json_get(data, "nights"));
    while (json_next(&cursor)) {
        int year, month, day;
        struct bytes night;
        assert_true(json_string_plain(cursor.value, &night));
        assert_int_equal(sscanf((const char *)night.data, "%4d-%2d-%2d", &year, &month, &day), 3);
        count->taken[type.data[0] - 'A'][(year - 2000) * 400 + month * 32 + day] += by;
    }
}

static void count_event(struct count *count, const struct journal_event *event)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    assert_ok(json_parse(event->data, &doc, NULL));
    struct json_value data = json_root(&doc);
    count->rooms += bytes_equal_string(event->type, "RoomsAdded");
    count->checked_out += bytes_equal_string(event->type, "GuestCheckedOut");
    count->no_shows += bytes_equal_string(event->type, "GuestMissing");
    if (bytes_equal_string(event->type, "RoomBooked")) {
        count->booked++;
        count_nights(count, data, 1);
    } else if (bytes_equal_string(event->type, "ReservationCancelled")) {
        count->cancelled++;
        count_nights(count, data, -1);
    }
}

static void assert_totals(struct hotel *hotel)
{
    struct count *count = calloc(1, sizeof(*count));
    struct journal_event event;
    int nights = 0, pairs = 0;
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    assert_ok(journal_reader_new(hotel->journal, &(struct journal_read){0}, &reader));
    while (journal_reader_next(reader, &event) == 0)
        count_event(count, &event);
    for (int *at = &count->taken[0][0], *end = at + sizeof(count->taken) / sizeof(int); at < end; at++) {
        assert_true(*at >= 0);
        nights += *at;
        pairs += *at > 0;
    }
    assert_int_equal(count->rooms, ROOM_TYPES);
    assert_int_equal(count->cancelled, CANCELLED);
    assert_int_equal(count->checked_out, CHECKED_OUT);
    assert_int_equal(count->no_shows, NO_SHOWS);
    assert_int_equal(nights, ROOM_NIGHTS);
    assert_int_equal(pairs, PAIRS);
    assert_int_equal(journal_head(hotel->journal), ACCEPTED + ROOM_TYPES);
    free(count);
}

static bool have_data(void)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/hotel_bookings.csv", folder);
    if (access(path, R_OK) == 0)
        return true;
    print_message("# %s is not there: set DAYBOOK_SHARED\n", path);
    return false;
}

static void real_bookings_end_in_the_known_totals(void **state)
{
    if (!have_data())
        skip();
    static struct hotel hotel;
    hotel = (struct hotel){.store = memory_store_new()};
    hotel_open(&hotel);
    import_all(&hotel);
    assert_int_equal(hotel.accepted, ACCEPTED);
    assert_int_equal(hotel.refused, REFUSED);
    assert_int_equal(hotel.replayed, 0);
    assert_int_equal(hotel.other, 0);
    assert_totals(&hotel);

    /* All that was accepted once more, after a restart: known by its key, nothing is decided twice. What was refused is
     * left out: it would be decided anew, and since then others have cancelled. */
    hotel_close(&hotel);
    hotel_open(&hotel);
    import_all(&hotel);
    assert_int_equal(hotel.accepted, ACCEPTED);
    assert_int_equal(hotel.replayed, ACCEPTED);
    assert_int_equal(hotel.refused, 0);
    assert_totals(&hotel);
    hotel_close(&hotel);
    memory_store_free(hotel.store);
}

int main(int argc, char **argv)
{
    const char *shared = getenv("DAYBOOK_SHARED");
    char data[4096];
    program = argc > 1 ? argv[1] : "import-bookings";
    snprintf(data, sizeof(data), "%s/data", shared && *shared ? shared : argc > 2 ? argv[2] : "../shared");
    folder = data;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_bookings_end_in_the_known_totals),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
