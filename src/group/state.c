/* The window is one sorted array. What is settled leaves it from the front, so that a lookup is a binary search and an
 * entry costs 56 bytes. A fetch walks it in order and stops at the batch's end; keys of entries that are OUT stand in a
 * table, keys of those passed over in another that lasts for one fetch (G3). */

#include "group/state_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"

#define NS_PER_MS UINT64_C(1000000)

static const uint64_t *keys_of(const struct group_entry *entry)
{
    return entry->key_count > 1 ? entry->keys : &entry->key;
}

static int set_keys(struct group_entry *entry, const uint64_t *keys, size_t count)
{
    entry->key_count = (uint32_t)count;
    if (count == 1)
        entry->key = keys[0];
    if (count < 2)
        return 0;
    entry->keys = malloc(count * sizeof(*keys));
    if (!entry->keys)
        return -ENOMEM;
    memcpy(entry->keys, keys, count * sizeof(*keys));
    return 0;
}

static void entry_deinit(struct group_entry *entry)
{
    if (entry->key_count > 1)
        free(entry->keys);
}

static struct hash128 hash_of(uint64_t key)
{
    return (struct hash128){.low = key, .high = 1};
}

/* ---- life ---- */

void group_state_init(struct group_state *state, uint64_t cursor, const uint8_t key[HASH_SIP_KEY_SIZE])
{
    *state = (struct group_state){.cursor = cursor, .examined = cursor, .due_ns = UINT64_MAX};
    memcpy(state->key, key, HASH_SIP_KEY_SIZE);
}

void group_state_deinit(struct group_state *state)
{
    for (size_t i = 0; i < state->count; i++)
        entry_deinit(&state->entries[i]);
    hashmap_deinit(&state->out_keys);
    free(state->entries);
    free(state->settled);
    free(state->parked);
    free(state->consumers);
    free(state->acked);
    *state = (struct group_state){0};
}

/* ---- the window ---- */

