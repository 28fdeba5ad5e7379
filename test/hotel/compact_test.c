/* The hotel with and without a memory: a random year of bookings is decided alike, event for event and rule for rule,
 * whether what is over was compacted and scavenged on the way or not. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "command/command.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "lib/command_kit.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"

enum { COMMANDS = 600, RESERVATIONS = 60 };

struct hotel {
    struct memory_store *store;
    struct journal *journal;
    struct command_runtime *runtime;
};

static void hotel_open(struct hotel *hotel)
{
    char error[256] = "";
    hotel->journal = kit_open(hotel->store, true);
    assert_ok(command_runtime_new(hotel->journal, daybook_app, NULL, &hotel->runtime, error));
}

static void hotel_close(struct hotel *hotel)
{
    command_runtime_close(hotel->runtime);
    journal_close(hotel->journal);
}

/* ---- forgetting ---- */

static void keep_everything_for_a_second(struct hotel *hotel)
{
    struct retention_rule rule = {.prefix = true, .max_age_s = 1};
    struct journal_event_new event;
    struct buffer data = {0};
    assert_ok(retention_event(&rule, false, &data, &event));
    struct journal_append append = {.events = &event, .event_count = 1};
    assert_ok(journal_append_wait(hotel->journal, &append, NULL));
    buffer_deinit(&data);
}

/* The server's rule, by hand: compact each tag that is still needed, once, and let the event go. */
struct forgetting {
    struct hotel *hotel;
    uint64_t head;
};

static const char *forget(void *user, const struct journal_event *event)
{
    const struct forgetting *forgetting = user;
    struct command_compacted compacted;
    for (size_t i = 0; i < event->tag_count; i++)
        if (command_kind_of(forgetting->hotel->runtime, event->tags[i]))
            assert_ok(command_compact(forgetting->hotel->runtime, event->tags[i], (struct bytes){0}, &compacted));
    return event->position + 40 > forgetting->head && dice(2) == 0 ? "luck" : NULL;
}

static uint64_t scavenge(struct hotel *hotel)
{
    struct forgetting forgetting = {hotel, journal_head(hotel->journal)};
    struct scavenge_report report;
    char error[256];
    assert_ok(journal_scavenge(
        hotel->journal,
        &(struct scavenge_options){.keep = forget, .user = &forgetting, .now_us = INT64_C(9000000000000000)},
        &report, error));
    return report.gone;
}

/* ---- a year ---- */

static const char *random_command(char json[256])
{
    static const char *const changes[] = {"CancelReservation", "CheckIn", "CheckOut", "MarkNoShow"};
    unsigned reservation = dice(RESERVATIONS), month = 1 + dice(3), day = 1 + dice(28);
    const char *hotel = dice(2) ? "City" : "Resort", *type = dice(2) ? "A" : "B";
    switch (dice(6)) {
    case 0:
        snprintf(json, 256, "{\"hotel\":\"%s\",\"room_type\":\"%s\",\"rooms\":1}", hotel, type);
        return "AddRooms";
    case 1:
    case 2:
        snprintf(json, 256, "{\"reservation\":\"R-%u\",\"on\":\"2026-%02u-%02u\"}", reservation, month, day);
        return changes[dice(4)];
    default:
        snprintf(json, 256,
                 "{\"reservation\":\"R-%u\",\"hotel\":\"%s\",\"room_type\":\"%s\",\"arrival\":\"2026-%02u-%02u\","
                 "\"nights\":%u,\"guest\":\"G\",\"on\":\"2026-01-01\"}",
                 reservation, hotel, type, month, day, dice(5));
        return "BookRoom";
    }
}

static void a_hotel_that_forgets_decides_like_one_that_remembers(void **state)
{
    struct hotel forgetful = {.store = memory_store_new()}, plain = {.store = memory_store_new()};
    unsigned decided = 0, rejected = 0;
    uint64_t gone = 0;
    dice_seed(17);
    hotel_open(&forgetful);
    hotel_open(&plain);
    keep_everything_for_a_second(&forgetful);
    for (unsigned i = 0; i < COMMANDS * kit_effort(); i++) {
        struct kit_command ours, theirs;
        char json[256];
        const char *name = random_command(json);
        assert_int_equal(kit_command(forgetful.runtime, &ours, name, json, NULL),
                         kit_command(plain.runtime, &theirs, name, json, NULL));
        assert_string_equal(ours.rule, theirs.rule);
        assert_string_equal(ours.facts, theirs.facts);
        assert_string_equal(ours.type, theirs.type);
        assert_string_equal(ours.data, theirs.data);
        assert_string_equal(ours.tags, theirs.tags);
        decided += ours.answer == 0;
        rejected += ours.answer == COMMAND_E_REJECTED;
        if (dice(40) == 0)
            gone += scavenge(&forgetful);
        if (dice(50) == 0) {
            hotel_close(&forgetful);
            hotel_open(&forgetful);
        }
    }
    assert_true(decided > 100 && rejected > 100 && gone > 50);
    hotel_close(&forgetful);
    hotel_close(&plain);
    memory_store_free(forgetful.store);
    memory_store_free(plain.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hotel_that_forgets_decides_like_one_that_remembers),
    };
    return cmocka_run_group_tests_name("hotel/compact", tests, NULL, NULL);
}
