/* Batches that are built while others are on their way (P3, P4, J3, J4), on the engine in memory, which holds them there. */
#include "lib/cmocka_all.h"

#include <assert.h>
#include <pthread.h>

#include "journal/codec.h"
#include "journal/past.h"
#include "journal/ready.h"
#include "lib/journal_stage.h"

enum { HEAVY_EVENT_COUNT = 20 }; /* more than is worth waiting with */

/* An append so large that the next batch is built at once. */
struct heavy {
    struct kit_pending pending;
    struct journal_event_new events[HEAVY_EVENT_COUNT];
    struct bytes tags[16];
};

static void submit_heavy(struct stage *stage, struct heavy *heavy, const char *type)
{
    *heavy = (struct heavy){0};
    for (size_t i = 0; i < HEAVY_EVENT_COUNT; i++)
        heavy->events[i] = kit_event("heavy", type, "", heavy->tags, "{}");
    heavy->pending.append =
        (struct journal_append){.events = heavy->events, .event_count = HEAVY_EVENT_COUNT};
    kit_submit_append(stage->journal, &heavy->pending, stage->landing);
}

/* What most tests begin with: `winner` is on its way and held there; `loser`, guarded against it, and `heavy` stand in a
 * batch on top of it. */
struct trio {
    struct kit_pending winner, loser;
    struct heavy heavy;
};

static void begin_trio(struct stage *stage, struct trio *trio)
{
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &trio->winner, stage->landing, "Winner", "room", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &trio->loser, stage->landing, "Loser", "room", "room");
    submit_heavy(stage, &trio->heavy, "H");
    assert_true(memory_store_wait_batches(stage->store, 2));
}

static void end_trio(struct stage *stage)
{
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
}

/* P3, P4: and nothing of either is shown or answered before it is durable. */
static void a_batch_is_built_while_another_is_on_its_way_and_sees_its_events(void **state)
{
    struct stage *stage = *state;
    struct trio trio;
    begin_trio(stage, &trio);
    assert_int_equal(kit_landing_count(stage->landing), 0);
    assert_int_equal(journal_head(stage->journal), 0);
    assert_string_equal(all_types(stage), "");
    end_trio(stage);
    assert_ok(trio.winner.result.answer);
    assert_int_equal(trio.loser.result.answer, JOURNAL_E_CONFLICT);
    assert_ok(trio.heavy.pending.result.answer);
    assert_int_equal(trio.heavy.pending.result.first, 2);
    assert_int_equal(journal_head(stage->journal), 1 + HEAVY_EVENT_COUNT);
    assert_int_equal(memory_store_batches(stage->store), 2);
}

/* The heart of J4 again: what lost against a batch on its way that never arrived did not lose. */
static void when_a_batch_finds_no_room_those_on_top_end_likewise_and_losers_get_another_turn(void **state)
{
    struct stage *stage = *state;
    struct trio trio;
    memory_store_script(stage->store, LOG_FULL, 1, false);
    begin_trio(stage, &trio);
    end_trio(stage);
    assert_int_equal(trio.winner.result.answer, JOURNAL_E_FULL);
    assert_int_equal(trio.heavy.pending.result.answer, JOURNAL_E_FULL);
    assert_ok(trio.loser.result.answer);
    assert_string_equal(all_types(stage), "Loser ");
}

static void when_a_batch_fails_for_good_nothing_on_top_of_it_is_kept_or_refused(void **state)
{
    struct stage *stage = *state;
    struct trio trio;
    memory_store_script(stage->store, LOG_FAILED, 1, false);
    begin_trio(stage, &trio);
    end_trio(stage);
    assert_int_equal(trio.winner.result.answer, JOURNAL_E_FAILED);
    assert_int_equal(trio.heavy.pending.result.answer, JOURNAL_E_FAILED);
    assert_int_equal(trio.loser.result.answer, JOURNAL_E_READ_ONLY);
    reopen(stage);
    assert_string_equal(all_types(stage), "");
}

static void when_the_end_of_a_batch_is_not_known_what_was_on_top_of_it_has_failed(void **state)
{
    struct stage *stage = *state;
    struct trio trio;
    memory_store_script(stage->store, LOG_UNKNOWN, 1, true);
    begin_trio(stage, &trio);
    end_trio(stage);
    assert_int_equal(trio.winner.result.answer, JOURNAL_E_UNKNOWN);
    assert_int_equal(trio.heavy.pending.result.answer, JOURNAL_E_FAILED);
    assert_int_equal(trio.loser.result.answer, JOURNAL_E_READ_ONLY);
    assert_string_equal(all_types(stage), "");
    reopen(stage);
    assert_string_equal(all_types(stage), "Winner ");
}

