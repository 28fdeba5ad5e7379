/* The grammar against SQLite itself: what a question finds, and, for random questions, against a model that evaluates the
 * same tree in C.
 */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "view/grammar.h"

struct fixture {
    sqlite3 *db;
    struct relation *relation;
};

static const char tables[] =
    "attach ':memory:' as v;"
    "create table v.rows (id integer primary key, name text, price real, born date, done boolean);"
    "insert into v.rows values (1, 'anna', 1.5, '2020-01-01', 1), (2, 'Anna', 20, '2021-01-01', 0),"
    " (3, 'bert', 3, null, null), (4, '007', 7, '2022-01-01', 1), (5, 'a,b)\"c\\d', null, '2023-01-01', 0),"
    " (6, null, 6, '2024-01-01', 1), (7, '50%_*?[x]', 7, '2025-01-01', 0);"
    "create view v.v as select id, name, price, born, done, id * 2 as twice, name || '' as label from rows;";

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(sqlite3_open(":memory:", &f->db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(f->db, tables, NULL, NULL, NULL), SQLITE_OK);
    assert_ok(relation_load(f->db, "v", &f->relation));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    relation_free(f->relation);
    assert_int_equal(sqlite3_close(f->db), SQLITE_OK);
    free(f);
    return 0;
}

/* "a=1&b=2" without percent-encoding, as parameters into `parameters`. */
static size_t split(char *url, struct view_parameter *parameters)
{
    size_t count = 0;
    for (char *part = url; *part != '\0'; count++) {
        char *end = strchrnul(part, '&'), *equals = memchr(part, '=', (size_t)(end - part));
        assert_non_null(equals);
        parameters[count] =
            (struct view_parameter){.name = bytes_make(part, (size_t)(equals - part)),
                                    .value = bytes_make(equals + 1, (size_t)(end - equals - 1))};
        part = *end ? end + 1 : end;
    }
    return count;
}

static int compile(struct fixture *f, const char *url, struct grammar_plan *plan, struct grammar_error *error)
{
    _cleanup_(freep) char *copy = strdup(url);
    struct view_parameter parameters[VIEW_PARAMETER_COUNT_MAX];
    assert_non_null(copy);
    size_t count = split(copy, parameters);
    *plan = (struct grammar_plan){0};
    *error = (struct grammar_error){0};
    return grammar_compile(f->relation, parameters, count, (struct bytes){0}, plan, error);
}

static void bind_all(sqlite3_stmt *statement, const struct grammar_plan *plan, bool window)
{
    for (size_t i = 0; i < plan->value_count; i++) {
        const struct grammar_value *value = &plan->values[i];
        int index = (int)i + 1;
        if (value->type == GRAMMAR_INTEGER)
            (void)sqlite3_bind_int64(statement, index, value->integer);
        else if (value->type == GRAMMAR_REAL)
            (void)sqlite3_bind_double(statement, index, value->real);
        else
            (void)sqlite3_bind_text(statement, index, (const char *)plan->texts.data + value->text_offset,
                                    (int)value->text_size, SQLITE_STATIC);
    }
    if (window) {
        assert_int_equal(sqlite3_bind_parameter_count(statement), (int)plan->value_count + 2);
        (void)sqlite3_bind_int64(statement, (int)plan->value_count + 1, (sqlite3_int64)plan->limit);
        (void)sqlite3_bind_int64(statement, (int)plan->value_count + 2, (sqlite3_int64)plan->offset);
    }
}

