/* GET /metrics: text of Prometheus, or OpenMetrics 1.0 for who asks for it; the two differ in the name of a counter's family
 * and in the end, so that one is made of the other. A family is a row of metric_families[] below or a small function; names end in
 * their unit, counters in _total. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "os/clock.h"
#include "server/internal.h"

#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define PLAIN_TYPE       "text/plain; version=0.0.4; charset=utf-8"

/* The state of everything at one moment. */
struct figures {
    struct http_counters http;
    struct journal_status journal;
    struct feed_figures feed;
    struct scavenger_figures scavenge;
    uint64_t followers, consumers, pages_again, memory;
    struct view_counters views;
    struct command_metrics commands;
    bool has_commands;
    double uptime_s;
};

static void figures_take(struct server *server, struct figures *figures)
{
    *figures = (struct figures){0};
    http_counters(server->http, &figures->http);
    journal_status(server->journal, &figures->journal);
    feed_figures(server->feed, &figures->feed);
    scavenger_figures(server->scavenger, &figures->scavenge);
    figures->followers = log_feed_open_count(server->log_feed);
    figures->consumers = consumers_open_count(server->consumers);
    figures->pages_again = server->pages_again;
    figures->memory = server->options->memory;
    view_set_counters(server->views, &figures->views);
    figures->has_commands = server->commands != NULL;
    if (server->commands)
        command_metrics(server->commands, &figures->commands);
    figures->uptime_s = (double)(os_monotonic_ns() / 1000 - server->started_us) / 1e6;
}

/* X(name, type, help, expression over `f`) */
#define METRICS(X)                                                                                           \
    X(uptime_seconds, gauge, "since the server started", f->uptime_s)                                        \
    X(journal_position, gauge, "last durable position", f->journal.log.head)                                 \
    X(journal_writable, gauge, "1 when writes are taken", f->journal.writable)                               \
    X(journal_full, gauge, "1 when the last batch found no room on the disk", f->journal.full)               \
    X(journal_damaged, gauge, "1 when damage was met in the log; /ready names it",                           \
      f->journal.log.damaged || f->journal.incomplete)                                                       \
    X(journal_size_bytes, gauge, "of the log on the disk", f->journal.log.size_bytes)                        \
    X(journal_index_bytes, gauge, "of the index in memory", f->journal.index_bytes)                          \
    X(journal_index_disk_bytes, gauge, "of the index on the disk", f->journal.index_disk_bytes)              \
    X(journal_index_runs, gauge, "files of the index", f->journal.index_runs)                                \
    X(journal_index_checkpoint, gauge, "last position in them", f->journal.index_checkpoint)                 \
    X(journal_index_rebuilds_total, counter, "of them damaged, made again", f->journal.index_rebuilds)       \
    X(journal_index_failing, gauge, "1 when the index cannot be written", f->journal.index_failure != 0)     \
    X(journal_clock_ahead_seconds, gauge, "how far the last event lies in the clock's future",                \
      (double)f->journal.clock_ahead_us / 1e6)                                                               \
    X(journal_clock_leap_seconds, gauge, "how far the clock leapt ahead without being believed",             \
      (double)f->journal.clock_leap_us / 1e6)                                                                \
    X(journal_clock_corrections, gauge, "corrections of the clock in the journal",                           \
      f->journal.clock_corrections)                                                                          \
    X(journal_streams, gauge, "streams there are", f->journal.streams)                                       \
    X(journal_queue, gauge, "appends waiting for the writer", f->journal.queue_count)                        \
    X(append_requests_total, counter, "appends decided", f->journal.appends)                                 \
    X(append_events_total, counter, "events appended", f->journal.events)                                    \
    X(append_conflicts_total, counter, "appends refused by a version or a condition", f->journal.conflicts)  \
    X(append_replays_total, counter, "appends whose event ids were known", f->journal.replays)               \
    X(log_batches_total, counter, "group commits", f->journal.counters.batches)                              \
    X(log_records_total, counter, "records written", f->journal.counters.records)                            \
    X(log_written_bytes_total, counter, "bytes written", f->journal.counters.bytes_written)                  \
    X(log_syncs_total, counter, "syncs of the disk", f->journal.counters.syncs)                              \
    X(log_sync_seconds_total, counter, "spent in syncs", (double)f->journal.counters.sync_ns_total / 1e9)    \
    X(log_sync_seconds_max, gauge, "the longest sync", (double)f->journal.counters.sync_ns_max / 1e9)        \
    X(log_scrub_position, gauge, "how far the log has been read again", f->journal.counters.scrub_position)  \
    X(log_scrub_bytes_total, counter, "of the log read again", f->journal.counters.scrub_bytes)              \
    X(log_scrub_passes_total, counter, "times all of the log was read again", f->journal.counters.scrub_passes) \
    X(log_scrub_damages_total, counter, "damaged places found so", f->journal.counters.scrub_damages)        \
    X(scavenge_running, gauge, "1 while a scavenge is under way", f->scavenge.running)                       \
    X(scavenge_runs_total, counter, "scavenges ended, dry runs not counted", f->scavenge.runs)               \
    X(scavenge_events_total, counter, "events whose bodies they took", f->scavenge.gone)                     \
    X(scavenge_body_bytes_total, counter, "of these bodies", f->scavenge.body_bytes)                         \
    X(scavenge_room_bytes_total, counter, "of these, given back to the disk", f->scavenge.room_bytes)        \
    X(memory_bytes, gauge, "the server may use: --memory or what there is", f->memory)                        \
    X(http_bodies_bytes, gauge, "of bodies not yet whole", f->http.bodies_size)                              \
    X(http_bodies_refused_total, counter, "bodies that found no room", f->http.bodies_refused)               \
    X(http_answers_bytes, gauge, "of answers not yet sent", f->http.answers_size)                            \
    X(http_answers_refused_total, counter, "answers that found no room", f->http.answers_refused)            \
    X(http_connections_evicted_total, counter, "unused ones closed for a new one", f->http.connections_evicted) \
    X(http_connections_pressed_total, counter, "ended for standing still while memory was short",            \
      f->http.connections_pressed)                                                                           \
    X(subscribers, gauge, "open subscriptions", f->feed.open)                                                \
    X(group_waiting, gauge, "fetches from consumer groups that wait or are under way", f->consumers)           \
    X(subscription_events_total, counter, "events handed to subscribers", f->feed.delivered)                 \
    X(subscription_refused_total, counter, "subscriptions above the limit", f->feed.refused)                 \
    X(subscription_buffer_bytes, gauge, "encoded events kept for subscribers", f->feed.frames_bytes)         \
    X(followers, gauge, "followers connected", f->followers)                                                 \
    X(page_cache_hits_total, counter, "pages answered as they were kept", f->pages_again)                     \
    X(view_questions_total, counter, "questions asked of views and queries", f->views.asked)                 \
    X(view_questions_refused_total, counter, "of them refused", f->views.refused)                            \
    X(view_questions_timed_out_total, counter, "of them over their time", f->views.timed_out)                \
    X(view_questions_not_caught_up_total, counter, "of them in vain for a position", f->views.not_caught_up) \
    X(view_questions_waiting, gauge, "for a worker or a position", f->views.waiting)                         \
    X(http_connections_total, counter, "connections accepted", f->http.connections)                          \
    X(http_connections_open, gauge, "connections open", f->http.connections_open)                            \
    X(http_connections_refused_total, counter, "connections above the limit", f->http.connections_refused)   \
    X(http_connections_timed_out_total, counter, "connections too slow", f->http.connections_timed_out)      \
    X(http_requests_total, counter, "requests begun", f->http.requests)                                      \
    X(http_requests_open, gauge, "requests under way", f->http.requests_open)                                \
    X(http_received_bytes_total, counter, "bytes of request bodies", f->http.bytes_received)                 \
    X(http_worker_queue, gauge, "requests waiting for a worker", f->http.worker_queue)

