/* The events of a batch on its way: whatever is asked, no event is missing (Y2), whenever it is asked. */
#include "lib/cmocka_all.h"

#include <stdlib.h>

#include "journal/layer.h"
#include "journal/query.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"

enum { EVENT_COUNT = 300, BASE = 1000 };

static const uint8_t key[16] = "a layer's secret";
static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
enum { NAME_COUNT = sizeof(names) / sizeof(names[0]) };

struct layer_world {
    struct layer layer;
    struct journal_event events[EVENT_COUNT];
    struct bytes tags[EVENT_COUNT][3];
};

static struct bytes some_name(void)
{
    return B(names[dice(NAME_COUNT)]);
}

static void push_one(struct layer_world *world, size_t at)
{
    struct journal_event *event = &world->events[at];
    *event = (struct journal_event){.position = BASE + at + 1,
                                    .append_first = BASE + at + 1,
                                    .append_count = 1,
                                    .stream = dice(3) ? some_name() : (struct bytes){0},
                                    .type = some_name(),
                                    .tags = world->tags[at],
                                    .tag_count = dice(4)};
    event->version = event->stream.size > 0;
    for (size_t i = 0; i < event->tag_count; i++) /* ascending, as they are stored */
        world->tags[at][i] = B(names[i * 4 + dice(4)]);
    memset(event->id, (int)(at % 251), sizeof(event->id));
    assert_ok(layer_push(&world->layer, event));
}

static struct layer_world *new_world(void)
{
    struct layer_world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    layer_begin(&world->layer, BASE, key);
    return world;
}

static void free_world(struct layer_world *world)
{
    layer_deinit(&world->layer);
    free(world);
}

/* A query's candidates, narrowed by the events, must be what looking at each event gives. */
static void compare_query(struct layer_world *world, size_t count, const struct journal_query *query,
                          uint64_t after)
{
    struct layer_scan scan;
    uint64_t at = after;
    assert_ok(layer_scan_begin(&world->layer, query, after, &scan));
    for (size_t i = 0; i < count; i++) {
        const struct journal_event *event = &world->events[i];
        if (event->position <= after || !query_matches(query, event, false))
            continue;
        do {
            at = layer_scan_next(&scan, at + 1);
            assert_true(at != 0 && at <= event->position);
        } while (at < event->position);
    }
    for (uint64_t last = at; (at = layer_scan_next(&scan, at + 1)) != 0; last = at) {
        assert_true(at > last);
        assert_false(query_matches(query, layer_event(&world->layer, at), false));
    }
}

static void compare_some_query(struct layer_world *world, size_t count)
{
    struct journal_item items[12];
    struct bytes types[12][2], tags[12][2];
    struct journal_query query = {.items = items, .count = dice(13)};
    for (size_t i = 0; i < query.count; i++) {
        items[i] = (struct journal_item){
            .types = types[i], .type_count = dice(3), .tags = tags[i], .tag_count = dice(3)};
        if (items[i].type_count + items[i].tag_count == 0)
            items[i].type_count = 1;
        for (size_t j = 0; j < 2; j++) {
            types[i][j] = some_name();
            tags[i][j] = some_name();
        }
    }
    compare_query(world, count, &query, BASE - 2 + dice((uint32_t)count + 4));
}

static void every_event_that_matches_is_proposed_in_order(void **state)
{
    struct layer_world *world = new_world();
    dice_seed(11);
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        push_one(world, i);
        if (dice(3) == 0)
            compare_some_query(world, i + 1);
    }
    for (unsigned i = 0; i < 500; i++)
        compare_some_query(world, EVENT_COUNT);
    free_world(world);
}

static void streams_and_ids_are_found_whenever_they_are_asked_for(void **state)
{
    struct layer_world *world = new_world();
    dice_seed(12);
    for (size_t i = 0; i < 251; i++) {
        struct layer_chain chain;
        push_one(world, i);
        if (dice(4))
            continue;
        size_t back = dice((uint32_t)i + 1);
        assert_ok(layer_find(&world->layer, LAYER_ID, bytes_make(world->events[back].id, 16), &chain));
        assert_int_equal(layer_chain_next(&world->layer, &chain, 1), BASE + back + 1);
        struct bytes stream = some_name();
        uint64_t newest = 0;
        for (size_t j = 0; j <= i; j++)
            if (bytes_equal(world->events[j].stream, stream))
                newest = world->events[j].position;
        assert_ok(layer_find(&world->layer, LAYER_STREAM, stream, &chain));
        assert_int_equal(layer_chain_last(&world->layer, &chain), newest);
    }
    free_world(world);
}

static void a_layer_that_is_begun_again_is_empty(void **state)
{
    struct layer_world *world = new_world();
    dice_seed(13);
    for (unsigned round = 0; round < 3; round++) {
        struct layer_chain chain;
        for (size_t i = 0; i < EVENT_COUNT; i++)
            push_one(world, i);
        compare_some_query(world, EVENT_COUNT);
        assert_ok(layer_find(&world->layer, LAYER_TYPE, B("a"), &chain));
        assert_true(layer_chain_last(&world->layer, &chain) > BASE);
        layer_begin(&world->layer, BASE, key);
        assert_int_equal(layer_last(&world->layer), BASE);
        assert_ok(layer_find(&world->layer, LAYER_TYPE, B("a"), &chain));
        assert_int_equal(layer_chain_last(&world->layer, &chain), 0);
        assert_int_equal(layer_chain_next(&world->layer, &chain, 1), 0);
    }
    free_world(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_that_matches_is_proposed_in_order),
        cmocka_unit_test(streams_and_ids_are_found_whenever_they_are_asked_for),
        cmocka_unit_test(a_layer_that_is_begun_again_is_empty),
    };
    return cmocka_run_group_tests_name("journal/layer", tests, NULL, NULL);
}
