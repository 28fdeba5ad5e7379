/* Pages with a checksum: no bit of a database file can change without its reader hearing of it, and what SQLite does to a file
 * leaves none without. */
#include "lib/cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "lib/dice.h"
#include "view/page_check.h"
#include "view/wal_check.h"

struct fixture {
    char folder[64], path[96];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/daybook-pages-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/v@1.db", f->folder);
    assert_ok(page_check_register());
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", f->path, endings[i]);
        (void)unlink(path);
    }
    assert_ok(rmdir(f->folder));
    free(f);
    return 0;
}

static sqlite3 *open_db(const struct fixture *f, const char *first)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                                     PAGE_CHECK_VFS),
                     SQLITE_OK);
    (void)sqlite3_extended_result_codes(db, 1);
    assert_int_equal(page_check_prepare(db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, first, NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

#define MAKE                                                                                                 \
    "create table t (n integer primary key, a text, b blob); create index i on t (a);"                       \
    "with recursive c (n) as (select 1 union all select n + 1 from c where n < 600)"                         \
    " insert into t select n, 'name ' || n, zeroblob(n % 7 * 1500) from c;"                                  \
    "delete from t where n % 3 = 0"

/* Everything the database says, as one number; the SQLite code when it says nothing. */
static int read_all(const char *path, bool mapped, uint64_t *ret_sum)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *row = NULL;
    int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, PAGE_CHECK_VFS);
    (void)sqlite3_extended_result_codes(db, 1);
    if (code == SQLITE_OK && mapped)
        code = sqlite3_exec(db, "pragma mmap_size = 268435456", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, "select n, a, b from t order by a", -1, &row, NULL);
    *ret_sum = 0;
    while (code == SQLITE_OK && (code = sqlite3_step(row)) == SQLITE_ROW) {
        const uint8_t *blob = sqlite3_column_blob(row, 2);
        *ret_sum = *ret_sum * 31 + (uint64_t)sqlite3_column_int64(row, 0);
        for (int i = 0; i < sqlite3_column_bytes(row, 1); i++)
            *ret_sum = *ret_sum * 31 + sqlite3_column_text(row, 1)[i];
        for (int i = 0; i < sqlite3_column_bytes(row, 2); i++)
            *ret_sum = *ret_sum * 31 + blob[i];
        code = SQLITE_OK;
    }
    (void)sqlite3_finalize(row);
    (void)sqlite3_close(db);
    return code;
}

static long size_of(const char *path)
{
    struct stat status;
    assert_ok(stat(path, &status));
    return (long)status.st_size;
}

static void flip(const char *path, long offset, unsigned bit)
{
    uint8_t byte;
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &byte, 1, offset), 1);
    byte ^= (uint8_t)(1u << bit);
    assert_int_equal(pwrite(file, &byte, 1, offset), 1);
    assert_ok(close(file));
}

/* Any bit, read with and without a mapping: the answer is what it was, or there is none and the page is named. */
static void no_flipped_bit_changes_an_answer(void **state)
{
    struct fixture *f = *state;
    dice_seed(7);
    uint64_t sum, whole;
    unsigned noticed = 0;
    sqlite3 *db = open_db(f, "pragma journal_mode = wal");
    run(db, MAKE);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(read_all(f->path, false, &whole), SQLITE_DONE);
    for (int i = 0; i < 200; i++) {
        long offset = i < 110 ? i : (long)dice((uint32_t)size_of(f->path));
        unsigned bit = dice(8);
        flip(f->path, offset, bit);
        page_check_forget();
        int code = read_all(f->path, i % 2 == 0, &sum);
        if (code == SQLITE_DONE) {
            assert_int_equal(sum, whole);
        } else {
            assert_true(page_check_is_damage(code));
            if (code == SQLITE_IOERR_DATA && page_check_damage()->path[0] != '\0')
                assert_int_equal(page_check_damage()->offset, offset / PAGE_CHECK_PAGE_SIZE * PAGE_CHECK_PAGE_SIZE);
            noticed++;
        }
        flip(f->path, offset, bit);
    }
    assert_true(noticed > 130);
    assert_int_equal(read_all(f->path, true, &sum), SQLITE_DONE);
    assert_int_equal(sum, whole);
}

