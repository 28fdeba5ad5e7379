/* vault: the keys that data about a person is sealed with.
 *
 * A subject is whom data is about: "guest-17". Each has a key of its own, kept in a folder beside the log and never in it.
 * Whoever destroys the key has erased the data, in the log and in every copy of the log. What must not come back is fenced:
 * a key whose fingerprint stands in the fences is refused, wherever it turns up. The files are docs/formats/keys.md.
 *
 * Life: vault_open() reads both files, destroys what is fenced, and takes keys and fences until vault_close().
 *
 * Threads: any function from any thread. Keys are made by one thread at a time, the journal's writer.
 *
 * Invariants:
 * K1 a key that vault_sync() has returned 0 for is there after any crash, until it is destroyed.
 * K2 a fence is durable before its key is touched; a fenced key is never used again, by this process or a later one.
 * K3 the name of a subject stands in no file: only its keyed hash.
 * K4 after a failed sync the vault makes no key until it is opened anew.
 * K5 only what was never synced may be torn, and is passed over. The log tells what was: a slot that does not hold, while a key
 *    that sealed an event of the log is missing, is damage, and so is a fence that cannot be made out again.
 */
#pragma once

#include "base/bytes.h"
#include "base/hashmap.h"
#include "os/file.h"
#include "os/random.h"

enum {
    VAULT_SUBJECT_SIZE_MAX = 256, /* bytes of a subject's name */
    VAULT_FINGERPRINT_SIZE = 16,
    VAULT_NONCE_SIZE = 24,
    VAULT_SECRET_SIZE = 32,
    VAULT_SLOT_SIZE = 128,            /* of both files */
    VAULT_UNSYNCED_COUNT_MAX = 16384, /* keys made and not yet synced */
    VAULT_SUBJECT_KEY_COUNT_MAX = 64, /* living keys of one subject */
    VAULT_SEALED_HEAD_SIZE = 44,      /* of a sealed body, before the ciphertext */
    VAULT_SEALED_EXTRA = 60,          /* bytes that sealing adds */
};

/* Answers. */
enum {
    VAULT_E_ERASED = 1,  /* the key was destroyed */
    VAULT_E_MISSING = 2, /* the key is not here, and no fence says that it was destroyed */
    VAULT_E_FORGED = 3,  /* the bytes are not what was sealed with this key */
    VAULT_E_NEWER = 4,   /* a file has a newer format */
    VAULT_E_DAMAGED = 5, /* a file is not as it was written (K5); the sentence names it and the place */
    VAULT_E_NONE = 6,    /* nothing of what was asked for */
    VAULT_E_BUSY = 7,    /* VAULT_UNSYNCED_COUNT_MAX or VAULT_SUBJECT_KEY_COUNT_MAX reached */
    VAULT_E_FOREIGN = 8, /* the target's keys are not of one family with these */
};

struct vault_id {
    uint8_t bytes[VAULT_FINGERPRINT_SIZE];
};

struct vault_fence {
    struct vault_id fingerprint, subject;
    uint64_t position; /* of the journal's event that says so; 0: not known here */
    int64_t time_us;
    bool done; /* everything derived from it is gone too */
};

/* What a log says of its keys: which ones sealed its events, and its fences. {0} is empty. */
struct vault_evidence {
    struct hashmap used; /* fingerprint → position of the first event */
    struct hashmap fenced;
    struct vault_fence *fences;
    size_t fence_count, fence_capacity;
};
void vault_evidence_deinit(struct vault_evidence *evidence);
int vault_evidence_add_key(struct vault_evidence *evidence, const struct vault_id *key, uint64_t position);
int vault_evidence_add_fence(struct vault_evidence *evidence, const struct vault_fence *fence);

/* Where to ask for it: once, and only when a slot does not hold, for a log may be long. NULL: no event is sealed. 0 or -errno. */
struct vault_witness {
    int (*ask)(void *user, struct vault_evidence *evidence);
    void *user;
};

struct vault_options {
    const struct os_file_ops *file; /* NULL: the real kernel */
    const struct os_random *random; /* NULL: the real one */
    bool read_only;                 /* nothing is written; fences count in memory */
    bool give_up;                   /* damage is passed over: what it sealed is lost for good */
    struct vault_witness witness;
    void (*on_notice)(void *user, const char *sentence); /* what opening found and mended; may be NULL */
    void *user;
};

struct vault;

/* Open the vault in `folder`, which is made when it is missing (read_only: then the vault is empty). What was torn is taken
 * out of the files, and a fence or a destroyed key that does not hold is written again if it can be made out. 0; VAULT_E_NEWER,
 * VAULT_E_DAMAGED or -errno with a sentence in `ret_error` (256 bytes or NULL). */
int vault_open(const char *folder, const struct vault_options *options, struct vault **ret_vault,
               char *ret_error);
/* NULL is fine. Keys in memory are wiped. */
void vault_close(struct vault *vault);

/* ---- sealing ---- */

/* The key that this subject's data is sealed with from now on, made when there is none. Not durable before vault_sync().
 * 0; VAULT_E_BUSY; -ENOMEM; -EROFS; the failure that ended writing (K4). */
