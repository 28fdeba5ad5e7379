#include "sim/faults.h"

#include <stdio.h>

#include "os/clock.h"
#include "sim/scheduler.h"

#define US UINT64_C(1000)

static struct faults *faults_of(const struct os_file_ops *ops)
{
    return (struct faults *)ops;
}

static bool strikes(struct faults *faults, uint32_t once_in)
{
    if (once_in == 0 || !scheduler_chance(once_in))
        return false;
    faults->hurt = true;
    return true;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_in_derived(const struct faults *faults, const char *path)
{
    return faults->derived && strncmp(path, faults->derived, strlen(faults->derived)) == 0;
}

/* ---- before and after each call ---- */

/* The call takes its time. False: the process is dead, or dies now. */
static bool begin(struct faults *faults, uint64_t usual_ns)
{
    scheduler_step(usual_ns + scheduler_dice((uint32_t)usual_ns * 4 + 1));
    if (faults->dead)
        return false;
    faults->calls++;
    if (faults->plan.crash_at == 0 || faults->calls < faults->plan.crash_at)
        return true;
    faults_die(faults);
    return false;
}

static int end(struct faults *faults, const char *what, const char *name, uint64_t offset, size_t size, int r)
{
    if (r == -ENOSPC)
        faults->full = true;
    scheduler_note("%s %s %llu+%zu%s%s", what, name, (unsigned long long)offset, size, r < 0 ? ": " : "",
                   r < 0 ? strerrorname_np(-r) : "");
    return r;
}

static int end_file(struct faults *faults, const char *what, int file, uint64_t offset, size_t size, int r)
{
    return end(faults, what, faults->names[file], offset, size, r);
}

/* ---- files ---- */

static int faults_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    struct faults *faults = faults_of(ops);
    int r;

    if (!begin(faults, 5 * US))
        return -EIO;
    if (strikes(faults, faults->plan.name_error))
        return end(faults, "open", last_part(path), 0, 0, -EIO);
    r = faults->below->open(faults->below, path, flags, ret_file);
    if (r == 0)
        faults->is_derived[*ret_file] = is_in_derived(faults, path);
    if (r == 0)
        (void)snprintf(faults->names[*ret_file], sizeof(faults->names[0]), "%.31s", last_part(path));
    return end(faults, "open", last_part(path), 0, 0, r);
}

static int faults_close(const struct os_file_ops *ops, int file)
{
    struct faults *faults = faults_of(ops);

    return begin(faults, 1 * US) ? faults->below->close(faults->below, file) : -EIO;
}

static int faults_pread(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                        size_t *ret_size)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 2 * US))
        return -EIO;
    if (strikes(faults, faults->plan.read_error))
        return end_file(faults, "read", file, offset, size, -EIO);
    if (size > 1 && strikes(faults, faults->plan.short_transfer))
        size /= 2;
    return faults->below->pread(faults->below, file, data, size, offset, ret_size);
}

/* Who dies in a write has handed over some of it. */
static void write_in_part(struct faults *faults, int file, const void *data, size_t size, uint64_t offset)
{
    size_t part = scheduler_dice((uint32_t)size + 1), done;

    if (part > 0)
        (void)faults->below->pwrite(faults->below, file, data, part, offset, &done);
    scheduler_note("of its last write: %zu of %zu bytes", part, size);
}

static int faults_pwrite(const struct os_file_ops *ops, int file, const void *data, size_t size,
                         uint64_t offset, size_t *ret_size)
{
    struct faults *faults = faults_of(ops);
    bool lived = !faults->dead;
    int r;

    if (!begin(faults, 10 * US)) {
        if (lived && faults->dead)
            write_in_part(faults, file, data, size, offset);
        return -EIO;
    }
    if (strikes(faults, faults->plan.write_error)) {
        write_in_part(faults, file, data, size, offset);
        return end_file(faults, "write", file, offset, size, -EIO);
    }
    if (size > 1 && strikes(faults, faults->plan.short_transfer))
        size = 1 + scheduler_dice((uint32_t)size - 1);
    r = faults->below->pwrite(faults->below, file, data, size, offset, ret_size);
    return end_file(faults, "write", file, offset, size, r);
}

static uint64_t some_seed(void)
{
    return ((uint64_t)scheduler_dice(1u << 31) << 31) + scheduler_dice(1u << 31);
}

static void tell_lie(struct faults *faults)
{
    uint32_t lie = faults->plan.lie; /* looking at the disk may let another thread run, which calms the faults down */

    if (lie == 0 || sim_disk_lie_count(faults->disk) > 0 || !scheduler_chance(lie))
        return;
    sim_disk_lie(faults->disk, scheduler_chance(2) ? SIM_LIE_LOST : SIM_LIE_MISDIRECTED, some_seed());
}