/* The other writer's record stands exactly where the winner's would: the tail alone could not tell. */
static void when_another_writer_was_first_everything_on_its_way_is_decided_anew(void **state)
{
    struct stage *stage = *state;
    struct trio trio;
    uint8_t memory[256];
    struct journal_event other = {.position = 1, .append_first = 1, .append_count = 1, .type = B("Other")};
    size_t head_size = codec_head_size(&other);
    codec_write_head(&other, memory);
    codec_write_body(&other, memory + head_size);
    memory_store_intrude(stage->store, bytes_make(memory, head_size),
                         bytes_make(memory + head_size, codec_body_size(&other)));
    begin_trio(stage, &trio);
    end_trio(stage);
    assert_ok(trio.winner.result.answer);
    assert_int_equal(trio.winner.result.first, 2);
    assert_int_equal(trio.loser.result.answer, JOURNAL_E_CONFLICT);
    assert_ok(trio.heavy.pending.result.answer);
    assert_int_equal(trio.heavy.pending.result.first, 3);
    assert_int_equal(journal_head(stage->journal), 2 + HEAVY_EVENT_COUNT);
}

/* ---- deciding ---- */

struct decision {
    struct kit_pending pending; /* first */
    unsigned turns;
    uint64_t seen[2], eras[2];
};

static int count_event(void *user, const struct journal_event *event)
{
    ++*(uint64_t *)user;
    return 0;
}

static int decide(struct journal_append *append, struct journal_turn *turn)
{
    struct decision *decision = (struct decision *)((char *)append - offsetof(struct kit_pending, append));
    struct bytes tag = B("room");
    const struct journal_item item = {.tags = &tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    assert(decision->turns < 2);
    decision->eras[decision->turns] = journal_turn_era(turn);
    int r = journal_turn_each(turn, &query, 0, count_event, &decision->seen[decision->turns]);
    decision->turns++;
    return r;
}

static void a_decision_sees_what_is_on_its_way_and_a_new_era_when_that_never_was(void **state)
{
    struct stage *stage = *state;
    struct kit_pending winner;
    struct decision decision = {0};
    struct heavy heavy;
    memory_store_script(stage->store, LOG_FULL, 1, false);
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &winner, stage->landing, "Winner", "room", NULL);
    assert_true(memory_store_wait_held(stage->store));
    decision.pending.append.prepare = decide;
    kit_submit_append(stage->journal, &decision.pending, stage->landing);
    submit_heavy(stage, &heavy, "H");
    assert_true(memory_store_wait_batches(stage->store, 2));
    end_trio(stage);
    assert_int_equal(decision.turns, 2); /* it wrote nothing, so its turn came again */
    assert_int_equal(decision.seen[0], 1);
    assert_int_equal(decision.seen[1], 0);
    assert_true(decision.eras[1] > decision.eras[0]);
    assert_ok(decision.pending.result.answer);
    assert_int_equal(decision.pending.result.last, 0);
}

/* P5 */
static void an_id_on_its_way_is_known_and_its_replay_told_when_it_is_durable(void **state)
{
    struct stage *stage = *state;
    struct kit_pending first = {0}, second = {0};
    struct heavy heavy;
    struct kit_pending *both[] = {&first, &second};
    memory_store_hold(stage->store);
    for (size_t i = 0; i < 2; i++) {
        both[i]->event = kit_event("s", "A", "x", both[i]->tags, "1");
        both[i]->event.has_id = true;
        memset(both[i]->event.id, 3, sizeof(both[i]->event.id));
        both[i]->append = (struct journal_append){.events = &both[i]->event, .event_count = 1};
        kit_submit_append(stage->journal, both[i], stage->landing);
        if (i == 0)
            assert_true(memory_store_wait_held(stage->store));
    }
    submit_heavy(stage, &heavy, "H");
    assert_true(memory_store_wait_batches(stage->store, 2));
    assert_int_equal(kit_landing_count(stage->landing), 0);
    end_trio(stage);
    assert_ok(second.result.answer);
    assert_true(second.result.replayed);
    assert_int_equal(second.result.first, 1);
}

