/* WAL with synchronous=NORMAL: a commit costs no sync. A crash of the process loses nothing; a crash of the machine may
 * lose the last commits, whole ones from the end, and the position goes back with the rows: the events are applied again.
 */
#include "view/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/file.h"
#include "view/guard.h"
#include "view/page_check.h"
#include "view/program.h"
#include "view/view.h"
#include "view/wal_check.h"

/* The layout of daybook_view; one higher makes every store be rebuilt. */
#define STORE_FORMAT 2

/* Pages in the WAL after which they are copied to the file. Under readers that overlap it never starts over by itself, because
 * there is always one that still needs the end of it: at STORE_WAL_PAGES_MAX nothing more is written until those have ended that
 * read now, and it is cut off. A question lasts VIEW_TIME_MS_MAX at most (V6), and two generations of them may be waited for:
 * those that need old pages of the WAL, then those that need its last ones; whoever comes later reads the file alone. */
#define WAL_PAGES_COPY 4096
#define WAL_CUT_MS     (2 * (VIEW_TIME_MS_MAX + 1000))
#define BUSY_MS        200

struct store {
    sqlite3 *db;
    struct guard guard;
    const struct definition *definition;
    struct program *program;
    struct relation *relation;
    struct store_state state;
    struct journal_item item; /* what store_wants() points to */
    bool wants_all, wants_system;
    sqlite3_stmt *begin, *note, *commit, *rollback;
    sqlite3_stmt *mark, *unmark, *release; /* around an event whose data is gone */
    int wal_pages, wal_pages_max;
    int wal_pages_next; /* copied again at so many */
    uint32_t apply_ms_max;
    char error[VIEW_ERROR_SIZE];
};

/* --- SQLite's answers as ours ------------------------------------------------------------------------------------------------ */

static int answer_of(int code)
{
    if (page_check_is_damage(code))
        return STORE_E_DAMAGED;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW: return 0;
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_INTERRUPT: return STORE_E_STOPPED;
    default: return STORE_E_NO_ROOM;
    }
}

static int fail(struct store *store, int code, const char *doing)
{
    int r = answer_of(code);
    if (r == STORE_E_DAMAGED)
        store_say_damage(store->error, sqlite3_errmsg(store->db));
    else
        (void)snprintf(store->error, sizeof(store->error), "%s the store of view %s: %.300s", doing,
                       store->definition->name, sqlite3_errmsg(store->db));
    return r;
}

void store_say_damage(char *ret_error, const char *otherwise)
{
    const struct page_damage *damage = page_check_damage();
    const char *name = strrchr(damage->path, '/');
    if (damage->path[0] != '\0')
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "views/%.300s is damaged at byte %llu", name ? name + 1 : damage->path,
                       (unsigned long long)damage->offset);
    else
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%.300s", otherwise);
    page_check_forget();
}

static int execute(struct store *store, const char *sql)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : fail(store, code, "setting up");
}

/* --- opening ------------------------------------------------------------------------------------------------------------------ */

static int note_wal_size(void *user, sqlite3 *db, const char *schema, int pages)
{
    (void)db, (void)schema;
    ((struct store *)user)->wal_pages = pages;
    return SQLITE_OK;
}

/* The file, its WAL and the index of that are their owner's alone, whatever the umask and whoever made them: SQLite gives the
 * others the mode of the first. Before it is opened, because closing a file of one's own would end SQLite's locks. */
