/* The rules of judging, one test each, in injected time. */
#include "testing.h"

/* 3.3: rate is failures·100 ≥ threshold·total, once total ≥ min_calls. */
static void a_failure_rate_trips_at_its_threshold_and_not_below_min_calls(void **state)
{
    WORLD(w, "min_calls=10 failure_rate=50% consecutive=off");
    for (int i = 0; i < 4; i++) {
        call(&w, BREAKER_OK, 0);
        call(&w, BREAKER_FAILURE, 0);
    }
    calls(&w, 1, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_CLOSED); /* 4 of 9 */
    calls(&w, 1, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN); /* 5 of 10 */
    struct breaker_event event = last_event(&w);
    assert_int_equal(event.reason, BREAKER_REASON_FAILURE_RATE);
    assert_int_equal(event.total, 10);
    assert_int_equal(event.failures, 5);
    assert_int_equal(look(&w).totals.trips_failure_rate, 1);
    world_end(&w);
}

static void failures_in_a_row_trip_and_one_success_ends_the_row(void **state)
{
    WORLD(w, "failure_rate=off consecutive=3");
    calls(&w, 2, BREAKER_FAILURE);
    calls(&w, 1, BREAKER_OK);
    calls(&w, 2, BREAKER_TIMEOUT);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    calls(&w, 1, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_CONSECUTIVE);
    world_end(&w);
}

/* 3.4: when several rules hold, the reason is the first of consecutive, failure rate, slow rate. */
static void the_reason_is_the_first_that_holds(void **state)
{
    WORLD(w, "min_calls=3 failure_rate=50% consecutive=3 slow_call=1s slow_rate=50%");
    for (int i = 0; i < 3; i++)
        call(&w, BREAKER_FAILURE, 2 * SEC);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_CONSECUTIVE);
    world_end(&w);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    WORLD(w, "window=10s min_calls=4 failure_rate=50% consecutive=off");
    calls(&w, 3, BREAKER_FAILURE);
    w.now += 10 * SEC;
    assert_int_equal(look(&w).window_total, 0);
    calls(&w, 3, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* 3.9: a result counts in the slice its call began in while that is live, else in the current one. */
static void a_result_is_credited_to_the_slice_its_call_began_in(void **state)
{
    WORLD(w, "window=10s min_calls=100 consecutive=off");
    struct breaker_permit early, ancient;
    breaker_acquire(&w.breaker, w.now, 0, &ancient);
    w.now += 6 * SEC;
    breaker_acquire(&w.breaker, w.now, 0, &early);
    w.now += 6 * SEC;
    breaker_report(&w.breaker, &early, BREAKER_FAILURE, w.now);
    breaker_report(&w.breaker, &ancient, BREAKER_FAILURE, w.now);
    assert_int_equal(look(&w).window_failures, 2);
    w.now += 5 * SEC;
    assert_int_equal(look(&w).window_failures, 1); /* the early one began 11 s ago */
    w.now += 5 * SEC;
    assert_int_equal(look(&w).window_failures, 0);
    world_end(&w);
}

static void a_window_of_calls_holds_the_last_ones_only(void **state)
{
    WORLD(w, "window=count:10 min_calls=10 failure_rate=50% consecutive=off");
    calls(&w, 4, BREAKER_FAILURE);
    calls(&w, 8, BREAKER_OK);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.window_total, 10);
    assert_int_equal(s.window_failures, 2);
    calls(&w, 3, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    calls(&w, 2, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    world_end(&w);
}

/* 3.1 */
static void a_permit_is_reported_once(void **state)
{
    WORLD(w, "failure_rate=off consecutive=2");
    struct breaker_permit permit;
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit), 0);
    assert_int_equal(breaker_report(&w.breaker, &permit, BREAKER_FAILURE, w.now), 0);
    assert_int_equal(breaker_report(&w.breaker, &permit, BREAKER_FAILURE, w.now), BREAKER_E_SPENT);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* The whole round: closed, open, half-open, ramp, closed. */
static void a_breaker_opens_probes_ramps_and_closes(void **state)
{
    WORLD(w, "failure_rate=off consecutive=3 open=5s jitter=0% probes=3 probe_ok=2 ramp=10s min_calls=20");
    calls(&w, 3, BREAKER_FAILURE);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    assert_int_equal(breaker_retry_after(&w.breaker, w.now), 5 * SEC);
    w.now += 5 * SEC - 1;
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    assert_int_equal(breaker_retry_after_seconds(&w.breaker, w.now), 1);
    w.now += 1;
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    assert_int_equal(state_of(&w), BREAKER_RAMP);
    int passed = 0;
    for (int i = 0; i < 10; i++)
        passed += call(&w, BREAKER_OK, 0) == 0;
    assert_int_equal(passed, 1); /* 10 % */
    for (int i = 0; i < 3000 && state_of(&w) == BREAKER_RAMP; i++) {
        w.now += 10 * MS;
        call(&w, BREAKER_OK, 0);
    }
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_RAMPED);
    assert_int_equal(breaker_epoch(&w.breaker), 4);
    world_end(&w);
}

