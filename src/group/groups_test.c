/* Groups over a journal: what is remembered, and when. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "group/group.h"
#include "group/record.h"
#include "lib/fake_clock.h"
#include "lib/journal_kit.h"

enum { BATCH_COUNT = 100 };

static struct fake_clock clock_now;
static struct memory_store *store;
static struct journal *journal;
static struct groups *groups;

static void open_all(void)
{
    const struct groups_options options = {.clock = &clock_now.clock, .count_max = 10};

    journal = kit_open(store, true);
    assert_int_equal(groups_open(journal, &options, &groups), 0);
}

static void close_all(void)
{
    groups_close(groups);
    journal_close(journal);
}

static int set_up(void **state)
{
    fake_clock_init(&clock_now, 1700000000000000);
    store = memory_store_new();
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    close_all();
    memory_store_free(store);
    return 0;
}

static int make(const char *name, const char *text)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct group_violation violations[GROUP_VIOLATION_COUNT_MAX];
    struct group_definition definition = {0};
    struct journal_result result = {0};
    size_t count;

    assert_int_equal(json_parse(B(text), &doc, NULL), 0);
    assert_int_equal(group_definition_read(json_root(&doc), &definition, violations, &count), 0);
    int r = groups_create(groups, B(name), &definition, &result);
    group_definition_deinit(&definition);
    return r;
}

static struct group_token tokens[BATCH_COUNT];
static size_t token_count;

/* Positions of a batch, with a blank behind each. */
static const char *fetch(const char *name, size_t max)
{
    static char text[1024];
    struct group_batch batch = {.group = B(name), .consumer = B("c"), .max = max, .tokens = tokens};
    size_t size = 0;

    assert_int_equal(groups_fetch(groups, &batch), 0);
    buffer_deinit(&batch.out);
    text[0] = '\0';
    token_count = batch.count;
    for (size_t i = 0; i < batch.count; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%d ", (int)tokens[i].position);
    return text;
}

static int ack(const char *name)
{
    bool lost[BATCH_COUNT];

    return groups_ack(groups, B(name), tokens, token_count, lost);
}

static size_t nack(const char *name, const char *reason)
{
    bool lost[BATCH_COUNT];
    size_t parked = 0;

    assert_int_equal(groups_nack(groups, B(name), tokens, token_count, 0, B(reason), lost, &parked), 0);
    return parked;
}

static void append(const char *type, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(kit_append(journal, "s", type, "", "{}", NULL), 0);
}

static void note_lag(void *user, const struct group_status *status)
{
    *(uint64_t *)user = status->lag;
}

static uint64_t lag(const char *name)
{
    uint64_t found = 0;

    assert_int_equal(groups_each(groups, B(name), true, note_lag, &found), 0);
    return found;
}

/* The law: closing writes what is left, and opening knows it again. */
static void what_was_acknowledged_parked_and_replayed_is_known_after_reopening(void **state)
{
    struct journal_result result;
    size_t count;

    assert_int_equal(make("g", "{\"types\":[\"A\"],\"tries_max\":1}"), 0);
    append("A", 6); /* 2 to 7 */
    append("B", 1);
    assert_string_equal(fetch("g", 2), "2 3 ");
    assert_int_equal(ack("g"), 0);
    assert_string_equal(fetch("g", 1), "4 ");
    struct group_token kept = tokens[0];
    assert_string_equal(fetch("g", 2), "5 6 ");
    assert_int_equal(nack("g", "why"), 2);
    assert_int_equal(groups_replay(groups, B("g"), (const uint64_t[]){6}, 1, &result, &count), 0);
    close_all();
    open_all();
    assert_string_equal(fetch("g", BATCH_COUNT), "4 6 7 ");
    tokens[0] = kept;
    token_count = 1;
    assert_int_equal(ack("g"), GROUP_E_LOST); /* a token from before the restart */
    assert_int_equal(groups_replay(groups, B("g"), (const uint64_t[]){6}, 1, &result, &count),
                     GROUP_E_NOT_PARKED);
    assert_int_equal(groups_replay(groups, B("g"), NULL, 0, &result, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(fetch("g", BATCH_COUNT), "5 ");
}

/* The law: many records become one that says all, and opening begins there. */
static void the_whole_state_is_written_now_and_then(void **state)
{
    const struct bytes type = BYTES_LITERAL(GROUP_STATE);
    const struct journal_item item = {.types = &type, .type_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};

    assert_int_equal(make("g", "{\"order\":\"stream\"}"), 0);
    append("A", 10);
    for (int round = 0; round < 2 * GROUP_STATE_EVERY_COUNT; round++) {
        append("A", 1);
        if (round % 2 == 0) {
            fetch("g", 1);
            assert_int_equal(ack("g"), 0);
        }
        close_all(); /* writes what there is */
        open_all();
    }
    const struct journal_read read = {.query = &query};
    assert_string_not_equal(kit_types(journal, &read), "");
    assert_int_equal(lag("g"), 10 + 2 * GROUP_STATE_EVERY_COUNT - GROUP_STATE_EVERY_COUNT);
}

/* The law: what the journal does not take stays where it is, and is written when it takes it (G5). */
static void acknowledgements_that_found_no_room_are_written_later(void **state)
{
    assert_int_equal(make("g", "{}"), 0);
    append("A", 3);
    assert_string_equal(fetch("g", 3), "2 3 4 ");
    memory_store_script(store, LOG_FULL, 1, false);
    assert_int_equal(ack("g"), 0);
    assert_int_equal(lag("g"), 0);
    uint64_t head = journal_head(journal);
    assert_int_equal(journal_wait(journal, head, 10000), 0); /* the second try */
    close_all();
    open_all();
    assert_string_equal(fetch("g", 3), "");
}

static void a_group_is_not_made_when_the_journal_does_not_take_it(void **state)
{
    memory_store_script(store, LOG_FULL, 1, false);
    assert_int_equal(make("g", "{}"), GROUP_E_JOURNAL);
    assert_false(groups_has(groups, B("g")));
    assert_int_equal(make("g", "{}"), 0);
    assert_int_equal(make("g", "{}"), GROUP_E_SAME);
    assert_int_equal(make("g", "{\"tries_max\":7}"), GROUP_E_EXISTS);
}

static void a_deleted_group_is_gone_and_its_name_begins_anew(void **state)
{
    struct journal_result result;

    assert_int_equal(make("g", "{\"types\":[\"A\"]}"), 0);
    append("A", 2);
    assert_string_equal(fetch("g", 2), "2 3 ");
    assert_int_equal(groups_delete(groups, B("g"), &result), 0);
    assert_int_equal(ack("g"), GROUP_E_UNKNOWN);
    close_all();
    open_all();
    assert_false(groups_has(groups, B("g")));
    assert_int_equal(make("g", "{\"types\":[\"A\"]}"), 0);
    assert_string_equal(fetch("g", 2), "2 3 ");
}

/* The law: an event given out and never answered comes again when the lease is over, and is parked in the end. */
static void leases_run_out_by_the_clock(void **state)
{
    assert_int_equal(make("g", "{\"lease_seconds\":10,\"tries_max\":2}"), 0);
    append("A", 1);
    assert_string_equal(fetch("g", 1), "2 ");
    fake_clock_advance(&clock_now, 9999);
    assert_string_equal(fetch("g", 1), "");
    fake_clock_advance(&clock_now, 1);
    assert_string_equal(fetch("g", 1), "2 ");
    fake_clock_advance(&clock_now, 10000);
    assert_string_equal(fetch("g", 1), "");
    assert_int_equal(lag("g"), 0);
}

/* The law: what no group writes is said to be unreadable, and the other groups go on. */
static const char *noticed;
static void on_notice(void *user, const char *sentence)
{
    noticed = sentence[0] ? "noticed" : "";
}

static void a_stream_that_cannot_be_read_leaves_out_its_group_only(void **state)
{
    const struct groups_options options = {.clock = &clock_now.clock, .count_max = 10, .notice = on_notice};
    struct journal_event_new event = {
        .stream = B("$group-bad"), .type = B(GROUP_CREATED), .data = B("[]"), .system = true};
    struct journal_append append_bad = {.events = &event, .event_count = 1};
    struct journal_result result;

    assert_int_equal(make("good", "{}"), 0);
    assert_int_equal(journal_append_wait(journal, &append_bad, &result), 0);
    groups_close(groups);
    assert_int_equal(groups_open(journal, &options, &groups), 0);
    assert_string_equal(noticed, "noticed");
    assert_true(groups_has(groups, B("good")));
    assert_false(groups_has(groups, B("bad")));
}

static void tokens_are_read_as_they_are_written_and_nothing_else(void **state)
{
    struct group_token token;

    assert_int_equal(group_token_parse(B("17-00000000000000ff"), &token), 0);
    assert_true(token.position == 17 && token.serial == 255);
    for (const char *const *bad =
             (const char *const[]){"", "-", "17", "17-", "17-00000000000000fg", "17-0000000000000ff",
                                   "-00000000000000ff", "+7-00000000000000ff", "17-00000000000000FF",
                                   "99999999999999999999-0000000000000000", NULL};
         *bad; bad++)
        assert_int_equal(group_token_parse(B(*bad), &token), 1);
}

/* Who waits for the event at a position, or "". */
static const char *waiting_for(uint64_t position)
{
    static char text[GROUP_NAME_SIZE_MAX + 1];
    _cleanup_(groups_waiting_freep) struct groups_waiting *waiting = NULL;
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;

    assert_int_equal(groups_waiting_new(groups, &waiting), 0);
    assert_int_equal(journal_reader_new(journal, &(struct journal_read){.after = position - 1}, &reader), 0);
    assert_int_equal(journal_reader_next(reader, &event), 0);
    const char *name = groups_waiting_for(waiting, &event);
    (void)snprintf(text, sizeof(text), "%s", name ? name : "");
    return text;
}

/* Until its acknowledgement is in the journal an event may be given out again: no crash may find its body gone. */
static void a_group_waits_for_an_event_until_its_acknowledgement_is_written(void **state)
{
    append("A", 3);
    append("B", 1);
    assert_int_equal(make("g", "{\"types\":[\"A\"],\"after\":1,\"tries_max\":1}"), 0);
    assert_string_equal(waiting_for(1), ""); /* it began behind this one */
    assert_string_equal(waiting_for(2), "g");
    assert_string_equal(waiting_for(4), ""); /* its filter is for others */
    assert_string_equal(fetch("g", 2), "2 3 ");
    assert_string_equal(waiting_for(2), "g"); /* a consumer has it */
    token_count = 1;
    assert_int_equal(ack("g"), 0);
    close_all(); /* writes it down, and lets the other one go */
    open_all();
    assert_string_equal(waiting_for(2), "");
    assert_string_equal(waiting_for(3), "g");
    assert_string_equal(fetch("g", 2), "3 ");
    assert_int_equal(nack("g", "no"), 1);
    assert_string_equal(waiting_for(3), "g"); /* it is parked */
    close_all();
    open_all();
    assert_string_equal(waiting_for(3), "g");
    struct journal_result result;
    assert_int_equal(groups_delete(groups, B("g"), &result), 0);
    assert_string_equal(waiting_for(3), "");
}

/* What is replayed comes on top of the window: its number has an end of its own. */
static void a_replay_that_would_put_too_many_on_their_way_is_refused_and_changes_nothing(void **state)
{
    struct journal_result result;
    uint64_t lag = 0;
    size_t count = 0;

    append("A", GROUP_RETURNED_COUNT_MAX + 1);
    assert_int_equal(make("g", "{\"types\":[\"A\"],\"tries_max\":1}"), 0);
    for (int i = 0; i < GROUP_RETURNED_COUNT_MAX / BATCH_COUNT; i++) {
        (void)fetch("g", BATCH_COUNT);
        assert_int_equal(nack("g", "no"), BATCH_COUNT);
    }
    assert_int_equal(groups_replay(groups, B("g"), NULL, 0, &result, &count), 0);
    assert_int_equal(count, GROUP_RETURNED_COUNT_MAX);
    for (int i = 0; i < GROUP_RETURNED_COUNT_MAX / BATCH_COUNT; i++) {
        (void)fetch("g", BATCH_COUNT); /* out, and not given back */
        assert_int_equal(token_count, BATCH_COUNT);
    }
    struct group_token last = tokens[BATCH_COUNT - 1];
    assert_string_equal(fetch("g", 1), "1001 ");
    assert_int_equal(nack("g", "no"), 1);
    assert_int_equal(groups_replay(groups, B("g"), NULL, 0, &result, &count), GROUP_E_RETURNED);
    assert_int_equal(groups_each(groups, B("g"), true, note_lag, &lag), 0);
    assert_int_equal(lag, GROUP_RETURNED_COUNT_MAX);
    tokens[0] = last;
    token_count = 1;
    assert_int_equal(ack("g"), 0); /* now there is room for one */
    assert_int_equal(groups_replay(groups, B("g"), NULL, 0, &result, &count), 0);
    assert_int_equal(count, 1);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(what_was_acknowledged_parked_and_replayed_is_known_after_reopening),
        STAGED(the_whole_state_is_written_now_and_then),
        STAGED(acknowledgements_that_found_no_room_are_written_later),
        STAGED(a_group_is_not_made_when_the_journal_does_not_take_it),
        STAGED(a_deleted_group_is_gone_and_its_name_begins_anew),
        STAGED(leases_run_out_by_the_clock),
        STAGED(a_stream_that_cannot_be_read_leaves_out_its_group_only),
        STAGED(a_replay_that_would_put_too_many_on_their_way_is_refused_and_changes_nothing),
        STAGED(a_group_waits_for_an_event_until_its_acknowledgement_is_written),
        cmocka_unit_test(tokens_are_read_as_they_are_written_and_nothing_else),
    };
    return cmocka_run_group_tests_name("group/groups", tests, NULL, NULL);
}
