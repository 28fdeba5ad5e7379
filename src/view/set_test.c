/* Views as a whole, on a journal in memory: what is asked, waited for, rebuilt, changed and refused. */
#include "lib/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/view_kit.h"
#include "os/clock.h"

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

static void write_counts(struct view_kit *kit, const char *version, const char *body)
{
    char text[2048];
    (void)snprintf(text, sizeof(text), "-- view: counts\n-- version: %s\n%s", version, body);
    view_kit_write(kit, "views/counts.sql", text);
}

/* --- forgetting ------------------------------------------------------------------------------------------------------------------------ */

/* As after a scavenge or an erasure: the rows can be built by today's SQL no more, and the old ones must not be shown. */
static void a_view_whose_rebuild_stops_after_forgetting_answers_from_where_it_stopped(void **state)
{
    struct view_kit *kit = *state;
    const struct bytes type = BYTES_LITERAL("T");
    struct view_answer answer;
    view_kit_write(kit, "views/log.sql",
                   "-- view: log\n-- version: 1\ncreate table log (id integer primary key, t text);\n"
                   "-- on T\ninsert into log values (:position, :data ->> 't');\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "T", "{\"t\":\"a\"}");
    view_kit_append_one(kit, "T", "{\"t\":\"Ana\"}");
    view_kit_append_one(kit, "T", "{\"t\":\"b\"}");
    view_kit_catch_up(kit);
    view_kit_write(kit, "views/log.sql",
                   "-- view: log\n-- version: 2\ncreate table log (id integer primary key, t text check (t != 'Ana'));\n"
                   "-- on T\ninsert into log values (:position, :data ->> 't');\n");
    assert_ok(view_kit_open(kit));
    view_kit_wait_state(kit, "log", VIEW_FAILED);
    view_kit_expect(kit, "views/log?select=t", "[{\"t\":\"a\"},\n{\"t\":\"Ana\"},\n{\"t\":\"b\"}]\n");
    view_set_forget(kit->set, &type, 1);
    assert_ok(view_set_wait_forgotten(kit->set, 20000));
    free(view_kit_get(kit, "views/log?select=t", &answer));
    view_kit_expect(kit, "views/log?select=t", "[{\"t\":\"a\"}]\n");
    assert_int_equal(view_kit_status(kit, "log").state, VIEW_FAILED);
    assert_int_equal(view_kit_status(kit, "log").error_position, 2);
    view_kit_refused(kit, "views/log?min_position=3", VIEW_E_NOT_CAUGHT_UP, "CHECK constraint");
    assert_ok(view_kit_open(kit));
    view_kit_expect(kit, "views/log?select=t", "[{\"t\":\"a\"}]\n");
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------------ */

static void rows_come_as_json_csv_or_ndjson(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "views/log.sql",
                   "-- view: log\n-- version: 1\n"
                   "create table log (id integer primary key, t text, r real, b boolean, j json, x blob, "
                   "\"odd \"\"n\" text);\n"
                   "-- on T\ninsert into log values (:position, :data ->> 't', 0.1, :position = 1, :data, "
                   "x'00ff', null);\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "T", "{\"t\":\"a,\\\"b\\\"\\n\\u0001\"}");
    view_kit_append_one(kit, "T", "{\"t\":\"\"}");
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/log",
                    "[{\"id\":1,\"t\":\"a,\\\"b\\\"\\n\\u0001\",\"r\":0.1,\"b\":true,\"j\":{\"t\":\"a,"
                    "\\\"b\\\"\\n\\u0001\"},"
                    "\"x\":\"AP8=\",\"odd \\\"n\":null},\n"
                    "{\"id\":2,\"t\":\"\",\"r\":0.1,\"b\":false,\"j\":{\"t\":\"\"},\"x\":\"AP8=\",\"odd "
                    "\\\"n\":null}]\n");
    struct view_request csv = {.format = VIEW_CSV}, lines = {.format = VIEW_NDJSON};
    _cleanup_(freep) char *a = view_kit_ask(kit, "views/log?select=id,t,b,\"odd \\\"n\"", &csv, NULL);
    assert_string_equal(a, "id,t,b,\"odd \"\"n\"\r\n1,\"a,\"\"b\"\"\n\x01\",true,\r\n2,\"\",false,\r\n");
    _cleanup_(freep) char *b = view_kit_ask(kit, "views/log?select=id", &lines, NULL);
    assert_string_equal(b, "{\"id\":1}\n{\"id\":2}\n");
}

static void an_answer_says_which_rows_of_how_many_and_as_of_which_position(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    open_with(kit, 250);
    struct view_request request = {.count_exact = true, .range = BYTES_LITERAL("items=10-14")};
    _cleanup_(freep) char *body = view_kit_ask(kit, "views/log?select=position", &request, &answer);
    assert_non_null(strstr(body, "{\"position\":11}"));
    assert_int_equal(answer.row_count, 5);
    assert_int_equal(answer.offset, 10);
    assert_int_equal(answer.total, 250);
    assert_int_equal(answer.position, 250);
    struct view_request beyond = {.count_exact = true};
    assert_null(view_kit_ask(kit, "views/log?offset=251", &beyond, &answer));
    assert_int_equal(answer.answer, VIEW_E_RANGE);
    assert_int_equal(answer.total, 250);
}

static void a_thousand_rows_unless_more_are_asked_for(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    open_with(kit, 1500);
    free(view_kit_get(kit, "views/log", &answer));
    assert_int_equal(answer.row_count, 1000);
    free(view_kit_get(kit, "views/log?limit=1000000", &answer));
    assert_int_equal(answer.row_count, 1500);
}

static void a_large_answer_is_spooled_to_a_file(void **state)
{
    struct view_kit *kit = *state;
    struct view_counters counters;
    open_with(kit, 30000);
    struct view_request request = {.format = VIEW_NDJSON};
    _cleanup_(freep) char *body = view_kit_ask(kit, "views/log?limit=1000000", &request, NULL);
    size_t lines = 0;
    for (const char *c = body; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 30000);
    assert_non_null(strstr(body, "{\"position\":30000,"));
    view_set_counters(kit->set, &counters);
    assert_int_equal(counters.spooled, 1);
}

static void a_question_that_cannot_be_answered_is_told_why(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 10);
    view_kit_refused(kit, "views/nothing", VIEW_E_UNKNOWN, "no view named 'nothing'");
    view_kit_refused(kit, "queries/counts", VIEW_E_UNKNOWN, "no query named 'counts'");
    view_kit_refused(kit, "views/counts?m=eq.1", VIEW_E_COLUMN, "it has room, n, last");
    view_kit_refused(kit, "views/counts?n=like", VIEW_E_OPERATOR, "like.VALUE");
    view_kit_refused(kit, "views/counts?min_position=x", VIEW_E_PARAMETER, "min_position");
    view_kit_refused(kit, "views/counts?as_of=yesterday", VIEW_E_PARAMETER, "as_of");
    view_kit_refused(kit, "views/counts?as_of=1&min_position=1", VIEW_E_PARAMETER, "exclude each other");
    view_kit_refused(kit, "queries/total?most=1", VIEW_E_PARAMETER, "no parameter 'most'; it has least");
    view_kit_refused(kit, "queries/total?least=x", VIEW_E_PARAMETER, "least is a whole number");
    view_kit_refused(kit, "queries/total?least=1&least=2", VIEW_E_PARAMETER, "more than once");
}

