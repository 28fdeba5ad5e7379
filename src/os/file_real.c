#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "os/file.h"

#define FILE_MODE   0600
#define FOLDER_MODE 0700

static int outcome(int result)
{
    return result < 0 ? error_from_errno() : 0;
}

static int real_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    int mode = (flags & OS_FILE_WRITE ? O_RDWR : O_RDONLY) | (flags & OS_FILE_CREATE ? O_CREAT : 0) |
               (flags & OS_FILE_TRUNCATE ? O_TRUNC : 0);
    /* O_NONBLOCK: a FIFO in a file's place must not stop whoever opens it; reading it is -ESPIPE then. */
    int file = open(path, mode | O_CLOEXEC | O_NONBLOCK, FILE_MODE);

    if (file < 0)
        return error_from_errno();
    *ret_file = file;
    return 0;
}

/* The descriptor is gone whatever close() says; what it says about writing is told. */
static int real_close(const struct os_file_ops *ops, int file)
{
    int r = outcome(close(file));

    return r == -EINTR ? 0 : r;
}

static int real_pread(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                      size_t *ret_size)
{
    ssize_t read;

    do
        read = pread(file, data, size, (off_t)offset);
    while (read < 0 && errno == EINTR);
    if (read < 0)
        return error_from_errno();
    *ret_size = (size_t)read;
    return 0;
}

static int real_pwrite(const struct os_file_ops *ops, int file, const void *data, size_t size,
                       uint64_t offset, size_t *ret_size)
{
    ssize_t written;

    do
        written = pwrite(file, data, size, (off_t)offset);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return error_from_errno();
    *ret_size = (size_t)written;
    return 0;
}

/* Never repeated: after a failed fdatasync a second one may well succeed with the data lost. */
static int real_sync(const struct os_file_ops *ops, int file)
{
    return outcome(fdatasync(file));
}

static int real_truncate(const struct os_file_ops *ops, int file, uint64_t size)
{
    int result;

    do
        result = ftruncate(file, (off_t)size);
    while (result < 0 && errno == EINTR);
    return outcome(result);
}

static int real_allocate(const struct os_file_ops *ops, int file, uint64_t size)
{
    int result;

    do
        result = fallocate(file, 0, 0, (off_t)size);
    while (result < 0 && errno == EINTR);
    return outcome(result);
}

static int real_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    struct stat stat;

    if (fstat(file, &stat) < 0)
        return error_from_errno();
    *ret_size = (uint64_t)stat.st_size;
    return 0;
}

static int real_lock(const struct os_file_ops *ops, int file)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file, F_OFD_SETLK, &whole) == 0)
        return 0;
    return errno == EAGAIN || errno == EACCES ? OS_FILE_E_LOCKED : error_from_errno();
}

static int real_is_locked(const struct os_file_ops *ops, int file, bool *ret_locked)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file, F_OFD_GETLK, &whole) < 0)
        return error_from_errno();
    *ret_locked = whole.l_type != F_UNLCK;
    return 0;
}

static int real_rename(const struct os_file_ops *ops, const char *from, const char *to)
{
    return outcome(rename(from, to));
}

static int real_remove(const struct os_file_ops *ops, const char *path)
{
    return outcome(unlink(path));
}

static int real_make_folder(const struct os_file_ops *ops, const char *path)
{
    return mkdir(path, FOLDER_MODE) < 0 && errno != EEXIST ? error_from_errno() : 0;
}

static int real_sync_folder(const struct os_file_ops *ops, const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (folder < 0)
        return error_from_errno();
    r = outcome(fsync(folder));
    (void)close(folder);
    return r;
}

static int list_open_folder(DIR *folder, struct buffer *names)
{
    for (;;) {
        struct dirent *entry;
        int r;

        errno = 0;
        entry = readdir(folder);
        if (!entry)
            return errno ? error_from_errno() : 0;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        r = buffer_append(names, entry->d_name, strlen(entry->d_name) + 1);
        if (r < 0)
            return r;
    }
}

static int real_list(const struct os_file_ops *ops, const char *path, struct buffer *names)
{
    DIR *folder = opendir(path);
    int r;

    if (!folder)
        return error_from_errno();
    r = list_open_folder(folder, names);
    (void)closedir(folder);
    return r;
}

static void real_forget(const struct os_file_ops *ops, int file, uint64_t offset, uint64_t size)
{
    (void)posix_fadvise(file, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

static int real_space(const struct os_file_ops *ops, const char *path, uint64_t *ret_bytes_free)
{
    struct statvfs stat;

    if (statvfs(path, &stat) < 0)
        return error_from_errno();
    *ret_bytes_free = (uint64_t)stat.f_bavail * stat.f_frsize;
    return 0;
}

const struct os_file_ops *os_file_real(void)
{
    static const struct os_file_ops ops = {
        .open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwrite = real_pwrite,
        .sync = real_sync,
        .truncate = real_truncate,
        .allocate = real_allocate,
        .size = real_size,
        .lock = real_lock,
        .is_locked = real_is_locked,
        .rename = real_rename,
        .remove = real_remove,
        .make_folder = real_make_folder,
        .sync_folder = real_sync_folder,
        .list = real_list,
        .forget = real_forget,
        .space = real_space,
    };

    return &ops;
}
