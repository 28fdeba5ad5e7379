/* Differences are LEB128: seven bits a byte, the lowest first, the top bit says that another follows. A difference is at
 * least 1. Block b holds the positions b * POSTING_BLOCK_COUNT and up; the first of each stands in `blocks` and not in
 * `data`. */

#include "journal/posting.h"

#include <assert.h>
#include <stdlib.h>

#include "base/vector.h"

enum { DIFFERENCE_SIZE_MAX = 10 };

static size_t put_difference(uint8_t *to, uint64_t value)
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        to[size++] = (uint8_t)(value | 0x80);
    to[size++] = (uint8_t)value;
    return size;
}

static const uint8_t *get_difference(const uint8_t *from, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *from++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    *ret_value = value;
    return from;
}

int posting_add(struct posting *posting, uint64_t position)
{
    assert(position > posting->last);
    if (posting->count == 0) {
        posting->first = position;
    } else if (posting->count % POSTING_BLOCK_COUNT == 0) {
        int r = vector_reserve(&posting->blocks, &posting->block_capacity, posting->block_count + 1);
        if (r < 0)
            return r;
        posting->blocks[posting->block_count++] =
            (struct posting_block){.first = position, .offset = posting->size};
    } else {
        int r = vector_reserve(&posting->data, &posting->capacity, posting->size + DIFFERENCE_SIZE_MAX);
        if (r < 0)
            return r;
        posting->size += put_difference(posting->data + posting->size, position - posting->last);
    }
    posting->last = position;
    posting->count++;
    return 0;
}

size_t posting_size(const struct posting *posting)
{
    return posting->capacity + posting->block_capacity * sizeof(*posting->blocks);
}

void posting_deinit(struct posting *posting)
{
    free(posting->data);
    free(posting->blocks);
    *posting = (struct posting){0};
}

/* ---- cursor ---- */

static size_t block_count(const struct posting *posting)
{
    return posting->count > 0 ? posting->block_count + 1 : 0;
}

static struct posting_block block_at(const struct posting *posting, size_t block)
{
    return block == 0 ? (struct posting_block){.first = posting->first} : posting->blocks[block - 1];
}

static size_t count_in_block(const struct posting *posting, size_t block)
{
    uint64_t left = posting->count - (uint64_t)block * POSTING_BLOCK_COUNT;
    return left < POSTING_BLOCK_COUNT ? (size_t)left : POSTING_BLOCK_COUNT;
}

/* Unpack `block` unless it is there already, as whole as it is now: the last block grows. */
static void unpack(struct posting_cursor *cursor, size_t block)
{
    const struct posting *posting = cursor->posting;
    size_t count = count_in_block(posting, block);
    if (cursor->count > 0 && cursor->block == block && cursor->count == count)
        return;
    struct posting_block start = block_at(posting, block);
    const uint8_t *from = posting->data ? posting->data + start.offset : NULL;
    uint64_t position = start.first;
    cursor->positions[0] = position;
    for (size_t i = 1; i < count; i++) {
        uint64_t difference;
        from = get_difference(from, &difference);
        position += difference;
        cursor->positions[i] = position;
    }
    if (cursor->block != block)
        cursor->at = 0;
    cursor->block = block;
    cursor->count = count;
}

/* The last block whose first position is not above `position`; 0 when none is. */
static size_t find_block(const struct posting *posting, uint64_t position)
{
    size_t low = 0, high = block_count(posting) - 1;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (posting->blocks[middle - 1].first <= position)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void posting_cursor_init(struct posting_cursor *cursor, const struct posting *posting)
{
    cursor->posting = posting;
    cursor->block = 0;
    cursor->count = 0;
    cursor->at = 0;
}

/* How many positions of the unpacked block are below `from`. Most calls step one further. */
static size_t count_below(struct posting_cursor *cursor, uint64_t from)
{
    size_t low = 0, high = cursor->count;
    if (cursor->at < cursor->count && cursor->positions[cursor->at] < from) {
        low = cursor->at + 1;
        if (low == cursor->count || cursor->positions[low] >= from)
            return low;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cursor->positions[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t posting_next(struct posting_cursor *cursor, uint64_t from)
{
    const struct posting *posting = cursor->posting;
    if (!posting || posting->last < from || posting->count == 0)
        return 0;
    if (from <= posting->first)
        from = posting->first;
    bool here =
        cursor->count > 0 && cursor->positions[0] <= from && cursor->positions[cursor->count - 1] >= from;
    if (!here)
        unpack(cursor, find_block(posting, from));
    size_t below = count_below(cursor, from);
    if (below == cursor->count) {
        /* `from` lies between this block and the next; there is one, because last >= from. */
        assert(cursor->block + 1 < block_count(posting));
        unpack(cursor, cursor->block + 1);
        below = 0;
    }
    cursor->at = below;
    return cursor->positions[below];
}

uint64_t posting_previous(struct posting_cursor *cursor, uint64_t from)
{
    const struct posting *posting = cursor->posting;
    if (!posting || posting->count == 0 || from < posting->first)
        return 0;
    if (from > posting->last)
        from = posting->last;
    bool here =
        cursor->count > 0 && cursor->positions[0] <= from && cursor->positions[cursor->count - 1] >= from;
    if (!here)
        unpack(cursor, find_block(posting, from));
    /* The block begins at or below `from`: find_block() answers block 0 only for from >= first. */
    size_t below = from == UINT64_MAX ? cursor->count : count_below(cursor, from + 1);
    assert(below > 0);
    cursor->at = below - 1;
    return cursor->positions[below - 1];
}

uint64_t posting_at(struct posting_cursor *cursor, uint64_t index)
{
    if (!cursor->posting || index >= cursor->posting->count)
        return 0;
    unpack(cursor, (size_t)(index / POSTING_BLOCK_COUNT));
    cursor->at = (size_t)(index % POSTING_BLOCK_COUNT);
    return cursor->positions[cursor->at];
}
