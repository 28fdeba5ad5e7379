/* The application folder: every definition and query is read, and tried on empty stores in memory, before any store on the
 * disk is touched; so that what is wrong with a file is said at the start, with its line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/file.h"
#include "view/set.h"

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

struct view *find_view(struct view_set *set, struct bytes name)
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

int load_application(struct view_set *set, char *ret_error)
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
