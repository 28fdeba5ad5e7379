/* Writing down: what was acknowledged and parked, gathered for a while and written as one append (G5).
 *
 * The thread sleeps until something is wanted, waits ack_delay_ms for more, and writes each dirty group. What the journal
 * does not take stays where it is and is tried again a second later. */

#include "base/cleanup.h"
#include "group/internal.h"

enum {
    RETRY_MS = 1000,
    PARKED_AT_ONCE_MAX = 100, /* more of them newly parked: the whole state is shorter */
};

/* ---- one group ---- */

/* What is about to be written, and what follows from it once it is. */
struct writing {
    struct journal_event_new *events;
    struct buffer *texts;
    uint64_t *parked; /* positions */
    size_t count, acked_count, parked_count;
    uint64_t cursor;
    bool whole;
};

static void writing_deinit(struct writing *writing)
{
    for (size_t i = 0; i < writing->count; i++)
        buffer_deinit(&writing->texts[i]);
    free(writing->events);
    free(writing->texts);
    free(writing->parked);
}

static struct journal_event_new event_of(const struct group *group, const char *type, struct bytes data)
{
    return (struct journal_event_new){.stream = bytes_from_string(group->stream),
                                      .type = bytes_from_string(type),
                                      .data = data,
                                      .system = true};
}

static void add_event(struct writing *writing, const struct group *group, const char *type)
{
    writing->events[writing->count] = event_of(group, type, buffer_bytes(&writing->texts[writing->count]));
    writing->count++;
}

static int write_whole(const struct group *group, struct writing *writing)
{
    int r = group_record_state(&group->definition, &group->state, &writing->texts[0]);

    for (size_t i = 0; i < group->state.parked_count; i++)
        writing->parked[writing->parked_count++] = group->state.parked[i].position;
    add_event(writing, group, GROUP_STATE);
    return r;
}

static int write_news(const struct group *group, struct writing *writing)
{
    int r = group_record_acked(&group->state, &writing->texts[0]);

    add_event(writing, group, GROUP_ACKED);
    for (size_t i = 0; i < group->state.parked_count && r == 0; i++) {
        const struct group_parked *parked = &group->state.parked[i];
        if (parked->stored)
            continue;
        r = group_record_parked(parked, &writing->texts[writing->count]);
        add_event(writing, group, GROUP_PARKED);
        writing->parked[writing->parked_count++] = parked->position;
    }
    return r;
}

static size_t count_unstored(const struct group_state *state)
{
    size_t count = 0;

    for (size_t i = 0; i < state->parked_count; i++)
        count += !state->parked[i].stored;
    return count;
}

/* Under the lock. */
static int writing_begin(struct group *group, struct writing *ret_writing)
{
    size_t unstored = count_unstored(&group->state);
    struct writing writing = {.acked_count = group->state.acked_count, .cursor = group->state.cursor};

    writing.whole = group->records >= GROUP_STATE_EVERY_COUNT || unstored > PARKED_AT_ONCE_MAX;
    writing.events = calloc(PARKED_AT_ONCE_MAX + 1, sizeof(*writing.events));
    writing.texts = calloc(PARKED_AT_ONCE_MAX + 1, sizeof(*writing.texts));
    writing.parked = calloc(group->state.parked_count + 1, sizeof(*writing.parked));
    int r = writing.events && writing.texts && writing.parked ? 0 : -ENOMEM;
    if (r == 0)
        r = writing.whole ? write_whole(group, &writing) : write_news(group, &writing);
    if (r < 0)
        writing_deinit(&writing);
    else
        *ret_writing = writing;
    return r;
}

/* Under the lock. */
static void writing_done(struct group *group, const struct writing *writing)
{
    group_state_forget_acked(&group->state, writing->acked_count);
    for (size_t i = 0; i < writing->parked_count; i++) {
        struct group_parked *parked = group_state_find_parked(&group->state, writing->parked[i]);
        if (parked)
            parked->stored = true;
    }
    group->cursor_stored = writing->cursor;
    group->records = writing->whole ? 0 : group->records + (unsigned)writing->count;
}

static int append(struct group *group, const struct journal_event_new *events, size_t count,
                  struct journal_result *ret_result)
{
    struct journal_append append = {.events = events, .event_count = count};
    int r = journal_append_wait(group->groups->journal, &append, ret_result);

    return r > 0 ? GROUP_E_JOURNAL : r;
}

int keeper_append(struct group *group, const char *type, struct bytes data, struct journal_result *ret_result)
{
    const struct journal_event_new event = event_of(group, type, data);

    group->records++;
    return append(group, &event, 1, ret_result);
}

int keeper_write(struct group *group, struct journal_result *ret_result)
{
    struct writing writing;

    os_mutex_lock(&group->lock);
    bool wanted = group->dirty && !group->gone;
    int r = wanted ? writing_begin(group, &writing) : 0;
    if (r == 0)
        group->dirty = false;
    os_mutex_unlock(&group->lock);
    if (!wanted || r < 0)
        return r;
    r = append(group, writing.events, writing.count, ret_result);
    os_mutex_lock(&group->lock);
    if (r == 0)
        writing_done(group, &writing);
    else
        keeper_want(group); /* again, later */
    os_mutex_unlock(&group->lock);
    writing_deinit(&writing);
    return r;
}

/* ---- all of them ---- */

void keeper_want(struct group *group)
{
    struct groups *groups = group->groups;

    if (group->dirty)
        return;
    group->dirty = true;
    os_mutex_lock(&groups->lock);
    groups->wants = true;
    os_cond_signal(&groups->wanted);
    os_mutex_unlock(&groups->lock);
}

/* What was written is not for the group, and must not stay its lag until somebody fetches. */
static void read_past(struct group *group)
{
    _os_locked_(&group->lock);
    int r = group_fill(group);

    (void)r; /* what cannot be read shows itself to who fetches */
}

/* Whether all could be written. */
static bool write_all(struct groups *groups)
{
    struct journal_result result;
    bool all = true;

    for (struct group *group = group_next(groups, NULL); group; group = group_next(groups, group)) {
        os_mutex_lock(&group->write_lock);
        all = keeper_write(group, &result) == 0 && all;
        os_mutex_unlock(&group->write_lock);
        read_past(group);
    }
    return all;
}

/* Under the lock: until the time is over, or everything ends. */
static void wait_ms(struct groups *groups, uint32_t ms)
{
    uint64_t deadline_ns = os_monotonic_ns() + ms * OS_NS_PER_MS;

    while (!groups->ending && os_cond_wait_until(&groups->wanted, &groups->lock, deadline_ns)) {
    }
}

static void keeper_run(void *user)
{
    struct groups *groups = user;

    os_mutex_lock(&groups->lock);
    while (!groups->ending) {
        if (!groups->wants) {
            os_cond_wait(&groups->wanted, &groups->lock);
            continue;
        }
        wait_ms(groups, groups->options.ack_delay_ms);
        groups->wants = false;
        os_mutex_unlock(&groups->lock);
        bool all = write_all(groups);
        os_mutex_lock(&groups->lock);
        if (!all) {
            groups->wants = true;
            wait_ms(groups, RETRY_MS);
        }
    }
    os_mutex_unlock(&groups->lock);
    write_all(groups);
}

int keeper_start(struct groups *groups)
{
    return os_thread_start(&groups->keeper, "groups", keeper_run, groups);
}

void keeper_stop(struct groups *groups)
{
    os_mutex_lock(&groups->lock);
    groups->ending = true;
    os_cond_signal(&groups->wanted);
    os_mutex_unlock(&groups->lock);
    os_thread_join(&groups->keeper);
}
