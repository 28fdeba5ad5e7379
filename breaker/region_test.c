/* Regions: attaching to rubbish, owning shards, and what a process leaves that is killed in the middle. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "layout.h"
#include "region.h"
#include "testing.h"

/* ---- attaching (B6) ---- */

/* Refused, and yet every call passes and is counted as unguarded; nothing was written. */
static void assert_refused(void *memory, size_t size, int answer)
{
    struct breaker_region region;
    struct breaker breaker;
    struct breaker_permit permit;
    void *before = malloc(size + 1);
    memcpy(before, memory, size);
    assert_int_equal(breaker_region_attach(&region, memory, size, 1, TEST_BOOT), answer);
    assert_int_equal(region.answer, answer);
    assert_true(strlen(breaker_answer_text(answer)) > 10);
    assert_int_equal(breaker_get(&region, "payments", NULL, 1, &breaker, NULL), BREAKER_E_UNTRACKED);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(breaker_acquire(&breaker, 1, 0, &permit), 0);
        assert_true(breaker_permit_is_untracked(&permit));
        assert_int_equal(breaker_report(&breaker, &permit, BREAKER_FAILURE, 1), 0);
    }
    assert_int_equal(region.untracked, 3);
    assert_int_equal(breaker_retry_after(&breaker, 1), 0);
    assert_int_equal(breaker_force(&breaker, BREAKER_MODE_FORCED_OPEN, 1), BREAKER_E_UNTRACKED);
    assert_memory_equal(before, memory, size);
    breaker_region_detach(&region);
    free(before);
}

static void rubbish_is_refused_with_the_reason_and_calls_pass(void **state)
{
    struct world w = world_make("", 4);
    unsigned char *bytes = w.memory;
    assert_refused(bytes, 8, BREAKER_E_TRUNCATED);
    assert_refused(bytes, w.size - 1, BREAKER_E_TRUNCATED);
    assert_refused(bytes + 64, w.size - 64, BREAKER_E_EMPTY);
    assert_refused(bytes + 1, w.size - 1, BREAKER_E_ALIGNMENT);
    bytes[8]++; /* the layout's version */
    assert_refused(bytes, w.size, BREAKER_E_LAYOUT);
    bytes[8]--;
    bytes[0] = 'x';
    assert_refused(bytes, w.size, BREAKER_E_FOREIGN);
    memset(bytes, 0, 64);
    assert_refused(bytes, w.size, BREAKER_E_EMPTY);
    memset(bytes, 0xff, w.size);
    assert_refused(bytes, w.size, BREAKER_E_FOREIGN);
    struct breaker_region region;
    assert_int_equal(breaker_region_attach(&region, NULL, 0, 1, TEST_BOOT), BREAKER_E_MISSING);
    munmap(w.memory, w.size);
}

static void every_flipped_bit_of_the_head_is_seen(void **state)
{
    struct world w = world_make("", 2);
    struct breaker_region region;
    unsigned char *bytes = w.memory;
    for (int bit = 0; bit < (64 + 16) * 8; bit++) {
        if (bit == 64 * 8)
            bytes += 64; /* the second line is not written once, the third is */
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_true(breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT) >= BREAKER_E_EMPTY);
        assert_null(region.base);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_int_equal(breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT), 0);
    breaker_region_detach(&region);
    munmap(w.memory, w.size);
}

static void a_region_of_an_earlier_boot_is_refused(void **state)
{
    struct world w = world_make("", 2);
    struct breaker_region region;
    assert_int_equal(breaker_region_attach(&region, w.memory, w.size, 1, TEST_BOOT + 1), BREAKER_E_BOOT);
    struct breaker_region_options today = {.breakers = 2};
    assert_int_equal(breaker_region_init(w.memory, w.size, &today), 0);
    assert_int_equal(breaker_region_attach(&region, w.memory, w.size, 1, 0),
                     0); /* asks the kernel, as init did */
    breaker_region_detach(&region);
    munmap(w.memory, w.size);
}

