/* Positions of one term in one run. A list is a chunk in the entry, or blocks with a chunk each, which know their first
 * position and its number in the list; so any place is found by halving. */

#include <assert.h>

#include "journal/run.h"

void run_cursor_init(struct run_cursor *cursor, struct run *run, const struct run_postings *postings)
{
    cursor->run = run;
    cursor->postings = *postings;
    cursor->block = 0;
    cursor->ordinal = 0;
    cursor->count = 0;
}

static int damaged(struct run_cursor *cursor)
{
    atomic_store_explicit(&cursor->run->damaged, true, memory_order_relaxed);
    return -EBADMSG;
}

/* ---- blocks of postings ---- */

struct block {
    uint8_t bytes[RUN_BLOCK_SIZE];
};

static int read_block(struct run_cursor *cursor, uint32_t number, enum run_block_kind kind, struct block *block)
{
    struct run *run = cursor->run;
    uint32_t count;
    if (!block_cache_get(run->cache, run->serial, number, 0, RUN_BLOCK_SIZE, block->bytes)) {
        int r = run_read_block(run, kind, number, block->bytes, &count);
        if (r < 0)
            return r;
        block_cache_put(run->cache, run->serial, number, block->bytes);
    }
    return bytes_get_u16(block->bytes) == (uint16_t)kind ? 0 : damaged(cursor);
}

static int enter_block(struct run_cursor *cursor, uint32_t number, struct block *block)
{
    int r = read_block(cursor, number, RUN_POSTINGS, block);
    if (r < 0)
        return r;
    cursor->block = number;
    cursor->block_count = bytes_get_u16(block->bytes + 2);
    cursor->block_first = bytes_get_u32(block->bytes + RUN_BLOCK_HEAD_SIZE);
    cursor->block_ordinal = bytes_get_u32(block->bytes + RUN_BLOCK_HEAD_SIZE + 4);
    cursor->count = 0;
    return cursor->block_count > 0 ? 0 : damaged(cursor);
}

/* Enter the last block whose first position (or its number in the list) is not above `wanted`, or the first block. */
static int find_block(struct run_cursor *cursor, uint32_t wanted, bool by_number, struct block *block)
{
    uint32_t low = 0, high = cursor->postings.blocks - 1;
    if (by_number && cursor->block > 0 && wanted >= cursor->block_ordinal &&
        wanted - cursor->block_ordinal < cursor->block_count)
        return read_block(cursor, cursor->block, RUN_POSTINGS, block);
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        int r = enter_block(cursor, cursor->postings.block + middle, block);
        if (r < 0)
            return r;
        if ((by_number ? cursor->block_ordinal : cursor->block_first) <= wanted)
            low = middle;
        else
            high = middle - 1;
    }
    uint32_t number = cursor->postings.block + low;
    return cursor->block == number ? read_block(cursor, number, RUN_POSTINGS, block)
                                   : enter_block(cursor, number, block);
}

/* ---- groups ---- */

static bool is_short(const struct run_cursor *cursor)
{
    return cursor->postings.count <= 2;
}

static void unpack_short(struct run_cursor *cursor)
{
    cursor->count = cursor->postings.count;
    cursor->ordinal = 0;
    cursor->positions[0] = cursor->postings.first;
    if (cursor->count == 2)
        cursor->positions[1] = cursor->postings.last;
}

/* The chunk that holds the place, and what is known of it. */
struct chunk {
    struct bytes bytes;
    uint32_t count, first;
};

static int load_chunk(struct run_cursor *cursor, uint32_t wanted, bool by_number, struct block *block,
                      struct chunk *ret_chunk)
{
    const struct run_postings *postings = &cursor->postings;
    int r;
    if (postings->blocks == 0) {
        r = read_block(cursor, postings->block, RUN_TERMS, block);
        cursor->block_ordinal = 0;
        *ret_chunk = (struct chunk){.bytes = bytes_make(block->bytes + postings->chunk_offset, postings->chunk_size),
                                    .count = postings->count,
                                    .first = postings->first};
        return r;
    }
    r = find_block(cursor, wanted, by_number, block);
    if (r == 0)
        *ret_chunk = (struct chunk){.bytes = bytes_make(block->bytes + RUN_BLOCK_HEAD_SIZE + RUN_POSTING_HEAD_SIZE,
                                                        RUN_CHUNK_SIZE_MAX),
                                    .count = cursor->block_count,
                                    .first = cursor->block_first};
    return r;
}

