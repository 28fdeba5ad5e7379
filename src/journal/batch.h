/* batch: appends in turn, checked and encoded, for one group commit.
 *
 * Each append taken is compared with the past (journal/past.h), which afterwards includes its events, so that the next
 * one sees them, be it of this batch or of one built on top of it. Nothing here is answered or written: the writer hands
 * the entries to the log and then answers all appends of the batch, winners and losers (J4), or drops it from the past.
 */
#pragma once

#include "journal/arena.h"
#include "journal/past.h"
#include "journal/source.h"

enum {
    JOURNAL_BATCH_SIZE_MAX = 8 * 1024 * 1024, /* a batch this large takes no further append */
    JOURNAL_BATCH_EVENT_COUNT_MAX = 8192,     /* likewise; bounds how long readers wait for the index lock */
    JOURNAL_BATCH_APPEND_COUNT_MAX = 8192,    /* likewise, losers counted */
};

/* An append that has had its turn. */
struct batch_append {
    struct journal_append *append;
    struct journal_result result; /* what it will be told when the batch is durable; lives in the arena */
    bool written;                 /* its events are in the batch */
    struct vault_id *keys;        /* one an event; NULL: none has a subject */
};

struct batch {
    struct past *past;
    struct source *source;
    struct layer layer; /* its events, in the past */
    struct arena arena;
    struct batch_append *appends;
    size_t append_count, append_capacity;
    struct log_entry *entries;
    size_t entry_count, entry_capacity;
    size_t size; /* encoded bytes */
    size_t event_count;
    uint64_t conflict_count, replay_count;
    struct vault *vault; /* set after batch_init(); NULL: no event may have a subject */
    struct buffer plain; /* what is about to be sealed */

    /* The writer's, once it is built (writer.c). */
    struct log_batch log_batch;
    struct journal *journal;
    int taken;   /* what log_append() answered; < 0 also: it could not be built */
    bool own;    /* some event is daybook's own: to be synced in every mode, for what it says is done when it is answered */
    bool landed; /* its end is known; under queue_lock */
    enum log_outcome outcome;
};

/* Inside prepare(): what journal_turn_*() look at. */
struct journal_turn {
    struct batch *batch;
};

void batch_init(struct batch *batch, struct past *past, struct source *source);
void batch_deinit(struct batch *batch);

/* Forget what was taken before, and begin on top of the past. */
void batch_begin(struct batch *batch);

/* Give the append its turn. 0: it is in the batch, with its result. -ENOMEM, or -errno when there is no randomness for
 * ids or a version cannot be read: nothing is known of the batch any more, and it must be reset. */
_must_check_ int batch_take(struct batch *batch, struct journal_append *append);

bool batch_is_full(const struct batch *batch);
