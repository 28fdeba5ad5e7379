/* Retention and scavenging: what goes, what stays, and that nobody but a reader of bodies notices. */
#include "lib/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "journal/scavenge_said.h"
#include "lib/fake_clock.h"
#include "lib/journal_kit.h"
#include "lib/memory_log.h"

#define DAY_MS (UINT64_C(86400) * 1000)

struct stage {
    struct memory_store *store;
    struct journal *journal;
    struct fake_clock clock;
    struct scavenge_report report;
    char error[256];
};

static void open_journal(struct stage *stage)
{
    struct journal_options options = {.clock = &stage->clock.clock};
    assert_ok(journal_open(memory_log_open(stage->store, false), &options, &stage->journal, NULL));
}

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof(*stage));
    stage->store = memory_store_new();
    fake_clock_init(&stage->clock, INT64_C(86400000000000));
    open_journal(stage);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    journal_close(stage->journal);
    memory_store_free(stage->store);
    free(stage);
    return 0;
}

/* ---- short ways ---- */

static void rule(struct stage *stage, const char *name, bool prefix, const char *json)
{
    struct retention_rule rule = {.name = B(name), .prefix = prefix};
    struct retention_violations violations;
    struct journal_event_new event;
    struct buffer data = {0};
    if (json)
        assert_ok(retention_parse(B(json), &rule, &violations));
    assert_ok(retention_event(&rule, !json, &data, &event));
    struct journal_append append = {.events = &event, .event_count = 1};
    assert_ok(journal_append_wait(stage->journal, &append, NULL));
    buffer_deinit(&data);
}

static void append(struct stage *stage, const char *stream, const char *type, const char *tags)
{
    assert_ok(kit_append(stage->journal, stream, type, tags, "{\"secret\":\"0123456789\"}", NULL));
}

static int run_with(struct stage *stage, struct scavenge_options options)
{
    return journal_scavenge(stage->journal, &options, &stage->report, stage->error);
}

static void run(struct stage *stage)
{
    assert_ok(run_with(stage, (struct scavenge_options){0}));
}

/* The positions of the stubs, with a blank behind each. */
static const char *stubs(struct journal *journal)
{
    static char text[1024];
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    size_t size = 0;
    text[0] = '\0';
    assert_ok(journal_reader_new(journal, &(struct journal_read){.system = true}, &reader));
    while (journal_reader_next(reader, &event) == 0)
        if (event.stub)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%llu ",
                                     (unsigned long long)event.position);
    return text;
}

/* ---- rules ---- */

static void the_rule_of_the_stream_decides_before_prefixes_and_a_long_prefix_before_a_short_one(void **state)
{
    struct stage *stage = *state;
    _cleanup_(retention_freep) struct retention *retention = NULL;
    size_t count;
    rule(stage, "room-1", false, "{\"max_count\":1}");
    rule(stage, "room-", true, "{\"max_count\":2}");
    rule(stage, "r", true, "{\"max_count\":3}");
    rule(stage, "", true, "{\"max_age_s\":60}");
    rule(stage, "gone", false, "{\"max_count\":9}");
    rule(stage, "gone", false, NULL);
    rule(stage, "room-1", false, "{\"max_count\":7,\"max_age_s\":5}");
    assert_ok(retention_load(stage->journal, &retention));
    (void)retention_rules(retention, &count);
    assert_int_equal(count, 4);
    assert_int_equal(retention_find(retention, B("room-1"))->max_count, 7); /* the last one stands */
    assert_int_equal(retention_find(retention, B("room-1"))->position, 7);
    assert_int_equal(retention_find(retention, B("room-2"))->max_count, 2);
    assert_int_equal(retention_find(retention, B("rooms"))->max_count, 3);
    assert_int_equal(retention_find(retention, B("gone"))->max_age_s, 60);
    assert_int_equal(retention_find(retention, B(""))->max_age_s, 60);
    assert_null(retention_of(retention, B("room-2"), false));
}

