/* Recursive descent, straight to SQL. The grammar, after percent-decoding:
 *
 *     filter  = COLUMN "=" ["not."] test                 at the top; its value goes to the end
 *     tree    = ("and" | "or" | "not.and" | "not.or") "=" list
 *     list    = "(" member *("," member) ")"
 *     member  = COLUMN "." ["not."] test | ["not."] ("and" | "or") list
 *     test    = compare "." VALUE | "is." WORD | "in.(" VALUE *("," VALUE) ")"
 *     compare = "eq" | "neq" | "gt" | "gte" | "lt" | "lte" | "like" | "ilike"
 *
 * VALUE and COLUMN may stand in double quotes, with \ before a quote or a backslash; unquoted, a value in a list ends at
 * "," or ")". At the top a value is taken as it stands, except in in.(…).
 */
#include "view/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/vector.h"
#include "view/definition.h"

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

enum test_kind { TEST_COMPARE, TEST_LIKE, TEST_ILIKE, TEST_IN, TEST_IS };

static const struct operator
{
    const char *word;
    const char *sql;
    enum test_kind kind;
}
operators[] = {
    {"eq", " = ", TEST_COMPARE},   {"neq", " <> ", TEST_COMPARE},   {"gt", " > ", TEST_COMPARE},
    {"gte", " >= ", TEST_COMPARE}, {"lt", " < ", TEST_COMPARE},     {"lte", " <= ", TEST_COMPARE},
    {"like", " glob ", TEST_LIKE}, {"ilike", " like ", TEST_ILIKE}, {"in", " in (", TEST_IN},
    {"is", " is ", TEST_IS},
};
enum { OPERATOR_COUNT = sizeof(operators) / sizeof(operators[0]) };

static const struct {
    const char *word, *sql;
} is_words[] = {
    {"null", "null"}, {"not_null", "not null"}, {"true", "true"}, {"false", "false"}, {"unknown", "null"}};

/* --- writing SQL ------------------------------------------------------------------------------------------------------------ */

/* A name of the view's own, quoted. */
static int write_name(struct buffer *sql, const char *name)
{
    int r = buffer_append_byte(sql, '"');
    for (; r == 0 && *name; name++)
        r = *name == '"' ? buffer_append_string(sql, "\"\"") : buffer_append_byte(sql, (uint8_t)*name);
    return r < 0 ? r : buffer_append_byte(sql, '"');
}

/* The mark of a new value, which the caller has filled in. */
static int write_value(struct compiler *c, struct grammar_value value)
{
    struct grammar_plan *plan = c->plan;
    if (vector_reserve(&plan->values, &plan->value_capacity, plan->value_count + 1) < 0)
        return -ENOMEM;
    plan->values[plan->value_count++] = value;
    return buffer_printf(&c->where, "?%zu", plan->value_count);
}

static int write_text(struct compiler *c, struct bytes text)
{
    struct grammar_value value = {
        .type = GRAMMAR_TEXT, .text_offset = c->plan->texts.size, .text_size = text.size};
    int r = buffer_append_bytes(&c->plan->texts, text);
    return r < 0 ? r : write_value(c, value);
}

/* --- reading words and values ------------------------------------------------------------------------------------------------- */

static bool take_byte(struct compiler *c, char byte)
{
    if (c->rest.size == 0 || c->rest.data[0] != (uint8_t)byte)
        return false;
    c->rest = bytes_slice(c->rest, 1, c->rest.size);
    return true;
}

static bool take_prefix(struct compiler *c, const char *prefix)
{
    struct bytes bytes = bytes_from_string(prefix);
    if (!bytes_starts_with(c->rest, bytes))
        return false;
    c->rest = bytes_slice(c->rest, bytes.size, c->rest.size);
    return true;
}

/* Up to one of the stops or the end. */
static struct bytes take_until(struct compiler *c, const char *stops)
{
    size_t size = 0;
    while (size < c->rest.size && (c->rest.data[size] == 0 || !strchr(stops, c->rest.data[size])))
        size++;
    struct bytes word = bytes_slice(c->rest, 0, size);
    c->rest = bytes_slice(c->rest, size, c->rest.size);
    return word;
}

