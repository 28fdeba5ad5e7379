/* What a slot that does not hold was (K5).
 *
 * The vault's files have no floor of their own: the log tells what was durable. A key is synced before anything is sealed with it,
 * so one that sealed nothing in the log may be missing, and one that did may not. A fence is in the log before it is in the
 * vault; those of another log, which a restore has joined, are whole files that were put in place at once. So a slot in
 * `fences` is torn only if it lies behind the last fence and is not written to its end, as a file reads that was made longer
 * and not filled.
 *
 * A slot that is known but for a few bytes is made out by fingerprint and subject, which are drawn at random: 28 equal bytes of
 * 32 are no accident.
 */
#include <stdlib.h>

#include "base/vector.h"
#include "vault/internal.h"

enum {
    ID_EQUAL_MIN = VAULT_FINGERPRINT_SIZE - 2,
    LOOK_COUNT_MAX = 1024, /* slots that are compared with all that is known: damage is small, or it is too much */
};

int broken_add(struct broken_list *list, bool in_fences, const struct slot_seen *seen)
{
    int r = vector_reserve(&list->items, &list->capacity, list->count + 1);
    if (r < 0)
        return r;
    struct broken *broken = &list->items[list->count++];
    *broken = (struct broken){.in_fences = in_fences, .cut = seen->cut, .place = seen->place, .slot = seen->slot};
    memcpy(broken->raw, seen->raw, SLOT_SIZE);
    return 0;
}

void broken_deinit(struct broken_list *list)
{
    if (list->items)
        explicit_bzero(list->items, list->count * sizeof(list->items[0]));
    free(list->items);
    *list = (struct broken_list){0};
}

/* ---- what is known of it ---- */

static bool id_is_like(const struct vault_id *a, const struct vault_id *b)
{
    size_t equal = 0;
    for (size_t i = 0; i < sizeof(a->bytes); i++)
        equal += a->bytes[i] == b->bytes[i];
    return equal >= ID_EQUAL_MIN;
}

static bool is_like(const struct slot *slot, const struct vault_fence *fence)
{
    return id_is_like(&slot->fingerprint, &fence->fingerprint) && id_is_like(&slot->subject, &fence->subject);
}

static const struct vault_fence *find_fence(const struct vault_fence *fences, size_t count, const struct slot *slot)
{
    for (size_t i = 0; i < count; i++)
        if (is_like(slot, &fences[i]))
            return &fences[i];
    return NULL;
}

/* The log's first: it knows position and time. */
static bool find_known_fence(const struct vault *vault, const struct vault_evidence *evidence,
                             const struct slot *slot, struct vault_fence *ret_fence)
{
    const struct vault_fence *found = find_fence(evidence->fences, evidence->fence_count, slot);
    if (!found)
        found = find_fence(vault->fences, vault->fence_count, slot);
    if (found)
        *ret_fence = *found;
    return found != NULL;
}

/* Of a key that is here, or was: then the slot was its fence. */
static bool find_fence_of_key(const struct vault *vault, const struct slot *slot, struct vault_fence *ret_fence)
{
    for (size_t i = 0; i < vault->key_count; i++) {
        const struct key *key = &vault->keys[i];
        struct vault_fence fence = {.fingerprint = key->fingerprint,
                                    .subject = key->subject,
                                    .position = slot->position,
                                    .time_us = slot->time_us};
        if (!is_like(slot, &fence))
            continue;
        *ret_fence = fence;
        return true;
    }
    return false;
}

static bool is_done_note(const struct vault *vault, const struct slot *slot)
{
    static const struct vault_id none;
    for (size_t i = 0; id_is_like(&slot->subject, &none) && i < vault->fence_count; i++)
        if (id_is_like(&slot->fingerprint, &vault->fences[i].fingerprint))
            return true;
    return false;
}

/* ---- the verdict ---- */

/* Its last bytes were never written: they are the check, and read as zeros. */
static bool ends_early(const struct broken *broken)
{
    return broken->cut || bytes_get_u32(broken->raw + SLOT_SIZE - sizeof(uint32_t)) == 0;
}

