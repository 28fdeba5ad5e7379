#include "server/row.h"

#include <stdlib.h>

#include "base/vector.h"

enum { TURN_COUNT = 512 }; /* events put into the row before others get their turn */

static void drop_first(struct row *row)
{
    struct frame *frame = row->frames[row->first];

    row->floor = frame->position;
    row->size -= frame_size(frame);
    frame_leave(frame, row->server->http);
    row->first++;
    row->count--;
}

static int add(struct row *row, struct frame *frame)
{
    if (row->first > 0 && row->first + row->count == row->capacity) {
        memmove(row->frames, row->frames + row->first, row->count * sizeof(*row->frames));
        row->first = 0;
    }
    int r = vector_reserve(&row->frames, &row->capacity, row->first + row->count + 1);
    if (r < 0)
        return r;
    row->frames[row->first + row->count++] = frame;
    row->size += frame_size(frame);
    row->encoded++;
    while (row->count > 1 && row->size > row->server->options->limits.subscription_buffer_size_max)
        drop_first(row);
    row->frames_size_bytes = row->size;
    return 0;
}

void row_clear(struct row *row)
{
    while (row->count > 0)
        drop_first(row);
    journal_reader_free(take_ptr(row->reader));
    row->first = 0;
    row->frames_size_bytes = 0;
}

void row_deinit(struct row *row)
{
    row_clear(row);
    free(take_ptr(row->frames));
}

void row_begin(struct row *row)
{
    if (row->reader)
        return;
    /* daybook's own events too: who asked for them gets them, and the filter keeps them from others. */
    struct journal_read read = {.after = journal_head(row->server->journal), .system = true};

    row->floor = row->reached = read.after;
    if (journal_reader_new(row->server->journal, &read, &row->reader) != 0)
        row->reader = NULL; /* no memory: subscriptions are cut and may come back */
}

bool row_find(const struct row *row, uint64_t after, size_t *ret_index)
{
    size_t low = row->first, end = row->first + row->count, high = end;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (row->frames[middle]->position <= after)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_index = low;
    return low < end;
}

struct frame *row_at(const struct row *row, size_t index)
{
    return index < row->first + row->count ? row->frames[index] : NULL;
}

static int take_one(struct row *row)
{
    struct journal_event event;
    struct frame *frame;
    int r = journal_reader_next(row->reader, &event);

    if (r != 0)
        return r;
    r = frame_new(row->server, &event, &frame);
    if (r < 0)
        return r;
    r = add(row, frame);
    if (r < 0)
        frame_unref(frame);
    else
        row->reached = event.position;
    return r;
}

bool row_take_new(struct row *row)
{
    int r = 0;

    for (int i = 0; i < TURN_COUNT && r == 0; i++)
        r = take_one(row);
    if (r == JOURNAL_E_END && journal_reader_examined(row->reader) > row->reached)
        row->reached = journal_reader_examined(row->reader);
    if (r < 0) { /* F1: begin anew behind what could not be held; subscribers read it from the journal */
        row_clear(row);
        row_begin(row);
    }
    return r == 0;
}
