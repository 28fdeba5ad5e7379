/* A run: one pass over the journal that decides, and for every SCAVENGE_RANGE_COUNT_MAX ranges one `$Scavenged` and its
 * stubs, so that memory stays bounded and a run that is stopped has done what it said. */
#include "journal/scavenge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "journal/query.h"
#include "journal/retention.h"
#include "journal/scavenge_said.h"
#include "journal/state.h"

enum { PROGRESS_STEP = 16384 }; /* events between two reports */

struct run {
    struct journal *journal;
    const struct scavenge_options *options;
    struct retention *retention;
    struct scavenge_report *report;
    struct scavenge_ranges ranges; /* decided, and not said yet */
    int64_t now_us;
    char *error;
};

/* ---- saying it, and doing it ---- */

struct replace_task {
    struct journal_task task; /* first */
    struct run *run;
    uint64_t from;
    struct log_replaced replaced;
    int answer;
};

static void replace_part(struct journal_task *base)
{
    struct replace_task *task = (struct replace_task *)base;
    struct run *run = task->run;

    task->answer = log_replace(run->journal->log, run->ranges.items, run->ranges.count, task->from,
                               &task->replaced);
}

/* A part at a time, so that appends come in between. */
static int put_stubs(struct run *run)
{
    struct replace_task task = {.task = {.run = replace_part}, .run = run};
    int r;

    do {
        r = journal_run_task(run->journal, &task.task);
        if (r == 0)
            r = task.answer;
        if (r == LOG_E_READ_ONLY)
            r = JOURNAL_E_READ_ONLY;
        if (r == 0) {
            run->report->room_bytes += task.replaced.room_bytes;
            task.from = task.replaced.next;
        }
    } while (r == 0 && task.from != 0);
    if (r != 0)
        snprintf(run->error, 256, "what is to go is said, but not all of it is done: %s",
                 r < 0 ? strerror(-r) : "the log takes no more writes");
    return r;
}

/* S1: durable before the first stub. */
static int say(struct run *run)
{
    _cleanup_(buffer_deinit) struct buffer data = {0};
    struct journal_result result;
    int r = scavenge_said_write(&run->ranges, &data);

    if (r < 0)
        return r;
    struct journal_event_new event = {
        .stream = SCAVENGE_STREAM, .type = SCAVENGE_TYPE, .data = buffer_bytes(&data), .system = true};
    struct journal_append append = {.events = &event, .event_count = 1};
    r = journal_append_wait(run->journal, &append, &result);
    if (r != 0)
        snprintf(run->error, 256, "%s", result.detail);
    return r;
}

static int flush(struct run *run)
{
    int r = 0;

    if (run->ranges.count == 0)
        return 0;
    if (!run->options->dry_run) {
        r = say(run);
        if (r == 0)
            r = put_stubs(run);
    }
    run->ranges.count = 0;
    return r;
}

/* ---- deciding ---- */

static void count_reason(struct scavenge_report *report, const char *text)
{
    struct scavenge_reason *reason = report->reasons;
    size_t count = report->reason_count;
    char cut[SCAVENGE_REASON_SIZE_MAX] = ""; /* reports are compared byte by byte */

    snprintf(cut, sizeof(cut), "%s", text);
    while (reason < report->reasons + count && strcmp(reason->text, cut) != 0)
        reason++;
    if (reason == report->reasons + count) {
        if (count + 1 >= SCAVENGE_REASON_COUNT_MAX && strcmp(cut, "other") != 0) {
            count_reason(report, "other");
            return;
        }
        memcpy(reason->text, cut, sizeof(cut));
        reason->count = 0;
        report->reason_count++;
    }
    reason->count++;
}

static int decide(struct run *run, const struct journal_event *event)
{
    struct scavenge_report *report = run->report;
    const struct retention_rule *rule =
        query_event_is_system(event) ? NULL : retention_find(run->retention, event->stream);
    const char *needed;
    uint64_t version = 0;
    int r;

    if (event->stub)
        report->gone_already++;
    if (!rule || event->stub)
        return 0;
    report->ruled++;
    r = rule->max_count > 0 && event->stream.size > 0
            ? journal_stream_version(run->journal, event->stream, &version)
            : 0;
    if (r < 0)
        return r;
    struct journal_event aged = *event;
    aged.time_us = journal_true_time(run->journal, event->position, event->time_us);
    if (!retention_is_past(rule, &aged, version, run->now_us)) {
        report->young++;
        return 0;
    }
    needed = run->options->keep ? run->options->keep(run->options->user, event) : NULL;
    if (needed) {
        report->kept++;
        count_reason(report, needed);
        return 0;
    }
    report->gone++;
    report->body_bytes += codec_body_size(event);
    return scavenge_ranges_add(&run->ranges, event->position);
}

