/* How long calls took: percentiles of about the last window, and counts that only grow. */
#include "testing.h"

#include "latency.h"

/* So many calls of one length, one a millisecond. */
static void timed(struct world *w, int count, uint64_t took_ns, uint32_t outcome, uint32_t flags)
{
    for (int i = 0; i < count; i++) {
        struct breaker_permit permit;
        struct breaker_result result = {.outcome = outcome, .flags = flags, .took_ns = took_ns};
        assert_int_equal(breaker_acquire(&w->breaker, w->now, 0, &permit), 0);
        breaker_report_result(&w->breaker, &permit, &result, w->now);
        w->now += MS;
    }
}

static struct breaker_latency latency_of(struct world *w)
{
    struct breaker_latency latency;
    assert_int_equal(breaker_latency(&w->breaker, w->now, &latency), 0);
    return latency;
}

static void assert_within_an_eighth(uint64_t is, uint64_t should)
{
    if (is > should + should / 8 || is + should / 8 < should)
        fail_msg("%llu ns, and should be %llu", (unsigned long long)is, (unsigned long long)should);
}

/* Buckets follow one another without a gap, and none is wider than a quarter of where it begins. */
static void each_time_falls_into_the_bucket_that_ends_at_or_after_it(void **state)
{
    for (uint32_t bucket = 0; bucket < LATENCY_BUCKETS - 1; bucket++) {
        uint64_t bound = latency_bound_ns(bucket);
        assert_int_equal(latency_bucket(bound), bucket);
        assert_int_equal(latency_bucket(bound + 1), bucket + 1);
        if (bucket >= 4)
            assert_true((bound - latency_bound_ns(bucket - 1)) * 4 <= latency_bound_ns(bucket - 1));
    }
    assert_int_equal(latency_bucket(0), 0);
    assert_int_equal(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
    assert_int_equal(latency_bound_ns(3), 125000);
    assert_int_equal(latency_bound_ns(15), MS);
    assert_int_equal(latency_bound_ns(LATENCY_BUCKETS - 1), latency_bound_ns(LATENCY_BUCKETS - 2));
}

/* 1000 calls of 1 to 1000 ms: each percentile is where it must be, at most an eighth off. */
static void percentiles_are_at_most_an_eighth_off(void **state)
{
    static const uint64_t ms[BREAKER_LEVELS] = {1, 250, 500, 750, 900, 950, 990, 995, 1000};
    WORLD(w, "");
    for (uint64_t i = 0; i < 1000; i++)
        timed(&w, 1, (i * 617 % 1000 + 1) * MS, BREAKER_OK, 0);
    struct breaker_latency latency = latency_of(&w);
    assert_int_equal(latency.count, 1000);
    for (int i = 0; i < BREAKER_LEVELS; i++)
        assert_within_an_eighth(latency.level_ns[i], ms[i] * MS);
    assert_within_an_eighth(latency.mean_ns, 500 * MS + MS / 2);
    world_end(&w);
}

static void a_breaker_without_calls_has_no_percentiles(void **state)
{
    WORLD(w, "");
    struct breaker_latency latency = latency_of(&w);
    assert_int_equal(latency.count, 0);
    assert_int_equal(latency.level_ns[BREAKER_MOST], 0);
    struct breaker nobody = {0};
    assert_int_equal(breaker_latency(&nobody, w.now, &latency), BREAKER_E_UNTRACKED);
    world_end(&w);
}

/* Failures and slow calls belong to it: they are what a user waits for. Neutral ends, and those that were to be long, not. */
static void every_call_that_says_something_is_in_it(void **state)
{
    WORLD(w, "failure_rate=off consecutive=off slow_call=1s slow_rate=off");
    timed(&w, 10, 100 * MS, BREAKER_FAILURE, 0);
    timed(&w, 10, 2 * SEC, BREAKER_TIMEOUT, 0);
    timed(&w, 10, 2 * SEC, BREAKER_OK, 0);
    timed(&w, 10, 100 * MS, BREAKER_NEUTRAL, 0);
    timed(&w, 10, 30 * SEC, BREAKER_OK, BREAKER_NEVER_SLOW);
    struct breaker_latency latency = latency_of(&w);
    assert_int_equal(latency.count, 30);
    assert_within_an_eighth(latency.level_ns[BREAKER_MOST], 2 * SEC);
    struct breaker_totals totals = look(&w).totals;
    assert_int_equal(totals.ok, 10);
    assert_int_equal(totals.slow, 10);
    assert_int_equal(totals.failure, 10);
    assert_int_equal(totals.slow_timeout, 10);
    assert_int_equal(totals.neutral, 10);
    world_end(&w);
}

/* What is older than a window is gone, what is younger than three quarters of one is there. */
static void the_last_window_is_told_and_no_more(void **state)
{
    WORLD(w, "window=10s");
    timed(&w, 100, SEC, BREAKER_OK, 0);
    w.now += 7 * SEC;
    timed(&w, 100, MS, BREAKER_OK, 0);
    struct breaker_latency latency = latency_of(&w);
    assert_int_equal(latency.count, 200);
    assert_within_an_eighth(latency.level_ns[BREAKER_MOST], SEC);
    w.now += 3 * SEC;
    latency = latency_of(&w);
    assert_int_equal(latency.count, 100);
    assert_within_an_eighth(latency.level_ns[BREAKER_MOST], MS);
    w.now += 10 * SEC;
    assert_int_equal(latency_of(&w).count, 0);
    timed(&w, 1, MS, BREAKER_OK, 0);
    assert_int_equal(latency_of(&w).count, 1);
    world_end(&w);
}

/* A breaker that opens has told nothing yet of how the service does now: it keeps showing what made it open. */
static void a_change_of_state_and_new_rules_do_not_empty_it(void **state)
{
    WORLD(w, "consecutive=3");
    timed(&w, 3, 400 * MS, BREAKER_FAILURE, 0);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(latency_of(&w).count, 3);
    assert_int_equal(breaker_config_parse(&w.config, "open=9s", NULL), 0);
    assert_int_equal(breaker_configure(&w.breaker, &w.config, w.now, NULL), 0);
    assert_int_equal(latency_of(&w).count, 3);
    world_end(&w);
}

/* A mark whose writer was killed in the middle is left out: the next one serves, and nothing is told twice. */
static void a_half_written_mark_is_left_out(void **state)
{
    WORLD(w, "window=10s");
    timed(&w, 100, SEC, BREAKER_OK, 0);
    w.now += 3 * SEC;
    timed(&w, 50, MS, BREAKER_OK, 0);
    assert_int_equal(latency_of(&w).count, 150);
    word_store(&breaker_mark(&w.breaker, 1000 * SEC / (10 * SEC / LATENCY_MARKS))->tag, 0);
    assert_int_equal(latency_of(&w).count, 50);
    world_end(&w);
}

/* Whatever another process wrote there: numbers, and never more calls than there can have been. */
static void rubbish_in_the_marks_is_survived(void **state)
{
    WORLD(w, "window=10s");
    struct slot *slot = w.breaker.slot;
    timed(&w, 10, SEC, BREAKER_OK, 0);
    for (uint32_t i = 0; i < LATENCY_MARKS * LATENCY_BUCKETS; i++)
        breaker_mark(&w.breaker, i / LATENCY_BUCKETS)->count[i % LATENCY_BUCKETS] |= 1000;
    assert_int_equal(latency_of(&w).count, 0);
    word_store(&slot->latency_due_ns, UINT64_MAX);
    timed(&w, 10, SEC, BREAKER_OK, 0);
    assert_int_equal(look(&w).totals.ok, 20);
    world_end(&w);
}

/* The next owner of a place does not inherit what the former one's calls took. */
static void an_evicted_breaker_leaves_no_times_behind(void **state)
{
    struct world w = world_make("key_idle=1s", 2);
    world_open(&w, 1);
    struct breaker group = w.breaker;
    assert_int_equal(breaker_key(&group, "one", 3, w.now, &w.breaker), 0);
    timed(&w, 10, SEC, BREAKER_OK, 0);
    w.now += 60 * SEC;
    assert_int_equal(breaker_key(&group, "two", 3, w.now, &w.breaker), 0);
    assert_int_equal(latency_of(&w).count, 0);
    timed(&w, 1, MS, BREAKER_OK, 0);
    assert_int_equal(latency_of(&w).count, 1);
    assert_int_equal(look(&w).totals.ok, 1);
    world_end(&w);
}

/* A key follows its group: what it tells is of the new window, and not a quarter of the old one later. */
static void a_shorter_window_counts_at_once_for_keys_too(void **state)
{
    WORLD(w, "window=1h");
    struct breaker group = w.breaker;
    assert_int_equal(breaker_key(&group, "one", 3, w.now, &w.breaker), 0);
    timed(&w, 5, MS, BREAKER_OK, 0);
    assert_int_equal(breaker_config_parse(&w.config, "window=1s", NULL), 0);
    assert_int_equal(breaker_configure(&group, &w.config, w.now, NULL), 0);
    w.now += 10 * SEC;
    timed(&w, 3, MS, BREAKER_OK, 0);
    assert_int_equal(latency_of(&w).count, 3);
    assert_int_equal(look(&w).lately.total, 3);
    world_end(&w);
}

/* Each format tells the same. */
static void every_export_has_them(void **state)
{
    static const char *const words[] = {
        [BREAKER_JSON] = "\"latency\":{\"calls\":100,\"mean_ms\":104.000,",
        [BREAKER_OPENMETRICS] = "breaker_call_seconds_bucket{breaker=\"payments\",le=\"0.128\"} 100\n",
        [BREAKER_STREAM] = "\"latencyExecute\":{\"0\":96,",
        [BREAKER_PROMETHEUS] = "breaker_call_seconds_sum{breaker=\"payments\"} 10.4\n",
    };
    WORLD(w, "");
    timed(&w, 100, 100 * MS, BREAKER_OK, 0);
    char *text = malloc(65536);
    for (int format = BREAKER_JSON; format <= BREAKER_PROMETHEUS; format++) {
        size_t length;
        assert_int_equal(breaker_export(&w.region, (enum breaker_format)format, w.now, 1, text, 65536, &length), 0);
        if (!strstr(text, words[format]))
            fail_msg("no %s in %s", words[format], text);
        bool is_openmetrics = format == BREAKER_OPENMETRICS;
        assert_int_equal(strstr(text, "# EOF") != NULL, is_openmetrics);
        assert_int_equal(strstr(text, " stateset\n") != NULL, is_openmetrics);
        assert_int_equal(strstr(text, "# TYPE breaker_calls_total counter") != NULL, format == BREAKER_PROMETHEUS);
    }
    free(text);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_time_falls_into_the_bucket_that_ends_at_or_after_it),
        cmocka_unit_test(percentiles_are_at_most_an_eighth_off),
        cmocka_unit_test(a_breaker_without_calls_has_no_percentiles),
        cmocka_unit_test(every_call_that_says_something_is_in_it),
        cmocka_unit_test(the_last_window_is_told_and_no_more),
        cmocka_unit_test(a_change_of_state_and_new_rules_do_not_empty_it),
        cmocka_unit_test(a_half_written_mark_is_left_out),
        cmocka_unit_test(rubbish_in_the_marks_is_survived),
        cmocka_unit_test(an_evicted_breaker_leaves_no_times_behind),
        cmocka_unit_test(a_shorter_window_counts_at_once_for_keys_too),
        cmocka_unit_test(every_export_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
