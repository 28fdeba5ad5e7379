/* Presets: with one setting changed, a preset is its system with that setting changed. */
#include "testing.h"

static const char *const presets[] = {"default", "hystrix", "resilience4j", "envoy"};

static struct breaker_config config_of(const char *preset, const char *settings)
{
    struct breaker_config config, turned;
    struct breaker_problem problem = {0};
    char text[256];
    breaker_config_init(&config);
    breaker_config_init(&turned);
    snprintf(text, sizeof(text), "preset=%s %s", preset, settings);
    if (breaker_config_parse(&config, text, &problem) || breaker_config_check(&config, &problem) ||
        problem.is_warning)
        fail_msg("%s: %s", text, problem.message);
    snprintf(text, sizeof(text), "%s preset=%s", settings, preset);
    assert_int_equal(breaker_config_parse(&turned, text, &problem), 0);
    assert_memory_equal(&turned, &config, sizeof(config)); /* in whatever order they stand */
    return config;
}

/* What people set, one at a time and in pairs, whatever preset they began with. */
static void every_ordinary_setting_is_accepted_after_every_preset_in_any_order(void **state)
{
    static const char *const settings[] = {
        "", "window=10s", "window=1s", "window=100ms", "window=1m", "window=1h", "window=2h", "window=count:10",
        "window=count:1",
        "window=count:100", "window=count:1000", "slices=10", "slices=5", "min_calls=1", "min_calls=5", "min_calls=10",
        "failure_rate=1%", "failure_rate=20%", "failure_rate=33.3%", "failure_rate=0.5%", "failure_rate=50",
        "failure_rate=80%", "failure_rate=100%", "consecutive=1", "consecutive=100", "slow_call=500ms", "slow_call=2s",
        "open=1ms", "open=1s", "open=10s", "open=90s", "open=400s", "open=1h", "open_max=10m", "jitter=0%", "jitter=50%",
        "probes=1", "probes=2", "probes=3", "probes=10", "probes=20", "probes=100", "probe_ok=1", "probe_ok=rate",
        "probe_lease=1s", "probe_lease=5m", "ramp=0", "ramp=30s", "max_in_flight=1", "max_in_flight=off",
        "retry_after_max=0", "retry_after_max=1m", "forget=0", "key_idle=10s", "evaluate=every", "evaluate=failures",
        "mode=shadow", "slow_call=1s slow_rate=50%", "slow_call=1s slow_rate=0.1%", "slow_rate=off", "slow_call=off",
        "slow_call=1s slow_rate=50% hung=on window=10s"};
    const size_t count = sizeof(settings) / sizeof(settings[0]);
    char pair[160];
    for (size_t p = 0; p < 4; p++)
        for (size_t i = 0; i < count; i++) {
            config_of(presets[p], settings[i]);
            for (size_t k = 0; k < count; k++) {
                bool is_short = strstr(settings[i], "window=") && strstr(settings[k], "slow_call=2s");
                bool is_twice = strncmp(settings[i], settings[k], strcspn(settings[i], "=")) == 0;
                struct breaker_config config;
                struct breaker_problem problem = {0};
                bool is_longer = strstr(settings[i], "open_max=") && strstr(settings[k], "open=1h");
                if (is_twice || is_short || is_longer || strstr(settings[k], "window=") || strstr(settings[k], "min_calls=") ||
                    strstr(settings[k], "slices=") || strstr(settings[k], "slow_") || strstr(settings[k], "open_max="))
                    continue; /* two that may contradict each other */
                snprintf(pair, sizeof(pair), "preset=%s %s %s", presets[p], settings[i], settings[k]);
                breaker_config_init(&config);
                if (breaker_config_parse(&config, pair, &problem) || breaker_config_check(&config, &problem))
                    fail_msg("%s: %s", pair, problem.message);
            }
        }
}

