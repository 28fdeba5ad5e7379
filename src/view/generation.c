/* On the disk, in data/views:
 *
 *     VIEW@7.db, -wal, -shm   a store, generation 7
 *     VIEW.current            "7": the one that answers, replaced as a whole
 *
 * Deleting any of it at any time only costs a rebuild. At opening the store that answers is checked against the journal and
 * the definition. It may be of an older definition: then it goes on by that one, which it carries in itself, while the new
 * one is built. A store with a higher number than the pointer's was being built when the process ended, and is gone on with
 * if it still fits.
 *
 * Where none can be opened or made because there is no room, a generation without a store stands in (`absent`), and all of this
 * is done again later.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "os/file.h"
#include "view/set.h"

/* --- names ---------------------------------------------------------------------------------------------------------------------- */

static char *path_of(const struct view *view, uint64_t number)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s@%llu.db", view->set->folder, view->definition->name,
                    (unsigned long long)number) < 0
               ? NULL
               : path;
}

static void pointer_name(const struct view *view, char name[VIEW_NAME_SIZE_MAX + 16])
{
    (void)snprintf(name, VIEW_NAME_SIZE_MAX + 16, "%s.current", view->definition->name);
}

void files_delete(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char name[OS_PATH_SIZE_MAX];
        if ((size_t)snprintf(name, sizeof(name), "%s%s", path, endings[i]) < sizeof(name))
            (void)os_file_real()->remove(os_file_real(), name);
    }
}

/* The number in "VIEW@NUMBER.db"; 0: another file. */
static uint64_t number_of(const struct view *view, const char *file)
{
    struct bytes name = bytes_from_string(file), prefix = bytes_from_string(view->definition->name);
    uint64_t number = 0;
    if (!bytes_starts_with(name, prefix) || name.size < prefix.size + 5 || name.data[prefix.size] != '@' ||
        memcmp(name.data + name.size - 3, ".db", 3) != 0)
        return 0;
    struct bytes digits = bytes_slice(name, prefix.size + 1, name.size - prefix.size - 4);
    return bytes_parse_u64(digits, &number) == 0 ? number : 0;
}

/* Which store answers; 0: none is named. */
static uint64_t read_pointer(const struct view *view)
{
    char name[VIEW_NAME_SIZE_MAX + 16], path[OS_PATH_SIZE_MAX];
    _cleanup_(buffer_deinit) struct buffer text = {0};
    uint64_t number = 0;
    pointer_name(view, name);
    if (os_path(path, view->set->folder, name) < 0 || os_file_read_whole(os_file_real(), path, &text) < 0)
        return 0;
    struct bytes digits = buffer_bytes(&text);
    if (digits.size > 0 && digits.data[digits.size - 1] == '\n')
        digits.size--;
    return bytes_parse_u64(digits, &number) == 0 ? number : 0;
}

int generation_point(struct view *view, const struct generation *generation)
{
    char name[VIEW_NAME_SIZE_MAX + 16], text[32];
    pointer_name(view, name);
    int size = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)generation->number);
    return os_file_replace(os_file_real(), view->set->folder, name, bytes_make(text, (size_t)size));
}

/* --- life ----------------------------------------------------------------------------------------------------------------------- */

static struct generation *generation_new(struct view *view, uint64_t number)
{
    struct generation *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    *g = (struct generation){.refs = 1,
                             .number = number,
                             .path = path_of(view, number),
                             .definition = view->definition,
                             .until = UINT64_MAX};
    if (!g->path) {
        free(g);
        return NULL;
    }
    return g;
}

void generation_close(struct generation *g)
{
    journal_reader_free(take_ptr(g->reader));
    store_close(take_ptr(g->store));
}

static void generation_free(struct generation *g)
{
    generation_close(g);
    relation_free(g->relation);
    if (g->definition_owned)
        definition_free(g->definition);
    free(g->path);
    free(g);
}

void generation_unref(struct view_set *set, struct generation *g)
{
    os_mutex_lock(&set->mutex);
    assert(g->refs > 0);
    bool last = --g->refs == 0;
    os_mutex_unlock(&set->mutex);
    if (last)
        generation_free(g);
}

void generation_discard(struct view *view, struct generation *g)
{
    generation_close(g);
    files_delete(g->path);
    generation_unref(view->set, g);
}

