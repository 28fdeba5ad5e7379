/* DELETE /v1/subjects/{subject}, and what an erasure has to clear behind the journal: views, copies of the past, decided states,
 * and the newest events held for subscribers.
 *
 * One thread works on every fence that is not done, wherever it came from: this server's own DELETE, a leader's log, an older
 * backup, or a process that ended in the middle. So all of them are finished in one way, and a crash at any point is finished
 * at the next start. */

#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/time.h"
#include "base/vector.h"
#include "journal/seal.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/internal.h"

enum {
    ERASE_WAIT_MS = 20000, /* a DELETE waits so long for the views; then it answers 202 */
    LOOK_MS = 500,         /* between two looks at whether the views are done */
};

struct eraser {
    struct server *server;
    struct journal_listener listener;
    struct os_thread thread;
    struct os_mutex lock;
    struct os_cond moved; /* asked, stop, or something is done */
    bool asked, stop, listening;
    _Atomic uint64_t settled; /* what fences up to here ask for has been done */
    /* the thread's alone */
    uint64_t obeyed;       /* fences in the journal up to here are in the vault */
    uint64_t obeyed_count; /* so many events stood in their stream then */
    size_t fences_cleared; /* so many fences were there when views and states were last told to forget */
};

/* ---- what a fence concerns ---- */

/* The events sealed with the keys of one fence, or of all that are not done. */
struct concern {
    struct arena arena;
    struct bytes *types; /* each once */
    size_t type_count, type_capacity;
    uint64_t events;
};

static void concern_deinit(struct concern *concern)
{
    free(concern->types);
    arena_deinit(&concern->arena);
}

static int note_type(struct concern *concern, struct bytes type)
{
    for (size_t i = 0; i < concern->type_count; i++)
        if (bytes_equal(concern->types[i], type))
            return 0;
    int r = vector_reserve(&concern->types, &concern->type_capacity, concern->type_count + 1);
    if (r == 0)
        r = arena_copy(&concern->arena, type, &concern->types[concern->type_count]);
    concern->type_count += r == 0;
    return r;
}

static int add_events(struct concern *concern, struct journal *journal, const struct vault_id *key)
{
    uint8_t text[SEAL_TAG_SIZE];
    struct bytes tag = bytes_make(text, sizeof(text));
    const struct journal_item item = {.tags = &tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    const struct journal_read read = {.query = &query, .system = true, .own_tags = true};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;

    seal_tag(key, text);
    int r = journal_reader_new(journal, &read, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        concern->events++;
        r = note_type(concern, event.type);
    }
    return r == JOURNAL_E_END ? 0 : r > 0 ? -EIO : r;
}

/* `position` 0: of every fence that is not done. */
static int concern_take(struct concern *concern, struct server *server, uint64_t position)
{
    struct vault_fence fence;
    size_t count = vault_fence_count(server->vault);
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        vault_fence_get(server->vault, i, &fence);
        if (position > 0 ? fence.position == position : !fence.done)
            r = add_events(concern, server->journal, &fence.fingerprint);
    }
    return r;
}

/* ---- the thread ---- */

/* Everything that may hold what the new fences concern. */
static int forget(struct eraser *eraser)
{
    struct server *server = eraser->server;
    _cleanup_(concern_deinit) struct concern concern = {0};
    size_t count = vault_fence_count(server->vault);
    int r = concern_take(&concern, server, 0);

    if (r < 0)
        return r;
    view_set_forget(server->views, concern.types, concern.type_count);
    if (server->commands && !server->options->follow)
        r = command_runtime_forget(server->commands);
    feed_forget(server->feed);
    if (r == 0 || r == JOURNAL_E_READ_ONLY) /* no command is decided while the journal takes no writes */
        eraser->fences_cleared = count;
    return r < 0 ? r : 0;
}

static int note_done(struct eraser *eraser)
{
    struct vault *vault = eraser->server->vault;
    struct vault_fence fence;
    int r = 0;

    for (size_t i = 0; r == 0 && i < eraser->fences_cleared; i++) {
        vault_fence_get(vault, i, &fence);
        if (!fence.done)
            r = vault_fence_done(vault, fence.position);
    }
    return r;
}

static bool has_open_fence(struct eraser *eraser)
{
    struct vault_status status;

    vault_status(eraser->server->vault, &status);
    return status.fences_open > 0;
}

/* A look, unless a fence has come since the last one: heads move often, and fences are few. */
static int obey(struct eraser *eraser)
{
    struct journal *journal = eraser->server->journal;
    uint64_t count = 0;
    int r = journal_stream_version(journal, JOURNAL_FENCE_STREAM, &count);

    if (r < 0 || (r == 0 && count == eraser->obeyed_count))
        return r;
    r = journal_obey_fences(journal, &eraser->obeyed);
    if (r == 0)
        eraser->obeyed_count = count;
    return r;
}

