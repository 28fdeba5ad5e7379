/* GET /v1/log: the log's records verbatim, then live, for followers (replica/wire.h says how they are packed).
 *
 * A follower's connection is a wire_sender, filled on a worker whenever the client has taken what there was and the journal
 * has more; a heartbeat goes out in silence. All else belongs to the loop, but for the marks, from which reports say how far
 * each follower has been sent. */

#include <stdlib.h>

#include "os/thread.h"
#include "replica/wire.h"
#include "server/crowd.h"
#include "server/errand.h"
#include "server/internal.h"

enum {
    BEAT_MS = WIRE_HEARTBEAT_MS - CROWD_BEAT_TICK_MS,
    LISTED_COUNT_MAX = 64, /* followers named in a report; more are only counted */
};

/* What others are told of one follower. */
struct follower_mark {
    char address[HTTP_PEER_SIZE]; /* empty: nobody's */
    uint64_t sent;                /* the last position that has gone out to it */
};

struct log_stream {
    struct errand errand;
    struct crowd_member member;
    struct log_feed *feed;
    struct wire_sender *sender; /* the errand's while it is out */
    struct buffer out;
    size_t offset;
    size_t held;                /* counted for `out` (http_memory_take) */
    int answer;                 /* of the last fill */
    bool idle;                  /* all has been sent that there was */
    bool moved;                 /* the head has moved since the last fill began */
    struct follower_mark *mark; /* the feed's; NULL before the first read, or when there are too many */
};

struct log_feed {
    struct crowd crowd;
    struct server *server;
    struct os_mutex lock; /* of the marks: the loop writes them, reports are made on workers */
    struct follower_mark marks[LISTED_COUNT_MAX];
};

static struct log_stream *stream_of(struct crowd_member *member)
{
    return (struct log_stream *)((char *)member - offsetof(struct log_stream, member));
}

/* ---- what others are told of them ---- */

static void mark_take(struct log_stream *stream)
{
    struct log_feed *feed = stream->feed;
    _os_locked_(&feed->lock);

    for (size_t i = 0; i < LISTED_COUNT_MAX && !stream->mark; i++)
        if (feed->marks[i].address[0] == '\0')
            stream->mark = &feed->marks[i];
    if (stream->mark)
        http_request_peer(stream->member.request, stream->mark->address);
}

static void mark_give_back(struct log_stream *stream)
{
    _os_locked_(&stream->feed->lock);

    if (stream->mark)
        *stream->mark = (struct follower_mark){0};
    stream->mark = NULL;
}

/* The connection asks for more, so what the buffer held has left this process. */
static void mark_sent(struct log_stream *stream)
{
    _os_locked_(&stream->feed->lock);

    if (stream->mark)
        stream->mark->sent = wire_sender_position(stream->sender);
}