static int make_private(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    enum { MODE = 0600 };
    if (strncmp(path, "file:", 5) == 0 || strcmp(path, ":memory:") == 0)
        return 0;
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, MODE);
    if (fd >= 0)
        (void)close(fd);
    else if (errno != EEXIST)
        return -errno;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char name[OS_PATH_SIZE_MAX];
        if ((size_t)snprintf(name, sizeof(name), "%s%s", path, endings[i]) >= sizeof(name))
            return -ENAMETOOLONG;
        if (chmod(name, MODE) < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

static int connect(struct store *store, const struct store_options *options)
{
    int r = page_check_register();
    if (r < 0)
        return r;
    page_check_forget();
    r = make_private(options->path);
    if (r < 0) {
        (void)snprintf(store->error, sizeof(store->error), "opening %s: %s", options->path, strerror(-r));
        return r == -ENOMEM ? r : STORE_E_NO_ROOM;
    }
    int code = sqlite3_open_v2(
        options->path, &store->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
        PAGE_CHECK_VFS);
    if (code == SQLITE_OK)
        code = page_check_prepare(store->db);
    if (code != SQLITE_OK)
        return store->db ? fail(store, code, "opening") : -ENOMEM;
    (void)sqlite3_extended_result_codes(store->db, 1);
    (void)sqlite3_busy_timeout(store->db, BUSY_MS);
    (void)sqlite3_wal_hook(store->db, note_wal_size, store);
    r = execute(store, options->scratch ? "pragma journal_mode = memory; pragma synchronous = off"
                                            : "pragma journal_mode = wal; pragma synchronous = normal");
    if (r == 0)
        r = execute(store,
                    "pragma secure_delete = off; pragma temp_store = memory; pragma recursive_triggers = on;"
                    "pragma foreign_keys = off; pragma cache_size = -32000");
    return r != 0 ? r : guard_init(&store->guard, store->db, true, options->stop);
}

static int make_tables(struct store *store)
{
    int code = SQLITE_OK;
    int r = program_make_tables(&store->guard, store->definition, &code, store->error);
    if (r == PROGRAM_E_DEFINITION)
        return STORE_E_DEFINITION;
    return r == PROGRAM_E_STORE ? answer_of(code) : r;
}

static int insert_state(struct store *store, struct journal_id journal)
{
    sqlite3_stmt *insert = NULL;
    int code = sqlite3_prepare_v2(
        store->db, "insert into daybook_view values (1, ?1, ?2, ?3, ?4, ?5, ?6, 0, zeroblob(32))", -1,
        &insert, NULL);
    if (code == SQLITE_OK) {
        const struct definition *d = store->definition;
        (void)sqlite3_bind_int(insert, 1, STORE_FORMAT);
        (void)sqlite3_bind_blob(insert, 2, journal.bytes, sizeof(journal.bytes), SQLITE_STATIC);
        (void)sqlite3_bind_text(insert, 3, d->name, -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(insert, 4, (sqlite3_int64)d->version);
        (void)sqlite3_bind_blob(insert, 5, d->hash.data, sizeof(d->hash.data), SQLITE_STATIC);
        (void)sqlite3_bind_text(insert, 6, d->text, (int)d->text_size, SQLITE_STATIC);
        code = sqlite3_step(insert);
    }
    (void)sqlite3_finalize(insert);
    return code == SQLITE_DONE ? 0 : fail(store, code, "making");
}

/* Tables and state in one transaction: a store is whole or not there. */
static int make(struct store *store, struct journal_id journal)
{
    int r = execute(
        store,
        "begin immediate;"
        "create table daybook_view (one integer primary key, format, journal, name, version, definition,"
        " text, position, chain)");
    if (r == 0)
        r = make_tables(store);
    if (r == 0)
        r = insert_state(store, journal);
    if (r == 0)
        r = execute(store, "commit");
    return r;
}

static bool copy_blob(sqlite3_stmt *row, int column, void *to, int size)
{
    const void *blob = sqlite3_column_blob(row, column);
    if (!blob || sqlite3_column_bytes(row, column) != size)
        return false;
    memcpy(to, blob, (size_t)size);
    return true;
}

static bool take_state(sqlite3_stmt *row, struct store_state *state)
{
    state->version = (uint64_t)sqlite3_column_int64(row, 2);
    state->position = (uint64_t)sqlite3_column_int64(row, 4);
    return sqlite3_column_int(row, 0) == STORE_FORMAT &&
           copy_blob(row, 1, state->journal.bytes, sizeof(state->journal)) &&
           copy_blob(row, 3, state->definition.data, sizeof(state->definition)) &&
           copy_blob(row, 5, state->chain.bytes, sizeof(state->chain));
}

/* The state of an open database. STORE_E_MISMATCH: it has none, or of another format. */
static int read_state(sqlite3 *db, struct store_state *ret_state, char **ret_text)
{
    sqlite3_stmt *row = NULL;
    int code = sqlite3_prepare_v2(
        db, "select format, journal, version, definition, position, chain, text from daybook_view", -1, &row,
        NULL);
    int r = code == SQLITE_OK ? 0 : code == SQLITE_ERROR ? STORE_E_MISMATCH : answer_of(code);
    if (r == 0) {
        code = sqlite3_step(row);
        r = code == SQLITE_ROW && take_state(row, ret_state) ? 0
            : code == SQLITE_ROW || code == SQLITE_DONE      ? STORE_E_MISMATCH
                                                             : answer_of(code);
    }
    if (r == 0 && ret_text) {
        const char *text = (const char *)sqlite3_column_text(row, 6);
        *ret_text = text ? strdup(text) : NULL;
        r = *ret_text ? 0 : -ENOMEM;
    }
    (void)sqlite3_finalize(row);
    return r;
}

static bool is_empty(sqlite3 *db)
{
    sqlite3_stmt *row = NULL;
    bool empty = sqlite3_prepare_v2(db, "select 1 from sqlite_master limit 1", -1, &row, NULL) == SQLITE_OK &&
                 sqlite3_step(row) == SQLITE_DONE;
    (void)sqlite3_finalize(row);
    return empty;
}

static int make_or_take_up(struct store *store, struct journal_id journal)
{
    if (is_empty(store->db)) {
        int r = make(store, journal);
        if (r != 0)
            return r;
    }
    int r = read_state(store->db, &store->state, NULL);
    if (r != 0)
        return r;
    bool same = memcmp(store->state.journal.bytes, journal.bytes, sizeof(journal.bytes)) == 0 &&
                hash256_equal(store->state.definition, store->definition->hash);
    return same ? 0 : STORE_E_MISMATCH;
}

static int prepare_own(struct store *store)
{
    const struct {
        const char *sql;
        sqlite3_stmt **statement;
    } own[] = {
        {"begin immediate", &store->begin},
        {"update daybook_view set position = ?1, chain = ?2", &store->note},
        {"commit", &store->commit},
        {"rollback", &store->rollback},
        {"savepoint gone", &store->mark},
        {"rollback to gone", &store->unmark},
        {"release gone", &store->release},
    };
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        int code =
            sqlite3_prepare_v3(store->db, own[i].sql, -1, SQLITE_PREPARE_PERSISTENT, own[i].statement, NULL);
        if (code != SQLITE_OK)
            return fail(store, code, "opening");
    }
    return 0;
}

static int load_program(struct store *store)
{
    const struct definition *d = store->definition;
    int code = SQLITE_OK;
    int r = program_compile(&store->guard, d, &store->program, &code, store->error);
    if (r > 0)
        return r == PROGRAM_E_DEFINITION ? STORE_E_DEFINITION : answer_of(code);
    if (r == 0)
        r = relation_load(store->db, d->name, &store->relation);
    if (r == RELATION_E_MISSING) {
        (void)snprintf(store->error, sizeof(store->error), "%s:%u: no table or SQL view is named %s", d->file,
                       d->schema.line, d->name);
        return STORE_E_DEFINITION;
    }
    return r;
}

/* A column that is named like a parameter of the URL could never be asked for. */
static int check_columns(struct store *store)
{
    static const char *const taken[] = {"select", "order", "limit",        "offset", "and",
                                        "or",     "not",   "min_position", "as_of"};
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (relation_find(store->relation, bytes_from_string(taken[i]))) {
            (void)snprintf(store->error, sizeof(store->error),
                           "%s:%u: a column of %s may not be named %s: a question's own "
                           "parameter is",
                           store->definition->file, store->definition->schema.line, store->definition->name,
                           taken[i]);
            return STORE_E_DEFINITION;
        }
    }
    return 0;
}