static int refuse_syntax(struct compiler *c, const char *what)
{
    return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "%s in '%.*s', before '%.*s'", what,
                          BYTES_PRINT(bytes_slice(c->name, 0, VIEW_NAME_SIZE_MAX)),
                          BYTES_PRINT(bytes_slice(c->rest, 0, 40)));
}

/* The rest of a quoted text, the quote before it being taken, escapes undone, into `text`. */
static int take_quoted(struct compiler *c, struct buffer *text)
{
    while (c->rest.size > 0) {
        uint8_t byte = c->rest.data[0];
        c->rest = bytes_slice(c->rest, 1, c->rest.size);
        if (byte == '"')
            return 0;
        if (byte == '\\' && c->rest.size > 0) {
            byte = c->rest.data[0];
            c->rest = bytes_slice(c->rest, 1, c->rest.size);
        }
        if (buffer_append_byte(text, byte) < 0)
            return -ENOMEM;
    }
    return refuse_syntax(c, "a quote is not closed");
}

/* A value of a list or of a member: quoted, or up to a stop. */
static int take_value(struct compiler *c, bool listed, struct buffer *text)
{
    if (!listed) {
        struct bytes all = c->rest;
        c->rest = bytes_slice(all, all.size, 0);
        return buffer_append_bytes(text, all);
    }
    return take_byte(c, '"') ? take_quoted(c, text) : buffer_append_bytes(text, take_until(c, ",)"));
}

static int find_column(struct compiler *c, struct bytes name, const struct relation_column **ret_column)
{
    *ret_column = relation_find(c->relation, name);
    if (*ret_column)
        return 0;
    char columns[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < c->relation->count && used < sizeof(columns) - 1; i++) {
        int n = snprintf(columns + used, sizeof(columns) - used, "%s%s", i > 0 ? ", " : "",
                         c->relation->columns[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
    return grammar_refuse(c->error, VIEW_E_COLUMN, name, "view %s has no column '%.*s'; it has %s",
                          c->relation->name, BYTES_PRINT(bytes_slice(name, 0, VIEW_NAME_SIZE_MAX)), columns);
}

/* A column's name inside a list or a tree, quoted or up to a stop. */
static int take_column(struct compiler *c, const char *stops, const struct relation_column **ret_column)
{
    if (!take_byte(c, '"'))
        return find_column(c, take_until(c, stops), ret_column);
    _cleanup_(buffer_deinit) struct buffer name = {0};
    int r = take_quoted(c, &name);
    return r != 0 ? r : find_column(c, buffer_bytes(&name), ret_column);
}

/* --- tests ---------------------------------------------------------------------------------------------------------------------- */

/* The value as the column's kind has it. *ret_both: the column's rows may hold text as well as numbers. */
static int convert(struct compiler *c, const struct relation_column *column, struct bytes text,
                   struct grammar_value *ret_number, bool *ret_is_number, bool *ret_both)
{
    *ret_both = false;
    *ret_is_number = column->affinity != RELATION_TEXT && grammar_number(text, ret_number);
    if (*ret_is_number) {
        *ret_both = column->affinity == RELATION_UNKNOWN;
        return 0;
    }
    if (column->form == RELATION_BOOLEAN &&
        (bytes_equal_string(text, "true") || bytes_equal_string(text, "false"))) {
        *ret_number = (struct grammar_value){.type = GRAMMAR_INTEGER, .integer = text.data[0] == 't'};
        *ret_is_number = true;
        return 0;
    }
    if (column->affinity == RELATION_NUMBER)
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name,
                              "column %s holds numbers, and '%.*s' is none", column->name,
                              BYTES_PRINT(bytes_slice(text, 0, 64)));
    return 0;
}

static int write_comparison(struct compiler *c, const struct relation_column *column,
                            const struct operator* op, struct bytes text, const struct grammar_value *number)
{
    int r = write_name(&c->where, column->name);
    if (r == 0)
        r = buffer_append_string(&c->where, op->sql);
    if (r == 0)
        r = number ? write_value(c, *number) : write_text(c, text);
    return r;
}

/* A column without a type of its own is compared as what each row holds: a number with the number, text with the text. */
static int write_compare(struct compiler *c, const struct relation_column *column, const struct operator* op,
                         struct bytes text)
{
    struct grammar_value number;
    bool is_number, both;
    int r = convert(c, column, text, &number, &is_number, &both);
    if (r != 0)
        return r;
    if (!both)
        return write_comparison(c, column, op, text, is_number ? &number : NULL);
    r = buffer_append_string(&c->where, "case typeof(");
    if (r == 0)
        r = write_name(&c->where, column->name);
    if (r == 0)
        r = buffer_append_string(&c->where, ") when 'text' then ");
    if (r == 0)
        r = write_comparison(c, column, op, text, NULL);
    if (r == 0)
        r = buffer_append_string(&c->where, " else ");
    if (r == 0)
        r = write_comparison(c, column, op, text, &number);
    return r < 0 ? r : buffer_append_string(&c->where, " end");
}

/* PostgREST's pattern (% and * any text, _ any character, \ takes the next as it is) as one of glob, which minds case. */
static int glob_pattern(struct bytes pattern, struct buffer *glob)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < pattern.size; i++) {
        uint8_t byte = pattern.data[i];
        bool literal = byte == '\\' && i + 1 < pattern.size;
        if (literal)
            byte = pattern.data[++i];
        if (!literal && (byte == '%' || byte == '*'))
            r = buffer_append_byte(glob, '*');
        else if (!literal && byte == '_')
            r = buffer_append_byte(glob, '?');
        else if (byte == '*' || byte == '?' || byte == '[')
            r = buffer_printf(glob, "[%c]", byte);
        else
            r = buffer_append_byte(glob, byte);
    }
    return r;
}

