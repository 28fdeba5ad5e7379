/* A store by itself: what a definition may do, what is noted beside the rows, what a failing statement leaves. */
#include "lib/cmocka_all.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "view/store.h"
#include "view/view.h"

static const struct journal_id journal = {.bytes = {1, 2, 3}};

struct fixture {
    char folder[64];
    char path[96];
    struct definition *definition;
    struct store *store;
    int wal_pages_max;
    char error[VIEW_ERROR_SIZE];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/daybook-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/v@1.db", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const endings[] = {"", "-wal", "-shm"};
    store_close(f->store);
    definition_free(f->definition);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", f->path, endings[i]);
        (void)unlink(path);
    }
    assert_ok(rmdir(f->folder));
    free(f);
    return 0;
}

/* Open (again) with this body behind the header. */
static int open_store(struct fixture *f, const char *body)
{
    _cleanup_(freep) char *text = NULL;
    store_close(take_ptr(f->store));
    definition_free(take_ptr(f->definition));
    assert_true(asprintf(&text, "-- view: v\n-- version: 1\n%s", body) > 0);
    int r =
        definition_parse(DEFINITION_VIEW, "views/v.sql", bytes_from_string(text), &f->definition, f->error);
    if (r != 0)
        return STORE_E_DEFINITION;
    struct store_options options = {.path = f->path, .wal_pages_max = f->wal_pages_max};
    return store_open(&options, f->definition, journal, &f->store, f->error);
}

static struct journal_event event_of(uint64_t position, const char *type, const char *data)
{
    return (struct journal_event){
        .position = position,
        .version = 7,
        .time_us = 1700000000123456,
        .id = {0x01, 0x90},
        .stream = BYTES_LITERAL("room-1"),
        .type = bytes_from_string(type),
        .data = bytes_from_string(data),
    };
}

static int apply(struct fixture *f, uint64_t position, const char *type, const char *data)
{
    struct journal_event event = event_of(position, type, data);
    struct log_chain chain = {.bytes = {(uint8_t)position}};
    int r = store_begin(f->store);
    if (r == 0)
        r = store_apply(f->store, &event);
    if (r == 0)
        r = store_commit(f->store, position, &chain);
    if (r != 0)
        store_rollback(f->store);
    return r;
}

/* The single value of a select on the store's file. */
static void assert_value(struct fixture *f, const char *sql, const char *expected)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *row = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    const char *value = (const char *)sqlite3_column_text(row, 0);
    assert_string_equal(value ? value : "null", expected);
    (void)sqlite3_finalize(row);
    (void)sqlite3_close(db);
}

static void an_event_changes_rows_by_the_sections_of_its_type(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(
        f, "create table v (a primary key, n);\n"
           "-- on Added\ninsert into v values (:data ->> 'a', 0) on conflict do update set n = n + 1;\n"
           "-- on Removed\ndelete from v where a = :data ->> 'a';\n"));
    assert_ok(apply(f, 1, "Added", "{\"a\":\"x\"}"));
    assert_ok(apply(f, 2, "Added", "{\"a\":\"x\"}"));
    assert_ok(apply(f, 3, "Added", "{\"a\":\"y\"}"));
    assert_ok(apply(f, 4, "Removed", "{\"a\":\"y\"}"));
    assert_ok(apply(f, 5, "Unheard", "{}"));
    assert_value(f, "select group_concat(a || n) from v", "x1");
    assert_value(f, "select position from daybook_view", "5");
}

static void all_nine_parameters_carry_the_event(void **state)
{
    struct fixture *f = *state;
    struct bytes tags[] = {BYTES_LITERAL("a"), BYTES_LITERAL("b\"c")};
    assert_ok(open_store(
        f, "create table v (p, s, v, t, i, z, d, g, m);\n-- on *\n"
           "insert into v values (:position, :stream, :version, :type, :id, :time, :data, :tags, :meta);"));
    struct journal_event event = event_of(12, "T", "{\"x\":1}");
    event.tags = tags;
    event.tag_count = 2;
    struct log_chain chain = {0};
    assert_ok(store_begin(f->store));
    assert_ok(store_apply(f->store, &event));
    assert_ok(store_commit(f->store, 12, &chain));
    assert_value(f,
                 "select p || ' ' || s || ' ' || v || ' ' || t || ' ' || d || ' ' || g || ' ' || ifnull(m, "
                 "'null') from v",
                 "12 room-1 7 T {\"x\":1} [\"a\",\"b\\\"c\"] null");
    assert_value(f, "select i from v", "01900000-0000-0000-0000-000000000000");
    assert_value(f, "select z from v", "2023-11-14T22:13:20.123456Z");
}

