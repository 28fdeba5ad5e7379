#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "log/file_log.h"
#include "os/clock.h"
#include "sim/clients.h"
#include "sim/scheduler.h"

#define FOLDER       "log"
#define INDEX_FOLDER "index"

enum {
    SEGMENT_SIZE = 64 << 10,
    LIVES_MAX = 5,
    OPEN_TRIES_MAX = 6,
    SCRUB_RATE = 64 << 20,
    INDEX_UNIT = 4, /* so that a few appends fill a table, and a life merges runs */
};

struct world {
    struct sim_disk *disk;
    struct faults faults;
    struct oracle oracle;
    const struct world_plant *plant;
    bool indexed;     /* the index lies on the disk, not in memory */
    bool scrubbed;    /* the log is read again while it is in use */
    bool flipped;     /* a bit was changed at rest */
    bool async_wrote; /* since the journal was last examined, somebody wrote without waiting for syncs */
    bool async_lost;  /* and something of that may be gone, as that mode says */
    bool over;        /* damage was found and told: nothing more to see */
};

static bool has_lied(struct world *world)
{
    return world->flipped || sim_disk_lie_count(world->disk) > 0;
}

/* ---- what will go wrong ---- */

/* One kind of trouble, or none. */
static void add_trouble(struct faults_plan *plan)
{
    switch (scheduler_dice(12)) {
    case 0: plan->read_error = 40 + scheduler_dice(100); break;
    case 1: plan->write_error = 10 + scheduler_dice(40); break;
    case 2:
    case 3: plan->sync_error = 5 + scheduler_dice(30); break;
    case 4: plan->name_error = 3 + scheduler_dice(10); break;
    case 5: plan->short_transfer = 2 + scheduler_dice(6); break;
    case 6: plan->lie = 2 + scheduler_dice(20); break;
    default: break;
    }
}

/* Nothing but what the canary has planted. */
static struct faults_plan calm_plan(const struct world *world)
{
    return (struct faults_plan){.no_sync = world->plant->no_sync,
                                .no_folder_sync = world->plant->no_folder_sync,
                                .sync_says_done = world->plant->sync_says_done};
}

static struct faults_plan make_plan(const struct world *world)
{
    struct faults_plan plan = calm_plan(world);

    add_trouble(&plan);
    if (scheduler_chance(3))
        add_trouble(&plan);
    if (scheduler_chance(2))
        plan.crash_at = 1 + scheduler_dice(scheduler_chance(4) ? 40 : 500);
    return plan;
}

/* From here on the disk does what it is told. */
static void calm_down(struct world *world)
{
    world->faults.plan = calm_plan(world);
}

/* ---- opening ---- */

static int try_to_open(struct world *world, struct journal **ret_journal)
{
    struct file_log_options options = {
        .file = &world->faults.ops,
        .segment_size = SEGMENT_SIZE,
        .durability = world->oracle.async ? LOG_ASYNC : LOG_SYNC,
        .scrub_rate = world->scrubbed ? SCRUB_RATE : 0,
        .scrub_rest_ms = 1,
    };
    struct journal_options journal_options = {
        .index_folder = world->indexed ? INDEX_FOLDER : NULL,
        .index_file = &world->faults.ops,
        .index_unit = INDEX_UNIT,
        .index_memory_bytes = 1, /* as little as can be */
    };
    struct log *log;
    char error[256] = "";
    int r;

    world->faults.sync_failed = false; /* opening anew is what P7 asks for */
    r = file_log_open(FOLDER, &options, &log, error);
    if (r == 0) {
        if (world->plant->wrap_log)
            log = world->plant->wrap_log(log);
        r = journal_open(log, &journal_options, ret_journal, error);
    }
    if (r != 0) {
        scheduler_note("not opened: %d %s", r, error);
        if (error[0] == '\0')
            scheduler_fail("the log is not opened (%d), and nothing is said of it", r);
    }
    return r;
}

/* Opens, if need be again. NULL: the process died meanwhile, or the damage is too large and was named. */
static struct journal *open_journal(struct world *world)
{
    struct journal *journal;

