/* One subscriber: what it is sent, and how it catches up. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/feed_internal.h"

static struct row *row_of(const struct subscriber *subscriber)
{
    return &subscriber->feed->row;
}

static const struct server_limits *limits_of(const struct subscriber *subscriber)
{
    return &subscriber->feed->server->options->limits;
}

/* ---- what it is sent ---- */

static void send_own(struct subscriber *subscriber, const char *name, uint64_t position)
{
    const struct server *server = subscriber->feed->server;
    char cursor[CURSOR_TEXT_SIZE];

    cursor_format(server, position, cursor);
    buffer_clear(&subscriber->own);
    int r =
        buffer_printf(&subscriber->own,
                      "event: daybook.%s\nid: %s\ndata: {\"journal\":\"%s\",\"position\":%" PRIu64 "}\n\n",
                      name, cursor, server->journal_id, position);
    assert(subscriber->own.size < OWN_FRAME_SIZE_MAX);
    if (r == 0)
        subscriber->told = position;
    subscriber->parts[0] = buffer_bytes(&subscriber->own); /* no memory: it is said the next time */
}

void subscriber_say_reset(struct subscriber *subscriber)
{
    send_own(subscriber, "reset", 0);
}

/* The last frame: why there will be no other. */
static void say_withdrawn(struct subscriber *subscriber)
{
    buffer_clear(&subscriber->own);
    int r = buffer_printf(&subscriber->own,
                          "event: daybook.unauthorized\ndata: {\"status\":%u,\"code\":\"%s\",\"detail\":\"%s\"}\n\n",
                          subscriber->withdrawn, subscriber->withdrawn == 401 ? "unauthorized" : "forbidden",
                          "The token of this subscription is not good for it any more.");
    (void)r; /* no memory: it ends without a word */
    assert(subscriber->own.size < OWN_FRAME_SIZE_MAX);
    subscriber->parts[0] = buffer_bytes(&subscriber->own);
    subscriber->ending = true;
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
    const struct row *row = row_of(subscriber);
    size_t index;

    for (row_find(row, subscriber->cursor, &index); row_at(row, index); index++) {
        struct frame *frame = row_at(row, index);
        subscriber->cursor = frame->position;
        if (filter_matches(&subscriber->filter, &frame->subject)) {
            send_frame(subscriber, frame);
            return true;
        }
    }
    if (row->reached > subscriber->cursor)
        subscriber->cursor = row->reached;
    return false;
}

/* At the end of the row: what is to be said besides events. True when there is something. */
static bool say_standing(struct subscriber *subscriber)
{
    uint64_t passed = subscriber->cursor - subscriber->told;

    if (!subscriber->announced) {
        subscriber->announced = true;
        send_own(subscriber, "caught-up", subscriber->cursor);
    } else if (passed >= limits_of(subscriber)->checkpoint_count || (subscriber->beat && passed > 0)) {
        send_own(subscriber, "checkpoint", subscriber->cursor);
    } else if (subscriber->beat) {
        subscriber->parts[0] = BYTES_LITERAL(":\n\n");
    } else {
        return false;
    }
    subscriber->beat = false;
    return true;
}

bool subscriber_has_news(struct subscriber *subscriber)
{
    if (!subscriber->waiting || subscriber->errand.out)
        return false;
    if (subscriber->cursor >= row_of(subscriber)->floor && !walk_row(subscriber) && !say_standing(subscriber))
        return false;
    subscriber->waiting = false;
    return true;
}

/* ---- catching up, on a worker ---- */

/* Adds one event to the piece: 0, JOURNAL_E_END or a failure. */
static int catch_up_one(struct subscriber *subscriber)
{
    struct catch_up *behind = subscriber->behind;
    struct journal_event event;
    size_t name_size, begin = behind->piece.size;
    int r = journal_reader_next(behind->reader, &event);

    if (r != 0)
        return r;
    if (event.position <= behind->end || event.version < subscriber->filter.version_min)
        return 0;
    r = frame_text(subscriber->feed->server, &event, &behind->piece, &name_size);
    if (r < 0)
        return r;
    if (!subscriber->named || frame_type_misleads(event.type)) {
        memmove(behind->piece.data + begin, behind->piece.data + name_size, behind->piece.size - name_size);
        behind->piece.size -= name_size - begin;
    }
    behind->end = behind->told = event.position;
    subscriber->feed->delivered++;
    return 0;
}

