#pragma once

/* What the files of group_state share: who has what (state.c), and its consumers (consumer.c), what is parked (parked.c),
 * what is settled for good (settled.c). */

#include "group/state.h"

/* Index of the first entry at or behind a position. */
size_t group_state_find(const struct group_state *state, uint64_t position);
/* An entry in its place, its keys copied. 0 or -ENOMEM. */
_must_check_ int group_state_insert(struct group_state *state, struct group_entry entry, const uint64_t *keys,
                                    size_t key_count);
/* Whether the ranges from before hold it. */
bool group_state_was_settled(const struct group_state *state, uint64_t position);
/* A place for a name: one that has it, a new one, or that of whoever has nothing and was seen longest ago. 0,
 * GROUP_E_CONSUMERS, -ENOMEM. */
_must_check_ int group_state_find_consumer(struct group_state *state, struct bytes name, uint32_t *ret_index);