static void a_list_in_the_data_becomes_rows(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(f, "create table v (n primary key, booked);\n-- on T\n"
                            "insert into v select value, 1 from json_each(:data ->> 'nights') where true\n"
                            " on conflict do update set booked = booked + 1;\n"
                            "delete from v where n in (select value from json_tree(:data -> 'not'));"));
    assert_ok(apply(f, 1, "T", "{\"nights\":[\"a\",\"b\"],\"not\":[]}"));
    assert_ok(apply(f, 2, "T", "{\"nights\":[\"b\",\"c\"],\"not\":[\"c\"]}"));
    assert_value(f, "select group_concat(n || booked) from v", "a1,b2");
}

static void bytes_arrive_as_a_blob_and_an_erased_event_as_null(void **state)
{
    struct fixture *f = *state;
    struct log_chain chain = {0};
    assert_ok(open_store(f, "create table v (d);\n-- on *\ninsert into v values (:data);"));
    struct journal_event event = event_of(1, "T", "\xff\x00");
    event.content_type = BYTES_LITERAL("image/png");
    assert_ok(store_begin(f->store));
    assert_ok(store_apply(f->store, &event));
    event.stub = true;
    assert_ok(store_apply(f->store, &event));
    assert_ok(store_commit(f->store, 1, &chain));
    assert_value(f, "select group_concat(typeof(d)) from v", "blob,null");
}

/* V1: what is noted is in the transaction of the rows, and a store is taken up where it stood. */
static void a_store_goes_on_where_it_was_committed(void **state)
{
    struct fixture *f = *state;
    const char *body = "create table v (n);\n-- on T\ninsert into v values (:position);";
    assert_ok(open_store(f, body));
    assert_ok(apply(f, 3, "T", "{}"));
    struct journal_event event = event_of(4, "T", "{}");
    assert_ok(store_begin(f->store));
    assert_ok(store_apply(f->store, &event)); /* and never committed */
    assert_ok(open_store(f, body));
    assert_int_equal(store_state(f->store)->position, 3);
    assert_int_equal(store_state(f->store)->chain.bytes[0], 3);
    assert_value(f, "select group_concat(n) from v", "3");
}

static void a_store_of_another_definition_or_journal_is_a_mismatch(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(f, "create table v (n);\n-- on T\ninsert into v values (1);"));
    assert_int_equal(open_store(f, "create table v (n);\n-- on T\ninsert into v values (2);"),
                     STORE_E_MISMATCH);
    struct journal_id other = {.bytes = {9}};
    struct store_options options = {.path = f->path, .wal_pages_max = f->wal_pages_max};
    struct store *store = NULL;
    assert_int_equal(store_open(&options, f->definition, other, &store, f->error), STORE_E_MISMATCH);
    struct store_state peeked;
    char *text = NULL;
    store_close(take_ptr(f->store));
    assert_ok(store_peek(f->path, &peeked, &text, f->error));
    assert_non_null(strstr(text, "values (1)"));
    free(text);
}

static void a_file_that_is_no_store_is_a_mismatch_or_damage(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        (void)fputc("rubbish"[i % 7], file);
    (void)fclose(file);
    assert_int_equal(open_store(f, "create table v (n);\n-- on T\ninsert into v values (1);"),
                     STORE_E_DAMAGED);
}

/* V5 */
static void a_failing_statement_names_the_event_and_leaves_the_rows_alone(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(f, "create table v (n unique);\n-- on T\n\ninsert into v values (:data ->> 'n');"));
    assert_ok(apply(f, 1, "T", "{\"n\":5}"));
    assert_int_equal(apply(f, 2, "T", "{\"n\":5}"), STORE_E_EVENT);
    assert_string_equal(store_error(f->store),
                        "views/v.sql:6: failed on event 2 (T): UNIQUE constraint failed: v.n");
    assert_int_equal(apply(f, 2, "T", "no json"), STORE_E_EVENT);
    assert_non_null(strstr(store_error(f->store), "malformed JSON"));
    assert_ok(apply(f, 2, "T", "{\"n\":6}"));
    assert_value(f, "select group_concat(n) from v", "5,6");
}

