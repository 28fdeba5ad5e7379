/* Breakers made by key, and their eviction.
 *
 * Only what is closed, empty and unused for key_idle makes room (B7); a hand goes round the slots and looks at a few of
 * them for each new key. When nothing is idle, or someone else is registering, the key shares its group's own breaker with
 * all others that found no room: a flood of strange keys costs a bounded look each, never the place of a key that is in
 * use, and lets nobody pass unguarded.
 */
#include "calls.h"
#include "registry.h"

static bool is_idle(const struct breaker *breaker, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    const struct rules *rules = breaker_rules(breaker);
    uint64_t state = word_load(&slot->state), used = word_load(&slot->used_ns);
    if (state_machine(state) != BREAKER_CLOSED)
        return false;
    if (state_mode(state) != word_load(&rules->mode)) /* an order of its own is not forgotten */
        return false;
    if (now_ns < used || now_ns - used < word_load(&rules->key_idle_ns))
        return false;
    for (uint32_t i = 0; i <= breaker->region->shards; i++)
        if (word_load(breaker_place(breaker, i)) != 0)
            return false;
    if (word_load(&rules->flags) & RULE_COUNT)
        return true; /* its window has no clock: idle is all there is */
    struct window_sum sum = window_sum(breaker, rules, state_epoch(state), now_ns);
    return sum.total == 0 && sum.hung == 0;
}

/* B7. The epoch goes on, so that permits of the former owner are stale; only then the identity
 * is taken away. */
bool key_evict(struct breaker_region *region, uint32_t number, uint64_t now_ns)
{
    struct slot *slot = region_slot(region, number);
    struct breaker breaker = {region, slot, slot_home(region, number), word_load(&slot->identity)};
    if (breaker.id == 0)
        return true;
    if (!breaker.rules)
        return false;
    uint64_t state = word_load(&slot->state);
    if (!is_idle(&breaker, now_ns))
        return false;
    if (!word_swap(&slot->state, &state, state_pack(state_epoch(state) + 1, 0, 0, 0, 0)))
        return false;
    atomic_store(&slot->identity, 0);
    index_remove(region, number);
    return true;
}

/* "group:key", control characters as '?'; a long one is its beginning and a hash of all of it. */
static struct name key_name(const struct breaker *group, const char *key, size_t size)
{
    char text[BREAKER_NAME_MAX + 1];
    if (!slot_name(group->slot, text) || size == 0)
        return (struct name){0};
    size_t at = strlen(text), room = BREAKER_NAME_MAX - at;
    if (room < 20)
        return (struct name){0};
    text[at++] = ':';
    size_t kept = size < room ? size : room - 18;
    for (size_t i = 0; i < kept; i++)
        text[at++] = (unsigned char)key[i] < ' ' || key[i] == 127 ? '?' : key[i];
    bool is_changed = memcmp(text + at - kept, key, kept) != 0;
    if (kept < size || is_changed) {
        uint64_t hash = name_hash(group->region, key, size);
        at = at > BREAKER_NAME_MAX - 17 ? BREAKER_NAME_MAX - 17 : at;
        text[at++] = '~';
        for (int i = 60; i >= 0; i -= 4)
            text[at++] = "0123456789abcdef"[hash >> i & 15];
    }
    return name_make(group->region, text, at);
}

static void key_touch(const struct breaker *breaker, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t used = word_load(&slot->used_ns);
    if (now_ns > used && now_ns - used >= 100 * CLOCK_STEP_NS)
        word_store(&slot->used_ns, now_ns);
}

/* No breaker of its own: the group's, for all who found none. */
static int key_share(const struct breaker *group, int answer, struct breaker *ret_breaker)
{
    word_add(&region_head(group->region)->shared, 1);
    *ret_breaker = *group;
    return answer;
}

static int key_make(const struct breaker *group, const struct name *name, uint64_t now_ns,
                    struct breaker *ret_breaker)
{
    uint32_t number;
    struct breaker_region *region = group->region;
    if (!registry_lock(region, false, now_ns))
        return key_share(group, BREAKER_E_BUSY, ret_breaker);
    int answer = 0;
    if (!index_find(region, name, ret_breaker)) {
        if (slot_take_key(region, now_ns, &number)) {
            slot_make(region, number, name, group, now_ns, ret_breaker);
            slot_publish(ret_breaker);
        } else
            answer = key_share(group, BREAKER_E_CAPACITY, ret_breaker);
    }
    registry_unlock(region);
    return answer;
}

/* Has a slot of this region's keys room for the group's window and probes? */
static bool key_fits(const struct breaker *group)
{
    const struct breaker_region *region = group->region;
    const struct rules *rules = breaker_rules(group);
    bool fits = word_load(&rules->flags) & RULE_COUNT
                    ? word_load(&rules->window_count) <= ring_room(1, region->key_slices)
                    : word_load(&rules->slices) <= region->key_slices;
    return fits && word_load(&rules->probes) <= region->key_probes;
}

int breaker_key(const struct breaker *group, const void *key, size_t key_size, uint64_t now_ns,
                struct breaker *ret_breaker)
{
    if (!group->slot || group->id)
        return pass_untouched(group->region, BREAKER_E_UNTRACKED, ret_breaker);
    struct name name = key_name(group, key, key_size);
    if (!name.is_legal)
        return key_share(group, BREAKER_E_NAME, ret_breaker);
    int answer = 0;
    if (!key_fits(group))
        return key_share(group, BREAKER_E_CONFIG, ret_breaker);
    if (!index_find(group->region, &name, ret_breaker))
        answer = key_make(group, &name, now_ns, ret_breaker);
    if (answer == 0)
        key_touch(ret_breaker, now_ns);
    return answer;
}

uint32_t breaker_keys_room(const struct breaker_region *region, uint32_t *ret_used, uint64_t *ret_shared)
{
    bool has_base = region && region->base;
    uint32_t room = has_base ? region->keys : 0, used = 0;
    for (uint32_t i = 0; i < room; i++)
        used += word_load(&region_slot(region, region->breakers + i)->identity) != 0;
    if (ret_used)
        *ret_used = used;
    if (ret_shared)
        *ret_shared = has_base ? word_load(&region_head(region)->shared) : 0;
    return room;
}