void view_notice(struct view *view, enum view_notice_kind kind, char *ret_sentence, const char *format, ...)
{
    char sentence[VIEW_ERROR_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    if (view->set->options.on_notice)
        view->set->options.on_notice(view->set->options.user, kind, view->definition->name, sentence);
    if (ret_sentence)
        (void)snprintf(ret_sentence, VIEW_ERROR_SIZE, "%s", sentence);
}

void generation_damaged(struct view *view, struct generation *g, const char *what)
{
    struct view_set *set = view->set;
    if (atomic_exchange(&g->damaged, true))
        return;
    char sentence[VIEW_ERROR_SIZE];
    view_notice(view, VIEW_NOTICE_DISCARDED, sentence, "generation %llu is thrown away and built anew: %.300s",
                (unsigned long long)g->number, what);
    os_mutex_lock(&set->mutex);
    if (g == view->current || g == view->next) {
        (void)snprintf(view->error, sizeof(view->error), "%s", sentence);
        view->rebuild_asked = true;
    }
    ask_moved(set);
    os_cond_broadcast(&set->moved);
    os_mutex_unlock(&set->mutex);
}

/* --- making and taking up --------------------------------------------------------------------------------------------------------- */

/* The store at g->path: opened, or made. */
static int open_store(struct view *view, struct generation *g, char *ret_error)
{
    struct store_options options = {
        .path = g->path, .apply_ms_max = view->set->options.apply_ms_max, .stop = &view->set->stop};
    int r = store_open(&options, g->definition, journal_id(view->set->options.journal), &g->store, ret_error);
    if (r != 0)
        return r;
    g->relation = store_take_relation(g->store);
    g->committed = g->reached = store_state(g->store)->position;
    return 0;
}

int generation_make(struct view *view, struct generation **ret_generation, char *ret_error)
{
    struct generation *g = generation_new(view, view->number_last + 1);
    if (!g)
        return -ENOMEM;
    files_delete(g->path);
    int r = open_store(view, g, ret_error);
    if (r != 0) {
        generation_discard(view, g);
        return r;
    }
    view->number_last++;
    *ret_generation = g;
    return 0;
}

/* P8: whether the rows are of this journal: same id, and the same chain at the position they stand at. */
static bool is_of_journal(struct view *view, const struct store_state *state)
{
    struct journal *journal = view->set->options.journal;
    struct journal_id id = journal_id(journal);
    struct log_chain chain;
    if (memcmp(id.bytes, state->journal.bytes, sizeof(id.bytes)) != 0)
        return false;
    if (state->position > journal_head(journal))
        return journal_is_incomplete(journal); /* nothing is answered from it then, and it is kept for when the journal is put back */
    return journal_chain_at(journal, state->position, &chain) == 0 &&
           memcmp(chain.bytes, state->chain.bytes, sizeof(chain.bytes)) == 0;
}

/* The definition a store was built with, when it is not the present one. */
static int own_definition(struct generation *g, const struct view *view, const char *text, char *ret_error)
{
    struct definition *older = NULL;
    int r =
        definition_parse(DEFINITION_VIEW, view->definition->file, bytes_from_string(text), &older, ret_error);
    if (r != 0)
        return r;
    g->definition = older;
    g->definition_owned = true;
    return 0;
}

/* Take up the store with this number, if its rows can be trusted. 0; STORE_E_MISMATCH with a sentence: delete it; -ENOMEM. */
static int take_up(struct view *view, uint64_t number, struct generation **ret_generation, char *ret_error)
{
    struct generation *g = generation_new(view, number);
    if (!g)
        return -ENOMEM;
    struct store_state state;
    _cleanup_(freep) char *text = NULL;
    int r = store_peek(g->path, &state, &text, ret_error);
    if (r == 0 && !is_of_journal(view, &state)) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "its rows are not of this journal");
        r = STORE_E_MISMATCH;
    }
    if (r == 0 && !hash256_equal(state.definition, view->definition->hash))
        r = own_definition(g, view, text, ret_error);
    if (r == 0)
        r = open_store(view, g, ret_error);
    if (r != 0) {
        generation_unref(view->set, g);
        return r == -ENOMEM || r == STORE_E_NO_ROOM ? r : STORE_E_MISMATCH;
    }
    *ret_generation = g;
    return 0;
}

/* What is found of a view's stores, before others see it. */
struct opening {
    struct view *view;
    struct generation *current, *next;
    char *error; /* VIEW_ERROR_SIZE */
};

