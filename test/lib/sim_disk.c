#include "lib/sim_disk.h"

#include <assert.h>
#include <stdlib.h>

#include "base/vector.h"
#include "os/thread.h"

#define SECTOR_SIZE    512
#define OPEN_COUNT_MAX 256
#define FILE_SIZE_MAX  ((size_t)64 << 20)
#define SIM_PATH_SIZE  128

/* Something done to a file that is not durable yet. data == NULL: the file was made `offset` bytes long. */
struct change {
    uint64_t offset;
    size_t size;
    uint8_t *data;
};

struct inode {
    struct buffer content, durable;
    struct change *changes;
    size_t change_count, change_capacity;
    bool locked;
};

struct name {
    char path[SIM_PATH_SIZE];
    struct inode *inode;
};

/* The folder at one moment. */
struct names {
    struct name *items;
    size_t count, capacity;
};

struct open_file {
    struct inode *inode;
    bool used, writable, locks;
};

struct sim_disk {
    struct os_file_ops ops; /* first */
    struct os_mutex mutex;
    struct inode **inodes;
    size_t inode_count, inode_capacity;
    struct names now;
    struct names *moments; /* [0]: what is durable; then one for each change of a name since */
    size_t moment_count, moment_capacity;
    struct open_file open[OPEN_COUNT_MAX];
    uint64_t capacity;
    unsigned fail_syncs, tear_syncs, lies, lie_count;
    enum sim_lie lie;
    uint64_t random; /* for tears and lies */
};

static struct sim_disk *disk_of(const struct os_file_ops *ops)
{
    return (struct sim_disk *)ops;
}

/* In a test there is memory. */
static void must(int r)
{
    assert(r == 0);
}

/* ---- names ---- */

static struct name *find_name(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].path, path) == 0)
            return &names->items[i];
    }
    return NULL;
}

static struct names copy_names(const struct names *names)
{
    struct names copy = {0};

    must(vector_reserve(&copy.items, &copy.capacity, names->count + 1));
    if (names->count > 0)
        memcpy(copy.items, names->items, names->count * sizeof(*names->items));
    copy.count = names->count;
    return copy;
}

/* The folder has just changed. */
static void remember_moment(struct sim_disk *disk)
{
    must(vector_reserve(&disk->moments, &disk->moment_capacity, disk->moment_count + 1));
    disk->moments[disk->moment_count++] = copy_names(&disk->now);
}

static void forget_moments(struct sim_disk *disk)
{
    while (disk->moment_count > 0)
        free(disk->moments[--disk->moment_count].items);
}

static void add_name(struct sim_disk *disk, const char *path, struct inode *inode)
{
    struct name *name;

    assert(strlen(path) < SIM_PATH_SIZE);
    must(vector_reserve(&disk->now.items, &disk->now.capacity, disk->now.count + 1));
    name = &disk->now.items[disk->now.count++];
    *name = (struct name){.inode = inode};
    memcpy(name->path, path, strlen(path) + 1);
}

static void remove_name(struct sim_disk *disk, struct name *name)
{
    *name = disk->now.items[--disk->now.count];
}

static bool is_in(const char *name, const char *folder, size_t folder_size)
{
    return strncmp(name, folder, folder_size) == 0 && name[folder_size] == '/';
}

/* What a moment knows of one folder becomes what is there now. */
static void renew_folder(struct sim_disk *disk, struct names *moment, const char *folder)
{
    size_t size = strlen(folder), kept = 0;

    for (size_t i = 0; i < moment->count; i++) {
        if (!is_in(moment->items[i].path, folder, size))
            moment->items[kept++] = moment->items[i];
    }
    moment->count = kept;
    for (size_t i = 0; i < disk->now.count; i++) {
        if (!is_in(disk->now.items[i].path, folder, size))
            continue;
        must(vector_reserve(&moment->items, &moment->capacity, moment->count + 1));
        moment->items[moment->count++] = disk->now.items[i];
    }
}

