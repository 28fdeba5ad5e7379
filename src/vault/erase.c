/* Fences: what makes a key unusable for ever. The order is the whole of it: fence durable, key overwritten, overwriting
 * durable, and only then may anything say that it is done (K2). */

#include "vault/internal.h"

size_t vault_retire(struct vault *vault, struct bytes subject, struct vault_id *ret_fingerprints)
{
    struct vault_id id = vault_subject(vault, subject);
    size_t count = 0;
    os_rwlock_write(&vault->lock);
    const uint64_t *index = hashmap_find(&vault->by_subject, id_hash(id));
    for (size_t at = index ? (size_t)*index : 0; at > 0; at = vault->keys[at - 1].older) {
        struct key *key = &vault->keys[at - 1];
        if (key->destroyed || count == VAULT_SUBJECT_KEY_COUNT_MAX)
            continue;
        key->retired = true;
        ret_fingerprints[count++] = key->fingerprint;
    }
    os_rwlock_unlock(&vault->lock);
    return count;
}

/* Under file_lock. Whether the fence has to be written. */
static bool is_new(struct vault *vault, struct vault_id fingerprint)
{
    os_rwlock_read(&vault->lock);
    bool is_new = !hashmap_find(&vault->fence_of, id_hash(fingerprint));
    os_rwlock_unlock(&vault->lock);
    return is_new;
}

/* Put behind the last one; it is written with those that wait already. */
static int push_fence(struct vault *vault, const struct vault_fence *fence)
{
    const struct slot slot = {.kind = SLOT_FENCE,
                              .position = fence->position,
                              .time_us = fence->time_us,
                              .fingerprint = fence->fingerprint,
                              .subject = fence->subject};
    return slot_file_push(&vault->fences_file, &slot);
}

/* From here on nobody opens anything with it. Its place in the file if it must be overwritten yet; 0: it need not. */
static int forget_key(struct vault *vault, const struct vault_fence *fence, uint64_t *ret_place)
{
    *ret_place = 0;
    os_rwlock_write(&vault->lock);
    int r = vault_add_fence(vault, fence);
    const uint64_t *index = hashmap_find(&vault->by_fingerprint, id_hash(fence->fingerprint));
    if (r == 0 && index && *index > 0) {
        struct key *key = &vault->keys[*index - 1];
        vault->living_count -= !key->destroyed;
        key->destroyed = true;
        explicit_bzero(key->secret, sizeof(key->secret));
        *ret_place = key->wiped ? 0 : key->place;
    }
    os_rwlock_unlock(&vault->lock);
    return r;
}

static void note_wiped(struct vault *vault, struct vault_id fingerprint)
{
    os_rwlock_write(&vault->lock);
    const uint64_t *index = hashmap_find(&vault->by_fingerprint, id_hash(fingerprint));
    vault->keys[*index - 1].wiped = true;
    os_rwlock_unlock(&vault->lock);
}

/* Nobody uses the key from here on, also when there is no room for the fence: then it is written as soon as there is. Keys that
 * wait for their sync go first: what is overwritten must have been written. */
static int fence_durably(struct vault *vault, const struct vault_fence *fence)
{
    uint64_t place = 0;
    int r = is_new(vault, fence->fingerprint) ? push_fence(vault, fence) : 0;
    if (r == 0)
        r = forget_key(vault, fence, &place);
    if (r == 0)
        r = slot_file_sync(vault->ops, &vault->keys_file);
    if (r == 0)
        r = slot_file_sync(vault->ops, &vault->fences_file);
    if (r < 0 || place == 0)
        return r;
    r = vault_destroy_slot(vault, place, fence->fingerprint, fence->subject);
    if (r == 0)
        note_wiped(vault, fence->fingerprint);
    return r;
}

int vault_fence(struct vault *vault, const struct vault_fence *fence)
{
    struct vault_fence own = *fence;
    uint64_t place;
    own.done = false;
    _os_locked_(&vault->file_lock);
    if (vault->read_only)
        return forget_key(vault, &own, &place);
    return vault->failed < 0 ? vault->failed : vault_note_failure(vault, fence_durably(vault, &own));
}

/* The next fence at this position that is not done. */
static bool take_open(struct vault *vault, uint64_t position, struct vault_id *ret_fingerprint)
{
    bool found = false;
    os_rwlock_write(&vault->lock);
    for (size_t i = 0; !found && i < vault->fence_count; i++) {
        if (vault->fences[i].position != position || vault->fences[i].done)
            continue;
        vault->fences[i].done = found = true;
        vault->open_count--;
        *ret_fingerprint = vault->fences[i].fingerprint;
    }
    os_rwlock_unlock(&vault->lock);
    return found;
}

/* A fenced key that could not be overwritten yet, for want of room. */
static const struct key *find_unwiped(struct vault *vault, uint64_t position)
{
    const struct key *found = NULL;
    os_rwlock_read(&vault->lock);
    for (size_t i = 0; !found && i < vault->fence_count; i++) {
        const uint64_t *index = hashmap_find(&vault->by_fingerprint, id_hash(vault->fences[i].fingerprint));
        if (vault->fences[i].position == position && index && *index > 0 && !vault->keys[*index - 1].wiped)
            found = &vault->keys[*index - 1];
    }
    os_rwlock_unlock(&vault->lock);
    return found;
}

/* Under file_lock, which whoever adds keys holds too. */
static int wipe_fenced(struct vault *vault, uint64_t position)
{
    const struct key *key;
    int r = 0;
    while (r == 0 && (key = find_unwiped(vault, position)) != NULL) {
        r = vault_destroy_slot(vault, key->place, key->fingerprint, key->subject);
        if (r == 0)
            note_wiped(vault, key->fingerprint);
    }
    return r;
}

int vault_fence_done(struct vault *vault, uint64_t position)
{
    struct vault_id fingerprint;
    _os_locked_(&vault->file_lock);
    int r = vault->failed < 0 ? vault->failed : vault->read_only ? -EROFS : wipe_fenced(vault, position);
    while (r == 0 && take_open(vault, position, &fingerprint)) {
        const struct slot slot = {.kind = SLOT_DONE, .position = position, .fingerprint = fingerprint};
        r = slot_file_push(&vault->fences_file, &slot);
    }
    if (r == 0)
        r = slot_file_sync(vault->ops, &vault->fences_file);
    return vault_note_failure(vault, r);
}

size_t vault_fence_count(struct vault *vault)
{
    os_rwlock_read(&vault->lock);
    size_t count = vault->fence_count;
    os_rwlock_unlock(&vault->lock);
    return count;
}

void vault_fence_get(struct vault *vault, size_t index, struct vault_fence *ret_fence)
{
    os_rwlock_read(&vault->lock);
    *ret_fence = vault->fences[index];
    os_rwlock_unlock(&vault->lock);
}
