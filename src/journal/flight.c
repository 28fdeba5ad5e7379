/* Batches on their way to the disk, and how they end.
 *
 * They end in the order in which they were built. Why losers wait: an append that lost against an earlier one, of its own
 * batch or of one on its way, lost against something that is not yet true. If that batch fails, it never was. So nothing
 * of a batch is answered before it and all below it are durable; and when one is anything but durable, all above it are
 * dropped with it, and what was not written gets another turn on what is true then (J4).
 *
 * Each end that is not durable answers at least the appends that were written, so turns end; a fenced one answers none,
 * and is repeated JOURNAL_FENCED_COUNT_MAX times at most.
 */

#include <assert.h>
#include <stdio.h>

#include "journal/ready.h"
#include "journal/seal.h"
#include "journal/state.h"

enum { JOURNAL_FENCED_COUNT_MAX = 16 };

struct batch *journal_flight(struct journal *journal, size_t number)
{
    return &journal->batches[(journal->batch_first + number) % JOURNAL_BATCHES_IN_FLIGHT_MAX];
}

/* ---- to the log and back ---- */

static void note_landed(struct journal *journal, struct batch *batch, enum log_outcome outcome)
{
    _os_locked_(&journal->queue_lock);
    assert(!batch->landed);
    batch->landed = true;
    batch->outcome = outcome;
    os_cond_signal(&journal->landed);
}

static void on_landed(struct log_batch *log_batch, enum log_outcome outcome)
{
    struct batch *batch = log_batch->user;
    note_landed(batch->journal, batch, outcome);
}

void journal_flight_send(struct journal *journal, struct batch *batch, bool wait)
{
    struct log_batch *log_batch = &batch->log_batch;
    enum log_outcome outcome = LOG_DURABLE;
    batch->journal = journal;
    if (batch->vault && batch->taken == 0)
        seal_sync(batch->vault, &outcome);
    if (batch->entry_count == 0 || batch->taken != 0 || outcome != LOG_DURABLE) {
        note_landed(journal, batch, outcome); /* nothing to write: it ends when what is below it has */
        return;
    }
    log_batch->tail_expected = batch->layer.base;
    log_batch->entries = batch->entries;
    log_batch->count = batch->entry_count;
    log_batch->wait = wait;
    log_batch->sync = batch->own;
    log_batch->done = on_landed;
    log_batch->user = batch;
    batch->taken = log_append(journal->log, log_batch);
    if (batch->taken != 0)
        note_landed(journal, batch, LOG_FAILED);
}

bool journal_flight_landed(struct journal *journal, struct batch *batch)
{
    _os_locked_(&journal->queue_lock);
    return batch->landed;
}

bool journal_flight_holds(struct journal *journal, const struct batch *batch)
{
    _os_locked_(&journal->queue_lock);
    return batch->taken == 0 && batch->outcome == LOG_DURABLE;
}

void journal_flight_wait(struct journal *journal, struct batch *batch)
{
    _os_locked_(&journal->queue_lock);
    while (!batch->landed)
        os_cond_wait(&journal->landed, &journal->queue_lock);
}

/* ---- answers ---- */

void journal_answer(struct journal *journal, struct journal_append *append,
                    const struct journal_result *result)
{
    os_mutex_lock(&journal->queue_lock);
    assert(journal->queue_count > 0);
    journal->queue_count--;
    os_mutex_unlock(&journal->queue_lock);
    ready_free(append);
    append->done(append, result);
}

void journal_answer_plain(struct journal *journal, struct journal_append *append, int code,
                          const char *detail)
{
    struct journal_result result = {.answer = code};
    snprintf(result.detail, sizeof(result.detail), "%s", detail);
    journal_answer(journal, append, &result);
}

/* What the appends that were written are told when the batch was not. */
struct ending {
    int code;
    const char *detail;
    bool final; /* the journal writes no more: the others are told that */
};

static struct ending ending_of(const struct batch *batch)
{
    if (batch->taken == LOG_E_TOO_LARGE)
        return (struct ending){JOURNAL_E_TOO_LARGE, "too large for the log", false};
    if (batch->taken < 0)
        return (struct ending){batch->taken, "it could not be built, or the log did not take it", false};
    if (batch->taken > 0)
        return (struct ending){JOURNAL_E_READ_ONLY, "the log takes no more writes", true};
    switch (batch->outcome) {
    case LOG_FULL: return (struct ending){JOURNAL_E_FULL, "no room on the disk; send it again later", false};
    case LOG_FAILED: return (struct ending){JOURNAL_E_FAILED, "writing failed; nothing of it was kept", true};
    case LOG_UNKNOWN:
        return (struct ending){JOURNAL_E_UNKNOWN,
                               "it may or may not be kept; send it again with the same ids", true};
    case LOG_FENCED: return (struct ending){JOURNAL_E_READ_ONLY, "another writer has taken over", true};
    case LOG_DURABLE: break;
    }
    return (struct ending){0};
}

