/* The promises of the journal, one by one, on the engine in memory, whose outcomes can be scripted. Its numbers are
 * those of journal.h (J1…) and of the promises (P1…). */
#include "lib/cmocka_all.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "lib/journal_stage.h"
#include "os/clock.h"

/* ---- P1, J1 ---- */

static void nothing_is_acknowledged_or_shown_before_it_is_durable(void **state)
{
    struct stage *stage = *state;
    struct kit_pending pending;
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &pending, stage->landing, "A", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    assert_int_equal(kit_landing_count(stage->landing), 0);
    assert_int_equal(journal_head(stage->journal), 0);
    assert_string_equal(all_types(stage), "");
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 1));
    assert_ok(pending.result.answer);
    assert_int_equal(pending.result.first, 1);
    assert_string_equal(all_types(stage), "A ");
}

/* ---- P2, J2 ---- */

static void an_append_is_one_entry_of_the_log_with_all_its_events(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[3][16];
    struct journal_event_new events[3] = {kit_event("s", "A", "", tags[0], "1"),
                                          kit_event("t", "B", "", tags[1], "2"),
                                          kit_event("s", "C", "", tags[2], "3")};
    struct journal_append append = {.events = events, .event_count = 3};
    struct journal_result result;
    memory_store_script(stage->store, LOG_FULL, 1, false);
    assert_int_equal(journal_append_wait(stage->journal, &append, &result), JOURNAL_E_FULL);
    assert_int_equal(journal_head(stage->journal), 0);
    assert_int_equal(kit_stream_version(stage->journal, B("s")), 0);
    assert_ok(journal_append_wait(stage->journal, &append, &result));
    assert_int_equal(result.first, 1);
    assert_int_equal(result.last, 3);
    assert_int_equal(kit_stream_version(stage->journal, B("s")), 2);
    assert_int_equal(kit_stream_version(stage->journal, B("t")), 1);
    assert_string_equal(all_types(stage), "A B C ");
}

static void an_event_is_read_with_everything_it_was_given(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[16];
    struct journal_event_new wanted = kit_event("room-1", "Booked", "b a b", tags, "\x01\x02");
    struct journal_append append = {
        .events = &wanted, .event_count = 1, .key = B("Book k"), .key_hash = B("0123456789abcdef")};
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t first, last;
    uint8_t key_hash[16];
    wanted.content_type = B("application/octet-stream");
    wanted.meta = B("{\"m\":1}");
    wanted.has_id = true;
    memset(wanted.id, 7, sizeof(wanted.id));
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    reopen(stage);
    assert_ok(journal_reader_new(stage->journal, &(struct journal_read){0}, &reader));
    assert_ok(journal_reader_next(reader, &event));
    assert_int_equal(event.position, 1);
    assert_int_equal(event.version, 1);
    assert_int_equal(event.append_first, 1);
    assert_int_equal(event.append_count, 1);
    assert_memory_equal(event.id, wanted.id, 16);
    assert_true(bytes_equal(event.stream, wanted.stream));
    assert_true(bytes_equal(event.type, wanted.type));
    assert_true(bytes_equal(event.data, wanted.data));
    assert_true(bytes_equal(event.meta, wanted.meta));
    assert_true(bytes_equal(event.content_type, wanted.content_type));
    assert_int_equal(event.tag_count, 2);
    assert_true(bytes_equal_string(event.tags[0], "a"));
    assert_true(bytes_equal_string(event.tags[1], "b"));
    assert_true(bytes_equal(event.key, append.key));
    assert_int_equal(journal_reader_next(reader, &event), JOURNAL_E_END);
    journal_reader_free(reader);
    assert_ok(journal_find_key(stage->journal, B("Book k"), &first, &last, key_hash));
    assert_int_equal(first, 1);
    assert_int_equal(last, 1);
    assert_memory_equal(key_hash, "0123456789abcdef", 16);
    assert_int_equal(journal_find_key(stage->journal, B("Book l"), &first, &last, key_hash), JOURNAL_E_END);
}

/* ---- P3, J3: see also the model and the race tests ---- */

