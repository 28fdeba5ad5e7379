#include "view/set.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/clock.h"
#include "os/file.h"

/* --- the application folder ----------------------------------------------------------------------------------------------------------- */

struct files {
    char *names[VIEW_COUNT_MAX];
    size_t count;
};

static void files_deinit(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->names[i]);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The *.sql files of a folder, in the order of their names; a folder that is not there has none. */
static int list_sql(const char *folder, struct files *files, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    int r = os_file_real()->list(os_file_real(), folder, &names);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (size_t at = 0; at < names.size; at += strlen((const char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        size_t size = strlen(name);
        if (size < 5 || name[0] == '.' || strcmp(name + size - 4, ".sql") != 0)
            continue;
        if (files->count == VIEW_COUNT_MAX) {
            (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s holds more than %d files", folder, VIEW_COUNT_MAX);
            return VIEW_E_INVALID;
        }
        files->names[files->count] = strdup(name);
        if (!files->names[files->count])
            return -ENOMEM;
        files->count++;
    }
    qsort(files->names, files->count, sizeof(char *), compare_names);
    return 0;
}

static int load_definition(const struct view_set *set, enum definition_kind kind, const char *name,
                           struct definition **ret_definition, char *ret_error)
{
    char file[OS_PATH_SIZE_MAX], path[OS_PATH_SIZE_MAX];
    _cleanup_(buffer_deinit) struct buffer text = {.size_max = 2 * VIEW_FILE_SIZE_MAX};
    int r = os_path(file, kind == DEFINITION_VIEW ? "views" : "queries", name);
    if (r == 0)
        r = os_path(path, set->options.app_folder, file);
    if (r == 0)
        r = os_file_read_whole(os_file_real(), path, &text);
    if (r < 0) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%.300s: %.100s", file,
                       r == -E2BIG ? "the file is too large for an SQL file" : strerror(-r));
        return r == -E2BIG ? VIEW_E_INVALID : r;
    }
    r = definition_parse(kind, file, buffer_bytes(&text), ret_definition, ret_error);
    return r > 0 ? VIEW_E_INVALID : r;
}

static int load_views(struct view_set *set, char *ret_error)
{
    char folder[OS_PATH_SIZE_MAX];
    _cleanup_(files_deinit) struct files files = {.count = 0};
    int r = os_path(folder, set->options.app_folder, "views");
    if (r == 0)
        r = list_sql(folder, &files, ret_error);
    if (r != 0)
        return r;
    set->views = calloc(files.count + 1, sizeof(struct view));
    if (!set->views)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < files.count; i++) {
        struct view *view = &set->views[set->view_count++];
        view->set = set;
        r = load_definition(set, DEFINITION_VIEW, files.names[i], &view->definition, ret_error);
    }
    return r;
}

/* --- checking everything before anything is touched -------------------------------------------------------------------------------------- */

/* Empty stores in memory, one a view, that definitions and queries are tried on. */
struct trial {
    struct store *stores[VIEW_COUNT_MAX];
    char paths[VIEW_COUNT_MAX][VIEW_NAME_SIZE_MAX + 64];
    size_t count;
};

static void trial_deinit(struct trial *trial)
{
    for (size_t i = 0; i < trial->count; i++)
        store_close(trial->stores[i]);
}

static int try_view(struct view_set *set, const struct view *view, struct trial *trial, char *ret_error)
{
    char *path = trial->paths[trial->count];
    (void)snprintf(path, sizeof(trial->paths[0]), "file:trial-%p-%s?mode=memory&cache=shared", (void *)set,
                   view->definition->name);
    struct store_options options = {.path = path, .scratch = true, .stop = &set->stop};
    int r = store_open(&options, view->definition, (struct journal_id){0}, &trial->stores[trial->count],
                       ret_error);
    trial->count += r == 0;
    return r > 0 ? VIEW_E_INVALID : r;
}

static struct view *find_view(struct view_set *set, struct bytes name)
{
    for (size_t i = 0; i < set->view_count; i++) {
        if (bytes_equal_string(name, set->views[i].definition->name))
            return &set->views[i];
    }
    return NULL;
}

/* The views a query uses, as a target and as parts of a reader over the trial's stores. */
static int find_uses(struct view_set *set, const struct definition *definition, const struct trial *trial,
                     struct target *target, struct reader_part *parts, char *ret_error)
{
    for (size_t i = 0; i < definition->use_count; i++) {
        struct view *view = find_view(set, definition->uses[i]);
        if (!view) {
            (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s: there is no view named %.*s to use",
                           definition->file, BYTES_PRINT(definition->uses[i]));
            return VIEW_E_INVALID;
        }
        target->views[target->view_count++] = view;
        parts[i] =
            (struct reader_part){.view = view->definition->name, .path = trial->paths[view - set->views]};
    }
    return 0;
}

