/* The contract of log.h and file_log.h on a healthy disk, and on one that is full or fails to sync. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/fault_file.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log.h"
#include "os/clock.h"
#include "os/thread.h"

#define FOLDER      "log"
#define WAIT_MS_MAX 10000

struct world {
    struct sim_disk *disk;
    struct log_kit *kit;
    struct log *log;
    struct file_log_options options;
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    world->disk = sim_disk_new();
    world->kit = log_kit_new();
    world->options = (struct file_log_options){
        .file = sim_disk_ops(world->disk), .segment_size = 64 << 10, .idle_floor_ms = 3600 * 1000};
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = (struct world *)*state;

    (void)log_close(world->log);
    log_kit_free(world->kit);
    sim_disk_free(world->disk);
    free(world);
    return 0;
}

static void open_log(struct world *world)
{
    char error[256] = "";

    if (file_log_open(FOLDER, &world->options, &world->log, error) != 0)
        fail_msg("%s", error);
    log_kit_use(world->kit, world->log);
}

static void close_log(struct world *world)
{
    log_kit_use(world->kit, NULL);
    assert_ok(log_close(world->log));
    world->log = NULL;
}

static struct log_status status_of(struct log *log)
{
    struct log_status status;

    log_status(log, &status);
    return status;
}

/* ---- appending and reading ---- */

static void records_come_back_as_they_were_appended_also_after_reopening(void **state)
{
    struct world *world = (struct world *)*state;

    open_log(world);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(log_kit_append(world->kit, 1 + i % 3, 1 + i % 5, 24 + i * 97), LOG_DURABLE);
    log_kit_check(world->kit, false);
    close_log(world);
    open_log(world);
    log_kit_check(world->kit, false);
    assert_int_equal(status_of(world->log).head, log_kit_acknowledged(world->kit));
    assert_int_equal(status_of(world->log).first, 1);
}

static void batches_may_be_handed_over_while_others_are_on_their_way(void **state)
{
    struct world *world = (struct world *)*state;

    open_log(world);
    for (size_t i = 0; i < 300; i++)
        assert_ok(log_kit_submit(world->kit, 1, 2, 200));
    assert_int_equal(log_kit_wait(world->kit), LOG_DURABLE);
    assert_int_equal(log_kit_acknowledged(world->kit), 600);
    log_kit_check(world->kit, false);
}

/* What gathers while a sync runs shares the next one, up to GROUP_SIZE_MAX; a batch larger than a segment gets one of
 * its own size. */
static void groups_and_segments_grow_with_what_they_must_hold(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_counters counters;

    open_log(world);
    for (size_t i = 0; i < 15; i++)
        assert_ok(log_kit_submit(world->kit, 2, 1, 800000));
    assert_int_equal(log_kit_wait(world->kit), LOG_DURABLE);
    log_counters(world->log, &counters);
    assert_int_equal(counters.batches, 15);
    assert_int_equal(counters.appends, 30);
    assert_true(counters.bytes_written > 15 * 1600000);
    log_kit_check(world->kit, false);
    close_log(world);
    open_log(world);
    log_kit_check(world->kit, false);
}

/* The chain by its definition in docs/formats/log.md, from what a reader shows. */
static void the_chain_runs_over_every_record(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_chain chain = {0}, told;
    struct log_record record;

    open_log(world);
    for (size_t i = 0; i < 30; i++)
        (void)log_kit_append(world->kit, 2, 3, 700);
    assert_ok(log_reader_new(world->log, 0, &reader));
    while (log_reader_next(reader, &record) == 0) {
        log_chain_step(&chain, &record, &chain);
        assert_ok(log_chain_at(world->log, record.position, &told));
        assert_memory_equal(told.bytes, chain.bytes, LOG_CHAIN_SIZE);
    }
    assert_int_equal(record.position, 180);
    assert_int_equal(log_chain_at(world->log, 181, &told), LOG_E_END);
    assert_ok(log_chain_at(world->log, 0, &told));
    assert_memory_equal(told.bytes, (struct log_chain){0}.bytes, LOG_CHAIN_SIZE);
}

