/* rows: an answer as it is written: JSON, CSV or NDJSON, in memory first and in an unnamed file beyond that.
 *
 * Rows are written as fast as SQLite finds them and sent later at the client's speed, so that no read transaction waits for
 * a slow client (V6).
 */
#pragma once

#include <sqlite3.h>
#include <stdint.h>

#include "base/bytes.h"
#include "view/relation.h"
#include "view/view.h"

enum { ROWS_E_TOO_LARGE = 1 };

struct rows_column {
    char *key;   /* as it begins a JSON member: "name": */
    char *title; /* as it stands in CSV */
    enum relation_form form;
};

struct rows {
    enum view_format format;
    const char *folder; /* for the file; the caller's */
    uint64_t size_max;  /* of the answer */
    size_t memory_max;  /* of it in memory; more is spooled */
    struct rows_column *columns;
    size_t column_count;
    struct buffer buffer; /* all of it, or what is not in the file yet */
    int fd;               /* -1: none yet */
    uint64_t file_size;
    uint64_t row_count;
};

/* Begin the answer of a prepared statement. 0 or -errno; rows_deinit() is right after both. */
int rows_init(struct rows *rows, enum view_format format, const char *folder, uint64_t size_max,
              size_t memory_max, sqlite3_stmt *statement);
/* Write the row the statement stands at. 0, ROWS_E_TOO_LARGE, -errno. */
int rows_add(struct rows *rows, sqlite3_stmt *statement);
/* End the answer and hand it over: body, or file and size. 0, ROWS_E_TOO_LARGE, -errno. */
int rows_end(struct rows *rows, struct view_answer *answer);
void rows_deinit(struct rows *rows);
