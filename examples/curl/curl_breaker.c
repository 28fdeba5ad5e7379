/* curl_breaker: a URL through a circuit breaker, again and again. See README.md. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fetch.h"

struct program {
    struct fetch fetch; /* first: the fallback gets the same context as the call */
    const char *rules, *region_file, *fallback_file;
    unsigned long count, interval_ms, timeout_ms, attempts;
    void *memory;
    size_t size;
    struct breaker_region region;
    struct breaker breaker;
    struct breaker_retry retry;
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "curl_breaker: %s: %s\n", what, why);
    return 1;
}

/* ---- the region: our own memory, or a file that others use too ---- */

static int map(struct program *program, int fd)
{
    program->memory = mmap(NULL, program->size, PROT_READ | PROT_WRITE,
                           fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    return program->memory == MAP_FAILED ? complain("region", strerror(errno)) : 0;
}

/* A region appears under its name only when it is whole: made in a file without one, then linked. Who comes second
 * finds it there. */
static int make_file(const char *path)
{
    char name[64];
    size_t size = breaker_region_size(NULL);
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return complain(path, strerror(errno));
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return complain(path, strerror(errno));
    breaker_region_init(memory, size, NULL);
    munmap(memory, size);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    int status = linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST;
    if (status)
        complain(path, strerror(errno));
    close(fd);
    return status;
}

static int map_file(struct program *program)
{
    struct stat info;
    const char *path = program->region_file;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make_file(path) == 0)
        fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0)
        return complain(path, strerror(errno));
    program->size = (size_t)info.st_size;
    int status = program->size ? map(program, fd) : complain(path, "is empty");
    close(fd);
    return status;
}

/* A region that cannot be trusted is told, and calls pass unguarded: the program does its work all the same. */
static int open_breaker(struct program *program)
{
    struct breaker_config config;
    struct breaker_problem problem = {0};
    program->size = breaker_region_size(NULL);
    if (program->region_file ? map_file(program) : map(program, -1))
        return 1;
    if (!program->region_file)
        breaker_region_init(program->memory, program->size, NULL);
    int answer = breaker_region_attach(&program->region, program->memory, program->size, 1, 0);
    if (answer)
        complain("unguarded", breaker_answer_text(answer));
    breaker_config_init(&config);
    if (breaker_config_parse(&config, program->rules, &problem))
        return complain("--rules", problem.message);
    answer = breaker_get(&program->region, "curl", &config, breaker_clock(), &program->breaker, &problem);
    if (answer == BREAKER_E_CONFIG)
        return complain("--rules", problem.message);
    return 0;
}

/* ---- one request ---- */

static int serve_file(void *context, int why)
{
    struct program *program = context;
    (void)why;
    FILE *file = program->fallback_file ? fopen(program->fallback_file, "rb") : NULL;
    if (!file)
        return 1;
    program->fetch.size = 0;
    free(program->fetch.body);
    program->fetch.body = malloc(FETCH_SIZE_MAX);
    if (program->fetch.body)
        program->fetch.size = fread(program->fetch.body, 1, FETCH_SIZE_MAX, file);
    fclose(file);
    return program->fetch.body ? 0 : 1;
}

static int request(struct program *program, unsigned long number)
{
    const struct breaker_fallback chain[] = {{"file", serve_file, NULL}};
    struct breaker_policy policy = {.fallbacks = chain,
                                    .fallback_count = 1,
                                    .limit_ns = program->timeout_ms * UINT64_C(3000000),
                                    .retry = &program->retry,
                                    .breaker = &program->breaker,
                                    .attempt_limit_ns = program->timeout_ms * UINT64_C(1000000)};
    struct breaker_run run;
    int answer = breaker_run(&policy, fetch_call, program, &run);
    printf("%lu %s", number, answer ? "failed" : run.fallback ? "fallback" : "ok");
    if (run.why)
        printf(" why=%s", breaker_answer_name(run.why));
    else
        printf(" status=%ld bytes=%zu", program->fetch.status, program->fetch.size);
    printf(" attempts=%u state=%s", run.attempts, breaker_state_name((int)breaker_state(&program->breaker)));
    if (run.retry_after_ns)
        printf(" retry_after=%u", breaker_retry_after_seconds(&program->breaker, breaker_clock()));
    putchar('\n');
    fflush(stdout);
    return answer;
}

/* ---- the command line ---- */

static int usage(void)
{
    fputs("usage: curl_breaker [--count N] [--interval MS] [--timeout MS] [--attempts N] [--rules TEXT]\n"
          "                    [--region FILE] [--fallback FILE] URL\n",
          stderr);
    return 2;
}

static int number_parse(const char *text, unsigned long *ret_number)
{
    char *end;
    errno = 0;
    *ret_number = strtoul(text, &end, 10);
    return errno || *end || end == text || *ret_number > 1000000 ? -1 : 0;
}

static int options_parse(struct program *program, int count, char **arguments)
{
    static const struct option options[] = {
        {"count", required_argument, NULL, 'c'},    {"interval", required_argument, NULL, 'i'},
        {"timeout", required_argument, NULL, 't'},  {"attempts", required_argument, NULL, 'a'},
        {"rules", required_argument, NULL, 'r'},    {"region", required_argument, NULL, 'm'},
        {"fallback", required_argument, NULL, 'f'}, {0}};
    int option, wrong = 0;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1)
        switch (option) {
        case 'c': wrong |= number_parse(optarg, &program->count); break;
        case 'i': wrong |= number_parse(optarg, &program->interval_ms); break;
        case 't': wrong |= number_parse(optarg, &program->timeout_ms); break;
        case 'a': wrong |= number_parse(optarg, &program->attempts); break;
        case 'r': program->rules = optarg; break;
        case 'm': program->region_file = optarg; break;
        case 'f': program->fallback_file = optarg; break;
        default: return usage();
        }
    if (wrong || optind + 1 != count || program->attempts < 1)
        return usage();
    program->fetch.url = arguments[optind];
    return 0;
}

int main(int count, char **arguments)
{
    static struct program program = {.rules = "", .count = 1, .timeout_ms = 2000, .attempts = 3};
    int status = options_parse(&program, count, arguments);
    if (status)
        return status;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    program.fetch.curl = curl_easy_init();
    if (!program.fetch.curl || open_breaker(&program) ||
        breaker_retry_init(&program.retry, (uint32_t)program.attempts, 10000000, 1000000000, 20, 1,
                           breaker_clock()))
        return 1;
    struct timespec pause = {(time_t)(program.interval_ms / 1000),
                             (long)(program.interval_ms % 1000) * 1000000};
    for (unsigned long number = 1; number <= program.count; number++) {
        status |= request(&program, number) != 0;
        if (number < program.count && program.interval_ms)
            nanosleep(&pause, NULL);
    }
    breaker_region_detach(&program.region);
    munmap(program.memory, program.size);
    curl_easy_cleanup(program.fetch.curl);
    free(program.fetch.body);
    curl_global_cleanup();
    return status;
}
