/* Backups that grow, and restores: what is copied, what is refused, and that any call on the way may break. */
#include "lib/cmocka_all.h"

#include <stdio.h>

#include "lib/fault_file.h"
#include "lib/log_kit.h"
#include "lib/sim_disk.h"
#include "log/file_log.h"

#define FOLDER "log"

struct world {
    struct sim_disk *disk;
    const struct os_file_ops *ops;
    struct log_kit *kit;
    struct log *log;
    struct file_log_options options;
    struct file_log_copied copied; /* by the last backup() or restore() */
    char error[256];
};

/* No idle floors: a trial is the same every time. */
static void world_init(struct world *world)
{
    *world = (struct world){.disk = sim_disk_new(), .kit = log_kit_new()};
    world->ops = sim_disk_ops(world->disk);
    world->options = (struct file_log_options){
        .file = world->ops, .segment_size = 64 << 10, .idle_floor_ms = 3600 * 1000};
}

static void world_deinit(struct world *world)
{
    (void)log_close(world->log);
    log_kit_free(world->kit);
    sim_disk_free(world->disk);
}

static void open_log(struct world *world)
{
    assert_ok(file_log_open(FOLDER, &world->options, &world->log, world->error));
    log_kit_use(world->kit, world->log);
}

static void close_log(struct world *world)
{
    log_kit_use(world->kit, NULL);
    assert_ok(log_close(world->log));
    world->log = NULL;
}

/* `count` appends of two records, six to a segment. */
static void append(struct world *world, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(log_kit_append(world->kit, 1, 2, 5000), LOG_DURABLE);
}

static int backup(struct world *world, const char *target)
{
    world->error[0] = '\0';
    int r = file_log_backup(FOLDER, target, world->ops, NULL, NULL, &world->copied, world->error);
    assert_true(r == 0 || world->error[0]);
    return r;
}

static int restore(struct world *world, const char *from, const char *target, uint64_t until)
{
    world->error[0] = '\0';
    int r = file_log_restore(from, target, world->ops, until, NULL, NULL, &world->copied, world->error);
    assert_true(r == 0 || world->error[0]);
    return r;
}

static struct log_chain chain_at(const struct world *world, const char *folder, uint64_t position)
{
    struct file_log_options options = {.file = world->ops, .read_only = true};
    struct log_chain chain;
    struct log *log;

    assert_ok(file_log_open(folder, &options, &log, NULL));
    assert_ok(log_chain_at(log, position, &chain));
    assert_ok(log_close(log));
    return chain;
}

/* The folder is a log without damage, up to `head`, and the same as the source so far, also for who opens it to read. */
static void check_copy(const struct world *world, const char *folder, uint64_t head)
{
    struct file_log_options options = {.file = world->ops, .read_only = true};
    struct file_log_report report;
    struct log_status status;
    struct log *log;

    assert_ok(file_log_verify(folder, world->ops, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(report.head, head);
    struct log_chain chain = chain_at(world, FOLDER, head);
    assert_memory_equal(report.chain.bytes, chain.bytes, LOG_CHAIN_SIZE);
    assert_ok(file_log_open(folder, &options, &log, NULL));
    log_status(log, &status);
    assert_int_equal(status.head, head);
    assert_ok(log_close(log));
}

/* ---- backup ---- */

static void a_backup_of_a_log_in_use_is_a_log_with_an_id_of_its_own(void **state)
{
    struct world world;
    struct log_status ours, theirs, again;
    struct log *copy;

    world_init(&world);
    open_log(&world);
    append(&world, 30);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head, 60); /* also the last batch, which has no floor above it yet */
    check_copy(&world, "copy", 60);
    assert_ok(file_log_open("copy", &world.options, &copy, NULL));
    log_status(world.log, &ours);
    log_status(copy, &theirs);
    assert_memory_not_equal(ours.id, theirs.id, sizeof(ours.id));
    assert_memory_equal(ours.key, theirs.key, sizeof(ours.key));
    assert_true(theirs.writable && theirs.head == 60);
    assert_int_equal(backup(&world, "copy"), FILE_LOG_E_LOCKED); /* it is being written to */
    assert_ok(log_close(copy));
    assert_int_equal(backup(&world, "copy"), FILE_LOG_E_EXISTS); /* and is no backup any more */
    assert_ok(file_log_open("copy", &world.options, &copy, NULL));
    log_status(copy, &again);
    assert_memory_equal(again.id, theirs.id, sizeof(theirs.id));
    assert_ok(log_close(copy));
    world_deinit(&world);
}

static void a_second_backup_adds_what_is_new_and_leaves_whole_segments_alone(void **state)
{
    struct world world;
    struct buffer *first;

    world_init(&world);
    open_log(&world);
    append(&world, 20);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head_before, 0);
    uint64_t bytes = world.copied.bytes;
    first = sim_disk_content(world.disk, "copy/00000000000000000001.seg");
    assert_true(bytes > 38 * 5000);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.bytes, 0); /* nothing is new */
    assert_int_equal(world.copied.segments, 0);
    append(&world, 1);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head_before, 40);
    assert_int_equal(world.copied.head, 42);
    assert_true(world.copied.bytes < (64 << 10)); /* the small last segment, and no other */
    append(&world, 30);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head, 102);
    assert_true(world.copied.bytes < bytes * 2);
    assert_ptr_equal(first, sim_disk_content(world.disk, "copy/00000000000000000001.seg"));
    check_copy(&world, "copy", 102);
    close_log(&world);
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head, 102); /* closing adds nothing */
    check_copy(&world, "copy", 102);
    world_deinit(&world);
}

