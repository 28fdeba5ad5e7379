#include "lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "view/definition.h"
#include "view/view.h"

static const char good[] = "-- Rooms and what is taken of them.\n"
                           "-- view: rooms\n"
                           "-- version: 3\n"
                           "\n"
                           "create table rooms (hotel text primary key, note text default '-- on Nothing');\n"
                           "-- on RoomsAdded\n"
                           "insert into rooms values (:stream, '\n"
                           "-- on Nothing either\n"
                           "');\n"
                           "-- on RoomBooked, \"Room Left\" ,*\n"
                           "/* a comment\n"
                           "-- on Nothing at all */\n"
                           "update rooms set note = :type;";

static int parse(enum definition_kind kind, const char *file, const char *text, struct definition **ret,
                 char *error)
{
    *ret = NULL;
    return definition_parse(kind, file, bytes_from_string(text), ret, error);
}

static void a_view_is_a_header_its_tables_and_a_section_for_each_type(void **state)
{
    _cleanup_(definition_freep) struct definition *d = NULL;
    char error[VIEW_ERROR_SIZE] = "";
    (void)state;
    assert_ok(parse(DEFINITION_VIEW, "views/rooms.sql", good, &d, error));
    assert_string_equal(d->name, "rooms");
    assert_int_equal(d->version, 3);
    assert_int_equal(d->schema.line, 5);
    assert_int_equal(d->section_count, 2);
    assert_int_equal(d->sections[0].type_count, 1);
    assert_int_equal(d->sections[0].part.line, 7);
    assert_int_equal(d->sections[1].type_count, 3);
    assert_true(bytes_equal_string(d->sections[1].types[1], "Room Left"));
    assert_true(bytes_equal_string(d->sections[1].types[2], "*"));
}

/* What looks like a marker inside a string or a block comment is none. */
static void a_marker_inside_a_string_or_a_comment_is_text(void **state)
{
    _cleanup_(definition_freep) struct definition *d = NULL;
    char error[VIEW_ERROR_SIZE] = "";
    (void)state;
    assert_ok(parse(DEFINITION_VIEW, "views/rooms.sql", good, &d, error));
    assert_non_null(strstr(d->text, "-- on Nothing either"));
    assert_int_equal(d->section_count, 2);
    assert_int_equal(definition_line(d->sections[0].part, 60), 9);
}

static void a_query_is_a_header_and_a_select(void **state)
{
    _cleanup_(definition_freep) struct definition *d = NULL;
    char error[VIEW_ERROR_SIZE] = "";
    (void)state;
    assert_ok(parse(DEFINITION_QUERY, "queries/free.sql",
                    "-- query: free\n-- uses: a, b\n-- param: hotel\n-- param: by text = month of year\n-- "
                    "param: n integer\n"
                    "select 1",
                    &d, error));
    assert_int_equal(d->use_count, 2);
    assert_int_equal(d->param_count, 3);
    assert_int_equal(d->params[0].type, DEFINITION_ANY);
    assert_false(d->params[0].has_default);
    assert_int_equal(d->params[1].type, DEFINITION_TEXT);
    assert_true(bytes_equal_string(d->params[1].default_value, "month of year"));
    assert_int_equal(d->params[2].type, DEFINITION_INTEGER);
    assert_int_equal(d->select.line, 6);
}

static void another_text_is_another_hash(void **state)
{
    _cleanup_(definition_freep) struct definition *a = NULL;
    _cleanup_(definition_freep) struct definition *b = NULL;
    char error[VIEW_ERROR_SIZE] = "";
    (void)state;
    assert_ok(parse(DEFINITION_VIEW, "v.sql",
                    "-- view: v\n-- version: 1\ncreate table v (a);\n-- on X\nselect 1;", &a, error));
    assert_ok(parse(DEFINITION_VIEW, "v.sql",
                    "-- view: v\n-- version: 1\ncreate table v (b);\n-- on X\nselect 1;", &b, error));
    assert_false(hash256_equal(a->hash, b->hash));
}

#define HEAD "-- view: v\n-- version: 1\n"

