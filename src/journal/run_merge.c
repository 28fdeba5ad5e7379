/* Each run is read from its beginning to its end beside the others: entries by their order, places by hash. Blocks are
 * read past the cache of those who ask, so that a merge does not push out what they need: only the positions of long
 * lists go through a small cache of its own. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/run_builder.h"
#include "journal/run_flush.h"

enum { PAUSE_STEP = 1024 }; /* entries or places between two looks at whether to pause */

/* A run, as it is walked through. */
struct source {
    struct run *run;
    uint32_t shift; /* from its offsets to those of the whole */
    uint32_t guide, guide_at, guide_count;
    uint8_t guides[RUN_BLOCK_SIZE];
    uint32_t number; /* of the block of terms at hand */
    uint32_t left;   /* entries of it not taken yet, the one at hand included */
    struct bytes rest;
    uint8_t terms[RUN_BLOCK_SIZE];
    bool has_entry;
    struct run_entry entry;
    uint32_t place; /* index of the one at hand */
    bool has_place;
    uint64_t hash;
    uint32_t offset;
    uint8_t places[RUN_BLOCK_SIZE];
};

struct merge {
    struct source *sources;
    size_t count;
    struct run_builder *builder;
    run_merge_pause *pause;
    void *user;
    uint64_t steps;
};

static int maybe_pause(struct merge *merge)
{
    if (!merge->pause || ++merge->steps % PAUSE_STEP != 0)
        return 0;
    return merge->pause(merge->user, run_builder_size(merge->builder));
}

static int damaged(struct source *source)
{
    atomic_store_explicit(&source->run->damaged, true, memory_order_relaxed);
    return -EBADMSG;
}

/* ---- entries of a source ---- */

static int load_guides(struct source *source)
{
    struct run *run = source->run;
    int r = run_read_block(run, RUN_GUIDES, run->header.guides + source->guide, source->guides, &source->guide_count);
    source->guide_at = 0;
    return r == 0 && (source->guide_count == 0 || source->guide_count > RUN_GUIDES_PER_BLOCK) ? damaged(source) : r;
}

/* The next block of terms; none left: has_entry stays false. */
static int load_terms(struct source *source)
{
    struct run *run = source->run;
    int r = 0;
    if (source->guide_at == source->guide_count) {
        if (source->guide == run->guide_blocks)
            return 0;
        r = load_guides(source);
        source->guide++;
    }
    if (r < 0)
        return r;
    source->number =
        bytes_get_u32(source->guides + RUN_BLOCK_HEAD_SIZE + (size_t)source->guide_at++ * RUN_GUIDE_SIZE + 8);
    if (source->number < run->header.data || source->number >= run->header.guides)
        return damaged(source);
    r = run_read_block(run, RUN_TERMS, source->number, source->terms, &source->left);
    source->rest = bytes_make(source->terms + RUN_BLOCK_HEAD_SIZE, RUN_PAYLOAD_SIZE);
    return r == 0 && source->left == 0 ? damaged(source) : r;
}

static int next_entry(struct source *source)
{
    int r = 0;
    source->has_entry = false;
    if (source->left == 0)
        r = load_terms(source);
    if (r < 0 || source->left == 0)
        return r;
    source->left--;
    r = run_entry_get(&source->rest, &source->entry);
    source->has_entry = r == 0;
    return r < 0 ? damaged(source) : 0;
}

/* ---- merging entries ---- */