static bool same_names(struct names *a, const struct names *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct name *name = find_name(a, b->items[i].path);

        if (!name || name->inode != b->items[i].inode)
            return false;
    }
    return a->count == b->count;
}

/* A folder was synced: its names are durable, and moments that differ in nothing else are one. */
static void sync_names(struct sim_disk *disk, const char *folder)
{
    size_t kept = 0;

    for (size_t i = 0; i < disk->moment_count; i++) {
        renew_folder(disk, &disk->moments[i], folder);
        if (kept > 0 && same_names(&disk->moments[kept - 1], &disk->moments[i]))
            free(disk->moments[i].items);
        else
            disk->moments[kept++] = disk->moments[i];
    }
    disk->moment_count = kept;
}

static struct inode *new_inode(struct sim_disk *disk)
{
    struct inode *inode = calloc(1, sizeof(*inode));

    assert(inode);
    buffer_init(&inode->content, FILE_SIZE_MAX);
    buffer_init(&inode->durable, FILE_SIZE_MAX);
    must(vector_reserve(&disk->inodes, &disk->inode_capacity, disk->inode_count + 1));
    disk->inodes[disk->inode_count++] = inode;
    return inode;
}

/* ---- content ---- */

static void set_size(struct buffer *buffer, uint64_t size)
{
    if (size > buffer->size) {
        uint8_t *zeros;
        size_t more = (size_t)(size - buffer->size);

        must(buffer_extend(buffer, more, &zeros));
        memset(zeros, 0, more);
    }
    buffer->size = (size_t)size;
}

static void put(struct buffer *buffer, uint64_t offset, const uint8_t *data, size_t size)
{
    if (offset + size > buffer->size)
        set_size(buffer, offset + size);
    memcpy(buffer->data + offset, data, size);
}

static uint64_t random_next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Each sector of a write reaches the disk or does not. */
static void keep_some(struct buffer *content, const struct change *change, uint64_t *random)
{
    size_t done = 0;

    while (done < change->size) {
        size_t part = SECTOR_SIZE - (size_t)((change->offset + done) % SECTOR_SIZE);

        if (part > change->size - done)
            part = change->size - done;
        if (random_next(random) % 2)
            put(content, change->offset + done, change->data + done, part);
        done += part;
    }
}

static void note_change(struct inode *inode, uint64_t offset, const void *data, size_t size)
{
    struct change change = {.offset = offset, .size = size};

    if (data) {
        change.data = malloc(size ? size : 1);
        assert(change.data);
        memcpy(change.data, data, size);
    }
    must(vector_reserve(&inode->changes, &inode->change_capacity, inode->change_count + 1));
    inode->changes[inode->change_count++] = change;
}

/* Some of what is not durable becomes so. */
static void keep_changes(struct inode *inode, uint64_t *random)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct change *change = &inode->changes[i];

        if (change->data)
            keep_some(&inode->durable, change, random);
        else if (random_next(random) % 2)
            set_size(&inode->durable, change->offset);
    }
}

static void forget_changes(struct inode *inode)
{
    while (inode->change_count > 0)
        free(inode->changes[--inode->change_count].data);
}

static uint64_t used_bytes(const struct sim_disk *disk)
{
    uint64_t used = 0;

    for (size_t i = 0; i < disk->now.count; i++)
        used += disk->now.items[i].inode->content.size;
    return used;
}

static bool has_room(struct sim_disk *disk, const struct inode *inode, uint64_t size)
{
    if (disk->capacity == 0 || size <= inode->content.size)
        return true;
    return used_bytes(disk) + (size - inode->content.size) <= disk->capacity;
}

/* ---- the table ---- */

static struct open_file *file_of(struct sim_disk *disk, int file)
{
    assert(file >= 0 && file < OPEN_COUNT_MAX);
    return disk->open[file].used ? &disk->open[file] : NULL;
}

