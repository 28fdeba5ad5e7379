/* The rest of journal.h: turns, times, limits, listeners, following. */
#include "lib/cmocka_all.h"

#include <stdatomic.h>
#include <stdio.h>

#include "journal/codec.h"
#include "lib/journal_stage.h"
#include "os/clock.h"

/* ---- turns ---- */

/* An append that looks at its turn, and what it saw. */
struct looking {
    struct kit_pending pending;     /* first */
    int answer;                     /* what it decides */
    struct journal_event_new event; /* what it appends, when it has a type */
    uint64_t tail, count, era;
    char types[64];
    unsigned called;
};

static int see(void *user, const struct journal_event *event)
{
    struct looking *looking = user;
    strncat(looking->types, (const char *)event->type.data, event->type.size);
    return 0;
}

static int look(struct journal_append *append, struct journal_turn *turn)
{
    struct looking *looking = append->user;
    struct bytes tag = B("x");
    struct journal_item item = {.tags = &tag, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    looking->types[0] = 0;
    looking->tail = journal_turn_tail(turn);
    looking->era = journal_turn_era(turn);
    looking->count = journal_turn_count(turn, &query, 0, 100);
    assert_ok(journal_turn_each(turn, &query, 0, see, looking));
    looking->called++;
    if (looking->event.type.size > 0) {
        append->events = &looking->event;
        append->event_count = 1;
    }
    return looking->answer;
}

static void submit_look(struct stage *stage, struct looking *looking)
{
    looking->pending.append.prepare = look;
    kit_submit_append(stage->journal, &looking->pending, stage->landing);
}

static void a_turn_sees_what_stands_before_it_in_the_batch(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, before;
    struct bytes tags[16];
    struct looking looks[4] = {{.event = kit_event("", "D", "x", tags, "{}")},
                               {.answer = 0},
                               {.answer = JOURNAL_E_REFUSED + 3},
                               {.event = kit_event("", "no\nname", "x", tags, "{}")}};
    assert_ok(kit_append(stage->journal, "", "A", "x", "{}", NULL));
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "B", "x", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &before, stage->landing, "C", "x y", NULL);
    for (unsigned i = 0; i < 4; i++)
        submit_look(stage, &looks[i]);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 6));
    assert_string_equal(looks[0].types, "ABC");
    assert_int_equal(looks[0].tail, 3);
    assert_int_equal(looks[0].count, 3);
    assert_ok(looks[0].pending.result.answer);
    assert_int_equal(looks[0].pending.result.first, 4);
    /* Nothing to do, and refused: both are told the tail they were decided at. */
    assert_string_equal(looks[1].types, "ABCD");
    assert_ok(looks[1].pending.result.answer);
    assert_int_equal(looks[1].pending.result.last, 4);
    assert_int_equal(looks[2].pending.result.answer, JOURNAL_E_REFUSED + 3);
    assert_int_equal(looks[2].pending.result.last, 4);
    assert_int_equal(looks[3].pending.result.answer, JOURNAL_E_INVALID);
    assert_string_equal(all_types(stage), "A B C D ");
}

static void a_refusal_by_rule_is_decided_anew_when_its_ground_was_not_written(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, before;
    struct looking refused = {.answer = JOURNAL_E_REFUSED};
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "B", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &before, stage->landing, "C", "x", NULL);
    submit_look(stage, &refused);
    memory_store_script(stage->store, LOG_FULL, 1, false);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
    assert_int_equal(before.result.answer, JOURNAL_E_FULL);
    assert_int_equal(refused.pending.result.answer, JOURNAL_E_REFUSED);
    assert_int_equal(refused.called, 2);
    assert_int_equal(refused.era, 1);
    assert_string_equal(refused.types, "");
    assert_int_equal(refused.pending.result.last, 1);
}

/* ---- the rest of the contract ---- */

