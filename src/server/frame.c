#include "server/frame.h"

#include <stdlib.h>

#include "base/names.h"
#include "journal/event_json.h"

bool frame_type_misleads(struct bytes type)
{
    static const char *const own[] = {"open", "error", "message"};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (bytes_equal_string(type, own[i]))
            return true;
    return name_type_is_reserved(type);
}

void frame_unref(struct frame *frame)
{
    if (!frame || --frame->refs > 0)
        return;
    if (frame->pinned_in)
        http_memory_set(frame->pinned_in, &frame->held, 0);
    free(frame->tags);
    free(frame->text);
    free(frame);
}

void frame_leave(struct frame *frame, struct http *http)
{
    if (frame->refs > 1) {
        frame->pinned_in = http;
        http_memory_set(http, &frame->held, frame_size(frame));
    }
    frame_unref(frame);
}

int frame_text(const struct server *server, const struct journal_event *event, struct buffer *out,
               size_t *ret_name_size)
{
    char cursor[CURSOR_TEXT_SIZE];
    int r = buffer_printf(out, "event: %.*s\n", BYTES_PRINT(event->type));

    cursor_format(server, event->position, cursor);
    *ret_name_size = out->size;
    r = r < 0 ? r : buffer_printf(out, "id: %s\ndata: ", cursor);
    r = r < 0 ? r : event_json_write(event, out);
    return r < 0 ? r : buffer_append(out, "\n\n", 2);
}

/* Appends stream and tags, for matching, behind the text. */
static int frame_subject(const struct journal_event *event, struct buffer *out)
{
    int r = buffer_append_bytes(out, event->stream);

    for (size_t i = 0; i < event->tag_count && r == 0; i++)
        r = buffer_append_bytes(out, event->tags[i]);
    return r;
}

static void frame_point(struct frame *frame, const struct journal_event *event, size_t name_size,
                        size_t text_size)
{
    const uint8_t *at = frame->text + text_size;

    frame->name = bytes_make(frame->text, name_size);
    frame->rest = bytes_make(frame->text + name_size, text_size - name_size);
    frame->subject =
        (struct filter_subject){.type = bytes_make(frame->text + 7, name_size - 8), /* "event: ", "\n" */
                                .stream = bytes_make(at, event->stream.size),
                                .version = event->version,
                                .tags = frame->tags,
                                .tag_count = event->tag_count};
    if (frame_type_misleads(event->type))
        frame->name = (struct bytes){0};
    at += event->stream.size;
    for (size_t i = 0; i < event->tag_count; i++) {
        frame->tags[i] = bytes_make(at, event->tags[i].size);
        at += event->tags[i].size;
    }
}

int frame_new(const struct server *server, const struct journal_event *event, struct frame **ret_frame)
{
    struct buffer text = {0};
    size_t name_size = 0, text_size;
    struct frame *frame = calloc(1, sizeof(*frame));
    struct bytes *tags = calloc(event->tag_count + 1, sizeof(*tags));
    int r = frame && tags ? frame_text(server, event, &text, &name_size) : -ENOMEM;

    text_size = text.size;
    if (r == 0)
        r = frame_subject(event, &text);
    if (r < 0) {
        buffer_deinit(&text);
        free(tags);
        free(frame);
        return r;
    }
    *frame = (struct frame){.refs = 1, .position = event->position, .tags = tags, .text = text.data};
    frame_point(frame, event, name_size, text_size);
    *ret_frame = frame;
    return 0;
}

size_t frame_size(const struct frame *frame)
{
    return frame->name.size + frame->rest.size + sizeof(*frame);
}
