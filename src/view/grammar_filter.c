/* Conditions: recursive descent, straight to SQL. The grammar, after percent-decoding:
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
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "view/grammar_compiler.h"

enum test_kind { TEST_COMPARE, TEST_LIKE, TEST_ILIKE, TEST_IN, TEST_IS };

static const struct comparator {
    const char *word;
    const char *sql;
    enum test_kind kind;
} comparators[] = {
    {"eq", " = ", TEST_COMPARE},   {"neq", " <> ", TEST_COMPARE},   {"gt", " > ", TEST_COMPARE},
    {"gte", " >= ", TEST_COMPARE}, {"lt", " < ", TEST_COMPARE},     {"lte", " <= ", TEST_COMPARE},
    {"like", " glob ", TEST_LIKE}, {"ilike", " like ", TEST_ILIKE}, {"in", " in (", TEST_IN},
    {"is", " is ", TEST_IS},
};
enum { COMPARATOR_COUNT = sizeof(comparators) / sizeof(comparators[0]) };

static const struct {
    const char *word, *sql;
} is_words[] = {
    {"null", "null"}, {"not_null", "not null"}, {"true", "true"}, {"false", "false"}, {"unknown", "null"}};

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
    if (column->affinity == RELATION_NUMBER && (bytes_equal_string(text, "Infinity") || bytes_equal_string(text, "-Infinity"))) {
        *ret_number = (struct grammar_value){.type = GRAMMAR_REAL, .real = text.data[0] == '-' ? -INFINITY : INFINITY};
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
                            const struct comparator *op, struct bytes text,
                            const struct grammar_value *number)
{
    int r = grammar_write_name(&c->where, column->name);
    if (r == 0)
        r = buffer_append_string(&c->where, op->sql);
    if (r == 0)
        r = number ? grammar_write_value(c, *number) : grammar_write_text(c, text);
    return r;
}

/* A column without a type of its own is compared as what each row holds: a number with the number, text with the text. */
static int write_compare(struct compiler *c, const struct relation_column *column,
                         const struct comparator *op, struct bytes text)
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
        r = grammar_write_name(&c->where, column->name);
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

/* A pattern of glob that begins with plain text finds nothing outside the texts that begin so: an index may be used. */
static int write_range(struct compiler *c, const struct relation_column *column, struct bytes glob)
{
    static const struct comparator from = {.sql = " >= "}, to = {.sql = " < "};
    _cleanup_(buffer_deinit) struct buffer end = {0};
    size_t size = 0;
    while (size < glob.size && !strchr("*?[", glob.data[size]))
        size++;
    if (size == 0 || column->affinity != RELATION_TEXT)
        return 0;
    int r = buffer_append(&end, glob.data, size);
    if (r == 0)
        r = buffer_append_byte(&end, 0xff); /* behind every text that goes on from here */
    if (r == 0)
        r = write_comparison(c, column, &from, bytes_slice(glob, 0, size), NULL);
    if (r == 0)
        r = buffer_append_string(&c->where, " and ");
    if (r == 0)
        r = write_comparison(c, column, &to, buffer_bytes(&end), NULL);
    return r < 0 ? r : buffer_append_string(&c->where, " and ");
}

static int write_like(struct compiler *c, const struct relation_column *column, const struct comparator *op,
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
    if (r == 0 && op->kind == TEST_LIKE)
        r = write_range(c, column, buffer_bytes(&text));
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
        r = grammar_write_value(c, number);
    if (r == 0 && both)
        r = buffer_append_string(&c->where, ", ");
    if (r == 0 && (both || !is_number))
        r = grammar_write_text(c, text);
    return r;
}