static enum verdict judge_fence(const struct vault *vault, const struct vault_evidence *evidence,
                                struct broken *broken, bool look)
{
    if (look && (find_known_fence(vault, evidence, &broken->slot, &broken->fence) ||
                 find_fence_of_key(vault, &broken->slot, &broken->fence)))
        return VERDICT_FENCE;
    if (look && is_done_note(vault, &broken->slot))
        return VERDICT_DONE;
    return ends_early(broken) && broken->place >= vault->fence_place ? VERDICT_TORN : VERDICT_DAMAGED;
}

static enum verdict judge_key(const struct vault *vault, const struct vault_evidence *evidence,
                              struct broken *broken, bool look)
{
    const uint64_t *fence = hashmap_find(&vault->fence_of, id_hash(broken->slot.fingerprint));
    if (fence && *fence > 0) {
        broken->fence = vault->fences[*fence - 1];
        return VERDICT_DESTROYED;
    }
    if (look && find_known_fence(vault, evidence, &broken->slot, &broken->fence))
        return VERDICT_DESTROYED;
    return ends_early(broken) ? VERDICT_TORN : VERDICT_SPARE;
}

/* The first event whose key is neither here nor fenced. */
static uint64_t find_missing(const struct vault *vault, const struct vault_evidence *evidence)
{
    struct hashmap_cursor at = {0};
    uint64_t first = 0;
    while (hashmap_next((struct hashmap *)&evidence->used, &at)) {
        if (hashmap_find(&vault->by_fingerprint, at.key) || hashmap_find(&vault->fence_of, at.key) ||
            hashmap_find(&evidence->fenced, at.key))
            continue;
        if (first == 0 || *at.value < first)
            first = *at.value;
    }
    return first;
}

void vault_judge(const struct vault *vault, const struct vault_evidence *evidence, struct broken_list *list,
                 uint64_t *ret_missing_position)
{
    *ret_missing_position = find_missing(vault, evidence);
    for (size_t i = 0; i < list->count; i++) {
        struct broken *broken = &list->items[i];
        bool look = i < LOOK_COUNT_MAX;
        broken->verdict = broken->in_fences ? judge_fence(vault, evidence, broken, look)
                                            : judge_key(vault, evidence, broken, look);
        if (!broken->in_fences && broken->verdict != VERDICT_DESTROYED && *ret_missing_position > 0)
            broken->verdict = VERDICT_DAMAGED;
    }
}

const char *verdict_text(enum verdict verdict)
{
    static const char *const texts[] = {
        [VERDICT_TORN] = "a slot that was not written to its end",
        [VERDICT_SPARE] = "the slot of a key that sealed nothing does not hold",
        [VERDICT_DESTROYED] = "the slot of a destroyed key does not hold",
        [VERDICT_FENCE] = "the slot of a fence does not hold; log or keys have that fence",
        [VERDICT_DONE] = "a slot that notes what was done does not hold",
        [VERDICT_DAMAGED] = "the slot does not hold",
    };
    return texts[verdict];
}

/* ---- evidence ---- */

void vault_evidence_deinit(struct vault_evidence *evidence)
{
    hashmap_deinit(&evidence->used);
    hashmap_deinit(&evidence->fenced);
    free(evidence->fences);
    *evidence = (struct vault_evidence){0};
}

int vault_evidence_add_key(struct vault_evidence *evidence, const struct vault_id *key, uint64_t position)
{
    uint64_t *first;
    int r = hashmap_insert(&evidence->used, id_hash(*key), &first);
    if (r == 0 && *first == 0)
        *first = position;
    return r;
}

int vault_evidence_add_fence(struct vault_evidence *evidence, const struct vault_fence *fence)
{
    uint64_t *known;
    int r = vector_reserve(&evidence->fences, &evidence->fence_capacity, evidence->fence_count + 1);
    if (r == 0)
        r = hashmap_insert(&evidence->fenced, id_hash(fence->fingerprint), &known);
    if (r < 0 || *known > 0)
        return r;
    *known = 1;
    evidence->fences[evidence->fence_count++] = *fence;
    return 0;
}
