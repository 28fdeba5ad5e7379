#include "log/file_log_walk.h"

#include <assert.h>

#define STEP_SIZE_FIRST ((size_t)8 << 10)
#define STEP_SIZE_MAX   ((size_t)256 << 10)

void walk_init(struct walk *walk, const struct os_file_ops *ops, int file, uint32_t seed)
{
    *walk = (struct walk){
        .ops = ops,
        .file = file,
        .seed = seed,
        .offset = FORMAT_SEGMENT_SIZE,
        .limit = UINT64_MAX,
        .position = 1,
        .step = STEP_SIZE_FIRST,
    };
}

void walk_deinit(struct walk *walk)
{
    buffer_deinit(&walk->window);
}

void walk_forget(struct walk *walk)
{
    buffer_clear(&walk->window);
}

void walk_rest(struct walk *walk)
{
    buffer_deinit(&walk->window);
    walk->step = STEP_SIZE_FIRST;
}

void walk_seek(struct walk *walk, uint64_t offset, uint64_t position)
{
    bool near = offset >= walk->window_offset && offset <= walk->window_offset + walk->window.size;

    if (!near)
        walk->step = STEP_SIZE_FIRST;
    walk->offset = offset;
    walk->position = position;
}

/* Reads the window anew so that it begins at the offset, for `size` bytes or more. */
static int read_window(struct walk *walk, size_t size)
{
    uint64_t room = walk->limit - walk->offset;
    size_t wanted = size > walk->step ? size : walk->step, got;
    int r;

    if (wanted > room)
        wanted = (size_t)room;
    buffer_clear(&walk->window);
    r = buffer_reserve(&walk->window, wanted);
    if (r < 0)
        return r;
    r = os_file_read_full(walk->ops, walk->file, walk->window.data, wanted, walk->offset, &got);
    if (r < 0)
        return r;
    walk->window.size = got;
    walk->window_offset = walk->offset;
    if (walk->step < STEP_SIZE_MAX)
        walk->step *= 2;
    return 0;
}

/* `size` bytes at the offset. WALK_E_END when there are not that many before the limit or the end of the file. */
static int need(struct walk *walk, size_t size, const uint8_t **ret_data)
{
    uint64_t end;
    int r;

    if (walk->offset > walk->limit || size > walk->limit - walk->offset)
        return WALK_E_END;
    end = walk->window_offset + walk->window.size;
    if (walk->offset < walk->window_offset || walk->offset > end || size > end - walk->offset) {
        r = read_window(walk, size);
        if (r < 0)
            return r;
        if (walk->window.size < size)
            return WALK_E_END;
    }
    *ret_data = walk->window.data + (walk->offset - walk->window_offset);
    return 0;
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static int damaged(struct walk *walk, const char *what)
{
    walk->what = what;
    return WALK_E_DAMAGED;
}

/* Between here and the limit there is less than a frame: nothing, or the rest of one. */
static int judge_rest(struct walk *walk)
{
    uint64_t end;
    int r = walk_find_end(walk, &end);

    if (r < 0)
        return r;
    return end == walk->offset ? WALK_E_END : damaged(walk, "a frame is cut short");
}

static int read_header(struct walk *walk, struct format_frame *ret_frame, const uint8_t **ret_data)
{
    struct format_frame frame;
    int r = need(walk, FORMAT_FRAME_SIZE, ret_data);

    if (r == WALK_E_END)
        return judge_rest(walk);
    if (r < 0)
        return r;
    if (is_zero(*ret_data, FORMAT_FRAME_SIZE))
        return WALK_E_END;
    r = format_get_frame(*ret_data, walk->seed, &frame);
    if (r == FORMAT_E_NEWER)
        return WALK_E_NEWER;
    if (r != 0)
        return damaged(walk, "the header of a frame does not hold");
    if (frame.first != walk->position)
        return damaged(walk, "a frame begins at another position than the one that follows");
    *ret_frame = frame;
    return 0;
}

int walk_next(struct walk *walk, struct format_frame *ret_frame, const uint8_t **ret_data)
{
    struct format_frame frame;
    const uint8_t *data;
    int r = read_header(walk, &frame, &data);

    if (r != 0)
        return r;
    r = need(walk, (size_t)format_frame_end(&frame), &data);
    if (r == WALK_E_END)
        return damaged(walk, "a frame is cut short");
    if (r < 0)
        return r;
    if (!format_check_body(&frame, data, walk->seed))
        return damaged(walk, "the body of a frame does not match its checksum");
    walk->offset += format_frame_end(&frame);
    walk->position += frame.count;
    *ret_frame = frame;
    *ret_data = data;
    return 0;
}

int walk_skip(struct walk *walk, struct format_frame *ret_frame)
{
    struct format_frame frame;
    const uint8_t *data;
    int r = read_header(walk, &frame, &data);

    if (r != 0)
        return r;
    walk->offset += format_frame_end(&frame);
    walk->position += frame.count;
    *ret_frame = frame;
    return 0;
}

/* Steps to the next place in the window that begins with a frame's magic; false at its end. Room that was never written is
 * zeros, tens of megabytes of it: a window without anything else is passed over whole. */
static bool find_magic(struct walk *walk)
{
    const uint8_t *data = walk->window.data;
    size_t at = (size_t)(walk->offset - walk->window_offset);

    if (at + FORMAT_FRAME_SIZE <= walk->window.size && is_zero(data + at, walk->window.size - at))
        at += (walk->window.size - at - FORMAT_FRAME_SIZE) / FORMAT_ALIGN * FORMAT_ALIGN + FORMAT_ALIGN;
    for (; at + FORMAT_FRAME_SIZE <= walk->window.size; at += FORMAT_ALIGN) {
        if (format_is_frame(data + at)) {
            walk->offset = walk->window_offset + at;
            return true;
        }
    }
    walk->offset = walk->window_offset + at;
    return false;
}

int walk_search(struct walk *walk, struct format_frame *ret_frame, uint64_t *ret_offset)
{
    for (;;) {
        const uint8_t *data;
        struct format_frame frame;
        int r = need(walk, FORMAT_FRAME_SIZE, &data);

        if (r != 0)
            return r;
        if (!find_magic(walk))
            continue;
        r = format_get_frame(walk->window.data + (walk->offset - walk->window_offset), walk->seed, &frame);
        if (r == 0 && frame.first >= walk->position) {
            *ret_frame = frame;
            *ret_offset = walk->offset;
            walk->offset += FORMAT_FRAME_SIZE;
            return 0;
        }
        walk->offset += FORMAT_ALIGN;
    }
}

/* Where the last byte that is not zero ends; there is one. */
static size_t written_size(const uint8_t *data, size_t size)
{
    while (data[size - 1] == 0)
        size--;
    return size;
}

int walk_find_end(struct walk *walk, uint64_t *ret_end)
{
    uint64_t begin = walk->offset, end = begin;
    int r = 0;

    while (r == 0 && walk->offset < walk->limit) {
        r = read_window(walk, 1);
        if (r < 0 || walk->window.size == 0)
            break;
        if (!is_zero(walk->window.data, walk->window.size))
            end = walk->offset + written_size(walk->window.data, walk->window.size);
        walk->offset += walk->window.size;
    }
    walk->offset = begin;
    walk_forget(walk);
    if (r < 0)
        return r;
    *ret_end = end;
    return 0;
}
