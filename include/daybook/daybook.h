/*
 * daybook/daybook.h: a journal of events in a folder, inside your own program, without a server.
 *
 * A journal is a sequence of events at positions 1, 2, 3… An event has a type, data, and if you like a stream
 * (in which it has a version 1, 2, 3…) and tags. Appends are all or nothing, durable when they are answered,
 * and may be guarded: by the version a stream must have, or by a query that no event after a position may match.
 * Readers and waiters never see an event before it is durable, and never skip one.
 *
 *     struct daybook *book;
 *     char error[DAYBOOK_ERROR_SIZE];
 *     if (daybook_open("./data", NULL, &book, error) != 0)
 *         errx(1, "%s", error);
 *     struct daybook_event_new event = {.type = DAYBOOK_BYTES("RoomBooked"), .data = DAYBOOK_BYTES("{}")};
 *     struct daybook_append append = {.events = &event, .event_count = 1};
 *     struct daybook_result result;
 *     if (daybook_append(book, &append, &result) != 0)
 *         errx(1, "%s", result.detail);
 *     daybook_close(book);
 *
 * The folder is what `daybook serve --data` takes; one process at a time writes to it.
 *
 * Answers. Every function that can fail returns 0 when it is done, a DAYBOOK_E_* above 0 that a correct program
 * meets and handles, or -errno. What it gives back is untouched then, unless said otherwise.
 *
 * Threads. Every function may be called from any thread; a reader belongs to one thread at a time. All readers
 * are freed and all calls have returned before daybook_close().
 *
 * Stability. Symbols and structs stay as they are within a major version. Fields called reserved are 0; that is
 * how structs grow. A struct that is all zeroes but for what you set means defaults.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DAYBOOK_API        __attribute__((visibility("default")))
#define DAYBOOK_ERROR_SIZE 256

/* Answers. */
enum {
    DAYBOOK_E_INVALID = 1,   /* a name, size or number breaks a rule: the detail says which */
    DAYBOOK_E_CONFLICT = 2,  /* a version was not as expected, or an event matched the condition */
    DAYBOOK_E_ID_REUSED = 3, /* an event id is known with other content */
    DAYBOOK_E_FULL = 4,      /* no room on the disk; later appends may succeed */
    DAYBOOK_E_READ_ONLY = 5, /* opened so, damaged, or after a failed write: close and open again */
    DAYBOOK_E_TOO_LARGE = 6, /* more than 900 KiB in one append */
    DAYBOOK_E_BUSY = 7,      /* too many appends wait already */
    DAYBOOK_E_UNKNOWN = 8,   /* may be there or not: open again, and send it again with the same ids */
    DAYBOOK_E_FAILED = 9,    /* writing failed; nothing of it is there */
    DAYBOOK_E_END = 10,      /* reading: nothing more for now */
    DAYBOOK_E_TIMEOUT = 32,  /* waiting: nothing came */
    DAYBOOK_E_LOCKED = 33,   /* opening: another process writes to this folder */
    DAYBOOK_E_NEWER = 34,    /* opening: made by a newer daybook */
    DAYBOOK_E_DAMAGED = 35,  /* opening or reading: the files are not as they were written, or the keys of sealed events are missing */
    DAYBOOK_E_MISSING = 36,  /* opening read-only: nothing there */
    DAYBOOK_E_BEYOND = 37,   /* reading after a position, or version, that does not exist: see daybook_reader_new() */
};

/* Any bytes; names are UTF-8. `data` may be NULL when size is 0. */
struct daybook_bytes {
    const void *data;
    size_t size;
};

#ifndef __cplusplus
/* From a literal: DAYBOOK_BYTES("RoomBooked"). */
#define DAYBOOK_BYTES(literal) ((struct daybook_bytes){"" literal, sizeof(literal) - 1})
#endif

/* "1.2.3" */
DAYBOOK_API const char *daybook_version(void);

/* An answer or -errno as a sentence without a full stop; static. */
DAYBOOK_API const char *daybook_error_text(int answer);

