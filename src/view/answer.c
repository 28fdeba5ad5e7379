#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "view/carry.h"
#include "view/page_check.h"
#include "view/set.h"

/* --- binding -------------------------------------------------------------------------------------------------------------------------- */

static int bind_value(sqlite3_stmt *statement, int index, const struct grammar_value *value,
                      struct bytes text)
{
    switch (value->type) {
    case GRAMMAR_INTEGER: return sqlite3_bind_int64(statement, index, value->integer);
    case GRAMMAR_REAL: return sqlite3_bind_double(statement, index, value->real);
    case GRAMMAR_TEXT: break;
    }
    _cleanup_(buffer_deinit) struct buffer room = {0};
    struct bytes carried;
    if (carry_text(text, &room, &carried) < 0)
        return SQLITE_NOMEM;
    return sqlite3_bind_text64(statement, index, carried.data ? (const char *)carried.data : "", carried.size,
                               room.size > 0 ? SQLITE_TRANSIENT : SQLITE_STATIC, SQLITE_UTF8);
}

static int bind_plan(void *user, sqlite3_stmt *statement, bool counting)
{
    const struct grammar_plan *plan = (const struct grammar_plan *)user;
    int code = SQLITE_OK;
    for (size_t i = 0; code == SQLITE_OK && i < plan->value_count; i++) {
        const struct grammar_value *value = &plan->values[i];
        code = bind_value(statement, (int)i + 1, value,
                          bytes_slice(buffer_bytes(&plan->texts), value->text_offset, value->text_size));
    }
    if (code == SQLITE_OK && !counting)
        code = sqlite3_bind_int64(statement, (int)plan->value_count + 1, (sqlite3_int64)plan->limit);
    if (code == SQLITE_OK && !counting)
        code = sqlite3_bind_int64(statement, (int)plan->value_count + 2, (sqlite3_int64)plan->offset);
    return code;
}

struct query_values {
    const struct query *query;
    struct grammar_value *values;
    struct bytes *texts;
};

static int bind_query(void *user, sqlite3_stmt *statement, bool counting)
{
    const struct query_values *bound = (const struct query_values *)user;
    int code = SQLITE_OK;
    (void)counting;
    for (size_t i = 0; code == SQLITE_OK && i < bound->query->param_count; i++)
        code = bind_value(statement, bound->query->params[i].index, &bound->values[i], bound->texts[i]);
    return code;
}

/* --- running -------------------------------------------------------------------------------------------------------------------------- */

static void take_error(struct view_answer *answer, const struct grammar_error *error)
{
    answer->answer = error->answer;
    memcpy(answer->parameter, error->parameter, sizeof(answer->parameter));
    memcpy(answer->detail, error->detail, sizeof(answer->detail));
}

/* Run it; `offset`: how many rows come before those shown. */
static void run(struct reader *reader, struct reader_question *question, const struct target *target,
                const struct view_request *request, uint64_t offset, uint64_t *ret_positions,
                struct view_answer *answer)
{
    const struct view_set *set = target->views[0]->set;
    question->total = request->count_exact;
    question->format = request->format;
    question->folder = set->folder;
    question->time_ms = set->options.time_ms_max;
    question->size_max = set->options.answer_size_max;
    question->memory_max = set->options.answer_memory ? set->options.answer_memory(set->options.user)
                                                      : VIEW_ANSWER_MEMORY_MAX;
    answer->answer = reader_run(reader, question, ret_positions, answer);
    answer->offset = offset;
    if (answer->answer == VIEW_E_TIMEOUT)
        answer_refuse(answer, VIEW_E_TIMEOUT, "the question took longer than %u ms", question->time_ms);
    if (answer->answer < 0 && answer->detail[0] == '\0')
        answer_refuse(answer, answer->answer, "%s", strerror(-answer->answer));
    if (answer->answer == 0 && answer->has_total && offset > answer->total) {
        view_answer_deinit(answer);
        answer_refuse(answer, VIEW_E_RANGE, "row %llu was asked for, and there are %llu",
                      (unsigned long long)offset, (unsigned long long)answer->total);
    }
}

