/* Any question, however written, is refused in words or becomes SQL that SQLite prepares, with as many values as marks.
 * Input: NAME=VALUE lines.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "view/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sqlite3 *db;
static struct relation *relation;

static void open_once(void)
{
    if (db)
        return;
    int code = sqlite3_open(":memory:", &db);
    assert(code == SQLITE_OK);
    code = sqlite3_exec(
        db,
        "attach ':memory:' as v; create table v.v (id integer primary key, name text, price real, born date,"
        " done boolean, any, \"odd \"\"name\" text)",
        NULL, NULL, NULL);
    assert(code == SQLITE_OK);
    int r = relation_load(db, "v", &relation);
    assert(r == 0);
}

static void check_plan(const struct grammar_plan *plan)
{
    sqlite3_stmt *statement = NULL;
    int code =
        sqlite3_prepare_v2(db, (const char *)plan->rows_sql.data, (int)plan->rows_sql.size, &statement, NULL);
    assert(code == SQLITE_OK && sqlite3_stmt_readonly(statement));
    assert(sqlite3_bind_parameter_count(statement) == (int)plan->value_count + 2);
    (void)sqlite3_step(statement);
    (void)sqlite3_finalize(statement);
    code = sqlite3_prepare_v2(db, (const char *)plan->count_sql.data, (int)plan->count_sql.size, &statement,
                              NULL);
    assert(code == SQLITE_OK);
    (void)sqlite3_finalize(statement);
    for (size_t i = 0; i < plan->value_count; i++)
        assert(plan->values[i].type != GRAMMAR_TEXT ||
               plan->values[i].text_offset + plan->values[i].text_size <= plan->texts.size);
    assert(plan->limit <= VIEW_ROW_COUNT_MAX && plan->offset <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view_parameter parameters[VIEW_PARAMETER_COUNT_MAX + 1];
    struct bytes range = {0};
    size_t count = 0;
    open_once();
    for (size_t at = 0; at < size && count <= VIEW_PARAMETER_COUNT_MAX;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end ? (size_t)(end - data) - at : size - at;
        const uint8_t *equals = memchr(data + at, '=', length);
        size_t name = equals ? (size_t)(equals - data) - at : length;
        parameters[count] = (struct view_parameter){.name = bytes_make(data + at, name)};
        if (equals)
            parameters[count].value = bytes_make(equals + 1, length - name - 1);
        if (bytes_equal_string(parameters[count].name, "range"))
            range = parameters[count].value;
        else
            count++;
        at += length + 1;
    }
    struct grammar_plan plan = {0};
    struct grammar_error error = {0};
    int r = grammar_compile(relation, parameters, count, range, &plan, &error);
    assert(r >= 0);
    if (r == 0)
        check_plan(&plan);
    else
        assert(error.answer == r && error.detail[0] != '\0');
    grammar_plan_deinit(&plan);
    return 0;
}
