/* Usage: app_load_test APP.SO OTHER.SO: a right one, and a shared object that is no application. */

#include "lib/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "command/app_load.h"
#include "command/command.h"
#include "lib/counter_app.h"

static const char *right_path, *other_path;

/* The table that wrong_app() hands out; each test breaks one thing in it. */
static struct daybook_app table;
static struct daybook_kind kinds[2];
static struct daybook_command commands[2];
static struct daybook_field fields[2];
static struct daybook_upcaster upcaster;
static int returned;
static size_t struct_size;

static int wrong_app(const struct daybook_host *host, struct daybook_app *ret_app)
{
    size_t size = ret_app->struct_size;
    *ret_app = table;
    ret_app->struct_size = struct_size ? struct_size : size;
    return returned;
}

static void evolve(struct daybook_state *state, const struct daybook_event *event) {}
static void tags(const struct daybook_value *values, struct daybook_tags *to) {}
static void decide(const struct daybook_state *const states[], const struct daybook_value *values,
                   struct daybook_out *out)
{
}

static int setup(void **state)
{
    for (int i = 0; i < 2; i++) {
        kinds[i] = (struct daybook_kind){.prefix = i ? "b" : "a", .state_size = 1, .evolve = evolve};
        fields[i] = (struct daybook_field){i ? "y" : "x", DAYBOOK_TYPE_TEXT, 0, 0, NULL};
        commands[i] = (struct daybook_command){
            .name = i ? "B" : "A", .fields = fields, .field_count = 2, .tags = tags, .decide = decide};
    }
    table = (struct daybook_app){.version = DAYBOOK_APP_VERSION,
                                 .name = "wrong",
                                 .kinds = kinds,
                                 .kind_count = 2,
                                 .commands = commands,
                                 .command_count = 2};
    returned = 0;
    struct_size = 0;
    return 0;
}

static void assert_error(const char *expected)
{
    struct daybook_app ignored;
    char error[APP_ERROR_SIZE] = "";
    int r = app_init(wrong_app, &ignored, error);
    assert_string_equal(error, expected);
    assert_int_equal(r, *expected ? COMMAND_E_APP : 0);
}

static void an_application_is_loaded_from_its_file(void **state)
{
    daybook_app_fn *app = NULL;
    struct daybook_app loaded;
    char error[APP_ERROR_SIZE] = "";
    assert_ok(app_load(right_path, &app, error));
    assert_ok(app_init(app, &loaded, error));
    assert_string_equal(loaded.name, "counter");
    assert_int_equal(loaded.command_count, 6);
}

static void a_file_that_is_none_is_named(void **state)
{
    daybook_app_fn *app = NULL;
    char error[APP_ERROR_SIZE] = "";
    assert_int_equal(app_load("/nonexistent/app.so", &app, error), COMMAND_E_APP);
    assert_string_equal(error, "/nonexistent/app.so: No such file or directory");
    assert_int_equal(app_load("/dev/null", &app, error), COMMAND_E_APP);
    assert_non_null(strstr(error, "cannot load the application"));
    assert_int_equal(app_load(other_path, &app, error), COMMAND_E_APP);
    assert_non_null(strstr(error, "does not export daybook_app()"));
    assert_null(app);
}

static void the_whole_application_is_refused_by_version_size_or_its_own_word(void **state)
{
    assert_error("");
    table.version = 2;
    assert_error("the application is made for version 2 of daybook/app.h, this server has version 1");
    struct_size = 8;
    assert_error("the application changed struct_size: it was compiled against another daybook/app.h");
    returned = 5;
    assert_error("the application says it cannot run on this server (5)");
    setup(state);
    table.name = NULL;
    assert_error("the application has no name");
}

static void a_kind_with_a_mistake_is_named(void **state)
{
    table.kind_count = 0;
    assert_error("the application has 0 kinds of tag, not 1 to 64");
    setup(state);
    kinds[1].prefix = "a:b";
    assert_error("kind 1 of the application has no valid prefix");
    setup(state);
    kinds[1].prefix = "a";
    assert_error("kind a is in the table twice");
    setup(state);
    kinds[0].evolve = NULL;
    assert_error("kind a has no evolve()");
    setup(state);
    kinds[0].state_size = DAYBOOK_STATE_SIZE_MAX + 1;
    assert_error("kind a: a state of 16777217 bytes is above DAYBOOK_STATE_SIZE_MAX (16777216)");
}

static void a_command_with_a_mistake_is_named(void **state)
{
    table.commands = NULL;
    assert_error("the application has 2 commands, not 1 to 1000");
    setup(state);
    commands[1].name = "";
    assert_error("command 1 of the application has no valid name");
    setup(state);
    commands[1].name = "A";
    assert_error("command A is in the table twice");
    setup(state);
    commands[0].decide = NULL;
    assert_error("command A has no decide()");
    setup(state);
    commands[0].tags = NULL;
    assert_error("command A has no tags()");
    setup(state);
    table.upcasters = &upcaster;
    table.upcaster_count = 1;
    assert_error("upcaster 0 of the application has no type or no upcast()");
}

static void a_field_with_a_mistake_is_named(void **state)
{
    commands[0].field_count = DAYBOOK_FIELD_COUNT_MAX + 1;
    assert_error("command A has 65 fields, at most 64 are allowed");
    setup(state);
    fields[1].name = NULL;
    assert_error("command A: field 1 has no valid name");
    setup(state);
    fields[1].name = "x";
    assert_error("command A: field x is in the table twice");
    setup(state);
    fields[1].type = (enum daybook_type)99;
    assert_error("command A: field y has no valid type or limits");
    setup(state);
    fields[1].min = 5;
    fields[1].max = 4;
    assert_error("command A: field y has no valid type or limits");
}

int main(int argc, char **argv)
{
    right_path = argc > 1 ? argv[1] : "";
    other_path = argc > 2 ? argv[2] : "";
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(an_application_is_loaded_from_its_file),
        TEST(a_file_that_is_none_is_named),
        TEST(the_whole_application_is_refused_by_version_size_or_its_own_word),
        TEST(a_kind_with_a_mistake_is_named),
        TEST(a_command_with_a_mistake_is_named),
        TEST(a_field_with_a_mistake_is_named),
    };
    return cmocka_run_group_tests_name("app_load", tests, NULL, NULL);
}