static void a_rule_names_all_its_mistakes_at_once(void **state)
{
    struct retention_rule rule = {.name = B("s"), .max_count = 5}, prefix = {.name = B("s"), .prefix = true};
    struct retention_violations violations;
    assert_int_equal(
        retention_parse(B("{\"max_age_s\":0,\"max_count\":-1,\"truncate_before\":1.5,\"keep\":1}"), &rule,
                        &violations),
        RETENTION_E_INVALID);
    assert_int_equal(violations.count, 4);
    assert_string_equal(violations.items[1].pointer, "/max_age_s");
    assert_int_equal(rule.max_count, 5); /* untouched */
    assert_int_equal(retention_parse(B("{}"), &rule, &violations), RETENTION_E_INVALID);
    assert_int_equal(retention_parse(B("{\"max_age_s\":100000000001}"), &rule, &violations),
                     RETENTION_E_INVALID);
    assert_int_equal(retention_parse(B("{\"truncate_before\":2}"), &prefix, &violations),
                     RETENTION_E_INVALID);
    assert_int_equal(retention_parse(B("[]"), &rule, &violations), RETENTION_E_MALFORMED);
    assert_int_equal(retention_parse(B("{"), &rule, &violations), RETENTION_E_MALFORMED);
    char large[RETENTION_BODY_SIZE_MAX + 2];
    memset(large, ' ', sizeof(large));
    assert_int_equal(retention_parse(bytes_make(large, sizeof(large) - 1), &rule, &violations),
                     RETENTION_E_MALFORMED);
    assert_ok(retention_parse(B("{\"max_age_s\":100000000000}"), &rule, &violations));
}

/* ---- what goes ---- */

static void events_go_by_age_by_count_and_by_truncation(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 3; i++) { /* 1…9 */
        append(stage, "aged", "A", "");
        append(stage, "counted", "B", "");
        append(stage, "cut", "C", "");
        fake_clock_advance(&stage->clock, DAY_MS);
    }
    append(stage, "free", "D", "");                  /* 10: no rule */
    rule(stage, "aged", false, "{\"max_age_s\":129600}"); /* a day and a half: 1 and 4 are older */
    rule(stage, "counted", false, "{\"max_count\":1}");
    rule(stage, "cut", false, "{\"truncate_before\":3}");
    run(stage);
    assert_string_equal(stubs(stage->journal), "1 2 3 4 5 6 ");
    assert_int_equal(stage->report.gone, 6);
    assert_int_equal(stage->report.young, 3);
    assert_int_equal(stage->report.ruled, 9);
    run(stage); /* again: nothing is left to do, and nothing is said */
    assert_int_equal(stage->report.gone, 0);
    assert_int_equal(stage->report.gone_already, 6);
    assert_int_equal(journal_head(stage->journal), 14);
    fake_clock_advance(&stage->clock, DAY_MS); /* the third of the aged stream is two days old now */
    run(stage);
    assert_string_equal(stubs(stage->journal), "1 2 3 4 5 6 7 ");
}

/* The law: what bears a time to come, from a clock that was ahead, is as old as the correction that says so (J6). */
static void events_of_a_clock_that_was_ahead_age_from_its_correction_on(void **state)
{
    struct stage *stage = *state;
    rule(stage, "aged", false, "{\"max_age_s\":129600}"); /* 1; a day and a half */
    stage->clock.realtime_us += INT64_C(365) * (int64_t)DAY_MS * 1000;
    append(stage, "aged", "A", ""); /* 2 */
    stage->clock.realtime_us -= INT64_C(365) * (int64_t)DAY_MS * 1000;
    append(stage, "aged", "A", ""); /* 3: bears the time of 2 */
    fake_clock_advance(&stage->clock, 2 * DAY_MS);
    run(stage);
    assert_string_equal(stubs(stage->journal), "");
    assert_ok(journal_correct_clock(stage->journal, NULL)); /* 4 */
    fake_clock_advance(&stage->clock, DAY_MS);
    run(stage);
    assert_string_equal(stubs(stage->journal), "");
    fake_clock_advance(&stage->clock, DAY_MS);
    append(stage, "aged", "A", ""); /* 5: young */
    run(stage);
    assert_string_equal(stubs(stage->journal), "2 3 ");
}

