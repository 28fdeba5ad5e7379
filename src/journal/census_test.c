/* The census finds every id that stands twice and every version that does not continue, in as little memory as it is given. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "journal/census.h"
#include "lib/dice.h"

enum { EVENT_COUNT = 20000, STREAM_COUNT = 300 };

static const uint8_t key[16] = {1, 2, 3};

struct told {
    uint64_t ids, versions, sum; /* sum of positions, so that it matters which */
};

static void hear(void *user, uint64_t position, const char *what)
{
    struct told *told = user;

    told->ids += strstr(what, "id") != NULL;
    told->versions += strstr(what, "version") != NULL;
    told->sum += position;
}

/* Every `bad`th event has the id of the one before, every `bad`th plus one skips a version; 0: none. */
static struct told count_events(size_t memory_size, uint64_t bad, uint64_t *ret_streams)
{
    static uint64_t versions[STREAM_COUNT];
    struct census *census;
    struct told told = {0};

    memset(versions, 0, sizeof(versions));
    dice_seed(7);
    assert_ok(census_new(key, memory_size, &census));
    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        struct journal_event event = {.position = position};
        char name[32];
        unsigned stream = dice(STREAM_COUNT);
        bool twice = bad && position % bad == 0, skips = bad && position % bad == 1 && position > bad;
        bytes_put_u64(event.id, (position - twice) * UINT64_C(0x9e3779b97f4a7c15));
        snprintf(name, sizeof(name), "stream-%u", stream);
        if (position % 5 != 0 || skips) {
            event.stream = bytes_from_string(name);
            versions[stream] += skips ? 2 : 1;
            event.version = versions[stream];
        }
        assert_ok(census_add(census, &event));
    }
    assert_ok(census_check(census, hear, &told, ret_streams));
    census_free(census);
    return told;
}

static void a_sound_journal_has_nothing_to_tell_in_any_memory(void **state)
{
    for (size_t size = CENSUS_MEMORY_SIZE_MIN * 8; size <= CENSUS_MEMORY_SIZE; size *= 8) {
        uint64_t streams = 0;
        struct told told = count_events(size, 0, &streams);
        assert_int_equal(told.ids + told.versions, 0);
        assert_int_equal(streams, STREAM_COUNT);
    }
}

static void what_is_wrong_is_found_in_any_memory(void **state)
{
    uint64_t streams;
    struct told whole = count_events(CENSUS_MEMORY_SIZE, 100, &streams);

    assert_int_equal(whole.ids, EVENT_COUNT / 100);
    assert_int_equal(whole.versions, EVENT_COUNT / 100 - 1);
    for (size_t size = CENSUS_MEMORY_SIZE_MIN * 8; size < CENSUS_MEMORY_SIZE; size *= 8) {
        struct told told = count_events(size, 100, &streams);
        assert_memory_equal(&told, &whole, sizeof(told));
    }
}

/* Memory that is too small to merge in is said, not silently passed over. */
static void too_many_runs_for_the_memory_are_a_failure(void **state)
{
    struct census *census;
    struct told told = {0};
    uint64_t streams;

    assert_ok(census_new(key, CENSUS_MEMORY_SIZE_MIN, &census));
    for (uint64_t position = 1; position <= EVENT_COUNT; position++) {
        struct journal_event event = {.position = position};
        bytes_put_u64(event.id, position);
        assert_ok(census_add(census, &event));
    }
    assert_int_equal(census_check(census, hear, &told, &streams), -E2BIG);
    census_free(census);
}

static void a_journal_without_events_is_sound(void **state)
{
    struct census *census;
    struct told told = {0};
    uint64_t streams = 7;

    assert_ok(census_new(key, CENSUS_MEMORY_SIZE_MIN, &census));
    assert_ok(census_check(census, hear, &told, &streams));
    assert_int_equal(told.ids + told.versions + streams, 0);
    census_free(census);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_journal_has_nothing_to_tell_in_any_memory),
        cmocka_unit_test(what_is_wrong_is_found_in_any_memory),
        cmocka_unit_test(too_many_runs_for_the_memory_are_a_failure),
        cmocka_unit_test(a_journal_without_events_is_sound),
    };

    return cmocka_run_group_tests_name("journal/census", tests, NULL, NULL);
}
