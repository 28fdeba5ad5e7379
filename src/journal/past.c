#include "journal/past.h"

#include <assert.h>
#include <stdlib.h>

#include "base/vector.h"
#include "journal/query.h"

int past_init(struct past *past, struct log *log, const uint8_t key[16], const struct index *durable)
{
    past->durable = durable;
    past->upper = NULL;
    past->events = NULL;
    past->event_count = past->event_capacity = 0;
    memcpy(past->key, key, sizeof(past->key));
    int r = fetch_init(&past->fetch, log);
    return r == 0 ? past_rebase(past) : r;
}

void past_deinit(struct past *past)
{
    index_free(past->upper);
    free(past->events);
    fetch_deinit(&past->fetch);
    past->upper = NULL;
    past->events = NULL;
}

int past_rebase(struct past *past)
{
    struct index *upper;
    past->event_count = 0;
    /* An upper part that is still empty above the same base serves again. */
    if (past->upper && index_last(past->upper) == index_base(past->upper) &&
        index_base(past->upper) == index_last(past->durable))
        return 0;
    int r = index_new(past->key, index_last(past->durable), 0, &upper);
    if (r < 0)
        return r;
    index_free(past->upper);
    past->upper = upper;
    return 0;
}

int past_push(struct past *past, const struct journal_event *event)
{
    int r = vector_reserve(&past->events, &past->event_capacity, past->event_count + 1);
    if (r == 0)
        r = index_add(past->upper, event);
    if (r == 0)
        past->events[past->event_count++] = *event;
    return r;
}

uint64_t past_tail(const struct past *past)
{
    return index_last(past->upper);
}

int past_stream_version(const struct past *past, struct bytes stream, uint64_t *ret_version)
{
    uint64_t version = 0;
    int r = past->event_count > 0 ? index_stream_version(past->upper, stream, &version) : 0;
    if (r == 0 && version == 0)
        r = index_stream_version(past->durable, stream, &version);
    if (r == 0)
        *ret_version = version;
    return r;
}

int past_event(struct past *past, uint64_t position, struct journal_event *ret_event)
{
    uint64_t base = index_base(past->upper);
    assert(position > 0 && position <= past_tail(past));
    if (position <= base)
        return fetch_event(&past->fetch, position, ret_event);
    *ret_event = past->events[position - base - 1];
    return 0;
}

/* ---- ids and keys: candidates, settled on the event ---- */

typedef bool same_function(const struct journal_event *event, struct bytes what);
typedef int find_function(const struct index *index, struct bytes what, struct index_probe *probe,
                          uint64_t *ret_position);

static bool same_id(const struct journal_event *event, struct bytes what)
{
    return bytes_equal(bytes_make(event->id, sizeof(event->id)), what);
}

static bool same_key(const struct journal_event *event, struct bytes what)
{
    return bytes_equal(event->key, what);
}

static int find_id(const struct index *index, struct bytes what, struct index_probe *probe,
                   uint64_t *ret_position)
{
    return index_find_id(index, what.data, probe, ret_position);
}

static int find_in(struct past *past, const struct index *index, struct bytes what, find_function *find,
                   same_function *same, struct journal_event *ret_event)
{
    struct index_probe probe = {0};
    for (;;) {
        struct journal_event event;
        uint64_t position;
        int r = find(index, what, &probe, &position);
        if (r == 0 && position == 0)
            return PAST_E_NONE;
        if (r == 0)
            r = past_event(past, position, &event);
        if (r < 0)
            return r;
        if (same(&event, what)) {
            *ret_event = event;
            return 0;
        }
    }
}

static int find_anywhere(struct past *past, struct bytes what, find_function *find, same_function *same,
                         struct journal_event *ret_event)
{
    int r = find_in(past, past->upper, what, find, same, ret_event);
    return r == PAST_E_NONE ? find_in(past, past->durable, what, find, same, ret_event) : r;
}

int past_find_id(struct past *past, const uint8_t id[16], struct journal_event *ret_event)
{
    return find_anywhere(past, bytes_make(id, 16), find_id, same_id, ret_event);
}

int past_find_key(struct past *past, struct bytes key, struct journal_event *ret_event)
{
    return find_anywhere(past, key, index_find_key, same_key, ret_event);
}

/* ---- queries: the durable part, then the upper one ---- */

struct each {
    struct past *past;
    const struct journal_query *query;
    int (*each)(void *user, const struct journal_event *event);
    void *user;
};

static int each_in(const struct each *each, const struct index *index, struct arena *arena, uint64_t after)
{
    struct index_scan *scan;
    if (after >= index_last(index))
        return 0;
    int r = index_scan_new(index, each->query, arena, &scan);
    if (r < 0)
        return r;
    while (r == 0 && (r = index_scan_next(scan, after + 1, UINT64_MAX, &after)) == 0 && after != 0) {
        struct journal_event event;
        r = past_event(each->past, after, &event);
        if (r == 0 && query_matches(each->query, &event, false))
            r = each->each(each->user, &event);
    }
    index_scan_end(scan);
    return r;
}

int past_each(struct past *past, struct arena *arena, const struct journal_query *query, uint64_t after,
              int (*each)(void *user, const struct journal_event *event), void *user)
{
    struct each all = {.past = past, .query = query, .each = each, .user = user};
    int r = each_in(&all, past->durable, arena, after);
    return r == 0 ? each_in(&all, past->upper, arena, after) : r;
}

static int count_in(const struct index *index, struct arena *arena, const struct journal_query *query,
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

int past_count(struct past *past, struct arena *arena, const struct journal_query *query, uint64_t after,
               uint64_t limit, uint64_t *ret_count)
{
    uint64_t count = 0;
    int r = count_in(past->durable, arena, query, after, limit, &count);
    if (r == 0)
        r = count_in(past->upper, arena, query, after, limit, &count);
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
    bool everything = item->type_count == 0 && item->tag_count == 0;
    struct journal_query query = {.items = everything ? NULL : item, .count = everything ? 0 : 1};
    bool may;
    int r = index_may_match(past->upper, item, after, &may);
    if (r == 0 && !may)
        r = index_may_match(past->durable, item, after, &may);
    if (r == 0 && !may)
        return PAST_E_NONE;
    if (r == 0)
        r = past_each(past, arena, &query, after, stop_at, &position);
    if (r < 0)
        return r;
    if (position == 0)
        return PAST_E_NONE;
    *ret_position = position;
    return 0;
}
