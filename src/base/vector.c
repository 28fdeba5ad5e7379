#include "base/vector.h"

#include <stdlib.h>

#include "base/checked.h"

#define VECTOR_CAPACITY_FIRST 8

int vector_grow(void **data, size_t *capacity, size_t count, size_t item_size)
{
    size_t grown = *capacity ? *capacity : VECTOR_CAPACITY_FIRST;
    size_t size;
    void *moved;

    while (grown < count) {
        if (!checked_mul_size(grown, 2, &grown))
            return -ENOMEM;
    }
    if (!checked_mul_size(grown, item_size, &size))
        return -ENOMEM;
    moved = realloc(*data, size);
    if (!moved)
        return -ENOMEM;
    *data = moved;
    *capacity = grown;
    return 0;
}
