/* A question's way: view_submit() looks at what it waits for and puts it into one of three lists: ready, ready for the
 * historian, or waiting. Whatever could end a wait (a position moved, a view failed, the head moved) looks through the
 * waiting ones and moves those on that it concerns; workers also wake for the nearest deadline. A worker judges once more
 * when it takes a question up, so that being moved on early does no harm.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "os/clock.h"
#include "view/set.h"

enum judgement { JUDGE_READY, JUDGE_WAIT, JUDGE_REFUSE };

/* --- lists (m) -------------------------------------------------------------------------------------------------------------------- */

static void list_push(struct request_list *list, struct view_request *request)
{
    if (!list->end)
        list->end = &list->first;
    request->own.next = NULL;
    *list->end = request;
    list->end = &request->own.next;
}

static struct view_request *list_pop(struct request_list *list)
{
    struct view_request *request = list->first;
    if (request) {
        list->first = request->own.next;
        if (!list->first)
            list->end = &list->first;
    }
    return request;
}

/* Take out the one that `link` points to. */
static struct view_request *list_take(struct request_list *list, struct view_request **link)
{
    struct view_request *request = *link;
    *link = request->own.next;
    if (list->end == &request->own.next)
        list->end = link;
    return request;
}

/* --- answers ---------------------------------------------------------------------------------------------------------------------- */

void answer_refuse(struct view_answer *answer, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    answer->answer = code;
    (void)vsnprintf(answer->detail, sizeof(answer->detail), format, arguments);
    va_end(arguments);
}

void view_answer_deinit(struct view_answer *answer)
{
    buffer_deinit(&answer->body);
    if (answer->body_fd >= 0)
        (void)close(answer->body_fd);
    answer->body_fd = -1;
}

static void count_answer(struct view_set *set, const struct view_answer *answer)
{
    struct view_counters *counters = &set->counters;
    switch (answer->answer) {
    case 0: counters->answered++; break;
    case VIEW_E_TIMEOUT: counters->timed_out++; break;
    case VIEW_E_NOT_CAUGHT_UP: counters->not_caught_up++; break;
    default: counters->refused++; break;
    }
    counters->spooled += answer->body_fd >= 0;
}

/* Hand the answer over; the mutex is not held. */
static void finish(struct view_set *set, struct view_request *request, struct view_answer *answer)
{
    os_mutex_lock(&set->mutex);
    count_answer(set, answer);
    os_mutex_unlock(&set->mutex);
    request->done(request, answer);
}

/* --- what a question waits for (m) -------------------------------------------------------------------------------------------------- */

static const struct target *target_of(const struct view_request *request)
{
    return (const struct target *)request->own.target;
}

/* How far all its views have come; `ret_stuck`: one that lags behind `wanted` will not move. */
static uint64_t reached_by(const struct target *target, uint64_t wanted, const struct view **ret_stuck)
{
    uint64_t reached = UINT64_MAX;
    for (size_t i = 0; i < target->view_count; i++) {
        const struct view *view = target->views[i];
        if (view->current->reached < reached)
            reached = view->current->reached;
        if (view->failed && (!view->next || view->next_failed) && view->current->reached < wanted)
            *ret_stuck = view;
    }
    return reached;
}

/* P6: whether what it asks for goes on where the journal cannot be read. */
static bool is_behind_damage(const struct view_set *set, const struct view_request *request)
{
    const struct target *target = target_of(request);
    bool incomplete = journal_is_incomplete(set->options.journal);
    if (request->own.has_as_of)
        return incomplete && request->own.as_of > set->head;
    for (size_t i = 0; i < target->view_count; i++)
        incomplete = incomplete || target->views[i]->unreadable;
    return incomplete;
}

/* A view without a store, which there was no room for; NULL: each has one. */
static const struct view *find_absent(const struct target *target)
{
    for (size_t i = 0; i < target->view_count; i++)
        if (target->views[i]->current->absent)
            return target->views[i];
    return NULL;
}

static bool is_rebuilt(const struct target *target)
{
    bool damaged = false;
    for (size_t i = 0; i < target->view_count; i++)
        damaged = damaged || target->views[i]->current->damaged;
    return damaged;
}

