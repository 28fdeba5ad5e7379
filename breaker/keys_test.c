/* Names and keys: finding, the hard cap, and who may be evicted (B7). */
#include "testing.h"

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

/* A client who chooses his key does not switch protection off: who finds no room shares the group's own breaker. */
static void keys_that_find_no_room_share_one_breaker_and_none_passes_unguarded(void **state)
{
    WORLD(w, "consecutive=5 failure_rate=off open=1h open_max=1h");
    struct breaker mine, strange;
    struct breaker_permit permit;
    uint64_t shared;
    uint32_t used;
    int passed = 0;
    assert_int_equal(key_of(&w, "mine", &mine), 0);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(key_of(&w, key, &strange), i < 2 ? 0 : BREAKER_E_CAPACITY);
        if (breaker_acquire(&strange, w.now, 0, &permit))
            continue;
        assert_false(breaker_permit_is_untracked(&permit));
        breaker_report(&strange, &permit, BREAKER_FAILURE, w.now);
        passed++;
    }
    assert_int_equal(passed, 2 + 5);
    assert_ptr_equal(strange.slot, w.breaker.slot);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(breaker_acquire(&mine, w.now, 0, &permit), 0);
    assert_int_equal(w.region.untracked, 0);
    assert_int_equal(breaker_keys_room(&w.region, &used, &shared), 3);
    assert_int_equal(used, 3);
    assert_int_equal(shared, 998);
    world_end(&w);
}

/* No key at all, and a group that needs more room than keys have: guarded too. */
static void keys_that_cannot_have_a_breaker_share_one_too(void **state)
{
    WORLD(w, "window=count:400 min_calls=1 consecutive=1");
    struct breaker b;
    assert_int_equal(breaker_key(&w.breaker, "", 0, w.now, &b), BREAKER_E_NAME);
    assert_ptr_equal(b.slot, w.breaker.slot);
    assert_int_equal(key_of(&w, "k", &b), BREAKER_E_CONFIG);
    assert_ptr_equal(b.slot, w.breaker.slot);
    world_end(&w);
}

static void a_mebibyte_holds_hundreds_of_keys(void **state)
{
    struct breaker_region_options options = {.breakers = 5, .shards = 8, .slices = 60, .keys = 200, .key_slices = 20};
    assert_in_range(breaker_region_size(&options), 1, 1 << 20);
    options.keys = 300;
    uint64_t more = breaker_region_size(&options);
    options.keys = 600;
    assert_in_range((breaker_region_size(&options) - more) / 300, 1, 3600);
}

/* What a breaker made by name keeps, one made by key keeps too: totals, events, how long calls took. */
static void a_breaker_by_key_tells_what_one_by_name_does(void **state)
{
    WORLD(w, "consecutive=3 failure_rate=off open=1s open_max=1s jitter=0% ramp=0 probes=1 max_in_flight=3");
    struct breaker group = w.breaker;
    assert_int_equal(key_of(&w, "k", &w.breaker), 0);
    calls(&w, 5, BREAKER_OK);
    for (int i = 0; i < 4; i++)
        call(&w, BREAKER_OK, 100 * MS);
    struct breaker_permit held[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(breaker_acquire(&w.breaker, w.now, 0, &held[i]), i < 3 ? 0 : BREAKER_E_FULL);
    assert_int_equal(look(&w).in_flight, 3);
    for (int i = 0; i < 3; i++)
        breaker_report(&w.breaker, &held[i], BREAKER_FAILURE, w.now);
    struct breaker_snapshot s = look(&w);
    assert_int_equal(s.state, BREAKER_OPEN);
    assert_string_equal(s.name, "payments:k");
    assert_int_equal(s.totals.ok, 9);
    assert_int_equal(s.totals.failure, 3);
    assert_int_equal(s.lately.total, 12);
    assert_int_equal(s.lately.failures, 3);
    assert_int_equal(s.lately.refused, 1);
    assert_int_equal(last_event(&w).reason, BREAKER_REASON_CONSECUTIVE);
    struct breaker_latency latency;
    assert_int_equal(breaker_latency(&w.breaker, w.now, &latency), 0);
    assert_int_equal(latency.count, 12);
    assert_in_range(latency.level_ns[BREAKER_P90], 64 * MS, 128 * MS); /* within its octave */
    for (int i = 0; i < 10; i++) { /* four events of the last are kept */
        w.now += SEC;
        call(&w, BREAKER_FAILURE, 0);
    }
    struct breaker_event events[BREAKER_EVENTS];
    assert_int_equal(breaker_events(&w.breaker, 0, events, BREAKER_EVENTS), 4);
    assert_int_equal(events[3].epoch, breaker_epoch(&w.breaker));
    w.breaker = group;
    assert_int_equal(look(&w).totals.ok, 0);
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

/* A group in shadow makes keys in shadow, which are as idle as any; an order given to one key is kept. */
static void keys_of_a_group_in_shadow_are_evicted_and_those_with_orders_are_not(void **state)
{
    struct world w = world_make("mode=shadow key_idle=30s", 3);
    world_open(&w, 1);
    struct breaker quiet, forced, late;
    assert_int_equal(key_of(&w, "quiet", &quiet), 0);
    assert_int_equal(breaker_state(&quiet), BREAKER_SHADOW);
    assert_int_equal(key_of(&w, "forced", &forced), 0);
    breaker_force(&forced, BREAKER_MODE_FORCED_CLOSED, w.now);
    w.now += 60 * SEC;
    assert_int_equal(key_of(&w, "late", &late), 0);
    assert_ptr_equal(late.slot, quiet.slot);
    assert_int_equal(breaker_find(&w.region, "payments:forced", &forced), 0);
    assert_int_equal(breaker_state(&forced), BREAKER_FORCED_CLOSED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_finds_the_same_breaker_again),
        cmocka_unit_test(a_name_that_is_none_is_refused),
        cmocka_unit_test(the_cap_is_hard_and_named_breakers_are_never_evicted),
        cmocka_unit_test(keys_are_apart_and_judged_by_their_groups_rules),
        cmocka_unit_test(keys_that_find_no_room_share_one_breaker_and_none_passes_unguarded),
        cmocka_unit_test(keys_that_cannot_have_a_breaker_share_one_too),
        cmocka_unit_test(a_mebibyte_holds_hundreds_of_keys),
        cmocka_unit_test(a_breaker_by_key_tells_what_one_by_name_does),
        cmocka_unit_test(only_idle_empty_closed_keys_are_evicted),
        cmocka_unit_test(keys_of_a_group_in_shadow_are_evicted_and_those_with_orders_are_not),
        cmocka_unit_test(a_stranger_never_counts_in_someone_elses_slot),
        cmocka_unit_test(a_long_key_is_kept_apart_by_its_hash),
        cmocka_unit_test(many_keys_go_through_a_small_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
