/* POST and GET /v1/scavenge: one run at a time, on a thread of its own; who handles an event that is past its retention. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "journal/scavenge.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/internal.h"
#include "server/needs.h"

enum { COMPACT_DATA_SIZE_MAX = 65536 }; /* bytes of what views are given */

struct scavenger {
    struct server *server;
    struct http_timer timer; /* the loop's: when it is to begin by itself */
    struct os_mutex lock; /* guards all that follows */
    struct os_thread thread;
    bool begun;   /* there is a thread to be joined */
    bool running; /* it has not ended */
    bool dry_run, compact;
    bool stop;
    struct scavenge_report report; /* of the run under way, or the last one */
    uint64_t compacted;            /* likewise: tags */
    int answer;
    char error[256];
    uint64_t began_ns, ended_ns;
    uint64_t runs, gone, body_bytes, room_bytes; /* of all real runs, for the metrics */
};

/* ---- a run ---- */

static enum needs_compact how_to_compact(const struct scavenger *scavenger)
{
    if (!scavenger->compact)
        return NEEDS_AS_IT_IS;
    return scavenger->dry_run ? NEEDS_SUPPOSE : NEEDS_COMPACT;
}

static const char *keep(void *user, const struct journal_event *event)
{
    return needs_of(user, event);
}

static bool note_progress(void *user, const struct scavenge_report *report)
{
    struct scavenger *scavenger = needs_user(user);
    _os_locked_(&scavenger->lock);

    scavenger->report = *report;
    scavenger->compacted = needs_compacted(user);
    return !scavenger->stop;
}

static void note_end(struct scavenger *scavenger, const struct scavenge_report *report, int answer,
                     const char *error)
{
    _os_locked_(&scavenger->lock);

    scavenger->report = *report;
    scavenger->answer = answer;
    snprintf(scavenger->error, sizeof(scavenger->error), "%s", error);
    scavenger->ended_ns = os_monotonic_ns();
    scavenger->running = false;
    if (!scavenger->dry_run) {
        scavenger->runs++;
        scavenger->gone += report->gone;
        scavenger->body_bytes += report->body_bytes;
        scavenger->room_bytes += report->room_bytes;
    }
}

static void scavenge_main(void *user)
{
    struct scavenger *scavenger = user;
    struct scavenge_report *report = calloc(1, sizeof(*report));
    struct needs *needs = NULL;
    char error[256] = "no memory for it";
    int r = report ? needs_new(scavenger->server, how_to_compact(scavenger), scavenger, &needs) : -ENOMEM;

    if (r == 0)
        r = journal_scavenge(scavenger->server->journal,
                             &(struct scavenge_options){.dry_run = scavenger->dry_run,
                                                        .keep = keep,
                                                        .on_progress = note_progress,
                                                        .user = needs},
                             report, error);
    if (r != 0 && r != -ECANCELED)
        fprintf(stderr, "daybook serve: scavenging: %s\n", error);
    note_end(scavenger, report ? report : &(struct scavenge_report){0}, r, r == 0 ? "" : error);
    needs_free(needs);
    free(report);
}

/* Begin one: 0; EBUSY: there is one, or the server ends; -errno. */
static int begin(struct scavenger *scavenger, bool dry_run, bool compact)
{
    _os_locked_(&scavenger->lock);
    int r;

    if (scavenger->running || scavenger->stop)
        return EBUSY;
    if (scavenger->begun)
        os_thread_join(&scavenger->thread); /* it has ended, or is about to: it waits for nothing any more */
    scavenger->begun = false;
    scavenger->dry_run = dry_run;
    scavenger->compact = compact;
    scavenger->compacted = 0;
    scavenger->report = (struct scavenge_report){.head = journal_head(scavenger->server->journal)};
    scavenger->answer = 0;
    scavenger->error[0] = '\0';
    scavenger->began_ns = scavenger->ended_ns = os_monotonic_ns();
    r = os_thread_start(&scavenger->thread, "scavenge", scavenge_main, scavenger);
    scavenger->begun = scavenger->running = r == 0;
    return r;
}

/* ---- by itself ---- */

static void set_timer(struct scavenger *scavenger)
{
    int r = http_timer_set(scavenger->server->http, &scavenger->timer,
                           scavenger->server->options->scavenge_every_s * 1000);

    if (r < 0)
        fprintf(stderr, "daybook serve: no memory to scavenge by itself\n");
}