static int64_t fake_now_us;
static int64_t fake_time(const struct os_clock *clock)
{
    return fake_now_us;
}

static int64_t time_of(struct journal *journal, uint64_t position)
{
    struct journal_reader *reader;
    struct journal_event event;
    assert_ok(journal_reader_new(journal, &(struct journal_read){.after = position - 1}, &reader));
    assert_ok(journal_reader_next(reader, &event));
    int64_t time_us = event.time_us;
    journal_reader_free(reader);
    return time_us;
}

static void times_never_go_back_and_lead_to_positions(void **state)
{
    struct stage *stage = *state;
    struct os_clock clock = {.realtime_us = fake_time, .monotonic_ns = os_clock_real()->monotonic_ns};
    struct journal_options options = {.clock = &clock};
    journal_close(stage->journal);
    assert_ok(journal_open(memory_log_open(stage->store, false), &options, &stage->journal, NULL));
    for (unsigned i = 0; i < 1000; i++) {
        fake_now_us = i == 500 ? 5 : 1000 + 10 * (int64_t)i; /* once the clock jumps back */
        assert_ok(kit_append(stage->journal, "", "A", "", "{}", NULL));
    }
    assert_int_equal(kit_position_at(stage->journal, 999), 0);
    for (unsigned i = 0; i < 1000; i += 7)
        assert_int_equal(kit_position_at(stage->journal, 1000 + 10 * (int64_t)i), i == 500 ? 501 : i + 1);
    /* J6: the event of the jump has the time of the one before. */
    assert_int_equal(kit_position_at(stage->journal, 1000 + 10 * 499), 501);
    assert_int_equal(time_of(stage->journal, 501), 1000 + 10 * 499);
    assert_int_equal(kit_position_at(stage->journal, INT64_MAX), 1000);
    reopen(stage);
    assert_int_equal(kit_position_at(stage->journal, 1000 + 10 * 700 + 9), 701);
}

static void what_breaks_a_rule_alone_is_refused_at_once(void **state)
{
    struct stage *stage = *state;
    static char long_name[JOURNAL_NAME_SIZE_MAX + 2], large[LOG_APPEND_SIZE_MAX];
    struct bytes memory[16];
    struct journal_item nothing = {0};
    struct journal_condition condition = {.query = {.items = &nothing, .count = 1}};
    struct journal_event_new event = kit_event("s", "A", "", memory, "{}");
    struct journal_append append = {.events = &event, .event_count = 1};
    struct journal_result result;
    memset(long_name, 'x', sizeof(long_name) - 1);
    static const struct {
        const char *stream, *type, *tags;
    } bad[] = {{"a/b", "A", ""}, {"s", "", ""},    {"s", "A", "\x01"}, {"$s", "A", ""},
               {"s", "$A", ""},  {"s", "A", "$t"}, {"..", "A", ""},    {"s", "\xff", ""}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(kit_append(stage->journal, bad[i].stream, bad[i].type, bad[i].tags, "{}", &result),
                         JOURNAL_E_INVALID);
        assert_true(strlen(result.detail) > 10);
    }
    assert_int_equal(kit_append(stage->journal, long_name, "A", "", "{}", &result), JOURNAL_E_INVALID);
    long_name[JOURNAL_NAME_SIZE_MAX] = 0;
    assert_ok(kit_append(stage->journal, long_name, "A", "", "{}", &result));
    append.event_count = 0;
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_INVALID);
    append.event_count = JOURNAL_EVENT_COUNT_MAX + 1;
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_INVALID);
    append.event_count = 1;
    append.condition = &condition;
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_INVALID);
    append.condition = NULL;
    event.content_type = B("text/plain\r\nX: y");
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_INVALID);
    event.content_type = B("text/plain");
    event.data = bytes_make(large, sizeof(large));
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_TOO_LARGE);
    event.data = bytes_make(large, sizeof(large) - 200);
    assert_ok(journal_append_wait(stage->journal, &append, &result));
}

