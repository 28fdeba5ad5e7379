/* breaker: look into a region that lies in a file, and give orders.
 *
 *     breaker FILE [COMMAND [NAME] [TEXT]]
 *
 * One table of commands; each is one short function. The region's owners need not be there, and are not disturbed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "breaker.h"

struct tool {
    const char *file, *name, *text;
    const char *format; /* "", or one of formats[] */
    int fd;
    void *memory;
    size_t size;
    struct breaker_region region;
    uint64_t now;
};

struct command {
    const char *name, *arguments, *help;
    int (*run)(struct tool *tool);
    int needs_name, needs_text, makes_region;
};

static const char *const formats[] = {[BREAKER_JSON] = "json",
                                      [BREAKER_OPENMETRICS] = "openmetrics",
                                      [BREAKER_STREAM] = "stream",
                                      [BREAKER_PROMETHEUS] = "prometheus",
                                      NULL};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "breaker: %s: %s\n", what, why);
    return 1;
}

/* ---- looking ---- */

static const char *duration(uint64_t ns, char buffer[32])
{
    uint64_t ms = ns / 1000000;
    if (ms < 10000)
        snprintf(buffer, 32, "%llums", (unsigned long long)ms);
    else if (ms < 7200000)
        snprintf(buffer, 32, "%llus", (unsigned long long)(ms / 1000));
    else
        snprintf(buffer, 32, "%lluh", (unsigned long long)(ms / 3600000));
    return buffer;
}

static int print_export(struct tool *tool, enum breaker_format format)
{
    size_t size = 4096, length;
    for (;;) {
        char *buffer = malloc(size);
        if (!buffer)
            return complain(tool->file, strerror(ENOMEM));
        int answer = breaker_export(&tool->region, format, tool->now, (uint64_t)time(NULL) * 1000, buffer,
                                    size, &length);
        if (answer == 0)
            fwrite(buffer, 1, length, stdout);
        free(buffer);
        if (answer == 0)
            return 0;
        size = length + 4096;
    }
}

static void print_line(const struct breaker_snapshot *s, const struct breaker *breaker, uint64_t now)
{
    char since[32], retry[32];
    uint64_t left = breaker_retry_after(breaker, now);
    printf("%-32s %-13s %-13s %8s %6llu %6llu %6llu %5u %8s\n", s->name, breaker_state_name(s->state),
           s->epoch ? breaker_reason_name(s->reason) : "-",
           s->epoch ? duration(now > s->since_ns ? now - s->since_ns : 0, since) : "-",
           (unsigned long long)s->window_total, (unsigned long long)s->window_failures,
           (unsigned long long)(s->window_slow + s->window_hung), s->trips,
           left ? duration(left, retry) : "-");
}

static int run_list(struct tool *tool)
{
    struct breaker breaker;
    struct breaker_snapshot s;
    uint32_t cursor = 0;
    for (int i = 0; formats[i]; i++)
        if (strcmp(tool->format, formats[i]) == 0)
            return print_export(tool, (enum breaker_format)i);
    printf("%-32s %-13s %-13s %8s %6s %6s %6s %5s %8s\n", "NAME", "STATE", "REASON", "SINCE", "CALLS",
           "FAILED", "SLOW", "TRIPS", "RETRY IN");
    while (breaker_next(&tool->region, &cursor, &breaker) == 0)
        if (breaker_snapshot(&breaker, tool->now, &s) == 0)
            print_line(&s, &breaker, tool->now);
    return 0;
}

static int find(struct tool *tool, struct breaker *ret_breaker)
{
    int answer = breaker_find(&tool->region, tool->name, ret_breaker);
    return answer ? complain(tool->name, breaker_answer_text(answer)) : 0;
}

/* Milliseconds as a person reads them: 0.25, 7.5, 120. */
static const char *took(uint64_t ns, char buffer[32])
{
    double ms = (double)ns / 1e6;
    snprintf(buffer, 32, ms < 1 ? "%.2f" : ms < 100 ? "%.1f" : "%.0f", ms);
    return buffer;
}

