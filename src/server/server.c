/* Wiring: what is opened in which order, who is told when it ends, and the closing in reverse.
 *
 * Opening: tokens, port (or socket), log, journal, application, views, follower, feed, groups, HTTP. The port comes early so that "in use" is
 * said before a long journal is read; connections that come meanwhile wait in its backlog.
 * Ending: HTTP drains first, so that whoever asked is answered; then what feeds on the journal; the journal last. */

#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "group/group.h"
#include "journal/keys.h"
#include "log/file_log.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/failure.h"
#include "os/thread.h"
#include "server/internal.h"
#include "server/listen.h"
#include "server/memory.h"
#include "server/notifier.h"
#include "server/pages.h"
#include "vault/vault.h"

enum {
    LAYER_ERROR_SIZE = VIEW_ERROR_SIZE,
    VIEW_TIGHT_SIZE = 16384,      /* of an answer of a view in memory while that is tight */
    DESCRIPTOR_OWN_COUNT = 256,   /* files of log, views and answers */
};

/* Says why it did not work; returns SERVER_E_START, or the failure. */
_printf_(3, 4) static int start_error(char *ret_error, int r, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret_error, SERVER_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return r < 0 ? r : SERVER_E_START;
}

/* ---- options that go together ---- */

/* Can only this machine reach it? */
static bool address_is_loopback(const char *address)
{
    struct in6_addr v6;

    return address[0] == '\0' || strncmp(address, "127.", 4) == 0 ||
           (inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static int check_options(const struct server_options *options, char *ret_error)
{
    if ((options->issuer || options->audience) && !options->jwks_file) {
        start_error(ret_error, 0, "--issuer and --audience need --jwks FILE");
        return SERVER_E_USAGE;
    }
    char passed[SERVER_ADDRESS_SIZE] = "";
    const char *address = options->socket_path ? "" : options->socket_fd > 0 ? passed : options->address;
    int r = options->socket_fd > 0 ? server_socket_address(options->socket_fd, passed, &(uint16_t){0}) : 0;
    if (r < 0)
        return start_error(ret_error, r, "the socket that was passed cannot be used: %s", os_failure_text(r));
    if (!options->token_file && !options->jwks_file && !address_is_loopback(address)) {
        start_error(ret_error, 0,
                    "%s can be reached from other machines: give --token-file FILE or --jwks FILE, or listen "
                    "on 127.0.0.1",
                    address);
        return SERVER_E_USAGE;
    }
    if (options->limits.heartbeat_ms < 1 || options->limits.heartbeat_ms > 15000) {
        start_error(ret_error, 0, "heartbeat_ms goes from 1 to 15000");
        return SERVER_E_USAGE;
    }
    if (options->limits.group_ack_delay_ms > GROUP_ACK_DELAY_MS_MAX) {
        start_error(ret_error, 0, "group_ack_delay_ms goes up to %d", GROUP_ACK_DELAY_MS_MAX);
        return SERVER_E_USAGE;
    }
    if (options->http_limits.worker_count < 1 || options->http_limits.worker_count > 64) {
        start_error(ret_error, 0, "worker_count goes from 1 to 64");
        return SERVER_E_USAGE;
    }
    return 0;
}

/* ---- what HTTP asks back ---- */

static void on_decorate(void *user, struct http_request *request)
{
    struct server *server = user;

    times_count(&server->times, http_request_route(request), http_request_status(request), http_request_age_us(request));
    http_header(request, "Daybook-Journal", server->journal_id);
    http_header(request, "Daybook-Role", server->options->follow ? "follower" : "leader");
    if (!http_header_is_set(request, "Daybook-Position"))
        answer_position(request, journal_head(server->journal));
    if (server->follower)
        follower_decorate(server->follower, request);
}

static void on_drained(void *user)
{
    struct server *server = user;

    notifier_stopping();
    if (server->consumers)
        consumers_drain(server->consumers);
}

/* ---- opening ---- */

static void on_notice(void *user, enum view_notice_kind kind, const char *view, const char *sentence)
{
    fprintf(stderr, "daybook serve: view %s: %s\n", view, sentence);
}

static void on_journal_notice(const char *sentence)
{
    fprintf(stderr, "daybook serve: %s\n", sentence);
}

static void on_damage(void *user, const char *sentence)
{
    on_journal_notice(sentence);
}

/* Makes the folder and those above it. */
static int make_folders(const char *path)
{
    char part[OS_PATH_SIZE_MAX];
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(part))
        return -ENAMETOOLONG;
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, i == size ? 0700 : 0755) < 0 && errno != EEXIST)
            return error_from_errno();
        part[i] = path[i];
    }
    return 0;
}

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    uint64_t *told_ns = user;
    uint64_t now_ns = os_monotonic_ns();

    if (now_ns - *told_ns < OS_NS_PER_SECOND || !isatty(STDERR_FILENO))
        return;
    *told_ns = now_ns;
    fprintf(stderr, "\rreading the journal: %" PRIu64 " of %" PRIu64 " events", done, total);
    if (done >= total)
        fputc('\n', stderr);
}