static void the_largest_append_and_the_most_tags_are_taken(void **state)
{
    struct stage *stage = *state;
    static struct journal_event_new events[JOURNAL_EVENT_COUNT_MAX];
    static struct bytes tags[JOURNAL_TAG_COUNT_MAX + 1];
    static char names[JOURNAL_TAG_COUNT_MAX + 1][8];
    struct bytes memory[16];
    struct journal_append append = {.events = events, .event_count = JOURNAL_EVENT_COUNT_MAX};
    for (unsigned i = 0; i < JOURNAL_EVENT_COUNT_MAX; i++)
        events[i] = kit_event("s", "A", "", memory, "{}");
    for (unsigned i = 0; i <= JOURNAL_TAG_COUNT_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "t%u", i);
        tags[i] = B(names[i]);
    }
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    events[0].tags = tags;
    events[0].tag_count = JOURNAL_TAG_COUNT_MAX;
    append.event_count = 1;
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    assert_int_equal(kit_append_unless(stage->journal, "B", "t511 t0 t77", 0, NULL), JOURNAL_E_CONFLICT);
    events[0].tag_count++;
    assert_int_equal(journal_append_wait(stage->journal, &append, NULL), JOURNAL_E_INVALID);
    reopen(stage);
    assert_int_equal(kit_stream_version(stage->journal, B("s")), JOURNAL_EVENT_COUNT_MAX + 1);
}

static void the_queue_has_an_end_and_says_so(void **state)
{
    struct stage *stage = *state;
    struct kit_pending *pendings = calloc(JOURNAL_QUEUE_COUNT_MAX, sizeof(*pendings));
    struct journal_event_new event = {.type = B("A")};
    struct journal_append one_more = {.events = &event, .event_count = 1};
    struct journal_result result;
    memory_store_hold(stage->store);
    for (unsigned i = 0; i < JOURNAL_QUEUE_COUNT_MAX; i++) {
        pendings[i].append = (struct journal_append){.events = &event, .event_count = 1};
        kit_submit_append(stage->journal, &pendings[i], stage->landing);
    }
    assert_int_equal(journal_submit(stage->journal, &one_more, &result), JOURNAL_E_BUSY);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, JOURNAL_QUEUE_COUNT_MAX));
    assert_int_equal(journal_head(stage->journal), JOURNAL_QUEUE_COUNT_MAX);
    for (unsigned i = 0; i < JOURNAL_QUEUE_COUNT_MAX; i++)
        assert_int_equal(pendings[i].result.first, i + 1); /* in the order of submission */
    free(pendings);
}

/* Longer lists than a reader looks through at once, with nothing in common but one event in the middle. */
static void a_reader_finds_the_one_event_that_has_both_of_two_common_tags(void **state)
{
    enum { COUNT = 200, EVENTS = 1000, BOTH = 71 };
    struct stage *stage = *state;
    static struct journal_event_new events[EVENTS];
    static struct bytes tags[EVENTS][16];
    struct bytes wanted[2] = {B("x"), B("y")};
    struct journal_item item = {.tags = wanted, .tag_count = 2};
    struct journal_query query = {.items = &item, .count = 1};
    for (unsigned i = 0; i < COUNT; i++) {
        struct journal_append append = {.events = events, .event_count = EVENTS};
        for (unsigned j = 0; j < EVENTS; j++)
            events[j] = kit_event("", "A", i == BOTH && j == BOTH ? "x y" : j % 2 ? "x" : "y", tags[j], "{}");
        assert_ok(journal_append_wait(stage->journal, &append, NULL));
    }
    for (unsigned backward = 0; backward < 2; backward++) {
        struct journal_read read = {.query = &query,
                                    .direction = backward ? JOURNAL_BACKWARD : JOURNAL_FORWARD};
        struct journal_reader *reader;
        struct journal_event event;
        assert_ok(journal_reader_new(stage->journal, &read, &reader));
        assert_ok(journal_reader_next(reader, &event));
        assert_int_equal(event.position, BOTH * EVENTS + BOTH + 1);
        assert_int_equal(journal_reader_next(reader, &event), JOURNAL_E_END);
        if (!backward)
            assert_int_equal(journal_reader_examined(reader), COUNT * EVENTS);
        journal_reader_free(reader);
    }
}

