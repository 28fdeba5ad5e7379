/* What a group's state says of what is done: for the records, and for who would take an event's body away. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "group/state_internal.h"

/* ---- what is known from before ---- */

void group_state_set_settled(struct group_state *state, struct group_range *ranges, size_t count)
{
    free(state->settled);
    state->settled = ranges;
    state->settled_count = count;
}

bool group_state_was_settled(const struct group_state *state, uint64_t position)
{
    size_t low = 0, high = state->settled_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (state->settled[middle].last < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < state->settled_count && state->settled[low].first <= position;
}

/* ---- what is to be written down ---- */

void group_state_forget_acked(struct group_state *state, size_t count)
{
    assert(count <= state->acked_count);
    state->acked_count -= count;
    if (state->acked_count > 0)
        memmove(state->acked, state->acked + count, state->acked_count * sizeof(*state->acked));
}

int group_state_ranges(const struct group_state *state, struct group_range **ret_ranges, size_t *ret_count)
{
    struct group_range *ranges = calloc(state->count + state->settled_count + 1, sizeof(*ranges));
    bool open = false;
    size_t count = 0;

    if (!ranges)
        return -ENOMEM;
    for (size_t i = 0; i < state->count; i++) {
        const struct group_entry *entry = &state->entries[i];
        if (entry->position > state->examined)
            break; /* what returned up there stands in the ranges from before; what is between was not read */
        bool done = entry->state == GROUP_SETTLED || entry->returned;
        if (done && entry->position > state->cursor && !open)
            ranges[count++].first = entry->position;
        open = done && entry->position > state->cursor;
        if (open)
            ranges[count - 1].last = entry->position;
    }
    /* What earlier states told of positions not read yet. */
    for (size_t i = 0; i < state->settled_count; i++) {
        struct group_range range = state->settled[i];
        if (range.last <= state->examined)
            continue;
        range.first = range.first > state->examined ? range.first : state->examined + 1;
        ranges[count++] = range;
    }
    *ret_ranges = ranges;
    *ret_count = count;
    return 0;
}

/* ---- who waits for an event ---- */

static bool is_to_be_written(const struct group_state *state, uint64_t position)
{
    for (size_t i = 0; i < state->acked_count; i++)
        if (state->acked[i] == position)
            return true;
    return false;
}

bool group_state_waits_for(const struct group_state *state, uint64_t position)
{
    size_t at = group_state_find(state, position);

    if (group_state_find_parked(state, position) || is_to_be_written(state, position))
        return true;
    if (at < state->count && state->entries[at].position == position)
        return state->entries[at].state != GROUP_SETTLED;
    return position > state->examined && !group_state_was_settled(state, position);
}
