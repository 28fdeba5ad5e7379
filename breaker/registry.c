/* The registry: an open-addressed index of hashes over slots that never move.
 *
 * Looking up locks nothing. Making, evicting and reconfiguring take one lock whose holder is named by
 * process, so that a dead holder's lock can be taken over; nobody waits for it on the way of a call. Readers
 * may miss an entry while one is moved: they come to the lock then and look again under it. What a dead
 * holder left half done is repaired by whoever takes the lock over: the index is built anew from the slots,
 * and a slot without identity is free.
 */
#include <stdio.h>
#include <time.h>

#include "config.h"
#include "machine.h"
#include "region.h"
#include "registry.h"

#define HAND_STEPS 16 /* slots that may be inspected for an idle one on the way of a call */
#define WAIT_TRIES 500

/* ---- the lock ---- */

static void index_rebuild(struct breaker_region *region);

static bool lock_try(struct breaker_region *region, uint64_t self, bool may_ask)
{
    word *lock = &region_head(region)->lock;
    uint64_t held = 0;
    if (word_swap(lock, &held, self))
        return true;
    if (!may_ask || !owner_is_dead(held) || !word_swap(lock, &held, self))
        return false;
    index_rebuild(region);
    return true;
}

bool registry_lock(struct breaker_region *region, bool may_wait, uint64_t now_ns)
{
    struct head *head = region_head(region);
    uint64_t self = region->self, seen = word_load(&head->lock_seen_ns);
    if (!may_wait) {
        bool may_ask = word_load(&head->lock) != 0 && now_ns - seen >= PLACE_SWEEP_NS &&
                       word_swap(&head->lock_seen_ns, &seen, now_ns);
        return lock_try(region, self, may_ask);
    }
    for (int i = 0; i < WAIT_TRIES; i++) {
        if (lock_try(region, self, true))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

void registry_unlock(struct breaker_region *region)
{
    atomic_store(&region_head(region)->lock, 0);
}

/* ---- names ---- */

uint64_t name_hash(const struct breaker_region *region, const char *name, size_t length)
{
    uint64_t hash = mix64(region_head(region)->seed ^ length), part;
    for (; length >= 8; name += 8, length -= 8) {
        memcpy(&part, name, 8);
        hash = mix64(hash ^ part) + UINT64_C(0x9e3779b97f4a7c15);
    }
    part = 0;
    memcpy(&part, name, length);
    return mix64(mix64(hash ^ part) ^ region_head(region)->seed);
}

static size_t name_length(const char *name)
{
    size_t length = strnlen(name, BREAKER_NAME_MAX + 1);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 127)
            return 0;
    return length <= BREAKER_NAME_MAX ? length : 0;
}

bool slot_name(const struct slot *slot, char ret_name[BREAKER_NAME_MAX + 1])
{
    uint64_t identity = atomic_load_explicit((word *)&slot->identity, memory_order_acquire), words[8];
    for (int i = 0; i < 8; i++)
        words[i] = word_load(&slot->name[i]);
    atomic_thread_fence(memory_order_acquire);
    memcpy(ret_name, words, sizeof(words));
    ret_name[BREAKER_NAME_MAX] = 0;
    return identity != 0 && word_load(&slot->identity) == identity;
}

static bool slot_is_named(const struct slot *slot, const uint64_t words[8])
{
    for (int i = 0; i < 8; i++)
        if (word_load(&slot->name[i]) != words[i])
            return false;
    return true;
}

struct name name_make(const struct breaker_region *region, const char *text, size_t length)
{
    struct name name = {.is_legal = length > 0 && length <= BREAKER_NAME_MAX};
    if (name.is_legal) {
        memcpy(name.words, text, length);
        name.hash = name_hash(region, text, length);
    }
    return name;
}

/* ---- the index: hash 32 | slot + 1 32; 0 ends a run ---- */

static uint32_t index_mask(const struct breaker_region *region)
{
    return index_size_of(region_entries(region)) - 1;
}

static void index_put(struct breaker_region *region, uint64_t hash, uint32_t number)
{
    word *index = region_index(region);
    uint32_t mask = index_mask(region), at = (uint32_t)(hash >> 32) & mask;
    for (uint32_t step = 0; step < mask && word_load(&index[at]) != 0;
         step++) /* half of it is free, if all is well */
        at = (at + 1) & mask;
    atomic_store_explicit(&index[at], hash >> 32 << 32 | (number + 1), memory_order_release);
}

bool slot_is_used(const struct breaker_region *region, uint32_t number)
{
    const struct head *head = region_head(region);
    return number < region->breakers ? number < word_load(&head->used)
                                     : number - region->breakers < word_load(&head->keys_used);
}

static void index_rebuild(struct breaker_region *region)
{
    word *index = region_index(region);
    char text[BREAKER_NAME_MAX + 1];
    for (uint32_t i = 0; i <= index_mask(region); i++)
        word_store(&index[i], 0);
    for (uint32_t i = 0; i < region_entries(region); i++)
        if (slot_is_used(region, i) && slot_name(region_slot(region, i), text))
            index_put(region, name_hash(region, text, strlen(text)), i);
}

/* Take an entry out and close the gap: whoever looks meanwhile may miss a moved one (see above). */
void index_remove(struct breaker_region *region, uint32_t number)
{
    word *index = region_index(region);
    char text[BREAKER_NAME_MAX + 1];
    slot_name(region_slot(region, number), text);
    uint64_t hash = name_hash(region, text, strlen(text));
    uint32_t mask = index_mask(region), hole = (uint32_t)(hash >> 32) & mask, steps = 0;
    while (steps++ <= mask && (uint32_t)word_load(&index[hole]) != number + 1)
        hole = (hole + 1) & mask;
    if (steps > mask + 1)
        return;
    uint32_t at = hole;
    for (uint32_t step = 0; step < mask; step++) {
        at = (at + 1) & mask;
        if (word_load(&index[at]) == 0)
            break;
        uint32_t home = (uint32_t)(word_load(&index[at]) >> 32) & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        word_store(&index[hole], word_load(&index[at]));
        hole = at;
    }
    word_store(&index[hole], 0);
}

bool index_find(struct breaker_region *region, const struct name *name, struct breaker *ret_breaker)
{
    word *index = region_index(region);
    uint32_t mask = index_mask(region), at = (uint32_t)(name->hash >> 32) & mask;
    for (uint32_t step = 0; step <= mask; step++, at = (at + 1) & mask) {
        uint64_t entry = atomic_load_explicit(&index[at], memory_order_acquire);
        uint32_t number = (uint32_t)entry - 1;
        if (entry == 0)
            return false;
        if (entry >> 32 != name->hash >> 32 || number >= region_entries(region))
            continue;
        struct slot *slot = region_slot(region, number);
        uint64_t identity = atomic_load_explicit(&slot->identity, memory_order_acquire);
        if (identity == 0 || !slot_is_named(slot, name->words))
            continue;
        atomic_thread_fence(memory_order_acquire);
        if (word_load(&slot->identity) != identity)
            continue;
        *ret_breaker = (struct breaker){region, slot, slot_home(region, number),
                                        number >= region->breakers ? identity : 0};
        return ret_breaker->rules != NULL;
    }
    return false;
}

/* ---- making; the lock is held ---- */

bool slot_take_named(struct breaker_region *region, uint32_t *ret_number)
{
    struct head *head = region_head(region);
    uint64_t used = word_load(&head->used);
    if (used >= region->breakers)
        return false;
    *ret_number = (uint32_t)used;
    word_store(&head->used, used + 1);
    return true;
}

bool slot_take_key(struct breaker_region *region, uint64_t now_ns, uint32_t *ret_number)
{
    struct head *head = region_head(region);
    uint64_t used = word_load(&head->keys_used);
    if (used < region->keys) {
        *ret_number = region->breakers + (uint32_t)used;
        word_store(&head->keys_used, used + 1);
        return true;
    }
    for (uint32_t i = 0; i < HAND_STEPS && i < region->keys; i++) {
        uint32_t number = region->breakers + (uint32_t)(word_add(&head->hand, 1) % region->keys);
        if (key_evict(region, number, now_ns)) {
            *ret_number = number;
            return true;
        }
    }
    return false;
}

static void slot_clean(const struct breaker *breaker)
{
    uint32_t kept, buckets = breaker_buckets(breaker);
    struct record *records = breaker_records(breaker, &kept);
    for (uint32_t i = 0; i < breaker_shards(breaker); i++) {
        struct shard *shard = breaker_shard(breaker, i);
        for (int k = 0; k < TOTALS; k++)
            word_store(&shard->total[k], 0);
        word_store(&shard->turn, 0);
        for (uint32_t k = 0; k < 2 * buckets; k++)
            word_store(&shard->took[k], 0);
    }
    for (uint32_t i = 0; i <= breaker->region->shards; i++)
        word_store(breaker_place(breaker, i), 0);
    for (uint32_t i = 0; i < LATENCY_MARKS; i++)
        word_store(&breaker_mark(breaker, i)->tag, 0);
    word_store(&((struct slot *)breaker->slot)->latency_due_ns, 0);
    for (uint32_t i = 0; i < kept; i++)
        word_store(&records[i].epoch, 0);
}

void slot_make(struct breaker_region *region, uint32_t number, const struct name *name,
               const struct breaker *group, uint64_t now_ns, struct breaker *ret_breaker)
{
    struct slot *slot = region_slot(region, number);
    struct head *head = region_head(region);
    uint64_t epoch = state_epoch(word_load(&slot->state));
    uint64_t size = named_size_of(region->shards, region->slices), group_number = 0;
    if (group)
        group_number = (uint64_t)((char *)group->slot - (char *)region_slot(region, 0)) / size + 1;
    uint64_t identity = word_add(&head->next_identity, 1) + 1;
    *ret_breaker = (struct breaker){region, slot, group ? group->slot : slot, group ? identity : 0};
    slot_clean(ret_breaker);
    for (int i = 0; i < 8; i++)
        word_store(&slot->name[i], name->words[i]);
    word_store(&slot->group, group_number);
    word_store(&slot->lenience, 0);
    word_store(&slot->used_ns, now_ns);
    word_store(&slot->clock_ns, 0);
    unsigned mode = group ? word_load(&breaker_rules(group)->mode) & 3 : 0;
    word_store(&slot->state, state_pack((uint32_t)epoch, 0, 0, mode, 0));
    word_store(&slot->since, mark_pack((uint32_t)epoch, now_ns ? now_ns : 1));
    word_store(&slot->hung_slice, 0);
    word_store(&slot->swept_ns, 0);
    index_put(region, name->hash, number);
    word_store(&slot->identity, 0);
}

void slot_publish(const struct breaker *breaker)
{
    struct slot *slot = breaker->slot;
    uint64_t identity = word_load(&region_head(breaker->region)->next_identity);
    atomic_store_explicit(&slot->identity, identity, memory_order_release);
}

/* ---- by name ---- */

int pass_untouched(struct breaker_region *region, int answer, struct breaker *ret_breaker)
{
    *ret_breaker = (struct breaker){.region = region};
    return answer;
}

static int get_locked(struct breaker_region *region, const struct name *name,
                      const struct breaker_config *config, uint64_t now_ns, struct breaker *ret_breaker)
{
    uint32_t number;
    struct breaker_config defaults;
    if (index_find(region, name, ret_breaker)) {
        if (config && ret_breaker->id == 0)
            rules_install(ret_breaker, config, false);
        return 0;
    }
    if (!slot_take_named(region, &number))
        return pass_untouched(region, BREAKER_E_CAPACITY, ret_breaker);
    breaker_config_init(&defaults);
    slot_make(region, number, name, NULL, now_ns, ret_breaker);
    rules_install(ret_breaker, config ? config : &defaults, true);
    slot_publish(ret_breaker);
    return 0;
}

int breaker_get(struct breaker_region *region, const char *text, const struct breaker_config *config,
                uint64_t now_ns, struct breaker *ret_breaker, struct breaker_problem *ret_problem)
{
    if (!region || !region->base)
        return pass_untouched(region, BREAKER_E_UNTRACKED, ret_breaker);
    if (config && config_check_in(config, region, ret_problem))
        return pass_untouched(region, BREAKER_E_CONFIG, ret_breaker);
    struct name name = name_make(region, text, name_length(text));
    if (!name.is_legal)
        return pass_untouched(region, BREAKER_E_NAME, ret_breaker);
    if (!config && index_find(region, &name, ret_breaker))
        return 0;
    if (!registry_lock(region, true, now_ns))
        return pass_untouched(region, BREAKER_E_BUSY, ret_breaker);
    struct breaker_config before;
    bool has_before = index_find(region, &name, ret_breaker);
    if (has_before)
        rules_read(breaker_rules(ret_breaker), &before);
    int answer = get_locked(region, &name, config, now_ns, ret_breaker);
    registry_unlock(region);
    if (answer == 0 && config && config->mode != (has_before ? before.mode : BREAKER_MODE_AUTO))
        breaker_force(ret_breaker, (enum breaker_mode)config->mode, now_ns);
    return answer;
}

int breaker_find(struct breaker_region *region, const char *text, struct breaker *ret_breaker)
{
    if (!region || !region->base)
        return pass_untouched(region, BREAKER_E_UNTRACKED, ret_breaker);
    struct name name = name_make(region, text, name_length(text));
    if (!name.is_legal)
        return pass_untouched(region, BREAKER_E_NAME, ret_breaker);
    return index_find(region, &name, ret_breaker) ? 0 : pass_untouched(region, BREAKER_E_ABSENT, ret_breaker);
}

/* The cursor counts named ones and then keyed ones. */
int breaker_next(struct breaker_region *region, uint32_t *cursor, struct breaker *ret_breaker)
{
    if (!region || !region->base)
        return pass_untouched(region, BREAKER_E_ABSENT, ret_breaker);
    while (*cursor < region_entries(region)) {
        uint32_t number = (*cursor)++;
        if (!slot_is_used(region, number)) {
            if (number < region->breakers)
                *cursor = region->breakers;
            else
                break;
            continue;
        }
        struct slot *slot = region_slot(region, number), *home = slot_home(region, number);
        uint64_t identity = atomic_load_explicit(&slot->identity, memory_order_acquire);
        if (identity == 0 || !home)
            continue;
        *ret_breaker = (struct breaker){region, slot, home, number >= region->breakers ? identity : 0};
        return 0;
    }
    *cursor = region_entries(region);
    return pass_untouched(region, BREAKER_E_ABSENT, ret_breaker);
}
