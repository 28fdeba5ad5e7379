/* durable.page: readers in other processes see at once what is durable, and nothing else whatever the page holds. */
#include "lib/cmocka_all.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log_format.h"

#define FOLDER "log"
#define PAGE   FOLDER "/durable.page"

struct world {
    struct sim_disk *disk;
    struct log_kit *kit;
    struct log *log, *beside;
    struct file_log_options options;
};

/* Floors wait for an hour: what is seen is seen by the page. */
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

    (void)log_close(world->beside);
    log_kit_use(world->kit, NULL);
    (void)log_close(world->log);
    assert_int_equal(sim_disk_open_count(world->disk), 0);
    log_kit_free(world->kit);
    sim_disk_free(world->disk);
    free(world);
    return 0;
}

static void open_log(struct world *world)
{
    assert_ok(file_log_open(FOLDER, &world->options, &world->log, NULL));
    log_kit_use(world->kit, world->log);
}

static void close_log(struct world *world)
{
    log_kit_use(world->kit, NULL);
    assert_ok(log_close(world->log));
    world->log = NULL;
}

static void open_beside(struct world *world)
{
    struct file_log_options reading = world->options;

    reading.read_only = true;
    assert_ok(file_log_open(FOLDER, &reading, &world->beside, NULL));
}

static uint64_t head_beside(struct world *world)
{
    struct log_status status;

    log_status(world->beside, &status);
    assert_null(strstr(status.reason, "damaged"));
    return status.head;
}

static void append(struct world *world, size_t body_size)
{
    assert_int_equal(log_kit_append(world->kit, 1, 1, body_size), LOG_DURABLE);
}

static uint32_t seed_of(struct world *world)
{
    struct log_status status;

    log_status(world->log, &status);
    return format_seed(status.key);
}

/* ---- what is durable is seen ---- */

/* The law: when append has answered, the next look of a reader sees it, in this segment and over the next ones. */
static void what_is_acknowledged_is_seen_beside_at_once(void **state)
{
    struct world *world = (struct world *)*state;
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;

    open_log(world);
    open_beside(world);
    assert_int_equal(head_beside(world), 0);
    assert_ok(log_reader_new(world->beside, 0, &reader));
    for (uint64_t position = 1; position <= 40; position++) {
        append(world, 10000);
        assert_ok(log_reader_next(reader, &record));
        assert_int_equal(record.position, position);
        assert_int_equal(log_reader_next(reader, &record), LOG_E_END);
        assert_int_equal(head_beside(world), position);
    }
}

/* LOG_ASYNC acknowledges before the sync; the page does not. */
static void what_is_not_synced_is_not_seen_beside(void **state)
{
    struct world *world = (struct world *)*state;

    world->options.durability = LOG_ASYNC;
    open_log(world);
    append(world, 100); /* the first sync of a log is due at once */
    append(world, 100);
    open_beside(world);
    assert_true(head_beside(world) < 2);
    sim_disk_fail_syncs(world->disk, 1000);
    close_log(world);
    assert_true(head_beside(world) < 2);
}

static void what_failed_to_be_synced_is_not_seen_beside(void **state)
{
    struct world *world = (struct world *)*state;

    open_log(world);
    append(world, 100);
    sim_disk_fail_syncs(world->disk, 1);
    assert_int_equal(log_kit_append(world->kit, 1, 1, 100), LOG_UNKNOWN);
    open_beside(world);
    assert_int_equal(head_beside(world), 1);
}

/* The law: with no writer alive a reader finds the head as the next writer does, whatever became of the page. */
static void what_a_killed_writer_acknowledged_is_seen_without_a_page(void **state)
{
    struct world *world = (struct world *)*state;
    const struct os_file_ops *ops = world->options.file;

    open_log(world);
    for (unsigned i = 0; i < 4; i++)
        append(world, 100);
    open_beside(world);
    assert_ok(log_close(world->beside));
    sim_disk_kill(world->disk);
    close_log(world);
    assert_ok(ops->remove(ops, PAGE));
    open_beside(world);
    assert_int_equal(head_beside(world), 4);
    /* And what was shown once stays: it is on the disk. */
    sim_disk_power_loss(world->disk, SIM_LOSE_ALL, 1);
    assert_ok(log_close(world->beside));
    open_log(world);
    log_kit_check(world->kit, false);
    open_beside(world);
    assert_int_equal(head_beside(world), 4);
}

/* Acknowledged without a sync, it is made durable before it is shown. */
static void what_a_killed_writer_had_not_synced_is_synced_before_it_is_shown(void **state)
{
    struct world *world = (struct world *)*state;

    world->options.durability = LOG_ASYNC;
    open_log(world);
    for (unsigned i = 0; i < 4; i++)
        append(world, 100);
    sim_disk_kill(world->disk);
    close_log(world);
    open_beside(world);
    assert_int_equal(head_beside(world), 4);
    sim_disk_power_loss(world->disk, SIM_LOSE_ALL, 1);
    assert_ok(log_close(world->beside));
    open_beside(world);
    assert_int_equal(head_beside(world), 4);
}

/* ---- whatever the page holds ---- */

/* The page itself, which may be looked at and changed. */
static struct buffer *page_of(struct world *world)
{
    struct buffer *content = sim_disk_content(world->disk, PAGE);

    assert_non_null(content);
    assert_int_equal(content->size, FORMAT_PAGE_SIZE);
    return content;
}

/* Two records are durable; the floor of the second says so of the first alone. */
static void make_two(struct world *world)
{
    open_log(world);
    append(world, 100);
    append(world, 100);
}