/* The rows' values, columns separated by ":", rows by " ". */
static void ask(struct fixture *f, const char *url, char *ret_rows, size_t size)
{
    struct grammar_plan plan;
    struct grammar_error error;
    sqlite3_stmt *statement = NULL;
    if (compile(f, url, &plan, &error) != 0)
        fail_msg("%s -> %s", url, error.detail);
    if (sqlite3_prepare_v2(f->db, (const char *)plan.rows_sql.data, (int)plan.rows_sql.size, &statement,
                           NULL) != SQLITE_OK)
        fail_msg("%s -> %s: %s", url, buffer_string(&plan.rows_sql), sqlite3_errmsg(f->db));
    bind_all(statement, &plan, true);
    size_t used = 0;
    ret_rows[0] = '\0';
    while (sqlite3_step(statement) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const char *text = (const char *)sqlite3_column_text(statement, i);
            used += (size_t)snprintf(ret_rows + used, size - used, "%s%s",
                                     i > 0      ? ":"
                                     : used > 0 ? " "
                                                : "",
                                     text ? text : "null");
            assert_true(used < size);
        }
    }
    (void)sqlite3_finalize(statement);
    grammar_plan_deinit(&plan);
}

static const struct {
    const char *url, *rows;
} found[] = {
    {"select=id&id=eq.3", "3"},
    {"select=id&id=neq.3", "1 2 4 5 6 7"},
    {"select=id&id=gt.5", "6 7"},
    {"select=id&id=gte.5&id=lt.7", "5 6"},
    {"select=id&id=lte.1.5", "1"},
    {"select=id&name=eq.007", "4"},
    {"select=id&name=eq.7", ""},
    {"select=id&name=eq.a,b)\"c\\d", "5"},
    {"select=id&label=eq.007", "4"},
    {"select=id&twice=eq.6", "3"},
    {"select=id&twice=gt.9.5", "5 6 7"},
    {"select=id&twice=in.(2,4,x)", "1 2"},
    {"select=id&price=eq.7", "4 7"},
    {"select=id&price=in.(1.5,3)", "1 3"},
    {"select=id&id=in.()", ""},
    {"select=id&id=not.in.(1,2,3)", "4 5 6 7"},
    {"select=id&name=in.(anna,\"a,b)\\\"c\\\\d\")", "1 5"},
    {"select=id&born=gte.2023-01-01", "5 6 7"},
    {"select=id&born=is.null", "3"},
    {"select=id&born=not.is.null&id=lt.4", "1 2"},
    {"select=id&done=is.true", "1 4 6"},
    {"select=id&done=eq.false", "2 5 7"},
    {"select=id&done=is.unknown", "3"},
    {"select=id&name=is.not_null&id=gt.4", "5 7"},
    {"select=id&name=like.a*", "1 5"},
    {"select=id&name=like.%nn%", "1 2"},
    {"select=id&name=like.ann_", "1"},
    {"select=id&name=ilike.ann_", "1 2"},
    {"select=id&name=like.50\\%\\_\\*?[x]", "7"},
    {"select=id&name=not.like.*a*", "3 4 7"},
    {"select=id&or=(id.eq.1,name.eq.bert)", "1 3"},
    {"select=id&and=(id.gt.1,or(name.like.*nna,price.not.is.null))", "2 3 4 6 7"},
    {"select=id&not.or=(id.eq.1,id.in.(2,3))", "4 5 6 7"},
    {"select=id&or=(not.and(id.gt.1,id.lt.7),\"name\".eq.\"a,b)\\\"c\\\\d\")", "1 5 7"},
    {"select=id&order=id.desc&limit=2", "7 6"},
    {"select=id&order=price.desc,id.desc&limit=3", "5 2 7"},
    {"select=id&order=price.asc.nullsfirst&limit=2", "5 1"},
    {"select=id&order=price.desc.nullslast&limit=2", "2 4"},
    {"select=id&limit=2&offset=3", "4 5"},
    {"select=id&limit=0", ""},
    {"select=name,n:id&id=eq.1", "anna:1"},
    {"select=price:id,id:price&order=price.desc.nullslast&limit=1", "2:20.0"},
    {"id=eq.3", "3:bert:3.0:null:null:6:bert"},
    {"select=*&id=eq.3&min_position=4&as_of=3", "3:bert:3.0:null:null:6:bert"},
};

static void a_question_finds_the_rows_it_describes(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        char rows[1024];
        ask(f, found[i].url, rows, sizeof(rows));
        if (strcmp(rows, found[i].rows) != 0)
            fail_msg("%s found '%s', expected '%s'", found[i].url, rows, found[i].rows);
    }
}

