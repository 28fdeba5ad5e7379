/* A thread a view. It applies events to the store that answers and, when there is one, to the store being built beside it,
 * one transaction after the other; because one thread does both, the moment of the swap is simply between two of them.
 *
 * A transaction ends when the journal has nothing more to give, so that at low rates a row is seen as soon as it can be;
 * when it does not end by itself, it is cut after a while, longer when the view is far behind and nobody waits for the rows.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/clock.h"
#include "view/set.h"

#define BATCH_MS_LIVE   20
#define BATCH_MS_BEHIND 200
#define BEHIND_COUNT    10000 /* events: from here on a view is far behind */
#define LOOK_EVERY      64    /* events between two looks at the clock */
#define NOTE_EVERY                                                                                           \
    100000 /* positions passed without a row to write, after which the store notes its position */
#define STALL_NS OS_NS_PER_SECOND
#define KEY_NS   (50 * OS_NS_PER_MS) /* a key follows its event in a moment; after a second it is a stall */

/* --- the store's place in the journal ---------------------------------------------------------------------------------------------- */

/* A reader that goes on after what is committed. */
static int open_reader(struct view *view, struct generation *g)
{
    journal_reader_free(take_ptr(g->reader));
    struct journal_query query;
    struct journal_read read = {.after = g->reached};
    store_wants(g->store, &query, &read.system);
    read.query = query.count > 0 ? &query : NULL;
    return journal_reader_new(view->set->options.journal, &read, &g->reader);
}

/* Say how far the rows have come. */
static void publish(struct view *view, struct generation *g, uint64_t reached, uint64_t event_count)
{
    struct view_set *set = view->set;
    os_mutex_lock(&set->mutex);
    assert(reached >= g->reached); /* V3 */
    g->committed = store_state(g->store)->position;
    g->reached = reached;
    view->events += event_count;
    view->batches += event_count > 0;
    ask_moved(set);
    os_cond_broadcast(&set->moved);
    os_mutex_unlock(&set->mutex);
}

static int commit(struct view *view, struct generation *g, uint64_t position)
{
    struct log_chain chain;
    int r = journal_chain_at(view->set->options.journal, position, &chain);
    return r != 0 ? (r > 0 ? -EIO : r) : store_commit(g->store, position, &chain);
}

/* --- one transaction -------------------------------------------------------------------------------------------------------------- */

struct batch {
    uint64_t event_count;
    uint64_t position; /* every event up to here has been applied or passed over */
    bool begun;
    bool more; /* it was cut; else the journal has no more for now */
};

static bool is_long(const struct view_set *set, const struct batch *batch, uint64_t start_ns, uint64_t lag)
{
    if (batch->event_count % LOOK_EVERY != 0)
        return false;
    uint64_t limit_ms = lag > BEHIND_COUNT ? BATCH_MS_BEHIND : BATCH_MS_LIVE;
    return atomic_load(&set->stop) || os_monotonic_ns() - start_ns > limit_ms * OS_NS_PER_MS;
}

static int apply(struct generation *g, const struct journal_event *event, struct batch *batch)
{
    int r = batch->begun ? 0 : store_begin(g->store);
    if (r != 0)
        return r;
    batch->begun = true;
    r = store_apply(g->store, event);
    if (r == STORE_E_EVENT)
        g->until = event->position - 1;
    if (r != 0)
        return r;
    batch->event_count++;
    batch->position = event->position;
    return 0;
}

/* The key of an event's subject has not come yet. What is before it is committed; then the view waits, and reads it again. */
static int wait_for_key(struct generation *g, const struct journal_event *event, struct batch *batch)
{
    bool some = batch->event_count > 0 || event->position > g->reached + 1;
    if (batch->event_count == 0)
        batch->position = event->position - 1;
    batch->more = some;
    journal_reader_free(take_ptr(g->reader));
    return some ? 0 : -ENOKEY;
}

/* Apply what there is, without committing. */
static int fill(struct view *view, struct generation *g, struct batch *batch)
{
    uint64_t start_ns = os_monotonic_ns(), lag = journal_head(view->set->options.journal) - g->reached;
    for (;;) {
        struct journal_event event;
        int r = journal_reader_next(g->reader, &event);
        if (r == JOURNAL_E_END) {
            batch->position = journal_reader_examined(g->reader);
            return 0;
        }
        if (r != 0)
            return r > 0 ? -EIO : r;
        if (event.sealed && view->set->options.follower)
            return wait_for_key(g, &event, batch);
        if (event.position > g->until) {
            batch->position = g->until;
            g->failed = true; /* V5: it stands before the event, with every row up to it */
            return 0;
        }
        r = apply(g, &event, batch);
        if (r != 0)
            return r;
        if (is_long(view->set, batch, start_ns, lag)) {
            batch->more = true;
            return 0;
        }
    }
}

