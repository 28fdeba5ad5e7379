/* Subscriptions: events as server-sent events, from any position on, then live.
 *
 * A subscriber is a cursor and a filter; it has no queue. What is new is read and encoded once for all, into a row of
 * *frames* in memory, as many as subscription_buffer_size_max holds. A subscriber whose cursor lies within the row walks
 * along it; one that is behind it (it has just come, or its client is slow) reads from the journal, on a worker, piece by
 * piece, until it has reached the row. Its connection asks for more only when the client has taken what it was given.
 *
 *     journal:  1 2 3 4 5 6 7 8 9 10 11 12 13         the row holds all that is shown after `floor`
 *                       ^        [floor=9  ^           a cursor ≥ floor walks the row; a lower one reads the journal
 *
 * All of it belongs to the loop, but for run() of an errand, which touches only what belongs to a subscriber's reading.
 *
 * Invariants:
 * F1 every event after `floor` up to `reached` that readers are shown is in the row, in order.
 * F2 a subscriber's cursor only grows; every matching event up to it was handed to the connection, none after it.
 * F3 a frame is freed when it has left the row and nobody is in the middle of sending it. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vector.h"
#include "journal/event_json.h"
#include "os/clock.h"
#include "server/errand.h"
#include "server/internal.h"

enum {
    TURN_COUNT = 512,   /* events put into the row before others get their turn */
    BEAT_TICK_MS = 500, /* between two looks at who has been silent */
    TEXT_SIZE_MAX = 512,
};

/* One event, encoded. */
struct frame {
    unsigned refs;
    uint64_t position;
    struct filter_subject subject; /* points into text */
    struct bytes name;             /* "event: TYPE\n", only for those who want it */
    struct bytes rest;             /* "id: …\ndata: …\n\n" */
    struct bytes *tags;
    uint8_t *text;
};

struct subscriber {
    struct errand errand;
    struct feed *feed;
    struct http_request *request; /* NULL: gone, waiting for its errand */
    struct subscriber *next, *previous;
    bool listed;
    struct filter filter;
    bool named;
    uint64_t cursor;
    uint64_t told;  /* position of the last id sent */
    bool announced; /* daybook.caught-up was sent */
    bool waiting;
    bool beat; /* a sign of life is due */
    uint64_t sent_ms;
    /* being sent */
    struct bytes greeting;
    struct frame *frame;
    struct bytes parts[2];
    char text[TEXT_SIZE_MAX]; /* the server's own frames */
    /* catching up: the errand's while it is out */
    struct journal_reader *reader;
    struct buffer piece;
    size_t piece_offset;
    uint64_t piece_end; /* every position up to it is in the piece or was passed over */
    int failure;
};

struct feed {
    struct server *server;
    struct journal_listener listener;
    struct http_task moved;
    atomic_bool moved_posted;
    struct journal_reader *reader; /* what is new; NULL while nobody subscribes */
    struct frame **row;
    size_t first, count, capacity; /* the row is row[first … first + count) */
    size_t row_size;
    uint64_t floor, reached; /* F1 */
    struct subscriber *subscribers;
    struct http_timer beat;
    atomic_uint_fast64_t open, delivered, refused, frames, frames_bytes;
};

/* ---- frames ---- */

static void frame_unref(struct frame *frame)
{
    if (!frame || --frame->refs > 0)
        return;
    free(frame->tags);
    free(frame->text);
    free(frame);
}

/* `event: TYPE` only when named; then id and data, alike for all. */
static int frame_text(const struct server *server, const struct journal_event *event, struct buffer *out,
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
    at += event->stream.size;
    for (size_t i = 0; i < event->tag_count; i++) {
        frame->tags[i] = bytes_make(at, event->tags[i].size);
        at += event->tags[i].size;
    }
}

static int frame_new(const struct server *server, const struct journal_event *event, struct frame **ret_frame)
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

static size_t frame_size(const struct frame *frame)
{
    return frame->name.size + frame->rest.size + sizeof(*frame);
}

/* ---- the row ---- */

static void row_drop_first(struct feed *feed)
{
    struct frame *frame = feed->row[feed->first];

    feed->floor = frame->position;
    feed->row_size -= frame_size(frame);
    frame_unref(frame);
    feed->first++;
    feed->count--;
}

