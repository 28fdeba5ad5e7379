#pragma once

/* row: the newest events as frames, as many as fit, for all subscribers together. Loop only, but for the figures.
 *
 *     journal:  1 2 3 4 5 6 7 8 9 10 11 12 13         the row holds all events after `floor`
 *                       ^        [floor=9  ^           a cursor ≥ floor walks the row; a lower one reads the journal
 *
 * Invariants:
 * F1 every event after `floor` up to `reached` is in the row, in order.
 * F3 a frame is freed when it has left the row and nobody is in the middle of sending it. */

#include "server/frame.h"

struct row {
    const struct server *server;
    struct journal_reader *reader; /* what is new; NULL: not begun, or no memory to begin with */
    struct frame **frames;
    size_t first, count, capacity; /* the row is frames[first … first + count) */
    size_t size;
    uint64_t floor, reached;                         /* F1 */
    atomic_uint_fast64_t encoded, frames_size_bytes; /* figures */
};

/* Begins with what comes after the head, unless it has begun. */
void row_begin(struct row *row);
/* Takes what is new from the journal; true: there is more than one turn's worth. */
bool row_take_new(struct row *row);
/* Forgets everything; row_begin() begins anew. */
void row_clear(struct row *row);
void row_deinit(struct row *row);

/* The first frame after a position, in *ret_index for row_at(); false: there is none in the row. */
bool row_find(const struct row *row, uint64_t after, size_t *ret_index);
/* NULL behind the last one. */
struct frame *row_at(const struct row *row, size_t index);