static void print_latency(const struct tool *tool, const struct breaker *breaker)
{
    static const char *const names[BREAKER_LEVELS] = {
        [BREAKER_P50] = "p50", [BREAKER_P90] = "p90", [BREAKER_P95] = "p95", [BREAKER_P99] = "p99", [BREAKER_MOST] = "most"};
    struct breaker_latency latency;
    char text[32];
    if (breaker_latency(breaker, tool->now, &latency))
        return;
    printf("latency  %llu calls", (unsigned long long)latency.count);
    if (latency.count)
        printf(", mean %s", took(latency.mean_ns, text));
    for (size_t i = 0; latency.count && i < BREAKER_LEVELS; i++)
        if (names[i])
            printf(", %s %s", names[i], took(latency.level_ns[i], text));
    printf("%s\n", latency.count ? " ms" : "");
}

static int run_show(struct tool *tool)
{
    struct breaker breaker;
    struct breaker_snapshot s;
    char config[640];
    if (find(tool, &breaker))
        return 1;
    breaker_snapshot(&breaker, tool->now, &s);
    breaker_config_format(&s.config, config, sizeof(config));
    printf("name     %s\nstate    %s\nmachine  %s\nmode     %s\nreason   %s\nepoch    %u\ntrips    %u\nshare "
           "   %u%%\n",
           s.name, breaker_state_name(s.state), breaker_state_name(s.machine), breaker_mode_name(s.mode),
           breaker_reason_name(s.reason), s.epoch, s.trips, s.share);
    printf("window   %llu calls, %llu failures, %llu slow, %llu hung, %llu failures in a row\n",
           (unsigned long long)s.window_total, (unsigned long long)s.window_failures,
           (unsigned long long)s.window_slow, (unsigned long long)s.window_hung,
           (unsigned long long)s.consecutive);
    print_latency(tool, &breaker);
    printf("flight   %llu\nprobes   %u out, %u ok, %u failed\nconfig   %s\n", (unsigned long long)s.in_flight,
           s.probes_out, s.probes_ok, s.probes_failed, config);
    return 0;
}

static int run_events(struct tool *tool)
{
    struct breaker breaker;
    struct breaker_event events[BREAKER_EVENTS];
    char ago[32], open[32];
    if (find(tool, &breaker))
        return 1;
    uint32_t epoch = breaker_epoch(&breaker);
    size_t count =
        breaker_events(&breaker, epoch > BREAKER_EVENTS ? epoch - BREAKER_EVENTS : 0, events, BREAKER_EVENTS);
    for (size_t i = 0; i < count; i++) {
        const struct breaker_event *e = &events[i];
        printf("%u  %s ago  %s -> %s  %s  %u calls, %u failures, %u slow, %u hung, %u in a row", e->epoch,
               duration(tool->now > e->at_ns ? tool->now - e->at_ns : 0, ago), breaker_state_name(e->from),
               breaker_state_name(e->to), breaker_reason_name(e->reason), e->total, e->failures, e->slow,
               e->hung, e->consecutive);
        if (e->open_ns)
            printf("  for %s", duration(e->open_ns, open));
        putchar('\n');
    }
    return 0;
}

/* ---- orders ---- */

static int force(struct tool *tool, enum breaker_mode mode)
{
    struct breaker breaker;
    if (find(tool, &breaker))
        return 1;
    breaker_force(&breaker, mode, tool->now);
    printf("%s is %s\n", tool->name, breaker_state_name((int)breaker_state(&breaker)));
    return 0;
}

static int run_open(struct tool *tool)
{
    return force(tool, BREAKER_MODE_FORCED_OPEN);
}

static int run_close(struct tool *tool)
{
    return force(tool, BREAKER_MODE_FORCED_CLOSED);
}

