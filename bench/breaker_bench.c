/* What a call through the breaker costs, in ns, beside a breaker of the same rules behind one pthread mutex.
 *
 *     breaker_bench [--ms N] [--only WORD]
 *
 * Prints one JSON object a line: {"what", "callers", "kind": "thread"|"process", "ours_ns", "mutex_ns", "ours_wall_ns",
 * "mutex_wall_ns"}. Ours and the peer take turns of N ms (200), five each; the median counts. The clock is left out: time is
 * an argument, and each call takes 40 ns of it. The first two are the callers' CPU time a call, which other load on the
 * machine does not blur, and which does not charge a caller that sleeps on the mutex; the last two are time on the wall
 * times the cores in use, which do.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "breaker.h"

#define ROUNDS   5
#define CALLERS  8
#define BATCH    1000
#define CALL_NS  40
#define SLICES   20
#define SLICE_NS UINT64_C(500000000)
#define START_NS UINT64_C(10000000000000)
#define RULES                                                                                                \
    "window=10s slices=20 min_calls=20 failure_rate=100% consecutive=off open=1h open_max=1h jitter=0% "

/* ---- the peer: the same window, the same rules, one lock ---- */

struct mutex_breaker {
    pthread_mutex_t lock;
    int state;
    uint64_t retry_at, total[SLICES], failures[SLICES], slice[SLICES];
    uint64_t started[SLICES], in_flight;
    uint32_t streak;
    bool counts_hung, counts_places;
};

static void mutex_init(struct mutex_breaker *b, int state)
{
    pthread_mutexattr_t shared;
    memset(b, 0, sizeof(*b));
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&b->lock, &shared);
    b->state = state;
    b->retry_at = UINT64_MAX;
}

static uint64_t mutex_slice(struct mutex_breaker *b, uint64_t now)
{
    uint64_t slice = now / SLICE_NS, at = slice % SLICES;
    if (b->slice[at] != slice) {
        b->slice[at] = slice;
        b->total[at] = b->failures[at] = b->started[at] = 0;
    }
    return at;
}

static bool mutex_acquire(struct mutex_breaker *b, uint64_t now)
{
    pthread_mutex_lock(&b->lock);
    if (b->state == BREAKER_OPEN && now >= b->retry_at)
        b->state = BREAKER_HALF_OPEN;
    bool is_granted = b->state == BREAKER_CLOSED && (!b->counts_places || b->in_flight < 1000);
    if (is_granted && b->counts_places)
        b->in_flight++;
    if (is_granted && b->counts_hung)
        b->started[mutex_slice(b, now)]++;
    pthread_mutex_unlock(&b->lock);
    return is_granted;
}

static void mutex_judge(struct mutex_breaker *b, uint64_t slice, uint64_t now)
{
    uint64_t total = 0, failures = 0;
    for (int i = 0; i < SLICES; i++)
        if (slice - b->slice[i] < SLICES) {
            total += b->total[i];
            failures += b->failures[i];
        }
    if (total >= 20 && failures * 100 >= 100 * total) {
        b->state = BREAKER_OPEN;
        b->retry_at = now + 3600 * UINT64_C(1000000000);
    }
}

static void mutex_report(struct mutex_breaker *b, bool failed, uint64_t now)
{
    pthread_mutex_lock(&b->lock);
    uint64_t at = mutex_slice(b, now);
    b->total[at]++;
    b->streak = failed ? b->streak + 1 : 0;
    if (b->counts_places)
        b->in_flight--;
    if (failed) {
        b->failures[at]++;
        mutex_judge(b, now / SLICE_NS, now);
    }
    pthread_mutex_unlock(&b->lock);
}

/* ---- one caller's loop ---- */

enum what { ACQUIRE, CALL, FAIL_ONE_IN_100, FAIL_ALL_BUT_ONE, REFUSED };

struct work;

struct bench {
    struct breaker_region region;
    struct breaker breaker;
    struct mutex_breaker *mutex;
    struct work *work;
    void *memory;
    size_t size;
    enum what what;
    bool is_mutex;
    uint64_t ms;
};

/* The calls that fail: every one but the first of a thousand, so that the rate stays below 100 %. */
static bool fails(enum what what, int i)
{
    return what == FAIL_ONE_IN_100 ? i % 100 == 0 : what == FAIL_ALL_BUT_ONE ? i != 0 : false;
}