static void every_parameter_that_is_missing_or_wrong_is_named_at_once(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "queries/days.sql",
                   "-- query: days\n-- uses: counts\n-- param: from date\n-- param: to date = 2026-01-31\n"
                   "-- param: by (day|week) = day\n-- param: n integer = 1\nselect :from as a, :to as b, :by as c, :n as d");
    open_with(kit, 1);
    view_kit_expect(kit, "queries/days?from=2028-02-29&by=week",
                    "[{\"a\":\"2028-02-29\",\"b\":\"2026-01-31\",\"c\":\"week\",\"d\":1}]\n");
    static const char *const wrong[] = {"x", "2027-02-29", "2027-2-1", "2027-02-01T00:00:00Z", "now", "", "2026-13-01"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char url[96];
        (void)snprintf(url, sizeof(url), "queries/days?from=%s", wrong[i]);
        view_kit_refused(kit, url, VIEW_E_PARAMETER, "from is a date that exists, as YYYY-MM-DD, not '");
    }
    view_kit_refused(kit, "queries/days?from=2026-01-01&by=month", VIEW_E_PARAMETER, "by is one of day|week, not 'month'");
    view_kit_refused(kit, "queries/days?to=x&n=1.5&by=&odd=1", VIEW_E_PARAMETER,
                     "query days has no parameter 'odd'; it has from,to,by,n; query days needs the parameter from; to is a date that "
                     "exists, as YYYY-MM-DD, not 'x'; by is one of day|week, not ''; n is a whole number, not '1.5'");
    view_kit_write(kit, "queries/days.sql",
                   "-- query: days\n-- uses: counts\n-- param: to date = tomorrow\nselect :to as b");
    assert_int_equal(view_kit_open(kit), VIEW_E_INVALID);
    assert_non_null(strstr(kit->error, "to is a date that exists"));
    view_kit_write(kit, "queries/days.sql", "-- query: days\n-- uses: counts\n-- param: to (a||b)\nselect :to as b");
    assert_int_equal(view_kit_open(kit), VIEW_E_INVALID);
}

