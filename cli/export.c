/* daybook export: every event of a journal, a line each, page by page from a server. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "progress.h"

enum { PAGE_COUNT = 5000, PATIENCE_MS = 10000 };

static uint64_t after;

static const struct cli_option options[] = {
    {"--after", "POSITION", "only what stands after this position", CLI_NUMBER, &after, 0, 0},
    {0},
};

struct export
{
    FILE *out;
    uint64_t last, count, head;
};

static int on_line(void *user, struct bytes line)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct export *export = user;

    if (line.size == 0)
        return 0;
    if (json_parse(line, &doc, NULL) != 0 ||
        json_u64(json_get(json_root(&doc), "position"), &export->last) != 0)
        return -EBADMSG;
    export->count++;
    return fprintf(export->out, "%.*s\n", BYTES_PRINT(line)) < 0 ? -EIO : 0;
}

static int export_page(struct client *client, struct export *export, uint64_t *ret_count)
{
    char path[128];
    struct client_answer answer;
    uint64_t before = export->count;
    int code = CLI_DONE;

    snprintf(path, sizeof path, "/v1/events?after=%" PRIu64 "&limit=%d", export->last, PAGE_COUNT);
    struct client_request request = {
        .method = "GET", .path = path, .headers = {"Accept: application/x-ndjson"}};
    int r = client_stream(client, &request, on_line, export, &answer);
    if (r == -EBADMSG)
        code = cli_error(CLI_FAILED, "the server sent a line that is no event");
    else if (r < 0)
        code = cli_error(CLI_FAILED, "%s", r == -EIO ? "the output cannot be written" : client_error(client));
    else if (answer.status != 200)
        code = client_print_problem(&answer);
    client_answer_deinit(&answer);
    *ret_count = export->count - before;
    return code;
}

static int find_head(struct client *client, uint64_t *ret_head)
{
    struct client_request request = {.method = "GET",
                                     .path = "/v1/events?limit=1&direction=backward",
                                     .repeatable = true,
                                     .patience_ms = PATIENCE_MS};
    struct client_answer answer;

    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    int code = answer.status == 200 ? CLI_DONE : client_print_problem(&answer);
    *ret_head = answer.position;
    client_answer_deinit(&answer);
    return code;
}

static int export_all(struct client *client, struct export *export)
{
    struct progress progress;
    uint64_t count = 1;
    int code = find_head(client, &export->head);

    progress_begin(&progress, "events", after, export->head);
    while (code == CLI_DONE && count > 0 && export->last < export->head) {
        code = export_page(client, export, &count);
        progress_set(&progress, export->last);
    }
    progress_end(&progress);
    return code;
}

static int run(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    bool to_file = argument_count > 0 && strcmp(arguments[0], "-") != 0;
    struct export export = {.out = stdout, .last = after};
    int code = client_open(&client);

    if (code != CLI_DONE)
        return code;
    if (to_file && !(export.out = fopen(arguments[0], "wxe")))
        return cli_error(CLI_FAILED, "cannot make %s: %s", arguments[0],
                         errno == EEXIST ? "it is there already" : strerror(errno));
    code = export_all(client, &export);
    bool written = fflush(export.out) == 0 && (!to_file || fsync(fileno(export.out)) == 0);
    if (to_file)
        written = fclose(export.out) == 0 && written;
    if (!written && code == CLI_DONE)
        code = cli_error(CLI_FAILED, "cannot write the events: %s", strerror(errno));
    if (code == CLI_DONE && to_file && !cli_json)
        printf("%" PRIu64 " events up to position %" PRIu64 "\n", export.count, export.last);
    else if (code == CLI_DONE && to_file)
        printf("{\"events\":%" PRIu64 ",\"position\":%" PRIu64 "}\n", export.count, export.last);
    return code;
}

const struct cli_command cli_export = {
    .name = "export",
    .arguments = "[FILE|-]",
    .help = "write every event as a line of JSON",
    .story =
        "What import reads. FILE must not be there yet; without one the events go to standard output.\n\n"
        "  daybook export --after 120000 january.ndjson",
    .options = options,
    .argument_count_max = 1,
    .run = run,
};
