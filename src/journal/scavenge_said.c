#include "journal/scavenge_said.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/vector.h"
#include "journal/scavenge.h"
#include "journal/state.h"

/* ---- ranges ---- */

void scavenge_ranges_deinit(struct scavenge_ranges *ranges)
{
    free(ranges->items);
    *ranges = (struct scavenge_ranges){0};
}

int scavenge_ranges_add(struct scavenge_ranges *ranges, uint64_t position)
{
    int r;

    if (ranges->count > 0 && ranges->items[ranges->count - 1].last + 1 == position) {
        ranges->items[ranges->count - 1].last = position;
        return 0;
    }
    r = vector_reserve(&ranges->items, &ranges->capacity, ranges->count + 1);
    if (r == 0)
        ranges->items[ranges->count++] = (struct log_range){position, position};
    return r;
}

uint64_t scavenge_ranges_positions(const struct scavenge_ranges *ranges)
{
    uint64_t count = 0;

    for (size_t i = 0; i < ranges->count; i++)
        count += ranges->items[i].last - ranges->items[i].first + 1;
    return count;
}

/* ---- the event's data ---- */

int scavenge_said_write(const struct scavenge_ranges *ranges, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    json_write_object_begin(&w);
    json_write_key(&w, "ranges");
    json_write_array_begin(&w);
    for (size_t i = 0; i < ranges->count; i++) {
        json_write_array_begin(&w);
        json_write_u64(&w, ranges->items[i].first);
        json_write_u64(&w, ranges->items[i].last);
        json_write_array_end(&w);
    }
    json_write_array_end(&w);
    json_write_member_u64(&w, "count", scavenge_ranges_positions(ranges));
    json_write_object_end(&w);
    return json_write_end(&w);
}

static int read_range(struct json_value pair, struct log_range *range)
{
    struct json_cursor at = json_walk(pair);

    if (json_type(pair) != JSON_ARRAY || json_count(pair) != 2)
        return -EBADMSG;
    if (!json_next(&at) || json_u64(at.value, &range->first) != 0 || !json_next(&at) ||
        json_u64(at.value, &range->last) != 0)
        return -EBADMSG;
    return 0;
}

static int read_ranges(struct json_value array, struct scavenge_ranges *ranges)
{
    size_t count = json_count(array);
    int r = json_type(array) == JSON_ARRAY && count > 0 && count <= SCAVENGE_RANGE_COUNT_MAX ? 0 : -EBADMSG;

    if (r == 0)
        r = vector_reserve(&ranges->items, &ranges->capacity, count);
    for (struct json_cursor at = json_walk(array); r == 0 && json_next(&at);)
        r = read_range(at.value, &ranges->items[ranges->count++]);
    return r;
}

int scavenge_said_read(const struct journal_event *event, struct scavenge_ranges *ret_ranges)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges ranges = {0};
    int r = event->stub ? -EBADMSG : json_parse(event->data, &doc, NULL);

    if (r == 0)
        r = read_ranges(json_get(json_root(&doc), "ranges"), &ranges);
    if (r == 0 && !log_ranges_valid(ranges.items, ranges.count, event->position - 1))
        r = -EBADMSG;
    if (r != 0)
        return r > 0 ? -EBADMSG : r;
    *ret_ranges = ranges;
    ranges = (struct scavenge_ranges){0};
    return 0;
}

bool scavenge_said_in(const struct log_record *record)
{
    return codec_has_type(record, SCAVENGE_TYPE);
}

/* ---- doing it ---- */

int scavenge_replace(struct log *log, const struct scavenge_ranges *ranges, struct log_replaced *replaced)
{
    struct log_replaced part;
    uint64_t from = 0;
    int r;

    do {
        r = log_replace(log, ranges->items, ranges->count, from, &part);
        if (r != 0)
            return r;
        replaced->count += part.count;
        replaced->body_bytes += part.body_bytes;
        replaced->room_bytes += part.room_bytes;
        from = part.next;
    } while (from != 0);
    return 0;
}

/* The oldest `$Scavenged` that has not been done. 0; JOURNAL_E_END: there is none. */
static int find_undone(struct journal *journal, struct scavenge_ranges *ret_ranges)
{
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges ranges = {0};
    _cleanup_(fetch_deinit) struct fetch fetch = {0}; /* new each time: it must see what was replaced */
    struct journal_event event;
    bool found = false;
    int r = fetch_init(&fetch, journal->log);
    if (r < 0)
        return r;
    r = journal_reader_new(
        journal,
        &(struct journal_read){.stream = SCAVENGE_STREAM, .direction = JOURNAL_BACKWARD, .system = true},
        &reader);

    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges these = {0};

        r = scavenge_said_read(&event, &these);
        if (r == 0)
            r = fetch_event(&fetch, these.items[these.count - 1].last, &event);
        if (r == 0 && event.stub)
            break; /* S2: and so were those before it */
        if (r == 0) {
            scavenge_ranges_deinit(&ranges);
            ranges = these;
            these = (struct scavenge_ranges){0};
            found = true;
        }
    }
    if (r != 0 && r != JOURNAL_E_END)
        return r > 0 ? -EIO : r;
    if (!found)
        return JOURNAL_E_END;
    *ret_ranges = ranges;
    ranges = (struct scavenge_ranges){0};
    return 0;
}

int scavenge_redo(struct journal *journal)
{
    struct log_status status;
    int r = 0;

    log_status(journal->log, &status);
    if (status.copied)
        return scavenge_settle_copy(journal->log);
    while (r == 0) {
        _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges ranges = {0};
        struct log_replaced replaced = {0};

        r = find_undone(journal, &ranges);
        if (r == 0)
            r = scavenge_replace(journal->log, &ranges, &replaced);
    }
    return r == JOURNAL_E_END ? 0 : r;
}
