/* log: a durable sequence of opaque records. The seam where another engine goes in.
 *
 * A log holds records at positions 1, 2, 3… without gaps. Above it nobody knows what carries them: today a folder of
 * files (log/file_log.h), later PostgreSQL or Kafka. Nothing may be added to this table that only a local file can do;
 * every index and view is derived from the sequence, on every node anew.
 *
 * Life: an engine's own open function makes the log (file_log_open()); log_close() ends it. A log has an id, made when
 * the log is made, and an epoch, one higher with every writer that opens it; the epoch stands in each record.
 *
 * A record is {head, body}. The head is kept as long as the log; the body may one day be taken away (scavenging,
 * erasure) and leaves its hash. The chain runs over records, not over frames or files, so that a leader, a follower and
 * another engine agree on it:
 *     body_hash   = BLAKE2b-256(key = salt, body)
 *     chain(0)    = 32 zero bytes
 *     chain(p)    = BLAKE2b-256("daybook1" chain(p-1) position epoch flags head_size body_size head body_hash)
 * integers little-endian, u64 u64 u32 u32 u32, LOG_RECORD_STUB cleared in flags; docs/formats/log.md has it byte by byte.
 *
 * Threads: log_append(), log_replace() and log_close() belong to one thread, the writer. Everything else may be called
 * from any thread at any time. A batch may be handed over `ahead`, while those before it are under way; when one of them
 * fails, those behind it end likewise, each with its own done(), in order, and so does one that is handed over ahead
 * before its caller has heard of that failure: the tail alone could not tell, had another writer put as much in its place.
 *
 * Invariants:
 * L1 a record is readable only when it is durable in the mode the log was opened with: the head never runs ahead. What has
 *    been synced, too, is log_synced(): nobody but who decides on the next append may see more (P3).
 * L2 an append is all or nothing, and lies directly after the one before it.
 * L3 after an append ended in anything but LOG_DURABLE its records are not readable and their positions are free again,
 *    unless it ended in LOG_UNKNOWN: then only reopening tells.
 * L4 after a failed sync nothing is accepted until the log is opened anew (P7). A full disk is not that: LOG_FULL leaves
 *    the log as it was before the batch, and a later append may succeed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

enum {
    LOG_ID_SIZE = 16,
    LOG_CHAIN_SIZE = 32,
    LOG_SALT_SIZE = 16,
    LOG_APPEND_SIZE_MAX = 900 * 1024, /* log_record_size() of all records of one append: fits every engine we know */
    LOG_APPEND_COUNT_MAX = 10000,     /* records of one append */
    LOG_RECORD_SIZE_EXTRA = 64,       /* what a record is counted as beside its head and body */
};

/* Answers. */
enum {
    LOG_E_END = 1,        /* nothing after the position asked for yet */
    LOG_E_READ_ONLY = 2,  /* opened for reading, or damaged: see log_status() */
    LOG_E_TOO_LARGE = 3,  /* above LOG_APPEND_SIZE_MAX or LOG_APPEND_COUNT_MAX */
    LOG_E_CHAIN = 4,      /* log_append() of verbatim records whose chain does not continue ours: the journals parted */
};

/* How a batch ended. */
enum log_outcome {
    LOG_DURABLE = 0,
    LOG_FENCED,  /* the tail was not the expected one, or a newer epoch writes */
    LOG_FULL,    /* no room; nothing of the batch is in the log (L4) */
    LOG_FAILED,  /* nothing of the batch will ever be read */
    LOG_UNKNOWN, /* may or may not be there: reopen and read the tail. The log refuses writes from now on */
};

enum log_durability {
    LOG_SYNC = 0,   /* P1: on the disk's surface (fdatasync) before the batch is durable. The default */
    LOG_ASYNC = 1,  /* handed to the kernel, synced a moment later: a crash of the machine loses up to a second */
};

enum { LOG_RECORD_STUB = 1u /* the body is gone; body_hash is what is left of it */ };

struct log_chain {
    uint8_t bytes[LOG_CHAIN_SIZE];
};

/* A record. Going in: head and body are set, and for a verbatim record (a follower's) everything else too. Coming out:
 * all set; head and body point into the reader's memory until its next call. Of a stub, body is empty, body_size says how
 * large it was, body_hash what is left of it, and the salt is zero. Of any other record a reader leaves body_hash zero:
 * nobody needs it but log_chain_step(), which fills it in. */
