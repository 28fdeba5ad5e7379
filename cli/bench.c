/* daybook bench: how fast is the server there? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "load.h"
#include "progress.h"

enum { EVENT_SIZE_MAX = 65536 };

static uint64_t client_count = 64, seconds = 5, warmup_s = 1, size = 256, event_count = 1, rate;
static bool with_condition;

static const struct cli_option options[] = {
    {"--clients", "N", "clients at once, each waits for its answer (64)", CLI_NUMBER, &client_count, 1,
     LOAD_CLIENT_COUNT_MAX},
    {"--seconds", "N", "how long to measure (5)", CLI_NUMBER, &seconds, 1, 3600},
    {"--warmup", "N", "seconds before that (1)", CLI_NUMBER, &warmup_s, 0, 600},
    {"--rate", "N", "requests a second, due on a timetable (0: as fast as it goes)", CLI_NUMBER, &rate, 0,
     10000000},
    {"--size", "BYTES", "append: bytes of an event's data (256)", CLI_NUMBER, &size, 2, EVENT_SIZE_MAX},
    {"--events", "N", "append: events of an append (1)", CLI_NUMBER, &event_count, 1, 1000},
    {"--condition", NULL, "append: each with a fresh append condition on a tag", CLI_FLAG, &with_condition, 0,
     0},
    {0},
};

enum { INDEX_DIGIT_COUNT = 16 };

/* Every request of a run is the same text but for the number in its tags, written with as many digits each time. */
struct plan {
    const char *path; /* NULL: appends */
    const char *host;
    char run[24]; /* makes the tags of this run its own */
    struct buffer text;
    size_t *places; /* of the numbers in `text` */
    size_t place_count;
};

/* `"bench:RUN-NUMBER"`, the number's place to be noted. */
static int add_tag(struct plan *plan, struct buffer *body)
{
    int r = buffer_printf(body, "\"bench:%s-", plan->run);

    plan->places[plan->place_count++] = body->size;
    return error_first(r, buffer_printf(body, "%0*d\"", INDEX_DIGIT_COUNT, 0));
}

static int add_event(struct plan *plan, struct buffer *body, bool first)
{
    int r = buffer_printf(body, "%s{\"type\":\"Measured\",\"tags\":[", first ? "" : ",");

    r = error_first(r, add_tag(plan, body));
    r = error_first(r, buffer_append_string(body, "],\"data\":\""));
    for (uint64_t i = 2; r == 0 && i < size; i++)
        r = buffer_append_byte(body, 'x');
    return error_first(r, buffer_append_string(body, "\"}"));
}

static int make_body(struct plan *plan, struct buffer *body)
{
    int r = buffer_append_string(body, "{\"events\":[");

    for (uint64_t i = 0; r == 0 && i < event_count; i++)
        r = add_event(plan, body, i == 0);
    if (!with_condition)
        return error_first(r, buffer_append_string(body, "]}"));
    r = error_first(
        r, buffer_append_string(body, "],\"condition\":{\"failIfEventsMatch\":{\"items\":[{\"tags\":["));
    r = error_first(r, add_tag(plan, body));
    return error_first(r, buffer_append_string(body, "]}]}}}"));
}

static int make_append(struct plan *plan)
{
    _cleanup_(buffer_deinit) struct buffer body = {0};
    int r;

    plan->places = calloc(event_count + 1, sizeof *plan->places);
    if (!plan->places)
        return -ENOMEM;
    r = make_body(plan, &body);
    r = error_first(r, buffer_printf(&plan->text,
                                     "POST /v1/append HTTP/1.1\r\nHost: %s\r\n"
                                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                     plan->host, body.size));
    for (size_t i = 0; i < plan->place_count; i++)
        plan->places[i] += plan->text.size;
    return error_first(r, buffer_append_bytes(&plan->text, buffer_bytes(&body)));
}

