/* POST /v1/append and POST /v1/streams/{stream}: from JSON to the journal's queue and back.
 *
 * A request holds one append or several. Each is parsed, submitted, and ends in done() on the writer thread, where its
 * result is written as JSON at once, for what it points at is gone afterwards. The last one to end answers the request. */

#include <stdio.h>
#include <string.h>

#include "journal/append_json.h"
#include "server/idempotency.h"

enum {
    PARSE_INLINE_SIZE_MAX = 32768, /* bytes of body parsed on the loop; larger ones go to a worker */
    RESULT_SIZE_MAX = 1 << 20,
    EVENT_POINTER_SIZE = 64,
};

struct write_call;

/* One append of the request and how it ended. */
struct write_slot {
    struct write_call *call;
    unsigned status;
    uint64_t position;
    uint64_t stream_version; /* of the route's stream */
    unsigned retry_after_s;
    uint64_t first; /* of the append that came with the same idempotency key, up to `position` */
    struct http_task again;
    struct buffer body;
};

struct write_call {
    struct http_request *request;
    struct http_task task;
    struct append_json_options options;
    struct append_json *parsed;
    struct journal_expectation expectation; /* from If-Match and If-None-Match */
    bool has_expectation;
    struct idempotency idempotency;
    atomic_size_t pending;
    struct write_slot *slots;
};

static void call_release(void *user)
{
    struct write_call *call = user;

    for (size_t i = 0; call->parsed && call->slots && i < call->parsed->item_count; i++)
        buffer_deinit(&call->slots[i].body);
    append_json_free(call->parsed);
}

/* ---- answering ---- */

void answer_parsed(struct http_request *request, int answer, const struct append_json *parsed)
{
    bool malformed = answer == APPEND_JSON_E_MALFORMED;
    struct http_problem problem = {.status = malformed ? 400 : 422,
                                   .code = malformed ? "malformed" : "invalid",
                                   .detail = parsed->detail};
    struct http_violation *violations =
        http_request_alloc(request, (parsed->violation_count + 1) * sizeof(*violations));
    char members[48];

    for (size_t i = 0; violations && i < parsed->violation_count; i++)
        violations[i] = (struct http_violation){bytes_from_string(parsed->violations[i].pointer),
                                                bytes_from_string(parsed->violations[i].detail)};
    if (violations) {
        problem.violations = violations;
        problem.violation_count = parsed->violation_count;
    }
    if (malformed) {
        snprintf(members, sizeof(members), "\"offset\":%zu", parsed->offset);
        problem.members = bytes_from_string(members);
    }
    http_answer_problem(request, &problem);
}

static void answer_many(struct write_call *call)
{
    struct buffer body = {0};
    uint64_t position = 0;
    int r = buffer_append_string(&body, "{\"results\":[");

    for (size_t i = 0; i < call->parsed->item_count && r == 0; i++) {
        struct write_slot *slot = &call->slots[i];
        if (slot->position > position)
            position = slot->position;
        r = i > 0 ? buffer_append_byte(&body, ',') : 0;
        r = r == 0 ? buffer_append_bytes(&body, buffer_bytes(&slot->body)) : r;
    }
    r = r == 0 ? buffer_append_string(&body, "]}") : r;
    if (position > 0)
        answer_position(call->request, position);
    if (r < 0)
        answer_failure(call->request, r);
    else
        http_answer(call->request, 200, "application/json", &body);
    buffer_deinit(&body);
}

static void answer_one(struct write_call *call)
{
    struct write_slot *slot = &call->slots[0];

    if (slot->position > 0)
        answer_position(call->request, slot->position);
    if (call->options.stream.size > 0 && slot->stream_version > 0)
        http_header_printf(call->request, "ETag", "\"%llu\"", (unsigned long long)slot->stream_version);
    if (slot->retry_after_s > 0)
        http_header_printf(call->request, "Retry-After", "%u", slot->retry_after_s);
    http_answer(call->request, slot->status,
                slot->status < 300 ? "application/json" : "application/problem+json", &slot->body);
}