/* One that is under way already, asked for by somebody, does as well. */
static void on_timer(struct http_task *task)
{
    struct scavenger *scavenger = (struct scavenger *)((char *)task - offsetof(struct scavenger, timer.task));
    int r = begin(scavenger, false, false);

    if (r < 0)
        fprintf(stderr, "daybook serve: scavenging: %s\n", strerror(-r));
    set_timer(scavenger);
}

/* ---- life ---- */

int scavenger_new(struct server *server, struct scavenger **ret_scavenger)
{
    struct scavenger *scavenger = calloc(1, sizeof(*scavenger));

    if (!scavenger)
        return -ENOMEM;
    scavenger->server = server;
    scavenger->timer.task.run = on_timer;
    os_mutex_init(&scavenger->lock);
    if (server->options->scavenge_every_s > 0 && !server->options->follow)
        set_timer(scavenger);
    *ret_scavenger = scavenger;
    return 0;
}

void scavenger_stop(struct scavenger *scavenger)
{
    if (!scavenger)
        return;
    os_mutex_lock(&scavenger->lock);
    bool begun = scavenger->begun;
    scavenger->stop = true;
    scavenger->begun = false;
    os_mutex_unlock(&scavenger->lock);
    if (begun)
        os_thread_join(&scavenger->thread);
}

void scavenger_free(struct scavenger *scavenger)
{
    if (!scavenger)
        return;
    os_mutex_deinit(&scavenger->lock);
    free(scavenger);
}

void scavenger_figures(struct scavenger *scavenger, struct scavenger_figures *ret_figures)
{
    _os_locked_(&scavenger->lock);

    *ret_figures = (struct scavenger_figures){.runs = scavenger->runs,
                                              .gone = scavenger->gone,
                                              .body_bytes = scavenger->body_bytes,
                                              .room_bytes = scavenger->room_bytes,
                                              .running = scavenger->running};
}

/* ---- over HTTP ---- */

static void write_report(struct json_writer *w, const struct scavenge_report *report)
{
    json_write_member_u64(w, "head", report->head);
    json_write_member_u64(w, "examined", report->examined);
    json_write_member_u64(w, "considered", report->ruled);
    json_write_member_u64(w, "gone", report->gone);
    json_write_member_u64(w, "young", report->young);
    json_write_member_u64(w, "kept", report->kept);
    json_write_key(w, "reasons");
    json_write_object_begin(w);
    for (size_t i = 0; i < report->reason_count; i++)
        json_write_member_u64(w, report->reasons[i].text, report->reasons[i].count);
    json_write_object_end(w);
    json_write_member_u64(w, "gone_already", report->gone_already);
    json_write_member_u64(w, "body_bytes", report->body_bytes);
    json_write_member_u64(w, "room_bytes", report->room_bytes);
}

static const char *state_name(const struct scavenger *scavenger)
{
    if (scavenger->running)
        return "running";
    if (!scavenger->began_ns)
        return "never";
    return scavenger->answer == 0 ? "done" : scavenger->answer == -ECANCELED ? "stopped" : "failed";
}

static int write_state(struct scavenger *scavenger, struct buffer *body)
{
    struct json_writer w = json_writer(body);
    _os_locked_(&scavenger->lock);
    uint64_t end_ns = scavenger->running ? os_monotonic_ns() : scavenger->ended_ns;

    json_write_object_begin(&w);
    json_write_member_string(&w, "state", state_name(scavenger));
    json_write_member_bool(&w, "dry_run", scavenger->dry_run);
    json_write_member_bool(&w, "compact", scavenger->compact);
    json_write_member_u64(&w, "compacted", scavenger->compacted);
    json_write_member_u64(&w, "took_ms", (end_ns - scavenger->began_ns) / OS_NS_PER_MS);
    write_report(&w, &scavenger->report);
    if (scavenger->error[0] != '\0')
        json_write_member_string(&w, "detail", scavenger->error);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void answer_state(struct http_request *request, unsigned status)
{
    struct buffer body = {0};
    int r = write_state(server_of(request)->scavenger, &body);

    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, status, "application/json", &body);
    buffer_deinit(&body);
}

void handle_scavenge_state(struct http_request *request)
{
    if (!parameters_refused(request))
        answer_state(request, 200);
}

