/* All groups of a journal: opening, making, deleting, finding. */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "group/internal.h"
#include "os/random.h"

enum { SENTENCE_SIZE = 256 };

/* ---- the list ---- */

static void group_free(struct group *group)
{
    group_state_deinit(&group->state);
    group_definition_deinit(&group->definition);
    os_mutex_deinit(&group->write_lock);
    os_mutex_deinit(&group->lock);
    free(group);
}

struct group *group_acquire(struct groups *groups, struct bytes name)
{
    _os_locked_(&groups->lock);
    struct group *group = groups->first;

    while (group && !bytes_equal_string(name, group->name))
        group = group->next;
    if (group)
        group->refs++;
    return group;
}

void group_release(struct group *group)
{
    struct groups *groups = group->groups;

    os_mutex_lock(&groups->lock);
    bool last = --group->refs == 0;
    os_mutex_unlock(&groups->lock);
    if (last)
        group_free(group);
}

struct group *group_next(struct groups *groups, struct group *group)
{
    os_mutex_lock(&groups->lock);
    struct group *next = groups->first;
    while (next && group && strcmp(next->name, group->name) <= 0) /* it may have left the list meanwhile */
        next = next->next;
    if (next)
        next->refs++;
    os_mutex_unlock(&groups->lock);
    if (group)
        group_release(group);
    return next;
}

static void list_add(struct groups *groups, struct group *group)
{
    _os_locked_(&groups->lock);
    struct group **at = &groups->first;

    while (*at && strcmp((*at)->name, group->name) < 0)
        at = &(*at)->next;
    group->next = *at;
    *at = group;
    groups->count++;
}

static void list_remove(struct groups *groups, struct group *group)
{
    _os_locked_(&groups->lock);
    struct group **at = &groups->first;

    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    groups->count--;
    group->refs--; /* the list's; whoever removes it has one too */
}

size_t groups_count(struct groups *groups)
{
    _os_locked_(&groups->lock);
    return groups->count;
}

/* ---- one group's beginning ---- */

/* A group with one reference, the list's; the definition is taken. */
static struct group *group_new(struct groups *groups, struct bytes name, struct group_definition *definition,
                               uint64_t cursor)
{
    struct group *group = calloc(1, sizeof(*group));
    uint8_t key[HASH_SIP_KEY_SIZE];

    if (!group || os_random(key, sizeof(key)) < 0) {
        free(group);
        return NULL;
    }
    group->groups = groups;
    group->refs = 1;
    memcpy(group->name, name.data, name.size);
    snprintf(group->stream, sizeof(group->stream), GROUP_STREAM_PREFIX "%s", group->name);
    group->definition = *definition;
    *definition = (struct group_definition){0};
    os_mutex_init(&group->write_lock);
    os_mutex_init(&group->lock);
    group_state_init(&group->state, cursor, key);
    group->state.lease_ns = group->definition.lease_s * OS_NS_PER_SECOND;
    group->state.tries_max = (uint32_t)group->definition.tries_max;
    group->cursor_stored = cursor;
    return group;
}

/* Version of the last event of its stream that says all there is; 0: there is none. */
static int find_whole(struct groups *groups, struct bytes stream, uint64_t *ret_version)
{
    struct journal_read read = {.stream = stream, .system = true, .direction = JOURNAL_BACKWARD};
    struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(groups->journal, &read, &reader);

    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        if (group_record_is_whole(event.type)) {
            *ret_version = event.version;
            break;
        }
    }
    journal_reader_free(reader);
    return r == JOURNAL_E_END ? 0 : r;
}

static int remember(struct groups *groups, struct bytes stream, struct group_memory *memory,
                    unsigned *ret_records)
{
    struct journal_reader *reader = NULL;
    struct journal_event event;
    uint64_t version = 0;
    int r = find_whole(groups, stream, &version);

    if (r != 0 || version == 0)
        return r;
    struct journal_read read = {.stream = stream, .system = true, .after = version - 1};
    r = journal_reader_new(groups->journal, &read, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        r = group_memory_apply(memory, event.type, event.data);
        ++*ret_records;
    }
    journal_reader_free(reader);
    group_memory_finish(memory);
    return r == JOURNAL_E_END ? 0 : r > 0 ? -EBADMSG : r; /* what no group writes is damage */
}

/* Puts into the window what was parked and is to be delivered again. */
static int bring_returned(struct group *group, const struct group_memory *memory)
{
    uint64_t keys[JOURNAL_TAG_COUNT_MAX];
    struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = 0;

    for (size_t i = 0; i < memory->returned_count && r >= 0; i++) {
        r = group_read_event(group->groups->journal, memory->returned[i], &reader, &event);
        size_t count = r == 0 ? group_definition_keys(&group->definition, &event, keys) : 0;
        if (r >= 0)
            r = group_state_return(&group->state, memory->returned[i], keys, count);
    }
    journal_reader_free(reader);
    return r;
}

