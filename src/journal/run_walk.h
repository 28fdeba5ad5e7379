/* run_walk: a run from its beginning to its end: entries in their order, and places by hash. For merging and checking.
 *
 * Blocks are read past the cache, so that a walk does not push out what others need; only the positions of long lists go
 * through it. Damage is -EBADMSG, and remembered (run_is_damaged()).
 */
#pragma once

#include "journal/run.h"

struct run_walk {
    struct run *run; /* the caller's; the rest begins as zeros */
    uint32_t guide, guide_at, guide_count; /* blocks of guides taken; of the last one: guides taken, and how many it has */
    uint8_t guides[RUN_BLOCK_SIZE];
    uint32_t number; /* of the block of terms at hand */
    uint32_t left;   /* entries of it not taken yet */
    struct bytes rest;
    uint8_t terms[RUN_BLOCK_SIZE];
    bool has_entry;
    struct run_entry entry; /* at hand; points into `terms` */
    uint32_t place; /* index of the one at hand */
    bool has_place;
    uint64_t hash;
    uint32_t offset;
    uint8_t places[RUN_BLOCK_SIZE];
};

/* The first entry, then each next one; has_entry is false behind the last. 0 or -errno. */
_must_check_ int run_walk_next_entry(struct run_walk *walk);
/* For walking the positions of the entry at hand. */
void run_walk_cursor(const struct run_walk *walk, struct run_cursor *cursor);

/* The place with number `place`; has_place is false behind the last. 0 or -errno. */
_must_check_ int run_walk_load_place(struct run_walk *walk);
