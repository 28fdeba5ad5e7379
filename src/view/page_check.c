/* The VFS below does the work; ours is a copy of it with another way to open a file. What it opens is two files in one piece of
 * memory, ours in front: SQLite calls us, and we call the one behind. */
#include "view/page_check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

enum { CHECKED_SIZE = PAGE_CHECK_PAGE_SIZE - PAGE_CHECK_SIZE };

struct checked_file {
    sqlite3_file base; /* first */
    const char *path;  /* SQLite's, as long as the file is open */
    sqlite3_int64 size;  /* of the file, as far as we know: it never has fewer bytes while we write */
    _Alignas(8) uint8_t page[PAGE_CHECK_PAGE_SIZE];
};

static sqlite3_vfs *below;
static sqlite3_vfs vfs;
static _Thread_local struct page_damage damage;

static sqlite3_file *file_below(sqlite3_file *file)
{
    return (sqlite3_file *)((struct checked_file *)file + 1);
}

/* ---- one page ---- */

static uint32_t check_of(const uint8_t *page, sqlite3_int64 offset)
{
    uint8_t number[8];
    bytes_put_u64(number, (uint64_t)offset / PAGE_CHECK_PAGE_SIZE + 1);
    return crc32c_extend(crc32c(bytes_make(number, sizeof(number))), bytes_make(page, CHECKED_SIZE));
}

static void seal(uint8_t *page, sqlite3_int64 offset)
{
    bytes_put_u32(page + CHECKED_SIZE, check_of(page, offset));
    bytes_put_u32(page + CHECKED_SIZE + 4, PAGE_CHECK_MAGIC);
}

static int check(const struct checked_file *file, const uint8_t *page, sqlite3_int64 offset)
{
    if (bytes_get_u32(page + CHECKED_SIZE + 4) == PAGE_CHECK_MAGIC &&
        bytes_get_u32(page + CHECKED_SIZE) == check_of(page, offset))
        return SQLITE_OK;
    (void)snprintf(damage.path, sizeof(damage.path), "%s", file->path);
    damage.offset = (uint64_t)offset;
    return SQLITE_IOERR_DATA;
}

static bool is_page(int size, sqlite3_int64 offset)
{
    return size == PAGE_CHECK_PAGE_SIZE && offset % PAGE_CHECK_PAGE_SIZE == 0;
}

/* ---- reading ---- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_CHECK_PAGE_SIZE - 1) == 0;
}

/* SQLITE_IOERR_SHORT_READ, and zeros, behind the end of the file. */
static int read_page(struct checked_file *file, uint8_t *page, sqlite3_int64 offset)
{
    sqlite3_file *real = file_below(&file->base);
    int code = real->pMethods->xRead(real, page, PAGE_CHECK_PAGE_SIZE, offset);
    if (code == SQLITE_IOERR_SHORT_READ && is_zero(page))
        return code;
    return code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ ? check(file, page, offset) : code;
}

static int checked_read(sqlite3_file *base, void *to, int size, sqlite3_int64 offset)
{
    struct checked_file *file = (struct checked_file *)base;
    sqlite3_int64 start = offset - offset % PAGE_CHECK_PAGE_SIZE;
    if (is_page(size, offset))
        return read_page(file, to, offset);
    if (offset + size > start + PAGE_CHECK_PAGE_SIZE)
        return SQLITE_IOERR_DATA; /* pages of another size */
    int code = read_page(file, file->page, start);
    if (code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ)
        memcpy(to, file->page + (offset - start), (size_t)size);
    return code;
}

static int checked_fetch(sqlite3_file *base, sqlite3_int64 offset, int size, void **ret_page)
{
    sqlite3_file *real = file_below(base);
    int code = real->pMethods->xFetch(real, offset, size, ret_page);
    if (code != SQLITE_OK || !*ret_page)
        return code;
    code = is_page(size, offset) ? check((struct checked_file *)base, *ret_page, offset) : SQLITE_IOERR_DATA;
    if (code != SQLITE_OK) {
        (void)real->pMethods->xUnfetch(real, offset, *ret_page);
        *ret_page = NULL;
    }
    return code;
}

/* ---- writing ---- */

static int write_page(struct checked_file *file, sqlite3_int64 offset)
{
    sqlite3_file *real = file_below(&file->base);
    seal(file->page, offset);
    return real->pMethods->xWrite(real, file->page, PAGE_CHECK_PAGE_SIZE, offset);
}

/* Pages from the file's end to `end`, which somebody leaves out: empty ones. */
static int fill_up(struct checked_file *file, sqlite3_int64 end)
{
    sqlite3_file *real = file_below(&file->base);
    int code = end > file->size ? real->pMethods->xFileSize(real, &file->size) : SQLITE_OK;
    sqlite3_int64 at = file->size - file->size % PAGE_CHECK_PAGE_SIZE;
    for (; code == SQLITE_OK && at < end; at += PAGE_CHECK_PAGE_SIZE) {
        memset(file->page, 0, sizeof(file->page));
        code = write_page(file, at);
    }
    return code;
}

static int checked_write(sqlite3_file *base, const void *from, int size, sqlite3_int64 offset)
{
    struct checked_file *file = (struct checked_file *)base;
    if (!is_page(size, offset))
        return SQLITE_IOERR_WRITE; /* pages of another size: this is no file of ours */
    int code = fill_up(file, offset);
    if (code != SQLITE_OK)
        return code;
    memcpy(file->page, from, PAGE_CHECK_PAGE_SIZE);
    code = write_page(file, offset);
    if (code == SQLITE_OK && file->size < offset + size)
        file->size = offset + size;
    return code;
}

