/* daybook read and daybook tail: events that are there, and events as they come. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"
#include "stop.h"

enum { PAGE_COUNT = 1000 };

static const char *stream, *types, *tag, *prefix;
static uint64_t after, limit;
static bool backward, from_now;

static const struct cli_option read_options[] = {
    {"--stream", "NAME", "only this stream", CLI_TEXT, &stream, 0, 0},
    {"--type", "A,B", "only these types (a comma in one: \\,)", CLI_TEXT, &types, 0, 0},
    {"--tag", "TAG", "only events with this tag", CLI_TEXT, &tag, 0, 0},
    {"--prefix", "TEXT", "only streams whose names begin so", CLI_TEXT, &prefix, 0, 0},
    {"--after", "POSITION", "begin after this position (a stream: after this version)", CLI_NUMBER, &after, 0,
     0},
    {"--limit", "N", "at most so many events (all of them, if not given)", CLI_NUMBER, &limit, 0, 0},
    {"--backward", NULL, "the newest first", CLI_FLAG, &backward, 0, 0},
    {0},
};
static const struct cli_option tail_options[] = {
    {"--stream", "NAME", "only this stream", CLI_TEXT, &stream, 0, 0},
    {"--type", "A,B", "only these types (a comma in one: \\,)", CLI_TEXT, &types, 0, 0},
    {"--tag", "TAG", "only events with this tag", CLI_TEXT, &tag, 0, 0},
    {"--prefix", "TEXT", "only streams whose names begin so", CLI_TEXT, &prefix, 0, 0},
    {"--after", "POSITION", "begin after this position", CLI_NUMBER, &after, 0, 0},
    {"--now", NULL, "only what comes from now on", CLI_FLAG, &from_now, 0, 0},
    {0},
};

/* One event, for a person: position, time, type, stream, data. For machines: as it came. */
static void print_event(struct bytes line)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(buffer_deinit) struct buffer words = {0};

    if (cli_json || !isatty(STDOUT_FILENO) || json_parse(line, &doc, NULL) != 0) {
        output_text(line);
        return;
    }
    struct json_value event = json_root(&doc);
    static const char *const keys[] = {"time", "type", "stream"};
    for (size_t i = 0; i < 3; i++)
        if (json_exists(json_get(event, keys[i])))
            (void)(json_string(json_get(event, keys[i]), &words) || buffer_append_string(&words, "  "));
    uint64_t position = 0;
    (void)!json_u64(json_get(event, "position"), &position);
    printf("%8" PRIu64 "  %.*s%.*s\n", position, BYTES_PRINT(buffer_bytes(&words)),
           BYTES_PRINT(json_raw(json_get(event, "data"))));
}

struct page {
    uint64_t last, count;
};

static int on_line(void *user, struct bytes line)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct page *page = user;

    if (line.size == 0)
        return 0;
    if (json_parse(line, &doc, NULL) == 0)
        (void)!json_u64(json_get(json_root(&doc), stream ? "version" : "position"), &page->last);
    page->count++;
    print_event(line);
    return ferror(stdout) ? -EPIPE : 0;
}

static int add_parameter(struct buffer *path, const char *name, const char *value)
{
    if (!value)
        return 0;
    int r = buffer_printf(path, "%c%s=", path->size && memchr(path->data, '?', path->size) ? '&' : '?', name);
    if (r < 0)
        return r;
    return value == types ? client_escape_list(path, value) : client_escape(path, value);
}

static int make_path(struct buffer *path)
{
    int r = buffer_append_string(path, stream ? "/v1/streams/" : "/v1/events");

    if (r == 0 && stream)
        r = client_escape(path, stream);
    if (r == 0)
        r = add_parameter(path, "type", types);
    if (r == 0)
        r = add_parameter(path, "tag", tag);
    return r < 0 ? r : add_parameter(path, "prefix", prefix);
}

static int make_page_path(struct buffer *path, const struct page *page, uint64_t count)
{
    char number[24];
    int r = make_path(path);

    snprintf(number, sizeof number, "%" PRIu64, count);
    if (r == 0)
        r = add_parameter(path, "limit", number);
    if (r == 0 && backward)
        r = add_parameter(path, "direction", "backward");
    bool begun = page->count > 0 || after > 0;
    uint64_t place = page->count > 0 ? page->last : after;
    snprintf(number, sizeof number, "%" PRIu64, stream && !backward ? place + 1 : stream ? place - 1 : place);
    if (r == 0 && begun)
        r = add_parameter(path, stream ? (backward ? "to" : "from") : backward ? "before" : "after", number);
    return r;
}