static void a_query_takes_its_parameters_and_answers_the_lowest_position(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    view_kit_write(kit, "queries/one.sql",
                   "-- query: one\n-- uses: counts\nselect room, n + 0 = :n as same from counts "
                   "where room = :room;\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "Added", "{\"room\":\"7\",\"n\":3}");
    view_kit_append_one(kit, "Other", "{}");
    view_kit_catch_up(kit);
    view_kit_expect(kit, "queries/one?room=7&n=3", "[{\"room\":\"7\",\"same\":1}]\n");
    view_kit_refused(kit, "queries/one?room=7", VIEW_E_PARAMETER, "query one needs the parameter n");
    view_kit_expect(kit, "queries/total", "[{\"n\":3,\"events\":2}]\n");
    view_kit_expect(kit, "queries/total?least=4", "[{\"n\":null,\"events\":2}]\n");
    free(view_kit_get(kit, "queries/total?min_position=2", &answer));
    assert_int_equal(answer.position, 2);
    const char *name, *parameters;
    assert_int_equal(view_query_count(kit->set), 2);
    view_query_describe(kit->set, 0, &name, &parameters);
    assert_string_equal(name, "one");
    assert_string_equal(parameters, "n,room");
}

/* --- P9: read your writes ------------------------------------------------------------------------------------------------------------------ */

static void what_was_appended_is_in_the_answer_that_waits_for_it(void **state)
{
    struct view_kit *kit = *state;
    assert_ok(view_kit_open(kit));
    for (uint64_t i = 1; i <= 300; i++) {
        char url[96], expected[64];
        struct view_answer answer;
        view_kit_append_one(kit, "Added", "{\"room\":\"a\",\"n\":1}");
        (void)snprintf(url, sizeof(url), "views/counts?select=n&min_position=%llu", (unsigned long long)i);
        (void)snprintf(expected, sizeof(expected), "[{\"n\":%llu}]\n", (unsigned long long)i);
        _cleanup_(freep) char *body = view_kit_get(kit, url, &answer);
        assert_string_equal(body, expected);
        assert_int_equal(answer.position, i);
    }
}

/* A position beyond the head: a leader's never comes by itself, a follower's may. */
static void a_leader_answers_at_once_when_asked_for_what_is_not_there(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    open_with(kit, 10);
    uint64_t start_ns = os_monotonic_ns();
    assert_null(view_kit_get(kit, "views/counts?min_position=11", &answer));
    assert_int_equal(answer.answer, VIEW_E_NOT_CAUGHT_UP);
    assert_int_equal(answer.position, 10);
    assert_true(os_monotonic_ns() - start_ns < 10 * OS_NS_PER_SECOND); /* it had 20 s to wait */
}

static void a_follower_waits_and_says_what_it_reached(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    kit->options.follower = true;
    open_with(kit, 10);
    struct view_request request = {.wait_ms = 50};
    uint64_t start_ns = os_monotonic_ns();
    assert_null(view_kit_ask(kit, "views/counts?min_position=11", &request, &answer));
    assert_int_equal(answer.answer, VIEW_E_NOT_CAUGHT_UP);
    assert_int_equal(answer.position, 10);
    assert_true(os_monotonic_ns() - start_ns >= 50 * OS_NS_PER_MS);
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

static void submit_waiting(struct view_kit *kit, struct waiting *waiting, const char *position)
{
    waiting->parameter = (struct view_parameter){.name = B("min_position"), .value = B(position)};
    waiting->request = (struct view_request){.name = B("counts"),
                                             .parameters = &waiting->parameter,
                                             .parameter_count = 1,
                                             .wait_ms = 30000,
                                             .done = note_done,
                                             .user = waiting};
    view_submit(kit->set, &waiting->request);
}

static void many_questions_wait_without_a_thread_each(void **state)
{
    struct view_kit *kit = *state;
    enum { COUNT = 500 };
    static struct waiting waiting[COUNT];
    struct view_counters counters;
    kit->options.follower = true;
    assert_ok(view_kit_open(kit));
    for (int i = 0; i < COUNT; i++) {
        waiting[i].done = 0;
        submit_waiting(kit, &waiting[i], i % 2 ? "5" : "6");
    }
    view_set_counters(kit->set, &counters);
    assert_int_equal(counters.waiting, COUNT);
    view_kit_expect(kit, "views/counts", "[]\n"); /* others are answered meanwhile */
    view_kit_append(kit, 6, 1);
    for (int i = 0; i < COUNT; i++) {
        uint64_t deadline_ns = os_monotonic_ns() + 20 * OS_NS_PER_SECOND;
        while (!__atomic_load_n(&waiting[i].done, __ATOMIC_SEQ_CST))
            assert_true(os_monotonic_ns() < deadline_ns);
        assert_ok(waiting[i].answer.answer);
        assert_true(waiting[i].answer.position >= 5);
        view_answer_deinit(&waiting[i].answer);
    }
}

static void questions_that_wait_at_the_end_are_told_so(void **state)
{
    struct view_kit *kit = *state;
    struct waiting waiting = {.done = 0};
    kit->options.follower = true;
    assert_ok(view_kit_open(kit));
    submit_waiting(kit, &waiting, "5");
    assert_int_equal(waiting.done, 0);
    view_kit_close(kit);
    assert_int_equal(waiting.done, 1);
    assert_int_equal(waiting.answer.answer, VIEW_E_CLOSING);
}

static void too_many_waiting_questions_are_refused(void **state)
{
    struct view_kit *kit = *state;
    static struct waiting waiting[VIEW_QUEUE_COUNT_MAX + 1];
    kit->options.follower = true;
    assert_ok(view_kit_open(kit));
    for (int i = 0; i <= VIEW_QUEUE_COUNT_MAX; i++)
        submit_waiting(kit, &waiting[i], "5");
    assert_int_equal(waiting[VIEW_QUEUE_COUNT_MAX].done, 1);
    assert_int_equal(waiting[VIEW_QUEUE_COUNT_MAX].answer.answer, VIEW_E_BUSY);
    view_kit_close(kit);
}

/* V6 */
static void a_question_is_stopped_at_its_time_limit(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "queries/endless.sql",
                   "-- query: endless\n-- uses: counts\n"
                   "with recursive c(n) as (select 1 union all select n + 1 from c)\n"
                   "select count(*) from c, counts");
    kit->options.time_ms_max = 100;
    open_with(kit, 10);
    view_kit_refused(kit, "queries/endless", VIEW_E_TIMEOUT, "longer than 100 ms");
    view_kit_refused(kit, "queries/endless?as_of=5", VIEW_E_TIMEOUT, "longer than 100 ms");
    view_kit_expect(kit, "queries/total?least=1000000", "[{\"n\":null,\"events\":10}]\n");
}

static void closing_interrupts_a_running_question(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "queries/endless.sql",
                   "-- query: endless\n-- uses: counts\n"
                   "with recursive c(n) as (select 1 union all select n + 1 from c)\n"
                   "select count(*) from c, counts");
    open_with(kit, 10);
    struct waiting waiting = {.request = {.kind = VIEW_KIND_QUERY, .name = B("endless"), .done = note_done}};
    waiting.request.user = &waiting;
    view_submit(kit->set, &waiting.request);
    uint64_t start_ns = os_monotonic_ns();
    view_kit_close(kit);
    assert_int_equal(waiting.done, 1);
    assert_int_equal(waiting.answer.answer, VIEW_E_CLOSING);
    assert_true(os_monotonic_ns() - start_ns < 3 * OS_NS_PER_SECOND); /* its limit is 5 s */
}