int vault_key(struct vault *vault, struct bytes subject, struct vault_id *ret_fingerprint);
/* Every key handed out before is durable. Nothing to do: costs a look. 0; -ENOSPC (it may be tried again); -errno: for ever. */
int vault_sync(struct vault *vault);

size_t vault_sealed_size(size_t size);
/* Seal `plain` for a key from vault_key(); `bound` is what the data cannot be parted from. `to` has vault_sealed_size() bytes.
 * 0; VAULT_E_MISSING, VAULT_E_ERASED. */
int vault_seal(struct vault *vault, const struct vault_id *fingerprint, const uint8_t nonce[VAULT_NONCE_SIZE],
               struct bytes bound, struct bytes plain, uint8_t *to);
/* Which key a sealed body needs: NULL, or the rule of the format that it breaks. */
const char *vault_sealed_check(struct bytes sealed, struct vault_id *ret_fingerprint);
/* Open a sealed body that passes vault_sealed_check(): `plain` holds what was sealed, and nothing on failure. `vault` may
 * be NULL. 0; VAULT_E_ERASED, VAULT_E_MISSING, VAULT_E_FORGED, -ENOMEM. */
int vault_unseal(struct vault *vault, struct bytes bound, struct bytes sealed, struct buffer *plain);

/* ---- erasing ---- */

/* The name as the files know it. */
struct vault_id vault_subject(struct vault *vault, struct bytes subject);

/* Stop using the subject's keys: vault_key() makes a new one from now on, and the old ones open what they sealed until they
 * are fenced. `ret_fingerprints` has room for VAULT_SUBJECT_KEY_COUNT_MAX. The count; 0: no living key. */
size_t vault_retire(struct vault *vault, struct bytes subject, struct vault_id *ret_fingerprints);

/* Fence a key, durably, then destroy it (K2). Again with the same fingerprint: what is missing of it is done. 0; -ENOSPC: nobody
 * uses the key any more, in this process, and it may be tried again; -errno. */
int vault_fence(struct vault *vault, const struct vault_fence *fence);
/* Note that nothing here is left of what the fences at this position concern. 0 or -errno. */
int vault_fence_done(struct vault *vault, uint64_t position);

/* How many fences there are, and one of them, in the order they were set. */
size_t vault_fence_count(struct vault *vault);
void vault_fence_get(struct vault *vault, size_t index, struct vault_fence *ret_fence);

/* ---- copies ---- */

/* What is not as it was written. */
struct vault_damage {
    const char *file; /* "keys", "fences" */
    uint64_t offset;
    uint64_t position; /* of the first event concerned, 0: unknown */
    bool torn;         /* what a crash leaves: nothing was sealed with it */
    const char *what;
};
/* Hold both files against `evidence`, also those of a vault in use: every slot that does not hold, and every key that sealed an
 * event and is neither here nor fenced. Changes nothing. 0: read to the end; VAULT_E_NEWER, -errno; a sentence. */
int vault_check(const char *folder, const struct os_file_ops *file, const struct vault_evidence *evidence,
                void (*on_damage)(void *user, const struct vault_damage *damage), void *user, char *ret_error);

/* Copy keys and fences of a vault, also one in use, into the vault folder `target`, whose fences are kept and joined, and its
 * keys, too: what is good is never replaced by what is not. Nothing to copy is fine. 0; VAULT_E_NEWER, VAULT_E_DAMAGED,
 * VAULT_E_FOREIGN, -errno; a sentence. `witness` is the log's that is copied. */
int vault_backup(const char *folder, const char *target, const struct os_file_ops *file,
                 const struct vault_witness *witness, char *ret_error);
/* Add the fences of the vault folder `from`, and those in `evidence` (NULL: none), to those in `into`; neither is in use. As
 * above. */
int vault_union_fences(const char *from, const char *into, const struct os_file_ops *file,
                       const struct vault_evidence *evidence, char *ret_error);

/* ---- for a follower ---- */

/* The vault's own slot, then those of its living keys from place `first` on, as in docs/formats/keys.md: durable ones, at
 * most `count_max` keys. Appended to `out`; `ret_next` is where to go on. 0 or -errno. */
int vault_export(struct vault *vault, uint64_t first, size_t count_max, struct buffer *out,
                 uint64_t *ret_next);
/* Take over what vault_export() gave: a vault without keys becomes of one family with the other, and knows subjects by the
 * same hashes. Keys that are here or fenced are passed over. Durable when it returns. 0; VAULT_E_DAMAGED: a slot does not
 * hold, or they are of another family; VAULT_E_NEWER; VAULT_E_BUSY; -errno. */
int vault_import(struct vault *vault, struct bytes slots);

/* Whether the key of a sealed body has not come yet: it is not here, and no fence says that it was destroyed. Such a key is
 * noted as missed, and so is one that vault_unseal() did not find. */
bool vault_misses(struct vault *vault, struct bytes sealed);
/* Whether the key that was last noted as missed still is. */
bool vault_is_missing(struct vault *vault);

/* ---- figures ---- */

struct vault_status {
    uint64_t keys, destroyed, fences, fences_open;
    uint64_t slots_durable; /* of `keys`, the vault's own too: where vault_export() comes to its end */
    uint64_t slots_broken; /* did not hold when the vault was opened */
};
void vault_status(struct vault *vault, struct vault_status *ret_status);
