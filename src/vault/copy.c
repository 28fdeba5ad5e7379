/* Keys and fences on their way to another folder: backups, restores, followers.
 *
 * Of a vault in use, keys are read before fences: a key that is being destroyed meanwhile is then either read as it was and
 * found fenced, or read as destroyed.
 */

#include <stdio.h>

#include "base/cleanup.h"
#include "vault/internal.h"

/* ---- from one folder to another ---- */

static int push(struct buffer *slots, const struct slot *slot)
{
    uint8_t *to;
    int r = buffer_extend(slots, SLOT_SIZE, &to);
    if (r == 0)
        slot_write(slot, to);
    return r;
}

static int push_key(struct buffer *slots, const struct key *key)
{
    struct slot slot = {.kind = key->destroyed ? SLOT_DESTROYED : SLOT_KEY,
                        .fingerprint = key->fingerprint,
                        .subject = key->subject};
    if (!key->destroyed)
        memcpy(slot.secret, key->secret, sizeof(slot.secret));
    int r = push(slots, &slot);
    explicit_bzero(&slot, sizeof(slot));
    return r;
}

/* Two vaults, read as they are: one is to be joined to the other. */
struct copy {
    struct vault *from, *into; /* NULL: not read yet */
    struct buffer keys, fences; /* slots as they are written */
    struct hashmap fenced;
};

static void copy_deinit(struct copy *copy)
{
    vault_close(copy->from);
    vault_close(copy->into);
    if (copy->keys.size > 0)
        explicit_bzero(copy->keys.data, copy->keys.size);
    buffer_deinit(&copy->keys);
    buffer_deinit(&copy->fences);
    hashmap_deinit(&copy->fenced);
}

/* Each fence once. What was done in one folder need not be done in another, so DONE stays behind. */
static int join_fence(struct copy *copy, const struct vault_fence *fence)
{
    const struct slot slot = {.kind = SLOT_FENCE,
                              .position = fence->position,
                              .time_us = fence->time_us,
                              .fingerprint = fence->fingerprint,
                              .subject = fence->subject};
    uint64_t *known;
    int r = hashmap_insert(&copy->fenced, id_hash(fence->fingerprint), &known);
    if (r < 0 || *known > 0)
        return r;
    *known = 1;
    return push(&copy->fences, &slot);
}

/* A key that was destroyed says so, too. */
static int join_fences(struct copy *copy, const struct vault *vault)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < vault->fence_count; i++)
        r = join_fence(copy, &vault->fences[i]);
    for (size_t i = 0; r == 0 && i < vault->key_count; i++)
        if (vault->keys[i].destroyed)
            r = join_fence(copy, &(struct vault_fence){.fingerprint = vault->keys[i].fingerprint,
                                                       .subject = vault->keys[i].subject});
    return r;
}

/* A fenced key does not travel. `known`: keys that are there already are passed over. */
static int join_keys(struct copy *copy, struct vault *vault, const struct vault *known)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < vault->key_count; i++) {
        struct key *key = &vault->keys[i];
        if (known && hashmap_find(&known->by_fingerprint, id_hash(key->fingerprint)))
            continue;
        key->destroyed |= hashmap_find(&copy->fenced, id_hash(key->fingerprint)) != NULL;
        r = push_key(&copy->keys, key);
    }
    return r;
}

static int refuse(char *ret_error, int answer, const char *target)
{
    if (ret_error)
        (void)snprintf(ret_error, 256,
                       "the keys in %.120s are not of one family with these, which would take their place: "
                       "this backup needs a folder of its own",
                       target);
    return answer;
}

