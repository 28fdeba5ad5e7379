/* SQLite's date functions are pure until they are told 'now', no time at all, or to use the machine's time zone. A view
 * may do arithmetic on dates, so they are not forbidden: they are replaced by ones that look at their arguments first and
 * then have SQLite compute, on a private connection whose functions are the original ones.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "view/guard.h"

/* Arguments of a date function; SQLite allows more, nobody writes them. */
#define DATE_ARGUMENT_COUNT_MAX 8

static const char *const date_functions[] = {"date",      "time",      "datetime",
                                             "julianday", "unixepoch", "strftime"};
enum { DATE_FUNCTION_COUNT = sizeof(date_functions) / sizeof(date_functions[0]) };

static const struct impure {
    const char *name;
    int argument_count; /* -1: any */
} impure_functions[] = {
    {"random", 0},
    {"randomblob", 1},
    {"changes", 0},
    {"total_changes", 0},
    {"last_insert_rowid", 0},
    {"sqlite_version", 0},
    {"sqlite_source_id", 0},
    {"sqlite_compileoption_get", 1},
    {"sqlite_compileoption_used", 1},
    {"sqlite_offset", 1},
    {"current_date", 0},
    {"current_time", 0},
    {"current_timestamp", 0},
};
enum { IMPURE_COUNT = sizeof(impure_functions) / sizeof(impure_functions[0]) };

struct date_function {
    struct guard_clock *clock;
    const char *name;
    sqlite3_stmt
        *statements[DATE_ARGUMENT_COUNT_MAX + 1]; /* by number of arguments, made when first needed */
};

struct guard_clock {
    sqlite3 *db; /* with the original functions */
    struct date_function functions[DATE_FUNCTION_COUNT];
};

bool guard_clock_is_impure(const char *function)
{
    for (size_t i = 0; i < IMPURE_COUNT; i++) {
        if (strcasecmp(function, impure_functions[i].name) == 0)
            return true;
    }
    return false;
}

bool guard_clock_is_date(const char *function)
{
    for (size_t i = 0; i < DATE_FUNCTION_COUNT; i++) {
        if (strcasecmp(function, date_functions[i]) == 0)
            return true;
    }
    return false;
}

static void refuse_impure(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count, (void)values;
    sqlite3_result_error(context, "a function was called whose result depends on more than the events", -1);
}

/* strftime's first argument is its format; the time comes after it. */
static bool reads_clock(const char *name, int count, sqlite3_value **values)
{
    static const char *const words[] = {"now", "localtime", "utc"};
    int first = strcmp(name, "strftime") == 0;
    if (count <= first)
        return true;
    for (int i = first; i < count; i++) {
        const char *text =
            sqlite3_value_type(values[i]) == SQLITE_TEXT ? (const char *)sqlite3_value_text(values[i]) : NULL;
        for (size_t w = 0; text && w < sizeof(words) / sizeof(words[0]); w++) {
            if (strcasecmp(text, words[w]) == 0)
                return true;
        }
    }
    return false;
}

static int prepare_date(struct date_function *function, int count)
{
    static const char marks[] = "?,?,?,?,?,?,?,?";
    _Static_assert(sizeof(marks) == 2 * DATE_ARGUMENT_COUNT_MAX, "a mark for each argument");
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "select %s(%.*s)", function->name, 2 * count - 1, marks);
    return sqlite3_prepare_v3(function->clock->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                              &function->statements[count], NULL);
}

static void call_date(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct date_function *function = (struct date_function *)sqlite3_user_data(context);
    if (count > DATE_ARGUMENT_COUNT_MAX || reads_clock(function->name, count, values)) {
        sqlite3_result_error(context,
                             "a date function was asked for the present or for a time zone: use :time", -1);
        return;
    }
    if (!function->statements[count] && prepare_date(function, count) != SQLITE_OK) {
        sqlite3_result_error_nomem(context);
        return;
    }
    sqlite3_stmt *statement = function->statements[count];
    for (int i = 0; i < count; i++)
        (void)sqlite3_bind_value(statement, i + 1, values[i]);
    if (sqlite3_step(statement) == SQLITE_ROW)
        sqlite3_result_value(context, sqlite3_column_value(statement, 0));
    else
        sqlite3_result_error(context, sqlite3_errmsg(function->clock->db), -1);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
}

int guard_clock_new(sqlite3 *db, struct guard_clock **ret_clock)
{
    struct guard_clock *clock = calloc(1, sizeof(*clock));
    if (!clock)
        return -ENOMEM;
    int r = sqlite3_open_v2(":memory:", &clock->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    for (size_t i = 0; r == SQLITE_OK && i < DATE_FUNCTION_COUNT; i++) {
        clock->functions[i] = (struct date_function){.clock = clock, .name = date_functions[i]};
        r = sqlite3_create_function_v2(db, date_functions[i], -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                       &clock->functions[i], call_date, NULL, NULL, NULL);
    }
    for (size_t i = 0; r == SQLITE_OK && i < IMPURE_COUNT; i++) {
        r = sqlite3_create_function_v2(db, impure_functions[i].name, impure_functions[i].argument_count,
                                       SQLITE_UTF8, NULL, refuse_impure, NULL, NULL, NULL);
    }
    if (r != SQLITE_OK) {
        guard_clock_free(clock);
        return r == SQLITE_NOMEM ? -ENOMEM : -EIO;
    }
    *ret_clock = clock;
    return 0;
}

void guard_clock_free(struct guard_clock *clock)
{
    if (!clock)
        return;
    for (size_t i = 0; i < DATE_FUNCTION_COUNT; i++) {
        for (size_t count = 0; count <= DATE_ARGUMENT_COUNT_MAX; count++)
            (void)sqlite3_finalize(clock->functions[i].statements[count]);
    }
    (void)sqlite3_close(clock->db);
    free(clock);
}
