/* daybook export: the events of a journal, page by page from a server, as lines of JSON or as a batch of CloudEvents. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "journal/tools.h"
#include "output.h"
#include "places.h"
#include "progress.h"
#include "stop.h"

enum { PAGE_COUNT = 5000, PATIENCE_MS = 10000 };

static uint64_t after, until;
static const char *types, *tag, *stream, *format = "ndjson", *source;

static const struct cli_option options[] = {
    {"--after", "POSITION", "only what stands after this position", CLI_NUMBER, &after, 0, 0},
    {"--until", "POSITION", "only what stands up to this position", CLI_NUMBER, &until, 0, 0},
    {"--type", "A,B", "only these types (a comma in one: \\,)", CLI_TEXT, &types, 0, 0},
    {"--tag", "TAG", "only events with this tag", CLI_TEXT, &tag, 0, 0},
    {"--stream", "NAME", "only this stream", CLI_TEXT, &stream, 0, 0},
    {"--format", "NAME", "ndjson, or cloudevents: a batch of CloudEvents 1.0 (ndjson)", CLI_TEXT, &format, 0, 0},
    {"--source", "URI", "with cloudevents: their source (urn:daybook: and the journal's id)", CLI_TEXT, &source, 0, 0},
    {0},
};

struct export
{
    FILE *out;
    bool cloudevents;
    char source[64];     /* when --source does not say */
    struct buffer event; /* a CloudEvent */
    uint64_t last, count, head;
    uint64_t received; /* of the page under way, also what is not wanted */
};

/* A batch is an array with an event a line, so that it can be looked through like the other format. */
static int write_event(struct export *export, struct bytes line)
{
    if (!export->cloudevents) {
        fwrite(line.data, 1, line.size, export->out);
        return putc('\n', export->out) == EOF ? -EPIPE : 0;
    }
    buffer_clear(&export->event);
    int r = cloudevents_from_line(line, source ? source : export->source, &export->event);
    if (r != 0)
        return r < 0 ? r : -EBADMSG;
    fputs(export->count > 0 ? ",\n" : "[\n", export->out);
    return fwrite(export->event.data, 1, export->event.size, export->out) == export->event.size ? 0 : -EPIPE;
}

static int on_line(void *user, struct bytes line)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct export *export = user;

    if (line.size == 0)
        return 0;
    if (json_parse(line, &doc, NULL) != 0 ||
        json_u64(json_get(json_root(&doc), "position"), &export->last) != 0)
        return -EBADMSG;
    export->received++;
    if (export->last > export->head || (stream && !json_string_equals(json_get(json_root(&doc), "stream"), stream)))
        return 0; /* came since; or of a stream whose name begins alike */
    int r = write_event(export, line);
    export->count += r == 0;
    return r;
}

static int add_parameter(struct buffer *path, const char *name, const char *value)
{
    int r = value ? buffer_printf(path, "&%s=", name) : 0;

    if (r < 0 || !value)
        return r;
    return value == types ? client_escape_list(path, value) : client_escape(path, value);
}

static int make_path(struct buffer *path, const struct export *export)
{
    int r = buffer_printf(path, "/v1/events?after=%" PRIu64 "&limit=%d", export->last, PAGE_COUNT);

    if (r == 0)
        r = add_parameter(path, "type", types);
    if (r == 0)
        r = add_parameter(path, "tag", tag);
    return r == 0 ? add_parameter(path, "prefix", stream) : r;
}

