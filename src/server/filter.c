/* Which events are asked for: by URL, by body, and whether one event is among them. */

#include <string.h>

#include "base/names.h"
#include "http/query.h"
#include "journal/append_json.h"
#include "server/internal.h"

/* ---- from a URL: type=a,b&tag=x&tag=y is one item ---- */

static size_t count_types(const struct http_parameter *parameters, size_t count)
{
    size_t types = 0;

    for (size_t i = 0; i < count; i++) {
        if (!bytes_equal_string(parameters[i].name, "type"))
            continue;
        types++;
        for (size_t j = 0; j < parameters[i].raw.size; j++)
            types += parameters[i].raw.data[j] == ',';
    }
    return types;
}

static bool name_refused(struct http_request *request, enum name_kind kind, const char *parameter,
                         struct bytes name)
{
    int rule = name_check(kind, name);

    if (rule == 0 || rule == NAME_E_SYSTEM)
        return false;
    answer_parameter(request, parameter, "a name in it %s", name_rule(rule));
    return true;
}

/* Splits one type= at its commas: those that stand there as such, and not as %2C. */
static bool add_types(struct http_request *request, struct bytes value, struct bytes *types, size_t *count)
{
    uint8_t *memory = http_request_alloc(request, value.size + 1);

    if (!memory) {
        answer_failure(request, -ENOMEM);
        return false;
    }
    while (true) {
        const uint8_t *comma = value.size > 0 ? memchr(value.data, ',', value.size) : NULL;
        size_t size = comma ? (size_t)(comma - value.data) : value.size;
        size_t decoded = 0;
        if (http_percent_decode(bytes_slice(value, 0, size), true, memory, &decoded) != 0)
            decoded = 0; /* not so: the whole has been decoded before */
        struct bytes type = bytes_make(memory, decoded);
        memory += decoded;
        if (name_refused(request, NAME_TYPE, "type", type))
            return false;
        types[(*count)++] = type;
        if (!comma)
            return true;
        value = bytes_slice(value, size + 1, SIZE_MAX);
    }
}

/* prefix= and system=, which hold for all of a query's items. */
static bool ask_scope(struct http_request *request, struct filter *filter)
{
    struct bytes prefix = {0};

    if (!ask_flag(request, "system", &filter->system))
        return false;
    if (!http_request_parameter(request, "prefix", &prefix))
        return true;
    int rule = name_check(NAME_STREAM, prefix);
    if (rule != 0 && rule != NAME_E_SYSTEM && rule != NAME_E_DOT) { /* a name may well begin with a dot */
        answer_parameter(request, "prefix", "%s", name_rule(rule));
        return false;
    }
    filter->prefix = prefix;
    return true;
}

bool filter_from_parameters(struct http_request *request, struct filter *ret_filter)
{
    const struct http_parameter *parameters;
    size_t count = http_request_parameters(request, &parameters);
    size_t type_count = count_types(parameters, count);
    struct journal_item *item = http_request_alloc(request, sizeof(*item));
    struct bytes *types = http_request_alloc(request, (type_count + 1) * sizeof(*types));
    struct bytes *tags = http_request_alloc(request, (count + 1) * sizeof(*tags));

    if (!item || !types || !tags) {
        answer_failure(request, -ENOMEM);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_string(parameters[i].name, "tag")) {
            if (name_refused(request, NAME_TAG, "tag", parameters[i].value))
                return false;
            tags[item->tag_count++] = parameters[i].value;
        } else if (bytes_equal_string(parameters[i].name, "type") &&
                   !add_types(request, parameters[i].raw, types, &item->type_count)) {
            return false;
        }
    }
    item->types = types;
    item->tags = tags;
    *ret_filter = (struct filter){0};
    if (!ask_scope(request, ret_filter))
        return false;
    if (item->type_count > 0 || item->tag_count > 0)
        ret_filter->query = (struct journal_query){.items = item, .count = 1};
    return true;
}

/* ---- from a body ---- */

bool filter_from_body(struct http_request *request, struct filter *ret_filter)
{
    struct filter filter = {0};

    if (!ask_scope(request, &filter))
        return false;
    int r = append_json_parse_query(http_request_body(request), &filter.parsed, &filter.query);

    if (r == 0) {
        *ret_filter = filter;
        return true;
    }
    if (r < 0)
        answer_failure(request, r);
    else
        answer_parsed(request, r, filter.parsed);
    append_json_free(filter.parsed);
    return false;
}

void filter_deinit(struct filter *filter)
{
    append_json_free(filter->parsed);
    *filter = (struct filter){0};
}

/* ---- one event ---- */

static bool tags_contain(const struct filter_subject *subject, struct bytes tag)
{
    for (size_t i = 0; i < subject->tag_count; i++) {
        if (bytes_equal(subject->tags[i], tag))
            return true;
    }
    return false;
}

static bool is_system(struct bytes name)
{
    return name.size > 0 && name.data[0] == '$';
}

/* An item that names something of daybook's own means it (journal/query.h says the same of a reader). */
static bool item_names_system(const struct journal_item *item)
{
    for (size_t i = 0; i < item->type_count; i++) {
        if (is_system(item->types[i]))
            return true;
    }
    for (size_t i = 0; i < item->tag_count; i++) {
        if (is_system(item->tags[i]))
            return true;
    }
    return false;
}

static bool item_matches(const struct journal_item *item, const struct filter_subject *subject, bool hidden)
{
    bool type_fits = item->type_count == 0;

    for (size_t i = 0; i < item->type_count && !type_fits; i++)
        type_fits = bytes_equal(item->types[i], subject->type);
    for (size_t i = 0; i < item->tag_count && type_fits; i++)
        type_fits = tags_contain(subject, item->tags[i]);
    return type_fits && (!hidden || item_names_system(item));
}

bool filter_matches(const struct filter *filter, const struct filter_subject *subject)
{
    bool hidden = !filter->system && (is_system(subject->stream) || is_system(subject->type));

    if (filter->stream.size > 0 &&
        (!bytes_equal(filter->stream, subject->stream) || subject->version < filter->version_min))
        return false;
    if (filter->prefix.size > 0 && !bytes_starts_with(subject->stream, filter->prefix))
        return false;
    for (size_t i = 0; i < filter->query.count; i++) {
        if (item_matches(&filter->query.items[i], subject, hidden))
            return true;
    }
    return filter->query.count == 0 && !hidden;
}