static void a_reader_goes_anywhere_and_on_from_there(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    uint32_t random = 7;

    open_log(world);
    for (size_t i = 0; i < 100; i++)
        (void)log_kit_append(world->kit, 1, 1 + i % 7, 500);
    for (int reopened = 0; reopened < 2; reopened++) {
        uint64_t head = status_of(world->log).head;

        assert_ok(log_reader_new(world->log, 0, &reader));
        for (int i = 0; i < 2000; i++) {
            uint64_t after = (random = random * 1664525 + 1013904223) % (head + 3);

            assert_ok(log_reader_seek(reader, after));
            for (uint64_t p = after + 1; p <= after + (random >> 24) % 4; p++) {
                int r = log_reader_next(reader, &record);

                assert_int_equal(r, p <= head ? 0 : LOG_E_END);
                if (r == 0)
                    assert_int_equal(record.position, p);
            }
        }
        log_reader_free(take_ptr(reader));
        close_log(world);
        open_log(world);
    }
}

static void a_reader_tells_the_file_and_offset_of_its_record(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    char file[64];
    uint64_t offset, offset_before;

    open_log(world);
    for (size_t i = 0; i < 40; i++)
        (void)log_kit_append(world->kit, 1, 2, 2000);
    assert_ok(log_reader_new(world->log, 0, &reader));
    file_log_reader_place(reader, file, &offset);
    assert_string_equal(file, "");
    assert_ok(log_reader_next(reader, &record));
    file_log_reader_place(reader, file, &offset_before);
    assert_string_equal(file, "00000000000000000001.seg");
    assert_int_equal(offset_before, 80); /* the first frame lies behind the header */
    assert_ok(log_reader_next(reader, &record));
    file_log_reader_place(reader, file, &offset);
    assert_int_equal(offset, offset_before); /* of the same append */
    assert_ok(log_reader_seek(reader, 79));
    assert_ok(log_reader_next(reader, &record));
    file_log_reader_place(reader, file, &offset);
    assert_true(offset > offset_before && strcmp(file, "00000000000000000001.seg") > 0);
}

/* A thousand subscribers are no more open files than there are segments. */
static void readers_of_one_segment_share_its_file(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_reader *readers[1000];
    struct log_record record;
    size_t open_before;

    open_log(world);
    for (size_t i = 0; i < 100; i++)
        (void)log_kit_append(world->kit, 1, 2, 2000);
    open_before = sim_disk_open_count(world->disk);
    for (size_t i = 0; i < 1000; i++) {
        assert_ok(log_reader_new(world->log, i % 200, &readers[i]));
        assert_ok(log_reader_next(readers[i], &record));
        assert_int_equal(record.position, i % 200 + 1);
    }
    assert_in_range(sim_disk_open_count(world->disk) - open_before, 2, 10);
    for (size_t i = 0; i < 1000; i++)
        log_reader_free(readers[i]);
    close_log(world);
    assert_int_equal(sim_disk_open_count(world->disk), 0);
}

static void a_reader_at_the_end_sees_what_is_appended_next(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;

    open_log(world);
    assert_ok(log_reader_new(world->log, 0, &reader));
    assert_int_equal(log_reader_next(reader, &record), LOG_E_END);
    for (uint64_t i = 1; i <= 120; i++) {
        (void)log_kit_append(world->kit, 1, 1, 2000);
        assert_ok(log_reader_next(reader, &record));
        assert_int_equal(record.position, i);
        assert_int_equal(log_reader_next(reader, &record), LOG_E_END);
    }
}

/* ---- refusals ---- */

static enum log_outcome outcome_of_one;

static void note_outcome(struct log_batch *batch, enum log_outcome outcome)
{
    outcome_of_one = outcome;
}