static int write_like(struct compiler *c, const struct relation_column *column, const struct operator* op,
                      struct bytes pattern)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = 0;
    if (op->kind == TEST_LIKE) {
        r = glob_pattern(pattern, &text);
    } else {
        for (size_t i = 0; r == 0 && i < pattern.size; i++)
            r = buffer_append_byte(&text, pattern.data[i] == '*' ? '%' : pattern.data[i]);
    }
    if (r == 0)
        r = write_comparison(c, column, op, buffer_bytes(&text), NULL);
    return r < 0 || op->kind == TEST_LIKE ? r : buffer_append_string(&c->where, " escape '\\'");
}

static int write_list_value(struct compiler *c, const struct relation_column *column, struct bytes text)
{
    struct grammar_value number;
    bool is_number, both;
    int r = convert(c, column, text, &number, &is_number, &both);
    if (r == 0 && is_number)
        r = write_value(c, number);
    if (r == 0 && both)
        r = buffer_append_string(&c->where, ", ");
    if (r == 0 && (both || !is_number))
        r = write_text(c, text);
    return r;
}

static int write_in(struct compiler *c, const struct relation_column *column, const struct operator* op)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = take_byte(c, '(') ? write_name(&c->where, column->name)
                              : refuse_syntax(c, "a list in parentheses is expected");
    if (r == 0)
        r = buffer_append_string(&c->where, op->sql);
    if (r == 0 && take_byte(c, ')'))
        return buffer_append_byte(&c->where, ')');
    for (size_t count = 1; r == 0; count++) {
        if (count > VIEW_LIST_COUNT_MAX)
            return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "a list holds at most %d values",
                                  VIEW_LIST_COUNT_MAX);
        buffer_clear(&text);
        r = take_value(c, true, &text);
        if (r == 0)
            r = write_list_value(c, column, buffer_bytes(&text));
        if (r == 0 && take_byte(c, ')'))
            return buffer_append_byte(&c->where, ')');
        if (r == 0)
            r = take_byte(c, ',') ? buffer_append_string(&c->where, ", ")
                                  : refuse_syntax(c, "a list's end is missing");
    }
    return r;
}

