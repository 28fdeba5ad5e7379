/* Events as application/x-ndjson or another form, as many as there are: read piece by piece on a worker, sent as fast as
 * the client takes them. Memory is one piece and what the reader has read ahead, however long the answer; where memory for
 * answers is short a small piece, and nothing read ahead. The answer begins when its first piece is there, so that one for which
 * there is no room is a refusal, not an answer cut short. */

#include <stdlib.h>
#include <string.h>

#include "journal/event_json.h"
#include "server/errand.h"
#include "server/internal.h"

struct lines {
    struct errand errand;
    struct http_task start;
    struct http_request *request; /* NULL: abandoned */
    struct journal_reader *reader;
    enum journal_direction direction;
    uint64_t lowest, highest; /* positions, or versions of a stream */
    bool by_version;
    uint64_t left; /* events that may still be sent */
    const struct lines_form *form;
    bool answered, no_room;
    bool begun, some; /* what stands before all, and at least one event, is in a piece */
    size_t piece_size;
    struct buffer piece;
    size_t offset;
    size_t held; /* counted for it (http_memory_take) */
    char *tail;  /* what ends it besides the form's end; its own; NULL: nothing */
    int end; /* HTTP_SOURCE_END or _FAILED; 0: there is more */
};

static void lines_free(struct lines *lines)
{
    journal_reader_free(lines->reader);
    buffer_deinit(&lines->piece);
    http_memory_set(lines->errand.http, &lines->held, 0);
    free(lines->tail);
    free(lines);
}

/* One event's line, or the end. */
static int lines_next(struct lines *lines)
{
    struct journal_event event;
    int r = lines->left == 0 ? JOURNAL_E_END : journal_reader_next(lines->reader, &event);

    if (r == JOURNAL_E_END)
        return HTTP_SOURCE_END;
    if (r != 0)
        return HTTP_SOURCE_FAILED;
    uint64_t place = lines->by_version ? event.version : event.position;
    if (place > lines->highest || place < lines->lowest)
        return (place > lines->highest) == (lines->direction == JOURNAL_FORWARD) ? HTTP_SOURCE_END : 0;
    lines->left--;
    r = lines->some ? buffer_append_string(&lines->piece, lines->form->between) : 0;
    lines->some = true;
    return r < 0 || lines->form->write(&event, &lines->piece) < 0 ? HTTP_SOURCE_FAILED : 0;
}

size_t piece_begin(struct http *http, struct buffer *piece, size_t *held, size_t size)
{
    size_t small = size < PIECE_SMALL_SIZE ? size : PIECE_SMALL_SIZE;

    buffer_clear(piece);
    if (http_memory_take(http, held, size + PIECE_READER_SIZE, HTTP_SHARE_HALF))
        return size;
    if (piece->capacity > 2 * PIECE_SMALL_SIZE)
        buffer_deinit(piece);
    return http_memory_take(http, held, small, HTTP_SHARE_ALL) ? small : 0;
}

bool piece_end(struct http *http, struct buffer *piece, struct journal_reader *reader, size_t *held)
{
    if (http_memory_take(http, held, piece->size + PIECE_READER_SIZE, HTTP_SHARE_HALF))
        return true;
    journal_reader_rest(reader);
    if (http_memory_take(http, held, piece->size, HTTP_SHARE_ALL))
        return true;
    buffer_deinit(piece);
    http_memory_set(http, held, 0);
    return false;
}

static void lines_run(struct errand *errand)
{
    struct lines *lines = (struct lines *)errand;
    size_t size = piece_begin(lines->errand.http, &lines->piece, &lines->held, lines->piece_size);

    lines->offset = 0;
    lines->no_room = size == 0;
    if (size == 0 || (!lines->begun && buffer_append_string(&lines->piece, lines->form->begin) < 0))
        lines->end = HTTP_SOURCE_FAILED;
    lines->begun = true;
    while (lines->end == 0 && lines->piece.size < size)
        lines->end = lines_next(lines);
    if (lines->end == HTTP_SOURCE_END && (buffer_append_string(&lines->piece, lines->form->end) < 0 ||
                                          buffer_append_string(&lines->piece, lines->tail ? lines->tail : "") < 0))
        lines->end = HTTP_SOURCE_FAILED;
    if (!piece_end(lines->errand.http, &lines->piece, lines->reader, &lines->held)) {
        lines->no_room = true;
        lines->end = HTTP_SOURCE_FAILED;
    }
}