/* One round. true: there is more to do, now or a little later. */
static bool work(struct eraser *eraser)
{
    struct server *server = eraser->server;
    uint64_t head = journal_head(server->journal);
    int r = obey(eraser);

    if (r < 0)
        return true;
    if (!has_open_fence(eraser)) {
        atomic_store(&eraser->settled, head);
        return false;
    }
    if (vault_fence_count(server->vault) > eraser->fences_cleared && forget(eraser) < 0)
        return true;
    if (view_set_wait_forgotten(server->views, LOOK_MS) == 0)
        r = note_done(eraser);
    if (r < 0 || has_open_fence(eraser))
        return true;
    atomic_store(&eraser->settled, head);
    return false;
}

static bool wait_to_be_asked(struct eraser *eraser, bool more)
{
    _os_locked_(&eraser->lock);

    os_cond_broadcast(&eraser->moved);
    uint64_t deadline_ns = os_monotonic_ns() + LOOK_MS * OS_NS_PER_MS;
    while (!eraser->stop && !eraser->asked) {
        if (!more)
            os_cond_wait(&eraser->moved, &eraser->lock);
        else if (!os_cond_wait_until(&eraser->moved, &eraser->lock, deadline_ns))
            break;
    }
    eraser->asked = false;
    return !eraser->stop;
}

static void eraser_main(void *user)
{
    struct eraser *eraser = user;
    bool more;

    do
        more = work(eraser);
    while (wait_to_be_asked(eraser, more));
}

static void ask(struct eraser *eraser)
{
    os_mutex_lock(&eraser->lock);
    eraser->asked = true;
    os_cond_broadcast(&eraser->moved);
    os_mutex_unlock(&eraser->lock);
}

uint64_t eraser_settled(struct eraser *eraser)
{
    return atomic_load(&eraser->settled);
}

/* A follower's fences come with the log. */
static void on_head(struct journal_listener *listener, uint64_t head)
{
    ask((struct eraser *)((char *)listener - offsetof(struct eraser, listener)));
}

/* ---- life ---- */

int eraser_new(struct server *server, struct eraser **ret_eraser)
{
    struct eraser *eraser = calloc(1, sizeof(*eraser));

    if (!eraser)
        return -ENOMEM;
    eraser->server = server;
    os_mutex_init(&eraser->lock);
    os_cond_init(&eraser->moved);
    eraser->listener.moved = on_head;
    *ret_eraser = eraser;
    if (server->options->follow) {
        journal_listen(server->journal, &eraser->listener);
        eraser->listening = true;
    }
    return os_thread_start(&eraser->thread, "eraser", eraser_main, eraser);
}

void eraser_stop(struct eraser *eraser)
{
    if (!eraser)
        return;
    if (eraser->listening)
        journal_unlisten(eraser->server->journal, &eraser->listener);
    eraser->listening = false;
    os_mutex_lock(&eraser->lock);
    eraser->stop = true;
    os_cond_broadcast(&eraser->moved);
    os_mutex_unlock(&eraser->lock);
    os_thread_join(&eraser->thread);
}

void eraser_free(struct eraser *eraser)
{
    if (!eraser)
        return;
    os_cond_deinit(&eraser->moved);
    os_mutex_deinit(&eraser->lock);
    free(eraser);
}

/* ---- over HTTP ---- */

static bool is_done(struct server *server, uint64_t position)
{
    struct vault_fence fence;

    for (size_t i = vault_fence_count(server->vault); i-- > 0;) {
        vault_fence_get(server->vault, i, &fence);
        if (fence.position == position && !fence.done)
            return false;
    }
    return true;
}

/* Whether it was done in time. */
static bool wait_until_done(struct eraser *eraser, uint64_t position)
{
    uint64_t deadline_ns = os_monotonic_ns() + ERASE_WAIT_MS * OS_NS_PER_MS;
    _os_locked_(&eraser->lock);

    eraser->asked = true;
    os_cond_broadcast(&eraser->moved);
    while (!is_done(eraser->server, position)) {
        if (eraser->stop || !os_cond_wait_until(&eraser->moved, &eraser->lock, deadline_ns))
            return is_done(eraser->server, position);
    }
    return true;
}

static void write_keys(struct json_writer *w, struct server *server, uint64_t position)
{
    struct vault_fence fence;

    json_write_key(w, "keys");
    json_write_array_begin(w);
    for (size_t i = 0; i < vault_fence_count(server->vault); i++) {
        struct buffer text = {0};
        vault_fence_get(server->vault, i, &fence);
        if (fence.position == position &&
            hex_encode(bytes_make(fence.fingerprint.bytes, sizeof(fence.fingerprint.bytes)), &text) == 0)
            json_write_bytes(w, buffer_bytes(&text));
        buffer_deinit(&text);
    }
    json_write_array_end(w);
}

