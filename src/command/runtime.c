#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "command/app_load.h"
#include "command/runtime.h"
#include "os/clock.h"
#include "os/random.h"

enum { WORKER_COUNT_DEFAULT = 2, WAITING_COUNT_MAX_DEFAULT = 16384 };
#define CACHE_SIZE_MAX_DEFAULT ((size_t)64 << 20)

/* ---- figures ---- */

uint64_t runtime_step(struct command_runtime *runtime, enum command_step step, uint64_t started_ns)
{
    struct step_figures *figures = &runtime->steps[step];
    uint64_t now_ns = os_monotonic_ns();
    uint64_t took_ns = now_ns - started_ns;
    atomic_fetch_add(&figures->count, 1);
    atomic_fetch_add(&figures->ns_total, took_ns);
    uint64_t max = atomic_load(&figures->ns_max);
    while (took_ns > max && !atomic_compare_exchange_weak(&figures->ns_max, &max, took_ns))
        continue;
    return now_ns;
}

static const char *const step_names[COMMAND_STEP_COUNT] = {
    [COMMAND_PARSE] = "parse",   [COMMAND_VALIDATE] = "validate", [COMMAND_LOAD] = "load",
    [COMMAND_DECIDE] = "decide", [COMMAND_APPEND] = "append",
};

const char *command_step_name(enum command_step step)
{
    return step_names[step];
}

static const char *const answer_names[COMMAND_E_COUNT] = {
    [0] = "decided",
    [COMMAND_E_UNKNOWN] = "unknown-command",
    [COMMAND_E_MALFORMED] = "malformed",
    [COMMAND_E_INVALID] = "invalid",
    [COMMAND_E_REJECTED] = "rejected",
    [COMMAND_E_KEY_INVALID] = "idempotency-key-invalid",
    [COMMAND_E_KEY_REUSED] = "idempotency-key-reused",
    [COMMAND_E_CONTENTION] = "contention",
    [COMMAND_E_BUSY] = "busy",
    [COMMAND_E_CLOSING] = "closing",
    [COMMAND_E_APP] = "application-error",
    [COMMAND_E_JOURNAL] = "journal",
    [COMMAND_E_SCAVENGED] = "scavenged",
};

const char *command_answer_name(int answer)
{
    return answer >= 0 && answer < COMMAND_E_COUNT ? answer_names[answer] : "unknown";
}

void command_metrics(struct command_runtime *runtime, struct command_metrics *ret_metrics)
{
    struct command_metrics metrics = {
        .replays = runtime->replays,
        .events_folded = runtime->events_folded,
        .retries = runtime->retries,
        .cache_hits = runtime->cache_hits,
        .cache_misses = runtime->cache_misses,
    };
    for (size_t i = 0; i < COMMAND_STEP_COUNT; i++) {
        metrics.steps[i].count = runtime->steps[i].count;
        metrics.steps[i].ns_total = runtime->steps[i].ns_total;
        metrics.steps[i].ns_max = runtime->steps[i].ns_max;
    }
    for (size_t i = 0; i < COMMAND_E_COUNT; i++)
        metrics.answers[i] = runtime->answers[i];
    cache_figures(&runtime->cache, &metrics.cache_count, &metrics.cache_size, &metrics.cache_evictions);
    os_mutex_lock(&runtime->lock);
    metrics.waiting_count = runtime->waiting_count;
    os_mutex_unlock(&runtime->lock);
    *ret_metrics = metrics;
}

const struct daybook_app *command_app(const struct command_runtime *runtime)
{
    return &runtime->app;
}

const char *command_kind_of(const struct command_runtime *runtime, struct bytes tag)
{
    for (size_t i = 0; i < runtime->app.kind_count; i++) {
        struct bytes prefix = bytes_from_string(runtime->app.kinds[i].prefix);
        if (tag.size > prefix.size && bytes_starts_with(tag, prefix) && tag.data[prefix.size] == ':')
            return runtime->app.kinds[i].prefix;
    }
    return NULL;
}

/* ---- the queue of the workers ---- */

void runtime_enqueue(struct command_runtime *runtime, struct flight *flight, enum flight_work work)
{
    flight->work = work;
    flight->next = NULL;
    os_mutex_lock(&runtime->lock);
    *(runtime->last ? &runtime->last->next : &runtime->first) = flight;
    runtime->last = flight;
    os_cond_signal(&runtime->work);
    os_mutex_unlock(&runtime->lock);
}

/* The next flight, waiting for it; NULL when the runtime stops. */
static struct flight *runtime_dequeue(struct command_runtime *runtime)
{
    os_mutex_lock(&runtime->lock);
    while (!runtime->first && !runtime->stopping)
        os_cond_wait(&runtime->work, &runtime->lock);
    struct flight *flight = runtime->first;
    if (flight) {
        runtime->first = flight->next;
        if (!runtime->first)
            runtime->last = NULL;
    }
    os_mutex_unlock(&runtime->lock);
    return flight;
}

