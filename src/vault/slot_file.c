/* A file of slots. Appending gathers; one write and one sync make it durable. What has not been synced stays in memory until
 * it is, so that a full disk loses nothing: the same bytes are written to the same place again. */

#include "base/cleanup.h"
#include "vault/internal.h"

enum { READ_COUNT = 512 }; /* slots read at a time */

/* A part of a slot at the end, which the next one goes over: told of as if zeros stood behind it, and not counted. */
static int read_rest(const uint8_t *data, size_t size, uint64_t place, void *user, slot_file_each *each)
{
    struct slot_seen seen = {.place = place, .cut = true};
    if (size == 0)
        return 0;
    memcpy(seen.raw, data, size);
    int r = slot_read(seen.raw, &seen.slot);
    seen.answer = SLOT_E_BROKEN;
    r = r < 0 ? r : each(user, &seen);
    explicit_bzero(&seen, sizeof(seen));
    return r;
}

static int read_slots(const struct os_file_ops *ops, int file, void *user, slot_file_each *each,
                      uint64_t *ret_count)
{
    uint8_t data[READ_COUNT * SLOT_SIZE];
    struct slot_seen seen = {0};
    uint64_t count = 0;
    size_t size = sizeof(data);
    int r = 0;
    while (r == 0 && size == sizeof(data)) {
        r = os_file_read_full(ops, file, data, sizeof(data), count * SLOT_SIZE, &size);
        if (r < 0)
            break;
        size_t at = 0;
        for (; r == 0 && at + SLOT_SIZE <= size; at += SLOT_SIZE) {
            seen.place = count++;
            memcpy(seen.raw, data + at, SLOT_SIZE);
            seen.answer = slot_read(seen.raw, &seen.slot);
            r = each(user, &seen);
        }
        if (r == 0)
            r = read_rest(data + at, size - at, count, user, each);
    }
    explicit_bzero(&seen, sizeof(seen));
    explicit_bzero(data, sizeof(data));
    if (r == 0)
        *ret_count = count;
    return r;
}

int slot_file_read(const struct os_file_ops *ops, const char *path, void *user, slot_file_each *each,
                   uint64_t *ret_count)
{
    int file;
    int r = ops->open(ops, path, OS_FILE_READ, &file);
    if (r == -ENOENT) {
        *ret_count = 0;
        return 0;
    }
    if (r < 0)
        return r;
    r = read_slots(ops, file, user, each, ret_count);
    (void)ops->close(ops, file);
    return r;
}

/* Write the last slots once more: what the page cache shows of them need not be on the disk. */
static int harden(const struct os_file_ops *ops, const struct slot_file *file)
{
    _cleanup_(buffer_deinit) struct buffer end = {0};
    uint64_t count = file->count < VAULT_UNSYNCED_COUNT_MAX ? file->count : VAULT_UNSYNCED_COUNT_MAX;
    uint64_t offset = (file->count - count) * SLOT_SIZE;
    uint8_t *data;
    size_t got;
    if (count == 0)
        return ops->sync(ops, file->file);
    int r = buffer_extend(&end, (size_t)count * SLOT_SIZE, &data);
    if (r == 0)
        r = os_file_read_full(ops, file->file, data, end.size, offset, &got);
    if (r == 0 && got != end.size)
        r = -EIO;
    if (r == 0)
        r = os_file_write_full(ops, file->file, data, end.size, offset);
    return r == 0 ? ops->sync(ops, file->file) : r;
}

int slot_file_open(const struct os_file_ops *ops, struct slot_file *file, uint64_t count)
{
    int r = ops->open(ops, file->path, OS_FILE_WRITE | OS_FILE_CREATE, &file->file);
    if (r < 0) {
        file->file = -1;
        return r;
    }
    file->count = count;
    return harden(ops, file);
}

int slot_file_cut(const struct os_file_ops *ops, struct slot_file *file)
{
    uint64_t size;
    int r = ops->size(ops, file->file, &size);
    return r == 0 && size % SLOT_SIZE != 0 ? ops->truncate(ops, file->file, size - size % SLOT_SIZE) : r;
}

void slot_file_close(const struct os_file_ops *ops, struct slot_file *file)
{
    if (file->file >= 0)
        (void)ops->close(ops, file->file);
    file->file = -1;
    if (file->pending.size > 0)
        explicit_bzero(file->pending.data, file->pending.size);
    buffer_deinit(&file->pending);
}

int slot_file_push(struct slot_file *file, const struct slot *slot)
{
    uint8_t *to;
    int r = buffer_extend(&file->pending, SLOT_SIZE, &to);
    if (r < 0)
        return r;
    slot_write(slot, to);
    file->count++;
    return 0;
}

int slot_file_sync(const struct os_file_ops *ops, struct slot_file *file)
{
    if (file->pending.size == 0)
        return 0;
    uint64_t offset = file->count * SLOT_SIZE - file->pending.size;
    int r = os_file_write_full(ops, file->file, file->pending.data, file->pending.size, offset);
    if (r == 0)
        r = ops->sync(ops, file->file);
    if (r < 0)
        return r;
    explicit_bzero(file->pending.data, file->pending.size);
    buffer_clear(&file->pending);
    return 0;
}

int slot_file_overwrite(const struct os_file_ops *ops, struct slot_file *file, uint64_t place,
                        const struct slot *slot)
{
    uint8_t data[SLOT_SIZE];
    slot_write(slot, data);
    int r = os_file_write_full(ops, file->file, data, sizeof(data), place * SLOT_SIZE);
    explicit_bzero(data, sizeof(data));
    return r == 0 ? ops->sync(ops, file->file) : r;
}
