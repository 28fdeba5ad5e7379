/* batch: appends in turn, checked and encoded, for one group commit.
 *
 * Each append taken is compared with the past (journal/past.h), which afterwards includes its events, so that the next
 * one sees them. Nothing here is answered or written: the writer hands the entries to the log and then answers all
 * appends of the batch, winners and losers (J4), or forgets the batch and begins again.
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
    uint64_t era;
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
};

/* Inside prepare(): what journal_turn_*() look at. */
struct journal_turn {
    struct batch *batch;
};

void batch_init(struct batch *batch, struct past *past, struct source *source);
void batch_deinit(struct batch *batch);

/* Forget everything taken, here and in the past. 0 or -ENOMEM. */
_must_check_ int batch_reset(struct batch *batch);

/* Give the append its turn. 0: it is in the batch, with its result. -ENOMEM, or -errno when there is no randomness for
 * ids or a version cannot be read: nothing is known of the batch any more, and it must be reset. */
_must_check_ int batch_take(struct batch *batch, struct journal_append *append);

bool batch_is_full(const struct batch *batch);
