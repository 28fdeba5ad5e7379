/* Every call that changes the disk during a scavenge is broken once, in every way. After opening again: what was said to go
 * is gone, nothing else is, and the chain and everything that stays are as they were (S1, S2, P6). */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "journal/scavenge_said.h"
#include "lib/fault_file.h"
#include "lib/journal_kit.h"
#include "log/file_log.h"

enum { EVENTS = 24, SEGMENT_SIZE = 64 * 1024, DATA_SIZE = 9000, RULE = EVENTS + 1 };

static int open_on(const struct os_file_ops *ops, struct journal **ret_journal)
{
    struct file_log_options options = {.file = ops, .segment_size = SEGMENT_SIZE};
    char error[256] = "";
    struct log *log;
    int r = file_log_open("/journal", &options, &log, error);
    return r == 0 ? journal_open(log, NULL, ret_journal, error) : r;
}

/* Odd ones in a stream that is to be forgotten, in several segments; even ones stay. */
static void prepare(struct sim_disk *disk, struct log_chain *ret_chain)
{
    static char data[DATA_SIZE];
    struct retention_rule rule = {.name = B("odd"), .truncate_before = 1000};
    _cleanup_(buffer_deinit) struct buffer json = {0};
    struct journal_event_new event;
    struct journal_append append = {.events = &event, .event_count = 1};
    struct journal *journal;
    memset(data, 'x', sizeof(data));
    assert_ok(open_on(sim_disk_ops(disk), &journal));
    for (size_t i = 1; i <= EVENTS; i++) {
        event = (struct journal_event_new){
            .stream = i % 2 ? B("odd") : B("even"), .type = B("A"), .data = bytes_make(data, sizeof(data))};
        assert_ok(journal_append_wait(journal, &append, NULL));
    }
    assert_ok(retention_event(&rule, false, &json, &event));
    assert_ok(journal_append_wait(journal, &append, NULL));
    assert_ok(journal_chain_at(journal, RULE, ret_chain));
    journal_close(journal);
}

static int scavenge(struct journal *journal)
{
    struct scavenge_report report;
    char error[256];
    return journal_scavenge(journal, &(struct scavenge_options){0}, &report, error);
}

/* Whether the odd ones are gone: exactly when a `$Scavenged` says so. */
static bool check(struct journal *journal, const struct log_chain *chain_before)
{
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    bool said = kit_stream_version(journal, SCAVENGE_STREAM) > 0;
    struct journal_event event;
    struct log_chain chain;
    assert_ok(journal_chain_at(journal, RULE, &chain));
    assert_memory_equal(&chain, chain_before, sizeof(chain));
    assert_ok(journal_reader_new(journal, &(struct journal_read){.before = RULE}, &reader));
    for (size_t i = 1; i <= EVENTS; i++) {
        assert_ok(journal_reader_next(reader, &event));
        assert_int_equal(event.position, i);
        assert_int_equal(event.stub, said && i % 2);
        assert_int_equal(event.data.size, event.stub ? 0 : DATA_SIZE);
    }
    return said;
}