static int group_from_memory(struct groups *groups, struct bytes name, struct group_memory *memory,
                             struct group **ret_group)
{
    struct group *group = group_new(groups, name, &memory->definition, memory->cursor);
    int r = group ? 0 : -ENOMEM;

    for (size_t i = 0; i < memory->parked_count && r == 0; i++)
        r = group_state_add_parked(&group->state, &memory->parked[i]);
    if (r == 0) {
        group_state_set_settled(&group->state, take_ptr(memory->settled), memory->settled_count);
        r = bring_returned(group, memory);
    }
    if (r < 0 && group)
        group_free(group);
    if (r == 0)
        *ret_group = group;
    return r;
}

static int open_one(struct groups *groups, struct bytes stream)
{
    _cleanup_(group_memory_deinit) struct group_memory memory = {0};
    struct bytes name = bytes_slice(stream, sizeof(GROUP_STREAM_PREFIX) - 1, SIZE_MAX);
    struct group *group = NULL;
    unsigned records = 0;
    int r = remember(groups, stream, &memory, &records);

    if (r != 0 || !memory.exists)
        return r;
    r = group_from_memory(groups, name, &memory, &group);
    if (r != 0)
        return r;
    group->records = records;
    list_add(groups, group);
    return 0;
}

/* ---- opening ---- */

struct names {
    struct bytes *names;
    size_t count, capacity;
    struct arena arena;
};

static void names_deinit(struct names *names)
{
    free(names->names);
    arena_deinit(&names->arena);
}

/* Streams of groups that were ever made, each once. */
static int note_name(struct names *names, struct bytes stream)
{
    struct bytes prefix = BYTES_LITERAL(GROUP_STREAM_PREFIX);

    if (!bytes_starts_with(stream, prefix) || group_name_rule(bytes_slice(stream, prefix.size, SIZE_MAX)))
        return 0;
    for (size_t i = 0; i < names->count; i++) {
        if (bytes_equal(names->names[i], stream))
            return 0;
    }
    int r = vector_reserve(&names->names, &names->capacity, names->count + 1);
    if (r == 0)
        r = arena_copy(&names->arena, stream, &names->names[names->count]);
    names->count += r == 0;
    return r;
}

