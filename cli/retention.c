/* daybook retention: how long events are kept, stream by stream. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"

static bool prefix;
static uint64_t max_age, max_count, truncate_before;

static const struct cli_option retention_options[] = {
    {"--prefix", NULL, "STREAM is what the names of streams begin with; \"\" is for every event", CLI_FLAG, &prefix,
     0, 0},
    {"--max-age", "SECONDS", "set: events older than this go", CLI_NUMBER, &max_age, 1, 100000000000},
    {"--max-count", "N", "set: of a stream's events the last N stay", CLI_NUMBER, &max_count, 1, INT64_MAX},
    {"--truncate-before", "VERSION", "set: events below this version go", CLI_NUMBER, &truncate_before, 1,
     INT64_MAX},
    {0},
};

static int make_path(struct buffer *path, const char *stream)
{
    int r = buffer_append_string(path, prefix ? "/v1/retention?prefix=" : "/v1/streams/");

    if (r == 0)
        r = client_escape(path, stream);
    if (r == 0 && !prefix)
        r = buffer_append_string(path, "/retention");
    return r;
}

static int make_rule(struct buffer *body)
{
    struct json_writer w = json_writer(body);

    json_write_object_begin(&w);
    if (max_age)
        json_write_member_u64(&w, "max_age_s", max_age);
    if (max_count)
        json_write_member_u64(&w, "max_count", max_count);
    if (truncate_before)
        json_write_member_u64(&w, "truncate_before", truncate_before);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void print_number(struct json_value rule, const char *name, const char *text)
{
    uint64_t number;

    if (json_u64(json_get(rule, name), &number) == 0)
        printf("  %s %" PRIu64, text, number);
}

/* {"rule":{…},"position":…,"time":…} as a line. */
static void print_rule(struct json_value item)
{
    struct json_value rule = json_get(item, "rule");
    bool of_prefix = json_exists(json_get(rule, "prefix"));
    _cleanup_(buffer_deinit) struct buffer name = {0};

    if (json_string(json_get(rule, of_prefix ? "prefix" : "stream"), &name) != 0)
        return;
    printf("%.*s%s", BYTES_PRINT(buffer_bytes(&name)), of_prefix ? "…" : "");
    print_number(rule, "max_age_s", "max age (s)");
    print_number(rule, "max_count", "max count");
    print_number(rule, "truncate_before", "truncate before");
    putchar('\n');
}

static int print_answer(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes body = buffer_bytes(&answer->body);
    struct json_value root, rules;

    if (answer->status == 204)
        return CLI_DONE;
    if (cli_json) {
        output_text(body);
        return CLI_DONE;
    }
    if (json_parse(body, &doc, NULL) != 0)
        return cli_error(CLI_FAILED, "the server's answer is no JSON");
    root = json_root(&doc);
    rules = json_get(root, "rules");
    for (struct json_cursor at = json_walk(rules); json_next(&at);)
        print_rule(at.value);
    if (!json_exists(rules))
        print_rule(root);
    return CLI_DONE;
}

static int send(const struct client_request *request)
{
    _cleanup_(client_freep) struct client *client = NULL;
    struct client_answer answer;
    int code = client_open(&client);

    if (code != CLI_DONE)
        return code;
    if (client_send(client, request, &answer) < 0)
        return cli_error(CLI_FAILED, "%s", client_error(client));
    code = answer.status / 100 == 2 ? print_answer(&answer) : client_print_problem(&answer);
    client_answer_deinit(&answer);
    return code;
}

static int send_for(const char *method, const char *stream)
{
    _cleanup_(buffer_deinit) struct buffer path = {0};
    _cleanup_(buffer_deinit) struct buffer body = {0};
    bool set = strcmp(method, "PUT") == 0;

    if (make_path(&path, stream) < 0 || (set && make_rule(&body) < 0))
        return cli_error(CLI_FAILED, "no memory");
    return send(&(struct client_request){.method = method,
                                         .path = buffer_string(&path),
                                         .headers = {set ? "Content-Type: application/json" : NULL},
                                         .body = buffer_bytes(&body),
                                         .repeatable = true});
}

static const struct verb {
    const char *name, *method;
    bool stream;
} verbs[] = {{"list", "GET", false}, {"show", "GET", true}, {"set", "PUT", true}, {"remove", "DELETE", true}};

static int run_retention(int argument_count, char **arguments)
{
    const char *name = argument_count > 0 ? arguments[0] : "list";
    const struct verb *verb = NULL;

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            verb = &verbs[i];
    if (!verb)
        return cli_error(CLI_USAGE, "\"%s\" is not list, show, set or remove", name);
    if (verb->stream != (argument_count > 1))
        return cli_error(CLI_USAGE, verb->stream ? "%s needs a STREAM" : "%s takes no STREAM", name);
    if (!verb->stream)
        return send(&(struct client_request){.method = "GET", .path = "/v1/retention", .repeatable = true});
    if (strcmp(verb->name, "set") == 0 && !max_age && !max_count && !truncate_before)
        return cli_error(CLI_USAGE, "set needs --max-age, --max-count or --truncate-before");
    if (strcmp(verb->name, "show") == 0 && prefix)
        return cli_error(CLI_USAGE, "list shows the rules of prefixes");
    return send_for(verb->method, arguments[1]);
}

const struct cli_command cli_retention = {
    .name = "retention",
    .arguments = "[list | show STREAM | set STREAM | remove STREAM]",
    .help = "say how long events are kept",
    .story = "What is past its rule is taken away by daybook scavenge, unless a view or a decider handles it.\n\n"
             "  daybook retention set audit --max-age 2592000\n"
             "  daybook retention set sensor- --prefix --max-count 1000\n"
             "  daybook retention list",
    .options = retention_options,
    .argument_count_min = 0,
    .argument_count_max = 2,
    .run = run_retention,
};
