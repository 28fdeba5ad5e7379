/* Every call that changes the disk is broken once, in every way, and each time the journal is opened again and compared
 * with what its callers were told (P6, P7): what was acknowledged is there, what was said to be lost is not, nothing else
 * is, and all in order. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "journal/state.h"
#include "lib/fault_file.h"
#include "lib/journal_kit.h"
#include "log/file_log.h"

enum { APPENDS = 24, SEGMENT_SIZE = 64 * 1024, DATA_SIZE = 9000, INDEX_UNIT = 4 };

/* How one append ended, as far as its caller knows. */
enum told { TOLD_NOTHING, TOLD_THERE, TOLD_NOT_THERE };

struct trial {
    struct sim_disk *disk;
    struct fault_file fault;
    enum told told[APPENDS];
    uint64_t positions[APPENDS];
    bool ended; /* writing had ended: nothing may be taken any more (P7) */
};

static int open_on(const struct os_file_ops *ops, struct journal **ret_journal, char *error)
{
    struct file_log_options options = {.file = ops, .segment_size = SEGMENT_SIZE};
    struct log *log;
    int r = file_log_open("/journal", &options, &log, error);
    struct journal_options with_index = {.index_folder = "/index", .index_file = ops, .index_unit = INDEX_UNIT};
    return r == 0 ? journal_open(log, &with_index, ret_journal, error) : r;
}

/* Content follows from the number. Three events every third time, and room for only a few appends in a segment. */
static int append(struct journal *journal, unsigned number, struct journal_result *result)
{
    static char data[DATA_SIZE];
    struct journal_event_new events[3];
    struct bytes tags[16];
    char type[16];
    memset(data, 'a' + (int)(number % 26), sizeof(data));
    snprintf(type, sizeof(type), "N%u", number);
    for (unsigned i = 0; i < 3; i++) {
        events[i] = kit_event("s", type, "x", tags, "");
        events[i].data = bytes_make(data, number % 2 ? 10 : sizeof(data) / 3);
    }
    struct journal_append wanted = {.events = events, .event_count = number % 3 == 0 ? 3 : 1};
    return journal_append_wait(journal, &wanted, result);
}

static void note(struct trial *trial, unsigned number, int answer, const struct journal_result *result)
{
    bool heard = !trial->fault.dead; /* a process that died told nobody */
    switch (answer) {
    case 0:
        assert_false(trial->ended);
        trial->told[number] = heard ? TOLD_THERE : TOLD_NOTHING;
        trial->positions[number] = result->first;
        break;
    case JOURNAL_E_FULL: trial->told[number] = heard ? TOLD_NOT_THERE : TOLD_NOTHING; break;
    case JOURNAL_E_READ_ONLY: trial->told[number] = TOLD_NOT_THERE; break;
    case JOURNAL_E_FAILED:
        trial->ended = true;
        trial->told[number] = heard ? TOLD_NOT_THERE : TOLD_NOTHING;
        break;
    default:
        assert_int_equal(answer, JOURNAL_E_UNKNOWN);
        trial->ended = true;
        trial->told[number] = TOLD_NOTHING;
    }
}

static void run(struct trial *trial)
{
    struct journal *journal;
    char error[256] = "";
    for (unsigned number = 0; number < APPENDS; number++)
        trial->told[number] = TOLD_NOT_THERE;
    if (open_on(&trial->fault.ops, &journal, error) != 0)
        return;
    for (unsigned number = 0; number < APPENDS; number++) {
        struct journal_result result;
        int r = append(journal, number, &result);
        note(trial, number, r, &result);
        if (r == JOURNAL_E_FULL && number % 4 == 3)
            fault_file_heal(&trial->fault); /* somebody made room: writing must resume by itself */
    }
    journal_close(journal);
}

/* Read everything: appends in the order of their numbers, each whole. */
static void compare(const struct trial *trial, struct journal *journal)
{
    bool there[APPENDS] = {false};
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t count = 0;
    int last = -1, r;
    assert_ok(journal_reader_new(journal, &(struct journal_read){.stream = B("s")}, &reader));
    while ((r = journal_reader_next(reader, &event)) == 0) {
        unsigned number = (unsigned)strtoul((const char *)event.type.data + 1, NULL, 10);
        assert_true(number < APPENDS);
        assert_int_equal(event.position, ++count);
        assert_int_equal(event.append_count, number % 3 == 0 ? 3 : 1);
        assert_true((int)number > last || (event.append_first < event.position && (int)number == last));
        last = (int)number;
        there[number] = event.position + 1 == event.append_first + event.append_count;
        for (size_t i = 0; i < event.data.size; i++)
            assert_int_equal(event.data.data[i], 'a' + number % 26);
        if (trial->told[number] == TOLD_THERE)
            assert_int_equal(trial->positions[number], event.append_first);
        assert_int_not_equal(trial->told[number], TOLD_NOT_THERE);
    }
    assert_int_equal(r, JOURNAL_E_END);
    for (unsigned number = 0; number < APPENDS; number++)
        if (trial->told[number] == TOLD_THERE)
            assert_true(there[number]);
    if (last >= 0)
        assert_true(there[last]); /* P2: no append in part */
    journal_reader_free(reader);
}

