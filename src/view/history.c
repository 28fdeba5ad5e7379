/* The past is rebuilt, not kept: a scratch copy is an empty store that events are applied to until the position asked for.
 * It is kept, and the next question that is not older moves it, or a copy of it, forward instead of starting over. One
 * thread, the historian, owns them all.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/scavenge.h"
#include "os/clock.h"
#include "os/file.h"
#include "view/page_check.h"
#include "view/set.h"

#define LOOK_EVERY 64 /* events between two looks at the clock */

/* A way of so many events is worth a copy of a file of that size: both take some ten milliseconds. */
#define BRANCH_EVENTS_MIN 2000
#define BRANCH_SIZE_MAX   ((size_t)64 * 1024 * 1024)

static void scratch_close(struct scratch *scratch)
{
    store_close(scratch->store);
    relation_free(scratch->relation);
    if (scratch->path)
        files_delete(scratch->path);
    free(scratch->path);
    *scratch = (struct scratch){0};
}


static int scratch_folder_make(const struct view_set *set, char ret_folder[OS_PATH_SIZE_MAX])
{
    int r = os_path(ret_folder, set->folder, "scratch");
    return r == 0 ? os_file_real()->make_folder(os_file_real(), ret_folder) : r;
}

int scratch_clear(struct view_set *set)
{
    char folder[OS_PATH_SIZE_MAX], path[OS_PATH_SIZE_MAX];
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = scratch_folder_make(set, folder);
    if (r == 0)
        r = os_file_real()->list(os_file_real(), folder, &names);
    for (size_t at = 0; r == 0 && at < names.size; at += strlen((const char *)names.data + at) + 1) {
        if (os_path(path, folder, (const char *)names.data + at) == 0)
            (void)os_file_real()->remove(os_file_real(), path);
    }
    return r;
}

static void count_copies(struct view_set *set, int change)
{
    os_mutex_lock(&set->mutex);
    set->counters.scratch_copies += (uint64_t)change;
    os_mutex_unlock(&set->mutex);
}

void scratch_forget(struct view *view)
{
    for (size_t i = 0; i < VIEW_SCRATCH_COUNT_MAX; i++) {
        if (view->scratch[i].store)
            count_copies(view->set, -1);
        scratch_close(&view->scratch[i]);
    }
}

/* The copy's file, as it stands after its last commit, under another name. -E2BIG: too large to be worth it. */
static int copy_file(const char *from, const char *to)
{
    const struct os_file_ops *ops = os_file_real();
    _cleanup_(buffer_deinit) struct buffer content = {.size_max = BRANCH_SIZE_MAX};
    int file, r = os_file_read_whole(ops, from, &content);
    if (r == 0)
        r = ops->open(ops, to, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &file);
    if (r < 0)
        return r;
    r = os_file_write_full(ops, file, content.data, content.size, 0);
    return error_first(r, ops->close(ops, file));
}

static int scratch_make(struct view *view, struct scratch *scratch, const struct scratch *from,
                        char *ret_error)
{
    struct view_set *set = view->set;
    char folder[OS_PATH_SIZE_MAX];
    int r = scratch_folder_make(set, folder); /* there may have been no room for it at the start */
    if (r < 0)
        return r;
    if (asprintf(&scratch->path, "%s/%s~%llu.db", folder, view->definition->name,
                 (unsigned long long)scratch->number) < 0) {
        scratch->path = NULL;
        return -ENOMEM;
    }
    r = from ? copy_file(from->path, scratch->path) : 0;
    if (r < 0)
        return r;
    struct store_options options = {.path = scratch->path,
                                    .scratch = true,
                                    .apply_ms_max = set->options.apply_ms_max,
                                    .stop = &set->stop};
    r = store_open(&options, view->definition, journal_id(set->options.journal), &scratch->store, ret_error);
    if (r != 0)
        return r < 0 || r == STORE_E_DAMAGED ? r : is_want_of_room(r) ? -ENOSPC : -EIO;
    scratch->relation = store_take_relation(scratch->store);
    scratch->reached = store_state(scratch->store)->position;
    return 0;
}

/* Make the scratch copy anew: empty, or as `from` stands. */
static int scratch_open(struct view *view, struct scratch *scratch, const struct scratch *from,
                        char *ret_error)
{
    struct view_set *set = view->set;
    if (scratch->store) {
        scratch_close(scratch);
        count_copies(set, -1);
    }
    scratch->number = ++set->scratch_number;
    int r = scratch_make(view, scratch, from, ret_error);
    if (r != 0)
        scratch_close(scratch);
    else
        count_copies(set, 1);
    return r;
}

