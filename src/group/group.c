/* One group at work: reading ahead, giving out, taking back. */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "group/internal.h"
#include "journal/event_json.h"

enum {
    FILL_SPAN = 8192,   /* positions looked through before others get the lock */
    FILL_COUNT = 2000,  /* events read ahead at a time */
    FILL_TIMES = 4,     /* a batch that has some is not kept waiting longer for more */
    READ_ON_COUNT = 64, /* events further on are reached by reading, beyond it by a new reader */
    SECONDS_TO_MS = 1000,
};

/* ---- the journal ---- */

int group_read_event(struct journal *journal, uint64_t position, struct journal_reader **reader,
                     struct journal_event *ret_event)
{
    uint64_t at = *reader ? journal_reader_examined(*reader) : 0;
    struct journal_read read = {.after = position - 1, .system = true};
    int r = 0;

    if (*reader && (at >= position || position - at > READ_ON_COUNT))
        journal_reader_free(take_ptr(*reader));
    if (!*reader)
        r = journal_reader_new(journal, &read, reader);
    do
        r = r == 0 ? journal_reader_next(*reader, ret_event) : r;
    while (r == 0 && ret_event->position < position);
    return r;
}

static int admit(struct group *group, const struct journal_event *event)
{
    uint64_t keys[JOURNAL_TAG_COUNT_MAX];
    size_t count = group_definition_keys(&group->definition, event, keys);

    return group_state_admit(&group->state, event->position, keys, count);
}

int group_fill(struct group *group)
{
    struct group_state *state = &group->state;
    struct journal_reader *reader = NULL;
    struct journal_item item;
    struct journal_query query = group_definition_query(&group->definition, &item);
    struct journal_event event;
    uint64_t head = journal_head(group->groups->journal);

    if (state->examined >= head)
        return JOURNAL_E_END;
    uint64_t bound = head - state->examined > FILL_SPAN ? state->examined + FILL_SPAN : head;
    struct journal_read read = {
        .prefix = group->definition.prefix, .query = &query, .after = state->examined, .before = bound + 1};
    int r = journal_reader_new(group->groups->journal, &read, &reader);
    for (size_t i = 0; i < FILL_COUNT && group_state_room(state) > 0 && r == 0; i++) {
        r = journal_reader_next(reader, &event);
        if (r == 0)
            r = admit(group, &event);
    }
    journal_reader_free(reader);
    if (r == JOURNAL_E_END) {
        group_state_pass(state, bound);
        r = 0;
    }
    if (state->cursor - group->cursor_stored >= GROUP_CHECKPOINT_COUNT)
        keeper_want(group);
    return r;
}

/* ---- giving out ---- */

static void tell(struct group *group, bool dirty)
{
    struct groups *groups = group->groups;

    if (dirty)
        keeper_want(group);
    if (groups->options.changed)
        groups->options.changed(groups->options.user);
}

static void expire(struct group *group)
{
    size_t parked;
    struct groups *groups = group->groups;

    group_state_expire(&group->state, group_now_ns(groups), group_time_us(groups), &parked);
    if (parked > 0)
        keeper_want(group);
}

/* Gives out what there is, and reads on while the batch is not full. Under the lock, which others get in between. */
static int give_out(struct group *group, struct bytes consumer, size_t max, struct group_delivery *deliveries,
                    size_t *ret_count)
{
    size_t count = 0, more;
    int r = 0;

    for (int times = 0; r == 0 && count < max; times++) {
        expire(group);
        r = group_state_fetch(&group->state, group_now_ns(group->groups), consumer, max - count,
                              deliveries + count, &more);
        if (r != 0)
            break;
        count += more;
        if (count == max || (count > 0 && times >= FILL_TIMES) || group_state_room(&group->state) == 0)
            break;
        r = group_fill(group);
        os_mutex_unlock(&group->lock);
        os_mutex_lock(&group->lock);
    }
    *ret_count = count;
    return r == JOURNAL_E_END || count > 0 ? 0 : r;
}

