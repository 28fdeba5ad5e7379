/* The writer: takes what is queued, builds batches on top of each other, has them written, and settles them in order.
 *
 * It is a role, and one at a time has it: the writer's own thread, or a caller of journal_append_wait() that finds nobody
 * writing and nothing queued. That caller does all on its own thread, for a switch to another one and back is a good part
 * of a fast disk's sync.
 *
 * Group commit adapts itself. While nothing is on its way, whatever is queued makes a batch at once. While something is, no
 * other batch could be written anyhow, so it pays to wait and gather, unless so much is queued that building it would keep
 * the disk waiting later: then the next batch is built ahead, on top of those on their way. The thread finds out which
 * of the two is the case by what it finds in the queue after a sync; if little, it writes by itself.
 */

#include <assert.h>
#include <stdio.h>

#include "journal/state.h"

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

struct journal_append *append_list_pop(struct append_list *list)
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

void append_list_move(struct append_list *to, struct append_list *from)
{
    if (!from->first)
        return;
    *to->end = from->first;
    to->end = from->end;
    append_list_init(from);
}

uint64_t journal_append_weight(const struct journal_append *append)
{
    return append->event_count > 0 ? append->event_count : 1;
}

/* ---- the queue ---- */

/* Take everything queued behind `pending`: whether there was something. */
static bool take_queue(struct journal *journal, struct append_list *pending)
{
    _os_locked_(&journal->queue_lock);
    bool some = journal->queue.first != NULL;
    append_list_move(pending, &journal->queue);
    journal->queue_weight = 0;
    return some;
}