static int try_query(struct view_set *set, const char *name, const struct trial *trial, struct target *target,
                     char *ret_error)
{
    _cleanup_(definition_freep) struct definition *definition = NULL;
    struct reader_part parts[VIEW_QUERY_USES_MAX];
    struct reader *reader = NULL;
    int r = load_definition(set, DEFINITION_QUERY, name, &definition, ret_error);
    if (r == 0)
        r = find_uses(set, definition, trial, target, parts, ret_error);
    if (r == 0)
        r = reader_open(parts, target->view_count, true, &set->stop, &reader, ret_error);
    if (r == 0)
        r = query_new(reader, definition, &target->query, ret_error);
    if (r == 0)
        definition = NULL; /* the query's now */
    reader_close(reader);
    return r > 0 ? VIEW_E_INVALID : r;
}

static int load_queries(struct view_set *set, const struct trial *trial, char *ret_error)
{
    char folder[OS_PATH_SIZE_MAX];
    _cleanup_(files_deinit) struct files files = {.count = 0};
    int r = os_path(folder, set->options.app_folder, "queries");
    if (r == 0)
        r = list_sql(folder, &files, ret_error);
    if (r != 0)
        return r;
    set->targets = calloc(set->view_count + files.count + 1, sizeof(struct target));
    if (!set->targets)
        return -ENOMEM;
    for (size_t i = 0; i < set->view_count; i++)
        set->targets[i] = (struct target){.views = {&set->views[i]}, .view_count = 1};
    for (size_t i = 0; r == 0 && i < files.count; i++) {
        r = try_query(set, files.names[i], trial, &set->targets[set->view_count + i], ret_error);
        set->query_count += r == 0;
    }
    return r;
}

static int load_application(struct view_set *set, char *ret_error)
{
    if (!set->options.app_folder)
        return 0;
    _cleanup_(freep) struct trial *trial = calloc(1, sizeof(*trial));
    if (!trial)
        return -ENOMEM;
    int r = load_views(set, ret_error);
    for (size_t i = 0; r == 0 && i < set->view_count; i++)
        r = try_view(set, &set->views[i], trial, ret_error);
    if (r == 0)
        r = load_queries(set, trial, ret_error);
    trial_deinit(trial);
    return r;
}

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

static int make_folder(struct view_set *set)
{
    char folder[OS_PATH_SIZE_MAX];
    int r = os_path(folder, set->options.data_folder, "views");
    if (r == 0)
        r = os_file_real()->make_folder(os_file_real(), folder);
    if (r < 0)
        return r;
    set->folder = strdup(folder);
    return set->folder ? scratch_clear(set) : -ENOMEM;
}

static int start_threads(struct view_set *set)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < set->view_count; i++)
        r = os_thread_start(&set->views[i].thread, set->views[i].definition->name, projector_run,
                            &set->views[i]);
    for (size_t i = 0; r == 0 && i < set->worker_count; i++) {
        set->workers[i].set = set;
        r = os_thread_start(&set->workers[i].thread, "ask", worker_run, &set->workers[i]);
    }
    set->historian.set = set;
    return r == 0 ? os_thread_start(&set->historian.thread, "historian", historian_run, &set->historian) : r;
}

static pthread_once_t sqlite_once = PTHREAD_ONCE_INIT;

/* SQLite's memory statistics put a lock of the whole process around every malloc(); nobody reads them. Refused, without
 * harm, when the process has used SQLite before. */