static void worker_main(void *user)
{
    struct command_runtime *runtime = user;
    struct command_folder folder = {.app = &runtime->app};
    struct flight *flight;
    while ((flight = runtime_dequeue(runtime)))
        flight_work(flight, &folder);
    command_folder_deinit(&folder);
}

/* ---- who is in ---- */

/* 0, COMMAND_E_CLOSING or COMMAND_E_BUSY. */
static int runtime_enter(struct command_runtime *runtime)
{
    os_mutex_lock(&runtime->lock);
    int answer = runtime->closing                                       ? COMMAND_E_CLOSING
                 : runtime->waiting_count == runtime->waiting_count_max ? COMMAND_E_BUSY
                                                                        : 0;
    if (answer == 0)
        runtime->waiting_count++;
    os_mutex_unlock(&runtime->lock);
    return answer;
}

void runtime_leave(struct command_runtime *runtime)
{
    os_mutex_lock(&runtime->lock);
    assert(runtime->waiting_count > 0);
    if (--runtime->waiting_count == 0)
        os_cond_broadcast(&runtime->idle);
    os_mutex_unlock(&runtime->lock);
}

void command_submit(struct command_runtime *runtime, const struct command_request *request)
{
    int answer = runtime_enter(runtime);
    if (answer == 0) {
        flight_start(runtime, request);
        return;
    }
    atomic_fetch_add(&runtime->answers[answer], 1);
    request->done(request->user, &(struct command_result){.answer = answer,
                                                          .detail = answer == COMMAND_E_BUSY
                                                                        ? "too many commands are waiting"
                                                                        : "the server is closing"});
}

/* ---- life ---- */

static void stop_workers(struct command_runtime *runtime)
{
    os_mutex_lock(&runtime->lock);
    runtime->stopping = true;
    os_cond_broadcast(&runtime->work);
    os_mutex_unlock(&runtime->lock);
    for (size_t i = 0; i < runtime->worker_count; i++)
        os_thread_join(&runtime->workers[i]);
}

static int start_workers(struct command_runtime *runtime, size_t count)
{
    runtime->workers = calloc(count, sizeof(*runtime->workers));
    if (!runtime->workers)
        return -ENOMEM;
    while (runtime->worker_count < count) {
        int r = os_thread_start(&runtime->workers[runtime->worker_count], "command", worker_main, runtime);
        if (r < 0)
            return r;
        runtime->worker_count++;
    }
    return 0;
}

static void runtime_free(struct command_runtime *runtime)
{
    stop_workers(runtime);
    free(runtime->workers);
    cache_deinit(&runtime->cache);
    command_folder_deinit(&runtime->folder);
    os_cond_deinit(&runtime->idle);
    os_cond_deinit(&runtime->work);
    os_mutex_deinit(&runtime->lock);
    free(runtime);
}

int command_runtime_new(struct journal *journal, daybook_app_fn *app, const struct command_options *options,
                        struct command_runtime **ret_runtime, char *ret_error)
{
    static const struct command_options defaults = {0};
    char error[APP_ERROR_SIZE] = "";
    if (!options)
        options = &defaults;

    struct command_runtime *runtime = calloc(1, sizeof(*runtime));
    if (!runtime)
        return -ENOMEM;
    runtime->journal = journal;
    runtime->waiting_count_max =
        options->waiting_count_max ? options->waiting_count_max : WAITING_COUNT_MAX_DEFAULT;
    runtime->folder.app = &runtime->app;
    os_mutex_init(&runtime->lock);
    os_cond_init(&runtime->work);
    os_cond_init(&runtime->idle);

    uint8_t hash_key[16];
    int r = os_random(hash_key, sizeof(hash_key));
    if (r == 0)
        r = app_init(app, &runtime->app, error);
    if (r == 0)
        r = cache_init(&runtime->cache,
                       options->cache_size_max ? options->cache_size_max : CACHE_SIZE_MAX_DEFAULT, hash_key);
    if (r == 0)
        r = start_workers(runtime, options->worker_count ? options->worker_count : WORKER_COUNT_DEFAULT);
    if (r != 0) {
        runtime_free(runtime);
        if (ret_error)
            snprintf(ret_error, APP_ERROR_SIZE, "%s", r < 0 ? strerror(-r) : error);
        return r;
    }
    *ret_runtime = runtime;
    return 0;
}

int command_runtime_open(struct journal *journal, const char *path, const struct command_options *options,
                         struct command_runtime **ret_runtime, char *ret_error)
{
    char error[APP_ERROR_SIZE] = "";
    daybook_app_fn *app = NULL;
    int r = app_load(path, &app, error);
    if (r == 0)
        return command_runtime_new(journal, app, options, ret_runtime, ret_error);
    if (ret_error)
        memcpy(ret_error, error, sizeof(error));
    return r;
}

void command_runtime_close(struct command_runtime *runtime)
{
    if (!runtime)
        return;
    os_mutex_lock(&runtime->lock);
    runtime->closing = true;
    while (runtime->waiting_count > 0)
        os_cond_wait(&runtime->idle, &runtime->lock);
    os_mutex_unlock(&runtime->lock);
    runtime_free(runtime);
}