static void an_answer_above_its_limit_is_refused(void **state)
{
    struct view_kit *kit = *state;
    kit->options.answer_size_max = 20000;
    open_with(kit, 1000);
    view_kit_refused(kit, "views/log?limit=1000", VIEW_E_TOO_LARGE, "above 20000 bytes");
    free(view_kit_get(kit, "views/log?limit=100", NULL));
    kit->options.answer_size_max = 2 * 1024 * 1024; /* beyond memory: found in the file */
    open_with(kit, 50000);
    view_kit_refused(kit, "views/log?limit=1000000", VIEW_E_TOO_LARGE, "above 2097152 bytes");
}

static void a_statement_that_runs_away_is_a_failing_one(void **state)
{
    struct view_kit *kit = *state;
    kit->options.apply_ms_max = 50;
    write_counts(kit, "1",
                 "create table counts (room text primary key, n integer);\n-- on Added\n"
                 "insert into counts with recursive c(n) as (select 1 union all select n + 1 from c)"
                 " select 'x', count(*) from c;\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "Added", "{}");
    view_kit_wait_state(kit, "counts", VIEW_FAILED);
    assert_non_null(strstr(view_kit_status(kit, "counts").error,
                           "failed on event 1 (Added): it ran longer than allowed"));
}

static void the_past_that_takes_too_long_is_gone_on_with_at_the_next_try(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    unsigned tries = 1;
    kit->options.history_ms_max = 2;
    open_with(kit, 20000);
    uint64_t deadline_ns = os_monotonic_ns() + 20 * OS_NS_PER_SECOND;
    char *body;
    while (!(body = view_kit_get(kit, "views/log?as_of=20000&select=position&limit=0", &answer))) {
        assert_int_equal(answer.answer, VIEW_E_TIMEOUT);
        assert_non_null(strstr(answer.detail, "the past at 20000 is not ready yet"));
        assert_true(os_monotonic_ns() < deadline_ns);
        tries++;
    }
    free(body);
    assert_true(tries > 1);
}

static void a_wait_is_cut_to_its_limit(void **state)
{
    struct view_kit *kit = *state;
    struct waiting waiting = {.done = 0};
    kit->options.follower = true;
    assert_ok(view_kit_open(kit));
    waiting.parameter = (struct view_parameter){.name = B("min_position"), .value = B("5")};
    waiting.request = (struct view_request){.name = B("counts"),
                                            .parameters = &waiting.parameter,
                                            .parameter_count = 1,
                                            .wait_ms = UINT32_MAX,
                                            .done = note_done,
                                            .user = &waiting};
    view_submit(kit->set, &waiting.request);
    assert_true(waiting.request.own.deadline_ns - os_monotonic_ns() <= VIEW_WAIT_MS_MAX * OS_NS_PER_MS);
    view_kit_close(kit);
}

static void too_many_or_too_large_files_are_refused(void **state)
{
    struct view_kit *kit = *state;
    char name[64], path[256];
    for (int i = 0; i <= VIEW_COUNT_MAX; i++) {
        (void)snprintf(name, sizeof(name), "queries/q%d.sql", i);
        view_kit_write(kit, name, "-- query: q\n");
    }
    assert_int_equal(view_kit_open(kit), VIEW_E_INVALID);
    assert_non_null(strstr(kit->error, "more than 64 files"));
    for (int i = 0; i <= VIEW_COUNT_MAX; i++) {
        (void)snprintf(path, sizeof(path), "%s/queries/q%d.sql", kit->app, i);
        assert_ok(unlink(path));
    }
    _cleanup_(freep) char *large = calloc(1, VIEW_FILE_SIZE_MAX + 2);
    assert_non_null(large);
    memset(large, '\n', VIEW_FILE_SIZE_MAX + 1);
    view_kit_write(kit, "views/large.sql", large);
    assert_int_equal(view_kit_open(kit), VIEW_E_INVALID);
    assert_non_null(strstr(kit->error, "views/large.sql"));
}

static void too_many_parameters_are_refused(void **state)
{
    struct view_kit *kit = *state;
    static struct view_parameter parameters[VIEW_PARAMETER_COUNT_MAX + 1];
    struct view_answer answer;
    open_with(kit, 10);
    for (int i = 0; i <= VIEW_PARAMETER_COUNT_MAX; i++)
        parameters[i] = (struct view_parameter){.name = B("n"), .value = B("eq.1")};
    struct view_request request = {
        .name = B("counts"), .parameters = parameters, .parameter_count = VIEW_PARAMETER_COUNT_MAX + 1};
    assert_int_equal(view_ask(kit->set, &request, &answer), VIEW_E_PARAMETER);
    assert_non_null(strstr(answer.detail, "256 parameters"));
    request.kind = VIEW_KIND_QUERY;
    request.name = B("total");
    assert_int_equal(view_ask(kit->set, &request, &answer), VIEW_E_PARAMETER);
    assert_non_null(strstr(answer.detail, "256 parameters"));
}

/* --- P8 and generations ---------------------------------------------------------------------------------------------------------------------- */

static void views_reopened_go_on_where_they_were(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 1000);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/counts", NULL);
    view_kit_close(kit);
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
    assert_int_equal(view_kit_status(kit, "counts").events, 0); /* nothing was applied again */
    assert_int_equal(view_kit_status(kit, "counts").generation, 1);
    view_kit_expect(kit, "views/counts", before);
}

