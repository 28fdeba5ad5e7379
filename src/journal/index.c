/* Three tables. Types and tags: term -> posting, in a hashmap of pointers. Streams: term -> a chain of streams, nearly
 * always one, each with its name. Ids and keys: places.
 *
 * A candidate for an item is a position that stands in the postings of all its tags and of one of its types. It is found
 * by leapfrog: each list in turn is asked for its next position at or after the highest answer so far; when all agree,
 * that is it. The cost follows the shortest list, not the longest. */

#include "journal/index.h"

#include <assert.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/hashmap.h"
#include "journal/places.h"

struct stream {
    struct stream *next; /* another name with the same hash */
    struct posting posting;
    uint64_t version;
    size_t name_size;
    uint8_t name[];
};

struct index {
    uint8_t key[HASH_SIP_KEY_SIZE];
    uint64_t base, last;
    uint64_t term_mask;
    struct hashmap terms;   /* -> struct posting * */
    struct hashmap streams; /* -> struct stream * */
    uint64_t stream_count;
    struct places ids, keys;
    size_t size; /* bytes of postings and streams */
};

static struct hash128 term(const struct index *index, char kind, struct bytes name)
{
    uint8_t text[2 + JOURNAL_KEY_SIZE_MAX];
    /* Nothing stored has a longer name, so for one that is asked for any hash will do (I2). */
    name = bytes_slice(name, 0, JOURNAL_KEY_SIZE_MAX);
    text[0] = (uint8_t)kind;
    text[1] = ':';
    if (name.size > 0)
        memcpy(text + 2, name.data, name.size);
    struct hash128 hash = hash_sip128(bytes_make(text, 2 + name.size), index->key);
    if (index->term_mask != UINT64_MAX)
        hash = (struct hash128){.low = hash.low & index->term_mask};
    return hash;
}

int index_new(const uint8_t *key, uint64_t base, unsigned term_bits, struct index **ret_index)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return -ENOMEM;
    memcpy(index->key, key, sizeof(index->key));
    index->base = index->last = base;
    index->term_mask = term_bits == 0 || term_bits >= 64 ? UINT64_MAX : (UINT64_C(1) << term_bits) - 1;
    *ret_index = index;
    return 0;
}

static void stream_free_chain(struct stream *stream)
{
    while (stream) {
        struct stream *next = stream->next;
        posting_deinit(&stream->posting);
        free(stream);
        stream = next;
    }
}

void index_free(struct index *index)
{
    if (!index)
        return;
    for (struct hashmap_cursor c = {0}; hashmap_next(&index->terms, &c);) {
        struct posting *posting = (struct posting *)(uintptr_t)*c.value;
        if (posting)
            posting_deinit(posting);
        free(posting);
    }
    for (struct hashmap_cursor c = {0}; hashmap_next(&index->streams, &c);)
        stream_free_chain((struct stream *)(uintptr_t)*c.value);
    hashmap_deinit(&index->terms);
    hashmap_deinit(&index->streams);
    places_deinit(&index->ids);
    places_deinit(&index->keys);
    free(index);
}

/* ---- adding ---- */

/* Add to a posting and keep the account of its memory. */
static int add_position(struct index *index, struct posting *posting, uint64_t position)
{
    size_t before = posting_size(posting);
    int r = posting_add(posting, position);
    index->size += posting_size(posting) - before;
    return r;
}

static int add_term(struct index *index, char kind, struct bytes name, uint64_t position)
{
    uint64_t *value;
    int r = hashmap_insert(&index->terms, term(index, kind, name), &value);
    if (r < 0)
        return r;
    struct posting *posting = (struct posting *)(uintptr_t)*value;
    if (!posting) {
        posting = calloc(1, sizeof(*posting));
        if (!posting)
            return -ENOMEM;
        *value = (uintptr_t)posting;
        index->size += sizeof(*posting);
    }
    /* Two terms of one event may share a hash; the position stands there once. */
    return posting->last == position ? 0 : add_position(index, posting, position);
}

static struct stream *find_stream(const struct index *index, struct bytes name)
{
    uint64_t *value = hashmap_find(&index->streams, term(index, 's', name));
    struct stream *stream = value ? (struct stream *)(uintptr_t)*value : NULL;
    while (stream && !bytes_equal(bytes_make(stream->name, stream->name_size), name))
        stream = stream->next;
    return stream;
}

static int make_stream(struct index *index, struct bytes name, struct stream **ret_stream)
{
    uint64_t *value;
    struct stream *stream = calloc(1, sizeof(*stream) + name.size);
    if (!stream)
        return -ENOMEM;
    int r = hashmap_insert(&index->streams, term(index, 's', name), &value);
    if (r < 0) {
        free(stream);
        return r;
    }
    memcpy(stream->name, name.data, name.size);
    stream->name_size = name.size;
    stream->next = (struct stream *)(uintptr_t)*value;
    *value = (uintptr_t)stream;
    index->size += sizeof(*stream) + name.size;
    index->stream_count++;
    *ret_stream = stream;
    return 0;
}

