/* group_state: who has which event of a consumer group, what is done, what is parked. Pure: no journal, no clock, no
 * locks; times are nanoseconds of any clock that does not go back, handed in.
 *
 *     admit ──▶ READY ──fetch──▶ OUT ──ack──▶ settled
 *                 ▲               │
 *                 └─ nack, lease ─┤
 *                    runs out     └─ the same, after tries_max tries ──▶ parked ──replay──▶ READY
 *
 * When nothing more can be parked, what failed so often goes back into the window and waits, each time twice as long, so that
 * what stands behind it gets its turn.
 *
 * The window holds, sorted by position, what has been read of the journal and is not settled up to the cursor; it has a
 * ceiling, and reading goes on when the front is done. What was parked and is asked for again returns into the window,
 * below the cursor.
 *
 * Invariants:
 * G1 every position admitted is settled (acknowledged or parked) or in the window as READY or OUT.
 * G2 the cursor only grows; all that was admitted up to it is settled, but for what returned.
 * G3 of the entries that share a key at most one is OUT, and none is given out while an earlier one is not settled.
 * G4 a token is good while its entry is OUT by the very delivery that made it; any other changes nothing. Its serial is a keyed
 *    hash of how many were made before, so that who has some can guess no other.
 */
#pragma once

#include "base/bytes.h"
#include "base/hash.h"
#include "base/hashmap.h"

enum {
    GROUP_WINDOW_COUNT_MAX = 10000, /* events read ahead of the cursor */
    GROUP_PARKED_COUNT_MAX = 1000,  /* then events go on being delivered, however often they failed, but … */
    GROUP_BACKOFF_MS_MIN = 1000,    /* … not before this, doubled with every further try, … */
    GROUP_BACKOFF_MS_MAX = 300000,  /* … up to this */
    GROUP_RETURNED_COUNT_MAX = 1000, /* replayed and not settled again: they come on top of the window */
    GROUP_REASON_SIZE_MAX = 200,    /* bytes of why an event was refused */
    GROUP_CONSUMER_COUNT_MAX = 1000,
    GROUP_CONSUMER_SIZE_MAX = 128,
};

enum {
    GROUP_E_LOST = 1,      /* at least one token is not good (G4); nothing was changed */
    GROUP_E_CONSUMERS = 2, /* as many consumers have events as there may be */
};

enum group_entry_state { GROUP_READY, GROUP_OUT, GROUP_SETTLED };

struct group_entry {
    uint64_t position;
    uint64_t serial; /* of the delivery it is OUT by: G4 */
    uint64_t due_ns; /* READY: not before; OUT: its lease ends */
    enum group_entry_state state;
    bool returned; /* from the parked: says nothing about the cursor */
    uint32_t tries;
    uint32_t consumer; /* index, while OUT */
    uint32_t key_count;
    union {
        uint64_t key;   /* of one */
        uint64_t *keys; /* of several, owned */
    };
};

struct group_parked {
    uint64_t position;
    uint32_t tries;
    int64_t time_us; /* when it was parked */
    bool stored;     /* its event is in the journal: group.c's */
    char reason[GROUP_REASON_SIZE_MAX + 1];
};

struct group_consumer {
    char name[GROUP_CONSUMER_SIZE_MAX + 1];
    uint32_t out; /* events it has */
    uint64_t seen_ns;
};

/* Positions first … last, all settled that were admitted among them. */
struct group_range {
    uint64_t first, last;
};

struct group_token {
    uint64_t position, serial;
};

struct group_delivery {
    struct group_token token;
    uint32_t tries;
};

struct group_state {
    uint64_t lease_ns;
    uint32_t tries_max;
    uint64_t cursor, examined;
    uint8_t key[HASH_SIP_KEY_SIZE]; /* of the tokens */
    uint64_t token_count;           /* made so far */
    uint64_t due_ns; /* nothing falls due before; UINT64_MAX: nothing at all */
    struct group_entry *entries;
    size_t count, capacity;
    struct hashmap out_keys; /* keys of entries that are OUT */
    struct group_range *settled;
    size_t settled_count;        /* beyond the cursor, from before: skipped by admit */
    struct group_parked *parked; /* by position */
    size_t parked_count, parked_capacity;
    struct group_consumer *consumers;
    size_t consumer_count, consumer_capacity;
    uint64_t *acked; /* settled since group_state_forget_acked(): group.c writes them down */
    size_t acked_count, acked_capacity;
    size_t out;
    uint64_t delivered, acknowledged, expired, refused; /* figures since the start */
};