/* What it is to do stands in the URL: a body that says more would be passed over, and bodies are taken away for good. */
static bool body_refused(struct http_request *request)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes body = http_request_body(request);

    if (body.size == 0)
        return false;
    if (json_parse(body, &doc, NULL) == 0 && json_type(json_root(&doc)) == JSON_OBJECT) {
        struct json_cursor at = json_walk(json_root(&doc));
        if (!json_next(&at))
            return false;
    }
    http_answer_error(request, 422, "invalid", "Nothing but {} may stand in the body: dry_run and compact are parameters of the URL.");
    return true;
}

void handle_scavenge(struct http_request *request)
{
    bool dry_run = false, compact = false;
    int r;

    if (write_refused(request) || parameters_refused(request) || body_refused(request) ||
        !ask_flag(request, "dry_run", &dry_run) || !ask_flag(request, "compact", &compact))
        return;
    r = begin(server_of(request)->scavenger, dry_run, compact);
    if (r == EBUSY)
        http_answer_error(request, 409, "scavenge-running", "A scavenge is under way: GET /v1/scavenge tells.");
    else if (r < 0)
        answer_failure(request, r);
    else
        answer_state(request, 202);
}

/* ---- compacting a tag ---- */

/* A JSON object {"tag":"room:1","data":{…}}. False: answered. */
static bool take_compact(struct http_request *request, struct json_doc *doc, struct buffer *tag,
                         struct buffer *data)
{
    struct http_violation violations[3];
    struct http_problem problem = {.status = 422, .code = "invalid", .violations = violations};
    struct json_error error = {0};
    int r = json_parse(http_request_body(request), doc, &error);
    struct json_value root = json_root(doc), given = json_get(root, "data");

    if (r > 0 || (r == 0 && json_type(root) != JSON_OBJECT)) {
        http_answer_error(request, 400, "malformed", "At byte %zu: %s.", error.offset,
                          r > 0 ? error.reason : "an object is expected");
        return false;
    }
    for (struct json_cursor at = json_walk(root); r == 0 && json_next(&at);)
        if (!json_string_equals(at.key, "tag") && !json_string_equals(at.key, "data") &&
            problem.violation_count == 0)
            violations[problem.violation_count++] = (struct http_violation){
                BYTES_LITERAL(""), BYTES_LITERAL("has a member that is neither tag nor data")};
    if (r == 0 && (json_string(json_get(root, "tag"), tag) != 0 || name_check(NAME_TAG, buffer_bytes(tag)) != 0))
        violations[problem.violation_count++] =
            (struct http_violation){BYTES_LITERAL("/tag"), BYTES_LITERAL("must be a tag")};
    if (r == 0 && json_exists(given) &&
        (json_type(given) != JSON_OBJECT || json_raw(given).size > COMPACT_DATA_SIZE_MAX))
        violations[problem.violation_count++] = (struct http_violation){
            BYTES_LITERAL("/data"), BYTES_LITERAL("must be an object of at most 65536 bytes")};
    if (r == 0 && problem.violation_count == 0 && json_exists(given))
        r = json_minify(json_raw(given), data);
    if (r < 0)
        answer_failure(request, r);
    else if (problem.violation_count > 0)
        http_answer_problem(request, &problem);
    return r == 0 && problem.violation_count == 0;
}

static void compact(struct http_request *request, struct bytes tag, struct bytes data)
{
    struct server *server = server_of(request);
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    struct command_compacted compacted;
    int r = command_compact(server->commands, tag, data, &compacted);

    if (r != 0) {
        answer_compacted(request, r, &compacted);
        return;
    }
    json_write_object_begin(&w);
    json_write_member_u64(&w, "position", compacted.position);
    json_write_object_end(&w);
    r = json_write_end(&w);
    answer_position(request, compacted.position);
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 201, "application/json", &body);
    buffer_deinit(&body);
}

void handle_compact(struct http_request *request)
{
    struct json_doc doc = {0};
    struct buffer tag = {0}, data = {0};

    if (write_refused(request) || parameters_refused(request))
        return;
    if (!server_of(request)->commands)
        http_answer_error(request, 404, "no-such-command",
                          "This server has no application whose states could be kept.");
    else if (take_compact(request, &doc, &tag, &data))
        compact(request, buffer_bytes(&tag), buffer_bytes(&data));
    json_doc_deinit(&doc);
    buffer_deinit(&tag);
    buffer_deinit(&data);
}