static int take_slot(struct sim_disk *disk, struct inode *inode, bool writable, int *ret_file)
{
    for (int i = 0; i < OPEN_COUNT_MAX; i++) {
        if (!disk->open[i].used) {
            disk->open[i] = (struct open_file){.inode = inode, .used = true, .writable = writable};
            *ret_file = i;
            return 0;
        }
    }
    return -EMFILE;
}

static int sim_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    struct sim_disk *disk = disk_of(ops);
    struct name *name;
    struct inode *inode;

    _os_locked_(&disk->mutex);
    name = find_name(&disk->now, path);
    if (!name && !(flags & OS_FILE_CREATE))
        return -ENOENT;
    inode = name ? name->inode : new_inode(disk);
    if (!name) {
        add_name(disk, path, inode);
        remember_moment(disk);
    }
    if (flags & OS_FILE_TRUNCATE) {
        set_size(&inode->content, 0);
        note_change(inode, 0, NULL, 0);
    }
    return take_slot(disk, inode, flags & OS_FILE_WRITE, ret_file);
}

static int sim_close(const struct os_file_ops *ops, int file)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    if (open->locks)
        open->inode->locked = false;
    *open = (struct open_file){0};
    return 0;
}

static int sim_pread(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                     size_t *ret_size)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;
    struct bytes part;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    part = bytes_slice(buffer_bytes(&open->inode->content), (size_t)offset, size);
    if (part.size > 0)
        memcpy(data, part.data, part.size);
    *ret_size = part.size;
    return 0;
}

static int sim_pwrite(const struct os_file_ops *ops, int file, const void *data, size_t size, uint64_t offset,
                      size_t *ret_size)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open || !open->writable)
        return -EBADF;
    if (!has_room(disk, open->inode, offset + size))
        return -ENOSPC;
    put(&open->inode->content, offset, data, size);
    note_change(open->inode, offset, data, size);
    *ret_size = size;
    return 0;
}

static void apply(struct buffer *content, const struct change *change)
{
    if (change->data)
        put(content, change->offset, change->data, change->size);
    else
        set_size(content, change->offset);
}

/* Somewhere in some file, as far into a sector as it should have been. */
static void misdirect(struct sim_disk *disk, const struct change *change)
{
    struct inode *inode = disk->now.items[random_next(&disk->random) % disk->now.count].inode;
    uint64_t sectors = inode->durable.size / SECTOR_SIZE + 1;

    put(&inode->durable, random_next(&disk->random) % sectors * SECTOR_SIZE + change->offset % SECTOR_SIZE,
        change->data, change->size);
}

static void write_changes(struct sim_disk *disk, struct inode *inode)
{
    size_t lie_at = inode->change_count;

    if (disk->lies > 0 && inode->change_count > 0)
        lie_at = (size_t)random_next(&disk->random) % inode->change_count;
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct change *change = &inode->changes[i];

        if (i != lie_at || !change->data) {
            apply(&inode->durable, change);
            continue;
        }
        disk->lies--;
        disk->lie_count++;
        if (disk->lie == SIM_LIE_MISDIRECTED)
            misdirect(disk, change);
    }
}

static int sim_sync(const struct os_file_ops *ops, int file)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;
    struct inode *inode;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    inode = open->inode;
    if (disk->tear_syncs + disk->fail_syncs > 0) {
        if (disk->tear_syncs > 0)
            keep_changes(inode, &disk->random);
        *(disk->tear_syncs > 0 ? &disk->tear_syncs : &disk->fail_syncs) -= 1;
        forget_changes(inode);
        return -EIO;
    }
    write_changes(disk, inode);
    forget_changes(inode);
    return 0;
}

static int resize(struct sim_disk *disk, int file, uint64_t size, bool only_up)
{
    struct open_file *open = file_of(disk, file);

    if (!open || !open->writable)
        return -EBADF;
    if (only_up && size <= open->inode->content.size)
        return 0;
    if (!has_room(disk, open->inode, size))
        return -ENOSPC;
    set_size(&open->inode->content, size);
    note_change(open->inode, size, NULL, 0);
    return 0;
}