static bool page_holds(FILE *file, long number)
{
    uint8_t page[PAGE_CHECK_PAGE_SIZE];
    assert_ok(fseek(file, number * PAGE_CHECK_PAGE_SIZE, SEEK_SET));
    assert_int_equal(fread(page, 1, sizeof(page), file), sizeof(page));
    return bytes_get_u32(page + PAGE_CHECK_PAGE_SIZE - 4) == PAGE_CHECK_MAGIC;
}

static void every_page_has_one(const struct fixture *f)
{
    long pages = size_of(f->path) / PAGE_CHECK_PAGE_SIZE;
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    assert_true(pages > 10);
    for (long i = 0; i < pages; i++)
        if (!page_holds(file, i))
            fail_msg("page %ld of %ld has no checksum", i + 1, pages);
    (void)fclose(file);
}

/* Pages are written once and freed, never written and freed, and left out when the file grows over them. */
static void churn(struct fixture *f, const char *mode)
{
    dice_seed(11);
    sqlite3 *db = open_db(f, mode);
    uint64_t sum;
    run(db, MAKE);
    for (int i = 0; i < 20; i++) {
        char sql[256];
        (void)snprintf(sql, sizeof(sql),
                       "begin; insert into t select n + %d, 'x' || n, zeroblob(9000) from t where n < 60;"
                       "delete from t where n > %u; update t set a = a || 'y' where n %% 9 = %d; commit",
                       1000 * (i + 1), (unsigned)dice(40000), i % 9);
        run(db, sql);
        if (i % 5 == 0)
            (void)sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    every_page_has_one(f);
    assert_int_equal(read_all(f->path, false, &sum), SQLITE_DONE);
}

static void every_page_of_a_file_that_grows_and_shrinks_has_a_checksum(void **state)
{
    churn(*state, "pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = 20");
}

static void so_has_every_page_without_a_wal(void **state)
{
    churn(*state, "pragma journal_mode = memory; pragma synchronous = off; pragma cache_size = 20");
}

static void copy(const char *from, const char *to)
{
    uint8_t data[4096];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t size;
    assert_true(in && out);
    while ((size = fread(data, 1, sizeof(data), in)) > 0)
        assert_int_equal(fwrite(data, 1, size, out), size);
    (void)fclose(in);
    (void)fclose(out);
}

/* A process that was killed: file, WAL and -shm as they stand, `copied` or not brought from the WAL into the file. */
static void leave(struct fixture *f, bool copied, char path[128])
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    sqlite3 *db = open_db(f, "pragma journal_mode = wal; pragma wal_autocheckpoint = 0");
    run(db, MAKE);
    run(db, "update t set a = 'later ' || n");
    if (copied)
        assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL), SQLITE_OK);
    (void)snprintf(path, 128, "%s/left@1.db", f->folder);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char from[160], to[160];
        (void)snprintf(from, sizeof(from), "%s%s", f->path, endings[i]);
        (void)snprintf(to, sizeof(to), "%s%s", path, endings[i]);
        copy(from, to);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void remove_left(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char name[160];
        (void)snprintf(name, sizeof(name), "%s%s", path, endings[i]);
        (void)unlink(name);
    }
}

/* Frames that stand in the file already must not be lost from in front of others that are older. */
static void a_wal_that_is_damaged_before_what_was_copied_is_found(void **state)
{
    struct fixture *f = *state;
    char path[128], wal[160];
    leave(f, true, path);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path);
    assert_true(wal_check_holds(path));
    long size = size_of(wal);
    for (long offset = 40; offset < size; offset += size / 12) {
        flip(wal, offset, 3);
        assert_false(wal_check_holds(path));
        flip(wal, offset, 3);
    }
    flip(wal, 24, 0); /* the header: SQLite would take nothing of it */
    assert_false(wal_check_holds(path));
    flip(wal, 24, 0);
    assert_true(wal_check_holds(path));
    remove_left(path);
}

/* V1: the last commits are applied again. */
static void a_torn_wal_of_which_nothing_was_copied_is_as_good_as_a_shorter_one(void **state)
{
    struct fixture *f = *state;
    char path[128], wal[160];
    leave(f, false, path);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path);
    assert_true(wal_check_holds(path));
    flip(wal, size_of(wal) - 100, 1);
    assert_true(wal_check_holds(path));
    remove_left(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_flipped_bit_changes_an_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_page_of_a_file_that_grows_and_shrinks_has_a_checksum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_has_every_page_without_a_wal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wal_that_is_damaged_before_what_was_copied_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_wal_of_which_nothing_was_copied_is_as_good_as_a_shorter_one, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
