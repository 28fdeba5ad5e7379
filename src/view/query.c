#include "view/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time.h"
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

static int convert(const struct query_param *param, struct bytes text, struct grammar_value *ret_value,
                   struct grammar_error *error);

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
        param->choices = from->choices;
    }
    struct grammar_value value;
    struct grammar_error error = {0};
    if (!param->has_default || convert(param, param->default_value, &value, &error) == 0)
        return 0;
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s: the default of a parameter: %.300s", d->file, error.detail);
    return QUERY_E_INVALID;
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

/* Every problem is told at once: the first one's parameter, and the sentences of all, as far as there is room. */
static int add_problem(struct grammar_error *all, const struct grammar_error *one)
{
    size_t used = all->answer != 0 ? strlen(all->detail) : 0;
    if (all->answer == 0)
        *all = *one;
    else
        (void)snprintf(all->detail + used, sizeof(all->detail) - used, "; %.*s", VIEW_ERROR_SIZE, one->detail);
    return all->answer;
}

static int check_known(const struct query *query, const struct view_parameter *parameters, size_t count,
                       struct grammar_error *error)
{
    struct grammar_error one = {0};
    if (count > VIEW_PARAMETER_COUNT_MAX)
        return grammar_refuse(error, VIEW_E_PARAMETER, (struct bytes){0},
                              "a question has at most %d parameters", VIEW_PARAMETER_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        struct bytes name = parameters[i].name;
        int r = 0;
        if (!grammar_is_common(name) && !is_param(query, name))
            r = grammar_refuse(&one, VIEW_E_PARAMETER, name, "query %s has no parameter '%.*s'; it has %s",
                               query->definition->name, BYTES_PRINT(bytes_slice(name, 0, VIEW_NAME_SIZE_MAX)),
                               query->param_count > 0 ? query->params_text : "none");
        else if (parameters[i].value.size > VIEW_VALUE_SIZE_MAX)
            r = grammar_refuse(&one, VIEW_E_PARAMETER, name, "%.*s: a value has at most %d bytes",
                               BYTES_PRINT(name), VIEW_VALUE_SIZE_MAX);
        else if (!utf8_valid(parameters[i].value))
            r = grammar_refuse(&one, VIEW_E_PARAMETER, name, "%.*s: the value is not UTF-8", BYTES_PRINT(name));
        if (r != 0)
            (void)add_problem(error, &one);
    }
    return error->answer;
}

/* A whole number written the one way it is printed: bound as a number it compares with numbers and, because SQLite turns it
 * back, with text as well. */
static bool is_plain_integer(struct bytes text, const struct grammar_value *number)
{
    char printed[24];
    int size = snprintf(printed, sizeof(printed), "%lld", (long long)number->integer);
    return number->type == GRAMMAR_INTEGER && bytes_equal(text, bytes_make(printed, (size_t)size));
}

static bool is_choice(struct bytes choices, struct bytes text)
{
    while (choices.size > 0) {
        const uint8_t *end = memchr(choices.data, '|', choices.size);
        size_t size = end ? (size_t)(end - choices.data) : choices.size;
        if (bytes_equal(bytes_slice(choices, 0, size), text))
            return true;
        choices = bytes_slice(choices, size + 1, choices.size);
    }
    return false;
}

/* What a value that is none of the parameter's type should be, or NULL. */
static const char *rule_broken(const struct query_param *param, struct bytes text, const struct grammar_value *number,
                               bool is_number)
{
    int64_t day;
    switch (param->type) {
    case DEFINITION_TEXT:
    case DEFINITION_ANY: return NULL;
    case DEFINITION_INTEGER:
        return is_number && number->type == GRAMMAR_INTEGER ? NULL : "a whole number";
    case DEFINITION_REAL: return is_number ? NULL : "a number";
    case DEFINITION_DATE: return time_parse_date(text, &day) == 0 ? NULL : "a date that exists, as YYYY-MM-DD";
    case DEFINITION_CHOICE: return is_choice(param->choices, text) ? NULL : "one of ";
    }
    return NULL;
}

static int convert(const struct query_param *param, struct bytes text, struct grammar_value *ret_value,
                   struct grammar_error *error)
{
    struct grammar_value number;
    bool is_number = grammar_number(text, &number);
    const char *rule = rule_broken(param, text, &number, is_number);
    if (rule)
        return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(param->name), "%s is %s%.*s, not '%.*s'",
                              param->name, rule, BYTES_PRINT(param->choices), BYTES_PRINT(bytes_slice(text, 0, 64)));
    if (param->type == DEFINITION_ANY)
        is_number = is_number && is_plain_integer(text, &number);
    else if (param->type != DEFINITION_INTEGER && param->type != DEFINITION_REAL)
        is_number = false;
    *ret_value = is_number ? number : (struct grammar_value){.type = GRAMMAR_TEXT};
    return 0;
}

int query_take_values(const struct query *query, const struct view_parameter *parameters, size_t count,
                      struct grammar_value *values, struct bytes *texts, struct grammar_error *error)
{
    *error = (struct grammar_error){0};
    (void)check_known(query, parameters, count, error);
    for (size_t i = 0; i < query->param_count; i++) {
        const struct query_param *param = &query->params[i];
        struct grammar_error one = {0};
        int r = 0, found = grammar_find_once(parameters, count, param->name, &texts[i], &one);
        if (found < 0)
            r = one.answer;
        else if (found == 0 && !param->has_default)
            r = grammar_refuse(&one, VIEW_E_PARAMETER, bytes_from_string(param->name),
                               "query %s needs the parameter %s", query->definition->name, param->name);
        else if (found == 0)
            texts[i] = param->default_value;
        if (r == 0)
            r = convert(param, texts[i], &values[i], &one);
        if (r != 0)
            (void)add_problem(error, &one);
    }
    return error->answer;
}