static int write_delivery(struct group *group, const struct group_delivery *delivery,
                          struct journal_reader **reader, struct buffer *out)
{
    struct journal_event event;
    int r = group_read_event(group->groups->journal, delivery->token.position, reader, &event);

    if (r == JOURNAL_E_END)
        r = -EBADMSG; /* it was there when it was admitted */
    if (r == 0)
        r = buffer_printf(out, "{\"token\":\"%" PRIu64 "-%016" PRIx64 "\",\"tries\":%" PRIu32 ",\"event\":",
                          delivery->token.position, delivery->token.serial, delivery->tries);
    if (r == 0)
        r = event_json_write(&event, out);
    return r < 0 ? r : buffer_append_byte(out, '}');
}

/* Those behind the first `count` do not fit. */
static void give_back_from(struct group *group, struct group_batch *batch, size_t count)
{
    _os_locked_(&group->lock);
    group_state_undo(&group->state, batch->tokens + count, batch->count - count);
    batch->count = count;
}

static int write_batch(struct group *group, struct group_batch *batch,
                       const struct group_delivery *deliveries)
{
    struct journal_reader *reader = NULL;
    int r = 0;

    for (size_t i = 0; i < batch->count; i++)
        batch->tokens[i] = deliveries[i].token;
    for (size_t i = 0; i < batch->count && r == 0; i++) {
        if (i > 0 && batch->size_max > 0 && batch->out.size >= batch->size_max) {
            give_back_from(group, batch, i);
            break;
        }
        r = i > 0 ? buffer_append_byte(&batch->out, ',') : 0;
        if (r == 0)
            r = write_delivery(group, &deliveries[i], &reader, &batch->out);
    }
    journal_reader_free(reader);
    return r;
}

int groups_fetch(struct groups *groups, struct group_batch *batch)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, batch->group);

    if (!group)
        return GROUP_E_UNKNOWN;
    assert(batch->max <= GROUP_FETCH_COUNT_MAX);
    _cleanup_(freep) struct group_delivery *deliveries = calloc(batch->max, sizeof(*deliveries));
    if (!deliveries)
        return -ENOMEM;
    batch->lease_s = group->definition.lease_s;
    os_mutex_lock(&group->lock);
    int r = give_out(group, batch->consumer, batch->max, deliveries, &batch->count);
    batch->due_ns = group->state.due_ns;
    os_mutex_unlock(&group->lock);
    if (r == 0)
        r = write_batch(group, batch, deliveries);
    if (r < 0)
        groups_undo(groups, batch);
    return r;
}

void groups_undo(struct groups *groups, struct group_batch *batch)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, batch->group);

    if (!group)
        return;
    os_mutex_lock(&group->lock);
    group_state_undo(&group->state, batch->tokens, batch->count);
    batch->count = 0;
    tell(group, false);
    os_mutex_unlock(&group->lock);
}

bool groups_has(struct groups *groups, struct bytes name)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    return group != NULL;
}

/* ---- taking back ---- */

int group_token_parse(struct bytes text, struct group_token *ret_token)
{
    enum { SERIAL_SIZE = 16 };
    struct group_token token = {0};

    if (text.size < SERIAL_SIZE + 2 || text.size > GROUP_TOKEN_SIZE_MAX ||
        text.data[text.size - SERIAL_SIZE - 1] != '-' ||
        bytes_parse_u64(bytes_slice(text, 0, text.size - SERIAL_SIZE - 1), &token.position) != 0)
        return 1;
    for (size_t i = text.size - SERIAL_SIZE; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return 1;
        token.serial = token.serial << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret_token = token;
    return 0;
}

int groups_ack(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
               bool *ret_lost)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    if (!group)
        return GROUP_E_UNKNOWN;
    _os_locked_(&group->lock);
    expire(group);
    int r = group_state_ack(&group->state, tokens, count, ret_lost);
    if (r == 0)
        tell(group, true);
    return r;
}

