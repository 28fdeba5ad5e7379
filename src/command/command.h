/*
 * command: the write side. Takes commands for an application (daybook/app.h), decides them one after another
 * on states that include everything before them, and stores what was decided.
 *
 * The path of a command, each step one function and one metric:
 *   parse     the body is JSON, an object, without duplicate names
 *   validate  every field is there, none is unknown, each has its type and keeps its limits: all problems at
 * once load      the states of the boundary's tags are in the cache, or are folded from the journal by a
 * worker thread decide    at the append's turn on the journal's writer thread: fold what happened since, look
 * for the idempotency key, let the application decide append    the journal makes the events durable
 *
 * Life: command_runtime_open() loads an app.so, command_runtime_new() takes an application that is linked in
 * (tests, embedding); command_runtime_close() waits for every command that was taken. The journal outlives
 * the runtime.
 *
 * Threads: every function may be called from any thread. done() runs on the journal's writer thread or one of
 * the runtime's: it must be quick, must not block and must not call command_runtime_close().
 *
 * Invariants:
 * C1 A decision sees every event before its own place in the journal: it is made at the append's turn
 * (journal.h J4), so that of N racers on one boundary exactly one wins (P4). C2 A refusal, like a success, is
 * answered only when all it was decided on is durable (J4). C3 A state in the cache is touched by the
 * journal's writer thread alone, except while nobody else can see it. A worker folds a state of its own and
 * hands it over with the append. C4 A state that was folded over events of a batch that failed is never used
 * again. C5 The same idempotency key with the same body causes events once, however often and however
 * concurrently it is sent; what it answers is the original positions. A refusal, and a command that had
 * nothing to do, are not remembered. C6 Every accepted submit is answered by exactly one done().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include <daybook/app.h>

struct journal;

/* Limits; each has a test. */
enum {
    COMMAND_BODY_SIZE_MAX = 1024 * 1024, /* bytes of a command's JSON */
    COMMAND_DEPTH_MAX = 64,              /* nesting of its JSON */
    COMMAND_KEY_SIZE_MAX = 255,          /* bytes of an idempotency key: visible ASCII and spaces */
    COMMAND_CALLER_SIZE_MAX = 128,       /* bytes of a caller's name */
    COMMAND_VIOLATION_COUNT_MAX = 100,   /* violations listed; more are counted */
    COMMAND_ATTEMPT_COUNT_MAX = 8,       /* turns on which too much was new to fold: then contention */
    COMMAND_DELTA_COUNT_MAX = 256,       /* events folded for one tag at a turn; more go back to load */
    COMMAND_COMPACT_SIZE_MAX = 512 * 1024, /* bytes of a state that can be compacted */
};

/* How a command ended. */
enum {
    /* 0: decided. event_count 0: there was nothing to do */
    COMMAND_E_UNKNOWN = 1, /* there is no such command */
    COMMAND_E_MALFORMED =
        2,                  /* the body is not a JSON object: `detail` says where; or too large or too deep */
    COMMAND_E_INVALID = 3,  /* the violations */
    COMMAND_E_REJECTED = 4, /* a rule said no: rule, sentence, facts; position: what it was decided on */
    COMMAND_E_KEY_INVALID = 5, /* the idempotency key is empty, too long, or has other than visible ASCII */
    COMMAND_E_KEY_REUSED = 6,  /* the key came with another body before */
    COMMAND_E_CONTENTION = 7,  /* COMMAND_ATTEMPT_COUNT_MAX turns were lost */
    COMMAND_E_BUSY = 8,        /* too many commands are waiting */
    COMMAND_E_CLOSING = 9,     /* the runtime is closing */
    COMMAND_E_APP = 10,        /* the application broke its contract: `detail` says how. Nothing was stored */
    COMMAND_E_JOURNAL = 11,    /* the journal did not take it: journal_answer is a JOURNAL_E_*, or < 0 */
    COMMAND_E_SCAVENGED = 12,  /* the state of a tag cannot be folded: events of it went, and no compacted state that
                                * this application can use stands for them */
    COMMAND_E_COUNT,
};

/* The name of an answer as metrics and problem documents spell it: "rejected". */
const char *command_answer_name(int answer);

/* A problem of one field. */
struct command_violation {
    struct bytes pointer;  /* RFC 6901: "/nights" */
    struct bytes sentence; /* "must be an integer from 0 to 365" */
};

/* An event that a command caused. */
struct command_event {
    uint64_t position;
    struct bytes stream; /* may be empty */
    struct bytes type;
    const struct bytes *tags; /* sorted, once each */
    size_t tag_count;
    struct bytes data; /* JSON */
};