static int run_auto(struct tool *tool)
{
    return force(tool, BREAKER_MODE_AUTO);
}

static int run_shadow(struct tool *tool)
{
    return force(tool, BREAKER_MODE_SHADOW);
}

static int run_reset(struct tool *tool)
{
    struct breaker breaker;
    if (find(tool, &breaker))
        return 1;
    breaker_reset(&breaker, tool->now);
    printf("%s is %s\n", tool->name, breaker_state_name((int)breaker_state(&breaker)));
    return 0;
}

/* Onto the configuration there is, or onto the defaults of a new breaker. */
static int run_set(struct tool *tool)
{
    struct breaker breaker;
    struct breaker_snapshot s;
    struct breaker_problem problem = {0};
    struct breaker_config config;
    breaker_config_init(&config);
    if (breaker_find(&tool->region, tool->name, &breaker) == 0 &&
        breaker_snapshot(&breaker, tool->now, &s) == 0)
        config = s.config;
    if (breaker.id)
        return complain(tool->name, "made by key: set its group");
    if (breaker_config_parse(&config, tool->text, &problem))
        return complain(tool->name, problem.message);
    int answer = breaker_get(&tool->region, tool->name, &config, tool->now, &breaker, &problem);
    if (answer)
        return complain(tool->name,
                        answer == BREAKER_E_CONFIG ? problem.message : breaker_answer_text(answer));
    if (problem.is_warning)
        complain("warning", problem.message);
    return 0;
}

static int run_sweep(struct tool *tool)
{
    printf("%d freed\n", breaker_region_sweep(&tool->region));
    return 0;
}

/* ---- the region's file ---- */

static int map_file(struct tool *tool, size_t size)
{
    struct stat info;
    if (size && ftruncate(tool->fd, (off_t)size) < 0)
        return complain(tool->file, strerror(errno));
    if (fstat(tool->fd, &info) < 0)
        return complain(tool->file, strerror(errno));
    tool->size = (size_t)info.st_size;
    if (tool->size == 0)
        return complain(tool->file, breaker_answer_text(BREAKER_E_EMPTY));
    tool->memory = mmap(NULL, tool->size, PROT_READ | PROT_WRITE, MAP_SHARED, tool->fd, 0);
    return tool->memory == MAP_FAILED ? complain(tool->file, strerror(errno)) : 0;
}

/* breakers=16 shards=8 slices=20 keys=16 */
static int options_parse(const char *text, struct breaker_region_options *ret_options)
{
    unsigned number;
    int used;
    while (*text) {
        if (sscanf(text, "breakers=%9u%n", &number, &used) == 1)
            ret_options->breakers = number;
        else if (sscanf(text, "shards=%9u%n", &number, &used) == 1)
            ret_options->shards = number;
        else if (sscanf(text, "slices=%9u%n", &number, &used) == 1)
            ret_options->slices = number;
        else if (sscanf(text, "keys=%9u%n", &number, &used) == 1)
            ret_options->keys = number;
        else
            return complain(text, "is not breakers=…, shards=…, slices=… or keys=…");
        text += used;
        text += strspn(text, " ");
    }
    return 0;
}