static void a_reader_goes_on_when_the_head_moves_and_says_how_far_it_has_looked(void **state)
{
    struct stage *stage = *state;
    struct bytes tag = B("x");
    struct journal_item item = {.tags = &tag, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    struct journal_reader *reader;
    struct journal_event event;
    assert_ok(journal_reader_new(stage->journal, &(struct journal_read){.query = &query}, &reader));
    assert_int_equal(journal_reader_next(reader, &event), JOURNAL_E_END);
    assert_int_equal(journal_reader_examined(reader), 0);
    for (unsigned i = 0; i < 200; i++)
        assert_ok(kit_append(stage->journal, "", "A", i % 50 == 7 ? "x y" : "y", "{}", NULL));
    for (unsigned i = 7; i < 200; i += 50) {
        assert_ok(journal_reader_next(reader, &event));
        assert_int_equal(event.position, i + 1);
        assert_int_equal(journal_reader_examined(reader), i + 1);
    }
    assert_int_equal(journal_reader_next(reader, &event), JOURNAL_E_END);
    assert_int_equal(journal_reader_examined(reader), 200);
    assert_ok(kit_append(stage->journal, "", "B", "x", "{}", NULL));
    assert_ok(journal_reader_next(reader, &event));
    assert_int_equal(event.position, 201);
    journal_reader_free(reader);
}

/* ---- P4, J4 ---- */

static void a_loser_of_the_same_batch_is_told_only_when_the_winner_is_durable(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, winner, loser;
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "Blocker", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &winner, stage->landing, "Winner", "room", "room");
    kit_submit(stage->journal, &loser, stage->landing, "Loser", "room", "room");
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
    assert_ok(winner.result.answer);
    assert_int_equal(loser.result.answer, JOURNAL_E_CONFLICT);
    assert_int_equal(memory_store_batches(stage->store), 2);
    assert_string_equal(all_types(stage), "Blocker Winner ");
}

/* The heart of J4: what lost against something that was never written did not lose. */
static void a_loser_is_not_refused_when_the_batch_it_lost_against_fails(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, winner, loser;
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "Blocker", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &winner, stage->landing, "Winner", "room", "room");
    kit_submit(stage->journal, &loser, stage->landing, "Loser", "room", "room");
    memory_store_script(stage->store, LOG_FULL, 1, false);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
    assert_ok(blocker.result.answer);
    assert_int_equal(winner.result.answer, JOURNAL_E_FULL);
    assert_ok(loser.result.answer);
    assert_string_equal(all_types(stage), "Blocker Loser ");
}

static void after_a_failed_sync_losers_are_failed_and_not_refused(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, winner, loser;
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "Blocker", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    kit_submit(stage->journal, &winner, stage->landing, "Winner", "room", "room");
    kit_submit(stage->journal, &loser, stage->landing, "Loser", "room", "room");
    memory_store_script(stage->store, LOG_FAILED, 1, false);
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
    assert_int_equal(winner.result.answer, JOURNAL_E_FAILED);
    assert_int_equal(loser.result.answer, JOURNAL_E_READ_ONLY);
}

static void an_append_that_was_fenced_sees_what_the_other_writer_wrote(void **state)
{
    struct stage *stage = *state;
    uint8_t memory[256];
    struct journal_result result;
    struct bytes tag = B("room");
    struct journal_event other = {.position = 1,
                                  .append_first = 1,
                                  .append_count = 1,
                                  .type = B("Other"),
                                  .tags = &tag,
                                  .tag_count = 1};
    codec_write_head(&other, memory);
    size_t head_size = codec_head_size(&other);
    codec_write_body(&other, memory + head_size);
    memory_store_intrude(stage->store, bytes_make(memory, head_size),
                         bytes_make(memory + head_size, codec_body_size(&other)));
    assert_int_equal(kit_append_unless(stage->journal, "Mine", "room", 0, &result), JOURNAL_E_CONFLICT);
    assert_int_equal(journal_head(stage->journal), 1);
    assert_string_equal(all_types(stage), "Other ");
    assert_ok(kit_append_unless(stage->journal, "Mine", "room", 1, &result));
    assert_string_equal(all_types(stage), "Other Mine ");
}