static void batch_ours(const struct breaker *breaker, enum what what, uint64_t *now)
{
    struct breaker_permit permit;
    for (int i = 0; i < BATCH; i++, *now += CALL_NS) {
        int answer = breaker_acquire(breaker, *now, 0, &permit);
        __asm__ volatile("" : : "r"(answer), "r"(&permit) : "memory");
        if (what != ACQUIRE && what != REFUSED)
            breaker_report(breaker, &permit, fails(what, i) ? BREAKER_FAILURE : BREAKER_OK, *now);
    }
}

static void batch_mutex(struct mutex_breaker *mutex, enum what what, uint64_t *now)
{
    for (int i = 0; i < BATCH; i++, *now += CALL_NS) {
        bool is_granted = mutex_acquire(mutex, *now);
        __asm__ volatile("" : : "r"(is_granted) : "memory");
        if (what != ACQUIRE && what != REFUSED)
            mutex_report(mutex, fails(what, i), *now);
    }
}

struct work {
    _Atomic uint64_t calls, cpu_ns;
};

static uint64_t cpu_clock(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* What a call costs: CPU time of the callers, and time on the wall times cores in use. */
struct cost {
    double cpu, wall;
};

/* Call until the time is over. */
static void caller(const struct bench *bench, const struct breaker *breaker, struct work *work)
{
    uint64_t now = START_NS, calls = 0, end = breaker_clock() + bench->ms * 1000000, began = cpu_clock();
    while (breaker_clock() < end) {
        if (bench->is_mutex)
            batch_mutex(bench->mutex, bench->what, &now);
        else
            batch_ours(breaker, bench->what, &now);
        calls += BATCH;
    }
    work->calls += calls;
    work->cpu_ns += cpu_clock() - began;
}

/* ---- many callers ---- */

static void *thread_main(void *argument)
{
    struct bench *bench = argument;
    caller(bench, &bench->breaker, bench->work);
    return NULL;
}

static void run_threads(struct bench *bench, int callers)
{
    pthread_t threads[CALLERS];
    for (int i = 0; i < callers; i++)
        pthread_create(&threads[i], NULL, thread_main, bench);
    for (int i = 0; i < callers; i++)
        pthread_join(threads[i], NULL);
}

static void run_processes(struct bench *bench, int callers)
{
    for (int i = 0; i < callers; i++)
        if (fork() == 0) {
            struct breaker_region region;
            struct breaker breaker;
            breaker_region_attach(&region, bench->memory, bench->size, 1, 0);
            breaker_find(&region, "bench", &breaker);
            caller(bench, &breaker, bench->work);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
}

static struct cost run(struct bench *bench, int callers, bool are_processes)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t began = breaker_clock();
    *bench->work = (struct work){0};
    if (are_processes)
        run_processes(bench, callers);
    else
        run_threads(bench, callers);
    double calls = (double)bench->work->calls, wall = (double)(breaker_clock() - began);
    return (struct cost){(double)bench->work->cpu_ns / calls,
                         wall * (double)(callers < cores ? callers : cores) / calls};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct cost costs[ROUNDS], bool is_wall)
{
    double values[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        values[i] = is_wall ? costs[i].wall : costs[i].cpu;
    qsort(values, ROUNDS, sizeof(values[0]), compare);
    return values[ROUNDS / 2];
}

/* ---- the measures ---- */

struct measure {
    const char *name, *rules;
    enum what what;
    int state; /* OPEN, HALF_OPEN: refusals */
    bool with_many;
};

static const struct measure measures[] = {
    {"acquire, closed", RULES, ACQUIRE, BREAKER_CLOSED, false},
    {"acquire, closed, hung calls counted", RULES "slow_call=1s slow_rate=50% hung=on", ACQUIRE,
     BREAKER_CLOSED, false},
    {"acquire + report, closed", RULES, CALL, BREAKER_CLOSED, true},
    {"acquire + report, hung calls counted", RULES "slow_call=1s slow_rate=50% hung=on", CALL, BREAKER_CLOSED,
     false},
    {"acquire + report, max_in_flight", RULES "max_in_flight=1000", CALL, BREAKER_CLOSED, false},
    {"acquire + report, one call in 100 fails", RULES, FAIL_ONE_IN_100, BREAKER_CLOSED, true},
    {"acquire + report, all calls but one in 1000 fail", RULES, FAIL_ALL_BUT_ONE, BREAKER_CLOSED, false},
    {"refusal, open", RULES, REFUSED, BREAKER_OPEN, true},
    {"refusal, half-open", RULES "probes=1 probe_ok=1 probe_lease=1h", REFUSED, BREAKER_HALF_OPEN, false},
};

static void die(const char *what)
{
    fprintf(stderr, "breaker_bench: %s\n", what);
    exit(1);
}

/* Open until long after the measure, or half-open with its one probe out. */
static void breaker_put_in(struct bench *bench, int state)
{
    struct breaker_permit permit;
    uint64_t now = state == BREAKER_OPEN ? START_NS : START_NS - UINT64_C(3600000000000);
    if (state == BREAKER_CLOSED)
        return;
    for (int i = 0; i < 100 && breaker_acquire(&bench->breaker, now, 0, &permit) == 0; i++)
        breaker_report(&bench->breaker, &permit, BREAKER_FAILURE, now);
    if (state == BREAKER_HALF_OPEN)
        breaker_acquire(&bench->breaker, START_NS, 0, &permit);
}

static void bench_open(struct bench *bench, const struct measure *measure, uint64_t ms)
{
    struct breaker_region_options options = {.breakers = 1, .shards = 16};
    struct breaker_config config;
    struct breaker_problem problem = {0};
    breaker_config_init(&config);
    memset(bench, 0, sizeof(*bench));
    bench->size = breaker_region_size(&options);
    bench->memory = mmap(NULL, bench->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench->mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bench->work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bench->memory == MAP_FAILED || bench->mutex == MAP_FAILED || bench->work == MAP_FAILED)
        die("no memory");
    if (breaker_config_parse(&config, measure->rules, &problem) || breaker_config_check(&config, &problem))
        die(problem.message);
    breaker_region_init(bench->memory, bench->size, &options);
    breaker_region_attach(&bench->region, bench->memory, bench->size, (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
                          0);
    if (breaker_get(&bench->region, "bench", &config, 1, &bench->breaker, &problem))
        die(problem.message);
    mutex_init(bench->mutex, measure->state);
    bench->mutex->counts_hung = config.hung;
    bench->mutex->counts_places = config.max_in_flight > 0;
    breaker_put_in(bench, measure->state);
    if ((int)breaker_state(&bench->breaker) != measure->state)
        die("not in the state to be measured");
    bench->what = measure->what;
    bench->ms = ms;
}

static void measure_one(const struct measure *measure, int callers, bool are_processes, uint64_t ms)
{
    struct bench bench;
    struct cost ours[ROUNDS], mutex[ROUNDS];
    bench_open(&bench, measure, ms);
    for (int i = 0; i < ROUNDS; i++) {
        bench.is_mutex = true;
        mutex[i] = run(&bench, callers, are_processes);
        bench.is_mutex = false;
        ours[i] = run(&bench, callers, are_processes);
    }
    if ((int)breaker_state(&bench.breaker) != measure->state)
        die("the state changed while it was measured");
    printf("{\"what\":\"%s\",\"callers\":%d,\"kind\":\"%s\",\"ours_ns\":%.1f,\"mutex_ns\":%.1f,\"ours_wall_"
           "ns\":%.1f,"
           "\"mutex_wall_ns\":%.1f}\n",
           measure->name, callers, are_processes ? "process" : "thread", median(ours, false),
           median(mutex, false), median(ours, true), median(mutex, true));
    fflush(stdout);
    breaker_region_detach(&bench.region);
    munmap(bench.memory, bench.size);
    munmap(bench.mutex, 4096);
    munmap(bench.work, 4096);
}

int main(int count, char **arguments)
{
    uint64_t ms = 200;
    const char *only = "";
    for (int i = 1; i < count; i += 2) {
        if (i + 1 < count && strcmp(arguments[i], "--ms") == 0)
            ms = strtoull(arguments[i + 1], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--only") == 0)
            only = arguments[i + 1];
        else
            die("usage: breaker_bench [--ms N] [--only WORD]");
    }
    for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
        if (!strstr(measures[i].name, only))
            continue;
        measure_one(&measures[i], 1, false, ms);
        for (int callers = 2; measures[i].with_many && callers <= CALLERS; callers *= 2)
            measure_one(&measures[i], callers, false, ms);
        for (int callers = 1; measures[i].with_many && callers <= CALLERS; callers *= 2)
            measure_one(&measures[i], callers, true, ms);
    }
    return 0;
}
