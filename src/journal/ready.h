/* ready: what of an append can be made before its turn, on the thread that submits it: the bodies of its records, their
 * salts and their hashes. They do not depend on where the events will stand, and are most of the work; the writer, which
 * does one append after another, is left with the heads and the chain.
 */
#pragma once

#include "journal/journal.h"

/* Bodies of fewer bytes in all are not worth the memory: the writer makes them. */
enum { JOURNAL_READY_SIZE_MIN = 4096 };

struct journal_ready {
    size_t count;
    struct log_record records[]; /* body, salt and body_hash are set; the bodies lie behind them */
};

/* Sets append->ready, or to NULL: small, decided at its turn, with a subject whose key is not known yet, or there is no
 * memory or randomness now. The append has been checked. */
void ready_make(struct journal_append *append);
void ready_free(struct journal_append *append);
