#include "base/cleanup.h"
#include "base/names.h"
#include "base/time.h"
#include "base/utf8.h"
#include "base/vector.h"
#include "command/command.h"
#include "command/out.h"

/* ---- tags ---- */

static const struct daybook_kind *kind_find(const struct daybook_app *app, const char *prefix)
{
    for (size_t i = 0; i < app->kind_count; i++)
        if (strcmp(app->kinds[i].prefix, prefix) == 0)
            return &app->kinds[i];
    return NULL;
}

static int append_part(struct buffer *out, struct daybook_text part)
{
    int r = 0;
    for (size_t i = 0; i < part.size && r == 0; i++) {
        if (part.data[i] == '%')
            r = buffer_append_string(out, "%25");
        else if (part.data[i] == '/')
            r = buffer_append_string(out, "%2F");
        else
            r = buffer_append_byte(out, (uint8_t)part.data[i]);
    }
    return r;
}

/* "kind:part/part" into the arena. A problem is set, or a failure answered. */
static int build_tag(struct arena *arena, const char *prefix, const struct daybook_text *parts,
                     size_t part_count, struct bytes *ret_tag, const char **ret_problem)
{
    _cleanup_(buffer_deinit) struct buffer text;
    buffer_init(&text, 64 * 1024);

    int r = buffer_printf(&text, "%s:", prefix);
    for (size_t i = 0; i < part_count && r == 0; i++) {
        if (i > 0)
            r = buffer_append_byte(&text, '/');
        if (r == 0)
            r = append_part(&text, parts[i]);
    }
    if (r < 0 && r != -E2BIG)
        return r;

    int rule = r == -E2BIG ? NAME_E_LONG : name_check(NAME_TAG, buffer_bytes(&text));
    if (rule != 0) {
        *ret_problem = memory_printf(arena, "tag \"%.*s\" %s", (int)(text.size < 80 ? text.size : 80),
                                     (const char *)text.data, name_rule(rule));
        return 0;
    }
    *ret_tag = memory_copy(arena, buffer_bytes(&text));
    return ret_tag->data ? 0 : -ENOMEM;
}

void host_tag(struct daybook_tags *tags, const char *prefix, const struct daybook_text *parts,
              size_t part_count)
{
    if (tags->problem || tags->failure)
        return;
    const struct daybook_kind *kind = kind_find(tags->app, prefix);
    if (!kind) {
        tags->problem =
            memory_printf(tags->arena, "tags() named the kind \"%.64s\", which is not in the table", prefix);
        return;
    }
    if (tags->count == DAYBOOK_BOUNDARY_COUNT_MAX) {
        tags->problem = "tags() named more than DAYBOOK_BOUNDARY_COUNT_MAX tags";
        return;
    }

    struct bytes tag = {0};
    tags->failure = build_tag(tags->arena, prefix, parts, part_count, &tag, &tags->problem);
    if (tags->failure == 0 && !tags->problem)
        tags->items[tags->count++] = (struct command_boundary_tag){.kind = kind, .tag = tag};
}

int command_tags_finish(struct daybook_tags *tags)
{
    if (tags->failure)
        return tags->failure;
    if (!tags->problem && tags->count == 0)
        tags->problem = "tags() named no tag";
    return tags->problem ? COMMAND_E_APP : 0;
}

/* ---- what is being built ---- */

static bool out_usable(const struct daybook_out *out)
{
    return !out->problem && !out->failure;
}

static bool in_array(const struct daybook_out *out)
{
    return (out->arrays >> out->depth & 1) != 0;
}

/* The text under construction becomes a document of the arena, checked. */
static struct bytes out_take_text(struct daybook_out *out, const char *what)
{
    struct bytes text = {0};
    if (out->depth != 1) {
        out->problem =
            memory_printf(out->arena, "%s left %u object(s) or array(s) open", what, out->depth - 1);
        return text;
    }
    json_write_object_end(&out->writer);
    int r = json_write_end(&out->writer);
    if (r == 0) {
        struct json_doc doc = {0};
        struct json_error error;
        r = json_parse(buffer_bytes(&out->text), &doc, &error);
        json_doc_deinit(&doc);
        if (r > 0)
            out->problem = memory_printf(out->arena, "%s: %s", what, error.reason);
    }
    if (r == 0) {
        text = memory_copy(out->arena, buffer_bytes(&out->text));
        r = text.data ? 0 : -ENOMEM;
    }
    if (r < 0)
        out->failure = r;
    return text;
}

