#include "view/reader.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "view/guard.h"
#include "view/page_check.h"
#include "view/rows.h"

/* Statements kept for the next question of the same shape. */
#define STATEMENT_COUNT_MAX 24

/* What a question may wait for while a store is being recovered or its WAL started over. */
#define BUSY_MS 1000

struct kept {
    uint64_t hash;
    char *sql;
    sqlite3_stmt *statement;
    uint64_t used; /* when last, in questions */
};

struct part {
    char *view;
    uint64_t generation;
    sqlite3_stmt *position;
};

struct reader {
    sqlite3 *db;
    struct guard guard;
    struct part parts[VIEW_QUERY_USES_MAX];
    size_t part_count;
    struct kept kept[STATEMENT_COUNT_MAX];
    uint64_t question_count;
    sqlite3_stmt *begin, *end;
};

/* --- connecting --------------------------------------------------------------------------------------------------------------- */

static int fail(const struct reader *reader, int code, char *ret_error)
{
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "reading: %.400s", sqlite3_errmsg(reader->db));
    if (page_check_is_damage(code))
        return READER_E_DAMAGED;
    switch (code & 0xff) {
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_CANTOPEN: return -ESTALE;
    default: return -EIO;
    }
}

/* A path as a URI that opens it read-only; a URI stays as it is. */
static int write_uri(struct buffer *uri, const char *path)
{
    if (strncmp(path, "file:", 5) == 0)
        return buffer_append_string(uri, path);
    int r = buffer_append_string(uri, "file:");
    for (; r == 0 && *path; path++)
        r = strchr("?#%", *path) ? buffer_printf(uri, "%%%02X", (unsigned char)*path)
                                 : buffer_append_byte(uri, (uint8_t)*path);
    return r < 0 ? r : buffer_append_string(uri, "?mode=ro");
}

static int attach(struct reader *reader, const struct reader_part *part, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer uri = {0};
    sqlite3_stmt *statement = NULL;
    int r = write_uri(&uri, part->path);
    if (r < 0)
        return r;
    int code = sqlite3_prepare_v2(reader->db, "attach ?1 as ?2", -1, &statement, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_bind_text(statement, 1, (const char *)uri.data, (int)uri.size, SQLITE_STATIC);
        (void)sqlite3_bind_text(statement, 2, part->view, -1, SQLITE_STATIC);
        code = sqlite3_step(statement);
    }
    r = code == SQLITE_DONE ? 0 : fail(reader, code, ret_error);
    (void)sqlite3_finalize(statement);
    return r;
}

static int add_part(struct reader *reader, const struct reader_part *from, bool named, char *ret_error)
{
    int r = attach(reader, from, ret_error);
    if (r != 0)
        return r;
    struct part *part = &reader->parts[reader->part_count++];
    *part = (struct part){.view = strdup(from->view), .generation = from->generation};
    if (!part->view)
        return -ENOMEM;
    char sql[3 * VIEW_NAME_SIZE_MAX + 64];
    (void)snprintf(sql, sizeof(sql), "select position from \"%s\".daybook_view", part->view);
    int code = sqlite3_prepare_v3(reader->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &part->position, NULL);
    if (code == SQLITE_OK && named) {
        (void)snprintf(sql, sizeof(sql), "create temp view \"%s\" as select * from \"%s\".\"%s\"", part->view,
                       part->view, part->view);
        code = sqlite3_exec(reader->db, sql, NULL, NULL, NULL);
    }
    return code == SQLITE_OK ? 0 : fail(reader, code, ret_error);
}