static void verify(struct sim_disk *disk)
{
    struct file_log_report report;
    assert_ok(file_log_verify("/journal", sim_disk_ops(disk), NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
}

enum aftermath { RESTART, KILL, POWER_LOSS, AFTERMATHS };

static bool try(enum fault_kind kind, uint64_t n, enum aftermath aftermath)
{
    struct sim_disk *disk = sim_disk_new();
    struct fault_file fault;
    struct journal *journal;
    struct log_chain chain;
    bool done = false;
    prepare(disk, &chain);
    fault_file_init(&fault, sim_disk_ops(disk), kind, n);
    fault.disk = disk;
    if (open_on(&fault.ops, &journal) == 0) {
        done = scavenge(journal) == 0 && !fault.dead;
        journal_close(journal);
    }
    if (aftermath == KILL)
        sim_disk_kill(disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(disk, SIM_LOSE_SOME, n);
    assert_ok(open_on(sim_disk_ops(disk), &journal));
    bool said = check(journal, &chain);
    assert_true(said || !done);
    assert_ok(scavenge(journal)); /* what was not said is said now */
    assert_true(check(journal, &chain));
    assert_int_equal(kit_stream_version(journal, SCAVENGE_STREAM), 1);
    journal_close(journal);
    verify(disk);
    sim_disk_free(disk);
    return fault_file_fired(&fault);
}

static void a_scavenge_is_whole_or_finished_later_whatever_breaks(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_SHORTEN, FAULT_TEAR,
                                            FAULT_FULL, FAULT_KILL,    FAULT_KILL_TORN};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
        for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
            uint64_t n = 1;
            while (try(kinds[kind], n, (enum aftermath)aftermath))
                n++;
            assert_true(n > 15); /* the sweep went through several segments */
        }
}

/* ---- a copy ---- */

enum { OLD_SEGMENTS = 2 };

/* The first segments, as a backup keeps them that was begun before the scavenge and went on after it. */
struct old_segments {
    char names[OLD_SEGMENTS][64];
    struct buffer contents[OLD_SEGMENTS];
};

static void keep_segments(struct sim_disk *disk, struct old_segments *old)
{
    const struct os_file_ops *ops = sim_disk_ops(disk);
    _cleanup_(buffer_deinit) struct buffer names = {0};
    size_t count = 0;
    assert_ok(ops->list(ops, "/journal", &names));
    for (size_t offset = 0; offset < names.size && count < OLD_SEGMENTS;) {
        const char *name = (const char *)names.data + offset;
        if (strstr(name, ".seg")) {
            char path[OS_PATH_SIZE_MAX];
            (void)snprintf(old->names[count], sizeof(old->names[count]), "%s", name);
            assert_ok(os_path(path, "/journal", name));
            old->contents[count].size_max = SIZE_MAX;
            assert_ok(os_file_read_whole(ops, path, &old->contents[count++]));
        }
        offset += strlen(name) + 1;
    }
    assert_int_equal(count, OLD_SEGMENTS);
}

static void put_segments_back(struct sim_disk *disk, struct old_segments *old)
{
    const struct os_file_ops *ops = sim_disk_ops(disk);
    for (size_t i = 0; i < OLD_SEGMENTS; i++) {
        assert_ok(os_file_replace(ops, "/journal", old->names[i], buffer_bytes(&old->contents[i])));
        buffer_deinit(&old->contents[i]);
    }
    assert_ok(os_file_replace(ops, "/journal", "copied", bytes_make("", 0)));
}

static bool try_copy(enum fault_kind kind, uint64_t n, enum aftermath aftermath)
{
    struct sim_disk *disk = sim_disk_new();
    struct old_segments old = {0};
    struct fault_file fault;
    struct journal *journal;
    struct journal_status status;
    struct log_chain chain;
    prepare(disk, &chain);
    keep_segments(disk, &old);
    assert_ok(open_on(sim_disk_ops(disk), &journal));
    assert_ok(scavenge(journal));
    journal_close(journal);
    put_segments_back(disk, &old);
    fault_file_init(&fault, sim_disk_ops(disk), kind, n);
    fault.disk = disk;
    if (open_on(&fault.ops, &journal) == 0)
        journal_close(journal);
    if (aftermath == KILL)
        sim_disk_kill(disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(disk, SIM_LOSE_SOME, n);
    assert_ok(open_on(sim_disk_ops(disk), &journal));
    assert_true(check(journal, &chain));
    journal_status(journal, &status);
    assert_false(status.log.copied);
    journal_close(journal);
    verify(disk);
    sim_disk_free(disk);
    return fault_file_fired(&fault);
}

/* S4: its newest bodies are gone, which would say that all are, and its oldest are not. */
static void a_copy_forgets_what_it_says_is_gone_whatever_breaks(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_TEAR, FAULT_FULL, FAULT_KILL, FAULT_KILL_TORN};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
        for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
            uint64_t n = 1;
            while (try_copy(kinds[kind], n, (enum aftermath)aftermath))
                n++;
            assert_true(n > 8);
        }
}

/* ---- a follower ---- */

enum { RECORDS = RULE + 1 };

/* A leader's records as a follower gets them that reads along: whole, then the event that says what goes. */
struct leader {
    struct sim_disk *disk;
    struct log_record records[RECORDS];
    struct buffer heads[RECORDS], bodies[RECORDS];
    struct log_chain chains[RECORDS + 1];
};

