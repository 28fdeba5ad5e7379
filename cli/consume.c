/* daybook consume: be a consumer of a group: each event is printed, or handed to a command, and then acknowledged.
 *
 * SIGTERM, SIGINT and SIGHUP end it in order: what is being done is done to its end and settled, what was fetched and not begun
 * is given back without a try counted, exit code 0. The command runs in a process group of its own, so that a Ctrl-C does not
 * reach it; a second signal kills that group, and its event is given back. However consume ends, its command does not go on
 * without it: the kernel kills it when its parent dies. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"
#include "stop.h"

enum { WAIT_SECONDS = 20, EXIT_REASON_SIZE = 64, PATIENCE_MS = 60000, COUNT_PRINTED = 100, EXIT_NOT_RUN = 127 };

static const char *consumer, *command;
static uint64_t count, limit, delay_seconds;
static bool until_empty;

static const struct cli_option options[] = {
    {"--as", "NAME", "this consumer's name; HOST-PID if not given", CLI_TEXT, &consumer, 0, 0},
    {"--exec", "COMMAND",
     "hand each event to this shell command on its standard input: 0 acknowledges, else it is given back",
     CLI_TEXT, &command, 0, 0},
    {"--count", "N", "events to fetch at a time; 100 if not given, with --exec 1", CLI_NUMBER, &count, 1,
     1000},
    {"--limit", "N", "stop after so many", CLI_NUMBER, &limit, 1, 0},
    {"--until-empty", NULL, "stop when there is nothing to do", CLI_FLAG, &until_empty, 0, 0},
    {"--delay", "SECONDS", "before an event that was given back is delivered again", CLI_NUMBER,
     &delay_seconds, 0, 43200},
    {0},
};

struct consuming {
    struct client *client;
    struct buffer path; /* "/v1/groups/NAME" */
    uint64_t done;
    bool stop;
};

/* ---- talking ---- */

/* A POST to the group; a server that is away is waited for, since everything here may be said again. An exit code, or what
 * client_send() says of a fetch that was given up. */
static int say(struct consuming *consuming, const char *what, const struct buffer *body,
               struct client_answer *ret_answer)
{
    _cleanup_(buffer_deinit) struct buffer path = {0};
    bool fetches = strcmp(what, "/fetch") == 0;
    int r = buffer_append_bytes(&path, buffer_bytes(&consuming->path));

    if (r == 0)
        r = buffer_append_string(&path, what);
    if (r < 0)
        return cli_error(CLI_FAILED, "no memory");
    struct client_request request = {.method = "POST",
                                     .path = buffer_string(&path),
                                     .headers = {"Content-Type: application/json"},
                                     .body = buffer_bytes(body),
                                     .repeatable = true,
                                     .patience_ms = PATIENCE_MS,
                                     .waits = fetches,
                                     .prints = fetches && !command,
                                     .settles = !fetches};
    int sent = client_send(consuming->client, &request, ret_answer);
    if (sent == -ECANCELED || sent == -EPIPE)
        return sent; /* the end was asked for, or nobody reads what is printed */
    if (sent < 0)
        return cli_error(CLI_FAILED, "%s", client_error(consuming->client));
    return CLI_DONE;
}

