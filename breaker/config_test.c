/* Configuration: errors name the field, the value and the range; everything legal goes through text and back. */
#include "testing.h"

static struct breaker_problem refused(const char *text)
{
    struct breaker_config config, before;
    struct breaker_problem problem = {0};
    breaker_config_init(&config);
    before = config;
    int answer = breaker_config_parse(&config, text, &problem);
    if (answer == 0)
        answer = breaker_config_check(&config, &problem);
    else
        assert_memory_equal(&config, &before, sizeof(config)); /* one mistake leaves everything as it was */
    if (answer != BREAKER_E_CONFIG || problem.is_warning)
        fail_msg("%s was not refused", text);
    return problem;
}

static void an_error_names_the_field_the_value_and_the_range(void **state)
{
    static const struct {
        const char *text, *field, *value, *range;
    } cases[] = {
        {"failure_rate=101%", "failure_rate", "101%", "0 to 100%, at most three decimals"},
        {"failure_rate=half", "failure_rate", "half", "0 to 100%, at most three decimals"},
        {"min_calls=0", "min_calls", "0", "1 to 1000000"},
        {"min_calls=-1", "min_calls", "-1", "1 to 1000000"},
        {"probes=129", "probes", "129", "1 to 128"},
        {"failure_rate=100.001%", "failure_rate", "100.001%", "0 to 100%, at most three decimals"},
        {"failure_rate=33.3333%", "failure_rate", "33.3333%", "0 to 100%, at most three decimals"},
        {"failure_rate=33.%", "failure_rate", "33.%", "0 to 100%, at most three decimals"},
        {"jitter=1.5%", "jitter", "1.5%", "0 to 50%, whole"},
        {"open=5", "open", "5", "a time from 1ms to 24h"},
        {"open=99999999999999999999s", "open", "99999999999999999999s", "a time from 1ms to 24h"},
        {"open=400000h", "open", "400000h", "a time from 1ms to 24h"},
        {"jitter=51%", "jitter", "51%", "0 to 50%, whole"},
        {"window=10", "window", "10", "a time from 20ms to 2h, or count:1 to count:1000000"},
        {"window=count:0", "window", "count:0", "a time from 20ms to 2h, or count:1 to count:1000000"},
        {"mode=loud", "mode", "loud", "one of auto | forced_open | forced_closed | shadow"},
        {"hung=maybe", "hung", "maybe", "one of off | on"},
        {"preset=netflix", "preset", "netflix", "default | hystrix | resilience4j | envoy"},
        {"colour=red", "colour", "red", "see the table of fields"},
        {"window=count:50 min_calls=51", "min_calls", "51", "at most the calls of window=count:…"},
        {"probe_ok=4", "probe_ok", "4", "at most probes"},
        {"open_max=1s", "open_max", "1s", "off, or at least open"},
        {"open=90s open_max=60s", "open_max", "1m", "off, or at least open"},
        {"window=count:10 min_calls=20", "min_calls", "20", "at most the calls of window=count:…"},
        {"slow_rate=50%", "slow_rate", "50%", "needs slow_call"},
        {"hung=on", "hung", "on", "on needs slow_call and slow_rate"},
        {"window=100ms slices=20", "slices", "20", "such that window / slices is at least 10ms"},
        {"window=1h slices=2", "slices", "2", "such that window / slices is at most 6m"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct breaker_problem problem = refused(cases[i].text);
        assert_string_equal(problem.field, cases[i].field);
        assert_string_equal(problem.value, cases[i].value);
        assert_string_equal(problem.range, cases[i].range);
        assert_non_null(strstr(problem.message, cases[i].range));
    }
}

static void a_pair_that_is_none_is_named(void **state)
{
    assert_string_equal(refused("min_calls").value, "min_calls");
    char long_pair[300] = "open=";
    memset(long_pair + 5, '1', 290);
    refused(long_pair);
}

/* A struct that was filled by hand is checked against the same table. */
static void a_struct_is_checked_like_text(void **state)
{
    struct breaker_config config;
    struct breaker_problem problem;
    breaker_config_init(&config);
    config.failure_rate = 400;
    assert_int_equal(breaker_config_check(&config, &problem), BREAKER_E_CONFIG);
    assert_string_equal(problem.message, "failure_rate=400%: out of range (0 to 100%, at most three decimals)");
    breaker_config_init(&config);
    config.window_count = 5;
    assert_int_equal(breaker_config_check(&config, &problem), BREAKER_E_CONFIG);
    assert_string_equal(problem.field, "window");
    config.struct_size = 8;
    assert_int_equal(breaker_config_check(&config, &problem), BREAKER_E_CONFIG);
    assert_string_equal(problem.field, "struct_size");
}

static void what_is_questionable_is_a_warning(void **state)
{
    struct breaker_config config;
    struct breaker_problem problem;
    breaker_config_init(&config);
    assert_int_equal(breaker_config_parse(&config, "slow_call=10s slow_rate=50%", &problem), 0);
    assert_int_equal(breaker_config_check(&config, &problem), 0);
    assert_true(problem.is_warning);
    assert_string_equal(problem.field, "slow_call");
    breaker_config_init(&config);
    assert_int_equal(breaker_config_parse(&config, "failure_rate=off consecutive=off", &problem), 0);
    assert_int_equal(breaker_config_check(&config, &problem), 0);
    assert_true(problem.is_warning);
    breaker_config_init(&config);
    assert_int_equal(breaker_config_check(&config, &problem), 0);
    assert_string_equal(problem.field, "");
}

static void assert_round_trip(const struct breaker_config *config)
{
    char text[640];
    struct breaker_config back;
    struct breaker_problem problem = {0};
    assert_int_equal(breaker_config_format(config, text, sizeof(text)), 0);
    breaker_config_init(&back);
    if (breaker_config_parse(&back, text, &problem))
        fail_msg("%s: %s", text, problem.message);
    back.preset = config->preset; /* all of it was given now */
    back.given = config->given;
    assert_memory_equal(&back, config, sizeof(back));
}

static uint64_t draw(uint64_t *seed, uint64_t least, uint64_t most)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return least + (*seed >> 20) % (most - least + 1);
}

