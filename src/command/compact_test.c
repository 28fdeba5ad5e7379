/* Compacted states: what stands before one may go, and every decision is what it would have been. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "command/command.h"
#include "command/compact.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "lib/command_kit.h"
#include "lib/counter_app.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"

struct world {
    struct memory_store *store;
    struct vault *vault; /* NULL: none */
    struct journal *journal;
    struct command_runtime *runtime;
};

/* The counter, as another version of itself. */
static uint32_t state_version = 3;
static const char *app_name = "counter";
static int versioned_app(const struct daybook_host *host, struct daybook_app *ret_app)
{
    int r = counter_app(host, ret_app);
    ret_app->state_version = state_version;
    ret_app->name = app_name;
    return r;
}

static void world_open(struct world *world)
{
    char error[256] = "";
    struct journal_options options = {.vault = world->vault};
    assert_ok(journal_open(memory_log_open(world->store, true), &options, &world->journal, error));
    assert_ok(command_runtime_new(world->journal, versioned_app, NULL, &world->runtime, error));
}

static void world_close(struct world *world)
{
    command_runtime_close(world->runtime);
    journal_close(world->journal);
}

static void world_reopen(struct world *world)
{
    world_close(world);
    world_open(world);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    state_version = 3;
    app_name = "counter";
    world->store = memory_store_new();
    world_open(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    world_close(world);
    memory_store_free(world->store);
    free(world);
    return 0;
}

static int add(struct world *world, struct kit_command *command, const char *counter, int64_t by)
{
    char json[128];
    snprintf(json, sizeof(json), "{\"counter\":\"%s\",\"by\":%lld}", counter, (long long)by);
    return kit_command(world->runtime, command, "Add", json, NULL);
}

static int64_t value_of(struct world *world, const char *counter)
{
    struct kit_command command;
    assert_int_equal(add(world, &command, counter, -1000000000), COMMAND_E_REJECTED);
    return strtoll(command.facts + strlen("{\"value\":"), NULL, 10);
}

static int compact(struct world *world, const char *tag)
{
    struct command_compacted compacted;
    return command_compact(world->runtime, B(tag), (struct bytes){0}, &compacted);
}

/* Everything goes that has no tag which has not been compacted: as a server does it, less carefully. */
static const char *keep_uncompacted(void *user, const struct journal_event *event)
{
    struct world *world = user;
    for (size_t i = 0; i < event->tag_count; i++) {
        const struct bytes type = COMPACT_TYPE;
        const struct journal_item item = {.types = &type, .type_count = 1, .tags = &event->tags[i], .tag_count = 1};
        const struct journal_query query = {.items = &item, .count = 1};
        _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
        struct journal_event found;
        assert_ok(journal_reader_new(
            world->journal, &(struct journal_read){.query = &query, .after = event->position, .system = true},
            &reader));
        if (journal_reader_next(reader, &found) != 0)
            return "decider";
    }
    return NULL;
}

static uint64_t scavenge(struct world *world)
{
    struct retention_rule rule = {.prefix = true, .max_age_s = 1};
    struct scavenge_report report;
    struct journal_event_new event;
    struct buffer data = {0};
    char error[256];
    assert_ok(retention_event(&rule, false, &data, &event));
    struct journal_append append = {.events = &event, .event_count = 1};
    assert_ok(journal_append_wait(world->journal, &append, NULL));
    buffer_deinit(&data);
    assert_ok(journal_scavenge(
        world->journal,
        &(struct scavenge_options){.keep = keep_uncompacted, .user = world, .now_us = INT64_C(9000000000000000)},
        &report, error));
    return report.gone;
}

/* ---- tests ---- */

static void a_decision_on_a_compacted_state_is_the_one_on_its_events(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_ok(add(world, &command, "a", 5));
    assert_ok(add(world, &command, "a", 6));
    assert_ok(add(world, &command, "b", 1));
    assert_ok(compact(world, "counter:a"));
    assert_ok(add(world, &command, "a", 7));
    assert_int_equal(scavenge(world), 2);
    assert_int_equal(value_of(world, "a"), 18); /* by the state in the cache */
    world_reopen(world);
    assert_int_equal(value_of(world, "a"), 18); /* by the one in the journal */
    assert_int_equal(value_of(world, "b"), 1);
    struct command_metrics metrics;
    command_metrics(world->runtime, &metrics);
    assert_int_equal(metrics.events_folded, 2);
}

/* The newest that fits is used; without any the command is refused, and nothing is decided on half a state. */
static void a_state_of_another_version_or_application_is_never_used(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    assert_ok(add(world, &command, "a", 5));
    assert_ok(compact(world, "counter:a"));
    state_version = 4;
    world_reopen(world);
    assert_int_equal(value_of(world, "a"), 5); /* the events are there */
    assert_ok(compact(world, "counter:a"));
    assert_int_equal(scavenge(world), 1);
    assert_int_equal(value_of(world, "a"), 5);
    state_version = 3;
    world_reopen(world);
    assert_int_equal(value_of(world, "a"), 5); /* the older one fits */
    for (int i = 0; i < 3; i++) {
        state_version = i == 0 ? 5 : i == 1 ? 0 : 3;
        app_name = i == 2 ? "other" : "counter";
        world_reopen(world);
        assert_int_equal(add(world, &command, "a", 1), COMMAND_E_SCAVENGED);
        assert_non_null(strstr(command.detail, "counter:a"));
        assert_int_equal(add(world, &command, "c", 1), 0); /* others go on */
    }
}

static void what_cannot_be_kept_is_refused_with_the_reason(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    struct command_compacted compacted;
    char json[128];
    assert_int_equal(command_compact(world->runtime, B("room:1"), (struct bytes){0}, &compacted),
                     COMMAND_E_INVALID);
    assert_non_null(strstr(compacted.detail, "kinds"));
    for (int more = 0; more < 2; more++) {
        snprintf(json, sizeof(json), "{\"counter\":\"large\",\"size\":%d}", COMMAND_COMPACT_SIZE_MAX + more);
        assert_ok(kit_command(world->runtime, &command, "Grow", json, NULL));
        assert_int_equal(compact(world, "counter:large"), more ? COMMAND_E_INVALID : 0);
    }
    state_version = 0;
    world_reopen(world);
    assert_int_equal(command_compact(world->runtime, B("counter:a"), (struct bytes){0}, &compacted),
                     COMMAND_E_INVALID);
    assert_non_null(strstr(compacted.detail, "state_version"));
}

/* What erasing a subject must reach is not copied to where it cannot. */
static void a_state_of_events_about_a_subject_is_not_kept(void **state)
{
    struct world *world = *state;
    struct command_compacted compacted;
    const struct bytes tag = B("counter:a");
    char *folder = kit_folder_new();
    struct journal_event_new event = {.type = B("CounterChanged"),
                                      .tags = &tag,
                                      .tag_count = 1,
                                      .data = B("{\"by\":3}"),
                                      .subject = B("guest-17")};
    struct journal_append append = {.events = &event, .event_count = 1};
    struct journal_erasure erasure;
    world->vault = kit_vault_open(folder);
    world_reopen(world);
    assert_ok(journal_append_wait(world->journal, &append, NULL));
    for (int erased = 0; erased < 2; erased++) {
        assert_int_equal(command_compact(world->runtime, tag, (struct bytes){0}, &compacted), COMMAND_E_INVALID);
        assert_non_null(strstr(compacted.detail, "subject"));
        if (!erased)
            assert_ok(journal_erase(world->journal, B("guest-17"), &erasure));
    }
    assert_ok(compact(world, "counter:b"));
    world_close(world);
    kit_vault_close(world->vault);
    world->vault = NULL;
    world_open(world);
    kit_folder_remove(folder);
}

/* An application marks its events; once their subject is erased, a state is folded from events without members. */
static void a_state_is_folded_without_what_was_erased(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    struct journal_erasure erasure;
    char *folder = kit_folder_new();
    world->vault = kit_vault_open(folder);
    world_reopen(world);
    assert_ok(kit_command(world->runtime, &command, "AddFor", "{\"counter\":\"a\",\"by\":5,\"who\":\"guest-17\"}", NULL));
    assert_ok(add(world, &command, "a", 2));
    assert_int_equal(value_of(world, "a"), 7);
    assert_ok(journal_erase(world->journal, B("guest-17"), &erasure));
    assert_int_equal(erasure.key_count, 1);
    assert_ok(command_runtime_forget(world->runtime));
    assert_int_equal(value_of(world, "a"), 2);
    world_close(world);
    kit_vault_close(world->vault);
    world->vault = NULL;
    world_open(world);
    kit_folder_remove(folder);
}

/* Without a vault nothing can be sealed, and nothing is stored unsealed instead. */
static void an_event_about_a_subject_is_not_stored_where_there_are_no_keys(void **state)
{
    struct world *world = *state;
    struct kit_command command;
    uint64_t head = journal_head(world->journal);
    assert_int_not_equal(
        kit_command(world->runtime, &command, "AddFor", "{\"counter\":\"a\",\"by\":5,\"who\":\"guest-17\"}", NULL), 0);
    assert_int_equal(journal_head(world->journal), head);
}

/* What calls itself `$compacted` and is not, is passed over. */
static void a_malformed_compacted_state_is_passed_over(void **state)
{
    static const char *const wrong[] = {
        "{}",
        "[]",
        "{\"app\":\"counter\",\"kind\":\"counter\",\"state_version\":3}",
        "{\"app\":\"counter\",\"kind\":\"counter\",\"state_version\":3,\"state\":\"!\"}",
        "{\"app\":\"counter\",\"kind\":\"counter\",\"state_version\":3,\"state\":\"AAAA\"}",
        "{\"app\":\"counter\",\"kind\":\"room\",\"state_version\":3,\"state\":\"AAAAAAAAAAA=\"}",
        "{\"app\":\"counter\",\"kind\":\"counter\",\"state_version\":-3,\"state\":\"AAAAAAAAAAA=\"}",
    };
    struct world *world = *state;
    struct kit_command command;
    assert_ok(add(world, &command, "a", 5));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct bytes tag = B("counter:a");
        struct journal_event_new event = {
            .type = COMPACT_TYPE, .tags = &tag, .tag_count = 1, .data = B(wrong[i]), .system = true};
        struct journal_append append = {.events = &event, .event_count = 1};
        assert_ok(journal_append_wait(world->journal, &append, NULL));
        world_reopen(world);
        assert_int_equal(value_of(world, "a"), 5);
    }
}

