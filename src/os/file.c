#include "os/file.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define READ_STEP_SIZE ((size_t)64 << 10)

int os_file_write_full(const struct os_file_ops *ops, int file, const void *data, size_t size,
                       uint64_t offset)
{
    const uint8_t *from = (const uint8_t *)data;

    while (size > 0) {
        size_t written;
        int r = ops->pwrite(ops, file, from, size, offset, &written);

        if (r < 0)
            return r;
        if (written == 0)
            return -EIO;
        from += written;
        offset += written;
        size -= written;
    }
    return 0;
}

int os_file_read_full(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                      size_t *ret_size)
{
    uint8_t *to = (uint8_t *)data;
    size_t done = 0;

    while (done < size) {
        size_t read;
        int r = ops->pread(ops, file, to + done, size - done, offset + done, &read);

        if (r < 0)
            return r;
        if (read == 0)
            break;
        done += read;
    }
    *ret_size = done;
    return 0;
}

int os_file_read_whole(const struct os_file_ops *ops, const char *path, struct buffer *content)
{
    size_t size_before = content->size, read = 1;
    uint64_t offset = 0;
    int file, r, closed;

    r = ops->open(ops, path, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    while (r == 0 && read > 0) {
        r = buffer_reserve(content, READ_STEP_SIZE);
        if (r == 0)
            r = ops->pread(ops, file, content->data + content->size, READ_STEP_SIZE, offset, &read);
        if (r == 0) {
            content->size += read;
            offset += read;
        }
    }
    closed = ops->close(ops, file);
    r = error_first(r, closed);
    if (r < 0)
        content->size = size_before;
    return r;
}

static int write_new(const struct os_file_ops *ops, const char *path, struct bytes content)
{
    int file, r, closed;

    r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &file);
    if (r < 0)
        return r;
    r = os_file_write_full(ops, file, content.data, content.size, 0);
    if (r == 0)
        r = ops->sync(ops, file);
    closed = ops->close(ops, file);
    return error_first(r, closed);
}

int os_file_replace(const struct os_file_ops *ops, const char *folder, const char *name, struct bytes content)
{
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    int r = os_path(path, folder, name);

    if (r == 0 && (size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
        r = -ENAMETOOLONG;
    if (r < 0)
        return r;
    r = write_new(ops, temporary, content);
    if (r == 0)
        r = ops->rename(ops, temporary, path);
    if (r < 0) {
        (void)ops->remove(ops, temporary);
        return r;
    }
    return ops->sync_folder(ops, folder);
}

int os_file_sync_parent(const struct os_file_ops *ops, const char *folder)
{
    _cleanup_(freep) char *parent = strdup(folder);
    size_t size = parent ? strlen(parent) : 0;
    char *slash;

    if (!parent)
        return -ENOMEM;
    while (size > 1 && parent[size - 1] == '/') /* "data/log/" lies in "data" */
        parent[--size] = '\0';
    slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    if (slash == parent)
        return ops->sync_folder(ops, "/");
    return ops->sync_folder(ops, slash ? parent : ".");
}

int os_path(char ret_path[OS_PATH_SIZE_MAX], const char *folder, const char *name)
{
    char path[OS_PATH_SIZE_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s", folder, name);

    if (size < 0 || (size_t)size >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(ret_path, path, (size_t)size + 1);
    return 0;
}
