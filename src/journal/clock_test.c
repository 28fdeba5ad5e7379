/* A clock that was ahead once, and the correction that makes times right again from there on (J6). */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "journal/tools.h"
#include "lib/fake_clock.h"
#include "lib/journal_kit.h"
#include "log/file_log.h"
#include "os/file.h"

#define SECOND INT64_C(1000000)
#define NOW    (INT64_C(1800000000) * SECOND)
#define YEAR   (INT64_C(31536000) * SECOND)

struct stage {
    char *folder;
    char data[OS_PATH_SIZE_MAX], log[OS_PATH_SIZE_MAX], index[OS_PATH_SIZE_MAX];
    struct fake_clock clock;
    struct journal *journal;
};

static void open_journal(struct stage *stage)
{
    struct file_log_options log_options = {.segment_size = 64 * 1024};
    struct journal_options options = {.clock = &stage->clock.clock,
                                      .index_folder = stage->index,
                                      .index_unit = 8,
                                      .clock_step_max_us = JOURNAL_CLOCK_STEP_MAX_S * SECOND};
    struct log *log;
    assert_ok(file_log_open(stage->log, &log_options, &log, NULL));
    assert_ok(journal_open(log, &options, &stage->journal, NULL));
}

static void reopen(struct stage *stage)
{
    journal_close(stage->journal);
    open_journal(stage);
}

static int set_up(void **state)
{
    static struct stage stage;
    stage = (struct stage){.folder = kit_folder_new()};
    assert_ok(os_path(stage.data, stage.folder, "data"));
    assert_ok(mkdir(stage.data, 0755));
    assert_ok(os_path(stage.log, stage.data, "log"));
    assert_ok(os_path(stage.index, stage.data, "index"));
    fake_clock_init(&stage.clock, NOW);
    open_journal(&stage);
    *state = &stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    journal_close(stage->journal);
    kit_folder_remove(stage->folder);
    return 0;
}

/* A second later. */
static void append(struct stage *stage, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fake_clock_advance(&stage->clock, 1000);
        assert_ok(kit_append(stage->journal, "s", "A", "", "{}", NULL));
    }
}

static int64_t time_of(struct stage *stage, uint64_t position)
{
    struct journal_read read = {.after = position - 1, .system = true};
    struct journal_reader *reader;
    struct journal_event event;
    assert_ok(journal_reader_new(stage->journal, &read, &reader));
    assert_ok(journal_reader_next(reader, &event));
    journal_reader_free(reader);
    return event.time_us;
}

static int64_t ahead(struct stage *stage)
{
    struct journal_status status;
    journal_status(stage->journal, &status);
    return status.clock_ahead_us;
}

/* Twenty events, then a start with a clock that is a year ahead, twenty more, and a start with the right one. */
static void be_ahead_once(struct stage *stage)
{
    append(stage, 20);
    journal_close(stage->journal);
    stage->clock.realtime_us += YEAR;
    open_journal(stage);
    append(stage, 20);
    journal_close(stage->journal);
    stage->clock.realtime_us -= YEAR;
    open_journal(stage);
}

static int64_t now(struct stage *stage)
{
    return stage->clock.realtime_us;
}

/* What holds after the correction at 42, whoever asks. */
static void check_times(struct stage *stage)
{
    uint64_t head = journal_head(stage->journal);
    int64_t corrected = time_of(stage, 42);
    assert_int_equal(kit_position_at(stage->journal, now(stage)), head);
    assert_int_equal(kit_position_at(stage->journal, INT64_MAX), head);
    assert_int_equal(kit_position_at(stage->journal, time_of(stage, 1) - 1), 0);
    for (uint64_t position = 1; position <= 20; position++)
        assert_int_equal(kit_position_at(stage->journal, time_of(stage, position)), position);
    assert_int_equal(kit_position_at(stage->journal, corrected - 1), 20); /* of the others that is all one can say */
    for (uint64_t position = 42; position <= head; position++)
        assert_int_equal(kit_position_at(stage->journal, time_of(stage, position)), position);
    for (uint64_t position = 21; position <= 41; position++)
        assert_int_equal(journal_true_time(stage->journal, position, time_of(stage, position)), corrected);
    assert_int_equal(journal_true_time(stage->journal, 20, time_of(stage, 20)), time_of(stage, 20));
}

static void correct(struct stage *stage)
{
    struct journal_result result;
    assert_ok(journal_correct_clock(stage->journal, &result));
    assert_int_equal(result.last, 42);
}

static void after_a_clock_that_was_ahead_times_stand_still_and_that_is_told(void **state)
{
    struct stage *stage = *state;
    int64_t ahead_us, leap_us;
    be_ahead_once(stage);
    assert_true(ahead(stage) > YEAR - 60 * SECOND);
    append(stage, 1);
    assert_int_equal(time_of(stage, 41), time_of(stage, 40));
    journal_clock(stage->journal, &ahead_us, &leap_us);
    assert_true(ahead_us > YEAR - 60 * SECOND && leap_us == 0);
    assert_int_equal(kit_position_at(stage->journal, now(stage)), 20);
}

