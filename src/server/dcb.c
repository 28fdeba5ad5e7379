/* The HTTP dialect of the dcb.events compliance suite: GET /dcb/read and POST /dcb/append.
 *
 * It says with other words what /v1 says: `from` is inclusive, an answer is a bare array, a conflict is no error. What is
 * asked for and appended is read by the parser that /v1 uses; a null stands for what is not said, and is left out before. */

#include "journal/append_json.h"
#include "os/clock.h"
#include "server/idempotency.h"

enum { DCB_TEXT_SIZE_MAX = 64 << 20 };

/* ---- leaving out nulls ---- */

/* Members that are worth a look inside; the data of events is the client's own and kept as it is. */
static bool is_ours(struct json_value key)
{
    static const char *const names[] = {"condition", "failIfEventsMatch", "items", "events"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_string_equals(key, names[i]))
            return true;
    }
    return false;
}

static int copy_without_nulls(struct json_value value, bool inside, struct buffer *out);

/* Types and tags, each a list or null, and nothing that would have to be refused. */
static bool holds_only_terms(struct json_value item)
{
    struct json_cursor part = json_walk(item);

    while (json_next(&part)) {
        bool known = json_string_equals(part.key, "types") || json_string_equals(part.key, "tags");
        if (!known || (json_type(part.value) != JSON_ARRAY && json_type(part.value) != JSON_NULL))
            return false;
    }
    return true;
}

static int copy_parts(struct json_value value, struct buffer *out)
{
    struct json_cursor part = json_walk(value);
    bool first = true;
    int r = 0;

    while (r == 0 && json_next(&part)) {
        bool member = part.members;

        if (member && json_type(part.value) == JSON_NULL && !json_string_equals(part.key, "data"))
            continue;
        r = first ? 0 : buffer_append_byte(out, ',');
        first = false;
        if (r == 0 && member)
            r = buffer_append_bytes(out, json_raw(part.key));
        if (r == 0 && member)
            r = buffer_append_byte(out, ':');
        if (r == 0)
            r = copy_without_nulls(part.value, !member || is_ours(part.key), out);
    }
    return r;
}

/* An item without types and tags asks for any type and no tag: everything. The suite makes such ones by chance; /v1 refuses
 * them, because there they are a mistake more often than not. */
static bool is_everything(struct json_value value)
{
    struct json_cursor item = json_walk(json_get(value, "items"));

    while (json_next(&item)) {
        if (json_type(item.value) == JSON_OBJECT && json_count(json_get(item.value, "types")) == 0 &&
            json_count(json_get(item.value, "tags")) == 0 && holds_only_terms(item.value))
            return true;
    }
    return false;
}

/* `inside`: false for what is copied as it stands. */
static int copy_without_nulls(struct json_value value, bool inside, struct buffer *out)
{
    bool object = json_type(value) == JSON_OBJECT;
    int r;

    if (inside && object && is_everything(value))
        return buffer_append_string(out, "{\"items\":[]}");

    if (!inside || (!object && json_type(value) != JSON_ARRAY))
        return buffer_append_bytes(out, json_raw(value));
    r = buffer_append_byte(out, object ? '{' : '[');
    r = r == 0 ? copy_parts(value, out) : r;
    return r == 0 ? buffer_append_byte(out, object ? '}' : ']') : r;
}

/* The text without nulls; what is no JSON comes through as it is, to be refused by its own parser. 0, -ENOMEM, -E2BIG. */
static int clean(struct bytes text, struct buffer *out)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    int r = json_parse(text, &doc, NULL);

    buffer_init(out, DCB_TEXT_SIZE_MAX);
    if (r > 0)
        return buffer_append_bytes(out, text);
    return r < 0 ? r : copy_without_nulls(json_root(&doc), true, out);
}

/* ---- reading ---- */

