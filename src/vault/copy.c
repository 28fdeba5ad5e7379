/* Keys and fences on their way to another folder: backups, restores, followers.
 *
 * Of a vault in use, keys are read before fences: a key that is being destroyed meanwhile is then either read as it was and
 * found fenced, or read as destroyed.
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "vault/internal.h"

/* ---- files into memory ---- */

struct copy {
    struct buffer keys, fences; /* slots as they are written */
    struct hashmap fenced;
};

static void copy_deinit(struct copy *copy)
{
    if (copy->keys.size > 0)
        explicit_bzero(copy->keys.data, copy->keys.size);
    buffer_deinit(&copy->keys);
    buffer_deinit(&copy->fences);
    hashmap_deinit(&copy->fenced);
}

static int push(struct buffer *slots, const struct slot *slot)
{
    uint8_t *to;
    int r = buffer_extend(slots, SLOT_SIZE, &to);
    if (r == 0)
        slot_write(slot, to);
    return r;
}

static int take_key(void *user, uint64_t place, int answer, const struct slot *slot)
{
    struct copy *copy = user;
    bool fits =
        place == 0 ? slot->kind == SLOT_VAULT : slot->kind == SLOT_KEY || slot->kind == SLOT_DESTROYED;
    if (answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (answer != 0 && place == 0)
        return VAULT_E_DAMAGED;
    return answer == 0 && fits ? push(&copy->keys, slot) : 0;
}

/* Each fence once. What was done in one folder need not be done in another, so DONE stays behind. */
static int take_fence(void *user, uint64_t place, int answer, const struct slot *slot)
{
    struct copy *copy = user;
    uint64_t *known;
    if (answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (answer != 0 || slot->kind != SLOT_FENCE)
        return 0;
    int r = hashmap_insert(&copy->fenced, id_hash(slot->fingerprint), &known);
    if (r < 0 || *known > 0)
        return r;
    *known = 1;
    return push(&copy->fences, slot);
}

static int read_one(const struct os_file_ops *ops, const char *folder, const char *name, struct copy *copy,
                    int (*each)(void *user, uint64_t place, int answer, const struct slot *slot))
{
    char path[OS_PATH_SIZE_MAX];
    uint64_t count;
    int r = os_path(path, folder, name);
    return r == 0 ? slot_file_read(ops, path, copy, each, &count) : r;
}

/* A fenced key does not travel. */
static void destroy_fenced(struct copy *copy)
{
    for (size_t at = 0; at < copy->keys.size; at += SLOT_SIZE) {
        struct slot slot;
        if (slot_read(copy->keys.data + at, &slot) != 0 || slot.kind != SLOT_KEY ||
            !hashmap_find(&copy->fenced, id_hash(slot.fingerprint)))
            continue;
        slot.kind = SLOT_DESTROYED;
        explicit_bzero(slot.secret, sizeof(slot.secret));
        slot_write(&slot, copy->keys.data + at);
    }
}

static int explain(int r, const char *what, const char *folder, char *ret_error)
{
    if (r != 0 && ret_error)
        (void)snprintf(ret_error, 256, "%s in %.150s cannot be copied: %s", what, folder,
                       r == VAULT_E_NEWER     ? "written by a newer daybook"
                       : r == VAULT_E_DAMAGED ? "the first slot is damaged"
                                              : strerrordesc_np(-r));
    return r;
}

int vault_backup(const char *folder, const char *target, const struct os_file_ops *file, char *ret_error)
{
    const struct os_file_ops *ops = file ? file : os_file_real();
    _cleanup_(copy_deinit) struct copy copy = {0};
    int r = read_one(ops, folder, "keys", &copy, take_key);
    if (r == 0)
        r = read_one(ops, folder, "fences", &copy, take_fence);
    if (r == 0 && copy.keys.size == 0 && copy.fences.size == 0)
        return 0;
    if (r == 0)
        r = ops->make_folder(ops, target);
    if (r == 0)
        r = read_one(ops, target, "fences", &copy, take_fence);
    if (r != 0)
        return explain(r, "the keys", folder, ret_error);
    destroy_fenced(&copy);
    /* The fences are there before any key is. */
    r = os_file_replace(ops, target, "fences", buffer_bytes(&copy.fences));
    if (r == 0 && copy.keys.size > 0)
        r = os_file_replace(ops, target, "keys", buffer_bytes(&copy.keys));
    return explain(r, "the keys", folder, ret_error);
}

int vault_union_fences(const char *from, const char *into, const struct os_file_ops *file, char *ret_error)
{
    const struct os_file_ops *ops = file ? file : os_file_real();
    _cleanup_(copy_deinit) struct copy copy = {0};
    int r = read_one(ops, into, "fences", &copy, take_fence);
    size_t size_before = copy.fences.size;
    if (r == 0)
        r = read_one(ops, from, "fences", &copy, take_fence);
    if (r == 0 && copy.fences.size == size_before)
        return 0;
    if (r == 0)
        r = ops->make_folder(ops, into);
    if (r == 0)
        r = os_file_replace(ops, into, "fences", buffer_bytes(&copy.fences));
    return explain(r, "the fences", from, ret_error);
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