static int export_page(struct client *client, struct export *export)
{
    _cleanup_(buffer_deinit) struct buffer path = {0};
    struct client_answer answer;
    int code = CLI_DONE;

    export->received = 0;
    if (make_path(&path, export) < 0)
        return cli_error(CLI_FAILED, "no memory");
    struct client_request request = {.method = "GET",
                                     .path = buffer_string(&path),
                                     .headers = {"Accept: application/x-ndjson"},
                                     .waits = true,
                                     .prints = export->out == stdout};
    int r = client_stream(client, &request, on_line, export, &answer);
    if (r == -EBADMSG)
        code = cli_error(CLI_FAILED, "the server sent a line that is no event");
    else if (r == -ECANCELED)
        code = cli_error(CLI_FAILED, "stopped at position %" PRIu64 " of %" PRIu64, export->last, export->head);
    else if (r < 0)
        code = r == -EPIPE ? CLI_FAILED : cli_error(CLI_FAILED, "%s", client_error(client)); /* said where it is closed */
    else if (answer.status != 200)
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

/* How far it goes, and of which journal it is. */
static int find_head(struct client *client, struct export *export)
{
    struct client_request request = {.method = "GET",
                                     .path = "/v1/events?limit=1&direction=backward",
                                     .repeatable = true,
                                     .patience_ms = PATIENCE_MS,
                                     .waits = true};
    struct client_answer answer;

    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    int code = answer.status == 200 ? CLI_DONE : client_print_problem(&answer);
    if (code == CLI_DONE && after > answer.position) /* else what comes there later would never be exported */
        code = cli_error(CLI_NO, "position %" PRIu64 " lies beyond the head, which is %" PRIu64
                         ": what was there is lost, or was never here", after, answer.position);
    export->head = until > 0 && until < answer.position ? until : answer.position;
    snprintf(export->source, sizeof export->source, CLOUDEVENTS_SOURCE_PREFIX "%.36s", answer.journal);
    client_answer_deinit(&answer);
    return code;
}

static int export_all(struct client *client, struct export *export)
{
    struct progress progress;
    int code = find_head(client, export);

    progress_begin(&progress, "events", after, export->head);
    for (export->received = 1; code == CLI_DONE && export->received > 0 && export->last < export->head;) {
        code = export_page(client, export);
        progress_set(&progress, export->last < export->head ? export->last : export->head);
    }
    progress_end(&progress);
    if (code == CLI_DONE && export->cloudevents)
        fputs(export->count > 0 ? "\n]\n" : "[]\n", export->out);
    return code;
}

/* A file is whole or it is not there. */
static int close_file(FILE *file, const char *name, int code)
{
    int r = output_file_close(file);

    if (r < 0)
        code = cli_error(CLI_FAILED, "cannot write %s: %s", name, strerror(-r));
    if (code != CLI_DONE)
        (void)unlink(name);
    return code;
}

static int run(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    bool to_file = argument_count > 0 && strcmp(arguments[0], "-") != 0;
    struct export export = {.out = stdout, .last = after, .cloudevents = strcmp(format, "cloudevents") == 0};

    if (!export.cloudevents && strcmp(format, "ndjson") != 0)
        return cli_error(CLI_USAGE, "--format takes ndjson or cloudevents, not \"%s\"", format);
    int code = to_file ? cli_place_free(arguments[0]) : CLI_DONE;
    if (code == CLI_DONE)
        code = client_open(&client);
    if (code == CLI_DONE && stop_catch() < 0)
        code = cli_error(CLI_FAILED, "cannot wait for signals: %s", strerror(errno));
    if (code != CLI_DONE)
        return code;
    if (to_file && !(export.out = fopen(arguments[0], "wxe")))
        return cli_error(CLI_FAILED, "cannot make %s: %s", arguments[0],
                         errno == EEXIST ? "it is there already" : strerror(errno));
    code = export_all(client, &export);
    buffer_deinit(&export.event);
    if (to_file)
        code = close_file(export.out, arguments[0], code);
    uint64_t reached = export.last < export.head ? export.last : export.head;
    if (code == CLI_DONE && to_file && !cli_json)
        printf("%" PRIu64 " events up to position %" PRIu64 "\n", export.count, reached);
    else if (code == CLI_DONE && to_file)
        printf("{\"events\":%" PRIu64 ",\"position\":%" PRIu64 "}\n", export.count, reached);
    return code;
}

const struct cli_command cli_export = {
    .name = "export",
    .arguments = "[FILE|-]",
    .help = "write events as lines of JSON, or as a batch of CloudEvents",
    .story =
        "What import reads. FILE must not be there yet, and is there only when it is whole; without one the events go to\n"
        "standard output.\n\n"
        "  daybook export --after 120000 january.ndjson\n"
        "  daybook export --format cloudevents --type RoomBooked bookings.json",
    .options = options,
    .argument_count_max = 1,
    .run = run,
};
