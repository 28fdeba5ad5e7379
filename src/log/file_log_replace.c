/*
 * Putting stubs in records' places. A stub is as large as what it replaces, so that nothing else moves; still a segment is
 * not changed in place, where a crash could tear it, but copied with the changed frames and renamed over the old one. A
 * reader that has the old file open reads on in it until it next asks the log for a place.
 *
 * One call changes one segment, however many of its records go. Blocks of the copy that hold nothing but zeros are not
 * written, so that a file system with sparse files gives their room back: large bodies leave holes, small ones do not.
 */
#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

#define COPY_STEP_SIZE ((size_t)256 << 10)
#define BLOCK_SIZE     ((size_t)4096) /* what file systems allocate; a hole is made of whole ones */

/* A segment being copied. */
struct copy {
    struct file_log *log;
    const struct log_range *ranges;
    size_t range_count;
    uint64_t segment_first, position_max; /* its records */
    uint64_t size;                        /* bytes of it that hold something */
    struct mark start;                    /* at or before the first record that goes */
    int from, to;
    struct buffer frames; /* changed or not, on their way into the copy */
    uint64_t frames_at;   /* where they go */
    struct log_replaced replaced;
};

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

/* ---- frames ---- */

static uint64_t whole_blocks(uint64_t begin, uint64_t end)
{
    uint64_t first = (begin + BLOCK_SIZE - 1) / BLOCK_SIZE, last = end / BLOCK_SIZE;

    return last > first ? (last - first) * BLOCK_SIZE : 0;
}

/* Turns the record at `data`, which will stand at `offset` of the file, into its stub. */
static void change_record(struct copy *copy, struct log_record *record, uint8_t *data, uint64_t offset)
{
    struct log_chain chain = {0};
    uint64_t end = offset + format_record_size(record);

    log_chain_step(&chain, record, &chain); /* for its body hash */
    copy->replaced.count++;
    copy->replaced.body_bytes += record->body_size;
    copy->replaced.room_bytes +=
        whole_blocks(offset + FORMAT_RECORD_SIZE + record->head.size + LOG_CHAIN_SIZE, end);
    format_make_stub(data, record->body_hash);
}

/* Changes those of a frame's records that are to go. `data`: the whole frame, to stand at `offset`. */
static void change_frame(struct copy *copy, const struct format_frame *frame, uint8_t *data, uint64_t offset)
{
    struct bytes body = bytes_make(data + FORMAT_FRAME_SIZE, frame->body_size);
    bool changed = false;

    for (uint64_t position = frame->first; position <= format_frame_last(frame); position++) {
        size_t at = (size_t)(body.data - data);
        struct log_record record;

        format_take_record(&body, position, &record); /* the walk has checked the body */
        if (log_ranges_find(copy->ranges, copy->range_count, position) != position ||
            (record.flags & LOG_RECORD_STUB))
            continue;
        change_record(copy, &record, data + at, offset + at);
        changed = true;
    }
    if (changed)
        format_put_frame(frame, copy->log->seed, data);
}

/* ---- bytes ---- */

static bool is_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* Writes to the fresh file, leaving out whole blocks of zeros. */
static int write_sparsely(const struct copy *copy, const uint8_t *data, size_t size, uint64_t offset)
{
    int r = 0;

    for (size_t done = 0, step; r == 0 && done < size; done += step) {
        step = BLOCK_SIZE - (size_t)((offset + done) % BLOCK_SIZE);
        if (step > size - done)
            step = size - done;
        if (step == BLOCK_SIZE && is_zero(data + done, step))
            continue;
        /* As far as there is something to write, in one go. */
        while (step < size - done) {
            size_t next = size - done - step < BLOCK_SIZE ? size - done - step : BLOCK_SIZE;

            if (next == BLOCK_SIZE && is_zero(data + done + step, next))
                break;
            step += next;
        }
        r = os_file_write_full(copy->log->ops, copy->to, data + done, step, offset + done);
    }
    return r;
}

/* Copies from one place of a file to the same place of the other. */
static int copy_range(const struct copy *copy, uint64_t offset, uint64_t end)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {0};
    int r = buffer_reserve(&bytes, COPY_STEP_SIZE);

    while (r == 0 && offset < end) {
        size_t step = end - offset < COPY_STEP_SIZE ? (size_t)(end - offset) : COPY_STEP_SIZE, got;

        r = os_file_read_full(copy->log->ops, copy->from, bytes.data, step, offset, &got);
        if (r == 0 && got != step)
            r = -EBADMSG;
        if (r == 0)
            r = write_sparsely(copy, bytes.data, step, offset);
        offset += step;
    }
    return r;
}

static int flush_frames(struct copy *copy)
{
    int r = write_sparsely(copy, copy->frames.data, copy->frames.size, copy->frames_at);

    copy->frames_at += copy->frames.size;
    buffer_clear(&copy->frames);
    return r;
}