static enum judgement judge(const struct view_set *set, const struct view_request *request,
                            struct view_answer *answer)
{
    const struct view *stuck = NULL;
    bool past = request->own.has_as_of;
    uint64_t wanted = past ? request->own.as_of : request->own.min_position, head = set->head;
    uint64_t tail = journal_tail(set->options.journal);
    uint64_t reached = past ? head : reached_by(target_of(request), wanted, &stuck);
    if (is_behind_damage(set, request)) {
        answer_refuse(answer, -EBADMSG, "the journal is damaged before %s", past ? "that position" : "its end");
        return JUDGE_REFUSE;
    }
    const struct view *absent = past ? NULL : find_absent(target_of(request));
    if (absent) {
        answer_refuse(answer, VIEW_E_NO_ROOM, "view %s has no store yet: there was no room on the server's disk",
                      absent->definition->name);
        return JUDGE_REFUSE;
    }
    if (reached >= wanted)
        return JUDGE_READY;
    answer->position = reached;
    if (stuck)
        answer_refuse(answer, VIEW_E_NOT_CAUGHT_UP, "view %s stopped: %.400s", stuck->definition->name,
                      stuck->error);
    else if (!set->options.follower && wanted > tail)
        answer_refuse(answer, VIEW_E_NOT_CAUGHT_UP,
                      "position %llu does not exist yet: the journal ends at %llu",
                      (unsigned long long)wanted, (unsigned long long)tail);
    else if (os_monotonic_ns() >= request->own.deadline_ns && is_rebuilt(target_of(request)))
        answer_refuse(answer, VIEW_E_REBUILDING, "the view is being rebuilt: its file was damaged");
    else if (os_monotonic_ns() >= request->own.deadline_ns)
        answer_refuse(answer, VIEW_E_NOT_CAUGHT_UP, "position %llu was not reached in time: %llu was",
                      (unsigned long long)wanted, (unsigned long long)reached);
    else
        return JUDGE_WAIT;
    return JUDGE_REFUSE;
}

/* A spare worker looks at what there is; one more is started when all of them are at work. */
static void wake_spare(struct view_set *set)
{
    if (set->idle_spare_count > 0) {
        os_cond_signal(&set->asked_spare);
        return;
    }
    for (size_t i = set->worker_count; i < set->worker_count + VIEW_SPARE_COUNT && !set->closing; i++) {
        struct worker *worker = &set->workers[i];
        if (worker->thread.started)
            continue;
        int r = os_thread_start(&worker->thread, "ask", worker_run, worker);
        (void)r; /* without it the question waits for a worker */
        return;
    }
}

/* Something for a worker; when none is free, a spare one looks whether what is in the way takes long. */
static void wake_worker(struct view_set *set)
{
    if (set->idle_count > 0)
        os_cond_signal(&set->asked);
    else if (!set->watched)
        wake_spare(set);
    else if (set->watch_ns > os_monotonic_ns() + VIEW_LONG_MS * OS_NS_PER_MS)
        os_cond_broadcast(&set->asked_spare); /* it waits for something later */
}

/* Into the list it belongs in now. */
static void place(struct view_set *set, struct view_request *request)
{
    struct view_answer ignored;
    if (judge(set, request, &ignored) == JUDGE_WAIT) {
        list_push(&set->waiting, request);
        wake_worker(set); /* a worker sleeps no longer than its deadline */
    } else if (request->own.has_as_of) {
        list_push(&set->ready_history, request);
        os_cond_signal(&set->asked_history);
    } else {
        list_push(&set->ready, request);
        wake_worker(set);
    }
}

void ask_moved(struct view_set *set)
{
    struct request_list waiting = set->waiting;
    if (!waiting.first)
        return;
    set->waiting = (struct request_list){0};
    struct view_request *request;
    while ((request = list_pop(&waiting)))
        place(set, request);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------- */

static struct target *find_target(struct view_set *set, enum view_kind kind, struct bytes name)
{
    size_t first = kind == VIEW_KIND_VIEW ? 0 : set->view_count;
    size_t count = kind == VIEW_KIND_VIEW ? set->view_count : set->query_count;
    for (size_t i = first; i < first + count; i++) {
        struct target *target = &set->targets[i];
        if (bytes_equal_string(name, target->query ? target->query->definition->name
                                                   : target->views[0]->definition->name))
            return target;
    }
    return NULL;
}

static int parse_position(struct bytes text, const char *name, uint64_t *ret_position,
                          struct grammar_error *error)
{
    if (bytes_parse_u64(text, ret_position) == 0)
        return 0;
    return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(name),
                          "%s is a position: a whole number from 0 on", name);
}

