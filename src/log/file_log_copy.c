/*
 * Copying the frames of a log into a folder of segments: what backup and restore have in common.
 *
 * Frames are copied, not files: each is checked on its way, the chain over it is computed and compared, and the copy may
 * begin and end at any append. A segment of the copy is made under another name, ends with a FLOOR that vouches for all of
 * it, is synced and renamed, and the next one is begun only then. So the folder is at every moment a whole log, up to the
 * last segment that stands, whatever is killed and whenever; nobody can tell it from a log that was closed there.
 *
 * The copy's segments end where the source's do, but may begin elsewhere: what was added at one time is a segment of its own.
 */
#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_copy.h"

#define COPY_STEP_SIZE ((size_t)1 << 20) /* bytes written at once */

/* A segment of the copy on its way. */
struct piece {
    char path[OS_PATH_SIZE_MAX], temporary[OS_PATH_SIZE_MAX];
    int file;
    uint64_t first, written; /* bytes in the file; those in copy->step come behind them */
};

static int fail_at(struct copy *copy, uint64_t segment_first, uint64_t offset, const char *what)
{
    char name[SEGMENT_NAME_SIZE];

    segment_name(segment_first, name);
    (void)snprintf(copy->error, ERROR_SIZE, "%s is damaged at byte %llu: %s", name,
                   (unsigned long long)offset, what);
    return -EBADMSG;
}

/* ---- writing ---- */

static int flush_step(struct copy *copy, struct piece *piece)
{
    int r =
        os_file_write_full(copy->ops, piece->file, copy->step.data, copy->step.size, piece->written);

    if (r < 0)
        return r;
    piece->written += copy->step.size;
    copy->report.bytes += copy->step.size;
    buffer_clear(&copy->step);
    return 0;
}

static int put(struct copy *copy, struct piece *piece, const uint8_t *data, size_t size)
{
    int r = buffer_append(&copy->step, data, size);

    return r == 0 && copy->step.size >= COPY_STEP_SIZE ? flush_step(copy, piece) : r;
}

static int begin_piece(struct copy *copy, struct piece *piece)
{
    struct format_segment header = {
        .first = copy->last + 1,
        .epoch = copy->from->epoch,
        .previous_first = copy->previous_first,
        .previous_size = copy->previous_size,
        .chain = copy->chain,
    };
    uint8_t data[FORMAT_SEGMENT_SIZE];
    char name[SEGMENT_NAME_SIZE];
    int r;

    *piece = (struct piece){.first = header.first, .file = -1};
    segment_name(piece->first, name);
    r = os_path(piece->path, copy->folder, name);
    if (r == 0 && (size_t)snprintf(piece->temporary, sizeof(piece->temporary), "%s.tmp", piece->path) >=
                      sizeof(piece->temporary))
        r = -ENAMETOOLONG;
    if (r == 0)
        r = copy->ops->open(copy->ops, piece->temporary, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE,
                            &piece->file);
    if (r < 0)
        return r;
    buffer_clear(&copy->step);
    format_put_segment(&header, copy->from->seed, data);
    return put(copy, piece, data, sizeof(data));
}

/* The copy is durable as far as it goes, and says so: who opens it for reading sees all of it. */
static int put_floor(struct copy *copy, struct piece *piece)
{
    struct format_frame frame = {
        .kind = FORMAT_FLOOR,
        .first = copy->last + 1,
        .floor = copy->last,
        .epoch = copy->from->epoch,
        .chain = copy->chain,
    };
    uint8_t data[FORMAT_FRAME_SIZE];

    format_put_frame(&frame, copy->from->seed, data);
    return put(copy, piece, data, sizeof(data));
}

