/* reader: a connection that answers questions from the stores of one or more views, each under its own name.
 *
 * Every store is attached read-only as a schema named like its view; all of them are seen as they stand when a question
 * begins, until it ends. Prepared statements are kept, so that a question asked again costs no parsing. One thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "view/grammar.h"
#include "view/view.h"

struct reader_part {
    const char *view;
    const char *path;    /* file or SQLite URI */
    uint64_t generation; /* tells stores of one view apart */
};

/* What to run. */
struct reader_question {
    struct bytes sql;
    struct bytes
        count_sql; /* gives the total in one row; empty: rows are counted to the end when a total is asked for */
    int (*bind)(void *user, sqlite3_stmt *statement, bool counting); /* 0 or an SQLite code */
    void *user;
    uint64_t skip,
        take; /* rows to pass over and to show; views have both in their SQL: 0 and VIEW_ROW_COUNT_MAX */
    bool total;
    enum view_format format;
    const char *folder; /* for spooling */
    uint32_t time_ms;
    uint64_t size_max; /* bytes of the answer */
    size_t memory_max; /* of them in memory */
};

struct reader;

/* A page of a store does not hold, or cannot be read: page_check_damage() of this thread may know where. */
enum { READER_E_DAMAGED = 64 };

/* Connect. `named`: each view's table can be named without its schema, whatever other tables are called the same. 0;
 * -ESTALE when a store is not there any more; READER_E_DAMAGED; -errno. `ret_error`: VIEW_ERROR_SIZE. */
int reader_open(const struct reader_part *parts, size_t count, bool named, const atomic_bool *stop,
                struct reader **ret_reader, char *ret_error);
void reader_close(struct reader *reader);

/* Whether it is over these stores. */
bool reader_is_over(const struct reader *reader, const struct reader_part *parts, size_t count);

/* Prepare the one statement `sql` holds, which must read only, and look at it: for checking a query when it is opened.
 * 0 and a statement that is the reader's; VIEW_E_FAILED with a sentence; the statement's error offset, or -1. */
int reader_prepare(struct reader *reader, struct bytes sql, sqlite3_stmt **ret_statement, char *ret_error,
                   int *ret_offset);

/* Run the question on one consistent state of all stores. ret_positions: that of each part, in order. Fills in the answer's
 * body, row_count, total and, unless 0 or < 0, detail. 0, VIEW_E_FAILED, _TIMEOUT, _CLOSING, _TOO_LARGE,
 * READER_E_DAMAGED, -errno. */
int reader_run(struct reader *reader, const struct reader_question *question, uint64_t *ret_positions,
               struct view_answer *answer);
