/*
 * Readers. Those in one segment share its file, each has a window of its own, asks the log only when it has come to the
 * end of what it knows, and never looks at bytes that are not durable (L1): a segment's `size` in the list ends behind the last durable frame.
 *
 * A log opened for reading beside a writer in another process learns what is durable from durable.page, from the floors in
 * the files, and from the fact that a segment stands (F1): file_log_refresh().
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"

struct reader {
    struct log_reader base; /* first */
    struct file_log *log;
    uint64_t position; /* of the record next() will answer */

    struct shared_file *file; /* NULL: nowhere yet */
    struct walk walk;

    struct format_frame frame; /* the one being read */
    uint64_t frame_offset;     /* where it begins, 0: none yet */
    struct bytes rest;         /* its records not answered yet */
    uint64_t rest_position;    /* of the first of them */
};

static bool rest_is_empty(const struct reader *reader)
{
    return reader->rest.size == 0;
}

/* ---- finding the place ---- */

/* Takes the file of a segment, if it is not the one the reader has. The mutex is held. */
static int enter_segment(struct reader *reader, const struct segment *segment)
{
    struct shared_file *file;
    int r;

    if (reader->file && reader->file->first == segment->first && reader->file->version == segment->version)
        return 0;
    r = segment_acquire_file(reader->log, segment, &file);
    if (r < 0)
        return r;
    if (reader->file)
        segment_release_file(reader->log, reader->file);
    reader->file = file;
    reader->rest = (struct bytes){0};
    reader->walk.file = file->file;
    reader->walk.position = UINT64_MAX; /* nowhere in it yet */
    walk_forget(&reader->walk);
    return 0;
}

/* Goes to the frame that holds reader->position or, in its segment, lies before it. LOG_E_END beyond the head. */
static int go_to_place(struct reader *reader)
{
    struct file_log *log = reader->log;
    const struct segment *segment;
    struct mark mark;
    int r;

    _os_locked_(&log->mutex);
    if (reader->position > log->durable && log->options.read_only)
        (void)file_log_refresh(log);
    if (reader->position > log->durable)
        return log->incomplete ? -EBADMSG : LOG_E_END;
    segment = &log->segments[segment_index(log, reader->position)];
    r = enter_segment(reader, segment);
    if (r < 0)
        return r;
    mark = segment_find(segment, reader->position);
    if (reader->walk.position > reader->position || mark.position > reader->walk.position)
        walk_seek(&reader->walk, mark.offset, mark.position);
    reader->walk.limit = segment->size;
    return 0;
}

static int note_damage(struct reader *reader, const char *what)
{
    _os_locked_(&reader->log->mutex);

    file_log_note_damage(reader->log, reader->file->first, reader->walk.offset, what);
    return -EBADMSG;
}

/* Lets the log remember where a frame begins that was come by on the way. */
static void leave_mark(struct reader *reader, uint64_t position, uint64_t offset)
{
    struct file_log *log = reader->log;
    struct segment *segment;

    if (offset % MARK_GRANULE + format_frame_end(&reader->frame) < MARK_GRANULE)
        return; /* no granule begins in it */
    _os_locked_(&log->mutex);
    segment = &log->segments[segment_index(log, position)];
    if (segment->first == reader->file->first)
        segment_mark(segment, position, offset);
}

/* Skips frames by their headers up to the one that holds reader->position. */
static int skip_to_position(struct reader *reader)
{
    while (reader->walk.position < reader->position) {
        uint64_t offset = reader->walk.offset, position = reader->walk.position;
        int r = walk_skip(&reader->walk, &reader->frame);

        if (r != 0)
            return r;
        leave_mark(reader, position, offset);
        if (reader->walk.position > reader->position) {
            walk_seek(&reader->walk, offset, position);
            return 0;
        }
    }
    return 0;
}

static int walk_to_frame(struct reader *reader)
{
    const uint8_t *data;
    int r = skip_to_position(reader);

    do {
        uint64_t offset = reader->walk.offset, position = reader->walk.position;

        if (r == 0)
            r = walk_next(&reader->walk, &reader->frame, &data);
        if (r != 0)
            return r;
        leave_mark(reader, position, offset);
    } while (reader->frame.count == 0);
    reader->frame_offset = reader->walk.offset - format_frame_end(&reader->frame);
    reader->rest = bytes_make(data + FORMAT_FRAME_SIZE, reader->frame.body_size);
    reader->rest_position = reader->frame.first;
    return 0;
}

/* Whether the walk can go on from where it stands without asking the log. */
static bool is_on_the_way(const struct reader *reader)
{
    return reader->file && reader->walk.position <= reader->position &&
           reader->walk.offset < reader->walk.limit;
}

