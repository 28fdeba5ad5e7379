/* posting: the positions of one term, ascending, packed.
 *
 * Most terms have one position, a few have millions. The first and the last stand in the struct; the others are
 * differences in variable-length bytes, in blocks of POSTING_BLOCK_COUNT, each findable by its first position. {0} is a
 * valid empty list. Not thread-safe; the caller's lock lets many read or one add.
 *
 * A cursor walks a list in either direction. It keeps the block it stands in unpacked, so that the next position is
 * nearly always at hand, and it stays good while the list grows.
 */
#pragma once

#include "base/bytes.h"

enum { POSTING_BLOCK_COUNT = 64 };

struct posting_block {
    uint64_t first;
    uint64_t offset; /* of the second position's difference in `data` */
};

struct posting {
    uint64_t first, last; /* 0: empty */
    uint64_t count;
    uint8_t *data; /* differences */
    size_t size, capacity;
    struct posting_block *blocks; /* from the second on: the first is {first, 0} */
    size_t block_count, block_capacity;
};

/* Add a position above the last (asserted). 0, or -ENOMEM with the list as it was. */
_must_check_ int posting_add(struct posting *posting, uint64_t position);

/* Bytes held beside the struct. */
size_t posting_size(const struct posting *posting);

void posting_deinit(struct posting *posting);

struct posting_cursor {
    const struct posting *posting; /* NULL: an empty list */
    size_t block;                  /* unpacked: this one */
    size_t count;                  /* positions unpacked; 0: none yet */
    size_t at;                     /* where the last answer stands */
    uint64_t positions[POSTING_BLOCK_COUNT];
};

/* Set to a list; only this part of the cursor needs to be initialised. */
void posting_cursor_init(struct posting_cursor *cursor, const struct posting *posting);

/* The lowest position >= `from`, or 0; the highest <= `from`, or 0. */
uint64_t posting_next(struct posting_cursor *cursor, uint64_t from);
uint64_t posting_previous(struct posting_cursor *cursor, uint64_t from);

/* The position at `index`, from 0; 0 when there are fewer. */
uint64_t posting_at(struct posting_cursor *cursor, uint64_t index);