enum aftermath { RESTART, KILL, POWER_LOSS, AFTERMATHS };

/* One trial: whether there was an n-th call to break. */
static bool try(enum fault_kind kind, uint64_t n, enum aftermath aftermath)
{
    struct trial trial = {.disk = sim_disk_new()};
    struct journal *journal;
    struct journal_result result;
    char error[256] = "";
    fault_file_init(&trial.fault, sim_disk_ops(trial.disk), kind, n);
    trial.fault.disk = trial.disk;
    run(&trial);
    bool fired = fault_file_fired(&trial.fault);
    if (aftermath == KILL)
        sim_disk_kill(trial.disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(trial.disk, SIM_LOSE_SOME, n);
    int r = open_on(sim_disk_ops(trial.disk), &journal, error);
    if (r != 0)
        print_message("kind %d n %lu aftermath %d: %d %s\n", kind, (unsigned long)n, aftermath, r, error);
    assert_ok(r);
    compare(&trial, journal);
    r = append(journal, 1, &result);
    if (r != 0)
        print_message("kind %d n %lu aftermath %d: %d %s\n", kind, (unsigned long)n, aftermath, r,
                      result.detail);
    assert_ok(r);
    journal_close(journal);
    sim_disk_free(trial.disk);
    return fired;
}

static void sweep(enum fault_kind kind)
{
    for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
        uint64_t n = 1;
        while (try(kind, n, (enum aftermath)aftermath))
            n++;
        assert_true(n > APPENDS); /* the sweep went through the appends, not only through the opening */
    }
}

static void a_call_that_fails_loses_nothing_that_was_acknowledged(void **state)
{
    sweep(FAULT_FAIL);
}

static void a_write_that_is_shortened_loses_nothing(void **state)
{
    sweep(FAULT_SHORTEN);
}

static void a_write_that_is_torn_loses_nothing_that_was_acknowledged(void **state)
{
    sweep(FAULT_TEAR);
}

static void a_disk_that_fills_up_takes_writes_again_when_there_is_room(void **state)
{
    sweep(FAULT_FULL);
}

static void a_death_before_any_call_loses_nothing_that_was_acknowledged(void **state)
{
    sweep(FAULT_KILL);
}

static void a_death_within_any_write_loses_nothing_that_was_acknowledged(void **state)
{
    sweep(FAULT_KILL_TORN);
}

/* ---- the index's disk alone ---- */

static struct journal *open_apart(struct sim_disk *disk, const struct os_file_ops *index_ops)
{
    struct file_log_options options = {.file = sim_disk_ops(disk), .segment_size = SEGMENT_SIZE};
    struct journal_options with_index = {
        .index_folder = "/index", .index_file = index_ops, .index_unit = INDEX_UNIT};
    struct journal *journal;
    struct log *log;
    assert_ok(file_log_open("/journal", &options, &log, NULL));
    assert_ok(journal_open(log, &with_index, &journal, NULL));
    return journal;
}

/* Append until one is refused; how many events are there then. */
static uint64_t append_until_refused(struct journal *journal, int answer)
{
    struct journal_result result;
    int r;
    do
        r = append(journal, 1, &result);
    while (r == 0 && journal_head(journal) < 100 * INDEX_UNIT);
    assert_int_equal(r, answer);
    assert_non_null(strstr(result.detail, "the index cannot be written"));
    return journal_head(journal);
}

/* The law (P7): memory is bounded, reads go on, and writing resumes by itself. */
static void refused_until_healed(struct journal *journal, struct fault_file *fault, int answer)
{
    struct journal_result result;
    struct journal_status status;
    struct index_figures figures;
    uint64_t version, head = append_until_refused(journal, answer);
    index_figures(journal->index, &figures);
    assert_in_range(head - figures.checkpoint, INDEX_TABLES_KEPT_MAX * INDEX_UNIT, (INDEX_TABLES_KEPT_MAX + 2) * INDEX_UNIT);
    assert_ok(journal_stream_version(journal, B("s"), &version));
    assert_int_equal(version, head);
    journal_status(journal, &status);
    assert_int_equal(status.full, answer == JOURNAL_E_FULL);
    assert_true(status.writable);
    atomic_store(&fault->dead, false);
    fault_file_heal(fault);
    assert_ok(append(journal, 1, &result));
    assert_int_equal(result.first, head + 1);
    journal_status(journal, &status);
    assert_false(status.full);
}

static void an_index_that_cannot_be_written_bounds_memory_and_writing_resumes_with_room(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct fault_file fault;
    uint64_t version;
    fault_file_init(&fault, sim_disk_ops(disk), FAULT_FULL, 1);
    struct journal *journal = open_apart(disk, &fault.ops);
    refused_until_healed(journal, &fault, JOURNAL_E_FULL);
    assert_ok(index_settle(journal->index));
    fault_file_kill(&fault);
    refused_until_healed(journal, &fault, JOURNAL_E_READ_ONLY);
    journal_close(journal);
    journal = open_apart(disk, sim_disk_ops(disk));
    assert_ok(journal_stream_version(journal, B("s"), &version));
    assert_int_equal(version, journal_head(journal));
    journal_close(journal);
    sim_disk_free(disk);
}

