/* A problem document (RFC 9457), said to a person. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "client.h"
#include "output.h"

static void print_text(FILE *out, struct json_value value)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};

    if (json_type(value) == JSON_STRING && json_string(value, &text) == 0)
        fprintf(out, "%.*s", BYTES_PRINT(buffer_bytes(&text)));
    else
        fprintf(out, "%.*s", BYTES_PRINT(json_raw(value)));
}

/* Each member but those of the head, on a line of its own: what a rule or a check has to say. */
static void print_facts(struct json_value problem)
{
    static const char *const head[] = {"type", "title", "status", "detail", "instance", "code"};
    struct json_cursor at = json_walk(problem);

    while (json_next(&at)) {
        bool known = false;
        for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
            known = known || json_string_equals(at.key, head[i]);
        if (known)
            continue;
        fputs("  ", stderr);
        print_text(stderr, at.key);
        fputs(": ", stderr);
        print_text(stderr, at.value);
        fputc('\n', stderr);
    }
}

int client_print_problem(const struct client_answer *answer)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes body = buffer_bytes(&answer->body);
    int code = answer->status >= 400 && answer->status < 500 ? CLI_NO : CLI_FAILED;

    if (cli_json)
        output_text(body);
    if (json_parse(body, &doc, NULL) != 0 || json_type(json_root(&doc)) != JSON_OBJECT)
        return cli_error(code, "the server answered %ld: %.*s", answer->status,
                         (int)(body.size > 200 ? 200 : body.size), (const char *)body.data);
    struct json_value problem = json_root(&doc);
    _cleanup_(buffer_deinit) struct buffer title = {0};
    _cleanup_(buffer_deinit) struct buffer detail = {0};
    if (json_string(json_get(problem, "title"), &title) < 0 ||
        json_string(json_get(problem, "detail"), &detail) < 0)
        return cli_error(CLI_FAILED, "no memory");
    cli_error(code, "%.*s%s%.*s (%ld)", BYTES_PRINT(buffer_bytes(&title)), detail.size ? ": " : "",
              BYTES_PRINT(buffer_bytes(&detail)), answer->status);
    print_facts(problem);
    return code;
}
