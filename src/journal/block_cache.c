/* Sets of WAY_COUNT frames; a block may stand in one set only, so one small lock guards a look. In a set a hand goes round
 * and takes the first frame that was not used since it last passed (CLOCK). */

#include "journal/block_cache.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "os/thread.h"

enum { WAY_COUNT = 8 };

struct frame {
    uint64_t serial;
    uint32_t number; /* 0: free; no block that is read through here is the first */
    bool used;
    uint8_t *data;
};

struct set {
    struct os_mutex lock;
    unsigned hand;
    _Atomic uint64_t hits, misses; /* changed under the lock, read without */
    struct frame frames[WAY_COUNT];
};

struct block_cache {
    size_t set_count;
    _Atomic uint64_t serial_last;
    _Atomic size_t size;
    struct set sets[];
};

int block_cache_new(size_t size, struct block_cache **ret_cache)
{
    if (size < BLOCK_CACHE_SIZE_MIN)
        size = BLOCK_CACHE_SIZE_MIN;
    size_t count = size / RUN_BLOCK_SIZE / WAY_COUNT;
    struct block_cache *cache = calloc(1, sizeof(*cache) + count * sizeof(cache->sets[0]));
    if (!cache)
        return -ENOMEM;
    cache->set_count = count;
    for (size_t i = 0; i < count; i++)
        os_mutex_init(&cache->sets[i].lock);
    *ret_cache = cache;
    return 0;
}

void block_cache_free(struct block_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->set_count; i++) {
        for (size_t j = 0; j < WAY_COUNT; j++)
            free(cache->sets[i].frames[j].data);
        os_mutex_deinit(&cache->sets[i].lock);
    }
    free(cache);
}

static struct set *set_of(struct block_cache *cache, uint64_t serial, uint32_t number)
{
    uint64_t mixed = (serial * UINT64_C(0x9e3779b97f4a7c15) + number) * UINT64_C(0xbf58476d1ce4e5b9);
    return &cache->sets[(mixed >> 32) % cache->set_count];
}

bool block_cache_get(struct block_cache *cache, uint64_t serial, uint32_t number, size_t offset, size_t size,
                     uint8_t *ret_data)
{
    struct set *set = set_of(cache, serial, number);
    _os_locked_(&set->lock);
    for (size_t i = 0; i < WAY_COUNT; i++) {
        struct frame *frame = &set->frames[i];
        if (frame->number != number || frame->serial != serial)
            continue;
        frame->used = true;
        atomic_store_explicit(&set->hits, set->hits + 1, memory_order_relaxed);
        memcpy(ret_data, frame->data + offset, size);
        return true;
    }
    atomic_store_explicit(&set->misses, set->misses + 1, memory_order_relaxed);
    return false;
}

static struct frame *choose(struct set *set)
{
    for (;; set->hand = (set->hand + 1) % WAY_COUNT) {
        struct frame *frame = &set->frames[set->hand];
        if (frame->number == 0 || !frame->used)
            return frame;
        frame->used = false;
    }
}

uint64_t block_cache_serial(struct block_cache *cache)
{
    return atomic_fetch_add(&cache->serial_last, 1) + 1;
}

void block_cache_put(struct block_cache *cache, uint64_t serial, uint32_t number, const uint8_t *block)
{
    struct set *set = set_of(cache, serial, number);
    _os_locked_(&set->lock);
    struct frame *frame = choose(set);
    if (!frame->data) {
        frame->data = malloc(RUN_BLOCK_SIZE);
        if (!frame->data)
            return; /* then it is read again */
        atomic_fetch_add_explicit(&cache->size, RUN_BLOCK_SIZE, memory_order_relaxed);
    }
    memcpy(frame->data, block, RUN_BLOCK_SIZE);
    frame->serial = serial;
    frame->number = number;
    frame->used = true;
    set->hand = (set->hand + 1) % WAY_COUNT;
}

void block_cache_counters(struct block_cache *cache, struct block_cache_counters *ret_counters)
{
    struct block_cache_counters counters = {.size = atomic_load_explicit(&cache->size, memory_order_relaxed)};
    for (size_t i = 0; i < cache->set_count; i++) {
        counters.hits += atomic_load_explicit(&cache->sets[i].hits, memory_order_relaxed);
        counters.misses += atomic_load_explicit(&cache->sets[i].misses, memory_order_relaxed);
    }
    *ret_counters = counters;
}