size_t group_state_find(const struct group_state *state, uint64_t position)
{
    size_t low = 0, high = state->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (state->entries[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Drops what is settled up to the first that is not, and moves the cursor there (G2). */
static void settle_front(struct group_state *state)
{
    size_t i = 0, kept = 0;

    for (; i < state->count; i++) {
        struct group_entry *entry = &state->entries[i];
        if (entry->state != GROUP_SETTLED && !entry->returned)
            break;
        if (entry->state == GROUP_SETTLED)
            entry_deinit(entry);
        else
            state->entries[kept++] = *entry;
    }
    uint64_t cursor = i < state->count ? state->entries[i].position - 1 : state->examined;
    if (i > kept && i < state->count)
        memmove(state->entries + kept, state->entries + i, (state->count - i) * sizeof(*state->entries));
    state->count -= i - kept;
    assert(cursor >= state->cursor); /* G2 */
    state->cursor = cursor;
}

int group_state_insert(struct group_state *state, struct group_entry entry, const uint64_t *keys,
                       size_t key_count)
{
    int r = vector_reserve(&state->entries, &state->capacity, state->count + 1);

    if (r == 0)
        r = set_keys(&entry, keys, key_count);
    if (r < 0)
        return r;
    size_t at = group_state_find(state, entry.position);
    memmove(state->entries + at + 1, state->entries + at, (state->count - at) * sizeof(entry));
    state->entries[at] = entry;
    state->count++;
    return 0;
}

int group_state_admit(struct group_state *state, uint64_t position, const uint64_t *keys, size_t key_count)
{
    assert(position > state->examined);
    size_t at = group_state_find(state, position);
    if (at < state->count && state->entries[at].position == position) { /* known to have returned */
        group_state_pass(state, position);
        return 0;
    }
    /* What was settled before takes its place in the window all the same: the ranges are made from it. */
    bool settled = group_state_was_settled(state, position);
    const struct group_entry entry = {.position = position, .state = settled ? GROUP_SETTLED : GROUP_READY};
    int r = group_state_insert(state, entry, keys, key_count);

    if (r == 0)
        group_state_pass(state, position);
    return r;
}

void group_state_pass(struct group_state *state, uint64_t position)
{
    if (position > state->examined)
        state->examined = position;
    settle_front(state);
}

size_t group_state_room(const struct group_state *state)
{
    return state->count < GROUP_WINDOW_COUNT_MAX ? GROUP_WINDOW_COUNT_MAX - state->count : 0;
}

/* ---- giving out ---- */

static void note_due(struct group_state *state, uint64_t due_ns)
{
    if (due_ns < state->due_ns)
        state->due_ns = due_ns;
}

static bool any_key_in(const struct hashmap *map, const struct group_entry *entry)
{
    for (size_t i = 0; i < entry->key_count; i++) {
        if (hashmap_find(map, hash_of(keys_of(entry)[i])))
            return true;
    }
    return false;
}

static void remove_keys(struct hashmap *map, const struct group_entry *entry)
{
    for (size_t i = 0; i < entry->key_count; i++)
        hashmap_remove(map, hash_of(keys_of(entry)[i]));
}

static int add_keys(struct hashmap *map, const struct group_entry *entry)
{
    int r = 0;

    for (size_t i = 0; i < entry->key_count && r == 0; i++)
        r = hashmap_put(map, hash_of(keys_of(entry)[i]), 1);
    return r;
}

/* G4: what nobody without the key can tell from the ones before. */
static uint64_t next_serial(struct group_state *state)
{
    uint64_t number = state->token_count++;

    return hash_sip128(bytes_make(&number, sizeof(number)), state->key).low;
}

static int give(struct group_state *state, struct group_entry *entry, uint64_t now_ns, uint32_t consumer,
                struct group_delivery *ret_delivery)
{
    int r = add_keys(&state->out_keys, entry);

    if (r < 0) {
        remove_keys(&state->out_keys, entry);
        return r;
    }
    entry->state = GROUP_OUT;
    entry->tries++;
    entry->serial = next_serial(state);
    entry->consumer = consumer;
    entry->due_ns = now_ns + state->lease_ns;
    note_due(state, entry->due_ns);
    state->consumers[consumer].out++;
    state->out++;
    state->delivered++;
    *ret_delivery = (struct group_delivery){.token = {.position = entry->position, .serial = entry->serial},
                                            .tries = entry->tries};
    return 0;
}

/* Whether nothing can be given out of a window that takes nothing more in. 0 or -ENOMEM. */
static int is_stuck(const struct group_state *state, uint64_t now_ns, bool *ret_stuck)
{
    _cleanup_(hashmap_deinit) struct hashmap passed = {0};
    int r = 0;

    *ret_stuck = group_state_room(state) == 0;
    for (size_t i = 0; i < state->count && *ret_stuck && r == 0; i++) {
        const struct group_entry *entry = &state->entries[i];
        if (entry->state != GROUP_READY)
            continue;
        *ret_stuck = entry->due_ns > now_ns || any_key_in(&state->out_keys, entry) || any_key_in(&passed, entry);
        r = add_keys(&passed, entry);
    }
    return r;
}

int group_state_stall(const struct group_state *state, uint64_t now_ns, struct group_stall *ret_stall)
{
    const struct group_entry *first = NULL, *failed = NULL;
    size_t waiting = 0;
    bool stuck;
    int r = is_stuck(state, now_ns, &stuck);

    for (size_t i = 0; i < state->count; i++) {
        const struct group_entry *entry = &state->entries[i];
        bool failing = entry->state == GROUP_READY && entry->tries >= state->tries_max;
        waiting += failing;
        failed = failing && !failed ? entry : failed;
        first = entry->state != GROUP_SETTLED && !first ? entry : first;
    }
    if (r < 0)
        return r;
    const struct group_entry *cause = stuck ? first : failed;
    *ret_stall = (struct group_stall){.kind = stuck                                                   ? GROUP_STALL_WINDOW
                                              : state->parked_count >= GROUP_PARKED_COUNT_MAX ? GROUP_STALL_PARK
                                                                                              : GROUP_MOVES,
                                      .position = cause ? cause->position : 0,
                                      .tries = cause ? cause->tries : 0,
                                      .waiting = waiting};
    if (cause && cause->state == GROUP_OUT)
        ret_stall->consumer = state->consumers[cause->consumer].name;
    return 0;
}

int group_state_fetch(struct group_state *state, uint64_t now_ns, struct bytes consumer, size_t max,
                      struct group_delivery *deliveries, size_t *ret_count)
{
    _cleanup_(hashmap_deinit) struct hashmap passed = {0};
    size_t count = 0;
    uint32_t index;
    int r = group_state_find_consumer(state, consumer, &index);

    if (r != 0)
        return r;
    state->consumers[index].seen_ns = now_ns;
    for (size_t i = 0; i < state->count && count < max && r == 0; i++) {
        struct group_entry *entry = &state->entries[i];
        if (entry->position > state->examined)
            break; /* returned, and what stands before it is not read yet (G3) */
        if (entry->state != GROUP_READY)
            continue;
        if (entry->due_ns > now_ns || any_key_in(&state->out_keys, entry) || any_key_in(&passed, entry)) {
            r = add_keys(&passed, entry);
            continue;
        }
        r = give(state, entry, now_ns, index, &deliveries[count]);
        count += r == 0;
    }
    if (r < 0 && count == 0)
        return r;
    *ret_count = count;
    return 0;
}

/* ---- taking back ---- */

/* The entry is not out any more; what becomes of it is the caller's to say. */
static void take(struct group_state *state, struct group_entry *entry)
{
    assert(entry->state == GROUP_OUT);
    remove_keys(&state->out_keys, entry);
    state->consumers[entry->consumer].out--;
    state->out--;
    entry->serial = 0;
}

static struct group_entry *find_token(const struct group_state *state, struct group_token token)
{
    size_t at = group_state_find(state, token.position);
    struct group_entry *entry = at < state->count ? &state->entries[at] : NULL;

    if (!entry || entry->position != token.position || entry->state != GROUP_OUT)
        return NULL;
    return entry->serial == token.serial ? entry : NULL; /* G4 */
}

static int check_tokens(const struct group_state *state, const struct group_token *tokens, size_t count,
                        bool *ret_lost)
{
    int r = 0;

    for (size_t i = 0; i < count; i++) {
        ret_lost[i] = !find_token(state, tokens[i]);
        if (ret_lost[i])
            r = GROUP_E_LOST;
    }
    return r;
}

int group_state_ack(struct group_state *state, const struct group_token *tokens, size_t count, bool *ret_lost)
{
    int r = check_tokens(state, tokens, count, ret_lost);

    if (r == 0)
        r = vector_reserve(&state->acked, &state->acked_capacity, state->acked_count + count);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct group_entry *entry = find_token(state, tokens[i]);
        if (!entry)
            continue; /* the same token stood twice in the request */
        take(state, entry);
        entry->state = GROUP_SETTLED;
        state->acked[state->acked_count++] = entry->position;
        state->acknowledged++;
    }
    if (r == 0)
        settle_front(state);
    return r;
}

/* Whether the entry, which is not out any more, was parked: it had its tries, and there is room for it. */
static bool park(struct group_state *state, struct group_entry *entry, struct bytes reason, int64_t time_us)
{
    struct group_parked parked = {.position = entry->position, .tries = entry->tries, .time_us = time_us};

    if (entry->tries < state->tries_max || state->parked_count >= GROUP_PARKED_COUNT_MAX)
        return false;
    memcpy(parked.reason, reason.data, reason.size);
    if (group_state_add_parked(state, &parked) < 0)
        return false; /* no memory: it is tried once more */
    entry->state = GROUP_SETTLED;
    return true;
}

/* How much longer what failed as often as it may waits when it cannot be parked: twice as long each time. */
static uint64_t backoff_ns(const struct group_state *state, const struct group_entry *entry)
{
    enum { DOUBLINGS_MAX = 16 };

    if (entry->tries < state->tries_max)
        return 0;
    uint32_t further = entry->tries - state->tries_max;
    uint64_t ms = (uint64_t)GROUP_BACKOFF_MS_MIN << (further < DOUBLINGS_MAX ? further : DOUBLINGS_MAX);
    return (ms < GROUP_BACKOFF_MS_MAX ? ms : GROUP_BACKOFF_MS_MAX) * NS_PER_MS;
}

/* Out no more: READY again, or parked. */
static bool give_back(struct group_state *state, struct group_entry *entry, uint64_t due_ns,
                      struct bytes reason, int64_t time_us)
{
    take(state, entry);
    entry->state = GROUP_READY;
    entry->due_ns = due_ns;
    if (park(state, entry, reason, time_us))
        return true;
    entry->due_ns += backoff_ns(state, entry);
    note_due(state, entry->due_ns);
    return false;
}

int group_state_nack(struct group_state *state, const struct group_token *tokens, size_t count,
                     uint64_t due_ns, struct bytes reason, int64_t time_us, bool *ret_lost,
                     size_t *ret_parked)
{
    size_t parked = 0;
    int r = check_tokens(state, tokens, count, ret_lost);

    if (r != 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        struct group_entry *entry = find_token(state, tokens[i]);
        if (!entry)
            continue;
        parked += give_back(state, entry, due_ns, reason, time_us);
        state->refused++;
    }
    settle_front(state);
    *ret_parked = parked;
    return 0;
}

int group_state_extend(struct group_state *state, const struct group_token *tokens, size_t count,
                       uint64_t due_ns, bool *ret_lost)
{
    int r = check_tokens(state, tokens, count, ret_lost);

    for (size_t i = 0; i < count && r == 0; i++)
        find_token(state, tokens[i])->due_ns = due_ns;
    if (r == 0)
        note_due(state, due_ns);
    return r;
}

void group_state_undo(struct group_state *state, const struct group_token *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct group_entry *entry = find_token(state, tokens[i]);
        if (!entry)
            continue;
        take(state, entry);
        entry->state = GROUP_READY;
        entry->due_ns = 0;
        entry->tries--;
        state->delivered--;
    }
}

bool group_state_expire(struct group_state *state, uint64_t now_ns, int64_t time_us, size_t *ret_parked)
{
    bool changed = false;

    *ret_parked = 0;
    if (now_ns < state->due_ns)
        return false;
    state->due_ns = UINT64_MAX;
    for (size_t i = 0; i < state->count; i++) {
        struct group_entry *entry = &state->entries[i];
        if (entry->state == GROUP_OUT && entry->due_ns <= now_ns) {
            *ret_parked += give_back(state, entry, now_ns, BYTES_LITERAL("the lease ran out"), time_us);
            state->expired++;
            changed = true;
        } else if (entry->state != GROUP_SETTLED && entry->due_ns > now_ns) {
            note_due(state, entry->due_ns);
        } else {
            changed = changed || entry->state == GROUP_READY; /* its delay is over */
        }
    }
    settle_front(state);
    return changed;
}