/* 3.8: base·2^(trips−1) up to the cap; jitter stays within its percentage, differs from epoch to epoch, and is the same
 * for every process of the region. */
static void open_time_doubles_up_to_its_cap_within_jitter(void **state)
{
    WORLD(w, "failure_rate=off consecutive=1 open=1s open_max=8s jitter=20% probes=1 probe_ok=1 ramp=0");
    const uint64_t bases[] = {1, 2, 4, 8, 8, 8};
    uint64_t last = 0, differing = 0;
    for (int i = 0; i < 6; i++) {
        calls(&w, 1, BREAKER_FAILURE);
        uint64_t open = last_event(&w).open_ns, base = bases[i] * SEC;
        assert_in_range(open, base * 8 / 10, base * 12 / 10 + MS);
        differing += open != last && open != base;
        last = open;
        w.now += open + MS;
    }
    assert_in_range(differing, 4, 6);
    world_end(&w);
}

/* Trips are forgotten after a stable time with traffic, not after an idle one. */
static void trips_are_forgotten_only_after_stable_traffic(void **state)
{
    WORLD(
        w,
        "failure_rate=off consecutive=1 open=1s jitter=0% probes=1 probe_ok=1 ramp=0 forget=60s min_calls=5");
    calls(&w, 1, BREAKER_FAILURE);
    w.now += SEC;
    calls(&w, 1, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    w.now += 3600 * SEC;
    calls(&w, 4, BREAKER_OK);
    assert_int_equal(look(&w).trips, 1); /* an hour, but hardly any traffic */
    calls(&w, 1, BREAKER_OK);
    assert_int_equal(look(&w).trips, 0);
    world_end(&w);
}

/* 3.2 */
static void a_clock_that_steps_back_is_taken_to_stand_still(void **state)
{
    WORLD(w, "failure_rate=off consecutive=3 open=5s jitter=0%");
    calls(&w, 3, BREAKER_FAILURE);
    uint64_t opened = w.now;
    w.now -= 100 * SEC;
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    assert_int_equal(breaker_retry_after(&w.breaker, w.now), 5 * SEC);
    w.now = opened + 5 * SEC;
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    world_end(&w);
}

/* 3.5: the window is emptied by every change of state. */
static void every_change_of_state_empties_the_window(void **state)
{
    WORLD(w, "min_calls=10 failure_rate=50% consecutive=off open=1s jitter=0% probes=1 probe_ok=1 ramp=0");
    calls(&w, 10, BREAKER_FAILURE);
    assert_int_equal(look(&w).window_total, 0);
    w.now += SEC;
    calls(&w, 1, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_int_equal(look(&w).window_total, 0);
    calls(&w, 9, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* 3.5: half-open decides as soon as the verdict is certain. */
static void half_open_decides_as_soon_as_it_is_certain(void **state)
{
    WORLD(w, "failure_rate=off consecutive=1 open=1s jitter=0% probes=5 probe_ok=3 ramp=0");
    calls(&w, 1, BREAKER_FAILURE);
    w.now += SEC;
    calls(&w, 2, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN); /* three could still succeed */
    calls(&w, 1, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    w.now += 2 * SEC;
    calls(&w, 3, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* Calls end so, one after another, a second apart, until the breaker has closed; how many it took, `most` if it never did. */
static int calls_until_closed(struct world *w, const enum breaker_outcome *pattern, const uint64_t *took, int length,
                              int most)
{
    for (int i = 0; i < most; i++) {
        call(w, pattern[i % length], took[i % length]);
        w->now += 100 * MS;
        if (state_of(w) == BREAKER_CLOSED)
            return i;
    }
    return most;
}

/* Half-open and ramp judge by the rules that trip, so calls that would not trip a closed breaker close an open one. */
static void what_never_trips_closes_an_open_breaker(void **state)
{
    static const struct {
        const char *rules;
        enum breaker_outcome pattern[2];
        uint64_t took[2];
    } cases[] = {
        /* slow, and no rule looks at that */
        {"slow_call=1s", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 2 * SEC}},
        {"slow_call=1s ramp=0", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 2 * SEC}},
        {"slow_call=1s probes=1", {BREAKER_SLOW, BREAKER_SLOW}, {0, 0}},
        {"slow_call=1s probe_ok=2", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 2 * SEC}},
        {"slow_call=1s", {BREAKER_NEUTRAL, BREAKER_NEUTRAL}, {2 * SEC, 2 * SEC}},
        /* slow less often than slow_rate says */
        {"slow_call=1s slow_rate=90%", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 0}},
        {"slow_call=1s slow_rate=90% probes=10 probe_ok=10", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 0}},
        {"slow_call=1s slow_rate=60% probes=8 probe_ok=8 ramp=0", {BREAKER_OK, BREAKER_OK}, {2 * SEC, 0}},
        /* failures that no rule looks at, and fewer than the rate */
        {"failure_rate=off consecutive=off slow_call=1s slow_rate=50%", {BREAKER_FAILURE, BREAKER_FAILURE}, {0, 0}},
        {"failure_rate=off consecutive=off", {BREAKER_FAILURE, BREAKER_TIMEOUT}, {0, 0}},
        {"failure_rate=60% probes=10", {BREAKER_FAILURE, BREAKER_OK}, {0, 0}},
        {"failure_rate=off consecutive=5", {BREAKER_FAILURE, BREAKER_OK}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        WORLD(w, cases[i].rules);
        breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
        breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
        if (calls_until_closed(&w, cases[i].pattern, cases[i].took, 2, 3000) == 3000)
            fail_msg("%s: still %s", cases[i].rules, breaker_state_name(state_of(&w)));
        world_end(&w);
    }
}

static void a_ramp_lets_calls_of_every_kind_through_in_whatever_order_they_come(void **state)
{
    for (int period = 2; period <= 30; period++)
        for (int good = 0; good < period; good += period - 1) {
            WORLD(w, "failure_rate=99% consecutive=off min_calls=100 open=1s jitter=0% ramp=10s");
            breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
            breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
            calls(&w, 3, BREAKER_OK);
            for (int i = 0; i < 20000 && state_of(&w) == BREAKER_RAMP; i++, w.now += 10 * MS)
                call(&w, i % period == good ? BREAKER_OK : BREAKER_NEUTRAL, 0);
            assert_int_equal(state_of(&w), BREAKER_CLOSED);
            world_end(&w);
        }
}

/* Too few for a rate to mean anything at a tenth of the load: more are let through until they trip, or have not. */
static void a_ramp_that_sees_nothing_but_failures_ends_one_way_or_the_other(void **state)
{
    static const struct {
        const char *rules;
        uint64_t every;
        enum breaker_state end;
    } cases[] = {
        {"min_calls=20", 1 * SEC, BREAKER_CLOSED},
        {"min_calls=20", 100 * MS, BREAKER_OPEN},
        {"min_calls=20 slow_call=1s slow_rate=50%", 1 * SEC, BREAKER_CLOSED},
        {"min_calls=1000", 20 * MS, BREAKER_CLOSED},
        {"min_calls=20 window=1s", 300 * MS, BREAKER_CLOSED},
        {"min_calls=20 window=60s", 500 * MS, BREAKER_OPEN},
        {"min_calls=20 window=count:100", 1 * SEC, BREAKER_OPEN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        WORLD(w, cases[i].rules);
        assert_int_equal(breaker_config_parse(&w.config, "consecutive=off jitter=0% ramp=5s", NULL), 0);
        assert_int_equal(breaker_configure(&w.breaker, &w.config, w.now, NULL), 0);
        breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
        breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
        calls(&w, 3, BREAKER_OK);
        for (int k = 0; k < 20000 && state_of(&w) == BREAKER_RAMP; k++, w.now += cases[i].every)
            call(&w, BREAKER_FAILURE, 0);
        if (state_of(&w) != (int)cases[i].end)
            fail_msg("%s: %s", cases[i].rules, breaker_state_name(state_of(&w)));
        world_end(&w);
    }
}

static void what_would_trip_opens_a_half_open_breaker_again(void **state)
{
    static const struct {
        const char *rules;
        enum breaker_outcome how;
        uint64_t took;
        int failed, slow;
    } cases[] = {
        {"slow_call=1s slow_rate=90%", BREAKER_OK, 2 * SEC, 0, 3},
        {"slow_call=1s slow_rate=50% probes=10", BREAKER_OK, 2 * SEC, 0, 5},
        {"slow_call=1s slow_rate=50% failure_rate=off consecutive=off", BREAKER_FAILURE, 2 * SEC, 2, 2},
        {"failure_rate=50% consecutive=off", BREAKER_FAILURE, 0, 2, 0},
        {"failure_rate=80% probes=10", BREAKER_TIMEOUT, 0, 8, 0},
        {"failure_rate=80% probes=10 min_calls=5", BREAKER_TIMEOUT, 0, 4, 0},
        {"failure_rate=off consecutive=5", BREAKER_FAILURE, 0, 3, 0},
        {"probes=5 probe_ok=4", BREAKER_FAILURE, 0, 2, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        WORLD(w, cases[i].rules);
        breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
        breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
        int most = cases[i].failed > cases[i].slow ? cases[i].failed : cases[i].slow;
        for (int k = 0; k < most; k++) {
            assert_int_equal(call(&w, cases[i].how, cases[i].took), 0);
            assert_int_equal(state_of(&w), k + 1 < most ? BREAKER_HALF_OPEN : BREAKER_OPEN);
        }
        struct breaker_event event = last_event(&w);
        assert_int_equal(event.reason, BREAKER_REASON_PROBES_FAILED);
        assert_int_equal(event.failures, cases[i].failed);
        assert_int_equal(event.slow, cases[i].slow);
        world_end(&w);
    }
}

/* A success never opens, unless the compatibility flag says so. */
static void a_success_opens_only_when_every_report_is_judged(void **state)
{
    const char *const rules[] = {"min_calls=10 failure_rate=50% consecutive=off evaluate=failures",
                                 "min_calls=10 failure_rate=50% consecutive=off evaluate=every"};
    for (int every = 0; every < 2; every++) {
        WORLD(w, rules[every]);
        calls(&w, 9, BREAKER_FAILURE);
        calls(&w, 1, BREAKER_OK);
        assert_int_equal(state_of(&w), every ? BREAKER_OPEN : BREAKER_CLOSED);
        world_end(&w);
    }
}

/* 3.4: a slow failure counts in both rates. */
static void a_slow_failure_counts_in_both_rates(void **state)
{
    WORLD(w, "min_calls=100 slow_call=1s slow_rate=50% consecutive=off window=1m");
    call(&w, BREAKER_FAILURE, 2 * SEC);
    call(&w, BREAKER_TIMEOUT, 2 * SEC);
    call(&w, BREAKER_OK, 2 * SEC);
    call(&w, BREAKER_SLOW, 0);
    call(&w, BREAKER_OK, SEC); /* not longer than the threshold */
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.window_total, 5);
    assert_int_equal(s.window_failures, 2);
    assert_int_equal(s.window_slow, 4);
    assert_int_equal(s.totals.slow_timeout, 1);
    world_end(&w);
}

/* What should not be a probe waits for one open time longer, then it may. */
static void a_call_that_should_not_probe_waits_for_one_that_should(void **state)
{
    WORLD(w, "failure_rate=off consecutive=1 open=10s jitter=0% probes=2 probe_ok=1 ramp=0");
    struct breaker_permit permit;
    calls(&w, 1, BREAKER_FAILURE);
    w.now += 10 * SEC;
    assert_int_equal(breaker_acquire(&w.breaker, w.now, BREAKER_NO_PROBE, &permit), BREAKER_E_OPEN);
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit), 0);
    assert_true(breaker_permit_is_probe(&permit));
    assert_int_equal(breaker_release(&w.breaker, &permit, w.now), 0); /* neutral: its place is free again */
    assert_int_equal(breaker_acquire(&w.breaker, w.now, BREAKER_NO_PROBE, &permit), BREAKER_E_PROBING);
    w.now += 10 * SEC;
    assert_int_equal(breaker_acquire(&w.breaker, w.now, BREAKER_NO_PROBE, &permit), 0);
    world_end(&w);
}

/* ---- orders ---- */

static void forced_open_refuses_and_forced_closed_passes(void **state)
{
    WORLD(w, "failure_rate=off consecutive=1 jitter=0% probes=1 probe_ok=1 ramp=0");
    breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
    assert_int_equal(state_of(&w), BREAKER_FORCED_OPEN);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_FORCED);
    breaker_force(&w.breaker, BREAKER_MODE_FORCED_CLOSED, w.now);
    calls(&w, 100, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_FORCED_CLOSED);
    assert_int_equal(look(&w).totals.failure, 100);
    assert_int_equal(breaker_epoch(&w.breaker), 2);
    breaker_force(&w.breaker, BREAKER_MODE_FORCED_CLOSED, w.now); /* the same again is no event */
    assert_int_equal(breaker_epoch(&w.breaker), 2);
    world_end(&w);
}

static void after_forced_open_probes_come_first(void **state)
{
    WORLD(w, "failure_rate=off consecutive=1 jitter=0% probes=1 probe_ok=1 ramp=0");
    struct breaker_permit permit;
    breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
    breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit), 0);
    assert_true(breaker_permit_is_probe(&permit));
    breaker_report(&w.breaker, &permit, BREAKER_OK, w.now);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

