#include "journal/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal/query.h"
#include "journal/seal.h"

/* ---- what is stored of an event ---- */

static int order_tags(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool tags_ascend(const struct journal_event_new *event)
{
    for (size_t i = 1; i < event->tag_count; i++)
        if (bytes_compare(event->tags[i - 1], event->tags[i]) >= 0)
            return false;
    return true;
}

int check_sort_tags(struct arena *arena, const struct journal_event_new *event, const struct bytes **ret_tags,
                    size_t *ret_count)
{
    if (tags_ascend(event)) { /* one always does */
        *ret_tags = event->tags;
        *ret_count = event->tag_count;
        return 0;
    }
    struct bytes *tags = arena_alloc_array(arena, event->tag_count, sizeof(*tags));
    size_t count = 0;
    if (!tags)
        return -ENOMEM;
    memcpy(tags, event->tags, event->tag_count * sizeof(*tags));
    qsort(tags, event->tag_count, sizeof(*tags), order_tags);
    for (size_t i = 0; i < event->tag_count; i++)
        if (count == 0 || !bytes_equal(tags[count - 1], tags[i]))
            tags[count++] = tags[i];
    *ret_tags = tags;
    *ret_count = count;
    return 0;
}

struct bytes check_content_type(struct bytes content_type)
{
    return bytes_equal_string(content_type, "application/json") ? (struct bytes){0} : content_type;
}

void check_note_version(struct journal_stream_version *streams, size_t *count, struct bytes stream,
                        uint64_t version)
{
    if (stream.size == 0)
        return;
    /* Backwards: an append mostly stays with the stream it has just named. */
    for (size_t i = *count; i-- > 0;)
        if (bytes_equal(streams[i].stream, stream)) {
            streams[i].version = version;
            return;
        }
    streams[(*count)++] = (struct journal_stream_version){.stream = stream, .version = version};
}

/* ---- ids ---- */

/* Daybook's own tag does not count. */
static bool same_tags(const struct journal_event *event, const struct bytes *tags, size_t tag_count)
{
    size_t at = 0;
    for (size_t i = 0; i < event->tag_count; i++) {
        if (seal_is_own_tag(event->tags[i]))
            continue;
        if (at == tag_count || !bytes_equal(event->tags[i], tags[at]))
            return false;
        at++;
    }
    return at == tag_count;
}

/* Meta and time do not count; data that is gone, or sealed away, cannot be compared. */
static bool same_content(const struct journal_event *event, const struct journal_event_new *wanted,
                         const struct bytes *tags, size_t tag_count)
{
    if (!bytes_equal(event->stream, wanted->stream) || !bytes_equal(event->type, wanted->type) ||
        !same_tags(event, tags, tag_count))
        return false;
    if (event->stub || event->erased || event->sealed)
        return true;
    return (bytes_equal(event->subject, wanted->subject) && bytes_equal(event->data, wanted->data) &&
            bytes_equal(event->content_type, check_content_type(wanted->content_type)));
}

_printf_(3, 4) static int reused(struct journal_result *result, size_t index, const char *format, ...)
{
    va_list arguments;
    result->answer = JOURNAL_E_ID_REUSED;
    result->index = index;
    va_start(arguments, format);
    vsnprintf(result->detail, sizeof(result->detail), format, arguments);
    va_end(arguments);
    return 1;
}

/* The same id twice in one append can only be a mistake: the second would be a reuse of the first. */
static int order_ids(const void *a, const void *b, void *events_pointer)
{
    const struct journal_event_new *events = events_pointer;
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    int order = memcmp(events[left].id, events[right].id, sizeof(events[left].id));
    return order != 0 ? order : (left > right) - (left < right);
}

static int check_twice(struct arena *arena, const struct journal_append *append,
                       struct journal_result *result)
{
    size_t count = 0;
    size_t *order = arena_alloc_array(arena, append->event_count, sizeof(*order));
    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < append->event_count; i++)
        if (append->events[i].has_id)
            order[count++] = i;
    if (count < 2)
        return 0;
    qsort_r(order, count, sizeof(*order), order_ids, (void *)(uintptr_t)append->events);
    for (size_t i = 1; i < count; i++)
        if (memcmp(append->events[order[i - 1]].id, append->events[order[i]].id, 16) == 0)
            return reused(result, order[i], "events %zu and %zu have the same id", order[i - 1], order[i]);
    return 0;
}

/* What has been found of a possible replay so far. */
struct replay {
    size_t known;
    uint64_t append_first, first, last;
    struct journal_stream_version *streams;
    size_t stream_count;
};

