/* The writer: one thread that takes what is queued, builds a batch, has it written, and answers.
 *
 * Why losers wait: an append that lost against an earlier one of the same batch lost against something that is not yet
 * true. If the batch fails, that something never was. So nothing of a batch is answered before its outcome is known, and
 * when it is anything but durable, those that were not written get another turn on what is true then (J4).
 *
 * Each round of a failing batch answers at least the appends that were written, so rounds end; a fenced one answers
 * none, and is repeated JOURNAL_FENCED_COUNT_MAX times at most.
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "journal/seal.h"
#include "journal/state.h"

enum { JOURNAL_FENCED_COUNT_MAX = 16 };

/* ---- lists ---- */

void append_list_init(struct append_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void append_list_push(struct append_list *list, struct journal_append *append)
{
    append->next = NULL;
    *list->end = append;
    list->end = &append->next;
}

static struct journal_append *list_pop(struct append_list *list)
{
    struct journal_append *append = list->first;
    if (append) {
        list->first = append->next;
        append->next = NULL;
        if (!list->first)
            list->end = &list->first;
    }
    return append;
}

/* Move everything of `from` behind `to`. */
static void list_move(struct append_list *to, struct append_list *from)
{
    if (!from->first)
        return;
    *to->end = from->first;
    to->end = from->end;
    append_list_init(from);
}

/* ---- the queue ---- */

/* Take everything queued. Without `wait` at once, else when there is something: false when there never will be. */
static bool take_queue(struct journal *journal, struct append_list *pending, bool wait)
{
    os_mutex_lock(&journal->queue_lock);
    while (wait && !journal->queue.first && !journal->tasks && !journal->closing)
        os_cond_wait(&journal->queue_filled, &journal->queue_lock);
    bool some = journal->queue.first != NULL;
    list_move(pending, &journal->queue);
    os_mutex_unlock(&journal->queue_lock);
    return some;
}

/* ---- tasks ---- */

int journal_run_task(struct journal *journal, struct journal_task *task)
{
    int r = 0;
    task->next = NULL;
    task->done = false;
    os_mutex_lock(&journal->queue_lock);
    if (journal->closing) {
        r = -ECANCELED;
    } else {
        *journal->tasks_end = task;
        journal->tasks_end = &task->next;
        os_cond_signal(&journal->queue_filled);
    }
    while (r == 0 && !task->done)
        os_cond_wait(&journal->task_done, &journal->queue_lock);
    os_mutex_unlock(&journal->queue_lock);
    return r;
}

/* Run the first task, if there is one: whether there was. */
static bool run_task(struct journal *journal)
{
    os_mutex_lock(&journal->queue_lock);
    struct journal_task *task = journal->tasks;
    if (task && !(journal->tasks = task->next))
        journal->tasks_end = &journal->tasks;
    os_mutex_unlock(&journal->queue_lock);
    if (!task)
        return false;
    task->run(task);
    os_mutex_lock(&journal->queue_lock);
    task->done = true;
    os_cond_broadcast(&journal->task_done);
    os_mutex_unlock(&journal->queue_lock);
    return true;
}

/* ---- answers ---- */

static void answer(struct journal *journal, struct journal_append *append,
                   const struct journal_result *result)
{
    os_mutex_lock(&journal->queue_lock);
    assert(journal->queue_count > 0);
    journal->queue_count--;
    os_mutex_unlock(&journal->queue_lock);
    append->done(append, result);
}

static void answer_plain(struct journal *journal, struct journal_append *append, int code, const char *detail)
{
    struct journal_result result = {.answer = code};
    snprintf(result.detail, sizeof(result.detail), "%s", detail);
    answer(journal, append, &result);
}

static void answer_read_only(struct journal *journal, struct append_list *pending)
{
    char reason[256];
    journal_is_writable(journal, reason);
    for (struct journal_append *append; (append = list_pop(pending));)
        answer_plain(journal, append, JOURNAL_E_READ_ONLY, reason);
}

/* ---- the log ---- */

struct landing {
    struct os_mutex lock;
    struct os_cond landed;
    bool done;
    enum log_outcome outcome;
};

static void on_landed(struct log_batch *batch, enum log_outcome outcome)
{
    struct landing *landing = batch->user;
    os_mutex_lock(&landing->lock);
    assert(!landing->done);
    landing->done = true;
    landing->outcome = outcome;
    os_cond_signal(&landing->landed);
    os_mutex_unlock(&landing->lock);
}

int journal_log_write(struct journal *journal, struct log_batch *batch, enum log_outcome *ret_outcome)
{
    struct landing landing = {0};
    os_mutex_init(&landing.lock);
    os_cond_init(&landing.landed);
    batch->done = on_landed;
    batch->user = &landing;
    batch->wait = true;
    int r = log_append(journal->log, batch);
    if (r == 0) {
        os_mutex_lock(&landing.lock);
        while (!landing.done)
            os_cond_wait(&landing.landed, &landing.lock);
        os_mutex_unlock(&landing.lock);
        *ret_outcome = landing.outcome;
    }
    os_cond_deinit(&landing.landed);
    os_mutex_deinit(&landing.lock);
    return r;
}

/* ---- how a batch ends ---- */

/* What the appends that were written are told when the batch was not. */
struct ending {
    int code;
    const char *detail;
    bool final; /* the journal writes no more: the others are told that */
};

static struct ending ending_of(int r, enum log_outcome outcome)
{
    if (r == LOG_E_TOO_LARGE)
        return (struct ending){JOURNAL_E_TOO_LARGE, "too large for the log", false};
    if (r < 0)
        return (struct ending){r, "the log did not take it", false};
    if (r > 0)
        return (struct ending){JOURNAL_E_READ_ONLY, "the log takes no more writes", true};
    switch (outcome) {
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

static void note_full(struct journal *journal, bool full)
{
    os_mutex_lock(&journal->state_lock);
    journal->full = full;
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

/* The reason the log gives, or ours. */
static void stop_writing(struct journal *journal, const char *reason)
{
    struct log_status status;
    log_status(journal->log, &status);
    journal_stop_writing(journal, !status.writable && status.reason[0] ? status.reason : reason);
}

/* Those that were written are told how it ended; the others come again, before everything else, in their order. */
static void end_badly(struct journal *journal, struct append_list *pending, struct ending ending)
{
    struct batch *batch = &journal->batch;
    struct append_list again;
    append_list_init(&again);
    batch->era++;
    if (ending.final)
        stop_writing(journal, ending.detail);
    for (size_t i = 0; i < batch->append_count; i++) {
        struct journal_append *append = batch->appends[i].append;
        if (batch->appends[i].written)
            answer_plain(journal, append, ending.code, ending.detail);
        else
            append_list_push(&again, append);
    }
    list_move(&again, pending);
    list_move(pending, &again);
    if (ending.final)
        journal_notify(journal);
}

static void end_durable(struct journal *journal)
{
    struct batch *batch = &journal->batch;
    note_counts(journal, batch);
    for (size_t i = 0; i < batch->append_count; i++)
        answer(journal, batch->appends[i].append, &batch->appends[i].result);
    if (batch->entry_count > 0)
        journal_notify(journal);
}

/* Another writer was there first. Learn what it wrote and give everything another turn. */
static void end_fenced(struct journal *journal, struct append_list *pending, unsigned *fenced_count)
{
    struct batch *batch = &journal->batch;
    struct append_list again;
    struct log_status status;
    char error[256];
    log_status(journal->log, &status);
    if (!status.writable || ++*fenced_count > JOURNAL_FENCED_COUNT_MAX ||
        journal_catch_up(journal, error) < 0) {
        end_badly(journal, pending, ending_of(0, LOG_FENCED));
        return;
    }
    append_list_init(&again);
    batch->era++;
    for (size_t i = 0; i < batch->append_count; i++)
        append_list_push(&again, batch->appends[i].append);
    list_move(&again, pending);
    list_move(pending, &again);
    journal_notify(journal);
}

/* ---- a round ---- */

/* Fill the batch from what is pending and from what comes in meanwhile. < 0: the batch is lost, and the append that had
 * its turn has been answered. */
static int build(struct journal *journal, struct append_list *pending)
{
    struct batch *batch = &journal->batch;
    int r = batch_reset(batch);
    if (r < 0 && pending->first)
        answer_plain(journal, list_pop(pending), r, "no memory to decide it");
    while (r == 0 && !batch_is_full(batch) && (pending->first || take_queue(journal, pending, false))) {
        struct journal_append *append = list_pop(pending);
        r = batch_take(batch, append);
        if (r < 0)
            answer_plain(journal, append, r, "no memory to decide it");
    }
    return r;
}

static void commit(struct journal *journal, struct append_list *pending, unsigned *fenced_count)
{
    struct batch *batch = &journal->batch;
    struct log_batch log_batch = {
        .tail_expected = index_last(journal->index), .entries = batch->entries, .count = batch->entry_count};
    enum log_outcome outcome = LOG_DURABLE;
    int r = 0;
    if (journal->options.vault)
        seal_sync(journal->options.vault, &outcome);
    if (batch->entry_count > 0 && outcome == LOG_DURABLE)
        r = journal_log_write(journal, &log_batch, &outcome);

    if (r == 0 && outcome == LOG_FENCED) {
        end_fenced(journal, pending, fenced_count);
        return;
    }
    *fenced_count = 0;
    if (batch->entry_count > 0)
        note_full(journal, r == 0 && outcome == LOG_FULL);
    if (r != 0 || outcome != LOG_DURABLE) {
        end_badly(journal, pending, ending_of(r, outcome));
        return;
    }
    if (journal_publish(journal, batch->past->events, batch->past->event_count) < 0) {
        journal_stop_writing(journal, "no memory for the index: reopen the journal");
        end_badly(journal, pending, ending_of(0, LOG_UNKNOWN));
        return;
    }
    end_durable(journal);
}

static void writer_main(void *user)
{
    struct journal *journal = user;
    struct append_list pending;
    unsigned fenced_count = 0;
    append_list_init(&pending);
    /* A task between two batches; after the last append those that are left. */
    while (run_task(journal) || pending.first || take_queue(journal, &pending, true) || run_task(journal)) {
        if (!pending.first)
            continue;
        if (!journal_is_writable(journal, NULL)) {
            answer_read_only(journal, &pending);
        } else if (build(journal, &pending) < 0) {
            end_badly(journal, &pending, (struct ending){-ENOMEM, "no memory", false});
        } else {
            commit(journal, &pending, &fenced_count);
        }
    }
}

int journal_writer_start(struct journal *journal)
{
    return os_thread_start(&journal->writer, "journal-writer", writer_main, journal);
}

void journal_writer_stop(struct journal *journal)
{
    os_mutex_lock(&journal->queue_lock);
    journal->closing = true;
    os_cond_broadcast(&journal->queue_filled);
    os_mutex_unlock(&journal->queue_lock);
    os_thread_join(&journal->writer);
}