/* One more has ended: the last one answers. Any thread. */
static void call_ended(struct write_call *call)
{
    if (atomic_fetch_sub(&call->pending, 1) > 1)
        return;
    if (call->parsed->many)
        answer_many(call);
    else
        answer_one(call);
}

/* ---- one append's end ---- */

static void slot_problem(struct write_slot *slot, const struct http_problem *problem)
{
    slot->status = problem->status;
    slot->retry_after_s = problem->retry_after_s;
    buffer_clear(&slot->body);
    if (problem_text(slot->call->request, problem, &slot->body) < 0)
        buffer_clear(&slot->body); /* no memory: the status stands for itself */
}

/* Where in the body one of the append's events stands. */
static void event_pointer(const struct write_slot *slot, size_t index, char ret_pointer[EVENT_POINTER_SIZE])
{
    const struct write_call *call = slot->call;
    struct bytes body = http_request_body(call->request);
    size_t begin = 0;

    while (begin < body.size && body.data[begin] <= ' ')
        begin++;
    if (call->parsed->many)
        snprintf(ret_pointer, EVENT_POINTER_SIZE, "/appends/%zu/events/%zu", (size_t)(slot - call->slots),
                 index);
    else if (call->options.form == APPEND_JSON_REQUEST)
        snprintf(ret_pointer, EVENT_POINTER_SIZE, "/events/%zu", index);
    else if (begin < body.size && body.data[begin] == '[')
        snprintf(ret_pointer, EVENT_POINTER_SIZE, "/%zu", index);
    else
        ret_pointer[0] = '\0'; /* the body is the event */
}

static void slot_failed(struct write_slot *slot, const struct journal_result *result)
{
    struct http_problem problem = journal_problem(result->answer, result->detail);
    struct buffer members = {0};
    char pointer[EVENT_POINTER_SIZE];
    struct http_violation violation;

    if (result->answer == JOURNAL_E_CONFLICT) {
        if (slot->call->has_expectation) { /* the header's precondition, not the body's */
            problem.status = 412;
            problem.code = "precondition-failed";
            slot->stream_version = result->conflict_count > 0 ? result->conflicts[0].actual : 0;
        }
        if (conflicts_write(result, &members) == 0)
            problem.members = buffer_bytes(&members);
    } else if (result->answer == JOURNAL_E_INVALID || result->answer == JOURNAL_E_ID_REUSED) {
        event_pointer(slot, result->index, pointer);
        violation = (struct http_violation){bytes_from_string(pointer), bytes_from_string(problem.detail)};
        problem.violations = &violation;
        problem.violation_count = 1;
    }
    slot_problem(slot, &problem);
    buffer_deinit(&members);
}

static void slot_done(struct write_slot *slot, const struct journal_result *result)
{
    struct json_writer w = json_writer(&slot->body);

    slot->status = 201;
    slot->position = result->last;
    json_write_object_begin(&w);
    if (slot->call->parsed->many)
        json_write_member_u64(&w, "status", 201);
    json_write_member_u64(&w, "first", result->first);
    json_write_member_u64(&w, "last", result->last);
    json_write_member_bool(&w, "replayed", result->replayed);
    json_write_key(&w, "streams");
    json_write_object_begin(&w);
    for (size_t i = 0; i < result->stream_count; i++) {
        json_write_key_bytes(&w, result->streams[i].stream);
        json_write_u64(&w, result->streams[i].version);
        if (bytes_equal(result->streams[i].stream, slot->call->options.stream))
            slot->stream_version = result->streams[i].version;
    }
    json_write_object_end(&w);
    json_write_object_end(&w);
    if (json_write_end(&w) < 0)
        buffer_clear(&slot->body);
}

/* ---- the same idempotency key again ---- */

static int append_prepare(struct journal_append *append, struct journal_turn *turn)
{
    struct write_slot *slot = append->user;

    return idempotency_find(append, turn, &slot->first, &slot->position);
}

struct stream_list {
    struct journal_stream_version streams[JOURNAL_EVENT_COUNT_MAX];
    size_t count;
    struct http_request *request;
};

