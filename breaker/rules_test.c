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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