/* A new file only: a region that others use is never made anew under them. */
static int run_make(struct tool *tool)
{
    struct breaker_region_options options = {0};
    if (tool->name && options_parse(tool->name, &options))
        return 1;
    size_t size = breaker_region_size(&options);
    if (size == 0)
        return complain(tool->file, breaker_answer_text(BREAKER_E_OPTIONS));
    tool->fd = open(tool->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (tool->fd < 0)
        return complain(tool->file, strerror(errno));
    if (map_file(tool, size))
        return 1;
    int answer = breaker_region_init(tool->memory, tool->size, &options);
    return answer ? complain(tool->file, breaker_answer_text(answer)) : 0;
}

static int attach(struct tool *tool)
{
    tool->fd = open(tool->file, O_RDWR | O_CLOEXEC);
    if (tool->fd < 0)
        return complain(tool->file, strerror(errno));
    if (map_file(tool, 0))
        return 1;
    int answer = breaker_region_observe(&tool->region, tool->memory, tool->size, 0);
    return answer ? complain(tool->file, breaker_answer_text(answer)) : 0;
}

/* ---- the table ---- */

static const struct command commands[] = {
    {"list", "", "every breaker of the region (what FILE alone does)", run_list, 0, 0, 0},
    {"show", "NAME", "all numbers and the configuration of one", run_show, 1, 0, 0},
    {"events", "NAME", "its last 64 changes of state, with reason and numbers", run_events, 1, 0, 0},
    {"open", "NAME", "force it open: every call is refused", run_open, 1, 0, 0},
    {"close", "NAME", "force it closed: every call passes", run_close, 1, 0, 0},
    {"shadow", "NAME", "let every call pass and count what would be refused", run_shadow, 1, 0, 0},
    {"auto", "NAME", "let it decide by itself again", run_auto, 1, 0, 0},
    {"reset", "NAME", "closed, with nothing remembered", run_reset, 1, 0, 0},
    {"set", "NAME \"open=5s …\"", "change its configuration while it is in use, or make it", run_set, 1, 1,
     0},
    {"sweep", "", "give back what dead processes held", run_sweep, 0, 0, 0},
    {"make", "[\"breakers=16 shards=8 slices=20 keys=16\"]", "make a region in a new file", run_make, 0, 0, 1},
};

static int help(void)
{
    puts("usage: breaker FILE [COMMAND [NAME] [TEXT]] [--json | --openmetrics | --prometheus | --stream]\n"
         "\nLook into a region of breakers that lies in a file, and give orders.\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        printf("  %-6s %-34s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    puts("\n  --json          list as JSON\n  --openmetrics   list as OpenMetrics text\n"
         "  --prometheus    list in Prometheus's text format\n"
         "  --stream        once the events of hystrix.stream\n  --help          this\n"
         "  --version       the library's version\n\nExit: 0 done, 1 not, 2 wrong usage.");
    return 0;
}

static int usage(const char *what, const char *why)
{
    fprintf(stderr, "breaker: %s: %s; see breaker --help\n", what, why);
    return 2;
}

static int run(struct tool *tool, const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command *command = &commands[i];
        if (strcmp(command->name, name) != 0)
            continue;
        if (command->needs_name && !tool->name)
            return usage(name, "which breaker?");
        if (command->needs_text && !tool->text)
            return usage(name, "what is to be set?");
        if (!command->makes_region && attach(tool))
            return 1;
        return command->run(tool);
    }
    return usage(name, "no such command");
}

static bool is_format(const char *word)
{
    for (int i = 0; formats[i]; i++)
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, formats[i]) == 0)
            return true;
    return false;
}

static int dispatch(int count, char **arguments)
{
    struct tool tool = {.format = "", .now = breaker_clock()};
    const char *words[4] = {NULL};
    size_t used = 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0)
            return help();
        if (strcmp(arguments[i], "--version") == 0)
            return printf("breaker %s\n", breaker_version()) < 0;
        if (is_format(arguments[i]))
            tool.format = arguments[i] + 2;
        else if (arguments[i][0] == '-')
            return usage(arguments[i], "no such option");
        else if (used == 4)
            return usage(arguments[i], "one word too many");
        else
            words[used++] = arguments[i];
    }
    if (used == 0)
        return usage("usage", "which FILE?");
    tool.file = words[0];
    tool.name = words[2];
    tool.text = words[3];
    return run(&tool, words[1] ? words[1] : "list");
}

int main(int count, char **arguments)
{
    int code = dispatch(count, arguments);
    int reason = ferror(stdout) ? EIO : 0;

    if (fclose(stdout) != 0)
        reason = errno;
    return reason == 0 ? code : complain("the output is lost, or not whole", strerror(reason));
}