static void reset_forgets_everything_but_the_totals(void **state)
{
    WORLD(w, "failure_rate=off consecutive=2");
    calls(&w, 2, BREAKER_FAILURE);
    breaker_reset(&w.breaker, w.now);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.state, BREAKER_CLOSED);
    assert_int_equal(s.trips, 0);
    assert_int_equal(s.consecutive, 0);
    assert_int_equal(s.totals.failure, 2);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_RESET);
    world_end(&w);
}

/* ---- events ---- */

static void the_last_64_events_are_kept_in_order(void **state)
{
    WORLD(w, "");
    for (int i = 0; i < 100; i++)
        breaker_force(&w.breaker, i % 2 ? BREAKER_MODE_AUTO : BREAKER_MODE_SHADOW, w.now += SEC);
    struct breaker_event events[100];
    assert_int_equal(breaker_events(&w.breaker, 0, events, 100), 64);
    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(events[i].epoch, 37 + i);
    assert_int_equal(breaker_events(&w.breaker, 98, events, 100), 2);
    assert_int_equal(breaker_events(&w.breaker, 100, events, 100), 0);
    assert_int_equal(breaker_events(&w.breaker, 90, events, 3), 3);
    world_end(&w);
}

/* A buffer that is too small is told with the length that would do, and nothing is written beyond it. */
/* The window that is judged is empty after a trip; what people look at is not. */
static void what_a_dashboard_counts_outlives_the_change_of_state(void **state)
{
    static const char *const words[] = {
        [BREAKER_JSON] = "\"failure_rate\":80,\"window\":{\"total\":0,\"failures\":0,\"slow\":0,\"hung\":0,\"consecutive\":0},"
                         "\"lately\":{\"total\":20,\"failures\":16,\"timeouts\":6,\"slow\":2,\"refused\":5,"
                         "\"shadow_refused\":0,\"fallbacks\":4,\"fallbacks_failed\":1}",
        [BREAKER_OPENMETRICS] = "breaker_lately_calls{breaker=\"payments\",kind=\"failures\"} 16\n",
        [BREAKER_STREAM] = "\"isCircuitBreakerOpen\":true,\"errorPercentage\":80,\"errorCount\":16,\"requestCount\":20,"
                           "\"rollingCountFailure\":10,\"rollingCountSuccess\":4,\"rollingCountTimeout\":6,"
                           "\"rollingCountShortCircuited\":5,\"rollingCountFallbackSuccess\":4,"
                           "\"rollingCountFallbackFailure\":1,",
        [BREAKER_PROMETHEUS] = "breaker_fallbacks_total{breaker=\"payments\",outcome=\"ok\"} 4\n",
    };
    WORLD(w, "window=10s min_calls=20 failure_rate=50% consecutive=off slow_call=1s open=1m open_max=1m jitter=0%");
    char *text = malloc(65536);
    calls(&w, 2, BREAKER_OK);
    for (int i = 0; i < 2; i++)
        call(&w, BREAKER_OK, 1100 * MS);
    calls(&w, 10, BREAKER_FAILURE);
    calls(&w, 6, BREAKER_TIMEOUT);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
        breaker_count_fallback(&w.breaker, i < 4, w.now);
    }
    for (int format = BREAKER_JSON; format <= BREAKER_PROMETHEUS; format++) {
        size_t length;
        assert_int_equal(breaker_export(&w.region, (enum breaker_format)format, w.now, 1, text, 65536, &length), 0);
        if (!strstr(text, words[format]))
            fail_msg("no %s in %s", words[format], text);
    }
    w.now += 8 * SEC; /* while it is open the refusals move the window on */
    calls(&w, 3, BREAKER_OK);
    w.now += 8 * SEC;
    calls(&w, 2, BREAKER_OK);
    struct breaker_lately lately = look(&w).lately;
    assert_int_equal(lately.total, 0);
    assert_int_equal(lately.refused, 5);
    w.now += 20 * SEC;
    assert_int_equal(look(&w).lately.refused, 0);
    free(text);
    world_end(&w);
}