static void on_keys_notice(void *user, const char *sentence)
{
    fprintf(stderr, "daybook serve: %s\n", sentence);
}

/* DATA/keys; the log's lock is held, so nobody else writes there. A leader without its keys would show views and deciders
 * events without data, and go on from there. A follower fetches them. */
static int open_vault(struct server *server, struct log *log, char *ret_error)
{
    const struct keys_options options = {.follower = server->options->follow != NULL,
                                         .give_up = server->options->keys_lost,
                                         .on_notice = on_keys_notice};
    char folder[OS_PATH_SIZE_MAX], error[LAYER_ERROR_SIZE] = "";
    int r = os_path(folder, server->options->data_folder, "keys");

    if (r == 0)
        r = keys_open(log, folder, &options, &server->vault, error);
    return r == 0 ? 0 : start_error(ret_error, r, "%s", error[0] ? error : os_failure_text(r));
}

static int open_journal(struct server *server, char *ret_error)
{
    const struct server_options *options = server->options;
    struct file_log_options log_options = {.durability = options->async ? LOG_ASYNC : LOG_SYNC,
                                           .scrub_rate = options->scrub_rate,
                                           .on_damage = on_damage};
    char folder[OS_PATH_SIZE_MAX], index_folder[OS_PATH_SIZE_MAX], error[LAYER_ERROR_SIZE] = "";
    uint64_t told_ns = os_monotonic_ns();
    struct journal_options journal_options = {.follower = options->follow != NULL,
                                              .clock_step_max_us = INT64_C(1000000) * JOURNAL_CLOCK_STEP_MAX_S,
                                              .on_progress = on_progress,
                                              .on_notice = on_journal_notice,
                                              .user = &told_ns,
                                              .index_folder = index_folder};
    struct log *log;
    int r = os_path(folder, options->data_folder, "log");

    if (r == 0)
        r = os_path(index_folder, options->data_folder, "index");
    if (r == 0)
        r = make_folders(options->data_folder);
    if (r < 0)
        return start_error(ret_error, r, "cannot make the data folder %s: %s", options->data_folder,
                           os_failure_text(r));
    if (options->follow && (r = follower_prepare(server, folder, &log_options, ret_error)) != 0)
        return r;
    r = file_log_open(folder, &log_options, &log, error);
    if (r != 0)
        return start_error(ret_error, r, "%s", error[0] ? error : os_failure_text(r));
    r = open_vault(server, log, ret_error);
    if (r != 0) {
        (void)log_close(log);
        return r;
    }
    journal_options.vault = server->vault;
    r = journal_open(log, &journal_options, &server->journal, error);
    if (r != 0)
        return start_error(ret_error, r, "%s%s%s", error[0] ? error : options->data_folder,
                           error[0] ? "" : ", its log or index, cannot be opened: ", error[0] ? "" : os_failure_text(r));
    struct buffer id = {0};
    struct journal_id bytes = journal_id(server->journal);
    if (hex_encode(bytes_make(bytes.bytes, sizeof(bytes.bytes)), &id) == 0 && id.size < JOURNAL_ID_TEXT_SIZE)
        memcpy(server->journal_id, id.data, id.size);
    buffer_deinit(&id);
    return 0;
}