static void configure_sqlite(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static uint32_t lower(uint32_t asked, uint32_t limit)
{
    return asked == 0 || asked > limit ? limit : asked;
}

static void take_options(struct view_set *set, const struct view_options *options)
{
    set->options = *options;
    set->worker_count = options->worker_count == 0 ? 2 : options->worker_count;
    if (set->worker_count > WORKER_COUNT_MAX)
        set->worker_count = WORKER_COUNT_MAX;
    set->options.time_ms_max = lower(options->time_ms_max, VIEW_TIME_MS_MAX);
    set->options.history_ms_max = lower(options->history_ms_max, VIEW_HISTORY_MS_MAX);
    set->options.apply_ms_max = lower(options->apply_ms_max, VIEW_APPLY_MS_MAX);
    if (options->answer_size_max == 0 || options->answer_size_max > VIEW_ANSWER_SIZE_MAX)
        set->options.answer_size_max = VIEW_ANSWER_SIZE_MAX;
    os_mutex_init(&set->mutex);
    os_cond_init(&set->moved);
    os_cond_init(&set->asked);
    os_cond_init(&set->asked_history);
}

int view_set_open(const struct view_options *options, struct view_set **ret_set, char *ret_error)
{
    char error[VIEW_ERROR_SIZE] = "";
    struct view_set *set = calloc(1, sizeof(*set));
    if (!set)
        return -ENOMEM;
    (void)pthread_once(&sqlite_once, configure_sqlite);
    take_options(set, options);
    int r = load_application(set, error);
    if (r == 0)
        r = make_folder(set);
    for (size_t i = 0; r == 0 && i < set->view_count; i++)
        r = generations_open(&set->views[i], error);
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
    os_cond_broadcast(&set->asked_history);
    os_mutex_unlock(&set->mutex);
    for (size_t i = 0; i < set->worker_count; i++)
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
    os_cond_deinit(&set->asked_history);
    os_mutex_deinit(&set->mutex);
    free(set);
}

/* --- standing ------------------------------------------------------------------------------------------------------------------------------- */

const char *view_state_name(enum view_state state)
{
    static const char *const names[] = {
        [VIEW_CATCHING_UP] = "catching_up", [VIEW_LIVE] = "live",     [VIEW_REBUILDING] = "rebuilding",
        [VIEW_STALLED] = "stalled",         [VIEW_FAILED] = "failed",
    };
    return names[state];
}

const char *view_format_media_type(enum view_format format)
{
    static const char *const types[] = {
        [VIEW_JSON] = "application/json",
        [VIEW_CSV] = "text/csv; charset=utf-8",
        [VIEW_NDJSON] = "application/x-ndjson",
    };
    return types[format];
}

size_t view_set_count(const struct view_set *set)
{
    return set->view_count;
}

/* Events a live view may be behind without being called behind: those of one moment. */
#define LIVE_LAG 1000

static enum view_state state_of(const struct view *view, uint64_t lag)
{
    if (view->failed || (view->next && view->next->failed))
        return VIEW_FAILED;
    if (view->stalled)
        return VIEW_STALLED;
    if (view->next || view->rebuild_asked)
        return VIEW_REBUILDING;
    return lag > LIVE_LAG ? VIEW_CATCHING_UP : VIEW_LIVE;
}

void view_set_status(struct view_set *set, size_t index, struct view_status *ret_status)
{
    const struct view *view = &set->views[index];
    uint64_t head = journal_head(set->options.journal);
    _os_locked_(&set->mutex);
    const struct generation *current = view->current, *next = view->next;
    uint64_t lag = head > current->reached ? head - current->reached : 0;
    const struct generation *moving = next ? next : current;
    *ret_status = (struct view_status){
        .version = current->definition->version,
        .generation = current->number,
        .state = state_of(view, lag),
        .position = current->reached,
        .lag = lag,
        .events = view->events,
        .batches = view->batches,
        .rebuild_version = next ? next->definition->version : 0,
        .rebuild_position = next ? next->reached : 0,
        .progress = moving->reached >= head ? 1.0 : (double)moving->reached / (double)head,
        .error_position = view->error_position,
    };
    (void)snprintf(ret_status->name, sizeof(ret_status->name), "%s", view->definition->name);
    (void)snprintf(ret_status->error, sizeof(ret_status->error), "%s", view->error);
}

void view_set_counters(struct view_set *set, struct view_counters *ret_counters)
{
    _os_locked_(&set->mutex);
    *ret_counters = set->counters;
    ret_counters->waiting = set->request_count;
}

uint64_t view_set_position(struct view_set *set)
{
    uint64_t position = journal_head(set->options.journal);
    _os_locked_(&set->mutex);
    for (size_t i = 0; i < set->view_count; i++) {
        const struct view *view = &set->views[i];
        if (!view->failed && view->current->reached < position)
            position = view->current->reached;
    }
    return position;
}

static bool all_reached(const struct view_set *set, uint64_t position)
{
    for (size_t i = 0; i < set->view_count; i++) {
        if (!set->views[i].failed && set->views[i].current->reached < position)
            return false;
    }
    return true;
}

int view_set_wait(struct view_set *set, uint64_t position, uint32_t timeout_ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    _os_locked_(&set->mutex);
    while (!all_reached(set, position)) {
        if (!os_cond_wait_until(&set->moved, &set->mutex, deadline_ns))
            return all_reached(set, position) ? 0 : -ETIMEDOUT;
    }
    return 0;
}

int view_rebuild(struct view_set *set, struct bytes name)
{
    struct view *view = find_view(set, name);
    if (!view)
        return VIEW_E_UNKNOWN;
    _os_locked_(&set->mutex);
    if (!view->next || view->next->failed)
        view->rebuild_asked = true;
    os_cond_broadcast(&set->moved);
    return 0;
}

size_t view_query_count(const struct view_set *set)
{
    return set->query_count;
}

void view_query_describe(const struct view_set *set, size_t index, const char **ret_name,
                         const char **ret_parameters)
{
    const struct query *query = set->targets[set->view_count + index].query;
    *ret_name = query->definition->name;
    *ret_parameters = query->params_text;
}