struct log_record {
    uint64_t position;
    uint64_t epoch;
    uint32_t flags;
    uint32_t body_size; /* of a stub: what its body had. Of others body.size counts; a reader sets both */
    struct bytes head;
    struct bytes body;
    uint8_t salt[LOG_SALT_SIZE];
    uint8_t body_hash[LOG_CHAIN_SIZE];
    bool hashed; /* going in: salt and body_hash are those of the body already, see log_records_hash() */
};

/* One append: its records become readable together or not at all. */
struct log_entry {
    struct log_record *records; /* the caller's, until done(); position, epoch and salt are filled in unless verbatim */
    size_t count;
};

/* One group commit. The batch and all it points to stay the caller's and untouched by it until done(). */
struct log_batch {
    uint64_t tail_expected; /* position of the last record before the batch; else LOG_FENCED */
    struct log_entry *entries;
    size_t count;
    bool verbatim; /* records as another log wrote them: their epoch, flags, salt and hash are kept, positions checked */
    bool ahead;    /* built on top of a batch whose end was not known then: if that one failed, this ends likewise */
    bool sync;     /* LOG_ASYNC: this one is synced before done() all the same, and with it all before it */
    bool wait;     /* the caller has nothing else to do than wait for the end: it may be written on its thread */
    const struct log_chain *chain_expected; /* verbatim: chain after the last record, checked before writing; or NULL */
    void (*done)(struct log_batch *batch, enum log_outcome outcome); /* called once, on any thread, also before
                                                                      * log_append() returns */
    void *user;
    struct log_chain chain_after; /* set when durable: the chain at the batch's last record */
};

/* Positions from first to last, both included. */
struct log_range {
    uint64_t first, last;
};

/* What log_replace() has done. */
struct log_replaced {
    uint64_t next;       /* call again with this as `from`; 0: all of it is done */
    uint64_t count;      /* records that became stubs */
    uint64_t body_bytes; /* of their bodies */
    uint64_t room_bytes; /* of these, what the engine gave back to the disk as far as it knows */
};

/* What the log is and how it stands. */
struct log_status {
    uint8_t id[LOG_ID_SIZE];
    uint8_t key[16];      /* SipHash key for terms: lives as long as the log, secret to it */
    uint64_t epoch;       /* the writer's: above that of every frame that was there when it opened */
    uint64_t head;        /* last durable position; 0: empty */
    uint64_t first;       /* first position still held (1 until something was taken away whole) */
    uint64_t size_bytes;  /* on the disk */
    bool writable;
    bool damaged;         /* reading it came upon damage; `reason` names it */
    bool incomplete;      /* what was acknowledged goes on behind the head and cannot be read: damage lies between */
    bool copied;          /* made from a copy, and not settled since: see log_settle() */
    char reason[256];     /* when it is not writable: a sentence naming the cause, file and offset */
};

struct log_counters {
    uint64_t appends, records, batches, syncs, bytes_written;
    uint64_t sync_ns_total, sync_ns_max;
    /* What the engine reads again by itself to find damage; zeros: it does not. Up to which position it is in this pass. */
    uint64_t scrub_position, scrub_bytes, scrub_passes, scrub_damages;
};

struct log;
struct log_reader;

/* The table another engine fills in. Each function answers as the wrapper of its name below. */
struct log_ops {
    const char *name; /* "file" */
    int (*append)(struct log *log, struct log_batch *batch);
    int (*reader_new)(struct log *log, uint64_t after, struct log_reader **ret_reader);
    int (*replace)(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                   struct log_replaced *ret_replaced);
    void (*status)(struct log *log, struct log_status *ret_status);
    void (*counters)(struct log *log, struct log_counters *ret_counters);
    int (*chain_at)(struct log *log, uint64_t position, struct log_chain *ret_chain);
    int (*settle)(struct log *log); /* NULL: it is never a copy */
    /* NULL, both: what is durable is synced. */
    uint64_t (*synced)(struct log *log);
    void (*on_synced)(struct log *log, void (*moved)(void *user), void *user);
    int (*close)(struct log *log);
};
struct log_reader_ops {
    int (*next)(struct log_reader *reader, struct log_record *ret_record);
    int (*seek)(struct log_reader *reader, uint64_t after);
    void (*free)(struct log_reader *reader);
};
struct log {                                             /* engines embed it first, zeroed */
    const struct log_ops *ops;
    _Atomic uint64_t replaced_count;
};
struct log_reader { const struct log_reader_ops *ops; }; /* likewise */