/* A stream's last version counts. */
static int stream_list_add(void *user, struct bytes stream, uint64_t version)
{
    struct stream_list *list = user;
    size_t i = 0;

    while (i < list->count && !bytes_equal(list->streams[i].stream, stream))
        i++;
    if (i == list->count) {
        uint8_t *copy = http_request_alloc(list->request, stream.size);
        if (!copy || list->count == JOURNAL_EVENT_COUNT_MAX)
            return -ENOMEM;
        memcpy(copy, stream.data, stream.size);
        list->streams[list->count++].stream = bytes_make(copy, stream.size);
    }
    list->streams[i].version = version;
    return 0;
}

static void slot_again(struct http_task *task)
{
    struct write_slot *slot = (struct write_slot *)((char *)task - offsetof(struct write_slot, again));
    struct http_request *request = slot->call->request;
    struct stream_list *list = http_request_alloc(request, sizeof(*list));
    int r = list ? 0 : -ENOMEM;

    if (r == 0) {
        list->request = request;
        r = idempotency_versions(server_of(request), slot->first, slot->position, stream_list_add, list);
    }
    if (r == 0)
        slot_done(slot, &(struct journal_result){.first = slot->first,
                                                 .last = slot->position,
                                                 .replayed = true,
                                                 .streams = list->streams,
                                                 .stream_count = list->count});
    else
        slot_failed(slot, &(struct journal_result){.answer = r});
    call_ended(slot->call);
}

static void append_done(struct journal_append *append, const struct journal_result *result)
{
    struct write_slot *slot = append->user;
    struct http_problem problem = idempotency_problem();

    if (result->answer == IDEMPOTENCY_E_REPLAYED) {
        slot->again.run = slot_again;
        if (http_work(http_request_server(slot->call->request), &slot->again) == 0)
            return;
        slot_failed(slot, &(struct journal_result){.answer = JOURNAL_E_BUSY});
    } else if (result->answer == IDEMPOTENCY_E_REUSED)
        slot_problem(slot, &problem);
    else if (result->answer == 0)
        slot_done(slot, result);
    else
        slot_failed(slot, result);
    call_ended(slot->call);
}

static void slot_invalid(struct write_slot *slot, const struct append_json_item *item)
{
    struct http_problem problem = journal_problem(JOURNAL_E_INVALID, NULL);
    struct http_violation violations[APPEND_JSON_VIOLATION_COUNT_MAX];

    for (size_t i = 0; i < item->violation_count && i < APPEND_JSON_VIOLATION_COUNT_MAX; i++)
        violations[problem.violation_count++] = (struct http_violation){
            bytes_from_string(item->violations[i].pointer), bytes_from_string(item->violations[i].detail)};
    problem.violations = violations;
    slot_problem(slot, &problem);
}

static void slot_submit(struct write_slot *slot, struct append_json_item *item)
{
    struct write_call *call = slot->call;
    struct journal_result result = {0};

    if (!call->parsed->many)
        slot->body = http_answer_buffer(call->request);
    slot->body.size_max = RESULT_SIZE_MAX;
    if (item->violation_count > 0) {
        slot_invalid(slot, item);
        call_ended(call);
        return;
    }
    item->append.done = append_done;
    item->append.user = slot;
    if (!idempotency_mark(call->request, &call->idempotency, (size_t)(slot - call->slots), &item->append)) {
        slot_failed(slot, &(struct journal_result){.answer = -ENOMEM});
        call_ended(call);
        return;
    }
    if (item->append.key.size > 0)
        item->append.prepare = append_prepare;
    if (call->has_expectation) {
        item->append.expectations = &call->expectation;
        item->append.expectation_count = 1;
    }
    int r = journal_submit(server_of(call->request)->journal, &item->append, &result);
    if (r == 0)
        return;
    result.answer = r;
    slot_failed(slot, &result);
    call_ended(call);
}

/* ---- the request ---- */

