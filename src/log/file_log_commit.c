/*
 * The way of a batch to the disk, but for the disk itself (file_log_disk.c).
 *
 * The caller's thread encodes: positions, salts, chain, checksums, one frame an append. It can do so before the batch
 * ahead has ended, on top of the tail that will be, and queues the result. One thread takes all that is queued, up to
 * GROUP_SIZE_MAX, and gives it one place, one sync, one publication; while it syncs, the next batches gather.
 *
 * A caller that would only wait writes on its own thread, when nobody else is at the disk: that saves two switches of
 * threads, which is a good part of a fast disk's sync.
 *
 * When a group fails, what was encoded on top of it is worth nothing: the queue is emptied with the same answer and the
 * tail goes back to what is durable. `failures` counts these moments, for a batch that was being encoded during one.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"
#include "os/clock.h"
#include "os/random.h"

/* ---- encoding, on the caller's thread ---- */

static void job_free(struct job *job)
{
    buffer_deinit(&job->frames);
    free(job);
}

DEFINE_CLEANUP(struct job *, job_free)

static int complete_record(const struct log_batch *batch, struct log_record *record, uint64_t position,
                           uint64_t epoch)
{
    if (batch->verbatim)
        return record->position == position ? 0 : LOG_E_CHAIN;
    record->position = position;
    record->epoch = epoch;
    record->flags = 0;
    return record->hashed ? 0 : os_random(record->salt, sizeof(record->salt));
}

/* Appends one frame to the job; job->last and chain_after move on. */
static int encode_entry(struct job *job, const struct log_entry *entry, struct format_frame frame,
                        uint32_t seed)
{
    size_t offset = job->frames.size, size = 0;
    uint8_t *to;
    int r;

    frame.first = job->last + 1;
    frame.count = (uint32_t)entry->count;
    frame.chain = job->chain_after;
    for (size_t i = 0; i < entry->count; i++) {
        r = complete_record(job->batch, &entry->records[i], job->last + 1, frame.epoch);
        if (r != 0)
            return r;
        job->last++;
        size += format_record_size(&entry->records[i]);
    }
    log_chain_steps(&job->chain_after, entry->records, entry->count);
    assert(size <= FORMAT_FRAME_BODY_MAX); /* log_append() has looked, and counts more for each record */
    r = buffer_extend(&job->frames, FORMAT_FRAME_SIZE + size, &to);
    if (r < 0)
        return r;
    to += FORMAT_FRAME_SIZE;
    for (size_t i = 0; i < entry->count; i++)
        to = format_put_record(&entry->records[i], to);
    frame.body_size = (uint32_t)size;
    format_put_frame(&frame, seed, job->frames.data + offset);
    return 0;
}

/* job has batch, first, last = first - 1, and both chains set to the one before. */
static int encode(struct job *job, const struct format_frame *frame, uint32_t seed)
{
    const struct log_batch *batch = job->batch;

    for (size_t i = 0; i < batch->count; i++) {
        int r = encode_entry(job, &batch->entries[i], *frame, seed);

        if (r != 0)
            return r;
    }
    if (batch->verbatim && batch->chain_expected &&
        memcmp(batch->chain_expected->bytes, job->chain_after.bytes, LOG_CHAIN_SIZE) != 0)
        return LOG_E_CHAIN;
    return 0;
}

/* Takes the tail as it will be when all that is queued has been written. 0, with LOG_DURABLE or how the batch ends here;
 * LOG_E_READ_ONLY. */
static int begin_job(struct file_log *log, struct job *job, struct format_frame *ret_frame,
                     uint64_t *ret_failures, enum log_outcome *ret_outcome)
{
    _os_locked_(&log->mutex);

    if (!log->writable || log->stopping)
        return LOG_E_READ_ONLY;
    log->failed &= job->batch->ahead;
    if (!log->failed && job->batch->tail_expected != log->submitted) {
        log->failed = true;
        log->last_failure = LOG_FENCED;
    }
    *ret_outcome = log->failed ? log->last_failure : LOG_DURABLE;
    job->first = log->submitted + 1;
    job->last = log->submitted;
    job->chain_before = job->chain_after = log->chain_submitted;
    *ret_frame = (struct format_frame){.kind = FORMAT_RECORDS, .floor = log->synced, .epoch = log->epoch};
    *ret_failures = log->failures;
    return 0;
}

