/* Chunks from malloc, linked. A piece larger than a quarter of the usual chunk gets a chunk for itself, put behind the
 * newest one, so that what is left of that is not wasted. */

#include "journal/arena.h"

#include <assert.h>
#include <stdlib.h>

#include "base/checked.h"

enum {
    ARENA_ALIGN = 16,
    ARENA_CHUNK_SIZE = 64 * 1024,
    ARENA_CHUNK_SIZE_FIRST = 960, /* an everyday append needs no more, and malloc() is at its fastest below 1 KiB */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

static struct arena_chunk *chunk_new(struct arena *arena, size_t size)
{
    size_t whole;
    if (!checked_add_size(size, sizeof(struct arena_chunk), &whole))
        return NULL;
    struct arena_chunk *chunk = malloc(whole);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->size = size;
    arena->size += whole;
    return chunk;
}

static void *alloc_large(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = chunk_new(arena, size);
    if (!chunk)
        return NULL;
    if (arena->chunks) {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    } else {
        arena->chunks = chunk;
        arena->used = size;
    }
    return chunk->data;
}

/* Each chunk is four times as large as the one before, up to the usual size. */
static size_t next_size(const struct arena *arena, size_t needed)
{
    size_t size = arena->chunks ? arena->chunks->size * 4 : ARENA_CHUNK_SIZE_FIRST;
    return size < needed || size > ARENA_CHUNK_SIZE ? ARENA_CHUNK_SIZE : size;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (!checked_add_size(size, ARENA_ALIGN - 1, &size))
        return NULL;
    size &= ~(size_t)(ARENA_ALIGN - 1);
    if (size > ARENA_CHUNK_SIZE / 4)
        return alloc_large(arena, size);
    if (!arena->chunks || arena->chunks->size - arena->used < size) {
        struct arena_chunk *chunk = chunk_new(arena, next_size(arena, size));
        if (!chunk)
            return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->used = 0;
    }
    void *piece = arena->chunks->data + arena->used;
    arena->used += size;
    assert(arena->used <= arena->chunks->size);
    return piece;
}

void *arena_alloc_array(struct arena *arena, size_t count, size_t size)
{
    size_t whole;
    if (!checked_mul_size(count, size, &whole))
        return NULL;
    void *piece = arena_alloc(arena, whole);
    if (piece)
        memset(piece, 0, whole);
    return piece;
}

int arena_copy(struct arena *arena, struct bytes bytes, struct bytes *ret_copy)
{
    uint8_t *copy = arena_alloc(arena, bytes.size);
    if (!copy)
        return -ENOMEM;
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    *ret_copy = bytes_make(copy, bytes.size);
    return 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = NULL;
    for (struct arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        if (!kept && chunk->size <= ARENA_CHUNK_SIZE)
            kept = chunk;
        else
            free(chunk);
    }
    if (kept)
        kept->next = NULL;
    arena->chunks = kept;
    arena->used = 0;
    arena->size = kept ? sizeof(*kept) + kept->size : 0;
}

void arena_deinit(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *arena = (struct arena){0};
}
