/* daybook command and daybook query: ask the application to do something, and ask what is so. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli.h"
#include "client.h"
#include "input.h"
#include "output.h"

enum { QUERY_PATIENCE_MS = 0, COMMAND_PATIENCE_MS = 10000 };

static const char *key;
static uint64_t min_position;
static const char *as_of;
static bool csv;

static const struct cli_option command_options[] = {
    {"--key", "KEY",
     "an idempotency key: the same command twice happens once, and is repeated while the server is away",
     CLI_TEXT, &key, 0, 0},
    {0},
};
static const struct cli_option query_options[] = {
    {"--min-position", "P", "wait until the view has seen position P", CLI_NUMBER, &min_position, 0, 0},
    {"--as-of", "P|TIME", "what was so after position P, or at a time", CLI_TEXT, &as_of, 0, 0},
    {"--csv", NULL, "answer as CSV", CLI_FLAG, &csv, 0, 0},
    {0},
};

/* The answer's body, or its problem. */
static int print_answer(const struct client_answer *answer)
{
    if (answer->status / 100 != 2)
        return client_print_problem(answer);
    output_text(buffer_bytes(&answer->body));
    return CLI_DONE;
}

static int send_and_print(const struct client_request *request)
{
    _cleanup_(client_freep) struct client *client = NULL;
    struct client_answer answer;
    int code = client_open(&client);

    if (code != CLI_DONE)
        return code;
    if (client_send(client, request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    code = print_answer(&answer);
    client_answer_deinit(&answer);
    return code;
}

static int run_command(int argument_count, char **arguments)
{
    _cleanup_(buffer_deinit) struct buffer body = {0};
    _cleanup_(buffer_deinit) struct buffer path = {0};
    _cleanup_(buffer_deinit) struct buffer header = {0};
    int code = cli_read_input(argument_count > 1 ? arguments[1] : "{}", &body);

    if (code != CLI_DONE)
        return code;
    if (buffer_append_string(&path, "/v1/commands/") < 0 || client_escape(&path, arguments[0]) < 0 ||
        buffer_printf(&header, "Idempotency-Key: %s", key ? key : "") < 0)
        return cli_error(CLI_FAILED, "no memory");
    struct client_request request = {.method = "POST",
                                     .path = buffer_string(&path),
                                     .headers = {"Content-Type: application/json"},
                                     .body = buffer_bytes(&body),
                                     .repeatable = key != NULL,
                                     .patience_ms = COMMAND_PATIENCE_MS};
    if (key)
        request.headers[1] = buffer_string(&header);
    return send_and_print(&request);
}

/* NAME=VALUE arguments become the query string; the name may carry what the view's grammar allows (free=gt.0). */
static int add_argument(struct buffer *path, const char *argument, char *separator)
{
    const char *equals = strchr(argument, '=');

    if (!equals)
        return cli_error(CLI_USAGE, "\"%s\" is not NAME=VALUE", argument);
    int r = buffer_printf(path, "%c%.*s=", *separator, (int)(equals - argument), argument);
    if (r == 0)
        r = client_escape(path, equals + 1);
    *separator = '&';
    return r < 0 ? cli_error(CLI_FAILED, "no memory") : CLI_DONE;
}

static int make_query_path(struct buffer *path, const char *kind, int argument_count, char **arguments)
{
    char separator = '?';

    if (buffer_printf(path, "/v1/%s/", kind) < 0 || client_escape(path, arguments[0]) < 0)
        return cli_error(CLI_FAILED, "no memory");
    for (int i = 1; i < argument_count; i++) {
        int code = add_argument(path, arguments[i], &separator);
        if (code != CLI_DONE)
            return code;
    }
    if (min_position && buffer_printf(path, "%cmin_position=%" PRIu64, separator, min_position) < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (min_position)
        separator = '&';
    if (as_of && (buffer_printf(path, "%cas_of=", separator) < 0 || client_escape(path, as_of) < 0))
        return cli_error(CLI_FAILED, "no memory");
    return CLI_DONE;
}

/* A name is a named query or a view; named queries are looked for first. */
static int run_query(int argument_count, char **arguments)
{
    static const char *const kinds[] = {"queries", "views"};
    _cleanup_(client_freep) struct client *client = NULL;
    int code = client_open(&client);

    for (size_t i = 0; code == CLI_DONE && i < 2; i++) {
        _cleanup_(buffer_deinit) struct buffer path = {0};
        struct client_answer answer;

        code = make_query_path(&path, kinds[i], argument_count, arguments);
        if (code != CLI_DONE)
            break;
        struct client_request request = {.method = "GET",
                                         .path = buffer_string(&path),
                                         .repeatable = true,
                                         .headers = {csv ? "Accept: text/csv" : "Accept: application/json"}};
        if (client_send(client, &request, &answer) < 0)
            return cli_error(CLI_FAILED, "%s", client_error(client));
        bool last = i == 1 || answer.status != 404;
        if (last)
            code = print_answer(&answer);
        client_answer_deinit(&answer);
        if (last)
            break;
    }
    return code;
}

const struct cli_command cli_do_command = {
    .name = "command",
    .arguments = "NAME [JSON|@FILE|-]",
    .help = "ask the application to do something",
    .story = "Prints what happened, or which rule said no (exit code 1).\n\n"
             "  daybook command CancelReservation '{\"reservation\":\"R-000017\",\"on\":\"2026-05-01\"}' "
             "--key cancel-17",
    .options = command_options,
    .argument_count_min = 1,
    .argument_count_max = 2,
    .run = run_command,
};

const struct cli_command cli_query = {
    .name = "query",
    .arguments = "NAME [COLUMN=VALUE …]",
    .help = "read a view or a named query",
    .story = "  daybook query free_rooms hotel=Seaside from=2026-07-01 to=2026-07-08\n"
             "  daybook query reservations status=eq.booked order=arrival limit=20 --csv\n"
             "  daybook query availability night=eq.2026-07-01 --as-of 2026-03-01T00:00:00Z",
    .options = query_options,
    .argument_count_min = 1,
    .argument_count_max = 64,
    .run = run_query,
};