static int add_stream(struct index *index, const struct journal_event *event)
{
    struct stream *stream = find_stream(index, event->stream);
    if (!stream) {
        int r = make_stream(index, event->stream, &stream);
        if (r < 0)
            return r;
    }
    stream->version = event->version;
    return add_position(index, &stream->posting, event->position);
}

int index_add(struct index *index, const struct journal_event *event)
{
    assert(event->position == index->last + 1); /* I1 */
    int r = add_term(index, 't', event->type, event->position);
    for (size_t i = 0; r == 0 && i < event->tag_count; i++)
        r = add_term(index, 'g', event->tags[i], event->position);
    if (r == 0 && event->stream.size > 0)
        r = add_stream(index, event);
    if (r == 0)
        r = places_add(&index->ids, term(index, 'i', bytes_make(event->id, 16)).low, event->position);
    /* The first event of an append leads to all of them. */
    if (r == 0 && event->key.size > 0 && event->position == event->append_first)
        r = places_add(&index->keys, term(index, 'k', event->key).low, event->position);
    if (r == 0)
        index->last = event->position;
    return r;
}

/* ---- asking ---- */

uint64_t index_base(const struct index *index)
{
    return index->base;
}

uint64_t index_last(const struct index *index)
{
    return index->last;
}

uint64_t index_stream_count(const struct index *index)
{
    return index->stream_count;
}

size_t index_size(const struct index *index)
{
    return sizeof(*index) + index->size +
           (index->terms.capacity + index->streams.capacity) * sizeof(struct hashmap_slot) +
           (index->ids.capacity + index->keys.capacity) * sizeof(struct place);
}

int index_stream_version(const struct index *index, struct bytes stream, uint64_t *ret_version)
{
    const struct stream *found = find_stream(index, stream);
    *ret_version = found ? found->version : 0;
    return 0;
}

static uint64_t find_place(const struct places *places, uint64_t hash, struct index_probe *probe)
{
    if (!probe->begun) {
        probe->at = places_begin(places, hash);
        probe->begun = true;
    }
    return places_next(places, hash, &probe->at);
}

int index_find_id(const struct index *index, const uint8_t id[16], struct index_probe *probe,
                  uint64_t *ret_position)
{
    *ret_position = find_place(&index->ids, term(index, 'i', bytes_make(id, 16)).low, probe);
    return 0;
}

int index_find_key(const struct index *index, struct bytes key, struct index_probe *probe,
                   uint64_t *ret_position)
{
    *ret_position = find_place(&index->keys, term(index, 'k', key).low, probe);
    return 0;
}

static struct posting *find_posting(const struct index *index, struct hash128 term)
{
    uint64_t *value = hashmap_find(&index->terms, term);
    return value ? (struct posting *)(uintptr_t)*value : NULL;
}

static bool has_after(const struct index *index, char kind, struct bytes name, uint64_t after)
{
    const struct posting *posting = find_posting(index, term(index, kind, name));
    return posting && posting->last > after;
}

static bool may_match(const struct index *index, const struct journal_item *item, uint64_t after)
{
    for (size_t i = 0; i < item->tag_count; i++)
        if (!has_after(index, 'g', item->tags[i], after))
            return false;
    for (size_t i = 0; i < item->type_count; i++)
        if (has_after(index, 't', item->types[i], after))
            return true;
    return item->type_count == 0;
}

int index_may_match(const struct index *index, const struct journal_item *item, uint64_t after, bool *ret_may)
{
    *ret_may = may_match(index, item, after);
    return 0;
}

/* ---- scanning ---- */

struct scan_term {
    struct hash128 term;
    struct posting_cursor cursor;
};

struct scan_item {
    struct scan_term *types, *tags;
    size_t type_count, tag_count;
};

struct index_scan {
    const struct index *index;
    struct scan_item *items;
    size_t item_count; /* 0: every position */
    bool of_stream;    /* the positions of one stream, and nothing of the above */
    struct bytes stream;
    struct posting_cursor cursor;
};

static struct scan_term *make_terms(const struct index *index, char kind, const struct bytes *names,
                                    size_t count, struct arena *arena)
{
    size_t size;
    if (!checked_mul_size(count, sizeof(struct scan_term), &size))
        return NULL;
    struct scan_term *terms = arena_alloc(arena, size);
    for (size_t i = 0; terms && i < count; i++) {
        terms[i].term = term(index, kind, names[i]);
        posting_cursor_init(&terms[i].cursor, find_posting(index, terms[i].term));
    }
    return terms;
}

