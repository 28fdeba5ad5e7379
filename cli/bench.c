/* daybook bench: how fast is the server there? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli.h"
#include "load.h"
#include "progress.h"

enum { EVENT_SIZE_MAX = 65536 };

static uint64_t client_count = 64, seconds = 5, warmup_s = 1, size = 256, event_count = 1;
static bool with_condition;

static const struct cli_option options[] = {
    {"--clients", "N", "clients at once, each waits for its answer (64)", CLI_NUMBER, &client_count, 1,
     LOAD_CLIENT_COUNT_MAX},
    {"--seconds", "N", "how long to measure (5)", CLI_NUMBER, &seconds, 1, 3600},
    {"--warmup", "N", "seconds before that (1)", CLI_NUMBER, &warmup_s, 0, 600},
    {"--size", "BYTES", "append: bytes of an event's data (256)", CLI_NUMBER, &size, 2, EVENT_SIZE_MAX},
    {"--events", "N", "append: events of an append (1)", CLI_NUMBER, &event_count, 1, 1000},
    {"--condition", NULL, "append: each with a fresh append condition on a tag", CLI_FLAG, &with_condition, 0,
     0},
    {0},
};

struct plan {
    const char *path; /* NULL: appends */
    const char *host;
    char run[24]; /* makes the tags of this run its own */
    char filler[EVENT_SIZE_MAX + 1];
    struct buffer body;
};

static int add_event(struct plan *plan, uint64_t index)
{
    return buffer_printf(&plan->body,
                         "%s{\"type\":\"Measured\",\"tags\":[\"bench:%s-%" PRIu64 "\"],\"data\":\"%s\"}",
                         plan->body.size > 11 ? "," : "", plan->run, index, plan->filler);
}

static int make_append(struct plan *plan, uint64_t index, struct buffer *out)
{
    buffer_clear(&plan->body);
    int r = buffer_append_string(&plan->body, "{\"events\":[");
    for (uint64_t i = 0; r == 0 && i < event_count; i++)
        r = add_event(plan, index);
    if (r == 0 && with_condition)
        r = buffer_printf(&plan->body,
                          "],\"condition\":{\"failIfEventsMatch\":{\"items\":[{\"tags\":[\"bench:%s-%" PRIu64
                          "\"]}]}}}",
                          plan->run, index);
    else if (r == 0)
        r = buffer_append_string(&plan->body, "]}");
    if (r == 0)
        r = buffer_printf(out,
                          "POST /v1/append HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          plan->host, plan->body.size);
    return r < 0 ? r : buffer_append_bytes(out, buffer_bytes(&plan->body));
}

static int make_request(void *user, uint64_t index, struct buffer *out)
{
    struct plan *plan = user;

    if (plan->path)
        return buffer_printf(out, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", plan->path, plan->host);
    return make_append(plan, index, out);
}

static void print_result(const char *what, const struct load_result *result)
{
    double rate = (double)result->requests * 1e9 / (double)result->elapsed_ns;
    char number[32];

    if (cli_json) {
        printf("{\"what\":\"%s\",\"clients\":%" PRIu64 ",\"seconds\":%" PRIu64 ",\"requests\":%" PRIu64
               ",\"refused\":%" PRIu64
               ",\"per_second\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}\n",
               what, client_count, seconds, result->requests, result->refused, rate,
               load_percentile_us(result, 500), load_percentile_us(result, 990),
               load_percentile_us(result, 999));
        return;
    }
    printf("%s, %" PRIu64 " clients, %" PRIu64 " s: %s requests/s", what, client_count, seconds,
           progress_number((uint64_t)rate, number));
    printf("   p50 %.2f ms  p99 %.2f ms  p99.9 %.2f ms", load_percentile_us(result, 500) / 1000,
           load_percentile_us(result, 990) / 1000, load_percentile_us(result, 999) / 1000);
    if (result->refused)
        printf("   %" PRIu64 " refused", result->refused);
    printf("\n");
}

static int run(int argument_count, char **arguments)
{
    const char *what = argument_count > 0 ? arguments[0] : "append";
    struct plan *plan = calloc(1, sizeof *plan);
    struct load_result *result = calloc(1, sizeof *result);
    int code = CLI_DONE;

    if (!plan || !result) {
        free(plan);
        free(result);
        return cli_error(CLI_FAILED, "no memory");
    }
    memset(plan->filler, 'x', size - 2);
    snprintf(plan->run, sizeof plan->run, "%ld", (long)getpid());
    plan->host = strstr(cli_url, "//") ? strstr(cli_url, "//") + 2 : cli_url;
    plan->path = what[0] == '/' ? what : NULL;
    struct load_options load = {.url = cli_url,
                                .client_count = (unsigned)client_count,
                                .duration_ms = seconds * 1000,
                                .warmup_ms = warmup_s * 1000,
                                .request = make_request,
                                .user = plan};
    if (!plan->path && strcmp(what, "append") != 0)
        code = cli_error(CLI_USAGE, "\"%s\" is neither append nor a path such as /v1/views/NAME", what);
    else if (load_run(&load, result) < 0)
        code = cli_error(CLI_FAILED, "%s", result->error);
    else
        print_result(what, result);
    if (code == CLI_DONE && result->requests == 0)
        code = cli_error(CLI_NO, "no request was answered with success");
    buffer_deinit(&plan->body);
    free(plan);
    free(result);
    return code;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .arguments = "[append|/PATH]",
    .help = "measure a server: appends, or GETs of a path",
    .story = "Appends add events of type Measured: use a data folder of its own.\n\n"
             "  daybook bench append --clients 256\n"
             "  daybook bench '/v1/views/availability?limit=10' --clients 64",
    .options = options,
    .argument_count_max = 1,
    .run = run,
};