/* Of what was refused all is listed: each stream with its version, each item with its first event. */
struct caught {
    struct journal_conflict conflicts[8];
    size_t count;
};

static void catch_conflicts(struct journal_append *append, const struct journal_result *result)
{
    struct caught *caught = append->user;
    assert_true(result->conflict_count <= 8);
    memcpy(caught->conflicts, result->conflicts, result->conflict_count * sizeof(*result->conflicts));
    caught->count = result->conflict_count;
}

static void all_violations_are_reported_with_what_stands_there(void **state)
{
    struct stage *stage = *state;
    struct bytes memory[16], x = B("x"), y = B("y");
    struct journal_event_new event = kit_event("", "New", "", memory, "{}");
    struct journal_item items[2] = {{.tags = &y, .tag_count = 1}, {.tags = &x, .tag_count = 1}};
    struct journal_condition condition = {.query = {.items = items, .count = 2}, .after = 1};
    struct journal_expectation expectations[] = {
        {B("s"), JOURNAL_EXPECT_VERSION, 5},   {B("s"), JOURNAL_EXPECT_VERSION, 2},
        {B("none"), JOURNAL_EXPECT_EXISTS, 0}, {B("s"), JOURNAL_EXPECT_NONE, 0},
        {B("s"), JOURNAL_EXPECT_ANY, 0},
    };
    struct caught caught = {0};
    struct journal_append append = {.events = &event,
                                    .event_count = 1,
                                    .expectations = expectations,
                                    .expectation_count = 5,
                                    .condition = &condition,
                                    .done = catch_conflicts,
                                    .user = &caught};
    assert_ok(kit_append(stage->journal, "s", "A", "x", "{}", NULL));
    assert_ok(kit_append(stage->journal, "s", "B", "x", "{}", NULL));
    assert_ok(journal_submit(stage->journal, &append, NULL));
    reopen(stage); /* everything queued has been answered */
    assert_int_equal(caught.count, 4);
    assert_int_equal(caught.conflicts[0].expected, 5);
    assert_int_equal(caught.conflicts[0].actual, 2);
    assert_true(bytes_equal_string(caught.conflicts[1].stream, "none"));
    assert_int_equal(caught.conflicts[1].actual, 0);
    assert_int_equal(caught.conflicts[2].expect, JOURNAL_EXPECT_NONE);
    assert_int_equal(caught.conflicts[2].actual, 2);
    assert_int_equal(caught.conflicts[3].stream.size, 0);
    assert_int_equal(caught.conflicts[3].item, 1);
    assert_int_equal(caught.conflicts[3].position, 2);
}

static void a_condition_without_items_means_any_event_but_the_systems_own(void **state)
{
    struct stage *stage = *state;
    struct bytes memory[16];
    struct journal_event_new event = kit_event("", "New", "", memory, "{}");
    struct journal_event_new system = kit_event("$erased", "$Erased", "", memory, "{}");
    struct journal_condition condition = {0};
    struct journal_append append = {.events = &event, .event_count = 1, .condition = &condition};
    struct journal_append system_append = {.events = &system, .event_count = 1};
    assert_int_equal(journal_append_wait(stage->journal, &system_append, NULL), JOURNAL_E_INVALID);
    system.system = true;
    assert_ok(journal_append_wait(stage->journal, &system_append, NULL));
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    assert_int_equal(journal_append_wait(stage->journal, &append, NULL), JOURNAL_E_CONFLICT);
    condition.after = 2;
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    assert_string_equal(all_types(stage), "New New "); /* J8 */
    assert_string_equal(kit_types(stage->journal, &(struct journal_read){.system = true}),
                        "$Erased New New ");
}

/* ---- P5, J5 ---- */

static struct journal_event_new with_id(struct journal_event_new event, uint8_t id)
{
    event.has_id = true;
    memset(event.id, id, sizeof(event.id));
    return event;
}

