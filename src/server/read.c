/* Reading events: GET /v1/events, POST /v1/events/query, GET /v1/streams/{stream}, as one JSON page, as NDJSON, or handed
 * on to a subscription.
 *
 * A small page is read on the loop, at once: two threads waking each other cost more than the few records it takes, which
 * as a rule lie in memory. What asks for more, combines terms, or turns out to be larger, is read (on) by a worker. */

#include <inttypes.h>
#include <stdio.h>

#include "base/names.h"
#include "journal/event_json.h"
#include "server/internal.h"
#include "server/pages.h"

static const char *const event_types[] = {"application/json", "text/event-stream", "application/x-ndjson"};
enum { AS_PAGE, AS_SUBSCRIPTION, AS_LINES };

enum {
    INLINE_COUNT_MAX = 100,     /* events a page may ask for to be begun on the loop */
    INLINE_SIZE_MAX = 64 * 1024, /* bytes of events after which a worker goes on with it */
    PAGE_WHOLE_SIZE = 32 * 1024, /* a page above is sent in pieces when memory for answers is tight */
};

/* What was asked; lives as long as the request. The bounds are inclusive; positions, or versions of a stream. */
struct reading {
    struct http_request *request;
    struct http_task task;
    struct filter filter;
    struct journal_read read;
    uint64_t lowest, highest;
    uint64_t head;     /* what is read is as the journal was then */
    uint64_t version;  /* of the stream asked for, then */
    uint64_t replaced; /* journal_replaced_count(), then */
    uint64_t limit;
    bool limit_given;
    int form;
    struct journal_reader *reader;
    struct page page;    /* what came of it so far; of one that was kept all but the events */
    struct bytes events; /* of the page, when it is finished */
    size_t held;         /* counted for the page */
    void (*answer)(struct reading *reading, int r);
};

static void reading_release(void *user)
{
    struct reading *reading = user;

    journal_reader_free(reading->reader);
    buffer_deinit(&reading->page.events);
    filter_deinit(&reading->filter);
}

/* ---- asking ---- */

/* A reading in one of the forms the client takes; NULL: answered. */
static struct reading *reading_new(struct http_request *request)
{
    struct reading *reading;

    if (parameters_refused(request))
        return NULL;
    reading = http_request_alloc(request, sizeof(*reading));
    if (!reading || http_request_on_end(request, reading_release, reading) < 0) {
        answer_failure(request, -ENOMEM);
        return NULL;
    }
    reading->request = request;
    reading->replaced = journal_replaced_count(server_of(request)->journal);
    reading->head = journal_head(server_of(request)->journal);
    reading->form = http_request_accepts(request, event_types, 3);
    if (reading->form >= 0)
        return reading;
    http_answer_error(request, 406, "not-acceptable",
                      "Here are application/json, text/event-stream and application/x-ndjson.");
    return NULL;
}

static bool ask_limit(struct reading *reading)
{
    struct bytes text;

    reading->limit = READ_LIMIT_DEFAULT;
    reading->limit_given = http_request_parameter(reading->request, "limit", &text);
    return ask_u64(reading->request, "limit", 1, READ_LIMIT_MAX, &reading->limit) &&
           ask_direction(reading->request, &reading->read.direction);
}

/* ---- one page ---- */

static bool outside(const struct reading *reading, const struct journal_event *event, bool *ret_beyond)
{
    uint64_t place = reading->read.stream.size > 0 ? event->version : event->position;

    *ret_beyond =
        reading->read.direction == JOURNAL_FORWARD ? place > reading->highest : place < reading->lowest;
    return place > reading->highest || place < reading->lowest;
}

/* 0, JOURNAL_E_END when the page is complete, or a failure. */
static int page_add(struct reading *reading)
{
    struct page *page = &reading->page;
    struct journal_event event;
    bool beyond;
    int r = journal_reader_next(reading->reader, &event);

    if (r != 0)
        return r;
    if (outside(reading, &event, &beyond))
        return beyond ? JOURNAL_E_END : 0;
    r = page->count > 0 ? buffer_append_byte(&page->events, ',') : 0;
    if (r == 0)
        r = event_json_write(&event, &page->events);
    page->count++;
    page->fleeting |= event.subject.size > 0 || event.sealed;
    page->examined = event.position;
    page->last = reading->read.stream.size > 0 ? event.version : event.position;
    return r;
}

