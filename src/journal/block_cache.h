/* block_cache: the blocks of runs that were read lately, up to a limit of memory that all runs of an index share.
 *
 * Blocks are copied out and in under the lock of the few frames where they may stand; nothing points into the cache. What
 * is in it has been checked. Any thread may call.
 */
#pragma once

#include "journal/run_format.h"

struct block_cache;

/* `size`: bytes of blocks held at most; at least BLOCK_CACHE_SIZE_MIN. Memory is taken as it is needed. */
enum { BLOCK_CACHE_SIZE_MIN = 256 * 1024 };
_must_check_ int block_cache_new(size_t size, struct block_cache **ret_cache);
void block_cache_free(struct block_cache *cache);

/* `size` bytes from `offset` of a run's block: whether they were there. `serial` is the run's and never used twice. */
bool block_cache_get(struct block_cache *cache, uint64_t serial, uint32_t number, size_t offset, size_t size,
                     uint8_t *ret_data);
/* A number for the next run that is read through the cache. */
uint64_t block_cache_serial(struct block_cache *cache);
/* A whole block that was not there. */
void block_cache_put(struct block_cache *cache, uint64_t serial, uint32_t number, const uint8_t *block);

struct block_cache_counters {
    uint64_t hits, misses;
    size_t size; /* bytes held */
};
void block_cache_counters(struct block_cache *cache, struct block_cache_counters *ret_counters);