/* What follows a setting follows it until someone sets it himself, and then a contradiction is said. */
static void what_was_not_set_follows_what_was(void **state)
{
    static const struct {
        const char *preset, *settings;
        uint32_t min_calls, slices, slow_rate;
        uint64_t open, open_max, lease;
    } cases[] = {
        {"default", "open=90s", 20, 20, 0, 90 * SEC, 90 * SEC, 10 * SEC},
        {"default", "open=90s open=1s", 20, 20, 0, SEC, 60 * SEC, 10 * SEC},
        {"default", "window=count:5", 20, 20, 0, 5 * SEC, 60 * SEC, 10 * SEC},
        {"default", "window=count:5 window=count:50", 20, 20, 0, 5 * SEC, 60 * SEC, 10 * SEC},
        {"default", "window=100ms", 20, 10, 0, 5 * SEC, 60 * SEC, 10 * SEC},
        {"default", "slow_call=5s", 20, 20, 0, 5 * SEC, 60 * SEC, 20 * SEC},
        {"hystrix", "open=1s", 20, 10, 0, SEC, 0, SEC},
        {"hystrix", "open=10s", 20, 10, 0, 10 * SEC, 0, SEC},
        {"resilience4j", "open=10s", 100, 20, 100, 10 * SEC, 0, 600 * SEC},
        {"resilience4j", "open=10s open_max=1m", 100, 20, 100, 10 * SEC, 60 * SEC, 600 * SEC},
        {"resilience4j", "window=count:10", 100, 20, 100, 60 * SEC, 0, 600 * SEC},
        {"resilience4j", "window=count:10 window=30s", 100, 20, 100, 60 * SEC, 0, 600 * SEC},
        {"resilience4j", "slow_call=off", 100, 20, 0, 60 * SEC, 0, 600 * SEC},
        {"envoy", "open=400s", 100, 20, 0, 400 * SEC, 400 * SEC, 15 * SEC},
        {"envoy", "open=10s", 100, 20, 0, 10 * SEC, 300 * SEC, 15 * SEC},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct breaker_config c = config_of(cases[i].preset, cases[i].settings);
        assert_int_equal(c.min_calls, cases[i].min_calls);
        assert_int_equal(c.slices, cases[i].slices);
        assert_int_equal(c.slow_rate, cases[i].slow_rate);
        assert_int_equal(c.open_ns, cases[i].open);
        assert_int_equal(c.open_max_ns, cases[i].open_max);
        assert_int_equal(c.probe_lease_ns, cases[i].lease);
    }
}

/* A window of calls that holds fewer than the preset's min_calls is judged when it is full. */
static void a_short_window_of_calls_is_judged_when_it_is_full(void **state)
{
    for (size_t p = 0; p < 4; p++) {
        char text[80];
        snprintf(text, sizeof(text), "preset=%s window=count:4 failure_rate=50%% consecutive=off", presets[p]);
        WORLD(w, text);
        calls(&w, 3, BREAKER_FAILURE);
        assert_int_equal(state_of(&w), BREAKER_CLOSED);
        calls(&w, 1, BREAKER_FAILURE);
        assert_int_equal(state_of(&w), BREAKER_OPEN);
        world_end(&w);
    }
}

/* A value that was put into the struct by hand is not followed away. */
static void what_was_set_by_hand_stays(void **state)
{
    struct breaker_config c;
    breaker_config_init(&c);
    c.min_calls = 7;
    c.open_max_ns = 600 * SEC;
    assert_int_equal(breaker_config_parse(&c, "window=count:100 open=2s", NULL), 0);
    assert_int_equal(c.min_calls, 7);
    assert_int_equal(c.open_max_ns, 600 * SEC);
}