static int write_in(struct compiler *c, const struct relation_column *column, const struct comparator *op)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = grammar_take_byte(c, '(') ? grammar_write_name(&c->where, column->name)
                                      : grammar_refuse_syntax(c, "a list in parentheses is expected");
    if (r == 0)
        r = buffer_append_string(&c->where, op->sql);
    if (r == 0 && grammar_take_byte(c, ')'))
        return buffer_append_byte(&c->where, ')');
    for (size_t count = 1; r == 0; count++) {
        if (count > VIEW_LIST_COUNT_MAX)
            return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name, "a list holds at most %d values",
                                  VIEW_LIST_COUNT_MAX);
        buffer_clear(&text);
        r = grammar_take_value(c, true, &text);
        if (r == 0)
            r = write_list_value(c, column, buffer_bytes(&text));
        if (r == 0 && grammar_take_byte(c, ')'))
            return buffer_append_byte(&c->where, ')');
        if (r == 0)
            r = grammar_take_byte(c, ',') ? buffer_append_string(&c->where, ", ")
                                          : grammar_refuse_syntax(c, "a list's end is missing");
    }
    return r;
}

static int write_is(struct compiler *c, const struct relation_column *column, const struct comparator *op,
                    struct bytes word)
{
    for (size_t i = 0; i < sizeof(is_words) / sizeof(is_words[0]); i++) {
        if (!bytes_equal_string(word, is_words[i].word))
            continue;
        int r = grammar_write_name(&c->where, column->name);
        if (r == 0)
            r = buffer_append_string(&c->where, op->sql);
        return r < 0 ? r : buffer_append_string(&c->where, is_words[i].sql);
    }
    return grammar_refuse(c->error, VIEW_E_OPERATOR, c->name,
                          "is. takes null, not_null, true, false or unknown, not '%.*s'",
                          BYTES_PRINT(bytes_slice(word, 0, 64)));
}

static int take_operator(struct compiler *c, const struct comparator **ret_operator)
{
    struct bytes word = grammar_take_until(c, ".,)");
    for (size_t i = 0; i < COMPARATOR_COUNT; i++) {
        if (!bytes_equal_string(word, comparators[i].word))
            continue;
        *ret_operator = &comparators[i];
        if (!grammar_take_byte(c, '.'))
            return grammar_refuse(c->error, VIEW_E_OPERATOR, c->name, "operator %s has no value: %s.VALUE",
                                  comparators[i].word, comparators[i].word);
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
    const struct comparator *op = NULL;
    int r = buffer_append_string(&c->where, grammar_take_prefix(c, "not.") ? "(not (" : "((");
    if (r == 0)
        r = take_operator(c, &op);
    if (r != 0)
        return r;
    _cleanup_(buffer_deinit) struct buffer text = {0};
    if (op->kind != TEST_IN)
        r = grammar_take_value(c, c->nested, &text);
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
    int r = grammar_take_column(c, ".,)", &column);
    if (r == 0 && !grammar_take_byte(c, '.'))
        r = grammar_refuse_syntax(c, "COLUMN.OPERATOR.VALUE is expected");
    return r != 0 ? r : write_test(c, column);
}

static int write_list(struct compiler *c, const char *joint)
{
    if (++c->depth > VIEW_FILTER_DEPTH_MAX)
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name,
                              "and/or stand at most %d deep in one another", VIEW_FILTER_DEPTH_MAX);
    int r = grammar_take_byte(c, '(') ? buffer_append_byte(&c->where, '(')
                                      : grammar_refuse_syntax(c, "a list in parentheses is expected");
    while (r == 0) {
        r = write_member(c);
        if (r == 0 && grammar_take_byte(c, ')')) {
            c->depth--;
            return buffer_append_byte(&c->where, ')');
        }
        if (r == 0)
            r = grammar_take_byte(c, ',') ? buffer_append_string(&c->where, joint)
                                          : grammar_refuse_syntax(c, "a list's end is missing");
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
        r = grammar_find_column(c, parameter->name, &column);
        if (r == 0)
            r = write_test(c, column);
    }
    return r == 0 && c->rest.size > 0 ? grammar_refuse_syntax(c, "there is more than one value") : r;
}

static bool is_filter(struct bytes name)
{
    return !grammar_is_common(name) && !bytes_equal_string(name, "select") &&
           !bytes_equal_string(name, "order");
}

int grammar_write_where(struct compiler *c, const struct view_parameter *parameters, size_t count)
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