    for (unsigned tries = 1; !world->faults.dead; tries++) {
        int r = try_to_open(world, &journal);

        if (r == 0 && !world->faults.dead)
            return journal;
        if (r == 0)
            journal_close(journal);
        if (world->faults.dead)
            break;
        if (has_lied(world) && (r > 0 || tries == OPEN_TRIES_MAX)) {
            world->over = true; /* refused by name: no more can be asked of it */
            break;
        }
        if (!world->faults.hurt && !world->faults.full && !has_lied(world))
            scheduler_fail("the log cannot be opened on a healthy disk (%d)", r);
        if (tries == OPEN_TRIES_MAX / 2) {
            calm_down(world);
            sim_disk_set_capacity(world->disk, 0);
            world->faults.hurt = world->faults.full = false;
        }
    }
    return NULL;
}

static enum oracle_law law_of(struct world *world)
{
    if (has_lied(world))
        return ORACLE_DAMAGE;
    return world->async_lost ? ORACLE_ASYNC : ORACLE_STRICT;
}

/* What verify says must agree with what was found. */
static void compare_verify(struct world *world, uint64_t found)
{
    struct file_log_report report;
    char error[256] = "";
    int r = file_log_verify(FOLDER, sim_disk_ops(world->disk), NULL, NULL, NULL, &report, error);

    if (r == 0 && report.damage_count == 0 && found < world->oracle.floor)
        scheduler_fail("verify finds nothing, but of %llu events below the floor %llu are left (P6)",
                       (unsigned long long)world->oracle.floor, (unsigned long long)found);
}

/* Whether the journal may be used. */
static bool examine(struct world *world, struct journal *journal)
{
    struct faults_plan plan = world->faults.plan;
    uint64_t calls = world->faults.calls;
    bool writable;

    calm_down(world);
    world->oracle.may_lag = world->faults.hurt || world->faults.full || has_lied(world);
    writable = oracle_compare(&world->oracle, journal, law_of(world));
    world->async_wrote = world->async_lost = false;
    if (has_lied(world)) {
        compare_verify(world, journal_head(journal));
        world->over = true;
    } else if (!writable && !world->faults.hurt) {
        scheduler_fail("not writable after opening on a healthy disk");
    }
    world->faults.plan = plan;
    world->faults.calls = calls;
    return writable && !world->over;
}

/* ---- a life ---- */

enum { SHOWN_MS_MAX = 5000 };

/* Not waiting for syncs, the journal shows what it answered when it is synced, and never when that has failed. */
static bool is_shown(struct journal *journal)
{
    uint64_t tail = journal_tail(journal);

    return tail == 0 || journal_wait(journal, tail - 1, SHOWN_MS_MAX) == 0;
}

/* After their work, while the process still lives. */
static void look_around(struct world *world, struct life *life)
{
    struct journal_status status;

    calm_down(world);
    sim_disk_set_capacity(world->disk, 0);
    journal_status(life->journal, &status);
    if (world->faults.full && !world->faults.hurt)
        clients_prove_room(life);
    if (is_shown(life->journal))
        clients_compare_reads(life);
}

/* When the clients have gone: a rule for one stream, and what is past it goes; calls fail and processes die here too. */
static void scavenge(struct world *world, struct journal *journal)
{
    static const char *const streams[] = {"a", "b", "c"};
    _cleanup_(buffer_deinit) struct buffer data = {0};
    struct retention_rule rule = {.name = bytes_from_string(streams[scheduler_dice(3)]),
                                  .max_count = 1 + scheduler_dice(4)};
    struct scavenge_report report;
    struct journal_event_new event;
    char error[256] = "";
    int r = retention_event(&rule, false, &data, &event);

    if (r == 0)
        r = journal_append_wait(journal, &(struct journal_append){.events = &event, .event_count = 1}, NULL);
    if (r == 0)
        r = journal_scavenge(journal, &(struct scavenge_options){0}, &report, error);
    scheduler_note("scavenged: %d %s", r, error);
    if (r != 0 && !world->faults.dead && !world->faults.hurt && !world->faults.full)
        scheduler_fail("scavenging ended with %d on a healthy disk: %s", r, error);
    world->oracle.may_lag = world->faults.hurt || world->faults.full || world->faults.dead;
    if (!world->faults.dead)
        oracle_hear_scavenge(&world->oracle, journal);
}

