/*
 * What the file log does to the disk. Whoever calls is `busy`: one at a time.
 *
 * A group fails in one of three ways. There was no room, or the write failed: the file is cut back to the last good frame,
 * that cut is synced, and the log goes on (LOG_FULL, LOG_FAILED). Or the sync failed, or the cut could not be made: nobody
 * knows what the disk holds, and nothing is accepted until the log is opened anew (LOG_UNKNOWN, L4).
 */
#include <assert.h>
#include <stdio.h>

#include "log/file_log_internal.h"
#include "os/clock.h"

/* What a FLOOR takes is kept free behind every group, so that one always fits. */
#define FLOOR_RESERVE FORMAT_FRAME_SIZE

/* When the whole segment does not fit on the disk, room is asked for in steps of this. */
#define ROOM_STEP_SIZE (UINT64_C(64) << 10)

static bool is_full(int failure)
{
    return failure == -ENOSPC || failure == -EDQUOT || failure == -EFBIG;
}

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

int file_log_sync(struct file_log *log)
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
    if (file_log_sync(log) < 0)
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

    assert(log->file < 0 || log->end <= log->allocated); /* F5 */
    if (log->file < 0 || (needed > capacity && log->end > FORMAT_SEGMENT_SIZE)) {
        if (log->unsynced && file_log_sync(log) < 0)
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

static bool wants_sync(const struct job *group)
{
    while (group && !group->batch->sync)
        group = group->next;
    return group != NULL;
}

enum log_outcome file_log_write_group(struct file_log *log, const struct job *group, uint64_t size)
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
    if ((log->options.durability == LOG_SYNC || wants_sync(group)) && file_log_sync(log) < 0)
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
        r = file_log_sync(log);
        if (r < 0)
            return r;
    }
    format_put_frame(&frame, log->seed, data);
    r = os_file_write_full(log->ops, log->file, data, sizeof(data), log->end);
    if (r < 0) {
        (void)cut_back(log, r);
        return r;
    }
    r = file_log_sync(log);
    if (r < 0)
        return r;
    log->floor = log->durable;
    log->end += sizeof(data);
    if (log->allocated < log->end) /* a file without anything behind its last frame has grown */
        log->allocated = log->end;
    os_mutex_lock(&log->mutex);
    log->segments[log->segment_count - 1].size = log->end;
    os_mutex_unlock(&log->mutex);
    return 0;
}