int index_scan_new(const struct index *index, const struct journal_query *query, struct arena *arena,
                   struct index_scan **ret_scan)
{
    struct index_scan *scan = arena_alloc(arena, sizeof(*scan));
    struct scan_item *items = arena_alloc_array(arena, query->count, sizeof(*items));
    if (!scan || !items)
        return -ENOMEM;
    *scan = (struct index_scan){.index = index, .items = items, .item_count = query->count};
    for (size_t i = 0; i < query->count; i++) {
        const struct journal_item *item = &query->items[i];
        items[i].types = make_terms(index, 't', item->types, item->type_count, arena);
        items[i].tags = make_terms(index, 'g', item->tags, item->tag_count, arena);
        if (!items[i].types || !items[i].tags)
            return -ENOMEM;
        items[i].type_count = item->type_count;
        items[i].tag_count = item->tag_count;
    }
    *ret_scan = scan;
    return 0;
}

int index_scan_new_stream(const struct index *index, struct bytes stream, struct arena *arena,
                          struct index_scan **ret_scan)
{
    struct index_scan *scan = arena_alloc(arena, sizeof(*scan));
    if (!scan)
        return -ENOMEM;
    scan->index = index;
    scan->item_count = 0;
    scan->of_stream = true;
    posting_cursor_init(&scan->cursor, NULL);
    *ret_scan = scan;
    return arena_copy(arena, stream, &scan->stream);
}

void index_scan_end(struct index_scan *scan)
{
}

/* Which way a scan goes and how far. */
struct way {
    bool backward;
    uint64_t limit;
};

static bool is_beyond(struct way way, uint64_t position)
{
    return way.backward ? position < way.limit : position > way.limit;
}

/* A step in one list; its term may have come into the index since the scan was made. */
static uint64_t term_step(const struct index_scan *scan, struct scan_term *term, uint64_t from,
                          struct way way)
{
    if (!term->cursor.posting)
        posting_cursor_init(&term->cursor, find_posting(scan->index, term->term));
    return way.backward ? posting_previous(&term->cursor, from) : posting_next(&term->cursor, from);
}

/* Which of two positions comes first this way; 0 means none. */
static uint64_t nearer(uint64_t a, uint64_t b, struct way way)
{
    if (a == 0 || b == 0)
        return a | b;
    return (a < b) != way.backward ? a : b;
}

static uint64_t types_step(const struct index_scan *scan, struct scan_item *item, uint64_t from,
                           struct way way)
{
    uint64_t nearest = 0;
    for (size_t i = 0; i < item->type_count && nearest != from; i++)
        nearest = nearer(nearest, term_step(scan, &item->types[i], from, way), way);
    return nearest;
}

static uint64_t item_step(const struct index_scan *scan, struct scan_item *item, uint64_t from,
                          struct way way)
{
    size_t lists = item->tag_count + (item->type_count > 0 ? 1 : 0);
    size_t agreeing = 0;
    for (size_t i = 0; agreeing < lists; i = (i + 1) % lists) {
        uint64_t answer = i < item->tag_count ? term_step(scan, &item->tags[i], from, way)
                                              : types_step(scan, item, from, way);
        if (answer == 0 || is_beyond(way, answer))
            return 0;
        agreeing = answer == from ? agreeing + 1 : 1;
        from = answer;
    }
    return from;
}

/* The stream may have come into the index since the scan was made. */
static void find_stream_cursor(struct index_scan *scan)
{
    const struct stream *found = scan->cursor.posting ? NULL : find_stream(scan->index, scan->stream);
    if (found)
        posting_cursor_init(&scan->cursor, &found->posting);
}

static uint64_t stream_step(struct index_scan *scan, uint64_t from, struct way way)
{
    find_stream_cursor(scan);
    uint64_t answer =
        way.backward ? posting_previous(&scan->cursor, from) : posting_next(&scan->cursor, from);
    return is_beyond(way, answer) ? 0 : answer;
}

static uint64_t scan_step(struct index_scan *scan, uint64_t from, struct way way)
{
    uint64_t nearest = 0;
    if (scan->of_stream)
        return stream_step(scan, from, way);
    if (scan->item_count == 0)
        return from;
    for (size_t i = 0; i < scan->item_count && nearest != from; i++)
        nearest = nearer(nearest, item_step(scan, &scan->items[i], from, way), way);
    return nearest;
}

int index_scan_next(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position)
{
    if (from <= scan->index->base)
        from = scan->index->base + 1;
    bool some = from <= scan->index->last && from <= limit;
    *ret_position = some ? scan_step(scan, from, (struct way){.limit = limit}) : 0;
    return 0;
}

int index_scan_previous(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position)
{
    if (from > scan->index->last)
        from = scan->index->last;
    bool some = from > scan->index->base && from >= limit;
    *ret_position = some ? scan_step(scan, from, (struct way){.backward = true, .limit = limit}) : 0;
    return 0;
}

int index_scan_version(struct index_scan *scan, uint64_t version, uint64_t *ret_position)
{
    assert(scan->of_stream && scan->index->base == 0);
    find_stream_cursor(scan);
    *ret_position = version > 0 ? posting_at(&scan->cursor, version - 1) : 0; /* I3 */
    return 0;
}
