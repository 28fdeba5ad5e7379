/* What the tests of libbreaker share: a region in the test's own memory, a clock the test turns, short words
 * for calls. Not
 * installed. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "breaker.h"

#define MS        UINT64_C(1000000)
#define SEC       UINT64_C(1000000000)
#define TEST_BOOT 42

struct world {
    void *memory;
    size_t size;
    struct breaker_region region;
    struct breaker breaker;
    struct breaker_config config;
    uint64_t now;
};

static inline void *world_map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* A region for `breakers` by name and one less by key, one breaker "payments" configured by text onto the defaults, at 1000 s of the
 * clock. */
static inline struct world world_make(const char *text, uint32_t breakers)
{
    struct world world = {.now = 1000 * SEC};
    struct breaker_region_options options = {
        .breakers = breakers, .shards = 16, .boot_id = TEST_BOOT, .keys = breakers > 1 ? breakers - 1 : 1};
    struct breaker_problem problem;
    world.size = breaker_region_size(&options);
    world.memory = world_map(world.size);
    assert_int_equal(breaker_region_init(world.memory, world.size, &options), 0);
    breaker_config_init(&world.config);
    assert_int_equal(breaker_config_parse(&world.config, text, &problem), 0);
    return world;
}

/* Attach and get: apart from world_make(), because handles point to the region where it finally lies. */
static inline void world_open(struct world *world, uint32_t lanes)
{
    struct breaker_problem problem = {0};
    assert_int_equal(breaker_region_attach(&world->region, world->memory, world->size, lanes, TEST_BOOT), 0);
    int answer =
        breaker_get(&world->region, "payments", &world->config, world->now, &world->breaker, &problem);
    if (answer)
        fail_msg("%s", problem.message);
}

static inline void world_end(struct world *world)
{
    breaker_region_detach(&world->region);
    munmap(world->memory, world->size);
}

#define WORLD(name, text)                                                                                    \
    struct world name = world_make(text, 4);                                                                 \
    world_open(&name, 1)

/* One call that takes `took` and ends so; returns the answer of the acquire. */
static inline int call(struct world *world, enum breaker_outcome outcome, uint64_t took)
{
    struct breaker_permit permit;
    int answer = breaker_acquire(&world->breaker, world->now, 0, &permit);
    if (answer == 0) {
        world->now += took;
        breaker_report(&world->breaker, &permit, outcome, world->now);
    }
    return answer;
}

static inline void calls(struct world *world, int count, enum breaker_outcome outcome)
{
    for (int i = 0; i < count; i++)
        call(world, outcome, 0);
}

static inline int state_of(struct world *world)
{
    return breaker_state(&world->breaker);
}

static inline struct breaker_snapshot look(struct world *world)
{
    struct breaker_snapshot snapshot;
    assert_int_equal(breaker_snapshot(&world->breaker, world->now, &snapshot), 0);
    return snapshot;
}

/* The last transition. */
static inline struct breaker_event last_event(struct world *world)
{
    struct breaker_event event = {0};
    uint32_t epoch = breaker_epoch(&world->breaker);
    assert_int_equal(breaker_events(&world->breaker, epoch - 1, &event, 1), 1);
    return event;
}
