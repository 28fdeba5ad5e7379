#pragma once

/* What the files of the server share. */

#include <stdatomic.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/note.h"
#include "command/command.h"
#include "group/group.h"
#include "http/http.h"
#include "journal/journal.h"
#include "server/auth.h"
#include "server/server.h"
#include "server/times.h"
#include "view/view.h"

enum {
    JOURNAL_ID_TEXT_SIZE = 33, /* 32 hexadecimal digits and NUL */
    CURSOR_TEXT_SIZE = 56,     /* "<journal>-<position>" and NUL */
    READ_LIMIT_DEFAULT = 100,
    READ_LIMIT_MAX = 10000,
};

#define SERVER_PROBLEM_PREFIX "urn:daybook:problem:"

struct door;
struct feed;
struct log_feed;
struct consumers;
struct follower;
struct pages;
struct scavenger;
struct eraser;
struct vault;

/* Who says that the clock is ahead (clock.c). */
struct clock_watch {
    struct journal_listener listener; /* first */
    struct journal *journal;          /* NULL: it has not begun */
    bool said;
};

struct server {
    const struct server_options *options;
    struct journal *journal;
    struct command_runtime *commands; /* NULL: no application */
    struct view_set *views;           /* never NULL once started; may hold none */
    struct follower *follower;        /* NULL: a leader */
    struct auth *auth;                /* NULL: nobody needs a token */
    struct note_key *checkpoint_key;  /* NULL: nothing is signed */
    struct door *door;
    struct feed *feed;
    struct log_feed *log_feed;
    struct scavenger *scavenger;
    struct eraser *eraser;
    struct vault *vault; /* keys of subjects */
    _Atomic uint64_t keys_copied; /* slots that a follower has said it holds, since the start */
    struct groups *groups; /* NULL: a follower */
    struct consumers *consumers;
    struct clock_watch clock_watch;
    struct journal_id leader_id; /* a new follower's log is made with it */
    struct pages *pages;  /* the loop's, like the next */
    struct times times;
    uint64_t pages_again; /* answered with a page that was kept */
    struct http *http;
    uint64_t started_us;
    dev_t socket_device; /* of the socket in the file system, to know it again; 0: there is none */
    ino_t socket_inode;
    char url[160]; /* where it listens */
    char journal_id[JOURNAL_ID_TEXT_SIZE];
};

static inline struct server *server_of(const struct http_request *request)
{
    return http_request_user(request);
}

/* ---- routes.c: the one table of routes ---- */

enum { ROUTE_PARAMETER_COUNT_MAX = 12, ROUTE_STATUS_COUNT_MAX = 12 };

/* What a route is for people and for /openapi.json. */
struct route_about {
    const char *operation; /* a name for programs: "appendEvents" */
    enum role role;        /* what a caller needs; ROLE_NONE only where the route is HTTP_PUBLIC */
    const char *summary;
    const char *parameters[ROUTE_PARAMETER_COUNT_MAX]; /* of the query, each "name: what it is" */
    bool any_parameter;                                /* also others: a view's columns, a query's own */
    const char *body;                                  /* schema of the body it takes; NULL: none */
    const char *answer;                                /* schema of its good answer; NULL: no JSON */
    const char *types[4];                              /* media types of its good answer */
    unsigned statuses[ROUTE_STATUS_COUNT_MAX]; /* good ones first; without those any route can answer */
};

const struct http_route *server_routes(size_t *ret_count);
/* Refuse a query parameter the route does not know: true when it has been answered. */
bool parameters_refused(struct http_request *request);

/* ---- handlers, by the file they are in ---- */