static void a_batch_that_expects_another_tail_is_fenced(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_record record = {.head = BYTES_LITERAL("h"), .body = BYTES_LITERAL("b")};
    struct log_entry entry = {.records = &record, .count = 1};
    struct log_batch batch = {.tail_expected = 1, .entries = &entry, .count = 1, .done = note_outcome};

    open_log(world);
    (void)log_kit_append(world->kit, 1, 2, 100);
    for (uint64_t tail = 0; tail <= 3; tail += tail == 1 ? 2 : 1) {
        outcome_of_one = LOG_DURABLE;
        batch.tail_expected = tail;
        assert_ok(log_append(world->log, &batch));
        assert_int_equal(outcome_of_one, LOG_FENCED);
    }
    assert_int_equal(status_of(world->log).head, 2);
}

static int try_size(struct world *world, size_t count, size_t body_size)
{
    return log_kit_submit(world->kit, 1, count, body_size);
}

static void an_append_has_a_largest_size_and_count(void **state)
{
    struct world *world = (struct world *)*state;
    const size_t around = 16 + LOG_RECORD_SIZE_EXTRA; /* log_kit's heads have 16 bytes */

    open_log(world);
    assert_ok(try_size(world, 1, LOG_APPEND_SIZE_MAX - around));
    assert_int_equal(try_size(world, 1, LOG_APPEND_SIZE_MAX - around + 1), LOG_E_TOO_LARGE);
    assert_ok(try_size(world, 9, LOG_APPEND_SIZE_MAX / 9 - around));
    assert_int_equal(try_size(world, LOG_APPEND_COUNT_MAX + 1, 24), LOG_E_TOO_LARGE);
    assert_int_equal(try_size(world, 0, 24), -EINVAL);
    assert_int_equal(log_kit_wait(world->kit), LOG_DURABLE);
    log_kit_check(world->kit, false);
}

static void a_second_writer_is_refused_and_a_reader_is_not(void **state)
{
    struct world *world = (struct world *)*state;
    struct file_log_options reading = world->options;
    struct log *other = NULL;
    char error[256] = "";

    open_log(world);
    assert_int_equal(file_log_open(FOLDER, &world->options, &other, error), FILE_LOG_E_LOCKED);
    assert_non_null(strstr(error, "another process writes to log"));
    reading.read_only = true;
    assert_ok(file_log_open(FOLDER, &reading, &other, error));
    assert_false(status_of(other).writable);
    assert_ok(log_close(other));
    close_log(world);
    open_log(world);
}

static void reading_where_nothing_is_says_so(void **state)
{
    struct world *world = (struct world *)*state;
    char error[256] = "";

    world->options.read_only = true;
    assert_int_equal(file_log_open(FOLDER, &world->options, &world->log, error), FILE_LOG_E_MISSING);
    assert_true(error[0] != '\0');
    world->options.segment_size = 1;
    assert_int_equal(file_log_open(FOLDER, &world->options, &world->log, error), -EINVAL);
    world->options.segment_size = (UINT64_C(4) << 30) + 1;
    assert_int_equal(file_log_open(FOLDER, &world->options, &world->log, error), -EINVAL);
    assert_string_equal(error, "a segment has 64 KiB to 4 GiB");
    world->log = NULL;
}

static void epochs_rise_and_id_and_key_stay(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_status before, after;

    open_log(world);
    (void)log_kit_append(world->kit, 1, 1, 100);
    before = status_of(world->log);
    close_log(world);
    open_log(world);
    after = status_of(world->log);
    assert_true(after.epoch > before.epoch);
    assert_memory_equal(before.id, after.id, sizeof(before.id));
    assert_memory_equal(before.key, after.key, sizeof(before.key));
}

/* ---- trouble ---- */

/* L4, P7: what was written is undecided, nothing more is taken, and the next opening decides. */
static void a_failed_sync_ends_writing_until_the_log_is_opened_anew(void **state)
{
    struct world *world = (struct world *)*state;

    open_log(world);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 100), LOG_DURABLE);
    sim_disk_fail_syncs(world->disk, 1);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 100), LOG_UNKNOWN);
    assert_int_equal(log_kit_submit(world->kit, 1, 1, 100), LOG_E_READ_ONLY);
    assert_int_equal(status_of(world->log).head, 1);
    assert_false(status_of(world->log).writable);
    assert_non_null(strstr(status_of(world->log).reason, "A sync failed"));
    close_log(world);
    open_log(world);
    assert_int_equal(status_of(world->log).head,
                     2); /* the kernel still had it, and it was written once more */
    log_kit_check(world->kit, false);
    sim_disk_power_loss(world->disk, SIM_LOSE_ALL, 0);
    close_log(world);
    open_log(world);
    log_kit_check(world->kit, false);
    assert_int_equal(status_of(world->log).head, 2);
}

