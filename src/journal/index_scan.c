/* A candidate for an item is a position that stands in the postings of all its tags and of one of its types. It is found
 * by leapfrog: each list in turn is asked for its next position at or after the highest answer so far; when all agree,
 * that is it. The cost follows the shortest list, not the longest.
 *
 * An event lies in one part, and so does everything that leads to it: a scan is in one part at a time, and looks its terms
 * up anew when it comes to another. Between two calls it keeps the row of parts as it was, unless the row has been replaced
 * meanwhile: files that nobody needs any more are let go soon. */

#include <assert.h>

#include "base/checked.h"
#include "journal/index_internal.h"

/* One list in the part where the scan is. */
struct list {
    uint64_t term;
    bool in_run;
    union {
        struct posting_cursor table; /* its posting is NULL until the term comes into the table */
        struct run_cursor run;
    };
};

struct scan_item {
    struct list *types, *tags;
    size_t type_count, tag_count;
};

struct index_scan {
    const struct index *index;
    struct parts *parts; /* NULL: none taken yet */
    uint64_t turn;       /* of those */
    size_t at;           /* the part where the lists are */
    bool bound;
    struct scan_item *items;
    size_t item_count; /* 0: every position */
    bool of_stream;    /* the positions of one stream, and nothing of the above */
    struct bytes stream;
    uint64_t version_first, version_last; /* of the stream in the part; last 0: none, or not known yet (it grows) */
    struct list list;
};

/* ---- making ---- */

static struct list *make_lists(const struct index *index, char kind, const struct bytes *names, size_t count,
                               struct arena *arena)
{
    size_t size;
    if (!checked_mul_size(count, sizeof(struct list), &size))
        return NULL;
    struct list *lists = arena_alloc(arena, size);
    for (size_t i = 0; lists && i < count; i++)
        lists[i].term = table_term(&index->hash, kind, names[i]);
    return lists;
}

int index_scan_new(const struct index *index, const struct journal_query *query, struct arena *arena,
                   struct index_scan **ret_scan)
{
    struct index_scan *scan = arena_alloc(arena, sizeof(*scan));
    struct scan_item *items = arena_alloc_array(arena, query->count, sizeof(*items));
    if (!scan || !items)
        return -ENOMEM;
    for (size_t i = 0; i < query->count; i++) {
        const struct journal_item *item = &query->items[i];
        items[i].types = make_lists(index, 't', item->types, item->type_count, arena);
        items[i].tags = make_lists(index, 'g', item->tags, item->tag_count, arena);
        if (!items[i].types || !items[i].tags)
            return -ENOMEM;
        items[i].type_count = item->type_count;
        items[i].tag_count = item->tag_count;
    }
    scan->index = index;
    scan->parts = NULL;
    scan->bound = scan->of_stream = false;
    scan->items = items;
    scan->item_count = query->count;
    *ret_scan = scan;
    return 0;
}

int index_scan_new_stream(const struct index *index, struct bytes stream, struct arena *arena,
                          struct index_scan **ret_scan)
{
    struct index_scan *scan = arena_alloc(arena, sizeof(*scan));
    int r = scan ? arena_copy(arena, stream, &scan->stream) : -ENOMEM;
    if (r < 0)
        return r;
    scan->index = index;
    scan->parts = NULL;
    scan->bound = false;
    scan->items = NULL;
    scan->item_count = 0;
    scan->of_stream = true;
    scan->list.term = table_term(&index->hash, 's', stream);
    *ret_scan = scan;
    return 0;
}

void index_scan_end(struct index_scan *scan)
{
    if (!scan)
        return;
    parts_unref(scan->parts);
    scan->parts = NULL;
    scan->bound = false;
}

/* ---- going to a part ---- */

static const struct part *part_of(const struct index_scan *scan)
{
    return &scan->parts->items[scan->at];
}

/* Whether the part is the table that grows, as far as this row knows: to be looked at under the lock. */
static bool in_growing(const struct index_scan *scan)
{
    return scan->at + 1 == scan->parts->count;
}

/* Take the row as it is now if it is another one than ours. */
static void refresh(struct index_scan *scan)
{
    const struct index *index = scan->index;
    if (scan->parts && atomic_load_explicit(&index->turn, memory_order_acquire) == scan->turn)
        return;
    parts_unref(scan->parts);
    index_lock_read(index);
    scan->parts = parts_ref(index->parts);
    scan->turn = atomic_load_explicit(&index->turn, memory_order_relaxed);
    index_unlock(index);
    scan->bound = false;
}

static int bind_list(const struct part *part, struct list *list)
{
    struct run_postings postings;
    list->in_run = part->run != NULL;
    if (!list->in_run) {
        posting_cursor_init(&list->table, table_find_term(part->table, list->term));
        return 0;
    }
    int r = run_find_term(part->run, list->term, &postings);
    if (r == 0)
        run_cursor_init(&list->run, part->run, &postings);
    return r;
}

