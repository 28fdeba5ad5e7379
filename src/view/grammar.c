#include <stdlib.h>

#include "base/cleanup.h"
#include "view/grammar_compiler.h"

static int write_statements(struct compiler *c, struct bytes select, bool ordered, struct bytes order)
{
    struct grammar_plan *plan = c->plan;
    _cleanup_(buffer_deinit) struct buffer columns = {0}, ordering = {0};
    int r = grammar_write_select(c, select, &columns);
    if (r == 0)
        r = grammar_write_order(c, ordered, order, &ordering);
    if (r != 0)
        return r;
    const char *name = c->relation->name;
    r = buffer_printf(&plan->rows_sql, "select %.*s from \"%s\".\"%s\"%.*s%.*s limit ?%zu offset ?%zu",
                      BYTES_PRINT(buffer_bytes(&columns)), name, name, BYTES_PRINT(buffer_bytes(&c->where)),
                      BYTES_PRINT(buffer_bytes(&ordering)), plan->value_count + 1, plan->value_count + 2);
    return r < 0 ? r
                 : buffer_printf(&plan->count_sql, "select count(*) from \"%s\".\"%s\"%.*s", name, name,
                                 BYTES_PRINT(buffer_bytes(&c->where)));
}

int grammar_compile(const struct relation *relation, const struct view_parameter *parameters, size_t count,
                    struct bytes range, struct grammar_plan *plan, struct grammar_error *error)
{
    struct compiler c = {.relation = relation, .plan = plan, .error = error};
    struct grammar_window window = {0};
    struct bytes select = BYTES_LITERAL("*"), order = {0};
    if (count > VIEW_PARAMETER_COUNT_MAX)
        return grammar_refuse(error, VIEW_E_PARAMETER, (struct bytes){0},
                              "a question has at most %d parameters", VIEW_PARAMETER_COUNT_MAX);
    int selected = grammar_find_once(parameters, count, "select", &select, error);
    int ordered = grammar_find_once(parameters, count, "order", &order, error);
    int r = selected < 0 || ordered < 0
                ? error->answer
                : grammar_window(parameters, count, range, VIEW_ROW_COUNT_DEFAULT, &window, error);
    if (r == 0)
        r = grammar_write_where(&c, parameters, count);
    if (r == 0)
        r = write_statements(&c, select, ordered > 0, order);
    buffer_deinit(&c.where);
    if (r != 0) {
        grammar_plan_deinit(plan);
        return r;
    }
    plan->limit = window.limit;
    plan->offset = window.offset;
    return 0;
}

void grammar_plan_deinit(struct grammar_plan *plan)
{
    buffer_deinit(&plan->rows_sql);
    buffer_deinit(&plan->count_sql);
    buffer_deinit(&plan->texts);
    free(plan->values);
    *plan = (struct grammar_plan){0};
}