/* The segment stands, or nothing has changed. */
static int finish_piece(struct copy *copy, struct piece *piece)
{
    int r = put_floor(copy, piece), closed;

    if (r == 0)
        r = flush_step(copy, piece);
    if (r == 0)
        r = copy->ops->sync(copy->ops, piece->file);
    closed = copy->ops->close(copy->ops, piece->file);
    piece->file = -1;
    r = error_first(r, closed);
    if (r == 0)
        r = copy->ops->rename(copy->ops, piece->temporary, piece->path);
    if (r == 0)
        r = copy->ops->sync_folder(copy->ops, copy->folder);
    if (r < 0)
        return r;
    copy->previous_first = piece->first;
    copy->previous_size = piece->written;
    copy->report.segments++;
    return 0;
}

static void abandon_piece(struct copy *copy, struct piece *piece)
{
    if (piece->file >= 0)
        (void)copy->ops->close(copy->ops, piece->file);
    (void)copy->ops->remove(copy->ops, piece->temporary);
}

/* ---- reading ---- */

/* Goes to the frame that begins right behind `position`. */
static int find_frame(struct copy *copy, struct walk *walk, const struct segment *segment, uint64_t position)
{
    struct mark mark = segment_find(segment, position + 1);

    walk_seek(walk, mark.offset, mark.position);
    while (walk->position <= position) {
        struct format_frame frame;
        uint64_t offset = walk->offset;
        int r = walk_skip(walk, &frame);

        if (r < 0)
            return r;
        if (r > 0)
            return fail_at(copy, segment->first, offset, "the records that the copy goes on with are missing");
    }
    if (walk->position == position + 1)
        return 0;
    return fail_at(copy, segment->first, walk->offset, "no append begins where the copy ends");
}

/* One frame goes over. False in *ret_more: the copy ends before it. */
static int copy_frame(struct copy *copy, struct piece *piece, const struct segment *segment, struct walk *walk,
                      bool *ret_more)
{
    struct format_frame frame;
    const uint8_t *data;
    uint64_t offset = walk->offset;
    int r = walk_next(walk, &frame, &data);

    *ret_more = false;
    if (r == WALK_E_END || r < 0)
        return r < 0 ? r : 0;
    if (r > 0)
        return fail_at(copy, segment->first, offset,
                       r == WALK_E_NEWER ? "a frame is of a newer format" : walk->what);
    if (frame.kind == FORMAT_RECORDS && format_frame_last(&frame) > copy->until)
        return 0;
    *ret_more = true;
    if (memcmp(frame.chain.bytes, copy->chain.bytes, LOG_CHAIN_SIZE) != 0)
        return fail_at(copy, segment->first, offset, "the chain does not continue");
    if (frame.kind != FORMAT_RECORDS)
        return 0;
    file_log_chain_over(&frame, data, &copy->chain);
    copy->last = format_frame_last(&frame);
    return put(copy, piece, data, (size_t)format_frame_end(&frame));
}

static void advance(struct copy *copy, uint64_t bytes)
{
    copy->done += bytes;
    if (copy->on_progress)
        copy->on_progress(copy->user, copy->done, copy->total);
}

static int copy_frames(struct copy *copy, struct piece *piece, const struct segment *segment, struct walk *walk)
{
    bool more = true;
    int r = 0;

    while (r == 0 && more) {
        uint64_t offset = walk->offset;

        r = copy_frame(copy, piece, segment, walk, &more);
        advance(copy, walk->offset - offset);
    }
    return r;
}

/* What of the segment at `index` lies behind copy->last and is wanted becomes a segment of the copy, unless it is nothing. */
static int copy_segment(struct copy *copy, size_t index)
{
    const struct segment *segment = &copy->from->segments[index];
    _cleanup_(walk_deinit) struct walk walk = {0};
    struct piece piece = {.file = -1};
    int file, r;

    r = segment_open(copy->from, segment->first, OS_FILE_READ, &file);
    if (r < 0)
        return r;
    walk_init(&walk, copy->from->ops, file, copy->from->seed);
    walk.limit = segment->size;
    r = find_frame(copy, &walk, segment, copy->last);
    if (r == 0) {
        r = begin_piece(copy, &piece);
        if (r == 0)
            r = copy_frames(copy, &piece, segment, &walk);
        if (r == 0 && copy->last >= piece.first)
            r = finish_piece(copy, &piece);
        else
            abandon_piece(copy, &piece);
        if (r < 0)
            abandon_piece(copy, &piece);
    }
    (void)copy->from->ops->close(copy->from->ops, file);
    return r;
}