/* L4: the log stays as it was, can be read, and takes writes again by itself. */
static void a_full_disk_refuses_writes_until_there_is_room(void **state)
{
    struct world *world = (struct world *)*state;
    size_t refused = 0;

    sim_disk_set_capacity(world->disk, 200 << 10);
    open_log(world);
    while (log_kit_append(world->kit, 1, 1, 5000) == LOG_DURABLE)
        assert_true(log_kit_acknowledged(world->kit) < 100);
    for (; refused < 5; refused++)
        assert_int_equal(log_kit_append(world->kit, 2, 1, 5000), LOG_FULL);
    assert_true(status_of(world->log).writable);
    log_kit_check(world->kit, false);
    sim_disk_set_capacity(world->disk, 0);
    assert_int_equal(log_kit_append(world->kit, 2, 1, 5000), LOG_DURABLE);
    log_kit_check(world->kit, false);
    close_log(world);
    sim_disk_set_capacity(world->disk, 1); /* opening needs no room */
    open_log(world);
    log_kit_check(world->kit, false);
}

/* F5: a floor may stand where the file ended before; giving back room must not cut it. */
static void a_full_disk_leaves_a_floor_at_the_end_of_its_file_alone(void **state)
{
    struct world *world = (struct world *)*state;
    const struct os_file_ops *ops = world->options.file;
    uint64_t end;
    int file;

    open_log(world);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 5000), LOG_DURABLE);
    end = status_of(world->log).size_bytes - 64; /* log.head */
    sim_disk_kill(world->disk);
    close_log(world);
    assert_ok(ops->open(ops, FOLDER "/00000000000000000001.seg", OS_FILE_WRITE, &file));
    assert_ok(ops->truncate(ops, file, end));
    assert_ok(ops->close(ops, file));

    open_log(world);
    sim_disk_set_capacity(world->disk, sim_disk_used(world->disk));
    assert_int_equal(log_kit_append(world->kit, 1, 1, 5000), LOG_FULL);
    sim_disk_set_capacity(world->disk, 0);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 5000), LOG_DURABLE);
    log_kit_check(world->kit, false);
    close_log(world);
    open_log(world);
    log_kit_check(world->kit, false);
}

/* A disk smaller than a segment is used to its end all the same. */
static void a_disk_smaller_than_a_segment_is_used(void **state)
{
    struct world *world = (struct world *)*state;

    world->options.segment_size = 16 << 20;
    sim_disk_set_capacity(world->disk, 1 << 20);
    open_log(world);
    while (log_kit_append(world->kit, 1, 1, 10000) == LOG_DURABLE)
        assert_true(log_kit_acknowledged(world->kit) < 200);
    assert_true(log_kit_acknowledged(world->kit) > 80);
}

/* ---- floors, and reading beside a writer ---- */

/* Waits for the reader's own log to know a head; true when it came in time. */
static bool wait_for_head(struct log *log, uint64_t head)
{
    struct os_mutex mutex = OS_MUTEX_INIT;
    struct os_cond never;
    uint64_t limit = os_monotonic_ns() + WAIT_MS_MAX * OS_NS_PER_MS;
    bool reached;

    os_cond_init(&never);
    os_mutex_lock(&mutex);
    while (!(reached = status_of(log).head >= head) && os_monotonic_ns() < limit)
        (void)os_cond_wait_until(&never, &mutex, os_monotonic_ns() + OS_NS_PER_MS);
    os_mutex_unlock(&mutex);
    os_cond_deinit(&never);
    return reached;
}

