/* run: an immutable file of the index: where each stream, type, tag, id and key stands in one range of positions.
 *
 * A run is opened once and shared; the last one who lets it go closes its file. What is read is checked; damage is
 * -EBADMSG, is remembered (run_is_damaged()), and never gives an answer: the run is to be made again from the log.
 *
 * Threads: any, at any time; a cursor belongs to one at a time.
 */
#pragma once

#include <stdatomic.h>

#include "journal/block_cache.h"
#include "journal/times.h"
#include "os/file.h"

struct run {
    const struct os_file_ops *ops;
    struct block_cache *cache;
    struct run_header header;
    uint64_t serial;
    uint32_t seed;
    int file;
    uint64_t *tops; /* first term of each block of guides */
    uint32_t guide_blocks;
    atomic_uint refs;
    atomic_bool damaged;
    atomic_uint damaged_block; /* the last that did not hold; 0: what they say together did not */
};

/* Open FOLDER/FIRST-LAST.run. 0; RUN_E_NEWER; -EBADMSG: it is no such run; -ENOENT and other -errno. */
_must_check_ int run_open(const struct os_file_ops *ops, const char *folder, uint64_t first, uint64_t last,
                          const uint8_t key[16], struct block_cache *cache, struct run **ret_run);
struct run *run_ref(struct run *run);
void run_unref(struct run *run); /* NULL is fine */

static inline bool run_is_damaged(struct run *run)
{
    return atomic_load_explicit(&run->damaged, memory_order_relaxed);
}
static inline uint64_t run_size(const struct run *run)
{
    return (uint64_t)run->header.block_count * RUN_BLOCK_SIZE;
}

/* A block that was not read through the cache, checked. */
_must_check_ int run_read_block(struct run *run, enum run_block_kind kind, uint32_t number,
                                uint8_t block[RUN_BLOCK_SIZE], uint32_t *ret_count);

/* ---- terms ---- */

/* Where the positions of a term are, as a run's entry says. */
struct run_postings {
    uint32_t count, first, last; /* offsets from the run's first; count 0: none */
    uint64_t version;            /* of a stream's first event here */
    uint32_t block, blocks;      /* the blocks of postings; blocks 0: the chunk stands in block `block` */
    uint16_t chunk_offset, chunk_size;
};

/* *ret_postings: of the type or tag; of the stream of this name. count 0: it is not in the run. Costs no read from the disk
 * when the filter says so and is in memory. */
_must_check_ int run_find_term(struct run *run, uint64_t term, struct run_postings *ret_postings);
_must_check_ int run_find_stream(struct run *run, uint64_t term, struct bytes name,
                                 struct run_postings *ret_postings);

/* Walks a term's positions in either direction. */
struct run_cursor {
    struct run *run;
    struct run_postings postings;
    uint32_t block;                    /* of postings: positions below are of this one, 0: of none */
    uint32_t block_count, block_first; /* of that block, */
    uint32_t block_ordinal;            /* and the number of its first position in the list */
    uint32_t ordinal, count;           /* unpacked: number of the first in the list; count 0: none */
    uint32_t positions[RUN_GROUP_COUNT];
};

void run_cursor_init(struct run_cursor *cursor, struct run *run, const struct run_postings *postings);
/* Positions of the journal. The lowest >= `from`, or 0; the highest <= `from`, or 0; number `index`, from 0, or 0. */
_must_check_ int run_cursor_next(struct run_cursor *cursor, uint64_t from, uint64_t *ret_position);
_must_check_ int run_cursor_previous(struct run_cursor *cursor, uint64_t from, uint64_t *ret_position);
_must_check_ int run_cursor_at(struct run_cursor *cursor, uint64_t index, uint64_t *ret_position);

/* ---- places and times ---- */

/* The `skip`-th position under a hash, 0: there are not so many. */
_must_check_ int run_find_place(struct run *run, uint64_t hash, uint32_t skip, uint64_t *ret_position);

/* The highest sampled position whose time is not later; 0: all are later. */
_must_check_ int run_find_time(struct run *run, int64_t time_us, uint64_t *ret_position);
