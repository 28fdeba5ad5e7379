/* Regions and what is in them: attaching to rubbish, owning shards, names, keys, evicting. */
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
    for (int bit = 0; bit < 64 * 8; bit++) {
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
                                                   {.slices = BREAKER_SLICES_MAX + 1}};
    for (int i = 0; i < 3; i++) {
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

/* ---- names ---- */

static void a_name_finds_the_same_breaker_again(void **state)
{
    WORLD(w, "");
    struct breaker again, other;
    assert_int_equal(breaker_get(&w.region, "payments", NULL, w.now, &again, NULL), 0);
    assert_ptr_equal(again.slot, w.breaker.slot);
    assert_int_equal(breaker_find(&w.region, "orders", &other), BREAKER_E_ABSENT);
    assert_int_equal(breaker_get(&w.region, "orders", NULL, w.now, &other, NULL), 0);
    assert_ptr_not_equal(other.slot, w.breaker.slot);
    uint32_t cursor = 0, count = 0;
    while (breaker_next(&w.region, &cursor, &other) == 0)
        count++;
    assert_int_equal(count, 2);
    world_end(&w);
}

static void a_name_that_is_none_is_refused(void **state)
{
    WORLD(w, "");
    struct breaker b;
    char name[BREAKER_NAME_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[BREAKER_NAME_MAX + 1] = 0;
    assert_int_equal(breaker_get(&w.region, name, NULL, w.now, &b, NULL), BREAKER_E_NAME);
    assert_int_equal(breaker_get(&w.region, "", NULL, w.now, &b, NULL), BREAKER_E_NAME);
    assert_int_equal(breaker_get(&w.region, "a\nb", NULL, w.now, &b, NULL), BREAKER_E_NAME);
    name[BREAKER_NAME_MAX] = 0;
    assert_int_equal(breaker_get(&w.region, name, NULL, w.now, &b, NULL), 0);
    world_end(&w);
}

static void the_cap_is_hard_and_named_breakers_are_never_evicted(void **state)
{
    WORLD(w, "");
    struct breaker b;
    const char *names[] = {"b", "c", "d"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(breaker_get(&w.region, names[i], NULL, w.now, &b, NULL), 0);
    w.now += 86400 * SEC;
    assert_int_equal(breaker_get(&w.region, "e", NULL, w.now, &b, NULL), BREAKER_E_CAPACITY);
    assert_int_equal(breaker_key(&w.breaker, "k", 1, w.now, &b), BREAKER_E_CAPACITY);
    struct breaker_permit permit;
    assert_int_equal(breaker_acquire(&b, w.now, 0, &permit), 0);
    assert_int_equal(w.region.untracked, 1);
    world_end(&w);
}

/* ---- keys (B7) ---- */

static int key_of(struct world *w, const char *key, struct breaker *ret_breaker)
{
    return breaker_key(&w->breaker, key, strlen(key), w->now, ret_breaker);
}

static void keys_are_apart_and_judged_by_their_groups_rules(void **state)
{
    WORLD(w, "consecutive=3 failure_rate=off");
    struct breaker alice, bob;
    struct breaker_permit permit;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(key_of(&w, "alice", &alice), 0);
        assert_int_equal(breaker_acquire(&alice, w.now, 0, &permit), 0);
        breaker_report(&alice, &permit, BREAKER_FAILURE, w.now);
    }
    assert_int_equal(key_of(&w, "bob", &bob), 0);
    assert_int_equal(breaker_acquire(&alice, w.now, 0, &permit), BREAKER_E_OPEN);
    assert_int_equal(breaker_acquire(&bob, w.now, 0, &permit), 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_int_equal(breaker_find(&w.region, "payments:alice", &alice), 0);
    assert_int_equal(breaker_state(&alice), BREAKER_OPEN);
    world_end(&w);
}

/* Keys leak elsewhere: here an idle, empty, closed one makes room; nothing else does. */
static void only_idle_empty_closed_keys_are_evicted(void **state)
{
    WORLD(w, "consecutive=1 failure_rate=off key_idle=30s open=1h open_max=1h");
    struct breaker open, busy, idle, late;
    struct breaker_permit permit;
    assert_int_equal(key_of(&w, "open", &open), 0);
    breaker_acquire(&open, w.now, 0, &permit);
    breaker_report(&open, &permit, BREAKER_FAILURE, w.now);
    assert_int_equal(key_of(&w, "idle", &idle), 0);
    assert_int_equal(key_of(&w, "busy", &busy), 0);
    assert_int_equal(key_of(&w, "late", &late), BREAKER_E_CAPACITY);
    w.now += 31 * SEC;
    assert_int_equal(key_of(&w, "busy", &busy), 0);
    breaker_acquire(&busy, w.now, 0, &permit);
    breaker_report(&busy, &permit, BREAKER_OK, w.now);
    assert_int_equal(key_of(&w, "late", &late), 0);
    struct breaker b;
    assert_int_equal(breaker_find(&w.region, "payments:idle", &b), BREAKER_E_ABSENT);
    assert_int_equal(breaker_find(&w.region, "payments:busy", &b), 0);
    assert_int_equal(breaker_find(&w.region, "payments:open", &b), 0);
    assert_int_equal(breaker_state(&b), BREAKER_OPEN);
    assert_int_equal(key_of(&w, "more", &late), BREAKER_E_CAPACITY);
    world_end(&w);
}

/* Strangers share a slot elsewhere: a handle whose breaker was evicted passes untracked, and its late report is stale. */
static void a_stranger_never_counts_in_someone_elses_slot(void **state)
{
    struct world w = world_make("consecutive=1 failure_rate=off key_idle=30s", 2);
    world_open(&w, 1);
    struct breaker old, fresh;
    struct breaker_permit late, permit;
    assert_int_equal(key_of(&w, "old", &old), 0);
    breaker_acquire(&old, w.now, 0, &late);
    w.now += 60 * SEC;
    assert_int_equal(key_of(&w, "fresh", &fresh), 0);
    assert_ptr_equal(fresh.slot, old.slot);
    assert_int_equal(breaker_report(&old, &late, BREAKER_FAILURE, w.now), BREAKER_E_STALE);
    assert_int_equal(breaker_report(&fresh, &late, BREAKER_FAILURE, w.now), BREAKER_E_SPENT);
    assert_int_equal(breaker_acquire(&old, w.now, 0, &permit), 0);
    assert_true(breaker_permit_is_untracked(&permit));
    assert_int_equal(breaker_state(&fresh), BREAKER_CLOSED);
    world_end(&w);
}

static void a_long_key_is_kept_apart_by_its_hash(void **state)
{
    WORLD(w, "");
    struct breaker a, b, c;
    char key[200];
    memset(key, 'x', sizeof(key));
    assert_int_equal(breaker_key(&w.breaker, key, 200, w.now, &a), 0);
    assert_int_equal(breaker_key(&w.breaker, key, 199, w.now, &b), 0);
    assert_int_equal(breaker_key(&w.breaker, key, 200, w.now, &c), 0);
    assert_ptr_not_equal(a.slot, b.slot);
    assert_ptr_equal(a.slot, c.slot);
    struct breaker_snapshot s;
    breaker_snapshot(&a, w.now, &s);
    assert_int_equal(strlen(s.name), BREAKER_NAME_MAX);
    assert_int_equal(breaker_key(&w.breaker, "a\0b", 3, w.now, &a), 0);
    breaker_snapshot(&a, w.now, &s);
    assert_memory_equal(s.name, "payments:a?b~", 13);
    assert_int_equal(breaker_key(&w.breaker, "", 0, w.now, &a), BREAKER_E_NAME);
    world_end(&w);
}

/* Thousands of keys through a small region: every one is found while it lives, the index never loses one. */
static void many_keys_go_through_a_small_region(void **state)
{
    struct world w = world_make("key_idle=1s", 64);
    world_open(&w, 1);
    struct breaker b, again;
    for (int i = 0; i < 20000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(key_of(&w, key, &b), 0);
        assert_int_equal(key_of(&w, key, &again), 0);
        assert_int_equal(b.id, again.id);
        w.now += 25 * MS; /* 40 alive at any time, of 63 */
    }
    assert_int_equal(w.region.untracked, 0);
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
        cmocka_unit_test(a_new_process_takes_a_dead_ones_shard_and_finds_it_clean),
        cmocka_unit_test(at_most_max_in_flight_calls_are_under_way),
        cmocka_unit_test(a_name_finds_the_same_breaker_again),
        cmocka_unit_test(a_name_that_is_none_is_refused),
        cmocka_unit_test(the_cap_is_hard_and_named_breakers_are_never_evicted),
        cmocka_unit_test(keys_are_apart_and_judged_by_their_groups_rules),
        cmocka_unit_test(only_idle_empty_closed_keys_are_evicted),
        cmocka_unit_test(a_stranger_never_counts_in_someone_elses_slot),
        cmocka_unit_test(a_long_key_is_kept_apart_by_its_hash),
        cmocka_unit_test(many_keys_go_through_a_small_region),
        cmocka_unit_test(a_lock_of_a_dead_process_is_taken_over_and_what_it_left_repaired),
        cmocka_unit_test(a_lock_of_a_living_process_is_respected),
        cmocka_unit_test(a_transition_whose_winner_was_killed_is_finished_by_others),
        cmocka_unit_test(a_process_number_given_again_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
