#include "lib/fault_file.h"

/* What is to happen to one call. */
enum verdict { PASS, FAIL, HALF_AND_SAY, HALF_AND_FAIL, PRETEND, NO_SPACE };

/* Which of the two groups that some kinds leave alone or treat apart a call belongs to. */
enum call { CALL_PWRITE, CALL_SPACE, CALL_TRUNCATE, CALL_OTHER };

static struct fault_file *fault_of(const struct os_file_ops *ops)
{
    return (struct fault_file *)ops;
}

static bool takes_space(enum call call)
{
    return call == CALL_PWRITE || call == CALL_SPACE;
}

static enum verdict verdict_of_kind(struct fault_file *fault, enum call call)
{
    switch (atomic_load(&fault->kind)) {
    case FAULT_FAIL: return FAIL;
    case FAULT_SHORTEN: return call == CALL_PWRITE ? HALF_AND_SAY : PASS;
    case FAULT_TEAR: return HALF_AND_FAIL;
    case FAULT_LOSE: return call == CALL_OTHER ? PASS : PRETEND;
    case FAULT_FULL: atomic_store(&fault->full, true); return takes_space(call) ? NO_SPACE : PASS;
    case FAULT_KILL: atomic_store(&fault->dead, true); return FAIL;
    case FAULT_KILL_TORN: atomic_store(&fault->dead, true); return call == CALL_PWRITE ? HALF_AND_FAIL : FAIL;
    default: return PASS;
    }
}

static enum verdict judge(struct fault_file *fault, enum call call)
{
    if (atomic_load(&fault->dead))
        return FAIL;
    if (atomic_load(&fault->full))
        return takes_space(call) ? NO_SPACE : PASS;
    if (atomic_fetch_add(&fault->calls, 1) + 1 != fault->at)
        return PASS;
    atomic_store(&fault->fired, true);
    return verdict_of_kind(fault, call);
}

/* For a call that cannot be done by half: what remains of a verdict. True: do it; *r is what to say then. */
static bool shall_do(enum verdict verdict, int *r)
{
    *r = verdict == NO_SPACE ? -ENOSPC : verdict == FAIL || verdict == HALF_AND_FAIL ? -EIO : 0;
    return verdict == PASS || verdict == HALF_AND_SAY || verdict == HALF_AND_FAIL;
}

#define WHOLE_CALL(CALL, EXPRESSION)                                                                         \
    do {                                                                                                     \
        struct fault_file *fault = fault_of(ops);                                                            \
        int said, done = 0;                                                                                  \
        if (shall_do(judge(fault, (CALL)), &said))                                                           \
            done = (EXPRESSION);                                                                             \
        return said < 0 ? said : done;                                                                       \
    } while (0)

static int fault_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    struct fault_file *fault = fault_of(ops);
    int said = 0, file, r;

    if (flags & OS_FILE_WRITE && !shall_do(judge(fault, CALL_SPACE), &said))
        return said < 0
                   ? said
                   : fault->below->open(fault->below, path, flags, ret_file); /* an open cannot be lost */
    if (atomic_load(&fault->dead))
        return -EIO;
    r = fault->below->open(fault->below, path, flags, &file);
    if (r < 0)
        return r;
    if (said < 0) {
        (void)fault->below->close(fault->below, file);
        return said;
    }
    *ret_file = file;
    return 0;
}

static int fault_close(const struct os_file_ops *ops, int file)
{
    return fault_of(ops)->below->close(fault_of(ops)->below, file);
}

static int fault_pread(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                       size_t *ret_size)
{
    struct fault_file *fault = fault_of(ops);

    if (atomic_load(&fault->dead))
        return -EIO;
    return fault->below->pread(fault->below, file, data, size, offset, ret_size);
}