/* A last segment of some size stays as it is; what is new becomes a segment of its own. */
static void what_is_added_to_a_large_last_segment_is_all_that_is_copied(void **state)
{
    struct world world;

    world_init(&world);
    world.options.segment_size = 64 << 20;
    open_log(&world);
    append(&world, 200); /* two MB in one segment */
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.segments, 1);
    for (unsigned i = 1; i <= 5; i++) {
        append(&world, 1);
        assert_ok(backup(&world, "copy"));
        assert_int_equal(world.copied.segments, 1);
        assert_int_equal(world.copied.head, 400 + 2 * i);
        assert_true(world.copied.bytes < 5 * 10200 + 1000); /* small ones are gathered in one */
        check_copy(&world, "copy", 400 + 2 * i);
    }
    assert_non_null(sim_disk_content(world.disk, "copy/00000000000000000401.seg"));
    assert_null(sim_disk_content(world.disk, "copy/00000000000000000403.seg"));
    world_deinit(&world);
}

static void write_file(const struct world *world, const char *path)
{
    int file;

    assert_ok(world->ops->open(world->ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &file));
    assert_ok(world->ops->close(world->ops, file));
}

static void a_backup_goes_on_only_where_the_same_log_went_on(void **state)
{
    struct world world;
    struct log_status status;
    struct log *log;

    world_init(&world);
    open_log(&world);
    append(&world, 5);
    log_status(world.log, &status);
    close_log(&world);
    write_file(&world, "foreign/something");
    assert_int_equal(backup(&world, "foreign"), FILE_LOG_E_EXISTS);
    assert_ok(backup(&world, "copy"));

    /* another log of the same name */
    assert_ok(file_log_open("other", &world.options, &log, NULL));
    assert_ok(log_close(log));
    assert_int_equal(file_log_backup("other", "copy", world.ops, NULL, NULL, &world.copied, world.error),
                     FILE_LOG_E_DIVERGED);
    assert_non_null(strstr(world.error, "another journal"));

    /* the same log, but a shorter past, and then another one */
    struct file_log_options twin = world.options;
    struct log_kit *kit = log_kit_new();
    twin.id = status.id;
    twin.key = status.key;
    assert_ok(file_log_open("twin", &twin, &log, NULL));
    log_kit_use(kit, log);
    assert_int_equal(log_kit_append(kit, 1, 1, 100), LOG_DURABLE);
    assert_int_equal(file_log_backup("twin", "copy", world.ops, NULL, NULL, &world.copied, world.error),
                     FILE_LOG_E_DIVERGED);
    assert_int_equal(log_kit_append(kit, 1, 20, 100), LOG_DURABLE);
    log_kit_use(kit, NULL);
    assert_ok(log_close(log));
    assert_int_equal(file_log_backup("twin", "copy", world.ops, NULL, NULL, &world.copied, world.error),
                     FILE_LOG_E_DIVERGED);
    assert_non_null(strstr(world.error, "parted"));
    log_kit_free(kit);
    check_copy(&world, "copy", 10);
    world_deinit(&world);
}

