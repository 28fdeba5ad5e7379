/* The journal inside a program, and the disk below it.
 *
 *     journal_bench append --folder F [--seconds N] [--count EVENTS] [--events E] [--size B] [--pending P] [--segment BYTES] [--index F]
 *         Appends of E events of B bytes, durable, P of them on their way at once; P 1: a caller that waits for each.
 *         Ends after N seconds, or when the journal holds EVENTS.
 *         --segment: the size of the log's segments, for a short run over many of them. --index: the index lies in that
 *         folder, as daybook_open() has it; else in memory.
 *     journal_bench write --folder F [--seconds N] [--size B] [--room none|allocated|zeroed]
 *         The peer: a write of B bytes and fdatasync(), again and again, into a file that grows, has its room
 *         (fallocate), or has been filled with zeros before.
 *     journal_bench scan --folder F [--index F]
 *         Opens the journal and reads everything, once to warm up and once more.
 *
 * Prints one JSON object: per_second (appends, or writes), bytes_per_second as written to the disk, p50_us, p99_us, p999_us
 * of one append or write, cpu_us of this process for one, and for the journal events_per_second, write_size (bytes to the
 * disk for one append) and head; for a scan events_per_second, open_ms and resident_bytes. The folder stays.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "journal/journal.h"
#include "log/file_log.h"
#include "os/clock.h"
#include "os/thread.h"

enum { PENDING_MAX = 256, EVENTS_MAX = JOURNAL_EVENT_COUNT_MAX, SAMPLES_MAX = 4 << 20, ROOM = 1 << 30 };

struct options {
    const char *what, *folder, *index, *room;
    double seconds;
    uint64_t count, segment;
    size_t events, size, pending;
};

/* ---- time ---- */

static uint32_t samples[SAMPLES_MAX]; /* in units of 100 ns */
static size_t sample_count;

static void note_sample(uint64_t ns)
{
    if (sample_count < SAMPLES_MAX)
        samples[sample_count++] = (uint32_t)(ns / 100);
}

static int order_samples(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static double quantile_us(double part)
{
    return sample_count ? samples[(size_t)((double)(sample_count - 1) * part)] / 10.0 : 0;
}

static double cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "journal_bench: %s: %s\n", what, why);
    exit(1);
}

static void print_figures(uint64_t done, uint64_t bytes, double seconds, double cpu)
{
    qsort(samples, sample_count, sizeof(samples[0]), order_samples);
    printf("{\"per_second\":%.1f,\"bytes_per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"cpu_us\":%.2f",
           (double)done / seconds, (double)bytes / seconds, quantile_us(0.5), quantile_us(0.99), quantile_us(0.999),
           done ? cpu / (double)done : 0);
}

/* ---- the journal ---- */

static struct journal *open_journal(const struct options *options)
{
    char error[256] = "";
    struct journal *journal = NULL;
    struct log *log;
    struct file_log_options log_options = {.segment_size = options->segment};
    int r = file_log_open(options->folder, &log_options, &log, error);
    if (r == 0)
        r = journal_open(log, &(struct journal_options){.index_folder = options->index}, &journal, error);
    if (r != 0)
        fail(options->folder, error);
    return journal;
}

/* One append on its way, again and again. */
struct lane {
    struct journal_append append;
    struct journal_event_new events[EVENTS_MAX];
    struct bytes tag;
    char tag_text[32];
    uint64_t began_ns;
    struct run *run;
};

struct run {
    const struct options *options;
    struct journal *journal;
    struct os_mutex lock;
    struct os_cond ended;
    struct lane *free[PENDING_MAX];
    size_t free_count;
    uint64_t sent, done;
    uint64_t deadline_ns;
};

static void on_done(struct journal_append *append, const struct journal_result *result)
{
    struct lane *lane = append->user;
    struct run *run = lane->run;
    if (result->answer != 0)
        fail("an append was not taken", result->detail);
    os_mutex_lock(&run->lock);
    note_sample(os_monotonic_ns() - lane->began_ns);
    run->done++;
    run->free[run->free_count++] = lane;
    os_cond_signal(&run->ended);
    os_mutex_unlock(&run->lock);
}

