/*
 * P2, P6 and P7 under every single fault: a workload runs once for each call that changes something on the disk, with
 * that call broken in one of several ways; then the process ends in one of three ways, the log is opened on a healthy
 * disk, and the law of log_kit.h is held against it. The sweep ends when the workload has fewer calls than n.
 */
#include "lib/cmocka_all.h"

#include <stdio.h>

#include "lib/fault_file.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log.h"

#define FOLDER "log"

enum end { END_CLOSE, END_KILL, END_POWER_ALL, END_POWER_SOME, END_COUNT };

struct trial {
    struct sim_disk *disk;
    struct fault_file fault;
    struct log_kit *kit;
    struct log *log;
};

/* No idle floors: a trial is the same every time. */
static const struct file_log_options small = {.segment_size = 64 << 10, .idle_floor_ms = 3600 * 1000};

static int open_log(struct trial *trial, const struct os_file_ops *ops)
{
    struct file_log_options options = small;
    char error[256] = "";
    int r;

    options.file = ops;
    r = file_log_open(FOLDER, &options, &trial->log, error);
    if (r != 0) {
        assert_true(error[0] != '\0');
        trial->log = NULL;
    }
    log_kit_use(trial->kit, trial->log);
    return r;
}

static void close_log(struct trial *trial)
{
    log_kit_use(trial->kit, NULL);
    assert_ok(log_close(trial->log));
    trial->log = NULL;
}

/* Small and large batches, alone and three on the way at once, over three segments. */
static void append_some(struct trial *trial)
{
    (void)log_kit_append(trial->kit, 1, 1, 100);
    (void)log_kit_append(trial->kit, 3, 2, 2000);
    (void)log_kit_submit(trial->kit, 2, 1, 5000);
    (void)log_kit_submit(trial->kit, 1, 3, 900);
    (void)log_kit_submit(trial->kit, 2, 2, 40);
    (void)log_kit_wait(trial->kit);
    (void)log_kit_append(trial->kit, 1, 20, 2500);
    (void)log_kit_append(trial->kit, 1, 1, 64);
    (void)log_kit_append(trial->kit, 2, 5, 4000);
}

static void run_workload(struct trial *trial)
{
    if (open_log(trial, &trial->fault.ops) == 0) {
        append_some(trial);
        close_log(trial);
    }
    if (open_log(trial, &trial->fault.ops) == 0) {
        (void)log_kit_append(trial->kit, 1, 2, 300);
        (void)log_kit_append(trial->kit, 4, 1, 30);
    }
}

static void end_process(struct trial *trial, enum end end, uint64_t seed)
{
    if (end != END_CLOSE)
        fault_file_kill(&trial->fault);
    if (trial->log)
        close_log(trial);
    if (end == END_POWER_ALL || end == END_POWER_SOME)
        sim_disk_power_loss(trial->disk, end == END_POWER_ALL ? SIM_LOSE_ALL : SIM_LOSE_SOME, seed);
    else
        sim_disk_kill(trial->disk);
}

static void on_damage(void *user, const struct file_log_damage *damage)
{
    *(size_t *)user += damage->acknowledged;
}

/* On a healthy disk: the law holds, the log can be written again, and nothing acknowledged is damaged. */
static void check_recovery(struct trial *trial, bool lossy)
{
    const struct os_file_ops *ops = sim_disk_ops(trial->disk);
    struct file_log_report report;
    struct log_status status;
    size_t damaged = 0;
    int r = open_log(trial, ops);

    if (lossy && r == FILE_LOG_E_DAMAGED)
        return;
    assert_ok(r);
    log_kit_check(trial->kit, lossy);
    log_status(trial->log, &status);
    if (status.writable) {
        assert_int_equal(log_kit_append(trial->kit, 2, 2, 500), LOG_DURABLE);
        close_log(trial);
        assert_ok(open_log(trial, ops));
        log_kit_check(trial->kit, false);
    } else {
        assert_true(lossy);
    }
    close_log(trial);
    assert_ok(file_log_verify(FOLDER, ops, on_damage, NULL, &damaged, &report, NULL));
    if (status.writable)
        assert_int_equal(damaged, 0);
    else
        assert_true(damaged > 0);
    assert_int_equal(sim_disk_open_count(trial->disk), 0);
}

/* True when the fault came. */
static bool try_fault(enum fault_kind kind, uint64_t at, enum end end)
{
    struct trial trial = {.disk = sim_disk_new(), .kit = log_kit_new()};
    struct log_status status;
    bool fired;

    fault_file_init(&trial.fault, sim_disk_ops(trial.disk), kind, at);
    trial.fault.disk = trial.disk;
    run_workload(&trial);
    fired = fault_file_fired(&trial.fault);
    if (kind == FAULT_FULL && trial.log) { /* writes resume by themselves, in the same open log */
        log_status(trial.log, &status);
        assert_true(status.writable);
        fault_file_heal(&trial.fault);
        assert_int_equal(log_kit_append(trial.kit, 1, 3, 3000), LOG_DURABLE);
        log_kit_check(trial.kit, false);
    }
    end_process(&trial, end, at);
    check_recovery(&trial, kind == FAULT_LOSE);
    log_kit_free(trial.kit);
    sim_disk_free(trial.disk);
    return fired;
}

