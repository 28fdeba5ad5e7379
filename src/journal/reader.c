/* Reading: candidates from the index, a handful at a time, then the records themselves.
 *
 * What is above the head is not shown, also when the index has it already (J3). A reader remembers how far it has come, not what it has found: when the head has moved on it simply looks again. */

#include <assert.h>
#include <stdlib.h>

#include "journal/query.h"
#include "journal/state.h"

/* Looked for at a time; positions looked through at a time, so that a lock of the index is never held long. */
enum { CANDIDATE_COUNT = 64, SCAN_WINDOW = 65536 };

enum mode {
    MODE_ALL,             /* every position; the index is not needed */
    MODE_QUERY,           /* candidates of a query */
    MODE_STREAM_VERSION,  /* a stream, from and to versions */
    MODE_STREAM_POSITION, /* a stream, from and to positions */
};

struct journal_reader {
    struct journal *journal;
    enum mode mode;
    bool backward, system;
    uint64_t after, before; /* as asked for, both exclusive; before 0: none */
    uint64_t at;            /* forward: all up to here is done; backward: all from here on */
    uint64_t version_at;    /* likewise, in versions */
    uint64_t candidates[CANDIDATE_COUNT]; /* MODE_ALL: not written down, they follow each other from `at` on */
    size_t taken, found;
    struct bytes stream, prefix;
    bool filtered;
    struct journal_query query;
    struct index_scan *scan; /* of the query, or of the stream; MODE_ALL: NULL */
    struct arena arena;
    struct fetch fetch;
};

/* ---- candidates ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t add_u64(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* The next one beyond `from` in the reader's direction and not beyond `bound`, 0: none. */
static int step(struct journal_reader *reader, uint64_t from, uint64_t bound, uint64_t *ret_position)
{
    *ret_position = 0;
    if (reader->backward ? from <= bound : from >= bound)
        return 0;
    from = reader->backward ? from - 1 : from + 1;
    if (reader->mode == MODE_STREAM_VERSION)
        return index_scan_version(reader->scan, from, ret_position);
    return reader->backward ? index_scan_previous(reader->scan, from, bound, ret_position)
                            : index_scan_next(reader->scan, from, bound, ret_position);
}

/* By version: the stream's positions side by side. */
static int fill_versions(struct journal_reader *reader)
{
    uint64_t bound =
        reader->backward ? add_u64(reader->after, 1) : reader->before - 1; /* before 0: no bound */
    uint64_t version = reader->version_at, head = journal_head(reader->journal), position;
    while (reader->found < CANDIDATE_COUNT) {
        int r = step(reader, version, bound, &position);
        if (r < 0)
            return r;
        if (position == 0 || position > journal_head(reader->journal))
            break;
        version = reader->backward ? version - 1 : version + 1;
        reader->candidates[reader->found++] = position;
    }
    if (reader->found == 0 && !reader->backward)
        reader->at = max_u64(reader->at, head);
    return 0;
}

/* By position: one window on the way to the limit. *more: whether there is more to look at behind it. */
static int fill_window(struct journal_reader *reader, bool *more)
{
    uint64_t limit = reader->backward ? add_u64(reader->after, 1)
                                      : min_u64(journal_head(reader->journal), reader->before - 1);
    uint64_t position = reader->at, bound;
    *more = false;
    if (reader->backward ? reader->at <= limit : reader->at >= limit)
        return 0;
    if (reader->mode == MODE_ALL) {
        reader->found = (size_t)min_u64(reader->backward ? reader->at - limit : limit - reader->at, SCAN_WINDOW);
        return 0;
    }
    if (reader->backward)
        bound = max_u64(limit, reader->at > SCAN_WINDOW ? reader->at - SCAN_WINDOW : 0);
    else
        bound = min_u64(limit, add_u64(reader->at, SCAN_WINDOW));
    while (reader->found < CANDIDATE_COUNT) {
        int r = step(reader, position, bound, &position);
        if (r < 0)
            return r;
        if (position == 0)
            break;
        reader->candidates[reader->found++] = position;
    }
    if (reader->found == 0)
        reader->at = bound;
    *more = reader->found == 0 && bound != limit;
    return 0;
}

/* An incomplete journal: whether what is asked for ends at or below what can be read, so that nothing of it is missing. */
static bool ends_before_damage(const struct journal_reader *reader)
{
    if (!journal_is_incomplete(reader->journal))
        return true;
    if (reader->before == 0)
        return false;
    if (reader->mode == MODE_STREAM_VERSION)
        return reader->version_at + 1 >= reader->before;
    return reader->before <= journal_head(reader->journal) + 1;
}

