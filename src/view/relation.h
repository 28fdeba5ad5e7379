/* relation: the columns of the table or SQL view that is public under the view's name.
 *
 * SQLite's types are those of values, not of columns; what a column says of itself decides how a value from a URL is
 * compared with it, and how it is written as JSON.
 */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

enum { RELATION_E_MISSING = 1 };

enum relation_affinity {
    RELATION_UNKNOWN, /* an expression, or declared without a type: a row's value may be text or number */
    RELATION_TEXT,
    RELATION_NUMBER,  /* integer, real */
    RELATION_NUMERIC, /* SQLite's numeric: "date", "decimal": text that looks like a number is one */
};

/* How a value is written as JSON, by the column's declared type. */
enum relation_form { RELATION_PLAIN, RELATION_BOOLEAN, RELATION_JSON };

struct relation_column {
    char *name;
    enum relation_affinity affinity;
    enum relation_form form;
    int key;       /* place in the primary key from 1; 0: not in it */
    bool not_null; /* declared so */
};

struct relation {
    char *name;
    struct relation_column *columns;
    size_t count;
    size_t key_count;
    bool is_table; /* without a primary key rows still have an order: rowid */
};

/* Look at table or SQL view `name` of schema `main`. 0, RELATION_E_MISSING, -ENOMEM, -EIO. */
int relation_load(sqlite3 *db, const char *name, struct relation **ret_relation);
void relation_free(struct relation *relation);
static inline void relation_freep(struct relation **relation)
{
    relation_free(*relation);
}

/* NULL: there is no such column. */
const struct relation_column *relation_find(const struct relation *relation, struct bytes name);

/* The form a declared type asks for; NULL is fine. */
enum relation_form relation_form_of(const char *declared);
