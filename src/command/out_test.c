#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "command/app_load.h"
#include "command/command.h"
#include "command/out.h"
#include "lib/app_kit.h"
#include "lib/counter_app.h"

static const struct daybook_host *const host = &command_host;

struct bench {
    struct daybook_app app;
    struct arena arena;
    struct daybook_out out;
};

static int setup(void **state)
{
    static struct bench bench;
    char error[APP_ERROR_SIZE];
    bench = (struct bench){0};
    assert_ok(app_init(counter_app, &bench.app, error));
    bench.out = (struct daybook_out){.app = &bench.app, .arena = &bench.arena};
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    command_out_deinit(&bench->out);
    arena_deinit(&bench->arena);
    return 0;
}

static struct daybook_out *out_of(void **state)
{
    return &((struct bench *)*state)->out;
}

static void assert_text(struct bytes text, const char *expected)
{
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
}

static void an_event_has_what_was_put_into_it(void **state)
{
    struct daybook_out *out = out_of(state);
    host->event(out, "Tried", DAYBOOK_TEXT("stream-1"));
    host->put_text(out, "text", DAYBOOK_TEXT("\"a\"\n"));
    host->put_integer(out, "integer", INT64_MIN);
    host->put_boolean(out, "boolean", true);
    host->put_date(out, "date", 0);
    host->put_null(out, "nothing");
    host->open_array(out, "array");
    host->put_integer(out, NULL, 1);
    host->open_object(out, NULL);
    host->put_integer(out, "deep", 2);
    host->close(out);
    host->close(out);
    assert_ok(command_out_finish(out));
    assert_int_equal(out->event_count, 1);
    assert_text(out->events[0].type, "Tried");
    assert_text(out->events[0].stream, "stream-1");
    assert_text(out->events[0].data, "{\"text\":\"\\\"a\\\"\\n\",\"integer\":-9223372036854775808,"
                                     "\"boolean\":true,\"date\":\"1970-01-01\","
                                     "\"nothing\":null,\"array\":[1,{\"deep\":2}]}");
}

static void tags_are_a_sorted_set_with_escaped_parts(void **state)
{
    struct daybook_out *out = out_of(state);
    const struct daybook_text parts[] = {DAYBOOK_TEXT("a/b"), DAYBOOK_TEXT("50%")};
    host->event(out, "Tried", (struct daybook_text){0});
    host->event_tag(out, "counter", parts, 2);
    host->event_tag(out, "counter", parts, 1);
    host->event_tag(out, "counter", parts, 2);
    assert_ok(command_out_finish(out));
    assert_int_equal(out->events[0].tag_count, 2);
    assert_text(out->events[0].tags[0], "counter:a%2Fb");
    assert_text(out->events[0].tags[1], "counter:a%2Fb/50%25");
}

static void each_event_has_its_own_tags(void **state)
{
    struct daybook_out *out = out_of(state);
    host->event(out, "One", (struct daybook_text){0});
    host->event_tag(out, "counter", &DAYBOOK_TEXT("1"), 1);
    host->event(out, "Two", (struct daybook_text){0});
    assert_ok(command_out_finish(out));
    assert_int_equal(out->event_count, 2);
    assert_int_equal(out->events[0].tag_count, 1);
    assert_int_equal(out->events[1].tag_count, 0);
    assert_text(out->events[1].data, "{}");
}

static void a_refusal_takes_events_back_and_the_first_one_stands(void **state)
{
    struct daybook_out *out = out_of(state);
    host->event(out, "Tried", (struct daybook_text){0});
    host->refuse(out, "no", "No.");
    host->put_integer(out, "why", 1);
    host->refuse(out, "never", "Never.");
    host->event(out, "Tried", (struct daybook_text){0});
    assert_ok(command_out_finish(out));
    assert_true(out->refused);
    assert_int_equal(out->event_count, 0);
    assert_text(out->rule, "no");
    assert_text(out->sentence, "No.");
    assert_text(out->facts, "{\"why\":1}");
}