static struct lane *new_lane(struct run *run, const char *data)
{
    struct lane *lane = calloc(1, sizeof(*lane));
    if (!lane)
        fail("append", "no memory");
    lane->run = run;
    lane->append = (struct journal_append){
        .events = lane->events, .event_count = run->options->events, .done = on_done, .user = lane};
    for (size_t i = 0; i < run->options->events; i++)
        lane->events[i] = (struct journal_event_new){.type = BYTES_LITERAL("Measured"),
                                                     .tags = &lane->tag,
                                                     .tag_count = 1,
                                                     .data = bytes_make(data, run->options->size)};
    return lane;
}

/* A stream and a tag of its own for every append, as a reservation has. */
static void send(struct run *run, struct lane *lane)
{
    struct journal_result result;
    int size = snprintf(lane->tag_text, sizeof(lane->tag_text), "measured:%llu", (unsigned long long)run->sent++);
    lane->tag = bytes_make(lane->tag_text, (size_t)size);
    for (size_t i = 0; i < run->options->events; i++)
        lane->events[i].stream = lane->tag;
    lane->began_ns = os_monotonic_ns();
    int r = run->options->pending == 1 ? journal_append_wait(run->journal, &lane->append, &result)
                                       : journal_submit(run->journal, &lane->append, &result);
    if (r != 0)
        fail("an append was not taken", result.detail);
}

static bool goes_on(const struct run *run)
{
    if (run->options->count > 0)
        return run->sent * run->options->events < run->options->count;
    return os_monotonic_ns() < run->deadline_ns;
}

static struct lane *take_lane(struct run *run)
{
    _os_locked_(&run->lock);
    while (run->free_count == 0)
        os_cond_wait(&run->ended, &run->lock);
    return run->free[--run->free_count];
}

static void wait_all(struct run *run)
{
    _os_locked_(&run->lock);
    while (run->free_count < run->options->pending)
        os_cond_wait(&run->ended, &run->lock);
}

static void measure_append(const struct options *options)
{
    struct run run = {.options = options, .journal = open_journal(options), .lock = OS_MUTEX_INIT};
    struct journal_status before, after;
    char *data = malloc(options->size + 1);
    if (!data || options->size < 2)
        fail("append", "an event has two bytes at least");
    memset(data, 'x', options->size); /* a JSON string */
    data[0] = data[options->size - 1] = '"';
    os_cond_init(&run.ended);
    for (size_t i = 0; i < options->pending; i++)
        run.free[run.free_count++] = new_lane(&run, data);
    run.sent = journal_head(run.journal) / options->events;
    journal_status(run.journal, &before);
    double cpu = cpu_us();
    uint64_t began = os_monotonic_ns();
    run.deadline_ns = began + (uint64_t)(options->seconds * 1e9);
    while (goes_on(&run))
        send(&run, take_lane(&run));
    wait_all(&run);
    double seconds = (double)(os_monotonic_ns() - began) / 1e9;
    cpu = cpu_us() - cpu;
    journal_status(run.journal, &after);
    uint64_t bytes = after.counters.bytes_written - before.counters.bytes_written;
    print_figures(run.done, bytes, seconds, cpu);
    printf(",\"events_per_second\":%.0f,\"write_size\":%llu,\"syncs\":%llu,\"head\":%llu}\n",
           (double)(run.done * options->events) / seconds, (unsigned long long)(run.done ? bytes / run.done : 0),
           (unsigned long long)(after.counters.syncs - before.counters.syncs),
           (unsigned long long)journal_head(run.journal));
    journal_close(run.journal);
    while (run.free_count > 0)
        free(run.free[--run.free_count]);
    free(data);
}