static void views_deleted_and_rebuilt_are_the_same_byte_for_byte(void **state)
{
    struct view_kit *kit = *state;
    char command[256];
    open_with(kit, 5000);
    _cleanup_(freep) char *counts = view_kit_get(kit, "views/counts", NULL);
    _cleanup_(freep) char *log = view_kit_get(kit, "views/log?limit=1000000", NULL);
    view_kit_close(kit);
    (void)snprintf(command, sizeof(command), "rm -r '%s/views'", kit->data);
    assert_ok(system(command));
    open_with(kit, 0);
    view_kit_expect(kit, "views/counts", counts);
    view_kit_expect(kit, "views/log?limit=1000000", log);
}

static void a_view_of_another_journal_is_thrown_away(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 100);
    view_kit_close(kit);
    journal_close(kit->journal);
    memory_store_free(kit->store);
    kit->store = memory_store_new();
    kit->journal = kit_open(kit->store, true);
    view_kit_append_one(kit, "Added", "{\"room\":\"new\",\"n\":1}");
    open_with(kit, 0);
    view_kit_expect(kit, "views/counts", "[{\"room\":\"new\",\"n\":1,\"last\":1}]\n");
    assert_int_equal(kit->notices.of[VIEW_NOTICE_DISCARDED], 2);
    assert_int_equal(view_kit_status(kit, "counts").generation, 2);
}