static const struct {
    const char *url;
    int answer;
    const char *parameter, *detail;
} refused[] = {
    {"nome=eq.1", VIEW_E_COLUMN, "nome", "view v has no column 'nome'; it has id, name"},
    {"select=id,nome", VIEW_E_COLUMN, "select", "no column"},
    {"order=nome", VIEW_E_COLUMN, "order", "no column"},
    {"or=(nome.eq.1)", VIEW_E_COLUMN, "or", "no column"},
    {"id=5", VIEW_E_OPERATOR, "id", "'5' is no operator"},
    {"id=equals.5", VIEW_E_OPERATOR, "id", "'equals' is no operator"},
    {"id=eq", VIEW_E_OPERATOR, "id", "eq.VALUE"},
    {"id=is.maybe", VIEW_E_OPERATOR, "id", "'maybe'"},
    {"id=eq.five", VIEW_E_PARAMETER, "id", "column id holds numbers, and 'five' is none"},
    {"id=in.(1,x)", VIEW_E_PARAMETER, "id", "holds numbers"},
    {"id=in.1,2", VIEW_E_PARAMETER, "id", "parentheses"},
    {"id=in.(1,2", VIEW_E_PARAMETER, "id", "end is missing"},
    {"id=in.(1)2", VIEW_E_PARAMETER, "id", "more than one value"},
    {"name=in.(\"a)", VIEW_E_PARAMETER, "name", "quote is not closed"},
    {"or=id.eq.1", VIEW_E_PARAMETER, "or", "parentheses"},
    {"or=()", VIEW_E_COLUMN, "or", "no column ''"},
    {"or=(id.eq.1", VIEW_E_PARAMETER, "or", "end is missing"},
    {"or=(id)", VIEW_E_PARAMETER, "or", "COLUMN.OPERATOR.VALUE"},
    {"or=(id.eq.1)x", VIEW_E_PARAMETER, "or", "more than one value"},
    {"limit=-1", VIEW_E_PARAMETER, "limit", "from 0 to 1000000"},
    {"limit=1000001", VIEW_E_PARAMETER, "limit", "from 0 to 1000000"},
    {"limit=1&limit=2", VIEW_E_PARAMETER, "limit", "more than once"},
    {"offset=x", VIEW_E_PARAMETER, "offset", "whole number"},
    {"order=id.up", VIEW_E_PARAMETER, "order", "COLUMN.asc"},
    {"select=id,id", VIEW_E_PARAMETER, "select", "'id' twice"},
    {"select=a b:id", VIEW_E_PARAMETER, "select", "no name for a column"},
    {"name=eq.\xff", VIEW_E_PARAMETER, "name", "UTF-8"},
};

static void what_is_wrong_is_named_by_its_parameter(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct grammar_plan plan;
        struct grammar_error error;
        int r = compile(f, refused[i].url, &plan, &error);
        if (r != refused[i].answer || error.answer != r ||
            strcmp(error.parameter, refused[i].parameter) != 0 || !strstr(error.detail, refused[i].detail))
            fail_msg("%s -> %d '%s' '%s', expected %d '%s' '%s'", refused[i].url, r, error.parameter,
                     error.detail, refused[i].answer, refused[i].parameter, refused[i].detail);
    }
}

static void sql_in_a_question_is_only_a_value(void **state)
{
    static const char *const hostile[] = {
        "select=id&name=eq.'; drop table rows; --",
        "select=id&name=in.(\"');--\",\"1) or (1=1\")",
        "select=id&or=(name.eq.\"x' or '1'='1\",name.like.*';*)",
    };
    struct fixture *f = *state;
    char rows[256];
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        ask(f, hostile[i], rows, sizeof(rows));
        assert_string_equal(rows, "");
    }
    ask(f, "select=id", rows, sizeof(rows));
    assert_string_equal(rows, "1 2 3 4 5 6 7");
}