/* Reads on until the page is complete, full, or has size_max bytes: true when it is finished. */
static bool page_fill(struct reading *reading, size_t size_max, int *ret_r)
{
    struct server *server = server_of(reading->request);
    size_t page_size_max = server->options->limits.page_size_max;
    struct page *page = &reading->page;
    int r = reading->reader ? 0 : journal_reader_new(server->journal, &reading->read, &reading->reader);

    if (size_max > page_size_max)
        size_max = page_size_max;
    while (r == 0 && page->count < reading->limit && page->events.size < size_max)
        r = page_add(reading);
    page->complete = r == JOURNAL_E_END;
    *ret_r = page->complete ? 0 : r;
    return r != 0 || page->count == reading->limit || page->events.size >= page_size_max;
}

/* ---- pages that were kept ---- */

/* A full page and all that its stream, or its tag or type, holds are what they were, until more is added to that. */
static bool page_holds(const struct reading *reading, const struct page *page, const struct page_stamp *stamp)
{
    struct journal *journal = server_of(reading->request)->journal;
    bool may = true;

    if (stamp->replaced != reading->replaced)
        return false;
    if (reading->read.stream.size > 0)
        return stamp->version == reading->version;
    if (stamp->head == reading->head || (!page->complete && reading->read.direction == JOURNAL_FORWARD))
        return true;
    return journal_may_match(journal, &reading->filter.query, stamp->head, &may) == 0 && !may;
}

/* Take the page that was kept for the same question, if it still holds. */
static bool page_take(struct reading *reading)
{
    struct http_request *request = reading->request;
    struct page_stamp stamp;
    const struct page *page = pages_find(server_of(request)->pages, http_request_path(request),
                                         http_request_query(request), &stamp);

    if (!page || !page_holds(reading, page, &stamp))
        return false;
    server_of(request)->pages_again++;
    reading->events = buffer_bytes(&page->events);
    reading->page = *page;
    reading->page.events = (struct buffer){0};
    return true;
}

static void page_keep(const struct reading *reading)
{
    struct page_stamp stamp = {reading->head, reading->version, reading->replaced};
    struct http_request *request = reading->request;

    pages_keep(server_of(request)->pages, http_request_path(request), http_request_query(request), &stamp,
               &reading->page);
}

/* ---- where a page is read ---- */

static void page_on_worker(struct http_task *task)
{
    struct reading *reading = (struct reading *)((char *)task - offsetof(struct reading, task));
    int r;

    if (http_memory_refused(reading->request)) /* it has waited for its turn */
        return;
    page_fill(reading, SIZE_MAX, &r);
    reading->events = buffer_bytes(&reading->page.events);
    reading->answer(reading, r);
}

/* One stream, one type, one tag, or everything: found without looking at what does not match, which may be much. */
static bool is_direct(const struct reading *reading)
{
    const struct journal_query *query = &reading->filter.query;

    return reading->filter.prefix.size == 0 &&
           (query->count == 0 ||
            (query->count == 1 && query->items[0].type_count + query->items[0].tag_count == 1));
}

static void page_start(struct reading *reading)
{
    bool small = reading->limit <= INLINE_COUNT_MAX && is_direct(reading);
    bool by_target = !reading->filter.parsed; /* else the question stands in the body */
    int r = 0;

    if (small && by_target && page_take(reading)) {
        reading->answer(reading, 0);
        return;
    }
    if (small && page_fill(reading, INLINE_SIZE_MAX, &r)) {
        reading->events = buffer_bytes(&reading->page.events);
        if (r == 0 && by_target)
            page_keep(reading);
        reading->answer(reading, r);
        return;
    }
    reading->task.run = page_on_worker;
    if (http_work(http_request_server(reading->request), &reading->task) != 0)
        answer_busy(reading->request);
}

/* A large page while much memory is taken: it has been read to know where it ends, and is read once more, piece by piece, as
 * its client takes it. */
