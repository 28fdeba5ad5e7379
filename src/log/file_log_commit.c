/*
 * The way of a batch to the disk.
 *
 * The caller's thread encodes: positions, salts, chain, checksums, one frame an append. It can do so before the batch
 * ahead has ended, on top of the tail that will be, and queues the result. One thread takes all that is queued, up to
 * GROUP_SIZE_MAX, and gives it one place, one sync, one publication; while it syncs, the next batches gather.
 *
 * When a group fails, what was encoded on top of it is worth nothing: the queue is emptied with the same answer and the
 * tail goes back to what is durable. `failures` counts these moments, for a batch that was being encoded during one.
 *
 * A group fails in one of three ways. There was no room, or the write failed: the file is cut back to the last good frame,
 * that cut is synced, and the log goes on (LOG_FULL, LOG_FAILED). Or the sync failed, or the cut could not be made: nobody
 * knows what the disk holds, and nothing is accepted until the log is opened anew (LOG_UNKNOWN, L4).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"
#include "os/clock.h"
#include "os/random.h"

/* What a FLOOR takes is kept free behind every group, so that one always fits. */
#define FLOOR_RESERVE FORMAT_FRAME_SIZE

/* When the whole segment does not fit on the disk, this much more than needed is asked for. */
#define ROOM_STEP_SIZE (UINT64_C(64) << 10)

static bool is_full(int failure)
{
    return failure == -ENOSPC || failure == -EDQUOT;
}

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
    return os_random(record->salt, sizeof(record->salt));
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
        log_chain_step(&job->chain_after, &entry->records[i], &job->chain_after);
        job->last++;
        size += format_record_size(&entry->records[i]);
    }
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

/* Takes the tail as it will be when all that is queued has been written. 0, or why the batch ends here. */
static int begin_job(struct file_log *log, struct job *job, struct format_frame *ret_frame,
                     uint64_t *ret_failures)
{
    _os_locked_(&log->mutex);

    if (!log->writable || log->stopping)
        return LOG_E_READ_ONLY;
    job->first = log->submitted + 1;
    job->last = log->submitted;
    job->chain_before = job->chain_after = log->chain_submitted;
    *ret_frame = (struct format_frame){.kind = FORMAT_RECORDS, .floor = log->synced, .epoch = log->epoch};
    *ret_failures = log->failures;
    return 0;
}

/* True when the job is queued; false when a batch it was built on has failed meanwhile. */
static bool queue_job(struct file_log *log, struct job *job, uint64_t failures, enum log_outcome *ret_outcome)
{
    _os_locked_(&log->mutex);

    if (log->failures != failures || !log->writable) {
        *ret_outcome = log->writable ? log->last_failure : LOG_FAILED;
        return false;
    }
    log->submitted = job->last;
    log->chain_submitted = job->chain_after;
    if (log->queue_last)
        log->queue_last->next = job;
    else
        log->queue_first = job;
    log->queue_last = job;
    os_cond_broadcast(&log->changed);
    return true;
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
    r = begin_job(log, job, &frame, &failures);
    if (r != 0)
        return r;
    if (batch->tail_expected != job->last) {
        batch->done(batch, LOG_FENCED);
        return 0;
    }
    r = encode(job, &frame, log->seed);
    if (r != 0)
        return r;
    if (queue_job(log, job, failures, &outcome))
        (void)take_ptr(job);
    else
        batch->done(batch, outcome);
    return 0;
}

/* ---- the disk: on the writer's thread from here on ---- */

void file_log_poison(struct file_log *log, const char *what, int failure)
{
    _os_locked_(&log->mutex);

    if (!log->writable)
        return;
    log->writable = false;
    (void)snprintf(
        log->reason, sizeof(log->reason),
        "%s failed (%s): what the disk holds is not known, so that nothing is written until the log is "
        "opened anew",
        what, strerrordesc_np(-failure));
}

static int sync_file(struct file_log *log)
{
    uint64_t begin = os_monotonic_ns(), took;
    int r = log->ops->sync(log->ops, log->file);

    took = os_monotonic_ns() - begin;
    os_mutex_lock(&log->mutex);
    log->counters.syncs++;
    log->counters.sync_ns_total += took;
    if (took > log->counters.sync_ns_max)
        log->counters.sync_ns_max = took;
    if (r == 0)
        log->synced = log->durable;
    os_mutex_unlock(&log->mutex);
    if (r < 0)
        file_log_poison(log, "A sync", r);
    else
        log->unsynced = false;
    return r;
}

/* Takes away what a failed write may have left (F2), durably. */
static enum log_outcome cut_back(struct file_log *log, int failure)
{
    int r = log->ops->truncate(log->ops, log->file, log->end);

    if (r < 0) {
        file_log_poison(log, "Cutting back a failed write", r);
        return LOG_UNKNOWN;
    }
    log->allocated = log->end;
    if (sync_file(log) < 0)
        return LOG_UNKNOWN;
    return is_full(failure) ? LOG_FULL : LOG_FAILED;
}