static uint64_t head_seen_anew(struct world *world)
{
    uint64_t head;

    open_beside(world);
    head = head_beside(world);
    assert_ok(log_close(world->beside));
    world->beside = NULL;
    return head;
}

static void a_page_that_is_missing_or_short_shows_nothing(void **state)
{
    struct world *world = (struct world *)*state;
    const struct os_file_ops *ops = world->options.file;

    make_two(world);
    assert_int_equal(head_seen_anew(world), 2);
    for (size_t size = FORMAT_PAGE_SIZE; size-- > 0;) {
        page_of(world)->size = size;
        assert_int_equal(head_seen_anew(world), 1);
        sim_disk_content(world->disk, PAGE)->size = FORMAT_PAGE_SIZE;
    }
    assert_int_equal(head_seen_anew(world), 2);
    assert_ok(ops->remove(ops, PAGE));
    assert_int_equal(head_seen_anew(world), 1);
}

static void a_page_with_any_bit_wrong_shows_nothing(void **state)
{
    struct world *world = (struct world *)*state;

    make_two(world);
    for (size_t bit = 0; bit < 8 * FORMAT_PAGE_SIZE; bit++) {
        page_of(world)->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(head_seen_anew(world), 1);
        page_of(world)->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(head_seen_anew(world), 2);
}

static void a_later_format_shows_nothing(void **state)
{
    struct world *world = (struct world *)*state;
    uint8_t *data;

    make_two(world);
    data = page_of(world)->data;
    bytes_put_u32(data + 4, FORMAT_VERSION + 1);
    bytes_put_u32(data + 60, crc32c_extend(seed_of(world), bytes_make(data, 60)));
    assert_int_equal(head_seen_anew(world), 1);
}

/* Whole, with the right check, and yet not of this start of the machine, this log, this writer or a later one. */
static void a_page_of_another_boot_log_key_or_earlier_writer_shows_nothing(void **state)
{
    struct world *world = (struct world *)*state;
    struct format_page own, other;
    uint32_t seed;

    make_two(world);
    seed = seed_of(world);
    assert_ok(format_get_page(buffer_bytes(page_of(world)), seed, &own));
    assert_int_equal(own.durable, 2);

    other = own;
    other.boot[3] ^= 1;
    format_put_page(&other, seed, page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 1);
    other = own;
    other.id[0] ^= 1;
    format_put_page(&other, seed, page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 1);
    other = own;
    other.epoch--;
    format_put_page(&other, seed, page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 1);
    format_put_page(&own, seed + 1, page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 1);
    other = own;
    other.epoch++; /* the next writer, which has written nothing else yet */
    format_put_page(&other, seed, page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 2);
}

/* It is no evidence: beyond what the files hold it shows nothing, and accuses nobody. */
static void a_page_that_says_too_much_shows_whole_appends_and_no_damage(void **state)
{
    struct world *world = (struct world *)*state;
    struct format_page page;
    struct buffer *segment;

    make_two(world);
    assert_ok(format_get_page(buffer_bytes(page_of(world)), seed_of(world), &page));
    page.durable = UINT64_MAX;
    format_put_page(&page, seed_of(world), page_of(world)->data);
    assert_int_equal(head_seen_anew(world), 2);
    segment = sim_disk_content(world->disk, FOLDER "/00000000000000000001.seg");
    segment->data[FORMAT_SEGMENT_SIZE + 400] ^= 1; /* within the second append */
    assert_int_equal(head_seen_anew(world), 1);
    segment->data[FORMAT_SEGMENT_SIZE + 400] ^= 1;
}

/* After a loss of power the page may be as old as the folder, torn or gone; the next writer's is right. */
static void the_next_writer_writes_the_page_anew(void **state)
{
    struct world *world = (struct world *)*state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        open_log(world);
        append(world, 100);
        open_beside(world);
        assert_int_equal(head_beside(world), seed);
        assert_ok(log_close(world->beside));
        world->beside = NULL;
        sim_disk_power_loss(world->disk, SIM_LOSE_SOME, seed);
        close_log(world);
    }
}

/* A page that cannot be written is no error, and one that cannot be read neither. */
static void without_room_for_a_page_the_log_works_on(void **state)
{
    struct world *world = (struct world *)*state;
    const struct os_file_ops *ops = world->options.file;

    open_log(world);
    append(world, 100);
    close_log(world);
    assert_ok(ops->remove(ops, PAGE));
    sim_disk_set_capacity(world->disk, sim_disk_used(world->disk));
    open_log(world);
    append(world, 100);
    assert_int_equal(head_seen_anew(world), 1);
    sim_disk_set_capacity(world->disk, 0);
    append(world, 100); /* now there is room */
    assert_int_equal(head_seen_anew(world), 3);
}

int main(void)
{
#define PAGE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PAGE_TEST(what_is_acknowledged_is_seen_beside_at_once),
        PAGE_TEST(what_is_not_synced_is_not_seen_beside),
        PAGE_TEST(what_failed_to_be_synced_is_not_seen_beside),
        PAGE_TEST(what_a_killed_writer_acknowledged_is_seen_without_a_page),
        PAGE_TEST(what_a_killed_writer_had_not_synced_is_synced_before_it_is_shown),
        PAGE_TEST(a_page_that_is_missing_or_short_shows_nothing),
        PAGE_TEST(a_page_with_any_bit_wrong_shows_nothing),
        PAGE_TEST(a_later_format_shows_nothing),
        PAGE_TEST(a_page_of_another_boot_log_key_or_earlier_writer_shows_nothing),
        PAGE_TEST(a_page_that_says_too_much_shows_whole_appends_and_no_damage),
        PAGE_TEST(the_next_writer_writes_the_page_anew),
        PAGE_TEST(without_room_for_a_page_the_log_works_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