static int take_frame(struct copy *copy, const struct format_frame *frame, const uint8_t *data)
{
    size_t at = copy->frames.size;
    int r = buffer_append(&copy->frames, data, (size_t)format_frame_end(frame));

    if (r < 0)
        return r;
    if (frame->count > 0)
        change_frame(copy, frame, copy->frames.data + at, copy->frames_at + at);
    return copy->frames.size >= COPY_STEP_SIZE ? flush_frames(copy) : 0;
}

/* From the frame before the first record that goes to the one behind the last that does. */
static int copy_frames(struct copy *copy, uint64_t *ret_end)
{
    _cleanup_(walk_deinit) struct walk walk = {0};
    struct format_frame frame;
    const uint8_t *data;
    int r = 0;

    walk_init(&walk, copy->log->ops, copy->from, copy->log->seed);
    walk_seek(&walk, copy->start.offset, copy->start.position);
    walk.limit = copy->size;
    copy->frames_at = copy->start.offset;
    for (;;) {
        uint64_t next = log_ranges_find(copy->ranges, copy->range_count, walk.position);

        if (next == 0 || next > copy->position_max)
            break;
        r = walk_next(&walk, &frame, &data);
        if (r == 0)
            r = take_frame(copy, &frame, data);
        if (r != 0)
            return r < 0 ? r : -EBADMSG;
    }
    *ret_end = walk.offset;
    return flush_frames(copy);
}

static int copy_segment(struct copy *copy)
{
    const struct os_file_ops *ops = copy->log->ops;
    uint64_t end = 0;
    int r = copy_range(copy, 0, copy->start.offset);

    if (r == 0)
        r = copy_frames(copy, &end);
    if (r == 0)
        r = copy_range(copy, end, copy->size);
    if (r == 0)
        r = ops->truncate(ops, copy->to, copy->size); /* the end may be a hole */
    if (r < 0)
        return r;
    r = ops->sync(ops, copy->to);
    if (r < 0)
        file_log_poison(copy->log, "Syncing a segment without its bodies", r); /* L4 */
    return r;
}

/* Makes the changed copy under a temporary name; on success copy->to is open. */
static int make_copy(struct copy *copy, const char *path)
{
    const struct os_file_ops *ops = copy->log->ops;
    int r = segment_open(copy->log, copy->segment_first, OS_FILE_READ, &copy->from);

    if (r < 0)
        return r;
    r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &copy->to);
    if (r == 0) {
        r = copy_segment(copy);
        if (r < 0)
            (void)ops->close(ops, copy->to);
    }
    (void)ops->close(ops, copy->from);
    return r;
}

/* ---- the new file in the old one's place ---- */

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

static int put_in_place(struct copy *copy)
{
    struct file_log *log = copy->log;
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    int r = segment_path(log, copy->segment_first, path);

    if (r == 0 && (size_t)snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= sizeof(temporary))
        r = -ENAMETOOLONG;
    if (r < 0)
        return r;
    r = make_copy(copy, temporary);
    if (r == 0 && copy->replaced.count == 0) {
        (void)log->ops->close(log->ops, copy->to);
        return log->ops->remove(log->ops, temporary);
    }
    if (r == 0) {
        r = log->ops->rename(log->ops, temporary, path);
        if (r < 0)
            (void)log->ops->close(log->ops, copy->to);
    }
    if (r < 0) {
        (void)log->ops->remove(log->ops, temporary);
        return r;
    }
    adopt_copy(log, copy->segment_first, copy->to);
    r = log->ops->sync_folder(log->ops, log->folder);
    if (r < 0)
        file_log_poison(log, "Syncing the folder of the log", r);
    return r;
}

/* The segment that holds `position`, and what of it is asked for. Readers move marks meanwhile, hence the lock. */
static void find_segment(struct copy *copy, uint64_t position)
{
    struct file_log *log = copy->log;
    size_t index;

    _os_locked_(&log->mutex);
    index = segment_index(log, position);
    copy->segment_first = log->segments[index].first;
    copy->size = log->segments[index].size;
    copy->start = segment_find(&log->segments[index], position);
    copy->position_max =
        index + 1 == log->segment_count ? log->durable : log->segments[index + 1].first - 1;
}

int file_log_replace(struct log *base, const struct log_range *ranges, size_t count, uint64_t from,
                     struct log_replaced *ret_replaced)
{
    struct file_log *log = file_log_of(base);
    struct copy copy = {.log = log, .ranges = ranges, .range_count = count};
    int r = begin_alone(log);

    if (r != 0)
        return r;
    r = log->unsynced ? file_log_sync(log) : 0; /* LOG_ASYNC: what says that they go is on the disk first */
    find_segment(&copy, log_ranges_find(ranges, count, from));
    if (r == 0)
        r = put_in_place(&copy);
    end_alone(log);
    buffer_deinit(&copy.frames);
    if (r < 0)
        return r;
    copy.replaced.next = log_ranges_find(ranges, count, copy.position_max + 1);
    *ret_replaced = copy.replaced;
    return 0;
}
