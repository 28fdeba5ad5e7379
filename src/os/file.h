#pragma once

/*
 * Files, through a table of functions, so that a test can put a failing, tearing, forgetting or full disk in the
 * kernel's place (test/lib/fault_file.h, test/lib/sim_disk.h). All that daybook keeps durable goes through here.
 *
 * A table is its own first argument, so that one that stacks on another can find its state. Files are numbers that
 * only the table that opened them understands. Every function returns 0 or -errno unless said otherwise, does not
 * restart after a short transfer (the os_file_…_full() helpers do), and may be called from any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { OS_FILE_E_LOCKED = 1 };

enum os_file_flags {
    OS_FILE_READ = 0,
    OS_FILE_WRITE = 1,    /* and read */
    OS_FILE_CREATE = 2,   /* when it is not there */
    OS_FILE_TRUNCATE = 4, /* to nothing */
};

#define OS_PATH_SIZE_MAX 4096

struct os_file_ops {
    int (*open)(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file);
    int (*close)(const struct os_file_ops *ops, int file);

    /* What was read or written may be less than asked for; reading nothing is the end of the file. */
    int (*pread)(const struct os_file_ops *ops, int file, void *data, size_t size, uint64_t offset,
                 size_t *ret_size);
    int (*pwrite)(const struct os_file_ops *ops, int file, const void *data, size_t size, uint64_t offset,
                  size_t *ret_size);

    /* The file's data, and the size that finds it, on the disk's surface (fdatasync). */
    int (*sync)(const struct os_file_ops *ops, int file);
    int (*truncate)(const struct os_file_ops *ops, int file, uint64_t size);
    /* Disk space for `size` bytes from the start, which read as zeros where nothing is yet; the file is that large
     * then. -EOPNOTSUPP where the file system cannot. -ENOSPC leaves the file as it was. */
    int (*allocate)(const struct os_file_ops *ops, int file, uint64_t size);
    int (*size)(const struct os_file_ops *ops, int file, uint64_t *ret_size);
    /* An exclusive lock as long as the file is open. OS_FILE_E_LOCKED: somebody else has it, also in this process. */
    int (*lock)(const struct os_file_ops *ops, int file);
    /* Whether somebody holds that lock, also in this process. Takes none, so that nobody is kept from it. */
    int (*is_locked)(const struct os_file_ops *ops, int file, bool *ret_locked);

    int (*rename)(const struct os_file_ops *ops, const char *from, const char *to); /* replaces `to` */
    int (*remove)(const struct os_file_ops *ops, const char *path);
    int (*make_folder)(const struct os_file_ops *ops, const char *path); /* 0 also when it is there */
    /* Makes creations, renames and removals in the folder durable. */
    int (*sync_folder)(const struct os_file_ops *ops, const char *path);
    /* Appends the names of the files in a folder to `names`, each ended by a NUL, in no order, without . and .. */
    int (*list)(const struct os_file_ops *ops, const char *path, struct buffer *names);
    /* Asks for these bytes to be read from the disk the next time, not from memory; what is not written yet stays. A hint,
     * and a table may leave it out: os_file_forget(). */
    void (*forget)(const struct os_file_ops *ops, int file, uint64_t offset, uint64_t size);
    int (*space)(const struct os_file_ops *ops, const char *path, uint64_t *ret_bytes_free);
};

/* The real kernel. */
const struct os_file_ops *os_file_real(void);

/* ---- over any table ---- */

static inline void os_file_forget(const struct os_file_ops *ops, int file, uint64_t offset, uint64_t size)
{
    if (ops->forget)
        ops->forget(ops, file, offset, size);
}

/* Goes on until all is written. */
_must_check_ int os_file_write_full(const struct os_file_ops *ops, int file, const void *data, size_t size,
                                    uint64_t offset);

/* Goes on until `size` bytes or the end of the file. */
_must_check_ int os_file_read_full(const struct os_file_ops *ops, int file, void *data, size_t size,
                                   uint64_t offset, size_t *ret_size);

/* Appends a whole file to `content`; -E2BIG when it is larger than the buffer may be, -ESPIPE when it is a FIFO, a terminal or
 * another thing that is no file. */
_must_check_ int os_file_read_whole(const struct os_file_ops *ops, const char *path, struct buffer *content);

/* Puts a file with this content in the place of the old one, or a new one there: durable and whole, or not at all.
 * A leftover "NAME.tmp" of an earlier crash is overwritten. */
_must_check_ int os_file_replace(const struct os_file_ops *ops, const char *folder, const char *name,
                                 struct bytes content);

/* Makes the entry of a folder in the one above it durable. */
_must_check_ int os_file_sync_parent(const struct os_file_ops *ops, const char *folder);

/* "FOLDER/NAME"; -ENAMETOOLONG. */
_must_check_ int os_path(char ret_path[OS_PATH_SIZE_MAX], const char *folder, const char *name);
