#include "journal/fetch.h"

int fetch_init(struct fetch *fetch, struct log *log)
{
    fetch->log = log;
    fetch->log_reader = NULL;
    fetch->at = 0;
    fetch->lost = false;
    fetch->vault = NULL;
    fetch->own_tags = false;
    fetch->plain = (struct buffer){0};
    int r = log_reader_new(log, 0, &fetch->log_reader);
    return r > 0 ? -EIO : r;
}

void fetch_rest(struct fetch *fetch)
{
    if (fetch->log_reader)
        log_reader_free(fetch->log_reader);
    fetch->log_reader = NULL;
    if (fetch->plain.capacity > 0)
        explicit_bzero(fetch->plain.data, fetch->plain.capacity);
    buffer_deinit(&fetch->plain);
}

void fetch_deinit(struct fetch *fetch)
{
    fetch_rest(fetch);
}

static int go_before(struct fetch *fetch, uint64_t position)
{
    int r;

    if (!fetch->log_reader) {
        r = log_reader_new(fetch->log, position - 1, &fetch->log_reader);
        r = r > 0 ? -EIO : r;
    } else if (fetch->at + 1 == position && !fetch->lost) {
        return 0;
    } else {
        r = log_reader_seek(fetch->log_reader, position - 1);
    }
    if (r == 0) {
        fetch->at = position - 1;
        fetch->lost = false;
    }
    return r;
}

/* A stub, or an event about a subject: what is daybook's own is taken off, what is sealed opened. */
static int read_covered(struct fetch *fetch, const struct log_record *record, struct journal_event *ret_event)
{
    struct journal_event event;
    int r = 0;
    if (codec_read(record, &fetch->tags, &event, NULL) != 0)
        return -EBADMSG;
    if (event.stub && !fetch->own_tags)
        seal_hide_tag(&fetch->tags, &event);
    if (event.sealed)
        r = seal_open(fetch->vault, record, fetch->own_tags, &fetch->tags, &fetch->plain, &event);
    if (r == 0)
        *ret_event = event;
    return r;
}

int fetch_event(struct fetch *fetch, uint64_t position, struct journal_event *ret_event)
{
    struct log_record record;
    int r = go_before(fetch, position);
    if (r == 0)
        r = log_reader_next(fetch->log_reader, &record);
    if (r != 0) {
        fetch->lost = true;
        return r < 0 ? r : -EBADMSG;
    }
    fetch->at = record.position;
    if (record.position != position)
        return -EBADMSG;
    if (!codec_is_open(&record))
        return read_covered(fetch, &record, ret_event);
    return codec_read(&record, &fetch->tags, ret_event, NULL) == 0 ? 0 : -EBADMSG;
}
