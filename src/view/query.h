/* query: a named query, checked against the views it uses, and its parameters taken from a URL. */
#pragma once

#include <sqlite3.h>

#include "view/definition.h"
#include "view/grammar.h"
#include "view/reader.h"

enum { QUERY_E_INVALID = 1 };

struct query_param {
    char *name; /* as in the URL; in the SQL :NAME */
    int index;  /* SQLite's number for it */
    enum definition_type type;
    struct bytes choices;
    bool has_default;
    struct bytes default_value;
};

struct query {
    struct definition *definition; /* the query's own */
    struct query_param *params;
    size_t param_count;
    char *params_text; /* "hotel,from,to" */
};

/* Check `definition` on a reader over its views and take it. 0; QUERY_E_INVALID with "FILE:LINE: …" in ret_error; -errno.
 * On anything but 0 the definition stays the caller's. */
int query_new(struct reader *reader, struct definition *definition, struct query **ret_query,
              char *ret_error);
void query_free(struct query *query);

/* A value for each parameter, in the order of query->params; texts point into the URL's parameters or the definition.
 * `values` and `texts` hold param_count each. 0 or error->answer (VIEW_E_PARAMETER): `parameter` is the first at fault, `detail` says what
 * is wrong with every one. */
int query_take_values(const struct query *query, const struct view_parameter *parameters, size_t count,
                      struct grammar_value *values, struct bytes *texts, struct grammar_error *error);
