/* Three tables in one. Types and tags: term -> posting, in a hashmap of pointers. Streams: term -> a chain of streams,
 * nearly always one, each with its name. Ids and keys: places. */

#include "journal/table.h"

#include <assert.h>
#include <stdlib.h>

uint64_t table_term(const struct table_hash *hash, char kind, struct bytes name)
{
    uint8_t text[2 + JOURNAL_KEY_SIZE_MAX];
    /* Nothing stored has a longer name, so for one that is asked for any hash will do: it is a candidate. */
    name = bytes_slice(name, 0, JOURNAL_KEY_SIZE_MAX);
    text[0] = (uint8_t)kind;
    text[1] = ':';
    if (name.size > 0)
        memcpy(text + 2, name.data, name.size);
    return hash_sip128(bytes_make(text, 2 + name.size), hash->key).low & hash->mask;
}

bool table_id_ms(const uint8_t id[16], uint64_t *ret_ms)
{
    uint64_t ms = 0;
    if (id[6] >> 4 != 7)
        return false;
    for (size_t i = 0; i < 6; i++)
        ms = ms << 8 | id[i];
    *ret_ms = ms;
    return true;
}

int table_new(uint64_t first, uint64_t end, struct table **ret_table)
{
    struct table *table = calloc(1, sizeof(*table));
    if (!table)
        return -ENOMEM;
    table->first = first;
    table->last = first - 1;
    table->end = end;
    table->id_ms_lowest = UINT64_MAX;
    atomic_init(&table->refs, 1);
    *ret_table = table;
    return 0;
}

struct table *table_ref(struct table *table)
{
    atomic_fetch_add(&table->refs, 1);
    return table;
}

static void free_chain(struct table_stream *stream)
{
    while (stream) {
        struct table_stream *next = stream->next;
        posting_deinit(&stream->posting);
        free(stream);
        stream = next;
    }
}

void table_unref(struct table *table)
{
    if (!table || atomic_fetch_sub(&table->refs, 1) != 1)
        return;
    for (struct hashmap_cursor c = {0}; hashmap_next(&table->terms, &c);) {
        struct posting *posting = (struct posting *)(uintptr_t)*c.value;
        if (posting)
            posting_deinit(posting);
        free(posting);
    }
    for (struct hashmap_cursor c = {0}; hashmap_next(&table->streams, &c);)
        free_chain((struct table_stream *)(uintptr_t)*c.value);
    hashmap_deinit(&table->terms);
    hashmap_deinit(&table->streams);
    places_deinit(&table->ids);
    places_deinit(&table->keys);
    times_deinit(&table->times);
    free(table);
}

/* ---- adding ---- */

/* Add to a posting and keep the account of its memory. */
static int add_position(struct table *table, struct posting *posting, uint64_t position)
{
    size_t before = posting_size(posting);
    int r = posting_add(posting, position);
    table->size += posting_size(posting) - before;
    return r;
}

static struct hash128 slot(uint64_t term)
{
    return (struct hash128){.low = term};
}

/* An event mostly has names that the one before it had, at the same place among its tags: those are neither hashed nor
 * looked up again. What they lead to never moves. */
static void *recall(const struct table_recent *recent, struct bytes name)
{
    return recent->place && bytes_equal(bytes_make(recent->name, recent->name_size), name) ? recent->place : NULL;
}

static void remember(struct table_recent *recent, struct bytes name, void *place)
{
    recent->place = NULL;
    if (name.size == 0 || name.size > sizeof(recent->name))
        return;
    recent->place = place;
    recent->name_size = name.size;
    memcpy(recent->name, name.data, name.size);
}

static int make_posting(struct table *table, uint64_t term, struct posting **ret_posting)
{
    uint64_t *value;
    int r = hashmap_insert(&table->terms, slot(term), &value);
    if (r < 0)
        return r;
    struct posting *posting = (struct posting *)(uintptr_t)*value;
    if (!posting) {
        posting = calloc(1, sizeof(*posting));
        if (!posting)
            return -ENOMEM;
        *value = (uintptr_t)posting;
        table->size += sizeof(*posting);
    }
    *ret_posting = posting;
    return 0;
}

static int add_name(struct table *table, const struct table_hash *hash, char kind, struct bytes name,
                    struct table_recent *recent, uint64_t position)
{
    struct posting *posting = recall(recent, name);
    if (!posting) {
        int r = make_posting(table, table_term(hash, kind, name), &posting);
        if (r < 0)
            return r;
        remember(recent, name, posting);
    }
    /* Two terms of one event may share a hash; the position stands there once. */
    return posting->last == position ? 0 : add_position(table, posting, position);
}

