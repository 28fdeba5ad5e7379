/* preset=resilience4j beside resilience4j, as its documentation describes the circuit breaker
 * (https://resilience4j.readme.io/docs/circuitbreaker): a finite state machine CLOSED, OPEN, HALF_OPEN; a sliding window that
 * is a circular array of the last N calls, or N aggregations of one second each; failure rate and slow call rate, each "equal
 * or greater than" its threshold, once minimumNumberOfCalls are recorded; a wait that is always the same; a number of permitted
 * calls while half-open, judged by both rates.
 *
 * The model is that text, and nothing of the library. Where the library means to differ, the model has a switch with a name.
 * A random history must give the same answers, states and numbers at every step with all switches on; and with any one of
 * them off there must be a history that shows it, so that the list holds nothing that is not so. */
#include "testing.h"

/* ---- where libbreaker means to differ ---- */

enum difference {
    EARLY_VERDICT, /* half-open decides as soon as the verdict is certain; there, when the last permitted call has ended */
    LATE_RESULTS,  /* a call that began in an earlier state says nothing; there it counts in whatever state it ends in */
    DOUBLE_REPORTS, /* a permit is reported once; there each report is recorded */
    STARTS_SLICE,   /* a call counts in the slice in which it began, while that is live; there in that in which it ends */
    FINER_SLICES,   /* a window of time has 20 slices; there one a second */
    LEASES,         /* a probe that does not end within probe_lease has failed; there it may take for ever */
    DIFFERENCES,
};

static const char *const difference_names[DIFFERENCES] = {"early verdict", "late results",  "double reports",
                                                          "start's slice", "finer slices", "leases"};

/* ---- resilience4j, as documented ---- */

#define CALLS 24

enum r4j_state { R4J_CLOSED, R4J_OPEN, R4J_HALF_OPEN };

struct r4j_options {
    uint32_t window_calls, window_seconds; /* one of them is 0 */
    uint32_t minimum_calls;
    uint32_t failure_threshold, slow_threshold; /* thousandths of a percent */
    uint64_t slow_duration, wait, lease;
    uint32_t permitted;
};

struct r4j_sample {
    uint64_t bucket;
    bool failed, slow;
};

struct r4j_call {
    bool is_open, was_reported, has_ended; /* ended: its lease */
    int permit; /* epoch in which it was permitted */
    uint64_t started;
};

struct r4j {
    struct r4j_options options;
    bool differs[DIFFERENCES];
    enum r4j_state state;
    int epoch;
    uint64_t since;
    uint32_t permits; /* left, while half-open */
    struct r4j_sample *samples; /* of this state, oldest first */
    size_t count, room;
    struct r4j_call calls[CALLS];
};

struct r4j_sum {
    uint32_t total, failed, slow;
};

static uint64_t bucket_of(const struct r4j *m, uint64_t at)
{
    bool is_fine = m->differs[FINER_SLICES] && m->options.window_seconds;
    return at / (is_fine ? m->options.window_seconds * SEC / 20 : SEC);
}

static uint32_t window_of(const struct r4j *m)
{
    if (m->state == R4J_HALF_OPEN)
        return m->options.permitted;
    return m->options.window_calls;
}

/* The last N calls, or those of the last N seconds; half-open always counts calls. */
static struct r4j_sum r4j_sum(const struct r4j *m, uint64_t now)
{
    struct r4j_sum sum = {0};
    bool by_time = m->options.window_seconds && m->state != R4J_HALF_OPEN;
    uint64_t buckets = m->differs[FINER_SLICES] ? 20 : m->options.window_seconds;
    for (size_t i = m->count; i > 0; i--) {
        const struct r4j_sample *sample = &m->samples[i - 1];
        if (by_time ? bucket_of(m, now) - sample->bucket >= buckets : sum.total == window_of(m))
            continue;
        sum.total++;
        sum.failed += sample->failed;
        sum.slow += sample->slow;
    }
    return sum;
}

