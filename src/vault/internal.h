/* What the files of the vault share.
 *
 * Two locks: `lock` guards what is in memory and is held for moments; `file_lock` guards both files and is held over writes
 * and syncs. Whoever needs both takes file_lock first.
 */
#pragma once

#include "base/hashmap.h"
#include "os/thread.h"
#include "vault/slot.h"
#include "vault/vault.h"

/* A key, living or destroyed. */
struct key {
    struct vault_id fingerprint, subject;
    uint8_t secret[VAULT_SECRET_SIZE];
    uint64_t place; /* its slot in the file */
    size_t older;   /* index + 1 of the subject's key before this one; 0: none */
    bool destroyed; /* nobody may use it */
    bool wiped;     /* nor is it in the file any more */
    bool retired;   /* it opens, and seals nothing more */
};

/* One of the two files: slots behind one another, some of them not written or not synced yet. */
struct slot_file {
    char path[OS_PATH_SIZE_MAX];
    int file;              /* -1: there is none */
    uint64_t count;        /* slots, those in `pending` too */
    struct buffer pending; /* the last ones, not synced */
};

struct vault {
    const struct os_file_ops *ops;
    const struct os_random *random;
    bool read_only;
    char folder[OS_PATH_SIZE_MAX];
    uint8_t secret[VAULT_SECRET_SIZE];

    struct os_mutex file_lock; /* m: the files */
    struct slot_file keys_file, fences_file;
    int failed; /* -errno that ended writing (K4) */

    struct os_rwlock lock;
    struct key *keys;
    size_t key_count, key_capacity, living_count;
    struct hashmap by_fingerprint, by_subject; /* index + 1 */
    struct vault_fence *fences;
    size_t fence_count, fence_capacity, open_count;
    struct hashmap fence_of; /* fingerprint → index + 1 */
    uint64_t slots_broken;
    struct vault_id missed; /* the last key that was looked for in vain */
    bool has_missed;
    _Atomic bool unsynced;
};

static inline struct hash128 id_hash(struct vault_id id)
{
    return (struct hash128){.low = bytes_get_u64(id.bytes), .high = bytes_get_u64(id.bytes + 8)};
}

/* --- slot_file.c --- */

/* Read the file: `each` is told of every slot, with slot_read()'s answer; it returns 0 to go on. A missing file is empty. */
int slot_file_read(const struct os_file_ops *ops, const char *path, void *user,
                   int (*each)(void *user, uint64_t place, int answer, const struct slot *slot),
                   uint64_t *ret_count);
/* Open for writing, made if missing, and make its end durable. `count` as read. */
int slot_file_open(const struct os_file_ops *ops, struct slot_file *file, uint64_t count);
void slot_file_close(const struct os_file_ops *ops, struct slot_file *file);
/* Put a slot behind the last one; slot_file_sync() writes it. */
int slot_file_push(struct slot_file *file, const struct slot *slot);
int slot_file_sync(const struct os_file_ops *ops, struct slot_file *file);
/* Write over a slot that is durable, and sync. */
int slot_file_overwrite(const struct os_file_ops *ops, struct slot_file *file, uint64_t place,
                        const struct slot *slot);

/* --- vault.c, under `lock` held for writing or before anybody else knows the vault --- */

int vault_add_key(struct vault *vault, const struct slot *slot, uint64_t place, size_t *ret_index);
int vault_add_fence(struct vault *vault, const struct vault_fence *fence);
/* A key that may be used, or NULL; `ret_answer`: VAULT_E_*. */
const struct key *vault_find_key(const struct vault *vault, struct vault_id fingerprint, int *ret_answer);
/* A failure of the files: what it means for later calls. Under file_lock. */
int vault_note_failure(struct vault *vault, int r);
/* Overwrite a destroyed key's slot. Under file_lock. */
int vault_destroy_slot(struct vault *vault, uint64_t place, struct vault_id fingerprint,
                       struct vault_id subject);