static void limits_hold(void **state)
{
    struct fixture *f = *state;
    struct grammar_plan plan;
    struct grammar_error error;
    _cleanup_(buffer_deinit) struct buffer deep = {0}, wide = {0}, list = {0}, large = {0};
    assert_ok(buffer_append_string(&deep, "or=("));
    for (int i = 0; i < VIEW_FILTER_DEPTH_MAX; i++)
        assert_ok(buffer_append_string(&deep, "or("));
    assert_int_equal(compile(f, buffer_string(&deep), &plan, &error), VIEW_E_PARAMETER);
    assert_non_null(strstr(error.detail, "16 deep"));
    for (int i = 0; i <= VIEW_FILTER_COUNT_MAX; i++)
        assert_ok(buffer_append_string(&wide, i > 0 ? "&id=eq.1" : "id=eq.1"));
    assert_int_equal(compile(f, buffer_string(&wide), &plan, &error), VIEW_E_PARAMETER);
    assert_non_null(strstr(error.detail, "100 conditions"));
    assert_ok(buffer_append_string(&list, "id=in.(1"));
    for (int i = 0; i < VIEW_LIST_COUNT_MAX; i++)
        assert_ok(buffer_append_string(&list, ",1"));
    assert_ok(buffer_append_string(&list, ")"));
    assert_int_equal(compile(f, buffer_string(&list), &plan, &error), VIEW_E_PARAMETER);
    assert_non_null(strstr(error.detail, "1000 values"));
    assert_ok(buffer_append_string(&large, "name=eq."));
    for (int i = 0; i < VIEW_VALUE_SIZE_MAX; i++)
        assert_ok(buffer_append_byte(&large, 'x'));
    assert_int_equal(compile(f, buffer_string(&large), &plan, &error), VIEW_E_PARAMETER);
    assert_non_null(strstr(error.detail, "8192 bytes"));
}

static void a_range_is_a_window_when_the_url_has_none(void **state)
{
    static const struct {
        const char *range, *url;
        int answer;
        uint64_t offset, limit;
    } cases[] = {
        {"0-9", "", 0, 0, 10},
        {"items=5-5", "", 0, 5, 1},
        {"7-", "", 0, 7, VIEW_ROW_COUNT_DEFAULT},
        {"rubbish", "", 0, 0, 1000},
        {"0-9", "limit=3", 0, 0, 3},
        {"9-5", "", VIEW_E_RANGE, 0, 0},
        {"-5", "", 0, 0, 1000},
        {"0-1000000", "", VIEW_E_PARAMETER, 0, 0},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct view_parameter parameters[4];
        char url[32];
        struct grammar_plan plan = {0};
        struct grammar_error error = {0};
        (void)snprintf(url, sizeof(url), "%s", cases[i].url);
        size_t count = split(url, parameters);
        int r =
            grammar_compile(f->relation, parameters, count, bytes_from_string(cases[i].range), &plan, &error);
        assert_int_equal(r, cases[i].answer);
        if (r == 0) {
            assert_int_equal(plan.offset, cases[i].offset);
            assert_int_equal(plan.limit, cases[i].limit);
            grammar_plan_deinit(&plan);
        }
    }
}

static void the_count_is_of_all_rows_the_window_aside(void **state)
{
    struct fixture *f = *state;
    struct grammar_plan plan;
    struct grammar_error error;
    sqlite3_stmt *statement = NULL;
    assert_ok(compile(f, "id=gt.2&limit=1", &plan, &error));
    assert_int_equal(sqlite3_prepare_v2(f->db, buffer_string(&plan.count_sql), -1, &statement, NULL),
                     SQLITE_OK);
    bind_all(statement, &plan, false);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 5);
    (void)sqlite3_finalize(statement);
    grammar_plan_deinit(&plan);
}

/* --- against a model ----------------------------------------------------------------------------------------------------------------- */

enum truth { NO, YES, NULLED };

static uint64_t seed = 42;

static unsigned pick(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % below);
}

/* A random test on id or price: written into `url`, and evaluated on `row` (price NULL for 5). */
struct node {
    int kind; /* 0 and, 1 or, 2 test */
    bool inverted;
    struct node *children[3];
    int child_count;
    int column, op, value;
};