static int parse_as_of(struct view_request *request, struct bytes text, struct grammar_error *error)
{
    request->own.has_as_of = true;
    if (bytes_parse_u64(text, &request->own.as_of) == 0)
        return 0;
    request->own.as_of_is_time = true;
    if (time_parse(text, &request->own.as_of_time_us) == 0)
        return 0;
    return grammar_refuse(error, VIEW_E_PARAMETER, BYTES_LITERAL("as_of"),
                          "as_of is a position or a time like 2026-01-31T12:00:00Z");
}

/* min_position and as_of of the URL. */
static int parse_common(struct view_request *request, struct grammar_error *error)
{
    struct bytes least = {0}, past = {0};
    request->own.min_position = request->own.as_of = 0;
    request->own.has_as_of = request->own.as_of_is_time = false;
    int has_least =
        grammar_find_once(request->parameters, request->parameter_count, "min_position", &least, error);
    int has_past = grammar_find_once(request->parameters, request->parameter_count, "as_of", &past, error);
    if (has_least < 0 || has_past < 0)
        return error->answer;
    if (has_least && has_past)
        return grammar_refuse(error, VIEW_E_PARAMETER, BYTES_LITERAL("as_of"),
                              "as_of and min_position exclude each other: the past does not move");
    if (has_least)
        return parse_position(least, "min_position", &request->own.min_position, error);
    return has_past ? parse_as_of(request, past, error) : 0;
}

static void start_clock(struct view_request *request)
{
    uint32_t wait_ms = request->wait_ms > 0 ? request->wait_ms : VIEW_WAIT_MS_DEFAULT;
    if (wait_ms > VIEW_WAIT_MS_MAX)
        wait_ms = VIEW_WAIT_MS_MAX;
    request->own.deadline_ns = os_monotonic_ns() + wait_ms * OS_NS_PER_MS;
}

/* Take the question in, or say why not. */
static bool enter(struct view_set *set, struct view_request *request, struct view_answer *answer)
{
    /* An append is answered before its listeners hear of it: look for ourselves, or a client that asks for what it has just
     * written would be told that it does not exist. */
    uint64_t head = journal_head(set->options.journal);
    _os_locked_(&set->mutex);
    if (head > set->head)
        set->head = head;
    set->counters.asked++;
    set->counters.history += request->own.has_as_of;
    if (set->closing)
        answer_refuse(answer, VIEW_E_CLOSING, "the server is stopping");
    else if (set->request_count >= VIEW_QUEUE_COUNT_MAX)
        answer_refuse(answer, VIEW_E_BUSY, "%d questions are waiting already", VIEW_QUEUE_COUNT_MAX);
    else if (judge(set, request, answer) != JUDGE_REFUSE)
        answer->answer = 0;
    if (answer->answer != 0)
        return false;
    set->request_count++;
    place(set, request);
    return true;
}

void view_submit(struct view_set *set, struct view_request *request)
{
    struct view_answer answer = {.body_fd = -1};
    struct grammar_error error = {0};
    request->own.target = find_target(set, request->kind, request->name);
    if (!request->own.target) {
        answer_refuse(&answer, VIEW_E_UNKNOWN, "there is no %s named '%.*s'",
                      request->kind == VIEW_KIND_VIEW ? "view" : "query",
                      BYTES_PRINT(bytes_slice(request->name, 0, 64)));
    } else if (parse_common(request, &error) != 0) {
        answer_refuse(&answer, error.answer, "%s", error.detail);
        memcpy(answer.parameter, error.parameter, sizeof(answer.parameter));
    } else {
        start_clock(request);
        if (enter(set, request, &answer))
            return;
    }
    finish(set, request, &answer);
}

struct blocked {
    struct os_mutex mutex;
    struct os_cond cond;
    bool done;
    struct view_answer answer;
};

static void wake_blocked(struct view_request *request, struct view_answer *answer)
{
    struct blocked *blocked = (struct blocked *)request->user;
    os_mutex_lock(&blocked->mutex);
    blocked->answer = *answer;
    blocked->done = true;
    os_cond_signal(&blocked->cond);
    os_mutex_unlock(&blocked->mutex);
}

