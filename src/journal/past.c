#include "journal/past.h"

#include <assert.h>

#include "journal/query.h"

int past_init(struct past *past, struct log *log, const uint8_t key[16], const struct index *durable)
{
    past->durable = durable;
    past->layer_count = 0;
    past->era = 0;
    memcpy(past->key, key, sizeof(past->key));
    return fetch_init(&past->fetch, log);
}

void past_deinit(struct past *past)
{
    fetch_deinit(&past->fetch);
}

/* ---- layers ---- */

static struct layer *top_of(const struct past *past)
{
    return past->layer_count > 0 ? past->layers[past->layer_count - 1] : NULL;
}

uint64_t past_tail(const struct past *past)
{
    return past->layer_count > 0 ? layer_last(top_of(past)) : index_last(past->durable);
}

void past_begin(struct past *past, struct layer *layer)
{
    assert(past->layer_count < JOURNAL_BATCHES_IN_FLIGHT_MAX);
    layer_begin(layer, past_tail(past), past->key);
    past->layers[past->layer_count++] = layer;
}

void past_settle(struct past *past)
{
    assert(past->layer_count > 0 && layer_last(past->layers[0]) == index_last(past->durable)); /* J3 */
    past->layer_count--;
    memmove(past->layers, past->layers + 1, past->layer_count * sizeof(past->layers[0]));
}

void past_drop(struct past *past)
{
    past->layer_count = 0;
    past->era++;
}

int past_push(struct past *past, const struct journal_event *event)
{
    return layer_push(top_of(past), event);
}

int past_event(struct past *past, uint64_t position, struct journal_event *ret_event)
{
    assert(position > 0 && position <= past_tail(past));
    for (size_t i = past->layer_count; i-- > 0;)
        if (position > past->layers[i]->base) {
            *ret_event = *layer_event(past->layers[i], position);
            return 0;
        }
    return fetch_event(&past->fetch, position, ret_event);
}

/* ---- streams ---- */

/* The newest event of a stream in a layer; NULL: there is none. */
static int newest_in(struct layer *layer, struct bytes stream, const struct journal_event **ret_event)
{
    struct layer_chain chain;
    int r = layer_find(layer, LAYER_STREAM, stream, &chain);
    *ret_event = NULL;
    if (r < 0)
        return r;
    uint64_t position = layer_chain_last(layer, &chain);
    if (position == 0)
        return 0;
    const struct journal_event *event = layer_event(layer, position);
    if (bytes_equal(event->stream, stream)) {
        *ret_event = event;
        return 0;
    }
    /* Two names have one hash: it is one of the others, if any. */
    for (uint64_t from = 1; (position = layer_chain_next(layer, &chain, from)) != 0; from = position + 1) {
        event = layer_event(layer, position);
        if (bytes_equal(event->stream, stream))
            *ret_event = event;
    }
    return 0;
}

/* An append mostly goes on with the stream it has just named. */
static const struct journal_event *just_pushed(const struct past *past)
{
    const struct layer *top = top_of(past);
    return top && top->event_count > 0 ? &top->events[top->event_count - 1] : NULL;
}

int past_stream_version(const struct past *past, struct bytes stream, uint64_t *ret_version)
{
    const struct journal_event *event = just_pushed(past);
    if (event && bytes_equal(event->stream, stream)) {
        *ret_version = event->version;
        return 0;
    }
    for (size_t i = past->layer_count; i-- > 0;) {
        if (past->layers[i]->event_count == 0)
            continue;
        int r = newest_in(past->layers[i], stream, &event);
        if (r < 0)
            return r;
        if (event) {
            *ret_version = event->version;
            return 0;
        }
    }
    return index_stream_version(past->durable, stream, ret_version);
}

/* ---- ids and keys: candidates, settled on the event ---- */

/* What is looked for, and how it is found in a layer and in the index. */
struct sought {
    enum layer_kind kind;
    struct bytes what;
    int (*find)(const struct index *index, struct bytes what, struct index_probe *probe,
                uint64_t *ret_position);
};

static int find_id(const struct index *index, struct bytes what, struct index_probe *probe,
                   uint64_t *ret_position)
{
    return index_find_id(index, what.data, probe, ret_position);
}

static bool is_sought(const struct journal_event *event, const struct sought *sought)
{
    struct bytes id = bytes_make(event->id, sizeof(event->id));
    return bytes_equal(sought->kind == LAYER_ID ? id : event->key, sought->what);
}

static int find_in_layer(struct layer *layer, const struct sought *sought, struct journal_event *ret_event)
{
    struct layer_chain chain;
    if (layer->event_count == 0)
        return PAST_E_NONE;
    int r = layer_find(layer, sought->kind, sought->what, &chain);
    if (r < 0)
        return r;
    for (uint64_t from = 1, position; (position = layer_chain_next(layer, &chain, from)) != 0;
         from = position + 1) {
        const struct journal_event *event = layer_event(layer, position);
        if (is_sought(event, sought)) {
            *ret_event = *event;
            return 0;
        }
    }
    return PAST_E_NONE;
}

