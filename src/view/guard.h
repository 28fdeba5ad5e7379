/* guard: what SQL of the application may do on a connection, and for how long.
 *
 * An authorizer looks at every statement as it is prepared; a progress handler looks at the clock while it runs, and so do
 * the functions that could take long by themselves, replaced by our own; what
 * could still tell two runs apart (a time of "now" computed from data, a default of current_timestamp) is replaced by
 * functions that refuse. Used by the projector (V4) and by questions (V6).
 *
 * A guard belongs to one connection and its thread; only its stop flag is another's.
 */
#pragma once

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum guard_mode {
    GUARD_OPEN,   /* our own statements */
    GUARD_SCHEMA, /* the part of a view that makes its tables */
    GUARD_APPLY,  /* its sections: rows of its own tables, deterministic */
    GUARD_SELECT, /* questions: reading only; the clock may be read */
};

enum guard_end { GUARD_RUNNING, GUARD_TIMEOUT, GUARD_INTERRUPTED };

struct guard {
    sqlite3 *db;
    enum guard_mode mode;
    char refused[160];         /* why the last statement was not allowed; empty: it was */
    bool reads_clock;          /* the last statement calls date() or one of its kin */
    uint64_t deadline_ns;      /* 0: none */
    enum guard_end end;        /* why a statement was interrupted */
    const atomic_bool *stop;   /* when it becomes true, statements are interrupted; may be NULL */
    struct guard_clock *clock; /* the replaced date functions; NULL when none are */
    sqlite3 *original;         /* with SQLite's own functions, for … */
    sqlite3_stmt *patch;       /* … json_patch */
};

/* Watch over `db`, which stays the caller's and outlives the guard. `deterministic`: replace what reads the clock or
 * chance (for GUARD_APPLY). 0 or -errno. */
int guard_init(struct guard *guard, sqlite3 *db, bool deterministic, const atomic_bool *stop);
void guard_deinit(struct guard *guard);

/* Prepare one statement of the application's. `ret_tail` is the offset in `sql` after it. 0, with NULL when nothing but
 * space and comments was left; else an SQLite code, and guard_message() says why. */
int guard_prepare(struct guard *guard, enum guard_mode mode, const char *sql, size_t size,
                  sqlite3_stmt **ret_statement, size_t *ret_tail);

/* Start the clock for what runs now; 0 ms stops it. */
void guard_arm(struct guard *guard, uint32_t time_ms);

/* Why the last call on the connection failed, in words. Valid until the next call. */
const char *guard_message(const struct guard *guard);

/* Whether what runs now is to end: `end` says why. For functions that take long. */
bool guard_is_over(struct guard *guard);

/* guard_cost.c: replace the functions that could take long within one step. 0 or -errno; the deinit is right after both. */
int guard_cost_bound(struct guard *guard);
void guard_cost_deinit(struct guard *guard);

/* guard_clock.c: replace date(), time(), datetime(), julianday(), unixepoch(), strftime() by ones that refuse 'now' and
 * the time zone, and everything else that is not a function of its arguments by one that fails. */
int guard_clock_new(sqlite3 *db, struct guard_clock **ret_clock);
void guard_clock_free(struct guard_clock *clock);
/* Whether a function's result depends on more than its arguments. */
bool guard_clock_is_impure(const char *function);
/* Whether it is one of the replaced date functions. */
bool guard_clock_is_date(const char *function);