static int fault_pwrite(const struct os_file_ops *ops, int file, const void *data, size_t size,
                        uint64_t offset, size_t *ret_size)
{
    const struct os_file_ops *below = fault_of(ops)->below;
    size_t half = (size + 1) / 2;
    int r;

    switch (judge(fault_of(ops), CALL_PWRITE)) {
    case PASS: return below->pwrite(below, file, data, size, offset, ret_size);
    case HALF_AND_SAY: return below->pwrite(below, file, data, half, offset, ret_size);
    case HALF_AND_FAIL: r = below->pwrite(below, file, data, half, offset, &half); return r < 0 ? r : -EIO;
    case PRETEND: *ret_size = size; return 0;
    case NO_SPACE: return -ENOSPC;
    default: return -EIO;
    }
}

static int fault_sync(const struct os_file_ops *ops, int file)
{
    struct fault_file *fault = fault_of(ops);
    enum verdict verdict = judge(fault, CALL_OTHER);
    int r;

    if (verdict == FAIL && fault->disk && !atomic_load(&fault->dead))
        sim_disk_fail_syncs(fault->disk, 1);
    else if (verdict == FAIL)
        return -EIO;
    r = fault->below->sync(fault->below, file);
    return verdict == HALF_AND_FAIL ? -EIO : r;
}

static int fault_truncate(const struct os_file_ops *ops, int file, uint64_t size)
{
    WHOLE_CALL(CALL_TRUNCATE, fault->below->truncate(fault->below, file, size));
}

static int fault_allocate(const struct os_file_ops *ops, int file, uint64_t size)
{
    WHOLE_CALL(CALL_SPACE, fault->below->allocate(fault->below, file, size));
}

static int fault_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    return fault_of(ops)->below->size(fault_of(ops)->below, file, ret_size);
}

static int fault_is_locked(const struct os_file_ops *ops, int file, bool *ret_locked)
{
    return fault_of(ops)->below->is_locked(fault_of(ops)->below, file, ret_locked);
}

static int fault_lock(const struct os_file_ops *ops, int file)
{
    return fault_of(ops)->below->lock(fault_of(ops)->below, file);
}

static int fault_rename(const struct os_file_ops *ops, const char *from, const char *to)
{
    WHOLE_CALL(CALL_OTHER, fault->below->rename(fault->below, from, to));
}

static int fault_remove(const struct os_file_ops *ops, const char *path)
{
    WHOLE_CALL(CALL_OTHER, fault->below->remove(fault->below, path));
}

static int fault_make_folder(const struct os_file_ops *ops, const char *path)
{
    WHOLE_CALL(CALL_OTHER, fault->below->make_folder(fault->below, path));
}

static int fault_sync_folder(const struct os_file_ops *ops, const char *path)
{
    WHOLE_CALL(CALL_OTHER, fault->below->sync_folder(fault->below, path));
}

static int fault_list(const struct os_file_ops *ops, const char *path, struct buffer *names)
{
    struct fault_file *fault = fault_of(ops);

    return atomic_load(&fault->dead) ? -EIO : fault->below->list(fault->below, path, names);
}

static int fault_space(const struct os_file_ops *ops, const char *path, uint64_t *ret_bytes_free)
{
    return fault_of(ops)->below->space(fault_of(ops)->below, path, ret_bytes_free);
}

void fault_file_init(struct fault_file *fault, const struct os_file_ops *below, enum fault_kind kind,
                     uint64_t at)
{
    *fault = (struct fault_file){
        .ops =
            {
                .open = fault_open,
                .close = fault_close,
                .pread = fault_pread,
                .pwrite = fault_pwrite,
                .sync = fault_sync,
                .truncate = fault_truncate,
                .allocate = fault_allocate,
                .size = fault_size,
                .lock = fault_lock,
                .is_locked = fault_is_locked,
                .rename = fault_rename,
                .remove = fault_remove,
                .make_folder = fault_make_folder,
                .sync_folder = fault_sync_folder,
                .list = fault_list,
                .space = fault_space,
            },
        .below = below,
        .kind = kind,
        .at = at,
    };
}

bool fault_file_fired(const struct fault_file *fault)
{
    return atomic_load(&fault->fired);
}

void fault_file_heal(struct fault_file *fault)
{
    atomic_store(&fault->kind, FAULT_NONE);
    atomic_store(&fault->dead, false);
    atomic_store(&fault->full, false);
}

void fault_file_kill(struct fault_file *fault)
{
    atomic_store(&fault->dead, true);
}