static void note_wants(struct store *store)
{
    store->item.type_count = program_types(store->program, &store->item.types, &store->wants_all);
    for (size_t i = 0; i < store->item.type_count; i++)
        store->wants_system |= store->item.types[i].data[0] == '$';
}

int store_open(const struct store_options *options, const struct definition *definition,
               struct journal_id journal, struct store **ret_store, char *ret_error)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->definition = definition;
    store->wal_pages_max = options->wal_pages_max > 0 ? options->wal_pages_max : STORE_WAL_PAGES_MAX;
    store->apply_ms_max = options->apply_ms_max > 0 ? options->apply_ms_max : VIEW_APPLY_MS_MAX;
    int r = connect(store, options);
    if (r == 0)
        r = make_or_take_up(store, journal);
    if (r == 0)
        r = prepare_own(store);
    if (r == 0)
        r = load_program(store);
    if (r == 0)
        r = check_columns(store);
    if (r != 0) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s", store->error);
        store_close(store);
        return r;
    }
    note_wants(store);
    *ret_store = store;
    return 0;
}

/* Stores of older versions have pages without checksums: byte 20 says how much of each is reserved. */
static bool has_checksums(const char *path)
{
    const struct os_file_ops *ops = os_file_real();
    uint8_t header[21] = {0};
    size_t size = 0;
    int file;
    if (ops->open(ops, path, OS_FILE_READ, &file) < 0)
        return true; /* it is missing, and that is said elsewhere */
    int r = os_file_read_full(ops, file, header, sizeof(header), 0, &size);
    (void)ops->close(ops, file);
    return r < 0 || size < sizeof(header) || header[20] != 0;
}