struct hearing {
    struct journal_listener listener;
    _Atomic uint64_t head;
    _Atomic unsigned count;
};

static void hear(struct journal_listener *listener, uint64_t head)
{
    struct hearing *hearing = (struct hearing *)listener;
    hearing->head = head;
    hearing->count++;
}

static void listeners_hear_of_the_head_and_of_the_end_of_writing(void **state)
{
    struct stage *stage = *state;
    struct hearing a = {.listener.moved = hear}, b = {.listener.moved = hear};
    struct kit_pending pending;
    journal_listen(stage->journal, &a.listener);
    journal_listen(stage->journal, &b.listener);
    assert_ok(kit_append(stage->journal, "", "A", "", "{}", NULL));
    assert_ok(kit_append(stage->journal, "", "A", "", "{}", NULL));
    journal_unlisten(stage->journal, &a.listener);
    assert_true(a.head >= 1);
    memory_store_script(stage->store, LOG_FAILED, 1, false);
    unsigned before = b.count;
    kit_submit(stage->journal, &pending, stage->landing, "A", "", NULL);
    assert_true(kit_landing_wait(stage->landing, 1));
    reopen(stage);
    assert_true(b.count > before);
    assert_int_equal(b.head, 2);
    assert_true(a.count <= 2);
}

static void waiting_ends_when_the_head_has_moved_or_the_time_is_over(void **state)
{
    struct stage *stage = *state;
    struct kit_pending pending;
    assert_int_equal(journal_wait(stage->journal, 0, 1), -ETIMEDOUT);
    kit_submit(stage->journal, &pending, stage->landing, "A", "", NULL);
    assert_ok(journal_wait(stage->journal, 0, 10000));
    assert_ok(journal_wait(stage->journal, 0, 0));
    assert_int_equal(journal_wait(stage->journal, 1, 1), -ETIMEDOUT);
    assert_true(kit_landing_wait(stage->landing, 1));
}

/* ---- following ---- */

static size_t copy_records(struct journal *journal, struct log_record *records, size_t max)
{
    struct log_reader *reader;
    size_t count = 0;
    assert_ok(journal_log_reader(journal, 0, &reader));
    while (count < max && log_reader_next(reader, &records[count]) == 0)
        count++;
    log_reader_free(reader);
    return count;
}

static void a_follower_stores_records_unchanged_and_notices_when_the_journals_part(void **state)
{
    struct stage *stage = *state;
    struct memory_store *store = memory_store_new();
    struct journal_options options = {.follower = true};
    struct journal *follower;
    struct log_record records[8];
    struct log_chain chain, theirs;
    struct bytes tags[2][16];
    struct journal_event_new events[2] = {kit_event("s", "B", "x", tags[0], "2"),
                                          kit_event("s", "C", "", tags[1], "3")};
    struct journal_append append = {.events = events, .event_count = 2};
    assert_ok(kit_append(stage->journal, "s", "A", "x", "1", NULL));
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    assert_int_equal(copy_records(stage->journal, records, 8), 3);
    assert_ok(journal_chain_at(stage->journal, 3, &chain));
    assert_int_equal(journal_chain_at(stage->journal, 4, &theirs), JOURNAL_E_END);

    assert_ok(journal_open(memory_log_open(store, true), &options, &follower, NULL));
    assert_int_equal(kit_append(follower, "s", "X", "", "{}", NULL), JOURNAL_E_READ_ONLY);
    assert_false(journal_record_ends_append(&records[1]));
    assert_int_equal(journal_replicate(follower, records, 2, NULL), -EINVAL);
    assert_int_equal(journal_replicate(follower, records + 1, 2, NULL), JOURNAL_E_DIVERGED);
    struct log_chain wrong = chain;
    wrong.bytes[5] ^= 1;
    assert_int_equal(journal_replicate(follower, records, 3, &wrong), JOURNAL_E_DIVERGED);
    assert_int_equal(journal_head(follower), 0);
    assert_ok(journal_replicate(follower, records, 3, &chain));
    assert_ok(journal_chain_at(follower, 3, &theirs));
    assert_memory_equal(&chain, &theirs, sizeof(chain));
    assert_string_equal(kit_types(follower, &(struct journal_read){.stream = B("s")}), "A B C ");
    journal_close(follower);
    memory_store_free(store);
}

