/*
 * P6: what is damaged is named or was never acknowledged; nothing is passed over. And formats: newer ones are refused by
 * name, the first one is read for ever (test/corpus/log/format-1).
 */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/hex.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log_format.h"

#define FOLDER        "log"
#define SEGMENT_FIRST FOLDER "/00000000000000000001.seg"
#define GOLDEN_CHAIN  "05af16c3c1793a7dc718db0fb04e4de3afda95574123a86a5513f6f37a5fd090"

struct world {
    struct sim_disk *disk;
    struct log_kit *kit;
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

    log_kit_free(world->kit);
    sim_disk_free(world->disk);
    free(world);
    return 0;
}

static struct log *open_log(struct world *world)
{
    struct log *log = NULL;
    char error[256] = "";

    if (file_log_open(FOLDER, &world->options, &log, error) != 0)
        fail_msg("%s", error);
    log_kit_use(world->kit, log);
    return log;
}

static void close_log(struct world *world, struct log *log)
{
    log_kit_use(world->kit, NULL);
    assert_ok(log_close(log));
}

/* A log of `batches` batches of two records, closed. */
static void make_log(struct world *world, size_t batches, size_t body_size)
{
    struct log *log = open_log(world);

    for (size_t i = 0; i < batches; i++)
        assert_int_equal(log_kit_append(world->kit, 1, 2, body_size), LOG_DURABLE);
    close_log(world, log);
}

static struct log_status status_of(struct log *log)
{
    struct log_status status;

    log_status(log, &status);
    return status;
}

/* How much of the file holds something. */
static size_t used_size(const struct buffer *content)
{
    size_t size = content->size;

    while (size > 0 && content->data[size - 1] == 0)
        size--;
    return size;
}

static void count_acknowledged(void *user, const struct file_log_damage *damage)
{
    *(size_t *)user += damage->acknowledged;
}

/* Any byte of a log that was closed in order may change: what the log then shows is a prefix, and if anything is missing
 * it says so, and so does verify. The last frame is the floor itself: without it nothing is known to be missing. */
static void every_flipped_byte_is_noticed(void **state)
{
    struct world *world = (struct world *)*state;
    struct buffer *content;
    size_t noticed = 0, size;

    make_log(world, 4, 60);
    content = sim_disk_content(world->disk, SEGMENT_FIRST);
    size = used_size(content);
    world->options.read_only = true;
    for (size_t at = 0; at < size; at++) {
        struct file_log_report report;
        size_t damaged = 0;
        struct log *log;

        content->data[at] ^= (uint8_t)(1u << at % 8);
        log = open_log(world);
        log_kit_check(world->kit, true);
        assert_ok(
            file_log_verify(FOLDER, world->options.file, count_acknowledged, NULL, &damaged, &report, NULL));
        assert_true(report.damage_count > 0);
        if (status_of(log).head < 8 && at + FORMAT_FRAME_SIZE < size) {
            assert_non_null(strstr(status_of(log).reason, "00000000000000000001.seg is damaged at byte "));
            assert_true(damaged > 0);
            noticed++;
        }
        close_log(world, log);
        content->data[at] ^= (uint8_t)(1u << at % 8);
    }
    assert_true(noticed > size / 2);
}

/* What a reader is told behind `after`. */
static void end_of(struct log *log, uint64_t after, int expected)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    struct log_chain chain;

    assert_ok(log_reader_new(log, after, &reader));
    assert_int_equal(log_reader_next(reader, &record), expected);
    assert_int_equal(log_chain_at(log, after + 1, &chain), expected);
}

static void a_damaged_log_opens_for_reading_and_refuses_writes(void **state)
{
    struct world *world = (struct world *)*state;
    struct log *log;
    char expected[64];
    size_t offset = FORMAT_SEGMENT_SIZE;

    make_log(world, 6, 100);
    for (int frame = 0; frame < 3; frame++)
        offset += FORMAT_FRAME_SIZE +
                  bytes_get_u32(sim_disk_content(world->disk, SEGMENT_FIRST)->data + offset + 8);
    sim_disk_content(world->disk, SEGMENT_FIRST)->data[offset + 200] ^= 1;
    log = open_log(world);
    assert_int_equal(status_of(log).head, 6);
    assert_false(status_of(log).writable);
    assert_true(status_of(log).damaged && status_of(log).incomplete);
    end_of(log, 6, -EBADMSG);
    end_of(log, 9, -EBADMSG);
    (void)snprintf(expected, sizeof(expected), "damaged at byte %zu: the body of a frame", offset);
    assert_non_null(strstr(status_of(log).reason, expected));
    assert_int_equal(log_kit_submit(world->kit, 1, 1, 100), LOG_E_READ_ONLY);
    log_kit_check(world->kit, true);
    close_log(world, log);
}