static void known_ids_with_the_same_content_are_a_replay(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[3][16];
    struct journal_event_new events[3] = {with_id(kit_event("s", "A", "x y", tags[0], "1"), 1),
                                          with_id(kit_event("s", "B", "", tags[1], "2"), 2)};
    struct journal_expectation expectation = {B("s"), JOURNAL_EXPECT_NONE, 0};
    struct journal_append append = {
        .events = events, .event_count = 2, .expectations = &expectation, .expectation_count = 1};
    struct journal_result result;
    assert_ok(kit_append(stage->journal, "", "First", "", "{}", NULL));
    assert_ok(journal_append_wait(stage->journal, &append, &result));
    assert_false(result.replayed);
    reopen(stage);
    /* Tags are a set, meta does not count, and ids are looked at before the versions that are now others. */
    struct bytes other_order[16];
    events[0] = with_id(kit_event("s", "A", "y x y", other_order, "1"), 1);
    events[0].meta = B("{\"again\":true}");
    events[1].content_type = B("application/json");
    assert_ok(journal_append_wait(stage->journal, &append, &result));
    assert_true(result.replayed);
    assert_int_equal(result.first, 2);
    assert_int_equal(result.last, 3);
    assert_int_equal(journal_head(stage->journal), 3);
}

static int append_with_ids(struct stage *stage, struct journal_event_new *events, size_t count,
                           size_t *ret_index)
{
    struct journal_append append = {.events = events, .event_count = count};
    struct journal_result result;
    int r = journal_append_wait(stage->journal, &append, &result);
    *ret_index = result.index;
    return r;
}

static void ids_known_in_part_in_another_order_or_with_other_content_are_refused(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[3][16];
    struct journal_event_new a = with_id(kit_event("s", "A", "x", tags[0], "1"), 1);
    struct journal_event_new b = with_id(kit_event("s", "B", "", tags[1], "2"), 2);
    struct journal_event_new c = with_id(kit_event("", "C", "", tags[2], "3"), 3);
    struct journal_event_new other = a, anonymous = a;
    size_t index;
    assert_ok(append_with_ids(stage, (struct journal_event_new[]){a, b}, 2, &index));
    assert_ok(append_with_ids(stage, (struct journal_event_new[]){c}, 1, &index));
    other.data = B("2");
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){other, b}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    assert_int_equal(index, 0);
    other = a;
    other.tag_count = 0;
    assert_int_equal(append_with_ids(stage, &other, 1, &index), JOURNAL_E_ID_REUSED);
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){b, a}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){b, c}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    struct journal_event_new fresh = with_id(a, 9);
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){a, fresh}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    assert_int_equal(index, 1);
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){fresh, a}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    anonymous.has_id = false;
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){a, anonymous}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    assert_int_equal(append_with_ids(stage, (struct journal_event_new[]){fresh, fresh}, 2, &index),
                     JOURNAL_E_ID_REUSED);
    assert_int_equal(journal_head(stage->journal), 3);
    /* Part of an append, in order, is known whole. */
    assert_ok(append_with_ids(stage, &b, 1, &index));
    assert_int_equal(journal_head(stage->journal), 3);
}

static void the_same_id_twice_in_one_batch_is_written_once(void **state)
{
    struct stage *stage = *state;
    struct kit_pending blocker, twins[2];
    memory_store_hold(stage->store);
    kit_submit(stage->journal, &blocker, stage->landing, "Blocker", "", NULL);
    assert_true(memory_store_wait_held(stage->store));
    for (unsigned i = 0; i < 2; i++) {
        twins[i] = (struct kit_pending){.event = with_id(kit_event("", "Twin", "t", twins[i].tags, "1"), 5)};
        twins[i].event.tag_count = 0;
        twins[i].append = (struct journal_append){.events = &twins[i].event, .event_count = 1};
        kit_submit_append(stage->journal, &twins[i], stage->landing);
    }
    memory_store_release(stage->store);
    assert_true(kit_landing_wait(stage->landing, 3));
    assert_ok(twins[0].result.answer);
    assert_ok(twins[1].result.answer);
    assert_false(twins[0].result.replayed);
    assert_true(twins[1].result.replayed);
    assert_int_equal(twins[1].result.first, 2);
    assert_int_equal(journal_head(stage->journal), 2);
}