/* The newest copy that is not beyond the position; NULL: there is none. */
static struct scratch *find_before(struct view *view, uint64_t position)
{
    struct scratch *best = NULL;
    for (size_t i = 0; i < VIEW_SCRATCH_COUNT_MAX; i++) {
        struct scratch *scratch = &view->scratch[i];
        if (scratch->store && scratch->reached <= position && (!best || scratch->reached > best->reached))
            best = scratch;
    }
    return best;
}

/* A free place, else the copy that has not been used for longest; never `but`. */
static struct scratch *find_spare(struct view *view, const struct scratch *but)
{
    struct scratch *spare = NULL;
    for (size_t i = 0; i < VIEW_SCRATCH_COUNT_MAX; i++) {
        struct scratch *scratch = &view->scratch[i];
        if (scratch != but && (!spare || (spare->store && (!scratch->store || scratch->used < spare->used))))
            spare = scratch;
    }
    return spare;
}

/* The copy that has the shortest way to `position`. When that is long, it stays as a step of a ladder and a copy of it goes
 * the way, so that somebody who looks back and forth never starts over; when it is short, it goes itself. */
static int choose(struct view *view, uint64_t position, struct scratch **ret_scratch, char *ret_error)
{
    struct scratch *best = find_before(view, position);
    if (!best || position - best->reached >= BRANCH_EVENTS_MIN) {
        struct scratch *spare = find_spare(view, best);
        if (best)
            best->used = ++view->set->historian.question_count;
        int r = scratch_open(view, spare, best, ret_error);
        if (r == 0)
            best = spare;
        else if (!best)
            return r;
    }
    best->used = ++view->set->historian.question_count;
    *ret_scratch = best;
    return 0;
}

/* --- moving --------------------------------------------------------------------------------------------------------------------------- */

struct move {
    struct view *view;
    struct scratch *scratch;
    uint64_t position; /* wanted */
    uint64_t deadline_ns;
    uint64_t done;  /* applied up to here */
    uint64_t count; /* events applied */
    bool late;
    struct scavenged *scavenged; /* what went after `position`; NULL: not asked yet */
    uint64_t first;              /* not 0: an event it needs went after `position`; this one can be asked */
};

/* Whether the event was still there at the position asked for, and is not now. */
static int look_for_loss(struct move *move, const struct journal_event *event)
{
    int r = 0;
    if (event->stub && !move->scavenged)
        r = scavenged_load(move->view->set->options.journal, move->position, &move->scavenged);
    if (r == 0 && event->stub && scavenged_has(move->scavenged, event->position))
        move->first = scavenged_last(move->scavenged);
    return r;
}

static int apply_up_to(struct move *move, struct journal_reader *reader)
{
    struct journal_event event;
    for (;;) {
        int r = journal_reader_next(reader, &event);
        if (r == JOURNAL_E_END || (r == 0 && event.position > move->position)) {
            move->done = move->position;
            return 0;
        }
        if (r != 0)
            return r > 0 ? -EIO : r;
        r = look_for_loss(move, &event);
        if (r != 0 || move->first != 0)
            return r;
        if (event.sealed && move->view->set->options.follower)
            return -ENOKEY; /* it has not come yet */
        r = store_apply(move->scratch->store, &event);
        if (r != 0)
            return r;
        move->done = event.position;
        if (++move->count % LOOK_EVERY == 0 && os_monotonic_ns() > move->deadline_ns) {
            move->late = true;
            return 0;
        }
    }
}

static int commit(struct move *move)
{
    struct log_chain chain;
    int r = journal_chain_at(move->view->set->options.journal, move->done, &chain);
    if (r == 0)
        r = store_commit(move->scratch->store, move->done, &chain);
    else if (r > 0)
        r = -EIO;
    if (r == 0) {
        move->scratch->reached = move->done;
        os_mutex_lock(&move->view->set->mutex);
        move->view->set->counters.replayed += move->count;
        os_mutex_unlock(&move->view->set->mutex);
    }
    return r;
}

static int move_on(struct move *move)
{
    struct store *store = move->scratch->store;
    struct journal_query query;
    struct journal_read read = {.after = move->scratch->reached, .before = move->position + 1};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    store_wants(store, &query, &read.system);
    read.query = query.count > 0 ? &query : NULL;
    int r = journal_reader_new(move->view->set->options.journal, &read, &reader);
    if (r != 0)
        return r > 0 ? -EIO : r;
    r = store_begin(store);
    if (r == 0)
        r = apply_up_to(move, reader);
    if (r == 0)
        r = commit(move);
    if (r != 0)
        store_rollback(store);
    return r;
}

