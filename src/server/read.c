/* Reading events: GET /v1/events, POST /v1/events/query, GET /v1/streams/{stream}, as one JSON page, as NDJSON, or handed
 * on to a subscription. Runs on a worker. */

#include <inttypes.h>
#include <stdio.h>

#include "base/names.h"
#include "journal/event_json.h"
#include "server/internal.h"

static const char *const event_types[] = {"application/json", "text/event-stream", "application/x-ndjson"};
enum { AS_PAGE, AS_SUBSCRIPTION, AS_LINES };

/* What was asked. The bounds are inclusive; positions, or versions of a stream. */
struct reading {
    struct http_request *request;
    struct filter filter;
    struct journal_read read;
    uint64_t lowest, highest;
    uint64_t head; /* what is read is as the journal was then */
    uint64_t limit;
    bool limit_given;
};

/* What came of it. */
struct page {
    struct buffer events; /* JSON objects, comma between them */
    uint64_t count;
    uint64_t last;     /* position or version of the last event shown */
    uint64_t examined; /* position the reader has come to */
    bool complete;     /* to the bound; else the limit or page_size_max stopped it */
};

/* ---- asking ---- */

/* 406 when no form fits; else the form. */
static int form_asked(struct http_request *request)
{
    int form = http_request_accepts(request, event_types, 3);

    if (form < 0)
        http_answer_error(request, 406, "not-acceptable",
                          "Here are application/json, text/event-stream and application/x-ndjson.");
    return form;
}

static bool ask_limit(struct reading *reading)
{
    struct bytes text;

    reading->limit = READ_LIMIT_DEFAULT;
    reading->limit_given = http_request_parameter(reading->request, "limit", &text);
    return ask_u64(reading->request, "limit", 1, READ_LIMIT_MAX, &reading->limit) &&
           ask_direction(reading->request, &reading->read.direction) &&
           ask_flag(reading->request, "system", &reading->read.system);
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
static int page_add(const struct reading *reading, struct journal_reader *reader, struct page *page)
{
    struct journal_event event;
    bool beyond;
    int r = journal_reader_next(reader, &event);

    if (r != 0)
        return r;
    if (outside(reading, &event, &beyond))
        return beyond ? JOURNAL_E_END : 0;
    r = page->count > 0 ? buffer_append_byte(&page->events, ',') : 0;
    if (r == 0)
        r = event_json_write(&event, &page->events);
    page->count++;
    page->examined = event.position;
    page->last = reading->read.stream.size > 0 ? event.version : event.position;
    return r;
}

static int page_read(const struct reading *reading, struct page *page)
{
    const struct server *server = server_of(reading->request);
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    int r = journal_reader_new(server->journal, &reading->read, &reader);

    while (r == 0 && page->count < reading->limit &&
           page->events.size < server->options->limits.page_size_max)
        r = page_add(reading, reader, page);
    page->complete = r == JOURNAL_E_END;
    return page->complete ? 0 : r;
}

static void page_answer(struct http_request *request, struct page *page, const struct buffer *tail)
{
    struct buffer body = {0};
    int r = buffer_append_string(&body, "{\"events\":[");

    r = r < 0 ? r : buffer_append_bytes(&body, buffer_bytes(&page->events));
    r = r < 0 ? r : buffer_append_byte(&body, ']');
    r = r < 0 ? r : buffer_append_bytes(&body, buffer_bytes(tail));
    r = r < 0 ? r : buffer_append_byte(&body, '}');
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, "application/json", &body);
    buffer_deinit(&body);
}

/* ---- the journal ---- */

static void journal_page(struct reading *reading)
{
    struct http_request *request = reading->request;
    bool backward = reading->read.direction == JOURNAL_BACKWARD;
    struct page page = {0};
    struct buffer tail = {0};
    uint64_t after;
    int r = page_read(reading, &page);

    if (!backward && !page.complete && page.examined >= reading->highest)
        page.complete = true; /* the last event there is has just filled the page */
    /* Backward, a condition may still be built on what was read: nothing up to the head at that time was missed. */
    after = backward || page.complete ? reading->highest : page.examined;
    if (r == 0)
        r = buffer_printf(&tail, ",\"after\":%" PRIu64 ",\"head\":%" PRIu64 ",\"more\":%s", after,
                          reading->head, page.complete ? "false" : "true");
    if (r == 0 && backward && page.count > 0)
        r = buffer_printf(&tail, ",\"before\":%" PRIu64, page.last);
    answer_position(request, reading->head);
    http_header(request, "Cache-Control", "no-cache");
    if (r != 0)
        answer_journal(request, r, NULL);
    else
        page_answer(request, &page, &tail);
    buffer_deinit(&page.events);
    buffer_deinit(&tail);
}

static void journal_subscribe(struct reading *reading)
{
    struct server *server = server_of(reading->request);
    const char *last = http_request_header(reading->request, "Last-Event-ID");
    struct bytes text;
    uint64_t after = 0;
    bool reset = false;
    int r = 0;

    if (last && *last)
        r = cursor_parse(server, bytes_from_string(last), &after);
    else if (http_request_parameter(reading->request, "after", &text))
        r = cursor_parse(server, text, &after);
    if (r == CURSOR_E_INVALID) {
        http_answer_error(reading->request, 400, "cursor-invalid",
                          "Last-Event-ID and after are a position or a cursor of ours.");
        filter_deinit(&reading->filter);
        return;
    }
    if (r == CURSOR_E_OTHER) {
        reset = true;
        after = 0;
    }
    feed_subscribe(reading->request, &reading->filter, after, reset);
}

