#include "journal/query.h"

#include <stdio.h>

#include "base/names.h"

bool query_name_is_system(struct bytes name)
{
    return name.size > 0 && name.data[0] == '$';
}

bool query_event_is_system(const struct journal_event *event)
{
    return query_name_is_system(event->stream) || query_name_is_system(event->type);
}

/* ---- matching ---- */

static bool event_has_tag(const struct journal_event *event, struct bytes tag)
{
    size_t low = 0, high = event->tag_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(event->tags[middle], tag);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool item_names_system(const struct journal_item *item)
{
    for (size_t i = 0; i < item->type_count; i++)
        if (query_name_is_system(item->types[i]))
            return true;
    for (size_t i = 0; i < item->tag_count; i++)
        if (query_name_is_system(item->tags[i]))
            return true;
    return false;
}

static bool item_has_type(const struct journal_item *item, struct bytes type)
{
    for (size_t i = 0; i < item->type_count; i++)
        if (bytes_equal(item->types[i], type))
            return true;
    return item->type_count == 0;
}

bool query_item_matches(const struct journal_item *item, const struct journal_event *event, bool system)
{
    if (!item_has_type(item, event->type))
        return false;
    for (size_t i = 0; i < item->tag_count; i++)
        if (!event_has_tag(event, item->tags[i]))
            return false;
    return system || !query_event_is_system(event) || item_names_system(item);
}

bool query_matches(const struct journal_query *query, const struct journal_event *event, bool system)
{
    for (size_t i = 0; i < query->count; i++)
        if (query_item_matches(&query->items[i], event, system))
            return true;
    return query->count == 0 && (system || !query_event_is_system(event));
}

/* ---- checking ---- */

static int check_names(const char *what, enum name_kind kind, const struct bytes *names, size_t count,
                       size_t item, char ret_detail[256])
{
    for (size_t i = 0; i < count; i++) {
        int broken = name_check(kind, names[i]);
        if (broken == 0 || broken == NAME_E_SYSTEM)
            continue;
        snprintf(ret_detail, 256, "%s %zu of item %zu %s", what, i, item, name_rule(broken));
        return JOURNAL_E_INVALID;
    }
    return 0;
}

int query_check(const struct journal_query *query, char ret_detail[256])
{
    size_t terms = 0;
    if (query->count > JOURNAL_ITEM_COUNT_MAX) {
        snprintf(ret_detail, 256, "a query has at most %d items", JOURNAL_ITEM_COUNT_MAX);
        return JOURNAL_E_INVALID;
    }
    for (size_t i = 0; i < query->count; i++) {
        const struct journal_item *item = &query->items[i];
        terms += item->type_count + item->tag_count;
        if (item->type_count == 0 && item->tag_count == 0) {
            snprintf(ret_detail, 256, "item %zu has neither types nor tags", i);
            return JOURNAL_E_INVALID;
        }
        if (terms > JOURNAL_QUERY_TERM_COUNT_MAX) {
            snprintf(ret_detail, 256, "a query has at most %d types and tags in all",
                     JOURNAL_QUERY_TERM_COUNT_MAX);
            return JOURNAL_E_INVALID;
        }
        int r = check_names("type", NAME_TYPE, item->types, item->type_count, i, ret_detail);
        if (r == 0)
            r = check_names("tag", NAME_TAG, item->tags, item->tag_count, i, ret_detail);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- copying ---- */

static int copy_names(struct arena *arena, const struct bytes *names, size_t count,
                      const struct bytes **ret_copy)
{
    struct bytes *copy = arena_alloc_array(arena, count, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int r = arena_copy(arena, names[i], &copy[i]);
        if (r < 0)
            return r;
    }
    *ret_copy = copy;
    return 0;
}

int query_copy(struct arena *arena, const struct journal_query *query, struct journal_query *ret_copy)
{
    struct journal_item *items = arena_alloc_array(arena, query->count, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < query->count; i++) {
        items[i].type_count = query->items[i].type_count;
        items[i].tag_count = query->items[i].tag_count;
        int r = copy_names(arena, query->items[i].types, items[i].type_count, &items[i].types);
        if (r == 0)
            r = copy_names(arena, query->items[i].tags, items[i].tag_count, &items[i].tags);
        if (r < 0)
            return r;
    }
    *ret_copy = (struct journal_query){.items = items, .count = query->count};
    return 0;
}
