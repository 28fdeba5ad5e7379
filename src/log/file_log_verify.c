/*
 * Reading everything: each checksum, the order of positions, the chain over all records, the links between segments. On
 * damage the search goes on with the next frame that holds, so that one bad place does not hide another.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

/* How often a place is read before it counts as damaged. */
#define LOOKS_MAX 3

struct verify {
    struct file_log *log; /* opened for reading, its list of segments taken anew */
    struct file_log_report report;
    uint64_t done, total;
    uint64_t position; /* the next one expected */
    bool chain_known;  /* false behind damage, until a frame tells */
    uint64_t segment_first;
    bool last_segment;
    void (*on_damage)(void *user, const struct file_log_damage *damage);
    void (*on_progress)(void *user, uint64_t done, uint64_t total);
    void *user;
};

static void damage_at(struct verify *verify, uint64_t position, uint64_t offset, const char *what)
{
    struct file_log_damage damage = {
        .offset = offset,
        .position = position,
        .acknowledged = !verify->last_segment || position <= verify->report.floor,
    };

    verify->report.damage_count++;
    verify->report.acknowledged_count += damage.acknowledged;
    if (!verify->on_damage)
        return;
    segment_name(verify->segment_first, damage.file);
    (void)snprintf(damage.what, sizeof(damage.what), "%s", what);
    verify->on_damage(verify->user, &damage);
}

static void tell(struct verify *verify, uint64_t offset, const char *what)
{
    damage_at(verify, verify->position, offset, what);
}

static const char *what_of(const struct walk *walk, int answer)
{
    if (answer == WALK_E_END)
        return "bytes that were written are missing";
    return answer == WALK_E_NEWER ? "a frame is of a newer format" : walk->what;
}

/* The highest floor among all frames of the last segment, wherever they stand. */
static int find_floor(struct verify *verify, struct walk *walk)
{
    struct format_frame frame;
    uint64_t offset;
    int r;

    verify->report.floor = verify->segment_first - 1; /* F1 */
    while ((r = walk_search(walk, &frame, &offset)) == 0) {
        if (frame.floor > verify->report.floor)
            verify->report.floor = frame.floor;
    }
    return r == WALK_E_END ? 0 : r;
}

static void check_records(struct verify *verify, const struct format_frame *frame, const uint8_t *data,
                          uint64_t offset)
{
    if (verify->chain_known && memcmp(frame->chain.bytes, verify->report.chain.bytes, LOG_CHAIN_SIZE) != 0)
        tell(verify, offset, "the chain does not continue");
    verify->report.chain = frame->chain;
    verify->chain_known = true;
    file_log_chain_over(frame, data, &verify->report.chain);
    verify->report.frames++;
    verify->report.records += frame->count;
    verify->position = frame->first + frame->count;
    verify->report.head = verify->position - 1;
}

/* Beside a writer, what does not hold above the floor may be on its way: it is read anew before it counts. */
static int look_again(struct walk *walk, struct format_frame *ret_frame, const uint8_t **ret_data)
{
    int r = WALK_E_END;

    for (int attempt = 0; attempt < LOOKS_MAX && r > 0; attempt++) {
        walk_forget(walk);
        r = walk_next(walk, ret_frame, ret_data);
    }
    return r;
}

/* Goes to the next frame that holds, for a segment that has a bad place in it. False: there is none. */
static int find_next(struct verify *verify, struct walk *walk, bool *ret_found)
{
    struct format_frame frame;
    uint64_t offset;
    int r;

    walk->offset += FORMAT_ALIGN;
    r = walk_search(walk, &frame, &offset);
    if (r < 0)
        return r;
    *ret_found = r == 0;
    if (r == 0) {
        walk_seek(walk, offset, frame.first);
        verify->position = frame.first;
        verify->chain_known = false;
    }
    return 0;
}

static void advance(struct verify *verify, uint64_t bytes)
{
    verify->done += bytes;
    if (verify->on_progress)
        verify->on_progress(verify->user, verify->done, verify->total);
}

/* A frame behind a place where there was none: beside a writer, both may have come since. Then the walk goes on there. */
static bool has_moved_on(struct walk *walk, uint64_t offset, uint64_t position)
{
    uint64_t found = walk->offset, found_position = walk->position;
    struct format_frame frame;
    const uint8_t *data;

    walk_forget(walk);
    walk_seek(walk, offset, position);
    if (walk_next(walk, &frame, &data) != 0) {
        walk_seek(walk, found, found_position);
        return false;
    }
    walk_seek(walk, offset, position);
    return true;
}

