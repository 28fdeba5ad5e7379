/* Which columns, in which order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "view/definition.h"
#include "view/grammar_compiler.h"

/* --- select and order --------------------------------------------------------------------------------------------------------- */

static int write_all_columns(struct compiler *c, struct buffer *sql)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->relation->count; i++) {
        if (i > 0)
            r = buffer_append_string(sql, ", ");
        if (r == 0)
            r = grammar_write_name(sql, c->relation->columns[i].name);
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
    struct bytes before = c->rest, alias = grammar_take_until(c, ":,");
    bool aliased = grammar_take_byte(c, ':');
    if (!aliased) {
        c->rest = before;
    } else if (!definition_name_ok(alias)) {
        return grammar_refuse(c->error, VIEW_E_PARAMETER, c->name,
                              "'%.*s' is no name for a column: letters, digits and _",
                              BYTES_PRINT(bytes_slice(alias, 0, VIEW_NAME_SIZE_MAX)));
    }
    const struct relation_column *column;
    int r = grammar_take_column(c, ",", &column);
    if (r == 0)
        r = note_name(c, aliased ? alias : bytes_from_string(column->name));
    if (r == 0)
        r = grammar_write_name(sql, column->name);
    return r == 0 && aliased ? buffer_printf(sql, " as \"%.*s\"", BYTES_PRINT(alias)) : r;
}

int grammar_write_select(struct compiler *c, struct bytes list, struct buffer *sql)
{
    c->name = BYTES_LITERAL("select");
    c->rest = list;
    if (bytes_equal_string(list, "*"))
        return write_all_columns(c, sql);
    for (;;) {
        int r = write_selected(c, sql);
        if (r != 0 || c->rest.size == 0)
            return r;
        if (!grammar_take_byte(c, ','))
            return grammar_refuse_syntax(c, "columns are separated by commas");
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
        r = grammar_write_name(sql, column->name);
    return r < 0 ? r : buffer_append_string(sql, suffix);
}

/* COLUMN[.asc|.desc][.nullsfirst|.nullslast]; without a word, nulls stand as if larger than all values, as in PostgreSQL. */
static int write_ordered(struct compiler *c, struct buffer *sql, bool *used)
{
    const struct relation_column *column;
    int r = grammar_take_column(c, ".,", &column);
    if (r != 0)
        return r;
    bool descending = grammar_take_prefix(c, ".desc");
    if (!descending)
        (void)grammar_take_prefix(c, ".asc");
    bool first = grammar_take_prefix(c, ".nullsfirst"), last = !first && grammar_take_prefix(c, ".nullslast");
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

int grammar_write_order(struct compiler *c, bool given, struct bytes list, struct buffer *sql)
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
        if (!grammar_take_byte(c, ','))
            return grammar_refuse_syntax(
                c, "COLUMN.asc or COLUMN.desc, then .nullsfirst or .nullslast, is expected");
    }
    return write_key_order(c, sql, used);
}
