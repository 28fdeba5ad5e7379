/* runtime: what the files of this folder share: the runtime, one command under way (a flight), and who may
 * touch what.
 *
 * A flight belongs to one thread at a time and is handed on: the caller of command_submit(), maybe a worker,
 * the journal's writer thread (flight_turn(), flight_landed()), maybe a worker again; whoever answers it
 * frees it.
 */
#pragma once

#include <stdatomic.h>

#include "command/cache.h"
#include "command/command.h"
#include "command/out.h"

enum { COMMAND_KEY_HASH_SIZE = 16 };

struct step_figures {
    _Atomic uint64_t count, ns_total, ns_max;
};

struct command_runtime {
    struct journal *journal;
    struct daybook_app app;
    struct cache cache;
    size_t waiting_count_max;

    struct os_mutex lock;
    struct os_cond work; /* the queue is not empty, or stopping */
    struct os_cond idle; /* nothing is waiting */
    struct flight *first, *last;
    size_t waiting_count;
    bool closing, stopping;
    struct os_thread *workers;
    size_t worker_count;

    /* the journal's writer thread alone */
    struct command_folder folder;
    uint64_t era_seen, head_seen; /* at the last turn */

    struct step_figures steps[COMMAND_STEP_COUNT];
    _Atomic uint64_t answers[COMMAND_E_COUNT];
    _Atomic uint64_t forgets; /* rises when states are to be forgotten: an offer folded before is not taken */
    _Atomic uint64_t replays, events_folded, retries, cache_hits, cache_misses;
};

/* A tag of the boundary. */
struct flight_tag {
    const struct daybook_kind *kind;
    struct bytes tag;
    struct cache_entry *entry; /* acquired */
    struct command_state
        *offer;  /* folded by a worker, for the writer to take; or a copy for a worker to carry on */
    bool reload; /* the turn could not use what is in the cache */
};

enum flight_work { FLIGHT_LOAD, FLIGHT_REPLAY };

struct flight {
    struct command_runtime *runtime;
    struct arena arena;
    struct command_request request; /* copies */
    const struct daybook_command *command;
    struct daybook_value *values;
    struct flight_tag *tags;
    const struct daybook_state **states; /* one a tag, for decide() */
    size_t tag_count;
    struct bytes key; /* with scope; empty: none */
    uint8_t key_hash[COMMAND_KEY_HASH_SIZE];

    struct journal_append append;
    struct daybook_out out;
    const char *detail;     /* what the turn has to say */
    uint64_t first, last;   /* of the append that the key is known from */
    uint64_t forgets; /* the runtime's, when its offers were begun */
    unsigned attempt_count; /* turns that went back to load */
    uint64_t started_ns;    /* the step under way */

    enum flight_work work;
    struct flight *next; /* the queue's */
};

/* runtime.c: queue and figures. */
void runtime_enqueue(struct command_runtime *runtime, struct flight *flight, enum flight_work work);
void runtime_leave(struct command_runtime *runtime); /* one command less is waiting */
uint64_t runtime_step(struct command_runtime *runtime, enum command_step step,
                      uint64_t started_ns); /* returns now */

/* flight.c: from the request to the journal. */
void flight_start(struct command_runtime *runtime, const struct command_request *request);
void flight_send(struct flight *flight);                                  /* to the journal */
void flight_answer(struct flight *flight, struct command_result *result); /* to the caller; frees it */
void flight_answer_plain(struct flight *flight, int answer,
                         const char *detail);                   /* an answer with nothing but a detail */
void flight_answer_failure(struct flight *flight, int failure); /* -errno */

const char *flight_fold_detail(struct flight *flight, const struct flight_tag *tag,
                               int answer); /* why folding failed */

/* flight_load.c: what workers do. */
void flight_work(struct flight *flight, struct command_folder *folder);

/* flight_turn.c: on the journal's writer thread. */
int flight_turn(struct journal_append *append, struct journal_turn *turn);
void flight_landed(struct journal_append *append, const struct journal_result *result);
