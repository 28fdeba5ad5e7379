/* Appends, conditions, expectations and the request around them; append_json_walk.h has the way it goes. */

#include "journal/append_json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/append_json_walk.h"

enum {
    PATH_SIZE_MAX = 16 * 1024,
    TEXT_SIZE_FIRST = 500, /* room for everyday data from the start */
};

/* ---- an append ---- */

static int take_events(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    int r = 0;
    size_t count = 0;
    if (!append_json_expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) == 0)
        return append_json_violation(parser, "must have at least one event");
    if (json_count(value) > JOURNAL_EVENT_COUNT_MAX)
        return append_json_violation(parser, "has more than %d events", JOURNAL_EVENT_COUNT_MAX);
    struct journal_event_new *events =
        arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*events));
    if (!events)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = append_json_path_enter_index(parser, count);
        r = append_json_take_event(parser, item.value, &events[count++]);
        append_json_path_leave(parser, before);
    }
    append->events = events;
    append->event_count = count;
    return r;
}

static int take_item_types(struct parser *parser, struct json_value value, void *into)
{
    struct journal_item *item = into;
    return append_json_take_names(parser, value, NAME_TYPE, true, JOURNAL_QUERY_TERM_COUNT_MAX, &item->types,
                                  &item->type_count);
}

static int take_item_tags(struct parser *parser, struct json_value value, void *into)
{
    struct journal_item *item = into;
    return append_json_take_names(parser, value, NAME_TAG, true, JOURNAL_QUERY_TERM_COUNT_MAX, &item->tags,
                                  &item->tag_count);
}

static const struct field item_fields[] = {{"types", take_item_types}, {"tags", take_item_tags}, {0}};

static int take_item(struct parser *parser, struct json_value value, struct journal_item *item)
{
    size_t before = parser->parsed->public.violation_count_all;
    int r = append_json_take_object(parser, value, item_fields, item);
    bool sound = parser->parsed->public.violation_count_all == before;
    if (r == 0 && sound && item->type_count == 0 && item->tag_count == 0)
        r = append_json_violation(parser, "must have types or tags");
    return r;
}

static int take_items(struct parser *parser, struct json_value value, void *into)
{
    struct journal_query *query = into;
    int r = 0;
    size_t count = 0, terms = 0;
    if (!append_json_expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) > JOURNAL_ITEM_COUNT_MAX)
        return append_json_violation(parser, "has more than %d items", JOURNAL_ITEM_COUNT_MAX);
    struct journal_item *items = arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*items));
    if (!items)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = append_json_path_enter_index(parser, count);
        r = take_item(parser, item.value, &items[count]);
        terms += items[count].type_count + items[count].tag_count;
        count++;
        append_json_path_leave(parser, before);
    }
    if (r == 0 && terms > JOURNAL_QUERY_TERM_COUNT_MAX)
        r = append_json_violation(parser, "have more than %d types and tags in all",
                                  JOURNAL_QUERY_TERM_COUNT_MAX);
    *query = (struct journal_query){.items = items, .count = count};
    return r;
}

static const struct field query_fields[] = {{"items", take_items}, {0}};

static int take_query(struct parser *parser, struct json_value value, void *into)
{
    int r = append_json_take_object(parser, value, query_fields, into);
    if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "items")))
        r = append_json_violation_at(parser, "items", "is required; [] means everything");
    return r;
}

static int take_condition_query(struct parser *parser, struct json_value value, void *into)
{
    return take_query(parser, value, &((struct journal_condition *)into)->query);
}

static int take_condition_after(struct parser *parser, struct json_value value, void *into)
{
    if (json_u64(value, &((struct journal_condition *)into)->after) != 0)
        return append_json_violation(parser, "must be a position: an integer from 0 on");
    return 0;
}

static const struct field condition_fields[] = {
    {"failIfEventsMatch", take_condition_query}, {"after", take_condition_after}, {0}};

static int take_condition(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    struct journal_condition *condition = arena_alloc_array(&parser->parsed->arena, 1, sizeof(*condition));
    if (!condition)
        return -ENOMEM;
    int r = append_json_take_object(parser, value, condition_fields, condition);
    if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "failIfEventsMatch")))
        r = append_json_violation_at(parser, "failIfEventsMatch", "is required");
    append->condition = condition;
    return r;
}