/* Unpack the group of the last position (or number) that is not above `wanted`, or the first. */
static int unpack(struct run_cursor *cursor, uint32_t wanted, bool by_number)
{
    struct block block;
    struct chunk chunk = {0};
    uint32_t group = 0;
    if (is_short(cursor)) {
        unpack_short(cursor);
        return 0;
    }
    int r = load_chunk(cursor, wanted, by_number, &block, &chunk);
    if (r < 0)
        return r;
    if (!by_number)
        r = run_chunk_find(chunk.bytes, chunk.count, chunk.first, wanted, &group);
    else if (wanted >= cursor->block_ordinal)
        group = (wanted - cursor->block_ordinal) / RUN_GROUP_COUNT;
    if (r == 0)
        r = run_chunk_unpack(chunk.bytes, chunk.count, chunk.first, group, cursor->positions, &cursor->count);
    cursor->ordinal = cursor->block_ordinal + group * RUN_GROUP_COUNT;
    if (r < 0)
        cursor->count = 0;
    return r < 0 ? damaged(cursor) : 0;
}

static uint32_t count_below(const struct run_cursor *cursor, uint32_t from)
{
    uint32_t low = 0, high = cursor->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cursor->positions[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_here(const struct run_cursor *cursor, uint32_t from)
{
    return cursor->count > 0 && cursor->positions[0] <= from && cursor->positions[cursor->count - 1] >= from;
}

/* ---- asking ---- */

int run_cursor_next(struct run_cursor *cursor, uint64_t from, uint64_t *ret_position)
{
    const struct run_postings *postings = &cursor->postings;
    uint64_t base = cursor->run->header.first;
    *ret_position = 0;
    if (postings->count == 0 || from > base + postings->last)
        return 0;
    uint32_t offset = from <= base + postings->first ? postings->first : (uint32_t)(from - base);
    int r = is_here(cursor, offset) ? 0 : unpack(cursor, offset, false);
    if (r < 0)
        return r;
    uint32_t below = count_below(cursor, offset);
    if (below == cursor->count) {
        r = unpack(cursor, cursor->ordinal + cursor->count, true);
        below = 0;
        if (r == 0 && (cursor->count == 0 || cursor->positions[0] < offset))
            r = damaged(cursor);
    }
    if (r == 0)
        *ret_position = base + cursor->positions[below];
    return r;
}

int run_cursor_previous(struct run_cursor *cursor, uint64_t from, uint64_t *ret_position)
{
    const struct run_postings *postings = &cursor->postings;
    uint64_t base = cursor->run->header.first;
    *ret_position = 0;
    if (postings->count == 0 || from < base + postings->first)
        return 0;
    uint32_t offset = from >= base + postings->last ? postings->last : (uint32_t)(from - base);
    int r = is_here(cursor, offset) ? 0 : unpack(cursor, offset, false);
    if (r < 0)
        return r;
    uint32_t below = count_below(cursor, offset);
    bool exact = below < cursor->count && cursor->positions[below] == offset;
    if (!exact && below == 0)
        return damaged(cursor);
    *ret_position = base + cursor->positions[exact ? below : below - 1];
    return 0;
}

int run_cursor_at(struct run_cursor *cursor, uint64_t index, uint64_t *ret_position)
{
    *ret_position = 0;
    if (index >= cursor->postings.count)
        return 0;
    bool here = cursor->count > 0 && index >= cursor->ordinal && index - cursor->ordinal < cursor->count;
    int r = here ? 0 : unpack(cursor, (uint32_t)index, true);
    if (r < 0)
        return r;
    if (index < cursor->ordinal || index - cursor->ordinal >= cursor->count)
        return damaged(cursor);
    *ret_position = cursor->run->header.first + cursor->positions[index - cursor->ordinal];
    return 0;
}