void handle_append(struct http_request *request);
void handle_stream_append(struct http_request *request);
void handle_stream_read(struct http_request *request);
void handle_events_read(struct http_request *request);
void handle_events_query(struct http_request *request);
void handle_command(struct http_request *request);
void handle_view(struct http_request *request);
void handle_query(struct http_request *request);
void handle_views(struct http_request *request);
void handle_rebuild(struct http_request *request);
void handle_log(struct http_request *request);
void handle_keys(struct http_request *request);
void handle_groups(struct http_request *request);
void handle_group_status(struct http_request *request);
void handle_group_create(struct http_request *request);
void handle_group_delete(struct http_request *request);
void handle_group_fetch(struct http_request *request);
void handle_group_ack(struct http_request *request);
void handle_group_nack(struct http_request *request);
void handle_group_extend(struct http_request *request);
void handle_group_parked(struct http_request *request);
void handle_group_replay(struct http_request *request);
void handle_dcb_read(struct http_request *request);
void handle_dcb_append(struct http_request *request);
void handle_health(struct http_request *request);
void handle_ready(struct http_request *request);
void handle_metrics(struct http_request *request);
void handle_openapi(struct http_request *request);
void handle_auth(struct http_request *request);
void handle_retention(struct http_request *request);
void handle_prefix_retention_set(struct http_request *request);
void handle_prefix_retention_remove(struct http_request *request);
void handle_stream_retention(struct http_request *request);
void handle_stream_retention_set(struct http_request *request);
void handle_stream_retention_remove(struct http_request *request);
void handle_compact(struct http_request *request);
void handle_clock(struct http_request *request);
void handle_subject_erase(struct http_request *request);
void handle_scavenge(struct http_request *request);
void handle_scavenge_state(struct http_request *request);

/* ---- answers.c: what the layers below answer, as HTTP ---- */

/* The problem an answer of the journal becomes; `detail` may be empty. */
struct http_problem journal_problem(int answer, const char *detail);
void answer_journal(struct http_request *request, int answer, const char *detail);
/* What command_compact() answered, but for 0. */
void answer_compacted(struct http_request *request, int answer, const struct command_compacted *compacted);
/* -errno nobody expected; damage (-EBADMSG) is named by file and offset where they are known. */
void answer_failure(struct http_request *request, int failure);
/* P6: what would have to go on behind the head of an incomplete journal: true when the damage has been answered. */
bool damage_refused(struct http_request *request);
/* Put into a problem what is damaged, if the journal knows; `status` is what the sentence lies in. */
void damage_name(struct server *server, struct journal_status *status, struct http_problem *problem);
/* The workers' queue is full. */
void answer_busy(struct http_request *request);
/* Members of a not-leader problem; true when the server is a follower and the write has been refused. */
bool write_refused(struct http_request *request);
/* 415 when it is a CloudEvent in binary mode (write.c): true when it has been answered. */
bool binary_refused(struct http_request *request);
/* `"conflicts":[…]` */
_must_check_ int conflicts_write(const struct journal_result *result, struct buffer *out);
/* The problem as JSON text, for one of several results, or for an answer that is given later. */
_must_check_ int problem_text(const struct http_request *request, const struct http_problem *problem,
                              struct buffer *out);
/* 400 or 422 with all violations of a body that could not be taken. */
struct append_json;
void answer_parsed(struct http_request *request, int answer, const struct append_json *parsed);
/* 409 beyond-head: `asked` is a position behind the last one there is. */
void answer_beyond(struct http_request *request, uint64_t asked, uint64_t end);
/* Daybook-Position of this answer. */
void answer_position(struct http_request *request, uint64_t position);
/* 400 parameter-invalid, naming it. */
_printf_(3, 4) void answer_parameter(struct http_request *request, const char *name, const char *format, ...);

/* ---- ask.c: what query parameters and headers say ---- */

/* Each: false when it has been answered with what is wrong; the value is untouched when the parameter is missing. */
bool ask_u64(struct http_request *request, const char *name, uint64_t min, uint64_t max, uint64_t *value);
bool ask_flag(struct http_request *request, const char *name, bool *value);
bool ask_direction(struct http_request *request, enum journal_direction *value);
/* A position: a number, or a cursor of this journal (else 409 other-journal), and not beyond the end (else 409 beyond-head).
 * A bound from above may be a number beyond the end. */
bool ask_position(struct http_request *request, const char *name, uint64_t *value);
bool ask_bound(struct http_request *request, const char *name, uint64_t *value);
/* Whether a position proves that this journal has lost something: a leader gave out every position there was. To a follower
 * it may still come. */
bool position_is_beyond(const struct server *server, uint64_t position);
/* `wait=5` of Prefer (RFC 7240) in ms; 0: not said. */
uint32_t ask_prefer_wait_ms(const struct http_request *request);
bool ask_prefer(const struct http_request *request, const char *preference);
/* A traceparent (W3C Trace Context) worth keeping, or empty. */
struct bytes ask_traceparent(const struct http_request *request);

