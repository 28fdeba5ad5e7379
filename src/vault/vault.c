/* The vault in memory, its opening and closing, and how keys are made.
 *
 * Opening reads fences first, so that a key read afterwards is known to be fenced or not. What is fenced and still there is
 * destroyed before vault_open() returns: nothing can be read with it in between (K2).
 */

#include "vault/vault.h"

#include <stdio.h>
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

/* ---- opening ---- */

struct opening {
    struct vault *vault;
    bool has_head;
    uint64_t *broken; /* places of keys whose slot does not hold though they are fenced */
    struct vault_id *broken_ids, *broken_subjects;
    size_t broken_count, broken_capacity, ids_capacity, subjects_capacity;
};

static int take_fence_slot(void *user, uint64_t place, int answer, const struct slot *slot)
{
    struct vault *vault = ((struct opening *)user)->vault;
    if (answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (answer != 0 || (slot->kind != SLOT_FENCE && slot->kind != SLOT_DONE)) {
        vault->slots_broken++;
        return 0;
    }
    if (slot->kind == SLOT_FENCE)
        return vault_add_fence(vault, &(struct vault_fence){.fingerprint = slot->fingerprint,
                                                            .subject = slot->subject,
                                                            .position = slot->position,
                                                            .time_us = slot->time_us});
    const uint64_t *index = hashmap_find(&vault->fence_of, id_hash(slot->fingerprint));
    if (index && !vault->fences[*index - 1].done) {
        vault->fences[*index - 1].done = true;
        vault->open_count--;
    }
    return 0;
}

/* A slot that does not hold: one that was being overwritten, or one that was being appended. */
static int take_broken_slot(struct opening *opening, uint64_t place, const struct slot *slot)
{
    struct vault *vault = opening->vault;
    vault->slots_broken++;
    if (!hashmap_find(&vault->fence_of, id_hash(slot->fingerprint)))
        return 0;
    size_t count = opening->broken_count + 1;
    int r = vector_reserve(&opening->broken, &opening->broken_capacity, count);
    if (r == 0)
        r = vector_reserve(&opening->broken_ids, &opening->ids_capacity, count);
    if (r == 0)
        r = vector_reserve(&opening->broken_subjects, &opening->subjects_capacity, count);
    if (r < 0)
        return r;
    opening->broken[opening->broken_count] = place;
    opening->broken_ids[opening->broken_count] = slot->fingerprint;
    opening->broken_subjects[opening->broken_count++] = slot->subject;
    return 0;
}

static int take_key_slot(void *user, uint64_t place, int answer, const struct slot *slot)
{
    struct opening *opening = user;
    if (answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (place == 0) {
        opening->has_head = answer == 0 && slot->kind == SLOT_VAULT;
        memcpy(opening->vault->secret, slot->secret, sizeof(slot->secret));
        return 0;
    }
    if (answer != 0 || (slot->kind != SLOT_KEY && slot->kind != SLOT_DESTROYED))
        return take_broken_slot(opening, place, slot);
    return vault_add_key(opening->vault, slot, place, NULL);
}

static int read_files(struct opening *opening)
{
    struct vault *vault = opening->vault;
    int r = slot_file_read(vault->ops, vault->fences_file.path, opening, take_fence_slot,
                           &vault->fences_file.count);
    if (r == 0)
        r = slot_file_read(vault->ops, vault->keys_file.path, opening, take_key_slot,
                           &vault->keys_file.count);
    return r;
}

/* The vault's own slot: a file that has nothing behind it was never begun, or not finished. */
static int make_head(struct vault *vault)
{
    struct slot head = {.kind = SLOT_VAULT};
    uint8_t data[SLOT_SIZE];
    int r = vault->random->fill(vault->random, vault->secret, sizeof(vault->secret));
    if (r < 0)
        return r;
    memcpy(head.secret, vault->secret, sizeof(head.secret));
    slot_write(&head, data);
    vault->keys_file.count = 1;
    return os_file_replace(vault->ops, vault->folder, "keys", bytes_make(data, sizeof(data)));
}

int vault_destroy_slot(struct vault *vault, uint64_t place, struct vault_id fingerprint,
                       struct vault_id subject)
{
    const struct slot slot = {.kind = SLOT_DESTROYED, .fingerprint = fingerprint, .subject = subject};
    return slot_file_overwrite(vault->ops, &vault->keys_file, place, &slot);
}

/* Finish what a crash, or an older copy of the keys, left (K2). An open fence may have been seen in the page cache only,
 * and so may the overwriting: it is done again until the fence is. */
static int destroy_fenced(struct opening *opening)
{
    struct vault *vault = opening->vault;
    int r = 0;
    for (size_t i = 0; r == 0 && i < opening->broken_count; i++)
        r = vault_destroy_slot(vault, opening->broken[i], opening->broken_ids[i],
                               opening->broken_subjects[i]);
    for (size_t i = 0; r == 0 && i < vault->key_count; i++) {
        struct key *key = &vault->keys[i];
        const uint64_t *fence = hashmap_find(&vault->fence_of, id_hash(key->fingerprint));
        if (!fence || (key->destroyed && vault->fences[*fence - 1].done))
            continue;
        vault->living_count -= !key->destroyed;
        explicit_bzero(key->secret, sizeof(key->secret));
        key->destroyed = true;
        if (!vault->read_only)
            r = vault_destroy_slot(vault, key->place, key->fingerprint, key->subject);
        key->wiped = r == 0;
    }
    return r;
}

static int open_files(struct opening *opening)
{
    struct vault *vault = opening->vault;
    int r = 0;
    if (!opening->has_head)
        r = make_head(vault);
    if (r == 0)
        r = slot_file_open(vault->ops, &vault->keys_file, vault->keys_file.count);
    if (r == 0)
        r = slot_file_open(vault->ops, &vault->fences_file, vault->fences_file.count);
    return r == 0 ? vault->ops->sync_folder(vault->ops, vault->folder) : r;
}

static int open_vault(struct opening *opening, const char *folder)
{
    struct vault *vault = opening->vault;
    int r = snprintf(vault->folder, sizeof(vault->folder), "%s", folder) < (int)sizeof(vault->folder)
                ? 0
                : -ENAMETOOLONG;
    if (r == 0)
        r = os_path(vault->keys_file.path, folder, "keys");
    if (r == 0)
        r = os_path(vault->fences_file.path, folder, "fences");
    if (r == 0 && !vault->read_only)
        r = vault->ops->make_folder(vault->ops, folder);
    if (r == 0)
        r = read_files(opening);
    if (r == 0 && !opening->has_head && vault->keys_file.count > 1)
        r = VAULT_E_DAMAGED;
    if (r == 0 && !vault->read_only)
        r = open_files(opening);
    return r == 0 ? destroy_fenced(opening) : r;
}

static void explain(int r, const char *folder, char *ret_error)
{
    if (!ret_error)
        return;
    if (r == VAULT_E_NEWER)
        (void)snprintf(ret_error, 256, "%.160s was written by a newer daybook", folder);
    else if (r == VAULT_E_DAMAGED)
        (void)snprintf(ret_error, 256,
                       "the first slot of %.160s/keys is damaged: take that file from a backup", folder);
    else
        (void)snprintf(ret_error, 256, "the keys in %.160s cannot be opened: %s", folder,
                       strerrordesc_np(-r));
}

int vault_open(const char *folder, const struct vault_options *options, struct vault **ret_vault,
               char *ret_error)
{
    static const struct vault_options defaults = {0};
    struct vault *vault = calloc(1, sizeof(*vault));
    struct opening opening = {.vault = vault};
    if (!vault)
        return -ENOMEM;
    if (!options)
        options = &defaults;
    vault->ops = options->file ? options->file : os_file_real();
    vault->random = options->random ? options->random : os_random_real();
    vault->read_only = options->read_only;
    vault->keys_file.file = vault->fences_file.file = -1;
    os_mutex_init(&vault->file_lock);
    os_rwlock_init(&vault->lock);
    int r = open_vault(&opening, folder);
    free(opening.broken);
    free(opening.broken_ids);
    free(opening.broken_subjects);
    if (r == 0) {
        *ret_vault = vault;
        return 0;
    }
    explain(r, folder, ret_error);
    vault_close(vault);
    return r;
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

void vault_status(struct vault *vault, struct vault_status *ret_status)
{
    os_rwlock_read(&vault->lock);
    *ret_status = (struct vault_status){.keys = vault->living_count,
                                        .destroyed = vault->key_count - vault->living_count,
                                        .fences = vault->fence_count,
                                        .fences_open = vault->open_count,
                                        .slots_broken = vault->slots_broken};
    os_rwlock_unlock(&vault->lock);
}
