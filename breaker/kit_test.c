/* The rest of the kit: bulkhead, rate, throttle, retry, time limit, fallbacks, and all of it around one call. */
#include <pthread.h>

#include "testing.h"

/* ---- bulkhead ---- */

static void a_bulkhead_holds_at_its_limit(void **state)
{
    struct breaker_bulkhead b;
    assert_int_equal(breaker_bulkhead_init(&b, 0), BREAKER_E_OPTIONS);
    assert_int_equal(breaker_bulkhead_init(&b, 2), 0);
    assert_int_equal(breaker_bulkhead_enter(&b), 0);
    assert_int_equal(breaker_bulkhead_enter(&b), 0);
    assert_int_equal(breaker_bulkhead_enter(&b), BREAKER_E_FULL);
    breaker_bulkhead_leave(&b, MS, BREAKER_OK, SEC);
    assert_int_equal(breaker_bulkhead_enter(&b), 0);
    struct breaker_bulkhead none = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(breaker_bulkhead_enter(&none), 0);
}

/* `seconds` of a full bulkhead whose calls take `took`. */
static uint32_t work(struct breaker_bulkhead *b, uint64_t *now, int seconds, uint64_t took)
{
    for (uint64_t end = *now + (uint64_t)seconds * SEC; *now < end; *now += took) {
        uint32_t entered = 0;
        while (breaker_bulkhead_enter(b) == 0)
            entered++;
        while (entered-- > 0)
            breaker_bulkhead_leave(b, took, BREAKER_OK, *now + took);
    }
    return breaker_bulkhead_limit(b);
}

/* The gradient: grows while latency stays what it is, shrinks when it rises, comes back when it falls. */
static void an_adaptive_bulkhead_follows_latency(void **state)
{
    struct breaker_bulkhead b;
    uint64_t now = SEC;
    assert_int_equal(breaker_bulkhead_init_adaptive(&b, 5, 20, 200, 0), 0);
    uint32_t calm = work(&b, &now, 10, 20 * MS);
    assert_in_range(calm, 60, 200);
    uint32_t slow = work(&b, &now, 3, 200 * MS);
    assert_in_range(slow, 5, calm / 2);
    assert_in_range(work(&b, &now, 20, 20 * MS), slow + 20, 200);
}

static void an_idle_adaptive_bulkhead_does_not_grow(void **state)
{
    struct breaker_bulkhead b;
    breaker_bulkhead_init_adaptive(&b, 5, 20, 200, 0);
    for (uint64_t now = SEC; now < 60 * SEC; now += 5 * MS) {
        assert_int_equal(breaker_bulkhead_enter(&b), 0);
        breaker_bulkhead_leave(&b, MS, BREAKER_OK, now);
    }
    assert_int_equal(breaker_bulkhead_limit(&b), 20);
}

/* ---- rate ---- */

static void a_bucket_gives_its_burst_then_its_rate(void **state)
{
    struct breaker_rate r;
    uint64_t wait = 0, now = SEC;
    assert_int_equal(breaker_rate_init(&r, 0, 1), BREAKER_E_OPTIONS);
    assert_int_equal(breaker_rate_init(&r, 100, 5), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(breaker_rate_take(&r, 1, now, &wait), 0);
    assert_int_equal(breaker_rate_take(&r, 1, now, &wait), BREAKER_E_RATE);
    assert_int_equal(wait, 10 * MS);
    assert_int_equal(breaker_rate_take(&r, 1, now + wait - 1, NULL), BREAKER_E_RATE);
    assert_int_equal(breaker_rate_take(&r, 1, now + wait, NULL), 0);
    assert_int_equal(breaker_rate_take(&r, 6, now, &wait), BREAKER_E_RATE);
    assert_true(wait == UINT64_MAX);
    int passed = 0;
    for (now = 10 * SEC; now < 20 * SEC; now += MS)
        passed += breaker_rate_take(&r, 1, now, NULL) == 0;
    assert_in_range(passed, 1000, 1005);
}

static void *take_tokens(void *argument)
{
    intptr_t taken = 0;
    for (int i = 0; i < 20000; i++)
        taken += breaker_rate_take(argument, 1, SEC, NULL) == 0;
    return (void *)taken;
}

static void threads_never_take_more_than_there_is(void **state)
{
    struct breaker_rate r;
    pthread_t threads[4];
    intptr_t sum = 0;
    breaker_rate_init(&r, 10, 12345);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, take_tokens, &r);
    for (int i = 0; i < 4; i++) {
        void *taken;
        pthread_join(threads[i], &taken);
        sum += (intptr_t)taken;
    }
    assert_int_equal(sum, 12345);
}

/* ---- throttle ---- */