static bool go_on(struct run *run)
{
    return !run->options->on_progress || run->options->on_progress(run->options->user, run->report);
}

static int examine(struct run *run)
{
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(
        run->journal, &(struct journal_read){.before = run->report->head + 1, .system = true}, &reader);

    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        run->report->examined = event.position;
        r = decide(run, &event);
        if (r == 0 && run->ranges.count == SCAVENGE_RANGE_COUNT_MAX)
            r = flush(run);
        if (r == 0 && event.position % PROGRESS_STEP == 0 && !go_on(run))
            r = -ECANCELED;
    }
    if (r == JOURNAL_E_END)
        r = flush(run);
    return r;
}

/* ---- the run ---- */

/* What an earlier run said and could not do, for a full disk perhaps. */
struct redo_task {
    struct journal_task task; /* first */
    struct journal *journal;
    int answer;
};

static void redo(struct journal_task *base)
{
    struct redo_task *task = (struct redo_task *)base;

    task->answer = scavenge_redo(task->journal);
}

static int finish_earlier(struct run *run)
{
    struct redo_task task = {.task = {.run = redo}, .journal = run->journal};
    int r = journal_run_task(run->journal, &task.task);

    if (r == 0)
        r = task.answer == LOG_E_READ_ONLY ? JOURNAL_E_READ_ONLY : task.answer;
    return r;
}

static bool is_refused(struct run *run)
{
    if (run->journal->options.follower) {
        snprintf(run->error, 256, "this journal follows another one, and forgets what that one forgets");
        return true;
    }
    return !journal_is_writable(run->journal, run->error);
}

int journal_scavenge(struct journal *journal, const struct scavenge_options *options,
                     struct scavenge_report *ret_report, char *ret_error)
{
    struct run run = {.journal = journal, .options = options, .report = ret_report, .error = ret_error};
    const struct os_clock *clock = journal->options.clock ? journal->options.clock : os_clock_real();
    int r;

    *ret_report = (struct scavenge_report){.head = journal_head(journal)};
    ret_error[0] = '\0';
    run.now_us = options->now_us > 0 ? options->now_us : clock->realtime_us(clock);
    if (!options->dry_run && is_refused(&run))
        return JOURNAL_E_READ_ONLY;
    r = options->dry_run ? 0 : finish_earlier(&run);
    if (r == 0)
        r = retention_load(journal, &run.retention);
    if (r == 0)
        r = examine(&run);
    if (r == 0)
        (void)go_on(&run);
    if (r < 0 && ret_error[0] == '\0')
        snprintf(ret_error, 256, "%s", r == -ECANCELED ? "stopped before the end" : strerror(-r));
    retention_free(run.retention);
    scavenge_ranges_deinit(&run.ranges);
    return r;
}

/* ---- looking back ---- */

struct scavenged {
    struct scavenge_ranges *parts; /* of one `$Scavenged` each: they do not overlap, but lie in no order */
    size_t count, capacity;
    uint64_t last;
};

void scavenged_free(struct scavenged *scavenged)
{
    if (!scavenged)
        return;
    for (size_t i = 0; i < scavenged->count; i++)
        scavenge_ranges_deinit(&scavenged->parts[i]);
    free(scavenged->parts);
    free(scavenged);
}

static int take_part(struct scavenged *scavenged, const struct journal_event *event)
{
    int r = vector_reserve(&scavenged->parts, &scavenged->capacity, scavenged->count + 1);

    if (r == 0)
        r = scavenge_said_read(event, &scavenged->parts[scavenged->count]);
    if (r == 0) {
        scavenged->count++;
        scavenged->last = event->position;
    }
    return r;
}

int scavenged_load(struct journal *journal, uint64_t after, struct scavenged **ret_scavenged)
{
    _cleanup_(scavenged_freep) struct scavenged *scavenged = calloc(1, sizeof(*scavenged));
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r;

    if (!scavenged)
        return -ENOMEM;
    r = journal_reader_new(
        journal,
        &(struct journal_read){
            .stream = SCAVENGE_STREAM, .by_position = true, .after = after, .system = true},
        &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        r = take_part(scavenged, &event);
    if (r != JOURNAL_E_END)
        return r > 0 ? -EIO : r;
    *ret_scavenged = take_ptr(scavenged);
    return 0;
}

bool scavenged_has(const struct scavenged *scavenged, uint64_t position)
{
    for (size_t i = 0; i < scavenged->count; i++) {
        const struct scavenge_ranges *part = &scavenged->parts[i];

        if (log_ranges_find(part->items, part->count, position) == position)
            return true;
    }
    return false;
}

uint64_t scavenged_last(const struct scavenged *scavenged)
{
    return scavenged->last;
}