int metric_family(struct buffer *out, const char *name, const char *type, const char *help)
{
    size_t size = strlen(name);
    /* A counter's family is called without its _total. */
    int family_size = (int)(size > 6 && strcmp(name + size - 6, "_total") == 0 ? size - 6 : size);

    return buffer_printf(out, "# TYPE daybook_%.*s %s\n# HELP daybook_%.*s %s\n", family_size, name, type,
                         family_size, name, help);
}

static int write_plain(const struct figures *f, struct buffer *out)
{
    int r = 0;

#define METRIC_WRITE(name, type, help, value)                                                                \
    r = error_first(r, metric_family(out, #name, #type, help));                                                     \
    r = error_first(r, buffer_printf(out, "daybook_" #name " %.17g\n", (double)(value)));
    METRICS(METRIC_WRITE)
#undef METRIC_WRITE
    return r;
}

static int write_answers(const struct figures *f, struct buffer *out)
{
    int r = metric_family(out, "http_answers_total", "counter", "answers by the hundreds of their status");

    for (size_t i = 1; i < 6 && r == 0; i++)
        r = buffer_printf(out, "daybook_http_answers_total{status=\"%zuxx\"} %" PRIu64 "\n", i,
                          f->http.answers[i]);
    return r;
}

static int write_views(struct server *server, struct buffer *out)
{
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        {"view_position", "gauge", "the last event a view has taken in"},
        {"view_lag", "gauge", "events between a view and the head"},
        {"view_events_total", "counter", "events a view has applied"},
        {"view_batches_total", "counter", "transactions a view has committed"},
        {"view_failed", "gauge", "1 when a view stopped at an event"},
        {"view_wal_bytes", "gauge", "on the disk beside a view's stores, not yet copied into them"},
    };
    struct view_status status;
    int r = 0;

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && r == 0; i++) {
        r = metric_family(out, families[i].name, families[i].type, families[i].help);
        for (size_t j = 0; j < view_set_count(server->views) && r == 0; j++) {
            view_set_status(server->views, j, &status);
            const uint64_t values[] = {status.position, status.lag, status.events, status.batches,
                                       status.state == VIEW_FAILED, status.wal_size};
            r = buffer_printf(out, "daybook_%s{view=\"%s\"} %" PRIu64 "\n", families[i].name, status.name,
                              values[i]);
        }
    }
    return r;
}

static int write_commands(const struct figures *f, struct buffer *out)
{
    int r = f->has_commands
                ? metric_family(out, "command_step_seconds", "summary", "what each step of a command takes")
                : 1;

    if (r > 0)
        return 0;
    for (int i = 0; i < COMMAND_STEP_COUNT && r == 0; i++)
        r = buffer_printf(out,
                          "daybook_command_step_seconds_count{step=\"%s\"} %" PRIu64
                          "\ndaybook_command_step_seconds_sum{step=\"%s\"} %.9f\n",
                          command_step_name(i), f->commands.steps[i].count, command_step_name(i),
                          (double)f->commands.steps[i].ns_total / 1e9);
    r = error_first(r, metric_family(out, "command_answers_total", "counter", "commands by how they ended"));
    for (int i = 0; i < COMMAND_E_COUNT && r == 0; i++)
        r = buffer_printf(out, "daybook_command_answers_total{answer=\"%s\"} %" PRIu64 "\n",
                          command_answer_name(i), f->commands.answers[i]);
    r = error_first(
        r, metric_family(out, "command_retries_total", "counter", "turns of commands that went back to load"));
    return error_first(
        r, buffer_printf(out, "daybook_command_retries_total %" PRIu64 "\n", f->commands.retries));
}

/* One line of OpenMetrics, as the text format 0.0.4 has it: a counter's family is named as its sample is. */
static int plain_line(struct bytes line, bool *counter, struct buffer *out)
{
    static const char type[] = "# TYPE ", help[] = "# HELP ", end[] = " counter\n";
    size_t name = sizeof(type) - 1, size = line.size;
    bool is_type = bytes_starts_with(line, BYTES_LITERAL("# TYPE "));

    if (size > 0 && line.data[0] != '#')
        *counter = false;
    if (is_type)
        *counter = size > sizeof(end) && memcmp(line.data + size - (sizeof(end) - 1), end, sizeof(end) - 1) == 0;
    if (!*counter || (!is_type && !bytes_starts_with(line, bytes_from_string(help))))
        return buffer_append_bytes(out, line);
    while (name < size && line.data[name] != ' ')
        name++;
    int r = buffer_append(out, line.data, name);
    r = r < 0 ? r : buffer_append_string(out, "_total");
    return r < 0 ? r : buffer_append_bytes(out, bytes_slice(line, name, SIZE_MAX));
}

static int make_plain(struct buffer *body)
{
    struct bytes rest = buffer_bytes(body);
    struct buffer plain = {0};
    bool counter = false;
    int r = 0;

    while (rest.size > 0 && r == 0) {
        const uint8_t *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline ? (size_t)(newline - rest.data) + 1 : rest.size;
        r = plain_line(bytes_slice(rest, 0, size), &counter, &plain);
        rest = bytes_slice(rest, size, SIZE_MAX);
    }
    buffer_deinit(body);
    *body = plain;
    return r;
}

void handle_metrics(struct http_request *request)
{
    struct server *server = server_of(request);
    static const char *const types[] = {"text/plain", "application/openmetrics-text"};
    bool open = http_request_accepts(request, types, 2) == 1;
    struct buffer body = {0};
    struct figures figures;
    int r;

    figures_take(server, &figures);
    r = write_plain(&figures, &body);
    r = r < 0 ? r : write_answers(&figures, &body);
    r = r < 0 ? r : times_write(&server->times, &body);
    r = r < 0 ? r : write_views(server, &body);
    r = r < 0 ? r : write_commands(&figures, &body);
    r = r < 0 ? r : group_metrics(server, &body);
    if (r == 0 && server->follower)
        r = follower_metrics(server->follower, &body);
    r = r < 0 ? r : eraser_metrics(server, &body);
    if (r == 0)
        r = open ? buffer_append_string(&body, "# EOF\n") : make_plain(&body);
    http_header(request, "Cache-Control", "no-store");
    http_header(request, "Vary", "Accept");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, open ? OPENMETRICS_TYPE : PLAIN_TYPE, &body);
    buffer_deinit(&body);
}
