#include "lib/naive_journal.h"

#include <assert.h>
#include <stdlib.h>

enum { NAIVE_TAG_COUNT_MAX = 16 };

struct naive_event {
    struct journal_event event; /* spans are malloc'ed copies */
    struct bytes tags[NAIVE_TAG_COUNT_MAX];
    bool learnt;
};

struct naive_journal {
    struct naive_event *events;
    size_t count, capacity;
};

struct naive_journal *naive_new(void)
{
    struct naive_journal *naive = calloc(1, sizeof(*naive));
    assert(naive);
    return naive;
}

static void free_event(struct naive_event *naive)
{
    const struct bytes *spans[] = {&naive->event.stream,  &naive->event.type,         &naive->event.data,
                                   &naive->event.meta,    &naive->event.content_type, &naive->event.key,
                                   &naive->event.key_hash};
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++)
        free((void *)(uintptr_t)spans[i]->data);
    for (size_t i = 0; i < naive->event.tag_count; i++)
        free((void *)(uintptr_t)naive->tags[i].data);
}

void naive_cut(struct naive_journal *naive, uint64_t head)
{
    while (naive->count > head)
        free_event(&naive->events[--naive->count]);
}

void naive_free(struct naive_journal *naive)
{
    naive_cut(naive, 0);
    free(naive->events);
    free(naive);
}

static struct bytes copy(struct bytes bytes)
{
    uint8_t *data = malloc(bytes.size + 1);
    assert(data);
    if (bytes.size > 0)
        memcpy(data, bytes.data, bytes.size);
    return bytes_make(data, bytes.size);
}

/* A tag's place among sorted ones, without those that are there already. */
static void insert_tag(struct naive_event *naive, struct bytes tag)
{
    size_t at = 0;
    while (at < naive->event.tag_count && bytes_compare(naive->tags[at], tag) < 0)
        at++;
    if (at < naive->event.tag_count && bytes_equal(naive->tags[at], tag))
        return;
    assert(naive->event.tag_count < NAIVE_TAG_COUNT_MAX);
    memmove(&naive->tags[at + 1], &naive->tags[at], (naive->event.tag_count - at) * sizeof(tag));
    naive->tags[at] = copy(tag);
    naive->event.tag_count++;
}

static struct naive_event *add(struct naive_journal *naive)
{
    if (naive->count == naive->capacity) {
        naive->capacity = naive->capacity * 2 + 16;
        naive->events = realloc(naive->events, naive->capacity * sizeof(*naive->events));
        assert(naive->events);
    }
    naive->events[naive->count] = (struct naive_event){0};
    return &naive->events[naive->count++];
}

static const struct journal_event *at(const struct naive_journal *naive, size_t i)
{
    naive->events[i].event.tags = naive->events[i].tags;
    return &naive->events[i].event;
}

uint64_t naive_head(const struct naive_journal *naive)
{
    return naive->count;
}

uint64_t naive_stream_version(const struct naive_journal *naive, struct bytes stream)
{
    uint64_t version = 0;
    for (size_t i = 0; i < naive->count; i++)
        version += stream.size > 0 && bytes_equal(at(naive, i)->stream, stream);
    return version;
}

/* ---- matching, by the words of journal.h ---- */

static bool is_system(struct bytes name)
{
    return name.size > 0 && name.data[0] == '$';
}

static bool has_tag(const struct journal_event *event, struct bytes tag)
{
    for (size_t i = 0; i < event->tag_count; i++)
        if (bytes_equal(event->tags[i], tag))
            return true;
    return false;
}

static bool item_matches(const struct journal_item *item, const struct journal_event *event, bool system)
{
    bool type = item->type_count == 0;
    for (size_t i = 0; i < item->type_count; i++) {
        type |= bytes_equal(item->types[i], event->type);
        system |= is_system(item->types[i]);
    }
    for (size_t i = 0; i < item->tag_count; i++) {
        type &= has_tag(event, item->tags[i]);
        system |= is_system(item->tags[i]);
    }
    return type && (system || !(is_system(event->stream) || is_system(event->type)));
}

