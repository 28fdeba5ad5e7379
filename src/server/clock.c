/* A clock that is, or was, ahead: said at the start and when it begins, in /ready, and put right by POST /v1/clock. */

#include <inttypes.h>
#include <stdio.h>

#include "server/internal.h"

enum { SAID_FROM_US = 1000000 };

/* On the writer, after each move of the head. */
static void on_moved(struct journal_listener *listener, uint64_t head)
{
    struct clock_watch *watch = (struct clock_watch *)listener;
    int64_t ahead_us, leap_us;

    journal_clock(watch->journal, &ahead_us, &leap_us);
    bool wrong = ahead_us >= SAID_FROM_US || leap_us > 0;
    if (wrong && !watch->said && leap_us > 0)
        fprintf(stderr, "daybook serve: the clock leapt ahead by %" PRId64 " s: events bear the time it would have had, until it is "
                        "right or has stood for %d s\n", leap_us / 1000000, JOURNAL_CLOCK_DOUBT_S);
    else if (wrong && !watch->said)
        fprintf(stderr, "daybook serve: the last event lies %" PRId64 " s in the clock's future, so new ones bear its time: if the "
                        "clock is right, `daybook clock correct` says so\n", ahead_us / 1000000);
    watch->said = wrong;
}

void clock_watch_begin(struct server *server)
{
    struct clock_watch *watch = &server->clock_watch;
    struct journal_status status;

    journal_status(server->journal, &status);
    if (status.clock_ahead_us >= SAID_FROM_US)
        fprintf(stderr, "daybook serve: the last event lies %" PRId64 " s in the clock's future: if the clock is right, "
                        "`daybook clock correct` says so, else new events bear that time until then\n",
                status.clock_ahead_us / 1000000);
    *watch = (struct clock_watch){.listener = {.moved = on_moved},
                                  .journal = server->journal,
                                  .said = status.clock_ahead_us >= SAID_FROM_US};
    journal_listen(server->journal, &watch->listener);
}

void clock_watch_end(struct server *server)
{
    if (server->clock_watch.journal)
        journal_unlisten(server->journal, &server->clock_watch.listener);
}

/* Times are not what the clock says: events are stored all the same, so that is no reason to take the server out. */
void clock_write(struct json_writer *w, const struct journal_status *status)
{
    json_write_key(w, "clock");
    json_write_object_begin(w);
    json_write_member_u64(w, "ahead_seconds", (uint64_t)(status->clock_ahead_us / 1000000));
    json_write_member_u64(w, "leap_seconds", (uint64_t)(status->clock_leap_us / 1000000));
    json_write_member_string(w, "detail",
                             status->clock_leap_us > 0
                                 ? "The clock leapt ahead and is not believed yet."
                                 : "The clock was ahead once: every event bears the time of the last one until "
                                   "then, or until `daybook clock correct`.");
    json_write_object_end(w);
}

void handle_clock(struct http_request *request)
{
    struct journal_result result = {0};

    if (write_refused(request) || parameters_refused(request))
        return;
    int r = journal_correct_clock(server_of(request)->journal, &result);
    if (r == JOURNAL_E_RIGHT) {
        http_answer_error(request, 409, "clock-right",
                          "The last event is not in the clock's future: there is nothing to correct.");
    } else if (r != 0) {
        answer_journal(request, r, result.detail);
    } else {
        char body[48];
        snprintf(body, sizeof(body), "{\"position\":%llu}", (unsigned long long)result.last);
        answer_position(request, result.last);
        http_answer_text(request, 201, "application/json", body);
    }
}
