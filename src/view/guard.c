#include "view/guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "os/clock.h"
#include "view/view.h"

/* Virtual machine steps between two looks at the clock: about a microsecond of small steps. A step may be a function over the
 * longest text there is, so there must not be many between two looks. */
#define GUARD_STEPS 32

static bool has_prefix(const char *name, const char *prefix)
{
    return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* Tables no application has business with: SQLite's, ours, and windows into the engine. */
static bool is_reserved(const char *table)
{
    static const char *const prefixes[] = {"sqlite_", "daybook_", "pragma_", "dbstat", "fts3tokenize"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (has_prefix(table, prefixes[i]))
            return true;
    }
    return false;
}

static int refuse(struct guard *guard, const char *what, const char *name, const char *why)
{
    (void)snprintf(guard->refused, sizeof(guard->refused), "%s%s%.64s %s", what, name ? " " : "",
                   name ? name : "", why);
    return SQLITE_DENY;
}

static int allow_function(struct guard *guard, const char *name)
{
    static const char *const never[] = {"load_extension", "fts3_tokenizer", "sqlite_log"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        if (strcasecmp(name, never[i]) == 0)
            return refuse(guard, "function", name, "is not allowed");
    }
    if (guard->mode == GUARD_SELECT)
        return SQLITE_OK;
    if (guard_clock_is_impure(name))
        return refuse(guard, "function", name,
                      "is not allowed in a view: its rows must depend on the events alone (there is :time)");
    guard->reads_clock |= guard_clock_is_date(name);
    return SQLITE_OK;
}

static int allow_table(struct guard *guard, const char *table)
{
    return table && is_reserved(table) ? refuse(guard, "table", table, "is not the application's")
                                       : SQLITE_OK;
}

/* Making tables writes SQLite's own catalogue; a statement of the application's cannot (SQLite itself refuses). */
static int allow_write(struct guard *guard, const char *table)
{
    if (guard->mode == GUARD_SCHEMA && has_prefix(table, "sqlite_"))
        return SQLITE_OK;
    if (guard->mode == GUARD_SELECT)
        return refuse(guard, "writing to", table, "is not allowed: a query only reads");
    if (has_prefix(table, "sqlite_"))
        return refuse(guard, "making or dropping tables", NULL, "is allowed only before the first '-- on'");
    return allow_table(guard, table);
}

static int allow_create(struct guard *guard, const char *name)
{
    if (guard->mode == GUARD_SCHEMA)
        return name && has_prefix(name, "daybook_") ? refuse(guard, "the name", name, "is daybook's own")
                                                    : SQLITE_OK;
    return refuse(guard, "making or dropping", name, "is allowed only before the first '-- on'");
}

static int authorize(void *user, int action, const char *first, const char *second, const char *database,
                     const char *trigger)
{
    struct guard *guard = (struct guard *)user;
    (void)database, (void)trigger;
    if (guard->mode == GUARD_OPEN)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION: return allow_function(guard, second);
    case SQLITE_READ:
        return guard->mode == GUARD_SCHEMA && has_prefix(first, "sqlite_") ? SQLITE_OK
                                                                           : allow_table(guard, first);
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE: return allow_write(guard, first);
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_VIEW: return allow_create(guard, first);
    case SQLITE_REINDEX: return allow_create(guard, first); /* asked for by create index */
    case SQLITE_ATTACH:
    case SQLITE_DETACH: return refuse(guard, "attach", NULL, "is not allowed");
    case SQLITE_PRAGMA: return refuse(guard, "pragma", first, "is not allowed");
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return refuse(guard, "a transaction", NULL, "is not allowed: daybook begins and commits");
    default: return refuse(guard, "this kind of statement", NULL, "is not allowed");
    }
}

bool guard_is_over(struct guard *guard)
{
    if (guard->stop && atomic_load_explicit(guard->stop, memory_order_relaxed))
        guard->end = GUARD_INTERRUPTED;
    else if (guard->deadline_ns != 0 && os_monotonic_ns() >= guard->deadline_ns)
        guard->end = GUARD_TIMEOUT;
    return guard->end != GUARD_RUNNING;
}

static int look_at_clock(void *user)
{
    return guard_is_over(user);
}

int guard_init(struct guard *guard, sqlite3 *db, bool deterministic, const atomic_bool *stop)
{
    *guard = (struct guard){.db = db, .stop = stop};
    int r = guard_cost_bound(guard);
    if (r == 0 && deterministic)
        r = guard_clock_new(db, &guard->clock);
    if (r < 0)
        return r;
    /* The first use of a table-valued function declares its table, which looks like making one: let it be now. */
    if (sqlite3_exec(db, "select 1 from json_each('[]'), json_tree('[]')", NULL, NULL, NULL) == SQLITE_NOMEM)
        return -ENOMEM;
    (void)sqlite3_limit(db, SQLITE_LIMIT_LENGTH, VIEW_TEXT_SIZE_MAX);
    (void)sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, VIEW_VALUE_SIZE_MAX);
    (void)sqlite3_set_authorizer(db, authorize, guard);
    sqlite3_progress_handler(db, GUARD_STEPS, look_at_clock, guard);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL);
    return 0;
}

void guard_deinit(struct guard *guard)
{
    if (guard->db) {
        (void)sqlite3_set_authorizer(guard->db, NULL, NULL);
        sqlite3_progress_handler(guard->db, 0, NULL, NULL);
    }
    guard_clock_free(guard->clock);
    guard_cost_deinit(guard);
    *guard = (struct guard){0};
}

/* Whether the statement names the present moment outright; a computed one is caught when it is computed. */
static bool says_now(const char *sql, size_t size)
{
    static const char *const words[] = {"'now'", "'localtime'", "'utc'"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i]);
        for (size_t at = 0; at + length <= size; at++) {
            if (strncasecmp(sql + at, words[i], length) == 0)
                return true;
        }
    }
    return false;
}

int guard_prepare(struct guard *guard, enum guard_mode mode, const char *sql, size_t size,
                  sqlite3_stmt **ret_statement, size_t *ret_tail)
{
    sqlite3_stmt *statement = NULL;
    const char *tail = sql;
    guard->mode = mode;
    guard->refused[0] = '\0';
    guard->reads_clock = false;
    int r = sqlite3_prepare_v3(guard->db, sql, (int)size, SQLITE_PREPARE_PERSISTENT, &statement, &tail);
    guard->mode = GUARD_OPEN;
    if (r != SQLITE_OK)
        return r;
    size_t used = (size_t)(tail - sql);
    if (mode != GUARD_SELECT && guard->reads_clock && says_now(sql, used)) {
        (void)sqlite3_finalize(statement);
        (void)refuse(guard, "'now', 'localtime' and 'utc'", NULL,
                     "are not allowed in a view: its rows must depend on the events alone (there is :time)");
        return SQLITE_AUTH;
    }
    *ret_statement = statement;
    *ret_tail = used;
    return SQLITE_OK;
}

void guard_arm(struct guard *guard, uint32_t time_ms)
{
    guard->end = GUARD_RUNNING;
    guard->deadline_ns = time_ms > 0 ? os_monotonic_ns() + time_ms * OS_NS_PER_MS : 0;
}

const char *guard_message(const struct guard *guard)
{
    if (guard->refused[0] != '\0')
        return guard->refused;
    switch (guard->end) {
    case GUARD_TIMEOUT: return "it ran longer than allowed";
    case GUARD_INTERRUPTED: return "it was interrupted";
    case GUARD_RUNNING: break;
    }
    return sqlite3_errmsg(guard->db);
}
