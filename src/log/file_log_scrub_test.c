/* The scrub: what a disk forgets in a place nobody reads is found and named while the log is in use, and nothing that is as
 * it should be is called damaged. */
#include "lib/cmocka_all.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log.h"
#include "os/clock.h"

#define FOLDER        "log"
#define SEGMENT_FIRST "00000000000000000001.seg"

enum { PATIENCE_MS = 30000, BATCHES = 40, BODY_SIZE = 5000, FLIPPED_BYTE = 20000 };

struct world {
    struct sim_disk *disk;
    struct log_kit *kit;
    struct file_log_options options;
    struct log *log;
};

static void open_log(struct world *world)
{
    char error[256] = "";

    if (file_log_open(FOLDER, &world->options, &world->log, error) != 0)
        fail_msg("%s", error);
    log_kit_use(world->kit, world->log);
}

static void close_log(struct world *world)
{
    struct log *log = world->log;

    world->log = NULL;
    log_kit_use(world->kit, NULL);
    assert_ok(log_close(log));
}

/* A log of several segments, and no scrub yet. */
static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    world->disk = sim_disk_new();
    world->kit = log_kit_new();
    world->options = (struct file_log_options){
        .file = sim_disk_ops(world->disk), .segment_size = 64 << 10, .scrub_rest_ms = 1};
    open_log(world);
    for (size_t i = 0; i < BATCHES; i++)
        assert_int_equal(log_kit_append(world->kit, 1, 1, BODY_SIZE), LOG_DURABLE);
    close_log(world);
    world->options.scrub_rate = UINT64_C(1) << 40;
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = (struct world *)*state;

    if (world->log) /* the test failed */
        close_log(world);
    log_kit_free(world->kit);
    sim_disk_free(world->disk);
    free(world);
    return 0;
}

static struct log_counters counters_of(const struct world *world)
{
    struct log_counters counters;

    log_counters(world->log, &counters);
    return counters;
}

/* Passes that begin from now on: one may be under way. */
static void wait_for_whole_passes(const struct world *world, unsigned count)
{
    uint64_t deadline_ns = os_monotonic_ns() + PATIENCE_MS * OS_NS_PER_MS;
    uint64_t wanted = counters_of(world).scrub_passes + count + 1;

    while (counters_of(world).scrub_passes < wanted) {
        assert_true(os_monotonic_ns() < deadline_ns);
        sched_yield();
    }
}

static void wait_for_damage(const struct world *world)
{
    uint64_t deadline_ns = os_monotonic_ns() + PATIENCE_MS * OS_NS_PER_MS;

    while (counters_of(world).scrub_damages == 0) {
        assert_true(os_monotonic_ns() < deadline_ns);
        sched_yield();
    }
}

/* Reads on from `after`; how it ends, and how many there were. */
static int read_from(const struct world *world, uint64_t after, uint64_t *ret_count)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r;

    *ret_count = 0;
    assert_ok(log_reader_new(world->log, after, &reader));
    while ((r = log_reader_next(reader, &record)) == 0)
        ++*ret_count;
    return r;
}

static void a_whole_log_is_read_again_and_again_and_nothing_is_said(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_status status;

    open_log(world);
    wait_for_whole_passes(world, 3);
    assert_int_equal(counters_of(world).scrub_damages, 0);
    assert_true(counters_of(world).scrub_bytes > 3 * BATCHES * BODY_SIZE);
    log_status(world->log, &status);
    assert_true(status.writable);
    close_log(world);
}

/* The law (P6): damage is named by file and offset, ends writing, and what is not damaged can be read on. */
static void a_flipped_bit_in_an_old_segment_is_found_and_named_while_the_log_is_in_use(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_status status;
    unsigned long long offset;
    uint64_t count;
    char *at;

    open_log(world);
    wait_for_whole_passes(world, 1);
    assert_true(sim_disk_flip_bit(world->disk, FOLDER "/" SEGMENT_FIRST, FLIPPED_BYTE * 8));
    wait_for_damage(world);
    log_status(world->log, &status);
    assert_false(status.writable);
    assert_non_null(strstr(status.reason, SEGMENT_FIRST " is damaged at byte "));
    at = strstr(status.reason, "at byte ");
    offset = strtoull(at + strlen("at byte "), NULL, 10);
    assert_in_range(offset, FLIPPED_BYTE - BODY_SIZE - 400, FLIPPED_BYTE);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 40), LOG_FAILED);
    assert_int_equal(read_from(world, BATCHES / 2, &count), LOG_E_END);
    assert_int_equal(count, BATCHES - BATCHES / 2);
    assert_int_equal(read_from(world, 0, &count), -EBADMSG);
    assert_in_range(count, 1, FLIPPED_BYTE / BODY_SIZE);
    assert_int_equal(counters_of(world).scrub_damages, 1);
    close_log(world);
}