static int put_positions(struct merge *merge, struct source *source, struct run_cursor *cursor)
{
    const struct run_entry *entry = &source->entry;
    struct run_postings postings = {.count = entry->count,
                                    .first = entry->first,
                                    .last = entry->last,
                                    .block = entry->blocks > 0 ? entry->block : source->number,
                                    .blocks = entry->blocks,
                                    .chunk_size = (uint16_t)entry->chunk.size};
    if (entry->chunk.size > 0)
        postings.chunk_offset = (uint16_t)(entry->chunk.data - source->terms);
    run_cursor_init(cursor, source->run, &postings);
    for (uint64_t index = 0; index < entry->count; index++) {
        uint64_t position;
        int r = run_cursor_at(cursor, index, &position);
        if (r == 0)
            r = run_builder_position(merge->builder, (uint32_t)(position - source->run->header.first) + source->shift);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The source whose entry comes first; of equal ones the run that lies first. NULL: no entries are left. */
static struct source *first_entry(struct merge *merge)
{
    struct source *first = NULL;
    for (size_t i = 0; i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        if (source->has_entry && (!first || run_entry_compare(&source->entry, &first->entry) < 0))
            first = source;
    }
    return first;
}

/* One entry out of all that are equal to the first. */
static int put_entry(struct merge *merge, struct source *first, struct run_cursor *cursor)
{
    uint8_t name[RUN_NAME_SIZE_MAX];
    struct run_entry entry = first->entry;
    if (entry.name.size > 0)
        memcpy(name, entry.name.data, entry.name.size);
    entry.name = bytes_make(name, entry.name.size);
    int r = run_builder_entry(merge->builder, &entry);
    for (size_t i = 0; r == 0 && i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        if (!source->has_entry || run_entry_compare(&source->entry, &entry) != 0)
            continue;
        r = put_positions(merge, source, cursor);
        if (r == 0)
            r = next_entry(source);
    }
    return r == 0 ? run_builder_entry_end(merge->builder) : r;
}

static int merge_entries(struct merge *merge)
{
    _cleanup_(freep) struct run_cursor *cursor = malloc(sizeof(*cursor));
    int r = cursor ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < merge->count; i++)
        r = next_entry(&merge->sources[i]);
    for (struct source *first; r == 0 && (first = first_entry(merge)) != NULL;) {
        r = put_entry(merge, first, cursor);
        if (r == 0)
            r = maybe_pause(merge);
    }
    return r;
}

/* ---- merging places and times ---- */

static int load_place(struct source *source)
{
    struct run *run = source->run;
    uint32_t at = source->place % RUN_PLACES_PER_BLOCK, count;
    source->has_place = source->place < run->header.place_count;
    if (!source->has_place)
        return 0;
    if (at == 0) {
        int r = run_read_block(run, RUN_PLACES, run->header.places + source->place / RUN_PLACES_PER_BLOCK,
                               source->places, &count);
        if (r < 0)
            return r;
    }
    const uint8_t *item = source->places + RUN_BLOCK_HEAD_SIZE + (size_t)at * RUN_PLACE_SIZE;
    source->hash = bytes_get_u64(item);
    source->offset = bytes_get_u32(item + 8);
    return 0;
}

static int merge_places(struct merge *merge)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < merge->count; i++)
        r = load_place(&merge->sources[i]);
    while (r == 0) {
        struct source *first = NULL;
        for (size_t i = 0; i < merge->count; i++) {
            struct source *source = &merge->sources[i];
            if (source->has_place && (!first || source->hash < first->hash))
                first = source;
        }
        if (!first)
            break;
        r = run_builder_place(merge->builder, first->hash, first->offset + first->shift);
        first->place++;
        if (r == 0)
            r = load_place(first);
        if (r == 0)
            r = maybe_pause(merge);
    }
    return r;
}

static int copy_times(struct merge *merge, struct run *run)
{
    for (uint32_t number = run->header.times; number < run->header.places; number++) {
        uint8_t block[RUN_BLOCK_SIZE];
        uint32_t count;
        int r = run_read_block(run, RUN_TIMES, number, block, &count);
        for (uint32_t i = 0; r == 0 && i < count && i < RUN_TIMES_PER_BLOCK; i++)
            r = run_builder_time(merge->builder, (int64_t)bytes_get_u64(block + RUN_BLOCK_HEAD_SIZE + 8 * i));
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the whole ---- */

static struct run_header sum_headers(struct run *const *runs, size_t count)
{
    struct run_header header = runs[0]->header;
    for (size_t i = 1; i < count; i++) {
        const struct run_header *next = &runs[i]->header;
        header.id_ms_lowest = next->id_ms_lowest < header.id_ms_lowest ? next->id_ms_lowest : header.id_ms_lowest;
        header.id_ms_highest = next->id_ms_highest > header.id_ms_highest ? next->id_ms_highest : header.id_ms_highest;
        header.streams_begun += next->streams_begun;
    }
    header.chain_after = runs[count - 1]->header.chain_after;
    header.time_last_us = runs[count - 1]->header.time_last_us;
    return header;
}

static int merge_all(struct merge *merge, struct run *const *runs, const struct run_header *header)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < merge->count; i++)
        r = copy_times(merge, runs[i]);
    if (r == 0)
        r = merge_places(merge);
    if (r == 0)
        r = merge_entries(merge);
    return r == 0 ? run_builder_finish(merge->builder, header) : r;
}

int run_merge(const struct run_target *target, struct run *const *runs, size_t count, run_merge_pause *pause,
              void *user)
{
    _cleanup_(freep) struct source *sources = calloc(count, sizeof(*sources));
    struct run_header header = sum_headers(runs, count);
    struct merge merge = {.sources = sources, .count = count, .pause = pause, .user = user};
    struct run_builder_options options = {.ops = target->ops,
                                          .folder = target->folder,
                                          .key = target->key,
                                          .first = header.first,
                                          .last = runs[count - 1]->header.last};
    if (!sources)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        sources[i].run = runs[i];
        sources[i].shift = (uint32_t)(runs[i]->header.first - header.first);
        options.term_count += runs[i]->header.term_count;
        options.place_count += runs[i]->header.place_count;
    }
    int r = run_builder_new(&options, &merge.builder);
    if (r == 0)
        r = merge_all(&merge, runs, &header);
    run_builder_free(merge.builder);
    return r;
}
