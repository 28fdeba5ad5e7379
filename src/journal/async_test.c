/* A log that answers before it syncs (LOG_ASYNC): what it answered may be lost with the power, and nobody has seen it then
 * (P3 holds in every mode). */
#include "lib/cmocka_all.h"

#include <string.h>

#include "journal/journal.h"
#include "lib/journal_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log.h"

enum { NEVER_MS = 3600000, SHOWN_MS_MAX = 20000, LOSSES = 30 };

struct stage {
    struct sim_disk *disk;
    struct journal *journal;
};

static void open_journal(struct stage *stage, enum log_durability durability, uint32_t idle_ms)
{
    struct file_log_options options = {
        .file = sim_disk_ops(stage->disk), .durability = durability, .idle_floor_ms = idle_ms};
    struct log *log;
    assert_ok(file_log_open("log", &options, &log, NULL));
    assert_ok(journal_open(log, NULL, &stage->journal, NULL));
}

static int set_up(void **state)
{
    static struct stage stage;
    stage = (struct stage){.disk = sim_disk_new()};
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    journal_close(stage->journal);
    sim_disk_free(stage->disk);
    return 0;
}

static const char *types(struct stage *stage, const char *stream)
{
    struct journal_read read = {.stream = bytes_from_string(stream), .system = true};
    return kit_types(stage->journal, &read);
}

/* One synced event, and one that is answered and never will be. */
static void answer_and_lose(struct stage *stage, struct journal_result *ret_result)
{
    struct bytes tags[16];
    struct journal_event_new event = kit_event("s", "B", "t", tags, "{}");
    struct journal_append append = {
        .events = &event, .event_count = 1, .key = B("key"), .key_hash = B("0123456789abcdef")};
    assert_ok(kit_append(stage->journal, "s", "A", "", "{}", NULL)); /* the first sync of a log is due at once */
    assert_int_equal(journal_head(stage->journal), 1);
    sim_disk_fail_syncs(stage->disk, 1000);
    assert_ok(journal_append_wait(stage->journal, &append, ret_result));
}

static void what_is_answered_and_not_synced_is_shown_to_nobody(void **state)
{
    struct stage *stage = *state;
    struct journal_result result;
    struct journal_read backward = {.direction = JOURNAL_BACKWARD};
    uint64_t first, last;
    uint8_t hash[16];
    open_journal(stage, LOG_ASYNC, NEVER_MS);
    answer_and_lose(stage, &result);
    assert_int_equal(result.first, 2);
    assert_int_equal(journal_tail(stage->journal), 2);
    assert_int_equal(journal_head(stage->journal), 1);
    assert_string_equal(types(stage, ""), "A ");
    assert_string_equal(types(stage, "s"), "A ");
    assert_string_equal(kit_types(stage->journal, &backward), "A ");
    assert_int_equal(kit_stream_version(stage->journal, B("s")), 1);
    assert_int_equal(journal_find_key(stage->journal, B("key"), &first, &last, hash), JOURNAL_E_END);
    assert_int_equal(kit_position_at(stage->journal, INT64_MAX), 1);
    assert_int_equal(journal_wait(stage->journal, 1, 150), -ETIMEDOUT); /* and no more when its sync has failed */
    assert_int_equal(journal_head(stage->journal), 1);
}

static void who_decides_on_the_next_append_sees_it_all_the_same(void **state)
{
    struct stage *stage = *state;
    open_journal(stage, LOG_ASYNC, NEVER_MS);
    for (unsigned i = 0; i < 20; i++) {
        struct journal_result result;
        assert_ok(kit_append(stage->journal, "s", "A", "t", "{}", &result));
        assert_int_equal(kit_append_unless(stage->journal, "A", "t", result.last - 1, NULL), JOURNAL_E_CONFLICT);
        assert_ok(kit_append_unless(stage->journal, "B", "t", result.last, NULL));
    }
}

static void it_is_shown_when_it_has_been_synced_without_another_append(void **state)
{
    struct stage *stage = *state;
    open_journal(stage, LOG_ASYNC, 10);
    for (uint64_t position = 1; position <= 20; position++) {
        assert_ok(kit_append(stage->journal, "s", "A", "", "{}", NULL));
        assert_ok(journal_wait(stage->journal, position - 1, SHOWN_MS_MAX));
        assert_int_equal(kit_stream_version(stage->journal, B("s")), position);
    }
}

/* A fence says that keys are gone, a rule that bodies may go: what was done by it cannot be taken back. */
static void daybooks_own_events_are_synced_before_they_are_answered(void **state)
{
    struct stage *stage = *state;
    struct bytes tags[16];
    struct journal_event_new event = kit_event("$own", "$Done", "", tags, "{}");
    struct journal_append append = {.events = &event, .event_count = 1};
    event.system = true;
    open_journal(stage, LOG_ASYNC, NEVER_MS);
    for (uint64_t position = 2; position <= 40; position += 2) {
        assert_ok(kit_append(stage->journal, "s", "A", "", "{}", NULL));
        assert_ok(journal_append_wait(stage->journal, &append, NULL));
        assert_int_equal(journal_head(stage->journal), position);
    }
}

static void what_was_seen_is_there_after_the_power_has_gone(void **state)
{
    struct stage *stage = *state;
    unsigned lost = 0;
    for (unsigned round = 0; round < LOSSES; round++) {
        open_journal(stage, LOG_ASYNC, round % 2 ? 1 : NEVER_MS);
        uint64_t before = journal_head(stage->journal);
        for (unsigned i = 0; i <= round % 7; i++)
            assert_ok(kit_append(stage->journal, "s", "A", "", "{}", NULL));
        uint64_t seen = journal_head(stage->journal), answered = journal_tail(stage->journal);
        assert_true(before <= seen && seen <= answered);
        sim_disk_power_loss(stage->disk, round % 3 ? SIM_LOSE_ALL : SIM_LOSE_SOME, round);
        journal_close(stage->journal);
        open_journal(stage, LOG_SYNC, NEVER_MS);
        assert_true(journal_head(stage->journal) >= seen);
        lost += journal_head(stage->journal) < answered;
        journal_close(stage->journal);
        stage->journal = NULL;
    }
    assert_true(lost > 0); /* else nothing was tried */
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(what_is_answered_and_not_synced_is_shown_to_nobody),
        STAGED(who_decides_on_the_next_append_sees_it_all_the_same),
        STAGED(it_is_shown_when_it_has_been_synced_without_another_append),
        STAGED(daybooks_own_events_are_synced_before_they_are_answered),
        STAGED(what_was_seen_is_there_after_the_power_has_gone),
    };
    return cmocka_run_group_tests_name("journal/async", tests, NULL, NULL);
}