static void work(struct world *world, struct journal *journal)
{
    struct life life = {.journal = journal,
                        .oracle = &world->oracle,
                        .faults = &world->faults,
                        .appends = 3 + scheduler_dice(20)};
    /* In some lives everybody floods the journal, so that batches are built while others are on their way. */
    life.flood = scheduler_chance(8);
    if (life.flood)
        life.appends += 30;

    os_mutex_init(&life.lock);
    os_cond_init(&life.ended);
    if (scheduler_chance(8))
        sim_disk_set_capacity(world->disk, sim_disk_used(world->disk) + scheduler_dice(100000));
    if (scheduler_chance(4))
        scheduler_shift_clock((int64_t)scheduler_dice(2000000) * 1000 - 1000000000);
    world->async_wrote = world->oracle.async;
    clients_work(&life);
    if (!world->faults.dead && scheduler_chance(3))
        scavenge(world, journal);
    if (!world->faults.dead)
        look_around(world, &life);
    if (scheduler_chance(2))
        faults_die(&world->faults);
    world->oracle.deaf |= world->faults.dead;
    journal_close(journal);
    if (!world->faults.dead && !world->faults.hurt && !world->faults.full)
        world->oracle.floor = world->oracle.head_moved; /* closing has noted it */
    os_cond_deinit(&life.ended);
    os_mutex_deinit(&life.lock);
}

/* A bit of a file of the log is another one now; most likely near the beginning, where something is. */
static void flip_a_bit(struct world *world)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    const struct os_file_ops *ops = sim_disk_ops(world->disk);
    char path[64];
    size_t skip, offset = 0, count = 0;
    int r = ops->list(ops, FOLDER, &names);

    assert(r == 0);
    for (size_t i = 0; i < names.size; i++)
        count += names.data[i] == '\0';
    for (skip = count ? scheduler_dice((uint32_t)count) : 0; skip > 0; skip--)
        offset += strlen((const char *)names.data + offset) + 1;
    if (count == 0)
        return;
    (void)snprintf(path, sizeof(path), FOLDER "/%.40s", (const char *)names.data + offset);
    world->flipped |=
        sim_disk_flip_bit(world->disk, path, scheduler_dice(scheduler_dice(SEGMENT_SIZE * 8) + 1));
    scheduler_note("a bit of %s is another", path);
}

/* Between two lives. */
static void reboot(struct world *world)
{
    uint32_t kind = scheduler_dice(4);
    uint64_t seed = scheduler_dice(1u << 30);

    world->async_lost |= world->async_wrote && (kind >= 2 || world->faults.sync_failed);
    if (kind < 2)
        sim_disk_kill(world->disk);
    else
        sim_disk_power_loss(world->disk, kind == 2 ? SIM_LOSE_ALL : SIM_LOSE_SOME, seed);
    if (kind == 1 || has_lied(world))
        sim_disk_drop_clean(world->disk);
    if (!has_lied(world) && scheduler_chance(20))
        flip_a_bit(world);
    scheduler_note("---- %s", kind == 0   ? "killed"
                              : kind == 1 ? "killed, and the page cache forgets"
                              : kind == 2 ? "power lost, nothing unsynced survives"
                                          : "power lost, some of what was not synced survives");
}

static void live(struct world *world, bool last)
{
    struct faults_plan plan = make_plan(world);
    struct journal *journal;

    world->oracle.async = !last && scheduler_chance(6);
    world->oracle.life++;
    world->oracle.deaf = false;
    faults_plan(&world->faults, &plan);
    if (last) {
        calm_down(world);
        sim_disk_set_capacity(world->disk, 0);
    }
    scheduler_note("life %u%s", (unsigned)world->oracle.life,
                   world->oracle.async ? ", not waiting for syncs" : "");
    journal = open_journal(world);
    if (journal && examine(world, journal))
        work(world, journal);
    else
        journal_close(journal);
}

uint64_t world_run(uint64_t seed, bool verbose, const struct world_plant *plant)
{
    static const struct world_plant nothing = {0};
    struct world world = {.plant = plant ? plant : &nothing};
    unsigned lives;

    scheduler_begin(seed, verbose);
    world.disk = sim_disk_new();
    faults_init(&world.faults, world.disk);
    oracle_init(&world.oracle);
    lives = 2 + scheduler_dice(LIVES_MAX - 1);
    world.indexed = scheduler_chance(2);
    world.scrubbed = scheduler_chance(3);
    world.faults.derived = INDEX_FOLDER;
    for (unsigned i = 0; i < lives && !world.over; i++) {
        live(&world, false);
        reboot(&world);
    }
    if (!world.over)
        live(&world, true);
    if (verbose)
        printf("%llu appends accepted, %llu refused\n", (unsigned long long)world.oracle.accepted,
               (unsigned long long)world.oracle.refused);
    oracle_deinit(&world.oracle);
    sim_disk_free(world.disk);
    return scheduler_end();
}