static int join_all_keys(struct copy *copy, const char *target, char *ret_error)
{
    const struct slot head = {.kind = SLOT_VAULT};
    if (!copy->from->has_head)
        return 0;
    if (copy->into->has_head && memcmp(copy->from->secret, copy->into->secret, VAULT_SECRET_SIZE) != 0 &&
        copy->into->living_count > 0)
        return refuse(ret_error, VAULT_E_FOREIGN, target);
    struct slot own = head;
    memcpy(own.secret, copy->from->secret, sizeof(own.secret));
    int r = push(&copy->keys, &own);
    explicit_bzero(&own, sizeof(own));
    if (r == 0)
        r = join_keys(copy, copy->from, NULL);
    return r == 0 ? join_keys(copy, copy->into, copy->from) : r;
}

/* What does not hold of the target's keys is no loss that a copy could make larger; its fences must hold. */
static int read_both(struct copy *copy, const char *folder, bool fences_only, const char *target,
                     const struct os_file_ops *ops, const struct vault_witness *witness, char *ret_error)
{
    struct vault_options options = {.file = ops, .read_only = true};
    if (witness)
        options.witness = *witness;
    int r = vault_open_for(folder, &options, fences_only, &copy->from, ret_error);
    return r == 0 ? vault_open_for(target, &options, true, &copy->into, ret_error) : r;
}

int vault_backup(const char *folder, const char *target, const struct os_file_ops *file,
                 const struct vault_witness *witness, char *ret_error)
{
    const struct os_file_ops *ops = file ? file : os_file_real();
    _cleanup_(copy_deinit) struct copy copy = {0};
    int r = read_both(&copy, folder, false, target, ops, witness, ret_error);
    if (r == 0)
        r = join_fences(&copy, copy.from);
    if (r == 0)
        r = join_fences(&copy, copy.into);
    if (r == 0)
        r = join_all_keys(&copy, target, ret_error);
    if (r != 0 || (copy.keys.size == 0 && copy.fences.size == 0))
        return vault_explain(r, folder, ret_error);
    r = ops->make_folder(ops, target);
    /* The fences are there before any key is. */
    if (r == 0)
        r = os_file_replace(ops, target, "fences", buffer_bytes(&copy.fences));
    if (r == 0 && copy.keys.size > 0)
        r = os_file_replace(ops, target, "keys", buffer_bytes(&copy.keys));
    return vault_explain(r, target, ret_error);
}

/* For what was asked before: the fences alone count. */
static int tell_fences(void *user, struct vault_evidence *evidence)
{
    const struct vault_evidence *known = user;
    int r = 0;
    for (size_t i = 0; r == 0 && known && i < known->fence_count; i++)
        r = vault_evidence_add_fence(evidence, &known->fences[i]);
    return r;
}

int vault_union_fences(const char *from, const char *into, const struct os_file_ops *file,
                       const struct vault_evidence *evidence, char *ret_error)
{
    const struct os_file_ops *ops = file ? file : os_file_real();
    const struct vault_witness witness = {.ask = tell_fences, .user = (void *)evidence};
    _cleanup_(copy_deinit) struct copy copy = {0};
    int r = read_both(&copy, from, true, into, ops, &witness, ret_error);
    if (r == 0)
        r = join_fences(&copy, copy.into);
    size_t size_before = copy.fences.size;
    if (r == 0)
        r = join_fences(&copy, copy.from);
    for (size_t i = 0; r == 0 && evidence && i < evidence->fence_count; i++)
        r = join_fence(&copy, &evidence->fences[i]);
    if (r != 0 || copy.fences.size == size_before)
        return vault_explain(r, from, ret_error);
    r = ops->make_folder(ops, into);
    if (r == 0)
        r = os_file_replace(ops, into, "fences", buffer_bytes(&copy.fences));
    return vault_explain(r, into, ret_error);
}

/* ---- for a follower ---- */