/* Look for more candidates. When there are none everything up to the limit has been examined. */
static int fill(struct journal_reader *reader)
{
    bool more = true;
    int r = 0;
    reader->taken = reader->found = 0;
    while (r == 0 && more) {
        more = false;
        r = reader->mode == MODE_STREAM_VERSION ? fill_versions(reader) : fill_window(reader, &more);
    }
    if (r < 0)
        reader->found = 0;
    else if (reader->found == 0 && !reader->backward && !ends_before_damage(reader))
        r = -EBADMSG;
    return r;
}

/* ---- the reader ---- */

static int set_start(struct journal_reader *reader, const struct journal_read *read)
{
    struct journal *journal = reader->journal;
    if (!reader->backward) {
        reader->version_at = read->after;
        reader->at = reader->mode == MODE_STREAM_VERSION ? 0 : read->after;
        return 0;
    }
    uint64_t end = journal_head(journal);
    int r = reader->mode == MODE_STREAM_VERSION ? index_stream_version(journal->index, reader->stream, &end) : 0;
    reader->at = reader->version_at = read->before > 0 ? min_u64(read->before, end + 1) : end + 1;
    if (r == 0 && journal_is_incomplete(journal) && (read->before == 0 || read->before > end + 1))
        r = -EBADMSG; /* it would begin behind the damage */
    return r;
}

static int set_filter(struct journal_reader *reader, const struct journal_read *read)
{
    struct journal *journal = reader->journal;
    char detail[256];
    int r = arena_copy(&reader->arena, read->stream, &reader->stream);
    if (r == 0)
        r = arena_copy(&reader->arena, read->prefix, &reader->prefix);
    if (r == 0 && reader->stream.size > 0)
        r = index_scan_new_stream(journal->index, reader->stream, &reader->arena, &reader->scan);
    if (r < 0 || !read->query || read->query->count == 0)
        return r;
    if (query_check(read->query, detail) != 0)
        return JOURNAL_E_INVALID;
    reader->filtered = true;
    r = query_copy(&reader->arena, read->query, &reader->query);
    if (r < 0 || reader->mode != MODE_QUERY)
        return r;
    return index_scan_new(journal->index, &reader->query, &reader->arena, &reader->scan);
}

static enum mode mode_of(const struct journal_read *read)
{
    if (read->stream.size > 0)
        return read->by_position ? MODE_STREAM_POSITION : MODE_STREAM_VERSION;
    return read->query && read->query->count > 0 ? MODE_QUERY : MODE_ALL;
}

int journal_reader_new(struct journal *journal, const struct journal_read *read,
                       struct journal_reader **ret_reader)
{
    struct journal_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    reader->journal = journal;
    reader->mode = mode_of(read);
    reader->backward = read->direction == JOURNAL_BACKWARD;
    reader->system = read->system;
    reader->after = read->after;
    reader->before = read->before;
    int r = fetch_init(&reader->fetch, journal->log);
    reader->fetch.vault = journal->options.vault;
    reader->fetch.own_tags = read->own_tags;
    if (r == 0)
        r = set_filter(reader, read);
    if (r == 0)
        r = set_start(reader, read);
    if (r != 0) {
        journal_reader_free(reader);
        return r;
    }
    *ret_reader = reader;
    return 0;
}

void journal_reader_rest(struct journal_reader *reader)
{
    fetch_rest(&reader->fetch);
}

void journal_reader_free(struct journal_reader *reader)
{
    if (!reader)
        return;
    index_scan_end(reader->scan);
    fetch_deinit(&reader->fetch);
    arena_deinit(&reader->arena);
    free(reader);
}

static bool shown(const struct journal_reader *reader, const struct journal_event *event)
{
    if (reader->prefix.size > 0 && !bytes_starts_with(event->stream, reader->prefix))
        return false;
    if (reader->filtered)
        return query_matches(&reader->query, event, reader->system);
    return reader->system || !query_event_is_system(event);
}

static uint64_t next_candidate(const struct journal_reader *reader)
{
    if (reader->mode == MODE_ALL)
        return reader->backward ? reader->at - 1 : reader->at + 1;
    return reader->candidates[reader->taken];
}

int journal_reader_next(struct journal_reader *reader, struct journal_event *ret_event)
{
    for (;;) {
        struct journal_event event;
        int r = reader->taken == reader->found ? fill(reader) : 0;
        if (r < 0)
            return r;
        if (reader->taken == reader->found)
            return JOURNAL_E_END;
        r = fetch_event(&reader->fetch, next_candidate(reader), &event);
        if (r == 0 && reader->stream.size > 0 && !bytes_equal(event.stream, reader->stream))
            r = -EBADMSG; /* streams are exact in the index (I3) */
        if (r < 0)
            return r;
        reader->taken++;
        reader->at = event.position;
        reader->version_at = event.version;
        if (shown(reader, &event)) {
            *ret_event = event;
            return 0;
        }
    }
}

uint64_t journal_reader_examined(const struct journal_reader *reader)
{
    return reader->backward ? 0 : reader->at;
}