/* ---- open and close ---- */

struct daybook;

struct daybook_options {
    bool async; /* an append is done when the kernel has it; a crash of the machine may lose up to a second. Readers, head and
                 * versions show it once it is on the disk, about 100 ms later; conditions see it at once */
    bool read_only; /* no lock, no writes: beside a process that writes, see daybook_refresh() */
    uint64_t reserved[8];
};

/* Open the journal in `folder`, which is made when it is missing. `options` may be NULL. `ret_error` (NULL or
 * DAYBOOK_ERROR_SIZE bytes) gets a sentence. DAYBOOK_E_LOCKED, _NEWER, _DAMAGED, _MISSING, -errno. A journal
 * with damage in it opens all the same, shows what is before it, and takes no appends; reading on behind that ends in
 * DAYBOOK_E_DAMAGED, and not as if nothing had followed. */
DAYBOOK_API int daybook_open(const char *folder, const struct daybook_options *options,
                             struct daybook **ret_book, char *ret_error);

/* NULL is fine. */
DAYBOOK_API void daybook_close(struct daybook *book);

/* Of a journal opened read_only: take in what the process that writes has made durable since: all it was told is durable,
 * if it runs on the same machine; else what was a tenth of a second ago. Readers go on from there; waiting does it by itself. 0, DAYBOOK_E_DAMAGED, -errno. */
DAYBOOK_API int daybook_refresh(struct daybook *book);

/* Position of the last event; 0: none. Version of a stream; 0: there is none, UINT64_MAX: the
 * index cannot be read. */
DAYBOOK_API uint64_t daybook_head(const struct daybook *book);
DAYBOOK_API uint64_t daybook_stream_version(struct daybook *book, struct daybook_bytes stream);

/* ---- appending ---- */

struct daybook_event_new {
    struct daybook_bytes stream; /* empty: in no stream */
    struct daybook_bytes type;
    const struct daybook_bytes *tags;
    size_t tag_count;
    struct daybook_bytes data; /* JSON without white space between tokens, or bytes as content_type says */
    struct daybook_bytes content_type; /* empty: application/json */
    struct daybook_bytes meta;         /* a JSON object, or empty */
    bool has_id;                       /* else the journal makes one */
    uint8_t id[16]; /* a UUID. An append whose ids are known with the same content is not made twice */
    struct daybook_bytes subject; /* whom it is about: sealed with that subject's key, see daybook_erase(); or empty */
    uint64_t reserved[2];
};

/* An item matches an event whose type is one of its types (none: any) and that has all its tags. */
struct daybook_item {
    const struct daybook_bytes *types;
    size_t type_count;
    const struct daybook_bytes *tags;
    size_t tag_count;
};

enum daybook_expect {
    DAYBOOK_EXPECT_ANY,
    DAYBOOK_EXPECT_NONE,    /* the stream must not exist */
    DAYBOOK_EXPECT_EXISTS,  /* it must exist */
    DAYBOOK_EXPECT_VERSION, /* it must be at this version */
};

struct daybook_expectation {
    struct daybook_bytes stream;
    enum daybook_expect expect;
    uint64_t version;
};

/* A check that failed: of a stream, or (stream empty) of the condition's item; position 0: its `after` lies beyond the last
 * event, so that what it was built on is not in this journal. */
struct daybook_conflict {
    struct daybook_bytes stream; /* as in the expectation */
    uint64_t actual;             /* its version */
    size_t item;                 /* index of the condition's item… */
    uint64_t position;           /* …and the first event that matches it */
};

struct daybook_append {
    const struct daybook_event_new *events;
    size_t event_count;
    const struct daybook_expectation *expectations;
    size_t expectation_count;
    /* Fail if any event after position `after` matches an item. No items, and has_condition: any event. */
    bool has_condition;
    const struct daybook_item *items;
    size_t item_count;
    uint64_t after;
    /* Room for what failed, the caller's; may be NULL. */
    struct daybook_conflict *conflicts;
    size_t conflict_count_max;
    uint64_t reserved[4];
};

