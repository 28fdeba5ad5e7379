/* The parked of a group: what was tried often enough, kept by position, and its way back into the window. */

#include <string.h>

#include "base/vector.h"
#include "group/state_internal.h"

/* Where a parked event stands, or belongs. */
static size_t find_parked(const struct group_state *state, uint64_t position)
{
    size_t low = 0, high = state->parked_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (state->parked[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct group_parked *group_state_find_parked(const struct group_state *state, uint64_t position)
{
    size_t at = find_parked(state, position);
    bool found = at < state->parked_count && state->parked[at].position == position;

    return found ? &state->parked[at] : NULL;
}

int group_state_add_parked(struct group_state *state, const struct group_parked *parked)
{
    size_t at = find_parked(state, parked->position);
    int r = vector_reserve(&state->parked, &state->parked_capacity, state->parked_count + 1);

    if (r < 0)
        return r;
    if (at < state->parked_count && state->parked[at].position == parked->position) {
        state->parked[at] = *parked;
        return 0;
    }
    memmove(state->parked + at + 1, state->parked + at, (state->parked_count - at) * sizeof(*parked));
    state->parked[at] = *parked;
    state->parked_count++;
    return 0;
}

size_t group_state_returned(const struct group_state *state)
{
    size_t count = 0;

    for (size_t i = 0; i < state->count; i++)
        count += state->entries[i].returned && state->entries[i].state != GROUP_SETTLED;
    return count;
}

int group_state_return(struct group_state *state, uint64_t position, const uint64_t *keys, size_t key_count)
{
    struct group_parked *parked = group_state_find_parked(state, position);
    size_t at = group_state_find(state, position);
    bool there = at < state->count && state->entries[at].position == position;

    if (there) { /* parked a moment ago, beyond the cursor: it is alive again where it stands */
        state->entries[at].state = GROUP_READY;
        state->entries[at].tries = 0;
        state->entries[at].due_ns = 0;
        state->entries[at].returned = true;
    } else {
        const struct group_entry entry = {.position = position, .returned = true};
        int r = group_state_insert(state, entry, keys, key_count);
        if (r < 0)
            return r;
    }
    if (parked) {
        size_t index = (size_t)(parked - state->parked);
        state->parked_count--;
        memmove(parked, parked + 1, (state->parked_count - index) * sizeof(*parked));
    }
    return 0;
}