static int write_line(const struct journal_event *event, struct buffer *out)
{
    int r = event_json_write(event, out);

    return r < 0 ? r : buffer_append_byte(out, '\n');
}

static void lines_begin(struct lines *lines);

static void lines_back(struct errand *errand)
{
    struct lines *lines = (struct lines *)errand;

    if (!lines->answered)
        lines_begin(lines);
    else if (lines->request)
        http_wake(lines->request);
    else
        lines_free(lines);
}

static ssize_t lines_read(void *user, uint8_t *buffer, size_t size)
{
    struct lines *lines = user;
    size_t left = lines->piece.size - lines->offset;

    if (lines->errand.out)
        return HTTP_SOURCE_WAIT;
    if (left == 0 && lines->end != 0)
        return lines->end;
    if (left == 0) {
        errand_send(&lines->errand);
        return lines->errand.out ? HTTP_SOURCE_WAIT : lines_read(user, buffer, size);
    }
    size = left < size ? left : size;
    memcpy(buffer, lines->piece.data + lines->offset, size);
    lines->offset += size;
    return (ssize_t)size;
}

static void lines_release(void *user)
{
    struct lines *lines = user;

    if (lines->errand.out)
        lines->request = NULL;
    else
        lines_free(lines);
}

/* The first piece is there, or there was no room for it. Nothing has been answered yet, so the request is still there. */
static void lines_begin(struct lines *lines)
{
    static const struct http_source source = {.read = lines_read, .free = lines_release};
    struct http_request *request = lines->request;

    lines->answered = true;
    if (!lines->no_room) {
        http_answer_stream(request, 200, lines->form->type, &source, lines);
        return;
    }
    lines_free(lines);
    http_memory_refuse(request);
}

static void lines_start(struct http_task *task)
{
    struct lines *lines = (struct lines *)((char *)task - offsetof(struct lines, start));

    errand_send(&lines->errand);
}

void lines_answer(struct http_request *request, const struct journal_read *read, uint64_t lowest,
                  uint64_t highest, uint64_t limit, const struct lines_form *form, const char *tail)
{
    static const struct lines_form ndjson = {
        .type = "application/x-ndjson", .begin = "", .between = "", .end = "", .write = write_line};
    struct server *server = server_of(request);
    struct lines *lines = calloc(1, sizeof(*lines));
    int r = lines ? journal_reader_new(server->journal, read, &lines->reader) : -ENOMEM;

    if (r == 0 && read->before == 0 && limit == UINT64_MAX && journal_is_incomplete(server->journal))
        r = -EBADMSG; /* it would end in the middle */
    if (r == 0 && tail)
        r = (lines->tail = strdup(tail)) ? 0 : -ENOMEM;
    if (r == 0 && !http_memory_take(server->http, &lines->held, PIECE_SMALL_SIZE, HTTP_SHARE_ALL)) {
        lines->errand.http = server->http;
        lines_free(lines);
        http_memory_refuse(request);
        return;
    }
    if (r != 0) {
        if (lines)
            journal_reader_free(lines->reader);
        free(lines);
        answer_journal(request, r, NULL);
        return;
    }
    lines->errand = (struct errand){.http = server->http, .run = lines_run, .back = lines_back};
    lines->request = request;
    lines->form = form ? form : &ndjson;
    lines->direction = read->direction;
    lines->by_version = read->stream.size > 0;
    lines->lowest = lowest;
    lines->highest = highest;
    lines->left = limit;
    lines->piece_size = server->options->limits.stream_piece_size_max;
    lines->start.run = lines_start;
    http_post(server->http, &lines->start); /* pages that are read on a worker come here too */
}