int groups_nack(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
                uint64_t delay_ms, struct bytes reason, bool *ret_lost, size_t *ret_parked)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    if (!group)
        return GROUP_E_UNKNOWN;
    _os_locked_(&group->lock);
    expire(group);
    uint64_t due_ns = group_now_ns(groups) + delay_ms * OS_NS_PER_MS;
    int r = group_state_nack(&group->state, tokens, count, due_ns, reason, group_time_us(groups), ret_lost,
                             ret_parked);
    if (r == 0)
        tell(group, *ret_parked > 0);
    return r;
}

int groups_untry(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    if (!group)
        return GROUP_E_UNKNOWN;
    _os_locked_(&group->lock);
    expire(group);
    group_state_undo(&group->state, tokens, count);
    tell(group, false);
    return 0;
}

int groups_extend(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
                  uint64_t lease_ms, bool *ret_lost)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);

    if (!group)
        return GROUP_E_UNKNOWN;
    _os_locked_(&group->lock);
    expire(group);
    if (lease_ms == 0)
        lease_ms = group->definition.lease_s * SECONDS_TO_MS;
    return group_state_extend(&group->state, tokens, count, group_now_ns(groups) + lease_ms * OS_NS_PER_MS,
                              ret_lost);
}

/* ---- the parked ---- */

/* Those asked for, or all there are; from malloc. Under the lock. */
static int choose_parked(const struct group *group, const uint64_t *positions, size_t count,
                         uint64_t **ret_chosen, size_t *ret_count)
{
    const struct group_state *state = &group->state;
    size_t wanted = count > 0 ? count : state->parked_count;
    if (wanted + group_state_returned(state) > GROUP_RETURNED_COUNT_MAX)
        return GROUP_E_RETURNED;
    uint64_t *chosen = calloc(wanted + 1, sizeof(*chosen));
    if (!chosen)
        return -ENOMEM;
    for (size_t i = 0; i < wanted; i++) {
        chosen[i] = count > 0 ? positions[i] : state->parked[i].position;
        if (group_state_find_parked(state, chosen[i]))
            continue;
        free(chosen);
        return GROUP_E_NOT_PARKED;
    }
    *ret_chosen = chosen;
    *ret_count = wanted;
    return 0;
}

static int bring_back(struct group *group, const uint64_t *positions, size_t count)
{
    uint64_t keys[JOURNAL_TAG_COUNT_MAX];
    struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        r = group_read_event(group->groups->journal, positions[i], &reader, &event);
        size_t key_count = r == 0 ? group_definition_keys(&group->definition, &event, keys) : 0;
        os_mutex_lock(&group->lock);
        if (r >= 0)
            r = group_state_return(&group->state, positions[i], keys, key_count);
        os_mutex_unlock(&group->lock);
    }
    journal_reader_free(reader);
    return r;
}

static int write_replayed(struct group *group, const uint64_t *positions, size_t count,
                          struct journal_result *ret_result)
{
    _cleanup_(buffer_deinit) struct buffer data = {0};
    int r = keeper_write(group, ret_result); /* that they were parked comes first */

    if (r == 0)
        r = group_record_replayed(positions, count, &data);
    return r == 0 ? keeper_append(group, GROUP_REPLAYED, buffer_bytes(&data), ret_result) : r;
}

int groups_replay(struct groups *groups, struct bytes name, const uint64_t *positions, size_t count,
                  struct journal_result *ret_result, size_t *ret_count)
{
    _cleanup_(group_releasep) struct group *group = group_acquire(groups, name);
    _cleanup_(freep) uint64_t *chosen = NULL;
    size_t chosen_count = 0;

    if (!group)
        return GROUP_E_UNKNOWN;
    _os_locked_(&group->write_lock);
    os_mutex_lock(&group->lock);
    int r = choose_parked(group, positions, count, &chosen, &chosen_count);
    os_mutex_unlock(&group->lock);
    if (r == 0 && chosen_count > 0)
        r = write_replayed(group, chosen, chosen_count, ret_result);
    if (r == 0)
        r = bring_back(group, chosen, chosen_count);
    if (r != 0)
        return r;
    *ret_count = chosen_count;
    tell(group, false);
    return 0;
}