/* Damage is not carried into a copy (C3). */
static void a_damaged_log_is_not_backed_up_and_a_damaged_backup_is_not_added_to(void **state)
{
    struct world world;

    world_init(&world);
    open_log(&world);
    append(&world, 20);
    close_log(&world);
    assert_ok(backup(&world, "copy"));
    open_log(&world);
    append(&world, 20);
    close_log(&world);
    struct buffer *middle = sim_disk_content(world.disk, "log/00000000000000000049.seg");
    assert_non_null(middle);
    middle->data[5000] ^= 1;
    assert_int_equal(backup(&world, "copy"), -EBADMSG);
    assert_non_null(strstr(world.error, "00000000000000000049.seg is damaged at byte"));
    check_copy(&world, "copy", 48);
    middle->data[5000] ^= 1;
    struct buffer *last = sim_disk_content(world.disk, "copy/00000000000000000037.seg");
    assert_non_null(last);
    last->data[5000] ^= 1;
    assert_int_equal(backup(&world, "copy"), -EBADMSG);
    last->data[5000] ^= 1;
    assert_ok(backup(&world, "copy"));
    check_copy(&world, "copy", 80);
    world_deinit(&world);
}

/* ---- restore ---- */

static void a_restore_ends_with_the_last_whole_append_at_or_before_the_position_asked_for(void **state)
{
    static const struct {
        uint64_t until, head;
    } cases[] = {{0, 0}, {1, 0}, {2, 2}, {13, 12}, {14, 14}, {39, 38}, {40, 40}, {UINT64_MAX, 40}};
    struct world world;

    world_init(&world);
    open_log(&world);
    append(&world, 20);
    close_log(&world);
    assert_ok(backup(&world, "copy"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct log_status source, status;
        struct log *log;
        char folder[16];

        snprintf(folder, sizeof(folder), "new%zu", i);
        assert_ok(restore(&world, i % 2 ? "copy" : FOLDER, folder, cases[i].until));
        assert_int_equal(world.copied.head, cases[i].head);
        check_copy(&world, folder, cases[i].head);
        assert_ok(file_log_open(folder, &world.options, &log, NULL));
        log_status(log, &status);
        assert_true(status.writable && status.head == cases[i].head);
        struct log_kit *kit = log_kit_new();
        log_kit_use(kit, log);
        assert_int_equal(log_kit_append(kit, 1, 1, 100), LOG_DURABLE);
        log_kit_use(kit, NULL);
        log_kit_free(kit);
        assert_ok(log_close(log));
        open_log(&world);
        log_status(world.log, &source);
        close_log(&world);
        assert_memory_not_equal(status.id, source.id, sizeof(status.id));
    }
    assert_int_equal(restore(&world, "copy", "new3", 40), FILE_LOG_E_EXISTS); /* it replaces nothing */
    assert_int_equal(restore(&world, "copy", FOLDER, 40), FILE_LOG_E_EXISTS);
    assert_int_equal(restore(&world, "nothing", "new", 40), FILE_LOG_E_MISSING);
    world_deinit(&world);
}

static void what_lies_before_damage_can_be_restored(void **state)
{
    struct world world;

    world_init(&world);
    open_log(&world);
    append(&world, 20);
    close_log(&world);
    assert_ok(backup(&world, "whole"));
    struct buffer *middle = sim_disk_content(world.disk, "log/00000000000000000025.seg");
    assert_non_null(middle);
    middle->data[5] ^= 1;
    assert_int_equal(restore(&world, FOLDER, "new", UINT64_MAX), -EBADMSG);
    assert_non_null(strstr(world.error, "Up to position 24"));
    assert_ok(restore(&world, FOLDER, "new", 24));
    middle->data[5] ^= 1;
    check_copy(&world, "new", 24);
    world_deinit(&world);
}

/* ---- any call may break ---- */

static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_SHORTEN, FAULT_TEAR,
                                        FAULT_FULL, FAULT_KILL,    FAULT_KILL_TORN};