static void from_a_correction_on_times_are_right_and_order_is_as_before(void **state)
{
    struct stage *stage = *state;
    be_ahead_once(stage);
    append(stage, 1);
    correct(stage);
    assert_int_equal(ahead(stage), 0);
    append(stage, 30);
    assert_int_equal(time_of(stage, 72), now(stage));
    check_times(stage);
    assert_int_equal(journal_correct_clock(stage->journal, NULL), JOURNAL_E_RIGHT);
    reopen(stage);
    check_times(stage);
    append(stage, 1);
    assert_int_equal(time_of(stage, 73), now(stage));
}

static void a_second_clock_that_was_ahead_is_corrected_like_the_first(void **state)
{
    struct stage *stage = *state;
    be_ahead_once(stage);
    append(stage, 1);
    correct(stage);
    append(stage, 8);
    journal_close(stage->journal);
    stage->clock.realtime_us += 2 * YEAR;
    open_journal(stage);
    append(stage, 10);
    journal_close(stage->journal);
    stage->clock.realtime_us -= 2 * YEAR;
    open_journal(stage);
    assert_ok(journal_correct_clock(stage->journal, NULL));
    append(stage, 9);
    assert_int_equal(kit_position_at(stage->journal, now(stage)), journal_head(stage->journal));
    assert_int_equal(kit_position_at(stage->journal, time_of(stage, 50)), 50);
    assert_int_equal(kit_position_at(stage->journal, time_of(stage, 61) - 1), 50);
    assert_int_equal(kit_position_at(stage->journal, time_of(stage, 20)), 20);
    assert_int_equal(journal_true_time(stage->journal, 30, time_of(stage, 30)), time_of(stage, 42));
    assert_int_equal(journal_true_time(stage->journal, 55, time_of(stage, 55)), time_of(stage, 61));
}

static void count_damage(void *user, const struct file_log_damage *damage)
{
    ++*(size_t *)user;
}

static void restoring_until_a_time_and_rebuilding_the_index_agree_with_it(void **state)
{
    struct stage *stage = *state;
    char error[256] = "", target[OS_PATH_SIZE_MAX], path[OS_PATH_SIZE_MAX];
    be_ahead_once(stage);
    append(stage, 1);
    correct(stage);
    append(stage, 30);
    int64_t last = now(stage), corrected = time_of(stage, 42), third = time_of(stage, 3);
    journal_close(stage->journal);
    stage->journal = NULL;
    const struct {
        int64_t time_us;
        uint64_t head;
    } cases[] = {{last, 72}, {third, 3}, {corrected - 1, 20}, {corrected, 42}, {corrected + 5 * SECOND, 47}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct journal_until until = {.by_time = true, .time_us = cases[i].time_us};
        struct journal_restore_report report;
        (void)snprintf(path, sizeof(path), "restored-%zu", i);
        assert_ok(os_path(target, stage->folder, path));
        assert_ok(journal_restore(stage->data, target, &until, NULL, NULL, &report, error));
        assert_int_equal(report.copied.head, cases[i].head);
        size_t damages = 0;
        struct journal_verify_report verified;
        assert_ok(journal_verify(target, count_damage, NULL, &damages, &verified, error));
        assert_int_equal(damages, 0);
    }
    struct journal_index_options index = {.unit = 8};
    struct journal_index_report rebuilt;
    assert_ok(journal_rebuild_index(stage->data, &index, NULL, NULL, &rebuilt, error));
    assert_true(rebuilt.checkpoint > 42);
    open_journal(stage);
    check_times(stage);
}

static void a_clock_that_leaps_ahead_is_not_believed_until_it_has_stood(void **state)
{
    struct stage *stage = *state;
    int64_t ahead_us, leap_us;
    append(stage, 2);
    stage->clock.realtime_us += YEAR;
    append(stage, 2);
    assert_int_equal(time_of(stage, 4), now(stage) - YEAR);
    journal_clock(stage->journal, &ahead_us, &leap_us);
    assert_int_equal(leap_us, YEAR);
    stage->clock.realtime_us -= YEAR; /* it was wrong: nothing has happened */
    append(stage, 1);
    assert_int_equal(time_of(stage, 5), now(stage));
    stage->clock.realtime_us += YEAR; /* it was right: the machine has slept */
    append(stage, 1);
    assert_int_equal(time_of(stage, 6), now(stage) - YEAR);
    fake_clock_advance(&stage->clock, JOURNAL_CLOCK_DOUBT_S * 1000);
    append(stage, 1);
    assert_int_equal(time_of(stage, 7), now(stage));
    journal_clock(stage->journal, &ahead_us, &leap_us);
    assert_true(ahead_us == 0 && leap_us == 0);
    stage->clock.realtime_us += JOURNAL_CLOCK_STEP_MAX_S * SECOND - SECOND; /* a small one is */
    append(stage, 1);
    assert_int_equal(time_of(stage, 8), now(stage));
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(after_a_clock_that_was_ahead_times_stand_still_and_that_is_told),
        STAGED(from_a_correction_on_times_are_right_and_order_is_as_before),
        STAGED(a_second_clock_that_was_ahead_is_corrected_like_the_first),
        STAGED(restoring_until_a_time_and_rebuilding_the_index_agree_with_it),
        STAGED(a_clock_that_leaps_ahead_is_not_believed_until_it_has_stood),
    };
    return cmocka_run_group_tests_name("journal/clock", tests, NULL, NULL);
}
