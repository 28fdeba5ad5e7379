/* places: a table from hashes to positions, for things that are there once: event ids and idempotency keys.
 *
 * 16 bytes an entry and no more; several positions may stand under one hash, and the caller looks at each. {0} is a valid
 * empty table. Not thread-safe; many may look, or one may add.
 */
#pragma once

#include "base/bytes.h"

struct place {
    uint64_t hash;
    uint64_t position; /* 0: free */
};

struct places {
    struct place *slots;
    size_t capacity; /* 0 or a power of two */
    size_t count;
};

/* 0, or -ENOMEM with the table as it was. */
_must_check_ int places_add(struct places *places, uint64_t hash, uint64_t position);

/* The next position under `hash`, 0: no more. *at begins as places_begin(). */
size_t places_begin(const struct places *places, uint64_t hash);
uint64_t places_next(const struct places *places, uint64_t hash, size_t *at);

void places_deinit(struct places *places);