/* Only views that read events of these types: the others hold nothing of the subject. */
static void write_views(struct json_writer *w, struct server *server, const struct concern *concern)
{
    json_write_key(w, "views");
    json_write_array_begin(w);
    for (size_t i = 0; i < view_set_count(server->views); i++) {
        struct view_status status;
        if (!view_set_reads(server->views, i, concern->types, concern->type_count))
            continue;
        view_set_status(server->views, i, &status);
        json_write_object_begin(w);
        json_write_member_string(w, "name", status.name);
        json_write_member_u64(w, "generation", status.generation);
        bool clean = view_set_has_forgotten(server->views, i);
        json_write_member_string(w, "state",
                                 status.error[0] != '\0' ? "failed"
                                 : clean                 ? "rebuilt"
                                                         : "rebuilding");
        if (status.error[0] != '\0')
            json_write_member_string(w, "detail", status.error);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_strings(struct json_writer *w, const char *name, const char *const *strings, size_t count)
{
    json_write_key(w, name);
    json_write_array_begin(w);
    for (size_t i = 0; i < count; i++)
        json_write_string(w, strings[i]);
    json_write_array_end(w);
}

static void write_reach(struct json_writer *w, struct server *server, uint64_t position)
{
    static const char *const dropped[] = {"keys", "views' older files", "copies of the past (as_of)",
                                          "decided states", "events held for subscribers"};
    static const char *const not_reached[] = {
        "exports, and whatever clients have read",
        "backups made before: they hold the key; restore them with --fences and this data folder",
        "followers that are down: they erase when they come back, before they are ready",
        "what stands in types, names of streams, tags, ids and idempotency keys",
        "states that were compacted: $compacted events are not about a subject",
    };

    write_strings(w, "dropped", dropped, sizeof(dropped) / sizeof(dropped[0]));
    json_write_key(w, "followers");
    log_feed_report(server->log_feed, position, w);
    write_strings(w, "not_reached", not_reached, sizeof(not_reached) / sizeof(not_reached[0]));
}

static int write_report(struct server *server, const struct journal_erasure *erasure, bool complete,
                        struct buffer *body)
{
    _cleanup_(concern_deinit) struct concern concern = {0};
    struct json_writer w = json_writer(body);
    char time[TIME_TEXT_SIZE];
    int r = concern_take(&concern, server, erasure->position);

    if (r < 0)
        return r;
    json_write_object_begin(&w);
    json_write_member_u64(&w, "position", erasure->position);
    if (time_format(erasure->time_us, time) == 0)
        json_write_member_string(&w, "time", time);
    json_write_member_bool(&w, "again", erasure->again);
    json_write_member_bool(&w, "complete", complete);
    write_keys(&w, server, erasure->position);
    json_write_member_u64(&w, "events", concern.events);
    write_views(&w, server, &concern);
    write_reach(&w, server, erasure->position);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void answer_report(struct http_request *request, const struct journal_erasure *erasure, bool complete)
{
    struct buffer body = {0};
    int r = write_report(server_of(request), erasure, complete, &body);

    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, complete ? 200 : 202, "application/json", &body);
    buffer_deinit(&body);
}

void handle_subject_erase(struct http_request *request)
{
    struct server *server = server_of(request);
    struct bytes subject = http_request_param(request, 0);
    struct journal_erasure erasure;

    if (parameters_refused(request) || write_refused(request))
        return;
    int r = journal_erase(server->journal, subject, &erasure);
    if (r == JOURNAL_E_NO_SUBJECT)
        http_answer_error(request, 404, "no-such-subject", "Nothing was ever sealed for this subject.");
    else if (r == JOURNAL_E_FULL) {
        ask(server->eraser); /* it goes on by itself when there is room */
        answer_journal(request, r,
                       "There is no room on the disk to erase for good: the log, or keys/fences in the data folder, cannot grow. "
                       "Make room and ask again.");
    } else if (r != 0)
        answer_journal(request, r, NULL);
    else
        answer_report(request, &erasure, wait_until_done(server->eraser, erasure.position));
}

/* ---- figures ---- */

/* A leader's: keys that no follower has said to hold. The vault's own slot is none. */
static uint64_t keys_uncopied(struct server *server, const struct vault_status *status)
{
    uint64_t copied = atomic_load(&server->keys_copied);

    copied = copied > 0 ? copied : 1;
    return status->slots_durable > copied ? status->slots_durable - copied : 0;
}

int eraser_metrics(struct server *server, struct buffer *out)
{
    struct vault_status status;

    vault_status(server->vault, &status);
    return buffer_printf(out,
                         "# HELP daybook_subject_keys keys of subjects\n# TYPE daybook_subject_keys "
                         "gauge\ndaybook_subject_keys %llu\n"
                         "# HELP daybook_erasures keys that were destroyed\n# TYPE daybook_erasures "
                         "gauge\ndaybook_erasures %llu\n"
                         "# HELP daybook_erasures_open fences whose views are not rebuilt yet\n# TYPE "
                         "daybook_erasures_open gauge\n"
                         "daybook_erasures_open %llu\n"
                         "# HELP daybook_subject_keys_uncopied keys that no follower has said to hold since the start\n"
                         "# TYPE daybook_subject_keys_uncopied gauge\ndaybook_subject_keys_uncopied %llu\n",
                         (unsigned long long)status.keys, (unsigned long long)status.fences,
                         (unsigned long long)status.fences_open,
                         (unsigned long long)keys_uncopied(server, &status));
}
