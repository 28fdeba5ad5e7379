/* Many at once: threads, processes, and processes that are killed. Injected time throughout. The counts can be made larger
 * by BREAKER_RACE_ROUNDS and
 * BREAKER_RACE_SECONDS. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing.h"

#define RACERS 4

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

/* ---- open → half-open: exactly `probes` are admitted (B3, B4) ---- */

struct race {
    pthread_barrier_t barrier;
    _Atomic int admitted, wrong_rounds, wrong_states, ready;
    uint64_t rounds;
    int probes;
};

static struct race *race_make(int probes, uint64_t rounds)
{
    struct race *race = world_map(sizeof(*race));
    pthread_barrierattr_t shared;
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&race->barrier, &shared, RACERS);
    race->rounds = rounds;
    race->probes = probes;
    return race;
}

/* Leave together, not in the order in which the barrier wakes: whoever is on a core spins until another one is. */
static void start_together(struct race *race, uint64_t round)
{
    atomic_fetch_add(&race->ready, 1);
    for (int i = 0; i < 3000 && atomic_load(&race->ready) < (int)round * RACERS - RACERS / 2; i++)
        ;
}

/* Each round: all call at once when the open time has just passed; what was admitted fails; open again. */
static void run_race(struct race *race, const struct breaker *breaker, uint64_t start, bool is_judge)
{
    struct breaker_permit permits[8];
    for (uint64_t round = 1; round <= race->rounds; round++) {
        uint64_t now = start + round * 10 * SEC;
        int admitted = 0;
        pthread_barrier_wait(&race->barrier);
        start_together(race, round);
        for (int i = 0; i < 8; i++)
            if (breaker_acquire(breaker, now, 0, &permits[admitted]) == 0)
                admitted++;
        atomic_fetch_add(&race->admitted, admitted);
        pthread_barrier_wait(&race->barrier);
        if (is_judge && atomic_exchange(&race->admitted, 0) != race->probes)
            race->wrong_rounds++;
        while (admitted > 0)
            breaker_report(breaker, &permits[--admitted], BREAKER_FAILURE, now);
        pthread_barrier_wait(&race->barrier);
        if (is_judge && breaker_state(breaker) != BREAKER_OPEN)
            race->wrong_states++;
    }
}

#define RACE_RULES                                                                                           \
    "consecutive=1 failure_rate=off open=1s open_max=1s jitter=0% probes=3 probe_ok=2 probe_lease=1h"

static void assert_race_was_fair(struct world *w, struct race *race)
{
    assert_int_equal(race->wrong_rounds, 0);
    assert_int_equal(race->wrong_states, 0);
    struct breaker_snapshot s = look(w);
    assert_int_equal(s.totals.probes, 3 * race->rounds);
    assert_int_equal(s.epoch, 1 + 2 * race->rounds); /* each transition was won once */
    munmap(race, sizeof(*race));
}

static void processes_racing_to_half_open_admit_exactly_the_probes(void **state)
{
    WORLD(w, RACE_RULES);
    struct race *race = race_make(3, from_environment("BREAKER_RACE_ROUNDS", 10000));
    calls(&w, 1, BREAKER_FAILURE);
    pid_t children[RACERS];
    for (int i = 0; i < RACERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct breaker_region region;
            struct breaker breaker;
            breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT);
            breaker_find(&region, "payments", &breaker);
            run_race(race, &breaker, w.now, i == 0);
            _exit(0);
        }
    }
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    assert_race_was_fair(&w, race);
    world_end(&w);
}

struct racer {
    struct race *race;
    struct world *w;
    bool is_judge;
};

static void *racer_main(void *argument)
{
    struct racer *racer = argument;
    run_race(racer->race, &racer->w->breaker, racer->w->now, racer->is_judge);
    return NULL;
}

static void threads_racing_to_half_open_admit_exactly_the_probes(void **state)
{
    struct world w = world_make(RACE_RULES, 4);
    world_open(&w, RACERS);
    struct race *race = race_make(3, from_environment("BREAKER_RACE_ROUNDS", 10000) / 5);
    calls(&w, 1, BREAKER_FAILURE);
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){race, &w, i == 0};
        pthread_create(&threads[i], NULL, racer_main, &racers[i]);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    assert_race_was_fair(&w, race);
    world_end(&w);
}

/* ---- counting: nothing is lost, nothing counted twice ---- */

#define CALLS_EACH 50000

static void *count_main(void *argument)
{
    struct world *w = argument;
    for (int i = 0; i < CALLS_EACH; i++) {
        struct breaker_permit permit;
        uint64_t now = w->now + (uint64_t)i % 8 * SEC; /* over many slices, back and forth */
        if (breaker_acquire(&w->breaker, now, 0, &permit) == 0)
            breaker_report(&w->breaker, &permit, i % 100 == 0 ? BREAKER_FAILURE : BREAKER_OK, now);
    }
    return NULL;
}

