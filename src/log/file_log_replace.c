/*
 * Putting a stub in a record's place. A stub is as large as what it replaces, so that nothing else moves; still the
 * segment is not changed in place, where a crash could tear it, but copied with the changed frame and renamed over the
 * old one. A reader that has the old file open reads on in it until it next asks the log for a place.
 */
#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

#define COPY_STEP_SIZE ((size_t)256 << 10)

/* The writer's thread stands still from here to end_alone(). */
static int begin_alone(struct file_log *log)
{
    _os_locked_(&log->mutex);

    while (log->busy || log->queue_first)
        os_cond_wait(&log->changed, &log->mutex);
    if (!log->writable)
        return LOG_E_READ_ONLY;
    log->busy = true;
    return 0;
}

static void end_alone(struct file_log *log)
{
    _os_locked_(&log->mutex);

    log->busy = false;
    os_cond_broadcast(&log->changed);
}

/* Puts the stub into the frame and its checksums right; *ret_changed says whether it was not there before. */
static int change_frame(struct file_log *log, const struct log_record *stub, const struct frame_place *place,
                        struct buffer *frame, bool *ret_changed)
{
    struct bytes body = bytes_make(frame->data + FORMAT_FRAME_SIZE, place->frame.body_size);
    struct log_record record = {0};
    struct log_chain chain = {0};
    size_t offset = 0;

    for (uint64_t position = place->frame.first; position <= stub->position; position++) {
        int r;

        offset = (size_t)(body.data - frame->data);
        r = format_get_record(&body, &record);
        assert(r == 0); /* the reader has checked the body */
    }
    record.position = stub->position;
    log_chain_step(&chain, &record, &chain); /* for its body hash */
    if (!bytes_equal(record.head, stub->head) ||
        memcmp(record.body_hash, stub->body_hash, LOG_CHAIN_SIZE) != 0)
        return -EINVAL;
    *ret_changed = !(record.flags & LOG_RECORD_STUB);
    format_make_stub(frame->data + offset, record.body_hash);
    format_put_frame(&place->frame, log->seed, frame->data);
    return 0;
}

/* Copies `size` bytes of one file to another, from the same place to the same place. */
static int copy_range(struct file_log *log, int from, int to, uint64_t offset, uint64_t size)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {0};
    int r = buffer_reserve(&bytes, COPY_STEP_SIZE);

    while (r == 0 && size > 0) {
        size_t step = size < COPY_STEP_SIZE ? (size_t)size : COPY_STEP_SIZE, got;

        r = os_file_read_full(log->ops, from, bytes.data, step, offset, &got);
        if (r == 0 && got != step)
            r = -EBADMSG;
        if (r == 0)
            r = os_file_write_full(log->ops, to, bytes.data, step, offset);
        offset += step;
        size -= step;
    }
    return r;
}

static int write_changed(struct file_log *log, const struct frame_place *place, struct bytes frame, int from,
                         int to)
{
    uint64_t size = log->segments[segment_index(log, place->segment_first)].size,
             behind = place->offset + frame.size;
    int r = copy_range(log, from, to, 0, place->offset);

    if (r == 0)
        r = os_file_write_full(log->ops, to, frame.data, frame.size, place->offset);
    if (r == 0)
        r = copy_range(log, from, to, behind, size - behind);
    return r == 0 ? log->ops->sync(log->ops, to) : r;
}

/* Makes the changed copy under a temporary name; on success *ret_file is open. */
static int make_copy(struct file_log *log, const char *path, const struct frame_place *place,
                     struct bytes frame, int *ret_file)
{
    int from, to, r;

    r = segment_open(log, place->segment_first, OS_FILE_READ, &from);
    if (r < 0)
        return r;
    r = log->ops->open(log->ops, path, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &to);
    if (r == 0) {
        r = write_changed(log, place, frame, from, to);
        if (r < 0)
            (void)log->ops->close(log->ops, to);
        else
            *ret_file = to;
    }
    (void)log->ops->close(log->ops, from);
    return r;
}

/* Readers that come by again open the new file; so does the writer, when it is the last segment. */
static void adopt_copy(struct file_log *log, uint64_t segment_first, int file)
{
    size_t index = segment_index(log, segment_first);

    _os_locked_(&log->mutex);
    log->segments[index].version++;
    if (index + 1 == log->segment_count) {
        (void)log->ops->close(log->ops, log->file);
        log->file = file;
        log->allocated = log->end;
    } else {
        (void)log->ops->close(log->ops, file);
    }
}

static int put_in_place(struct file_log *log, const struct frame_place *place, struct bytes frame)
{
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    int file = -1, r = segment_path(log, place->segment_first, path);

    if (r == 0 && (size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
        r = -ENAMETOOLONG;
    if (r < 0)
        return r;
    r = make_copy(log, temporary, place, frame, &file);
    if (r == 0) {
        r = log->ops->rename(log->ops, temporary, path);
        if (r < 0)
            (void)log->ops->close(log->ops, file);
    }
    if (r < 0) {
        (void)log->ops->remove(log->ops, temporary);
        return r;
    }
    adopt_copy(log, place->segment_first, file);
    r = log->ops->sync_folder(log->ops, log->folder);
    if (r < 0)
        file_log_poison(log, "Syncing the folder of the log", r);
    return r;
}

int file_log_replace(struct log *base, const struct log_record *stub)
{
    struct file_log *log = file_log_of(base);
    _cleanup_(buffer_deinit) struct buffer frame = {0};
    struct frame_place place;
    bool changed = false;
    int r;

    if (stub->position == 0 || !(stub->flags & LOG_RECORD_STUB))
        return -EINVAL;
    r = begin_alone(log);
    if (r != 0)
        return r;
    r = file_log_load_frame(log, stub->position, &frame, &place);
    if (r == 0)
        r = change_frame(log, stub, &place, &frame, &changed);
    if (r == 0 && changed)
        r = put_in_place(log, &place, buffer_bytes(&frame));
    end_alone(log);
    return r;
}