/* ---- */

/* How many bytes of the source are to be looked at, for progress. */
static uint64_t measure(const struct copy *copy, size_t index)
{
    uint64_t total = 0;

    for (; index < copy->from->segment_count && copy->from->segments[index].first <= copy->until; index++)
        total += copy->from->segments[index].size;
    return total;
}

int file_log_copy(struct copy *copy)
{
    struct file_log *from = copy->from;
    int r = 0;

    assert(copy->last <= from->durable);
    if (copy->until > from->durable)
        copy->until = from->durable;
    if (copy->last < copy->until)
        copy->total = measure(copy, segment_index(from, copy->last + 1));
    while (r == 0 && copy->last < copy->until) {
        size_t index = segment_index(from, copy->last + 1);
        uint64_t last = copy->last;

        r = copy_segment(copy, index);
        if (r == 0 && index + 1 < from->segment_count && from->segments[index + 1].first <= copy->until &&
            from->segments[index + 1].first != copy->last + 1)
            r = fail_at(copy, from->segments[index].first, from->segments[index].size,
                        "bytes that were written are missing");
        if (copy->last == last)
            break; /* the next append ends beyond `until` */
    }
    if (r == 0 && copy->until == from->durable && copy->last != from->durable)
        r = fail_at(copy, from->segments[from->segment_count - 1].first, 0, "records that were durable are missing");
    buffer_deinit(&copy->step);
    copy->report.head = copy->last;
    return r;
}

/* ---- folders ---- */

struct folder_content file_log_look_into(const struct buffer *names)
{
    struct folder_content content = {0};

    for (size_t offset = 0; offset < names->size;) {
        const char *name = (const char *)names->data + offset;
        size_t size = strlen(name);

        if (strcmp(name, "log.head") == 0)
            content.head = true;
        else if (segment_parse_name(name))
            content.segments = true;
        else if (strcmp(name, COPY_RESTORE_MARK) == 0)
            content.restoring = true;
        else if (strcmp(name, COPY_MADE_MARK) == 0)
            content.copied = true;
        else if (strcmp(name, "writer.lock") != 0 && strcmp(name, "durable.page") != 0 &&
                 (size < 4 || strcmp(name + size - 4, ".tmp") != 0))
            content.foreign = true;
        offset += size + 1;
    }
    return content;
}

int file_log_remove_names(const struct os_file_ops *ops, const char *folder, const struct buffer *names,
                          bool segments)
{
    for (size_t offset = 0; offset < names->size;) {
        const char *name = (const char *)names->data + offset;
        size_t size = strlen(name);
        char path[OS_PATH_SIZE_MAX];
        bool ours = size > 4 && strcmp(name + size - 4, ".tmp") == 0 && strcmp(name, COPY_RESTORE_MARK) != 0;

        if (ours || (segments && segment_parse_name(name))) {
            int r = os_path(path, folder, name);
            if (r == 0)
                r = ops->remove(ops, path);
            if (r < 0)
                return r;
        }
        offset += size + 1;
    }
    return 0;
}

int file_log_put_head(const struct os_file_ops *ops, const char *folder, const struct format_head *head)
{
    uint8_t data[FORMAT_HEAD_SIZE];
    int r;

    format_put_head(head, data);
    r = os_file_replace(ops, folder, "log.head", bytes_make(data, sizeof(data)));
    return r == 0 ? os_file_sync_parent(ops, folder) : r;
}