static void options_out_of_range_are_refused(void **state)
{
    static char memory[64] __attribute__((aligned(64)));
    const struct breaker_region_options wrong[] = {{.breakers = BREAKER_BREAKERS_MAX + 1},
                                                   {.shards = BREAKER_SHARDS_MAX + 1},
                                                   {.slices = BREAKER_SLICES_MAX + 1},
                                                   {.keys = BREAKER_BREAKERS_MAX + 1},
                                                   {.key_slices = 1000000},
                                                   {.key_probes = BREAKER_PROBES_MAX + 1}};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(breaker_region_size(&wrong[i]), 0);
        assert_int_equal(breaker_region_init(memory, sizeof(memory), &wrong[i]), BREAKER_E_OPTIONS);
    }
    assert_int_equal(breaker_region_init(memory, sizeof(memory), NULL), BREAKER_E_TRUNCATED);
    assert_int_equal(breaker_region_init(NULL, 0, NULL), BREAKER_E_MISSING);
}

/* What is mapped elsewhere is the same region: it holds no pointers. */
static void a_region_may_be_moved(void **state)
{
    WORLD(w, "consecutive=3 failure_rate=off");
    calls(&w, 3, BREAKER_FAILURE);
    void *copy = world_map(w.size);
    memcpy(copy, w.memory, w.size);
    struct breaker_region region;
    struct breaker breaker;
    assert_int_equal(breaker_region_attach(&region, copy, w.size, 1, TEST_BOOT), 0);
    assert_int_equal(breaker_find(&region, "payments", &breaker), 0);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
    breaker_region_detach(&region);
    munmap(copy, w.size);
    world_end(&w);
}

/* ---- shards (B5) ---- */

static void a_region_out_of_shards_still_guards(void **state)
{
    struct world w = world_make("consecutive=3 failure_rate=off", 4);
    struct breaker_region all[16];
    for (int i = 0; i < 16; i++)
        assert_int_equal(breaker_region_attach(&all[i], w.memory, w.size, 1, TEST_BOOT), 0);
    assert_int_equal(breaker_region_attach(&w.region, w.memory, w.size, 1, TEST_BOOT), BREAKER_E_SHARDS);
    assert_int_equal(breaker_get(&w.region, "payments", &w.config, w.now, &w.breaker, NULL), 0);
    calls(&w, 3, BREAKER_FAILURE);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    for (int i = 0; i < 16; i++)
        breaker_region_detach(&all[i]);
    assert_int_equal(breaker_region_attach(&all[0], w.memory, w.size, 16, TEST_BOOT), 0);
    assert_int_equal(all[0].lanes, 16);
    breaker_region_detach(&all[0]);
    world_end(&w);
}

/* A child that takes `count` places and is killed with them. */
static void die_holding(struct world *w, int count)
{
    pid_t child = fork();
    if (child == 0) {
        struct breaker_region region;
        struct breaker breaker;
        struct breaker_permit permit;
        breaker_region_attach(&region, w->memory, w->size, 1, TEST_BOOT);
        breaker_find(&region, "payments", &breaker);
        for (int i = 0; i < count; i++)
            breaker_acquire(&breaker, w->now, 0, &permit);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void places_of_a_killed_process_are_given_back(void **state)
{
    WORLD(w, "max_in_flight=5");
    die_holding(&w, 5);
    assert_int_equal(look(&w).in_flight, 5);
    assert_int_equal(call(&w, BREAKER_OK, 0), 0); /* full: this call looks for the dead itself */
    assert_int_equal(look(&w).in_flight, 0);
    die_holding(&w, 5);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_FULL); /* but not twice within a second */
    w.now += SEC;
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    die_holding(&w, 5);
    assert_int_equal(breaker_region_sweep(&w.region), 1);
    assert_int_equal(look(&w).in_flight, 0);
    assert_int_equal(breaker_region_sweep(&w.region), 0);
    world_end(&w);
}

/* A free shard is not the dead one's: who attaches looks for all of the dead. */
static void a_new_process_gives_back_what_the_dead_held_whichever_shard_it_takes(void **state)
{
    WORLD(w, "max_in_flight=5");
    struct breaker_region leaves, next;
    assert_int_equal(breaker_region_attach(&leaves, w.memory, w.size, 1, TEST_BOOT), 0);
    die_holding(&w, 3);
    breaker_region_detach(&leaves);
    assert_int_equal(look(&w).in_flight, 3);
    assert_int_equal(breaker_region_attach(&next, w.memory, w.size, 1, TEST_BOOT), 0);
    assert_int_equal(next.lane[0], 1);
    assert_int_equal(look(&w).in_flight, 0);
    breaker_region_detach(&next);
    world_end(&w);
}

static void a_new_process_takes_a_dead_ones_shard_and_finds_it_clean(void **state)
{
    WORLD(w, "max_in_flight=100 slow_call=1s slow_rate=50% hung=on");
    for (int i = 0; i < 100; i++) /* far more processes than shards */
        die_holding(&w, 3);
    struct breaker_region next;
    assert_int_equal(breaker_region_attach(&next, w.memory, w.size, 1, TEST_BOOT), 0);
    w.now += 3 * SEC;
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.window_hung, 0);
    breaker_region_detach(&next);
    world_end(&w);
}

