/* S4: what a copy still holds although it says that it is gone. Event by event: memory for the ranges of one, and no segment
 * is touched but for a body that is there. */

#include "base/cleanup.h"
#include "journal/scavenge_said.h"

/* Those of the positions whose bodies are there. */
static int find_left(struct log *log, const struct scavenge_ranges *ranges, struct scavenge_ranges *left)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(log, 0, &reader);

    for (size_t i = 0; r == 0 && i < ranges->count; i++) {
        r = log_reader_seek(reader, ranges->items[i].first - 1);
        for (uint64_t at = ranges->items[i].first; r == 0 && at <= ranges->items[i].last; at++) {
            r = log_reader_next(reader, &record);
            if (r == 0 && !(record.flags & LOG_RECORD_STUB))
                r = scavenge_ranges_add(left, at);
        }
    }
    return r == LOG_E_END ? -EBADMSG : r;
}

static int do_said(struct log *log, const struct log_record *record)
{
    _cleanup_(scavenge_ranges_deinit) struct scavenge_ranges ranges = {0}, left = {0};
    struct log_replaced replaced = {0};
    struct codec_tags tags;
    struct journal_event event;

    if (codec_read(record, &tags, &event, NULL) != 0)
        return -EBADMSG;
    int r = scavenge_said_read(&event, &ranges);
    if (r == 0)
        r = find_left(log, &ranges, &left);
    if (r == 0 && left.count > 0)
        r = scavenge_replace(log, &left, &replaced);
    return r;
}

int scavenge_settle_copy(struct log *log)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_record record;
    int r = log_reader_new(log, 0, &reader);

    while (r == 0 && (r = log_reader_next(reader, &record)) == 0)
        if (scavenge_said_in(&record))
            r = do_said(log, &record);
    return r == LOG_E_END ? log_settle(log) : r;
}
