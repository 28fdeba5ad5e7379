/* groups: consumer groups: events of the journal, shared out among consumers that compete for them.
 *
 * A group has a filter, a place where it begins, and rules (definition.h). A consumer fetches a batch, each event with a
 * token, and has the lease's time to acknowledge it. What it gives back, or does not acknowledge in time, is delivered
 * again; what fails tries_max times is parked with the reason, and can be replayed. Every event of the group is delivered
 * at least once; with an order, of the events that share a key one is out at a time, in the order of the journal.
 *
 * What must be remembered are events in the stream `$group-NAME` (record.h). Acknowledgements are gathered for
 * ack_delay_ms and written as one event; a crash before that delivers them again. Leases and tries are in memory only:
 * after a restart everything not acknowledged is delivered again, its tries counted anew. Now and then the whole state is
 * written, so that opening reads no more than a tail.
 *
 * Life: groups_open() on a journal that takes writes, groups_close() before the journal closes; it writes what is left.
 *
 * Threads: every function may be called from any thread and may wait for the disk. One thread of its own writes down.
 * changed() comes from any of them: quick, and without calling back.
 *
 * Invariants: G1–G4 of state.h, and
 * G5 what a group's stream says is true: it may lag behind by what is not written yet, never ahead. A position is written
 *    as acknowledged only after it was.
 */
#pragma once

#include "group/definition.h"
#include "group/state.h"
#include "os/clock.h"

enum {
    GROUP_FETCH_COUNT_MAX = 1000,   /* events of a batch */
    GROUP_TOKEN_COUNT_MAX = 1000,   /* tokens of a request */
    GROUP_TOKEN_SIZE_MAX = 40,      /* bytes of one */
    GROUP_STATE_EVERY_COUNT = 64,   /* records of a group, after which all of its state is written */
    GROUP_ACK_DELAY_MS_MAX = 600000,
    GROUP_CHECKPOINT_COUNT = 10000, /* positions passed over, after which the cursor is written down */
};

/* Answers, besides GROUP_E_LOST and GROUP_E_CONSUMERS. */
enum {
    GROUP_E_UNKNOWN = 16,    /* no group of this name */
    GROUP_E_SAME = 17,       /* creating: it is there, with these very rules */
    GROUP_E_EXISTS = 18,     /* creating: it is there, with others */
    GROUP_E_MANY = 19,       /* creating: as many as there may be */
    GROUP_E_JOURNAL = 20,    /* the journal did not take it: the result says why */
    GROUP_E_NOT_PARKED = 21, /* replaying: a position is not parked; nothing was changed */
    GROUP_E_BEYOND = 23,     /* creating: it would begin behind a position that does not exist */
    GROUP_E_RETURNED = 22,   /* replaying: more than GROUP_RETURNED_COUNT_MAX would be on their way; nothing was changed */
};

struct groups;

struct groups_options {
    const struct os_clock *clock; /* NULL: the real one */
    uint64_t count_max;           /* groups */
    uint32_t ack_delay_ms;        /* at most GROUP_ACK_DELAY_MS_MAX */
    void (*changed)(void *user); /* what waits may get something now; may be NULL */
    /* Opening: a group could not be read and is left out. May be NULL. */
    void (*notice)(void *user, const char *sentence);
    void *user;
};

/* Opens all groups of the journal. 0 or -errno. */
int groups_open(struct journal *journal, const struct groups_options *options, struct groups **ret_groups);
void groups_close(struct groups *groups);

/* 0, GROUP_E_SAME, GROUP_E_EXISTS, GROUP_E_MANY, GROUP_E_BEYOND, GROUP_E_JOURNAL with *ret_result, -errno. The definition is taken on 0,
 * the caller's else. The name is a good one (group_name_rule()). */
int groups_create(struct groups *groups, struct bytes name, struct group_definition *definition,
                  struct journal_result *ret_result);
/* 0, GROUP_E_UNKNOWN, GROUP_E_JOURNAL, -errno. Tokens of it are lost. */
int groups_delete(struct groups *groups, struct bytes name, struct journal_result *ret_result);

