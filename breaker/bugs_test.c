/* What goes wrong in other breakers, and does not here: each test is named after the bug it prevents. Injected time. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing.h"

#define PROBING "failure_rate=off consecutive=3 open=5s jitter=0% probes=3 probe_ok=2 probe_lease=2s ramp=0 "

/* Open it and let the open time pass. */
static void wait_for_retry(struct world *w)
{
    calls(w, 3, BREAKER_FAILURE);
    assert_int_equal(state_of(w), BREAKER_OPEN);
    w->now += 5 * SEC;
}

/* Hystrix, Polly, opossum, Sentinel: one late success closes a half-open breaker (B2). */
static void one_late_success_closes_a_half_open_breaker_not_here(void **state)
{
    WORLD(w, PROBING "probe_ok=1");
    struct breaker_permit late[4];
    for (int i = 0; i < 4; i++)
        breaker_acquire(&w.breaker, w.now, 0, &late[i]);
    wait_for_retry(&w);
    struct breaker_permit probe;
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &probe), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(breaker_report(&w.breaker, &late[i], BREAKER_OK, w.now), BREAKER_E_STALE);
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
    assert_int_equal(look(&w).totals.stale, 4);
    breaker_report(&w.breaker, &probe, BREAKER_OK, w.now);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* resilience4j: late results land in the half-open window and decide it (B2). */
static void late_failures_fill_the_half_open_window_not_here(void **state)
{
    WORLD(w, PROBING);
    struct breaker_permit late[10];
    for (int i = 0; i < 10; i++)
        breaker_acquire(&w.breaker, w.now, 0, &late[i]);
    wait_for_retry(&w);
    struct breaker_permit probe;
    breaker_acquire(&w.breaker, w.now, 0, &probe);
    for (int i = 0; i < 10; i++)
        breaker_report(&w.breaker, &late[i], BREAKER_FAILURE, w.now);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.machine, BREAKER_HALF_OPEN);
    assert_int_equal(s.probes_failed, 0);
    assert_int_equal(s.window_total, 0);
    world_end(&w);
}

/* resilience4j, Polly, Hystrix, Sentinel, opossum: stuck half-open, because a probe never reports (B4). */
static void stuck_half_open_because_probes_hang_not_here(void **state)
{
    WORLD(w, PROBING);
    wait_for_retry(&w);
    struct breaker_permit hung[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &hung[i]), 0);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_PROBING);
    assert_int_equal(breaker_retry_after(&w.breaker, w.now), 2 * SEC);
    w.now += 2 * SEC;
    assert_int_equal(look(&w).probes_failed, 3);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    struct breaker_event event = last_event(&w);
    assert_int_equal(event.reason, BREAKER_REASON_PROBES_FAILED);
    assert_int_equal(event.failures, 3);
    assert_int_equal(look(&w).totals.leases_ended, 3);
    assert_int_equal(breaker_report(&w.breaker, &hung[0], BREAKER_OK, w.now), BREAKER_E_STALE);
    world_end(&w);
}

/* The same for a process that is killed while it probes (B4, B5). */
static void stuck_half_open_because_a_probing_process_was_killed_not_here(void **state)
{
    WORLD(w, PROBING);
    wait_for_retry(&w);
    pid_t child = fork();
    if (child == 0) {
        struct breaker_region region;
        struct breaker breaker;
        struct breaker_permit permit;
        breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT);
        breaker_find(&region, "payments", &breaker);
        for (int i = 0; i < 3; i++)
            breaker_acquire(&breaker, w.now, 0, &permit);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_PROBING);
    w.now += 2 * SEC;
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    w.now += 10 * SEC; /* the second open time is twice the first */
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* Asked of resilience4j: a hang takes a whole timeout to be seen. */
static void a_hang_is_unseen_until_its_timeout_not_here(void **state)
{
    WORLD(w, "min_calls=10 slow_call=800ms slow_rate=60% hung=on consecutive=off");
    struct breaker_permit hung[20];
    for (int i = 0; i < 20; i++)
        assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &hung[i]), 0);
    w.now += 1200 * MS;                        /* nothing has ended, and nothing has timed out */
    assert_int_equal(look(&w).window_hung, 0); /* their slice ended 700 ms ago */
    w.now += 100 * MS;
    assert_int_equal(look(&w).window_hung, 20);
    w.now += 200 * MS; /* the next slice: its first acquire looks */
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    struct breaker_event event = last_event(&w);
    assert_int_equal(event.reason, BREAKER_REASON_SLOW_RATE);
    assert_int_equal(event.hung, 20);
    world_end(&w);
}

/* A hung call that ends after all is one slow call, not two. */
static void a_hung_call_counts_once_when_it_ends(void **state)
{
    WORLD(w, "min_calls=100 slow_call=800ms slow_rate=60% hung=on consecutive=off");
    struct breaker_permit permit;
    breaker_acquire(&w.breaker, w.now, 0, &permit);
    w.now += 2 * SEC;
    assert_int_equal(look(&w).window_hung, 1);
    breaker_report(&w.breaker, &permit, BREAKER_OK, w.now);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.window_hung, 0);
    assert_int_equal(s.window_slow, 1);
    assert_int_equal(s.window_total, 1);
    world_end(&w);
}

