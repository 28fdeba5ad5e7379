/* The formats: https://www.sqlite.org/walformat.html; the -shm file is in the byte order of the machine. */
#include "view/wal_check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/file.h"

enum {
    HEADER_SIZE = 32,
    FRAME_HEAD_SIZE = 24,
    SALT_OFFSET = 16,       /* in the header */
    SALT_SIZE = 8,
    FRAME_SALT_OFFSET = 8,  /* in a frame's head */
    SUM_OFFSET = 24,        /* of what stands before it in the header */
    FRAME_SUM_OFFSET = 16,
    SHM_COPIED_OFFSET = 128, /* nBackfillAttempted */
    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 65536,
};
#define WAL_MAGIC UINT32_C(0x377f0682)

/* The file, read frame by frame. */
struct wal {
    int file;
    bool big_endian; /* what the checksums take words as */
    uint32_t sum[2];
    uint8_t header[HEADER_SIZE];
    size_t frame_size;
    uint8_t frame[FRAME_HEAD_SIZE + PAGE_SIZE_MAX];
};

static uint32_t get_u32_big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t get_word(const struct wal *wal, const uint8_t *p)
{
    return wal->big_endian ? get_u32_big(p) : bytes_get_u32(p);
}

static void add(struct wal *wal, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 8 <= size; at += 8) {
        wal->sum[0] += get_word(wal, data + at) + wal->sum[1];
        wal->sum[1] += get_word(wal, data + at + 4) + wal->sum[0];
    }
}

static bool sum_is(const struct wal *wal, const uint8_t *stored)
{
    return get_u32_big(stored) == wal->sum[0] && get_u32_big(stored + 4) == wal->sum[1];
}

/* Whether so many bytes stand there. */
static bool read_at(const struct wal *wal, uint64_t offset, uint8_t *to, size_t size)
{
    size_t read = 0;
    return os_file_read_full(os_file_real(), wal->file, to, size, offset, &read) == 0 && read == size;
}

static bool take_header(struct wal *wal)
{
    uint32_t magic = get_u32_big(wal->header), page_size = get_u32_big(wal->header + 8);
    wal->big_endian = magic & 1;
    if ((magic & ~1u) != WAL_MAGIC || page_size < PAGE_SIZE_MIN || page_size > PAGE_SIZE_MAX || page_size % 8 != 0)
        return false;
    wal->frame_size = FRAME_HEAD_SIZE + page_size;
    add(wal, wal->header, SUM_OFFSET);
    return sum_is(wal, wal->header + SUM_OFFSET);
}

/* How many frames hold; *ret_torn: there are others behind them that were written after the header. */
static uint64_t count_frames(struct wal *wal, bool *ret_torn)
{
    uint64_t count = 0;
    bool holds = true;
    *ret_torn = false;
    for (uint64_t at = HEADER_SIZE; read_at(wal, at, wal->frame, wal->frame_size); at += wal->frame_size) {
        if (memcmp(wal->frame + FRAME_SALT_OFFSET, wal->header + SALT_OFFSET, SALT_SIZE) != 0) {
            holds = false;
            continue;
        }
        add(wal, wal->frame, 8);
        add(wal, wal->frame + FRAME_HEAD_SIZE, wal->frame_size - FRAME_HEAD_SIZE);
        holds = holds && sum_is(wal, wal->frame + FRAME_SUM_OFFSET);
        count += holds;
        *ret_torn |= !holds;
    }
    return count;
}

static int open_beside(const char *path, const char *ending, int *ret_file)
{
    char name[OS_PATH_SIZE_MAX];
    if ((size_t)snprintf(name, sizeof(name), "%s%s", path, ending) >= sizeof(name))
        return -ENAMETOOLONG;
    return os_file_real()->open(os_file_real(), name, OS_FILE_READ, ret_file);
}

/* Frames that may have been copied into the file; all, when nothing says so. */
static uint64_t copied_frames(const char *path)
{
    uint32_t copied;
    size_t size = 0;
    int file;
    if (open_beside(path, "-shm", &file) < 0)
        return UINT64_MAX;
    int r = os_file_read_full(os_file_real(), file, &copied, sizeof(copied), SHM_COPIED_OFFSET, &size);
    (void)os_file_real()->close(os_file_real(), file);
    return r < 0 || size < sizeof(copied) ? UINT64_MAX : copied;
}

static bool holds(struct wal *wal, const char *path)
{
    bool torn = true;
    uint64_t whole = 0;
    if (!read_at(wal, 0, wal->header, sizeof(wal->header)))
        return true; /* nothing was written yet */
    if (take_header(wal))
        whole = count_frames(wal, &torn);
    return !torn || whole >= copied_frames(path);
}

bool wal_check_holds(const char *path)
{
    _cleanup_(freep) struct wal *wal = calloc(1, sizeof(*wal));
    if (!wal)
        return false;
    if (open_beside(path, "-wal", &wal->file) < 0)
        return true;
    bool whole = holds(wal, path);
    (void)os_file_real()->close(os_file_real(), wal->file);
    return whole;
}
