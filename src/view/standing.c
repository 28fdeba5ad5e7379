/* How views stand, and what is ordered of them. */
#include <stdio.h>
#include <sys/stat.h>

#include "os/clock.h"
#include "os/file.h"
#include "view/set.h"

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
    if (view->current->damaged && !view->next_failed && !view->stalled)
        return VIEW_REBUILDING;
    if (view->failed || view->next_failed)
        return VIEW_FAILED;
    if (view->stalled || journal_is_incomplete(view->set->options.journal))
        return VIEW_STALLED;
    if (view->next || view->rebuild_asked)
        return VIEW_REBUILDING;
    return lag > LIVE_LAG ? VIEW_CATCHING_UP : VIEW_LIVE;
}

static uint64_t wal_size_of(const char *path)
{
    char name[OS_PATH_SIZE_MAX];
    struct stat stat_now;
    if ((size_t)snprintf(name, sizeof(name), "%s-wal", path) >= sizeof(name) || stat(name, &stat_now) < 0)
        return 0;
    return (uint64_t)stat_now.st_size;
}

/* All but the size of files, which is not looked at under the mutex; their paths. */
static void copy_status(struct view_set *set, size_t index, struct view_status *ret_status,
                        char paths[2][OS_PATH_SIZE_MAX])
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
    (void)snprintf(ret_status->error, sizeof(ret_status->error), "%s",
                   view->error[0] == '\0' && journal_is_incomplete(set->options.journal)
                       ? "the journal is damaged before its end"
                       : view->error);
    (void)snprintf(paths[0], OS_PATH_SIZE_MAX, "%s", current->path);
    (void)snprintf(paths[1], OS_PATH_SIZE_MAX, "%s", next ? next->path : "");
}

void view_set_status(struct view_set *set, size_t index, struct view_status *ret_status)
{
    char paths[2][OS_PATH_SIZE_MAX];
    copy_status(set, index, ret_status, paths);
    for (int i = 0; i < 2; i++)
        ret_status->wal_size += paths[i][0] != '\0' ? wal_size_of(paths[i]) : 0;
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
    if (!view->next || view->next_failed)
        view->rebuild_asked = true;
    os_cond_broadcast(&set->moved);
    return 0;
}

static bool handles(const struct view *view, const struct bytes *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (definition_handles(view->definition, types[i]) ||
            definition_handles(view->current->definition, types[i]))
            return true;
    return false;
}

void view_set_forget(struct view_set *set, const struct bytes *types, size_t count)
{
    _os_locked_(&set->mutex);
    for (size_t i = 0; i < set->view_count; i++) {
        struct view *view = &set->views[i];
        if (!handles(view, types, count))
            continue;
        view->forgets++;
        view->rebuild_asked = true;
    }
    set->historian.stale = true;
    os_cond_broadcast(&set->asked_history);
    os_cond_broadcast(&set->moved);
}

bool view_set_reads(struct view_set *set, size_t index, const struct bytes *types, size_t count)
{
    _os_locked_(&set->mutex);
    return handles(&set->views[index], types, count);
}

static bool is_clean(const struct view *view)
{
    return view->current->forgets == view->forgets;
}

bool view_set_has_forgotten(struct view_set *set, size_t index)
{
    _os_locked_(&set->mutex);
    return is_clean(&set->views[index]);
}

static bool all_clean(const struct view_set *set)
{
    bool clean = !set->historian.stale;
    for (size_t i = 0; clean && i < set->view_count; i++)
        clean = is_clean(&set->views[i]);
    for (size_t i = 0; clean && i < set->worker_count; i++)
        clean = !set->workers[i].stale;
    return clean;
}

int view_set_wait_forgotten(struct view_set *set, uint32_t timeout_ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + timeout_ms * OS_NS_PER_MS;
    _os_locked_(&set->mutex);
    while (!all_clean(set)) {
        if (set->closing)
            return VIEW_E_CLOSING;
        if (!os_cond_wait_until(&set->moved, &set->mutex, deadline_ns))
            return all_clean(set) ? 0 : -ETIMEDOUT;
    }
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

static bool needs(const struct definition *definition, struct bytes type, bool compacted)
{
    return definition_handles(definition, type) && !(compacted && definition_compacts(definition));
}

const char *view_set_handles(struct view_set *set, struct bytes type, bool compacted)
{
    const char *name = NULL;
    os_mutex_lock(&set->mutex);
    for (size_t i = 0; !name && i < set->view_count; i++) {
        const struct view *view = &set->views[i];
        if (needs(view->definition, type, compacted) || needs(view->current->definition, type, compacted))
            name = view->definition->name;
    }
    os_mutex_unlock(&set->mutex);
    return name;
}