/* Disk space up to `capacity`, or if there is not that much, to a little more than `needed`. A file system that cannot
 * promise space is believed when it writes. */
static int allocate(struct file_log *log, int file, uint64_t needed, uint64_t capacity,
                    uint64_t *ret_allocated)
{
    uint64_t least = (needed + ROOM_STEP_SIZE - 1) / ROOM_STEP_SIZE * ROOM_STEP_SIZE;
    int r = log->ops->allocate(log->ops, file, capacity);

    if (is_full(r) && least < capacity) {
        capacity = least;
        r = log->ops->allocate(log->ops, file, capacity);
    }
    if (r == -EOPNOTSUPP) {
        *ret_allocated = UINT64_MAX;
        return 0;
    }
    if (r < 0)
        return r;
    *ret_allocated = capacity;
    return 0;
}

/* A new segment's file under a temporary name: room, header, sync. */
static int write_new_segment(struct file_log *log, const char *path, const struct format_segment *segment,
                             uint64_t needed, uint64_t capacity, int *ret_file, uint64_t *ret_allocated)
{
    uint8_t header[FORMAT_SEGMENT_SIZE];
    uint64_t allocated;
    int file, r;

    r = log->ops->open(log->ops, path, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &file);
    if (r < 0)
        return r;
    format_put_segment(segment, log->seed, header);
    r = allocate(log, file, needed, capacity, &allocated);
    if (r == 0)
        r = os_file_write_full(log->ops, file, header, sizeof(header), 0);
    if (r == 0) {
        r = log->ops->sync(log->ops, file);
        if (r < 0)
            file_log_poison(log, "Syncing a new segment", r);
    }
    if (r < 0) {
        (void)log->ops->close(log->ops, file);
        return r;
    }
    *ret_file = file;
    *ret_allocated = allocated;
    return 0;
}

/* The new file is the log's last segment now; the one before loses what it did not use. */
static int adopt_segment(struct file_log *log, uint64_t first, int file, uint64_t allocated)
{
    int r;

    os_mutex_lock(&log->mutex);
    r = segment_add(log, first, FORMAT_SEGMENT_SIZE);
    os_mutex_unlock(&log->mutex);
    if (r < 0) {
        file_log_poison(log, "Taking up a new segment", r);
        (void)log->ops->close(log->ops, file);
        return r;
    }
    if (log->file >= 0) {
        (void)log->ops->truncate(log->ops, log->file, log->end);
        (void)log->ops->close(log->ops, log->file);
    }
    log->file = file;
    log->end = FORMAT_SEGMENT_SIZE;
    log->allocated = allocated;
    log->floor = first - 1;
    return 0;
}

/* After a rename that failed, or said so: the name must not be there, or frames written elsewhere would not be found. */
static void take_name_back(struct file_log *log, const char *path)
{
    int r = log->ops->remove(log->ops, path);

    if (r == 0 || r == -ENOENT)
        r = log->ops->sync_folder(log->ops, log->folder);
    if (r < 0)
        file_log_poison(log, "Taking back the name of a new segment", r);
}