/* ---- reading ---- */

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%llu %llu", &all, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t read_everything(struct journal *journal)
{
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t count = 0;
    int r = journal_reader_new(journal, &(struct journal_read){.system = true}, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        count++;
    if (r != JOURNAL_E_END)
        fail("scan", "the journal could not be read to its end");
    journal_reader_free(reader);
    return count;
}

static void measure_scan(const struct options *options)
{
    uint64_t began = os_monotonic_ns();
    struct journal *journal = open_journal(options);
    double open_ms = (double)(os_monotonic_ns() - began) / 1e6;
    uint64_t resident = resident_bytes();
    (void)read_everything(journal);
    began = os_monotonic_ns();
    uint64_t count = read_everything(journal);
    double seconds = (double)(os_monotonic_ns() - began) / 1e9;
    printf("{\"events_per_second\":%.0f,\"open_ms\":%.2f,\"resident_bytes\":%llu,\"head\":%llu}\n",
           (double)count / seconds, open_ms, (unsigned long long)resident, (unsigned long long)count);
    journal_close(journal);
}

/* ---- the disk alone ---- */

static void make_room(int file, const struct options *options)
{
    static char zeros[1 << 20];
    bool ok = true;
    if (strcmp(options->room, "none") != 0)
        ok = posix_fallocate(file, 0, ROOM) == 0;
    for (off_t at = 0; ok && strcmp(options->room, "zeroed") == 0 && at < ROOM; at += (off_t)sizeof(zeros))
        ok = pwrite(file, zeros, sizeof(zeros), at) == (ssize_t)sizeof(zeros);
    if (!ok || fsync(file) != 0)
        fail("write", "no room for the file");
}

static void measure_write(const struct options *options)
{
    char path[4096];
    char *data = malloc(options->size + 1);
    snprintf(path, sizeof(path), "%s/journal_bench.tmp", options->folder);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!data || file < 0 || options->size == 0 || options->size > ROOM)
        fail("write", "the file cannot be made, or the size is out of range");
    memset(data, 'x', options->size);
    make_room(file, options);
    double cpu = cpu_us();
    uint64_t began = os_monotonic_ns(), now = began, done = 0;
    for (off_t at = 0; now - began < (uint64_t)(options->seconds * 1e9); done++, at += (off_t)options->size) {
        if (at + (off_t)options->size > ROOM)
            at = 0;
        if (pwrite(file, data, options->size, at) != (ssize_t)options->size || fdatasync(file) != 0)
            fail("write", "the disk did not take it");
        uint64_t then = now;
        now = os_monotonic_ns();
        note_sample(now - then);
    }
    print_figures(done, done * options->size, (double)(now - began) / 1e9, cpu_us() - cpu);
    printf("}\n");
    close(file);
    unlink(path);
    free(data);
}

/* ---- */

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: journal_bench append|write|scan --folder F [--seconds N] [--count EVENTS] [--events E] [--size B]"
                    " [--pending P] [--segment BYTES] [--index F] [--room none|allocated|zeroed]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"folder", required_argument, NULL, 'f'}, {"seconds", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'c'},  {"events", required_argument, NULL, 'e'},
        {"size", required_argument, NULL, 'b'},   {"pending", required_argument, NULL, 'p'},
        {"room", required_argument, NULL, 'r'},   {"segment", required_argument, NULL, 'g'},
        {"index", required_argument, NULL, 'i'},  {NULL, 0, NULL, 0},
    };
    struct options options = {.room = "none", .seconds = 3, .events = 1, .size = 256, .pending = 1};
    if (argc < 2)
        usage();
    options.what = argv[1];
    for (int option; (option = getopt_long(argc - 1, argv + 1, "", names, NULL)) != -1;) {
        switch (option) {
        case 'f': options.folder = optarg; break;
        case 's': options.seconds = strtod(optarg, NULL); break;
        case 'c': options.count = strtoull(optarg, NULL, 10); break;
        case 'e': options.events = strtoul(optarg, NULL, 10); break;
        case 'b': options.size = strtoul(optarg, NULL, 10); break;
        case 'p': options.pending = strtoul(optarg, NULL, 10); break;
        case 'r': options.room = optarg; break;
        case 'i': options.index = optarg; break;
        case 'g': options.segment = strtoull(optarg, NULL, 10); break;
        default: usage();
        }
    }
    if (!options.folder || options.events < 1 || options.events > EVENTS_MAX || options.pending < 1 ||
        options.pending > PENDING_MAX)
        usage();
    if (strcmp(options.what, "append") == 0)
        measure_append(&options);
    else if (strcmp(options.what, "write") == 0)
        measure_write(&options);
    else if (strcmp(options.what, "scan") == 0)
        measure_scan(&options);
    else
        usage();
    return 0;
}