/* `after` and `before` of a URL: both exclusive. False: answered. */
static bool ask_bounds(struct reading *reading, uint64_t *ret_after)
{
    uint64_t after = 0, before = 0;

    if (!ask_position(reading->request, "after", &after) ||
        !ask_position(reading->request, "before", &before))
        return false;
    reading->lowest = after + 1;
    reading->highest = before > 0 && before <= reading->head ? before - 1 : reading->head;
    reading->read.after = after;
    reading->read.before = reading->highest + 1;
    *ret_after = after;
    return true;
}

static void journal_answer(struct reading *reading, int form)
{
    struct http_request *request = reading->request;
    uint64_t after;

    reading->head = journal_head(server_of(request)->journal);
    if (form == AS_SUBSCRIPTION) {
        journal_subscribe(reading);
        return;
    }
    if (ask_limit(reading) && ask_bounds(reading, &after)) {
        reading->read.query = &reading->filter.query;
        if (form == AS_LINES) {
            answer_position(request, reading->head);
            lines_answer(request, &reading->read, reading->lowest, reading->highest,
                         reading->limit_given ? reading->limit : UINT64_MAX);
        } else {
            journal_page(reading);
        }
    }
    filter_deinit(&reading->filter);
}

void handle_events_read(struct http_request *request)
{
    struct reading reading = {.request = request};
    int form;

    if (parameters_refused(request) || (form = form_asked(request)) < 0 ||
        !filter_from_parameters(request, &reading.filter))
        return;
    journal_answer(&reading, form);
}

void handle_events_query(struct http_request *request)
{
    struct reading reading = {.request = request};
    int form;

    if (parameters_refused(request) || (form = form_asked(request)) < 0 ||
        !filter_from_body(request, &reading.filter))
        return;
    journal_answer(&reading, form);
}

/* ---- one stream ---- */

/* The next page of the same question. */
static void link_next(const struct reading *reading, const struct page *page)
{
    bool backward = reading->read.direction == JOURNAL_BACKWARD;
    char bounds[96];

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
static bool page_is_final(const struct reading *reading, const struct page *page)
{
    struct bytes text;

    return !page->complete && (reading->read.direction == JOURNAL_FORWARD ||
                               http_request_parameter(reading->request, "to", &text));
}

static void stream_page(struct reading *reading, uint64_t version)
{
    struct http_request *request = reading->request;
    char etag[24];
    struct page page = {0};
    struct buffer tail = {0};

    snprintf(etag, sizeof(etag), "%" PRIu64, version);
    answer_position(request, reading->head);
    http_header(request, "Vary", "Accept");
    if (http_answer_not_modified(request, etag))
        return;
    int r = page_read(reading, &page);
    if (r == 0 && !page.complete)
        link_next(reading, &page);
    if (r == 0 && page_is_final(reading, &page)) {
        http_header(request, "Cache-Control", "private, max-age=31536000, immutable");
    } else if (r == 0) {
        http_header(request, "Cache-Control", "no-cache");
        r = buffer_printf(&tail, ",\"version\":%" PRIu64 ",\"head\":%" PRIu64, version, reading->head);
    }
    if (r != 0)
        answer_journal(request, r, NULL);
    else
        page_answer(request, &page, &tail);
    buffer_deinit(&page.events);
    buffer_deinit(&tail);
}

static void stream_subscribe(struct reading *reading)
{
    if (!ask_u64(reading->request, "from", 1, UINT64_MAX, &reading->filter.version_min))
        return;
    reading->filter.stream = reading->read.stream;
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
    struct journal *journal = server_of(request)->journal;
    struct reading reading = {.request = request, .read = {.stream = http_request_param(request, 0)}};
    uint64_t from = 1, to = UINT64_MAX, version;
    int form;

    if (parameters_refused(request) || (form = form_asked(request)) < 0)
        return;
    if (form == AS_SUBSCRIPTION) {
        stream_subscribe(&reading);
        return;
    }
    reading.head = journal_head(journal);
    version = journal_stream_version(journal, reading.read.stream);
    if (stream_refused(request, reading.read.stream, version) ||
        !ask_u64(request, "from", 1, UINT64_MAX, &from) || !ask_u64(request, "to", 1, UINT64_MAX, &to) ||
        !ask_limit(&reading))
        return;
    reading.lowest = from;
    reading.highest = to < version ? to : version;
    reading.read.after = from - 1;
    reading.read.before = reading.highest + 1;
    reading.read.system = true; /* it was asked for by name */
    if (form == AS_LINES) {
        answer_position(request, reading.head);
        lines_answer(request, &reading.read, reading.lowest, reading.highest,
                     reading.limit_given ? reading.limit : UINT64_MAX);
    } else {
        stream_page(&reading, version);
    }
}