/* app.so, if the application has one: views and pages alone are an application too. */
static int open_commands(struct server *server, char *ret_error)
{
    char path[OS_PATH_SIZE_MAX], error[LAYER_ERROR_SIZE] = "";
    const struct command_options options = {0};
    int r;

    if (!server->options->app_folder)
        return 0;
    if (access(server->options->app_folder, R_OK | X_OK) < 0)
        return start_error(ret_error, 0, "cannot open the application folder %s: %s",
                           server->options->app_folder, strerror(errno));
    r = os_path(path, server->options->app_folder, "app.so");
    if (r < 0 || access(path, F_OK) < 0)
        return r;
    r = command_runtime_open(server->journal, path, &options, &server->commands, error);
    return r == 0 ? 0 : start_error(ret_error, r, "%s: %s", path, error[0] ? error : os_failure_text(r));
}

static size_t on_answer_memory(void *user)
{
    const struct server *server = user;

    return http_memory_is_tight(server->http) ? VIEW_TIGHT_SIZE : VIEW_ANSWER_MEMORY_MAX;
}

static int open_views(struct server *server, char *ret_error)
{
    const struct view_options options = {.app_folder = server->options->app_folder,
                                         .data_folder = server->options->data_folder,
                                         .journal = server->journal,
                                         .follower = server->options->follow != NULL,
                                         .answer_memory = on_answer_memory,
                                         .on_notice = on_notice,
                                         .user = server};
    char error[VIEW_ERROR_SIZE] = "";
    int r = view_set_open(&options, &server->views, error);

    return r == 0 ? 0
                  : start_error(ret_error, r, "views in %s: %s", server->options->data_folder,
                                error[0] ? error : os_failure_text(r));
}

static int open_http(struct server *server, char *ret_error)
{
    static char folder[OS_PATH_SIZE_MAX]; /* lives as long as the server, and there is one in a process */
    const struct server_options *options = server->options;
    struct http_options http_options = {.limits = options->http_limits,
                                        .hosts = options->hosts,
                                        .host_count = options->host_count,
                                        .problem_prefix = SERVER_PROBLEM_PREFIX,
                                        .log_fd = options->log_json ? STDERR_FILENO : -1,
                                        .user = server,
                                        .authorize = door_authorize,
                                        .decorate = on_decorate,
                                        .drained = on_drained};

    http_options.routes = server_routes(&http_options.route_count);
    if (options->app_folder && os_path(folder, options->app_folder, "public") == 0 &&
        access(folder, X_OK) == 0)
        http_options.folder = folder;
    int r = http_new(&http_options, &server->http);
    if (r < 0)
        return start_error(ret_error, r, "cannot start: %s", os_failure_text(r));
    r = server_listen(server, ret_error);
    return r == 0 || ret_error[0] ? r : start_error(ret_error, r, "cannot listen: %s", os_failure_text(r));
}

static int open_auth(struct server *server, char *ret_error)
{
    const struct auth_options options = {.token_file = server->options->token_file,
                                         .jwks_file = server->options->jwks_file,
                                         .issuer = server->options->issuer,
                                         .audience = server->options->audience,
                                         .clock = os_clock_real()};

    return auth_new(&options, &server->auth, ret_error);
}

