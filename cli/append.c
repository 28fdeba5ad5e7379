/* daybook append: store events through a server. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "input.h"
#include "output.h"

static const char *expect;
static const char *stream;

static const struct cli_option options[] = {
    {"--stream", "NAME", "put the event or events into this stream", CLI_TEXT, &stream, 0, 0},
    {"--expect", "VERSION", "only if the stream is at VERSION: a number, none or exists", CLI_TEXT, &expect,
     0, 0},
    {0},
};

static int add_expectation(struct client_request *request, char header[64])
{
    if (!expect)
        return CLI_DONE;
    if (!stream)
        return cli_error(CLI_USAGE, "--expect needs --stream");
    if (strcmp(expect, "none") == 0)
        snprintf(header, 64, "If-None-Match: *");
    else if (strcmp(expect, "exists") == 0)
        snprintf(header, 64, "If-Match: *");
    else if (expect[0] && strspn(expect, "0123456789") == strlen(expect) && strlen(expect) < 20)
        snprintf(header, 64, "If-Match: \"%s\"", expect);
    else
        return cli_error(CLI_USAGE, "--expect takes a number, none or exists, not \"%s\"", expect);
    request->headers[1] = header;
    return CLI_DONE;
}

static int run(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(buffer_deinit) struct buffer body = {0};
    _cleanup_(buffer_deinit) struct buffer path = {0};
    char header[64];
    struct client_request request = {
        .method = "POST", .path = "/v1/append", .headers = {"Content-Type: application/json"}};
    struct client_answer answer;
    int code = cli_read_input(arguments[0], &body);

    if (code == CLI_DONE)
        code = add_expectation(&request, header);
    if (code == CLI_DONE)
        code = client_open(&client);
    if (code != CLI_DONE)
        return code;
    if (stream) {
        if (buffer_append_string(&path, "/v1/streams/") < 0 || client_escape(&path, stream) < 0)
            return cli_error(CLI_FAILED, "no memory");
        request.path = buffer_string(&path);
    }
    request.body = buffer_bytes(&body);
    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    if (answer.status / 100 == 2)
        output_text(buffer_bytes(&answer.body));
    else
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

const struct cli_command cli_append = {
    .name = "append",
    .arguments = "JSON|@FILE|-",
    .help = "store events",
    .story = "The document is that of POST /v1/append: "
             "{\"events\":[{\"type\":…,\"data\":…}],\"condition\":…}. With --stream\n"
             "it is one event or an array of them.\n\n"
             "  daybook append '{\"events\":[{\"type\":\"Opened\",\"data\":{\"by\":\"me\"}}]}'\n"
             "  daybook append --stream door-1 --expect none '{\"type\":\"Opened\",\"data\":{}}'",
    .options = options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run,
};