/* Hystrix, resilience4j, Sentinel: from half-open the whole load falls on a service that just came back. oxy: ramps by
 * time alone, though nothing has succeeded. */
static void the_whole_load_falls_on_a_service_that_just_came_back_not_here(void **state)
{
    WORLD(w, PROBING "ramp=10s min_calls=20");
    wait_for_retry(&w);
    calls(&w, 2, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_RAMP);
    w.now += 3600 * SEC; /* time alone proves nothing */
    assert_int_equal(look(&w).share, 10);
    int passed = 0;
    for (int i = 0; i < 100; i++) {
        struct breaker_permit permit;
        if (breaker_acquire(&w.breaker, w.now, 0, &permit) == 0)
            passed++; /* in flight: proves nothing either */
    }
    assert_int_equal(passed, 10);
    uint32_t share = 10;
    for (int i = 0; i < 10000 && state_of(&w) == BREAKER_RAMP; i++) {
        call(&w, BREAKER_OK, 0);
        assert_in_range(look(&w).share, share,
                        share + 10 > 100 ? 100 : share + 10); /* in steps, never a jump */
        share = look(&w).share;
    }
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    world_end(&w);
}

/* Successes alone, all within a moment, prove nothing either: the ramp takes its time. */
static void a_burst_of_successes_jumps_over_the_ramp_not_here(void **state)
{
    WORLD(w, PROBING "ramp=10s min_calls=20");
    wait_for_retry(&w);
    calls(&w, 2, BREAKER_OK);
    calls(&w, 10000, BREAKER_OK);
    assert_int_equal(state_of(&w), BREAKER_RAMP);
    assert_int_equal(look(&w).share, 10);
    w.now += 5 * SEC;
    calls(&w, 1, BREAKER_OK);
    assert_int_equal(look(&w).share, 60);
    world_end(&w);
}

/* A relapse during the ramp opens again, for longer. */
static void a_relapse_while_ramping_opens_for_twice_as_long(void **state)
{
    WORLD(w, PROBING "ramp=10s min_calls=20");
    wait_for_retry(&w);
    calls(&w, 2, BREAKER_OK);
    for (int i = 0; i < 100 && state_of(&w) == BREAKER_RAMP; i++)
        call(&w, BREAKER_FAILURE, 0);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(last_event(&w).open_ns, 10 * SEC);
    world_end(&w);
}

/* Semian, open since 2015: each process must fail by itself before it knows. */
static void every_process_must_fail_by_itself_not_here(void **state)
{
    WORLD(w, PROBING "consecutive=4");
    for (int process = 0; process < 4; process++) {
        pid_t child = fork();
        if (child == 0) {
            struct breaker_region region;
            struct breaker breaker;
            struct breaker_permit permit;
            breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT);
            breaker_find(&region, "payments", &breaker);
            if (breaker_acquire(&breaker, w.now, 0, &permit) == 0)
                breaker_report(&breaker, &permit, BREAKER_FAILURE, w.now);
            _exit(0);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(last_event(&w).consecutive, 4);
    world_end(&w);
}

/* Hard-coded elsewhere: a Retry-After that has nothing to do with when calls pass again. */
static void retry_after_is_a_constant_not_here(void **state)
{
    WORLD(w, PROBING);
    calls(&w, 3, BREAKER_FAILURE);
    for (uint64_t passed = 0; passed < 5; passed++) {
        assert_int_equal(breaker_retry_after(&w.breaker, w.now), (5 - passed) * SEC);
        assert_int_equal(breaker_retry_after_seconds(&w.breaker, w.now), 5 - passed);
        w.now += SEC;
    }
    assert_int_equal(breaker_retry_after(&w.breaker, w.now), 0);
    world_end(&w);
}

static int fail_with_retry_after(struct world *w, uint64_t retry_after)
{
    struct breaker_permit permit;
    struct breaker_result result = {.outcome = BREAKER_FAILURE, .retry_after_ns = retry_after};
    int answer = breaker_acquire(&w->breaker, w->now, 0, &permit);
    return answer ? answer : breaker_report_result(&w->breaker, &permit, &result, w->now);
}

/* The upstream said when it will be back: that is the open time, up to a cap, and nobody comes earlier. */
static void an_upstreams_retry_after_is_ignored_not_here(void **state)
{
    WORLD(w, PROBING "jitter=15% retry_after_max=60s");
    for (int i = 0; i < 3; i++)
        fail_with_retry_after(&w, 30 * SEC);
    uint64_t wait = breaker_retry_after(&w.breaker, w.now);
    assert_in_range(wait, 30 * SEC, 30 * SEC + 30 * SEC * 15 / 100 + MS);
    breaker_reset(&w.breaker, w.now);
    for (int i = 0; i < 3; i++)
        fail_with_retry_after(&w, 3600 * SEC);
    assert_in_range(breaker_retry_after(&w.breaker, w.now), 60 * SEC, 69 * SEC + MS);
    world_end(&w);
}

/* Client aborts trip healthy services: someone who gives up at once says nothing. */
static void aborting_clients_trip_a_healthy_service_not_here(void **state)
{
    WORLD(w, "min_calls=5 consecutive=3 slow_call=1s slow_rate=50%");
    for (int i = 0; i < 100; i++)
        call(&w, BREAKER_NEUTRAL, 10 * MS);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.machine, BREAKER_CLOSED);
    assert_int_equal(s.window_total, 0);
    assert_int_equal(s.totals.neutral, 100);
    world_end(&w);
}

