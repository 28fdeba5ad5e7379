/* The vault in memory, and how keys are made. */

#include "vault/vault.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "vault/internal.h"

/* ---- in memory ---- */

int vault_add_key(struct vault *vault, const struct slot *slot, uint64_t place, size_t *ret_index)
{
    uint64_t *by_fingerprint, *by_subject;
    int r = vector_reserve(&vault->keys, &vault->key_capacity, vault->key_count + 1);
    if (r == 0)
        r = hashmap_insert(&vault->by_fingerprint, id_hash(slot->fingerprint), &by_fingerprint);
    if (r == 0)
        r = hashmap_insert(&vault->by_subject, id_hash(slot->subject), &by_subject);
    if (r < 0)
        return r;
    size_t index = vault->key_count++;
    struct key *key = &vault->keys[index];
    *key = (struct key){.fingerprint = slot->fingerprint,
                        .subject = slot->subject,
                        .place = place,
                        .older = (size_t)*by_subject,
                        .destroyed = slot->kind == SLOT_DESTROYED,
                        .wiped = slot->kind == SLOT_DESTROYED};
    memcpy(key->secret, slot->secret, sizeof(key->secret));
    vault->living_count += !key->destroyed;
    *by_fingerprint = *by_subject = index + 1;
    if (ret_index)
        *ret_index = index;
    return 0;
}

int vault_add_fence(struct vault *vault, const struct vault_fence *fence)
{
    uint64_t *index;
    int r = vector_reserve(&vault->fences, &vault->fence_capacity, vault->fence_count + 1);
    if (r == 0)
        r = hashmap_insert(&vault->fence_of, id_hash(fence->fingerprint), &index);
    if (r < 0)
        return r;
    if (*index > 0)
        return 0; /* the first one stands */
    vault->fences[vault->fence_count++] = *fence;
    *index = vault->fence_count;
    vault->open_count += !fence->done;
    return 0;
}

const struct key *vault_find_key(const struct vault *vault, struct vault_id fingerprint, int *ret_answer)
{
    const uint64_t *index = hashmap_find(&vault->by_fingerprint, id_hash(fingerprint));
    const struct key *key = index && *index > 0 ? &vault->keys[*index - 1] : NULL;
    bool fenced = hashmap_find(&vault->fence_of, id_hash(fingerprint)) != NULL;
    if (fenced || (key && key->destroyed)) {
        *ret_answer = VAULT_E_ERASED;
        return NULL;
    }
    *ret_answer = key ? 0 : VAULT_E_MISSING;
    return key;
}

struct vault_id vault_subject(struct vault *vault, struct bytes subject)
{
    struct hash256 hash = hash_blake(subject, bytes_make(vault->secret, sizeof(vault->secret)));
    struct vault_id id;
    memcpy(id.bytes, hash.data, sizeof(id.bytes));
    return id;
}

/* ---- life ---- */

int vault_new(const struct vault_options *options, struct vault **ret_vault)
{
    struct vault *vault = calloc(1, sizeof(*vault));
    if (!vault)
        return -ENOMEM;
    vault->ops = options->file ? options->file : os_file_real();
    vault->random = options->random ? options->random : os_random_real();
    vault->read_only = options->read_only;
    vault->keys_file.file = vault->fences_file.file = -1;
    os_mutex_init(&vault->file_lock);
    os_rwlock_init(&vault->lock);
    *ret_vault = vault;
    return 0;
}

void vault_close(struct vault *vault)
{
    if (!vault)
        return;
    slot_file_close(vault->ops, &vault->keys_file);
    slot_file_close(vault->ops, &vault->fences_file);
    if (vault->keys)
        explicit_bzero(vault->keys, vault->key_count * sizeof(*vault->keys));
    explicit_bzero(vault->secret, sizeof(vault->secret));
    hashmap_deinit(&vault->by_fingerprint);
    hashmap_deinit(&vault->by_subject);
    hashmap_deinit(&vault->fence_of);
    free(vault->keys);
    free(vault->fences);
    os_mutex_deinit(&vault->file_lock);
    os_rwlock_deinit(&vault->lock);
    free(vault);
}

/* ---- making keys ---- */