static void sweep(enum fault_kind kind, enum end last_end)
{
    for (enum end end = END_CLOSE; end <= last_end; end++) {
        uint64_t at = 1;

        while (try_fault(kind, at, end))
            at++;
        print_message("# kind %d, end %d: %d faults\n", (int)kind, (int)end, (int)at - 1);
        assert_true(at > 30); /* the sweep does meet the workload */
    }
}

static void any_call_may_fail(void **state)
{
    sweep(FAULT_FAIL, END_POWER_SOME);
}

static void any_write_may_be_shortened(void **state)
{
    sweep(FAULT_SHORTEN, END_POWER_SOME);
}

static void any_call_may_be_torn(void **state)
{
    sweep(FAULT_TEAR, END_POWER_SOME);
}

/* A disk that lies: what it lost is named as damage, and never passed over. */
static void any_write_may_be_lost_and_is_missed(void **state)
{
    sweep(FAULT_LOSE, END_CLOSE);
}

static void the_disk_may_be_full_from_any_call_on(void **state)
{
    sweep(FAULT_FULL, END_POWER_SOME);
}

static void the_process_may_die_before_any_call(void **state)
{
    sweep(FAULT_KILL, END_POWER_SOME);
}

static void the_process_may_die_within_any_write(void **state)
{
    sweep(FAULT_KILL_TORN, END_POWER_SOME);
}

/* Without any fault, power is lost at the end in a hundred different ways. */
static void power_may_be_lost_in_many_ways(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct trial trial = {.disk = sim_disk_new(), .kit = log_kit_new()};

        fault_file_init(&trial.fault, sim_disk_ops(trial.disk), FAULT_KILL, 20 + seed / 2);
        run_workload(&trial);
        end_process(&trial, END_POWER_SOME, seed * 7919);
        check_recovery(&trial, false);
        log_kit_free(trial.kit);
        sim_disk_free(trial.disk);
    }
}

/* ---- the other write paths ---- */

/* A healthy log of twelve records over two segments; the chain at its head. */
static struct log_chain make_log(struct trial *trial)
{
    struct log_chain chain;

    assert_ok(open_log(trial, sim_disk_ops(trial->disk)));
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(log_kit_append(trial->kit, 1, 2, 8000), LOG_DURABLE);
    assert_ok(log_chain_at(trial->log, 12, &chain));
    close_log(trial);
    return chain;
}

static int replace_record(struct log *log, uint64_t position)
{
    struct log_range range = {position, position};
    struct log_replaced replaced;

    return log_replace(log, &range, 1, 0, &replaced);
}

static bool is_stub(struct log *log, uint64_t position)
{
    struct log_reader *reader;
    struct log_record record;

    assert_ok(log_reader_new(log, position - 1, &reader));
    assert_ok(log_reader_next(reader, &record));
    log_reader_free(reader);
    return record.flags & LOG_RECORD_STUB;
}

/* The same records, the same chain, no damage, and it can be written. */
static void check_same(struct trial *trial, const char *folder, const struct log_chain *chain)
{
    struct file_log_report report;
    size_t damaged = 0;

    assert_ok(file_log_verify(folder, sim_disk_ops(trial->disk), on_damage, NULL, &damaged, &report, NULL));
    assert_int_equal(damaged, 0);
    assert_int_equal(report.head, 12);
    assert_memory_equal(report.chain.bytes, chain->bytes, LOG_CHAIN_SIZE);
}

static bool try_replace(enum fault_kind kind, uint64_t at, uint64_t position)
{
    struct trial trial = {.disk = sim_disk_new(), .kit = log_kit_new()};
    struct log_chain chain = make_log(&trial);
    bool replaced, fired;

    fault_file_init(&trial.fault, sim_disk_ops(trial.disk), kind, at);
    trial.fault.disk = trial.disk;
    replaced = open_log(&trial, &trial.fault.ops) == 0 && replace_record(trial.log, position) == 0;
    fired = fault_file_fired(&trial.fault);
    end_process(&trial, END_POWER_SOME, at);
    check_same(&trial, FOLDER, &chain);
    assert_ok(open_log(&trial, sim_disk_ops(trial.disk)));
    if (replaced)
        assert_true(is_stub(trial.log, position));
    assert_int_equal(log_kit_append(trial.kit, 1, 1, 100), LOG_DURABLE);
    close_log(&trial);
    log_kit_free(trial.kit);
    sim_disk_free(trial.disk);
    return fired;
}

/* P6: a body is there or its hash is, and nothing else has changed; what was answered as done is. */
static void taking_a_body_away_may_break_anywhere(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_SHORTEN, FAULT_TEAR,
                                            FAULT_FULL, FAULT_KILL,    FAULT_KILL_TORN};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (uint64_t position = 3; position <= 12;
             position += 9) { /* in the first and in the last segment */
            uint64_t at = 1;

            while (try_replace(kinds[i], at, position))
                at++;
            assert_true(at > 5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(any_write_may_be_shortened),
        cmocka_unit_test(any_call_may_be_torn),
        cmocka_unit_test(any_write_may_be_lost_and_is_missed),
        cmocka_unit_test(the_disk_may_be_full_from_any_call_on),
        cmocka_unit_test(the_process_may_die_before_any_call),
        cmocka_unit_test(the_process_may_die_within_any_write),
        cmocka_unit_test(power_may_be_lost_in_many_ways),
        cmocka_unit_test(taking_a_body_away_may_break_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