/* A lost output is said by main(), once. */
static int failed(const struct client *client)
{
    return output_lost() ? CLI_FAILED : cli_error(CLI_FAILED, "%s", client_error(client));
}

static int run_read(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    struct page all = {0};
    int code = client_open(&client);

    if (stream && (types || tag || prefix))
        return cli_error(CLI_USAGE, "--stream stands alone: a stream is read whole");
    while (code == CLI_DONE && (limit == 0 || all.count < limit)) {
        _cleanup_(buffer_deinit) struct buffer path = {0};
        struct client_answer answer;
        uint64_t wanted = limit && limit - all.count < PAGE_COUNT ? limit - all.count : PAGE_COUNT;
        uint64_t before = all.count;

        if (make_page_path(&path, &all, wanted) < 0)
            return cli_error(CLI_FAILED, "no memory");
        struct client_request request = {
            .method = "GET", .path = buffer_string(&path), .headers = {"Accept: application/x-ndjson"}};
        int r = client_stream(client, &request, on_line, &all, &answer);
        if (r < 0)
            code = failed(client);
        else if (answer.status != 200)
            code = client_print_problem(&answer);
        client_answer_deinit(&answer);
        if (all.count - before < wanted || (backward && stream && all.last <= 1))
            break;
    }
    return code;
}

/* A line of the event stream: data lines are events, the rest is the protocol's own. A reset is said: what follows is not
 * what comes after the position that was asked for. */
static int on_sse_line(void *user, struct bytes line)
{
    bool *own_frame = user;

    if (line.size == 0)
        *own_frame = false;
    else if (bytes_starts_with(line, BYTES_LITERAL("event:")))
        *own_frame = true;
    if (bytes_equal(line, BYTES_LITERAL("event: daybook.reset")))
        (void)cli_error(CLI_FAILED, "the journal ends before position %" PRIu64 ": from its beginning", after);
    else if (bytes_starts_with(line, BYTES_LITERAL("data: ")) && !*own_frame) {
        print_event(bytes_slice(line, 6, line.size));
        return output_flush() ? 0 : -EPIPE;
    }
    return 0;
}

static int find_head(struct client *client)
{
    struct client_request request = {.method = "GET", .path = "/v1/events?limit=1&direction=backward"};
    struct client_answer answer;

    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    int code = answer.status == 200 ? CLI_DONE : client_print_problem(&answer);
    after = answer.position;
    client_answer_deinit(&answer);
    return code;
}

static int run_tail(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(buffer_deinit) struct buffer path = {0};
    struct client_answer answer;
    bool own_frame = false;
    char number[24];
    int code = client_open(&client);

    if (code == CLI_DONE && stop_catch() < 0)
        code = cli_error(CLI_FAILED, "cannot wait for signals: %s", strerror(errno));
    if (code == CLI_DONE && from_now)
        code = find_head(client);
    if (code != CLI_DONE)
        return code;
    snprintf(number, sizeof number, "%" PRIu64, after);
    if (make_path(&path) < 0 || (after && add_parameter(&path, "after", number) < 0))
        return cli_error(CLI_FAILED, "no memory");
    struct client_request request = {.method = "GET",
                                     .path = buffer_string(&path),
                                     .headers = {"Accept: text/event-stream"},
                                     .waits = true,
                                     .prints = true};
    int r = client_stream(client, &request, on_sse_line, &own_frame, &answer);
    if (r < 0)
        code = stop_asked() ? CLI_DONE : failed(client);
    else if (answer.status != 200)
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

const struct cli_command cli_read = {
    .name = "read",
    .arguments = "",
    .help = "print events that are there",
    .story =
        "On a terminal one line an event; into a pipe, or with --json, each event as JSON on its line.\n\n"
        "  daybook read --tag reservation:R-000017\n"
        "  daybook read --type RoomBooked --limit 10 --backward",
    .options = read_options,
    .run = run_read,
};

const struct cli_command cli_tail = {
    .name = "tail",
    .arguments = "",
    .help = "print events as they come",
    .story = "First what is there, then each event when it is stored; ends with Ctrl-C or SIGTERM (exit code 0), or when the server "
             "stops.\n\n"
             "  daybook tail --now --type RoomBooked",
    .options = tail_options,
    .run = run_tail,
};