/* What lies above the highest floor was on its way: it is cut, and its bytes never come back. */
static void a_torn_tail_is_cut_and_zeroed(void **state)
{
    struct world *world = (struct world *)*state;
    struct buffer *content;
    struct log *log;
    size_t size;

    make_log(world, 3, 100);
    content = sim_disk_content(world->disk, SEGMENT_FIRST);
    size = used_size(content);
    assert_true(content->size > size + 1000);
    memset(content->data + size + 300, 'x', 500); /* a frame of which only the middle arrived */
    log = open_log(world);
    assert_int_equal(status_of(log).head, 6);
    assert_true(status_of(log).writable);
    assert_true(used_size(sim_disk_content(world->disk, SEGMENT_FIRST)) <= size + FORMAT_FRAME_SIZE);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 100), LOG_DURABLE);
    log_kit_check(world->kit, false);
    close_log(world, log);
}

/* A frame whose checksums hold but whose chain is of another history, left behind by whatever accident. */
static void a_frame_of_another_history_is_not_taken_for_the_tail(void **state)
{
    struct world *world = (struct world *)*state;
    struct log_record record = {.head = BYTES_LITERAL("other"), .body = BYTES_LITERAL("history")};
    struct format_frame frame = {.kind = FORMAT_RECORDS, .count = 1, .first = 7, .floor = 6, .epoch = 1};
    struct format_head head;
    struct log *log;
    uint8_t *data;
    size_t offset = FORMAT_SEGMENT_SIZE;

    make_log(world, 3, 100);
    assert_ok(format_get_head(buffer_bytes(sim_disk_content(world->disk, FOLDER "/log.head")), &head));
    data = sim_disk_content(world->disk, SEGMENT_FIRST)->data;
    while (data[offset] != 0)
        offset += FORMAT_FRAME_SIZE + bytes_get_u32(data + offset + 8);
    frame.body_size = (uint32_t)format_record_size(&record);
    (void)format_put_record(&record, data + offset + FORMAT_FRAME_SIZE);
    format_put_frame(&frame, format_seed(head.key), data + offset);
    log = open_log(world);
    assert_int_equal(status_of(log).head, 6);
    assert_true(status_of(log).writable);
    log_kit_check(world->kit, false);
    close_log(world, log);
}

static void damage_in_an_earlier_segment_is_named_when_it_is_read(void **state)
{
    struct world *world = (struct world *)*state;
    struct file_log_report report;
    size_t damaged = 0;
    struct log *log;

    make_log(world, 100, 1000);
    sim_disk_content(world->disk, SEGMENT_FIRST)->data[20000] ^= 4;
    log = open_log(world);
    log_kit_check(world->kit, true);
    assert_false(status_of(log).writable);
    assert_non_null(strstr(status_of(log).reason, "00000000000000000001.seg is damaged at byte "));
    close_log(world, log);
    assert_ok(
        file_log_verify(FOLDER, world->options.file, count_acknowledged, NULL, &damaged, &report, NULL));
    assert_int_equal(damaged, 1);
    assert_int_equal(report.records, 198); /* all but the two of the frame */
    assert_int_equal(report.head, 200);
}

/* The lowest segment but `skip` ones, as its path. */
static void find_segment(struct world *world, size_t skip, char ret_path[64])
{
    for (unsigned first = 1; first < 1000; first++) {
        (void)snprintf(ret_path, 64, FOLDER "/%020u.seg", first);
        if (sim_disk_content(world->disk, ret_path) && skip-- == 0)
            return;
    }
    fail_msg("there are too few segments");
}

static void a_missing_or_shortened_segment_is_named_at_opening(void **state)
{
    struct world *world = (struct world *)*state;
    const struct os_file_ops *ops = world->options.file;
    char second[64], third[64];
    struct log *log;

    make_log(world, 100, 1000);
    find_segment(world, 1, second);
    find_segment(world, 2, third);
    sim_disk_content(world->disk, second)->size -= 1;
    log = open_log(world);
    assert_non_null(strstr(status_of(log).reason, third + strlen(FOLDER) + 1));
    assert_non_null(strstr(status_of(log).reason, "the segment before it is shorter than it was"));
    log_kit_check(world->kit, true);
    close_log(world, log);

    assert_ok(ops->remove(ops, second));
    log = open_log(world);
    assert_non_null(strstr(status_of(log).reason, "the segment before it is missing"));
    log_kit_check(world->kit, true);
    close_log(world, log);

    assert_ok(ops->remove(ops, SEGMENT_FIRST));
    log = open_log(world);
    assert_non_null(strstr(status_of(log).reason, "the segments before it are missing"));
    assert_int_equal(status_of(log).head, 0);
    close_log(world, log);
}