static bool matches(const struct journal_query *query, const struct journal_event *event, bool system)
{
    static const struct journal_item everything;
    if (!query || query->count == 0)
        return item_matches(&everything, event, system);
    for (size_t i = 0; i < query->count; i++)
        if (item_matches(&query->items[i], event, system))
            return true;
    return false;
}

/* ---- appending ---- */

static const struct journal_event *find_id(const struct naive_journal *naive, const uint8_t id[16])
{
    for (size_t i = 0; i < naive->count; i++)
        if (naive->events[i].learnt && memcmp(at(naive, i)->id, id, 16) == 0)
            return at(naive, i);
    return NULL;
}

static bool same_content(const struct journal_event *event, const struct journal_event_new *wanted)
{
    struct naive_event shape = {0};
    bool same = bytes_equal(event->stream, wanted->stream) && bytes_equal(event->type, wanted->type) &&
                (event->stub || (bytes_equal(event->data, wanted->data) &&
                                 bytes_equal(event->content_type, wanted->content_type)));
    for (size_t i = 0; i < wanted->tag_count; i++)
        insert_tag(&shape, wanted->tags[i]);
    same &= shape.event.tag_count == event->tag_count;
    for (size_t i = 0; same && i < shape.event.tag_count; i++)
        same = bytes_equal(shape.tags[i], event->tags[i]);
    free_event(&shape);
    return same;
}

/* 0: no id is known. 1: decided. */
static int check_ids(const struct naive_journal *naive, const struct journal_append *append,
                     struct journal_result *result)
{
    size_t known = 0;
    bool good = true;
    for (size_t i = 0; i < append->event_count; i++) {
        const struct journal_event *found =
            append->events[i].has_id ? find_id(naive, append->events[i].id) : NULL;
        for (size_t j = 0; j < i; j++)
            if (append->events[i].has_id && append->events[j].has_id &&
                memcmp(append->events[i].id, append->events[j].id, 16) == 0) {
                result->answer = JOURNAL_E_ID_REUSED;
                return 1;
            }
        if (!found)
            continue;
        good &= same_content(found, &append->events[i]);
        good &= known == 0 || (found->position > result->last &&
                               found->append_first == at(naive, result->first - 1)->append_first);
        if (known++ == 0)
            result->first = found->position;
        result->last = found->position;
    }
    if (known == 0)
        return 0;
    result->replayed = good && known == append->event_count;
    result->answer = result->replayed ? 0 : JOURNAL_E_ID_REUSED;
    return 1;
}

static size_t count_conflicts(const struct naive_journal *naive, const struct journal_append *append)
{
    size_t count = 0;
    for (size_t i = 0; i < append->expectation_count; i++) {
        const struct journal_expectation *expected = &append->expectations[i];
        uint64_t version = naive_stream_version(naive, expected->stream);
        count += (expected->expect == JOURNAL_EXPECT_NONE && version != 0) ||
                 (expected->expect == JOURNAL_EXPECT_EXISTS && version == 0) ||
                 (expected->expect == JOURNAL_EXPECT_VERSION && version != expected->version);
    }
    if (!append->condition)
        return count;
    const struct journal_query *query = &append->condition->query;
    if (append->condition->after > naive->count)
        return count + 1;
    for (size_t item = 0; item < query->count || (item == 0 && query->count == 0); item++) {
        struct journal_query one = {.items = query->items + item, .count = query->count > 0 ? 1 : 0};
        bool found = false;
        for (size_t i = append->condition->after; i < naive->count; i++)
            found |= matches(&one, at(naive, i), false);
        count += found;
    }
    return count;
}