/* Trips of an open breaker, one after another: how long it stays open each time. */
static void hystrix_and_resilience4j_stay_open_as_long_each_time_and_envoy_longer(void **state)
{
    static const struct {
        const char *text;
        uint64_t open[4];
    } cases[] = {
        {"preset=hystrix open=1s", {SEC, SEC, SEC, SEC}},
        {"preset=hystrix open=10s", {10 * SEC, 10 * SEC, 10 * SEC, 10 * SEC}},
        {"preset=resilience4j open=10s", {10 * SEC, 10 * SEC, 10 * SEC, 10 * SEC}},
        {"preset=resilience4j open=90s", {90 * SEC, 90 * SEC, 90 * SEC, 90 * SEC}},
        {"preset=envoy", {30 * SEC, 60 * SEC, 120 * SEC, 240 * SEC}},
        {"preset=envoy open=200s", {200 * SEC, 300 * SEC, 300 * SEC, 300 * SEC}},
        {"preset=envoy open=400s", {400 * SEC, 400 * SEC, 400 * SEC, 400 * SEC}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        WORLD(w, cases[i].text);
        for (int trip = 0; trip < 4; trip++) {
            for (int k = 0; k < 200 && state_of(&w) != BREAKER_OPEN; k++)
                call(&w, BREAKER_FAILURE, 0);
            assert_int_equal(breaker_retry_after(&w.breaker, w.now), cases[i].open[trip]);
            w.now += cases[i].open[trip];
            call(&w, BREAKER_FAILURE, 0);
        }
        world_end(&w);
    }
}

/* So many bad probes open it again, and one less does not. */
static void half_open_follows_the_thresholds_that_were_set_after_a_preset(void **state)
{
    static const struct {
        const char *text;
        int bad, of; /* the fewest bad ones that open, and how many are judged */
        uint64_t took;
    } cases[] = {
        {"preset=resilience4j", 5, 10, 0},
        {"preset=resilience4j failure_rate=80%", 8, 10, 0},
        {"preset=resilience4j failure_rate=20%", 2, 10, 0},
        {"preset=resilience4j failure_rate=33.3%", 4, 10, 0},
        {"preset=resilience4j min_calls=5", 3, 5, 0},
        {"preset=resilience4j window=count:5", 5, 10, 0}, /* the window of calls bounds closed only */
        {"preset=resilience4j probes=3", 2, 3, 0},
        {"preset=resilience4j probes=20", 10, 20, 0},
        {"preset=resilience4j probes=100 min_calls=100", 50, 100, 0},
        {"preset=resilience4j slow_call=1s", 10, 10, 2 * SEC},
        {"preset=resilience4j", 10, 10, 90 * SEC}, /* closes with 9 slow ones of 10 */
        {"preset=resilience4j slow_call=1s slow_rate=30%", 3, 10, 2 * SEC},
        {"preset=hystrix", 1, 1, 0},
        {"preset=envoy", 1, 1, 0},
        {"probes=10", 5, 10, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int less = 0; less < 2; less++) {
            WORLD(w, cases[i].text);
            breaker_force(&w.breaker, BREAKER_MODE_FORCED_OPEN, w.now);
            breaker_force(&w.breaker, BREAKER_MODE_AUTO, w.now);
            int bad = cases[i].bad - less;
            for (int k = 0; k < cases[i].of && (k == 0 || state_of(&w) == BREAKER_HALF_OPEN); k++)
                call(&w, k < bad && !cases[i].took ? BREAKER_FAILURE : BREAKER_OK, k < bad ? cases[i].took : 0);
            bool is_open = state_of(&w) == BREAKER_OPEN;
            if (is_open == (less == 1) || state_of(&w) == BREAKER_HALF_OPEN)
                fail_msg("%s: %d bad of %d: %s", cases[i].text, bad, cases[i].of, breaker_state_name(state_of(&w)));
            world_end(&w);
        }
}

/* A region keeps what was set and what followed. */
static void a_configuration_comes_back_from_its_region_as_it_was(void **state)
{
    static const char *const texts[] = {"preset=resilience4j failure_rate=33.3% window=count:10",
                                        "preset=envoy open=400s slow_call=1s slow_rate=99.999%", ""};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        WORLD(w, texts[i]);
        struct breaker_snapshot s = look(&w);
        assert_memory_equal(&s.config, &w.config, sizeof(w.config));
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ordinary_setting_is_accepted_after_every_preset_in_any_order),
        cmocka_unit_test(what_was_not_set_follows_what_was),
        cmocka_unit_test(a_short_window_of_calls_is_judged_when_it_is_full),
        cmocka_unit_test(what_was_set_by_hand_stays),
        cmocka_unit_test(hystrix_and_resilience4j_stay_open_as_long_each_time_and_envoy_longer),
        cmocka_unit_test(half_open_follows_the_thresholds_that_were_set_after_a_preset),
        cmocka_unit_test(a_configuration_comes_back_from_its_region_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