static void another_process_sees_what_a_floor_vouches_for_and_idleness_writes_one(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct file_log_options reading = world->options;
    struct log_record record;
    struct log *beside;
    char error[256];

    world->options.idle_floor_ms = 20;
    open_log(world);
    (void)log_kit_append(world->kit, 1, 1, 100);
    reading.read_only = true;
    assert_ok(file_log_open(FOLDER, &reading, &beside, error));
    for (uint64_t i = 1; i <= 8; i++) {
        (void)log_kit_append(world->kit, 1, 4, 8000);
        assert_true(wait_for_head(beside, 1 + 4 * i));
    }
    assert_ok(log_reader_new(beside, 0, &reader));
    for (uint64_t position = 1; position <= 33; position++) {
        assert_ok(log_reader_next(reader, &record));
        assert_int_equal(record.position, position);
    }
    assert_int_equal(log_reader_next(reader, &record), LOG_E_END);
    log_reader_free(take_ptr(reader));
    assert_ok(log_close(beside));
}

/* A table whose n-th pread is preceded by something the test does. */
struct interruption {
    struct os_file_ops ops; /* first */
    const struct os_file_ops *below;
    uint64_t reads, at;
    struct log_kit *kit;
};

static int interrupted_pread(const struct os_file_ops *ops, int file, void *data, size_t size,
                             uint64_t offset, size_t *ret_size)
{
    struct interruption *interruption = (struct interruption *)ops;

    if (++interruption->reads == interruption->at) {
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(log_kit_append(interruption->kit, 2, 1, 60000), LOG_DURABLE);
    }
    return interruption->below->pread(interruption->below, file, data, size, offset, ret_size);
}

static int interrupted_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    const struct os_file_ops *below = ((struct interruption *)ops)->below;

    return below->open(below, path, flags, ret_file);
}

static int interrupted_close(const struct os_file_ops *ops, int file)
{
    const struct os_file_ops *below = ((struct interruption *)ops)->below;

    return below->close(below, file);
}

static int interrupted_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    const struct os_file_ops *below = ((struct interruption *)ops)->below;

    return below->size(below, file, ret_size);
}

static int interrupted_is_locked(const struct os_file_ops *ops, int file, bool *ret_locked)
{
    const struct os_file_ops *below = ((struct interruption *)ops)->below;

    return below->is_locked(below, file, ret_locked);
}

static int interrupted_list(const struct os_file_ops *ops, const char *path, struct buffer *names)
{
    const struct os_file_ops *below = ((struct interruption *)ops)->below;

    return below->list(below, path, names);
}

static void count_damage(void *user, const struct file_log_damage *damage)
{
    (*(size_t *)user)++;
}

/* The writer comes in between at one read of the opening or of the verifier. */
static void interrupt_once(struct world *world, uint64_t at, bool verify)
{
    struct interruption interruption = {
        .ops = {.open = interrupted_open,
                .close = interrupted_close,
                .pread = interrupted_pread,
                .is_locked = interrupted_is_locked,
                .size = interrupted_size,
                .list = interrupted_list},
        .below = sim_disk_ops(world->disk),
        .kit = world->kit,
        .at = at,
    };
    struct file_log_options reading = {.file = &interruption.ops, .read_only = true};
    struct file_log_report report;
    struct log *beside;
    char error[256] = "";
    size_t damage = 0;

    world->options.segment_size = 4 << 20; /* many windows */
    open_log(world);
    for (size_t i = 0; i < 4; i++)
        (void)log_kit_append(world->kit, 1, 2, 60000);
    if (verify) {
        assert_ok(file_log_verify(FOLDER, &interruption.ops, count_damage, NULL, &damage, &report, error));
    } else {
        assert_ok(file_log_open(FOLDER, &reading, &beside, error));
        assert_null(strstr(status_of(beside).reason, "damaged"));
        assert_ok(log_close(beside));
    }
    assert_int_equal(damage, 0);
    assert_true(interruption.reads >= at);
    close_log(world);
}

/* Whichever read of theirs it is, nothing is taken for damage. */
static void a_writer_at_work_is_not_taken_for_damage(void **state)
{
    for (uint64_t at = 1; at <= 80; at++) { /* the first 20 for opening, which reads less often */
        void *fresh;

        assert_ok(set_up(&fresh));
        interrupt_once((struct world *)fresh, at <= 20 ? at : at - 20, at > 20);
        assert_ok(tear_down(&fresh));
    }
}

