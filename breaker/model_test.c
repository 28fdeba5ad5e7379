/* The library against the model: millions of random steps, one caller, the same answers, states, transitions and sums
 * after each. A failing run prints its seed and step; BREAKER_MODEL_SEED and
 * BREAKER_MODEL_STEPS choose another. */
#include "model.h"
#include "testing.h"

static uint64_t state_of_random;

static uint64_t draw(uint64_t most)
{
    state_of_random = state_of_random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state_of_random >> 24) % (most + 1);
}

static bool chance(unsigned percent)
{
    return draw(99) < percent;
}

/* A legal configuration that makes everything happen often. Times are whole µs, as the region keeps them. */
static struct breaker_config config_draw(void)
{
    struct breaker_config c;
    struct breaker_problem problem;
    do {
        breaker_config_init(&c);
        if (chance(30)) {
            c.window_ns = 0;
            c.window_count = (uint32_t)draw(60) + 5;
        } else {
            c.slices = (uint32_t)draw(18) + 2;
            c.window_ns = (draw(4000) + 400) * MS;
        }
        c.min_calls = (uint32_t)draw(20) + 1;
        c.failure_rate = chance(80) ? (uint32_t)draw(99) + 1 : 0;
        c.failure_rate_milli = c.failure_rate && c.failure_rate < 100 && chance(30) ? (uint32_t)draw(999) : 0;
        c.consecutive = chance(60) ? (uint32_t)draw(8) + 1 : 0;
        c.slow_call_ns = chance(60) ? (draw(1000) + 1) * MS : 0;
        c.slow_rate = c.slow_call_ns && chance(80) ? (uint32_t)draw(99) + 1 : 0;
        c.hung = c.slow_rate && !c.window_count && chance(60);
        c.every = chance(20);
        c.jitter = 0; /* rules_test.c looks at jitter */
        c.open_ns = (draw(2000) + 1) * MS;
        c.open_max_ns = chance(90) ? c.open_ns * (draw(10) + 1) : 0;
        c.probes = chance(90) ? (uint32_t)draw(5) + 1 : (uint32_t)draw(BREAKER_PROBES_MAX - 1) + 1;
        c.probe_ok = chance(50) ? (uint32_t)draw(c.probes - 1) + 1 : 0;
        c.probe_lease_ns = (draw(1000) + 1) * MS;
        c.ramp_ns = chance(70) ? (draw(2000) + 10) * MS : 0;
        c.forget_ns = draw(5000) * MS;
        c.max_in_flight = chance(30) ? (uint32_t)draw(10) + 1 : 0;
        c.mode = chance(90) ? BREAKER_MODE_AUTO : (uint32_t)draw(3);
    } while (breaker_config_check(&c, &problem) != 0);
    return c;
}

struct duel {
    struct world w;        /* its breaker may be one made by key */
    struct breaker group;  /* the named one, which has the configuration */
    struct model model;
    struct breaker_permit permits[64];
    unsigned mood; /* percent of calls that fail */
};

static bool probes_are_same(const struct breaker_snapshot *s, const struct model *m, uint64_t now)
{
    struct model_probes p = model_probes(m, now);
    return s->probes_out == p.out && s->probes_ok == p.ok && s->probes_failed == p.failed && s->probes_slow == p.slow;
}

static void assert_same(struct duel *d, const char *what, int ours, int models, uint64_t seed, uint64_t step)
{
    struct breaker_snapshot s = look(&d->w);
    struct model *m = &d->model;
    struct model_sum sum = model_sum(m, d->w.now);
    bool is_open = m->machine == BREAKER_OPEN;
    bool is_same = ours == models && s.machine == m->machine && s.mode == m->mode && s.epoch == m->epoch &&
                   s.trips == m->trips && s.since_ns == m->since && (!is_open || s.retry_at_ns == m->until) &&
                   s.consecutive == m->streak && s.window_total == sum.total &&
                   s.window_failures == sum.failures && s.window_slow == sum.slow &&
                   s.window_hung == sum.hung && probes_are_same(&s, m, d->w.now) && (s.epoch == 0 || s.reason == m->reason);
    if (is_same)
        return;
    char text[640];
    breaker_config_format(&m->config, text, sizeof(text));
    fail_msg(
        "seed %llu step %llu %s: answer %d|%d state %d|%d mode %d|%d epoch %u|%u trips %u|%u since %llu|%llu "
        "until %llu|%llu row %llu|%u total %llu|%llu failures %llu|%llu slow %llu|%llu hung %llu|%llu\n%s",
        (unsigned long long)seed, (unsigned long long)step, what, ours, models, s.machine, m->machine, s.mode,
        m->mode, s.epoch, m->epoch, s.trips, m->trips, (unsigned long long)s.since_ns,
        (unsigned long long)m->since, (unsigned long long)s.retry_at_ns, (unsigned long long)m->until,
        (unsigned long long)s.consecutive, m->streak, (unsigned long long)s.window_total,
        (unsigned long long)sum.total, (unsigned long long)s.window_failures,
        (unsigned long long)sum.failures, (unsigned long long)s.window_slow, (unsigned long long)sum.slow,
        (unsigned long long)s.window_hung, (unsigned long long)sum.hung, text);
}