void naive_append(struct naive_journal *naive, const struct journal_append *append,
                  struct journal_result *ret_result)
{
    *ret_result = (struct journal_result){0};
    if (check_ids(naive, append, ret_result))
        return;
    ret_result->conflict_count = count_conflicts(naive, append);
    if (ret_result->conflict_count > 0) {
        ret_result->answer = JOURNAL_E_CONFLICT;
        return;
    }
    ret_result->first = naive->count + 1;
    ret_result->last = naive->count + append->event_count;
    for (size_t i = 0; i < append->event_count; i++) {
        const struct journal_event_new *wanted = &append->events[i];
        uint64_t version = wanted->stream.size > 0 ? naive_stream_version(naive, wanted->stream) + 1 : 0;
        struct naive_event *event = add(naive);
        event->event = (struct journal_event){.position = naive->count,
                                              .version = version,
                                              .append_first = ret_result->first,
                                              .append_count = (uint32_t)append->event_count,
                                              .stream = copy(wanted->stream),
                                              .type = copy(wanted->type),
                                              .content_type = copy(wanted->content_type),
                                              .data = copy(wanted->data),
                                              .meta = copy(wanted->meta),
                                              .key = copy(append->key),
                                              .key_hash = copy(append->key_hash)};
        memcpy(event->event.id, wanted->id, 16);
        event->learnt = wanted->has_id;
        for (size_t j = 0; j < wanted->tag_count; j++)
            insert_tag(event, wanted->tags[j]);
    }
}

/* ---- comparing ---- */

void naive_learn(struct naive_journal *naive, const struct journal_event *event)
{
    assert(event->position >= 1 && event->position <= naive->count);
    struct naive_event *mine = &naive->events[event->position - 1];
    assert(event->version == mine->event.version);
    assert(event->append_first == mine->event.append_first &&
           event->append_count == mine->event.append_count);
    assert(bytes_equal(event->stream, mine->event.stream) && bytes_equal(event->type, mine->event.type));
    if (!mine->event.stub) {
        assert(bytes_equal(event->data, mine->event.data) && bytes_equal(event->meta, mine->event.meta));
        assert(bytes_equal(event->content_type, mine->event.content_type));
    }
    assert(bytes_equal(event->key, mine->event.key) && bytes_equal(event->key_hash, mine->event.key_hash));
    assert(event->tag_count == mine->event.tag_count);
    for (size_t i = 0; i < event->tag_count; i++)
        assert(bytes_equal(event->tags[i], mine->tags[i]));
    if (mine->learnt)
        assert(memcmp(event->id, mine->event.id, 16) == 0);
    memcpy(mine->event.id, event->id, 16);
    mine->event.time_us = event->time_us;
    mine->learnt = true;
}

void naive_forget(struct naive_journal *naive, uint64_t position)
{
    assert(position >= 1 && position <= naive->count);
    naive->events[position - 1].event.stub = true;
}

void naive_adopt(struct naive_journal *naive, const struct journal_event *event)
{
    assert(event->position == naive->count + 1);
    struct naive_event *mine = add(naive);
    mine->event = *event;
    mine->event.stream = copy(event->stream);
    mine->event.type = copy(event->type);
    mine->event.content_type = copy(event->content_type);
    mine->event.data = copy(event->data);
    mine->event.meta = copy(event->meta);
    mine->event.key = copy(event->key);
    mine->event.key_hash = copy(event->key_hash);
    mine->event.tag_count = 0;
    mine->learnt = true;
    for (size_t i = 0; i < event->tag_count; i++)
        insert_tag(mine, event->tags[i]);
}

static bool within(const struct journal_read *read, const struct journal_event *event)
{
    bool by_version = read->stream.size > 0 && !read->by_position;
    uint64_t place = by_version ? event->version : event->position;
    if (read->stream.size > 0 && !bytes_equal(event->stream, read->stream))
        return false;
    return place > read->after && (read->before == 0 || place < read->before);
}

size_t naive_read(const struct naive_journal *naive, const struct journal_read *read, uint64_t *ret_positions,
                  size_t max)
{
    size_t count = 0;
    for (size_t step = 0; step < naive->count && count < max; step++) {
        size_t i = read->direction == JOURNAL_BACKWARD ? naive->count - 1 - step : step;
        if (within(read, at(naive, i)) && matches(read->query, at(naive, i), read->system))
            ret_positions[count++] = i + 1;
    }
    return count;
}