#define TABLE "create table v (n);\n"

/* V4 and more: each refused at opening, with the line. */
static const struct {
    const char *body, *error;
} refused[] = {
    {"create tabel v (n);\n-- on T\nselect 1;", "views/v.sql:3: near \"tabel\""},
    {"create table w (n);\n-- on T\nselect 1;", "no table or SQL view is named v"},
    {TABLE "-- on T\n\ninsert into w values (1);", "views/v.sql:6: no such table: w"},
    {TABLE "-- on T\ninsert into v values (:name);", "views/v.sql:5: there is no parameter :name"},
    {TABLE "-- on T\ninsert into v values (random());", "views/v.sql:5: function random is not allowed"},
    {TABLE "-- on T\ninsert into v values (current_timestamp);", "not allowed"},
    {TABLE "-- on T\ninsert into v values (date('now'));", "'now'"},
    {TABLE "-- on T\ninsert into v values (last_insert_rowid());", "not allowed"},
    {TABLE "-- on T\nattach 'x' as y;", "not allowed"},
    {TABLE "-- on T\npragma user_version = 1;", "not allowed"},
    {TABLE "-- on T\ncommit;", "transaction"},
    {TABLE "-- on T\ncreate table x (y);", "only before the first '-- on'"},
    {TABLE "-- on T\ndelete from daybook_view;", "is not the application's"},
    {TABLE "-- on T\ninsert into v select name from sqlite_master;", "is not the application's"},
    {TABLE "-- on T\n-- nothing\n", "nothing follows '-- on T'"},
    {TABLE "pragma journal_mode = delete;\n-- on T\nselect 1;",
     "views/v.sql:4: pragma journal_mode is not allowed"},
    {TABLE "create table daybook_x (n);\n-- on T\nselect 1;", "daybook's own"},
    {TABLE "insert into v values (:position);\n-- on T\nselect 1;", "parameters stand after '-- on' only"},
    {"create table v (\"limit\");\n-- on T\nselect 1;", "may not be named limit"},
    {TABLE "create trigger t after insert on v begin insert into v values (random()); end;\n-- on T\n"
           "insert into v values (1);",
     "not allowed"},
};

static void sql_that_could_differ_between_runs_or_leave_the_store_is_refused(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)unlink(f->path);
        if (open_store(f, refused[i].body) != STORE_E_DEFINITION || !strstr(f->error, refused[i].error))
            fail_msg("%s\n-> '%s', expected '%s'", refused[i].body, f->error, refused[i].error);
    }
}

static void the_files_of_a_store_are_their_owners_alone_whatever_the_umask(void **state)
{
    struct fixture *f = *state;
    static const char *const endings[] = {"", "-wal", "-shm"};
    const char *body = "create table v (a primary key);\n-- on T\ninsert into v values (:position);\n";
    for (int again = 0; again < 2; again++) {
        mode_t before = umask(again ? 0777 : 0);
        assert_ok(open_store(f, body));
        (void)umask(before);
        assert_ok(apply(f, (uint64_t)again + 1, "T", "{}"));
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
            char path[128];
            struct stat found;
            (void)snprintf(path, sizeof(path), "%s%s", f->path, endings[i]);
            assert_ok(stat(path, &found));
            assert_int_equal(found.st_mode & 0777, 0600);
            assert_ok(chmod(path, 0644)); /* as an older one made it */
        }
    }
}

/* Two that read, so that there is always one. */
struct overlapping {
    struct fixture *fixture;
    _Atomic bool stop;
    _Atomic int holding;
};

static void *read_on(void *user)
{
    struct overlapping *all = user;
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(all->fixture->path, &db), SQLITE_OK);
    while (!all->stop) {
        (void)sqlite3_exec(db, "begin; select count(*) from v", NULL, NULL, NULL);
        all->holding++;
        for (int tries = 0; all->holding < 2 && !all->stop && tries < 5; tries++)
            (void)poll(NULL, 0, 1); /* until the other one has begun too, or is at its end */
        all->holding--;
        (void)sqlite3_exec(db, "commit", NULL, NULL, NULL);
    }
    (void)sqlite3_close(db);
    return NULL;
}

