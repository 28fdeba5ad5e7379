/* journal_stage: a journal over a log in memory, made before each test and gone after it. */
#pragma once

#include <stdlib.h>

#include "lib/journal_kit.h"

struct stage {
    struct memory_store *store;
    struct journal *journal;
    struct kit_landing *landing;
};

static inline int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof(*stage));
    stage->store = memory_store_new();
    stage->journal = kit_open(stage->store, true);
    stage->landing = kit_landing_new();
    *state = stage;
    return 0;
}

static inline int tear_down(void **state)
{
    struct stage *stage = *state;
    journal_close(stage->journal);
    memory_store_free(stage->store);
    kit_landing_free(stage->landing);
    free(stage);
    return 0;
}

static inline void reopen(struct stage *stage)
{
    journal_close(stage->journal);
    stage->journal = kit_open(stage->store, true);
}

static inline const char *all_types(struct stage *stage)
{
    return kit_types(stage->journal, &(struct journal_read){0});
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