/* A view that never answered yet answers from the start, with what it has. */
static int make_first(struct opening *opening)
{
    struct generation *g = NULL;
    int r = generation_make(opening->view, &g, opening->error);
    if (r != 0)
        return r;
    r = generation_point(opening->view, g);
    if (r < 0)
        generation_discard(opening->view, g);
    else
        opening->current = g;
    return r;
}

static int open_current(struct opening *opening)
{
    struct view *view = opening->view;
    bool first = !view->current; /* what is tried again was said then */
    uint64_t number = read_pointer(view);
    if (number > view->number_last)
        view->number_last = number;
    if (number == 0 && view->number_last > 0 && first)
        view_notice(view, VIEW_NOTICE_DISCARDED, NULL,
                    "views/%s.current does not say which generation answers: it is built anew", view->definition->name);
    if (number == 0)
        return make_first(opening);
    int r = take_up(view, number, &opening->current, opening->error);
    if (r != STORE_E_MISMATCH)
        return r;
    if (first)
        view_notice(view, VIEW_NOTICE_DISCARDED, NULL,
                    "generation %llu was thrown away and is built anew: %.300s", (unsigned long long)number,
                    opening->error);
    return make_first(opening);
}

/* Go on with a store that was being built, or delete it. */
static int take_leftover(struct opening *opening, uint64_t number)
{
    struct view *view = opening->view;
    struct generation *g = NULL;
    if (opening->current->number == number)
        return 0;
    if (number > opening->current->number && !opening->next) {
        int r = take_up(view, number, &g, opening->error);
        if (r < 0 || r == STORE_E_NO_ROOM)
            return r;
        if (r == 0 && !g->definition_owned) {
            opening->next = g;
            return 0;
        }
    }
    if (g) {
        generation_discard(view, g);
    } else {
        _cleanup_(freep) char *path = path_of(view, number);
        if (!path)
            return -ENOMEM;
        files_delete(path);
    }
    return 0;
}

/* fn for each store's file of the view. */
static int each_file(struct opening *opening, const struct buffer *names,
                     int (*fn)(struct opening *opening, uint64_t number))
{
    for (size_t at = 0; at < names->size; at += strlen((const char *)names->data + at) + 1) {
        uint64_t number = number_of(opening->view, (const char *)names->data + at);
        int r = number > 0 ? fn(opening, number) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int note_number(struct opening *opening, uint64_t number)
{
    if (number > opening->view->number_last)
        opening->view->number_last = number;
    return 0;
}

/* From now on others see them, in place of what stood in. */
static void show(struct opening *opening)
{
    struct view *view = opening->view;
    struct generation *absent = view->current;
    os_mutex_lock(&view->set->mutex);
    view->current = take_ptr(opening->current);
    view->next = take_ptr(opening->next);
    if (view->current->definition_owned && !view->next)
        view->rebuild_asked = true;
    ask_moved(view->set);
    os_cond_broadcast(&view->set->moved);
    os_mutex_unlock(&view->set->mutex);
    if (absent)
        generation_unref(view->set, absent);
}

int generations_open(struct view *view, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer names = {0};
    struct opening opening = {.view = view, .error = ret_error};
    int r = views_folder_make(view->set);
    if (r == 0)
        r = os_file_real()->list(os_file_real(), view->set->folder, &names);
    if (r == 0)
        r = each_file(&opening, &names, note_number);
    if (r == 0)
        r = open_current(&opening);
    if (r == 0)
        r = each_file(&opening, &names, take_leftover);
    if (r == 0)
        show(&opening);
    if (opening.current)
        generation_unref(view->set, opening.current);
    if (opening.next)
        generation_unref(view->set, opening.next);
    return r;
}

/* --- without room --------------------------------------------------------------------------------------------------------------- */

bool is_want_of_room(int r)
{
    return r == STORE_E_NO_ROOM || r == -ENOSPC || r == -EDQUOT || r == -EFBIG;
}

int generation_stand_in(struct view *view, int r, const char *error)
{
    struct generation *g = generation_new(view, 0);
    _cleanup_(freep) char *path = path_of(view, view->number_last > 0 ? view->number_last : 1);
    if (!g || !path) {
        if (g)
            generation_free(g);
        return -ENOMEM;
    }
    g->absent = true;
    view->current = g;
    view->stalled = true;
    view_notice(view, VIEW_NOTICE_STALLED, view->error,
                "%.200s cannot be opened: %.150s; make room there: it is tried again every second", path,
                error[0] != '\0' ? error : strerror(r < 0 ? -r : ENOSPC));
    return 0;
}