static int take_expectation(struct parser *parser, struct json_value key, struct json_value value,
                            struct journal_expectation *expectation)
{
    static const struct {
        const char *word;
        enum journal_expect expect;
    } words[] = {
        {"any", JOURNAL_EXPECT_ANY}, {"none", JOURNAL_EXPECT_NONE}, {"exists", JOURNAL_EXPECT_EXISTS}};
    int r = append_json_keep_string(parser, key, &expectation->stream);
    if (r == 0)
        r = append_json_check_name(parser, NAME_STREAM, expectation->stream, true);
    if (r < 0)
        return r;
    if (json_u64(value, &expectation->version) == 0) {
        expectation->expect = JOURNAL_EXPECT_VERSION;
        return 0;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (json_string_equals(value, words[i].word)) {
            expectation->expect = words[i].expect;
            return 0;
        }
    return append_json_violation(parser, "must be a version, \"none\", \"exists\" or \"any\"");
}

static int take_streams(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    int r = 0;
    size_t count = 0;
    if (!append_json_expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    if (json_count(value) > JOURNAL_EXPECTATION_COUNT_MAX)
        return append_json_violation(parser, "has more than %d streams", JOURNAL_EXPECTATION_COUNT_MAX);
    struct journal_expectation *expectations =
        arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*expectations));
    if (!expectations)
        return -ENOMEM;
    struct json_cursor member = json_walk(value);
    while (r == 0 && json_next(&member)) {
        buffer_clear(&parser->text);
        r = json_string(member.key, &parser->text);
        if (r != 0)
            break;
        size_t before = append_json_path_enter(parser, buffer_bytes(&parser->text));
        r = take_expectation(parser, member.key, member.value, &expectations[count++]);
        append_json_path_leave(parser, before);
    }
    append->expectations = expectations;
    append->expectation_count = count;
    return r;
}

static const struct field append_fields[] = {
    {"events", take_events}, {"condition", take_condition}, {"streams", take_streams}, {0}};

/* ---- a request ---- */

static int take_append(struct parser *parser, struct json_value value, struct append_json_item *item)
{
    struct journal_append *append = &item->append;
    if (parser->options.form == APPEND_JSON_REQUEST) {
        int r = append_json_take_object(parser, value, append_fields, append);
        if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "events")))
            r = append_json_violation_at(parser, "events", "is required");
        return r;
    }
    if (parser->options.form == APPEND_JSON_EVENTS && json_type(value) == JSON_ARRAY)
        return take_events(parser, value, append);
    struct journal_event_new *event = arena_alloc_array(&parser->parsed->arena, 1, sizeof(*event));
    if (!event)
        return -ENOMEM;
    append->events = event;
    append->event_count = 1;
    return append_json_take_event(parser, value, event);
}

static int make_items(struct parsed *parsed, size_t count)
{
    parsed->public.items = arena_alloc_array(&parsed->arena, count, sizeof(*parsed->public.items));
    parsed->firsts = arena_alloc_array(&parsed->arena, count, sizeof(*parsed->firsts));
    return parsed->public.items && parsed->firsts ? 0 : -ENOMEM;
}

/* One item, and the account of its violations: their number now, the pointer when all are there. */
static int take_item_of_request(struct parser *parser, struct json_value value)
{
    struct parsed *parsed = parser->parsed;
    struct append_json_item *item = &parsed->public.items[parsed->public.item_count];
    parser->violations_before = parsed->violation_count;
    parsed->firsts[parsed->public.item_count] = parsed->violation_count;
    int r = take_append(parser, value, item);
    item->violation_count = parsed->violation_count - parser->violations_before;
    parsed->public.item_count++;
    return r;
}

static int take_appends(struct parser *parser, struct json_value value, void *into)
{
    struct parsed *parsed = parser->parsed;
    int r = 0;
    if (!append_json_expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) == 0)
        return append_json_violation(parser, "must have at least one append");
    if (json_count(value) > APPEND_JSON_APPEND_COUNT_MAX)
        return append_json_violation(parser, "has more than %d appends", APPEND_JSON_APPEND_COUNT_MAX);
    r = make_items(parsed, json_count(value));
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = append_json_path_enter_index(parser, parsed->public.item_count);
        r = take_item_of_request(parser, item.value);
        append_json_path_leave(parser, before);
    }
    return r;
}

