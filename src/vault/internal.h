/* What the files of the vault share.
 *
 * Two locks: `lock` guards what is in memory and is held for moments; `file_lock` guards both files and is held over writes
 * and syncs. Whoever needs both takes file_lock first.
 */
#pragma once

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
    uint64_t fence_place; /* of the last fence in the file, + 1; 0: none */
    bool has_head, head_broken;
    struct vault_id missed; /* the last key that was looked for in vain */
    bool has_missed;
    _Atomic bool unsynced;
};

static inline bool id_is_zero(const struct vault_id *id)
{
    return bytes_get_u64(id->bytes) == 0 && bytes_get_u64(id->bytes + 8) == 0;
}

static inline struct hash128 id_hash(struct vault_id id)
{
    return (struct hash128){.low = bytes_get_u64(id.bytes), .high = bytes_get_u64(id.bytes + 8)};
}

/* --- slot_file.c --- */

/* A slot as it was read; `slot` has its fields also when it does not hold. */
struct slot_seen {
    uint64_t place;
    int answer; /* slot_read()'s */
    bool cut;   /* the file ends within it */
    struct slot slot;
    uint8_t raw[SLOT_SIZE];
};
typedef int slot_file_each(void *user, const struct slot_seen *seen);
/* Read the file: `each` is told of every slot; it returns 0 to go on. A missing file is empty. */
int slot_file_read(const struct os_file_ops *ops, const char *path, void *user, slot_file_each *each,
                   uint64_t *ret_count);
/* Open for writing, made if missing, and make its end durable. `count` as read. */
int slot_file_open(const struct os_file_ops *ops, struct slot_file *file, uint64_t count);
/* Take away a part of a slot at the end. */
int slot_file_cut(const struct os_file_ops *ops, struct slot_file *file);
void slot_file_close(const struct os_file_ops *ops, struct slot_file *file);
/* Put a slot behind the last one; slot_file_sync() writes it. */
int slot_file_push(struct slot_file *file, const struct slot *slot);
int slot_file_sync(const struct os_file_ops *ops, struct slot_file *file);
/* Write over a slot that is durable, and sync. */
int slot_file_overwrite(const struct os_file_ops *ops, struct slot_file *file, uint64_t place,
                        const struct slot *slot);

/* --- judge.c: what a slot that does not hold was --- */

enum verdict {
    VERDICT_TORN,      /* it was being appended, and nothing needs it */
    VERDICT_SPARE,     /* a key that sealed nothing */
    VERDICT_DESTROYED, /* a key that is fenced: `id` and `subject` say which */
    VERDICT_FENCE,     /* a fence that is known: `fence` */
    VERDICT_DONE,      /* a note that work was done, which can be done again */
    VERDICT_DAMAGED,   /* nothing of that kind (K5) */
};
struct broken {
    bool in_fences, cut;
    uint64_t place;
    uint8_t raw[SLOT_SIZE];
    struct slot slot;
    enum verdict verdict;
    struct vault_fence fence; /* DESTROYED, FENCE */
};
struct broken_list {
    struct broken *items;
    size_t count, capacity;
};
int broken_add(struct broken_list *list, bool in_fences, const struct slot_seen *seen);
void broken_deinit(struct broken_list *list);
/* Judge them all; `missing_position`: the first event whose key is missing, 0: none. */
void vault_judge(const struct vault *vault, const struct vault_evidence *evidence, struct broken_list *list,
                 uint64_t *ret_missing_position);
const char *verdict_text(enum verdict verdict);

/* --- open.c --- */

/* A vault with what both files hold, opened for nothing yet. `broken` gets the slots that do not hold; the caller judges them. */
int vault_read(struct vault *vault, const char *folder, struct broken_list *broken);
/* vault_open(); `fences_only`: damage of keys is passed over. */
int vault_open_for(const char *folder, const struct vault_options *options, bool fences_only,
                   struct vault **ret_vault, char *ret_error);
/* Of fences that are there, the keys are not: in memory, and in the file unless it is read only. */
int vault_destroy_fenced(struct vault *vault);
/* Says in the caller's words why a vault cannot be read, opened or copied; answers `r`. */
int vault_explain(int r, const char *folder, char *ret_error);

/* --- vault.c --- */

int vault_new(const struct vault_options *options, struct vault **ret_vault);

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
