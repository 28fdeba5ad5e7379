/* keys: the vault of a data folder, held against its log (docs/erasure.md). The log decides what may be missing from the vault: a
 * key that sealed an event may not, unless a fence says that it was destroyed (K5).
 *
 * Slots that do not hold are a sign, and then the log is asked. A file that was cut between two slots, or an older copy of it, holds
 * in every slot and lacks the newest keys. Those sealed the newest events: so the last KEYS_LOOK_COUNT records are looked at
 * whenever a vault is opened. What lies further back is daybook verify's.
 */
#pragma once

#include "journal/journal.h"
#include "vault/vault.h"

enum { KEYS_LOOK_COUNT = 65536 }; /* records at the end of a log whose keys must be there: some hundredths of a second */
enum { KEYS_E_LOST = 64 }; /* beside VAULT_E_*: there are no keys, and the log holds sealed events */

#define KEYS_FENCE_TYPE BYTES_LITERAL("$SubjectErased")

struct keys_options {
    bool read_only; /* nothing is written */
    bool follower;  /* its keys come from its leader: what is missing will be fetched */
    bool give_up;   /* what has lost its key is lost: open all the same, and note it in `folder`, so that it is said once */
    void (*on_notice)(void *user, const char *sentence); /* as in vault_options */
    void *user;
};

/* The first of the log's last events whose key is not in `vault`, opened from `folder`, and that no fence has; 0: there is none.
 * What was given up in the vault `source` does not count. 0 or -errno. */
_must_check_ int keys_find_missing(struct log *log, struct vault *vault, const char *folder, const char *source,
                                   uint64_t *ret_position);

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
