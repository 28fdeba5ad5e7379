/* cache: folded states by tag, least recently used out first.
 *
 * The cache owns its entries; an entry that is acquired stays until it is released. The list, the table and
 * the sizes are under the cache's lock. An entry's `state` is not: it belongs to the journal's writer thread
 * (C3), or to whoever evicts the entry once nobody has it acquired.
 */
#pragma once

#include <stdatomic.h>

#include "command/state.h"
#include "os/thread.h"

struct cache_entry {
    struct bytes tag;
    const struct daybook_kind *kind;
    struct command_state *state; /* NULL: not folded yet, or thrown away */
    _Atomic bool ready; /* a hint: a state is here, or is on its way to the writer before any later append */

    /* under the lock */
    size_t size;
    size_t references;
    struct cache_entry *chain;         /* same bucket of the table */
    struct cache_entry *newer, *older; /* by last use */
};

struct cache {
    struct os_mutex lock;
    struct cache_entry **buckets;
    size_t bucket_count; /* a power of two */
    struct cache_entry *newest, *oldest;
    size_t count, size, size_max;
    uint64_t evictions;
    uint8_t hash_key[16]; /* so that nobody can choose tags that fall into one bucket */
};

/* `hash_key`: 16 random bytes. -ENOMEM. */
_must_check_ int cache_init(struct cache *cache, size_t size_max, const uint8_t hash_key[16]);
/* Nothing is acquired any more. */
void cache_deinit(struct cache *cache);

/* The entry of a tag, made if there is none. Release it. -ENOMEM. */
_must_check_ int cache_acquire(struct cache *cache, const struct daybook_kind *kind, struct bytes tag,
                               struct cache_entry **ret_entry);
void cache_release(struct cache *cache, struct cache_entry *entry);

/* The state's size may have changed: keep the sum right. Writer thread. */
void cache_resized(struct cache *cache, struct cache_entry *entry);

/* Throw away every state that goes beyond `head`: its batch failed (C4). Writer thread. */
void cache_drop_beyond(struct cache *cache, uint64_t head);

/* How it stands. */
void cache_figures(struct cache *cache, uint64_t *ret_count, uint64_t *ret_size, uint64_t *ret_evictions);
