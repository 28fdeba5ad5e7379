/* Words of a question, read and written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "view/grammar_compiler.h"

/* --- writing SQL ------------------------------------------------------------------------------------------------------------ */

/* A name of the view's own, quoted. */
int grammar_write_name(struct buffer *sql, const char *name)
{
    int r = buffer_append_byte(sql, '"');
    for (; r == 0 && *name; name++)
        r = *name == '"' ? buffer_append_string(sql, "\"\"") : buffer_append_byte(sql, (uint8_t)*name);
    return r < 0 ? r : buffer_append_byte(sql, '"');
}

/* The mark of a new value, which the caller has filled in. */
int grammar_write_value(struct compiler *c, struct grammar_value value)
{
    struct grammar_plan *plan = c->plan;
    if (vector_reserve(&plan->values, &plan->value_capacity, plan->value_count + 1) < 0)
        return -ENOMEM;
    plan->values[plan->value_count++] = value;
    return buffer_printf(&c->where, "?%zu", plan->value_count);
}

int grammar_write_text(struct compiler *c, struct bytes text)
{
    struct grammar_value value = {
        .type = GRAMMAR_TEXT, .text_offset = c->plan->texts.size, .text_size = text.size};
    int r = buffer_append_bytes(&c->plan->texts, text);
    return r < 0 ? r : grammar_write_value(c, value);
}

/* --- reading words and values ------------------------------------------------------------------------------------------------- */

bool grammar_take_byte(struct compiler *c, char byte)
{
    if (c->rest.size == 0 || c->rest.data[0] != (uint8_t)byte)
        return false;
    c->rest = bytes_slice(c->rest, 1, c->rest.size);
    return true;
}

bool grammar_take_prefix(struct compiler *c, const char *prefix)
{
    struct bytes bytes = bytes_from_string(prefix);
    if (!bytes_starts_with(c->rest, bytes))
        return false;
    c->rest = bytes_slice(c->rest, bytes.size, c->rest.size);
    return true;
}

/* Up to one of the stops or the end. */
struct bytes grammar_take_until(struct compiler *c, const char *stops)
{
    size_t size = 0;
    while (size < c->rest.size && (c->rest.data[size] == 0 || !strchr(stops, c->rest.data[size])))
        size++;
    struct bytes word = bytes_slice(c->rest, 0, size);
    c->rest = bytes_slice(c->rest, size, c->rest.size);
    return word;
}

int grammar_refuse_syntax(struct compiler *c, const char *what)
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
    return grammar_refuse_syntax(c, "a quote is not closed");
}

/* A value of a list or of a member: quoted, or up to a stop. */
int grammar_take_value(struct compiler *c, bool listed, struct buffer *text)
{
    if (!listed) {
        struct bytes all = c->rest;
        c->rest = bytes_slice(all, all.size, 0);
        return buffer_append_bytes(text, all);
    }
    return grammar_take_byte(c, '"') ? take_quoted(c, text)
                                     : buffer_append_bytes(text, grammar_take_until(c, ",)"));
}

int grammar_find_column(struct compiler *c, struct bytes name, const struct relation_column **ret_column)
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
    return grammar_refuse(c->error, VIEW_E_COLUMN, c->name, "view %s has no column '%.*s'; it has %s",
                          c->relation->name, BYTES_PRINT(bytes_slice(name, 0, VIEW_NAME_SIZE_MAX)), columns);
}

/* A column's name inside a list or a tree, quoted or up to a stop. */
int grammar_take_column(struct compiler *c, const char *stops, const struct relation_column **ret_column)
{
    if (!grammar_take_byte(c, '"'))
        return grammar_find_column(c, grammar_take_until(c, stops), ret_column);
    _cleanup_(buffer_deinit) struct buffer name = {0};
    int r = take_quoted(c, &name);
    return r != 0 ? r : grammar_find_column(c, buffer_bytes(&name), ret_column);
}