static int write_is(struct compiler *c, const struct relation_column *column, const struct operator* op,
                    struct bytes word)
{
    for (size_t i = 0; i < sizeof(is_words) / sizeof(is_words[0]); i++) {
        if (!bytes_equal_string(word, is_words[i].word))
            continue;
        int r = write_name(&c->where, column->name);
        if (r == 0)
            r = buffer_append_string(&c->where, op->sql);
        return r < 0 ? r : buffer_append_string(&c->where, is_words[i].sql);
    }
    return grammar_refuse(c->error, VIEW_E_OPERATOR, c->name,
                          "is. takes null, not_null, true, false or unknown, not '%.*s'",
                          BYTES_PRINT(bytes_slice(word, 0, 64)));
}

static int take_operator(struct compiler *c, const struct operator** ret_operator)
{
    struct bytes word = take_until(c, ".,)");
    for (size_t i = 0; i < OPERATOR_COUNT; i++) {
        if (!bytes_equal_string(word, operators[i].word))
            continue;
        *ret_operator = &operators[i];
        if (!take_byte(c, '.'))
            return grammar_refuse(c->error, VIEW_E_OPERATOR, c->name, "operator %s has no value: %s.VALUE",
                                  operators[i].word, operators[i].word);
        return 0;
    }
    return grammar_refuse(
        c->error, VIEW_E_OPERATOR, c->name,
        "'%.*s' is no operator: eq, neq, gt, gte, lt, lte, like, ilike, in or is, after not. or alone",
        BYTES_PRINT(bytes_slice(word, 0, 64)));
}

/* ["not."] test */
static int write_test(struct compiler *c, const struct relation_column *column)
{
    if (++c->filter_count > VIEW_FILTER_COUNT_MAX)
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "a question has at most %d conditions",
                              VIEW_FILTER_COUNT_MAX);
    const struct operator* op = NULL;
    int r = buffer_append_string(&c->where, take_prefix(c, "not.") ? "(not (" : "((");
    if (r == 0)
        r = take_operator(c, &op);
    if (r != 0)
        return r;
    _cleanup_(buffer_deinit) struct buffer text = {0};
    if (op->kind != TEST_IN)
        r = take_value(c, c->nested, &text);
    if (r != 0)
        return r;
    switch (op->kind) {
    case TEST_COMPARE: r = write_compare(c, column, op, buffer_bytes(&text)); break;
    case TEST_LIKE:
    case TEST_ILIKE: r = write_like(c, column, op, buffer_bytes(&text)); break;
    case TEST_IN: r = write_in(c, column, op); break;
    case TEST_IS: r = write_is(c, column, op, buffer_bytes(&text)); break;
    }
    return r != 0 ? r : buffer_append_string(&c->where, "))");
}

/* --- trees ---------------------------------------------------------------------------------------------------------------------- */

static int write_list(struct compiler *c, const char *joint);

static int write_member(struct compiler *c)
{
    static const struct {
        const char *prefix, *open, *joint;
    } trees[] = {{"and(", "(", " and "},
                 {"or(", "(", " or "},
                 {"not.and(", "(not ", " and "},
                 {"not.or(", "(not ", " or "}};
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
        if (!bytes_starts_with(c->rest, bytes_from_string(trees[i].prefix)))
            continue;
        c->rest = bytes_slice(c->rest, strlen(trees[i].prefix) - 1, c->rest.size);
        int r = buffer_append_string(&c->where, trees[i].open);
        if (r == 0)
            r = write_list(c, trees[i].joint);
        return r != 0 ? r : buffer_append_byte(&c->where, ')');
    }
    const struct relation_column *column;
    int r = take_column(c, ".,)", &column);
    if (r == 0 && !take_byte(c, '.'))
        r = refuse_syntax(c, "COLUMN.OPERATOR.VALUE is expected");
    return r != 0 ? r : write_test(c, column);
}

static int write_list(struct compiler *c, const char *joint)
{
    if (++c->depth > VIEW_FILTER_DEPTH_MAX)
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name,
                              "and/or stand at most %d deep in one another", VIEW_FILTER_DEPTH_MAX);
    int r = take_byte(c, '(') ? buffer_append_byte(&c->where, '(')
                              : refuse_syntax(c, "a list in parentheses is expected");
    while (r == 0) {
        r = write_member(c);
        if (r == 0 && take_byte(c, ')')) {
            c->depth--;
            return buffer_append_byte(&c->where, ')');
        }
        if (r == 0)
            r = take_byte(c, ',') ? buffer_append_string(&c->where, joint)
                                  : refuse_syntax(c, "a list's end is missing");
    }
    return r;
}