static void answer_view(struct reader *reader, const struct target *target, const struct relation *relation,
                        const struct view_request *request, uint64_t *ret_positions,
                        struct view_answer *answer)
{
    struct grammar_plan plan = {0};
    struct grammar_error error = {0};
    int r = grammar_compile(relation, request->parameters, request->parameter_count, request->range, &plan,
                            &error);
    if (r < 0)
        answer_refuse(answer, r, "%s", strerror(-r));
    if (r > 0)
        take_error(answer, &error);
    if (r != 0)
        return;
    struct reader_question question = {
        .sql = buffer_bytes(&plan.rows_sql),
        .count_sql = buffer_bytes(&plan.count_sql),
        .bind = bind_plan,
        .user = &plan,
        .take = VIEW_ROW_COUNT_MAX,
    };
    run(reader, &question, target, request, plan.offset, ret_positions, answer);
    grammar_plan_deinit(&plan);
}

static void answer_query(struct reader *reader, const struct target *target,
                         const struct view_request *request, uint64_t *ret_positions,
                         struct view_answer *answer)
{
    const struct query *query = target->query;
    _cleanup_(freep) struct grammar_value *values = calloc(query->param_count + 1, sizeof(*values));
    _cleanup_(freep) struct bytes *texts = calloc(query->param_count + 1, sizeof(*texts));
    struct grammar_error error = {0};
    struct grammar_window window;
    if (!values || !texts) {
        answer_refuse(answer, -ENOMEM, "no memory");
        return;
    }
    int r = query_take_values(query, request->parameters, request->parameter_count, values, texts, &error);
    if (r == 0)
        r = grammar_window(request->parameters, request->parameter_count, request->range, VIEW_ROW_COUNT_MAX,
                           &window, &error);
    if (r != 0) {
        take_error(answer, &error);
        return;
    }
    struct query_values bound = {.query = query, .values = values, .texts = texts};
    struct reader_question question = {
        .sql = query->definition->select.sql,
        .bind = bind_query,
        .user = &bound,
        .skip = window.offset,
        .take = window.limit,
    };
    run(reader, &question, target, request, window.offset, ret_positions, answer);
}

void answer_from(struct reader *reader, const struct target *target, const struct relation *relation,
                 const struct view_request *request, uint64_t *ret_positions, struct view_answer *answer)
{
    if (target->query)
        answer_query(reader, target, request, ret_positions, answer);
    else
        answer_view(reader, target, relation, request, ret_positions, answer);
}

/* --- a worker's connections ---------------------------------------------------------------------------------------------------------- */

void worker_forget(struct worker *worker)
{
    for (size_t i = 0; i < WORKER_READER_COUNT_MAX; i++) {
        reader_close(worker->readers[i].reader);
        worker->readers[i].reader = NULL;
        worker->readers[i].target = NULL;
    }
}

int worker_reader(struct worker *worker, const struct target *target, const struct reader_part *parts,
                  struct reader **ret_reader, char *ret_error)
{
    size_t place = 0;
    for (size_t i = 0; i < WORKER_READER_COUNT_MAX; i++) {
        if (worker->readers[i].target == target) {
            place = i;
            break;
        }
        if (worker->readers[i].used < worker->readers[place].used)
            place = i;
    }
    worker->readers[place].used = ++worker->question_count;
    struct reader *reader = worker->readers[place].reader;
    if (reader && worker->readers[place].target == target &&
        reader_is_over(reader, parts, target->view_count)) {
        *ret_reader = reader;
        return 0;
    }
    reader_close(reader);
    worker->readers[place].reader = NULL;
    worker->readers[place].target = NULL;
    int r =
        reader_open(parts, target->view_count, target->query != NULL, &worker->set->stop, &reader, ret_error);
    if (r != 0)
        return r;
    worker->readers[place].reader = *ret_reader = reader;
    worker->readers[place].target = target;
    return 0;
}

/* --- the present ----------------------------------------------------------------------------------------------------------------------- */