/* ---- P7 ---- */

static void a_failed_sync_is_final_until_the_journal_is_opened_again(void **state)
{
    struct stage *stage = *state;
    struct journal_status status;
    assert_ok(kit_append(stage->journal, "", "A", "", "{}", NULL));
    memory_store_script(stage->store, LOG_FAILED, 1, false);
    assert_int_equal(kit_append(stage->journal, "", "B", "", "{}", NULL), JOURNAL_E_FAILED);
    assert_int_equal(kit_append(stage->journal, "", "C", "", "{}", NULL), JOURNAL_E_READ_ONLY);
    journal_status(stage->journal, &status);
    assert_false(status.writable);
    assert_string_equal(status.reason, "a scripted failure");
    assert_string_equal(all_types(stage), "A ");
    reopen(stage);
    assert_ok(kit_append(stage->journal, "", "D", "", "{}", NULL));
    assert_string_equal(all_types(stage), "A D ");
}

static void an_unknown_end_is_told_as_such_and_settled_by_sending_again(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[16];
    struct journal_event_new event = with_id(kit_event("s", "A", "", tags, "1"), 1);
    struct journal_append append = {.events = &event, .event_count = 1};
    struct journal_result result;
    for (unsigned kept = 0; kept < 2; kept++) {
        event = with_id(event, (uint8_t)(1 + kept));
        memory_store_script(stage->store, LOG_UNKNOWN, 1, kept);
        assert_int_equal(journal_append_wait(stage->journal, &append, NULL), JOURNAL_E_UNKNOWN);
        reopen(stage);
        assert_ok(journal_append_wait(stage->journal, &append, &result));
        assert_int_equal(result.replayed, kept);
        assert_int_equal(result.first, 1 + kept);
    }
}

static void a_full_disk_is_told_and_writing_resumes_by_itself(void **state)
{
    struct stage *stage = *state;
    struct journal_status status;
    assert_ok(kit_append(stage->journal, "", "A", "", "{}", NULL));
    memory_store_script(stage->store, LOG_FULL, 2, false);
    assert_int_equal(kit_append(stage->journal, "", "B", "", "{}", NULL), JOURNAL_E_FULL);
    journal_status(stage->journal, &status);
    assert_true(status.full);
    assert_true(status.writable);
    assert_string_equal(all_types(stage), "A ");
    assert_int_equal(kit_append(stage->journal, "", "B", "", "{}", NULL), JOURNAL_E_FULL);
    assert_ok(kit_append(stage->journal, "", "C", "", "{}", NULL));
    journal_status(stage->journal, &status);
    assert_false(status.full);
    assert_string_equal(all_types(stage), "A C ");
}

/* ---- damage (P6) ---- */

static void a_journal_with_damage_shows_what_is_before_it_and_refuses_writes(void **state)
{
    struct stage *stage = *state;
    struct journal_status status;
    for (const char *type = "A\0B\0C\0"; *type; type += 2)
        assert_ok(kit_append(stage->journal, "", type, "", "{}", NULL));
    memory_store_damage(stage->store, 3);
    reopen(stage);
    assert_string_equal(kit_types(stage->journal, &(struct journal_read){.before = 3}), "A B ");
    journal_status(stage->journal, &status);
    assert_false(status.writable);
    assert_true(status.incomplete);
    assert_true(status.reason[0] != 0);
    assert_int_equal(kit_append(stage->journal, "", "D", "", "{}", NULL), JOURNAL_E_READ_ONLY);
}

/* How a reader ends, and how many events it showed before; one that could not be made showed none. */
static int read_to_end(struct journal *journal, const struct journal_read *read, size_t *ret_count)
{
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(journal, read, &reader);
    *ret_count = 0;
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        ++*ret_count;
    return r;
}