/* One token is acknowledged, or given back with a reason. That its lease is over by then (409) is no error: another has it. */
static int answer_event(struct consuming *consuming, struct json_value token, const char *reason)
{
    _cleanup_(buffer_deinit) struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    struct client_answer answer;

    json_write_object_begin(&w);
    json_write_key(&w, "tokens");
    json_write_array_begin(&w);
    json_write_raw(&w, json_raw(token));
    json_write_array_end(&w);
    if (reason)
        json_write_member_string(&w, "reason", reason);
    if (reason && delay_seconds)
        json_write_member_u64(&w, "delay_seconds", delay_seconds);
    json_write_object_end(&w);
    if (json_write_end(&w) < 0)
        return cli_error(CLI_FAILED, "no memory");
    int code = say(consuming, reason ? "/nack" : "/ack", &body, &answer);
    if (code != CLI_DONE)
        return code;
    if (answer.status == 409)
        fprintf(stderr,
                "daybook consume: the lease was over before the event was done; it is delivered again\n");
    else if (answer.status != 200)
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

/* ---- doing ---- */

static int write_input(int fd, struct bytes text)
{
    while (text.size > 0) {
        ssize_t written = write(fd, text.data, text.size);
        if (written < 0 && errno == EPIPE)
            return 0; /* the command wants no more of it; its exit code says what it made of it */
        if (written < 0)
            return -errno;
        text = bytes_slice(text, (size_t)written, SIZE_MAX);
    }
    return 0;
}

/* In the child: a group of its own, the end with its parent, and the signals as they were before we changed them. */
static void become_command(int input, pid_t parent, const sigset_t *signals)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_NOT_RUN); /* it died before we could ask */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    sigprocmask(SIG_SETMASK, signals, NULL);
    if (dup2(input, STDIN_FILENO) == STDIN_FILENO)
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(EXIT_NOT_RUN);
}