struct daybook_result {
    uint64_t first, last;  /* positions of the append's events */
    bool replayed;         /* it was there already */
    size_t conflict_count; /* DAYBOOK_E_CONFLICT: how many checks failed, also those that had no room */
    char detail[DAYBOOK_ERROR_SIZE];
    uint64_t reserved[4];
};

/* Append and wait until it is durable. `ret_result` (may be NULL) is filled in always. Many threads that append at
 * once share one write and one sync. 0, or DAYBOOK_E_INVALID … DAYBOOK_E_FAILED, or -errno. */
DAYBOOK_API int daybook_append(struct daybook *book, const struct daybook_append *append,
                               struct daybook_result *ret_result);

/* ---- erasing ---- */

/* Erase the data and meta of every event about a subject: its key is destroyed, in this folder, and refused for ever if an
 * older copy brings it back. What stands in tags, types, names of streams and your own copies is not erased. `ret_position`
 * (may be NULL) is where the journal says so. 0; DAYBOOK_E_MISSING: there is nothing about this subject; the answers of an
 * append; -errno: ask again. */
DAYBOOK_API int daybook_erase(struct daybook *book, struct daybook_bytes subject, uint64_t *ret_position);

/* ---- reading ---- */

/* An event as it was stored. Valid until the reader's next call. */
struct daybook_event_stored {
    uint64_t position;
    uint64_t version; /* in its stream; 0: in none */
    int64_t time_us;  /* microseconds since 1970, UTC; never goes back */
    uint8_t id[16];
    struct daybook_bytes stream, type, data, content_type, meta;
    const struct daybook_bytes *tags;
    size_t tag_count;
    bool erased; /* its data and meta were taken away: by daybook_erase(), or because they were old */
    bool sealed; /* its data and meta are there, but the key is not in this folder */
    struct daybook_bytes subject;
    uint64_t reserved[2];
};

struct daybook_read {
    struct daybook_bytes stream;      /* not empty: only this one, and after and before are versions */
    const struct daybook_item *items; /* only events that match one of them; none: all */
    size_t item_count;
    uint64_t after;  /* begin behind this position */
    uint64_t before; /* end before this one; 0: the head */
    bool backward;
    bool system;                        /* daybook's own events too, whose names begin with `$` */
    struct daybook_bytes stream_prefix; /* not empty: only streams whose names begin so */
    uint64_t reserved[2];
};

struct daybook_reader;

/* `read` may be NULL: everything, from the beginning. DAYBOOK_E_INVALID, -errno. DAYBOOK_E_BEYOND: `after` lies beyond the
 * last event, so that what was read up to there is not in this journal (it was put back from a copy, or the power went and
 * it is `async`): begin anew. In a folder that a follower writes it may still come. */
DAYBOOK_API int daybook_reader_new(struct daybook *book, const struct daybook_read *read,
                                   struct daybook_reader **ret_reader);

/* The next event. DAYBOOK_E_END: none for now; a forward reader may ask again later. DAYBOOK_E_DAMAGED, -errno. */
DAYBOOK_API int daybook_reader_next(struct daybook_reader *reader, struct daybook_event_stored *ret_event);

/* The same, and wait for one: with a forward reader, a subscription. At most `timeout_ms`, then DAYBOOK_E_TIMEOUT; what does
 * not match is passed over meanwhile, and daybook_reader_position() moves on. */
DAYBOOK_API int daybook_reader_wait(struct daybook_reader *reader, uint32_t timeout_ms,
                                    struct daybook_event_stored *ret_event);

/* Every position up to this one has been shown or passed over: where to begin again some other day. */
DAYBOOK_API uint64_t daybook_reader_position(const struct daybook_reader *reader);

DAYBOOK_API void daybook_reader_free(struct daybook_reader *reader);

/* Wait until the head is beyond `after`. 0; DAYBOOK_E_TIMEOUT. */
DAYBOOK_API int daybook_wait(struct daybook *book, uint64_t after, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