static void an_export_tells_the_room_it_needs(void **state)
{
    WORLD(w, "");
    calls(&w, 30, BREAKER_FAILURE);
    for (int format = BREAKER_JSON; format <= BREAKER_PROMETHEUS; format++) {
        char small[100], *whole;
        size_t need, length;
        memset(small, 'x', sizeof(small));
        assert_int_equal(breaker_export(&w.region, (enum breaker_format)format, w.now, 1, small, 50, &need),
                         BREAKER_E_SPACE);
        assert_int_equal(small[49], 0);
        assert_int_equal(small[50], 'x');
        whole = malloc(need + 1);
        assert_int_equal(
            breaker_export(&w.region, (enum breaker_format)format, w.now, 1, whole, need + 1, &length), 0);
        assert_int_equal(strlen(whole), length);
        assert_memory_equal(whole, small, 49);
        free(whole);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_rate_trips_at_its_threshold_and_not_below_min_calls),
        cmocka_unit_test(failures_in_a_row_trip_and_one_success_ends_the_row),
        cmocka_unit_test(the_reason_is_the_first_that_holds),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(a_result_is_credited_to_the_slice_its_call_began_in),
        cmocka_unit_test(a_window_of_calls_holds_the_last_ones_only),
        cmocka_unit_test(a_permit_is_reported_once),
        cmocka_unit_test(a_breaker_opens_probes_ramps_and_closes),
        cmocka_unit_test(open_time_doubles_up_to_its_cap_within_jitter),
        cmocka_unit_test(trips_are_forgotten_only_after_stable_traffic),
        cmocka_unit_test(a_clock_that_steps_back_is_taken_to_stand_still),
        cmocka_unit_test(every_change_of_state_empties_the_window),
        cmocka_unit_test(half_open_decides_as_soon_as_it_is_certain),
        cmocka_unit_test(what_never_trips_closes_an_open_breaker),
        cmocka_unit_test(a_ramp_lets_calls_of_every_kind_through_in_whatever_order_they_come),
        cmocka_unit_test(a_ramp_that_sees_nothing_but_failures_ends_one_way_or_the_other),
        cmocka_unit_test(what_would_trip_opens_a_half_open_breaker_again),
        cmocka_unit_test(a_success_opens_only_when_every_report_is_judged),
        cmocka_unit_test(a_slow_failure_counts_in_both_rates),
        cmocka_unit_test(a_call_that_should_not_probe_waits_for_one_that_should),
        cmocka_unit_test(forced_open_refuses_and_forced_closed_passes),
        cmocka_unit_test(after_forced_open_probes_come_first),
        cmocka_unit_test(reset_forgets_everything_but_the_totals),
        cmocka_unit_test(the_last_64_events_are_kept_in_order),
        cmocka_unit_test(what_a_dashboard_counts_outlives_the_change_of_state),
        cmocka_unit_test(an_export_tells_the_room_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