/* No signal comes between the child's beginning and our knowing whom the second one is to kill. */
static int start_command(int input, pid_t *ret_pid)
{
    sigset_t all, before;
    pid_t parent = getpid();

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t pid = stop_hurried() ? (errno = ECANCELED, -1) : fork();
    int r = pid < 0 ? -errno : 0;
    if (pid == 0)
        become_command(input, parent, &before);
    if (pid > 0) {
        setpgid(pid, pid); /* whoever of us two is first */
        stop_guard(pid);
        *ret_pid = pid;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

/* Its process group stays ours to kill until it has ended; what it left running there goes on. */
static int wait_command(pid_t pid, int *ret_status)
{
    pid_t waited;

    while ((waited = waitpid(pid, ret_status, 0)) < 0 && errno == EINTR)
        ;
    stop_guard(0);
    return waited < 0 ? -errno : 0;
}

/* Runs the command with the event on its standard input. 0 and its wait status, or -errno. */
static int run_command(struct bytes event, int *ret_status)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int r = start_command(ends[0], &pid);
    bool started = r == 0;
    close(ends[0]);
    if (r == 0)
        r = write_input(ends[1], event);
    if (r == 0)
        r = write_input(ends[1], BYTES_LITERAL("\n"));
    close(ends[1]);
    if (!started)
        return r;
    int waited = wait_command(pid, ret_status);
    return r < 0 ? r : waited;
}

/* NULL: done. Else why not. */
static const char *do_event(struct bytes event, char reason[EXIT_REASON_SIZE])
{
    int status = 0;

    if (!command) {
        output_text(event);
        return output_flush() ? NULL : "the output cannot be written";
    }
    int r = run_command(event, &status);
    if (r < 0)
        snprintf(reason, EXIT_REASON_SIZE, "the command cannot be run: %s", strerror(-r));
    else if (WIFSIGNALED(status))
        snprintf(reason, EXIT_REASON_SIZE, "the command ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(reason, EXIT_REASON_SIZE, "the command ended with %d", WEXITSTATUS(status));
    else
        return NULL;
    return reason;
}

/* What was fetched and not begun goes back at once, and no try counts. If that cannot be said the lease says it, later. */
static int give_back(struct consuming *consuming, struct json_cursor *at, const struct json_value *first)
{
    _cleanup_(buffer_deinit) struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    struct client_answer answer;
    size_t given = first != NULL;

    json_write_object_begin(&w);
    json_write_member_bool(&w, "untried", true);
    json_write_key(&w, "tokens");
    json_write_array_begin(&w);
    if (first)
        json_write_raw(&w, json_raw(json_get(*first, "token")));
    for (; json_next(at); given++)
        json_write_raw(&w, json_raw(json_get(at->value, "token")));
    json_write_array_end(&w);
    json_write_object_end(&w);
    if (json_write_end(&w) < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (given == 0)
        return CLI_DONE;
    int code = say(consuming, "/nack", &body, &answer);
    if (code != CLI_DONE)
        return code;
    code = answer.status == 200 ? CLI_DONE : client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

static int do_batch(struct consuming *consuming, struct json_value events)
{
    struct json_cursor at = json_walk(events);
    char reason[EXIT_REASON_SIZE];
    int code = CLI_DONE;

    while (code == CLI_DONE && !stop_asked() && json_next(&at)) {
        const char *why = do_event(json_raw(json_get(at.value, "event")), reason);
        if (!command && why) {
            (void)give_back(consuming, &at, &at.value);
            return CLI_FAILED; /* main() says what is wrong with the output */
        }
        code = answer_event(consuming, json_get(at.value, "token"), why);
        consuming->done++;
    }
    if (code == CLI_FAILED)
        return code; /* nobody answers, and has not for long: what is left comes again when its lease is over */
    int given = give_back(consuming, &at, NULL);
    return code == CLI_DONE ? given : code;
}

/* ---- fetching ---- */

static int write_fetch(struct consuming *consuming, struct buffer *body)
{
    struct json_writer w = json_writer(body);
    uint64_t left = limit ? limit - consuming->done : count;

    json_write_object_begin(&w);
    json_write_member_string(&w, "consumer", consumer);
    json_write_member_u64(&w, "count", left < count ? left : count);
    json_write_member_u64(&w, "wait_seconds", until_empty ? 0 : WAIT_SECONDS);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static int do_answer(struct consuming *consuming, const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};

    if (answer->status != 200)
        return client_print_problem(answer);
    if (json_parse(buffer_bytes(&answer->body), &doc, NULL) != 0)
        return cli_error(CLI_FAILED, "the server's answer cannot be read");
    struct json_value events = json_get(json_root(&doc), "events");
    consuming->stop = until_empty && json_count(events) == 0;
    return do_batch(consuming, events);
}

static int consume_once(struct consuming *consuming)
{
    _cleanup_(buffer_deinit) struct buffer body = {0};
    struct client_answer answer;

    if (write_fetch(consuming, &body) < 0)
        return cli_error(CLI_FAILED, "no memory");
    int code = say(consuming, "/fetch", &body, &answer);
    if (code < 0)
        return code == -ECANCELED ? CLI_DONE : CLI_FAILED;
    if (code != CLI_DONE)
        return code;
    code = do_answer(consuming, &answer);
    client_answer_deinit(&answer);
    return code;
}

static int run_consume(int argument_count, char **arguments)
{
    struct consuming consuming = {0};
    _cleanup_(client_freep) struct client *client = NULL;
    char name[128], host[64] = "consumer";

    (void)!gethostname(host, sizeof(host) - 1);
    snprintf(name, sizeof(name), "%s-%ld", host, (long)getpid());
    if (!consumer)
        consumer = name;
    if (count == 0)
        count = command ? 1 : COUNT_PRINTED; /* the lease of a batch begins for all of it at once */
    int code = stop_catch() < 0 ? cli_error(CLI_FAILED, "cannot wait for signals: %s", strerror(errno)) : client_open(&client);
    consuming.client = client;
    if (code == CLI_DONE && (buffer_append_string(&consuming.path, "/v1/groups/") < 0 ||
                             client_escape(&consuming.path, arguments[0]) < 0))
        code = cli_error(CLI_FAILED, "no memory");
    while (code == CLI_DONE && !consuming.stop && !stop_asked() && (limit == 0 || consuming.done < limit))
        code = consume_once(&consuming);
    buffer_deinit(&consuming.path);
    return code == CLI_DONE && stop_hurried() ? cli_error(CLI_FAILED, "cut off by the second signal; its event was given back") : code;
}

const struct cli_command cli_consume = {
    .name = "consume",
    .arguments = "GROUP",
    .help = "take events of a consumer group, one after another",
    .story = "Without --exec each event is printed on its line and acknowledged. With it the event goes to "
             "the command's standard\n"
             "input; what ends with anything but 0 is given back, and parked after the group's number of "
             "tries.\n\n"
             "SIGTERM, SIGINT or SIGHUP: the event under way is done to its end and settled, the others are given back, exit code 0.\n"
             "A second one kills the command and gives its event back, exit code 3.\n\n"
             "  daybook consume mails --exec ./send-mail\n"
             "  daybook consume audit --until-empty >> audit.ndjson",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run_consume,
};