static const double prices[] = {0, 1.5, 20, 3, 7, -1, 6, 7};

static struct node *make_node(int depth)
{
    struct node *node = calloc(1, sizeof(*node));
    assert_non_null(node);
    node->inverted = pick(3) == 0;
    node->kind = depth == 0 ? 2 : (int)pick(3);
    if (node->kind == 2) {
        node->column = (int)pick(3);
        node->op = (int)pick(6);
        node->value = (int)pick(9);
        return node;
    }
    node->child_count = 1 + (int)pick(3);
    for (int i = 0; i < node->child_count; i++)
        node->children[i] = make_node(depth - 1);
    return node;
}

static void free_node(struct node *node)
{
    for (int i = 0; i < node->child_count; i++)
        free_node(node->children[i]);
    free(node);
}

static void write_node(const struct node *node, struct buffer *url)
{
    static const char *const columns[] = {"id", "price", "twice"};
    static const char *const ops[] = {"eq", "neq", "gt", "gte", "lt", "lte"};
    if (node->kind == 2) {
        assert_ok(buffer_printf(url, "%s.%s%s.%d", columns[node->column], node->inverted ? "not." : "",
                                ops[node->op], node->value));
        return;
    }
    assert_ok(buffer_printf(url, "%s%s(", node->inverted ? "not." : "", node->kind == 0 ? "and" : "or"));
    for (int i = 0; i < node->child_count; i++) {
        if (i > 0)
            assert_ok(buffer_append_byte(url, ','));
        write_node(node->children[i], url);
    }
    assert_ok(buffer_append_byte(url, ')'));
}

static enum truth compare(const struct node *node, int id)
{
    double value = node->column == 0 ? id : node->column == 2 ? 2 * id : prices[id];
    if (node->column == 1 && id == 5)
        return NULLED;
    switch (node->op) {
    case 0: return value == node->value ? YES : NO;
    case 1: return value != node->value ? YES : NO;
    case 2: return value > node->value ? YES : NO;
    case 3: return value >= node->value ? YES : NO;
    case 4: return value < node->value ? YES : NO;
    default: return value <= node->value ? YES : NO;
    }
}

static enum truth evaluate(const struct node *node, int id)
{
    enum truth truth = node->kind == 2 ? compare(node, id) : node->kind == 0 ? YES : NO;
    for (int i = 0; i < node->child_count; i++) {
        enum truth child = evaluate(node->children[i], id), strong = node->kind == 0 ? NO : YES;
        if (child == strong || truth == strong)
            truth = strong;
        else if (child == NULLED)
            truth = NULLED;
    }
    return truth == NULLED || !node->inverted ? truth : truth == YES ? NO : YES;
}

static void random_trees_find_what_a_model_finds(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2000; round++) {
        _cleanup_(buffer_deinit) struct buffer url = {0};
        struct node *node = make_node(3);
        char rows[256], expected[256] = "";
        assert_ok(buffer_append_string(&url, "select=id&and=("));
        write_node(node, &url);
        assert_ok(buffer_append_byte(&url, ')'));
        for (int id = 1; id <= 7; id++) {
            size_t used = strlen(expected);
            if (evaluate(node, id) == YES)
                (void)snprintf(expected + used, sizeof(expected) - used, "%s%d", used > 0 ? " " : "", id);
        }
        free_node(node);
        ask(f, buffer_string(&url), rows, sizeof(rows));
        if (strcmp(rows, expected) != 0)
            fail_msg("%s found '%s', expected '%s'", buffer_string(&url), rows, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define GRAMMAR_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        GRAMMAR_TEST(a_question_finds_the_rows_it_describes),
        GRAMMAR_TEST(what_is_wrong_is_named_by_its_parameter),
        GRAMMAR_TEST(sql_in_a_question_is_only_a_value),
        GRAMMAR_TEST(limits_hold),
        GRAMMAR_TEST(a_range_is_a_window_when_the_url_has_none),
        GRAMMAR_TEST(the_count_is_of_all_rows_the_window_aside),
        GRAMMAR_TEST(random_trees_find_what_a_model_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
