/* GET /health and /ready: alive, and fit to be asked. */

#include <stdio.h>

#include "server/internal.h"

void handle_health(struct http_request *request)
{
    http_header(request, "Cache-Control", "no-store");
    http_answer_text(request, 200, "application/json", "{\"status\":\"alive\"}");
}

/* A leader that cannot write is not ready, nor is who has met damage in the log; a full disk is said, and is not that (writes
 * resume by themselves). Nor is a follower that may still show what was erased while it was away. */
static bool write_journal(struct json_writer *w, struct server *server)
{
    struct journal_status status;
    bool ready;
    const char *why = status.reason;

    journal_status(server->journal, &status);
    ready = server->follower ? follower_is_ready(server, &why) : status.writable;
    if (status.log.damaged || status.incomplete) {
        ready = false;
        why = status.reason;
    }
    json_write_key(w, "journal");
    json_write_object_begin(w);
    json_write_member_string(w, "id", server->journal_id);
    json_write_member_string(w, "role", server->options->follow ? "follower" : "leader");
    json_write_member_u64(w, "position", journal_head(server->journal));
    json_write_member_bool(w, "writable", status.writable && !server->options->follow);
    json_write_member_bool(w, "full", status.full);
    json_write_member_bool(w, "damaged", status.log.damaged || status.incomplete);
    if (status.clock_ahead_us > 0 || status.clock_leap_us > 0)
        clock_write(w, &status);
    if (!ready && why[0] != '\0')
        json_write_member_string(w, "reason", why);
    json_write_object_end(w);
    return ready;
}

/* A view that failed or stalled still answers, at its position, unless it has no store yet for want of room; it is shown here and
 * does not take the server out. */
static void write_views(struct json_writer *w, struct server *server)
{
    struct view_status status;

    json_write_key(w, "views");
    json_write_array_begin(w);
    for (size_t i = 0; i < view_set_count(server->views); i++) {
        view_set_status(server->views, i, &status);
        view_status_write(w, &status);
    }
    json_write_array_end(w);
}

void handle_ready(struct http_request *request)
{
    struct server *server = server_of(request);
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    bool ready;

    json_write_object_begin(&w);
    ready = write_journal(&w, server) && !http_draining(server->http);
    write_views(&w, server);
    groups_write_stalled(server, &w);
    if (server->follower)
        follower_write(server->follower, &w);
    json_write_member_string(&w, "status",
                             ready                         ? "ready"
                             : http_draining(server->http) ? "draining"
                                                           : "not-ready");
    json_write_object_end(&w);
    http_header(request, "Cache-Control", "no-store");
    if (!ready)
        http_header(request, "Retry-After", "1");
    int r = json_write_end(&w);
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, ready ? 200 : 503, "application/json", &body);
    buffer_deinit(&body);
}