static void explain(const struct move *move, int r, struct view_answer *answer)
{
    if (r == STORE_E_DAMAGED)
        answer_refuse(answer, READER_E_DAMAGED, "%s", store_error(move->scratch->store));
    else if (r == STORE_E_EVENT)
        answer_refuse(answer, VIEW_E_FAILED, "%s", store_error(move->scratch->store));
    else if (r == STORE_E_STOPPED)
        answer_refuse(answer, VIEW_E_CLOSING, "the server is stopping");
    else
        answer_refuse(answer, is_want_of_room(r) ? -ENOSPC : r > 0 ? -EIO : r, "%s",
                      r > 0 ? store_error(move->scratch->store) : strerror(-r));
}

/* A copy of the view that stands exactly at `position`. false: answered. */
static bool bring(struct view *view, uint64_t position, uint64_t deadline_ns, struct scratch **ret_scratch,
                  struct view_answer *answer)
{
    struct move move = {.view = view, .position = position, .deadline_ns = deadline_ns};
    int r = choose(view, position, &move.scratch, answer->detail);
    if (r == STORE_E_DAMAGED) {
        answer->answer = READER_E_DAMAGED;
        return false;
    }
    if (r != 0) {
        answer_refuse(answer, r, "no scratch copy could be made: %s", strerror(-r));
        return false;
    }
    move.done = move.scratch->reached;
    r = move.scratch->reached < position ? move_on(&move) : 0;
    scavenged_free(move.scavenged);
    if (r != 0) {
        explain(&move, r, answer);
        return false;
    }
    if (move.first != 0) {
        answer_refuse(answer, VIEW_E_SCAVENGED,
                      "events that %s had at %llu were scavenged since; from %llu on it can be asked",
                      view->definition->name, (unsigned long long)position, (unsigned long long)move.first);
        answer->first = move.first;
        return false;
    }
    if (move.late) {
        answer_refuse(answer, VIEW_E_TIMEOUT, "the past at %llu is not ready yet, but %llu is: ask again",
                      (unsigned long long)position, (unsigned long long)move.done);
        return false;
    }
    assert(store_state(move.scratch->store)->position == position);
    *ret_scratch = move.scratch;
    return true;
}

static void answer_from_copies(struct worker *worker, struct view_request *request, uint64_t position,
                               struct view_answer *answer)
{
    struct view_set *set = worker->set;
    const struct target *target = (const struct target *)request->own.target;
    uint64_t seen[VIEW_QUERY_USES_MAX];
    uint64_t deadline_ns = os_monotonic_ns() + set->options.history_ms_max * OS_NS_PER_MS;
    struct scratch *copies[VIEW_QUERY_USES_MAX];
    struct reader_part parts[VIEW_QUERY_USES_MAX];
    struct reader *reader = NULL;
    for (size_t i = 0; i < target->view_count; i++) {
        if (!bring(target->views[i], position, deadline_ns, &copies[i], answer))
            return;
        parts[i] = (struct reader_part){.view = target->views[i]->definition->name,
                                        .path = copies[i]->path,
                                        .generation = copies[i]->number};
    }
    int r = worker_reader(worker, target, parts, &reader, answer->detail);
    if (r == READER_E_DAMAGED) {
        answer->answer = r;
        return;
    }
    if (r < 0) {
        answer_refuse(answer, r, "no scratch copy could be read: %s", strerror(-r));
        return;
    }
    answer_from(reader, target, copies[0]->relation, request, seen, answer);
    if (answer->answer == 0)
        answer->position = position;
}

/* A copy is derived from the journal: one with a page that does not hold goes, with all that came of it. */
static void drop_copies(struct worker *worker, const struct target *target, struct view_answer *answer)
{
    char what[VIEW_ERROR_SIZE];
    store_say_damage(what, answer->detail);
    worker_forget(worker);
    for (size_t i = 0; i < target->view_count; i++)
        scratch_forget(target->views[i]);
    view_notice(target->views[0], VIEW_NOTICE_DISCARDED, NULL, "copies of the past are thrown away and made anew: %.300s", what);
    view_answer_deinit(answer);
    answer_refuse(answer, VIEW_E_REBUILDING, "the past is being rebuilt: %.300s", what);
}

enum { DAMAGED_TRY_COUNT = 2 };

void answer_past(struct worker *worker, struct view_request *request, struct view_answer *answer)
{
    struct journal *journal = worker->set->options.journal;
    const struct target *target = (const struct target *)request->own.target;
    uint64_t position = request->own.as_of;
    int r = request->own.as_of_is_time ? journal_position_at(journal, request->own.as_of_time_us, &position) : 0;
    if (r < 0) {
        answer_refuse(answer, r, "%s", r == -EBADMSG ? "the journal is damaged before that time" : strerror(-r));
        return;
    }
    for (int tries = 0; tries < DAMAGED_TRY_COUNT; tries++) {
        *answer = (struct view_answer){.body_fd = -1};
        page_check_forget();
        answer_from_copies(worker, request, position, answer);
        if (answer->answer != READER_E_DAMAGED)
            return;
        drop_copies(worker, target, answer);
    }
}