enum { CURSOR_E_INVALID = 1, CURSOR_E_OTHER };
int cursor_parse(const struct server *server, struct bytes text, uint64_t *ret_position);
void cursor_format(const struct server *server, uint64_t position, char ret_text[CURSOR_TEXT_SIZE]);

/* ---- filter.c: which events are asked for ---- */

/* A whole query, owned; and a stream and lower bounds, for subscriptions to one. */
struct filter {
    struct journal_query query;
    struct bytes stream; /* not empty: only this stream's */
    struct bytes prefix; /* not empty: only streams whose names begin so */
    bool system;         /* daybook's own events too */
    uint64_t version_min;
    struct append_json *parsed; /* what the query points into, when it came as a body */
};

/* From type=, tag=, prefix= and system= of the URL, in the request's memory. False: answered. */
bool filter_from_parameters(struct http_request *request, struct filter *ret_filter);
/* The query from a body, prefix= and system= from the URL. False: answered. The filter is the caller's to deinit. */
bool filter_from_body(struct http_request *request, struct filter *ret_filter);
void filter_deinit(struct filter *filter);

/* An event as far as filters look at it. */
struct filter_subject {
    struct bytes stream, type;
    uint64_t version;
    const struct bytes *tags;
    size_t tag_count;
};
bool filter_matches(const struct filter *filter, const struct filter_subject *subject);

/* ---- feed.c: subscriptions ---- */

int feed_new(struct server *server, struct feed **ret_feed);
void feed_free(struct feed *feed);  /* after http is gone */
/* Drop the events held for subscribers: some may have been erased. Any thread. */
void feed_forget(struct feed *feed);
void feed_quiet(struct feed *feed); /* hear nothing more of the journal, which is about to close */
/* Answer with a subscription; the filter is taken. */
void feed_subscribe(struct http_request *request, struct filter *filter, uint64_t after, bool reset);
struct feed_figures {
    uint64_t open, delivered, frames, frames_bytes, refused;
};
void feed_figures(const struct feed *feed, struct feed_figures *ret_figures);

/* ---- log_feed.c: followers of this server ---- */

int log_feed_new(struct server *server, struct log_feed **ret_feed);
void log_feed_quiet(struct log_feed *feed);
void log_feed_free(struct log_feed *feed);
uint64_t log_feed_open_count(const struct log_feed *feed);
/* How many are connected; and of each its address, how far the log has gone out to it, and whether that is past a fence. Any
 * thread. */
void log_feed_report(struct log_feed *feed, uint64_t fence, struct json_writer *w);

/* ---- checkpoint.c: signed checkpoints for auditors ---- */

void handle_checkpoint(struct http_request *request);
void handle_checkpoint_key(struct http_request *request);
/* Reads the key that the options name, if they name one. 0; SERVER_E_START with a sentence; -ENOMEM. */
int checkpoint_key_open(struct server *server, char *ret_error);
void checkpoint_key_close(struct server *server);

/* ---- consume.c: consumers that fetch from a group, and wait ---- */

int consumers_new(struct server *server, struct consumers **ret_consumers);
/* For groups_options.changed: somebody who waits may get something now. Any thread. */
void consumers_call(void *consumers);
/* Draining has begun: who waits is answered. */
void consumers_drain(struct consumers *consumers);
void consumers_quiet(struct consumers *consumers);
void consumers_free(struct consumers *consumers);
uint64_t consumers_open_count(const struct consumers *consumers);

/* ---- metrics.c ---- */

/* The head of a family of /metrics. */
_must_check_ int metric_family(struct buffer *out, const char *name, const char *type, const char *help);

/* ---- groups.c ---- */

int server_groups_open(struct server *server);
/* Families of /metrics. */
_must_check_ int group_metrics(struct server *server, struct buffer *out);
/* Member "groups": those that do not move as they should, and why. */
void groups_write_stalled(struct server *server, struct json_writer *w);

/* ---- lines.c: events as NDJSON ---- */

/* How they are said, when it is not as NDJSON. */
struct lines_form {
    const char *type; /* media type */
    const char *begin, *between, *end;
    int (*write)(const struct journal_event *event, struct buffer *out); /* one event; < 0: failure */
};