/* Hand over one batch. 0: taken, done() will be called. LOG_E_READ_ONLY, LOG_E_TOO_LARGE, LOG_E_CHAIN, or -errno: not
 * taken, done() will not be called. */
int log_append(struct log *log, struct log_batch *batch);

/* A reader that starts after position `after` (0: the beginning). Readers are independent, belong to one thread at a
 * time, and survive appends. */
int log_reader_new(struct log *log, uint64_t after, struct log_reader **ret_reader);
/* The next durable record. LOG_E_END: none yet; asking again later is right. -EBADMSG: damaged (log_status() names it), also
 * behind the last record of a log that is incomplete: its end is not the end of what was written. */
int log_reader_next(struct log_reader *reader, struct log_record *ret_record);
/* Go elsewhere: the next record will be the one after `after`. Cheap for places read lately. */
int log_reader_seek(struct log_reader *reader, uint64_t after);
void log_reader_free(struct log_reader *reader);
static inline void log_reader_freep(struct log_reader **reader)
{
    log_reader_free(*reader);
}

/* Put stubs in the places of the records in `ranges`, from position `from` on: same position, epoch, head and chain; the
 * body goes for good. Records that are stubs already stay as they are, so that doing it again is harmless. A log may do a
 * part of it (a file log: one file), in ascending order, each part whole or not at all whatever crashes; what is left is
 * done by the next call, from ret_replaced->next on. 0; -EINVAL: a range is empty or above the head, or they do not ascend;
 * LOG_E_READ_ONLY; -errno: nothing of this part was done. */
int log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                struct log_replaced *ret_replaced);
/* How many calls of log_replace() may have taken bodies away: what was read before the last one may be stale. */
uint64_t log_replaced_count(const struct log *log);
/* Whether ranges ascend, are not empty, do not touch position 0 and end at or below `last`. */
bool log_ranges_valid(const struct log_range *ranges, size_t count, uint64_t last);
/* The first position of the ranges that is not below `from`; 0: there is none. */
uint64_t log_ranges_find(const struct log_range *ranges, size_t count, uint64_t from);

void log_status(struct log *log, struct log_status *ret_status);
void log_counters(struct log *log, struct log_counters *ret_counters);

/* The last position that a crash of the machine leaves: of what is readable, all of it but under LOG_ASYNC. */
uint64_t log_synced(struct log *log);
/* Call `moved` when that has moved without an append's end: on any thread, without locks of the log's. NULL: no more, and it
 * does not run any more then. */
void log_on_synced(struct log *log, void (*moved)(void *user), void *user);

/* The chain after the record at `position` (0: the zero chain). LOG_E_END beyond the head, -EBADMSG if the log is incomplete. */
int log_chain_at(struct log *log, uint64_t position, struct log_chain *ret_chain);

/* A copy that grew bit by bit may hold bodies that were replaced at its source afterwards. Whoever knows which has replaced
 * them all: from now on the log is not `copied`. 0 or -errno: then it still is. */
int log_settle(struct log *log);

/* The chain one record further. `record` needs position, epoch, flags, head, body and salt, or body_hash for a stub;
 * body_hash is filled in. Pure: the one definition all engines and verifiers use. */
void log_chain_step(const struct log_chain *before, struct log_record *record, struct log_chain *ret_after);
/* The chain moved on over `count` records. The same, and faster: their bodies are hashed side by side. */
void log_chain_steps(struct log_chain *chain, struct log_record *records, size_t count);

/* Give records that are not in a log yet, and no stubs, their salts and body hashes: what of their links in the chain does not
 * depend on their places, and can be made on any thread beforehand. 0, or -errno: no randomness. */
int log_records_hash(struct log_record *records, size_t count);

/* What a record is counted as against LOG_APPEND_SIZE_MAX. */
size_t log_record_size(const struct log_record *record);

/* Let outstanding batches end, note the durable floor, let the folder go. NULL is fine. */
int log_close(struct log *log);
