#include "view/query.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/utf8.h"

/* --- checking ------------------------------------------------------------------------------------------------------------------ */

static const struct definition_param *declared(const struct definition *definition, const char *name)
{
    for (size_t i = 0; i < definition->param_count; i++) {
        if (bytes_equal_string(definition->params[i].name, name))
            return &definition->params[i];
    }
    return NULL;
}

static int refuse(const struct definition *definition, unsigned line, char *ret_error, const char *before,
                  const char *name, const char *after)
{
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s:%u: %s%s%s", definition->file, line, before, name, after);
    return QUERY_E_INVALID;
}

/* The index-th parameter of the select. */
static int take_param(struct query *query, sqlite3_stmt *statement, int index, char *ret_error)
{
    const struct definition *d = query->definition;
    const char *name = sqlite3_bind_parameter_name(statement, index);
    if (!name || name[0] != ':')
        return refuse(d, d->select.line, ret_error, "a parameter is written :name, not ", name ? name : "?",
                      "");
    name++;
    if (grammar_is_common(bytes_from_string(name)) || !definition_name_ok(bytes_from_string(name)))
        return refuse(d, d->select.line, ret_error, "no parameter may be named ", name, "");
    const struct definition_param *from = declared(d, name);
    struct query_param *param = &query->params[query->param_count];
    *param = (struct query_param){.name = strdup(name), .index = index};
    if (!param->name)
        return -ENOMEM;
    query->param_count++;
    if (from) {
        param->type = from->type;
        param->has_default = from->has_default;
        param->default_value = from->default_value;
    }
    return 0;
}

static int check_declared(const struct query *query, char *ret_error)
{
    const struct definition *d = query->definition;
    for (size_t i = 0; i < d->param_count; i++) {
        bool used = false;
        for (size_t p = 0; p < query->param_count; p++)
            used |= bytes_equal_string(d->params[i].name, query->params[p].name);
        if (!used) {
            (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s: parameter %.*s is declared and not used", d->file,
                           BYTES_PRINT(d->params[i].name));
            return QUERY_E_INVALID;
        }
    }
    return 0;
}

static int write_names(struct query *query)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    for (size_t i = 0; i < query->param_count; i++) {
        int r = buffer_printf(&text, "%s%s", i > 0 ? "," : "", query->params[i].name);
        if (r < 0)
            return r;
    }
    query->params_text = bytes_dup_string(buffer_bytes(&text));
    return query->params_text ? 0 : -ENOMEM;
}

static int take_params(struct query *query, sqlite3_stmt *statement, char *ret_error)
{
    int count = sqlite3_bind_parameter_count(statement);
    query->params = calloc((size_t)count + 1, sizeof(struct query_param));
    if (!query->params)
        return -ENOMEM;
    for (int i = 1; i <= count; i++) {
        int r = take_param(query, statement, i, ret_error);
        if (r != 0)
            return r;
    }
    int r = check_declared(query, ret_error);
    return r != 0 ? r : write_names(query);
}

int query_new(struct reader *reader, struct definition *definition, struct query **ret_query, char *ret_error)
{
    sqlite3_stmt *statement = NULL;
    int offset = -1;
    char error[VIEW_ERROR_SIZE] = "";
    int r = reader_prepare(reader, definition->select.sql, &statement, error, &offset);
    if (r > 0)
        return refuse(definition, definition_line(definition->select, offset > 0 ? (size_t)offset : 0),
                      ret_error, error, "", "");
    struct query *query = r == 0 ? calloc(1, sizeof(*query)) : NULL;
    if (!query)
        return r < 0 ? r : -ENOMEM;
    query->definition = definition;
    r = take_params(query, statement, ret_error);
    if (r != 0) {
        query->definition = NULL;
        query_free(query);
        return r;
    }
    *ret_query = query;
    return 0;
}

void query_free(struct query *query)
{
    if (!query)
        return;
    for (size_t i = 0; i < query->param_count; i++)
        free(query->params[i].name);
    free(query->params);
    free(query->params_text);
    definition_free(query->definition);
    free(query);
}

/* --- values -------------------------------------------------------------------------------------------------------------------- */

static bool is_param(const struct query *query, struct bytes name)
{
    for (size_t i = 0; i < query->param_count; i++) {
        if (bytes_equal_string(name, query->params[i].name))
            return true;
    }
    return false;
}

static int check_known(const struct query *query, const struct view_parameter *parameters, size_t count,
                       struct grammar_error *error)
{
    if (count > VIEW_PARAMETER_COUNT_MAX)
        return grammar_refuse(error, VIEW_E_PARAMETER, (struct bytes){0},
                              "a question has at most %d parameters", VIEW_PARAMETER_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        struct bytes name = parameters[i].name;
        if (!grammar_is_common(name) && !is_param(query, name))
            return grammar_refuse(error, VIEW_E_PARAMETER, name,
                                  "query %s has no parameter '%.*s'; it has %s", query->definition->name,
                                  BYTES_PRINT(bytes_slice(name, 0, VIEW_NAME_SIZE_MAX)),
                                  query->param_count > 0 ? query->params_text : "none");
        if (parameters[i].value.size > VIEW_VALUE_SIZE_MAX)
            return grammar_refuse(error, VIEW_E_PARAMETER, name, "a value has at most %d bytes",
                                  VIEW_VALUE_SIZE_MAX);
        if (!utf8_valid(parameters[i].value))
            return grammar_refuse(error, VIEW_E_PARAMETER, name, "the value is not UTF-8");
    }
    return 0;
}

/* A whole number written the one way it is printed: bound as a number it compares with numbers and, because SQLite turns it
 * back, with text as well. */
static bool is_plain_integer(struct bytes text, const struct grammar_value *number)
{
    char printed[24];
    int size = snprintf(printed, sizeof(printed), "%lld", (long long)number->integer);
    return number->type == GRAMMAR_INTEGER && bytes_equal(text, bytes_make(printed, (size_t)size));
}

static int convert(const struct query_param *param, struct bytes text, struct grammar_value *ret_value,
                   struct grammar_error *error)
{
    struct grammar_value number;
    bool is_number = grammar_number(text, &number);
    switch (param->type) {
    case DEFINITION_TEXT: is_number = false; break;
    case DEFINITION_ANY: is_number = is_number && is_plain_integer(text, &number); break;
    case DEFINITION_INTEGER:
        if (!is_number || number.type != GRAMMAR_INTEGER)
            return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(param->name),
                                  "%s is a whole number", param->name);
        break;
    case DEFINITION_REAL:
        if (!is_number)
            return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(param->name), "%s is a number",
                                  param->name);
        break;
    }
    *ret_value = is_number ? number : (struct grammar_value){.type = GRAMMAR_TEXT};
    return 0;
}

int query_take_values(const struct query *query, const struct view_parameter *parameters, size_t count,
                      struct grammar_value *values, struct bytes *texts, struct grammar_error *error)
{
    int r = check_known(query, parameters, count, error);
    for (size_t i = 0; r == 0 && i < query->param_count; i++) {
        const struct query_param *param = &query->params[i];
        int found = grammar_find_once(parameters, count, param->name, &texts[i], error);
        if (found < 0)
            return error->answer;
        if (found == 0 && !param->has_default)
            return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(param->name),
                                  "query %s needs the parameter %s", query->definition->name, param->name);
        if (found == 0)
            texts[i] = param->default_value;
        r = convert(param, texts[i], &values[i], error);
    }
    return r;
}