static void everything_legal_goes_through_text_and_back(void **state)
{
    uint64_t seed = 7;
    struct breaker_config c;
    for (int i = 0; i < 20000; i++) {
        breaker_config_init(&c);
        c.mode = (uint32_t)draw(&seed, 0, 3);
        if (draw(&seed, 0, 1))
            c.window_ns = draw(&seed, 20, 7200000) * MS;
        else {
            c.window_ns = 0;
            c.window_count = (uint32_t)draw(&seed, 1, 1000000);
        }
        c.slices = (uint32_t)draw(&seed, 2, BREAKER_SLICES_MAX);
        c.min_calls = (uint32_t)draw(&seed, 1, c.window_count ? c.window_count : 1000000);
        c.failure_rate = (uint32_t)draw(&seed, 0, 100);
        c.failure_rate_milli = c.failure_rate < 100 ? (uint32_t)draw(&seed, 0, 999) : 0;
        c.consecutive = (uint32_t)draw(&seed, 0, 1000000);
        c.slow_rate = (uint32_t)draw(&seed, 0, 100);
        c.slow_call_ns = draw(&seed, 0, 3600 * SEC);
        c.hung = (uint32_t)draw(&seed, 0, 1);
        c.every = (uint32_t)draw(&seed, 0, 1);
        c.open_ns = draw(&seed, MS, 86400 * SEC);
        c.open_max_ns = draw(&seed, 0, 86400 * SEC);
        c.jitter = (uint32_t)draw(&seed, 0, 50);
        c.probes = (uint32_t)draw(&seed, 1, BREAKER_PROBES_MAX);
        c.probe_ok = (uint32_t)draw(&seed, 0, BREAKER_PROBES_MAX);
        c.max_in_flight = (uint32_t)draw(&seed, 0, 1000000);
        c.probe_lease_ns = draw(&seed, MS, 3600 * SEC);
        c.ramp_ns = draw(&seed, 0, 3600 * SEC);
        c.forget_ns = draw(&seed, 0, 86400 * SEC);
        c.retry_after_max_ns = draw(&seed, 0, 86400 * SEC);
        c.key_idle_ns = draw(&seed, MS, 86400 * SEC);
        assert_round_trip(&c);
    }
}