/* The stores as they are now, each held so that it outlives the question, and how far each had come at this moment. */
struct held {
    struct generation *generations[VIEW_QUERY_USES_MAX];
    uint64_t committed[VIEW_QUERY_USES_MAX], reached[VIEW_QUERY_USES_MAX];
};

static void hold(struct view_set *set, const struct target *target, struct held *held,
                 struct reader_part *parts)
{
    _os_locked_(&set->mutex);
    for (size_t i = 0; i < target->view_count; i++) {
        struct generation *g = target->views[i]->current;
        g->refs++;
        held->generations[i] = g;
        held->committed[i] = g->committed;
        held->reached[i] = g->reached;
        parts[i] = (struct reader_part){
            .view = target->views[i]->definition->name, .path = g->path, .generation = g->number};
    }
}

static void let_go(struct view_set *set, const struct target *target, struct held *held)
{
    for (size_t i = 0; i < target->view_count; i++)
        generation_unref(set, held->generations[i]);
}

/* V2: what was read is the store as committed at `seen`. If that was the newest commit before or after the reading, the rows
 * are also those of every position passed over since: the projector had found nothing there to apply. */
static uint64_t position_shown(const struct generation *g, uint64_t seen, uint64_t committed_before,
                               uint64_t reached_before)
{
    uint64_t position = seen;
    if (seen == committed_before && reached_before > position)
        position = reached_before;
    if (seen == g->committed && g->reached > position)
        position = g->reached;
    return position;
}

static uint64_t lowest_position(struct view_set *set, const struct target *target, const struct held *held,
                                const uint64_t *seen)
{
    _os_locked_(&set->mutex);
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < target->view_count; i++) {
        uint64_t position =
            position_shown(held->generations[i], seen[i], held->committed[i], held->reached[i]);
        if (position < lowest)
            lowest = position;
    }
    return lowest;
}

static bool is_named(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, name) == 0;
}

/* A page did not hold: its store is built anew by itself, and who asked is to ask again. All that were read, if nobody knows whose
 * page it was. */
static void answer_damaged(const struct target *target, const struct held *held, struct view_answer *answer)
{
    char name[OS_PATH_SIZE_MAX], what[VIEW_ERROR_SIZE];
    const char *path = page_check_damage()->path, *slash = strrchr(path, '/');
    bool known = false;
    (void)snprintf(name, sizeof(name), "%s", slash ? slash + 1 : path);
    store_say_damage(what, answer->detail);
    for (size_t i = 0; i < target->view_count; i++)
        known = known || is_named(held->generations[i]->path, name);
    for (size_t i = 0; i < target->view_count; i++)
        if (!known || is_named(held->generations[i]->path, name))
            generation_damaged(target->views[i], held->generations[i], what);
    view_answer_deinit(answer);
    answer_refuse(answer, VIEW_E_REBUILDING, "the view is being rebuilt: %.300s", what);
}

/* A store may be swapped and deleted between looking it up and opening it: then there is a newer one. */
enum { GONE_TRY_COUNT = 5 };

void answer_present(struct worker *worker, struct view_request *request, struct view_answer *answer)
{
    struct view_set *set = worker->set;
    const struct target *target = (const struct target *)request->own.target;
    int r = -ESTALE;
    for (int tries = 0; r == -ESTALE && tries < GONE_TRY_COUNT; tries++) {
        struct held held;
        struct reader_part parts[VIEW_QUERY_USES_MAX];
        uint64_t seen[VIEW_QUERY_USES_MAX] = {0};
        struct reader *reader = NULL;
        hold(set, target, &held, parts);
        page_check_forget();
        r = worker_reader(worker, target, parts, &reader, answer->detail);
        if (r == 0) {
            answer_from(reader, target, held.generations[0]->relation, request, seen, answer);
            r = answer->answer;
            if (r == 0)
                answer->position = lowest_position(set, target, &held, seen);
        }
        if (r == READER_E_DAMAGED)
            answer_damaged(target, &held, answer);
        let_go(set, target, &held);
    }
    if (r < 0 && answer->answer == 0)
        answer->answer = r;
}