/* Loads the frame that holds reader->position. 0, LOG_E_END, -EBADMSG (noted) or -errno. */
static int load_frame(struct reader *reader)
{
    int r = WALK_E_END;

    /* Twice at most: behind the last frame this reader knew of there may be more by now. */
    for (int attempt = 0; attempt < 2 && r == WALK_E_END; attempt++) {
        if (attempt > 0 || !is_on_the_way(reader)) {
            r = go_to_place(reader);
            if (r == LOG_E_END)
                walk_rest(&reader->walk);
            if (r != 0)
                return r;
        }
        r = walk_to_frame(reader);
    }
    switch (r) {
    case WALK_E_END: return note_damage(reader, "frames that were written are missing");
    case WALK_E_DAMAGED: return note_damage(reader, reader->walk.what);
    case WALK_E_NEWER: return note_damage(reader, "a frame is of a newer format than this daybook can read");
    default: return r;
    }
}

/* ---- the reader's table ---- */

/* walk_next() has checked the body. */
static void take_record(struct reader *reader, struct log_record *ret_record)
{
    format_take_record(&reader->rest, reader->rest_position++, ret_record);
}

static int reader_next(struct log_reader *base, struct log_record *ret_record)
{
    struct reader *reader = (struct reader *)base;

    if (rest_is_empty(reader)) {
        int r = load_frame(reader);

        if (r != 0)
            return r;
    }
    do
        take_record(reader, ret_record);
    while (reader->rest_position <= reader->position);
    assert(ret_record->position == reader->position);
    reader->position++;
    return 0;
}

static int reader_seek(struct log_reader *base, uint64_t after)
{
    struct reader *reader = (struct reader *)base;
    uint64_t position = after + 1;

    /* Forward within the frame at hand: nothing is to be read. */
    if (rest_is_empty(reader) || position < reader->rest_position ||
        position > format_frame_last(&reader->frame))
        reader->rest = (struct bytes){0};
    reader->position = position;
    if (rest_is_empty(reader) && reader->walk.position != position)
        reader->walk.limit = 0; /* go by the log's list */
    return 0;
}

static void reader_free(struct log_reader *base)
{
    struct reader *reader = (struct reader *)base;

    if (reader->file) {
        os_mutex_lock(&reader->log->mutex);
        segment_release_file(reader->log, reader->file);
        os_mutex_unlock(&reader->log->mutex);
    }
    walk_deinit(&reader->walk);
    free(reader);
}

static void reader_freep(struct reader **reader)
{
    if (*reader)
        reader_free(&(*reader)->base);
}

static const struct log_reader_ops reader_ops = {
    .next = reader_next, .seek = reader_seek, .free = reader_free};

static struct reader *new_reader(struct file_log *log, uint64_t after)
{
    struct reader *reader = calloc(1, sizeof(*reader));

    if (!reader)
        return NULL;
    reader->base.ops = &reader_ops;
    reader->log = log;
    reader->position = after + 1;
    walk_init(&reader->walk, log->ops, -1, log->seed);
    return reader;
}

int file_log_reader_new(struct log *base, uint64_t after, struct log_reader **ret_reader)
{
    struct reader *reader = new_reader(file_log_of(base), after);

    if (!reader)
        return -ENOMEM;
    *ret_reader = &reader->base;
    return 0;
}

void file_log_reader_place(const struct log_reader *base, char ret_file[64], uint64_t *ret_offset)
{
    const struct reader *reader = (const struct reader *)base;

    assert(base->ops == &reader_ops);
    ret_file[0] = '\0';
    *ret_offset = reader->frame_offset;
    if (reader->frame_offset > 0)
        segment_name(reader->file->first, ret_file);
}

/* The chain before the frame at hand, moved on to `position`, which the frame holds. */
static struct log_chain chain_within(struct reader *reader, uint64_t position)
{
    struct log_chain chain = reader->frame.chain;

    while (reader->rest_position <= position) {
        struct log_record record;

        take_record(reader, &record);
        log_chain_step(&chain, &record, &chain);
    }
    return chain;
}

/* What is asked for most, the head's, needs no look at the disk. */
static bool chain_of_head(struct file_log *log, uint64_t position, struct log_chain *ret_chain)
{
    _os_locked_(&log->mutex);

    if (log->options.read_only || log->damaged || position != log->durable)
        return false;
    *ret_chain = log->chain_durable;
    return true;
}

int file_log_chain_at(struct log *base, uint64_t position, struct log_chain *ret_chain)
{
    struct file_log *log = file_log_of(base);
    _cleanup_(reader_freep) struct reader *reader = NULL;
    int r;

    if (position == 0) {
        *ret_chain = (struct log_chain){0};
        return 0;
    }
    if (chain_of_head(log, position, ret_chain))
        return 0;
    reader = new_reader(log, position - 1);
    if (!reader)
        return -ENOMEM;
    r = load_frame(reader);
    if (r != 0)
        return r;
    *ret_chain = chain_within(reader, position);
    return 0;
}