/* ---- publishing ---- */

static void publish(struct file_log *log, const struct job *group, uint64_t size)
{
    struct segment *segment;

    _os_locked_(&log->mutex);
    segment = &log->segments[log->segment_count - 1];
    segment->size = log->end;
    log->counters.bytes_written += size;
    for (uint64_t offset = log->end - size; group; offset += group->frames.size, group = group->next) {
        segment_mark(segment, group->first, offset);
        log->counters.batches++;
        log->counters.appends += group->batch->count;
        log->counters.records += group->last - group->first + 1;
        log->durable = group->last;
        log->chain_durable = group->chain_after;
    }
    if (!log->unsynced)
        log->synced = log->durable;
}

/* Forgets everything above what is durable; answers what was queued. */
static struct job *roll_back(struct file_log *log, enum log_outcome outcome)
{
    struct job *queued;

    _os_locked_(&log->mutex);
    queued = log->queue_first;
    log->queue_first = log->queue_last = NULL;
    log->submitted = log->durable;
    log->chain_submitted = log->chain_durable;
    log->failures++;
    log->failed = true;
    /* What was never written is not unknown: it failed. */
    log->last_failure = outcome == LOG_UNKNOWN ? LOG_FAILED : outcome;
    return queued;
}

static void end_jobs(struct job *jobs, enum log_outcome outcome)
{
    while (jobs) {
        struct job *job = jobs;

        jobs = job->next;
        job->batch->chain_after = job->chain_after;
        job->batch->done(job->batch, outcome);
        job_free(job);
    }
}

/* LOG_ASYNC: what was answered before is synced now. */
static void tell_synced(struct file_log *log)
{
    if (log->options.durability != LOG_ASYNC)
        return;
    _os_locked_(&log->tell_mutex);
    if (log->tell)
        log->tell(log->tell_user);
}

/* LOG_ASYNC under load never idles: a sync is due after ASYNC_DELAY_MS all the same. */
static void sync_in_time(struct file_log *log, uint64_t now)
{
    bool due = now >= log->sync_due_ns;

    if (due && log->unsynced)
        (void)file_log_sync(log);
    if (due || !log->unsynced)
        log->sync_due_ns = now + ASYNC_DELAY_MS * OS_NS_PER_MS;
}

/* The caller is `busy`. */
static void commit_group(struct file_log *log, struct job *group, uint64_t size)
{
    enum log_outcome outcome = file_log_write_group(log, group, size);
    uint64_t now = os_monotonic_ns();
    struct job *queued;

    if (log->options.durability == LOG_ASYNC)
        sync_in_time(log, now);
    os_mutex_lock(&log->mutex);
    log->idle_due_ns = now + log->options.idle_floor_ms * OS_NS_PER_MS;
    os_mutex_unlock(&log->mutex);
    if (outcome == LOG_DURABLE) {
        publish(log, group, size);
        file_log_page_tell(log);
        end_jobs(group, outcome);
        tell_synced(log);
        return;
    }
    queued = roll_back(log, outcome);
    end_jobs(group, outcome);
    end_jobs(queued, outcome == LOG_UNKNOWN ? LOG_FAILED : outcome);
}

/* ---- where a batch goes ---- */

enum next_step { END_HERE, WRITE_HERE, QUEUED };

/* Where the job goes. END_HERE: a batch it was built on has failed meanwhile. WRITE_HERE: the caller is `busy` now. */
static enum next_step place_job(struct file_log *log, struct job *job, uint64_t failures,
                                enum log_outcome *ret_outcome)
{
    _os_locked_(&log->mutex);

    if (log->failures != failures || !log->writable) {
        *ret_outcome = log->writable ? log->last_failure : LOG_FAILED;
        return END_HERE;
    }
    log->submitted = job->last;
    log->chain_submitted = job->chain_after;
    if (job->batch->wait && !log->busy && !log->queue_first) {
        log->busy = true;
        return WRITE_HERE;
    }
    if (log->queue_last)
        log->queue_last->next = job;
    else
        log->queue_first = job;
    log->queue_last = job;
    os_cond_broadcast(&log->changed);
    return QUEUED;
}

static void commit_here(struct file_log *log, struct job *job)
{
    commit_group(log, job, job->frames.size);
    os_mutex_lock(&log->mutex);
    log->busy = false;
    if (log->napping)
        os_cond_broadcast(&log->changed);
    os_mutex_unlock(&log->mutex);
}