/* The copy is a log as far as it goes: nothing, or one without damage that ends where the source has an append's end. */
static void check_partial(const struct world *world, uint64_t least)
{
    struct file_log_options options = {.file = world->ops, .read_only = true};
    struct log_status status;
    struct log *log;
    int r = file_log_open("copy", &options, &log, NULL);

    if (r == FILE_LOG_E_MISSING && least == 0)
        return;
    assert_ok(r);
    log_status(log, &status);
    assert_ok(log_close(log));
    assert_true(status.head >= least && status.head % 2 == 0);
    check_copy(world, "copy", status.head);
}

/* The `before`th append is the last that an earlier backup has seen; one with `before` 0 is the first. */
static bool try_backup(enum fault_kind kind, uint64_t at, size_t before)
{
    struct world world;
    struct fault_file fault;

    world_init(&world);
    open_log(&world);
    append(&world, before);
    close_log(&world);
    if (before > 0)
        assert_ok(backup(&world, "copy"));
    open_log(&world);
    append(&world, 10 - before);
    close_log(&world);
    fault_file_init(&fault, world.ops, kind, at);
    fault.disk = world.disk;
    int r = file_log_backup(FOLDER, "copy", &fault.ops, NULL, NULL, &world.copied, world.error);
    bool fired = fault_file_fired(&fault);
    sim_disk_power_loss(world.disk, SIM_LOSE_SOME, at);
    check_partial(&world, r == 0 ? 20 : 2 * before);
    check_copy(&world, FOLDER, 20); /* the source never notices */
    assert_ok(backup(&world, "copy"));
    assert_int_equal(world.copied.head, 20);
    check_copy(&world, "copy", 20);
    world_deinit(&world);
    return fired;
}

static void a_backup_may_break_anywhere_and_the_next_one_completes_it(void **state)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (size_t before = 0; before <= 8; before += 4) {
            uint64_t at = 1;

            while (try_backup(kinds[i], at, before))
                at++;
            assert_true(at > 8);
        }
    }
}

static bool try_restore(enum fault_kind kind, uint64_t at)
{
    struct file_log_options reading;
    struct world world;
    struct fault_file fault;
    struct log *log;

    world_init(&world);
    open_log(&world);
    append(&world, 10);
    close_log(&world);
    fault_file_init(&fault, world.ops, kind, at);
    fault.disk = world.disk;
    int r = file_log_restore(FOLDER, "new", &fault.ops, 17, NULL, NULL, &world.copied, world.error);
    bool fired = fault_file_fired(&fault);
    assert_true(r == 0 || world.error[0]);
    sim_disk_power_loss(world.disk, SIM_LOSE_SOME, at);
    reading = (struct file_log_options){.file = world.ops, .read_only = true};
    if (file_log_open("new", &reading, &log, world.error) == 0) {
        assert_ok(log_close(log));
        check_copy(&world, "new", 16); /* what opens is whole */
    } else {
        assert_int_not_equal(r, 0);
        assert_ok(restore(&world, FOLDER, "new", 17));
        check_copy(&world, "new", 16);
    }
    world_deinit(&world);
    return fired;
}

static void a_restore_may_break_anywhere_and_never_passes_for_whole(void **state)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint64_t at = 1;

        while (try_restore(kinds[i], at))
            at++;
        assert_true(at > 12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_of_a_log_in_use_is_a_log_with_an_id_of_its_own),
        cmocka_unit_test(a_second_backup_adds_what_is_new_and_leaves_whole_segments_alone),
        cmocka_unit_test(what_is_added_to_a_large_last_segment_is_all_that_is_copied),
        cmocka_unit_test(a_backup_goes_on_only_where_the_same_log_went_on),
        cmocka_unit_test(a_damaged_log_is_not_backed_up_and_a_damaged_backup_is_not_added_to),
        cmocka_unit_test(a_restore_ends_with_the_last_whole_append_at_or_before_the_position_asked_for),
        cmocka_unit_test(what_lies_before_damage_can_be_restored),
        cmocka_unit_test(a_backup_may_break_anywhere_and_the_next_one_completes_it),
        cmocka_unit_test(a_restore_may_break_anywhere_and_never_passes_for_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
