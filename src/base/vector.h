#pragma once

/*
 * Growing an array kept as a pointer, a count and a capacity in the caller's own struct:
 *
 *     struct item *items; size_t items_count, items_capacity;
 *     r = vector_reserve(&items, &items_capacity, items_count + 1);
 *     if (r < 0) return r;
 *     items[items_count++] = item;
 */

#include <stddef.h>

#include "base/error.h"

/* Makes room for `count` items in all. 0, or -ENOMEM with the array as it was. */
#define vector_reserve(pointer, capacity, count)                                                             \
    vector_reserve_raw((void **)(pointer), (capacity), (count), sizeof(**(pointer)))

_must_check_ int vector_grow(void **data, size_t *capacity, size_t count, size_t item_size);

static inline int vector_reserve_raw(void **data, size_t *capacity, size_t count, size_t item_size)
{
    return count <= *capacity ? 0 : vector_grow(data, capacity, count, item_size);
}
