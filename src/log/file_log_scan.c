/*
 * What a crash has left: docs/formats/log.md, "Opening, and what damage means". Nothing here changes a file.
 *
 * Frames are walked twice. First by checksums and positions, to the first that does not hold (S) and then, byte by
 * byte, past it, for the highest floor (F). Then from the last frame below F on by the chain as well: above F lies only
 * what one writer wrote in its last moments, and a frame of another history must not be taken for it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

/* ---- the last segment ---- */

static void scan_frame(struct scan *scan, const struct format_frame *frame, uint64_t end)
{
    if (frame->floor > scan->floor)
        scan->floor = frame->floor;
    if (frame->epoch > scan->epoch)
        scan->epoch = frame->epoch;
    scan->tail_end = end;
    scan->tail = frame->first + frame->count - 1;
}

/* To the first frame that does not hold. */
static int scan_forward(struct walk *walk, struct file_log *log, struct scan *scan)
{
    for (;;) {
        struct format_frame frame;
        const uint8_t *data;
        uint64_t offset = walk->offset;
        int r = walk_next(walk, &frame, &data);

        if (r == WALK_E_DAMAGED)
            scan->what = walk->what;
        if (r != 0)
            return r == WALK_E_NEWER ? FILE_LOG_E_NEWER : r < 0 ? r : 0;
        segment_mark(&log->segments[log->segment_count - 1], frame.first, offset);
        scan_frame(scan, &frame, walk->offset);
    }
}

/* Floors past S. They count only on frames that follow what we have. */
static int scan_past(struct walk *walk, struct scan *scan)
{
    struct format_frame frame;
    uint64_t offset;
    int r;

    while ((r = walk_search(walk, &frame, &offset)) == 0) {
        if (frame.floor > scan->floor)
            scan->floor = frame.floor;
        if (frame.epoch > scan->epoch)
            scan->epoch = frame.epoch;
    }
    return r == WALK_E_END ? 0 : r;
}

void file_log_chain_over(const struct format_frame *frame, const uint8_t *data, struct log_chain *chain)
{
    enum { AT_ONCE = 16 };
    struct bytes body = bytes_make(data + FORMAT_FRAME_SIZE, frame->body_size);
    struct log_record records[AT_ONCE];
    size_t taken = 0;

    for (uint32_t i = 0; i < frame->count; i++) {
        format_take_record(&body, frame->first + i, &records[taken++]); /* walk_next() has checked the body */
        if (taken == AT_ONCE || i + 1 == frame->count) {
            log_chain_steps(chain, records, taken);
            taken = 0;
        }
    }
}

/* Where to begin so that one frame of records at or below F gives the chain above it. */
static struct mark begin_of_chain(const struct segment *segment, const struct scan *scan)
{
    struct mark mark = {.position = segment->first, .offset = FORMAT_SEGMENT_SIZE};

    if (scan->floor >= segment->first)
        mark = segment_find(segment, scan->floor);
    return mark;
}

/* The second walk: cuts the tail where the chain breaks, finds the chain after T and the end of what F covers. */
static int scan_chain(struct walk *walk, struct file_log *log, const struct format_segment *header,
                      struct scan *scan)
{
    struct segment *segment = &log->segments[log->segment_count - 1];
    struct mark begin = begin_of_chain(segment, scan);
    uint64_t end = scan->tail_end;

    walk_seek(walk, begin.offset, begin.position);
    scan->chain_tail = header->chain;
    scan->tail_end = scan->floor_end = begin.offset;
    scan->tail = begin.position - 1;
    while (walk->offset < end) {
        struct format_frame frame;
        const uint8_t *data;
        int r = walk_next(walk, &frame, &data);

        if (r != 0)
            return r < 0 ? r : -EBADMSG; /* it held a moment ago */
        if (frame.first > scan->floor &&
            memcmp(frame.chain.bytes, scan->chain_tail.bytes, LOG_CHAIN_SIZE) != 0) {
            scan->what = "the chain does not continue";
            return 0;
        }
        scan->chain_tail = frame.chain;
        file_log_chain_over(&frame, data, &scan->chain_tail);
        scan->tail = frame.first + frame.count - 1;
        scan->tail_end = walk->offset;
        if (frame.count > 0 && scan->tail <= scan->floor)
            scan->floor_end = walk->offset;
    }
    return 0;
}