/* Only the empty prefix concerns events in no stream, and daybook's own events never go. */
static void events_in_no_stream_go_by_age_alone_and_daybooks_own_never(void **state)
{
    struct stage *stage = *state;
    append(stage, "", "A", "t");
    append(stage, "s", "B", "");
    rule(stage, "", true, "{\"max_age_s\":60,\"max_count\":1}");
    fake_clock_advance(&stage->clock, DAY_MS);
    append(stage, "", "A", "t");
    run(stage);
    assert_string_equal(stubs(stage->journal), "1 2 ");
    fake_clock_advance(&stage->clock, DAY_MS);
    run(stage);
    assert_string_equal(stubs(stage->journal), "1 2 4 ");
}

static const char *keep_b(void *user, const struct journal_event *event)
{
    return bytes_equal(event->type, B("B")) ? "view b" : NULL;
}

static void what_somebody_needs_stays_and_the_report_says_who(void **state)
{
    struct stage *stage = *state;
    append(stage, "s", "A", "");
    append(stage, "s", "B", "");
    append(stage, "s", "B", "");
    append(stage, "s", "C", "");
    rule(stage, "s", false, "{\"max_count\":1}");
    assert_ok(run_with(stage, (struct scavenge_options){.keep = keep_b}));
    assert_string_equal(stubs(stage->journal), "1 ");
    assert_int_equal(stage->report.kept, 2);
    assert_int_equal(stage->report.reason_count, 1);
    assert_string_equal(stage->report.reasons[0].text, "view b");
    assert_int_equal(stage->report.reasons[0].count, 2);
}

static const char *keep_all(void *user, const struct journal_event *event)
{
    static char text[200];
    memset(text, 'x', sizeof(text) - 1);
    snprintf(text, 8, "%llu", (unsigned long long)event->position);
    text[strlen(text)] = event->position % 2 ? ' ' : '-';
    return text;
}

static void reasons_have_a_limit_and_those_beyond_are_others(void **state)
{
    struct stage *stage = *state;
    uint64_t sum = 0;
    for (int i = 0; i < 40; i++)
        append(stage, "s", "A", "");
    rule(stage, "s", false, "{\"truncate_before\":41}");
    assert_ok(run_with(stage, (struct scavenge_options){.keep = keep_all}));
    assert_int_equal(stage->report.reason_count, SCAVENGE_REASON_COUNT_MAX);
    assert_string_equal(stage->report.reasons[SCAVENGE_REASON_COUNT_MAX - 1].text, "other");
    assert_int_equal(strlen(stage->report.reasons[0].text), SCAVENGE_REASON_SIZE_MAX - 1);
    for (size_t i = 0; i < stage->report.reason_count; i++)
        sum += stage->report.reasons[i].count;
    assert_int_equal(sum, 40);
    assert_int_equal(stage->report.kept, 40);
}

static void a_dry_run_tells_what_the_real_one_does_and_does_nothing(void **state)
{
    struct stage *stage = *state;
    for (int i = 0; i < 5; i++)
        append(stage, "s", i % 2 ? "A" : "B", "x");
    rule(stage, "s", false, "{\"max_count\":1}");
    assert_ok(run_with(stage, (struct scavenge_options){.keep = keep_b, .dry_run = true}));
    struct scavenge_report dry = stage->report;
    assert_int_equal(journal_head(stage->journal), 6);
    assert_string_equal(stubs(stage->journal), "");
    assert_ok(run_with(stage, (struct scavenge_options){.keep = keep_b}));
    stage->report.room_bytes = 0; /* the disk's own */
    assert_memory_equal(&dry, &stage->report, sizeof(dry));
    assert_true(dry.gone == 2 && dry.body_bytes > 0);
}