static void a_damaged_store_is_thrown_away_and_built_anew(void **state)
{
    struct view_kit *kit = *state;
    char path[256];
    open_with(kit, 100);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/counts", NULL);
    view_kit_close(kit);
    (void)snprintf(path, sizeof(path), "%s/views/counts@1.db", kit->data);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("this is no store", file) >= 0);
    assert_ok(fclose(file));
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/counts", before);
    assert_int_equal(kit->notices.of[VIEW_NOTICE_DISCARDED], 1);
}

static void a_rebuild_swaps_in_the_same_rows(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 5000);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/counts", NULL);
    assert_int_equal(view_rebuild(kit->set, B("nothing")), VIEW_E_UNKNOWN);
    assert_ok(view_rebuild(kit->set, B("counts")));
    assert_ok(view_rebuild(kit->set, B("counts"))); /* under way already */
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/views/counts@1.db", kit->data);
    uint64_t deadline_ns = os_monotonic_ns() + 20 * OS_NS_PER_SECOND;
    while (access(path, F_OK) == 0) /* the last that is done */
        assert_true(os_monotonic_ns() < deadline_ns);
    view_kit_wait_state(kit, "counts", VIEW_LIVE);
    view_kit_expect(kit, "views/counts", before);
    uint64_t generation = view_kit_status(kit, "counts").generation;
    assert_true(generation >= 2); /* 3, when the second order came after the first was carried out */
    view_kit_close(kit);
    open_with(kit, 0);
    assert_int_equal(view_kit_status(kit, "counts").generation, generation);
}

static const char counts_v2[] =
    "create table counts (room text primary key, n integer);\n"
    "-- on Added\n"
    "insert into counts values (:data ->> 'room', 1) on conflict do update set n = n + 1;\n";

static void a_changed_view_is_rebuilt_and_swapped(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 100);
    view_kit_close(kit);
    write_counts(kit, "2", counts_v2);
    assert_ok(view_kit_open(kit));
    view_kit_wait_generation(kit, "counts", 2);
    assert_int_equal(view_kit_status(kit, "counts").version, 2);
    view_kit_refused(kit, "views/counts?last=gt.1", VIEW_E_COLUMN, "it has room, n");
    assert_int_equal(kit->notices.of[VIEW_NOTICE_REBUILDING], 1);
    assert_int_equal(kit->notices.of[VIEW_NOTICE_SWAPPED], 1);
}

