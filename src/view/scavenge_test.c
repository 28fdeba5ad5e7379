/* Views and what was scavenged: rebuilt rows are the same, and a past that is gone is not made up. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "journal/retention.h"
#include "journal/scavenge.h"
#include "lib/view_kit.h"

static const char totals[] = "-- view: totals\n"
                             "-- version: 1\n"
                             "create table totals (tag text primary key, n integer not null, notes integer not null);\n"
                             "-- on Added\n"
                             "insert into totals select value, :data ->> 'n', 0 from json_each(:tags) where true\n"
                             "  on conflict do update set n = n + excluded.n;\n"
                             "-- on $compacted\n"
                             "insert into totals select value, :data ->> '$.data.n', 0 from json_each(:tags) where true\n"
                             "  on conflict do update set n = excluded.n;\n";

static const char nulls[] = "-- view: nulls\n"
                            "-- version: 1\n"
                            "create table nulls (position integer primary key, data text);\n"
                            "-- on Noted\n"
                            "insert into nulls values (:position, :data);\n";

static int setup(void **state)
{
    struct view_kit *kit = calloc(1, sizeof(*kit));
    view_kit_init(kit);
    view_kit_write(kit, "views/totals.sql", totals);
    view_kit_write(kit, "views/nulls.sql", nulls);
    assert_ok(view_kit_open(kit));
    *state = kit;
    return 0;
}

static int teardown(void **state)
{
    view_kit_deinit(*state);
    free(*state);
    return 0;
}

static void append(struct view_kit *kit, const char *type, const char *tag, const char *data)
{
    struct bytes tags[16];
    struct journal_event_new event = kit_event("", type, tag, tags, data);
    struct journal_append append = {.events = &event, .event_count = 1};
    event.system = type[0] == '$';
    assert_ok(journal_append_wait(kit->journal, &append, NULL));
}

static const char *keep(void *user, const struct journal_event *event)
{
    const char *only = user;
    return bytes_equal_string(event->type, only) ? NULL : "somebody";
}

/* Everything of one type goes, whoever handles it: what a server would not do without a `$compacted`. */
static void scavenge(struct view_kit *kit, const char *type)
{
    struct retention_rule rule = {.prefix = true, .max_age_s = 1};
    struct scavenge_report report;
    struct journal_event_new event;
    struct buffer data = {0};
    char error[256];
    assert_ok(retention_event(&rule, false, &data, &event));
    struct journal_append append = {.events = &event, .event_count = 1};
    assert_ok(journal_append_wait(kit->journal, &append, NULL));
    buffer_deinit(&data);
    assert_ok(journal_scavenge(kit->journal,
                               &(struct scavenge_options){
                                   .keep = keep, .user = (void *)type, .now_us = INT64_C(9000000000000000)},
                               &report, error));
    assert_true(report.gone > 0);
}

/* V1 over stubs: what stands behind them has their rows. */
static void a_view_rebuilt_after_a_compaction_has_the_same_rows(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    append(kit, "Added", "a", "{\"n\":5}");
    append(kit, "Added", "a", "{\"n\":6}");
    append(kit, "Added", "b", "{\"n\":1}");
    append(kit, "$compacted", "a", "{\"tag\":\"a\",\"data\":{\"n\":11}}");
    append(kit, "$compacted", "b", "{\"tag\":\"b\",\"data\":{\"n\":1}}");
    view_kit_catch_up(kit);
    char *before = view_kit_get(kit, "views/totals", &answer);
    assert_non_null(strstr(before, "\"n\":11"));
    scavenge(kit, "Added");
    append(kit, "Added", "a", "{\"n\":3}");
    view_kit_catch_up(kit);
    char *after = view_kit_get(kit, "views/totals", &answer);
    assert_non_null(strstr(after, "\"n\":14"));
    assert_ok(view_rebuild(kit->set, B("totals")));
    view_kit_wait_generation(kit, "totals", 2);
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/totals", after);
    free(before);
    free(after);
}

static void as_of_before_a_scavenge_says_so_and_what_can_be_asked(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    append(kit, "Added", "a", "{\"n\":5}");  /* 1 */
    append(kit, "Noted", "a", "{\"n\":6}");  /* 2 */
    append(kit, "$compacted", "a", "{\"tag\":\"a\",\"data\":{\"n\":5}}"); /* 3 */
    view_kit_catch_up(kit);
    scavenge(kit, "Added"); /* 4: the rule; 5: what went */
    append(kit, "Added", "a", "{\"n\":3}"); /* 6 */
    view_kit_catch_up(kit);
    for (unsigned position = 1; position < 5; position++) {
        char url[64];
        snprintf(url, sizeof(url), "views/totals?as_of=%u", position);
        assert_null(view_kit_get(kit, url, &answer));
        assert_int_equal(answer.answer, VIEW_E_SCAVENGED);
        assert_int_equal(answer.first, 5);
        view_answer_deinit(&answer);
    }
    view_kit_expect(kit, "views/totals?as_of=5", "[{\"tag\":\"a\",\"n\":5,\"notes\":0}]\n");
    view_kit_expect(kit, "views/totals?as_of=6", "[{\"tag\":\"a\",\"n\":8,\"notes\":0}]\n");
    view_kit_expect(kit, "views/totals?as_of=0", "[]\n");
    /* A view that needed nothing of what went can tell all of its past. */
    view_kit_expect(kit, "views/nulls?as_of=2", "[{\"position\":2,\"data\":\"{\\\"n\\\":6}\"}]\n");
}

/* A view that comes too late gets what is left. */
static void a_view_without_a_section_for_it_gets_stubs_with_null_data(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    append(kit, "Noted", "a", "{\"n\":6}");
    view_kit_catch_up(kit);
    scavenge(kit, "Noted"); /* 2, 3 */
    assert_ok(view_rebuild(kit->set, B("nulls")));
    view_kit_wait_generation(kit, "nulls", 2);
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/nulls", "[{\"position\":1,\"data\":null}]\n");
    assert_null(view_kit_get(kit, "views/nulls?as_of=1", &answer));
    assert_int_equal(answer.answer, VIEW_E_SCAVENGED);
    view_answer_deinit(&answer);
    view_kit_expect(kit, "views/nulls?as_of=3", "[{\"position\":1,\"data\":null}]\n");
}

static void who_handles_a_type_is_told(void **state)
{
    struct view_kit *kit = *state;
    assert_string_equal(view_set_handles(kit->set, B("Added"), false), "totals");
    assert_null(view_set_handles(kit->set, B("Added"), true));
    assert_string_equal(view_set_handles(kit->set, B("Noted"), true), "nulls");
    assert_null(view_set_handles(kit->set, B("Other"), false));
    assert_null(view_set_handles(kit->set, B("$other"), false));
}

#define KIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(a_view_rebuilt_after_a_compaction_has_the_same_rows),
        KIT_TEST(as_of_before_a_scavenge_says_so_and_what_can_be_asked),
        KIT_TEST(a_view_without_a_section_for_it_gets_stubs_with_null_data),
        KIT_TEST(who_handles_a_type_is_told),
    };
    return cmocka_run_group_tests_name("view/scavenge", tests, NULL, NULL);
}
