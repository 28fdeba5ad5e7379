/* keys: the vault of a data folder, held against its log (docs/erasure.md). The log decides what may be missing from the vault: a
 * key that sealed an event may not, unless a fence says that it was destroyed (K5).
 */
#pragma once

#include "journal/journal.h"
#include "vault/vault.h"

enum { KEYS_E_LOST = 64 }; /* beside VAULT_E_*: there are no keys, and the log holds sealed events */

#define KEYS_FENCE_TYPE BYTES_LITERAL("$SubjectErased")

struct keys_options {
    bool read_only; /* nothing is written */
    bool follower;  /* its keys come from its leader: what is missing will be fetched */
    bool give_up;   /* what has lost its key is lost: open all the same */
    void (*on_notice)(void *user, const char *sentence); /* as in vault_options */
    void *user;
};

/* Open the vault in `folder`, DATA/keys; whoever opens it for writing holds the log's lock. Where keys are missing none are
 * made, so that the old ones can be put back. Reads the log only while something is not as it should be. 0; KEYS_E_LOST,
 * VAULT_E_NEWER, VAULT_E_DAMAGED, -errno; a sentence in `ret_error` (256 bytes). */
_must_check_ int keys_open(struct log *log, const char *folder, const struct keys_options *options,
                           struct vault **ret_vault, char *ret_error);

/* The fences of an event, if it is a `$SubjectErased`. `each` returns 0 to go on, else it stops and that is returned. 0;
 * -ENOMEM. */
_must_check_ int keys_each_fence(const struct journal_event *event,
                                 int (*each)(void *user, const struct vault_fence *fence), void *user);

/* What one record, or a whole log, says of its keys. Damage ends it where it is. 0 or -errno. */
_must_check_ int keys_add_record(struct vault_evidence *evidence, const struct log_record *record);
_must_check_ int keys_gather(struct log *log, struct vault_evidence *evidence);