static int connect(struct reader *reader, const atomic_bool *stop, char *ret_error)
{
    int code = sqlite3_open_v2(":memory:", &reader->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, PAGE_CHECK_VFS);
    if (!reader->db)
        return -ENOMEM;
    if (code == SQLITE_OK)
        code = sqlite3_extended_result_codes(reader->db, 1);
    (void)sqlite3_busy_timeout(reader->db, BUSY_MS);
    if (code == SQLITE_OK)
        code = sqlite3_exec(reader->db, "pragma temp_store = memory; pragma mmap_size = 268435456", NULL,
                            NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v3(reader->db, "begin", -1, SQLITE_PREPARE_PERSISTENT, &reader->begin, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v3(reader->db, "commit", -1, SQLITE_PREPARE_PERSISTENT, &reader->end, NULL);
    return code == SQLITE_OK ? guard_init(&reader->guard, reader->db, false, stop)
                             : fail(reader, code, ret_error);
}

int reader_open(const struct reader_part *parts, size_t count, bool named, const atomic_bool *stop,
                struct reader **ret_reader, char *ret_error)
{
    assert(count > 0 && count <= VIEW_QUERY_USES_MAX);
    struct reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    int r = connect(reader, stop, ret_error);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add_part(reader, &parts[i], named, ret_error);
    if (r != 0) {
        reader_close(reader);
        return r;
    }
    (void)sqlite3_exec(reader->db, "pragma query_only = on", NULL, NULL, NULL);
    *ret_reader = reader;
    return 0;
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT_MAX; i++) {
        (void)sqlite3_finalize(reader->kept[i].statement);
        free(reader->kept[i].sql);
    }
    for (size_t i = 0; i < reader->part_count; i++) {
        (void)sqlite3_finalize(reader->parts[i].position);
        free(reader->parts[i].view);
    }
    (void)sqlite3_finalize(reader->begin);
    (void)sqlite3_finalize(reader->end);
    guard_deinit(&reader->guard);
    int code = sqlite3_close(reader->db);
    assert(code == SQLITE_OK); /* every statement was finalized above */
    free(reader);
}

bool reader_is_over(const struct reader *reader, const struct reader_part *parts, size_t count)
{
    if (reader->part_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (reader->parts[i].generation != parts[i].generation ||
            strcmp(reader->parts[i].view, parts[i].view) != 0)
            return false;
    }
    return true;
}

/* --- statements --------------------------------------------------------------------------------------------------------------- */

static struct kept *find_kept(struct reader *reader, struct bytes sql, uint64_t hash)
{
    struct kept *oldest = &reader->kept[0];
    for (size_t i = 0; i < STATEMENT_COUNT_MAX; i++) {
        struct kept *kept = &reader->kept[i];
        if (kept->statement && kept->hash == hash && bytes_equal_string(sql, kept->sql))
            return kept;
        if (kept->used < oldest->used)
            oldest = kept;
    }
    (void)sqlite3_finalize(oldest->statement);
    free(oldest->sql);
    *oldest = (struct kept){.hash = hash};
    return oldest;
}

static bool is_blank(struct bytes sql)
{
    for (size_t i = 0; i < sql.size; i++) {
        if (!strchr(" \t\r\n;", sql.data[i]))
            return false;
    }
    return true;
}

static int check_statement(struct reader *reader, struct bytes rest, sqlite3_stmt *statement, char *ret_error)
{
    const char *wrong = NULL;
    sqlite3_stmt *more = NULL;
    size_t used;
    if (!statement || sqlite3_column_count(statement) == 0)
        wrong = "there is no select";
    else if (!sqlite3_stmt_readonly(statement))
        wrong = "a query only reads";
    else if (!is_blank(rest) && (guard_prepare(&reader->guard, GUARD_SELECT, (const char *)rest.data,
                                               rest.size, &more, &used) != SQLITE_OK ||
                                 more))
        wrong = "a query is one statement";
    (void)sqlite3_finalize(more);
    if (wrong)
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s", wrong);
    return wrong ? VIEW_E_FAILED : 0;
}

int reader_prepare(struct reader *reader, struct bytes sql, sqlite3_stmt **ret_statement, char *ret_error,
                   int *ret_offset)
{
    uint64_t hash = hash_fast64(sql, 0);
    struct kept *kept = find_kept(reader, sql, hash);
    kept->used = ++reader->question_count;
    if (kept->statement) {
        *ret_statement = kept->statement;
        return 0;
    }
    sqlite3_stmt *statement = NULL;
    size_t used = 0;
    int code =
        guard_prepare(&reader->guard, GUARD_SELECT, (const char *)sql.data, sql.size, &statement, &used);
    if (ret_offset)
        *ret_offset = code == SQLITE_OK ? -1 : sqlite3_error_offset(reader->db);
    if (code != SQLITE_OK) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%.400s", guard_message(&reader->guard));
        return code == SQLITE_ERROR || code == SQLITE_AUTH ? VIEW_E_FAILED : fail(reader, code, ret_error);
    }
    int r = check_statement(reader, bytes_slice(sql, used, sql.size), statement, ret_error);
    kept->sql = r == 0 ? bytes_dup_string(sql) : NULL;
    if (!kept->sql) {
        (void)sqlite3_finalize(statement);
        return r != 0 ? r : -ENOMEM;
    }
    kept->statement = statement;
    *ret_statement = statement;
    return 0;
}