/* A byte of every kind of place: header of the segment, header of a frame, body. And what is found stays so. */
static void a_flipped_bit_is_found_wherever_it_is(void **state)
{
    struct world *world = (struct world *)*state;

    for (uint64_t byte = 0; byte < 60000; byte += 997) {
        open_log(world);
        assert_true(sim_disk_flip_bit(world->disk, FOLDER "/" SEGMENT_FIRST, byte * 8 + byte % 8));
        wait_for_damage(world);
        close_log(world);
        assert_true(sim_disk_flip_bit(world->disk, FOLDER "/" SEGMENT_FIRST, byte * 8 + byte % 8));
    }
}

static void a_segment_without_some_of_its_bodies_is_whole(void **state)
{
    struct world *world = (struct world *)*state;
    const struct log_range range = {.first = 2, .last = 7};
    struct log_replaced replaced;

    open_log(world);
    assert_ok(log_replace(world->log, &range, 1, 0, &replaced));
    assert_int_equal(replaced.count, 6);
    wait_for_whole_passes(world, 2);
    assert_int_equal(counters_of(world).scrub_damages, 0);
    close_log(world);
}

static void what_is_being_written_is_never_called_damaged(void **state)
{
    struct world *world = (struct world *)*state;
    uint64_t passes;

    world->options.idle_floor_ms = 1;
    open_log(world);
    passes = counters_of(world).scrub_passes;
    /* Bounded: on a busy machine the writer could keep the lock of the disk from the scrub for ever. */
    for (size_t i = 0; i < 200 || (i < 2000 && counters_of(world).scrub_passes < passes + 3); i++)
        assert_int_equal(log_kit_append(world->kit, 1 + i % 3, 1 + i % 2, i % 2 ? BODY_SIZE : 40), LOG_DURABLE);
    wait_for_whole_passes(world, 1);
    assert_int_equal(counters_of(world).scrub_damages, 0);
    log_kit_check(world->kit, false);
    close_log(world);
}

/* At a byte a second a pass takes days, and a rest an hour: closing waits for neither. */
static void closing_waits_neither_for_a_pass_nor_for_a_rest(void **state)
{
    struct world *world = (struct world *)*state;
    uint64_t deadline_ns = os_monotonic_ns() + PATIENCE_MS * OS_NS_PER_MS;

    world->options.scrub_rate = 1;
    open_log(world);
    while (counters_of(world).scrub_bytes == 0)
        assert_true(os_monotonic_ns() < deadline_ns);
    close_log(world);
    world->options.scrub_rate = UINT64_C(1) << 40;
    world->options.scrub_rest_ms = 0;
    open_log(world);
    while (counters_of(world).scrub_passes == 0)
        assert_true(os_monotonic_ns() < deadline_ns);
    close_log(world);
    assert_true(os_monotonic_ns() < deadline_ns);
}

/* What was read is never more than was due. */
static void the_rate_is_kept(void **state)
{
    struct world *world = (struct world *)*state;
    uint64_t began_ns, took_ns, rate = 1000 * 1000;

    world->options.scrub_rate = rate;
    world->options.scrub_rest_ms = 0;
    began_ns = os_monotonic_ns();
    open_log(world);
    while (counters_of(world).scrub_passes == 0)
        sched_yield();
    took_ns = os_monotonic_ns() - began_ns;
    assert_true(took_ns + 50 * OS_NS_PER_MS >= counters_of(world).scrub_bytes * OS_NS_PER_SECOND / rate);
    close_log(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_log_is_read_again_and_again_and_nothing_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_bit_in_an_old_segment_is_found_and_named_while_the_log_is_in_use,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_bit_is_found_wherever_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_without_some_of_its_bodies_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_being_written_is_never_called_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_waits_neither_for_a_pass_nor_for_a_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rate_is_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("log/file_log_scrub", tests, NULL, NULL);
}