static int sim_truncate(const struct os_file_ops *ops, int file, uint64_t size)
{
    struct sim_disk *disk = disk_of(ops);

    _os_locked_(&disk->mutex);
    return resize(disk, file, size, false);
}

static int sim_allocate(const struct os_file_ops *ops, int file, uint64_t size)
{
    struct sim_disk *disk = disk_of(ops);

    _os_locked_(&disk->mutex);
    return resize(disk, file, size, true);
}

static int sim_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    *ret_size = open->inode->content.size;
    return 0;
}

static int sim_lock(const struct os_file_ops *ops, int file)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    if (open->inode->locked)
        return OS_FILE_E_LOCKED;
    open->inode->locked = open->locks = true;
    return 0;
}

static int sim_is_locked(const struct os_file_ops *ops, int file, bool *ret_locked)
{
    struct sim_disk *disk = disk_of(ops);
    struct open_file *open;

    _os_locked_(&disk->mutex);
    open = file_of(disk, file);
    if (!open)
        return -EBADF;
    *ret_locked = open->inode->locked;
    return 0;
}

static int sim_rename(const struct os_file_ops *ops, const char *from, const char *to)
{
    struct sim_disk *disk = disk_of(ops);
    struct name *name, *replaced;
    struct inode *inode;

    _os_locked_(&disk->mutex);
    name = find_name(&disk->now, from);
    if (!name)
        return -ENOENT;
    inode = name->inode;
    remove_name(disk, name);
    replaced = find_name(&disk->now, to);
    if (replaced)
        remove_name(disk, replaced);
    add_name(disk, to, inode);
    remember_moment(disk);
    return 0;
}

static int sim_remove(const struct os_file_ops *ops, const char *path)
{
    struct sim_disk *disk = disk_of(ops);
    struct name *name;

    _os_locked_(&disk->mutex);
    name = find_name(&disk->now, path);
    if (!name)
        return -ENOENT;
    remove_name(disk, name);
    remember_moment(disk);
    return 0;
}

static int sim_make_folder(const struct os_file_ops *ops, const char *path)
{
    return 0;
}

static int sim_sync_folder(const struct os_file_ops *ops, const char *path)
{
    struct sim_disk *disk = disk_of(ops);

    _os_locked_(&disk->mutex);
    sync_names(disk, path);
    return 0;
}

static int sim_list(const struct os_file_ops *ops, const char *path, struct buffer *names)
{
    struct sim_disk *disk = disk_of(ops);
    size_t size = strlen(path);

    _os_locked_(&disk->mutex);
    for (size_t i = 0; i < disk->now.count; i++) {
        const char *name = disk->now.items[i].path;

        if (is_in(name, path, size))
            must(buffer_append(names, name + size + 1, strlen(name + size + 1) + 1));
    }
    return 0;
}

static int sim_space(const struct os_file_ops *ops, const char *path, uint64_t *ret_bytes_free)
{
    *ret_bytes_free = UINT64_MAX;
    return 0;
}

/* ---- the tester's side ---- */

struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *disk = calloc(1, sizeof(*disk));

    assert(disk);
    os_mutex_init(&disk->mutex);
    disk->ops = (struct os_file_ops){
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwrite = sim_pwrite,
        .sync = sim_sync,
        .truncate = sim_truncate,
        .allocate = sim_allocate,
        .size = sim_size,
        .lock = sim_lock,
        .is_locked = sim_is_locked,
        .rename = sim_rename,
        .remove = sim_remove,
        .make_folder = sim_make_folder,
        .sync_folder = sim_sync_folder,
        .list = sim_list,
        .space = sim_space,
    };
    remember_moment(disk);
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (!disk)
        return;
    for (size_t i = 0; i < disk->inode_count; i++) {
        forget_changes(disk->inodes[i]);
        free(disk->inodes[i]->changes);
        buffer_deinit(&disk->inodes[i]->content);
        buffer_deinit(&disk->inodes[i]->durable);
        free(disk->inodes[i]);
    }
    forget_moments(disk);
    free(disk->moments);
    free(disk->inodes);
    free(disk->now.items);
    os_mutex_deinit(&disk->mutex);
    free(disk);
}