static void become(struct r4j *m, enum r4j_state state, uint64_t now)
{
    m->state = state;
    m->since = now;
    m->epoch++;
    m->count = 0;
    m->permits = m->options.permitted;
}

/* "If the failure rate or slow call rate is greater than or equal to the threshold" – of so many calls. */
static bool exceeds(const struct r4j *m, uint32_t failed, uint32_t slow, uint32_t of)
{
    return failed * UINT64_C(100000) >= (uint64_t)m->options.failure_threshold * of ||
           slow * UINT64_C(100000) >= (uint64_t)m->options.slow_threshold * of;
}

static void judge_closed(struct r4j *m, uint64_t now)
{
    struct r4j_sum sum = r4j_sum(m, now);
    uint32_t least = m->options.minimum_calls; /* "if the window counts calls, no more than it holds" */
    if (m->options.window_calls && least > m->options.window_calls)
        least = m->options.window_calls;
    if (sum.total >= least && exceeds(m, sum.failed, sum.slow, sum.total))
        become(m, R4J_OPEN, now);
}

static void judge_half_open(struct r4j *m, uint64_t now)
{
    struct r4j_sum sum = r4j_sum(m, now);
    uint32_t least = m->options.minimum_calls < m->options.permitted ? m->options.minimum_calls : m->options.permitted;
    uint32_t left = sum.total < least ? least - sum.total : 0, of = sum.total + left;
    if (sum.total == 0 || (left && !m->differs[EARLY_VERDICT]))
        return;
    if (exceeds(m, sum.failed, sum.slow, of))
        become(m, R4J_OPEN, now);
    else if (!exceeds(m, sum.failed + left, 0, of) && !exceeds(m, 0, sum.slow + left, of))
        become(m, R4J_CLOSED, now);
}

static bool r4j_permit(struct r4j *m, int number, uint64_t now)
{
    if (m->state == R4J_OPEN && now >= m->since + m->options.wait)
        become(m, R4J_HALF_OPEN, now);
    m->calls[number] = (struct r4j_call){.started = now};
    if (m->state == R4J_OPEN || (m->state == R4J_HALF_OPEN && m->permits == 0))
        return false;
    m->permits -= m->state == R4J_HALF_OPEN;
    m->calls[number].is_open = true;
    m->calls[number].permit = m->epoch;
    return true;
}

static void record(struct r4j *m, uint64_t at, bool failed, bool slow)
{
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 256;
        m->samples = realloc(m->samples, m->room * sizeof(m->samples[0]));
        assert_non_null(m->samples);
    }
    m->samples[m->count++] = (struct r4j_sample){bucket_of(m, at), failed, slow};
}

static void judge(struct r4j *m, uint64_t now)
{
    if (m->state == R4J_CLOSED)
        judge_closed(m, now);
    else if (m->state == R4J_HALF_OPEN)
        judge_half_open(m, now);
}

/* Leases: a probe's result comes too late; it failed when its lease ended, and someone notices at the next look. */
static void end_leases(struct r4j *m, uint64_t now)
{
    for (int i = 0; i < CALLS && m->differs[LEASES] && m->state == R4J_HALF_OPEN; i++) {
        struct r4j_call *call = &m->calls[i];
        if (!call->is_open || call->permit != m->epoch || now < call->started + m->options.lease)
            continue;
        call->is_open = false;
        call->was_reported = call->has_ended = true;
        record(m, now, true, m->options.lease >= m->options.slow_duration);
    }
}

