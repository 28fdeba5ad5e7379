/* daybook scavenge and daybook compact: have the server take away the bodies of events that are past their retention, and
 * watch it; keep a state in place of the events it came from. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "input.h"
#include "output.h"
#include "progress.h"

enum { POLL_MS = 200, PATIENCE_MS = 10000 };

static bool dry_run, compact;

static const struct cli_option scavenge_options[] = {
    {"--dry-run", NULL, "say what would go, and do nothing", CLI_FLAG, &dry_run, 0, 0},
    {"--compact", NULL, "keep the states that deciders need in the journal, and let their events go too", CLI_FLAG,
     &compact, 0, 0},
    {0},
};

/* What the server says of the run; `doc` points into the answer. */
struct state {
    struct client_answer answer;
    struct json_doc doc;
    struct json_value root;
};

static void state_deinit(struct state *state)
{
    json_doc_deinit(&state->doc);
    client_answer_deinit(&state->answer);
    *state = (struct state){0};
}

static int ask(struct client *client, const char *method, struct state *state)
{
    static const char *const paths[] = {"/v1/scavenge", "/v1/scavenge?dry_run=1", "/v1/scavenge?compact=1",
                                        "/v1/scavenge?dry_run=1&compact=1"};
    struct client_request request = {.method = method,
                                     .path = paths[method[0] == 'P' ? dry_run + 2 * compact : 0],
                                     .headers = {"Content-Type: application/json"},
                                     .repeatable = method[0] == 'G',
                                     .patience_ms = PATIENCE_MS};

    if (client_send(client, &request, &state->answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    if (state->answer.status / 100 != 2)
        return client_print_problem(&state->answer);
    if (json_parse(buffer_bytes(&state->answer.body), &state->doc, NULL) != 0)
        return cli_error(CLI_FAILED, "the server's answer is no JSON");
    state->root = json_root(&state->doc);
    return CLI_DONE;
}

static uint64_t number(const struct state *state, const char *name)
{
    uint64_t value = 0;

    return json_u64(json_get(state->root, name), &value) == 0 ? value : 0;
}

static void print_number(const struct state *state, const char *name, const char *text)
{
    char digits[32];

    printf("%14s %s\n", progress_number(number(state, name), digits), text);
}

static void print_report(const struct state *state)
{
    char digits[32];
    uint64_t count;

    print_number(state, "considered", "events have a retention rule");
    print_number(state, "gone", dry_run ? "would go" : "are gone");
    print_number(state, "young", "are not past it");
    print_number(state, "kept", "are past it, and needed:");
    for (struct json_cursor at = json_walk(json_get(state->root, "reasons")); json_next(&at);)
        if (json_u64(at.value, &count) == 0) {
            _cleanup_(buffer_deinit) struct buffer name = {0};
            if (json_string(at.key, &name) == 0)
                printf("%18s by %.*s\n", progress_number(count, digits), BYTES_PRINT(buffer_bytes(&name)));
        }
    if (compact)
        print_number(state, "compacted", dry_run ? "tags would be compacted" : "tags were compacted");
    print_number(state, "gone_already", "went before");
    print_number(state, "body_bytes", dry_run ? "bytes of bodies would go" : "bytes of bodies are gone");
    if (!dry_run)
        print_number(state, "room_bytes", "bytes of them were given back to the disk");
}

static int end(struct state *state)
{
    bool done = json_string_equals(json_get(state->root, "state"), "done");

    if (cli_json)
        output_text(buffer_bytes(&state->answer.body));
    else
        print_report(state);
    if (done)
        return CLI_DONE;
    _cleanup_(buffer_deinit) struct buffer detail = {0};
    if (json_string(json_get(state->root, "detail"), &detail) < 0)
        return cli_error(CLI_FAILED, "no memory");
    return cli_error(CLI_FAILED, "it did not come to its end: %.*s", BYTES_PRINT(buffer_bytes(&detail)));
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static int run_scavenge(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(state_deinit) struct state state = {0};
    struct progress progress;
    int code = client_open(&client);

    if (code == CLI_DONE)
        code = ask(client, "POST", &state);
    if (code != CLI_DONE)
        return code;
    progress_begin(&progress, "events", 0, number(&state, "head"));
    while (code == CLI_DONE && json_string_equals(json_get(state.root, "state"), "running")) {
        pause_ms(POLL_MS);
        state_deinit(&state);
        code = ask(client, "GET", &state);
        if (code == CLI_DONE)
            progress_set(&progress, number(&state, "examined"));
    }
    progress_end(&progress);
    return code == CLI_DONE ? end(&state) : code;
}

const struct cli_command cli_scavenge = {
    .name = "scavenge",
    .arguments = "",
    .help = "take away the bodies of events that are past their retention",
    .story = "Asks the server to do it, shows how far it is, and reports what went and what stays, and for whom.\n"
             "Rules are set with daybook retention. What is gone is gone: try it with --dry-run first.\n\n"
             "  daybook scavenge --dry-run",
    .options = scavenge_options,
    .argument_count_min = 0,
    .argument_count_max = 0,
    .run = run_scavenge,
};

/* ---- daybook compact ---- */

static int make_body(struct buffer *body, const char *tag, struct bytes data)
{
    struct json_writer w = json_writer(body);

    json_write_object_begin(&w);
    json_write_member_string(&w, "tag", tag);
    if (data.size > 0)
        json_write_member_raw(&w, "data", data);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static int run_compact(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(buffer_deinit) struct buffer data = {0};
    _cleanup_(buffer_deinit) struct buffer body = {0};
    struct client_answer answer;
    int code = argument_count > 1 ? cli_read_input(arguments[1], &data) : CLI_DONE;

    if (code == CLI_DONE)
        code = client_open(&client);
    if (code != CLI_DONE)
        return code;
    if (make_body(&body, arguments[0], buffer_bytes(&data)) < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (client_send(client,
                    &(struct client_request){.method = "POST",
                                             .path = "/v1/compact",
                                             .headers = {"Content-Type: application/json"},
                                             .body = buffer_bytes(&body),
                                             .repeatable = true,
                                             .patience_ms = PATIENCE_MS},
                    &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    if (answer.status / 100 != 2)
        code = client_print_problem(&answer);
    else if (cli_json)
        output_text(buffer_bytes(&answer.body));
    else
        printf("compacted at position %" PRIu64 "\n", answer.position);
    client_answer_deinit(&answer);
    return code;
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command cli_compact = {
    .name = "compact",
    .arguments = "TAG [JSON|@FILE|-]",
    .help = "keep the state of a tag in the journal, in place of the events before it",
    .story = "Deciders begin at that state from then on; the JSON is for views that have a section for $compacted.\n\n"
             "  daybook compact reservation:R-000017 '{\"status\":\"cancelled\"}'",
    .options = no_options,
    .argument_count_min = 1,
    .argument_count_max = 2,
    .run = run_compact,
};