static bool is_worth_noting(const struct generation *g, const struct batch *batch)
{
    return batch->begun || g->failed || batch->position >= g->committed + NOTE_EVERY;
}

static int run_batch(struct view *view, struct generation *g, struct batch *batch)
{
    int r = fill(view, g, batch);
    if (r == 0 && is_worth_noting(g, batch) && batch->position > g->committed) {
        if (!batch->begun)
            r = store_begin(g->store);
        batch->begun = true;
        if (r == 0)
            r = commit(view, g, batch->position);
    } else if (r == 0 && batch->begun) {
        store_rollback(g->store); /* nothing came of it */
    }
    if (r != 0)
        store_rollback(g->store);
    return r;
}

/* --- what went wrong --------------------------------------------------------------------------------------------------------------- */

/* What others see of it: which store has stopped, why, and at which event. */
static void set_error(struct view *view, uint64_t position, bool stalled, const char *sentence)
{
    os_mutex_lock(&view->set->mutex);
    view->failed = view->current->failed;
    view->next_failed = view->next && view->next->failed;
    view->stalled = stalled;
    view->error_position = position;
    (void)snprintf(view->error, sizeof(view->error), "%s", sentence);
    ask_moved(view->set);
    os_cond_broadcast(&view->set->moved);
    os_mutex_unlock(&view->set->mutex);
}

/* The store stands right before the failing event now: say so, once. */
static void note_failure(struct view *view, struct generation *g)
{
    char sentence[VIEW_ERROR_SIZE];
    view_notice(view, VIEW_NOTICE_FAILED, sentence,
                g == view->next ? "version %llu, being built, stopped: %.400s"
                                : "version %llu stopped: %.400s",
                (unsigned long long)g->definition->version, g->error);
    set_error(view, g->until + 1, false, sentence);
}

/* The file is not what it was: build another beside it. */
static void note_damage(struct view *view, struct generation *g)
{
    g->halted = true;
    generation_damaged(view, g, store_error(g->store));
}

/* A key that is only on its way is nothing to speak of. */
static bool waits_quietly(struct view *view, uint64_t now_ns, int r)
{
    if (r != -ENOKEY)
        view->key_missed_ns = 0;
    else if (view->key_missed_ns == 0)
        view->key_missed_ns = now_ns;
    return r == -ENOKEY && now_ns - view->key_missed_ns < STALL_NS;
}

/* The disk, memory or the journal failed, or a key has not come: nothing is lost, try again later. */
static void note_stall(struct view *view, const struct generation *g, int r)
{
    char sentence[VIEW_ERROR_SIZE];
    uint64_t now_ns = os_monotonic_ns();
    bool quiet = waits_quietly(view, now_ns, r);
    view->retry_ns = now_ns + (quiet ? KEY_NS : STALL_NS);
    if (view->stalled || quiet)
        return;
    view_notice(view, VIEW_NOTICE_STALLED, sentence, "waiting, tried again every second: %.300s",
                r > 0           ? store_error(g->store)
                : r == -ENOKEY  ? "the key of an event's subject is not here"
                : r == -EBADMSG ? "the journal is damaged where it goes on"
                : r == -EAGAIN  ? "a part of the index is being made again"
                                : strerror(-r));
    os_mutex_lock(&view->set->mutex);
    view->unreadable = r == -EBADMSG;
    os_mutex_unlock(&view->set->mutex);
    set_error(view, 0, true, sentence);
}

static void note_end_of_stall(struct view *view)
{
    view->key_missed_ns = 0;
    if (!view->stalled)
        return;
    view_notice(view, VIEW_NOTICE_RESUMED, NULL, "writing again");
    os_mutex_lock(&view->set->mutex);
    view->unreadable = false;
    os_mutex_unlock(&view->set->mutex);
    set_error(view, 0, false, "");
}

/* --- advancing -------------------------------------------------------------------------------------------------------------------- */

/* One transaction of a store. true: there is more to do right now. */
static bool advance(struct view *view, struct generation *g)
{
    if (g->failed || g->halted || g->reached >= view->set->head)
        return false;
    struct batch batch = {.position = g->reached};
    int r = g->reader ? 0 : open_reader(view, g);
    if (r == 0)
        r = run_batch(view, g, &batch);
    if (r == 0) {
        note_end_of_stall(view);
        publish(view, g, batch.position, batch.event_count);
        if (g->failed)
            note_failure(view, g);
        return batch.more;
    }
    journal_reader_free(take_ptr(g->reader)); /* what was rolled back is read again */
    switch (r) {
    case STORE_E_STOPPED: return false;
    case STORE_E_EVENT: (void)snprintf(g->error, sizeof(g->error), "%s", store_error(g->store)); return true;
    case STORE_E_DAMAGED: note_damage(view, g); return true;
    default: note_stall(view, g, r); return false;
    }
}