void log_feed_report(struct log_feed *feed, uint64_t fence, struct json_writer *w)
{
    struct follower_mark marks[LISTED_COUNT_MAX];

    os_mutex_lock(&feed->lock);
    memcpy(marks, feed->marks, sizeof(marks));
    os_mutex_unlock(&feed->lock);
    json_write_object_begin(w);
    json_write_member_u64(w, "connected", log_feed_open_count(feed));
    json_write_key(w, "list");
    json_write_array_begin(w);
    for (size_t i = 0; i < LISTED_COUNT_MAX; i++) {
        if (marks[i].address[0] == '\0')
            continue;
        json_write_object_begin(w);
        json_write_member_string(w, "address", marks[i].address);
        json_write_member_u64(w, "sent", marks[i].sent);
        json_write_member_bool(w, "fence_sent", marks[i].sent >= fence);
        json_write_object_end(w);
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

/* ---- one follower ---- */

static void stream_free(struct log_stream *stream)
{
    crowd_leave(&stream->feed->crowd);
    wire_sender_free(stream->sender);
    buffer_deinit(&stream->out);
    http_memory_set(stream->errand.http, &stream->held, 0);
    free(stream);
}

static void stream_run(struct errand *errand)
{
    struct log_stream *stream = (struct log_stream *)errand;

    buffer_clear(&stream->out);
    stream->answer = wire_sender_fill(stream->sender, &stream->out);
    http_memory_set(errand->http, &stream->held, stream->out.size);
}

static void stream_back(struct errand *errand)
{
    struct log_stream *stream = (struct log_stream *)errand;

    if (!stream->member.request) {
        stream_free(stream);
        return;
    }
    stream->offset = 0;
    stream->idle = stream->answer == WIRE_E_MORE && !stream->moved;
    http_wake(stream->member.request);
}

/* Puts a heartbeat into the empty buffer when one is due. */
static bool beat_due(struct log_stream *stream)
{
    if (crowd_now_ms() - stream->member.sent_ms < BEAT_MS)
        return false;
    buffer_clear(&stream->out);
    stream->offset = 0;
    return wire_sender_beat(stream->sender, &stream->out) == 0;
}

static void stream_join(struct log_stream *stream)
{
    if (stream->member.listed)
        return;
    crowd_join(&stream->feed->crowd, &stream->member);
    mark_take(stream);
}

static ssize_t stream_read(void *user, uint8_t *buffer, size_t size)
{
    struct log_stream *stream = user;

    stream_join(stream);
    if (stream->errand.out)
        return HTTP_SOURCE_WAIT;
    if (stream->offset == stream->out.size && stream->answer < 0)
        return HTTP_SOURCE_FAILED;
    if (stream->offset == stream->out.size)
        mark_sent(stream);
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
    stream->member.sent_ms = crowd_now_ms();
    return (ssize_t)size;
}

static void stream_release(void *user)
{
    struct log_stream *stream = user;

    if (stream->member.listed)
        crowd_part(&stream->member);
    mark_give_back(stream);
    stream->member.request = NULL;
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
    stream->member.request = request;
    return stream;
}

void handle_log(struct http_request *request)
{
    static const struct http_source source = {.read = stream_read, .free = stream_release, .endless = true};
    struct log_feed *feed = server_of(request)->log_feed;
    struct log_stream *stream;
    uint64_t after = 0;

    if (parameters_refused(request) || parted_refused(request) || !ask_position(request, "after", &after) ||
        (after >= journal_head(feed->server->journal) && damage_refused(request)) ||
        !crowd_enter(&feed->crowd, request, feed->server->options->limits.follower_count_max,
                     "too-many-followers", "The server has as many followers as it takes."))
        return;
    stream = stream_new(feed, request, after);
    if (!stream) {
        crowd_leave(&feed->crowd);
        answer_failure(request, -ENOMEM);
        return;
    }
    crowd_headers(request);
    http_answer_stream(request, 200, WIRE_MEDIA_TYPE, &source, stream);
}

/* ---- all of them ---- */

static void feed_turn(struct crowd *crowd)
{
    for (struct crowd_member *member = crowd->members; member; member = member->next) {
        stream_of(member)->moved = true;
        stream_of(member)->idle = false;
        http_wake(member->request);
    }
}

static void feed_beat(struct crowd *crowd)
{
    for (struct crowd_member *member = crowd->members; member; member = member->next) {
        if (crowd_now_ms() - member->sent_ms >= BEAT_MS)
            http_wake(member->request);
    }
}

int log_feed_new(struct server *server, struct log_feed **ret_feed)
{
    struct log_feed *feed = calloc(1, sizeof(*feed));

    if (!feed)
        return -ENOMEM;
    feed->server = server;
    os_mutex_init(&feed->lock);
    feed->crowd.turn = feed_turn;
    feed->crowd.beat = feed_beat;
    crowd_init(&feed->crowd, server->http, server->journal);
    *ret_feed = feed;
    return 0;
}

void log_feed_quiet(struct log_feed *feed)
{
    if (feed)
        crowd_quiet(&feed->crowd);
}

void log_feed_free(struct log_feed *feed)
{
    if (!feed)
        return;
    os_mutex_deinit(&feed->lock);
    free(feed);
}

uint64_t log_feed_open_count(const struct log_feed *feed)
{
    return feed->crowd.open;
}