/* P5, conditions, versions and the chain are what they were; positions are not used again. */
static void a_scavenged_event_still_counts(void **state)
{
    struct stage *stage = *state;
    struct log_chain before, after;
    struct journal_result result;
    struct bytes tags[16];
    struct journal_event_new again = kit_event("s", "A", "x", tags, "{}");
    struct journal_append repeated = {.events = &again, .event_count = 1};
    again.has_id = true;
    memset(again.id, 7, sizeof(again.id));
    assert_ok(journal_append_wait(stage->journal, &repeated, NULL));
    append(stage, "s", "B", "");
    assert_ok(journal_chain_at(stage->journal, 2, &before));
    rule(stage, "s", false, "{\"max_count\":1}");
    run(stage);
    assert_string_equal(stubs(stage->journal), "1 ");
    for (int reopened = 0; reopened < 2; reopened++) {
        assert_ok(journal_chain_at(stage->journal, 2, &after));
        assert_memory_equal(&before, &after, sizeof(before));
        assert_ok(journal_append_wait(stage->journal, &repeated, &result));
        assert_true(result.replayed && result.first == 1);
        assert_int_equal(kit_append_unless(stage->journal, "D", "x", 0, NULL), JOURNAL_E_CONFLICT);
        assert_int_equal(kit_stream_version(stage->journal, B("s")), 2);
        assert_int_equal(journal_head(stage->journal), 4);
        journal_close(stage->journal);
        open_journal(stage);
    }
}

/* Ranges beyond one `$Scavenged` go into the next. */
static void more_ranges_than_one_event_holds_are_said_in_several(void **state)
{
    struct stage *stage = *state;
    const size_t count = SCAVENGE_RANGE_COUNT_MAX + 5;
    struct journal_event_new events[1000];
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        events[i] = (struct journal_event_new){
            .stream = i % 2 ? B("s") : B("t"), .type = B("A"), .data = BYTES_LITERAL("{}")};
    struct journal_append many = {.events = events, .event_count = sizeof(events) / sizeof(events[0])};
    for (size_t done = 0; done < 2 * count; done += many.event_count)
        assert_ok(journal_append_wait(stage->journal, &many, NULL));
    rule(stage, "s", false, "{\"truncate_before\":10006}");
    run(stage);
    assert_int_equal(stage->report.gone, count);
    assert_int_equal(kit_stream_version(stage->journal, SCAVENGE_STREAM), 2);
}

/* ---- crashes and followers ---- */

/* S2: said and not done is done when the journal is opened. */
static void what_was_said_before_a_crash_is_done_at_opening(void **state)
{
    struct stage *stage = *state;
    append(stage, "s", "A", "");
    append(stage, "s", "B", "");
    append(stage, "s", "C", "");
    for (int i = 0; i < 2; i++) {
        struct journal_event_new said = {.stream = SCAVENGE_STREAM,
                                         .type = SCAVENGE_TYPE,
                                         .data = i ? B("{\"ranges\":[[3,3]]}") : B("{\"ranges\":[[1,1]]}"),
                                         .system = true};
        struct journal_append append = {.events = &said, .event_count = 1};
        assert_ok(journal_append_wait(stage->journal, &append, NULL));
    }
    assert_string_equal(stubs(stage->journal), "");
    journal_close(stage->journal);
    open_journal(stage);
    assert_string_equal(stubs(stage->journal), "1 3 ");
}

/* What a leader of no good will may say: refused before it is stored. */
static void ranges_that_cannot_be_are_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{}",
                                        "{\"ranges\":[]}",
                                        "{\"ranges\":[[1]]}",
                                        "{\"ranges\":[[1,2,3]]}",
                                        "{\"ranges\":[[0,1]]}",
                                        "{\"ranges\":[[2,1]]}",
                                        "{\"ranges\":[[1,1],[1,2]]}",
                                        "{\"ranges\":[[1,7]]}",
                                        "{\"ranges\":[[1,18446744073709551615]]}",
                                        "{\"ranges\":[[-1,1]]}",
                                        "{\"ranges\":{\"a\":1}}"};
    struct scavenge_ranges ranges;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct journal_event event = {.position = 7, .data = B(wrong[i])};
        assert_int_equal(scavenge_said_read(&event, &ranges), -EBADMSG);
    }
    struct journal_event event = {.position = 7, .data = B("{\"ranges\":[[1,6]]}")};
    assert_ok(scavenge_said_read(&event, &ranges));
    scavenge_ranges_deinit(&ranges);
}

