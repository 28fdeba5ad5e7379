/* Who waits for an event: asked by whoever would take its body away. */

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "group/internal.h"
#include "journal/query.h"

struct groups_waiting {
    struct group **groups; /* a reference to each */
    size_t count, capacity;
};

void groups_waiting_free(struct groups_waiting *waiting)
{
    if (!waiting)
        return;
    for (size_t i = 0; i < waiting->count; i++)
        group_release(waiting->groups[i]);
    free(waiting->groups);
    free(waiting);
}

int groups_waiting_new(struct groups *groups, struct groups_waiting **ret_waiting)
{
    _cleanup_(groups_waiting_freep) struct groups_waiting *waiting = calloc(1, sizeof(*waiting));
    size_t count = groups_count(groups);

    if (!waiting || vector_reserve(&waiting->groups, &waiting->capacity, count) < 0)
        return -ENOMEM;
    _os_locked_(&groups->lock);
    for (struct group *group = groups->first; group && waiting->count < count; group = group->next) {
        group->refs++;
        waiting->groups[waiting->count++] = group;
    }
    *ret_waiting = take_ptr(waiting);
    return 0;
}

/* Whether the group is for such an event at all; where it began is the state's to know. */
static bool is_for(const struct group *group, const struct journal_event *event)
{
    struct journal_item item;
    const struct journal_query query = group_definition_query(&group->definition, &item);

    return bytes_starts_with(event->stream, group->definition.prefix) && query_matches(&query, event, false);
}

static bool waits(struct group *group, uint64_t position)
{
    _os_locked_(&group->lock);

    return !group->gone && group_state_waits_for(&group->state, position);
}

const char *groups_waiting_for(const struct groups_waiting *waiting, const struct journal_event *event)
{
    for (size_t i = 0; i < waiting->count; i++)
        if (is_for(waiting->groups[i], event) && waits(waiting->groups[i], event->position))
            return waiting->groups[i]->name;
    return NULL;
}