/* SQLite could not make or enlarge what stands beside a file. Anything else that keeps a file from being read is the file's. */
static bool is_want_of_room_beside(int code)
{
    return code == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE || code == SQLITE_IOERR_SHMOPEN ||
           code == SQLITE_IOERR_SHMMAP;
}

static int peek(const char *path, struct store_state *ret_state, char **ret_text, char *ret_error)
{
    sqlite3 *db = NULL;
    page_check_forget();
    int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                               PAGE_CHECK_VFS);
    int r = code == SQLITE_OK ? read_state(db, ret_state, ret_text) : answer_of(code);
    if (r == STORE_E_DAMAGED)
        store_say_damage(ret_error, sqlite3_errmsg(db));
    else if (r == STORE_E_NO_ROOM && !is_want_of_room_beside(sqlite3_extended_errcode(db)))
        r = STORE_E_MISMATCH;
    else if (r == STORE_E_NO_ROOM)
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%.300s", sqlite3_errmsg(db));
    (void)sqlite3_close(db);
    return r;
}

int store_peek(const char *path, struct store_state *ret_state, char **ret_text, char *ret_error)
{
    int r = page_check_register();
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "the store is missing or unfinished");
    if (r < 0)
        return r;
    if (!has_checksums(path)) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "its pages have no checksums: it is of an older version");
        return STORE_E_MISMATCH;
    }
    if (!wal_check_holds(path)) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "its WAL is damaged before its end");
        return STORE_E_DAMAGED;
    }
    return peek(path, ret_state, ret_text, ret_error);
}