/* … or hide slow ones: someone who gave up after the slow threshold has seen it slow. */
static void impatient_clients_hide_a_slow_service_not_here(void **state)
{
    WORLD(w, "min_calls=5 consecutive=3 slow_call=1s slow_rate=50% window=1m slices=20");
    for (int i = 0; i < 5; i++)
        call(&w, BREAKER_NEUTRAL, 1001 * MS);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_SLOW_RATE);
    assert_int_equal(last_event(&w).failures, 0);
    world_end(&w);
}

/* A new configuration throws away what was learnt. */
static void reconfiguring_closes_an_open_breaker_not_here(void **state)
{
    WORLD(w, PROBING);
    calls(&w, 3, BREAKER_FAILURE);
    struct breaker_config config = w.config;
    config.consecutive = 7;
    config.window_ns = 30 * SEC; /* even with another geometry */
    uint64_t wait = breaker_retry_after(&w.breaker, w.now);
    assert_int_equal(breaker_configure(&w.breaker, &config, w.now, NULL), 0);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(breaker_retry_after(&w.breaker, w.now), wait);
    world_end(&w);
}

static void reconfiguring_empties_the_window_not_here(void **state)
{
    WORLD(w, "min_calls=100 consecutive=off");
    calls(&w, 30, BREAKER_FAILURE);
    struct breaker_config config = w.config;
    config.min_calls = 31; /* new thresholds, same geometry */
    assert_int_equal(breaker_configure(&w.breaker, &config, w.now, NULL), 0);
    assert_int_equal(look(&w).window_total, 30);
    calls(&w, 1, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    world_end(&w);
}

/* To try a breaker out one must risk refusals: shadow refuses nothing and tells what it would have done. */
static void a_breaker_cannot_be_tried_without_refusing_calls_not_here(void **state)
{
    WORLD(w, PROBING "mode=shadow");
    assert_int_equal(state_of(&w), BREAKER_SHADOW);
    calls(&w, 3, BREAKER_FAILURE);
    struct breaker_event event = last_event(&w);
    assert_int_equal(event.to, BREAKER_OPEN);
    assert_int_equal(event.mode, BREAKER_MODE_SHADOW);
    for (int i = 0; i < 5; i++) {
        struct breaker_permit permit;
        assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit), 0);
        assert_true(breaker_permit_is_shadow(&permit));
        breaker_report(&w.breaker, &permit, BREAKER_FAILURE, w.now);
    }
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.state, BREAKER_SHADOW);
    assert_int_equal(s.machine, BREAKER_OPEN);
    assert_int_equal(s.totals.shadow_refused, 5);
    assert_int_equal(s.totals.refused_open, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_late_success_closes_a_half_open_breaker_not_here),
        cmocka_unit_test(late_failures_fill_the_half_open_window_not_here),
        cmocka_unit_test(stuck_half_open_because_probes_hang_not_here),
        cmocka_unit_test(stuck_half_open_because_a_probing_process_was_killed_not_here),
        cmocka_unit_test(a_hang_is_unseen_until_its_timeout_not_here),
        cmocka_unit_test(a_hung_call_counts_once_when_it_ends),
        cmocka_unit_test(the_whole_load_falls_on_a_service_that_just_came_back_not_here),
        cmocka_unit_test(a_burst_of_successes_jumps_over_the_ramp_not_here),
        cmocka_unit_test(a_relapse_while_ramping_opens_for_twice_as_long),
        cmocka_unit_test(every_process_must_fail_by_itself_not_here),
        cmocka_unit_test(retry_after_is_a_constant_not_here),
        cmocka_unit_test(an_upstreams_retry_after_is_ignored_not_here),
        cmocka_unit_test(aborting_clients_trip_a_healthy_service_not_here),
        cmocka_unit_test(impatient_clients_hide_a_slow_service_not_here),
        cmocka_unit_test(reconfiguring_closes_an_open_breaker_not_here),
        cmocka_unit_test(reconfiguring_empties_the_window_not_here),
        cmocka_unit_test(a_breaker_cannot_be_tried_without_refusing_calls_not_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
