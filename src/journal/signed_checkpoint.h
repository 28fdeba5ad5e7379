/* signed_checkpoint: what an auditor keeps: a position, the chain there, and who says so (docs/formats/checkpoint.md).
 *
 * Signing and reading are pure; tools.h makes checkpoints of a folder and holds them against one.
 */
#pragma once

#include "base/note.h"
#include "journal/journal.h"

struct signed_checkpoint {
    char origin[NOTE_NAME_SIZE_MAX + 1]; /* the key's name when it was signed by us; longer ones are cut */
    uint64_t position;
    struct log_chain chain;
    struct journal_id journal; /* zeros: it does not say */
    int64_t time_us;           /* likewise 0 */
};

/* Appends the checkpoint as a note signed by `key`, whose name is its origin (`checkpoint->origin` is not looked at).
 * 0, -ENOMEM, -E2BIG. */
_must_check_ int signed_checkpoint_write(const struct signed_checkpoint *checkpoint, const struct note_key *key,
                                         struct buffer *out);

/* Reads the text of a note that has been opened. NOTE_E_INVALID: it is no checkpoint; *ret_reason is the end of a sentence,
 * static. */
_must_check_ int signed_checkpoint_parse(struct bytes text, struct signed_checkpoint *ret_checkpoint,
                                         const char **ret_reason);

/* Both: the checkpoint, if `key` has signed it; else as note_open(). */
_must_check_ int signed_checkpoint_open(struct bytes note, const struct note_key *key,
                                        struct signed_checkpoint *ret_checkpoint, const char **ret_reason);