int file_log_append(struct log *base, struct log_batch *batch)
{
    struct file_log *log = file_log_of(base);
    _cleanup_(job_freep) struct job *job = calloc(1, sizeof(*job));
    struct format_frame frame;
    enum log_outcome outcome;
    uint64_t failures;
    int r;

    if (!job)
        return -ENOMEM;
    job->batch = batch;
    job->frames.size_max = UINT32_MAX;
    r = begin_job(log, job, &frame, &failures, &outcome);
    if (r != 0)
        return r;
    if (outcome != LOG_DURABLE) {
        batch->done(batch, outcome);
        return 0;
    }
    r = encode(job, &frame, log->seed);
    if (r != 0)
        return r;
    switch (place_job(log, job, failures, &outcome)) {
    case END_HERE: batch->done(batch, outcome); break;
    case WRITE_HERE: commit_here(log, take_ptr(job)); break;
    case QUEUED: (void)take_ptr(job); break;
    }
    return 0;
}

/* ---- the thread ---- */

/* Takes queued jobs, up to GROUP_SIZE_MAX bytes but one at least. The mutex is held, the queue not empty. */
static struct job *take_group(struct file_log *log, uint64_t *ret_size)
{
    struct job *group = log->queue_first, *last = group;
    uint64_t size = group->frames.size;

    while (last->next && size + last->next->frames.size <= GROUP_SIZE_MAX) {
        last = last->next;
        size += last->frames.size;
    }
    log->queue_first = last->next;
    if (!last->next)
        log->queue_last = NULL;
    last->next = NULL;
    *ret_size = size;
    return group;
}

/* What is to be done when nothing comes: sync what LOG_ASYNC wrote, or write a floor. */
static bool has_idle_work(const struct file_log *log)
{
    return log->writable && log->file >= 0 && (log->unsynced || log->floor_tried != log->durable);
}

static void idle_work(struct file_log *log)
{
    if (log->options.durability == LOG_ASYNC && log->unsynced)
        (void)file_log_sync(log);
    else
        (void)file_log_write_floor(log); /* no room for it: the next group's frames will carry it */
}

/* Outside the lock. */
static void do_idle_work(struct file_log *log)
{
    log->busy = true;
    os_mutex_unlock(&log->mutex);
    idle_work(log);
    file_log_page_tell(log);
    tell_synced(log);
    os_mutex_lock(&log->mutex);
    log->busy = false;
    os_cond_broadcast(&log->changed);
    log->idle_due_ns = os_monotonic_ns() + log->options.idle_floor_ms * OS_NS_PER_MS;
}

/* Waits for the queue, and does idle work when that is due; true when there is a group to write. The mutex is held. */
static bool wait_for_group(struct file_log *log)
{
    for (;;) {
        if (log->queue_first && !log->busy)
            return true;
        if (log->stopping && !log->queue_first && !log->busy)
            return false;
        if (log->busy || !has_idle_work(log)) {
            log->napping = true;
            os_cond_wait(&log->changed, &log->mutex);
            log->napping = false;
        } else if (os_monotonic_ns() >= log->idle_due_ns) {
            do_idle_work(log);
        } else {
            (void)os_cond_wait_until(&log->changed, &log->mutex, log->idle_due_ns);
        }
    }
}

static void run_writer(void *user)
{
    struct file_log *log = (struct file_log *)user;

    os_mutex_lock(&log->mutex);
    while (wait_for_group(log)) {
        uint64_t size;
        struct job *group = take_group(log, &size);

        log->busy = true;
        os_mutex_unlock(&log->mutex);
        commit_group(log, group, size);
        os_mutex_lock(&log->mutex);
        log->busy = false;
        os_cond_broadcast(&log->changed);
    }
    os_mutex_unlock(&log->mutex);
}

int file_log_start_writer(struct file_log *log)
{
    return os_thread_start(&log->thread, "log-writer", run_writer, log);
}

void file_log_stop_writer(struct file_log *log)
{
    os_mutex_lock(&log->mutex);
    log->stopping = true;
    os_cond_broadcast(&log->changed);
    os_mutex_unlock(&log->mutex);
    os_thread_join(&log->thread);
    assert(!log->queue_first);
    if (log->file >= 0 && log->writable)
        (void)file_log_write_floor(log);
}
