/* oracle: what the journal owes, held against what it does.
 *
 * The model is lib/naive_journal.h: an array of events and the shortest code that can be right. Appends are decided by it
 * a second time, in the order in which they are answered, and must come to the same end (P2, P4, P5). What readers have
 * been shown is remembered (P3). After a crash the events found must begin with all that was acknowledged or shown, and go
 * on with whole appends that were submitted and neither acknowledged nor refused (P1, P2, P6).
 *
 * Every append is kept in a ledger to the end of the world, so that what is found can be traced to who sent it.
 */
#pragma once

#include "journal/journal.h"
#include "lib/naive_journal.h"

enum { LEDGER_EVENT_COUNT_MAX = 4, LEDGER_TAG_COUNT_MAX = 3, LEDGER_ITEM_COUNT_MAX = 2 };

enum entry_state {
    ENTRY_NEW,      /* not submitted */
    ENTRY_OPEN,     /* submitted, not answered; after a crash: may have been written */
    ENTRY_ACCEPTED, /* appended or replayed, as the model has it */
    ENTRY_REFUSED,  /* must never be found */
    ENTRY_UNKNOWN,  /* answered with JOURNAL_E_UNKNOWN: may be found */
};

/* An append and all it points to. */
struct entry {
    struct journal_append append; /* first */
    struct oracle *oracle;
    uint64_t number, life;
    enum entry_state state;
    int answer;
    bool ended;             /* answered, by a living process or a dead one */
    bool after_failed_sync; /* submitted when a sync had failed and the log had not been opened anew */
    struct journal_event_new events[LEDGER_EVENT_COUNT_MAX];
    struct bytes tags[LEDGER_EVENT_COUNT_MAX][LEDGER_TAG_COUNT_MAX];
    char *data[LEDGER_EVENT_COUNT_MAX];
    struct bytes decided_on; /* a tag; with it the append decides at its turn, on how many events carry it */
    uint64_t seen_count, seen_tail;
    struct journal_expectation expectations[2];
    struct journal_condition condition;
    struct journal_item items[LEDGER_ITEM_COUNT_MAX];
    struct bytes types[LEDGER_ITEM_COUNT_MAX][2], item_tags[LEDGER_ITEM_COUNT_MAX][2];
};

struct oracle {
    struct naive_journal *model;
    struct entry **ledger;
    size_t count, capacity;
    uint64_t *shown; /* hash of the event at each position a reader was shown; 0: not shown */
    size_t shown_capacity;
    uint64_t head_shown; /* the highest of them */
    uint64_t floor;      /* below it lies what at least one later durable frame vouches for */
    uint64_t head_moved; /* where the head was last seen to move */
    uint64_t life;
    bool async; /* this life may lose what was not synced when the power goes */
    bool may_lag; /* the disk has failed or was full: what was said to go may not be gone yet (S2) */
    bool deaf;  /* the process is dead: what it says is not heard */
    uint64_t accepted, refused;
};

void oracle_init(struct oracle *oracle);
void oracle_deinit(struct oracle *oracle);

/* A new entry, its append empty. The oracle keeps it. */
struct entry *oracle_new_entry(struct oracle *oracle);
/* The same append once more, as a client sends it that does not know how it ended. */
struct entry *oracle_repeat(struct oracle *oracle, const struct entry *entry);

/* An append of the ledger has ended. */
void oracle_hear(struct oracle *oracle, struct entry *entry, const struct journal_result *result);
/* The head has moved: one batch more is durable. */
void oracle_hear_head(struct oracle *oracle, uint64_t head);
/* A reader was shown an event. */
void oracle_hear_event(struct oracle *oracle, const struct journal_event *event);

/* Somebody scavenged, and nobody else writes: the model takes daybook's own events, and forgets what went. */
void oracle_hear_scavenge(struct oracle *oracle, struct journal *journal);

/* How the last process ended, and what that allows. */
enum oracle_law {
    ORACLE_STRICT, /* everything acknowledged must be there */
    ORACLE_ASYNC,  /* the power went in a mode that says it may lose its last second: a prefix */
    ORACLE_DAMAGE, /* the disk has lied: what is missing below the floor must be told */
};

/* Compare an opened journal with the model and settle what was open. Whether it is writable. */
bool oracle_compare(struct oracle *oracle, struct journal *journal, enum oracle_law law);