static void count_with(const char *rules, uint32_t lanes, uint64_t expected)
{
    struct world w = world_make(rules, 4);
    world_open(&w, lanes);
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++)
        pthread_create(&threads[i], NULL, count_main, &w);
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    struct breaker_snapshot s = look(&w);
    /* another thread may have moved the clock on by seconds between the two steps: then the call was a slow one */
    assert_int_equal(s.totals.ok + s.totals.slow, RACERS * CALLS_EACH * 99 / 100);
    assert_int_equal(s.totals.failure + s.totals.slow_failure, RACERS * CALLS_EACH / 100);
    assert_int_equal(s.window_total, expected);
    assert_int_equal(s.window_hung, 0);
    assert_int_equal(s.in_flight, 0);
    world_end(&w);
}

static void threads_lose_no_count(void **state)
{
    count_with("min_calls=1000000", 1, RACERS * CALLS_EACH);
    count_with("min_calls=1000000", RACERS, RACERS * CALLS_EACH);
    count_with("min_calls=1000000 slow_call=1s slow_rate=100% hung=on max_in_flight=100", 2,
               RACERS * CALLS_EACH);
    count_with("window=count:1000 min_calls=1000 failure_rate=100%", 2, 1000);
}

/* ---- places: never more than max_in_flight ---- */

struct crowd {
    struct world w;
    _Atomic int inside, most, passed;
};

static void *crowd_main(void *argument)
{
    struct crowd *crowd = argument;
    for (int i = 0; i < 20000; i++) {
        struct breaker_permit permit;
        if (breaker_acquire(&crowd->w.breaker, crowd->w.now, 0, &permit))
            continue;
        int inside = atomic_fetch_add(&crowd->inside, 1) + 1, most = crowd->most;
        while (inside > most && !atomic_compare_exchange_weak(&crowd->most, &most, inside))
            ;
        crowd->passed++;
        atomic_fetch_sub(&crowd->inside, 1);
        breaker_release(&crowd->w.breaker, &permit, crowd->w.now);
    }
    return NULL;
}

static void threads_never_exceed_max_in_flight(void **state)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->w = world_make("max_in_flight=2", 4);
    world_open(&crowd->w, 4);
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++)
        pthread_create(&threads[i], NULL, crowd_main, crowd);
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(crowd->most, 1, 2);
    assert_true(crowd->passed > 0);
    assert_int_equal(look(&crowd->w).in_flight, 0);
    world_end(&crowd->w);
    free(crowd);
}

/* ---- keys: each exists once, whoever made it ---- */

static void keys_main(struct world *w, unsigned seed)
{
    struct breaker_region region;
    struct breaker group, key;
    breaker_region_attach(&region, w->memory, w->size, 1, TEST_BOOT);
    breaker_find(&region, "payments", &group);
    for (unsigned i = 0; i < 3000; i++) {
        char text[16];
        snprintf(text, sizeof(text), "k%u", (i * 7 + seed * 13) % 100);
        breaker_key(&group, text, strlen(text), w->now, &key);
    }
    _exit(0);
}

static void processes_make_each_key_once(void **state)
{
    struct world w = world_make("", 128);
    world_open(&w, 1);
    pid_t children[RACERS];
    for (unsigned i = 0; i < RACERS; i++) {
        children[i] = fork();
        if (children[i] == 0)
            keys_main(&w, i);
    }
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    struct breaker breaker;
    struct breaker_snapshot s;
    uint32_t cursor = 0;
    int seen[100] = {0}, count = 0;
    while (breaker_next(&w.region, &cursor, &breaker) == 0) {
        breaker_snapshot(&breaker, w.now, &s);
        if (strncmp(s.name, "payments:k", 10) == 0) {
            assert_int_equal(seen[atol(s.name + 10)]++, 0);
            count++;
        }
    }
    assert_int_equal(count, 100);
    world_end(&w);
}

/* ---- SIGKILL at any instruction ---- */

#define VICTIMS 4
#define KILLS_MIN 11

struct carnage {
    _Atomic int went_back; /* an epoch that was seen was followed by an earlier one: a transition was lost */
    _Atomic uint64_t now;
    _Atomic uint64_t calls;
};

/* Call, fail, ramp, make keys, force and reconfigure, until killed. */
static void victim_main(struct world *w, struct carnage *carnage, uint64_t seed)
{
    struct breaker_region region;
    struct breaker group, key;
    struct breaker_permit held[4] = {{0}};
    uint32_t last = 0;
    breaker_region_attach(&region, w->memory, w->size, 1, TEST_BOOT);
    breaker_get(&region, "payments", NULL, 1, &group, NULL);
    for (uint64_t i = 0;; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned dice = seed >> 40 & 1023;
        uint64_t now = atomic_fetch_add(&carnage->now, 200000);
        struct breaker_permit *permit = &held[dice & 3];
        breaker_report(&group, permit, seed >> 33 & 1 ? BREAKER_FAILURE : BREAKER_OK, now);
        breaker_acquire(&group, now, 0, permit);
        if (dice < 20) {
            char text[8];
            snprintf(text, sizeof(text), "%u", (unsigned)(seed >> 50) % 40);
            breaker_key(&group, text, strlen(text), now, &key);
            struct breaker_permit once;
            breaker_acquire(&key, now, 0, &once);
            breaker_report(&key, &once, BREAKER_OK, now);
        }
        if (dice == 1000)
            breaker_configure(&group, &w->config, now, NULL);
        if (dice == 1001)
            breaker_force(&group, seed >> 60 & 1 ? BREAKER_MODE_SHADOW : BREAKER_MODE_AUTO, now);
        uint32_t epoch = breaker_epoch(&group);
        carnage->went_back += (int32_t)(epoch - last) < 0;
        last = epoch;
        atomic_fetch_add(&carnage->calls, 1);
    }
}