int vault_destroy_slot(struct vault *vault, uint64_t place, struct vault_id fingerprint,
                       struct vault_id subject)
{
    const struct slot slot = {.kind = SLOT_DESTROYED, .fingerprint = fingerprint, .subject = subject};
    return slot_file_overwrite(vault->ops, &vault->keys_file, place, &slot);
}

int vault_note_failure(struct vault *vault, int r)
{
    if (r < 0 && r != -ENOSPC && r != -ENOMEM)
        vault->failed = r; /* K4 */
    return r;
}

/* The subject's newest key, if it may go on being used. */
static const struct key *current_key(const struct vault *vault, struct vault_id subject)
{
    const uint64_t *index = hashmap_find(&vault->by_subject, id_hash(subject));
    const struct key *key = index && *index > 0 ? &vault->keys[*index - 1] : NULL;
    return key && !key->destroyed && !key->retired ? key : NULL;
}

static size_t living_keys(const struct vault *vault, struct vault_id subject)
{
    const uint64_t *index = hashmap_find(&vault->by_subject, id_hash(subject));
    size_t count = 0;
    for (size_t at = index ? (size_t)*index : 0; at > 0; at = vault->keys[at - 1].older)
        count += !vault->keys[at - 1].destroyed;
    return count;
}

/* Under file_lock. */
static int make_key(struct vault *vault, struct vault_id subject, struct vault_id *ret_fingerprint)
{
    struct slot slot = {.kind = SLOT_KEY, .subject = subject};
    if (vault->read_only)
        return -EROFS;
    if (vault->failed < 0)
        return vault->failed;
    if (vault->keys_file.pending.size >= (size_t)VAULT_UNSYNCED_COUNT_MAX * SLOT_SIZE ||
        living_keys(vault, subject) >= VAULT_SUBJECT_KEY_COUNT_MAX)
        return VAULT_E_BUSY;
    int r = vault->random->fill(vault->random, slot.secret, sizeof(slot.secret));
    if (r < 0)
        return r;
    slot.fingerprint = slot_fingerprint(slot.secret);
    uint64_t place = vault->keys_file.count;
    r = buffer_reserve(&vault->keys_file.pending, SLOT_SIZE); /* now, so that pushing cannot fail */
    if (r == 0) {
        os_rwlock_write(&vault->lock);
        r = vault_add_key(vault, &slot, place, NULL);
        os_rwlock_unlock(&vault->lock);
    }
    if (r == 0)
        r = slot_file_push(&vault->keys_file, &slot);
    if (r == 0) {
        vault->unsynced = true;
        *ret_fingerprint = slot.fingerprint;
    }
    explicit_bzero(&slot, sizeof(slot));
    return r;
}

int vault_key(struct vault *vault, struct bytes subject, struct vault_id *ret_fingerprint)
{
    struct vault_id id = vault_subject(vault, subject);
    os_rwlock_read(&vault->lock);
    const struct key *key = current_key(vault, id);
    if (key)
        *ret_fingerprint = key->fingerprint;
    os_rwlock_unlock(&vault->lock);
    if (key)
        return 0;
    _os_locked_(&vault->file_lock);
    return make_key(vault, id, ret_fingerprint);
}

int vault_sync(struct vault *vault)
{
    if (!vault->unsynced)
        return 0;
    _os_locked_(&vault->file_lock);
    if (vault->failed < 0)
        return vault->failed;
    int r = slot_file_sync(vault->ops, &vault->keys_file);
    if (r == 0)
        vault->unsynced = false;
    return vault_note_failure(vault, r);
}

/* ---- figures ---- */

static uint64_t count_durable(struct vault *vault)
{
    _os_locked_(&vault->file_lock);
    return vault->keys_file.count - vault->keys_file.pending.size / SLOT_SIZE;
}

void vault_status(struct vault *vault, struct vault_status *ret_status)
{
    uint64_t slots_durable = count_durable(vault);
    os_rwlock_read(&vault->lock);
    *ret_status = (struct vault_status){.keys = vault->living_count,
                                        .destroyed = vault->key_count - vault->living_count,
                                        .fences = vault->fence_count,
                                        .slots_durable = slots_durable,
                                        .fences_open = vault->open_count,
                                        .slots_broken = vault->slots_broken};
    os_rwlock_unlock(&vault->lock);
}