static void catch_up_run(struct errand *errand)
{
    struct subscriber *subscriber = (struct subscriber *)errand;
    struct catch_up *behind = subscriber->behind;
    uint64_t head = journal_head(subscriber->feed->server->journal);
    size_t size_max =
        piece_begin(errand->http, &behind->piece, &behind->held, limits_of(subscriber)->stream_piece_size_max);
    int r = size_max > 0 ? 0 : -ENOBUFS;

    while (r == 0 && behind->piece.size < size_max)
        r = catch_up_one(subscriber);
    /* The end was met after `head` was read: there is nothing of ours up to it. */
    if (r == JOURNAL_E_END && head > behind->end)
        behind->end = head;
    if (!piece_end(errand->http, &behind->piece, behind->reader, &behind->held))
        r = -ENOBUFS; /* its client comes back with the last id it got */
    behind->failure = r < 0 ? r : 0;
}

static void catch_up_end(struct subscriber *subscriber)
{
    struct catch_up *behind = take_ptr(subscriber->behind);

    if (!behind)
        return;
    journal_reader_free(behind->reader);
    buffer_deinit(&behind->piece);
    http_memory_set(subscriber->errand.http, &behind->held, 0);
    free(behind);
}

static void subscriber_free(struct subscriber *subscriber)
{
    crowd_leave(&subscriber->feed->crowd);
    catch_up_end(subscriber);
    buffer_deinit(&subscriber->own);
    filter_deinit(&subscriber->filter);
    free(subscriber);
}

static void catch_up_back(struct errand *errand)
{
    struct subscriber *subscriber = (struct subscriber *)errand;

    if (!subscriber->member.request) {
        subscriber_free(subscriber);
        return;
    }
    subscriber->cursor = subscriber->behind->end;
    if (subscriber->behind->told > subscriber->told)
        subscriber->told = subscriber->behind->told;
    subscriber->behind->offset = 0;
    http_wake(subscriber->member.request);
}

static int catch_up_begin(struct subscriber *subscriber)
{
    const struct filter *filter = &subscriber->filter;
    const struct journal_read read = {.stream = filter->stream,
                                      .prefix = filter->prefix,
                                      .by_position = true,
                                      .query = &filter->query,
                                      .system = filter->system,
                                      .after = subscriber->cursor};

    subscriber->behind = calloc(1, sizeof(*subscriber->behind));
    return subscriber->behind
               ? journal_reader_new(subscriber->feed->server->journal, &read, &subscriber->behind->reader)
               : -ENOMEM;
}