static int bind_items(struct index_scan *scan, const struct part *part)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < scan->item_count; i++) {
        struct scan_item *item = &scan->items[i];
        for (size_t j = 0; r == 0 && j < item->tag_count; j++)
            r = bind_list(part, &item->tags[j]);
        for (size_t j = 0; r == 0 && j < item->type_count; j++)
            r = bind_list(part, &item->types[j]);
    }
    return r;
}

static void bind_table_stream(struct index_scan *scan, const struct table *table)
{
    const struct table_stream *stream = table_find_stream(table, scan->list.term, scan->stream);
    scan->list.in_run = false;
    posting_cursor_init(&scan->list.table, stream ? &stream->posting : NULL);
    scan->version_last = stream ? stream->version : 0;
    scan->version_first = stream ? stream->version - stream->posting.count + 1 : 0;
}

static int bind_run_stream(struct index_scan *scan, struct run *run)
{
    struct run_postings postings;
    int r = run_find_stream(run, scan->list.term, scan->stream, &postings);
    if (r < 0)
        return r;
    scan->list.in_run = true;
    run_cursor_init(&scan->list.run, run, &postings);
    scan->version_first = postings.version;
    scan->version_last = postings.count > 0 ? postings.version + postings.count - 1 : 0;
    return 0;
}

/* Look the scan's terms up in a part of its row. Under the lock if the part grows. */
static int bind(struct index_scan *scan, size_t at)
{
    const struct part *part = &scan->parts->items[at];
    if (scan->bound && scan->at == at)
        return 0;
    scan->bound = false;
    scan->at = at;
    if (!part->table && !part->run)
        return -EAGAIN;
    int r = 0;
    if (scan->of_stream && part->table)
        bind_table_stream(scan, part->table);
    else
        r = scan->of_stream ? bind_run_stream(scan, part->run) : bind_items(scan, part);
    scan->bound = r == 0;
    return r;
}

/* ---- steps within a part ---- */

/* Which way a scan goes and how far. */
struct way {
    bool backward;
    uint64_t limit;
};

static bool is_beyond(struct way way, uint64_t position)
{
    return way.backward ? position < way.limit : position > way.limit;
}

/* A step in one list; its term may have come into the table since the scan came here. */
static int list_step(const struct index_scan *scan, struct list *list, uint64_t from, struct way way,
                     uint64_t *position)
{
    if (list->in_run)
        return way.backward ? run_cursor_previous(&list->run, from, position)
                            : run_cursor_next(&list->run, from, position);
    if (!list->table.posting)
        posting_cursor_init(&list->table, table_find_term(part_of(scan)->table, list->term));
    *position = way.backward ? posting_previous(&list->table, from) : posting_next(&list->table, from);
    return 0;
}

/* Which of two positions comes first this way; 0 means none. */
static uint64_t nearer(uint64_t a, uint64_t b, struct way way)
{
    if (a == 0 || b == 0)
        return a | b;
    return (a < b) != way.backward ? a : b;
}

static int types_step(const struct index_scan *scan, struct scan_item *item, uint64_t from, struct way way,
                      uint64_t *position)
{
    uint64_t nearest = 0, answer;
    int r = 0;
    for (size_t i = 0; r == 0 && i < item->type_count && nearest != from; i++) {
        r = list_step(scan, &item->types[i], from, way, &answer);
        if (r == 0)
            nearest = nearer(nearest, answer, way);
    }
    *position = nearest;
    return r;
}

static int item_step(const struct index_scan *scan, struct scan_item *item, uint64_t from, struct way way,
                     uint64_t *position)
{
    size_t lists = item->tag_count + (item->type_count > 0 ? 1 : 0);
    size_t agreeing = 0;
    *position = 0;
    for (size_t i = 0; agreeing < lists; i = (i + 1) % lists) {
        uint64_t answer;
        int r = i < item->tag_count ? list_step(scan, &item->tags[i], from, way, &answer)
                                    : types_step(scan, item, from, way, &answer);
        if (r < 0 || answer == 0 || is_beyond(way, answer))
            return r;
        agreeing = answer == from ? agreeing + 1 : 1;
        from = answer;
    }
    *position = from;
    return 0;
}

static int stream_step(struct index_scan *scan, uint64_t from, struct way way, uint64_t *position)
{
    if (!scan->list.in_run && !scan->list.table.posting)
        bind_table_stream(scan, part_of(scan)->table);
    if (scan->list.in_run)
        return way.backward ? run_cursor_previous(&scan->list.run, from, position)
                            : run_cursor_next(&scan->list.run, from, position);
    *position = way.backward ? posting_previous(&scan->list.table, from) : posting_next(&scan->list.table, from);
    return 0;
}