/* Copy what the leader has after the follower's head, a part at a time. */
static void follow(struct journal *leader, struct journal *follower, size_t part)
{
    struct log_record records[64];
    struct buffer memory[64][2] = {0};
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_chain chain;
    size_t count = 0;
    assert_ok(journal_log_reader(leader, journal_head(follower), &reader));
    while (count < part && log_reader_next(reader, &records[count]) == 0) {
        struct log_record *record = &records[count];
        assert_ok(buffer_append_bytes(&memory[count][0], record->head));
        assert_ok(buffer_append_bytes(&memory[count][1], record->body));
        record->head = buffer_bytes(&memory[count][0]);
        record->body = buffer_bytes(&memory[count][1]);
        count++;
    }
    assert_ok(journal_chain_at(leader, journal_head(follower) + count, &chain));
    assert_ok(journal_replicate(follower, records, count, &chain));
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < 2; j++)
            buffer_deinit(&memory[i][j]);
}

/* S3: whether it was there before, came in the middle, or begins afterwards, a follower has the leader's very records. */
static void followers_forget_what_their_leader_forgets(void **state)
{
    struct stage *stage = *state;
    for (size_t before = 0; before <= 6; before += 2) {
        struct memory_store *store = memory_store_new();
        struct journal *follower;
        struct log_chain ours, theirs;
        struct stage *other;
        void *other_state;
        set_up(&other_state);
        other = other_state;
        assert_ok(journal_open(memory_log_open(store, false), &(struct journal_options){.follower = true},
                               &follower, NULL));
        for (int i = 0; i < 5; i++)
            append(other, "s", "A", "x");
        rule(other, "s", false, "{\"max_count\":2}");
        follow(other->journal, follower, before);
        run(other);
        append(other, "s", "B", "");
        run(other);
        follow(other->journal, follower, 64);
        assert_string_equal(stubs(follower), "1 2 3 4 ");
        assert_string_equal(stubs(other->journal), "1 2 3 4 ");
        assert_int_equal(journal_head(follower), journal_head(other->journal));
        assert_ok(journal_chain_at(follower, journal_head(follower), &theirs));
        assert_ok(journal_chain_at(other->journal, journal_head(follower), &ours));
        assert_memory_equal(&ours, &theirs, sizeof(ours));
        assert_int_equal(journal_scavenge(follower, &(struct scavenge_options){0}, &stage->report, stage->error),
                         JOURNAL_E_READ_ONLY);
        journal_close(follower);
        memory_store_free(store);
        tear_down(&other_state);
    }
}

static void what_went_after_a_position_can_be_asked(void **state)
{
    struct stage *stage = *state;
    for (uint64_t after = 0; after <= 4; after += 4) {
        _cleanup_(scavenged_freep) struct scavenged *scavenged = NULL;
        if (after == 0) {
            append(stage, "s", "A", "");
            append(stage, "s", "B", "");
            rule(stage, "s", false, "{\"max_count\":1}");
            run(stage);
        }
        assert_ok(scavenged_load(stage->journal, after, &scavenged));
        assert_int_equal(scavenged_has(scavenged, 1), after == 0);
        assert_false(scavenged_has(scavenged, 2));
        assert_int_equal(scavenged_last(scavenged), after == 0 ? 4 : 0);
    }
}

#define STAGED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(the_rule_of_the_stream_decides_before_prefixes_and_a_long_prefix_before_a_short_one),
        STAGED(a_rule_names_all_its_mistakes_at_once),
        STAGED(events_go_by_age_by_count_and_by_truncation),
        STAGED(events_of_a_clock_that_was_ahead_age_from_its_correction_on),
        STAGED(events_in_no_stream_go_by_age_alone_and_daybooks_own_never),
        STAGED(what_somebody_needs_stays_and_the_report_says_who),
        STAGED(reasons_have_a_limit_and_those_beyond_are_others),
        STAGED(a_dry_run_tells_what_the_real_one_does_and_does_nothing),
        STAGED(a_scavenged_event_still_counts),
        STAGED(more_ranges_than_one_event_holds_are_said_in_several),
        STAGED(what_was_said_before_a_crash_is_done_at_opening),
        STAGED(ranges_that_cannot_be_are_refused),
        STAGED(followers_forget_what_their_leader_forgets),
        STAGED(what_went_after_a_position_can_be_asked),
    };
    return cmocka_run_group_tests_name("journal/scavenge", tests, NULL, NULL);
}
