#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "command/cache.h"

enum { BUCKET_COUNT_FIRST = 1024 };

int cache_init(struct cache *cache, size_t size_max, const uint8_t hash_key[16])
{
    *cache = (struct cache){.bucket_count = BUCKET_COUNT_FIRST, .size_max = size_max};
    memcpy(cache->hash_key, hash_key, sizeof(cache->hash_key));
    cache->buckets = calloc(cache->bucket_count, sizeof(*cache->buckets));
    if (!cache->buckets)
        return -ENOMEM;
    os_mutex_init(&cache->lock);
    return 0;
}

static void entry_free(struct cache_entry *entry)
{
    command_state_free(entry->state);
    free(entry);
}

static size_t entry_size(const struct cache_entry *entry)
{
    return sizeof(*entry) + entry->tag.size + (entry->state ? command_state_size(entry->state) : 0);
}

static struct cache_entry **bucket_of(struct cache *cache, struct bytes tag)
{
    return &cache->buckets[hash_sip128(tag, cache->hash_key).low & (cache->bucket_count - 1)];
}

/* ---- order of use ---- */

static void unlink_use(struct cache *cache, struct cache_entry *entry)
{
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
    entry->newer = entry->older = NULL;
}

static void link_newest(struct cache *cache, struct cache_entry *entry)
{
    entry->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

/* ---- table ---- */

/* Twice the buckets; without memory the chains just get longer. */
static void table_grow(struct cache *cache)
{
    struct cache_entry **old = cache->buckets;
    size_t old_count = cache->bucket_count;
    struct cache_entry **buckets = calloc(old_count * 2, sizeof(*buckets));
    if (!buckets)
        return;

    cache->buckets = buckets;
    cache->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        for (struct cache_entry *entry = old[i], *next; entry; entry = next) {
            struct cache_entry **bucket = bucket_of(cache, entry->tag);
            next = entry->chain;
            entry->chain = *bucket;
            *bucket = entry;
        }
    }
    free(old);
}

static void remove_entry(struct cache *cache, struct cache_entry *entry)
{
    struct cache_entry **at = bucket_of(cache, entry->tag);
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    unlink_use(cache, entry);
    cache->count--;
    cache->size -= entry->size;
}

/* Lets the least recently used go until the rest fits; those acquired are passed over. */
static void evict(struct cache *cache)
{
    struct cache_entry *entry = cache->oldest;
    while (entry && cache->size > cache->size_max) {
        struct cache_entry *newer = entry->newer;
        if (entry->references == 0) {
            remove_entry(cache, entry);
            entry_free(entry);
            cache->evictions++;
        }
        entry = newer;
    }
}

static struct cache_entry *entry_new(const struct daybook_kind *kind, struct bytes tag)
{
    struct cache_entry *entry = calloc(1, sizeof(*entry) + tag.size);
    if (!entry)
        return NULL;
    uint8_t *copy = (uint8_t *)(entry + 1);
    memcpy(copy, tag.data, tag.size);
    entry->tag = bytes_make(copy, tag.size);
    entry->kind = kind;
    entry->size = entry_size(entry);
    return entry;
}

int cache_acquire(struct cache *cache, const struct daybook_kind *kind, struct bytes tag,
                  struct cache_entry **ret_entry)
{
    int r = 0;
    os_mutex_lock(&cache->lock);
    struct cache_entry *entry = *bucket_of(cache, tag);
    while (entry && !bytes_equal(entry->tag, tag))
        entry = entry->chain;
    if (entry) {
        unlink_use(cache, entry);
    } else if ((entry = entry_new(kind, tag))) {
        if (cache->count >= cache->bucket_count)
            table_grow(cache);
        struct cache_entry **bucket = bucket_of(cache, tag);
        entry->chain = *bucket;
        *bucket = entry;
        cache->count++;
        cache->size += entry->size;
    } else {
        r = -ENOMEM;
    }
    if (r == 0) {
        link_newest(cache, entry);
        entry->references++;
        *ret_entry = entry;
    }
    os_mutex_unlock(&cache->lock);
    return r;
}

void cache_release(struct cache *cache, struct cache_entry *entry)
{
    os_mutex_lock(&cache->lock);
    assert(entry->references > 0);
    entry->references--;
    evict(cache);
    os_mutex_unlock(&cache->lock);
}

void cache_resized(struct cache *cache, struct cache_entry *entry)
{
    size_t size = entry_size(entry);
    if (size == entry->size) /* only this thread changes it while the entry is acquired */
        return;
    os_mutex_lock(&cache->lock);
    cache->size += size - entry->size;
    entry->size = size;
    os_mutex_unlock(&cache->lock);
}

void cache_drop_beyond(struct cache *cache, uint64_t head)
{
    os_mutex_lock(&cache->lock);
    for (struct cache_entry *entry = cache->newest; entry; entry = entry->older) {
        if (!entry->state || entry->state->position <= head)
            continue;
        entry->ready = false;
        command_state_free(take_ptr(entry->state));
        cache->size -= entry->size;
        entry->size = entry_size(entry);
        cache->size += entry->size;
    }
    os_mutex_unlock(&cache->lock);
}

void cache_figures(struct cache *cache, uint64_t *ret_count, uint64_t *ret_size, uint64_t *ret_evictions)
{
    os_mutex_lock(&cache->lock);
    *ret_count = cache->count;
    *ret_size = cache->size;
    *ret_evictions = cache->evictions;
    os_mutex_unlock(&cache->lock);
}

void cache_deinit(struct cache *cache)
{
    if (!cache->buckets)
        return;
    for (struct cache_entry *entry = cache->newest, *older; entry; entry = older) {
        older = entry->older;
        assert(entry->references == 0);
        entry_free(entry);
    }
    free(take_ptr(cache->buckets));
    os_mutex_deinit(&cache->lock);
}
