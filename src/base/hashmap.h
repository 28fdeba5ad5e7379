#pragma once

/*
 * A table from 128-bit keys to 64-bit values (a number, or a pointer cast), in one flat array: open
 * addressing with linear probing, at most three quarters full, removal without tombstones. The keys are
 * hashes already; the table mixes them once more, so that keys that are merely distinct do as well.
 *
 * {0} is a valid empty map. Not thread-safe. A pointer to a value is good until the next insert or remove.
 */

#include "base/hash.h"

struct hashmap_slot {
    struct hash128 key;
    uint64_t value;
};

struct hashmap {
    struct hashmap_slot *slots;
    size_t count, capacity; /* capacity is 0 or a power of two; the key {0, 0} is kept apart, below */
    bool has_zero;
    uint64_t zero_value;
};

/* Walks a map: for (struct hashmap_cursor c = {0}; hashmap_next(map, &c);) … c.key … *c.value */
struct hashmap_cursor {
    struct hash128 key;
    uint64_t *value;
    size_t index;
};

/* Frees the memory; the map is empty and usable again. Right for _cleanup_. */
void hashmap_deinit(struct hashmap *map);

/* How many keys there are. */
size_t hashmap_count(const struct hashmap *map);

/* The value of the key, or NULL. */
uint64_t *hashmap_find(const struct hashmap *map, struct hash128 key);

/* The value of the key, which is put in with value 0 if it was not there. 0 or -ENOMEM. */
_must_check_ int hashmap_insert(struct hashmap *map, struct hash128 key, uint64_t **ret_value);

/* Sets the value of the key, old or new. 0 or -ENOMEM. */
_must_check_ int hashmap_put(struct hashmap *map, struct hash128 key, uint64_t value);

/* Makes room for `count` keys in all, so that inserting them cannot fail. 0 or -ENOMEM. */
_must_check_ int hashmap_reserve(struct hashmap *map, size_t count);

/* Whether the key was there. */
bool hashmap_remove(struct hashmap *map, struct hash128 key);

/* Steps to the next key, in no particular order; false at the end. The map must not change meanwhile. */
bool hashmap_next(struct hashmap *map, struct hashmap_cursor *cursor);