static const struct {
    enum definition_kind kind;
    const char *text;
    const char *error; /* what the message must hold */
} bad[] = {
    {DEFINITION_VIEW, "", "v.sql:1: the line '-- view: NAME' is missing"},
    {DEFINITION_VIEW, "-- view: v\ncreate table v (a);\n-- on X\nselect 1;", "-- version"},
    {DEFINITION_VIEW, "-- view: w\n-- version: 1\ncreate table w (a);\n-- on X\nselect 1;",
     "the file is named v.sql"},
    {DEFINITION_VIEW, "-- view: v\n-- view: v\n", "v.sql:2: the name is given a second time"},
    {DEFINITION_VIEW, "-- view: 1v\n", "is no name"},
    {DEFINITION_VIEW, "-- view: v\n-- version: one\n", "v.sql:2: 'one' is no version"},
    {DEFINITION_VIEW, "-- view: v\n-- version: 0\n", "is no version"},
    {DEFINITION_VIEW, HEAD "-- on X\nselect 1;", "no tables"},
    {DEFINITION_VIEW, HEAD "create table v (a);", "there is no '-- on TYPE' section"},
    {DEFINITION_VIEW, HEAD "create table v (a);\n-- on X Y\n",
     "v.sql:4: types after '-- on' are separated by commas"},
    {DEFINITION_VIEW, HEAD "create table v (a);\n-- on \"X\n", "v.sql:4: the quote"},
    {DEFINITION_VIEW, HEAD "create table v (a);\n-- on X, Y, X\n", "v.sql:4: type X is listed a second time"},
    {DEFINITION_VIEW, HEAD "create table v (a);\n-- on X,\n", "must not be empty"},
    {DEFINITION_VIEW, HEAD "create table v (a default 'x);\n-- on X\nselect 1;", "ends inside a string"},
    {DEFINITION_VIEW, HEAD "create table v (a); /*\n-- on X\nselect 1;", "ends inside"},
    {DEFINITION_VIEW, "-- view: v\n-- uses: a\n", "v.sql:2: a view has no 'uses:'"},
    {DEFINITION_QUERY, "-- query: v\nselect 1", "-- uses"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a, a\nselect 1", "v.sql:2: view a is listed a second time"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a b\nselect 1", "separated by commas"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a,b,c,d,e,f,g,h,i,j,k\nselect 1", "at most 10 views"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a\n-- param: p day\nselect 1", "v.sql:3: 'day' is no type"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a\n-- param: p (a||b)\nselect 1", "v.sql:3: '(a||b)' is no type"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a\n-- param: p\n-- param: p\nselect 1",
     "declared a second time"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a\n", "there is no select"},
    {DEFINITION_QUERY, "-- query: v\n-- uses: a\nselect '\xff'", "not UTF-8"},
};

static void what_is_wrong_is_named_with_file_and_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct definition *d;
        char error[VIEW_ERROR_SIZE] = "";
        if (parse(bad[i].kind, "v.sql", bad[i].text, &d, error) != DEFINITION_E_INVALID ||
            !strstr(error, bad[i].error))
            fail_msg("%s\n-> '%s', expected '%s'", bad[i].text, error, bad[i].error);
        assert_null(d);
    }
}

static void names_that_are_the_databases_own_are_not_free(void **state)
{
    static const char *const names[] = {"sqlite_x", "daybook_x", "main", "temp"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[128], file[64], error[VIEW_ERROR_SIZE] = "";
        struct definition *d;
        (void)snprintf(text, sizeof(text),
                       "-- view: %s\n-- version: 1\ncreate table x (a);\n-- on X\nselect 1;", names[i]);
        (void)snprintf(file, sizeof(file), "views/%s.sql", names[i]);
        assert_int_equal(parse(DEFINITION_VIEW, file, text, &d, error), DEFINITION_E_INVALID);
        assert_non_null(strstr(error, "is not free"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_is_a_header_its_tables_and_a_section_for_each_type),
        cmocka_unit_test(a_marker_inside_a_string_or_a_comment_is_text),
        cmocka_unit_test(a_query_is_a_header_and_a_select),
        cmocka_unit_test(another_text_is_another_hash),
        cmocka_unit_test(what_is_wrong_is_named_with_file_and_line),
        cmocka_unit_test(names_that_are_the_databases_own_are_not_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
