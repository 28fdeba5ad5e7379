#include "journal/run_walk.h"

static int damaged(struct run_walk *walk)
{
    atomic_store_explicit(&walk->run->damaged, true, memory_order_relaxed);
    return -EBADMSG;
}

/* ---- entries ---- */

static int load_guides(struct run_walk *walk)
{
    struct run *run = walk->run;
    int r = run_read_block(run, RUN_GUIDES, run->header.guides + walk->guide, walk->guides, &walk->guide_count);
    walk->guide_at = 0;
    return r == 0 && (walk->guide_count == 0 || walk->guide_count > RUN_GUIDES_PER_BLOCK) ? damaged(walk) : r;
}

/* The next block of terms; none left: `left` stays 0. */
static int load_terms(struct run_walk *walk)
{
    struct run *run = walk->run;
    int r = 0;
    if (walk->guide_at == walk->guide_count) {
        if (walk->guide == run->guide_blocks)
            return 0;
        r = load_guides(walk);
        walk->guide++;
    }
    if (r < 0)
        return r;
    walk->number = bytes_get_u32(walk->guides + RUN_BLOCK_HEAD_SIZE + (size_t)walk->guide_at++ * RUN_GUIDE_SIZE + 8);
    if (walk->number < run->header.data || walk->number >= run->header.guides)
        return damaged(walk);
    r = run_read_block(run, RUN_TERMS, walk->number, walk->terms, &walk->left);
    walk->rest = bytes_make(walk->terms + RUN_BLOCK_HEAD_SIZE, RUN_PAYLOAD_SIZE);
    return r == 0 && walk->left == 0 ? damaged(walk) : r;
}

int run_walk_next_entry(struct run_walk *walk)
{
    int r = 0;
    walk->has_entry = false;
    if (walk->left == 0)
        r = load_terms(walk);
    if (r < 0 || walk->left == 0)
        return r;
    walk->left--;
    r = run_entry_get(&walk->rest, &walk->entry);
    walk->has_entry = r == 0;
    return r < 0 ? damaged(walk) : 0;
}

void run_walk_cursor(const struct run_walk *walk, struct run_cursor *cursor)
{
    const struct run_entry *entry = &walk->entry;
    struct run_postings postings = {.count = entry->count,
                                    .first = entry->first,
                                    .last = entry->last,
                                    .block = entry->blocks > 0 ? entry->block : walk->number,
                                    .blocks = entry->blocks,
                                    .chunk_size = (uint16_t)entry->chunk.size};
    if (entry->chunk.size > 0)
        postings.chunk_offset = (uint16_t)(entry->chunk.data - walk->terms);
    run_cursor_init(cursor, walk->run, &postings);
}

/* ---- places ---- */

int run_walk_load_place(struct run_walk *walk)
{
    struct run *run = walk->run;
    uint32_t at = walk->place % RUN_PLACES_PER_BLOCK, count;
    walk->has_place = walk->place < run->header.place_count;
    if (!walk->has_place)
        return 0;
    if (at == 0) {
        int r = run_read_block(run, RUN_PLACES, run->header.places + walk->place / RUN_PLACES_PER_BLOCK, walk->places,
                               &count);
        if (r < 0)
            return r;
    }
    const uint8_t *item = walk->places + RUN_BLOCK_HEAD_SIZE + (size_t)at * RUN_PLACE_SIZE;
    walk->hash = bytes_get_u64(item);
    walk->offset = bytes_get_u32(item + 8);
    return 0;
}