static int scan_once(struct walk *walk, struct file_log *log, const struct format_segment *header,
                     struct scan *ret_scan)
{
    struct scan scan = {
        .floor = header->first - 1,
        .tail = header->first - 1,
        .tail_end = FORMAT_SEGMENT_SIZE,
        .floor_end = FORMAT_SEGMENT_SIZE,
        .epoch = header->epoch,
        .chain_tail = header->chain,
        .what = "bytes that were written are missing",
    };
    int r;

    walk_forget(walk);
    walk_seek(walk, FORMAT_SEGMENT_SIZE, header->first);
    r = scan_forward(walk, log, &scan);
    if (r == 0)
        r = scan_past(walk, &scan);
    if (r == 0)
        r = scan_chain(walk, log, header, &scan);
    if (r != 0)
        return r;
    scan.damaged = scan.floor > scan.tail;
    *ret_scan = scan;
    return 0;
}

/* Beside a writer, the frame that was missing a moment ago may stand by now, and the floor above it have been read since:
 * whoever sees such a floor and looks again sees the frame. */
static bool has_moved_on(struct walk *walk, const struct scan *scan)
{
    struct format_frame frame;
    const uint8_t *data;

    walk_forget(walk);
    walk_seek(walk, scan->tail_end, scan->tail + 1);
    return walk_next(walk, &frame, &data) == 0;
}

int file_log_scan(struct file_log *log, int file, const struct format_segment *header, uint64_t file_size,
                  struct scan *ret_scan)
{
    _cleanup_(walk_deinit) struct walk walk = {0};
    struct scan scan;
    int r;

    walk_init(&walk, log->ops, file, log->seed);
    walk.limit = file_size;
    do
        r = scan_once(&walk, log, header, &scan);
    while (r == 0 && scan.damaged && log->options.read_only && has_moved_on(&walk, &scan));
    if (r == 0)
        *ret_scan = scan;
    return r;
}

/* ---- all of them ---- */

static int compare_segments(const void *a, const void *b)
{
    uint64_t left = ((const struct segment *)a)->first, right = ((const struct segment *)b)->first;

    return (left > right) - (left < right);
}

static int list_segments(struct file_log *log, const struct buffer *names)
{
    for (size_t offset = 0; offset < names->size;) {
        const char *name = (const char *)names->data + offset;
        uint64_t first = segment_parse_name(name);
        int r = first ? segment_add(log, first, 0) : 0;

        if (r < 0)
            return r;
        offset += strlen(name) + 1;
    }
    if (log->segment_count > 1)
        qsort(log->segments, log->segment_count, sizeof(*log->segments), compare_segments);
    return 0;
}

int file_log_list_again(struct file_log *log)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = log->ops->list(log->ops, log->folder, &names);

    segments_drop(log, 0);
    return r < 0 ? r : list_segments(log, &names);
}

/* 0, FILE_LOG_E_NEWER, FORMAT_E_INVALID or -errno. */
static int read_header(struct file_log *log, int file, struct format_segment *ret_header)
{
    uint8_t data[FORMAT_SEGMENT_SIZE];
    size_t size;
    int r = os_file_read_full(log->ops, file, data, sizeof(data), 0, &size);

    if (r < 0)
        return r;
    r = format_get_segment(bytes_make(data, size), log->seed, ret_header);
    return r == FORMAT_E_NEWER ? FILE_LOG_E_NEWER : r;
}

/* Whether the segment at `index` follows the one before it, whose size its header tells. */
static const char *check_link(struct file_log *log, size_t index, const struct format_segment *header)
{
    const struct segment *before = index > 0 ? &log->segments[index - 1] : NULL;

    if (header->first != log->segments[index].first)
        return "the header of the segment is of another position than its name";
    if (header->previous_first != (before ? before->first : 0))
        return before ? "the segment before it is missing" : "the segments before it are missing";
    if (before && before->size < header->previous_size)
        return "the segment before it is shorter than it was";
    return NULL;
}