static int write_event(const struct journal_event *event, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    json_write_object_begin(&w);
    json_write_member_bytes(&w, "type", event->type);
    json_write_key(&w, "tags");
    json_write_array_begin(&w);
    for (size_t i = 0; i < event->tag_count; i++)
        json_write_bytes(&w, event->tags[i]);
    json_write_array_end(&w);
    json_write_key(&w, "data");
    if (event->stub || event->data.size == 0)
        json_write_null(&w);
    else if (event->content_type.size > 0)
        json_write_bytes(&w, event->data);
    else
        json_write_raw(&w, event->data);
    json_write_member_u64(&w, "position", event->position);
    json_write_object_end(&w);
    return json_write_end(&w);
}

/* What `options` says. */
struct dcb_options {
    uint64_t from, limit;
    bool has_from, backwards;
};

/* NULL, or what is wrong with it. */
static const char *take_option(struct json_value key, struct json_value value, struct dcb_options *options)
{
    if (json_type(value) == JSON_NULL)
        return NULL;
    if (json_string_equals(key, "from")) {
        options->has_from = true;
        return json_u64(value, &options->from) == 0 ? NULL : "has a from that is no position";
    }
    if (json_string_equals(key, "limit"))
        return json_u64(value, &options->limit) == 0 && options->limit > 0
                   ? NULL
                   : "has a limit that is no number from 1";
    if (json_string_equals(key, "backwards"))
        return json_bool(value, &options->backwards) == 0 ? NULL
                                                          : "has a backwards that is not true or false";
    return "may hold from, limit and backwards";
}

/* False: answered. */
static bool ask_options(struct http_request *request, struct dcb_options *ret_options)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct dcb_options options = {.limit = UINT64_MAX};
    const char *wrong = NULL;
    struct json_cursor member;
    struct bytes text;
    int r = 0;

    if (http_request_parameter(request, "options", &text))
        r = json_parse(text, &doc, NULL);
    if (r < 0) {
        answer_failure(request, r);
        return false;
    }
    member = json_walk(json_root(&doc));
    if (r > 0 || (json_type(json_root(&doc)) > JSON_NULL && json_type(json_root(&doc)) != JSON_OBJECT))
        wrong = "must be an object, in JSON";
    while (!wrong && json_next(&member))
        wrong = take_option(member.key, member.value, &options);
    if (wrong)
        answer_parameter(request, "options", "%s", wrong);
    *ret_options = options;
    return !wrong;
}

static void query_release(void *user)
{
    append_json_free(user);
}

/* From the parameter; missing, null or without items: everything. It lives as long as the request. False: answered. */
static bool ask_query(struct http_request *request, struct journal_query *ret_query)
{
    _cleanup_(buffer_deinit) struct buffer cleaned = {0};
    struct append_json *parsed;
    struct bytes text;
    int r;

    *ret_query = (struct journal_query){0};
    if (!http_request_parameter(request, "query", &text) || bytes_equal_string(text, "null"))
        return true;
    r = clean(text, &cleaned);
    if (r == 0 && bytes_equal_string(buffer_bytes(&cleaned), "{}"))
        return true;
    if (r == 0)
        r = append_json_parse_query(buffer_bytes(&cleaned), &parsed, ret_query);
    if (r > 0) {
        answer_parsed(request, r, parsed);
        append_json_free(parsed);
        return false;
    }
    if (r == 0)
        r = http_request_on_end(request, query_release, parsed);
    if (r < 0)
        answer_failure(request, r);
    return r == 0;
}

void handle_dcb_read(struct http_request *request)
{
    static const struct lines_form form = {
        .type = "application/json", .begin = "[", .between = ",", .end = "]", .write = write_event};
    uint64_t head = journal_head(server_of(request)->journal), lowest = 1, highest = head;
    struct journal_query query;
    struct dcb_options options;

    if (parameters_refused(request) || !ask_options(request, &options) || !ask_query(request, &query))
        return;
    if (options.has_from && !options.backwards && options.from > 0 &&
        position_is_beyond(server_of(request), options.from - 1)) {
        answer_beyond(request, options.from, head);
        return;
    }
    if (options.has_from && options.backwards)
        highest = options.from < head ? options.from : head;
    else if (options.has_from && options.from > 0)
        lowest = options.from;
    struct journal_read read = {.query = &query,
                                .after = lowest - 1,
                                .before = highest + 1,
                                .direction = options.backwards ? JOURNAL_BACKWARD : JOURNAL_FORWARD};
    if (highest == head && journal_is_incomplete(server_of(request)->journal))
        read.before = 0; /* it goes on behind the head, and cannot be read there */
    http_header(request, "Cache-Control", "no-cache");
    answer_position(request, head);
    lines_answer(request, &read, lowest, highest, options.limit, &form, NULL);
}