static int find_names(struct groups *groups, struct names *names)
{
    const struct bytes type = BYTES_LITERAL(GROUP_CREATED);
    const struct journal_item item = {.types = &type, .type_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    const struct journal_read read = {.query = &query, .system = true};
    struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(groups->journal, &read, &reader);

    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        r = note_name(names, event.stream);
    journal_reader_free(reader);
    return r == JOURNAL_E_END ? 0 : r;
}

static void say_left_out(struct groups *groups, struct bytes stream, int r)
{
    char sentence[SENTENCE_SIZE];

    if (!groups->options.notice)
        return;
    snprintf(sentence, sizeof(sentence), "what stream %.*s says of its group cannot be read: %s",
             BYTES_PRINT(stream), strerror(-r));
    groups->options.notice(groups->options.user, sentence);
}

/* A damaged part of the index is made again in a moment, and must not keep a group from opening. */
static bool may_ask_again(struct groups *groups, int r)
{
    return r == -EAGAIN && journal_await_index(groups->journal) == 0;
}

static int names_patiently(struct groups *groups, struct names *names)
{
    int r;

    do
        r = find_names(groups, names);
    while (may_ask_again(groups, r));
    return r;
}

static int one_patiently(struct groups *groups, struct bytes stream)
{
    int r;

    do
        r = open_one(groups, stream);
    while (may_ask_again(groups, r));
    return r;
}

static int open_groups(struct groups *groups)
{
    _cleanup_(names_deinit) struct names names = {0};
    int r = names_patiently(groups, &names);

    groups->left_out = r == -EBADMSG; /* a damaged journal shows what stands before the damage */
    if (groups->left_out)
        r = 0;
    for (size_t i = 0; i < names.count && r == 0; i++) {
        r = one_patiently(groups, names.names[i]);
        if (r == -EBADMSG) { /* the others go on */
            say_left_out(groups, names.names[i], r);
            groups->left_out = true;
            r = 0;
        }
    }
    return r;
}

bool groups_left_out(const struct groups *groups)
{
    return groups->left_out;
}

static void groups_free(struct groups *groups)
{
    while (groups->first) {
        struct group *group = groups->first;
        groups->first = group->next;
        group_free(group);
    }
    os_cond_deinit(&groups->wanted);
    os_mutex_deinit(&groups->change_lock);
    os_mutex_deinit(&groups->lock);
    free(groups);
}

int groups_open(struct journal *journal, const struct groups_options *options, struct groups **ret_groups)
{
    struct groups *groups = calloc(1, sizeof(*groups));

    if (!groups)
        return -ENOMEM;
    groups->journal = journal;
    groups->options = *options;
    if (!groups->options.clock)
        groups->options.clock = os_clock_real();
    os_mutex_init(&groups->change_lock);
    os_mutex_init(&groups->lock);
    os_cond_init(&groups->wanted);
    int r = open_groups(groups);
    if (r == 0)
        r = keeper_start(groups);
    if (r < 0) {
        groups_free(groups);
        return r;
    }
    *ret_groups = groups;
    return 0;
}

void groups_close(struct groups *groups)
{
    if (!groups)
        return;
    keeper_stop(groups);
    groups_free(groups);
}

/* ---- making and deleting ---- */

static int write_created(struct group *group, struct journal_result *ret_result)
{
    _cleanup_(buffer_deinit) struct buffer data = {0};
    int r = group_record_created(&group->definition, &data);

    return r == 0 ? keeper_append(group, GROUP_CREATED, buffer_bytes(&data), ret_result) : r;
}

int groups_create(struct groups *groups, struct bytes name, struct group_definition *definition,
                  struct journal_result *ret_result)
{
    _os_locked_(&groups->change_lock);
    _cleanup_(group_releasep) struct group *there = group_acquire(groups, name);

    if (there)
        return group_definition_same(&there->definition, definition) ? GROUP_E_SAME : GROUP_E_EXISTS;
    if (groups_count(groups) >= groups->options.count_max)
        return GROUP_E_MANY;
    if (definition->after_now)
        definition->after = journal_tail(groups->journal);
    if (definition->after > journal_tail(groups->journal))
        return GROUP_E_BEYOND;
    struct group *group = group_new(groups, name, definition, definition->after);
    if (!group)
        return -ENOMEM;
    int r = write_created(group, ret_result);
    if (r == 0) {
        list_add(groups, group);
        return 0;
    }
    *definition = group->definition;
    group->definition = (struct group_definition){0};
    group_free(group);
    return r;
}

int groups_delete(struct groups *groups, struct bytes name, struct journal_result *ret_result)
{
    _os_locked_(&groups->change_lock);
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    if (!group)
        return GROUP_E_UNKNOWN;
    os_mutex_lock(&group->write_lock);
    int r = keeper_append(group, GROUP_DELETED, BYTES_LITERAL("{}"), ret_result);
    if (r == 0) {
        os_mutex_lock(&group->lock);
        group->gone = true;
        os_mutex_unlock(&group->lock);
        list_remove(groups, group);
    }
    os_mutex_unlock(&group->write_lock);
    if (r == 0 && groups->options.changed)
        groups->options.changed(groups->options.user);
    return r;
}

/* ---- how they stand ---- */

const char *group_stall_word(const struct group_stall *stall)
{
    static const char *const words[] = {
        [GROUP_MOVES] = NULL,
        [GROUP_STALL_PARK] = "parked-full",
        [GROUP_STALL_WINDOW] = "window-full",
    };

    return words[stall->kind];
}

static void show(struct group *group, bool fresh, void (*each)(void *user, const struct group_status *status),
                 void *user)
{
    const struct group_state *state = &group->state;
    size_t waiting = 0;

    _os_locked_(&group->lock);
    int r = fresh ? group_fill(group) : 0;
    (void)r; /* what cannot be read shows itself to who fetches */
    for (size_t i = 0; i < state->count; i++)
        waiting += state->entries[i].state != GROUP_SETTLED;
    uint64_t head = journal_head(group->groups->journal);
    struct group_stall stall = {0};
    r = group_state_stall(state, group_now_ns(group->groups), &stall);
    (void)r; /* without memory it is not said now */
    const struct group_status status = {
        .name = bytes_from_string(group->name),
        .definition = &group->definition,
        .cursor = state->cursor,
        .head = head,
        .lag = waiting + (head > state->examined ? head - state->examined : 0),
        .out = state->out,
        .parked = state->parked_count,
        .stall = &stall,
        .delivered = state->delivered,
        .acknowledged = state->acknowledged,
        .refused = state->refused,
        .expired = state->expired,
        .consumers = state->consumers,
        .consumer_count = state->consumer_count,
        .parked_events = state->parked,
    };
    each(user, &status);
}

int groups_each(struct groups *groups, struct bytes name, bool fresh,
                void (*each)(void *user, const struct group_status *status), void *user)
{
    if (name.size > 0) {
        _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);
        if (!group)
            return GROUP_E_UNKNOWN;
        show(group, fresh, each, user);
        return 0;
    }
    for (struct group *group = group_next(groups, NULL); group; group = group_next(groups, group))
        show(group, fresh, each, user);
    return 0;
}
