/* sim: worlds from seeds.
 *
 *     sim --seed N [-v]                 one world, told step by step with -v
 *     sim [--from N|now] [--seeds COUNT] [--seconds S] [--jobs J] [--tap]
 *                                       many; COUNT 0: until one is broken; now: seeds nobody has tried;
 *                                       S: no world begins after so many seconds
 *
 * A broken promise is printed with its seed and how to see it again. Exit: 0 none was broken, 1 one was, 2 used wrongly.
 */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/world.h"

enum {
    JOBS_MAX = 64,
    TWICE_ONCE_IN = 20 /* worlds that are run again to see whether the steps are the same */
};

struct options {
    uint64_t seed, from, count;
    time_t seconds; /* no world begins when these are over; 0: no limit */
    unsigned jobs;
    bool one, verbose, tap;
};

/* Shared with the worker processes: what each is at. */
struct progress {
    uint64_t seed, done, twice;
};

/* All its threads take turns, so that one core is as good as many and nearer. */
static void stay_on_core(unsigned job)
{
    cpu_set_t allowed, one;
    unsigned count, at = 0;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    count = (unsigned)CPU_COUNT(&allowed);
    job %= count;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && at++ == job) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof(one), &one);
            return;
        }
    }
}

static void run_one(uint64_t seed, bool verbose, bool twice)
{
    uint64_t hash = world_run(seed, verbose, NULL);

    if (twice && world_run(seed, false, NULL) != hash) {
        (void)fprintf(stderr, "seed %llu took other steps the second time\n", (unsigned long long)seed);
        exit(1);
    }
}

static bool is_over(const struct options *options, time_t began)
{
    return options->seconds > 0 && time(NULL) - began >= options->seconds;
}

static void run_share(const struct options *options, unsigned job, struct progress *progress)
{
    time_t began = time(NULL);

    stay_on_core(job);
    for (uint64_t i = job; (options->count == 0 || i < options->count) && !is_over(options, began);
         i += options->jobs) {
        bool twice = (i / options->jobs) % TWICE_ONCE_IN == 0;

        progress->seed = options->from + i;
        run_one(progress->seed, false, twice);
        progress->done++;
        progress->twice += twice;
    }
    exit(0);
}

/* Waits for the workers; true when all came to a good end. */
static bool wait_for_all(const struct options *options, struct progress *progress, const pid_t *workers)
{
    bool good = true;

    for (unsigned i = 0; i < options->jobs; i++) {
        int status;

        if (waitpid(workers[i], &status, 0) == workers[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        (void)fprintf(stderr, "seed %llu is broken; see it again by: sim --seed %llu -v\n",
                      (unsigned long long)progress[i].seed, (unsigned long long)progress[i].seed);
        good = false;
    }
    return good;
}

static int run_many(const struct options *options)
{
    struct progress *progress =
        mmap(NULL, JOBS_MAX * sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t done = 0, twice = 0;
    pid_t workers[JOBS_MAX];
    bool good;

    if (progress == MAP_FAILED)
        return 1;
    for (unsigned i = 0; i < options->jobs; i++) {
        workers[i] = fork();
        if (workers[i] == 0)
            run_share(options, i, &progress[i]);
    }
    good = wait_for_all(options, progress, workers);
    for (unsigned i = 0; i < options->jobs; i++) {
        done += progress[i].done;
        twice += progress[i].twice;
    }
    if (options->tap)
        printf("1..2\n%sok 1 - %llu simulated worlds from seed %llu keep P1 to P7\n"
               "%sok 2 - %llu of them, run twice, take the same steps\n",
               good ? "" : "not ", (unsigned long long)done, (unsigned long long)options->from,
               good && twice > 0 ? "" : "not ", (unsigned long long)twice);
    else
        printf("%llu worlds%s\n", (unsigned long long)done, good ? "" : ", one is broken");
    return good ? 0 : 1;
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: sim --seed N [-v] | sim [--from N|now] [--seeds COUNT] [--seconds S] [--jobs J] [--tap]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'}, {"jobs", required_argument, NULL, 'j'},
        {"tap", no_argument, NULL, 't'},        {"seconds", required_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.from = 1, .count = 1000, .jobs = 2};

    for (int option; (option = getopt_long(argc, argv, "v", names, NULL)) != -1;) {
        switch (option) {
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            options.one = true;
            break;
        case 'n': options.count = strtoull(optarg, NULL, 10); break;
        case 'f':
            options.from =
                strcmp(optarg, "now") == 0 ? (uint64_t)time(NULL) * 1000000 : strtoull(optarg, NULL, 10);
            break;
        case 'j': options.jobs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'e': options.seconds = (time_t)strtoul(optarg, NULL, 10); break;
        case 't': options.tap = true; break;
        case 'v': options.verbose = true; break;
        default: return usage();
        }
    }
    if (optind < argc || options.jobs < 1 || options.jobs > JOBS_MAX)
        return usage();
    if (!options.one)
        return run_many(&options);
    stay_on_core(0);
    run_one(options.seed, options.verbose, true);
    printf("seed %llu keeps every promise\n", (unsigned long long)options.seed);
    return 0;
}