/* Whether the parameter's name is that of a tree; ret_joint and ret_not say which. */
static bool is_tree(struct bytes name, const char **ret_joint, bool *ret_not)
{
    *ret_not = bytes_starts_with(name, BYTES_LITERAL("not."));
    if (*ret_not)
        name = bytes_slice(name, 4, name.size);
    *ret_joint = bytes_equal_string(name, "and") ? " and " : " or ";
    return bytes_equal_string(name, "and") || bytes_equal_string(name, "or");
}

static int write_filter(struct compiler *c, const struct view_parameter *parameter)
{
    const char *joint;
    bool inverted;
    c->name = parameter->name;
    c->rest = parameter->value;
    c->depth = 0;
    c->nested = is_tree(parameter->name, &joint, &inverted);
    int r = buffer_append_string(&c->where, c->where.size == 0 ? " where " : " and ");
    if (r == 0 && c->nested && inverted)
        r = buffer_append_string(&c->where, "not ");
    if (r == 0 && c->nested) {
        r = write_list(c, joint);
    } else if (r == 0) {
        const struct relation_column *column;
        r = find_column(c, parameter->name, &column);
        if (r == 0)
            r = write_test(c, column);
    }
    return r == 0 && c->rest.size > 0 ? refuse_syntax(c, "there is more than one value") : r;
}

static bool is_filter(struct bytes name)
{
    return !grammar_is_common(name) && !bytes_equal_string(name, "select") &&
           !bytes_equal_string(name, "order");
}

static int write_where(struct compiler *c, const struct view_parameter *parameters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (parameters[i].value.size > VIEW_VALUE_SIZE_MAX)
            return grammar_refuse(c->error, VIEW_E_PARAMETER, parameters[i].name,
                                  "a value has at most %d bytes", VIEW_VALUE_SIZE_MAX);
        if (!utf8_valid(parameters[i].value))
            return grammar_refuse(c->error, VIEW_E_PARAMETER, parameters[i].name, "the value is not UTF-8");
        int r = is_filter(parameters[i].name) ? write_filter(c, &parameters[i]) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

/* --- select and order --------------------------------------------------------------------------------------------------------- */

static int write_all_columns(struct compiler *c, struct buffer *sql)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->relation->count; i++) {
        if (i > 0)
            r = buffer_append_string(sql, ", ");
        if (r == 0)
            r = write_name(sql, c->relation->columns[i].name);
    }
    return r;
}

/* Names of one answer's columns are distinct, or its JSON would say something twice. */
static int note_name(struct compiler *c, struct bytes name)
{
    for (size_t i = 0; i < c->selected_count; i++) {
        if (bytes_equal(c->selected[i], name))
            return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "select names '%.*s' twice",
                                  BYTES_PRINT(name));
    }
    if (c->selected_count == VIEW_FILTER_COUNT_MAX)
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "select names at most %d columns",
                              VIEW_FILTER_COUNT_MAX);
    c->selected[c->selected_count++] = name;
    return 0;
}

/* [ALIAS:]COLUMN; an alias is a name like a view's, so that it can stand in the SQL. */
static int write_selected(struct compiler *c, struct buffer *sql)
{
    struct bytes before = c->rest, alias = take_until(c, ":,");
    bool aliased = take_byte(c, ':');
    if (!aliased) {
        c->rest = before;
    } else if (!definition_name_ok(alias)) {
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name,
                              "'%.*s' is no name for a column: letters, digits and _",
                              BYTES_PRINT(bytes_slice(alias, 0, VIEW_NAME_SIZE_MAX)));
    }
    const struct relation_column *column;
    int r = take_column(c, ",", &column);
    if (r == 0)
        r = note_name(c, aliased ? alias : bytes_from_string(column->name));
    if (r == 0)
        r = write_name(sql, column->name);
    return r == 0 && aliased ? buffer_printf(sql, " as \"%.*s\"", BYTES_PRINT(alias)) : r;
}