static void r4j_report(struct r4j *m, int number, enum breaker_outcome outcome, uint64_t now)
{
    struct r4j_call *call = &m->calls[number];
    bool is_late = call->permit != m->epoch, was_open = call->is_open;
    end_leases(m, now);
    if (call->has_ended) { /* too late; it counted as a failure then */
        call->has_ended = false;
        if (!is_late)
            judge(m, now);
        return;
    }
    if ((!call->is_open || call->was_reported) && (m->differs[DOUBLE_REPORTS] || !was_open))
        return;
    call->was_reported = true;
    if (m->differs[DOUBLE_REPORTS])
        call->is_open = false;
    if (is_late && m->differs[LATE_RESULTS])
        return;
    if (outcome == BREAKER_NEUTRAL) { /* "ignored": neither a success nor a failure, the permission is released */
        m->permits += m->state == R4J_HALF_OPEN && !is_late;
        if (m->state == R4J_HALF_OPEN && !is_late)
            judge(m, now); /* leases that have ended meanwhile */
        return;
    }
    uint64_t at = now;
    if (m->differs[STARTS_SLICE] && m->options.window_seconds) {
        uint64_t buckets = m->differs[FINER_SLICES] ? 20 : m->options.window_seconds;
        at = bucket_of(m, now) - bucket_of(m, call->started) < buckets ? call->started : now;
    }
    record(m, at, outcome == BREAKER_FAILURE, now - call->started > m->options.slow_duration);
    judge(m, now);
}

/* ---- a random history ---- */

static uint64_t random_state;

static uint64_t draw(uint64_t least, uint64_t most)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return least + (random_state >> 24) % (most - least + 1);
}

static bool chance(uint32_t percent)
{
    return draw(0, 99) < percent;
}

/* Options as a user of resilience4j sets them, and the same as text for the preset; what is not set is its default. */
static struct r4j_options options_draw(char *text, size_t size)
{
    struct r4j_options o = {100, 0, 100, 50000, 100000, 60 * SEC, 60 * SEC, 600 * SEC, 10};
    char part[64];
    snprintf(text, size, "%s", chance(50) ? "preset=resilience4j" : "");
    bool is_first = *text != 0;
#define SET(...) (snprintf(part, sizeof(part), __VA_ARGS__), strncat(text, part, size - strlen(text) - 1))
    if (chance(70)) {
        o.failure_threshold = (uint32_t)(chance(50) ? draw(1, 100) * 1000 : draw(1, 100000));
        SET(" failure_rate=%u.%03u%%", o.failure_threshold / 1000, o.failure_threshold % 1000);
    }
    if (chance(70)) {
        o.slow_duration = draw(1, 3000) * MS;
        SET(" slow_call=%llums", (unsigned long long)(o.slow_duration / MS));
        o.lease = 600 * SEC;
    }
    if (chance(50)) {
        o.slow_threshold = (uint32_t)draw(1, 100) * 1000;
        SET(" slow_rate=%u%%", o.slow_threshold / 1000);
    }
    if (chance(70)) {
        o.permitted = (uint32_t)draw(1, 30);
        SET(" probes=%u", o.permitted);
    }
    if (chance(70)) {
        o.wait = draw(1, 90) * SEC;
        SET(" open=%llus", (unsigned long long)(o.wait / SEC));
    }
    if (chance(40)) {
        o.window_calls = 0;
        o.window_seconds = (uint32_t)draw(1, 60);
        SET(" window=%us", o.window_seconds);
    } else if (chance(70)) {
        o.window_calls = (uint32_t)draw(1, 60);
        SET(" window=count:%u", o.window_calls);
    }
    if (chance(70)) {
        o.minimum_calls = (uint32_t)draw(1, o.window_calls ? o.window_calls : 40);
        SET(" min_calls=%u", o.minimum_calls);
    }
    if (chance(30)) {
        o.lease = draw(1, 20) * SEC;
        SET(" probe_lease=%llus", (unsigned long long)(o.lease / SEC));
    }
    if (!is_first)
        SET(" preset=resilience4j");
    return o;
}

struct history {
    struct world w;
    struct r4j model;
    struct breaker_permit permits[CALLS], spent[CALLS];
    char text[256];
    uint32_t mood;
};