static int find_durable(struct past *past, const struct sought *sought, struct journal_event *ret_event)
{
    struct index_probe probe = {0};
    for (;;) {
        struct journal_event event;
        uint64_t position;
        int r = sought->find(past->durable, sought->what, &probe, &position);
        if (r == 0 && position == 0)
            return PAST_E_NONE;
        if (r == 0)
            r = fetch_event(&past->fetch, position, &event);
        if (r < 0)
            return r;
        if (is_sought(&event, sought)) {
            *ret_event = event;
            return 0;
        }
    }
}

static int find_anywhere(struct past *past, const struct sought *sought, struct journal_event *ret_event)
{
    for (size_t i = past->layer_count; i-- > 0;) {
        int r = find_in_layer(past->layers[i], sought, ret_event);
        if (r != PAST_E_NONE)
            return r;
    }
    return find_durable(past, sought, ret_event);
}

int past_find_id(struct past *past, const uint8_t id[16], struct journal_event *ret_event)
{
    struct sought sought = {LAYER_ID, bytes_make(id, 16), find_id};
    return find_anywhere(past, &sought, ret_event);
}

int past_find_key(struct past *past, struct bytes key, struct journal_event *ret_event)
{
    struct sought sought = {LAYER_KEY, key, index_find_key};
    return find_anywhere(past, &sought, ret_event);
}

/* ---- queries: the durable part, then the layers ---- */

struct each {
    struct past *past;
    const struct journal_query *query;
    int (*each)(void *user, const struct journal_event *event);
    void *user;
};

static int each_durable(const struct each *each, struct arena *arena, uint64_t after)
{
    const struct index *index = each->past->durable;
    struct index_scan *scan;
    if (after >= index_last(index))
        return 0;
    int r = index_scan_new(index, each->query, arena, &scan);
    if (r < 0)
        return r;
    while (r == 0 && (r = index_scan_next(scan, after + 1, UINT64_MAX, &after)) == 0 && after != 0) {
        struct journal_event event;
        r = fetch_event(&each->past->fetch, after, &event);
        if (r == 0 && query_matches(each->query, &event, false))
            r = each->each(each->user, &event);
    }
    index_scan_end(scan);
    return r;
}

static int each_in_layer(const struct each *each, struct layer *layer, uint64_t after)
{
    struct layer_scan scan;
    if (after >= layer_last(layer) || layer->event_count == 0)
        return 0;
    int r = layer_scan_begin(layer, each->query, after, &scan);
    while (r == 0 && (after = layer_scan_next(&scan, after + 1)) != 0) {
        const struct journal_event *event = layer_event(layer, after);
        if (query_matches(each->query, event, false))
            r = each->each(each->user, event);
    }
    return r;
}

int past_each(struct past *past, struct arena *arena, const struct journal_query *query, uint64_t after,
              int (*each)(void *user, const struct journal_event *event), void *user)
{
    struct each all = {.past = past, .query = query, .each = each, .user = user};
    int r = each_durable(&all, arena, after);
    for (size_t i = 0; r == 0 && i < past->layer_count; i++)
        r = each_in_layer(&all, past->layers[i], after);
    return r;
}

static int count_durable(const struct index *index, struct arena *arena, const struct journal_query *query,
                         uint64_t after, uint64_t limit, uint64_t *count)
{
    struct index_scan *scan;
    if (after >= index_last(index))
        return 0;
    int r = index_scan_new(index, query, arena, &scan);
    if (r < 0)
        return r;
    while (*count < limit && (r = index_scan_next(scan, after + 1, UINT64_MAX, &after)) == 0 && after != 0)
        *count += 1;
    index_scan_end(scan);
    return r;
}

static int count_in_layer(struct layer *layer, const struct journal_query *query, uint64_t after,
                          uint64_t limit, uint64_t *count)
{
    struct layer_scan scan;
    if (after >= layer_last(layer) || layer->event_count == 0)
        return 0;
    int r = layer_scan_begin(layer, query, after, &scan);
    while (r == 0 && *count < limit && (after = layer_scan_next(&scan, after + 1)) != 0)
        *count += 1;
    return r;
}

int past_count(struct past *past, struct arena *arena, const struct journal_query *query, uint64_t after,
               uint64_t limit, uint64_t *ret_count)
{
    uint64_t count = 0;
    int r = count_durable(past->durable, arena, query, after, limit, &count);
    for (size_t i = 0; r == 0 && i < past->layer_count; i++)
        r = count_in_layer(past->layers[i], query, after, limit, &count);
    if (r == 0)
        *ret_count = count;
    return r;
}

static int stop_at(void *user, const struct journal_event *event)
{
    *(uint64_t *)user = event->position;
    return 1;
}

int past_first_match(struct past *past, struct arena *arena, const struct journal_item *item, uint64_t after,
                     uint64_t *ret_position)
{
    uint64_t position = 0;
    bool everything = item->type_count == 0 && item->tag_count == 0, may;
    struct journal_query query = {.items = everything ? NULL : item, .count = everything ? 0 : 1};
    struct each first = {.past = past, .query = &query, .each = stop_at, .user = &position};
    int r = index_may_match(past->durable, item, after, &may);
    if (r == 0 && may)
        r = each_durable(&first, arena, after);
    for (size_t i = 0; r == 0 && i < past->layer_count; i++)
        r = each_in_layer(&first, past->layers[i], after);
    if (r < 0)
        return r;
    if (position == 0)
        return PAST_E_NONE;
    *ret_position = position;
    return 0;
}
