#include "journal/run_flush.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/run_builder.h"

/* What of a table becomes an entry. */
struct item {
    struct run_entry entry; /* its term, and of a stream name and version */
    const struct posting *posting;
};

static int order_items(const void *a, const void *b)
{
    return run_entry_compare(&((const struct item *)a)->entry, &((const struct item *)b)->entry);
}

static int order_places(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->hash != right->hash)
        return left->hash < right->hash ? -1 : 1;
    return (left->position > right->position) - (left->position < right->position);
}

static struct item *list_items(const struct table *table, size_t *ret_count)
{
    size_t count = 0, room = hashmap_count(&table->terms) + table->stream_count;
    struct item *items = calloc(room + 1, sizeof(*items));
    struct table *walked = (struct table *)(uintptr_t)table; /* walking changes nothing */
    if (!items)
        return NULL;
    for (struct hashmap_cursor c = {0}; hashmap_next(&walked->terms, &c);)
        items[count++] = (struct item){.entry = {.term = c.key.low},
                                       .posting = (const struct posting *)(uintptr_t)*c.value};
    for (struct hashmap_cursor c = {0}; hashmap_next(&walked->streams, &c);) {
        const struct table_stream *stream = (const struct table_stream *)(uintptr_t)*c.value;
        for (; stream; stream = stream->next)
            items[count++] = (struct item){.entry = {.term = c.key.low,
                                                     .is_stream = true,
                                                     .name = bytes_make(stream->name, stream->name_size),
                                                     .version = stream->version - stream->posting.count + 1},
                                           .posting = &stream->posting};
    }
    assert(count <= room);
    qsort(items, count, sizeof(*items), order_items);
    *ret_count = count;
    return items;
}

static int put_items(struct run_builder *builder, const struct table *table, const struct item *items, size_t count)
{
    _cleanup_(freep) struct posting_cursor *cursor = malloc(sizeof(*cursor));
    int r = cursor ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < count; i++) {
        posting_cursor_init(cursor, items[i].posting);
        r = run_builder_entry(builder, &items[i].entry);
        for (uint64_t at = 0; r == 0 && (at = posting_next(cursor, at + 1)) != 0;)
            r = run_builder_position(builder, (uint32_t)(at - table->first));
        if (r == 0)
            r = run_builder_entry_end(builder);
    }
    return r;
}

static size_t copy_places(const struct places *places, struct place *to)
{
    size_t count = 0;
    for (size_t i = 0; i < places->capacity; i++)
        if (places->slots[i].position != 0)
            to[count++] = places->slots[i];
    return count;
}

static int put_places(struct run_builder *builder, const struct table *table)
{
    size_t count = table->ids.count + table->keys.count;
    _cleanup_(freep) struct place *places = calloc(count + 1, sizeof(*places));
    int r = 0;
    if (!places)
        return -ENOMEM;
    size_t ids = copy_places(&table->ids, places);
    (void)copy_places(&table->keys, places + ids);
    qsort(places, count, sizeof(*places), order_places);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = run_builder_place(builder, places[i].hash, (uint32_t)(places[i].position - table->first));
    return r;
}

int run_flush_table(const struct run_target *target, const struct table *table, const struct log_chain *chain_before,
                    const struct log_chain *chain_after)
{
    _cleanup_(run_builder_freep) struct run_builder *builder = NULL;
    _cleanup_(freep) struct item *items = NULL;
    size_t count;
    items = list_items(table, &count);
    if (!items)
        return -ENOMEM;
    struct run_builder_options options = {.ops = target->ops,
                                          .folder = target->folder,
                                          .key = target->key,
                                          .first = table->first,
                                          .last = table->last,
                                          .term_count = count,
                                          .place_count = table->ids.count + table->keys.count};
    struct run_header header = {.chain_before = *chain_before,
                                .chain_after = *chain_after,
                                .time_last_us = table->time_last_us,
                                .id_ms_lowest = table->id_ms_lowest,
                                .id_ms_highest = table->id_ms_highest,
                                .streams_begun = table->streams_begun};
    int r = run_builder_new(&options, &builder);
    for (size_t i = 0; r == 0 && i < table->times.count; i++)
        r = run_builder_time(builder, table->times.samples[i]);
    if (r == 0)
        r = put_places(builder, table);
    if (r == 0)
        r = put_items(builder, table, items, count);
    return r == 0 ? run_builder_finish(builder, &header) : r;
}