/* Do both say the same? NULL, or what they do not agree about. */
static const char *disagreement(struct history *h, int ours, int models)
{
    static const int states[] = {BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN};
    struct breaker_snapshot s = look(&h->w);
    struct r4j_sum sum = r4j_sum(&h->model, h->w.now);
    if (ours != models)
        return "whether a call may pass";
    if (s.machine != states[h->model.state])
        return "the state";
    if (h->model.state == R4J_CLOSED && (s.window_total != sum.total || s.window_failures != sum.failed || s.window_slow != sum.slow))
        return "the window";
    return NULL;
}

static const char *step(struct history *h)
{
    int number = (int)draw(0, CALLS - 1), ours = 0, models = 0;
    uint64_t now = h->w.now;
    enum breaker_outcome outcome = chance(h->mood) ? BREAKER_FAILURE : BREAKER_OK;
    if (chance(30)) {
        h->w.now += chance(5) ? draw(1, 40) * SEC : draw(1, 800) * MS;
    } else if (h->permits[number].kind) {
        bool is_neutral = chance(5) && now - h->model.calls[number].started <= h->model.options.slow_duration;
        outcome = is_neutral ? BREAKER_NEUTRAL : outcome;
        breaker_report(&h->w.breaker, &h->permits[number], outcome, now);
        r4j_report(&h->model, number, outcome, now);
    } else if (chance(3) && h->model.calls[number].was_reported) { /* again, as a careless program does */
        breaker_report(&h->w.breaker, &h->permits[number], outcome, now);
        r4j_report(&h->model, number, outcome, now);
    } else {
        ours = breaker_acquire(&h->w.breaker, now, 0, &h->permits[number]) == 0;
        end_leases(&h->model, now);
        models = r4j_permit(&h->model, number, now);
        if (!models && h->model.state == R4J_HALF_OPEN) {
            judge(&h->model, now); /* leases that have ended */
            if (h->model.state != R4J_HALF_OPEN)
                models = r4j_permit(&h->model, number, now);
        }
    }
    return disagreement(h, ours, models);
}

/* Steps until they disagree, at most so many. */
static const char *history(uint64_t seed, uint64_t steps, int without, char text[256], uint64_t *ret_step)
{
    struct history *h = calloc(1, sizeof(*h));
    const char *why = NULL;
    random_state = seed * 7919 + 3;
    h->model.options = options_draw(h->text, sizeof(h->text));
    memcpy(text, h->text, sizeof(h->text));
    for (int i = 0; i < DIFFERENCES; i++)
        h->model.differs[i] = i != without;
    h->w = world_make(h->text, 1);
    world_open(&h->w, 1);
    for (*ret_step = 0; *ret_step < steps && !why; ++*ret_step) {
        if (*ret_step % 300 == 0)
            h->mood = (uint32_t)(chance(50) ? draw(0, 20) : draw(0, 100));
        why = step(h);
    }
    free(h->model.samples);
    world_end(&h->w);
    free(h);
    return why;
}

static void a_random_history_goes_as_in_resilience4j_but_for_the_differences_that_are_named(void **state)
{
    char text[256];
    uint64_t step;
    const char *runs = getenv("BREAKER_MODEL_RUNS");
    uint64_t last = runs ? strtoull(runs, NULL, 10) : 120;
    for (uint64_t seed = 1; seed <= last; seed++) {
        const char *why = history(seed, 2000, -1, text, &step);
        if (why)
            fail_msg("seed %llu step %llu: %s\n%s", (unsigned long long)seed, (unsigned long long)step, why, text);
    }
}

static void each_difference_that_is_named_is_there(void **state)
{
    char text[256];
    uint64_t step;
    for (int without = 0; without < DIFFERENCES; without++) {
        const char *why = NULL;
        for (uint64_t seed = 1; seed <= 400 && !why; seed++)
            why = history(seed, 2000, without, text, &step);
        if (!why)
            fail_msg("%s: no history shows it", difference_names[without]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_random_history_goes_as_in_resilience4j_but_for_the_differences_that_are_named),
        cmocka_unit_test(each_difference_that_is_named_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