int view_ask(struct view_set *set, struct view_request *request, struct view_answer *ret_answer)
{
    struct blocked blocked = {.done = false};
    os_mutex_init(&blocked.mutex);
    os_cond_init(&blocked.cond);
    request->done = wake_blocked;
    request->user = &blocked;
    view_submit(set, request);
    os_mutex_lock(&blocked.mutex);
    while (!blocked.done)
        os_cond_wait(&blocked.cond, &blocked.mutex);
    os_mutex_unlock(&blocked.mutex);
    *ret_answer = blocked.answer;
    os_cond_deinit(&blocked.cond);
    os_mutex_deinit(&blocked.mutex);
    return ret_answer->answer;
}

/* --- workers -------------------------------------------------------------------------------------------------------------------------- */

static uint64_t nearest_deadline(const struct view_set *set)
{
    uint64_t nearest = UINT64_MAX;
    for (const struct view_request *request = set->waiting.first; request; request = request->own.next) {
        if (request->own.deadline_ns < nearest)
            nearest = request->own.deadline_ns;
    }
    return nearest;
}

void workers_forget(struct view_set *set)
{
    for (size_t i = 0; i < set->worker_count + VIEW_SPARE_COUNT; i++)
        set->workers[i].stale = true;
    os_cond_broadcast(&set->asked);
    os_cond_broadcast(&set->asked_spare);
}

/* Close what may show what is to be forgotten. Under the mutex, which is let go meanwhile. */
static void forget_stale(struct worker *worker)
{
    struct view_set *set = worker->set;
    os_mutex_unlock(&set->mutex);
    worker_forget(worker);
    for (size_t i = 0; worker == &set->historian && i < set->view_count; i++)
        scratch_forget(&set->views[i]);
    os_mutex_lock(&set->mutex);
    worker->stale = false;
    os_cond_broadcast(&set->moved);
}

static bool have_view_in_common(const struct target *a, const struct target *b)
{
    for (size_t i = 0; i < a->view_count; i++) {
        for (size_t k = 0; k < b->view_count; k++) {
            if (a->views[i] == b->views[k])
                return true;
        }
    }
    return false;
}

/* What runs now: how many questions have not taken long yet, those that have, and when the next one will have. */
struct running {
    const struct target *of_long[WORKER_COUNT_MAX];
    size_t long_count, short_count;
    uint64_t next_ns;
};

static struct running look_at_workers(const struct view_set *set)
{
    struct running running = {.next_ns = UINT64_MAX};
    uint64_t now_ns = os_monotonic_ns();
    for (size_t i = 0; i < set->worker_count + VIEW_SPARE_COUNT; i++) {
        const struct worker *worker = &set->workers[i];
        uint64_t long_ns = worker->busy_ns + VIEW_LONG_MS * OS_NS_PER_MS;
        if (worker->busy_ns == 0)
            continue;
        if (long_ns <= now_ns) {
            running.of_long[running.long_count++] = worker->target;
            continue;
        }
        running.short_count++;
        running.next_ns = long_ns < running.next_ns ? long_ns : running.next_ns;
    }
    return running;
}

/* Whether as many questions of one of its views take long as may. */
static bool is_crowded(const struct running *running, const struct target *target)
{
    size_t count = 0;
    for (size_t i = 0; i < running->long_count; i++)
        count += have_view_in_common(running->of_long[i], target);
    return count >= VIEW_LONG_COUNT_MAX;
}

/* The first question that may run now, out of the list; NULL: none, and *ret_again_ns says when to look again. As many run as
 * there are workers, those aside that take long; those have the spare ones. */
static struct view_request *take_present(struct view_set *set, uint64_t *ret_again_ns)
{
    struct running running = {0};
    *ret_again_ns = UINT64_MAX;
    if (!set->ready.first)
        return NULL;
    running = look_at_workers(set);
    *ret_again_ns = running.next_ns;
    if (running.short_count >= set->worker_count)
        return NULL;
    for (struct view_request **at = &set->ready.first; *at; at = &(*at)->own.next) {
        if (!is_crowded(&running, target_of(*at)))
            return list_take(&set->ready, at);
    }
    return NULL;
}