static void page_in_pieces(struct reading *reading, struct buffer *tail)
{
    static const struct lines_form form = {.type = "application/json",
                                           .begin = "{\"events\":[",
                                           .between = ",",
                                           .end = "]",
                                           .write = event_json_write};
    const char *text = buffer_append_byte(tail, '}') == 0 ? buffer_string(tail) : NULL;
    bool backward = reading->read.direction == JOURNAL_BACKWARD;
    uint64_t last = reading->page.last;

    buffer_deinit(&reading->page.events);
    journal_reader_free(take_ptr(reading->reader));
    if (text)
        lines_answer(reading->request, &reading->read, backward ? last : reading->lowest,
                     backward ? reading->highest : last, reading->page.count, &form, text);
    else
        answer_failure(reading->request, -ENOMEM);
}

/* In memory as one, where it is small or there is room. */
static bool page_fits(struct reading *reading)
{
    struct http *http = http_request_server(reading->request);

    return reading->page.events.size <= PAGE_WHOLE_SIZE ||
           http_memory_take(http, &reading->held, reading->page.events.size, HTTP_SHARE_HALF);
}

/* The events were read for this answer alone: what stands before them is put in front, so that there are not two of them. */
static void page_answer_own(struct reading *reading, const struct buffer *tail)
{
    static const char begin[] = "{\"events\":[";
    struct buffer body = reading->page.events;
    size_t size = body.size;
    int r = buffer_reserve(&body, sizeof(begin) + tail->size + 2);

    reading->page.events = (struct buffer){0};
    if (r == 0) {
        memmove(body.data + sizeof(begin) - 1, body.data, size);
        memcpy(body.data, begin, sizeof(begin) - 1);
        body.size += sizeof(begin) - 1;
        r = buffer_append_byte(&body, ']');
    }
    r = r < 0 ? r : buffer_append_bytes(&body, buffer_bytes(tail));
    r = r < 0 ? r : buffer_append_byte(&body, '}');
    http_memory_set(http_request_server(reading->request), &reading->held, 0); /* http_answer() counts it */
    if (r < 0)
        answer_failure(reading->request, r);
    else
        http_answer(reading->request, 200, "application/json", &body);
    buffer_deinit(&body);
}

static void page_answer(struct reading *reading, struct buffer *tail)
{
    struct http_request *request = reading->request;

    if (!page_fits(reading)) {
        page_in_pieces(reading, tail);
        return;
    }
    if (reading->page.events.size > PAGE_WHOLE_SIZE) {
        page_answer_own(reading, tail);
        return;
    }
    struct buffer body = http_answer_buffer(request);
    int r = buffer_append_string(&body, "{\"events\":[");

    r = r < 0 ? r : buffer_append_bytes(&body, reading->events);
    r = r < 0 ? r : buffer_append_byte(&body, ']');
    r = r < 0 ? r : buffer_append_bytes(&body, buffer_bytes(tail));
    r = r < 0 ? r : buffer_append_byte(&body, '}');
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, "application/json", &body);
    buffer_deinit(&body);
}

/* Whether the question goes on behind the head of a journal that is incomplete. */
static bool goes_on_behind(const struct reading *reading)
{
    return reading->read.before == 0;
}

/* ---- the journal ---- */

static void journal_page_answer(struct reading *reading, int r)
{
    struct http_request *request = reading->request;
    bool backward = reading->read.direction == JOURNAL_BACKWARD;
    struct page *page = &reading->page;
    struct buffer tail = {0};
    uint64_t after;

    if (!backward && !page->complete && page->examined >= reading->highest && !goes_on_behind(reading))
        page->complete = true; /* the last event there is has just filled the page */
    /* Backward, a condition may still be built on what was read: nothing up to the head at that time was missed. */
    after = backward || page->complete ? reading->highest : page->examined;
    if (!backward && after < reading->read.after)
        after = reading->read.after; /* asked a follower for what is still to come */
    if (r == 0)
        r = buffer_printf(&tail, ",\"after\":%" PRIu64 ",\"head\":%" PRIu64 ",\"more\":%s", after,
                          reading->head, page->complete ? "false" : "true");
    if (r == 0 && backward && page->count > 0)
        r = buffer_printf(&tail, ",\"before\":%" PRIu64, page->last);
    answer_position(request, reading->head);
    http_header(request, "Cache-Control", page->fleeting ? "no-store" : "no-cache");
    if (r != 0)
        answer_journal(request, r, NULL);
    else
        page_answer(reading, &tail);
    buffer_deinit(&tail);
}

