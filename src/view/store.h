/* store: one generation of a view, as an SQLite file that events are applied to.
 *
 *     VIEW@GENERATION.db      the view's tables, and daybook_view: one row that says what the rows are made of
 *
 * Life: store_open() makes the file or takes up one that is there; begin, apply…, commit; store_close(). One thread.
 * Every commit writes position and chain in the transaction of the rows (V1). Readers have connections of their own.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "journal/journal.h"
#include "view/definition.h"
#include "view/relation.h"

enum {
    STORE_E_MISMATCH =
        1, /* opening: the file is of another journal, view or format, or unfinished: throw it away */
    STORE_E_DEFINITION = 2, /* the definition's SQL is wrong: a sentence with file and line */
    STORE_E_EVENT = 3,      /* a statement failed on this event: a sentence. Roll back */
    STORE_E_DAMAGED = 4,    /* a page does not hold, or SQLite says the file is malformed: throw it away */
    STORE_E_STOPPED = 5,    /* the stop flag was raised: roll back */
    STORE_E_NO_ROOM = 6,    /* the disk is full or failing: roll back and try again later */
};

enum { STORE_WAL_PAGES_MAX = 16384 }; /* 64 MiB, after which the WAL is cut off; the transaction that reaches it is on top */

/* What a store's rows are made of. */
struct store_state {
    struct journal_id journal;
    uint64_t position;
    struct log_chain chain;
    struct hash256 definition;
    uint64_t version;
};

struct store;

struct store_options {
    const char *path; /* a file, or an SQLite URI in memory for checking a definition */
    bool scratch;     /* nobody reads while events are applied and a crash may lose it: no WAL, no syncs */
    int wal_pages_max;     /* 0: STORE_WAL_PAGES_MAX */
    uint32_t apply_ms_max; /* of one event's statements; 0: VIEW_APPLY_MS_MAX */
    const atomic_bool *stop;
};

/* Open the store at `path` for `definition`, which must outlive it; make it if missing, at position 0 of `journal`.
 * 0, STORE_E_MISMATCH, _DEFINITION, _DAMAGED, _NO_ROOM or -errno, with a sentence in ret_error (VIEW_ERROR_SIZE). */
int store_open(const struct store_options *options, const struct definition *definition,
               struct journal_id journal, struct store **ret_store, char *ret_error);

/* Read what a file is without a definition: its state, and the definition's text to go on with (to be freed). Nobody has it open.
 * 0, STORE_E_MISMATCH (no store, or of another format), STORE_E_DAMAGED, STORE_E_NO_ROOM (the file may be
 * whole: what SQLite needs beside it cannot be made now), with a sentence (VIEW_ERROR_SIZE); -ENOMEM. */
int store_peek(const char *path, struct store_state *ret_state, char **ret_text, char *ret_error);
/* What is damaged, after SQLite said so: file and byte, as far as this thread's last page tells, else `otherwise`. */
void store_say_damage(char *ret_error, const char *otherwise);

void store_close(struct store *store);
static inline void store_closep(struct store **store)
{
    store_close(*store);
}

const struct store_state *store_state(const struct store *store);
/* The columns of the public table, once; the caller's from now on. */
struct relation *store_take_relation(struct store *store);

/* What a reader must be told to get the events this store wants: everything (`ret_query->count` 0) or a list of types.
 * Valid as long as the store. `ret_system`: types of daybook's own are among them. */
void store_wants(const struct store *store, struct journal_query *ret_query, bool *ret_system);

/* A transaction. 0, STORE_E_NO_ROOM, _DAMAGED, _STOPPED. */
int store_begin(struct store *store);
/* Apply one event inside it; the event's memory is not kept. 0, STORE_E_*; store_error() has the sentence. */
int store_apply(struct store *store, const struct journal_event *event);
/* Note position and chain and commit. After anything but 0 the transaction is still open: roll back. */
int store_commit(struct store *store, uint64_t position, const struct log_chain *chain);
void store_rollback(struct store *store);
const char *store_error(const struct store *store);
