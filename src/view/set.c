#include "view/set.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "os/clock.h"
#include "os/file.h"
#include "view/page_check.h"

/* --- opening and closing ------------------------------------------------------------------------------------------------------------------ */

static void head_moved(struct journal_listener *listener, uint64_t head)
{
    struct view_set *set = (struct view_set *)((char *)listener - offsetof(struct view_set, listener));
    os_mutex_lock(&set->mutex);
    if (head > set->head)
        set->head = head;
    ask_moved(set);
    os_cond_broadcast(&set->moved);
    os_mutex_unlock(&set->mutex);
}

/* Rows may say what events must not be read for: they are their owner's alone. */
enum { FOLDER_MODE = 0700 };

int views_folder_make(struct view_set *set)
{
    int r = os_file_real()->make_folder(os_file_real(), set->folder);
    return r == 0 && chmod(set->folder, FOLDER_MODE) < 0 ? -errno : r;
}

/* P7: on a full disk it is made later. */
static int make_folder(struct view_set *set)
{
    char folder[OS_PATH_SIZE_MAX];
    int r = os_path(folder, set->options.data_folder, "views");
    if (r < 0)
        return r;
    set->folder = strdup(folder);
    if (!set->folder)
        return -ENOMEM;
    r = views_folder_make(set);
    if (r == 0)
        r = scratch_clear(set);
    return is_want_of_room(r) ? 0 : r;
}

/* P7: a view that there is no room for is opened later, and everything else is served meanwhile. */
static int open_view(struct view *view, char *ret_error)
{
    int r = generations_open(view, ret_error);
    if (is_want_of_room(r))
        return generation_stand_in(view, r, ret_error);
    return r > 0 ? -EIO : r;
}

static int start_threads(struct view_set *set)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < set->view_count; i++)
        r = os_thread_start(&set->views[i].thread, set->views[i].definition->name, projector_run,
                            &set->views[i]);
    for (size_t i = 0; r == 0 && i < set->worker_count + VIEW_SPARE_COUNT; i++) {
        set->workers[i].set = set;
        set->workers[i].spare = i >= set->worker_count;
        if (!set->workers[i].spare) /* the others when they are needed */
            r = os_thread_start(&set->workers[i].thread, "ask", worker_run, &set->workers[i]);
    }
    set->historian.set = set;
    return r == 0 ? os_thread_start(&set->historian.thread, "historian", historian_run, &set->historian) : r;
}

static uint32_t lower(uint32_t asked, uint32_t limit)
{
    return asked == 0 || asked > limit ? limit : asked;
}

static void take_options(struct view_set *set, const struct view_options *options)
{
    set->options = *options;
    set->worker_count = options->worker_count == 0 ? 2 : options->worker_count;
    if (set->worker_count > WORKER_COUNT_MAX - VIEW_SPARE_COUNT)
        set->worker_count = WORKER_COUNT_MAX - VIEW_SPARE_COUNT;
    set->options.time_ms_max = lower(options->time_ms_max, VIEW_TIME_MS_MAX);
    set->options.history_ms_max = lower(options->history_ms_max, VIEW_HISTORY_MS_MAX);
    set->options.apply_ms_max = lower(options->apply_ms_max, VIEW_APPLY_MS_MAX);
    if (options->answer_size_max == 0 || options->answer_size_max > VIEW_ANSWER_SIZE_MAX)
        set->options.answer_size_max = VIEW_ANSWER_SIZE_MAX;
    os_mutex_init(&set->mutex);
    os_cond_init(&set->moved);
    os_cond_init(&set->asked);
    os_cond_init(&set->asked_spare);
    os_cond_init(&set->asked_history);
}

int view_set_open(const struct view_options *options, struct view_set **ret_set, char *ret_error)
{
    char error[VIEW_ERROR_SIZE] = "";
    struct view_set *set = calloc(1, sizeof(*set));
    if (!set)
        return -ENOMEM;
    take_options(set, options);
    int r = page_check_register(); /* before anything else is asked of SQLite */
    if (r == 0)
        r = load_application(set, error);
    if (r == 0)
        r = make_folder(set);
    for (size_t i = 0; r == 0 && i < set->view_count; i++)
        r = open_view(&set->views[i], error);
    if (r == 0) {
        set->listener.moved = head_moved;
        journal_listen(options->journal, &set->listener);
        set->listening = true;
        head_moved(&set->listener, journal_head(options->journal));
        r = start_threads(set);
    }
    if (r != 0) {
        if (ret_error)
            (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s", error[0] ? error : strerror(-r));
        view_set_close(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

static void stop_threads(struct view_set *set)
{
    os_mutex_lock(&set->mutex);
    set->closing = true;
    set->stop = true;
    os_cond_broadcast(&set->moved);
    os_cond_broadcast(&set->asked);
    os_cond_broadcast(&set->asked_spare);
    os_cond_broadcast(&set->asked_history);
    os_mutex_unlock(&set->mutex);
    for (size_t i = 0; i < WORKER_COUNT_MAX; i++)
        os_thread_join(&set->workers[i].thread);
    os_thread_join(&set->historian.thread);
    for (size_t i = 0; i < set->view_count; i++)
        os_thread_join(&set->views[i].thread);
    ask_end(set);
}

/* After every reader is gone, so that the store is the last to let its file go and leaves no WAL behind. */
static void view_deinit(struct view *view)
{
    if (view->current)
        generation_unref(view->set, view->current);
    if (view->next)
        generation_unref(view->set, view->next);
    scratch_forget(view);
    definition_free(view->definition);
}

void view_set_close(struct view_set *set)
{
    if (!set)
        return;
    if (set->listening)
        journal_unlisten(set->options.journal, &set->listener);
    stop_threads(set);
    for (size_t i = 0; i < set->view_count; i++)
        view_deinit(&set->views[i]);
    for (size_t i = 0; set->targets && i < set->view_count + set->query_count; i++)
        query_free(set->targets[i].query);
    free(set->targets);
    free(set->views);
    free(set->folder);
    os_cond_deinit(&set->moved);
    os_cond_deinit(&set->asked);
    os_cond_deinit(&set->asked_spare);
    os_cond_deinit(&set->asked_history);
    os_mutex_deinit(&set->mutex);
    free(set);
}
