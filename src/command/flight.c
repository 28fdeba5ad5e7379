#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "command/fields.h"
#include "command/runtime.h"
#include "os/clock.h"

/* ---- making and ending ---- */

static void flight_free(struct flight *flight)
{
    for (size_t i = 0; i < flight->tag_count; i++) {
        command_state_free(flight->tags[i].offer);
        if (flight->tags[i].entry)
            cache_release(&flight->runtime->cache, flight->tags[i].entry);
    }
    command_out_deinit(&flight->out);
    arena_deinit(&flight->arena);
    free(flight);
}

static bool copy_into(struct arena *arena, struct bytes *bytes)
{
    if (!bytes->data)
        return true;
    *bytes = memory_copy(arena, *bytes);
    return bytes->data != NULL;
}

static struct flight *flight_new(struct command_runtime *runtime, const struct command_request *request)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    if (!flight)
        return NULL;

    flight->runtime = runtime;
    flight->forgets = atomic_load(&runtime->forgets);
    flight->request = *request;
    struct command_request *copy = &flight->request;
    struct bytes *const texts[] = {&copy->name, &copy->body, &copy->key, &copy->caller, &copy->meta};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!copy_into(&flight->arena, texts[i])) {
            flight_free(flight);
            return NULL;
        }
    }
    flight->out = (struct daybook_out){.app = &runtime->app, .arena = &flight->arena};
    flight->started_ns = os_monotonic_ns();
    return flight;
}

void flight_answer(struct flight *flight, struct command_result *result)
{
    struct command_runtime *runtime = flight->runtime;
    assert(result->answer >= 0 && result->answer < COMMAND_E_COUNT);
    if (!result->detail)
        result->detail = "";

    atomic_fetch_add(&runtime->answers[result->answer], 1);
    if (result->replayed)
        atomic_fetch_add(&runtime->replays, 1);
    flight->request.done(flight->request.user, result); /* C6 */
    flight_free(flight);
    runtime_leave(runtime);
}

void flight_answer_plain(struct flight *flight, int answer, const char *detail)
{
    flight_answer(flight, &(struct command_result){.answer = answer, .detail = detail});
}

void flight_answer_failure(struct flight *flight, int failure)
{
    flight_answer(flight, &(struct command_result){.answer = COMMAND_E_JOURNAL,
                                                   .journal_answer = failure,
                                                   .detail = strerror(-failure)});
}

const char *flight_fold_detail(struct flight *flight, const struct flight_tag *tag, int answer)
{
    if (answer == COMMAND_E_SCAVENGED)
        return memory_printf(&flight->arena,
                             "events with the tag %.*s were scavenged, and no compacted state of it is of this "
                             "application's name and state_version",
                             BYTES_PRINT(tag->tag));
    return memory_printf(&flight->arena,
                         "the application could not carry the state of %.*s: it grew too large, "
                         "or an upcaster built no event",
                         BYTES_PRINT(tag->tag));
}

/* ---- parse and validate: 0, COMMAND_E_* with `result` filled in, or -errno ---- */

static int answer_with(struct command_result *result, int answer, const char *detail)
{
    result->detail = detail;
    return answer;
}

static int find_command(struct flight *flight, struct command_result *result)
{
    const struct daybook_app *app = &flight->runtime->app;
    for (size_t i = 0; i < app->command_count; i++) {
        if (bytes_equal_string(flight->request.name, app->commands[i].name)) {
            flight->command = &app->commands[i];
            return 0;
        }
    }
    return answer_with(result, COMMAND_E_UNKNOWN,
                       memory_printf(&flight->arena, "%s has no command of this name", app->name));
}

/* "Name LF caller LF key": none of them has a line feed, so that no two scopes make the same key. */
static int take_key(struct flight *flight, struct command_result *result)
{
    const struct command_request *request = &flight->request;
    if (!request->key.data)
        return 0;
    bool valid = request->key.size > 0 && request->key.size <= COMMAND_KEY_SIZE_MAX;
    for (size_t i = 0; valid && i < request->key.size; i++)
        valid = request->key.data[i] >= 0x20 && request->key.data[i] < 0x7f;
    if (!valid)
        return answer_with(result, COMMAND_E_KEY_INVALID,
                           memory_printf(&flight->arena,
                                         "an idempotency key has 1 to %d visible ASCII characters",
                                         COMMAND_KEY_SIZE_MAX));
    if (request->caller.size > COMMAND_CALLER_SIZE_MAX ||
        (request->caller.size > 0 && memchr(request->caller.data, '\n', request->caller.size)))
        return answer_with(result, COMMAND_E_KEY_INVALID, "the caller's name is too long or has a line feed");

    _cleanup_(buffer_deinit) struct buffer key = {0};
    int r = buffer_printf(&key, "%s\n%.*s\n%.*s", flight->command->name, BYTES_PRINT(request->caller),
                          BYTES_PRINT(request->key));
    if (r < 0)
        return r;
    flight->key = memory_copy(&flight->arena, buffer_bytes(&key));
    return flight->key.data ? 0 : -ENOMEM;
}

static_assert(DAYBOOK_NAME_SIZE_MAX + 1 + COMMAND_CALLER_SIZE_MAX + 1 + COMMAND_KEY_SIZE_MAX <=
                  JOURNAL_KEY_SIZE_MAX,
              "a key with its scope fits into the journal");

/* The body as a tree, and its hash: of the JSON less insignificant white space, so that indentation is no
 * difference. */
