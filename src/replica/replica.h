/* replica: follows another server's journal. It asks the leader's GET /v1/log for what comes after its own head, and stores
 * the records as they are (journal_replicate()), so that both journals are the same byte for byte.
 *
 * Life: the follower's log must carry the leader's id: replica_ask_leader() tells it before the first log is made. Then
 * replica_start() with the journal opened as a follower's, replica_stop() before the journal is closed.
 *
 * Threads: one of its own does everything, and a second one fetches keys (key_copy.h); the functions here may be called from
 * any thread.
 *
 * The connection is a call through a breaker: one that fails is tried again, later each time, and when the leader fails too
 * often it is not asked at all for a while. A leader that has lost or changed what this copy holds (another id, another
 * chain, an earlier end) is not followed any more: the journals have parted. A follower may be followed, too; one that ends
 * before this copy is only late. Reads go on in every state.
 *
 * Invariants:
 * R1 nothing is stored that does not continue this journal's chain, and nothing is ever taken away.
 * R2 after parting, the leader is not asked again until the process starts anew: only a human can tell which is right.
 * R3 every connection begins with breaker_acquire() and is reported once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "breaker.h"
#include "journal/journal.h"
#include "vault/vault.h"

enum {
    REPLICA_E_URL = 1,         /* not http://HOST[:PORT] or https://… */
    REPLICA_E_UNREACHABLE = 2, /* the leader did not answer, or not as one */
};

enum {
    REPLICA_CONNECT_MS_MAX = 5000,  /* until the hello has come */
    REPLICA_SILENCE_MS_MAX = 15000, /* without a byte: three heartbeats */
    REPLICA_BACKOFF_MS_MIN = 100,   /* before the second try; doubled, with jitter, up to … */
    REPLICA_BACKOFF_MS_MAX = 2000,
};

enum replica_state {
    REPLICA_CONNECTING,
    REPLICA_FOLLOWING, /* connected */
    REPLICA_WAITING,   /* the leader cannot be reached: tried again */
    REPLICA_STALLED,   /* it can, and yet nothing comes in: it refuses (a token), or this disk is full. Tried again */
    REPLICA_PARTED,    /* R2 */
    REPLICA_FAILED,    /* this journal takes no more records until it is opened anew */
};

struct replica_options {
    struct journal *journal; /* opened with .follower; the caller's, outlives the replica */
    const char *url;         /* the leader's, "http://127.0.0.1:7070"; copied */
    const char *token;       /* bearer token, or NULL; copied */
    struct vault *vault;     /* takes over the leader's keys, and outlives the replica; NULL: none are fetched */
    const char *breaker;     /* configuration as text, "open=1s open_max=10s"; NULL: defaults for a leader */
    uint32_t silence_ms_max; /* 0: REPLICA_SILENCE_MS_MAX; smaller for tests */
    /* Called on the replica's thread when the state has changed; may be NULL. */
    void (*on_change)(void *user, enum replica_state state, const char *reason);
    void *user;
};

struct replica_status {
    enum replica_state state;
    bool connected;
    uint64_t position;    /* this journal's head */
    uint64_t leader_head; /* as last heard */
    uint64_t first_head;  /* as first heard; UINT64_MAX: nothing yet */
    uint64_t lag;         /* leader_head - position; says nothing after parting */
    uint64_t heard_ms;    /* since the last byte; UINT64_MAX: none yet */
    uint64_t connects, failures, records, bytes;
    uint64_t key_fetches; /* answers with keys that were stored */
    int breaker_state; /* enum breaker_state */
    char reason[256];  /* why it is not following, or empty */
    char keys_reason[256]; /* why the leader's keys do not come, or empty */
};

struct replica;

enum { REPLICA_ERROR_SIZE = 256 };

/* Ask the leader for its journal's id, so that a first log can be made with it. Waits up to `timeout_ms`. 0; REPLICA_E_URL,
 * REPLICA_E_UNREACHABLE, with a sentence in ret_error (REPLICA_ERROR_SIZE bytes). */
int replica_ask_leader(const char *url, const char *token, uint32_t timeout_ms, struct journal_id *ret_id,
                       char *ret_error);

/* Begin to follow. 0; REPLICA_E_URL; -errno. */
int replica_start(const struct replica_options *options, struct replica **ret_replica, char *ret_error);

/* Stop following and let it go; returns soon, also in the middle of a connection. NULL is fine. */
void replica_stop(struct replica *replica);

void replica_status(struct replica *replica, struct replica_status *ret_status);

/* "connecting", "following", "waiting", "stalled", "parted", "failed". */
const char *replica_state_name(enum replica_state state);

/* The region its breaker ("leader") lives in, for metrics and the page. Valid until replica_stop(). */
struct breaker_region *replica_region(struct replica *replica);