static void call_run(struct http_task *task)
{
    struct write_call *call = (struct write_call *)((char *)task - offsetof(struct write_call, task));
    struct http_request *request = call->request;
    int r = append_json_parse(http_request_body(request), &call->options, &call->parsed);

    if (r < 0) {
        answer_failure(request, r);
        return;
    }
    if (r > 0) {
        answer_parsed(request, r, call->parsed);
        return;
    }
    size_t count = call->parsed->item_count;
    call->slots = http_request_alloc(request, count * sizeof(*call->slots));
    if (!call->slots) {
        answer_failure(request, -ENOMEM);
        return;
    }
    /* One more than there are, so that nobody answers before all are submitted. */
    call->pending = count + 1;
    for (size_t i = 0; i < count; i++) {
        call->slots[i].call = call;
        slot_submit(&call->slots[i], &call->parsed->items[i]);
    }
    call_ended(call);
}

static void call_start(struct write_call *call)
{
    call->task.run = call_run;
    if (http_request_body(call->request).size <= PARSE_INLINE_SIZE_MAX) {
        http_answer_soon(call->request); /* one group commit away; of the header nothing is needed any more then */
        call_run(&call->task);
    } else if (http_work(http_request_server(call->request), &call->task) != 0) {
        answer_busy(call->request);
    }
}

static struct write_call *call_new(struct http_request *request, enum append_json_form form)
{
    struct write_call *call = http_request_alloc(request, sizeof(*call));

    if (!call || http_request_on_end(request, call_release, call) < 0) {
        answer_failure(request, -ENOMEM);
        return NULL;
    }
    call->request = request;
    call->options = (struct append_json_options){.form = form, .traceparent = ask_traceparent(request)};
    return call;
}

/* A CloudEvent in binary mode has its attributes in header fields, which nobody here would store. */
bool binary_refused(struct http_request *request)
{
    static const char *const attributes[] = {"ce-specversion", "ce-type", "ce-id", "ce-source"};

    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        if (!http_request_header(request, attributes[i]))
            continue;
        http_answer_error(request, 415, "cloudevent-binary",
                          "CloudEvents in binary mode (%s and others) are not taken here: send the event as "
                          "JSON, or use daybook import --format cloudevents.",
                          attributes[i]);
        return true;
    }
    return false;
}

void handle_append(struct http_request *request)
{
    if (write_refused(request) || parameters_refused(request) || binary_refused(request))
        return;
    struct write_call *call = call_new(request, APPEND_JSON_REQUEST);
    if (call && idempotency_take(request, "/v1/append", (struct bytes){0}, &call->idempotency))
        call_start(call);
}

/* If-Match: "7" or *, If-None-Match: *. The number counts, weak or not. False: answered. */
static bool take_preconditions(struct write_call *call)
{
    const char *match = http_request_header(call->request, "If-Match");
    const char *none_match = http_request_header(call->request, "If-None-Match");
    uint64_t version;

    if (!match && !none_match)
        return true;
    call->has_expectation = true;
    call->expectation.stream = call->options.stream;
    if (match && !none_match && strcmp(match, "*") == 0) {
        call->expectation.expect = JOURNAL_EXPECT_EXISTS;
        return true;
    }
    if (none_match && !match && strcmp(none_match, "*") == 0) {
        call->expectation.expect = JOURNAL_EXPECT_NONE;
        return true;
    }
    if (match && !none_match) {
        const char *tag = strncmp(match, "W/", 2) == 0 ? match + 2 : match;
        size_t size = strlen(tag);
        if (size > 2 && tag[0] == '"' && tag[size - 1] == '"' &&
            bytes_parse_u64(bytes_make(tag + 1, size - 2), &version) == 0) {
            call->expectation.expect = JOURNAL_EXPECT_VERSION;
            call->expectation.version = version;
            return true;
        }
    }
    http_answer_error(call->request, 400, "precondition-invalid",
                      "It is If-Match: \"VERSION\", If-Match: * or If-None-Match: *.");
    return false;
}

void handle_stream_append(struct http_request *request)
{
    if (write_refused(request) || parameters_refused(request) || binary_refused(request))
        return;
    struct write_call *call = call_new(request, APPEND_JSON_EVENTS);
    if (!call)
        return;
    call->options.stream = http_request_param(request, 0);
    if (take_preconditions(call) &&
        idempotency_take(request, "/v1/streams", call->options.stream, &call->idempotency))
        call_start(call);
}