/* ---- beside a writer in another process ---- */

/* The floor of what stands behind the known end of the last segment. */
static int find_floor(struct walk *walk, uint64_t *floor)
{
    struct format_frame frame;
    int r;

    while ((r = walk_skip(walk, &frame)) == 0) {
        if (frame.floor > *floor)
            *floor = frame.floor;
    }
    return r < 0 ? r : 0; /* where it does not hold, somebody is writing */
}

/* To the known end of the last segment, to read what has changed since. */
static void go_behind_head(const struct file_log *log, struct walk *walk)
{
    walk_forget(walk);
    walk_seek(walk, log->segments[log->segment_count - 1].size, log->durable + 1);
}

/* What is missing was acknowledged: the head stays here for good. */
static void end_in_damage(struct file_log *log, uint64_t segment_first, uint64_t offset, const char *what)
{
    log->incomplete = true;
    file_log_note_damage(log, segment_first, offset, what);
}

/* Moves the head over the frames that hold nothing above the floor. What does not hold at or below it is noted as damage if
 * the floor is `evident`: stands in the files themselves. */
static int take_frames(struct file_log *log, struct walk *walk, uint64_t floor, bool evident)
{
    struct segment *segment = &log->segments[log->segment_count - 1];

    go_behind_head(log, walk);
    for (;;) {
        struct format_frame frame;
        const uint8_t *data;
        uint64_t offset = walk->offset;
        int r = walk_next(walk, &frame, &data);

        if (r == WALK_E_DAMAGED && evident && walk->position <= floor)
            end_in_damage(log, segment->first, offset, walk->what);
        if (r != 0)
            return r < 0 ? r : 0;
        if (format_frame_last(&frame) > floor)
            return 0;
        segment_mark(segment, frame.first, offset);
        segment->size = walk->offset;
        if (frame.count > 0)
            log->durable = format_frame_last(&frame);
    }
}

/* What the page vouches for; if that is nothing new, or did not hold, what the floors do. */
static int take_what_is_durable(struct file_log *log, struct walk *walk, uint64_t told)
{
    uint64_t floor = log->durable;
    int r;

    if (told > log->durable) {
        r = take_frames(log, walk, told, false);
        if (r < 0 || log->durable == told)
            return r;
    }
    go_behind_head(log, walk);
    r = find_floor(walk, &floor);
    return r < 0 ? r : take_frames(log, walk, floor, true);
}

/* Takes up what is new in the last segment. `sealed_at`: a next segment stands, and all up to here is durable; or 0.
 * `told`: by the page. */
static int refresh_last(struct file_log *log, uint64_t sealed_at, uint64_t told)
{
    struct segment *segment = &log->segments[log->segment_count - 1];
    _cleanup_(walk_deinit) struct walk walk = {0};
    int file, r, closed;

    r = segment_open(log, segment->first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    walk_init(&walk, log->ops, file, log->seed);
    r = sealed_at ? take_frames(log, &walk, sealed_at, true) : take_what_is_durable(log, &walk, told);
    closed = log->ops->close(log->ops, file);
    return error_first(r, closed);
}

/* The lowest segment in the folder above `after`, or 0. */
static int next_segment(struct file_log *log, uint64_t after, uint64_t *ret_first)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    uint64_t lowest = 0;
    int r = log->ops->list(log->ops, log->folder, &names);

    if (r < 0)
        return r;
    for (size_t offset = 0; offset < names.size;) {
        const char *name = (const char *)names.data + offset;
        uint64_t first = segment_parse_name(name);

        if (first > after && (lowest == 0 || first < lowest))
            lowest = first;
        offset += strlen(name) + 1;
    }
    *ret_first = lowest;
    return 0;
}

int file_log_refresh(struct file_log *log)
{
    /* Before anything else: what it vouches for stands in the files by then. */
    uint64_t told = log->incomplete ? 0 : file_log_page_read(log);

    while (!log->incomplete) {
        uint64_t last = log->segment_count > 0 ? log->segments[log->segment_count - 1].first : 0, next;
        int r = next_segment(log, last, &next);

        if (r == 0 && log->segment_count > 0)
            r = refresh_last(log, next ? next - 1 : 0, told);
        if (r < 0 || next == 0)
            return r;
        if (log->durable + 1 != next)
            return 0; /* damage, noted; or the folder changed under us */
        r = segment_add(log, next, FORMAT_SEGMENT_SIZE);
        if (r < 0)
            return r;
    }
    return 0;
}
