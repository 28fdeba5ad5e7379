#include "journal/validate.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "base/names.h"
#include "journal/codec.h"
#include "journal/query.h"
#include "journal/seal.h"

/* What a subject adds to a record, beside its name: the own tag with its size, and the sealing. */
enum { SEALED_EXTRA = 2 + SEAL_TAG_SIZE + VAULT_SEALED_EXTRA + CODEC_PLAIN_FIXED_SIZE };

_printf_(3, 4) static int invalid(struct journal_result *result, size_t index, const char *format, ...)
{
    va_list arguments;
    result->answer = JOURNAL_E_INVALID;
    result->index = index;
    va_start(arguments, format);
    vsnprintf(result->detail, sizeof(result->detail), format, arguments);
    va_end(arguments);
    return JOURNAL_E_INVALID;
}

/* An append mostly says the same name again and again, from the same place: it is looked at once. */
static bool just_checked(struct bytes name, struct bytes before)
{
    return name.size == before.size && name.data == before.data;
}

static const char *name_problem(enum name_kind kind, struct bytes name, bool system)
{
    int broken = name_check(kind, name);
    return broken == 0 || (broken == NAME_E_SYSTEM && system) ? NULL : name_rule(broken);
}

static bool content_type_good(struct bytes content_type)
{
    for (size_t i = 0; i < content_type.size; i++)
        if (content_type.data[i] < 0x20 || content_type.data[i] > 0x7e)
            return false;
    return content_type.size <= JOURNAL_CONTENT_TYPE_SIZE_MAX;
}

static int check_event(const struct journal_event_new *event, size_t index, struct journal_result *result)
{
    const struct journal_event_new *before = index > 0 && event[-1].system == event->system ? event - 1 : NULL;
    const char *problem = NULL;
    if (!before || !just_checked(event->type, before->type))
        problem = name_type_is_reserved(event->type) ? name_rule(NAME_E_RESERVED)
                                                     : name_problem(NAME_TYPE, event->type, event->system);
    if (problem)
        return invalid(result, index, "the type of event %zu %s", index, problem);
    if (event->stream.size > 0 && (!before || !just_checked(event->stream, before->stream)))
        problem = name_problem(NAME_STREAM, event->stream, event->system);
    if (problem)
        return invalid(result, index, "the stream of event %zu %s", index, problem);
    if (event->tag_count > JOURNAL_TAG_COUNT_MAX)
        return invalid(result, index, "event %zu has more than %d tags", index, JOURNAL_TAG_COUNT_MAX);
    bool same_tags = before && before->tags == event->tags && before->tag_count == event->tag_count;
    for (size_t i = 0; !same_tags && i < event->tag_count; i++) {
        problem = name_problem(NAME_TAG, event->tags[i], event->system);
        if (problem)
            return invalid(result, index, "tag %zu of event %zu %s", i, index, problem);
    }
    problem = event->subject.size > 0 ? name_problem(NAME_TAG, event->subject, false) : NULL;
    if (problem)
        return invalid(result, index, "the subject of event %zu %s", index, problem);
    if (event->subject.size > 0 && event->tag_count == JOURNAL_TAG_COUNT_MAX)
        return invalid(result, index, "event %zu has a subject and more than %d tags", index,
                       JOURNAL_TAG_COUNT_MAX - 1);
    if (!content_type_good(event->content_type))
        return invalid(result, index,
                       "the content type of event %zu must be at most %d printable ASCII characters", index,
                       JOURNAL_CONTENT_TYPE_SIZE_MAX);
    return 0;
}

static int check_guards(const struct journal_append *append, struct journal_result *result)
{
    if (append->expectation_count > JOURNAL_EXPECTATION_COUNT_MAX)
        return invalid(result, 0, "an append expects versions of at most %d streams",
                       JOURNAL_EXPECTATION_COUNT_MAX);
    for (size_t i = 0; i < append->expectation_count; i++) {
        const char *problem = name_problem(NAME_STREAM, append->expectations[i].stream, true);
        if (problem)
            return invalid(result, 0, "the stream of expectation %zu %s", i, problem);
    }
    if (append->condition) {
        char detail[256];
        if (query_check(&append->condition->query, detail) != 0)
            return invalid(result, 0, "%s", detail);
    }
    if (append->key.size > JOURNAL_KEY_SIZE_MAX)
        return invalid(result, 0, "an idempotency key has at most %d bytes", JOURNAL_KEY_SIZE_MAX);
    if (append->key.size > 0 && append->key_hash.size != CODEC_KEY_HASH_SIZE)
        return invalid(result, 0, "a key hash has %d bytes", CODEC_KEY_HASH_SIZE);
    return 0;
}

size_t validate_append_size(const struct journal_append *append)
{
    size_t size = 0;
    for (size_t i = 0; i < append->event_count; i++) {
        const struct journal_event_new *event = &append->events[i];
        struct journal_event shape = {.type = event->type,
                                      .stream = event->stream,
                                      .key = append->key,
                                      .tags = event->tags,
                                      .tag_count = event->tag_count};
        bool fits = checked_add_size(size, codec_head_size(&shape), &size) &&
                    checked_add_size(size, CODEC_BODY_FIXED_SIZE + LOG_RECORD_SIZE_EXTRA, &size) &&
                    checked_add_size(size, event->subject.size > 0 ? SEALED_EXTRA : 0, &size) &&
                    checked_add_size(size, event->subject.size, &size) &&
                    checked_add_size(size, event->content_type.size, &size) &&
                    checked_add_size(size, event->meta.size, &size) &&
                    checked_add_size(size, event->data.size, &size);
        if (!fits)
            return SIZE_MAX;
    }
    return size;
}

int validate_append(const struct journal_append *append, struct journal_result *ret_result)
{
    if (append->event_count > JOURNAL_EVENT_COUNT_MAX)
        return invalid(ret_result, 0, "an append has at most %d events", JOURNAL_EVENT_COUNT_MAX);
    int r = check_guards(append, ret_result);
    for (size_t i = 0; r == 0 && i < append->event_count; i++)
        r = check_event(&append->events[i], i, ret_result);
    if (r != 0)
        return r;
    size_t size = validate_append_size(append);
    if (size <= LOG_APPEND_SIZE_MAX)
        return 0;
    ret_result->answer = JOURNAL_E_TOO_LARGE;
    snprintf(ret_result->detail, sizeof(ret_result->detail), "the append takes %zu bytes, %d are allowed",
             size, LOG_APPEND_SIZE_MAX);
    return JOURNAL_E_TOO_LARGE;
}