static void a_buffer_that_is_too_small_is_said(void **state)
{
    struct breaker_config config;
    char text[640];
    breaker_config_init(&config);
    assert_int_equal(breaker_config_format(&config, text, sizeof(text)), 0);
    size_t need = strlen(text) + 1;
    assert_int_equal(breaker_config_format(&config, text, need), 0);
    assert_int_equal(breaker_config_format(&config, text, need - 1), BREAKER_E_SPACE);
    assert_int_equal(breaker_config_format(&config, NULL, 0), BREAKER_E_SPACE);
}

/* The numbers are those the three systems publish; README.md cites where. */
static void presets_are_the_published_defaults(void **state)
{
    struct breaker_config c;
    struct breaker_problem problem;
    static const char *const names[] = {"default", "hystrix", "resilience4j", "envoy"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(breaker_config_preset(&c, names[i], NULL), 0);
        assert_int_equal(breaker_config_check(&c, &problem), 0);
        assert_false(problem.is_warning);
        assert_round_trip(&c);
    }
    breaker_config_preset(&c, "hystrix", NULL);
    assert_int_equal(c.window_ns, 10 * SEC);
    assert_int_equal(c.slices, 10);
    assert_int_equal(c.min_calls, 20);
    assert_int_equal(c.open_ns, 5 * SEC);
    assert_int_equal(c.max_in_flight, 10);
    breaker_config_preset(&c, "resilience4j", NULL);
    assert_int_equal(c.window_count, 100);
    assert_int_equal(c.min_calls, 100);
    assert_int_equal(c.probes, 10);
    assert_int_equal(c.slow_call_ns, 60 * SEC);
    assert_int_equal(c.open_ns, 60 * SEC);
    breaker_config_preset(&c, "envoy", NULL);
    assert_int_equal(c.consecutive, 5);
    assert_int_equal(c.open_ns, 30 * SEC);
    assert_int_equal(c.open_max_ns, 300 * SEC);
    assert_int_equal(c.max_in_flight, 1024);
}

/* "preset=" in a text takes all values first; what follows changes them. */
static void a_preset_can_be_changed_by_what_follows(void **state)
{
    struct breaker_config c;
    breaker_config_init(&c);
    assert_int_equal(breaker_config_parse(&c, "preset=hystrix open=7s open_max=70s", NULL), 0);
    assert_int_equal(c.min_calls, 20);
    assert_int_equal(c.open_ns, 7 * SEC);
}

/* What the region has no room for is refused when a breaker is made. */
static void a_breaker_that_does_not_fit_its_region_is_refused(void **state)
{
    WORLD(w, "");
    struct breaker breaker;
    struct breaker_problem problem = {0};
    struct breaker_config config = w.config;
    config.slices = 21;
    assert_int_equal(breaker_get(&w.region, "wide", &config, w.now, &breaker, &problem), BREAKER_E_CONFIG);
    assert_string_equal(problem.message, "slices=21: the region was made for fewer (2 to 20)");
    breaker_config_init(&config);
    breaker_config_parse(&config, "window=count:100000 min_calls=20", NULL);
    assert_int_equal(breaker_get(&w.region, "long", &config, w.now, &breaker, &problem), BREAKER_E_CONFIG);
    assert_string_equal(problem.range, "count:1 to count:5440");
    struct breaker_permit permit; /* refused means unguarded, not broken */
    assert_int_equal(breaker_acquire(&breaker, w.now, 0, &permit), 0);
    assert_true(breaker_permit_is_untracked(&permit));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_the_field_the_value_and_the_range),
        cmocka_unit_test(a_pair_that_is_none_is_named),
        cmocka_unit_test(a_struct_is_checked_like_text),
        cmocka_unit_test(what_is_questionable_is_a_warning),
        cmocka_unit_test(everything_legal_goes_through_text_and_back),
        cmocka_unit_test(a_buffer_that_is_too_small_is_said),
        cmocka_unit_test(presets_are_the_published_defaults),
        cmocka_unit_test(a_preset_can_be_changed_by_what_follows),
        cmocka_unit_test(a_breaker_that_does_not_fit_its_region_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
