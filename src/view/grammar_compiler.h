/* grammar_compiler: what the parts of the grammar share. Private to grammar*.c. */
#pragma once

#include "view/grammar.h"

struct compiler {
    const struct relation *relation;
    struct grammar_plan *plan;
    struct grammar_error *error;
    struct buffer where;
    struct bytes name; /* of the URL's parameter being read */
    struct bytes rest; /* what is left of its value */
    bool nested;       /* inside and/or: a value ends at "," or ")" */
    unsigned depth;
    size_t filter_count;
    struct bytes selected[VIEW_FILTER_COUNT_MAX]; /* names of the answer's columns */
    size_t selected_count;
};

/* --- grammar_words.c ------------------------------------------------------------------------------------------------ */

/* Write a name of the view's own, quoted. 0, -ENOMEM. */
int grammar_write_name(struct buffer *sql, const char *name);
/* Write the mark of a new value behind the conditions, and keep the value. 0, -ENOMEM. */
int grammar_write_value(struct compiler *c, struct grammar_value value);
int grammar_write_text(struct compiler *c, struct bytes text);

/* Read from what is left of the parameter's value. */
bool grammar_take_byte(struct compiler *c, char byte);
bool grammar_take_prefix(struct compiler *c, const char *prefix);
struct bytes grammar_take_until(struct compiler *c, const char *stops); /* or to the end */
/* A value: to the end, or, when listed, quoted or up to "," or ")". 0, the error's answer, -ENOMEM. */
int grammar_take_value(struct compiler *c, bool listed, struct buffer *text);
/* A column's name, quoted or up to a stop. 0, the error's answer, -ENOMEM. */
int grammar_take_column(struct compiler *c, const char *stops, const struct relation_column **ret_column);
int grammar_find_column(struct compiler *c, struct bytes name, const struct relation_column **ret_column);
/* VIEW_E_PARAMETER: `what` is wrong where the rest begins. */
int grammar_refuse_syntax(struct compiler *c, const char *what);

/* --- grammar_filter.c, grammar_order.c: 0, the error's answer, -ENOMEM ------------------------------------------------- */

/* All conditions, into c->where. */
int grammar_write_where(struct compiler *c, const struct view_parameter *parameters, size_t count);
/* The columns of select=. */
int grammar_write_select(struct compiler *c, struct bytes list, struct buffer *sql);
/* order= when given, and what breaks ties. */
int grammar_write_order(struct compiler *c, bool given, struct bytes list, struct buffer *sql);
