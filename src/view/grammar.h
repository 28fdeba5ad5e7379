/* grammar: a question to a view, in PostgREST's words, made into SQL.
 *
 *     col=eq.5  col=not.in.(1,2,"a,b")  and=(a.gte.1,or(b.is.null,c.like.x*))  order=a.desc,b  select=a,name:b
 *     limit=10  offset=20
 *
 * Nothing that came in with the URL ever stands in the SQL: names are looked up among the view's columns and written as
 * those are, values are bound. Same-shaped questions give the same SQL, so that a prepared statement serves them all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "view/relation.h"
#include "view/view.h"

enum grammar_type { GRAMMAR_TEXT, GRAMMAR_INTEGER, GRAMMAR_REAL };

/* A value to bind, ?1 first. A text lies in the plan's `texts`. */
struct grammar_value {
    enum grammar_type type;
    size_t text_offset, text_size;
    int64_t integer;
    double real;
};

struct grammar_plan {
    struct buffer rows_sql;  /* select …; the last two parameters, after `values`, are limit and offset */
    struct buffer count_sql; /* select count(*) …, with the same values */
    struct buffer texts;
    struct grammar_value *values;
    size_t value_count, value_capacity;
    uint64_t limit, offset;
};

/* What was wrong with it: VIEW_E_COLUMN, _OPERATOR, _PARAMETER or _RANGE, the parameter at fault, a sentence. */
struct grammar_error {
    int answer;
    char parameter[VIEW_NAME_SIZE_MAX + 1];
    char detail[VIEW_ERROR_SIZE];
};

/* Make a plan of the URL's parameters; min_position and as_of among them are passed over. `range` is the Range header or
 * empty; limit and offset go before it. 0; error->answer, with error filled in; -ENOMEM. The plan is {0} before, and needs
 * grammar_plan_deinit() after 0. */
int grammar_compile(const struct relation *relation, const struct view_parameter *parameters, size_t count,
                    struct bytes range, struct grammar_plan *ret_plan, struct grammar_error *error);
void grammar_plan_deinit(struct grammar_plan *plan);

/* grammar_window.c: which rows of the result. */
struct grammar_window {
    uint64_t limit, offset;
};

/* limit, offset and Range of a question; `limit_default` rows unless it says otherwise. 0 or error->answer. */
int grammar_window(const struct view_parameter *parameters, size_t count, struct bytes range,
                   uint64_t limit_default, struct grammar_window *ret_window, struct grammar_error *error);

/* Whether the name is one of the question's own and no column or parameter of a query: limit, offset, min_position, as_of. */
bool grammar_is_common(struct bytes name);

/* The parameter's only value. 0: absent; 1: found; -1: given twice (error filled in). */
int grammar_find_once(const struct view_parameter *parameters, size_t count, const char *name,
                      struct bytes *ret_value, struct grammar_error *error);

/* Fill the error in and return the answer. */
_printf_(4, 5) int grammar_refuse(struct grammar_error *error, int answer, struct bytes parameter,
                                  const char *format, ...);

/* Read a decimal number: an integer that fits, or a real. false: it is not written as a number. */
bool grammar_number(struct bytes text, struct grammar_value *ret_value);