/* Reads on behind the row: 1, HTTP_SOURCE_WAIT, or _FAILED when there is nothing to do it with. */
static ssize_t catch_up(struct subscriber *subscriber)
{
    if (!subscriber->behind && catch_up_begin(subscriber) != 0)
        return HTTP_SOURCE_FAILED;
    subscriber->behind->end = subscriber->cursor;
    errand_send(&subscriber->errand);
    return subscriber->errand.out ? HTTP_SOURCE_WAIT : 1;
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

static size_t send_piece(struct catch_up *behind, uint8_t *buffer, size_t size)
{
    struct bytes piece = bytes_slice(buffer_bytes(&behind->piece), behind->offset, SIZE_MAX);
    size_t done = copy_part(&piece, buffer, size);

    behind->offset += done;
    return done;
}

static bool behind_has_more(const struct subscriber *subscriber)
{
    return subscriber->behind && !subscriber->errand.out &&
           subscriber->behind->offset < subscriber->behind->piece.size;
}

/* Fills the buffer with what is under way. The greeting is part of the first frame: alone it would be one without data,
 * which some clients take for an empty message. */
static size_t send_pending(struct subscriber *subscriber, uint8_t *buffer, size_t size)
{
    bool frame = subscriber->parts[0].size > 0 || subscriber->parts[1].size > 0 || behind_has_more(subscriber);
    size_t done = frame ? copy_part(&subscriber->greeting, buffer, size) : 0;

    if (subscriber->behind)
        done += send_piece(subscriber->behind, buffer + done, size - done);
    for (int i = 0; i < 2; i++)
        done += copy_part(&subscriber->parts[i], buffer + done, size - done);
    if (subscriber->parts[1].size == 0 && subscriber->parts[0].size == 0) {
        frame_unref(take_ptr(subscriber->frame));
        buffer_deinit(&subscriber->own);
    }
    return done;
}

/* P6: behind what was sent the journal is damaged. It is said where, once, before the subscription ends. */
static bool say_damage(struct subscriber *subscriber)
{
    struct journal_status status;
    struct http_problem problem = journal_problem(-EBADMSG, NULL);

    if (subscriber->ending || !subscriber->behind || subscriber->behind->failure != -EBADMSG)
        return false;
    subscriber->ending = true;
    damage_name(subscriber->feed->server, &status, &problem);
    buffer_clear(&subscriber->own);
    int r = buffer_append_string(&subscriber->own, "event: daybook.error\ndata: ");
    if (r == 0)
        r = problem_text(subscriber->member.request, &problem, &subscriber->own);
    if (r == 0)
        r = buffer_append_string(&subscriber->own, "\n\n");
    subscriber->parts[0] = r == 0 ? buffer_bytes(&subscriber->own) : (struct bytes){0};
    return r == 0;
}

/* Finds the next thing to send: 1 when there is one, HTTP_SOURCE_WAIT or _FAILED. */
static ssize_t find_next(struct subscriber *subscriber)
{
    if (subscriber->ending)
        return HTTP_SOURCE_END;
    if (subscriber->withdrawn) {
        say_withdrawn(subscriber);
        return 1;
    }
    if (say_damage(subscriber))
        return 1;
    if ((subscriber->behind && subscriber->behind->failure < 0) || !row_of(subscriber)->reader)
        return HTTP_SOURCE_FAILED;
    if (subscriber->cursor < row_of(subscriber)->floor)
        return catch_up(subscriber);
    catch_up_end(subscriber); /* all of it has been sent */
    if (follower_has_parted(subscriber->feed->server))
        return HTTP_SOURCE_END;
    return walk_row(subscriber) || say_standing(subscriber) ? 1 : HTTP_SOURCE_WAIT;
}

/* While the journal is read there may still be a sign of life, between two events. */
static ssize_t beat_only(struct subscriber *subscriber, uint8_t *buffer, size_t size)
{
    if (!subscriber->beat || size < 3)
        return HTTP_SOURCE_WAIT;
    subscriber->beat = false;
    subscriber->member.sent_ms = crowd_now_ms();
    memcpy(buffer, ":\n\n", 3);
    return 3;
}

static void join(struct subscriber *subscriber)
{
    row_begin(row_of(subscriber));
    crowd_join(&subscriber->feed->crowd, &subscriber->member);
    crowd_call(&subscriber->feed->crowd); /* what came between the row's begin and now */
}

ssize_t subscriber_read(void *user, uint8_t *buffer, size_t size)
{
    struct subscriber *subscriber = user;
    size_t done = 0;
    ssize_t next = 1;

    if (!subscriber->member.listed)
        join(subscriber);
    /* In the middle of a long catching-up there is no place for a last frame that could be reached soon. */
    if (subscriber->withdrawn && subscriber->behind)
        return HTTP_SOURCE_FAILED;
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
        subscriber->member.sent_ms = crowd_now_ms();
    return done > 0 ? (ssize_t)done : next;
}

void subscriber_withdraw(void *user, unsigned status)
{
    struct subscriber *subscriber = user;

    subscriber->withdrawn = status;
}

void subscriber_release(void *user)
{
    struct subscriber *subscriber = user;

    if (subscriber->member.listed)
        crowd_part(&subscriber->member);
    if (!subscriber->feed->crowd.members)
        row_clear(row_of(subscriber));
    frame_unref(take_ptr(subscriber->frame));
    subscriber->member.request = NULL;
    if (!subscriber->errand.out)
        subscriber_free(subscriber);
}

struct subscriber *subscriber_new(struct feed *feed, struct http_request *request, struct filter *filter,
                                  uint64_t after, bool named)
{
    struct subscriber *subscriber = calloc(1, sizeof(*subscriber));

    if (!subscriber)
        return NULL;
    subscriber->errand =
        (struct errand){.http = feed->server->http, .run = catch_up_run, .back = catch_up_back};
    subscriber->feed = feed;
    subscriber->member.request = request;
    subscriber->filter = *filter;
    *filter = (struct filter){0};
    subscriber->cursor = subscriber->told = after;
    subscriber->named = named;
    subscriber->greeting = BYTES_LITERAL("retry: 1000\n");
    return subscriber;
}