/* Begins behind `cursor`. `key`: random, and no other group's or run's; copied. */
void group_state_init(struct group_state *state, uint64_t cursor, const uint8_t key[HASH_SIP_KEY_SIZE]);
void group_state_deinit(struct group_state *state);

/* Ranges beyond the cursor that are settled already, sorted: taken over, from malloc. Before the first admit. */
void group_state_set_settled(struct group_state *state, struct group_range *ranges, size_t count);

/* An event of the group: position above all before. Its keys are copied. 0 or -ENOMEM. */
_must_check_ int group_state_admit(struct group_state *state, uint64_t position, const uint64_t *keys,
                                   size_t key_count);
/* Everything up to this position has been admitted or is not for the group. */
void group_state_pass(struct group_state *state, uint64_t position);
/* How many may still be admitted. */
size_t group_state_room(const struct group_state *state);

/* Gives a consumer up to `max` events; 0 with *ret_count 0: there is none now. GROUP_E_CONSUMERS, -ENOMEM: nothing was
 * given. */
_must_check_ int group_state_fetch(struct group_state *state, uint64_t now_ns, struct bytes consumer,
                                   size_t max, struct group_delivery *deliveries, size_t *ret_count);

/* All tokens or none. 0; GROUP_E_LOST with ret_lost[i] set for each that is not good; -ENOMEM. */
_must_check_ int group_state_ack(struct group_state *state, const struct group_token *tokens, size_t count,
                                 bool *ret_lost);
/* Back into the window, not before `due_ns`, and later when it would be parked and cannot; or parked, with the reason.
 * `ret_parked`: how many. */
_must_check_ int group_state_nack(struct group_state *state, const struct group_token *tokens, size_t count,
                                  uint64_t due_ns, struct bytes reason, int64_t time_us, bool *ret_lost,
                                  size_t *ret_parked);
_must_check_ int group_state_extend(struct group_state *state, const struct group_token *tokens, size_t count,
                                    uint64_t due_ns, bool *ret_lost);

/* Gives back what its consumer never got: no try is counted. What is not good is passed over. */
void group_state_undo(struct group_state *state, const struct group_token *tokens, size_t count);

/* Takes back what has been out for too long. Whether anything changed; `ret_parked`: how many were parked. */
bool group_state_expire(struct group_state *state, uint64_t now_ns, int64_t time_us, size_t *ret_parked);

/* A parked event by its position, or NULL. */
struct group_parked *group_state_find_parked(const struct group_state *state, uint64_t position);
/* Adds one as it was, when opening. */
_must_check_ int group_state_add_parked(struct group_state *state, const struct group_parked *parked);
/* How many that returned are not settled again. */
size_t group_state_returned(const struct group_state *state);
/* Back into the window, with no tries against it, whether it was parked or is known to have returned. 0 or -ENOMEM. */
_must_check_ int group_state_return(struct group_state *state, uint64_t position, const uint64_t *keys,
                                    size_t key_count);

/* The first `count` of `acked` are written down. */
void group_state_forget_acked(struct group_state *state, size_t count);
/* What is settled beyond the cursor, as few ranges as it takes, from malloc. 0 or -ENOMEM. */
_must_check_ int group_state_ranges(const struct group_state *state, struct group_range **ret_ranges,
                                    size_t *ret_count);

/* Whether anybody may still be given this event, which is for the group, be it after a crash: it was not read yet, is in the
 * window, is parked, or its acknowledgement is not written down. */
bool group_state_waits_for(const struct group_state *state, uint64_t position);

/* Why a group does not move as it should, and on which event's account. */
enum group_stall_kind {
    GROUP_MOVES,
    GROUP_STALL_PARK,   /* nothing more can be parked: what fails too often waits for another try */
    GROUP_STALL_WINDOW, /* nothing can be given out, and nothing read on: the first event of the window is held, or waits */
};

struct group_stall {
    enum group_stall_kind kind;
    uint64_t position; /* of the first that waits or is held; 0: none yet */
    uint32_t tries;    /* of that one */
    const char *consumer; /* who holds it, or NULL; good until the state changes */
    size_t waiting;    /* how many failed too often and are not parked */
};

/* How it stands at this moment. */
_must_check_ int group_state_stall(const struct group_state *state, uint64_t now_ns, struct group_stall *ret_stall);