static struct table_stream *find_stream(const struct table *table, uint64_t term, struct bytes name)
{
    uint64_t *value = hashmap_find(&table->streams, slot(term));
    struct table_stream *stream = value ? (struct table_stream *)(uintptr_t)*value : NULL;
    while (stream && !bytes_equal(bytes_make(stream->name, stream->name_size), name))
        stream = stream->next;
    return stream;
}

static int make_stream(struct table *table, uint64_t term, struct bytes name, struct table_stream **ret_stream)
{
    uint64_t *value;
    struct table_stream *stream = calloc(1, sizeof(*stream) + name.size);
    if (!stream)
        return -ENOMEM;
    int r = hashmap_insert(&table->streams, slot(term), &value);
    if (r < 0) {
        free(stream);
        return r;
    }
    memcpy(stream->name, name.data, name.size);
    stream->name_size = name.size;
    stream->next = (struct table_stream *)(uintptr_t)*value;
    *value = (uintptr_t)stream;
    table->size += sizeof(*stream) + name.size;
    table->stream_count++;
    *ret_stream = stream;
    return 0;
}

static int add_stream(struct table *table, const struct table_hash *hash, const struct journal_event *event)
{
    struct table_stream *stream = recall(&table->stream, event->stream);
    if (!stream) {
        uint64_t term = table_term(hash, 's', event->stream);
        stream = find_stream(table, term, event->stream);
        int r = stream ? 0 : make_stream(table, term, event->stream, &stream);
        if (r < 0)
            return r;
        remember(&table->stream, event->stream, stream);
    }
    stream->version = event->version;
    table->streams_begun += event->version == 1;
    return add_position(table, &stream->posting, event->position);
}

static int add_places(struct table *table, const struct table_hash *hash, const struct journal_event *event)
{
    uint64_t ms;
    if (table_id_ms(event->id, &ms)) {
        table->id_ms_lowest = ms < table->id_ms_lowest ? ms : table->id_ms_lowest;
        table->id_ms_highest = ms > table->id_ms_highest ? ms : table->id_ms_highest;
    }
    int r = places_add(&table->ids, table_term(hash, 'i', bytes_make(event->id, 16)), event->position);
    /* The first event of an append leads to all of them. */
    if (r == 0 && event->key.size > 0 && event->position == event->append_first)
        r = places_add(&table->keys, table_term(hash, 'k', event->key), event->position);
    return r;
}

int table_add(struct table *table, const struct table_hash *hash, const struct journal_event *event)
{
    assert(event->position == table->last + 1 && event->position <= table->end); /* I1 */
    int r = add_name(table, hash, 't', event->type, &table->type, event->position);
    for (size_t i = 0; r == 0 && i < event->tag_count; i++)
        r = add_name(table, hash, 'g', event->tags[i], &table->tags[i % TABLE_RECENT_TAG_COUNT], event->position);
    if (r == 0 && event->stream.size > 0)
        r = add_stream(table, hash, event);
    if (r == 0)
        r = add_places(table, hash, event);
    if (r == 0)
        r = times_add(&table->times, event->position, event->time_us);
    if (r == 0) {
        table->last = event->position;
        table->time_last_us = event->time_us;
    }
    return r;
}

/* ---- asking ---- */

size_t table_size(const struct table *table)
{
    return sizeof(*table) + table->size +
           (table->terms.capacity + table->streams.capacity) * sizeof(struct hashmap_slot) +
           (table->ids.capacity + table->keys.capacity) * sizeof(struct place) +
           table->times.capacity * sizeof(table->times.samples[0]);
}

const struct posting *table_find_term(const struct table *table, uint64_t term)
{
    uint64_t *value = hashmap_find(&table->terms, slot(term));
    return value ? (const struct posting *)(uintptr_t)*value : NULL;
}

const struct table_stream *table_find_stream(const struct table *table, uint64_t term, struct bytes name)
{
    return find_stream(table, term, name);
}

static uint64_t highest_below(const struct places *places, uint64_t hash, uint64_t below)
{
    size_t at = places_begin(places, hash);
    uint64_t highest = 0;
    for (uint64_t position; (position = places_next(places, hash, &at)) != 0;)
        if (position < below && position > highest)
            highest = position;
    return highest;
}

uint64_t table_find_place(const struct table *table, uint64_t hash, uint64_t below)
{
    uint64_t id = highest_below(&table->ids, hash, below), key = highest_below(&table->keys, hash, below);
    return id > key ? id : key;
}