/* One minute of 1000 calls a second to a service that accepts `accepted` of 100; returns what reached it, in percent. */
static int throttle_through(struct breaker_throttle *t, uint64_t *now, unsigned accepted)
{
    int reached = 0;
    for (int i = 0; i < 60000; i++, *now += MS)
        if (breaker_throttle_enter(t, *now) == 0) {
            reached++;
            breaker_throttle_report(t, (unsigned)i * 37 % 100 < accepted ? BREAKER_OK : BREAKER_FAILURE,
                                    *now);
        }
    return reached / 600;
}

static void the_throttle_lets_about_k_times_what_is_accepted_through(void **state)
{
    struct breaker_throttle t;
    uint64_t now = 1000 * SEC;
    assert_int_equal(breaker_throttle_init(&t, 50, 0, 1), BREAKER_E_OPTIONS);
    assert_int_equal(breaker_throttle_init(&t, 200, 10 * SEC, 1), 0);
    assert_int_equal(throttle_through(&t, &now, 100), 100);
    assert_int_equal(throttle_through(&t, &now, 60), 100); /* 2 · 60 % is more than all */
    int nothing = throttle_through(&t, &now, 0);
    assert_in_range(nothing, 0, 20); /* the window remembers better times, then almost nothing passes */
    assert_in_range(throttle_through(&t, &now, 0), 0, 1);
    throttle_through(&t, &now, 100);
    assert_in_range(throttle_through(&t, &now, 100), 95, 100); /* and it comes back by itself */
}

/* ---- retry ---- */

static void waits_double_within_full_jitter_and_end(void **state)
{
    struct breaker_retry r;
    uint64_t wait, most[5] = {0};
    assert_int_equal(breaker_retry_init(&r, 6, 100 * MS, SEC, 1000, 100, 1), 0);
    for (int i = 0; i < 2000; i++) {
        breaker_retry_begin(&r, (uint64_t)i * SEC);
        for (uint32_t attempt = 1; attempt <= 5; attempt++) {
            assert_int_equal(breaker_retry_next(&r, attempt, 0, (uint64_t)i * SEC, &wait), 0);
            most[attempt - 1] = wait > most[attempt - 1] ? wait : most[attempt - 1];
        }
        assert_int_equal(breaker_retry_next(&r, 6, 0, (uint64_t)i * SEC, &wait), BREAKER_E_ATTEMPTS);
    }
    const uint64_t limits[5] = {100 * MS, 200 * MS, 400 * MS, 800 * MS, SEC};
    for (int i = 0; i < 5; i++)
        assert_in_range(most[i], limits[i] * 98 / 100, limits[i]);
}

/* Retries multiply an outage elsewhere: here 10,000 failing calls get 20 % more, and a small reserve. */
static void retries_multiply_an_outage_not_here(void **state)
{
    struct breaker_retry r;
    uint64_t wait;
    int retries = 0;
    breaker_retry_init(&r, 4, 0, 0, 20, 1, 1);
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t now = 1000 * SEC + i * MS;
        breaker_retry_begin(&r, now);
        for (uint32_t attempt = 1; breaker_retry_next(&r, attempt, 0, now, &wait) == 0; attempt++)
            retries++;
    }
    assert_in_range(retries, 2000, 2000 + 10 + 10);
    while (breaker_retry_next(&r, 1, 0, 1010 * SEC, &wait) == 0)
        ;
    assert_int_equal(breaker_retry_next(&r, 1, 0, 1010 * SEC, &wait), BREAKER_E_BUDGET);
    assert_int_equal(breaker_retry_next(&r, 1, 0, 1011 * SEC, &wait), 0); /* the reserve: one a second */
}

static void what_is_left_of_a_budget_is_what_it_pays_for(void **state)
{
    struct breaker_retry r;
    uint64_t wait;
    breaker_retry_init(&r, 100, 0, 0, 20, 1, 1);
    for (uint64_t now = 1000 * SEC; now < 1040 * SEC; now += 700 * MS) {
        uint32_t left = breaker_retry_left(&r, now), paid = 0;
        assert_int_equal(breaker_retry_left(&r, now), left); /* looking costs nothing */
        while (breaker_retry_next(&r, 1, 0, now, &wait) == 0)
            paid++;
        assert_int_equal(paid, left);
        for (uint64_t calls = now % 7; calls; calls--)
            breaker_retry_begin(&r, now);
    }
}

static void an_upstreams_retry_after_is_waited_for_or_given_up(void **state)
{
    struct breaker_retry r;
    uint64_t wait;
    breaker_retry_init(&r, 3, 100 * MS, 5 * SEC, 0, 0, 1);
    assert_int_equal(breaker_retry_next(&r, 1, 2 * SEC, SEC, &wait), 0);
    assert_in_range(wait, 2 * SEC, 2 * SEC + 100 * MS);
    assert_int_equal(breaker_retry_next(&r, 1, 6 * SEC, SEC, &wait), BREAKER_E_TIME);
}