static int check_frames(struct verify *verify, struct walk *walk)
{
    bool more = true;

    while (more) {
        struct format_frame frame;
        const uint8_t *data;
        uint64_t offset = walk->offset, position = verify->position;
        bool chain_known = verify->chain_known;
        int r = walk_next(walk, &frame, &data), found;

        if (r > 0 && verify->last_segment && position > verify->report.floor)
            r = look_again(walk, &frame, &data);
        if (r < 0)
            return r;
        if (r == 0) {
            check_records(verify, &frame, data, offset);
            continue;
        }
        found = find_next(verify, walk, &more);
        if (found < 0)
            return found;
        if (r == WALK_E_END && !more)
            break;
        if (more && verify->last_segment && has_moved_on(walk, offset, position)) {
            verify->position = position;
            verify->chain_known = chain_known;
            continue;
        }
        damage_at(verify, position, offset, what_of(walk, r));
    }
    return 0;
}

/* A segment's header and its place behind the one before. False: its frames cannot be trusted to follow. */
static int check_header(struct verify *verify, int file, size_t index, struct format_segment *ret_header)
{
    const struct segment *before = index > 0 ? &verify->log->segments[index - 1] : NULL;
    uint8_t data[FORMAT_SEGMENT_SIZE];
    size_t size;
    int r = os_file_read_full(verify->log->ops, file, data, sizeof(data), 0, &size);

    if (r < 0)
        return r;
    r = format_get_segment(bytes_make(data, size), verify->log->seed, ret_header);
    if (r != 0) {
        tell(verify, 0,
             r == FORMAT_E_NEWER ? "the segment is of a newer format" : "the header does not hold");
        *ret_header = (struct format_segment){.first = verify->segment_first};
        verify->chain_known = false;
        return 0;
    }
    if (ret_header->first != verify->segment_first)
        tell(verify, 0, "the header is of another position than the file's name");
    if (ret_header->previous_first != (before ? before->first : 0))
        tell(verify, 0, "the segment before it is missing");
    if (before && before->size < ret_header->previous_size)
        tell(verify, 0, "the segment before it is shorter than it was");
    return 0;
}

static int check_segment(struct verify *verify, size_t index)
{
    struct segment *segment = &verify->log->segments[index];
    _cleanup_(walk_deinit) struct walk walk = {0};
    struct format_segment header;
    int file, r, closed;

    verify->segment_first = segment->first;
    verify->last_segment = index + 1 == verify->log->segment_count;
    r = segment_open(verify->log, segment->first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    walk_init(&walk, verify->log->ops, file, verify->log->seed);
    walk.limit = segment->size;
    walk_seek(&walk, FORMAT_SEGMENT_SIZE, segment->first);
    r = verify->last_segment ? find_floor(verify, &walk) : 0;
    if (r == 0 && verify->position != segment->first)
        tell(verify, 0, "the records before it are missing");
    verify->position = segment->first;
    if (r == 0)
        r = check_header(verify, file, index, &header);
    if (r == 0 && verify->chain_known &&
        memcmp(header.chain.bytes, verify->report.chain.bytes, LOG_CHAIN_SIZE) != 0)
        tell(verify, 0, "the chain does not continue");
    walk_forget(&walk); /* what was read before the floor says less than the floor */
    walk_seek(&walk, FORMAT_SEGMENT_SIZE, segment->first);
    if (r == 0)
        r = check_frames(verify, &walk);
    closed = verify->log->ops->close(verify->log->ops, file);
    advance(verify, segment->size);
    return error_first(r, closed);
}

/* The sizes of the files as they stand, whatever recovery thought of them. */
static int measure(struct verify *verify)
{
    const struct os_file_ops *ops = verify->log->ops;

    for (size_t i = 0; i < verify->log->segment_count; i++) {
        struct segment *segment = &verify->log->segments[i];
        int file, r = segment_open(verify->log, segment->first, OS_FILE_READ, &file);

        if (r < 0)
            return r;
        r = ops->size(ops, file, &segment->size);
        (void)ops->close(ops, file);
        if (r < 0)
            return r;
        verify->total += segment->size;
    }
    return 0;
}

static int run_verify(struct verify *verify)
{
    int r = file_log_list_again(verify->log);

    if (r == 0)
        r = measure(verify);
    verify->position = 1;
    verify->chain_known = true;
    for (size_t i = 0; r == 0 && i < verify->log->segment_count; i++)
        r = check_segment(verify, i);
    verify->report.segments = verify->log->segment_count;
    verify->report.bytes = verify->total;
    return r;
}

int file_log_verify(const char *folder, const struct os_file_ops *file,
                    void (*on_damage)(void *user, const struct file_log_damage *damage),
                    void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                    struct file_log_report *ret_report, char *ret_error)
{
    struct file_log_options options = {.file = file, .read_only = true};
    struct verify verify = {.on_damage = on_damage, .on_progress = on_progress, .user = user};
    struct log *log;
    int r = file_log_open(folder, &options, &log, ret_error);

    if (r != 0)
        return r;
    verify.log = file_log_of(log);
    r = run_verify(&verify);
    if (r == 0)
        *ret_report = verify.report;
    else if (ret_error)
        (void)snprintf(ret_error, ERROR_SIZE, "%s cannot be read: %s", folder, strerrordesc_np(-r));
    (void)log_close(log);
    return r;
}