/* A subscription goes on for ever, forward. True: something else was asked for, and answered. */
static bool end_refused(struct http_request *request)
{
    static const char *const ends[] = {"before", "to", "limit"};
    enum journal_direction direction = JOURNAL_FORWARD;
    struct bytes text;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (!http_request_parameter(request, ends[i], &text))
            continue;
        answer_parameter(request, ends[i], "is not for subscriptions, which have no end");
        return true;
    }
    if (!ask_direction(request, &direction))
        return true;
    if (direction == JOURNAL_FORWARD)
        return false;
    answer_parameter(request, "direction", "is forward for subscriptions");
    return true;
}

static void journal_subscribe(struct reading *reading)
{
    struct server *server = server_of(reading->request);
    const char *last = http_request_header(reading->request, "Last-Event-ID");
    struct bytes text;
    uint64_t after = 0;
    bool reset = false;
    int r = 0;

    if (end_refused(reading->request))
        return;
    if (last && *last)
        r = cursor_parse(server, bytes_from_string(last), &after);
    else if (http_request_parameter(reading->request, "after", &text))
        r = cursor_parse(server, text, &after);
    if (r == CURSOR_E_INVALID) {
        http_answer_error(reading->request, 400, "cursor-invalid",
                          "Last-Event-ID and after are a position or a cursor of ours.");
        return;
    }
    if (r == CURSOR_E_OTHER || position_is_beyond(server, after)) {
        reset = true;
        after = 0;
    }
    feed_subscribe(reading->request, &reading->filter, after, reset);
}

/* `after` and `before` of a URL: both exclusive. False: answered. */
static bool ask_bounds(struct reading *reading)
{
    uint64_t after = 0, before = 0;

    if (!ask_position(reading->request, "after", &after) ||
        !ask_bound(reading->request, "before", &before))
        return false;
    reading->lowest = after + 1;
    reading->highest = before > 0 && before <= reading->head ? before - 1 : reading->head;
    reading->read.after = after;
    reading->read.before = reading->highest + 1;
    if (journal_is_incomplete(server_of(reading->request)->journal) && (before == 0 || before > reading->head + 1))
        reading->read.before = 0; /* what is missing there must not look as if it never was */
    return true;
}

static void lines_start(struct reading *reading)
{
    http_header(reading->request, "Cache-Control", "no-cache");
    http_header(reading->request, "Vary", "Accept");
    answer_position(reading->request, reading->head);
    lines_answer(reading->request, &reading->read, reading->lowest, reading->highest,
                 reading->limit_given ? reading->limit : UINT64_MAX, NULL, NULL);
}

static void journal_start(struct reading *reading)
{
    reading->read.query = &reading->filter.query;
    reading->read.prefix = reading->filter.prefix;
    reading->read.system = reading->filter.system;
    if (reading->form == AS_SUBSCRIPTION) {
        journal_subscribe(reading);
    } else if (ask_limit(reading) && ask_bounds(reading)) {
        reading->answer = journal_page_answer;
        if (reading->form == AS_LINES)
            lines_start(reading);
        else
            page_start(reading);
    }
}

void handle_events_read(struct http_request *request)
{
    struct reading *reading = reading_new(request);

    if (reading && filter_from_parameters(request, &reading->filter))
        journal_start(reading);
}

void handle_events_query(struct http_request *request)
{
    struct reading *reading = reading_new(request);

    if (reading && filter_from_body(request, &reading->filter))
        journal_start(reading);
}

/* ---- one stream ---- */