static void the_wal_is_bounded_under_readers_that_overlap(void **state)
{
    struct fixture *f = *state;
    enum { PAGES_MAX = 64, PAGE_SIZE = 4096, EVENTS = 120, SLACK = 32 };
    struct overlapping all = {.fixture = f};
    pthread_t readers[2];
    off_t largest = 0;
    char path[128];
    struct stat wal;
    f->wal_pages_max = PAGES_MAX;
    assert_ok(open_store(f, "create table v (a integer primary key, b);\n"
                            "-- on T\ninsert into v values (:position, zeroblob(3000));\n"));
    (void)snprintf(path, sizeof(path), "%s-wal", f->path);
    for (int i = 0; i < 2; i++)
        assert_ok(pthread_create(&readers[i], NULL, read_on, &all));
    for (uint64_t position = 1; position <= EVENTS; position++) {
        assert_ok(apply(f, position, "T", "{}"));
        assert_ok(stat(path, &wal));
        largest = wal.st_size > largest ? wal.st_size : largest;
    }
    all.stop = true;
    for (int i = 0; i < 2; i++)
        assert_ok(pthread_join(readers[i], NULL));
    if (largest > (PAGES_MAX + SLACK) * (PAGE_SIZE + 24))
        fail_msg("the WAL grew to %lld bytes", (long long)largest);
}

static void a_text_above_the_limit_fails_the_statement(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(
        f, "create table v (n);\n-- on T\ninsert into v values (length(zeroblob(:data ->> 'n')));"));
    assert_ok(apply(f, 1, "T", "{\"n\":1000}"));
    assert_int_equal(apply(f, 2, "T", "{\"n\":100000000}"), STORE_E_EVENT);
    assert_non_null(strstr(store_error(f->store), "too big"));
}

/* What no look at the SQL can see is refused when it happens. */
static void a_clock_that_is_asked_by_way_of_data_fails_the_statement(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(f, "create table v (n, at default current_timestamp);\n"
                            "-- on T\ninsert into v values (date(:data ->> 'd', :data ->> 'm'), 0);\n"
                            "-- on D\ninsert into v (n) values (1);\n"));
    assert_ok(apply(f, 1, "T", "{\"d\":\"2024-02-28\",\"m\":\"+2 days\"}"));
    assert_value(f, "select n from v", "2024-03-01");
    assert_int_equal(apply(f, 2, "T", "{\"d\":\"NOW\",\"m\":\"+2 days\"}"), STORE_E_EVENT);
    assert_int_equal(apply(f, 2, "T", "{\"d\":\"2024-02-28\",\"m\":\"localtime\"}"), STORE_E_EVENT);
    assert_int_equal(apply(f, 2, "D", "{}"), STORE_E_EVENT);
}

static void dates_compute_as_sqlite_does(void **state)
{
    struct fixture *f = *state;
    assert_ok(open_store(f, "create table v (n);\n-- on T\n"
                            "insert into v values (strftime('%Y/%m', :data ->> 'd'));\n"
                            "insert into v values (julianday(:data ->> 'd') - julianday('2024-01-01'));\n"
                            "insert into v values (unixepoch(:data ->> 'd'));"));
    assert_ok(apply(f, 1, "T", "{\"d\":\"2024-01-11\"}"));
    assert_value(f, "select group_concat(n) from v", "2024/01,10.0,1704931200");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        STORE_TEST(an_event_changes_rows_by_the_sections_of_its_type),
        STORE_TEST(all_nine_parameters_carry_the_event),
        STORE_TEST(a_list_in_the_data_becomes_rows),
        STORE_TEST(bytes_arrive_as_a_blob_and_an_erased_event_as_null),
        STORE_TEST(a_store_goes_on_where_it_was_committed),
        STORE_TEST(a_store_of_another_definition_or_journal_is_a_mismatch),
        STORE_TEST(a_file_that_is_no_store_is_a_mismatch_or_damage),
        STORE_TEST(a_failing_statement_names_the_event_and_leaves_the_rows_alone),
        STORE_TEST(sql_that_could_differ_between_runs_or_leave_the_store_is_refused),
        STORE_TEST(the_files_of_a_store_are_their_owners_alone_whatever_the_umask),
        STORE_TEST(the_wal_is_bounded_under_readers_that_overlap),
        STORE_TEST(a_text_above_the_limit_fails_the_statement),
        STORE_TEST(a_clock_that_is_asked_by_way_of_data_fails_the_statement),
        STORE_TEST(dates_compute_as_sqlite_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