/* Valid during done() only. */
struct command_result {
    int answer;        /* 0 or COMMAND_E_* */
    uint64_t position; /* of the last event; nothing to do or rejected: of the last event it was decided on */
    bool replayed;     /* the key was known: the events are those of the first time */
    const struct command_event *events;
    size_t event_count;
    const struct command_violation *violations;
    size_t violation_count, violation_total; /* listed; found */
    struct bytes rule, sentence, facts;      /* rejected; facts: a JSON object */
    int journal_answer;
    const char *detail; /* a sentence, for every answer but 0 and REJECTED; never NULL */
};

struct command_request {
    struct bytes name; /* "BookRoom" */
    struct bytes body; /* JSON, as it came */
    struct bytes key;  /* idempotency key; data NULL: none */
    struct bytes
        caller; /* whose key it is: keys of different callers are different; empty: nobody in particular */
    struct bytes meta; /* a JSON object for the events' meta, or empty */
    void (*done)(void *user, const struct command_result *result);
    void *user;
};

struct command_options {
    size_t cache_size_max;    /* bytes of folded states; 0: 64 MiB. Those in use stay, whatever it says */
    size_t worker_count;      /* threads that fold; 0: 2 */
    size_t waiting_count_max; /* commands taken and not answered; 0: 16384 */
};

struct command_runtime;

/* Load `path`, an app.so, and serve it. 0; COMMAND_E_APP: it is not an application for this server, ret_error
 * says why (256 bytes, or NULL); < 0. */
int command_runtime_open(struct journal *journal, const char *path, const struct command_options *options,
                         struct command_runtime **ret_runtime, char *ret_error);

/* The same with the application's function itself. */
int command_runtime_new(struct journal *journal, daybook_app_fn *app, const struct command_options *options,
                        struct command_runtime **ret_runtime, char *ret_error);

/* Refuse what comes now, wait for what was taken, end the threads. NULL is fine. Not from done(). */
void command_runtime_close(struct command_runtime *runtime);
static inline void command_runtime_closep(struct command_runtime **runtime)
{
    command_runtime_close(*runtime);
}

/* Forget every state: what was folded into them cannot be read any more (erasure). What is being folded meanwhile is not
 * kept either. Waits for a turn of the journal's writer. 0; JOURNAL_E_*, -errno: the journal takes no writes, and so no
 * command is decided on them. */
int command_runtime_forget(struct command_runtime *runtime);

/* Take a command. Everything in the request is copied. done() is called exactly once, maybe before this
 * returns. */
void command_submit(struct command_runtime *runtime, const struct command_request *request);

/* ---- compacting ---- */

/* Write the state of a tag into the journal, to stand for every event with the tag before it (compact.h). `data`: JSON for
 * views, or empty. Waits: not on the journal's writer thread, nor in done(). 0 and its position; COMMAND_E_INVALID: no tag
 * of a kind, states are not to be kept, one above COMMAND_COMPACT_SIZE_MAX, or one of events sealed for a subject; COMMAND_E_APP, _CONTENTION, _SCAVENGED,
 * _JOURNAL; -errno. */
struct command_compacted {
    uint64_t position;
    int journal_answer; /* with COMMAND_E_JOURNAL */
    char detail[256];   /* a sentence, for every answer but 0 */
};
int command_compact(struct command_runtime *runtime, struct bytes tag, struct bytes data,
                    struct command_compacted *ret_compacted);

/* ---- what there is: for /openapi.json and the command line ---- */

/* The application's table; lives as long as the runtime. */
const struct daybook_app *command_app(const struct command_runtime *runtime);

/* The kind whose tag this is, so that its deciders fold every event with it; NULL: of none. As command_app(). */
const char *command_kind_of(const struct command_runtime *runtime, struct bytes tag);

/* ---- figures ---- */

enum command_step {
    COMMAND_PARSE,
    COMMAND_VALIDATE,
    COMMAND_LOAD,
    COMMAND_DECIDE,
    COMMAND_APPEND,
    COMMAND_STEP_COUNT
};
const char *command_step_name(enum command_step step);

struct command_metrics {
    struct command_step_metrics {
        uint64_t count;
        uint64_t ns_total, ns_max;
    } steps[COMMAND_STEP_COUNT];
    uint64_t answers[COMMAND_E_COUNT]; /* commands by how they ended; [0]: decided */
    uint64_t replays;                  /* among answers[0] */
    uint64_t events_folded;            /* evolve() calls */
    uint64_t retries;                  /* turns that went back to load */
    uint64_t cache_hits, cache_misses, cache_evictions;
    uint64_t cache_count, cache_size; /* states now; bytes */
    uint64_t waiting_count;           /* commands taken and not answered */
};
void command_metrics(struct command_runtime *runtime, struct command_metrics *ret_metrics);
