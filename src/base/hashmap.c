#include "base/hashmap.h"

#include <assert.h>
#include <stdlib.h>

#include "base/checked.h"

#define HASHMAP_CAPACITY_FIRST 16

static bool is_zero(struct hash128 key)
{
    return key.low == 0 && key.high == 0;
}

/* Where a key belongs: the high bits of a product depend on all of the key. */
static size_t home(const struct hashmap *map, struct hash128 key)
{
    uint64_t mixed = (key.low ^ (key.high << 32 | key.high >> 32)) * UINT64_C(0x9e3779b97f4a7c15);

    return (size_t)(mixed >> 20) & (map->capacity - 1);
}

/* The slot that holds the key, or the empty one where it would go. There is always an empty one. */
static struct hashmap_slot *probe(const struct hashmap *map, struct hash128 key)
{
    size_t index = home(map, key);

    assert(map->count < map->capacity);
    while (!is_zero(map->slots[index].key) && !hash128_equal(map->slots[index].key, key))
        index = (index + 1) & (map->capacity - 1);
    return &map->slots[index];
}

void hashmap_deinit(struct hashmap *map)
{
    free(map->slots);
    *map = (struct hashmap){0};
}

size_t hashmap_count(const struct hashmap *map)
{
    return map->count + map->has_zero;
}

uint64_t *hashmap_find(const struct hashmap *map, struct hash128 key)
{
    struct hashmap_slot *slot;

    if (is_zero(key))
        return map->has_zero ? (uint64_t *)&map->zero_value : NULL;
    if (map->count == 0)
        return NULL;
    slot = probe(map, key);
    return is_zero(slot->key) ? NULL : &slot->value;
}

int hashmap_reserve(struct hashmap *map, size_t count)
{
    struct hashmap grown = *map;

    if (grown.capacity == 0)
        grown.capacity = HASHMAP_CAPACITY_FIRST;
    while (count > grown.capacity / 4 * 3) {
        if (!checked_mul_size(grown.capacity, 2, &grown.capacity))
            return -ENOMEM;
    }
    if (grown.capacity == map->capacity)
        return 0;
    grown.slots = calloc(grown.capacity, sizeof(*grown.slots));
    if (!grown.slots)
        return -ENOMEM;
    for (size_t i = 0; i < map->capacity; i++) {
        if (!is_zero(map->slots[i].key))
            *probe(&grown, map->slots[i].key) = map->slots[i];
    }
    free(map->slots);
    *map = grown;
    return 0;
}

int hashmap_insert(struct hashmap *map, struct hash128 key, uint64_t **ret_value)
{
    struct hashmap_slot *slot;
    int r;

    if (is_zero(key)) {
        if (!map->has_zero)
            map->zero_value = 0;
        map->has_zero = true;
        *ret_value = &map->zero_value;
        return 0;
    }
    r = hashmap_reserve(map, map->count + 1);
    if (r < 0)
        return r;
    slot = probe(map, key);
    if (is_zero(slot->key)) {
        *slot = (struct hashmap_slot){.key = key};
        map->count++;
    }
    *ret_value = &slot->value;
    return 0;
}

int hashmap_put(struct hashmap *map, struct hash128 key, uint64_t value)
{
    uint64_t *to;
    int r = hashmap_insert(map, key, &to);

    if (r < 0)
        return r;
    *to = value;
    return 0;
}

/* Moves later keys of the same run into the hole, as far as their home allows, so that no search ends early.
 */
static void close_hole(struct hashmap *map, size_t hole)
{
    size_t mask = map->capacity - 1;

    for (size_t i = (hole + 1) & mask; !is_zero(map->slots[i].key); i = (i + 1) & mask) {
        size_t from_home = (i - home(map, map->slots[i].key)) & mask;

        if (from_home >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct hashmap_slot){0};
}

bool hashmap_remove(struct hashmap *map, struct hash128 key)
{
    struct hashmap_slot *slot;

    if (is_zero(key)) {
        bool had = map->has_zero;

        map->has_zero = false;
        return had;
    }
    if (map->count == 0)
        return false;
    slot = probe(map, key);
    if (is_zero(slot->key))
        return false;
    close_hole(map, (size_t)(slot - map->slots));
    map->count--;
    return true;
}

bool hashmap_next(struct hashmap *map, struct hashmap_cursor *cursor)
{
    while (cursor->index < map->capacity) {
        struct hashmap_slot *slot = &map->slots[cursor->index++];

        if (is_zero(slot->key))
            continue;
        cursor->key = slot->key;
        cursor->value = &slot->value;
        return true;
    }
    if (cursor->index > map->capacity || !map->has_zero)
        return false;
    cursor->index = map->capacity + 1;
    cursor->key = (struct hash128){0};
    cursor->value = &map->zero_value;
    return true;
}