/* Event `index` is known: does it go on with the replay? */
static int replay_step(struct replay *replay, struct arena *arena, const struct journal_append *append,
                       size_t index, const struct journal_event *event, struct journal_result *result)
{
    const struct journal_event_new *wanted = &append->events[index];
    const struct bytes *tags;
    struct bytes stream;
    size_t tag_count;
    int r = check_sort_tags(arena, wanted, &tags, &tag_count);
    if (r < 0)
        return r;
    if (!same_content(event, wanted, tags, tag_count))
        return reused(result, index, "the id of event %zu is that of another event, at position %" PRIu64,
                      index, event->position);
    if (replay->known < index)
        return reused(result, index, "only some of the events are known: %zu is, at position %" PRIu64, index,
                      event->position);
    if (replay->known > 0 && (event->append_first != replay->append_first || event->position <= replay->last))
        return reused(result, index, "the events are known, but not in this order from one append");
    if (replay->known == 0) {
        replay->append_first = event->append_first;
        replay->first = event->position;
        replay->streams = arena_alloc_array(arena, append->event_count, sizeof(*replay->streams));
        if (!replay->streams)
            return -ENOMEM;
    }
    r = arena_copy(arena, event->stream, &stream);
    if (r < 0)
        return r;
    check_note_version(replay->streams, &replay->stream_count, stream, event->version);
    replay->last = event->position;
    replay->known++;
    return 0;
}

int check_ids(struct past *past, struct arena *arena, const struct journal_append *append,
              struct journal_result *result)
{
    struct replay replay = {0};
    int r = check_twice(arena, append, result);
    for (size_t i = 0; r == 0 && i < append->event_count; i++) {
        struct journal_event event;
        if (!append->events[i].has_id)
            continue;
        r = past_find_id(past, append->events[i].id, &event);
        if (r == 0)
            r = replay_step(&replay, arena, append, i, &event, result);
        else if (r == PAST_E_NONE)
            r = 0;
    }
    if (r != 0 || replay.known == 0)
        return r;
    if (replay.known < append->event_count)
        return reused(result, replay.known, "only some of the events are known: %zu is not", replay.known);
    result->answer = 0;
    result->replayed = true;
    result->first = replay.first;
    result->last = replay.last;
    result->streams = replay.streams;
    result->stream_count = replay.stream_count;
    return 1;
}

/* ---- expected versions and the condition ---- */

static bool expectation_holds(const struct journal_expectation *expectation, uint64_t version)
{
    switch (expectation->expect) {
    case JOURNAL_EXPECT_ANY: return true;
    case JOURNAL_EXPECT_NONE: return version == 0;
    case JOURNAL_EXPECT_EXISTS: return version > 0;
    case JOURNAL_EXPECT_VERSION: return version == expectation->version;
    }
    return false;
}

static int check_versions(const struct past *past, const struct journal_append *append,
                          struct journal_conflict *conflicts, size_t *count)
{
    for (size_t i = 0; i < append->expectation_count; i++) {
        const struct journal_expectation *expectation = &append->expectations[i];
        uint64_t version;
        int r = past_stream_version(past, expectation->stream, &version);
        if (r < 0)
            return r;
        if (!expectation_holds(expectation, version))
            conflicts[(*count)++] = (struct journal_conflict){.stream = expectation->stream,
                                                              .expect = expectation->expect,
                                                              .expected = expectation->version,
                                                              .actual = version};
    }
    return 0;
}

static int check_condition(struct past *past, struct arena *arena, const struct journal_condition *condition,
                           struct journal_conflict *conflicts, size_t *count)
{
    static const struct journal_item everything = {0};
    const struct journal_query *query = &condition->query;
    size_t items = query->count > 0 ? query->count : 1;
    if (condition->after > past_tail(past)) {
        conflicts[(*count)++] = (struct journal_conflict){
            .beyond = true, .expected = condition->after, .actual = past_tail(past)};
        return 0;
    }
    for (size_t i = 0; i < items; i++) {
        uint64_t position;
        int r = past_first_match(past, arena, query->count > 0 ? &query->items[i] : &everything,
                                 condition->after, &position);
        if (r < 0)
            return r;
        if (r == 0)
            conflicts[(*count)++] = (struct journal_conflict){.item = i, .position = position};
    }
    return 0;
}

static void describe(struct journal_result *result)
{
    const struct journal_conflict *first = &result->conflicts[0];
    if (first->stream.size > 0)
        snprintf(result->detail, sizeof(result->detail),
                 "stream %.*s is at version %" PRIu64 ", not as expected",
                 (int)(first->stream.size < 100 ? first->stream.size : 100), (const char *)first->stream.data,
                 first->actual);
    else if (first->beyond)
        snprintf(result->detail, sizeof(result->detail),
                 "the condition begins after position %" PRIu64 ", but the journal ends at %" PRIu64
                 ": what it was read from is not in this journal",
                 first->expected, first->actual);
    else
        snprintf(result->detail, sizeof(result->detail),
                 "the event at position %" PRIu64 " matches item %zu of the condition", first->position,
                 first->item);
}

int check_guards(struct past *past, struct arena *arena, const struct journal_append *append,
                 struct journal_result *result)
{
    size_t count = 0;
    size_t room = append->expectation_count + (append->condition ? append->condition->query.count + 1 : 0);
    if (room == 0)
        return 0;
    struct journal_conflict *conflicts = arena_alloc_array(arena, room, sizeof(*conflicts));
    if (!conflicts)
        return -ENOMEM;
    int r = check_versions(past, append, conflicts, &count);
    if (r == 0 && append->condition)
        r = check_condition(past, arena, append->condition, conflicts, &count);
    if (r < 0)
        return r;
    assert(count <= room);
    if (count == 0)
        return 0;
    result->answer = JOURNAL_E_CONFLICT;
    result->conflicts = conflicts;
    result->conflict_count = count;
    describe(result);
    return 1;
}