/* ---- appending ---- */

struct dcb_append {
    struct http_request *request;
    struct append_json *parsed;
    struct idempotency idempotency;
    uint64_t begun_ns, first, last; /* positions of the append that came with the same key */
};

static void dcb_append_release(void *user)
{
    struct dcb_append *call = user;

    append_json_free(call->parsed);
}

static int dcb_append_prepare(struct journal_append *append, struct journal_turn *turn)
{
    struct dcb_append *call = append->user;

    return idempotency_find(append, turn, &call->first, &call->last);
}

static void dcb_append_done(struct journal_append *append, const struct journal_result *result)
{
    struct dcb_append *call = append->user;
    _cleanup_(buffer_deinit) struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    if (result->answer == IDEMPOTENCY_E_REUSED) {
        struct http_problem problem = idempotency_problem();
        http_answer_problem(call->request, &problem);
        return;
    }
    if (result->answer != 0 && result->answer != JOURNAL_E_CONFLICT &&
        result->answer != IDEMPOTENCY_E_REPLAYED) {
        answer_journal(call->request, result->answer, result->detail);
        return;
    }
    if (result->answer != JOURNAL_E_CONFLICT)
        answer_position(call->request, result->answer == 0 ? result->last : call->last);
    json_write_object_begin(&w);
    json_write_member_u64(&w, "durationInMicroseconds", (os_monotonic_ns() - call->begun_ns) / 1000);
    json_write_member_bool(&w, "appendConditionFailed", result->answer == JOURNAL_E_CONFLICT);
    json_write_object_end(&w);
    if (json_write_end(&w) < 0)
        buffer_clear(&body); /* no memory: the status stands for itself */
    http_answer(call->request, 200, "application/json", &body);
}

/* False: answered. */
static bool dcb_append_parse(struct dcb_append *call)
{
    const struct append_json_options options = {.form = APPEND_JSON_REQUEST,
                                                .traceparent = ask_traceparent(call->request)};
    _cleanup_(buffer_deinit) struct buffer cleaned = {0};
    int r = clean(http_request_body(call->request), &cleaned);

    if (r == 0)
        r = append_json_parse(buffer_bytes(&cleaned), &options, &call->parsed);
    if (r == 0 && !call->parsed->many)
        return true;
    /* An answered request may be gone at once, and the call with it: nothing of it is touched after these. */
    if (r < 0)
        answer_failure(call->request, r);
    else if (r > 0)
        answer_parsed(call->request, r, call->parsed);
    else
        http_answer_error(call->request, 422, "invalid", "Here one append is taken at a time.");
    return false;
}

void handle_dcb_append(struct http_request *request)
{
    struct dcb_append *call = http_request_alloc(request, sizeof(*call));
    struct journal_result result;
    int r;

    if (write_refused(request) || parameters_refused(request) || binary_refused(request))
        return;
    if (!call || http_request_on_end(request, dcb_append_release, call) < 0) {
        answer_failure(request, -ENOMEM);
        return;
    }
    *call = (struct dcb_append){.request = request, .begun_ns = os_monotonic_ns()};
    if (!idempotency_take(request, "/dcb/append", (struct bytes){0}, &call->idempotency) || !dcb_append_parse(call))
        return;
    struct journal_append *append = &call->parsed->items[0].append;
    append->done = dcb_append_done;
    append->user = call;
    if (!idempotency_mark(request, &call->idempotency, 0, append)) {
        answer_failure(request, -ENOMEM);
        return;
    }
    if (append->key.size > 0)
        append->prepare = dcb_append_prepare;
    r = journal_submit(server_of(request)->journal, append, &result);
    if (r != 0)
        answer_journal(request, r, result.detail);
}