/* Living keys from place `first` on that are in the file for good. */
static int export_keys(struct vault *vault, uint64_t first, size_t count_max, struct buffer *out,
                       uint64_t *ret_next)
{
    uint64_t durable = vault->keys_file.count - vault->keys_file.pending.size / SLOT_SIZE, next = first;
    int r = 0;
    for (size_t i = 0; r == 0 && i < vault->key_count && count_max > 0; i++) {
        const struct key *key = &vault->keys[i];
        if (key->place < first || key->place >= durable)
            continue;
        next = key->place + 1;
        if (key->destroyed)
            continue;
        struct slot slot = {.kind = SLOT_KEY, .fingerprint = key->fingerprint, .subject = key->subject};
        memcpy(slot.secret, key->secret, sizeof(slot.secret));
        r = push(out, &slot);
        explicit_bzero(&slot, sizeof(slot));
        count_max--;
    }
    *ret_next = next;
    return r;
}

int vault_export(struct vault *vault, uint64_t first, size_t count_max, struct buffer *out,
                 uint64_t *ret_next)
{
    struct slot head = {.kind = SLOT_VAULT};
    size_t size_before = out->size;
    _os_locked_(&vault->file_lock);
    memcpy(head.secret, vault->secret, sizeof(head.secret));
    int r = push(out, &head);
    os_rwlock_read(&vault->lock);
    if (r == 0)
        r = export_keys(vault, first, count_max, out, ret_next);
    os_rwlock_unlock(&vault->lock);
    if (r < 0)
        out->size = size_before;
    return r;
}

/* Become of one family: only while no name has been hashed yet. Under file_lock. */
static int take_head(struct vault *vault, const struct slot *slot)
{
    if (slot->kind != SLOT_VAULT)
        return VAULT_E_DAMAGED;
    if (memcmp(slot->secret, vault->secret, sizeof(vault->secret)) == 0)
        return 0;
    if (vault->keys_file.count > 1)
        return VAULT_E_DAMAGED;
    int r = slot_file_overwrite(vault->ops, &vault->keys_file, 0, slot);
    if (r == 0)
        memcpy(vault->secret, slot->secret, sizeof(vault->secret));
    return r;
}

/* Under file_lock. */
static int take_new_key(struct vault *vault, const struct slot *slot)
{
    int answer;
    if (slot->kind != SLOT_KEY)
        return VAULT_E_DAMAGED;
    os_rwlock_write(&vault->lock);
    (void)vault_find_key(vault, slot->fingerprint, &answer);
    int r = answer == VAULT_E_MISSING ? vault_add_key(vault, slot, vault->keys_file.count, NULL) : 0;
    os_rwlock_unlock(&vault->lock);
    return r == 0 && answer == VAULT_E_MISSING ? slot_file_push(&vault->keys_file, slot) : r;
}

static int import_locked(struct vault *vault, struct bytes slots)
{
    int r = buffer_reserve(&vault->keys_file.pending, slots.size); /* now, so that pushing cannot fail */
    for (size_t at = 0; r == 0 && at + SLOT_SIZE <= slots.size; at += SLOT_SIZE) {
        struct slot slot;
        r = slot_read(slots.data + at, &slot);
        if (r != 0)
            r = r == SLOT_E_NEWER ? VAULT_E_NEWER : VAULT_E_DAMAGED;
        else
            r = at == 0 ? take_head(vault, &slot) : take_new_key(vault, &slot);
        explicit_bzero(&slot, sizeof(slot));
    }
    if (r == 0 && slots.size % SLOT_SIZE != 0)
        r = VAULT_E_DAMAGED;
    int s = slot_file_sync(vault->ops, &vault->keys_file);
    return vault_note_failure(vault, s < 0 ? s : r);
}

int vault_import(struct vault *vault, struct bytes slots)
{
    _os_locked_(&vault->file_lock);
    if (vault->read_only)
        return -EROFS;
    if (vault->failed < 0)
        return vault->failed;
    if (slots.size > (size_t)VAULT_UNSYNCED_COUNT_MAX * SLOT_SIZE)
        return VAULT_E_BUSY;
    return import_locked(vault, slots);
}