static uint64_t queue_weight(struct journal *journal)
{
    _os_locked_(&journal->queue_lock);
    return journal->queue_weight;
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

static bool has_task(struct journal *journal)
{
    _os_locked_(&journal->queue_lock);
    return journal->tasks != NULL;
}

/* Run the first task, if there is one: whether there was. Nothing is on its way. */
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

/* ---- a round ---- */

static void answer_read_only(struct journal *journal, struct append_list *pending)
{
    char reason[256];
    journal_is_writable(journal, reason);
    for (struct journal_append *append; (append = append_list_pop(pending));)
        journal_answer_plain(journal, append, JOURNAL_E_READ_ONLY, reason);
}

/* The index waits for the disk: more events would take memory without bound (P7: it resumes by itself). */
static void answer_no_room(struct journal *journal, struct append_list *pending, int failure)
{
    char detail[256];
    snprintf(detail, sizeof(detail), "the index cannot be written (%s); send it again later", strerror(-failure));
    os_mutex_lock(&journal->state_lock);
    journal->full |= failure == -ENOSPC;
    os_mutex_unlock(&journal->state_lock);
    for (struct journal_append *append; (append = append_list_pop(pending));)
        journal_answer_plain(journal, append, failure == -ENOSPC ? JOURNAL_E_FULL : JOURNAL_E_READ_ONLY, detail);
}

/* What the writer works on: its own thread everything, a caller only what is its own. */
struct round {
    struct append_list pending; /* taken from the queue, or given another turn */
    bool alone;
};

static bool has_more(struct journal *journal, struct round *round)
{
    return round->pending.first || (!round->alone && take_queue(journal, &round->pending));
}

/* Fill the next batch from what is pending and from what comes in meanwhile, and send it. When it cannot be built the
 * append that had its turn is told, and the batch ends badly in its turn. */
static void send_batch(struct journal *journal, struct round *round)
{
    struct batch *batch = journal_flight(journal, journal->batch_count);
    bool first = journal->batch_count == 0;
    batch_begin(batch);
    while (batch->taken == 0 && !batch_is_full(batch) && has_more(journal, round)) {
        struct journal_append *append = append_list_pop(&round->pending);
        batch->taken = batch_take(batch, append);
        if (batch->taken < 0)
            journal_answer_plain(journal, append, batch->taken, "no memory to decide it");
    }
    journal->batch_count++;
    batch->log_batch.ahead = !first;
    journal_flight_send(journal, batch, first && !round->pending.first && (round->alone || !journal->busy));
}

/* Whether one more batch may be built on top of those on their way. Nothing is built on what has failed, and a task waits
 * until nothing is on its way. */
static bool may_build_ahead(struct journal *journal, const struct round *round)
{
    return !round->alone && journal->batch_count < JOURNAL_BATCHES_IN_FLIGHT_MAX &&
           journal_flight_holds(journal, journal_flight(journal, journal->batch_count - 1)) &&
           journal_is_writable(journal, NULL) && index_refuses(journal->index) == 0 && !has_task(journal);
}

/* And whether that is better than waiting for their end. */
static bool is_ahead_worth(struct journal *journal, const struct round *round)
{
    return may_build_ahead(journal, round) &&
           (round->pending.first || queue_weight(journal) >= JOURNAL_AHEAD_WEIGHT_MIN);
}

/* Sleep until the oldest batch has landed, or, if there is room for one more, so much is queued. */
static void wait_landed(struct journal *journal, const struct round *round)
{
    const struct batch *oldest = journal_flight(journal, 0);
    bool room = may_build_ahead(journal, round);
    _os_locked_(&journal->queue_lock);
    journal->wants_queue = room;
    while (!oldest->landed && !(room && journal->queue_weight >= JOURNAL_AHEAD_WEIGHT_MIN))
        os_cond_wait(&journal->landed, &journal->queue_lock);
    journal->wants_queue = false;
}

/* After a batch has been settled: is so much waiting that the next one should have been built by now? */
static void learn(struct journal *journal, const struct round *round)
{
    if (round->alone)
        return;
    if (journal->batch_count > 0)
        journal->busy = true;
    else
        journal->busy = queue_weight(journal) >= JOURNAL_AHEAD_WEIGHT_MIN;
}

/* Until nothing is on its way and nothing waits. */
static void work(struct journal *journal, struct round *round)
{
    for (int failure;;) {
        if (journal->batch_count > 0 && journal_flight_landed(journal, journal_flight(journal, 0))) {
            journal_flight_settle(journal, &round->pending);
            learn(journal, round);
        } else if (journal->batch_count > 0) {
            if (is_ahead_worth(journal, round))
                send_batch(journal, round);
            else
                wait_landed(journal, round);
        } else if (!round->alone && run_task(journal)) {
            continue;
        } else if (!has_more(journal, round)) {
            return;
        } else if (!journal_is_writable(journal, NULL)) {
            answer_read_only(journal, &round->pending);
        } else if ((failure = index_try_again(journal->index)) < 0) {
            answer_no_room(journal, &round->pending, failure);
        } else {
            send_batch(journal, round);
        }
    }
}

/* ---- who writes ---- */

static void let_role_go(struct journal *journal)
{
    _os_locked_(&journal->queue_lock);
    journal->writing = false;
    if (journal->queue.first || journal->tasks || journal->closing)
        os_cond_signal(&journal->queue_filled);
}

bool journal_write_here(struct journal *journal, struct journal_append *append)
{
    struct round round = {.alone = true};
    os_mutex_lock(&journal->queue_lock);
    bool mine = !journal->writing && !journal->queue.first && !journal->tasks && !journal->closing;
    if (mine) {
        journal->writing = true;
        journal->queue_count++;
    }
    os_mutex_unlock(&journal->queue_lock);
    if (!mine)
        return false;
    append_list_init(&round.pending);
    append_list_push(&round.pending, append);
    work(journal, &round);
    let_role_go(journal);
    return true;
}

/* Wait until there is something to write and nobody who does. False: there never will be. */
static bool take_role(struct journal *journal)
{
    _os_locked_(&journal->queue_lock);
    while (journal->writing || (!journal->queue.first && !journal->tasks && !journal->closing))
        os_cond_wait(&journal->queue_filled, &journal->queue_lock);
    journal->writing = journal->queue.first || journal->tasks;
    return journal->writing;
}

static void writer_main(void *user)
{
    struct journal *journal = user;
    struct round round = {0};
    append_list_init(&round.pending);
    while (take_role(journal)) {
        work(journal, &round);
        let_role_go(journal);
    }
}

int journal_writer_start(struct journal *journal)
{
    return os_thread_start(&journal->thread, "journal-writer", writer_main, journal);
}

void journal_writer_stop(struct journal *journal)
{
    os_mutex_lock(&journal->queue_lock);
    journal->closing = true;
    os_cond_broadcast(&journal->queue_filled);
    os_mutex_unlock(&journal->queue_lock);
    os_thread_join(&journal->thread);
}