/* ---- time limit ---- */

static void an_inner_limit_never_outlasts_the_outer_one(void **state)
{
    struct breaker_deadline whole = breaker_deadline_make(10 * SEC, 5 * SEC, NULL);
    struct breaker_deadline part = breaker_deadline_make(13 * SEC, 4 * SEC, &whole);
    assert_int_equal(breaker_deadline_left(&part, 13 * SEC), 2 * SEC);
    part = breaker_deadline_make(11 * SEC, SEC, &whole);
    assert_int_equal(breaker_deadline_left(&part, 11 * SEC), SEC);
    assert_int_equal(breaker_deadline_left(&part, 20 * SEC), 0);
    struct breaker_deadline none = breaker_deadline_make(SEC, 0, NULL);
    assert_true(breaker_deadline_left(&none, 99 * SEC) == UINT64_MAX);
}

/* ---- fallbacks, and all of it ---- */

struct scene {
    struct world *w;
    const char *script; /* per attempt: o ok, f failure, n neutral, h hangs */
    uint32_t calls;
    uint64_t left[16];
    uint64_t waited;
    int served_why, cache_is_cold;
};

static uint64_t scene_clock(void *context)
{
    return ((struct scene *)context)->w->now;
}

static void scene_wait(void *context, uint64_t ns)
{
    struct scene *scene = context;
    scene->w->now += ns;
    scene->waited += ns;
}

static void scene_call(void *context, uint32_t attempt, uint64_t left_ns, struct breaker_result *ret_result)
{
    struct scene *scene = context;
    char what = scene->script[scene->calls];
    scene->left[scene->calls++] = left_ns;
    scene->w->now += what == 'h' ? left_ns : 10 * MS;
    ret_result->outcome = what == 'o' ? BREAKER_OK : what == 'n' ? BREAKER_NEUTRAL : BREAKER_FAILURE;
}

static int serve_cache(void *context, int why)
{
    struct scene *scene = context;
    scene->served_why = why;
    return scene->cache_is_cold;
}

static int serve_static(void *context, int why)
{
    return 0;
}

static const struct breaker_fallback chain[] = {{"cache", serve_cache, NULL}, {"static", serve_static, NULL}};

static struct breaker_policy policy_of(struct scene *scene)
{
    return (struct breaker_policy){
        .breaker = &scene->w->breaker, .clock = scene_clock, .wait = scene_wait, .clock_context = scene};
}

static void a_run_retries_until_it_succeeds(void **state)
{
    WORLD(w, "");
    struct scene scene = {&w, .script = "ffo"};
    struct breaker_policy policy = policy_of(&scene);
    struct breaker_retry retry;
    struct breaker_run run;
    breaker_retry_init(&retry, 3, 0, 0, 0, 0, 1);
    policy.retry = &retry;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), 0);
    assert_int_equal(run.attempts, 3);
    assert_true(scene.waited > 0);
    assert_int_equal(look(&w).totals.failure, 2); /* each attempt is judged for itself */
    assert_int_equal(look(&w).totals.ok, 1);
    world_end(&w);
}

/* A refusal would only come again. */
static void a_refusal_is_not_retried_and_the_fallback_learns_why(void **state)
{
    WORLD(w, "consecutive=2 failure_rate=off jitter=0% open=5s");
    struct scene scene = {&w, .script = "fffff"};
    struct breaker_policy policy = policy_of(&scene);
    struct breaker_retry retry;
    struct breaker_run run;
    breaker_retry_init(&retry, 5, 1, 1, 1000, 1000, 1);
    policy.retry = &retry;
    policy.fallbacks = chain;
    policy.fallback_count = 2;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), 0);
    assert_int_equal(scene.calls, 2); /* the second failure opened it */
    assert_int_equal(run.why, BREAKER_E_OPEN);
    assert_int_equal(scene.served_why, BREAKER_E_OPEN);
    assert_int_equal(run.fallback, 1);
    assert_in_range(run.retry_after_ns, 5 * SEC - MS, 5 * SEC + 1000); /* ends are whole µs */
    scene.cache_is_cold = 1;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), 0);
    assert_int_equal(run.fallback, 2);
    policy.fallback_count = 1;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), BREAKER_E_OPEN);
    assert_int_equal(run.fallback, 0);
    world_end(&w);
}

