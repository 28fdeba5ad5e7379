#include "lib/cmocka_all.h"

#include "base/cleanup.h"
#include "command/app_load.h"
#include "command/command.h"
#include "command/out.h"
#include "command/state.h"

static const struct daybook_host *const host = &command_host;

/* A state that keeps what the getters said of the last event. */
struct seen {
    char text[32];
    size_t text_size;
    int64_t integer, date;
    bool has_text, has_integer, has_boolean, has_date, boolean;
    char type[32];
    uint64_t position;
    int64_t time_us;
    const char *name; /* asked for; set by the test */
};

static const char *asked = "value";

static void seen_evolve(struct daybook_state *state, const struct daybook_event *event)
{
    struct seen *seen = state->data;
    struct daybook_text text = host->event_type(event);
    *seen = (struct seen){.position = host->event_position(event), .time_us = host->event_time_us(event)};
    memcpy(seen->type, text.data, text.size);
    seen->has_text = host->get_text(event, asked, &text);
    if (seen->has_text) {
        memcpy(seen->text, text.data, text.size);
        seen->text_size = text.size;
    }
    seen->has_integer = host->get_integer(event, asked, &seen->integer);
    seen->has_boolean = host->get_boolean(event, asked, &seen->boolean);
    seen->has_date = host->get_date(event, asked, &seen->date);
}

static void grow_init(struct daybook_state *state)
{
    memset(state->data, 7, state->size);
}

static void grow_evolve(struct daybook_state *state, const struct daybook_event *event)
{
    int64_t size;
    if (host->get_integer(event, "size", &size))
        host->grow(state, (size_t)size);
}

static const struct daybook_kind seen_kind = {
    .prefix = "seen", .state_size = sizeof(struct seen), .evolve = seen_evolve};
static const struct daybook_kind grow_kind = {
    .prefix = "grow", .state_size = 4, .init = grow_init, .evolve = grow_evolve};

static void upcast_first(const struct daybook_event *old, struct daybook_out *out)
{
    int64_t value = 0;
    host->get_integer(old, "number", &value);
    host->event(out, "Tried.2", (struct daybook_text){0});
    host->put_integer(out, "worth", value);
}

static void upcast_second(const struct daybook_event *old, struct daybook_out *out)
{
    int64_t value = 0;
    host->get_integer(old, "worth", &value);
    host->event(out, "Tried.3", (struct daybook_text){0});
    host->put_integer(out, "value", value + 1);
}

static void upcast_in_circles(const struct daybook_event *old, struct daybook_out *out)
{
    host->event(out, "Round", (struct daybook_text){0});
}

static void upcast_nothing(const struct daybook_event *old, struct daybook_out *out) {}

static const struct daybook_upcaster upcasters[] = {{"Tried.1", upcast_first},
                                                    {"Tried.2", upcast_second},
                                                    {"Round", upcast_in_circles},
                                                    {"Empty", upcast_nothing}};
static const struct daybook_app app = {.upcasters = upcasters, .upcaster_count = 4};

static int fold(struct command_state *state, const char *type, const char *data)
{
    struct command_folder folder = {.app = &app};
    int r = command_state_fold(
        state, &folder,
        &(struct journal_event){
            .position = 7, .time_us = 9, .type = bytes_from_string(type), .data = bytes_from_string(data)});
    command_folder_deinit(&folder);
    return r;
}

static struct seen see(const char *name, const char *type, const char *data)
{
    _cleanup_(command_state_freep) struct command_state *state = NULL;
    asked = name;
    assert_ok(command_state_new(&seen_kind, &state));
    assert_ok(fold(state, type, data));
    assert_int_equal(state->position, 7);
    return *(struct seen *)state->view.data;
}

static void evolve_sees_type_position_and_time(void **state)
{
    struct seen seen = see("value", "Tried", "{}");
    assert_string_equal(seen.type, "Tried");
    assert_int_equal(seen.position, 7);
    assert_int_equal(seen.time_us, 9);
}