static void a_log_without_its_head_is_not_taken_for_a_new_one(void **state)
{
    struct world *world = (struct world *)*state;
    char error[256] = "";
    struct log *log;

    make_log(world, 1, 100);
    sim_disk_content(world->disk, FOLDER "/log.head")->data[20] ^= 1;
    assert_int_equal(file_log_open(FOLDER, &world->options, &log, error), FILE_LOG_E_DAMAGED);
    assert_non_null(strstr(error, "log.head is damaged"));
    assert_ok(world->options.file->remove(world->options.file, FOLDER "/log.head"));
    assert_int_equal(file_log_open(FOLDER, &world->options, &log, error), FILE_LOG_E_DAMAGED);
    assert_non_null(strstr(error, "no log.head"));
}

/* ---- formats ---- */

static void fix_check(struct world *world, uint8_t *data)
{
    struct format_head head;

    assert_ok(format_get_head(buffer_bytes(sim_disk_content(world->disk, FOLDER "/log.head")), &head));
    bytes_put_u32(data + 76, crc32c_extend(format_seed(head.key), bytes_make(data, 76)));
}

static void assert_newer(struct world *world, const char *name)
{
    char error[256] = "";
    struct log *log;

    assert_int_equal(file_log_open(FOLDER, &world->options, &log, error), FILE_LOG_E_NEWER);
    assert_non_null(strstr(error, name));
    assert_non_null(strstr(error, "newer format"));
}

static void a_newer_format_is_refused_by_name(void **state)
{
    struct world *world = (struct world *)*state;
    uint8_t *segment, *head;

    make_log(world, 2, 100);
    segment = sim_disk_content(world->disk, SEGMENT_FIRST)->data;
    bytes_put_u16(segment + FORMAT_SEGMENT_SIZE + 4, FORMAT_VERSION + 1);
    fix_check(world, segment + FORMAT_SEGMENT_SIZE);
    assert_newer(world, "00000000000000000001.seg");
    bytes_put_u32(segment + 4, FORMAT_VERSION + 1);
    fix_check(world, segment);
    assert_newer(world, "00000000000000000001.seg");
    head = sim_disk_content(world->disk, FOLDER "/log.head")->data;
    bytes_put_u32(head + 8, FORMAT_VERSION + 1);
    bytes_put_u32(head + 60, crc32c(bytes_make(head, 60)));
    assert_newer(world, "log.head");
}

/* What was written by the first daybook is read by every later one. */
static void the_golden_log_of_format_1_reads_as_it_was_written(void **state)
{
    struct file_log_options options = {.read_only = true};
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    _cleanup_(buffer_deinit) struct buffer hex = {0};
    struct file_log_report report;
    struct log_record record;
    struct log_chain chain;
    char error[256] = "";
    struct log *log;

    if (file_log_open(CORPUS "/log/format-1", &options, &log, error) != 0)
        fail_msg("%s", error);
    assert_ok(log_reader_new(log, 0, &reader));
    for (uint64_t position = 1; position <= 5; position++) {
        assert_ok(log_reader_next(reader, &record));
        assert_int_equal(record.position, position);
        assert_int_equal(record.epoch, 1);
        assert_int_equal(record.head.data[0], 'a' + position);
        assert_int_equal(record.flags, position == 3 ? LOG_RECORD_STUB : 0);
        assert_int_equal(record.body.size, position == 3 ? 0 : position * 10);
    }
    assert_int_equal(log_reader_next(reader, &record), LOG_E_END);
    assert_ok(log_chain_at(log, 5, &chain));
    assert_ok(hex_encode(bytes_make(chain.bytes, LOG_CHAIN_SIZE), &hex));
    assert_string_equal(buffer_string(&hex), GOLDEN_CHAIN);
    log_reader_free(take_ptr(reader));
    assert_ok(log_close(log));
    assert_ok(file_log_verify(CORPUS "/log/format-1", NULL, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(report.records, 5);
}

int main(void)
{
#define DAMAGE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        DAMAGE_TEST(every_flipped_byte_is_noticed),
        DAMAGE_TEST(a_damaged_log_opens_for_reading_and_refuses_writes),
        DAMAGE_TEST(a_torn_tail_is_cut_and_zeroed),
        DAMAGE_TEST(a_frame_of_another_history_is_not_taken_for_the_tail),
        DAMAGE_TEST(damage_in_an_earlier_segment_is_named_when_it_is_read),
        DAMAGE_TEST(a_missing_or_shortened_segment_is_named_at_opening),
        DAMAGE_TEST(a_log_without_its_head_is_not_taken_for_a_new_one),
        DAMAGE_TEST(a_newer_format_is_refused_by_name),
        cmocka_unit_test(the_golden_log_of_format_1_reads_as_it_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