/* The nearest candidate in the part where the scan is. */
static int part_step(struct index_scan *scan, uint64_t from, struct way way, uint64_t *position)
{
    uint64_t nearest = 0, answer;
    int r = 0;
    if (scan->of_stream) {
        r = stream_step(scan, from, way, &nearest);
    } else if (scan->item_count == 0) {
        nearest = from;
    }
    for (size_t i = 0; r == 0 && i < scan->item_count && nearest != from; i++) {
        r = item_step(scan, &scan->items[i], from, way, &answer);
        if (r == 0)
            nearest = nearer(nearest, answer, way);
    }
    *position = nearest == 0 || is_beyond(way, nearest) ? 0 : nearest;
    return r;
}

/* Go to the part that holds `from` and look there. *rest: where to go on if nothing is found; 0: nowhere. */
static int visit(struct index_scan *scan, uint64_t from, struct way way, uint64_t *position, uint64_t *rest)
{
    size_t at = parts_find(scan->parts, from);
    const struct part *part = &scan->parts->items[at];
    bool locked = at + 1 == scan->parts->count;
    if (locked)
        index_lock_read(scan->index);
    int r = bind(scan, at);
    uint64_t last = part->table ? part->table->last : part->last;
    struct way here = way;
    if (way.backward)
        here.limit = way.limit > part->first ? way.limit : part->first;
    else
        here.limit = way.limit < last ? way.limit : last;
    *position = 0;
    bool some = way.backward ? from >= here.limit : from <= here.limit;
    if (way.backward && from > last)
        from = last;
    if (r == 0 && some && from >= part->first)
        r = part_step(scan, from, here, position);
    if (locked)
        index_unlock(scan->index);
    if (way.backward)
        *rest = part->first > scan->index->base + 1 ? part->first - 1 : 0;
    else
        *rest = at + 1 < scan->parts->count ? part->last + 1 : 0;
    return r;
}

static int walk(struct index_scan *scan, uint64_t from, struct way way, uint64_t *ret_position)
{
    uint64_t position = 0;
    int r = 0;
    refresh(scan);
    while (r == 0 && position == 0 && from != 0 && !is_beyond(way, from))
        r = visit(scan, from, way, &position, &from);
    if (r < 0) {
        scan->bound = false;
        return index_run_failed(scan->index, r);
    }
    *ret_position = position;
    return 0;
}

int index_scan_next(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position)
{
    if (from <= scan->index->base)
        from = scan->index->base + 1;
    if (from <= limit && from <= index_last(scan->index))
        return walk(scan, from, (struct way){.limit = limit}, ret_position);
    *ret_position = 0;
    return 0;
}

int index_scan_previous(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position)
{
    uint64_t last = index_last(scan->index);
    if (from > last)
        from = last;
    if (from > scan->index->base && from >= limit)
        return walk(scan, from, (struct way){.backward = true, .limit = limit}, ret_position);
    *ret_position = 0;
    return 0;
}

/* ---- versions ---- */

/* In the part where the scan is: 0 and the position, or 0 and *side says on which side the version must be. */
static int version_in_part(struct index_scan *scan, uint64_t version, uint64_t *position, int *side)
{
    *position = 0;
    if (!scan->list.in_run && in_growing(scan) && version > scan->version_last)
        bind_table_stream(scan, part_of(scan)->table); /* it has grown, perhaps */
    *side = scan->version_last == 0 || version > scan->version_last ? 1 : version < scan->version_first ? -1 : 0;
    if (*side != 0)
        return 0;
    uint64_t number = version - scan->version_first; /* I3 */
    if (scan->list.in_run)
        return run_cursor_at(&scan->list.run, number, position);
    *position = posting_at(&scan->list.table, number);
    return 0;
}

static int visit_version(struct index_scan *scan, size_t at, uint64_t version, uint64_t *position, int *side)
{
    bool locked = at + 1 == scan->parts->count;
    if (locked)
        index_lock_read(scan->index);
    int r = bind(scan, at);
    if (r == 0)
        r = version_in_part(scan, version, position, side);
    if (locked)
        index_unlock(scan->index);
    return r;
}

int index_scan_version(struct index_scan *scan, uint64_t version, uint64_t *ret_position)
{
    uint64_t position = 0;
    assert(scan->of_stream && scan->index->base == 0);
    refresh(scan);
    size_t begin = scan->bound ? scan->at : 0, count = scan->parts->count;
    int r = 0;
    /* Readers mostly ask for the version behind the last one: from here on, and only then from the beginning. */
    for (size_t step = 0; r == 0 && position == 0 && version > 0 && step < count; step++) {
        int side;
        r = visit_version(scan, (begin + step) % count, version, &position, &side);
    }
    if (r < 0) {
        scan->bound = false;
        return index_run_failed(scan->index, r);
    }
    *ret_position = position;
    return 0;
}
