/* The consumers of a group, by name. */

#include <string.h>

#include "base/vector.h"
#include "group/state_internal.h"

int group_state_find_consumer(struct group_state *state, struct bytes name, uint32_t *ret_index)
{
    size_t idle = SIZE_MAX;

    for (size_t i = 0; i < state->consumer_count; i++) {
        struct group_consumer *consumer = &state->consumers[i];
        if (bytes_equal_string(name, consumer->name)) {
            *ret_index = (uint32_t)i;
            return 0;
        }
        if (consumer->out == 0 && (idle == SIZE_MAX || consumer->seen_ns < state->consumers[idle].seen_ns))
            idle = i;
    }
    if (state->consumer_count < GROUP_CONSUMER_COUNT_MAX) {
        int r = vector_reserve(&state->consumers, &state->consumer_capacity, state->consumer_count + 1);
        if (r < 0)
            return r;
        idle = state->consumer_count++;
    }
    if (idle == SIZE_MAX)
        return GROUP_E_CONSUMERS;
    state->consumers[idle] = (struct group_consumer){0};
    memcpy(state->consumers[idle].name, name.data, name.size);
    *ret_index = (uint32_t)idle;
    return 0;
}
