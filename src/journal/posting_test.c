/* A posting is an ascending array; packing must not show. */
#include "lib/cmocka_all.h"

#include <stdlib.h>

#include "journal/posting.h"
#include "lib/dice.h"

enum { COUNT = 3000 };

/* Gaps of every size of difference, from 1 to many bytes. */
static uint64_t gap(unsigned i)
{
    static const uint64_t gaps[] = {1, 1, 2, 127, 128, 129, 16383, 16384, 1, UINT64_C(1) << 35, 5};
    return gaps[i % (sizeof(gaps) / sizeof(gaps[0]))];
}

static void fill(struct posting *posting, uint64_t *positions)
{
    uint64_t position = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        position += gap(i);
        positions[i] = position;
        assert_ok(posting_add(posting, position));
    }
}

static uint64_t naive_next(const uint64_t *positions, unsigned count, uint64_t from)
{
    for (unsigned i = 0; i < count; i++)
        if (positions[i] >= from)
            return positions[i];
    return 0;
}

static uint64_t naive_previous(const uint64_t *positions, unsigned count, uint64_t from)
{
    for (unsigned i = count; i-- > 0;)
        if (positions[i] <= from)
            return positions[i];
    return 0;
}

static void a_cursor_finds_what_a_walk_over_the_array_finds(void **state)
{
    static uint64_t positions[COUNT];
    struct posting posting = {0};
    struct posting_cursor cursor;
    fill(&posting, positions);
    assert_int_equal(posting.count, COUNT);
    assert_int_equal(posting.last, positions[COUNT - 1]);
    posting_cursor_init(&cursor, &posting);
    dice_seed(1);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t around = positions[dice(COUNT)] + dice(5) - 2;
        assert_int_equal(posting_next(&cursor, around), naive_next(positions, COUNT, around));
        assert_int_equal(posting_previous(&cursor, around), naive_previous(positions, COUNT, around));
        unsigned at = dice(COUNT + 5);
        assert_int_equal(posting_at(&cursor, at), at < COUNT ? positions[at] : 0);
    }
    assert_int_equal(posting_next(&cursor, 0), positions[0]);
    assert_int_equal(posting_next(&cursor, UINT64_MAX), 0);
    assert_int_equal(posting_previous(&cursor, UINT64_MAX), positions[COUNT - 1]);
    assert_int_equal(posting_previous(&cursor, 0), 0);
    posting_deinit(&posting);
}

static void a_cursor_walks_in_order_both_ways(void **state)
{
    static uint64_t positions[COUNT];
    struct posting posting = {0};
    struct posting_cursor cursor;
    fill(&posting, positions);
    posting_cursor_init(&cursor, &posting);
    uint64_t at = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        at = posting_next(&cursor, at + 1);
        assert_int_equal(at, positions[i]);
    }
    for (unsigned i = COUNT; i-- > 0;) {
        assert_int_equal(at, positions[i]);
        at = at > 0 ? posting_previous(&cursor, at - 1) : 0;
    }
    posting_deinit(&posting);
}

static void a_cursor_sees_what_is_added_after_it_was_made(void **state)
{
    struct posting posting = {0};
    struct posting_cursor cursor;
    posting_cursor_init(&cursor, &posting);
    assert_int_equal(posting_next(&cursor, 1), 0);
    for (uint64_t position = 10; position < 10 * 300; position += 10) {
        assert_ok(posting_add(&posting, position));
        assert_int_equal(posting_next(&cursor, position - 9), position);
        assert_int_equal(posting_previous(&cursor, position + 3), position);
        assert_int_equal(posting_at(&cursor, position / 10 - 1), position);
    }
    posting_deinit(&posting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cursor_finds_what_a_walk_over_the_array_finds),
        cmocka_unit_test(a_cursor_walks_in_order_both_ways),
        cmocka_unit_test(a_cursor_sees_what_is_added_after_it_was_made),
    };
    return cmocka_run_group_tests_name("journal/posting", tests, NULL, NULL);
}