/* The question of whoever was served longest ago, so that nobody's are all behind somebody else's. */
static struct view_request *take_past(struct view_set *set)
{
    struct view_request **best = NULL;
    for (struct view_request **at = &set->ready_history.first; *at; at = &(*at)->own.next) {
        if (!best || target_of(*at)->past_served < target_of(*best)->past_served)
            best = at;
    }
    if (!best)
        return NULL;
    ((struct target *)(*best)->own.target)->past_served = ++set->past_served;
    return list_take(&set->ready_history, best);
}

/* Wait for something to do, no longer than the nearest deadline of a question that waits, and `again_ns`. */
static void wait_asked(struct worker *worker, uint64_t again_ns)
{
    struct view_set *set = worker->set;
    bool past = worker == &set->historian;
    struct os_cond *cond = past ? &set->asked_history : worker->spare ? &set->asked_spare : &set->asked;
    uint64_t deadline_ns = past ? UINT64_MAX : nearest_deadline(set);
    bool watches = worker->spare && !set->watched && (deadline_ns != UINT64_MAX || again_ns != UINT64_MAX);
    set->idle_count += !past && !worker->spare;
    set->idle_spare_count += worker->spare;
    if (watches) {
        set->watched = true;
        set->watch_ns = deadline_ns < again_ns ? deadline_ns : again_ns;
    }
    if ((worker->spare && !watches) || (deadline_ns == UINT64_MAX && again_ns == UINT64_MAX))
        os_cond_wait(cond, &set->mutex);
    else if (!os_cond_wait_until(cond, &set->mutex, deadline_ns < again_ns ? deadline_ns : again_ns))
        ask_moved(set);
    set->idle_count -= !past && !worker->spare;
    set->idle_spare_count -= worker->spare;
    if (watches)
        set->watched = false;
}

/* The next question; NULL: closing. */
static struct view_request *next_request(struct worker *worker)
{
    struct view_set *set = worker->set;
    bool past = worker == &set->historian;
    _os_locked_(&set->mutex);
    worker->busy_ns = 0;
    while (!set->closing) {
        uint64_t again_ns = UINT64_MAX;
        if (worker->stale) {
            forget_stale(worker);
            continue;
        }
        struct view_request *request = past ? take_past(set) : take_present(set, &again_ns);
        if (!request) {
            wait_asked(worker, again_ns);
            continue;
        }
        set->request_count--;
        worker->busy_ns = os_monotonic_ns();
        worker->target = target_of(request);
        if (!past && set->idle_count == 0 && (set->ready.first || set->waiting.first))
            wake_worker(set);
        return request;
    }
    return NULL;
}

/* Judge again: what it waited for may be there, or may never come. false: it was answered. */
static bool still_ready(struct view_set *set, struct view_request *request, struct view_answer *answer)
{
    _os_locked_(&set->mutex);
    switch (judge(set, request, answer)) {
    case JUDGE_READY: return true;
    case JUDGE_REFUSE: break;
    case JUDGE_WAIT: /* moved on early; put back */
        answer->answer = 0;
        set->request_count++;
        place(set, request);
        break;
    }
    return false;
}

static void work(struct worker *worker,
                 void (*answer_it)(struct worker *worker, struct view_request *request,
                                   struct view_answer *answer))
{
    struct view_request *request;
    while ((request = next_request(worker))) {
        struct view_answer answer = {.body_fd = -1};
        if (still_ready(worker->set, request, &answer)) {
            answer.position = 0;
            answer_it(worker, request, &answer);
        } else if (answer.answer == 0) {
            continue;
        }
        finish(worker->set, request, &answer);
    }
    worker_forget(worker);
}

void worker_run(void *user)
{
    struct worker *worker = (struct worker *)user;
    work(worker, answer_present);
}

void historian_run(void *user)
{
    struct worker *worker = (struct worker *)user;
    work(worker, answer_past);
}

static struct view_request *pop_any(struct view_set *set)
{
    _os_locked_(&set->mutex);
    struct request_list *lists[] = {&set->ready, &set->ready_history, &set->waiting};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct view_request *request = list_pop(lists[i]);
        if (request) {
            set->request_count--;
            return request;
        }
    }
    return NULL;
}

void ask_end(struct view_set *set)
{
    struct view_request *request;
    while ((request = pop_any(set))) {
        struct view_answer answer = {.body_fd = -1};
        answer_refuse(&answer, VIEW_E_CLOSING, "the server is stopping");
        finish(set, request, &answer);
    }
}
