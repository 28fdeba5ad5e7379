/* The index may propose too much and must not leave anything out (I2), also when hashes collide all the time. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "journal/index.h"
#include "journal/query.h"
#include "journal/table.h"
#include "lib/dice.h"

enum { COUNT = 600 };

static const uint8_t key[16] = "0123456789abcdef";

struct made {
    struct journal_event event;
    struct bytes tags[3];
    char type[8], stream[8], tag[3][8], key[8];
};

static int order_tags(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void make(struct made *made, uint64_t position, uint64_t *versions)
{
    unsigned stream = dice(20);
    made->event = (struct journal_event){.position = position, .append_first = position, .append_count = 1};
    snprintf(made->type, sizeof(made->type), "T%u", dice(8));
    snprintf(made->stream, sizeof(made->stream), "s%u", stream);
    snprintf(made->key, sizeof(made->key), "k%u", dice(1000));
    for (size_t i = 0; i < 3; i++) {
        snprintf(made->tag[i], sizeof(made->tag[i]), "g%zu%u", i, dice(6));
        made->tags[i] = bytes_from_string(made->tag[i]);
    }
    qsort(made->tags, 3, sizeof(made->tags[0]), order_tags);
    made->event.type = bytes_from_string(made->type);
    made->event.stream = bytes_from_string(made->stream);
    made->event.version = ++versions[stream];
    made->event.key = bytes_from_string(made->key);
    made->event.tags = made->tags;
    made->event.tag_count = dice(4);
    for (size_t i = 0; i < 16; i++)
        made->event.id[i] = (uint8_t)dice(256);
}

static uint64_t next(struct index_scan *scan, uint64_t from, uint64_t limit)
{
    uint64_t position;
    assert_ok(index_scan_next(scan, from, limit, &position));
    return position;
}

static uint64_t previous(struct index_scan *scan, uint64_t from, uint64_t limit)
{
    uint64_t position;
    assert_ok(index_scan_previous(scan, from, limit, &position));
    return position;
}

static bool may_match(const struct index *index, const struct journal_item *item, uint64_t after)
{
    bool may;
    assert_ok(index_may_match(index, item, after, &may));
    return may;
}

/* Walk the candidates, both ways; each event that matches must be among them. */
static void compare_scan(const struct index *index, const struct made *events, uint64_t base,
                         const struct journal_query *query)
{
    struct arena arena = {0};
    struct index_scan *scan;
    uint64_t at = 0;
    assert_ok(index_scan_new(index, query, &arena, &scan));
    for (uint64_t position = base + 1; position <= index_last(index); position++) {
        if (at < position)
            at = next(scan, position, UINT64_MAX);
        assert_true(at == 0 || at >= position);
        if (query_matches(query, &events[position].event, true))
            assert_int_equal(at, position);
        if (at == 0)
            at = UINT64_MAX;
    }
    at = UINT64_MAX;
    for (uint64_t position = index_last(index); position > base; position--) {
        if (at > position)
            at = previous(scan, position, 0);
        assert_true(at <= position);
        if (query_matches(query, &events[position].event, true))
            assert_int_equal(at, position);
    }
    /* A limit takes away what is beyond it and nothing else. */
    for (uint64_t from = base + 1; from <= index_last(index); from += 37)
        for (uint64_t limit = from; limit <= index_last(index); limit += 91) {
            uint64_t above = next(scan, from, UINT64_MAX), below = previous(scan, limit, 0);
            assert_int_equal(next(scan, from, limit), above <= limit ? above : 0);
            assert_int_equal(previous(scan, limit, from), below >= from ? below : 0);
        }
    for (size_t i = 0; i < query->count; i++)
        for (uint64_t after = base; after <= index_last(index); after += 50)
            if (!may_match(index, &query->items[i], after))
                for (uint64_t position = after + 1; position <= index_last(index); position++)
                    assert_false(query_item_matches(&query->items[i], &events[position].event, true));
    index_scan_end(scan);
    arena_deinit(&arena);
}

static void find_everything(const struct index *index, const struct made *events, uint64_t base)
{
    for (uint64_t position = base + 1; position <= index_last(index); position++) {
        struct index_probe id = {0}, by_key = {0};
        uint64_t found;
        do
            assert_ok(index_find_id(index, events[position].event.id, &id, &found));
        while (found != 0 && found != position);
        assert_int_equal(found, position);
        do
            assert_ok(index_find_key(index, events[position].event.key, &by_key, &found));
        while (found != 0 && found != position);
        assert_int_equal(found, position);
    }
}

static void check_streams(const struct index *index, const uint64_t *versions)
{
    struct arena arena = {0};
    for (unsigned i = 0; i < 20; i++) {
        char name[8];
        struct index_scan *scan;
        uint64_t found;
        snprintf(name, sizeof(name), "s%u", i);
        assert_ok(index_stream_version(index, bytes_from_string(name), &found));
        assert_int_equal(found, versions[i]);
        assert_ok(index_scan_new_stream(index, bytes_from_string(name), &arena, &scan));
        if (index_base(index) == 0 && versions[i] > 0) {
            assert_ok(index_scan_version(scan, versions[i], &found));
            assert_true(found > 0); /* I3 */
            assert_ok(index_scan_version(scan, versions[i] + 1, &found));
            assert_int_equal(found, 0);
        }
        index_scan_end(scan);
    }
    arena_deinit(&arena);
}

