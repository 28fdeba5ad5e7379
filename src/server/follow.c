/* Being a follower: a copy of another server's journal (src/replica) behind the same routes; writes are refused. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log/file_log.h"
#include "os/clock.h"
#include "os/file.h"
#include "replica/replica.h"
#include "server/internal.h"

enum {
    ASK_MS_MAX = 2000,    /* for one answer of the leader */
    FIRST_MS_MAX = 15000, /* for the leader to come up, at a follower's very first start */
    PAUSE_MS = 100,       /* between two tries */
    PARTED_RETRY_S = 30,  /* it takes a human */
};

struct follower {
    struct replica *replica;
    atomic_bool ready; /* it has been, and stays so: a copy whose leader is away still answers */
    atomic_bool parted; /* it does not follow any more, as long as this process runs: what it shows may not be its leader's */
    char why[256];     /* why it is not; the loop's */
};

/* A first log needs the leader's id. Both may be starting at this moment: the leader is asked again for a while. */
static int ask_leader(const struct server_options *options, struct journal_id *ret_id, char *ret_error)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    uint64_t until_ns = os_monotonic_ns() + FIRST_MS_MAX * OS_NS_PER_MS;
    char error[REPLICA_ERROR_SIZE] = "";
    int r;

    while (true) {
        r = replica_ask_leader(options->follow, options->leader_token, ASK_MS_MAX, ret_id, error);
        if (r != REPLICA_E_UNREACHABLE || os_monotonic_ns() > until_ns)
            break;
        nanosleep(&pause, NULL);
    }
    if (r == 0)
        return 0;
    snprintf(ret_error, SERVER_ERROR_SIZE, "cannot begin to follow %s: %s", options->follow,
             error[0] ? error : strerror(-r));
    return r == REPLICA_E_URL ? SERVER_E_USAGE : SERVER_E_START;
}

int follower_prepare(struct server *server, const char *log_folder, struct file_log_options *options,
                     char *ret_error)
{
    char path[OS_PATH_SIZE_MAX];

    if (os_path(path, log_folder, "log.head") == 0 && access(path, F_OK) == 0)
        return 0; /* it has its identity already; whether it is the leader's is seen when they meet */
    int r = ask_leader(server->options, &server->leader_id, ret_error);
    if (r == 0)
        options->id = server->leader_id.bytes;
    return r;
}

static void on_change(void *user, enum replica_state state, const char *reason)
{
    struct follower *follower = user;

    if (state == REPLICA_PARTED || state == REPLICA_FAILED)
        atomic_store(&follower->parted, true);
    fprintf(stderr, "daybook serve: follower: %s%s%s\n", replica_state_name(state),
            reason && *reason ? ": " : "", reason ? reason : "");
}

int follower_start(struct server *server, char *ret_error)
{
    struct replica_options options = {.journal = server->journal,
                                            .url = server->options->follow,
                                            .token = server->options->leader_token,
                                            .vault = server->vault,
                                            .on_change = on_change};
    char error[REPLICA_ERROR_SIZE] = "";
    struct follower *follower = calloc(1, sizeof(*follower));
    options.user = follower;
    int r = follower ? replica_start(&options, &follower->replica, error) : -ENOMEM;

    if (r == 0) {
        server->follower = follower;
        return 0;
    }
    free(follower);
    snprintf(ret_error, SERVER_ERROR_SIZE, "cannot follow %s: %s", server->options->follow,
             error[0] ? error : strerror(-r));
    return r < 0 ? r : SERVER_E_START;
}

void follower_stop(struct follower *follower)
{
    if (!follower)
        return;
    replica_stop(follower->replica);
    free(follower);
}

bool follower_has_parted(const struct server *server)
{
    return server->follower && atomic_load(&server->follower->parted);
}

bool parted_refused(struct http_request *request)
{
    struct replica_status status;

    if (!follower_has_parted(server_of(request)))
        return false;
    replica_status(server_of(request)->follower->replica, &status);
    struct http_problem problem = {
        .status = 503, .code = "parted", .detail = status.reason, .retry_after_s = PARTED_RETRY_S};
    http_answer_problem(request, &problem);
    return true;
}