/* The law: a random sequence of commands is decided alike, whether what came before was compacted and scavenged or not. */
static void random_decisions_are_the_same_with_and_without_scavenging(void **state)
{
    struct world *world = *state, plain = {.store = memory_store_new()};
    uint64_t gone = 0;
    dice_seed(20261127);
    world_open(&plain);
    for (unsigned i = 0; i < 400 * kit_effort(); i++) {
        struct kit_command ours, theirs;
        char json[128], tag[32];
        unsigned a = dice(4), b = dice(4);
        bool move = dice(3) == 0;
        int by = (int)dice(40) - 15;
        if (move)
            snprintf(json, sizeof(json), "{\"from\":\"c%u\",\"to\":\"c%u\",\"by\":%d}", a, b, by < 1 ? 1 : by);
        else
            snprintf(json, sizeof(json), "{\"counter\":\"c%u\",\"by\":%d}", a, by);
        assert_int_equal(kit_command(world->runtime, &ours, move ? "Move" : "Add", json, NULL),
                         kit_command(plain.runtime, &theirs, move ? "Move" : "Add", json, NULL));
        assert_string_equal(ours.facts, theirs.facts);
        assert_string_equal(ours.data, theirs.data);
        assert_int_equal(ours.event_count, theirs.event_count);
        snprintf(tag, sizeof(tag), "counter:c%u", dice(4));
        if (dice(12) == 0)
            assert_ok(compact(world, tag));
        if (dice(25) == 0)
            gone += scavenge(world);
        if (dice(30) == 0)
            world_reopen(world);
    }
    assert_true(gone > 50);
    world_close(&plain);
    memory_store_free(plain.store);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_decision_on_a_compacted_state_is_the_one_on_its_events),
        WORLD_TEST(a_state_of_another_version_or_application_is_never_used),
        WORLD_TEST(what_cannot_be_kept_is_refused_with_the_reason),
        WORLD_TEST(a_state_of_events_about_a_subject_is_not_kept),
        WORLD_TEST(a_state_is_folded_without_what_was_erased),
        WORLD_TEST(an_event_about_a_subject_is_not_stored_where_there_are_no_keys),
        WORLD_TEST(a_malformed_compacted_state_is_passed_over),
        WORLD_TEST(random_decisions_are_the_same_with_and_without_scavenging),
    };
    return cmocka_run_group_tests_name("command/compact", tests, NULL, NULL);
}