static int parse(struct flight *flight, struct json_doc *doc, struct command_result *result)
{
    struct json_error error = {0};
    if (flight->request.body.size > COMMAND_BODY_SIZE_MAX)
        return answer_with(
            result, COMMAND_E_MALFORMED,
            memory_printf(&flight->arena, "the body has more than %d bytes", COMMAND_BODY_SIZE_MAX));
    int r = json_parse(flight->request.body, doc, &error);
    if (r < 0)
        return r;
    if (r > 0)
        return answer_with(
            result, COMMAND_E_MALFORMED,
            memory_printf(&flight->arena, "not valid JSON at byte %zu: %s", error.offset, error.reason));
    if (json_type(json_root(doc)) != JSON_OBJECT)
        return answer_with(result, COMMAND_E_MALFORMED,
                           memory_printf(&flight->arena, "a command is a JSON object, not %s",
                                         json_type_name(json_type(json_root(doc)))));

    _cleanup_(buffer_deinit) struct buffer body = {0};
    r = json_minify(json_raw(json_root(doc)), &body);
    if (r < 0)
        return r;
    struct hash256 hash = hash_blake(buffer_bytes(&body), (struct bytes){0});
    memcpy(flight->key_hash, hash.data, sizeof(flight->key_hash));
    return 0;
}

static int validate(struct flight *flight, const struct json_doc *doc, struct command_result *result)
{
    struct command_violations violations = {0};
    flight->values = arena_alloc_array(&flight->arena, flight->command->field_count, sizeof(*flight->values));
    if (!flight->values)
        return -ENOMEM;
    int r = command_fields_read(flight->command, json_root(doc), &flight->arena, flight->values, &violations);
    if (r > 0) {
        result->violations = violations.items;
        result->violation_count = violations.count;
        result->violation_total = violations.total;
        result->detail = memory_printf(&flight->arena,
                                       violations.total == 1 ? "%zu field of %s is not as it must be"
                                                             : "%zu fields of %s are not as they must be",
                                       violations.total, flight->command->name);
    }
    return r;
}

/* Asks the application for the boundary and takes its entries from the cache. */
static int take_boundary(struct flight *flight, struct command_result *result)
{
    struct daybook_tags tags = {.app = &flight->runtime->app, .arena = &flight->arena};
    flight->command->tags(flight->values, &tags);
    int r = command_tags_finish(&tags);
    if (r > 0)
        return answer_with(result, r, tags.problem);
    if (r < 0)
        return r;

    flight->tags = arena_alloc_array(&flight->arena, tags.count, sizeof(*flight->tags));
    flight->states = arena_alloc_array(&flight->arena, tags.count, sizeof(*flight->states));
    if (!flight->tags || !flight->states)
        return -ENOMEM;
    for (size_t i = 0; i < tags.count; i++) {
        struct flight_tag *tag = &flight->tags[i];
        tag->kind = tags.items[i].kind;
        tag->tag = tags.items[i].tag;
        r = cache_acquire(&flight->runtime->cache, tag->kind, tag->tag, &tag->entry);
        if (r < 0)
            return r;
        flight->tag_count++;
    }
    return 0;
}

/* ---- on its way ---- */

static bool boundary_ready(const struct flight *flight)
{
    bool ready = true;
    for (size_t i = 0; i < flight->tag_count; i++) {
        bool hit = flight->tags[i].entry->ready;
        atomic_fetch_add(hit ? &flight->runtime->cache_hits : &flight->runtime->cache_misses, 1);
        ready = ready && hit;
    }
    return ready;
}

static int prepare_flight(struct flight *flight, struct command_result *result)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct command_runtime *runtime = flight->runtime;
    int r = find_command(flight, result);
    if (r == 0)
        r = take_key(flight, result);
    if (r != 0)
        return r;
    r = parse(flight, &doc, result);
    flight->started_ns = runtime_step(runtime, COMMAND_PARSE, flight->started_ns);
    if (r != 0)
        return r;
    r = validate(flight, &doc, result);
    if (r == 0)
        r = take_boundary(flight, result);
    flight->started_ns = runtime_step(runtime, COMMAND_VALIDATE, flight->started_ns);
    return r;
}

void flight_start(struct command_runtime *runtime, const struct command_request *request)
{
    struct flight *flight = flight_new(runtime, request);
    if (!flight) {
        atomic_fetch_add(&runtime->answers[COMMAND_E_JOURNAL], 1);
        request->done(request->user, &(struct command_result){.answer = COMMAND_E_JOURNAL,
                                                              .journal_answer = -ENOMEM,
                                                              .detail = strerror(ENOMEM)});
        runtime_leave(runtime);
        return;
    }

    struct command_result result = {0};
    int r = prepare_flight(flight, &result);
    if (r < 0) {
        flight_answer_failure(flight, r);
    } else if (r > 0) {
        result.answer = r;
        flight_answer(flight, &result);
    } else if (boundary_ready(flight)) {
        flight_send(flight);
    } else {
        runtime_enqueue(runtime, flight, FLIGHT_LOAD);
    }
}

void flight_send(struct flight *flight)
{
    flight->append = (struct journal_append){
        .key = flight->key,
        .key_hash =
            flight->key.size > 0 ? bytes_make(flight->key_hash, sizeof(flight->key_hash)) : (struct bytes){0},
        .prepare = flight_turn,
        .done = flight_landed,
        .user = flight,
    };
    flight->started_ns = os_monotonic_ns();

    struct journal_result refused = {0};
    int r = journal_submit(flight->runtime->journal, &flight->append, &refused);
    if (r == 0)
        return; /* it may be gone already */
    if (r < 0) {
        flight_answer_failure(flight, r);
        return;
    }
    flight_answer(
        flight, &(struct command_result){.answer = r == JOURNAL_E_BUSY ? COMMAND_E_BUSY : COMMAND_E_JOURNAL,
                                         .journal_answer = r,
                                         .detail = memory_printf(&flight->arena, "%.255s", refused.detail)});
}