/* A zone gets another size: what was open stays open, in a region of another geometry. */
static void a_copy_of_a_region_goes_on_where_it_was(void **state)
{
    static const char *const rules[] = {"window=10s", "window=count:50"};
    for (int i = 0; i < 2; i++) {
        WORLD(w, rules[i]);
        breaker_config_parse(&w.config, "consecutive=3 open=30s min_calls=5 hung=off", NULL);
        breaker_configure(&w.breaker, &w.config, w.now, NULL);
        struct breaker key, closed;
        struct breaker_permit permit;
        struct breaker_region_options options = {
            .breakers = 9, .shards = 3, .slices = 30, .boot_id = TEST_BOOT, .keys = 20, .key_probes = 16};
        size_t size = breaker_region_size(&options);
        struct world to = {.memory = world_map(size), .size = size};
        breaker_get(&w.region, "closed", &w.config, w.now, &closed, NULL);
        breaker_acquire(&closed, w.now, 0, &permit);
        breaker_report(&closed, &permit, BREAKER_FAILURE, w.now);
        calls(&w, 4, BREAKER_OK);
        calls(&w, 3, BREAKER_FAILURE);
        assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &key), 0);
        breaker_force(&key, BREAKER_MODE_FORCED_OPEN, w.now);
        struct breaker_snapshot before = look(&w), after;
        breaker_region_init(to.memory, size, &options);
        assert_int_equal(breaker_region_attach(&to.region, to.memory, size, 1, TEST_BOOT), 0);
        assert_int_equal(breaker_region_copy(&to.region, &w.region, w.now), 0);
        assert_int_equal(breaker_find(&to.region, "payments", &to.breaker), 0);
        breaker_snapshot(&to.breaker, w.now, &after);
        assert_int_equal(after.state, BREAKER_OPEN);
        assert_memory_equal(&after, &before, sizeof(after));
        assert_int_equal(breaker_find(&to.region, "payments:k", &key), 0);
        assert_int_equal(breaker_state(&key), BREAKER_FORCED_OPEN);
        assert_int_equal(breaker_find(&to.region, "closed", &to.breaker), 0);
        to.now = w.now;
        assert_int_equal(look(&to).window_failures, 1);
        calls(&to, 2, BREAKER_FAILURE);
        assert_int_equal(state_of(&to), BREAKER_OPEN); /* the row went on */
        world_end(&to);
        world_end(&w);
    }
}

static void at_most_max_in_flight_calls_are_under_way(void **state)
{
    WORLD(w, "max_in_flight=3");
    struct breaker_permit permit[4];
    for (int i = 0; i < 3; i++)
        assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit[i]), 0);
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit[3]), BREAKER_E_FULL);
    assert_int_equal(look(&w).in_flight, 3);
    breaker_release(&w.breaker, &permit[0], w.now);
    assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &permit[3]), 0);
    assert_int_equal(look(&w).totals.refused_full, 1);
    world_end(&w);
}

/* ---- killed in the middle ---- */