static void copy_records(struct leader *leader, struct journal *journal, size_t from, size_t to)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    assert_ok(journal_log_reader(journal, from, &reader));
    for (size_t i = from; i < to; i++) {
        assert_ok(log_reader_next(reader, &leader->records[i]));
        assert_ok(buffer_append_bytes(&leader->heads[i], leader->records[i].head));
        assert_ok(buffer_append_bytes(&leader->bodies[i], leader->records[i].body));
        leader->records[i].head = buffer_bytes(&leader->heads[i]);
        leader->records[i].body = buffer_bytes(&leader->bodies[i]);
        assert_ok(journal_chain_at(journal, i + 1, &leader->chains[i + 1]));
    }
}

static void leader_open(struct leader *leader)
{
    struct journal *journal;
    struct log_chain chain;
    *leader = (struct leader){.disk = sim_disk_new()};
    prepare(leader->disk, &chain);
    assert_ok(open_on(sim_disk_ops(leader->disk), &journal));
    copy_records(leader, journal, 0, RULE);
    assert_ok(scavenge(journal));
    copy_records(leader, journal, RULE, RECORDS);
    journal_close(journal);
}

static void leader_close(struct leader *leader)
{
    for (size_t i = 0; i < RECORDS; i++) {
        buffer_deinit(&leader->heads[i]);
        buffer_deinit(&leader->bodies[i]);
    }
    sim_disk_free(leader->disk);
}

static int open_follower(const struct os_file_ops *ops, struct journal **ret_journal)
{
    struct file_log_options options = {.file = ops, .segment_size = SEGMENT_SIZE};
    char error[256] = "";
    struct log *log;
    int r = file_log_open("/journal", &options, &log, error);
    return r == 0 ? journal_open(log, &(struct journal_options){.follower = true}, ret_journal, error) : r;
}

/* Follow to the end, a few records at a time. */
static int follow(const struct leader *leader, struct journal *follower)
{
    int r = 0;
    for (uint64_t head; r == 0 && (head = journal_head(follower)) < RECORDS;) {
        size_t count = RECORDS - head < 7 ? (size_t)(RECORDS - head) : 7;
        struct log_record records[7];
        memcpy(records, leader->records + head, count * sizeof(*records));
        r = journal_replicate(follower, records, count, &leader->chains[head + count]);
    }
    return r;
}

static bool try_following(const struct leader *leader, enum fault_kind kind, uint64_t n,
                          enum aftermath aftermath)
{
    struct sim_disk *disk = sim_disk_new();
    struct fault_file fault;
    struct journal *follower;
    fault_file_init(&fault, sim_disk_ops(disk), kind, n);
    fault.disk = disk;
    if (open_follower(&fault.ops, &follower) == 0) {
        (void)follow(leader, follower);
        journal_close(follower);
    }
    if (aftermath == KILL)
        sim_disk_kill(disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(disk, SIM_LOSE_SOME, n);
    assert_ok(open_follower(sim_disk_ops(disk), &follower));
    if (journal_head(follower) == RECORDS) /* S3: that it has the event means that it has done it */
        assert_true(check(follower, &leader->chains[RULE]));
    assert_ok(follow(leader, follower));
    assert_true(check(follower, &leader->chains[RULE]));
    journal_close(follower);
    verify(disk);
    sim_disk_free(disk);
    return fault_file_fired(&fault);
}

static void a_follower_has_done_what_it_knows_of_whatever_breaks(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_FULL, FAULT_KILL, FAULT_KILL_TORN};
    static struct leader leader;
    leader_open(&leader);
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
        for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
            uint64_t n = 1;
            while (try_following(&leader, kinds[kind], n, (enum aftermath)aftermath))
                n++;
            assert_true(n > 15);
        }
    leader_close(&leader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scavenge_is_whole_or_finished_later_whatever_breaks),
        cmocka_unit_test(a_copy_forgets_what_it_says_is_gone_whatever_breaks),
        cmocka_unit_test(a_follower_has_done_what_it_knows_of_whatever_breaks),
    };
    return cmocka_run_group_tests_name("journal/scavenge_fault", tests, NULL, NULL);
}