/* A batch: what was asked for, and what came of it. */
struct group_batch {
    struct bytes group, consumer;
    size_t max;      /* events, at most GROUP_FETCH_COUNT_MAX */
    size_t size_max; /* bytes of `out` after which no further event comes; 0: as many as there are */
    struct group_token *tokens; /* room for max of them */
    struct buffer out; /* the events, each {"token","tries","event"}, with a comma between; appended to */
    size_t count;
    uint64_t due_ns; /* when to ask again at the latest although nothing changed; UINT64_MAX: no need */
    uint64_t lease_s;
};
/* 0, with count 0 when there is none now; GROUP_E_UNKNOWN, GROUP_E_CONSUMERS, -errno: nothing was given out. */
int groups_fetch(struct groups *groups, struct group_batch *batch);
/* The batch did not reach its consumer: as if it had not been fetched. */
void groups_undo(struct groups *groups, struct group_batch *batch);
bool groups_has(struct groups *groups, struct bytes name);
/* Whether there are, or may be, groups that are not here because damage lies where the journal speaks of them. */
bool groups_left_out(const struct groups *groups);

/* "<position>-<16 hexadecimal digits>": 0, or 1 when it is none. */
int group_token_parse(struct bytes text, struct group_token *ret_token);

/* All tokens or none: 0, GROUP_E_UNKNOWN, GROUP_E_LOST with ret_lost, -errno. */
int groups_ack(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
               bool *ret_lost);
/* The reason has at most GROUP_REASON_SIZE_MAX bytes and no NUL. */
int groups_nack(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
                uint64_t delay_ms, struct bytes reason, bool *ret_lost, size_t *ret_parked);
/* They were delivered, and not begun: back at once, no try is counted. What is not good is passed over. 0, GROUP_E_UNKNOWN. */
int groups_untry(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count);
/* The lease ends `lease_ms` from now; 0: as long as a new one. */
int groups_extend(struct groups *groups, struct bytes name, const struct group_token *tokens, size_t count,
                  uint64_t lease_ms, bool *ret_lost);

/* These parked positions, or all when count is 0, are delivered again: durable when it returns. GROUP_E_UNKNOWN,
 * GROUP_E_NOT_PARKED, GROUP_E_RETURNED, GROUP_E_JOURNAL, -errno. */
int groups_replay(struct groups *groups, struct bytes name, const uint64_t *positions, size_t count,
                  struct journal_result *ret_result, size_t *ret_count);

/* How a group stands; pointers are good during the call that gives it. */
struct group_status {
    struct bytes name;
    const struct group_definition *definition;
    uint64_t cursor, head;
    uint64_t lag; /* events it may still have to deliver or see acknowledged, at most; 0: all is done */
    uint64_t out, parked;
    const struct group_stall *stall; /* whether it moves */
    uint64_t delivered, acknowledged, refused, expired;
    const struct group_consumer *consumers;
    size_t consumer_count;
    const struct group_parked *parked_events; /* by position */
};
/* "parked-full", "window-full"; NULL: it moves. */
const char *group_stall_word(const struct group_stall *stall);
/* Each group, or the one of this name, in the order of names. `fresh`: reads on in the journal first, so that what is not
 * for the group does not count as lag. GROUP_E_UNKNOWN. */
int groups_each(struct groups *groups, struct bytes name, bool fresh,
                void (*each)(void *user, const struct group_status *status), void *user);
size_t groups_count(struct groups *groups);

/* Who waits for events: the groups as they are when it is made. One that is made later gets what is there then. */
struct groups_waiting;

/* 0 or -ENOMEM. Freed before the groups are closed. */
_must_check_ int groups_waiting_new(struct groups *groups, struct groups_waiting **ret_waiting);
void groups_waiting_free(struct groups_waiting *waiting); /* NULL is fine */
static inline void groups_waiting_freep(struct groups_waiting **waiting)
{
    groups_waiting_free(*waiting);
}
/* The name of the first group that is for this event and may still give it out (group_state_waits_for()), good as long as
 * `waiting` is; NULL: none. */
const char *groups_waiting_for(const struct groups_waiting *waiting, const struct journal_event *event);
