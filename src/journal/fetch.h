/* fetch: the event at a position, read from the log. One reader's hand, for one thread.
 *
 * Positions in order cost one step each; others cost a seek.
 */
#pragma once

#include "journal/seal.h"

struct fetch {
    struct log *log;
    struct log_reader *log_reader; /* NULL: at rest */
    uint64_t at; /* the log reader stands after this position */
    bool lost;   /* the last step failed: seek before the next */
    struct codec_tags tags;
    struct vault *vault; /* set after fetch_init(): opens what is sealed; NULL: it stays so */
    bool own_tags;       /* likewise: show daybook's own tags */
    struct buffer plain; /* of the last event that was opened */
};

/* 0 or -errno. */
_must_check_ int fetch_init(struct fetch *fetch, struct log *log);
void fetch_deinit(struct fetch *fetch);

/* Give back what it has read ahead; the next event is sought anew. */
void fetch_rest(struct fetch *fetch);

/* The event at `position`, which is not above the log's head. Valid until the next call. -EBADMSG: it cannot be read;
 * -errno. */
_must_check_ int fetch_event(struct fetch *fetch, uint64_t position, struct journal_event *ret_event);