static void without_a_floor_another_process_sees_nothing_yet(void **state)
{
    struct world *world = (struct world *)*state;
    struct file_log_options reading = world->options;
    struct log *beside;
    char error[256];

    open_log(world); /* its floors wait for an hour */
    assert_ok(world->options.file->remove(world->options.file, FOLDER "/durable.page"));
    (void)log_kit_append(world->kit, 1, 1, 100);
    reading.read_only = true;
    assert_ok(file_log_open(FOLDER, &reading, &beside, error));
    assert_int_equal(status_of(beside).head, 0);
    (void)log_kit_append(world->kit, 1, 1, 100); /* says that the first is durable */
    assert_int_equal(status_of(beside).head, 1);
    close_log(world);
    assert_int_equal(status_of(beside).head, 2);
    assert_ok(log_close(beside));
}

/* LOG_ASYNC: acknowledged without a sync; killed, nothing is lost; without power, a whole prefix stays. */
static void async_durability_survives_a_kill_and_keeps_a_prefix_without_power(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_counters counters;

    world->options.durability = LOG_ASYNC;
    open_log(world);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(log_kit_append(world->kit, 1, 2, 1000), LOG_DURABLE);
    log_counters(world->log, &counters);
    assert_int_equal(counters.records, 20);
    assert_true(counters.syncs < 10);
    sim_disk_kill(world->disk);
    close_log(world);
    open_log(world);
    log_kit_check(world->kit, false);
    for (size_t i = 0; i < 10; i++)
        (void)log_kit_append(world->kit, 1, 2, 1000);
    sim_disk_power_loss(world->disk, SIM_LOSE_SOME, 5);
    close_log(world);
    open_log(world);
    assert_true(status_of(world->log).writable);
    assert_true(status_of(world->log).head >= 20 && status_of(world->log).head % 2 == 0);
}

/* ---- followers ---- */

/* Copies a record so that it outlives the reader's next call. */
static struct log_record keep_record(const struct log_record *record, struct buffer *memory)
{
    struct log_record kept = *record;
    size_t offset = memory->size;

    assert_ok(buffer_append_bytes(memory, record->head));
    assert_ok(buffer_append_bytes(memory, record->body));
    kept.head = bytes_make(memory->data + offset, record->head.size);
    kept.body = bytes_make(memory->data + offset + record->head.size, record->body.size);
    return kept;
}

static void a_follower_stores_records_unchanged_and_comes_to_the_same_chain(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    _cleanup_(buffer_deinit) struct buffer memory = {0};
    struct log_record records[6], read;
    struct log_entry entry = {.records = records, .count = 6};
    struct log_chain chain, other_chain;
    struct log_batch batch = {
        .entries = &entry, .count = 1, .verbatim = true, .chain_expected = &chain, .done = note_outcome};
    struct log *follower;
    char error[256];

    open_log(world);
    (void)log_kit_append(world->kit, 1, 6, 300);
    assert_ok(log_chain_at(world->log, 6, &chain));
    assert_ok(buffer_reserve(&memory, 6 * 400));
    assert_ok(log_reader_new(world->log, 0, &reader));
    for (size_t i = 0; i < 6; i++) {
        assert_ok(log_reader_next(reader, &read));
        records[i] = keep_record(&read, &memory);
    }
    assert_ok(file_log_open("follower", &world->options, &follower, error));
    records[2].epoch++; /* not what the leader wrote */
    assert_int_equal(log_append(follower, &batch), LOG_E_CHAIN);
    records[2].epoch--;
    records[3].position++;
    assert_int_equal(log_append(follower, &batch), LOG_E_CHAIN);
    records[3].position--;
    outcome_of_one = LOG_FAILED;
    assert_ok(log_append(follower, &batch));
    assert_ok(log_close(follower)); /* lets the batch end */
    assert_int_equal(outcome_of_one, LOG_DURABLE);
    assert_ok(file_log_open("follower", &world->options, &follower, error));
    assert_ok(log_chain_at(follower, 6, &other_chain));
    assert_memory_equal(chain.bytes, other_chain.bytes, LOG_CHAIN_SIZE);
    assert_ok(log_close(follower));
}

