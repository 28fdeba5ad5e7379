/* arena: memory that is given out piece by piece and taken back all at once.
 *
 * A batch of appends needs many small pieces that all die together when it has been answered. {0} is a valid empty
 * arena. Pieces are aligned to 16 bytes and never move. Not thread-safe.
 */
#pragma once

#include "base/bytes.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* the newest first */
    size_t used;                /* bytes of the newest */
    size_t size;                /* bytes held from malloc, all chunks */
};

/* `size` bytes, not zeroed, or NULL when there is no memory. Size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);

/* `count` pieces of `size` bytes side by side, zeroed; NULL when there is no memory or the product is too large. */
void *arena_alloc_array(struct arena *arena, size_t count, size_t size);

/* A copy of the bytes: 0, or -ENOMEM with *ret_copy untouched. */
_must_check_ int arena_copy(struct arena *arena, struct bytes bytes, struct bytes *ret_copy);

/* Takes every piece back and keeps one chunk for what comes next. */
void arena_reset(struct arena *arena);

/* Frees everything; the arena is empty and usable again. */
void arena_deinit(struct arena *arena);