static pid_t victim_make(struct world *w, struct carnage *carnage, uint64_t seed)
{
    pid_t child = fork();
    if (child == 0)
        victim_main(w, carnage, seed);
    assert_true(child > 0);
    return child;
}

static bool is_legal_move(const struct breaker_event *e)
{
    if (e->reason == BREAKER_REASON_FORCED || e->reason == BREAKER_REASON_RESET)
        return true;
    switch (e->from) {
    case BREAKER_CLOSED: return e->to == BREAKER_OPEN;
    case BREAKER_OPEN: return e->to == BREAKER_HALF_OPEN;
    case BREAKER_HALF_OPEN: return e->to == BREAKER_OPEN || e->to == BREAKER_RAMP;
    case BREAKER_RAMP: return e->to == BREAKER_OPEN || e->to == BREAKER_CLOSED;
    default: return false;
    }
}

static void assert_events_are_legal(struct world *w)
{
    struct breaker_event events[BREAKER_EVENTS];
    uint32_t epoch = breaker_epoch(&w->breaker);
    size_t count = breaker_events(&w->breaker, epoch > 64 ? epoch - 64 : 0, events, BREAKER_EVENTS);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || events[i].epoch > events[i - 1].epoch);
        if (!is_legal_move(&events[i]))
            fail_msg("%s to %s because %s", breaker_state_name(events[i].from),
                     breaker_state_name(events[i].to), breaker_reason_name(events[i].reason));
    }
}

/* Whatever was left behind, the breaker comes back when the service does: nothing is stuck, nothing is kept. */
static void assert_all_is_given_back(struct world *w, struct carnage *carnage)
{
    struct breaker other;
    w->now = carnage->now + 3600 * SEC;
    breaker_region_sweep(&w->region);
    assert_int_equal(look(w).in_flight, 0);
    assert_int_equal(breaker_get(&w->region, "another", NULL, w->now, &other, NULL), 0);
    breaker_force(&w->breaker, BREAKER_MODE_AUTO, w->now);
    for (int i = 0; i < 100000 && state_of(w) != BREAKER_CLOSED; i++) {
        call(w, BREAKER_OK, 0);
        w->now += 10 * MS;
    }
    assert_int_equal(state_of(w), BREAKER_CLOSED);
    assert_int_equal(look(w).in_flight, 0);
}

static void killed_processes_leave_nothing_stuck_and_nothing_held(void **state)
{
    struct world w =
        world_make("min_calls=20 consecutive=6 open=50ms open_max=50ms probe_lease=20ms ramp=100ms "
                   "max_in_flight=12 key_idle=100ms forget=100ms slow_call=10ms slow_rate=100% hung=on",
                   32);
    world_open(&w, 1);
    struct carnage *carnage = world_map(sizeof(*carnage));
    carnage->now = w.now;
    pid_t victims[VICTIMS];
    uint64_t seed = 1, end = breaker_clock() + from_environment("BREAKER_RACE_SECONDS", 3) * SEC;
    for (int i = 0; i < VICTIMS; i++)
        victims[i] = victim_make(&w, carnage, seed++);
    int kills = 0;
    while (breaker_clock() < end || kills < KILLS_MIN) { /* a slow machine takes longer, it does not kill less */
        uint64_t until = carnage->calls + seed * 37 % 400; /* at no particular instruction */
        while (carnage->calls < until && breaker_clock() < end)
            sched_yield();
        int i = (int)(seed % VICTIMS);
        kill(victims[i], SIGKILL);
        assert_int_equal(waitpid(victims[i], NULL, 0), victims[i]);
        victims[i] = victim_make(&w, carnage, seed++);
        kills++;
        assert_events_are_legal(&w);
    }
    for (int i = 0; i < VICTIMS; i++) {
        kill(victims[i], SIGKILL);
        assert_int_equal(waitpid(victims[i], NULL, 0), victims[i]);
    }
    assert_int_equal(carnage->went_back, 0);
    assert_all_is_given_back(&w, carnage);
    munmap(carnage, sizeof(*carnage));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_racing_to_half_open_admit_exactly_the_probes),
        cmocka_unit_test(threads_racing_to_half_open_admit_exactly_the_probes),
        cmocka_unit_test(threads_lose_no_count),
        cmocka_unit_test(threads_never_exceed_max_in_flight),
        cmocka_unit_test(processes_make_each_key_once),
        cmocka_unit_test(killed_processes_leave_nothing_stuck_and_nothing_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