/* F1: called only when all that is written is durable. */
static int new_segment(struct file_log *log, const struct job *job, uint64_t needed, uint64_t capacity)
{
    struct format_segment segment = {.first = job->first, .epoch = log->epoch, .chain = job->chain_before};
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    uint64_t allocated = 0;
    int file = -1, r;

    if (log->segment_count > 0) {
        segment.previous_first = log->segments[log->segment_count - 1].first;
        segment.previous_size = log->end;
    }
    r = segment_path(log, job->first, path);
    if (r == 0 && (size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
        r = -ENAMETOOLONG;
    if (r < 0)
        return r;
    r = write_new_segment(log, temporary, &segment, needed, capacity, &file, &allocated);
    if (r == 0) {
        r = log->ops->rename(log->ops, temporary, path);
        if (r < 0) {
            (void)log->ops->close(log->ops, file);
            take_name_back(log, path);
        }
    }
    if (r < 0) {
        (void)log->ops->remove(log->ops, temporary);
        return r;
    }
    r = log->ops->sync_folder(log->ops, log->folder);
    if (r < 0) {
        file_log_poison(log, "Syncing the folder of the log", r);
        (void)log->ops->close(log->ops, file);
        return r;
    }
    return adopt_segment(log, job->first, file, allocated);
}

/* Room for a group of `size` bytes and a floor behind it, in this segment or a new one. */
static int make_room(struct file_log *log, const struct job *job, uint64_t size)
{
    uint64_t needed = log->end + size + FLOOR_RESERVE, capacity = log->options.segment_size;
    int r;

    if (log->file < 0 || (needed > capacity && log->end > FORMAT_SEGMENT_SIZE)) {
        if (log->unsynced && sync_file(log) < 0)
            return -EIO;
        needed = FORMAT_SEGMENT_SIZE + size + FLOOR_RESERVE;
        return new_segment(log, job, needed, needed > capacity ? needed : capacity);
    }
    if (needed <= log->allocated)
        return 0;
    r = allocate(log, log->file, needed, needed > capacity ? needed : capacity, &log->allocated);
    if (is_full(r)) {
        /* What the attempt may have got goes back to others; the room we had stays ours. */
        (void)log->ops->truncate(log->ops, log->file, log->allocated);
    }
    return r;
}

static bool is_writable(struct file_log *log)
{
    _os_locked_(&log->mutex);

    return log->writable;
}

static enum log_outcome write_group(struct file_log *log, const struct job *group, uint64_t size)
{
    uint64_t offset;
    int r;

    if (!is_writable(log)) /* a floor's sync may have failed since the group was queued */
        return LOG_FAILED;
    r = make_room(log, group, size);
    if (r < 0)
        return is_full(r) && is_writable(log) ? LOG_FULL : LOG_FAILED;
    offset = log->end;
    for (const struct job *job = group; job; job = job->next) {
        r = os_file_write_full(log->ops, log->file, job->frames.data, job->frames.size, offset);
        if (r < 0)
            return cut_back(log, r);
        offset += job->frames.size;
    }
    log->unsynced = true;
    if (log->options.durability == LOG_SYNC && sync_file(log) < 0)
        return LOG_UNKNOWN;
    log->end = offset;
    return LOG_DURABLE;
}

int file_log_write_floor(struct file_log *log)
{
    uint8_t data[FORMAT_FRAME_SIZE];
    struct format_frame frame = {
        .kind = FORMAT_FLOOR,
        .first = log->durable + 1,
        .floor = log->durable,
        .epoch = log->epoch,
        .chain = log->chain_durable,
    };
    int r;

    log->floor_tried = log->durable;
    if (log->file < 0 || log->floor == log->durable)
        return 0;
    if (log->unsynced) { /* a floor never says more than the disk knows */
        r = sync_file(log);
        if (r < 0)
            return r;
    }
    format_put_frame(&frame, log->seed, data);
    r = os_file_write_full(log->ops, log->file, data, sizeof(data), log->end);
    if (r < 0) {
        (void)cut_back(log, r);
        return r;
    }
    r = sync_file(log);
    if (r < 0)
        return r;
    log->floor = log->durable;
    log->end += sizeof(data);
    os_mutex_lock(&log->mutex);
    log->segments[log->segment_count - 1].size = log->end;
    os_mutex_unlock(&log->mutex);
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

static void commit_group(struct file_log *log, struct job *group, uint64_t size)
{
    enum log_outcome outcome = write_group(log, group, size);
    struct job *queued;

    if (outcome == LOG_DURABLE) {
        publish(log, group, size);
        end_jobs(group, outcome);
        return;
    }
    queued = roll_back(log, outcome);
    end_jobs(group, outcome);
    end_jobs(queued, outcome == LOG_UNKNOWN ? LOG_FAILED : outcome);
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
        (void)sync_file(log);
    else
        (void)file_log_write_floor(log); /* no room for it: the next group's frames will carry it */
}

/* Waits for the queue or for the idle deadline; true when there is a group to write. The mutex is held. */
static bool wait_for_group(struct file_log *log, uint64_t *deadline_ns)
{
    for (;;) {
        if (log->queue_first && !log->busy)
            return true;
        if (log->stopping && !log->queue_first)
            return false;
        if (!has_idle_work(log) || log->busy) {
            os_cond_wait(&log->changed, &log->mutex);
        } else if (!os_cond_wait_until(&log->changed, &log->mutex, *deadline_ns)) {
            log->busy = true;
            os_mutex_unlock(&log->mutex);
            idle_work(log);
            os_mutex_lock(&log->mutex);
            log->busy = false;
            os_cond_broadcast(&log->changed);
            *deadline_ns = os_monotonic_ns() + log->options.idle_floor_ms * OS_NS_PER_MS;
        }
    }
}

/* LOG_ASYNC under load never idles: a sync is due after ASYNC_DELAY_MS all the same. */
static void sync_in_time(struct file_log *log, uint64_t *sync_due_ns)
{
    uint64_t now = os_monotonic_ns();

    if (!log->unsynced || log->options.durability != LOG_ASYNC) {
        *sync_due_ns = now + ASYNC_DELAY_MS * OS_NS_PER_MS;
    } else if (now >= *sync_due_ns) {
        (void)sync_file(log);
        *sync_due_ns = now + ASYNC_DELAY_MS * OS_NS_PER_MS;
    }
}

static void run_writer(void *user)
{
    struct file_log *log = (struct file_log *)user;
    uint64_t idle_ns = log->options.idle_floor_ms * OS_NS_PER_MS, deadline_ns = os_monotonic_ns() + idle_ns;
    uint64_t sync_due_ns = 0;

    os_mutex_lock(&log->mutex);
    while (wait_for_group(log, &deadline_ns)) {
        uint64_t size;
        struct job *group = take_group(log, &size);

        log->busy = true;
        os_mutex_unlock(&log->mutex);
        commit_group(log, group, size);
        sync_in_time(log, &sync_due_ns);
        deadline_ns = os_monotonic_ns() + idle_ns;
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
