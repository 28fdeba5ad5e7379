/* daybook erase: have the server destroy the key of a person's data, and say what was done and what it cannot reach. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"

enum { PATIENCE_MS = 10000, SUBJECT_SIZE_MAX = 256 };

static bool yes;

static const struct cli_option erase_options[] = {
    {"--yes", NULL, "do not ask", CLI_FLAG, &yes, 0, 0},
    {0},
};

/* The subject once more, as it was given: nothing brings the data back. */
static bool confirmed(const char *subject)
{
    char line[SUBJECT_SIZE_MAX + 2];

    fprintf(stderr, "The data of \"%s\" will be gone for ever. Type the name to go on: ", subject);
    if (!fgets(line, sizeof(line), stdin))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return strcmp(line, subject) == 0;
}

static uint64_t number(struct json_value value, const char *name)
{
    uint64_t result = 0;

    return json_u64(json_get(value, name), &result) == 0 ? result : 0;
}

static void print_text(const char *before, struct json_value text)
{
    _cleanup_(buffer_deinit) struct buffer plain = {0};

    if (json_string(text, &plain) == 0)
        printf("%s%.*s", before, BYTES_PRINT(buffer_bytes(&plain)));
}

static void print_followers(struct json_value followers)
{
    bool sent;

    printf("Followers connected now: %" PRIu64 "\n", number(followers, "connected"));
    for (struct json_cursor at = json_walk(json_get(followers, "list")); json_next(&at);) {
        if (json_bool(json_get(at.value, "fence_sent"), &sent) != 0)
            sent = false;
        print_text("  ", json_get(at.value, "address"));
        printf(": sent up to %" PRIu64 ", %s\n", number(at.value, "sent"),
               sent ? "so told to erase" : "not yet told to erase");
    }
}

static void print_report(struct json_value report)
{
    bool complete;

    if (json_bool(json_get(report, "complete"), &complete) != 0)
        complete = false;

    printf("Erased at position %" PRIu64 ": %" PRIu64 " events, %zu keys.%s\n", number(report, "position"),
           number(report, "events"), json_count(json_get(report, "keys")),
           complete ? "" : " Views are still being rebuilt: ask again.");
    for (struct json_cursor at = json_walk(json_get(report, "views")); json_next(&at);) {
        print_text("  view ", json_get(at.value, "name"));
        print_text(": ", json_get(at.value, "state"));
        putchar('\n');
    }
    print_followers(json_get(report, "followers"));
    puts("Not reached:");
    for (struct json_cursor at = json_walk(json_get(report, "not_reached")); json_next(&at);) {
        print_text("  ", at.value);
        putchar('\n');
    }
}

static int print_answer(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};

    if (answer->status / 100 != 2)
        return client_print_problem(answer);
    if (cli_json) {
        output_text(buffer_bytes(&answer->body));
        return CLI_DONE;
    }
    if (json_parse(buffer_bytes(&answer->body), &doc, NULL) != 0)
        return cli_error(CLI_FAILED, "the server's answer is no JSON");
    print_report(json_root(&doc));
    return CLI_DONE;
}

static int run_erase(int argument_count, char **arguments)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_(buffer_deinit) struct buffer path = {0};
    struct client_answer answer;

    if (!yes && !isatty(STDIN_FILENO))
        return cli_error(CLI_USAGE, "nobody is there to confirm it: give --yes");
    if (!yes && !confirmed(arguments[0]))
        return cli_error(CLI_NO, "not confirmed, nothing was done");
    if (buffer_append_string(&path, "/v1/subjects/") < 0 || client_escape(&path, arguments[0]) < 0 ||
        !buffer_string(&path))
        return cli_error(CLI_FAILED, "no memory");
    int code = client_open(&client);
    if (code != CLI_DONE)
        return code;
    struct client_request request = {
        .method = "DELETE", .path = buffer_string(&path), .repeatable = true, .patience_ms = PATIENCE_MS};
    if (client_send(client, &request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    code = print_answer(&answer);
    client_answer_deinit(&answer);
    return code;
}

const struct cli_command cli_erase = {
    .name = "erase",
    .arguments = "SUBJECT",
    .help = "erase a person's data for good",
    .story = "Destroys the key that the data of events about SUBJECT was sealed with, has every view that read them\n"
             "rebuilt, and says what was done and what it cannot reach. Asked again, it says the same again.\n"
             "docs/erasure.md tells what can be erased, and what must never be put where it cannot.\n\n"
             "  daybook erase guest-17",
    .options = erase_options,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = run_erase,
};