/* ---- stubs and copies ---- */

static struct log_record read_one(struct log *log, uint64_t position, struct buffer *memory)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;

    buffer_clear(memory);
    assert_ok(buffer_reserve(memory, 1 << 20));
    assert_ok(log_reader_new(log, position - 1, &reader));
    assert_ok(log_reader_next(reader, &record));
    return keep_record(&record, memory);
}

static void replace_one(struct world *world, uint64_t position)
{
    struct log_range range = {position, position};
    struct log_replaced replaced;

    assert_ok(log_replace(world->log, &range, 1, 0, &replaced));
    assert_int_equal(replaced.count, 1);
    assert_int_equal(replaced.next, 0);
    assert_ok(log_replace(world->log, &range, 1, 0, &replaced)); /* again changes nothing */
    assert_int_equal(replaced.count, 0);
}

/* What is no list of positions of this log is refused as a whole. */
static void ranges_that_do_not_ascend_or_end_above_the_head_are_refused(void **state)
{
    struct world *world = (struct world *)*state;
    static const struct log_range wrong[][2] = {
        {{0, 1}, {2, 2}}, {{2, 1}, {3, 3}}, {{1, 2}, {2, 3}}, {{3, 3}, {1, 1}}, {{1, 1}, {3, 4}}};
    struct log_replaced replaced;

    open_log(world);
    (void)log_kit_append(world->kit, 1, 3, 100);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(log_replace(world->log, wrong[i], 2, 0, &replaced), -EINVAL);
    assert_ok(log_replace(world->log, wrong[0], 0, 0, &replaced));
    assert_int_equal(replaced.count + replaced.next, 0);
}