/* The old one answers, and follows the journal, for as long as the new one cannot. */
static void the_old_view_answers_while_the_new_one_fails(void **state)
{
    struct view_kit *kit = *state;
    open_with(kit, 100);
    _cleanup_(freep) char *before = view_kit_get(kit, "views/counts", NULL);
    view_kit_close(kit);
    write_counts(kit, "2",
                 "create table counts (room text primary key, n);\n-- on Added\ninsert into counts values "
                 "('x', 1);\n");
    assert_ok(view_kit_open(kit));
    view_kit_wait_state(kit, "counts", VIEW_FAILED);
    struct view_status status = view_kit_status(kit, "counts");
    assert_int_equal(status.version, 1);
    assert_int_equal(status.rebuild_version, 2);
    assert_non_null(strstr(status.error, "UNIQUE constraint failed"));
    view_kit_expect(kit, "views/counts", before);
    view_kit_append_one(kit, "Added", "{\"room\":\"zz\",\"n\":1}");
    view_kit_expect(kit, "views/counts?room=eq.zz&min_position=101",
                    "[{\"room\":\"zz\",\"n\":1,\"last\":101}]\n");
    view_kit_close(kit);
    write_counts(kit, "3", counts_v2);
    assert_ok(view_kit_open(kit));
    view_kit_wait_state(kit, "counts", VIEW_LIVE);
    view_kit_expect(kit, "views/counts?room=eq.zz", "[{\"room\":\"zz\",\"n\":1}]\n");
}