static int row_add(struct feed *feed, struct frame *frame)
{
    if (feed->first > 0 && feed->first + feed->count == feed->capacity) {
        memmove(feed->row, feed->row + feed->first, feed->count * sizeof(*feed->row));
        feed->first = 0;
    }
    int r = vector_reserve(&feed->row, &feed->capacity, feed->first + feed->count + 1);
    if (r < 0)
        return r;
    feed->row[feed->first + feed->count++] = frame;
    feed->row_size += frame_size(frame);
    feed->frames++;
    while (feed->count > 1 && feed->row_size > feed->server->options->limits.subscription_buffer_size_max)
        row_drop_first(feed);
    feed->frames_bytes = feed->row_size;
    return 0;
}

/* Nobody subscribes: forget everything. */
static void row_clear(struct feed *feed)
{
    while (feed->count > 0)
        row_drop_first(feed);
    journal_reader_free(take_ptr(feed->reader));
    feed->first = 0;
    feed->frames_bytes = 0;
}

/* Index in the row of the first frame after a position. */
static size_t row_find(const struct feed *feed, uint64_t after)
{
    size_t low = feed->first, high = feed->first + feed->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (feed->row[middle]->position <= after)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- what a subscriber is sent ---- */

static void send_text(struct subscriber *subscriber, int size)
{
    assert(size > 0 && size < TEXT_SIZE_MAX);
    subscriber->parts[0] = bytes_make(subscriber->text, (size_t)size);
    subscriber->parts[1] = (struct bytes){0};
}

static void send_own(struct subscriber *subscriber, const char *name, uint64_t position)
{
    const struct server *server = subscriber->feed->server;
    char cursor[CURSOR_TEXT_SIZE];

    cursor_format(server, position, cursor);
    send_text(subscriber,
              snprintf(subscriber->text, TEXT_SIZE_MAX,
                       "event: daybook.%s\nid: %s\ndata: {\"journal\":\"%s\",\"position\":%" PRIu64 "}\n\n",
                       name, cursor, server->journal_id, position));
    subscriber->told = position;
}

static void send_frame(struct subscriber *subscriber, struct frame *frame)
{
    frame->refs++; /* F3 */
    subscriber->frame = frame;
    subscriber->parts[0] = subscriber->named ? frame->name : (struct bytes){0};
    subscriber->parts[1] = frame->rest;
    subscriber->told = frame->position;
    subscriber->feed->delivered++;
}

/* Walks the row up to the next frame that matches: true when there is one to send. */
static bool walk_row(struct subscriber *subscriber)
{
    struct feed *feed = subscriber->feed;

    for (size_t i = row_find(feed, subscriber->cursor); i < feed->first + feed->count; i++) {
        struct frame *frame = feed->row[i];
        subscriber->cursor = frame->position;
        if (filter_matches(&subscriber->filter, &frame->subject)) {
            send_frame(subscriber, frame);
            return true;
        }
    }
    if (feed->reached > subscriber->cursor)
        subscriber->cursor = feed->reached;
    return false;
}

/* At the end of the row: what is to be said besides events. True when there is something. */
static bool say_standing(struct subscriber *subscriber)
{
    const struct server_limits *limits = &subscriber->feed->server->options->limits;
    uint64_t passed = subscriber->cursor - subscriber->told;

    if (!subscriber->announced) {
        subscriber->announced = true;
        send_own(subscriber, "caught-up", subscriber->cursor);
    } else if (passed >= limits->checkpoint_count || (subscriber->beat && passed > 0)) {
        send_own(subscriber, "checkpoint", subscriber->cursor);
    } else if (subscriber->beat) {
        memcpy(subscriber->text, ":\n\n", 3);
        send_text(subscriber, 3);
    } else {
        return false;
    }
    subscriber->beat = false;
    return true;
}

/* ---- catching up, on a worker ---- */

/* Adds one event to the piece: 0, JOURNAL_E_END or a failure. */
static int catch_up_one(struct subscriber *subscriber)
{
    struct journal_event event;
    size_t name_size, begin = subscriber->piece.size;
    int r = journal_reader_next(subscriber->reader, &event);

    if (r != 0)
        return r;
    if (event.position <= subscriber->piece_end || event.version < subscriber->filter.version_min)
        return 0;
    r = frame_text(subscriber->feed->server, &event, &subscriber->piece, &name_size);
    if (r < 0)
        return r;
    if (!subscriber->named) {
        memmove(subscriber->piece.data + begin, subscriber->piece.data + name_size,
                subscriber->piece.size - name_size);
        subscriber->piece.size -= name_size - begin;
    }
    subscriber->piece_end = event.position;
    subscriber->told = event.position;
    subscriber->feed->delivered++;
    return 0;
}

static void catch_up_run(struct errand *errand)
{
    struct subscriber *subscriber = (struct subscriber *)errand;
    struct journal *journal = subscriber->feed->server->journal;
    uint64_t head = journal_head(journal);
    int r = 0;

    buffer_clear(&subscriber->piece);
    while (r == 0 && subscriber->piece.size < subscriber->feed->server->options->limits.stream_piece_size_max)
        r = catch_up_one(subscriber);
    /* The end was met after `head` was read: there is nothing of ours up to it. */
    if (r == JOURNAL_E_END && head > subscriber->piece_end)
        subscriber->piece_end = head;
    subscriber->failure = r < 0 ? r : 0;
}

static void subscriber_free(struct subscriber *subscriber)
{
    subscriber->feed->open--;
    journal_reader_free(subscriber->reader);
    buffer_deinit(&subscriber->piece);
    filter_deinit(&subscriber->filter);
    free(subscriber);
}

static void catch_up_back(struct errand *errand)
{
    struct subscriber *subscriber = (struct subscriber *)errand;

    if (!subscriber->request) {
        subscriber_free(subscriber);
        return;
    }
    subscriber->cursor = subscriber->piece_end;
    subscriber->piece_offset = 0;
    http_wake(subscriber->request);
}

/* Reads on behind the row. False: there is no reader to do it with. */
static bool catch_up(struct subscriber *subscriber)
{
    struct feed *feed = subscriber->feed;
    const struct journal_read read = {.stream = subscriber->filter.stream,
                                      .by_position = true,
                                      .query = &subscriber->filter.query,
                                      .after = subscriber->cursor};

    subscriber->piece_end = subscriber->cursor;
    if (!subscriber->reader && journal_reader_new(feed->server->journal, &read, &subscriber->reader) != 0)
        return false;
    errand_send(&subscriber->errand);
    return true;
}

/* ---- the connection's side ---- */

static size_t copy_part(struct bytes *part, uint8_t *buffer, size_t size)
{
    size = part->size < size ? part->size : size;
    if (size > 0)
        memcpy(buffer, part->data, size);
    *part = bytes_slice(*part, size, SIZE_MAX);
    return size;
}

/* Fills the buffer with what is under way. */
static size_t send_pending(struct subscriber *subscriber, uint8_t *buffer, size_t size)
{
    struct bytes piece = bytes_slice(buffer_bytes(&subscriber->piece), subscriber->piece_offset, SIZE_MAX);
    size_t done = copy_part(&subscriber->greeting, buffer, size);
    size_t of_piece = copy_part(&piece, buffer + done, size - done);

    subscriber->piece_offset += of_piece;
    done += of_piece;
    for (int i = 0; i < 2; i++)
        done += copy_part(&subscriber->parts[i], buffer + done, size - done);
    if (subscriber->parts[1].size == 0 && subscriber->parts[0].size == 0)
        frame_unref(take_ptr(subscriber->frame));
    return done;
}

/* Finds the next thing to send: 1 when there is one, HTTP_SOURCE_WAIT or _FAILED. */
static ssize_t find_next(struct subscriber *subscriber)
{
    struct feed *feed = subscriber->feed;

    if (subscriber->failure < 0 || !feed->reader)
        return HTTP_SOURCE_FAILED;
    if (subscriber->cursor < feed->floor)
        return catch_up(subscriber) ? (subscriber->errand.out ? HTTP_SOURCE_WAIT : 1) : HTTP_SOURCE_FAILED;
    journal_reader_free(take_ptr(subscriber->reader));
    buffer_deinit(&subscriber->piece); /* all of it has been sent */
    subscriber->piece_offset = 0;
    if (walk_row(subscriber) || say_standing(subscriber))
        return 1;
    return HTTP_SOURCE_WAIT;
}

/* While the journal is read there may still be a sign of life, between two events. */
static ssize_t beat_only(struct subscriber *subscriber, uint8_t *buffer, size_t size)
{
    if (!subscriber->beat || size < 3)
        return HTTP_SOURCE_WAIT;
    subscriber->beat = false;
    subscriber->sent_ms = os_monotonic_ns() / OS_NS_PER_MS;
    memcpy(buffer, ":\n\n", 3);
    return 3;
}

static void subscriber_list(struct subscriber *subscriber);

static ssize_t subscriber_read(void *user, uint8_t *buffer, size_t size)
{
    struct subscriber *subscriber = user;
    size_t done = 0;
    ssize_t next = 1;

    if (!subscriber->listed)
        subscriber_list(subscriber);
    if (subscriber->errand.out)
        return beat_only(subscriber, buffer, size);
    while (done < size && next == 1) {
        size_t now = send_pending(subscriber, buffer + done, size - done);
        done += now;
        if (now == 0)
            next = find_next(subscriber);
    }
    subscriber->waiting = done == 0;
    if (done > 0)
        subscriber->sent_ms = os_monotonic_ns() / OS_NS_PER_MS;
    return done > 0 ? (ssize_t)done : next;
}

static void subscriber_release(void *user)
{
    struct subscriber *subscriber = user;
    struct feed *feed = subscriber->feed;

    if (subscriber->listed) {
        if (subscriber->previous)
            subscriber->previous->next = subscriber->next;
        else
            feed->subscribers = subscriber->next;
        if (subscriber->next)
            subscriber->next->previous = subscriber->previous;
    }
    if (!feed->subscribers) {
        http_timer_cancel(feed->server->http, &feed->beat);
        row_clear(feed);
    }
    frame_unref(take_ptr(subscriber->frame));
    subscriber->request = NULL;
    if (!subscriber->errand.out)
        subscriber_free(subscriber);
}

/* ---- what moves the feed ---- */

static void feed_begin(struct feed *feed);

static void feed_beat_again(struct feed *feed)
{
    int r = http_timer_set(feed->server->http, &feed->beat, BEAT_TICK_MS);

    (void)r; /* no memory: no heartbeats until somebody subscribes again */
}

/* Somebody who waits and has something to get now is woken; who has not moves his cursor in passing. */
static void wake_waiting(struct feed *feed)
{
    for (struct subscriber *subscriber = feed->subscribers; subscriber; subscriber = subscriber->next) {
        if (!subscriber->waiting || subscriber->errand.out)
            continue;
        if (subscriber->cursor < feed->floor || walk_row(subscriber) || say_standing(subscriber)) {
            subscriber->waiting = false;
            http_wake(subscriber->request);
        }
    }
}

/* Takes what is new into the row: true when there is more than one turn's worth. */
static bool take_new(struct feed *feed)
{
    struct journal_event event;
    struct frame *frame;
    int r = 0;

    for (int i = 0; i < TURN_COUNT; i++) {
        r = journal_reader_next(feed->reader, &event);
        if (r != 0)
            break;
        r = frame_new(feed->server, &event, &frame);
        if (r == 0 && (r = row_add(feed, frame)) < 0)
            frame_unref(frame);
        if (r < 0)
            break;
        feed->reached = event.position;
    }
    if (r == JOURNAL_E_END && journal_reader_examined(feed->reader) > feed->reached)
        feed->reached = journal_reader_examined(feed->reader);
    if (r < 0) { /* F1: begin anew behind what could not be held; subscribers read it from the journal */
        row_clear(feed);
        feed_begin(feed);
    }
    return r == 0;
}

static void feed_turn(struct http_task *task)
{
    struct feed *feed = (struct feed *)((char *)task - offsetof(struct feed, moved));

    atomic_store(&feed->moved_posted, false);
    if (!feed->reader)
        return;
    if (take_new(feed) && !atomic_exchange(&feed->moved_posted, true))
        http_post(feed->server->http, &feed->moved);
    wake_waiting(feed);
}

/* On the writer thread. */
static void feed_moved(struct journal_listener *listener, uint64_t head)
{
    struct feed *feed = (struct feed *)((char *)listener - offsetof(struct feed, listener));

    if (feed->open > 0 && !atomic_exchange(&feed->moved_posted, true))
        http_post(feed->server->http, &feed->moved);
}

static void feed_beat(struct http_task *task)
{
    struct feed *feed = (struct feed *)((char *)task - offsetof(struct feed, beat.task));
    uint64_t heartbeat_ms = feed->server->options->limits.heartbeat_ms;
    uint64_t now_ms = os_monotonic_ns() / OS_NS_PER_MS;

    for (struct subscriber *subscriber = feed->subscribers; subscriber; subscriber = subscriber->next) {
        if (now_ms - subscriber->sent_ms < heartbeat_ms || (!subscriber->waiting && !subscriber->errand.out))
            continue;
        subscriber->beat = true;
        http_wake(subscriber->request);
    }
    if (feed->subscribers)
        feed_beat_again(feed);
}

/* Begin with what comes after the head. */
static void feed_begin(struct feed *feed)
{
    struct journal_read read = {.after = journal_head(feed->server->journal)};

    feed->floor = feed->reached = read.after;
    if (journal_reader_new(feed->server->journal, &read, &feed->reader) != 0)
        feed->reader = NULL; /* no memory: subscriptions are cut and may come back */
}

static void subscriber_list(struct subscriber *subscriber)
{
    struct feed *feed = subscriber->feed;

    if (!feed->reader)
        feed_begin(feed);
    if (!feed->subscribers)
        feed_beat_again(feed);
    subscriber->next = feed->subscribers;
    if (subscriber->next)
        subscriber->next->previous = subscriber;
    feed->subscribers = subscriber;
    subscriber->listed = true;
    subscriber->sent_ms = os_monotonic_ns() / OS_NS_PER_MS;
    if (!atomic_exchange(&feed->moved_posted, true)) /* what came between the reader's birth and now */
        http_post(feed->server->http, &feed->moved);
}

/* ---- life ---- */

static bool too_many(struct feed *feed, struct http_request *request)
{
    if (atomic_fetch_add(&feed->open, 1) < feed->server->options->limits.subscription_count_max)
        return false;
    feed->open--;
    feed->refused++;
    struct http_problem problem = {.status = 429,
                                   .code = "too-many-subscriptions",
                                   .detail = "The server has as many open subscriptions as it takes.",
                                   .retry_after_s = 5};
    http_answer_problem(request, &problem);
    return true;
}

static struct subscriber *subscriber_new(struct feed *feed, struct http_request *request,
                                         struct filter *filter, uint64_t after)
{
    struct subscriber *subscriber = calloc(1, sizeof(*subscriber));

    if (!subscriber)
        return NULL;
    subscriber->errand =
        (struct errand){.http = feed->server->http, .run = catch_up_run, .back = catch_up_back};
    subscriber->feed = feed;
    subscriber->request = request;
    subscriber->filter = *filter;
    *filter = (struct filter){0};
    subscriber->cursor = subscriber->told = subscriber->piece_end = after;
    return subscriber;
}

void feed_subscribe(struct http_request *request, struct filter *filter, uint64_t after, bool reset)
{
    static const struct http_source source = {
        .read = subscriber_read, .free = subscriber_release, .endless = true};
    struct feed *feed = server_of(request)->feed;
    struct subscriber *subscriber;
    bool named = false;

    if (!ask_flag(request, "named", &named) || too_many(feed, request)) {
        filter_deinit(filter);
        return;
    }
    subscriber = subscriber_new(feed, request, filter, after);
    if (!subscriber) {
        feed->open--;
        filter_deinit(filter);
        answer_failure(request, -ENOMEM);
        return;
    }
    subscriber->named = named;
    /* The first thing a client hears: how soon to come back, and whether it must begin anew. */
    if (reset)
        send_own(subscriber, "reset", 0);
    subscriber->greeting = BYTES_LITERAL("retry: 1000\n\n");
    http_header(request, "Cache-Control", "no-store");
    http_header(request, "X-Accel-Buffering", "no");
    answer_position(request, journal_head(feed->server->journal));
    http_answer_stream(request, 200, "text/event-stream", &source, subscriber);
}

int feed_new(struct server *server, struct feed **ret_feed)
{
    struct feed *feed = calloc(1, sizeof(*feed));

    if (!feed)
        return -ENOMEM;
    feed->server = server;
    feed->listener.moved = feed_moved;
    feed->moved.run = feed_turn;
    feed->beat.task.run = feed_beat;
    journal_listen(server->journal, &feed->listener);
    *ret_feed = feed;
    return 0;
}

void feed_quiet(struct feed *feed)
{
    if (feed)
        journal_unlisten(feed->server->journal, &feed->listener);
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    assert(!feed->subscribers); /* their requests are over */
    row_clear(feed);
    free(feed->row);
    free(feed);
}

void feed_figures(const struct feed *feed, struct feed_figures *ret_figures)
{
    *ret_figures = (struct feed_figures){.open = feed->open,
                                         .delivered = feed->delivered,
                                         .frames = feed->frames,
                                         .frames_bytes = feed->frames_bytes,
                                         .refused = feed->refused};
}