static int write_select(struct compiler *c, struct bytes list, struct buffer *sql)
{
    c->name = BYTES_LITERAL("select");
    c->rest = list;
    if (bytes_equal_string(list, "*"))
        return write_all_columns(c, sql);
    for (;;) {
        int r = write_selected(c, sql);
        if (r != 0 || c->rest.size == 0)
            return r;
        if (!take_byte(c, ','))
            return refuse_syntax(c, "columns are separated by commas");
        r = buffer_append_string(sql, ", ");
        if (r != 0)
            return r;
    }
}

/* Behind the table's name, so that an alias of the same name is not meant. */
static int write_order_column(struct compiler *c, struct buffer *sql, const struct relation_column *column,
                              const char *suffix)
{
    int r = buffer_printf(sql, "%s\"%s\".", sql->size == 0 ? " order by " : ", ", c->relation->name);
    if (r == 0)
        r = write_name(sql, column->name);
    return r < 0 ? r : buffer_append_string(sql, suffix);
}

/* COLUMN[.asc|.desc][.nullsfirst|.nullslast]; without a word, nulls stand as if larger than all values, as in PostgreSQL. */
static int write_ordered(struct compiler *c, struct buffer *sql, bool *used)
{
    const struct relation_column *column;
    int r = take_column(c, ".,", &column);
    if (r != 0)
        return r;
    bool descending = take_prefix(c, ".desc");
    if (!descending)
        (void)take_prefix(c, ".asc");
    bool first = take_prefix(c, ".nullsfirst"), last = !first && take_prefix(c, ".nullslast");
    const char *suffix = descending ? " desc" : "";
    if (!column->not_null && column->key == 0) {
        if (!first && !last)
            first = descending;
        suffix = descending ? (first ? " desc nulls first" : " desc nulls last")
                 : first    ? " nulls first"
                            : " nulls last";
    }
    if (used[column - c->relation->columns])
        return 0; /* a second mention changes nothing */
    used[column - c->relation->columns] = true;
    return write_order_column(c, sql, column, suffix);
}

/* Ties are broken by the primary key, so that pages of one answer never overlap; without a key, by rowid; a view without
 * either, by all its columns. */
static int write_key_order(struct compiler *c, struct buffer *sql, const bool *used)
{
    const struct relation *relation = c->relation;
    if (relation->key_count == 0 && relation->is_table)
        return buffer_printf(sql, "%s\"%s\".rowid", sql->size == 0 ? " order by " : ", ", relation->name);
    for (size_t key = 1; key <= relation->key_count; key++) {
        for (size_t i = 0; i < relation->count; i++) {
            int r = relation->columns[i].key == (int)key && !used[i]
                        ? write_order_column(c, sql, &relation->columns[i], "")
                        : 0;
            if (r < 0)
                return r;
        }
    }
    for (size_t i = 0; relation->key_count == 0 && i < relation->count; i++) {
        int r = used[i] ? 0 : write_order_column(c, sql, &relation->columns[i], "");
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_order(struct compiler *c, bool given, struct bytes list, struct buffer *sql)
{
    _cleanup_(freep) bool *used = calloc(c->relation->count, sizeof(bool));
    if (!used)
        return -ENOMEM;
    c->name = BYTES_LITERAL("order");
    c->rest = list;
    while (given) {
        int r = write_ordered(c, sql, used);
        if (r != 0)
            return r;
        if (c->rest.size == 0)
            break;
        if (!take_byte(c, ','))
            return refuse_syntax(c, "COLUMN.asc or COLUMN.desc, then .nullsfirst or .nullslast, is expected");
    }
    return write_key_order(c, sql, used);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------ */

static int write_statements(struct compiler *c, struct bytes select, bool ordered, struct bytes order)
{
    struct grammar_plan *plan = c->plan;
    _cleanup_(buffer_deinit) struct buffer columns = {0}, ordering = {0};
    int r = write_select(c, select, &columns);
    if (r == 0)
        r = write_order(c, ordered, order, &ordering);
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
        r = write_where(&c, parameters, count);
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