/* Each call does one segment, and large bodies leave holes. */
static void many_bodies_go_segment_by_segment_and_give_room_back(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(buffer_deinit) struct buffer memory = {0};
    static const struct log_range ranges[] = {{2, 20}, {22, 22}, {30, 55}};
    struct file_log_report report;
    struct log_replaced replaced;
    struct log_chain before, after;
    uint64_t count = 0, bodies = 0, room = 0, from = 0;
    size_t calls = 0;

    open_log(world);
    for (size_t i = 0; i < 20; i++)
        (void)log_kit_append(world->kit, 1, 3, 12000);
    assert_ok(log_chain_at(world->log, 60, &before));
    do {
        assert_ok(log_replace(world->log, ranges, 3, from, &replaced));
        assert_true(replaced.next == 0 || replaced.next > from);
        from = replaced.next;
        count += replaced.count;
        bodies += replaced.body_bytes;
        room += replaced.room_bytes;
        calls++;
    } while (from != 0);
    assert_true(calls > 1);
    assert_int_equal(count, 19 + 1 + 26);
    assert_int_equal(bodies, count * 12000);
    assert_true(room >= count * 4096 && room < bodies);
    assert_ok(log_chain_at(world->log, 60, &after));
    assert_memory_equal(before.bytes, after.bytes, LOG_CHAIN_SIZE);
    for (uint64_t position = 1; position <= 60; position++) {
        struct log_record record = read_one(world->log, position, &memory);
        bool gone = log_ranges_find(ranges, 3, position) == position;
        assert_int_equal((record.flags & LOG_RECORD_STUB) != 0, gone);
        assert_int_equal(record.body.size, gone ? 0 : 12000);
    }
    close_log(world);
    assert_ok(file_log_verify(FOLDER, world->options.file, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(report.records, 60);
}

static void a_replaced_body_is_gone_and_the_chain_stays(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(buffer_deinit) struct buffer memory = {0};
    struct file_log_report report;
    struct log_chain before, after;
    struct log_record record;

    open_log(world);
    for (size_t i = 0; i < 10; i++)
        (void)log_kit_append(world->kit, 1, 3, 4000);
    (void)log_kit_append(world->kit, 1, 2, 24); /* a body smaller than its hash */
    assert_ok(log_chain_at(world->log, 32, &before));
    replace_one(world, 5);
    replace_one(world, 32);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 24), LOG_DURABLE);
    for (int reopened = 0; reopened < 2; reopened++) {
        for (uint64_t position = 5; position <= 32; position += 27) {
            record = read_one(world->log, position, &memory);
            assert_true(record.flags & LOG_RECORD_STUB);
            assert_int_equal(record.body.size, 0);
            assert_int_equal(record.body_size, position == 5 ? 4000 : 24);
        }
        assert_ok(log_chain_at(world->log, 32, &after));
        assert_memory_equal(before.bytes, after.bytes, LOG_CHAIN_SIZE);
        assert_int_equal(status_of(world->log).head, 33);
        close_log(world);
        open_log(world);
    }
    assert_ok(file_log_verify(FOLDER, world->options.file, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(report.records, 33);
}

/* ---- the real disk ---- */

static void the_real_file_system_keeps_the_same_contract(void **state)
{
    struct world *world = (struct world *)*state;
    char folder[] = "/tmp/daybook-log-test-XXXXXX", path[128], error[256] = "";
    struct file_log_options options = {.segment_size = 64 << 10};
    struct log *other;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/log", folder);
    for (int reopened = 0; reopened < 3; reopened++) {
        if (file_log_open(path, &options, &world->log, error) != 0)
            fail_msg("%s", error);
        log_kit_use(world->kit, world->log);
        log_kit_check(world->kit, false);
        for (size_t i = 0; i < 20; i++)
            assert_int_equal(log_kit_append(world->kit, 2, 2, 1500), LOG_DURABLE);
        assert_int_equal(file_log_open(path, &options, &other, error), FILE_LOG_E_LOCKED);
        close_log(world);
    }
    (void)snprintf(path, sizeof(path), "rm -r %s", folder);
    assert_ok(system(path));
}

int main(void)
{
#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LOG_TEST(records_come_back_as_they_were_appended_also_after_reopening),
        LOG_TEST(batches_may_be_handed_over_while_others_are_on_their_way),
        LOG_TEST(groups_and_segments_grow_with_what_they_must_hold),
        LOG_TEST(the_chain_runs_over_every_record),
        LOG_TEST(a_reader_goes_anywhere_and_on_from_there),
        LOG_TEST(a_reader_tells_the_file_and_offset_of_its_record),
        LOG_TEST(readers_of_one_segment_share_its_file),
        LOG_TEST(a_reader_at_the_end_sees_what_is_appended_next),
        LOG_TEST(a_batch_that_expects_another_tail_is_fenced),
        LOG_TEST(an_append_has_a_largest_size_and_count),
        LOG_TEST(a_second_writer_is_refused_and_a_reader_is_not),
        LOG_TEST(reading_where_nothing_is_says_so),
        LOG_TEST(epochs_rise_and_id_and_key_stay),
        LOG_TEST(a_failed_sync_ends_writing_until_the_log_is_opened_anew),
        LOG_TEST(a_full_disk_refuses_writes_until_there_is_room),
        LOG_TEST(a_full_disk_leaves_a_floor_at_the_end_of_its_file_alone),
        LOG_TEST(a_disk_smaller_than_a_segment_is_used),
        LOG_TEST(another_process_sees_what_a_floor_vouches_for_and_idleness_writes_one),
        LOG_TEST(a_writer_at_work_is_not_taken_for_damage),
        LOG_TEST(without_a_floor_another_process_sees_nothing_yet),
        LOG_TEST(async_durability_survives_a_kill_and_keeps_a_prefix_without_power),
        LOG_TEST(a_follower_stores_records_unchanged_and_comes_to_the_same_chain),
        LOG_TEST(a_replaced_body_is_gone_and_the_chain_stays),
        LOG_TEST(ranges_that_do_not_ascend_or_end_above_the_head_are_refused),
        LOG_TEST(many_bodies_go_segment_by_segment_and_give_room_back),
        LOG_TEST(the_real_file_system_keeps_the_same_contract),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