/* ---- what is made before the turn ---- */

/* JOURNAL_READY_SIZE_MIN: from there on bodies and their hashes are made on the submitting thread. */
static void bodies_made_before_their_turn_are_stored_and_chained_as_any_other(void **state)
{
    static char data[JOURNAL_READY_SIZE_MIN];
    struct stage *stage = *state;
    struct kit_pending large = {0}, small;
    struct log_reader *reader;
    struct log_record record;
    struct log_chain chain = {0}, expected;
    memset(data, '7', sizeof(data));
    large.event = kit_event("s", "Large", "x", large.tags, "");
    large.event.data = bytes_make(data, sizeof(data));
    large.append = (struct journal_append){.events = &large.event, .event_count = 1};
    kit_submit_append(stage->journal, &large, stage->landing);
    kit_submit(stage->journal, &small, stage->landing, "Small", "", NULL);
    assert_true(kit_landing_wait(stage->landing, 2));
    assert_null(large.append.ready); /* given back with the answer */
    assert_ok(journal_log_reader(stage->journal, 0, &reader));
    assert_ok(log_reader_next(reader, &record));
    assert_true(record.body.size > sizeof(data));
    assert_memory_equal(record.body.data + record.body.size - sizeof(data), data, sizeof(data));
    log_chain_step(&chain, &record, &chain);
    assert_ok(log_reader_next(reader, &record));
    log_chain_step(&chain, &record, &chain);
    log_reader_free(reader);
    assert_ok(journal_chain_at(stage->journal, 2, &expected));
    assert_memory_equal(&chain, &expected, sizeof(chain));
}

/* ---- how many, and by whom ---- */

static void no_more_than_so_many_batches_are_on_their_way(void **state)
{
    static struct heavy heavies[JOURNAL_BATCHES_IN_FLIGHT_MAX + 3];
    enum { COUNT = JOURNAL_BATCHES_IN_FLIGHT_MAX + 3 };
    struct stage *stage = *state;
    memory_store_hold(stage->store);
    for (unsigned i = 0; i < COUNT; i++) {
        submit_heavy(stage, &heavies[i], "H");
        if (i < JOURNAL_BATCHES_IN_FLIGHT_MAX)
            assert_true(memory_store_wait_batches(stage->store, i + 1));
    }
    assert_int_equal(memory_store_batches(stage->store), JOURNAL_BATCHES_IN_FLIGHT_MAX);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, COUNT));
    for (unsigned i = 0; i < COUNT; i++) {
        assert_ok(heavies[i].pending.result.answer);
        assert_int_equal(heavies[i].pending.result.first, 1 + i * HEAVY_EVENT_COUNT); /* in their order */
    }
    assert_true(memory_store_batches(stage->store) < COUNT);
}

static pthread_t writer_seen;

static int note_writer(struct journal_append *append, struct journal_turn *turn)
{
    writer_seen = pthread_self();
    return 0;
}

static void a_caller_that_is_alone_writes_on_its_own_thread(void **state)
{
    struct stage *stage = *state;
    struct bytes memory[16];
    struct journal_event_new event = kit_event("", "A", "", memory, "{}");
    struct journal_append append = {.events = &event, .event_count = 1, .prepare = note_writer};
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    assert_true(pthread_equal(writer_seen, pthread_self()));
    assert_string_equal(all_types(stage), "A ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(a_batch_is_built_while_another_is_on_its_way_and_sees_its_events),
        STAGED(when_a_batch_finds_no_room_those_on_top_end_likewise_and_losers_get_another_turn),
        STAGED(when_a_batch_fails_for_good_nothing_on_top_of_it_is_kept_or_refused),
        STAGED(when_the_end_of_a_batch_is_not_known_what_was_on_top_of_it_has_failed),
        STAGED(when_another_writer_was_first_everything_on_its_way_is_decided_anew),
        STAGED(a_decision_sees_what_is_on_its_way_and_a_new_era_when_that_never_was),
        STAGED(an_id_on_its_way_is_known_and_its_replay_told_when_it_is_durable),
        STAGED(bodies_made_before_their_turn_are_stored_and_chained_as_any_other),
        STAGED(no_more_than_so_many_batches_are_on_their_way),
        STAGED(a_caller_that_is_alone_writes_on_its_own_thread),
    };
    return cmocka_run_group_tests_name("journal/flight", tests, NULL, NULL);
}
