/* Hostile bytes as what a run is made of: a header, an entry, a chunk, and a whole file that was sealed with good checksums
 * around them. Whatever comes: no read outside, no endless loop, and what is unpacked ascends. */
#include <assert.h>
#include <stdlib.h>

#include "journal/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[16] = "0123456789abcdef";

/* ---- a file of these bytes ---- */

static struct bytes file_content;

static int memory_open(const struct os_file_ops *ops, const char *path, unsigned flags, int *ret_file)
{
    *ret_file = 0;
    return 0;
}

static int memory_close(const struct os_file_ops *ops, int file)
{
    return 0;
}

static int memory_pread(const struct os_file_ops *ops, int file, void *to, size_t size, uint64_t offset,
                        size_t *ret_size)
{
    struct bytes part =
        offset < file_content.size ? bytes_slice(file_content, (size_t)offset, size) : (struct bytes){0};
    if (part.size > 0)
        memcpy(to, part.data, part.size);
    *ret_size = part.size;
    return 0;
}

static int memory_size(const struct os_file_ops *ops, int file, uint64_t *ret_size)
{
    *ret_size = file_content.size;
    return 0;
}

static const struct os_file_ops memory_ops = {
    .open = memory_open, .close = memory_close, .pread = memory_pread, .size = memory_size};

/* ---- the parts ---- */

static void fuzz_entries(struct bytes rest)
{
    struct run_entry entry;
    while (rest.size > 0 && run_entry_get(&rest, &entry) == 0) {
        uint8_t again[RUN_BLOCK_SIZE];
        if (run_entry_size(&entry) > sizeof(again))
            continue;
        struct bytes written = bytes_make(again, (size_t)(run_entry_put(again, &entry) - again));
        struct run_entry same;
        assert(written.size == run_entry_size(&entry));
        assert(run_entry_get(&written, &same) == 0 && run_entry_compare(&entry, &same) == 0);
        assert(same.count == entry.count && same.first == entry.first && same.last == entry.last);
    }
}

static void fuzz_chunk(struct bytes chunk, uint32_t count, uint32_t first)
{
    uint32_t positions[RUN_GROUP_COUNT], group, unpacked;
    if (run_chunk_find(chunk, count, first, first + 1000, &group) < 0)
        return;
    if (run_chunk_unpack(chunk, count, first, group, positions, &unpacked) == 0)
        for (uint32_t i = 1; i < unpacked; i++)
            assert(positions[i] > positions[i - 1]);
}

/* Each block gets the checksum that makes it one of this run, whatever stands in it. */
static void seal(uint8_t *file, size_t blocks, uint64_t first, uint64_t last)
{
    uint32_t seed = run_seed(key, first, last);
    for (size_t i = 1; i < blocks; i++) {
        uint8_t *block = file + i * RUN_BLOCK_SIZE;
        run_block_seal(block, (enum run_block_kind)(block[0] % 8), bytes_get_u16(block + 2), (uint32_t)i, seed);
    }
}

static void ask(struct run *run, struct bytes bytes)
{
    for (size_t at = 0; at + 8 <= bytes.size && at < 512; at += 8) {
        struct run_postings postings;
        uint64_t position, term = bytes_get_u64(bytes.data + at);
        if (run_find_place(run, term, 0, &position) == 0 && position != 0)
            assert(position >= run->header.first && position <= run->header.last);
        if (run_find_time(run, (int64_t)term, &position) == 0 && position != 0)
            assert(position >= run->header.first && position <= run->header.last);
        if (run_find_term(run, term, &postings) != 0)
            continue;
        struct run_cursor cursor;
        run_cursor_init(&cursor, run, &postings);
        for (uint64_t from = run->header.first, i = 0; i < 300; i++, from = position + 1)
            if (run_cursor_next(&cursor, from, &position) < 0 || position == 0)
                break;
            else
                assert(position >= from);
        if (run_cursor_previous(&cursor, run->header.last, &position) == 0)
            assert(position <= run->header.last);
        if (run_cursor_at(&cursor, term % 1000, &position) == 0 && position != 0)
            assert(position >= run->header.first);
    }
}

static void fuzz_file(struct bytes bytes)
{
    enum { BLOCKS = 12 };
    static uint8_t file[BLOCKS * RUN_BLOCK_SIZE];
    struct block_cache *cache;
    struct run *run;
    if (bytes.size < 8)
        return;
    memset(file, 0, sizeof(file));
    for (size_t i = 0; i < sizeof(file) - RUN_BLOCK_SIZE; i++)
        file[RUN_BLOCK_SIZE + i] = i < bytes.size ? bytes.data[i] : 0;
    struct run_header header = {.first = 1, .last = 32768, .place_count = bytes.data[0], .term_filter = 1};
    uint32_t *const starts[] = {&header.place_filter, &header.times,  &header.places,
                                &header.data,         &header.guides, &header.tops};
    uint32_t start = 1;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        start += bytes.data[i + 1] % 3;
        *starts[i] = start < BLOCKS ? start : BLOCKS;
        start = *starts[i];
    }
    header.block_count = BLOCKS;
    seal(file, BLOCKS, header.first, header.last);
    run_header_put(&header, key, file);
    file_content = bytes_make(file, sizeof(file));
    if (block_cache_new(0, &cache) < 0)
        return;
    if (run_open(&memory_ops, "", 1, 32768, key, cache, &run) == 0) {
        ask(run, bytes);
        run_unref(run);
    }
    block_cache_free(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run_header header;
    uint8_t block[RUN_BLOCK_SIZE] = {0};
    memcpy(block, data, size < sizeof(block) ? size : sizeof(block));
    if (run_header_get(block, key, &header) == 0)
        assert(header.first <= header.last);
    fuzz_entries(bytes_make(data, size));
    if (size >= 8)
        fuzz_chunk(bytes_make(data + 8, size - 8), bytes_get_u32(data), bytes_get_u32(data + 4));
    fuzz_file(bytes_make(data, size));
    return 0;
}