/* The next page of the same question, if there may be one. */
static void link_next(const struct reading *reading)
{
    const struct page *page = &reading->page;
    bool backward = reading->read.direction == JOURNAL_BACKWARD;
    char bounds[96];

    if (backward && page->last <= reading->lowest)
        return;
    if (backward)
        snprintf(bounds, sizeof(bounds), "from=%" PRIu64 "&to=%" PRIu64 "&direction=backward",
                 reading->lowest, page->last - 1);
    else
        snprintf(bounds, sizeof(bounds), "from=%" PRIu64, page->last + 1);
    struct bytes path = http_request_path(reading->request);
    http_header_printf(reading->request, "Link", "<%.*s?%s&limit=%" PRIu64 ">; rel=\"next\"",
                       BYTES_PRINT(path), bounds, reading->limit);
}

/* A full page will say the same for ever, unless where it begins depends on the head. */
static bool page_is_final(const struct reading *reading)
{
    struct bytes text;

    return !reading->page.complete && (reading->read.direction == JOURNAL_FORWARD ||
                                       http_request_parameter(reading->request, "to", &text));
}

static void stream_page_answer(struct reading *reading, int r)
{
    struct http_request *request = reading->request;
    struct buffer tail = {0};

    if (r == 0 && !reading->page.complete)
        link_next(reading);
    bool private = reading->page.fleeting;
    if (r == 0 && page_is_final(reading)) {
        http_header(request, "Cache-Control", private ? "no-store" : "private, max-age=31536000, immutable");
    } else if (r == 0) {
        http_header(request, "Cache-Control", private ? "no-store" : "no-cache");
        r = buffer_printf(&tail, ",\"version\":%" PRIu64 ",\"head\":%" PRIu64, reading->version,
                          reading->head);
    }
    if (r != 0)
        answer_journal(request, r, NULL);
    else
        page_answer(reading, &tail);
    buffer_deinit(&tail);
}

static void stream_start(struct reading *reading)
{
    char etag[24];

    snprintf(etag, sizeof(etag), "%" PRIu64, reading->version);
    answer_position(reading->request, reading->head);
    http_header(reading->request, "Vary", "Accept");
    if (http_answer_not_modified(reading->request, etag))
        return;
    reading->answer = stream_page_answer;
    page_start(reading);
}

static void stream_subscribe(struct reading *reading)
{
    if (!ask_u64(reading->request, "from", 1, UINT64_MAX, &reading->filter.version_min))
        return;
    reading->filter.stream = reading->read.stream;
    reading->filter.system = true; /* it was asked for by name */
    journal_subscribe(reading);
}

/* A name that no stream can have is said to be so; one that none has is simply not there. */
static bool stream_refused(struct http_request *request, struct bytes stream, uint64_t version)
{
    int rule = name_check(NAME_STREAM, stream);

    if (rule != 0 && rule != NAME_E_SYSTEM)
        http_answer_error(request, 400, "stream-invalid", "The name of a stream %s.", name_rule(rule));
    else if (version == 0)
        http_answer_error(request, 404, "no-such-stream", "There is no stream of this name.");
    else
        return false;
    return true;
}

void handle_stream_read(struct http_request *request)
{
    struct reading *reading = reading_new(request);
    uint64_t from = 1, to = UINT64_MAX;
    struct bytes after;

    if (!reading)
        return;
    reading->read.stream = http_request_param(request, 0);
    if (reading->form == AS_SUBSCRIPTION) {
        stream_subscribe(reading);
        return;
    }
    if (http_request_parameter(request, "after", &after)) { /* positions are the feed's, versions the page's */
        answer_parameter(request, "after", "is where a subscription goes on; a page begins at from, a version");
        return;
    }
    int r = journal_stream_version(server_of(request)->journal, reading->read.stream, &reading->version);
    if (r < 0) {
        answer_failure(request, r);
        return;
    }
    if (stream_refused(request, reading->read.stream, reading->version) ||
        !ask_u64(request, "from", 1, UINT64_MAX, &from) || !ask_u64(request, "to", 1, UINT64_MAX, &to) ||
        !ask_limit(reading))
        return;
    reading->lowest = from;
    reading->highest = to < reading->version ? to : reading->version;
    reading->read.after = from - 1;
    reading->read.before = reading->highest + 1;
    reading->read.system = true; /* it was asked for by name */
    if (reading->form == AS_LINES)
        lines_start(reading);
    else
        stream_start(reading);
}