/* A process that registers a breaker is killed with the lock, a slot half made and the index torn. */
static void a_lock_of_a_dead_process_is_taken_over_and_what_it_left_repaired(void **state)
{
    WORLD(w, "");
    struct head *head = w.memory;
    pid_t child = fork();
    if (child == 0) {
        head->lock = owner_self();
        head->used++;
        for (uint32_t i = 0; i < head->index_size; i++)
            region_index(&w.region)[i] = 0;
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct breaker breaker;
    assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &breaker), 0); /* the first look asks who lives */
    assert_int_equal(breaker_find(&w.region, "payments", &breaker), 0);
    assert_ptr_equal(breaker.slot, w.breaker.slot);
    assert_int_equal(breaker_get(&w.region, "orders", NULL, w.now, &breaker, NULL), 0);
    assert_int_equal(head->lock, 0);
    world_end(&w);
}

/* A lock whose holder lives is not taken: the call passes untracked, and does not wait. */
static void a_lock_of_a_living_process_is_respected(void **state)
{
    WORLD(w, "");
    struct head *head = w.memory;
    struct breaker breaker;
    head->lock = owner_self();
    assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &breaker), BREAKER_E_BUSY);
    w.now += 10 * SEC;
    assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &breaker), BREAKER_E_BUSY);
    head->lock = 0;
    assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &breaker), 0);
    world_end(&w);
}

/* The winner of a transition is killed before it has written its time, the end of the open time and the event. */
static void a_transition_whose_winner_was_killed_is_finished_by_others(void **state)
{
    WORLD(w, "open=5s jitter=0% probes=1 probe_ok=1 ramp=0");
    struct slot *slot = w.breaker.slot;
    slot->state = state_pack(1, 1, BREAKER_REASON_CONSECUTIVE, BREAKER_MODE_AUTO, BREAKER_OPEN);
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    uint64_t end = look(&w).retry_at_ns;
    assert_int_equal(end, w.now + 5 * SEC);
    w.now += SEC;
    assert_int_equal(call(&w, BREAKER_OK, 0), BREAKER_E_OPEN);
    assert_int_equal(look(&w).retry_at_ns, end); /* once published, it is the same for all */
    w.now = end;
    assert_int_equal(call(&w, BREAKER_OK, 0), 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    struct breaker_event events[8];
    assert_int_equal(breaker_events(&w.breaker, 0, events, 8),
                     2); /* the first was never written, and is left out */
    assert_int_equal(events[0].to, BREAKER_HALF_OPEN);
    world_end(&w);
}

/* A process number that was given to another process since is told apart by the start time. */
static void a_process_number_given_again_is_told_apart(void **state)
{
    uint64_t self = owner_self();
    assert_false(owner_is_dead(self));
    assert_true(owner_is_dead(self ^ 1)); /* our number, another start time */
    assert_false(owner_is_dead(0));
    assert_true(owner_is_dead(UINT64_C(0x7ffffff0) << 32 | 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rubbish_is_refused_with_the_reason_and_calls_pass),
        cmocka_unit_test(every_flipped_bit_of_the_head_is_seen),
        cmocka_unit_test(a_region_of_an_earlier_boot_is_refused),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(a_region_may_be_moved),
        cmocka_unit_test(a_region_out_of_shards_still_guards),
        cmocka_unit_test(places_of_a_killed_process_are_given_back),
        cmocka_unit_test(a_new_process_gives_back_what_the_dead_held_whichever_shard_it_takes),
        cmocka_unit_test(a_new_process_takes_a_dead_ones_shard_and_finds_it_clean),
        cmocka_unit_test(a_copy_of_a_region_goes_on_where_it_was),
        cmocka_unit_test(at_most_max_in_flight_calls_are_under_way),
        cmocka_unit_test(a_lock_of_a_dead_process_is_taken_over_and_what_it_left_repaired),
        cmocka_unit_test(a_lock_of_a_living_process_is_respected),
        cmocka_unit_test(a_transition_whose_winner_was_killed_is_finished_by_others),
        cmocka_unit_test(a_process_number_given_again_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