/* --- a store that there was no room for ------------------------------------------------------------------------------------------- */

/* false: there is none yet. */
static bool open_again(struct view *view)
{
    char error[VIEW_ERROR_SIZE] = "";
    if (!view->current->absent)
        return true;
    if (generations_open(view, error) != 0) {
        view->retry_ns = os_monotonic_ns() + STALL_NS;
        return false;
    }
    note_end_of_stall(view);
    return true;
}

/* --- the store beside ----------------------------------------------------------------------------------------------------------------- */

static void begin_rebuild(struct view *view)
{
    struct view_set *set = view->set;
    struct generation *next = NULL, *before = view->next;
    char error[VIEW_ERROR_SIZE] = "";
    os_mutex_lock(&set->mutex);
    uint64_t forgets = view->forgets;
    os_mutex_unlock(&set->mutex);
    int r = generation_make(view, &next, error);
    if (r != 0) {
        view->retry_ns = os_monotonic_ns() + STALL_NS;
        set_error(view, 0, true, error);
        return;
    }
    os_mutex_lock(&set->mutex);
    next->forgets = forgets;
    view->next = next;
    view->next_failed = false;
    view->rebuild_asked = view->forgets != forgets; /* asked for again meanwhile: its beginning may be stale */
    view->stalled = false;
    if (!view->current->damaged)
        view->error[0] = '\0';
    os_mutex_unlock(&set->mutex);
    if (before)
        generation_discard(view, before);
    view_notice(view, VIEW_NOTICE_REBUILDING, NULL, "version %llu is built as generation %llu",
                (unsigned long long)next->definition->version, (unsigned long long)next->number);
}

/* The new store has come as far as the old one, or must take its place: it answers from now on. */
static void swap(struct view *view)
{
    struct view_set *set = view->set;
    struct generation *old = view->current, *next = view->next;
    int r = generation_point(view, next);
    if (r < 0) {
        note_stall(view, next, r);
        return;
    }
    note_end_of_stall(view);
    view_notice(view, VIEW_NOTICE_SWAPPED, NULL, "generation %llu answers, version %llu",
                (unsigned long long)next->number, (unsigned long long)next->definition->version);
    os_mutex_lock(&set->mutex);
    view->current = next;
    view->next = NULL;
    view->failed = next->failed;
    view->next_failed = false;
    if (!next->failed) {
        view->error_position = 0;
        view->error[0] = '\0';
    }
    ask_moved(set);
    workers_forget(set);
    os_cond_broadcast(&set->moved);
    os_mutex_unlock(&set->mutex);
    generation_discard(view, old);
}

/* What answers shows something that was erased, or is damaged, and the one built to take its place stopped at an event (V5): it
 * answers all the same, as far as it came. That is the one exception from V3. */
static bool must_go(const struct view *view)
{
    const struct generation *next = view->next;
    return next->failed && next->until != UINT64_MAX &&
           (view->current->forgets < next->forgets || view->current->damaged);
}

static bool is_ready(const struct view *view)
{
    const struct generation *next = view->next;
    return next && !next->halted && (next->failed ? must_go(view) : next->reached >= view->current->reached);
}

/* --- the thread ----------------------------------------------------------------------------------------------------------------------- */

static bool has_work(const struct view *view)
{
    uint64_t head = view->set->head;
    const struct generation *current = view->current, *next = view->next;
    return view->rebuild_asked || current->absent || (!current->failed && !current->halted && current->reached < head) ||
           (next && ((!next->failed && !next->halted && next->reached < head) || is_ready(view)));
}

/* Sleep until there is something to do. false: closing. */
static bool wait_for_work(struct view *view)
{
    struct view_set *set = view->set;
    os_mutex_lock(&set->mutex);
    while ((view->stalled || view->key_missed_ns > 0) && !set->closing &&
           os_cond_wait_until(&set->moved, &set->mutex, view->retry_ns))
        continue;
    while (!set->closing && !has_work(view))
        os_cond_wait(&set->moved, &set->mutex);
    bool go_on = !set->closing;
    os_mutex_unlock(&set->mutex);
    return go_on;
}

void projector_run(void *user)
{
    struct view *view = (struct view *)user;
    while (wait_for_work(view)) {
        if (!open_again(view))
            continue;
        if (view->rebuild_asked)
            begin_rebuild(view);
        (void)advance(view, view->current);
        if (view->next) {
            (void)advance(view, view->next);
            if (is_ready(view))
                swap(view);
        }
    }
}