/* --- running ------------------------------------------------------------------------------------------------------------------ */

static int explain(struct reader *reader, int code, struct view_answer *answer)
{
    (void)snprintf(answer->detail, sizeof(answer->detail), "%.400s", guard_message(&reader->guard));
    switch (code & 0xff) {
    case SQLITE_INTERRUPT: return reader->guard.end == GUARD_INTERRUPTED ? VIEW_E_CLOSING : VIEW_E_TIMEOUT;
    case SQLITE_NOMEM:
    case SQLITE_CANTOPEN:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_IOERR:
    case SQLITE_BUSY: return fail(reader, code, answer->detail);
    default: return VIEW_E_FAILED;
    }
}

/* The position of each store, which also fixes the state that is seen from here on. */
static int read_positions(struct reader *reader, uint64_t *ret_positions, struct view_answer *answer)
{
    for (size_t i = 0; i < reader->part_count; i++) {
        sqlite3_stmt *statement = reader->parts[i].position;
        int code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
            ret_positions[i] = (uint64_t)sqlite3_column_int64(statement, 0);
        (void)sqlite3_reset(statement);
        if (code != SQLITE_ROW)
            return explain(reader, code, answer);
    }
    return 0;
}

static int count_rows(struct reader *reader, const struct reader_question *question,
                      struct view_answer *answer)
{
    sqlite3_stmt *statement = NULL;
    int r = reader_prepare(reader, question->count_sql, &statement, answer->detail, NULL);
    if (r != 0)
        return r;
    int code = question->bind(question->user, statement, true);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        answer->has_total = true;
        answer->total = (uint64_t)sqlite3_column_int64(statement, 0);
    } else {
        r = explain(reader, code, answer);
    }
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return r;
}

static int write_rows(struct reader *reader, const struct reader_question *question, sqlite3_stmt *statement,
                      struct rows *rows, struct view_answer *answer)
{
    uint64_t seen = 0;
    bool count_on = question->total && question->count_sql.size == 0;
    int code, r = 0;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (seen++ < question->skip)
            continue;
        if (rows->row_count < question->take)
            r = rows_add(rows, statement);
        else if (!count_on)
            return 0;
        if (r != 0)
            return r;
    }
    if (code != SQLITE_DONE)
        return explain(reader, code, answer);
    if (count_on) {
        answer->has_total = true;
        answer->total = seen;
    }
    return 0;
}

static int run_rows(struct reader *reader, const struct reader_question *question, struct view_answer *answer)
{
    sqlite3_stmt *statement = NULL;
    int r = reader_prepare(reader, question->sql, &statement, answer->detail, NULL);
    if (r != 0)
        return r;
    struct rows rows;
    r = rows_init(&rows, question->format, question->folder, question->size_max, question->memory_max,
                  statement);
    if (r == 0) {
        int code = question->bind(question->user, statement, false);
        r = code == SQLITE_OK ? write_rows(reader, question, statement, &rows, answer)
                              : explain(reader, code, answer);
    }
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    if (r == 0)
        r = rows_end(&rows, answer);
    rows_deinit(&rows);
    return r;
}

static int too_large(const struct reader_question *question, struct view_answer *answer)
{
    (void)snprintf(answer->detail, sizeof(answer->detail),
                   "the answer is above %llu bytes: ask for fewer rows",
                   (unsigned long long)question->size_max);
    return VIEW_E_TOO_LARGE;
}

int reader_run(struct reader *reader, const struct reader_question *question, uint64_t *ret_positions,
               struct view_answer *answer)
{
    guard_arm(&reader->guard, question->time_ms);
    (void)sqlite3_step(reader->begin);
    (void)sqlite3_reset(reader->begin);
    int r = read_positions(reader, ret_positions, answer);
    if (r == 0 && question->total && question->count_sql.size > 0)
        r = count_rows(reader, question, answer);
    if (r == 0)
        r = run_rows(reader, question, answer);
    guard_arm(&reader->guard, 0);
    (void)sqlite3_step(reader->end);
    (void)sqlite3_reset(reader->end);
    return r == ROWS_E_TOO_LARGE ? too_large(question, answer) : r;
}