static void play(unsigned term_bits, uint64_t base)
{
    static struct made events[COUNT + 200];
    static struct bytes names[8];
    struct index *index;
    struct index_figures figures;
    uint64_t versions[20] = {0};
    assert_ok(index_new(key, base, term_bits, NULL, &index));
    for (uint64_t position = base + 1; position <= base + COUNT; position++) {
        make(&events[position], position, versions);
        assert_ok(index_add(index, &events[position].event));
    }
    for (unsigned i = 0; i < 40; i++) {
        char text[8][8];
        struct journal_item items[2];
        struct journal_query query = {.items = items, .count = dice(3)};
        for (unsigned j = 0; j < 8; j++) {
            snprintf(text[j], sizeof(text[j]), j % 4 < 2 ? "T%u" : "g%u%u", j % 4 < 2 ? dice(9) : dice(3),
                     dice(6));
            names[j] = bytes_from_string(text[j]);
        }
        for (unsigned j = 0; j < 2; j++)
            items[j] = (struct journal_item){.types = &names[j * 4],
                                             .type_count = dice(3),
                                             .tags = &names[j * 4 + 2],
                                             .tag_count = dice(2) + 1};
        compare_scan(index, events, base, &query);
    }
    find_everything(index, events, base);
    check_streams(index, versions);
    index_figures(index, &figures);
    assert_true(figures.memory > COUNT * 16);
    index_free(index);
}

static void no_event_that_matches_is_left_out(void **state)
{
    dice_seed(3);
    play(0, 0);
    play(0, 150);
}

static void no_event_is_left_out_when_nearly_all_hashes_collide(void **state)
{
    dice_seed(4);
    play(2, 0);
    play(1, 100);
}

static void a_scan_sees_terms_that_come_after_it_was_made(void **state)
{
    struct index *index;
    struct index_scan *scan;
    struct arena arena = {0};
    struct bytes tag = BYTES_LITERAL("x");
    struct journal_item item = {.tags = &tag, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    struct journal_event event = {.position = 1,
                                  .append_first = 1,
                                  .append_count = 1,
                                  .type = BYTES_LITERAL("A"),
                                  .tags = &tag,
                                  .tag_count = 1};
    assert_ok(index_new(key, 0, 0, NULL, &index));
    assert_ok(index_scan_new(index, &query, &arena, &scan));
    assert_int_equal(next(scan, 1, UINT64_MAX), 0);
    assert_ok(index_add(index, &event));
    assert_int_equal(next(scan, 1, UINT64_MAX), 1);
    assert_int_equal(next(scan, 2, UINT64_MAX), 0);
    index_scan_end(scan);
    arena_deinit(&arena);
    index_free(index);
}

/* Names that just came are not looked up again: the same name in turn, then its neighbour of the same size, must each lead
 * to their own positions, be they as long as what is remembered, or longer. */
static void a_name_that_comes_again_is_not_taken_for_its_neighbour(void **state)
{
    enum { NAME_SIZE_TRIED = TABLE_RECENT_NAME_SIZE_MAX + 3, TURNS = 4 };
    struct index *index;
    uint64_t position = 0;
    assert_ok(index_new(key, 0, 0, NULL, &index));
    for (size_t size = 1; size <= NAME_SIZE_TRIED; size++) {
        char names[2][NAME_SIZE_TRIED];
        struct bytes name[2] = {bytes_make(names[0], size), bytes_make(names[1], size)};
        memset(names, 'n', sizeof(names));
        names[1][size - 1] = 'm';
        uint64_t first = position + 1;
        for (unsigned turn = 0; turn < TURNS; turn++) { /* n n m m */
            const struct bytes *now = &name[turn / 2];
            struct journal_event event = {.position = ++position, .append_first = position, .append_count = 1,
                                          .type = *now, .stream = *now, .version = turn % 2 + 1, .tags = now, .tag_count = 1};
            assert_ok(index_add(index, &event));
        }
        for (unsigned which = 0; which < 2; which++) {
            struct arena arena = {0};
            struct index_scan *scan;
            uint64_t version;
            struct journal_item item = {.types = &name[which], .type_count = 1, .tags = &name[which], .tag_count = 1};
            assert_ok(index_stream_version(index, name[which], &version));
            assert_int_equal(version, 2);
            assert_ok(index_scan_new(index, &(struct journal_query){.items = &item, .count = 1}, &arena, &scan));
            assert_int_equal(next(scan, 1, UINT64_MAX), first + 2 * which);
            assert_int_equal(next(scan, first + 2 * which + 1, UINT64_MAX), first + 2 * which + 1);
            assert_int_equal(next(scan, first + 2 * which + 2, UINT64_MAX), 0);
            index_scan_end(scan);
            arena_deinit(&arena);
        }
    }
    index_free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_event_that_matches_is_left_out),
        cmocka_unit_test(no_event_is_left_out_when_nearly_all_hashes_collide),
        cmocka_unit_test(a_scan_sees_terms_that_come_after_it_was_made),
        cmocka_unit_test(a_name_that_comes_again_is_not_taken_for_its_neighbour),
    };
    return cmocka_run_group_tests_name("journal/index", tests, NULL, NULL);
}
