/* scavenge: the bodies of events go that are past their retention and that nobody needs any more. Ids, types, tags, times
 * and the chain stay, so that conditions, idempotency (J5) and followers are what they were. Story: docs/scavenging.md.
 *
 * A run reads the journal once, up to the head it began at, and decides event by event: past its rule (retention.h), no
 * event of daybook's own, and nobody who handles it (the caller's keep()). What goes is first said in the journal itself,
 * in durable `$Scavenged` events of the stream `$scavenge`; then the writer thread puts stubs in the records' places,
 * between two batches.
 *
 * Invariants:
 * S1 No body goes before the event that says so is durable.
 * S2 After a crash in between, opening the journal for writing finishes what was said, before anything is appended. Bodies
 *    go in ascending order, so that the last one tells whether all did.
 * S3 A follower puts its stubs before it stores the event that says so: that it has the event means it has done it.
 * S4 A log made from a copy is gone through once, whole, before anything is appended: a backup adds only what is new, so its
 *    older segments may hold what was scavenged since. S2's "the last one tells" does not hold for it.
 */
#pragma once

#include "journal/journal.h"

/* Limits. */
enum {
    SCAVENGE_RANGE_COUNT_MAX = 10000, /* ranges of one `$Scavenged`; more make another */
    SCAVENGE_REASON_COUNT_MAX = 32,   /* different reasons counted; those beyond are one, "other" */
    SCAVENGE_REASON_SIZE_MAX = 96,    /* bytes of one, with its NUL; longer ones are cut */
};

struct scavenge_reason {
    char text[SCAVENGE_REASON_SIZE_MAX];
    uint64_t count;
};

struct scavenge_report {
    uint64_t head;         /* the run concerns events up to here */
    uint64_t examined;     /* positions looked at so far */
    uint64_t ruled;        /* of them, with a rule, and not gone before */
    uint64_t gone;         /* past the rule and needed by nobody */
    uint64_t young;        /* not past the rule */
    uint64_t kept;         /* past the rule, and yet needed: the sum of the reasons */
    uint64_t gone_already; /* by an earlier run */
    uint64_t body_bytes;   /* of the bodies that go */
    uint64_t room_bytes;   /* of them, what was given back to the disk. Not known in a dry run: 0 */
    struct scavenge_reason reasons[SCAVENGE_REASON_COUNT_MAX];
    size_t reason_count;
};

struct scavenge_options {
    bool dry_run; /* count only */
    /* Who needs this event although it is past its rule: a short text for the report ("view availability"), valid until
     * the next call; NULL: nobody. keep NULL: nobody needs any. */
    const char *(*keep)(void *user, const struct journal_event *event);
    /* Told now and then, and at the end. False: stop here; what has been said to go has gone. May be NULL. */
    bool (*on_progress)(void *user, const struct scavenge_report *report);
    void *user;
    int64_t now_us; /* what ages are counted from; 0: the journal's clock */
};

/* Run on the caller's thread; one at a time, which is the caller's to see to. 0; JOURNAL_E_READ_ONLY (a follower does what
 * its leader says), JOURNAL_E_* of the append, -ECANCELED: on_progress() said so or the journal is closing; -EBADMSG:
 * damage, or rules that cannot be read; -errno. `ret_report` is filled in as far as it went, `ret_error` (256 bytes) has a
 * sentence. */
int journal_scavenge(struct journal *journal, const struct scavenge_options *options,
                     struct scavenge_report *ret_report, char *ret_error);

/* What went after some position of the past: who looks back to it no longer finds those events as they were. */
struct scavenged;

/* What every `$Scavenged` after position `after` took. 0, -EBADMSG, -ENOMEM, -errno. */
_must_check_ int scavenged_load(struct journal *journal, uint64_t after, struct scavenged **ret_scavenged);
void scavenged_free(struct scavenged *scavenged); /* NULL is fine */
static inline void scavenged_freep(struct scavenged **scavenged)
{
    scavenged_free(*scavenged);
}
/* Whether one of them took the body at this position. */
bool scavenged_has(const struct scavenged *scavenged, uint64_t position);
/* The position of the last `$Scavenged` that was read: from there on nothing is missing. 0: there was none. */
uint64_t scavenged_last(const struct scavenged *scavenged);