static int make_plan(struct plan *plan, const char *what)
{
    snprintf(plan->run, sizeof plan->run, "%ld", (long)getpid());
    plan->host = strstr(cli_url, "//") ? strstr(cli_url, "//") + 2 : "localhost";
    plan->path = what[0] == '/' ? what : NULL;
    if (!plan->path)
        return make_append(plan);
    return buffer_printf(&plan->text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", plan->path, plan->host);
}

static void put_number(uint8_t *digits, uint64_t number)
{
    for (size_t i = INDEX_DIGIT_COUNT; i-- > 0; number /= 10)
        digits[i] = (uint8_t)('0' + number % 10);
}

static int make_request(void *user, uint64_t index, struct buffer *out)
{
    struct plan *plan = user;
    int r = buffer_append_bytes(out, buffer_bytes(&plan->text));

    for (size_t i = 0; r == 0 && i < plan->place_count; i++)
        put_number(out->data + plan->places[i], index);
    return r;
}

static void print_result(const char *what, const struct load_result *result)
{
    double per_second = (double)result->requests * 1e9 / (double)result->elapsed_ns;
    char number[32];

    if (cli_json) {
        printf("{\"what\":\"%s\",\"clients\":%" PRIu64 ",\"seconds\":%" PRIu64 ",\"requests\":%" PRIu64
               ",\"refused\":%" PRIu64
               ",\"missed\":%" PRIu64
               ",\"per_second\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"stall_us\":%.1f}\n",
               what, client_count, seconds, result->requests, result->refused, result->missed, per_second,
               load_percentile_us(result, 500), load_percentile_us(result, 990),
               load_percentile_us(result, 999), (double)result->stall_ns / 1000);
        return;
    }
    printf("%s, %" PRIu64 " clients, %" PRIu64 " s: %s requests/s", what, client_count, seconds,
           progress_number((uint64_t)per_second, number));
    printf("   p50 %.2f ms  p99 %.2f ms  p99.9 %.2f ms", load_percentile_us(result, 500) / 1000,
           load_percentile_us(result, 990) / 1000, load_percentile_us(result, 999) / 1000);
    if (result->refused)
        printf("   %" PRIu64 " refused", result->refused);
    if (result->missed)
        printf("   %" PRIu64 " were due and not asked", result->missed);
    printf("\n");
}

static int measure(const char *what, struct plan *plan, struct load_result *result)
{
    struct load_options load = {.url = cli_url,
                                .client_count = (unsigned)client_count,
                                .duration_ms = seconds * 1000,
                                .warmup_ms = warmup_s * 1000,
                                .rate = rate,
                                .request = make_request,
                                .user = plan};

    if (make_plan(plan, what) < 0)
        return cli_error(CLI_FAILED, "no memory");
    if (load_run(&load, result) < 0)
        return cli_error(CLI_FAILED, "%s", result->error);
    print_result(what, result);
    if (result->requests == 0)
        return cli_error(CLI_NO, "no request was answered with success");
    return CLI_DONE;
}

static int run(int argument_count, char **arguments)
{
    const char *what = argument_count > 0 ? arguments[0] : "append";
    struct plan plan = {0};
    struct load_result *result;

    if (what[0] != '/' && strcmp(what, "append") != 0)
        return cli_error(CLI_USAGE, "\"%s\" is neither append nor a path such as /v1/views/NAME", what);
    result = calloc(1, sizeof *result);
    if (!result)
        return cli_error(CLI_FAILED, "no memory");
    int code = measure(what, &plan, result);
    buffer_deinit(&plan.text);
    free(plan.places);
    free(result);
    return code;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .arguments = "[append|/PATH]",
    .help = "measure a server: appends, or GETs of a path",
    .story = "Appends add events of type Measured: use a data folder of its own.\n\n"
             "  daybook bench append --clients 256\n"
             "  daybook bench append --rate 10000\n"
             "  daybook bench '/v1/views/availability?limit=10' --clients 64",
    .options = options,
    .argument_count_max = 1,
    .run = run,
};