const struct os_file_ops *sim_disk_ops(struct sim_disk *disk)
{
    return &disk->ops;
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
    _os_locked_(&disk->mutex);
    disk->capacity = bytes;
}

uint64_t sim_disk_used(struct sim_disk *disk)
{
    _os_locked_(&disk->mutex);
    return used_bytes(disk);
}

void sim_disk_fail_syncs(struct sim_disk *disk, unsigned count)
{
    _os_locked_(&disk->mutex);
    disk->fail_syncs = count;
}

void sim_disk_tear_syncs(struct sim_disk *disk, unsigned count, uint64_t seed)
{
    _os_locked_(&disk->mutex);
    disk->tear_syncs = count;
    disk->random = seed * 2 + 1;
}

void sim_disk_drop_clean(struct sim_disk *disk)
{
    _os_locked_(&disk->mutex);
    for (size_t i = 0; i < disk->inode_count; i++) {
        struct inode *inode = disk->inodes[i];

        buffer_clear(&inode->content);
        must(buffer_append_bytes(&inode->content, buffer_bytes(&inode->durable)));
        for (size_t j = 0; j < inode->change_count; j++)
            apply(&inode->content, &inode->changes[j]);
    }
}

void sim_disk_lie(struct sim_disk *disk, enum sim_lie lie, uint64_t seed)
{
    _os_locked_(&disk->mutex);
    disk->lies = 1;
    disk->lie = lie;
    disk->random = seed * 2 + 1;
}

unsigned sim_disk_lie_count(struct sim_disk *disk)
{
    _os_locked_(&disk->mutex);
    return disk->lie_count;
}

bool sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t bit)
{
    struct name *name;

    _os_locked_(&disk->mutex);
    name = find_name(&disk->now, path);
    if (!name || name->inode->durable.size == 0)
        return false;
    bit %= name->inode->durable.size * 8;
    name->inode->durable.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    if (bit / 8 < name->inode->content.size)
        name->inode->content.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return true;
}

static void close_all(struct sim_disk *disk)
{
    memset(disk->open, 0, sizeof(disk->open));
    for (size_t i = 0; i < disk->inode_count; i++)
        disk->inodes[i]->locked = false;
}

void sim_disk_kill(struct sim_disk *disk)
{
    _os_locked_(&disk->mutex);
    close_all(disk);
}

static void lose_changes(struct inode *inode, enum sim_loss loss, uint64_t *random)
{
    if (loss == SIM_LOSE_SOME)
        keep_changes(inode, random);
    forget_changes(inode);
    buffer_clear(&inode->content);
    must(buffer_append_bytes(&inode->content, buffer_bytes(&inode->durable)));
}

void sim_disk_power_loss(struct sim_disk *disk, enum sim_loss loss, uint64_t seed)
{
    uint64_t random = seed * 2 + 1;
    size_t moment;

    _os_locked_(&disk->mutex);
    close_all(disk);
    for (size_t i = 0; i < disk->inode_count; i++)
        lose_changes(disk->inodes[i], loss, &random);
    moment = loss == SIM_LOSE_ALL ? 0 : (size_t)random_next(&random) % disk->moment_count;
    free(disk->now.items);
    disk->now = copy_names(&disk->moments[moment]);
    forget_moments(disk);
    remember_moment(disk);
}

struct buffer *sim_disk_content(struct sim_disk *disk, const char *path)
{
    struct name *name;

    _os_locked_(&disk->mutex);
    name = find_name(&disk->now, path);
    return name ? &name->inode->content : NULL;
}

size_t sim_disk_open_count(struct sim_disk *disk)
{
    size_t count = 0;

    _os_locked_(&disk->mutex);
    for (size_t i = 0; i < OPEN_COUNT_MAX; i++)
        count += disk->open[i].used;
    return count;
}