static void out_begin(struct daybook_out *out)
{
    buffer_clear(&out->text);
    out->text.size_max = COMMAND_OUT_SIZE_MAX;
    out->writer = json_writer(&out->text);
    json_write_object_begin(&out->writer);
    out->depth = 1;
    out->arrays = 0;
    out->tag_count = 0;
    out->open = true;
}

static int compare_tags(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* The tags put on the event, sorted, once each. */
static void out_take_tags(struct daybook_out *out, struct journal_event_new *event)
{
    if (out->tag_count == 0)
        return;
    struct bytes *tags = arena_alloc_array(out->arena, out->tag_count, sizeof(*tags));
    if (!tags) {
        out->failure = -ENOMEM;
        return;
    }
    qsort(out->tags, out->tag_count, sizeof(*out->tags), compare_tags);
    size_t count = 0;
    for (size_t i = 0; i < out->tag_count; i++)
        if (count == 0 || !bytes_equal(tags[count - 1], out->tags[i]))
            tags[count++] = out->tags[i];
    event->tags = tags;
    event->tag_count = count;
}

/* Ends the event or the refusal under construction, if there is one. */
static void out_end(struct daybook_out *out)
{
    if (!out->open || !out_usable(out))
        return;
    out->open = false;
    if (out->refused) {
        out->facts = out_take_text(out, "the refusal");
        return;
    }

    struct journal_event_new *event = &out->events[out->event_count - 1];
    event->data = out_take_text(out, "an event");
    out_take_tags(out, event);
}

void command_out_clear(struct daybook_out *out)
{
    out->event_count = 0;
    out->refused = out->open = false;
    out->rule = out->sentence = out->facts = (struct bytes){0};
    out->problem = NULL;
    out->failure = 0;
}

int command_out_finish(struct daybook_out *out)
{
    out_end(out);
    if (out->failure)
        return out->failure;
    return out->problem ? COMMAND_E_APP : 0;
}

void command_out_deinit(struct daybook_out *out)
{
    buffer_deinit(&out->text);
    free(out->events);
    free(out->tags);
}

/* ---- events and refusals ---- */

/* A copy of a name in the arena, or a problem. */
static struct bytes out_name(struct daybook_out *out, enum name_kind kind, const char *what,
                             struct bytes name)
{
    int rule = name_check(kind, name);
    if (rule != 0) {
        out->problem =
            memory_printf(out->arena, "%s \"%.*s\" %s", what, (int)(name.size < 80 ? name.size : 80),
                          name.data ? (const char *)name.data : "", name_rule(rule));
        return (struct bytes){0};
    }
    struct bytes copy = memory_copy(out->arena, name);
    if (!copy.data)
        out->failure = -ENOMEM;
    return copy;
}

void host_event(struct daybook_out *out, const char *type, struct daybook_text stream)
{
    if (!out_usable(out) || out->refused)
        return;
    out_end(out);
    if (!out_usable(out))
        return;
    if (out->event_count == JOURNAL_EVENT_COUNT_MAX) {
        out->problem = "more than JOURNAL_EVENT_COUNT_MAX events";
        return;
    }
    struct journal_event_new event = {.type =
                                          out_name(out, NAME_TYPE, "event type", bytes_from_string(type))};
    if (stream.size > 0 && out_usable(out))
        event.stream = out_name(out, NAME_STREAM, "stream", bytes_make(stream.data, stream.size));
    if (!out_usable(out))
        return;
    out->failure = vector_reserve(&out->events, &out->event_capacity, out->event_count + 1);
    if (out->failure)
        return;
    out->events[out->event_count++] = event;
    out_begin(out);
}

void host_event_tag(struct daybook_out *out, const char *prefix, const struct daybook_text *parts,
                    size_t part_count)
{
    if (!out_usable(out) || out->refused)
        return;
    if (!out->open) {
        out->problem = "event_tag() came before event()";
        return;
    }
    if (!kind_find(out->app, prefix)) {
        out->problem = memory_printf(
            out->arena, "event_tag() named the kind \"%.64s\", which is not in the table", prefix);
        return;
    }
    if (out->tag_count == JOURNAL_TAG_COUNT_MAX) {
        out->problem = "an event with more than JOURNAL_TAG_COUNT_MAX tags";
        return;
    }

    struct bytes tag = {0};
    out->failure = build_tag(out->arena, prefix, parts, part_count, &tag, &out->problem);
    if (!out_usable(out))
        return;
    out->failure = vector_reserve(&out->tags, &out->tag_capacity, out->tag_count + 1);
    if (out->failure == 0)
        out->tags[out->tag_count++] = tag;
}

void host_event_subject(struct daybook_out *out, struct daybook_text subject)
{
    if (!out_usable(out) || out->refused)
        return;
    if (!out->open) {
        out->problem = "event_subject() came before event()";
        return;
    }
    struct journal_event_new *event = &out->events[out->event_count - 1];
    if (event->subject.size > 0)
        out->problem = "event_subject() came twice for one event";
    else
        event->subject = out_name(out, NAME_TAG, "subject", bytes_make(subject.data, subject.size));
}

void host_refuse(struct daybook_out *out, const char *rule, const char *sentence)
{
    if (!out_usable(out) || out->refused)
        return;
    out->rule = out_name(out, NAME_TYPE, "rule", bytes_from_string(rule));
    if (!out_usable(out))
        return;
    if (!utf8_valid(bytes_from_string(sentence))) {
        out->problem = "refuse() with a sentence that is not UTF-8";
        return;
    }
    out->sentence = memory_copy(out->arena, bytes_from_string(sentence));
    if (!out->sentence.data)
        out->failure = -ENOMEM;
    out->event_count = 0;
    out->refused = true;
    out_begin(out);
}

/* ---- members ---- */

/* Whether a fact would stand in the place of one of the problem document's own members. */
static bool is_problem_member(const char *name)
{
    static const char *const members[] = {"type",     "title", "status", "detail",
                                          "instance", "code",  "rule",   "violations"};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (strcmp(name, members[i]) == 0)
            return true;
    return false;
}

/* Whether a value may stand here; in an object its key is written. */
static bool out_place(struct daybook_out *out, const char *name)
{
    if (!out_usable(out))
        return false;
    if (!out->open)
        out->problem = "a value was put before event() or refuse()";
    else if (in_array(out) && name)
        out->problem = memory_printf(out->arena, "\"%.64s\" is a name inside an array", name);
    else if (!in_array(out) && !name)
        out->problem = "a value without a name inside an object";
    else if (name && !utf8_valid(bytes_from_string(name)))
        out->problem = "a name that is not UTF-8";
    else if (out->refused && out->depth == 1 && is_problem_member(name))
        out->problem = memory_printf(out->arena, "a fact may not be called \"%.64s\"", name);
    if (out->problem)
        return false;
    if (name)
        json_write_key(&out->writer, name);
    return true;
}

void host_put_text(struct daybook_out *out, const char *name, struct daybook_text text)
{
    if (out_usable(out) && !utf8_valid(bytes_make(text.data, text.size)))
        out->problem = "a text that is not UTF-8";
    if (out_place(out, name))
        json_write_bytes(&out->writer, bytes_make(text.data, text.size));
}

void host_put_integer(struct daybook_out *out, const char *name, int64_t integer)
{
    if (out_place(out, name))
        json_write_i64(&out->writer, integer);
}

void host_put_boolean(struct daybook_out *out, const char *name, bool boolean)
{
    if (out_place(out, name))
        json_write_bool(&out->writer, boolean);
}

void host_put_date(struct daybook_out *out, const char *name, int64_t days)
{
    char text[TIME_DATE_TEXT_SIZE];
    if (out_usable(out) && time_format_date(days, text) != 0)
        out->problem = "a date outside the years 0000 to 9999";
    if (out_place(out, name))
        json_write_string(&out->writer, text);
}

void host_put_null(struct daybook_out *out, const char *name)
{
    if (out_place(out, name))
        json_write_null(&out->writer);
}

static void out_open(struct daybook_out *out, const char *name, bool array)
{
    if (out_usable(out) && out->depth == DAYBOOK_DEPTH_MAX)
        out->problem = "more than DAYBOOK_DEPTH_MAX objects and arrays are open";
    if (!out_place(out, name))
        return;
    if (array)
        json_write_array_begin(&out->writer);
    else
        json_write_object_begin(&out->writer);
    out->depth++;
    out->arrays &= ~(UINT64_C(1) << out->depth);
    out->arrays |= (uint64_t)array << out->depth;
}

void host_open_object(struct daybook_out *out, const char *name)
{
    out_open(out, name, false);
}

void host_open_array(struct daybook_out *out, const char *name)
{
    out_open(out, name, true);
}

void host_close(struct daybook_out *out)
{
    if (!out_usable(out))
        return;
    if (!out->open || out->depth < 2) {
        out->problem = "close() without open_object() or open_array()";
        return;
    }
    if (in_array(out))
        json_write_array_end(&out->writer);
    else
        json_write_object_end(&out->writer);
    out->depth--;
}
