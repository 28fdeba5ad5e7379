#pragma once

/* frame: one event, encoded once as a server-sent event for all who get it. Loop only, but for frame_text(). */

#include "server/internal.h"

struct frame {
    unsigned refs;
    uint64_t position;
    struct filter_subject subject; /* points into text */
    struct bytes name;             /* "event: TYPE\n", only for those who want it; empty for frame_type_misleads() */
    struct bytes rest;             /* "id: …\ndata: …\n\n" */
    struct bytes *tags;
    uint8_t *text;
    struct http *pinned_in; /* it is in no row, and counted there: only clients that are slow hold it */
    size_t held;
};

/* Whether an `event:` line with this type would be taken for something else: a frame of the server's, or what an EventSource
 * says of its own connection. Such events come without one, and their type stands in the data. */
bool frame_type_misleads(struct bytes type);
/* With one reference, the caller's. 0, -ENOMEM, -E2BIG. */
_must_check_ int frame_new(const struct server *server, const struct journal_event *event,
                           struct frame **ret_frame);
/* It leaves its row: what others still hold of it is counted as memory of answers from now on. */
void frame_leave(struct frame *frame, struct http *http);
/* NULL is fine. */
void frame_unref(struct frame *frame);
/* Bytes it takes. */
size_t frame_size(const struct frame *frame);

/* Appends `event: TYPE`, which only those get who want names, and behind `ret_name_size` bytes id and data, alike for
 * all. 0, -ENOMEM, -E2BIG. */
_must_check_ int frame_text(const struct server *server, const struct journal_event *event,
                            struct buffer *out, size_t *ret_name_size);