/* A piece of a stream of events for one client, which may be slow. piece_begin() finds room before it is read: the bytes it is
 * to have at least, `size` or fewer where memory for answers is tight; 0: there is no room, not even for that. piece_end()
 * counts what came of it, and gives back what the reader has read ahead where that finds none; false: one event alone is too
 * large for what there is, and the piece is gone. Whoever hears of no room ends the stream. `held` counts both. */
enum { PIECE_SMALL_SIZE = 16384, PIECE_READER_SIZE = 262144 /* what a reader may have read ahead */ };
size_t piece_begin(struct http *http, struct buffer *piece, size_t *held, size_t size);
bool piece_end(struct http *http, struct buffer *piece, struct journal_reader *reader, size_t *held);

/* Answer with the events of a read, no further than the inclusive bounds (positions, or versions of its stream). `form`
 * lasts for ever; NULL: NDJSON. `tail` is copied and stands behind all; NULL: nothing does. 503 when memory for answers is
 * full. */
void lines_answer(struct http_request *request, const struct journal_read *read, uint64_t lowest,
                  uint64_t highest, uint64_t limit, const struct lines_form *form, const char *tail);

/* ---- door.c: who is let in ---- */

/* For http_options.authorize: `user` is the server. */
unsigned door_authorize(void *user, struct http_request *request);
/* Whoever asks, for the scope of idempotency keys; empty when nobody needs a token. */
void door_caller(struct http_request *request, char ret_caller[AUTH_CALLER_SIZE]);
/* Looks at the files of server->auth now and then, and on SIGHUP; NULL when there are none. */
int door_new(struct server *server, struct door **ret_door);
void door_free(struct door *door); /* after http is gone */

/* ---- clock.c ---- */

void clock_watch_begin(struct server *server);
void clock_watch_end(struct server *server); /* before the journal closes */
/* A member "clock" of /ready's journal. */
void clock_write(struct json_writer *w, const struct journal_status *status);

/* ---- follow.c ---- */

struct file_log_options;
/* Before the log is opened: a new one takes over the leader's identity. */
int follower_prepare(struct server *server, const char *log_folder, struct file_log_options *options,
                     char *ret_error);
int follower_start(struct server *server, char *ret_error);
void follower_stop(struct follower *follower); /* NULL is fine */
/* Whether it has come, since it started, to where the leader was when it was first heard, and has obeyed the fences up to
 * there, and that it follows still or its leader is only away; `ret_why` is a sentence when not. */
bool follower_is_ready(const struct server *server, const char **ret_why);
/* Daybook-Parted, with the reason, on every answer of a copy that does not follow any more. Any thread. */
void follower_decorate(struct follower *follower, struct http_request *request);
/* What has parted gets nothing new: subscriptions to it end, and are refused with 503 parted (true). */
bool follower_has_parted(const struct server *server);
bool parted_refused(struct http_request *request);
/* A member "follower" of /ready, and its families of /metrics. */
void follower_write(struct follower *follower, struct json_writer *w);
_must_check_ int follower_metrics(struct follower *follower, struct buffer *out);

/* ---- erase.c: subjects ---- */

/* Begin to finish what fences ask for. Also on failure *ret_eraser is the caller's. */
int eraser_new(struct server *server, struct eraser **ret_eraser);
void eraser_stop(struct eraser *eraser); /* before journal, views and commands close. NULL is fine, also below */
void eraser_free(struct eraser *eraser); /* after http is gone */
/* What fences up to this position ask for has been done. */
uint64_t eraser_settled(struct eraser *eraser);
_must_check_ int eraser_metrics(struct server *server, struct buffer *out);

/* ---- scavenge.c: bodies that go ---- */

int scavenger_new(struct server *server, struct scavenger **ret_scavenger);
/* End a run under way; before journal, views and commands close. NULL is fine, also below. */
void scavenger_stop(struct scavenger *scavenger);
void scavenger_free(struct scavenger *scavenger); /* after http is gone */
struct scavenger_figures {
    uint64_t runs, gone, body_bytes, room_bytes;
    bool running;
};
void scavenger_figures(struct scavenger *scavenger, struct scavenger_figures *ret_figures);

/* ---- views.c ---- */

void view_status_write(struct json_writer *w, const struct view_status *status);