/* Opens, reads and checks one segment; the last one is scanned. On damage, which is noted, the log ends before it. */
static int recover_segment(struct file_log *log, size_t index, struct scan *scan, char *error)
{
    struct segment *segment = &log->segments[index];
    uint64_t first = segment->first;
    struct format_segment header;
    const char *what;
    int file, r, closed;

    r = segment_open(log, first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    r = read_header(log, file, &header);
    if (r == 0)
        r = log->ops->size(log->ops, file, &segment->size);
    if (r == FORMAT_E_INVALID)
        what = "the header of the segment does not hold";
    else
        what = r == 0 ? check_link(log, index, &header) : NULL;
    if (r == 0 && !what && index > 0)
        log->segments[index - 1].size = header.previous_size;
    if (r == 0 && !what && index == log->segment_count - 1)
        r = file_log_scan(log, file, &header, segment->size, scan);
    closed = log->ops->close(log->ops, file);
    if (r == FILE_LOG_E_NEWER)
        (void)snprintf(error, ERROR_SIZE,
                       "%020llu.seg is of a newer format than this daybook can read (format %d)",
                       (unsigned long long)first, FORMAT_VERSION);
    if (what) {
        segments_drop(log, index + 1);
        file_log_note_damage(log, first, 0, what);
        r = 0;
    }
    return r != 0 ? r : closed;
}

/* Everything up to the damage noted stays readable: the head is the last position before it. */
static int end_before_damage(struct file_log *log, struct scan *scan)
{
    struct segment *last;
    struct format_segment header;
    uint64_t size;
    int file, r, closed;

    segments_drop(log, log->segment_count - 1);
    *scan = (struct scan){.damaged = true};
    if (log->segment_count == 0)
        return 0;
    last = &log->segments[log->segment_count - 1];
    size = last->size;
    r = segment_open(log, last->first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    r = read_header(log, file, &header);
    if (r == 0)
        r = file_log_scan(log, file, &header, size, scan);
    closed = log->ops->close(log->ops, file);
    scan->damaged = true;
    return r > 0 ? -EBADMSG : error_first(r, closed);
}

/* Asked after the scan: nobody writes now, so what was found is what the next writer would find. */
static bool is_written_to(struct file_log *log)
{
    char path[OS_PATH_SIZE_MAX];
    bool locked = true;
    int file, r = os_path(path, log->folder, FILE_LOG_LOCK_NAME);

    if (r == 0)
        r = log->ops->open(log->ops, path, OS_FILE_READ, &file);
    if (r < 0)
        return r != -ENOENT;
    r = log->ops->is_locked(log->ops, file, &locked);
    (void)log->ops->close(log->ops, file);
    return r < 0 || locked;
}

/* What a writer that was killed has left need not be on the disk yet, and nobody is shown what is not (P3). A disk that is
 * mounted read-only has nothing to sync. */
static int sync_last(struct file_log *log)
{
    int file, r, closed;

    if (log->segment_count == 0)
        return 0;
    r = segment_open(log, log->segments[log->segment_count - 1].first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    r = log->ops->sync(log->ops, file);
    closed = log->ops->close(log->ops, file);
    return r == -EROFS || r == -EINVAL ? closed : error_first(r, closed);
}

/* A reader's end. Beside a writer, which may be at work on what lies above the floor, that is the floor; the page may tell
 * more. */
static int find_readers_end(struct file_log *log, struct scan *scan)
{
    if (scan->floor < scan->tail && !is_written_to(log))
        return sync_last(log);
    scan->tail = scan->floor;
    scan->tail_end = scan->floor_end;
    return 0;
}

int file_log_recover(struct file_log *log, struct buffer *names, struct scan *ret_scan, char *error)
{
    struct scan scan = {0};
    int r = list_segments(log, names);

    for (size_t i = 0; r == 0 && i < log->segment_count && !log->damaged; i++)
        r = recover_segment(log, i, &scan, error);
    if (r == 0 && log->damaged)
        r = end_before_damage(log, &scan);
    else if (r == 0 && scan.damaged)
        file_log_note_damage(log, log->segments[log->segment_count - 1].first, scan.tail_end, scan.what);
    if (r != 0)
        return r;
    if (log->options.read_only && !scan.damaged)
        r = find_readers_end(log, &scan);
    if (r < 0)
        return r;
    log->durable = log->synced = log->submitted = scan.tail;
    log->chain_durable = log->chain_submitted = scan.chain_tail;
    log->floor = log->floor_tried = scan.floor;
    log->incomplete = log->damaged;
    log->epoch = scan.epoch;
    log->end = scan.tail_end;
    if (log->segment_count > 0)
        segment_cut(&log->segments[log->segment_count - 1], scan.tail_end);
    *ret_scan = scan;
    return 0;
}