static int open_all(struct server *server, char *ret_error)
{
    int r = check_options(server->options, ret_error);

    if (r == 0 && (server->options->token_file || server->options->jwks_file))
        r = open_auth(server, ret_error);
    if (r == 0)
        r = checkpoint_key_open(server, ret_error);
    if (r == 0)
        r = open_http(server, ret_error);
    if (r == 0)
        r = open_journal(server, ret_error);
    if (r == 0)
        clock_watch_begin(server);
    if (r == 0)
        r = open_commands(server, ret_error);
    if (r == 0)
        r = open_views(server, ret_error);
    if (r == 0 && server->options->follow)
        r = follower_start(server, ret_error);
    if (r == 0)
        r = feed_new(server, &server->feed);
    if (r == 0)
        r = log_feed_new(server, &server->log_feed);
    if (r == 0)
        r = scavenger_new(server, &server->scavenger);
    if (r == 0)
        r = eraser_new(server, &server->eraser);
    if (r == 0)
        r = consumers_new(server, &server->consumers);
    if (r == 0 && !server->options->follow)
        r = server_groups_open(server);
    if (r == 0)
        r = pages_new(server->options->limits.page_cache_size_max, &server->pages);
    if (r == 0)
        r = door_new(server, &server->door);
    if (r < 0 && ret_error[0] == '\0')
        start_error(ret_error, r, "cannot start: %s", os_failure_text(r));
    return r;
}

static void close_all(struct server *server)
{
    follower_stop(server->follower);
    eraser_stop(server->eraser);
    scavenger_stop(server->scavenger);
    command_runtime_close(server->commands);
    view_set_close(server->views);
    feed_quiet(server->feed);
    log_feed_quiet(server->log_feed);
    consumers_quiet(server->consumers);
    http_free(server->http);
    feed_free(server->feed);
    log_feed_free(server->log_feed);
    scavenger_free(server->scavenger);
    eraser_free(server->eraser);
    groups_close(server->groups);
    consumers_free(server->consumers);
    clock_watch_end(server);
    journal_close(server->journal);
    pages_free(server->pages);
    vault_close(server->vault);
    door_free(server->door);
    auth_free(server->auth);
    checkpoint_key_close(server);
}

/* ---- running ---- */

static struct http *http_to_drain; /* for the signal handler */

static void on_signal(int number)
{
    http_drain(http_to_drain);
}

static void catch_signals(struct http *http)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    http_to_drain = http;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

/* As many descriptors as the system lets us have: one for each connection, and those of log and views. */
static void raise_descriptors(struct server_options *options)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE,
                  &limit); /* else it stays as it was, and accepting pauses when there are none left */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * DESCRIPTOR_OWN_COUNT)
        server_limit_lower(options, "connection_count_max", limit.rlim_cur - DESCRIPTOR_OWN_COUNT);
}

static void say_ready(const struct server *server)
{
    _cleanup_(buffer_deinit) struct buffer line = {0};
    struct json_writer w = json_writer(&line);

    json_write_object_begin(&w);
    json_write_member_string(&w, "url", server->url);
    json_write_member_string(&w, "journal", server->journal_id);
    json_write_member_string(&w, "role", server->options->follow ? "follower" : "leader");
    json_write_member_u64(&w, "position", journal_head(server->journal));
    json_write_object_end(&w);
    if (server->options->ready_json && json_write_end(&w) == 0)
        printf("%.*s\n", BYTES_PRINT(buffer_bytes(&line)));
    else
        printf("daybook %s on %s (journal %s at position %" PRIu64 ")\n",
               server->options->follow ? "follows" : "serves", server->url, server->journal_id,
               journal_head(server->journal));
    if (fflush(stdout) != 0)
        fprintf(stderr, "daybook serve: cannot say where it listens: %s\n", strerror(errno));
}

int server_run(const struct server_options *options, char ret_error[SERVER_ERROR_SIZE])
{
    struct server_options fitted = *options;
    struct server server = {.options = &fitted, .started_us = os_monotonic_ns() / 1000};

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk, not an end */
    raise_descriptors(&fitted);
    memory_fit(&fitted);
    memory_thrift(fitted.memory);
    int r = open_all(&server, ret_error);
    if (r == 0) {
        catch_signals(server.http);
        say_ready(&server);
        notifier_ready(&server);
        r = http_run(server.http);
        if (r < 0)
            start_error(ret_error, r, "the HTTP server ended: %s", os_failure_text(r));
    }
    server_unlisten(&server);
    if (r != -ETIMEDOUT) /* somebody still works on a request: the process must end without taking its ground away */
        close_all(&server);
    return r;
}