static const struct field appends_fields[] = {{"appends", take_appends}, {0}};

static int take_request(struct parser *parser, struct json_value root)
{
    struct parsed *parsed = parser->parsed;
    if (parser->options.form == APPEND_JSON_REQUEST && json_exists(json_get(root, "appends"))) {
        parsed->public.many = true;
        return append_json_take_object(parser, root, appends_fields, NULL);
    }
    int r = make_items(parsed, 1);
    return r == 0 ? take_item_of_request(parser, root) : r;
}

/* Now that no more come, their place is known; none have none, and nothing is added to NULL. */
static void place_violations(struct parsed *parsed)
{
    for (size_t i = 0; parsed->violations && i < parsed->public.item_count; i++)
        parsed->public.items[i].violations = parsed->violations + parsed->firsts[i];
    parsed->public.violations = parsed->violations;
    parsed->public.violation_count = parsed->violation_count;
}

/* With `appends` each item is right or wrong by itself; the request is wrong by what belongs to no item. */
static int conclude(struct parsed *parsed)
{
    size_t of_items = 0;
    place_violations(parsed);
    for (size_t i = 0; i < parsed->public.item_count; i++)
        of_items += parsed->public.items[i].violation_count;
    bool wrong = parsed->public.many ? parsed->violation_count > of_items : parsed->violation_count > 0;
    if (!wrong)
        return 0;
    snprintf(parsed->public.detail, sizeof(parsed->public.detail), "%s: %s",
             parsed->violations[0].pointer[0] ? parsed->violations[0].pointer : "the body",
             parsed->violations[0].detail);
    return APPEND_JSON_E_INVALID;
}

typedef int take_root(struct parser *parser, struct json_value root, void *into);

static int take_request_root(struct parser *parser, struct json_value root, void *into)
{
    return take_request(parser, root);
}

static int parse_text(struct bytes text, struct parser *parser, take_root *take, void *into)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error = {0};
    int r = json_parse(text, &doc, &error);
    if (r == JSON_E_INVALID) {
        struct append_json *public = &parser->parsed->public;
        public->offset = error.offset;
        snprintf(public->detail, sizeof(public->detail), "not JSON at byte %zu: %s", error.offset,
                 error.reason);
        return APPEND_JSON_E_MALFORMED;
    }
    if (r == 0)
        r = take(parser, json_root(&doc), into);
    return r < 0 ? r : conclude(parser->parsed);
}

static int parse(struct bytes text, const struct append_json_options *options, take_root *take, void *into,
                 struct append_json **ret_parsed)
{
    struct parsed *parsed = calloc(1, sizeof(*parsed));
    if (!parsed)
        return -ENOMEM;
    struct parser parser = {.parsed = parsed, .options = *options};
    buffer_init(&parser.path, PATH_SIZE_MAX);
    int r = arena_copy(&parsed->arena, options->stream, &parser.options.stream);
    r = error_first(r, buffer_reserve(&parser.text, TEXT_SIZE_FIRST));
    if (r == 0)
        r = parse_text(text, &parser, take, into);
    buffer_deinit(&parser.path);
    buffer_deinit(&parser.text);
    if (r < 0)
        append_json_free(&parsed->public);
    else
        *ret_parsed = &parsed->public;
    return r;
}

int append_json_parse(struct bytes text, const struct append_json_options *options,
                      struct append_json **ret_parsed)
{
    return parse(text, options, take_request_root, NULL, ret_parsed);
}

int append_json_parse_query(struct bytes text, struct append_json **ret_parsed,
                            struct journal_query *ret_query)
{
    static const struct append_json_options options = {0};
    struct journal_query query = {0};
    int r = parse(text, &options, take_query, &query, ret_parsed);
    if (r == 0)
        *ret_query = query;
    return r;
}

void append_json_free(struct append_json *parsed_public)
{
    struct parsed *parsed = (struct parsed *)parsed_public;
    if (!parsed)
        return;
    arena_deinit(&parsed->arena);
    free(parsed->violations);
    free(parsed);
}