static void getters_answer_their_own_type_only(void **state)
{
    struct seen seen = see("value", "Tried", "{\"value\":\"2026-01-02\"}");
    assert_true(seen.has_text && seen.has_date && !seen.has_integer && !seen.has_boolean);
    assert_int_equal(seen.date, 20455);
    seen = see("value", "Tried", "{\"value\":-5}");
    assert_true(!seen.has_text && !seen.has_date && seen.has_integer && !seen.has_boolean);
    assert_int_equal(seen.integer, -5);
    seen = see("value", "Tried", "{\"value\":true}");
    assert_true(!seen.has_text && !seen.has_integer && seen.has_boolean && seen.boolean);
    seen = see("value", "Tried", "{\"other\":1}");
    assert_true(!seen.has_text && !seen.has_date && !seen.has_integer && !seen.has_boolean);
}

static void a_text_comes_unescaped(void **state)
{
    struct seen seen = see("value", "Tried", "{\"value\":\"a\\u00e9\\n\"}");
    assert_int_equal(seen.text_size, 4);
    assert_memory_equal(seen.text, "a\xc3\xa9\n", 4);
}

static void a_pointer_reaches_inside(void **state)
{
    const char *data = "{\"a/b\":[{\"c\":1},{\"c\":2}],\"m~n\":3,\"\":4}";
    assert_int_equal(see("/a~1b/1/c", "Tried", data).integer, 2);
    assert_int_equal(see("/m~0n", "Tried", data).integer, 3);
    assert_int_equal(see("/", "Tried", data).integer, 4);
    assert_false(see("/a~1b/2/c", "Tried", data).has_integer);
    assert_false(see("/a~1b/x", "Tried", data).has_integer);
    assert_false(see("/m~0n/0", "Tried", data).has_integer);
}

static void data_that_is_not_json_has_no_members(void **state)
{
    assert_false(see("value", "Tried", "\x01\x02").has_integer);
    assert_false(see("value", "Tried", "").has_integer);
    assert_false(see("value", "Tried", "[1]").has_integer);
}

static void a_state_grows_with_zeroes_and_keeps_its_content(void **state)
{
    _cleanup_(command_state_freep) struct command_state *grown = NULL, *copy = NULL;
    assert_ok(command_state_new(&grow_kind, &grown));
    assert_ok(fold(grown, "Tried", "{\"size\":1000}"));
    assert_int_equal(grown->view.size, 1000);
    assert_memory_equal(grown->view.data, "\7\7\7\7\0\0\0\0", 8);
    assert_ok(fold(grown, "Tried", "{\"size\":10}"));
    assert_int_equal(grown->view.size, 1000);
    assert_ok(command_state_copy(grown, &copy));
    assert_int_equal(copy->view.size, 1000);
    assert_memory_equal(copy->view.data, grown->view.data, 1000);
}

static void a_state_does_not_grow_above_its_limit(void **state)
{
    _cleanup_(command_state_freep) struct command_state *grown = NULL;
    assert_ok(command_state_new(&grow_kind, &grown));
    assert_ok(fold(grown, "Tried", "{\"size\":16777216}"));
    assert_int_equal(fold(grown, "Tried", "{\"size\":16777217}"), COMMAND_E_APP);
    assert_true(grown->failed);
}

static void an_old_event_arrives_in_todays_form(void **state)
{
    struct seen seen = see("value", "Tried.1", "{\"number\":41}");
    assert_string_equal(seen.type, "Tried.3");
    assert_int_equal(seen.integer, 42);
    assert_int_equal(seen.position, 7);
}

static void an_upcaster_that_goes_in_circles_or_builds_nothing_is_stopped(void **state)
{
    _cleanup_(command_state_freep) struct command_state *seen = NULL;
    assert_ok(command_state_new(&seen_kind, &seen));
    assert_int_equal(fold(seen, "Round", "{}"), COMMAND_E_APP);
    assert_int_equal(fold(seen, "Empty", "{}"), COMMAND_E_APP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evolve_sees_type_position_and_time),
        cmocka_unit_test(getters_answer_their_own_type_only),
        cmocka_unit_test(a_text_comes_unescaped),
        cmocka_unit_test(a_pointer_reaches_inside),
        cmocka_unit_test(data_that_is_not_json_has_no_members),
        cmocka_unit_test(a_state_grows_with_zeroes_and_keeps_its_content),
        cmocka_unit_test(a_state_does_not_grow_above_its_limit),
        cmocka_unit_test(an_old_event_arrives_in_todays_form),
        cmocka_unit_test(an_upcaster_that_goes_in_circles_or_builds_nothing_is_stopped),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