/* The same for a batch above one that was not written. */
static struct ending ending_above(const struct batch *batch)
{
    if (batch->taken == 0 && batch->outcome == LOG_DURABLE && batch->entry_count > 0)
        /* Only when the journal could not take up what was below it: the log has it. */
        return (struct ending){JOURNAL_E_UNKNOWN, "it is kept, but this journal cannot show it", true};
    if (batch->taken == 0 && batch->outcome == LOG_FENCED)
        return (struct ending){0}; /* the tail it was built on had gone: it was never tried */
    return ending_of(batch);
}

/* ---- a batch that is durable ---- */

static void note_full(struct journal *journal, const struct batch *batch)
{
    os_mutex_lock(&journal->state_lock);
    if (batch->entry_count > 0)
        journal->full = batch->taken == 0 && batch->outcome == LOG_FULL;
    os_mutex_unlock(&journal->state_lock);
}

static void note_counts(struct journal *journal, const struct batch *batch)
{
    os_mutex_lock(&journal->state_lock);
    journal->appends += batch->entry_count;
    journal->conflicts += batch->conflict_count;
    journal->replays += batch->replay_count;
    os_mutex_unlock(&journal->state_lock);
}

static void answer_all(struct journal *journal, struct batch *batch)
{
    note_counts(journal, batch);
    for (size_t i = 0; i < batch->append_count; i++)
        journal_answer(journal, batch->appends[i].append, &batch->appends[i].result);
    if (batch->entry_count > 0)
        journal_notify(journal);
}

/* ---- batches that are not ---- */

/* The reason the log gives, or ours. */
static void stop_writing(struct journal *journal, const char *reason)
{
    struct log_status status;
    log_status(journal->log, &status);
    journal_stop_writing(journal, !status.writable && status.reason[0] ? status.reason : reason);
}

/* Those that were written are told how it ended, if it did; the others come again. */
static void end_badly(struct journal *journal, struct batch *batch, struct ending ending,
                      struct append_list *again)
{
    char reason[256];
    if (ending.final)
        stop_writing(journal, ending.detail);
    if (ending.code == JOURNAL_E_READ_ONLY && !journal_is_writable(journal, reason))
        ending.detail = reason; /* the log's own: it names file and offset */
    for (size_t i = 0; i < batch->append_count; i++) {
        struct journal_append *append = batch->appends[i].append;
        if (ending.code != 0 && batch->appends[i].written)
            journal_answer_plain(journal, append, ending.code, ending.detail);
        else
            append_list_push(again, append);
    }
}

/* Another writer was there first: what it wrote has been learnt, and all that was built before comes again. */
static bool is_fenced(struct journal *journal, const struct batch *batch)
{
    struct log_status status;
    char error[256];
    if (batch->taken != 0 || batch->outcome != LOG_FENCED)
        return false;
    log_status(journal->log, &status);
    return status.writable && ++journal->fenced_count <= JOURNAL_FENCED_COUNT_MAX &&
           journal_catch_up(journal, error) == 0;
}

/* A correction of the clock that was not written does not count: times go on from the last event that was. */
static void keep_time(struct journal *journal)
{
    struct index_figures figures;
    index_figures(journal->index, &figures);
    if (figures.time_last_us > journal->source.time_last_us)
        journal->source.time_last_us = figures.time_last_us;
}

/* The oldest was not written, or not taken up: it and all above it end, each by its own, in their order, before everything
 * that is pending. */
static void end_all(struct journal *journal, struct ending ending, struct append_list *pending)
{
    struct append_list again;
    size_t count = journal->batch_count;
    append_list_init(&again);
    for (size_t i = 0; i < count; i++) /* their memory is the log's until then */
        journal_flight_wait(journal, journal_flight(journal, i));
    past_drop(&journal->past);
    keep_time(journal);
    for (size_t i = 0; i < count; i++) {
        struct batch *batch = journal_flight(journal, i);
        end_badly(journal, batch, i == 0 ? ending : ending_above(batch), &again);
    }
    journal->batch_count = 0;
    append_list_move(&again, pending);
    append_list_move(pending, &again);
    journal_notify(journal);
}

void journal_flight_settle(struct journal *journal, struct append_list *pending)
{
    struct batch *batch = journal_flight(journal, 0);
    if (is_fenced(journal, batch)) {
        end_all(journal, (struct ending){0}, pending);
        return;
    }
    journal->fenced_count = 0;
    note_full(journal, batch);
    if (batch->taken != 0 || batch->outcome != LOG_DURABLE) {
        end_all(journal, ending_of(batch), pending);
        return;
    }
    if (journal_publish(journal, batch->layer.events, batch->layer.event_count) < 0) {
        journal_stop_writing(journal, "the index could not be carried on: reopen the journal");
        batch->outcome = LOG_UNKNOWN;
        end_all(journal, ending_of(batch), pending);
        return;
    }
    past_settle(&journal->past);
    journal->batch_first = (journal->batch_first + 1) % JOURNAL_BATCHES_IN_FLIGHT_MAX;
    journal->batch_count--;
    answer_all(journal, batch);
}