/* The end of what can be read is not the end of what was acknowledged: no reader may be told that it is. */
static void a_reader_that_goes_on_behind_damage_ends_in_damage_and_one_that_does_not_ends_well(void **state)
{
    struct stage *stage = *state;
    const struct bytes type = BYTES_LITERAL("A");
    const struct journal_item item = {.types = &type, .type_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    const struct {
        struct journal_read read;
        int end;
        size_t count;
    } cases[] = {
        {{.after = 0}, -EBADMSG, 4},
        {{.before = 5}, JOURNAL_E_END, 4},
        {{.before = 6}, -EBADMSG, 4},
        {{.after = 4}, -EBADMSG, 0},
        {{.after = 9}, -EBADMSG, 0},
        {{.query = &query}, -EBADMSG, 2},
        {{.query = &query, .before = 5}, JOURNAL_E_END, 2},
        {{.direction = JOURNAL_BACKWARD}, -EBADMSG, 0},
        {{.direction = JOURNAL_BACKWARD, .before = 5}, JOURNAL_E_END, 4},
        {{.direction = JOURNAL_BACKWARD, .before = 6}, -EBADMSG, 0},
        {{.stream = BYTES_LITERAL("s")}, -EBADMSG, 4},
        {{.stream = BYTES_LITERAL("s"), .before = 3}, JOURNAL_E_END, 2},
        {{.stream = BYTES_LITERAL("s"), .before = 5}, JOURNAL_E_END, 4},
        {{.stream = BYTES_LITERAL("s"), .before = 6}, -EBADMSG, 4},
        {{.stream = BYTES_LITERAL("s"), .direction = JOURNAL_BACKWARD}, -EBADMSG, 0},
        {{.stream = BYTES_LITERAL("s"), .direction = JOURNAL_BACKWARD, .before = 3}, JOURNAL_E_END, 2},
        {{.stream = BYTES_LITERAL("never was")}, -EBADMSG, 0},
    };
    uint64_t version;
    struct log_chain chain;
    for (const char *type_name = "A\0B\0A\0B\0A\0B\0"; *type_name; type_name += 2)
        assert_ok(kit_append(stage->journal, "s", type_name, "", "{}", NULL));
    memory_store_damage(stage->store, 5);
    reopen(stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t count;
        int end = read_to_end(stage->journal, &cases[i].read, &count);
        if (end != cases[i].end || count != cases[i].count)
            fail_msg("case %zu ends in %d after %zu events, not in %d after %zu", i, end, count, cases[i].end,
                     cases[i].count);
    }
    assert_int_equal(journal_stream_version(stage->journal, BYTES_LITERAL("s"), &version), -EBADMSG);
    assert_int_equal(journal_chain_at(stage->journal, 5, &chain), -EBADMSG);
    assert_ok(journal_chain_at(stage->journal, 4, &chain));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(nothing_is_acknowledged_or_shown_before_it_is_durable),
        STAGED(an_append_is_one_entry_of_the_log_with_all_its_events),
        STAGED(an_event_is_read_with_everything_it_was_given),
        STAGED(a_reader_goes_on_when_the_head_moves_and_says_how_far_it_has_looked),
        STAGED(a_loser_of_the_same_batch_is_told_only_when_the_winner_is_durable),
        STAGED(a_loser_is_not_refused_when_the_batch_it_lost_against_fails),
        STAGED(after_a_failed_sync_losers_are_failed_and_not_refused),
        STAGED(an_append_that_was_fenced_sees_what_the_other_writer_wrote),
        STAGED(all_violations_are_reported_with_what_stands_there),
        STAGED(a_condition_without_items_means_any_event_but_the_systems_own),
        STAGED(known_ids_with_the_same_content_are_a_replay),
        STAGED(ids_known_in_part_in_another_order_or_with_other_content_are_refused),
        STAGED(the_same_id_twice_in_one_batch_is_written_once),
        STAGED(a_failed_sync_is_final_until_the_journal_is_opened_again),
        STAGED(an_unknown_end_is_told_as_such_and_settled_by_sending_again),
        STAGED(a_full_disk_is_told_and_writing_resumes_by_itself),
        STAGED(a_journal_with_damage_shows_what_is_before_it_and_refuses_writes),
        STAGED(a_reader_that_goes_on_behind_damage_ends_in_damage_and_one_that_does_not_ends_well),
    };
    return cmocka_run_group_tests_name("journal/journal", tests, NULL, NULL);
}