/* ---- a follower's way in ---- */

enum { LEADER_APPENDS = 20, RECORDS_MAX = 3 * LEADER_APPENDS };

/* A leader's records, and the chain after each. */
struct leader {
    struct memory_store *store;
    struct journal *journal;
    struct log_record records[RECORDS_MAX];
    struct log_chain chains[RECORDS_MAX + 1];
    size_t count;
};

static void leader_open(struct leader *leader)
{
    struct log_reader *reader;
    struct journal_result result;
    *leader = (struct leader){.store = memory_store_new()};
    leader->journal = kit_open(leader->store, false);
    for (unsigned number = 0; number < LEADER_APPENDS; number++)
        assert_ok(append(leader->journal, number, &result));
    assert_ok(journal_log_reader(leader->journal, 0, &reader));
    while (log_reader_next(reader, &leader->records[leader->count]) == 0) {
        leader->count++;
        assert_ok(journal_chain_at(leader->journal, leader->count, &leader->chains[leader->count]));
    }
    log_reader_free(reader);
}

static void leader_close(struct leader *leader)
{
    journal_close(leader->journal);
    memory_store_free(leader->store);
}

static int open_follower(const struct os_file_ops *ops, struct journal **ret_journal)
{
    struct file_log_options options = {.file = ops, .segment_size = SEGMENT_SIZE};
    struct journal_options follow = {.follower = true};
    char error[256] = "";
    struct log *log;
    int r = file_log_open("/journal", &options, &log, error);
    return r == 0 ? journal_open(log, &follow, ret_journal, error) : r;
}

/* Follow from where the follower stands, a few whole appends at a time. Its last answer; a full disk is tried again. */
static int follow(const struct leader *leader, struct journal *follower, struct fault_file *fault)
{
    unsigned patience = 10;
    while (journal_head(follower) < leader->count) {
        struct log_record records[8];
        size_t first = (size_t)journal_head(follower), count = 0;
        do
            records[count] = leader->records[first + count];
        while (!journal_record_ends_append(&records[count++]) ||
               (count < 4 && first + count < leader->count));
        int r = journal_replicate(follower, records, count, &leader->chains[first + count]);
        if (r == JOURNAL_E_FULL && fault && patience-- > 0)
            fault_file_heal(fault);
        else if (r != 0)
            return r;
    }
    return 0;
}

static bool try_following(const struct leader *leader, enum fault_kind kind, uint64_t n,
                          enum aftermath aftermath)
{
    struct sim_disk *disk = sim_disk_new();
    struct fault_file fault;
    struct journal *follower = NULL;
    struct log_chain chain;
    uint64_t acknowledged = 0;
    fault_file_init(&fault, sim_disk_ops(disk), kind, n);
    fault.disk = disk;
    if (open_follower(&fault.ops, &follower) == 0) {
        (void)follow(leader, follower, &fault);
        acknowledged = fault.dead ? 0 : journal_head(follower);
        journal_close(follower);
    }
    if (aftermath == KILL)
        sim_disk_kill(disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(disk, SIM_LOSE_SOME, n);
    assert_ok(open_follower(sim_disk_ops(disk), &follower));
    uint64_t head = journal_head(follower);
    assert_true(head >= acknowledged);
    assert_ok(journal_chain_at(follower, head, &chain));
    assert_memory_equal(&chain, &leader->chains[head],
                        sizeof(chain)); /* a beginning of the leader's, byte for byte */
    assert_ok(follow(leader, follower, NULL));
    assert_ok(journal_chain_at(follower, leader->count, &chain));
    assert_memory_equal(&chain, &leader->chains[leader->count], sizeof(chain));
    journal_close(follower);
    sim_disk_free(disk);
    return fault_file_fired(&fault);
}

static void a_follower_is_a_beginning_of_its_leader_after_every_fault_and_catches_up(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_SHORTEN, FAULT_TEAR,
                                            FAULT_FULL, FAULT_KILL,    FAULT_KILL_TORN};
    static struct leader leader;
    leader_open(&leader);
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
        for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
            uint64_t n = 1;
            while (try_following(&leader, kinds[kind], n, (enum aftermath)aftermath))
                n++;
            assert_true(n > 5);
        }
    leader_close(&leader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(a_write_that_is_shortened_loses_nothing),
        cmocka_unit_test(a_write_that_is_torn_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(a_disk_that_fills_up_takes_writes_again_when_there_is_room),
        cmocka_unit_test(a_death_before_any_call_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(a_death_within_any_write_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(an_index_that_cannot_be_written_bounds_memory_and_writing_resumes_with_room),
        cmocka_unit_test(a_follower_is_a_beginning_of_its_leader_after_every_fault_and_catches_up),
    };
    return cmocka_run_group_tests_name("journal/fault", tests, NULL, NULL);
}