/* RFC 9457: a fact must not stand in the place of the problem's own members; deeper inside it may. */
static void a_fact_has_a_name_of_its_own(void **state)
{
    struct daybook_out *out = out_of(state);
    host->event(out, "Tried", (struct daybook_text){0});
    host->put_integer(out, "status", 1);
    host->refuse(out, "no", "No.");
    host->open_object(out, "inside");
    host->put_integer(out, "status", 1);
    host->close(out);
    assert_ok(command_out_finish(out));
    command_out_clear(out);
    host->refuse(out, "no", "No.");
    host->put_integer(out, "status", 1);
    assert_int_equal(command_out_finish(out), COMMAND_E_APP);
    assert_string_equal(out->problem, "a fact may not be called \"status\"");
}

static void nothing_is_a_decision_too(void **state)
{
    assert_ok(command_out_finish(out_of(state)));
    assert_int_equal(out_of(state)->event_count, 0);
    assert_false(out_of(state)->refused);
}

static void it_can_be_used_again_after_a_mistake(void **state)
{
    struct daybook_out *out = out_of(state);
    host->put_integer(out, "early", 1);
    assert_int_equal(command_out_finish(out), COMMAND_E_APP);
    command_out_clear(out);
    host->event(out, "Tried", (struct daybook_text){0});
    assert_ok(command_out_finish(out));
    assert_int_equal(out->event_count, 1);
}

/* Each way to break the contract is answered with a sentence, and nothing of the command stays. */
static void every_mistake_is_named(void **state)
{
    static const struct {
        const char *how, *problem;
    } rows[] = {
        {"put first", "a value was put before event() or refuse()"},
        {"not closed", "an event left 1 object(s) or array(s) open"},
        {"closed twice", "close() without open_object() or open_array()"},
        {"not UTF-8", "a text that is not UTF-8"},
        {"no name", "a value without a name inside an object"},
        {"bad type", "event type \"\" must not be empty"},
        {"unknown kind", "event_tag() named the kind \"nothing\", which is not in the table"},
        {"too deep", "more than DAYBOOK_DEPTH_MAX objects and arrays are open"},
        {"too many events", "more than JOURNAL_EVENT_COUNT_MAX events"},
        {"too many tags", "an event with more than JOURNAL_TAG_COUNT_MAX tags"},
        {"system type", NULL},
        {"bad stream", NULL},
        {"same name twice", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct app_kit *kit = app_kit_new(counter_app);
        char json[128];
        snprintf(json, sizeof(json), "{\"counter\":\"a\",\"how\":\"%s\"}", rows[i].how);
        struct app_kit_answer answer = app_kit_command(kit, "Break", bytes_from_string(json));
        assert_int_equal(answer.answer, COMMAND_E_APP);
        assert_int_equal(app_kit_event_count(kit), 0);
        assert_non_null(answer.problem);
        if (rows[i].problem)
            assert_string_equal(answer.problem, rows[i].problem);
        app_kit_free(kit);
    }
}

static void every_mistake_of_a_boundary_is_named(void **state)
{
    static const struct {
        const char *how, *problem;
    } rows[] = {
        {"unknown kind", "tags() named the kind \"nothing\", which is not in the table"},
        {"too many", "tags() named more than DAYBOOK_BOUNDARY_COUNT_MAX tags"},
        {"nothing", "tags() named no tag"},
        {"too long", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct app_kit *kit = app_kit_new(counter_app);
        char json[128];
        snprintf(json, sizeof(json), "{\"how\":\"%s\"}", rows[i].how);
        struct app_kit_answer answer = app_kit_command(kit, "Tags", bytes_from_string(json));
        assert_int_equal(answer.answer, COMMAND_E_APP);
        assert_non_null(answer.problem);
        if (rows[i].problem)
            assert_string_equal(answer.problem, rows[i].problem);
        app_kit_free(kit);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_event_has_what_was_put_into_it),
        TEST(tags_are_a_sorted_set_with_escaped_parts),
        TEST(each_event_has_its_own_tags),
        TEST(a_refusal_takes_events_back_and_the_first_one_stands),
        TEST(a_fact_has_a_name_of_its_own),
        TEST(nothing_is_a_decision_too),
        TEST(it_can_be_used_again_after_a_mistake),
        TEST(every_mistake_is_named),
        TEST(every_mistake_of_a_boundary_is_named),
    };
    return cmocka_run_group_tests_name("out", tests, NULL, NULL);
}