/* ---- stubs ---- */

static void an_event_whose_data_is_gone_keeps_its_place_and_its_names(void **state)
{
    struct stage *stage = *state;
    struct log *log = memory_log_open(stage->store, false);
    struct log_range range = {2, 2};
    struct log_replaced replaced;
    struct journal_reader *reader;
    struct journal_event event;
    struct log_chain before, after;
    struct journal_result result;
    journal_close(stage->journal);
    assert_ok(journal_open(log, NULL, &stage->journal, NULL));
    assert_ok(kit_append(stage->journal, "s", "A", "x", "{\"secret\":1}", NULL));
    assert_ok(kit_append(stage->journal, "s", "B", "x y", "{\"secret\":2}", NULL));
    assert_ok(journal_chain_at(stage->journal, 2, &before));
    assert_ok(log_replace(log, &range, 1, 0, &replaced));
    reopen(stage);
    assert_ok(journal_chain_at(stage->journal, 2, &after));
    assert_memory_equal(&before, &after, sizeof(before));
    assert_ok(
        journal_reader_new(stage->journal, &(struct journal_read){.stream = B("s"), .after = 1}, &reader));
    assert_ok(journal_reader_next(reader, &event));
    assert_true(event.stub);
    assert_int_equal(event.version, 2);
    assert_int_equal(event.tag_count, 2);
    assert_int_equal(event.data.size, 0);
    /* Its id is still taken, and what is left of its content is what is compared. */
    struct bytes tags[16];
    struct journal_event_new again = kit_event("s", "B", "y x", tags, "{}");
    struct journal_append append = {.events = &again, .event_count = 1};
    again.has_id = true;
    memcpy(again.id, event.id, sizeof(again.id));
    journal_reader_free(reader);
    assert_ok(journal_append_wait(stage->journal, &append, &result));
    assert_true(result.replayed);
    again.type = B("C");
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_ID_REUSED);
    assert_int_equal(kit_append_unless(stage->journal, "D", "y", 0, NULL), JOURNAL_E_CONFLICT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_turn_sees_what_stands_before_it_in_the_batch),
        STAGED(a_refusal_by_rule_is_decided_anew_when_its_ground_was_not_written),
        STAGED(times_never_go_back_and_lead_to_positions),
        STAGED(what_breaks_a_rule_alone_is_refused_at_once),
        STAGED(the_largest_append_and_the_most_tags_are_taken),
        STAGED(the_queue_has_an_end_and_says_so),
        STAGED(a_reader_finds_the_one_event_that_has_both_of_two_common_tags),
        STAGED(listeners_hear_of_the_head_and_of_the_end_of_writing),
        STAGED(waiting_ends_when_the_head_has_moved_or_the_time_is_over),
        STAGED(an_event_whose_data_is_gone_keeps_its_place_and_its_names),
        STAGED(a_follower_stores_records_unchanged_and_notices_when_the_journals_part),
    };
    return cmocka_run_group_tests_name("journal/contract", tests, NULL, NULL);
}