static void time_passes(struct duel *d)
{
    uint64_t step = draw(30) * MS + draw(999) * 1000;
    if (chance(3))
        step = draw(3000) * MS;
    if (chance(1))
        step = draw(60000) * MS;
    if (chance(1)) {
        d->w.now -= draw(2000) * MS; /* the caller's clock steps back */
        return;
    }
    d->w.now += step;
}

static const char *step_report(struct duel *d, int number, int *ours, int *models)
{
    struct breaker_result result = {
        .outcome = chance(d->mood) ? (chance(30) ? BREAKER_TIMEOUT : BREAKER_FAILURE) : BREAKER_OK};
    if (chance(5))
        result.outcome = BREAKER_NEUTRAL;
    if (chance(3))
        result.outcome = BREAKER_SLOW;
    if (chance(5))
        result.took_ns = draw(2000) * MS + 1;
    if (chance(5))
        result.flags = BREAKER_NEVER_SLOW;
    if (chance(5))
        result.retry_after_ns = draw(5000) * MS;
    *models = model_report(&d->model, number, &result, d->w.now);
    *ours = breaker_report_result(&d->w.breaker, &d->permits[number], &result, d->w.now);
    return "report";
}

static const char *step_order(struct duel *d, int *ours, int *models)
{
    struct breaker_config config = config_draw();
    *ours = *models = 0;
    switch (draw(5)) {
    case 0:
        model_reset(&d->model, d->w.now);
        *ours = breaker_reset(&d->w.breaker, d->w.now);
        return "reset";
    case 1:
        config.mode = d->model.config.mode;
        model_configure(&d->model, &config, d->w.now);
        *ours = breaker_configure(&d->group, &config, d->w.now, NULL);
        return "configure";
    case 2:
        config = d->model.config; /* the same geometry: counts stay */
        config.min_calls = config.window_count && config.window_count < 10 ? 1 : 10;
        model_configure(&d->model, &config, d->w.now);
        *ours = breaker_configure(&d->group, &config, d->w.now, NULL);
        return "configure thresholds";
    default: {
        enum breaker_mode mode = chance(70) ? BREAKER_MODE_AUTO : (enum breaker_mode)draw(3);
        model_force(&d->model, mode, d->w.now);
        *ours = breaker_force(&d->w.breaker, mode, d->w.now);
        return "force";
    }
    }
}

static void duel(uint64_t seed, uint64_t steps)
{
    struct duel *d = calloc(1, sizeof(*d));
    struct breaker_region_options options = {
        .breakers = 1, .shards = 1, .boot_id = TEST_BOOT, .key_probes = BREAKER_PROBES_MAX};
    state_of_random = seed * 77777 + 1;
    d->w.now = 1000 * SEC;
    d->w.size = breaker_region_size(&options);
    d->w.memory = world_map(d->w.size);
    d->w.config = config_draw();
    d->w.config.mode = BREAKER_MODE_AUTO;
    breaker_region_init(d->w.memory, d->w.size, &options);
    world_open(&d->w, 1);
    model_init(&d->model, &d->w.config, d->w.now);
    d->group = d->w.breaker;
    d->model.is_keyed = seed % 3 == 0;
    if (d->model.is_keyed)
        assert_int_equal(breaker_key(&d->group, "key", 3, d->w.now, &d->w.breaker), 0);
    for (uint64_t step = 0; step < steps; step++) {
        int ours = 0, models = 0, number = (int)draw(63);
        const char *what = "time";
        if (step % 500 == 0)
            d->mood = chance(50) ? (unsigned)draw(10) : (unsigned)draw(100);
        if (chance(40)) {
            what = step_report(d, number, &ours, &models);
        } else if (chance(70)) {
            unsigned flags = chance(20) ? BREAKER_NO_PROBE : 0;
            if (d->permits[number].kind)
                breaker_release(&d->w.breaker, &d->permits[number], d->w.now),
                    model_report(&d->model, number, &(struct breaker_result){.outcome = BREAKER_NEUTRAL},
                                 d->w.now);
            models = model_acquire(&d->model, number, d->w.now, flags);
            ours = breaker_acquire(&d->w.breaker, d->w.now, flags, &d->permits[number]);
            what = "acquire";
        } else if (draw(300) == 0)
            what = step_order(d, &ours, &models);
        else
            time_passes(d);
        assert_same(d, what, ours, models, seed, step);
    }
    model_free(&d->model);
    world_end(&d->w);
    free(d);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

/* Same answers, same transitions, same sums as the obvious model. */
static void the_library_answers_like_the_obvious_model(void **state)
{
    uint64_t first = from_environment("BREAKER_MODEL_SEED", 1),
             count = from_environment("BREAKER_MODEL_RUNS", 150);
    uint64_t steps = from_environment("BREAKER_MODEL_STEPS", 4000);
    for (uint64_t seed = first; seed < first + count; seed++)
        duel(seed, steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_library_answers_like_the_obvious_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
