#include "lib/cmocka_all.h"

#include <stdio.h>

#include "command/cache.h"

static const struct daybook_kind kind = {.prefix = "k", .state_size = 1000};

static int setup(void **state)
{
    static struct cache cache;
    assert_ok(cache_init(&cache, 10000, (const uint8_t[16]){1}));
    *state = &cache;
    return 0;
}

static int teardown(void **state)
{
    cache_deinit(*state);
    return 0;
}

static struct cache_entry *acquire(struct cache *cache, int number)
{
    char tag[32];
    struct cache_entry *entry = NULL;
    snprintf(tag, sizeof(tag), "k:%d", number);
    assert_ok(cache_acquire(cache, &kind, bytes_from_string(tag), &entry));
    return entry;
}

static void fill(struct cache *cache, struct cache_entry *entry, uint64_t position)
{
    assert_ok(command_state_new(&kind, &entry->state));
    entry->state->position = position;
    entry->ready = true;
    cache_resized(cache, entry);
}

static void touch(struct cache *cache, int number)
{
    struct cache_entry *entry = acquire(cache, number);
    if (!entry->state)
        fill(cache, entry, 1);
    cache_release(cache, entry);
}

static bool holds(struct cache *cache, int number)
{
    struct cache_entry *entry = acquire(cache, number);
    bool found = entry->state != NULL;
    cache_release(cache, entry);
    return found;
}

static void figures(struct cache *cache, uint64_t *count, uint64_t *size)
{
    uint64_t evictions;
    cache_figures(cache, count, size, &evictions);
}

static void the_same_tag_is_the_same_entry(void **state)
{
    struct cache_entry *a = acquire(*state, 1), *b = acquire(*state, 1), *c = acquire(*state, 2);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    cache_release(*state, a);
    cache_release(*state, b);
    cache_release(*state, c);
}

static void the_least_recently_used_goes_first(void **state)
{
    uint64_t count, size;
    for (int i = 0; i < 6; i++)
        touch(*state, i);
    touch(*state, 0);
    for (int i = 6; i < 12; i++)
        touch(*state, i);
    assert_true(holds(*state, 11));
    assert_true(holds(*state, 0));
    assert_false(holds(*state, 1));
    figures(*state, &count, &size);
    assert_true(size <= 10000);
}

static void what_is_in_use_stays_whatever_the_limit_says(void **state)
{
    struct cache_entry *entries[30];
    for (int i = 0; i < 30; i++) {
        entries[i] = acquire(*state, i);
        fill(*state, entries[i], 1);
    }
    uint64_t count, size;
    figures(*state, &count, &size);
    assert_int_equal(count, 30);
    assert_true(size > 30000);
    for (int i = 0; i < 30; i++) {
        assert_non_null(entries[i]->state);
        cache_release(*state, entries[i]);
    }
    figures(*state, &count, &size);
    assert_true(size <= 10000);
}

/* C4: a state that goes beyond the head is of a batch that failed. */
static void states_beyond_the_head_are_dropped(void **state)
{
    struct cache_entry *low = acquire(*state, 1), *high = acquire(*state, 2);
    fill(*state, low, 5);
    fill(*state, high, 6);
    cache_drop_beyond(*state, 5);
    assert_non_null(low->state);
    assert_true(low->ready);
    assert_null(high->state);
    assert_false(high->ready);
    cache_release(*state, low);
    cache_release(*state, high);
    uint64_t count, size;
    figures(*state, &count, &size);
    assert_true(size < 2000);
}

static void thousands_of_tags_are_found_again(void **state)
{
    struct cache *cache = *state;
    cache->size_max = SIZE_MAX;
    for (int i = 0; i < 5000; i++)
        touch(cache, i);
    for (int i = 0; i < 5000; i++)
        assert_true(holds(cache, i));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_same_tag_is_the_same_entry),
        TEST(the_least_recently_used_goes_first),
        TEST(what_is_in_use_stays_whatever_the_limit_says),
        TEST(states_beyond_the_head_are_dropped),
        TEST(thousands_of_tags_are_found_again),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
