#include "view/relation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/vector.h"

/* SQLite's rules for the affinity of a declared type, in the order they are tried ("Datatypes In SQLite", §3.1). */
static const struct {
    const char *part;
    enum relation_affinity affinity;
} affinities[] = {
    {"INT", RELATION_NUMBER},  {"CHAR", RELATION_TEXT},    {"CLOB", RELATION_TEXT},
    {"TEXT", RELATION_TEXT},   {"BLOB", RELATION_UNKNOWN}, {"REAL", RELATION_NUMBER},
    {"FLOA", RELATION_NUMBER}, {"DOUB", RELATION_NUMBER},
};

static enum relation_affinity affinity_of(const char *declared)
{
    if (!declared || declared[0] == '\0')
        return RELATION_UNKNOWN;
    for (size_t i = 0; i < sizeof(affinities) / sizeof(affinities[0]); i++) {
        if (strcasestr(declared, affinities[i].part))
            return affinities[i].affinity;
    }
    return RELATION_NUMERIC;
}

enum relation_form relation_form_of(const char *declared)
{
    if (declared && (strcasecmp(declared, "boolean") == 0 || strcasecmp(declared, "bool") == 0))
        return RELATION_BOOLEAN;
    bool json = declared && (strcasecmp(declared, "json") == 0 || strcasecmp(declared, "json blob") == 0); /* schema.h */
    return json ? RELATION_JSON : RELATION_PLAIN;
}

static int add_column(struct relation *relation, size_t *capacity, sqlite3_stmt *row)
{
    if (vector_reserve(&relation->columns, capacity, relation->count + 1) < 0)
        return -ENOMEM;
    const char *name = (const char *)sqlite3_column_text(row, 0),
               *declared = (const char *)sqlite3_column_text(row, 1);
    struct relation_column *column = &relation->columns[relation->count];
    *column = (struct relation_column){
        .name = name ? strdup(name) : NULL,
        .affinity = affinity_of(declared),
        .form = relation_form_of(declared),
        .key = sqlite3_column_int(row, 2),
        .not_null = sqlite3_column_int(row, 3) != 0,
    };
    if (!column->name)
        return -ENOMEM;
    relation->count++;
    relation->key_count += column->key > 0;
    return 0;
}

static int load_columns(sqlite3 *db, struct relation *relation)
{
    sqlite3_stmt *rows = NULL;
    size_t capacity = 0;
    /* hidden = 1: a virtual table's hidden column; 2 and 3 are generated ones, as good as any. */
    int r = sqlite3_prepare_v2(
        db, "select name, type, pk, \"notnull\" from pragma_table_xinfo(?) where hidden <> 1 order by cid",
        -1, &rows, NULL);
    if (r != SQLITE_OK)
        return -EIO;
    (void)sqlite3_bind_text(rows, 1, relation->name, -1, SQLITE_STATIC);
    int result = 0;
    while (result == 0 && (r = sqlite3_step(rows)) == SQLITE_ROW)
        result = add_column(relation, &capacity, rows);
    (void)sqlite3_finalize(rows);
    if (result == 0 && r != SQLITE_DONE)
        result = -EIO;
    return result;
}

/* Whether there is a table of the name with a rowid to order by. */
static bool has_rowid(sqlite3 *db, const char *name)
{
    sqlite3_stmt *rows = NULL;
    bool found = false;
    if (sqlite3_prepare_v2(db, "select 1 from pragma_table_list(?) where type = 'table' and wr = 0", -1,
                           &rows, NULL) == SQLITE_OK) {
        (void)sqlite3_bind_text(rows, 1, name, -1, SQLITE_STATIC);
        found = sqlite3_step(rows) == SQLITE_ROW;
    }
    (void)sqlite3_finalize(rows);
    return found;
}

int relation_load(sqlite3 *db, const char *name, struct relation **ret_relation)
{
    _cleanup_(relation_freep) struct relation *relation = calloc(1, sizeof(*relation));
    if (!relation)
        return -ENOMEM;
    relation->name = strdup(name);
    if (!relation->name)
        return -ENOMEM;
    int r = load_columns(db, relation);
    if (r != 0)
        return r;
    if (relation->count == 0)
        return RELATION_E_MISSING;
    relation->is_table = has_rowid(db, name);
    *ret_relation = take_ptr(relation);
    return 0;
}

void relation_free(struct relation *relation)
{
    if (!relation)
        return;
    for (size_t i = 0; i < relation->count; i++)
        free(relation->columns[i].name);
    free(relation->columns);
    free(relation->name);
    free(relation);
}

const struct relation_column *relation_find(const struct relation *relation, struct bytes name)
{
    for (size_t i = 0; i < relation->count; i++) {
        if (bytes_equal_string(name, relation->columns[i].name))
            return &relation->columns[i];
    }
    return NULL;
}
