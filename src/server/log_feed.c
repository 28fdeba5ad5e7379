/* GET /v1/log: the log's records verbatim, then live, for followers (replica/wire.h says how they are packed).
 *
 * A follower's connection is a wire_sender, filled on a worker whenever the client has taken what there was and the journal
 * has more; a heartbeat goes out in silence. All else belongs to the loop. */

#include <stdlib.h>

#include "os/clock.h"
#include "replica/wire.h"
#include "server/errand.h"
#include "server/internal.h"

enum {
    BEAT_TICK_MS = 500,
    BEAT_MS = WIRE_HEARTBEAT_MS - BEAT_TICK_MS,
};

struct log_stream {
    struct errand errand;
    struct log_feed *feed;
    struct http_request *request; /* NULL: gone, waiting for its errand */
    struct log_stream *next, *previous;
    bool listed;
    struct wire_sender *sender; /* the errand's while it is out */
    struct buffer out;
    size_t offset;
    int answer; /* of the last fill */
    bool idle;  /* all has been sent that there was */
    bool moved; /* the head has moved since the last fill began */
    uint64_t sent_ms;
};

struct log_feed {
    struct server *server;
    struct journal_listener listener;
    struct http_task moved;
    atomic_bool moved_posted;
    struct http_timer beat;
    struct log_stream *streams;
    atomic_uint_fast64_t open;
};

static uint64_t now_ms(void)
{
    return os_monotonic_ns() / OS_NS_PER_MS;
}

/* ---- one follower ---- */

static void stream_free(struct log_stream *stream)
{
    stream->feed->open--;
    wire_sender_free(stream->sender);
    buffer_deinit(&stream->out);
    free(stream);
}

static void stream_run(struct errand *errand)
{
    struct log_stream *stream = (struct log_stream *)errand;

    buffer_clear(&stream->out);
    stream->answer = wire_sender_fill(stream->sender, &stream->out);
}

static void stream_back(struct errand *errand)
{
    struct log_stream *stream = (struct log_stream *)errand;

    if (!stream->request) {
        stream_free(stream);
        return;
    }
    stream->offset = 0;
    stream->idle = stream->answer == WIRE_E_MORE && !stream->moved;
    http_wake(stream->request);
}

static void feed_tick(struct log_feed *feed)
{
    int r = http_timer_set(feed->server->http, &feed->beat, BEAT_TICK_MS);

    (void)r; /* no memory: a follower that hears nothing connects anew */
}

static void stream_list(struct log_stream *stream)
{
    struct log_feed *feed = stream->feed;

    if (!feed->streams)
        feed_tick(feed);
    stream->next = feed->streams;
    if (stream->next)
        stream->next->previous = stream;
    feed->streams = stream;
    stream->listed = true;
    stream->sent_ms = now_ms();
}

/* Puts a heartbeat into the empty buffer when one is due. */
static bool beat_due(struct log_stream *stream)
{
    if (now_ms() - stream->sent_ms < BEAT_MS)
        return false;
    buffer_clear(&stream->out);
    stream->offset = 0;
    return wire_sender_beat(stream->sender, &stream->out) == 0;
}

static ssize_t stream_read(void *user, uint8_t *buffer, size_t size)
{
    struct log_stream *stream = user;

    if (!stream->listed)
        stream_list(stream);
    if (stream->errand.out)
        return HTTP_SOURCE_WAIT;
    if (stream->offset == stream->out.size && stream->answer < 0)
        return HTTP_SOURCE_FAILED;
    if (stream->offset == stream->out.size && !beat_due(stream)) {
        if (!stream->idle) {
            stream->moved = false;
            errand_send(&stream->errand);
        }
        return HTTP_SOURCE_WAIT;
    }
    size = stream->out.size - stream->offset < size ? stream->out.size - stream->offset : size;
    memcpy(buffer, stream->out.data + stream->offset, size);
    stream->offset += size;
    stream->sent_ms = now_ms();
    return (ssize_t)size;
}

static void stream_release(void *user)
{
    struct log_stream *stream = user;
    struct log_feed *feed = stream->feed;

    if (stream->listed) {
        if (stream->previous)
            stream->previous->next = stream->next;
        else
            feed->streams = stream->next;
        if (stream->next)
            stream->next->previous = stream->previous;
    }
    if (!feed->streams)
        http_timer_cancel(feed->server->http, &feed->beat);
    stream->request = NULL;
    if (!stream->errand.out)
        stream_free(stream);
}

static struct log_stream *stream_new(struct log_feed *feed, struct http_request *request, uint64_t after)
{
    struct log_stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    if (wire_sender_new(feed->server->journal, after, &stream->sender) != 0) {
        free(stream);
        return NULL;
    }
    stream->errand = (struct errand){.http = feed->server->http, .run = stream_run, .back = stream_back};
    stream->feed = feed;
    stream->request = request;
    return stream;
}

void handle_log(struct http_request *request)
{
    static const struct http_source source = {.read = stream_read, .free = stream_release, .endless = true};
    struct log_feed *feed = server_of(request)->log_feed;
    struct log_stream *stream;
    uint64_t after = 0;

    if (parameters_refused(request) || !ask_position(request, "after", &after))
        return;
    if (atomic_fetch_add(&feed->open, 1) >= feed->server->options->limits.follower_count_max) {
        feed->open--;
        struct http_problem problem = {.status = 429,
                                       .code = "too-many-followers",
                                       .detail = "The server has as many followers as it takes.",
                                       .retry_after_s = 5};
        http_answer_problem(request, &problem);
        return;
    }
    stream = stream_new(feed, request, after);
    if (!stream) {
        feed->open--;
        answer_failure(request, -ENOMEM);
        return;
    }
    http_header(request, "Cache-Control", "no-store");
    http_header(request, "X-Accel-Buffering", "no");
    http_answer_stream(request, 200, WIRE_MEDIA_TYPE, &source, stream);
}

/* ---- all of them ---- */

static void feed_turn(struct http_task *task)
{
    struct log_feed *feed = (struct log_feed *)((char *)task - offsetof(struct log_feed, moved));

    atomic_store(&feed->moved_posted, false);
    for (struct log_stream *stream = feed->streams; stream; stream = stream->next) {
        stream->moved = true;
        stream->idle = false;
        http_wake(stream->request);
    }
}

/* On the writer's thread. */
static void feed_moved(struct journal_listener *listener, uint64_t head)
{
    struct log_feed *feed = (struct log_feed *)((char *)listener - offsetof(struct log_feed, listener));

    if (feed->open > 0 && !atomic_exchange(&feed->moved_posted, true))
        http_post(feed->server->http, &feed->moved);
}

static void feed_beat(struct http_task *task)
{
    struct log_feed *feed = (struct log_feed *)((char *)task - offsetof(struct log_feed, beat.task));

    for (struct log_stream *stream = feed->streams; stream; stream = stream->next) {
        if (now_ms() - stream->sent_ms >= BEAT_MS)
            http_wake(stream->request);
    }
    if (feed->streams)
        feed_tick(feed);
}

int log_feed_new(struct server *server, struct log_feed **ret_feed)
{
    struct log_feed *feed = calloc(1, sizeof(*feed));

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

void log_feed_quiet(struct log_feed *feed)
{
    if (feed)
        journal_unlisten(feed->server->journal, &feed->listener);
}

void log_feed_free(struct log_feed *feed)
{
    free(feed);
}

uint64_t log_feed_open_count(const struct log_feed *feed)
{
    return feed->open;
}