static int faults_sync(const struct os_file_ops *ops, int file)
{
    struct faults *faults = faults_of(ops);
    unsigned lies = sim_disk_lie_count(faults->disk);
    int r;

    if (!begin(faults, scheduler_chance(50) ? 60000 * US : 200 * US))
        return -EIO;
    if (strikes(faults, faults->plan.sync_error)) {
        if (scheduler_chance(2))
            sim_disk_fail_syncs(faults->disk, 1);
        else
            sim_disk_tear_syncs(faults->disk, 1, some_seed());
    }
    tell_lie(faults);
    r = faults->plan.no_sync ? 0 : faults->below->sync(faults->below, file);
    if (r < 0 && faults->plan.sync_says_done)
        r = faults->below->sync(faults->below, file);
    if (r < 0 && !faults->is_derived[file])
        faults->sync_failed = true;
    if (sim_disk_lie_count(faults->disk) > lies)
        scheduler_note("the disk lied about a write to %s", faults->names[file]);
    return end_file(faults, "sync", file, 0, 0, r);
}

static int faults_truncate(const struct os_file_ops *ops, int file, uint64_t size)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 10 * US))
        return -EIO;
    if (strikes(faults, faults->plan.write_error))
        return end_file(faults, "truncate", file, size, 0, -EIO);
    return end_file(faults, "truncate", file, size, 0, faults->below->truncate(faults->below, file, size));
}

static int faults_allocate(const struct os_file_ops *ops, int file, uint64_t size)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 10 * US))
        return -EIO;
    if (strikes(faults, faults->plan.write_error))
        return end_file(faults, "allocate", file, size, 0, -EIO);
    return end_file(faults, "allocate", file, size, 0, faults->below->allocate(faults->below, file, size));
}

static int faults_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 1 * US) || strikes(faults, faults->plan.read_error))
        return -EIO;
    return faults->below->size(faults->below, file, ret_size);
}

static int faults_is_locked(const struct os_file_ops *ops, int file, bool *ret_locked)
{
    struct faults *faults = faults_of(ops);

    return begin(faults, 1 * US) ? faults->below->is_locked(faults->below, file, ret_locked) : -EIO;
}

static int faults_lock(const struct os_file_ops *ops, int file)
{
    struct faults *faults = faults_of(ops);

    return begin(faults, 1 * US) ? faults->below->lock(faults->below, file) : -EIO;
}

/* ---- names ---- */

static int faults_rename(const struct os_file_ops *ops, const char *from, const char *to)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 20 * US))
        return -EIO;
    if (strikes(faults, faults->plan.name_error)) {
        if (scheduler_chance(2)) /* it is done all the same */
            (void)faults->below->rename(faults->below, from, to);
        return end(faults, "rename to", last_part(to), 0, 0, -EIO);
    }
    return end(faults, "rename to", last_part(to), 0, 0, faults->below->rename(faults->below, from, to));
}

static int faults_remove(const struct os_file_ops *ops, const char *path)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 20 * US))
        return -EIO;
    if (strikes(faults, faults->plan.name_error))
        return end(faults, "remove", last_part(path), 0, 0, -EIO);
    return end(faults, "remove", last_part(path), 0, 0, faults->below->remove(faults->below, path));
}

static int faults_make_folder(const struct os_file_ops *ops, const char *path)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 20 * US) || strikes(faults, faults->plan.name_error))
        return -EIO;
    return faults->below->make_folder(faults->below, path);
}

static int faults_sync_folder(const struct os_file_ops *ops, const char *path)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 200 * US))
        return -EIO;
    if (strikes(faults, faults->plan.sync_error)) {
        faults->sync_failed |= !is_in_derived(faults, path);
        return end(faults, "sync folder", path, 0, 0, -EIO);
    }
    if (faults->plan.no_folder_sync)
        return 0;
    return end(faults, "sync folder", path, 0, 0, faults->below->sync_folder(faults->below, path));
}

static int faults_list(const struct os_file_ops *ops, const char *path, struct buffer *names)
{
    struct faults *faults = faults_of(ops);

    if (!begin(faults, 20 * US) || strikes(faults, faults->plan.name_error))
        return -EIO;
    return faults->below->list(faults->below, path, names);
}

static int faults_space(const struct os_file_ops *ops, const char *path, uint64_t *ret_bytes_free)
{
    struct faults *faults = faults_of(ops);

    return begin(faults, 2 * US) ? faults->below->space(faults->below, path, ret_bytes_free) : -EIO;
}

/* ---- */

void faults_init(struct faults *faults, struct sim_disk *disk)
{
    *faults = (struct faults){
        .ops = {.open = faults_open,
                .close = faults_close,
                .pread = faults_pread,
                .pwrite = faults_pwrite,
                .sync = faults_sync,
                .truncate = faults_truncate,
                .allocate = faults_allocate,
                .size = faults_size,
                .lock = faults_lock,
                .is_locked = faults_is_locked,
                .rename = faults_rename,
                .remove = faults_remove,
                .make_folder = faults_make_folder,
                .sync_folder = faults_sync_folder,
                .list = faults_list,
                .space = faults_space},
        .below = sim_disk_ops(disk),
        .disk = disk,
    };
}

void faults_plan(struct faults *faults, const struct faults_plan *plan)
{
    faults->plan = *plan;
    faults->calls = 0;
    faults->dead = faults->hurt = faults->full = faults->sync_failed = false;
}

void faults_die(struct faults *faults)
{
    if (!faults->dead)
        scheduler_note("the process dies");
    faults->dead = true;
}
