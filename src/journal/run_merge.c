/* Each run is read from its beginning to its end beside the others (run_walk.h): entries by their order, places by hash.
 * The positions of long lists go through a small cache of the merge's own. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/run_builder.h"
#include "journal/run_flush.h"
#include "journal/run_walk.h"

enum { PAUSE_STEP = 1024 }; /* entries or places between two looks at whether to pause */

struct source {
    struct run_walk walk;
    uint32_t shift; /* from its offsets to those of the whole */
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

/* ---- merging entries ---- */

static int put_positions(struct merge *merge, struct source *source, struct run_cursor *cursor)
{
    const struct run_walk *walk = &source->walk;
    run_walk_cursor(walk, cursor);
    for (uint64_t index = 0; index < walk->entry.count; index++) {
        uint64_t position;
        int r = run_cursor_at(cursor, index, &position);
        if (r == 0)
            r = run_builder_position(merge->builder, (uint32_t)(position - walk->run->header.first) + source->shift);
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
        if (source->walk.has_entry && (!first || run_entry_compare(&source->walk.entry, &first->walk.entry) < 0))
            first = source;
    }
    return first;
}

/* One entry out of all that are equal to the first. */
static int put_entry(struct merge *merge, struct source *first, struct run_cursor *cursor)
{
    uint8_t name[RUN_NAME_SIZE_MAX];
    struct run_entry entry = first->walk.entry;
    if (entry.name.size > 0)
        memcpy(name, entry.name.data, entry.name.size);
    entry.name = bytes_make(name, entry.name.size);
    int r = run_builder_entry(merge->builder, &entry);
    for (size_t i = 0; r == 0 && i < merge->count; i++) {
        struct source *source = &merge->sources[i];
        if (!source->walk.has_entry || run_entry_compare(&source->walk.entry, &entry) != 0)
            continue;
        r = put_positions(merge, source, cursor);
        if (r == 0)
            r = run_walk_next_entry(&source->walk);
    }
    return r == 0 ? run_builder_entry_end(merge->builder) : r;
}

static int merge_entries(struct merge *merge)
{
    _cleanup_(freep) struct run_cursor *cursor = malloc(sizeof(*cursor));
    int r = cursor ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < merge->count; i++)
        r = run_walk_next_entry(&merge->sources[i].walk);
    for (struct source *first; r == 0 && (first = first_entry(merge)) != NULL;) {
        r = put_entry(merge, first, cursor);
        if (r == 0)
            r = maybe_pause(merge);
    }
    return r;
}

/* ---- merging places and times ---- */

static int merge_places(struct merge *merge)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < merge->count; i++)
        r = run_walk_load_place(&merge->sources[i].walk);
    while (r == 0) {
        struct source *first = NULL;
        for (size_t i = 0; i < merge->count; i++) {
            struct source *source = &merge->sources[i];
            if (source->walk.has_place && (!first || source->walk.hash < first->walk.hash))
                first = source;
        }
        if (!first)
            break;
        r = run_builder_place(merge->builder, first->walk.hash, first->walk.offset + first->shift);
        first->walk.place++;
        if (r == 0)
            r = run_walk_load_place(&first->walk);
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
        sources[i].walk.run = runs[i];
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
