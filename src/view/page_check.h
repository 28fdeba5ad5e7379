/* page_check: an SQLite VFS that gives each page of a database file a checksum, and looks at it whenever the page is read.
 *
 * SQLite trusts its file: a flipped bit in a page is another row, another number, another text, and no error. Its own remedy is
 * an extension that is not in its library (cksumvfs); this is the same idea and no more of it than a view's store needs. The
 * last PAGE_CHECK_SIZE bytes of every page are reserved (SQLite leaves them alone), and hold
 *
 *     u32 CRC-32C of the page's number and the bytes before    u32 PAGE_CHECK_MAGIC        (little-endian)
 *
 * They are written with the page and checked with every read, mapped or not. A page that does not hold is SQLITE_IOERR_DATA, and
 * so is one that was never written: where a file grows over pages nobody wrote, empty ones with a checksum are put. The WAL is
 * passed through: SQLite's own checksums hold there, and pages get theirs when they are copied into the file.
 *
 * Other programs can read such a file; one that writes it makes it damaged. Anything that is no database file (WAL, journals,
 * databases in memory) goes to the VFS below as it is.
 *
 * Threads: as SQLite's own: a file belongs to one connection.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "os/file.h"

enum {
    PAGE_CHECK_SIZE = 8,
    PAGE_CHECK_PAGE_SIZE = 4096, /* of every file of ours */
};
#define PAGE_CHECK_MAGIC UINT32_C(0x31636b64) /* "dkc1" */
#define PAGE_CHECK_VFS   "daybook-pages"

/* Make the VFS known to SQLite, once in a process, and set what SQLite must be told before anything else is. 0 or -ENOMEM. */
int page_check_register(void);

/* A new database gets its pages' size and their reserved bytes. Before anything is read or written; of one that is there
 * already, nothing changes. An SQLite code. */
int page_check_prepare(sqlite3 *db);

/* Whether an SQLite code says that what is in the file cannot be what was written (or cannot be read), so that it must be made
 * again: not for want of room, memory or a lock. */
bool page_check_is_damage(int code);

/* Where the last page did not hold that this thread has read since the last page_check_forget(). */
struct page_damage {
    char path[OS_PATH_SIZE_MAX]; /* empty: every one held */
    uint64_t offset;
};
void page_check_forget(void);
const struct page_damage *page_check_damage(void);