/* V5 */
static void a_failing_statement_stops_its_view_alone_before_the_event(void **state)
{
    struct view_kit *kit = *state;
    struct view_answer answer;
    write_counts(kit, "1",
                 "create table counts (room text primary key, n integer check (n < 3));\n-- on Added\n"
                 "insert into counts values (:data ->> 'room', 1) on conflict do update set n = n + 1;\n");
    assert_ok(view_kit_open(kit));
    for (int i = 0; i < 5; i++)
        view_kit_append_one(kit, "Added", "{\"room\":\"a\",\"n\":1}");
    view_kit_wait_state(kit, "counts", VIEW_FAILED);
    view_kit_catch_up(kit); /* the others */
    struct view_status status = view_kit_status(kit, "counts");
    assert_int_equal(status.error_position, 3);
    assert_int_equal(status.position, 2);
    assert_non_null(
        strstr(status.error, "views/counts.sql:5: failed on event 3 (Added): CHECK constraint failed"));
    view_kit_expect(kit, "views/counts", "[{\"room\":\"a\",\"n\":2}]\n");
    assert_null(view_kit_get(kit, "views/counts?min_position=3", &answer)); /* at once: it will not come */
    assert_int_equal(answer.answer, VIEW_E_NOT_CAUGHT_UP);
    assert_int_equal(answer.position, 2);
    view_kit_refused(kit, "views/counts?as_of=4", VIEW_E_FAILED, "failed on event 3");
    view_kit_expect(kit, "views/counts?as_of=1", "[{\"room\":\"a\",\"n\":1}]\n");
    view_kit_expect(kit, "views/log?select=position&order=position.desc&limit=1", "[{\"position\":5}]\n");
    view_kit_close(kit);
    write_counts(kit, "2", counts_v2); /* repaired: built beside, and swapped as soon as it is further */
    assert_ok(view_kit_open(kit));
    view_kit_wait_state(kit, "counts", VIEW_LIVE);
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/counts", "[{\"room\":\"a\",\"n\":5}]\n");
}

static bool has_stalled(struct view_kit *kit)
{
    return view_kit_status(kit, "log").state == VIEW_STALLED;
}

/* No file may grow any more, as on a full disk; then there is room again. */
static void a_full_disk_stalls_a_view_until_there_is_room(void **state)
{
    struct view_kit *kit = *state;
    struct rlimit before, full = {.rlim_cur = 64 * 1024};
    uint64_t deadline_ns = os_monotonic_ns() + 20 * OS_NS_PER_SECOND;
    open_with(kit, 10);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_ok(getrlimit(RLIMIT_FSIZE, &before));
    full.rlim_max = before.rlim_max;
    assert_ok(setrlimit(RLIMIT_FSIZE, &full));
    view_kit_append(kit, 5000, 3);
    while (!has_stalled(kit) && os_monotonic_ns() < deadline_ns)
        continue;
    assert_true(has_stalled(kit));
    assert_string_not_equal(view_kit_status(kit, "log").error, "");
    view_kit_expect(kit, "views/log?position=eq.1&select=position", "[{\"position\":1}]\n"); /* reads go on */
    assert_ok(setrlimit(RLIMIT_FSIZE, &before));
    view_kit_catch_up(kit);
    view_kit_wait_state(kit, "log", VIEW_LIVE);
    assert_int_equal(kit->notices.of[VIEW_NOTICE_RESUMED], kit->notices.of[VIEW_NOTICE_STALLED]);
    view_kit_expect(kit, "views/log?order=position.desc&limit=1&select=position", "[{\"position\":5010}]\n");
    assert_int_equal(view_kit_status(kit, "log").generation, 1); /* nothing was thrown away */
}

static const struct {
    const char *name, *text, *error;
} wrong[] = {
    {"views/bad.sql",
     "-- view: bad\n-- version: 1\ncreate table bad (a);\n-- on X\ninsert into worse values (1);",
     "views/bad.sql:5: no such table: worse"},
    {"queries/bad.sql", "-- query: bad\n-- uses: nothing\nselect 1",
     "queries/bad.sql: there is no view named nothing"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\n\nselect\n x from counts",
     "queries/bad.sql:5: no such column: x"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\ndelete from counts", "cannot modify counts"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\ndelete from counts.counts", "a query only reads"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect 1; select 2", "a query is one statement"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect * from log", "no such table: log"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect * from counts.daybook_view",
     "is not the application's"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect load_extension('x')", "not allowed"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\npragma user_version", "not allowed"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect ?", "written :name"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\nselect :limit", "no parameter may be named limit"},
    {"queries/bad.sql", "-- query: bad\n-- uses: counts\n-- param: p\nselect 1", "declared and not used"},
};

static void a_wrong_file_is_refused_at_opening_with_file_and_line(void **state)
{
    struct view_kit *kit = *state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char path[256];
        view_kit_write(kit, wrong[i].name, wrong[i].text);
        if (view_kit_open(kit) != VIEW_E_INVALID || !strstr(kit->error, wrong[i].error))
            fail_msg("%s\n-> '%s', expected '%s'", wrong[i].text, kit->error, wrong[i].error);
        (void)snprintf(path, sizeof(path), "%s/%s", kit->app, wrong[i].name);
        assert_ok(unlink(path));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SET_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        SET_TEST(a_view_whose_rebuild_stops_after_forgetting_answers_from_where_it_stopped),
        SET_TEST(rows_come_as_json_csv_or_ndjson),
        SET_TEST(an_answer_says_which_rows_of_how_many_and_as_of_which_position),
        SET_TEST(a_thousand_rows_unless_more_are_asked_for),
        SET_TEST(a_large_answer_is_spooled_to_a_file),
        SET_TEST(a_question_that_cannot_be_answered_is_told_why),
        SET_TEST(every_parameter_that_is_missing_or_wrong_is_named_at_once),
        SET_TEST(a_query_takes_its_parameters_and_answers_the_lowest_position),
        SET_TEST(what_was_appended_is_in_the_answer_that_waits_for_it),
        SET_TEST(a_leader_answers_at_once_when_asked_for_what_is_not_there),
        SET_TEST(a_follower_waits_and_says_what_it_reached),
        SET_TEST(many_questions_wait_without_a_thread_each),
        SET_TEST(questions_that_wait_at_the_end_are_told_so),
        SET_TEST(too_many_waiting_questions_are_refused),
        SET_TEST(a_question_is_stopped_at_its_time_limit),
        SET_TEST(closing_interrupts_a_running_question),
        SET_TEST(an_answer_above_its_limit_is_refused),
        SET_TEST(a_statement_that_runs_away_is_a_failing_one),
        SET_TEST(the_past_that_takes_too_long_is_gone_on_with_at_the_next_try),
        SET_TEST(a_wait_is_cut_to_its_limit),
        SET_TEST(too_many_or_too_large_files_are_refused),
        SET_TEST(too_many_parameters_are_refused),
        SET_TEST(views_reopened_go_on_where_they_were),
        SET_TEST(views_deleted_and_rebuilt_are_the_same_byte_for_byte),
        SET_TEST(a_view_of_another_journal_is_thrown_away),
        SET_TEST(a_damaged_store_is_thrown_away_and_built_anew),
        SET_TEST(a_rebuild_swaps_in_the_same_rows),
        SET_TEST(a_changed_view_is_rebuilt_and_swapped),
        SET_TEST(the_old_view_answers_while_the_new_one_fails),
        SET_TEST(a_failing_statement_stops_its_view_alone_before_the_event),
        SET_TEST(a_full_disk_stalls_a_view_until_there_is_room),
        SET_TEST(a_wrong_file_is_refused_at_opening_with_file_and_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
