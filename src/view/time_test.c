/* V6: what runs long, or would, and who need not wait for it. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "lib/view_kit.h"

static int set_up(void **state)
{
    struct view_kit *kit = calloc(1, sizeof(*kit));
    assert_non_null(kit);
    view_kit_init(kit);
    view_kit_write_application(kit);
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    view_kit_deinit(*state);
    free(*state);
    return 0;
}

static void open_with(struct view_kit *kit, unsigned events)
{
    view_kit_append(kit, events, 7);
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
}

struct waiting {
    struct view_request request;
    struct view_parameter parameter;
    struct view_answer answer;
    int done;
};

static void note_done(struct view_request *request, struct view_answer *answer)
{
    struct waiting *waiting = request->user;
    waiting->answer = *answer;
    __atomic_store_n(&waiting->done, 1, __ATOMIC_SEQ_CST);
}

/* Texts and patterns whose product would take minutes: every function that SQLite would not look up from. */
static void no_function_outlives_the_time_limit(void **state)
{
    struct view_kit *kit = *state;
    static const struct {
        const char *sql, *url;
    } hostile[] = {
        {"(select n like p from texts)", "queries/hostile"},
        {"(select n glob replace(replace(p, '%', '*'), '_', '?') from texts)", "queries/hostile"},
        {"(select trim(n, replace(p, 'a', :other) || 'a') from texts)", "queries/hostile?other=b"},
        {"(select count(n like p || value) from texts, json_each('[1,2,3,4,5,6,7,8,9]'))", "queries/hostile"},
    };
    view_kit_write(kit, "views/texts.sql",
                   "-- view: texts\n-- version: 1\ncreate table texts (id integer primary key, n text, p text);\n"
                   "-- on Added\ninsert into texts values (:position, printf('%.4000000c', 'a'), "
                   "'%' || printf('%.2000c', 'a') || '_' || printf('%.2000c', 'a') || 'b%');\n");
    kit->options.time_ms_max = 100;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "-- query: hostile\n-- uses: texts\nselect %s as x", hostile[i].sql);
        view_kit_write(kit, "queries/hostile.sql", text);
        assert_ok(view_kit_open(kit));
        if (i == 0)
            view_kit_append_one(kit, "Added", "{\"room\":\"r\",\"n\":1}");
        view_kit_catch_up(kit);
        view_kit_refused(kit, hostile[i].url, VIEW_E_TIMEOUT, "longer than 100 ms");
    }
    view_kit_refused(kit, "queries/hostile?as_of=1", VIEW_E_TIMEOUT, "longer than 100 ms");
}

/* What is linear, or bounded, is answered: these took SQLite's own functions minutes. */
static void functions_of_two_large_texts_are_linear_or_refused(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "queries/large.sql",
                   "-- query: large\n-- uses: counts\n-- param: patch integer = 0\n"
                   "with t(x, y) as (select printf('%.2000000c', 'a'), "
                   "printf('%.800000c', 'a') || 'b')\n"
                   "select instr(x, y) as i, length(replace(x, y, '')) as r, x like '%' || substr(y, -4000) || '%' as l, "
                   "case when :patch then json_patch('{\"a\":\"' || x || '\"}', '{\"a\":\"' || y || '\"}') end as p from t");
    open_with(kit, 1);
    view_kit_expect(kit, "queries/large", "[{\"i\":0,\"r\":2000000,\"l\":0,\"p\":null}]\n");
    view_kit_refused(kit, "queries/large?patch=1", VIEW_E_FAILED, "too large");
}

static void a_projection_that_runs_too_long_stops_its_view_alone(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "views/texts.sql",
                   "-- view: texts\n-- version: 1\ncreate table texts (id integer primary key, n);\n"
                   "-- on Added\ninsert into texts select :position, printf('%.4000000c', 'a') like "
                   "'%' || printf('%.2000c', 'a') || '_' || printf('%.2000c', 'a') || 'b%';\n");
    kit->options.apply_ms_max = 100;
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "Added", "{\"room\":\"r\",\"n\":1}");
    view_kit_wait_state(kit, "texts", VIEW_FAILED);
    view_kit_expect(kit, "queries/total?min_position=1", "[{\"n\":1,\"events\":1}]\n");
}

static void submit(struct view_kit *kit, struct waiting *waiting, enum view_kind kind, const char *name)
{
    *waiting = (struct waiting){.request = {.kind = kind, .name = B(name), .done = note_done, .user = waiting}};
    view_submit(kit->set, &waiting->request);
}

static size_t count_done(struct waiting *waiting, size_t count)
{
    size_t done = 0;
    for (size_t i = 0; i < count; i++)
        done += (size_t)__atomic_load_n(&waiting[i].done, __ATOMIC_SEQ_CST);
    return done;
}

/* Twelve questions that take as long as they may, and one of another view: it need not wait for them. */
static void a_question_does_not_wait_for_long_ones_of_other_views(void **state)
{
    struct view_kit *kit = *state;
    enum { COUNT = 12 };
    static struct waiting waiting[COUNT];
    view_kit_write(kit, "queries/endless.sql",
                   "-- query: endless\n-- uses: counts\n"
                   "with recursive c(n) as (select 1 union all select n + 1 from c)\n"
                   "select count(*) from c, counts");
    kit->options.time_ms_max = 3000;
    open_with(kit, 10);
    for (int i = 0; i < COUNT; i++)
        submit(kit, &waiting[i], VIEW_KIND_QUERY, "endless");
    free(view_kit_get(kit, "views/log?limit=1", NULL));
    assert_true(count_done(waiting, COUNT) < COUNT / 2); /* two at a time, of three seconds each */
    view_kit_close(kit);
    assert_int_equal(count_done(waiting, COUNT), COUNT);
}

static void the_past_of_a_view_is_not_told_behind_all_of_another_ones(void **state)
{
    struct view_kit *kit = *state;
    enum { COUNT = 6 };
    static struct waiting waiting[COUNT];
    view_kit_write(kit, "queries/endless.sql",
                   "-- query: endless\n-- uses: counts\n"
                   "with recursive c(n) as (select 1 union all select n + 1 from c)\n"
                   "select count(*) from c, counts");
    kit->options.time_ms_max = 1000;
    open_with(kit, 10);
    for (int i = 0; i < COUNT; i++) {
        waiting[i] = (struct waiting){.parameter = {.name = B("as_of"), .value = B("5")}};
        waiting[i].request = (struct view_request){.kind = VIEW_KIND_QUERY,
                                                   .name = B("endless"),
                                                   .parameters = &waiting[i].parameter,
                                                   .parameter_count = 1,
                                                   .done = note_done,
                                                   .user = &waiting[i]};
        view_submit(kit->set, &waiting[i].request);
    }
    free(view_kit_get(kit, "views/log?limit=1&as_of=5", NULL));
    assert_true(count_done(waiting, COUNT) <= COUNT / 2);
    view_kit_close(kit);
    assert_int_equal(count_done(waiting, COUNT), COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TIME_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TIME_TEST(no_function_outlives_the_time_limit),
        TIME_TEST(functions_of_two_large_texts_are_linear_or_refused),
        TIME_TEST(a_projection_that_runs_too_long_stops_its_view_alone),
        TIME_TEST(a_question_does_not_wait_for_long_ones_of_other_views),
        TIME_TEST(the_past_of_a_view_is_not_told_behind_all_of_another_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