void follower_decorate(struct follower *follower, struct http_request *request)
{
    struct replica_status status;

    if (!atomic_load(&follower->parted))
        return;
    replica_status(follower->replica, &status);
    for (char *at = status.reason; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?'; /* it may hold words of another machine */
    http_header(request, "Daybook-Parted", status.reason);
}

bool follower_is_ready(const struct server *server, const char **ret_why)
{
    struct follower *follower = server->follower;
    struct replica_status status;

    replica_status(follower->replica, &status);
    if (status.state == REPLICA_STALLED || atomic_load(&follower->parted)) {
        (void)snprintf(follower->why, sizeof(follower->why), "%s", status.reason);
        *ret_why = follower->why;
        return false;
    }
    if (atomic_load(&follower->ready))
        return true;
    if (status.first_head == UINT64_MAX)
        *ret_why = "the leader has not been heard yet";
    else if (status.position < status.first_head)
        *ret_why = "it has not caught up yet";
    else if (eraser_settled(server->eraser) < status.first_head)
        *ret_why = "an erasure is not done yet";
    else
        atomic_store(&follower->ready, true);
    return atomic_load(&follower->ready);
}

void follower_write(struct follower *follower, struct json_writer *w)
{
    struct replica_status status;

    replica_status(follower->replica, &status);
    json_write_key(w, "follower");
    json_write_object_begin(w);
    json_write_member_string(w, "state", replica_state_name(status.state));
    json_write_member_bool(w, "connected", status.connected);
    json_write_member_u64(w, "position", status.position);
    json_write_member_u64(w, "leader_head", status.leader_head);
    json_write_key(w, "lag");
    if (atomic_load(&follower->parted))
        json_write_null(w);
    else
        json_write_u64(w, status.lag);
    json_write_member_string(w, "breaker", breaker_state_name(status.breaker_state));
    if (status.reason[0] != '\0')
        json_write_member_string(w, "reason", status.reason);
    if (status.keys_reason[0] != '\0')
        json_write_member_string(w, "keys", status.keys_reason);
    json_write_object_end(w);
}

/* One row a state, 1 for the one it is in. */
static int state_metric(enum replica_state state, struct buffer *out)
{
    int r = metric_family(out, "follower_state", "gauge",
                          "1 for the state it is in; stalled, parted and failed need a human");

    for (int i = REPLICA_CONNECTING; r == 0 && i <= REPLICA_FAILED; i++)
        r = buffer_printf(out, "daybook_follower_state{state=\"%s\"} %d\n",
                          replica_state_name((enum replica_state)i), i == (int)state);
    return r;
}

int follower_metrics(struct follower *follower, struct buffer *out)
{
    struct replica_status status;

    replica_status(follower->replica, &status);
    int r = state_metric(status.state, out);
    if (r == 0 && !atomic_load(&follower->parted))
        r = buffer_printf(out,
                          "# TYPE daybook_follower_lag gauge\n# HELP daybook_follower_lag records behind the "
                          "leader, as it was last heard; not there after parting\n"
                          "daybook_follower_lag %" PRIu64 "\n",
                          status.lag);
    return r < 0 ? r : buffer_printf(
        out,
        "# TYPE daybook_follower_connected gauge\n# HELP daybook_follower_connected 1 when following\n"
        "daybook_follower_connected %d\n"
        "# TYPE daybook_follower_records counter\n# HELP daybook_follower_records records copied\n"
        "daybook_follower_records_total %" PRIu64 "\n"
        "# TYPE daybook_follower_failures counter\n# HELP daybook_follower_failures connections that failed\n"
        "daybook_follower_failures_total %" PRIu64 "\n"
        "# TYPE daybook_follower_key_fetches counter\n# HELP daybook_follower_key_fetches answers with keys of "
        "subjects that were stored\n"
        "daybook_follower_key_fetches_total %" PRIu64 "\n"
        "# TYPE daybook_follower_breaker_state gauge\n# HELP daybook_follower_breaker_state of the breaker "
        "that guards "
        "the leader, as in breaker.h\n"
        "daybook_follower_breaker_state{state=\"%s\"} %d\n",
        status.connected, status.records, status.failures, status.key_fetches,
        breaker_state_name(status.breaker_state), status.breaker_state);
}