void store_close(struct store *store)
{
    if (!store)
        return;
    program_free(store->program);
    relation_free(store->relation);
    (void)sqlite3_finalize(store->begin);
    (void)sqlite3_finalize(store->note);
    (void)sqlite3_finalize(store->commit);
    (void)sqlite3_finalize(store->rollback);
    (void)sqlite3_finalize(store->mark);
    (void)sqlite3_finalize(store->unmark);
    (void)sqlite3_finalize(store->release);
    guard_deinit(&store->guard);
    int code = sqlite3_close(store->db);
    assert(code == SQLITE_OK); /* every statement was finalized above */
    free(store);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------- */

const struct store_state *store_state(const struct store *store)
{
    return &store->state;
}

struct relation *store_take_relation(struct store *store)
{
    return take_ptr(store->relation);
}

const char *store_error(const struct store *store)
{
    return store->error;
}

void store_wants(const struct store *store, struct journal_query *ret_query, bool *ret_system)
{
    *ret_query = (struct journal_query){0};
    if (!store->wants_all)
        *ret_query = (struct journal_query){.items = &store->item, .count = 1};
    *ret_system = store->wants_system;
}

/* --- applying ----------------------------------------------------------------------------------------------------------------- */

static int step(struct store *store, sqlite3_stmt *statement, const char *doing)
{
    int code = sqlite3_step(statement);
    int r = code == SQLITE_DONE ? 0 : fail(store, code, doing);
    (void)sqlite3_reset(statement);
    return r;
}

int store_begin(struct store *store)
{
    guard_arm(&store->guard, 0);
    page_check_forget();
    return step(store, store->begin, "writing to");
}

static int run(struct store *store, const struct journal_event *event)
{
    int code = SQLITE_OK;
    guard_arm(&store->guard, store->apply_ms_max);
    int r = program_run(store->program, event, &code, store->error);
    guard_arm(&store->guard, 0);
    switch (r) {
    case PROGRAM_E_STATEMENT: return STORE_E_EVENT;
    case PROGRAM_E_STOPPED: return STORE_E_STOPPED;
    case PROGRAM_E_STORE:
        r = answer_of(code);
        if (r == STORE_E_DAMAGED)
            store_say_damage(store->error, sqlite3_errmsg(store->db));
        return r;
    default: return r;
    }
}

/* An event whose data was erased is applied with :data null. A statement that cannot do with that, because a column must not be
 * null, must not stop the view for ever: then the event leaves no rows at all, in every rebuild alike (V1). */
static int run_without_data(struct store *store, const struct journal_event *event)
{
    int r = step(store, store->mark, "writing to");
    if (r != 0)
        return r;
    r = run(store, event);
    if (r == STORE_E_EVENT && store->guard.end == GUARD_RUNNING) {
        store->error[0] = '\0';
        r = step(store, store->unmark, "writing to");
    }
    return r == 0 ? step(store, store->release, "writing to") : r;
}

int store_apply(struct store *store, const struct journal_event *event)
{
    return event->erased || event->sealed ? run_without_data(store, event) : run(store, event);
}

/* Copy the WAL into the file before it grows without end. What cannot be copied now can be later: not a failure. */
static void keep_wal_short(struct store *store)
{
    int copy = store->wal_pages_max < WAL_PAGES_COPY ? store->wal_pages_max / 4 : WAL_PAGES_COPY;
    if (store->wal_pages < copy)
        store->wal_pages_next = 0; /* it has started over */
    if (store->wal_pages < copy || store->wal_pages < store->wal_pages_next)
        return;
    bool cut = store->wal_pages >= store->wal_pages_max;
    store->wal_pages_next = store->wal_pages + copy;
    (void)sqlite3_busy_timeout(store->db, cut ? WAL_CUT_MS : BUSY_MS);
    int code = sqlite3_wal_checkpoint_v2(store->db, NULL, cut ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE,
                                         NULL, NULL);
    (void)sqlite3_busy_timeout(store->db, BUSY_MS);
    if (cut && code == SQLITE_OK)
        store->wal_pages = store->wal_pages_next = 0;
}

int store_commit(struct store *store, uint64_t position, const struct log_chain *chain)
{
    assert(position >= store->state.position); /* V3 */
    guard_arm(&store->guard, 0);
    (void)sqlite3_bind_int64(store->note, 1, (sqlite3_int64)position);
    (void)sqlite3_bind_blob(store->note, 2, chain->bytes, sizeof(chain->bytes), SQLITE_STATIC);
    int r = step(store, store->note, "writing to");
    if (r == 0)
        r = step(store, store->commit, "committing to");
    if (r != 0)
        return r;
    store->state.position = position;
    store->state.chain = *chain;
    keep_wal_short(store);
    return 0;
}

void store_rollback(struct store *store)
{
    guard_arm(&store->guard, 0);
    if (sqlite3_get_autocommit(store->db) == 0)
        (void)sqlite3_step(store->rollback);
    (void)sqlite3_reset(store->rollback);
}