/* What we refuse ourselves takes no probe from the breaker. */
static void our_own_limits_burn_no_probe(void **state)
{
    WORLD(w, "consecutive=1 failure_rate=off probes=1 probe_ok=1 ramp=0 jitter=0% open=5s");
    struct scene scene = {&w, .script = "oooo"};
    struct breaker_policy policy = policy_of(&scene);
    struct breaker_bulkhead full;
    struct breaker_rate empty;
    struct breaker_run run;
    calls(&w, 1, BREAKER_FAILURE);
    w.now += 5 * SEC;
    breaker_bulkhead_init(&full, 1);
    breaker_bulkhead_enter(&full);
    policy.bulkhead = &full;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), BREAKER_E_FULL);
    breaker_rate_init(&empty, 1, 1);
    breaker_rate_take(&empty, 1, w.now, NULL);
    policy.rate = &empty;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), BREAKER_E_RATE);
    assert_int_equal(run.retry_after_ns, SEC);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(look(&w).totals.probes, 0);
    breaker_bulkhead_leave(&full, 0, BREAKER_OK, w.now);
    policy.rate = NULL;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_int_equal(full.in_flight, 0);
    world_end(&w);
}

static void retries_do_not_outlast_the_limit_of_the_whole(void **state)
{
    WORLD(w, "");
    struct scene scene = {&w, .script = "hhhhhhhh"};
    struct breaker_policy policy = policy_of(&scene);
    struct breaker_retry retry;
    struct breaker_run run;
    breaker_retry_init(&retry, 8, 1, 1, 1000, 1000, 1);
    policy.retry = &retry;
    policy.limit_ns = 2500 * MS;
    policy.attempt_limit_ns = SEC;
    uint64_t began = w.now;
    assert_int_equal(breaker_run(&policy, scene_call, &scene, &run), BREAKER_E_TIME);
    assert_int_equal(scene.calls, 3);
    assert_int_equal(scene.left[0], SEC);
    assert_in_range(scene.left[2], 499 * MS, 500 * MS);
    assert_in_range(w.now - began, 2500 * MS, 2501 * MS);
    assert_int_equal(look(&w).totals.timeout, 3); /* a failure at its limit is a timeout */
    world_end(&w);
}

static void a_fallback_has_a_limit_of_its_own(void **state)
{
    struct breaker_bulkhead full;
    breaker_bulkhead_init(&full, 1);
    breaker_bulkhead_enter(&full);
    struct breaker_fallback steps[] = {{"cache", serve_static, &full}, {"static", serve_static, NULL}};
    size_t which;
    assert_int_equal(breaker_fallback_run(steps, 2, NULL, BREAKER_E_OPEN, &which), 0);
    assert_int_equal(which, 1);
    assert_int_equal(breaker_fallback_run(steps, 1, NULL, BREAKER_E_OPEN, &which), BREAKER_E_FAILED);
}

static void a_timeout_that_is_no_shorter_than_the_window_is_warned_about(void **state)
{
    WORLD(w, "window=10s probe_lease=3s");
    struct breaker_problem problem;
    struct breaker_policy policy = {.breaker = &w.breaker, .attempt_limit_ns = 10 * SEC};
    assert_int_equal(breaker_policy_check(&policy, w.now, &problem), 0);
    assert_true(problem.is_warning);
    assert_non_null(strstr(problem.message, "attempt_limit=10s"));
    assert_non_null(strstr(problem.message, "window=10s"));
    policy.attempt_limit_ns = 4 * SEC;
    breaker_policy_check(&policy, w.now, &problem);
    assert_non_null(strstr(problem.message, "probe_lease=3s"));
    policy.attempt_limit_ns = 2 * SEC;
    breaker_policy_check(&policy, w.now, &problem);
    assert_string_equal(problem.field, "");
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bulkhead_holds_at_its_limit),
        cmocka_unit_test(an_adaptive_bulkhead_follows_latency),
        cmocka_unit_test(an_idle_adaptive_bulkhead_does_not_grow),
        cmocka_unit_test(a_bucket_gives_its_burst_then_its_rate),
        cmocka_unit_test(threads_never_take_more_than_there_is),
        cmocka_unit_test(the_throttle_lets_about_k_times_what_is_accepted_through),
        cmocka_unit_test(waits_double_within_full_jitter_and_end),
        cmocka_unit_test(retries_multiply_an_outage_not_here),
        cmocka_unit_test(what_is_left_of_a_budget_is_what_it_pays_for),
        cmocka_unit_test(an_upstreams_retry_after_is_waited_for_or_given_up),
        cmocka_unit_test(an_inner_limit_never_outlasts_the_outer_one),
        cmocka_unit_test(a_run_retries_until_it_succeeds),
        cmocka_unit_test(a_refusal_is_not_retried_and_the_fallback_learns_why),
        cmocka_unit_test(our_own_limits_burn_no_probe),
        cmocka_unit_test(retries_do_not_outlast_the_limit_of_the_whole),
        cmocka_unit_test(a_fallback_has_a_limit_of_its_own),
        cmocka_unit_test(a_timeout_that_is_no_shorter_than_the_window_is_warned_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