static int checked_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct checked_file *file = (struct checked_file *)base;
    sqlite3_file *real = file_below(base);
    int code = fill_up(file, size);
    file->size = 0; /* asked for when it matters */
    return code == SQLITE_OK ? real->pMethods->xTruncate(real, size) : code;
}

/* ---- the rest goes through ---- */

static int checked_close(sqlite3_file *base)
{
    sqlite3_file *real = file_below(base);
    int code = real->pMethods->xClose(real);
    base->pMethods = NULL;
    return code;
}

static int checked_control(sqlite3_file *base, int operation, void *argument)
{
    sqlite3_file *real = file_below(base);
    if (operation == SQLITE_FCNTL_SIZE_HINT)
        return SQLITE_OK; /* it would make pages without a checksum */
    return real->pMethods->xFileControl(real, operation, argument);
}

#define THROUGH(name, parameters, ...)                                                                       \
    static int checked_##name parameters                                                                     \
    {                                                                                                        \
        sqlite3_file *real = file_below(base);                                                               \
        return real->pMethods->name(__VA_ARGS__);                                                            \
    }
THROUGH(xSync, (sqlite3_file *base, int flags), real, flags)
THROUGH(xFileSize, (sqlite3_file *base, sqlite3_int64 *ret_size), real, ret_size)
THROUGH(xLock, (sqlite3_file *base, int level), real, level)
THROUGH(xUnlock, (sqlite3_file *base, int level), real, level)
THROUGH(xCheckReservedLock, (sqlite3_file *base, int *ret_held), real, ret_held)
THROUGH(xSectorSize, (sqlite3_file *base), real)
THROUGH(xDeviceCharacteristics, (sqlite3_file *base), real)
THROUGH(xShmMap, (sqlite3_file *base, int number, int size, int extend, void volatile **ret_region), real, number,
        size, extend, ret_region)
THROUGH(xShmLock, (sqlite3_file *base, int offset, int count, int flags), real, offset, count, flags)
THROUGH(xShmUnmap, (sqlite3_file *base, int remove), real, remove)
THROUGH(xUnfetch, (sqlite3_file *base, sqlite3_int64 offset, void *page), real, offset, page)

static void checked_xShmBarrier(sqlite3_file *base)
{
    sqlite3_file *real = file_below(base);
    real->pMethods->xShmBarrier(real);
}

static const sqlite3_io_methods checked_methods = {
    .iVersion = 3,
    .xClose = checked_close,
    .xRead = checked_read,
    .xWrite = checked_write,
    .xTruncate = checked_truncate,
    .xSync = checked_xSync,
    .xFileSize = checked_xFileSize,
    .xLock = checked_xLock,
    .xUnlock = checked_xUnlock,
    .xCheckReservedLock = checked_xCheckReservedLock,
    .xFileControl = checked_control,
    .xSectorSize = checked_xSectorSize,
    .xDeviceCharacteristics = checked_xDeviceCharacteristics,
    .xShmMap = checked_xShmMap,
    .xShmLock = checked_xShmLock,
    .xShmBarrier = checked_xShmBarrier,
    .xShmUnmap = checked_xShmUnmap,
    .xFetch = checked_fetch,
    .xUnfetch = checked_xUnfetch,
};

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
    struct checked_file *file = (struct checked_file *)base;
    (void)self;
    if (!(flags & SQLITE_OPEN_MAIN_DB) || !path)
        return below->xOpen(below, path, base, flags, ret_flags);
    *file = (struct checked_file){.path = path};
    int code = below->xOpen(below, path, file_below(base), flags, ret_flags);
    if (code != SQLITE_OK)
        return code;
    file->base.pMethods = &checked_methods;
    return SQLITE_OK;
}

/* ---- the VFS ---- */

static int registered = -ENOMEM;

static void register_once(void)
{
    /* SQLite's memory statistics put a lock of the whole process around every malloc(); nobody reads them. Refused, without
     * harm, when the process has used SQLite before. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    below = sqlite3_vfs_find(NULL);
    if (!below)
        return;
    vfs = *below;
    vfs.zName = PAGE_CHECK_VFS;
    vfs.szOsFile += (int)sizeof(struct checked_file);
    vfs.xOpen = open_file;
    vfs.pNext = NULL;
    registered = sqlite3_vfs_register(&vfs, 0) == SQLITE_OK ? 0 : -ENOMEM;
}

int page_check_register(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, register_once);
    return registered;
}

int page_check_prepare(sqlite3 *db)
{
    int reserved = PAGE_CHECK_SIZE;
    int code = sqlite3_exec(db, "pragma page_size = 4096", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    return code;
}

bool page_check_is_damage(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return true;
    case SQLITE_IOERR:
        return code == SQLITE_IOERR_DATA || code == SQLITE_IOERR_READ || code == SQLITE_IOERR_SHORT_READ ||
               code == SQLITE_IOERR_CORRUPTFS;
    default: return false;
    }
}

void page_check_forget(void)
{
    damage.path[0] = '\0';
}

const struct page_damage *page_check_damage(void)
{
    return &damage;
}
