/* Nobody trusts a first store without them: backup, verify, export and import. */
#include "lib/cmocka_all.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "journal/codec.h"
#include "journal/tools.h"
#include "lib/dice.h"
#include "lib/fake_clock.h"
#include "lib/journal_kit.h"
#include "os/thread.h"

static char *in_folder(const char *folder, const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

/* Events of every kind: with and without stream, tags, meta, id; JSON and bytes; daybook's own. */
static void append_some(struct journal *journal, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct bytes tags[2][16];
        char data[32], stream[16];
        snprintf(stream, sizeof(stream), "%s%u", i % 7 ? "s" : "$s", i % 5);
        snprintf(data, sizeof(data), "{\"i\":%u.50,\"s\":\"\\u00e4\"}", i);
        struct journal_event_new events[2] = {
            kit_event(i % 3 ? stream : "", "A", i % 2 ? "x y" : "", tags[0], data),
            kit_event(stream, "B", "", tags[1], "\x01\x02\xff")};
        events[0].system = events[1].system = true;
        events[1].content_type = B("application/octet-stream");
        if (i % 4 == 0)
            events[0].meta = B("{\"m\":[1,2]}");
        struct journal_append append = {.events = events, .event_count = 1 + i % 2};
        assert_ok(journal_append_wait(journal, &append, NULL));
    }
}

struct heard {
    struct file_log_damage first;
    unsigned count;
};

static void hear(void *user, const struct file_log_damage *damage)
{
    struct heard *heard = user;
    if (heard->count++ == 0)
        heard->first = *damage;
}

static void verify_expecting(const char *folder, unsigned damages, struct heard *heard)
{
    struct journal_verify_report report;
    char error[256] = "";
    *heard = (struct heard){0};
    int r = journal_verify(folder, hear, NULL, heard, &report, error);
    if (r != 0 || heard->count != damages)
        print_message("%d %s: %u damages, %s\n", r, error, heard->count, heard->first.what);
    assert_ok(r);
    assert_int_equal(heard->count, damages);
    assert_int_equal(report.log.damage_count, damages);
}

static void a_sound_journal_is_verified_event_by_event(void **state)
{
    char *folder = kit_folder_new(), *log = in_folder(folder, "log");
    struct journal_verify_report report;
    struct journal *journal = kit_open_file(log);
    append_some(journal, 200);
    journal_close(journal);
    assert_ok(journal_verify(folder, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.log.damage_count, 0);
    assert_int_equal(report.events, 300);
    assert_int_equal(report.appends, 200);
    assert_int_equal(report.log.head, 300);
    assert_true(report.streams >= 5);
    assert_ok(journal_verify(log, NULL, NULL, NULL, &report, NULL)); /* the log's own folder will do */
    assert_int_equal(report.events, 300);
    free(log);
    kit_folder_remove(folder);
}

static void a_damaged_byte_is_named_by_file_and_offset(void **state)
{
    char *folder = kit_folder_new(), *log = in_folder(folder, "log");
    struct heard heard;
    struct journal *journal = kit_open_file(log);
    append_some(journal, 200);
    journal_close(journal);
    char *segment = in_folder(log, "00000000000000000001.seg");
    int file = open(segment, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(file, &byte, 1, 9000), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(file, &byte, 1, 9000), 1);
    close(file);
    verify_expecting(folder, 1, &heard);
    assert_string_equal(heard.first.file, "00000000000000000001.seg");
    assert_in_range(heard.first.offset, 9000 - 1000, 9000);
    assert_true(heard.first.acknowledged);
    free(segment);
    free(log);
    kit_folder_remove(folder);
}

/* Whole frames with a sound chain can still hold what is no event, or not the one that belongs there. */
static void append_raw(struct log *log, const struct journal_event *event, bool spoil)
{
    static uint8_t memory[4096];
    struct log_record record = {0};
    struct log_entry entry = {.records = &record, .count = 1};
    struct log_batch batch = {.tail_expected = event->position - 1, .entries = &entry, .count = 1};
    enum log_outcome outcome;
    codec_write_head(event, memory);
    record.head = bytes_make(memory, codec_head_size(event));
    codec_write_body(event, memory + record.head.size);
    record.body = bytes_make(memory + record.head.size, codec_body_size(event));
    if (spoil)
        memory[46] = 1;
    assert_ok(kit_log_write(log, &batch, &outcome));
    assert_int_equal(outcome, LOG_DURABLE);
}

static void verify_raw(struct journal_event second, bool spoil, const char *what)
{
    char *folder = kit_folder_new(), *path = in_folder(folder, "log");
    struct heard heard;
    struct log *log;
    struct journal_event first = {.position = 1,
                                  .version = 1,
                                  .append_first = 1,
                                  .append_count = 1,
                                  .time_us = 1000,
                                  .stream = B("s"),
                                  .type = B("A")};
    memset(first.id, 1, sizeof(first.id));
    assert_ok(file_log_open(path, &(struct file_log_options){.segment_size = 64 * 1024}, &log, NULL));
    append_raw(log, &first, false);
    append_raw(log, &second, spoil);
    assert_ok(log_close(log));
    verify_expecting(folder, what ? 1 : 0, &heard);
    if (what) {
        assert_string_equal(heard.first.what, what);
        assert_string_equal(heard.first.file, "00000000000000000001.seg");
        assert_int_equal(heard.first.position, 2);
        assert_true(heard.first.offset > 0);
    }
    free(path);
    kit_folder_remove(folder);
}

static void what_no_checksum_sees_is_found_in_the_events(void **state)
{
    const struct journal_event good = {.position = 2,
                                       .version = 2,
                                       .append_first = 2,
                                       .append_count = 1,
                                       .time_us = 1000,
                                       .stream = B("s"),
                                       .type = B("A"),
                                       .id = {2}};
    struct journal_event bad;
    verify_raw(good, false, NULL);
    verify_raw(good, true, "reserved bytes must be 0");
    bad = good;
    bad.version = 3;
    verify_raw(bad, false, "its version does not continue its stream");
    bad = good;
    bad.time_us = 999;
    verify_raw(bad, false, "its time is before that of the event before");
    bad = good;
    memset(bad.id, 1, sizeof(bad.id));
    verify_raw(bad, false, "its id stands at an earlier event already");
    bad = good;
    bad.append_count = 2;
    verify_raw(bad, false, "its append is not whole");
    bad = good;
    bad.append_first = 1;
    bad.append_count = 2;
    verify_raw(bad, false, "it does not continue its append");
}

/* ---- backup ---- */

struct busy {
    struct os_thread thread;
    struct journal *journal;
    _Atomic bool over;
    _Atomic uint64_t acknowledged;
};

static void be_busy(void *user)
{
    struct busy *busy = user;
    while (!busy->over) {
        struct journal_result result;
        if (kit_append(busy->journal, "busy", "Busy", "x", "{\"some\":\"data\"}", &result) == 0)
            busy->acknowledged = result.last;
    }
}

static void a_backup_is_taken_while_the_journal_is_written_and_becomes_a_journal_of_its_own(void **state)
{
    char *folder = kit_folder_new(), *log = in_folder(folder, "log"), *copy = in_folder(folder, "copy");
    char *copy_log = in_folder(copy, "log");
    struct heard heard;
    struct busy busy = {.journal = kit_open_file(log)};
    struct journal_id id = journal_id(busy.journal);
    struct log_chain chain, copied;
    struct file_log_copied copied_to;
    char error[256] = "";
    append_some(busy.journal, 100);
    assert_ok(os_thread_start(&busy.thread, "busy", be_busy, &busy));
    assert_ok(journal_wait(busy.journal, 200, 10000));
    uint64_t before = busy.acknowledged;
    int r = journal_backup(folder, copy, NULL, NULL, &copied_to, error);
    if (r != 0)
        print_message("%s\n", error);
    assert_ok(r);
    uint64_t first_head = copied_to.head;
    assert_true(first_head >= before);
    before = busy.acknowledged;
    assert_ok(journal_backup(folder, copy, NULL, NULL, &copied_to, error)); /* and what came since */
    assert_int_equal(copied_to.head_before, first_head);
    uint64_t head = copied_to.head;
    busy.over = true;
    os_thread_join(&busy.thread);
    assert_true(head >= before); /* what was acknowledged before it began is in it */
    assert_ok(journal_chain_at(busy.journal, head, &chain));
    journal_close(busy.journal);
    verify_expecting(copy, 0, &heard);

    struct journal *journal = kit_open_file(copy_log);
    struct journal_id copy_id = journal_id(journal);
    assert_memory_not_equal(&copy_id, &id, sizeof(id)); /* a journal's id is made anew by every restore */
    assert_int_equal(journal_head(journal), head);
    assert_ok(journal_chain_at(journal, head, &copied));
    assert_memory_equal(&chain, &copied, sizeof(chain));
    assert_ok(kit_append(journal, "", "More", "", "{}", NULL));
    journal_close(journal);
    journal = kit_open_file(copy_log);
    struct journal_id again = journal_id(journal);
    assert_memory_equal(&copy_id, &again, sizeof(again)); /* once */
    journal_close(journal);
    assert_int_equal(journal_backup(folder, copy, NULL, NULL, &copied_to, error), FILE_LOG_E_EXISTS);
    free(copy_log);
    free(copy);
    free(log);
    kit_folder_remove(folder);
}

/* ---- restore ---- */

/* Seven appends of two events, each a second behind the one before, from 1000 s on; the clock stands still in 3 and 4. */
static void append_by_the_clock(const char *log_folder)
{
    static const int64_t seconds[] = {1000, 1001, 1002, 1002, 1003, 1004, 1005};
    struct fake_clock clock;
    struct journal_options options = {.clock = &clock.clock};
    struct journal *journal;
    struct log *log;
    fake_clock_init(&clock, 0);
    assert_ok(file_log_open(log_folder, NULL, &log, NULL));
    assert_ok(journal_open(log, &options, &journal, NULL));
    for (unsigned i = 0; i < 7; i++) {
        struct bytes tags[16];
        struct journal_event_new events[2] = {kit_event("s", "A", "", tags, "{}"), kit_event("s", "B", "", tags, "{}")};
        struct journal_append append = {.events = events, .event_count = 2};
        clock.realtime_us = seconds[i] * 1000000;
        assert_ok(journal_append_wait(journal, &append, NULL));
    }
    journal_close(journal);
}

static void a_restore_stops_at_a_position_or_a_time_with_whole_appends(void **state)
{
    static const struct {
        struct journal_until until;
        uint64_t head;
        int64_t time_s;
    } cases[] = {
        {{.position = 5}, 4, 1001},
        {{.position = 6}, 6, 1002},
        {{.position = 99}, 14, 1005},
        {{.by_time = true, .time_us = 999999999}, 0, 0},
        {{.by_time = true, .time_us = 1000000000}, 2, 1000},
        {{.by_time = true, .time_us = 1002000000}, 8, 1002},
        {{.by_time = true, .time_us = 1002999999}, 8, 1002},
        {{.by_time = true, .time_us = 9000000000}, 14, 1005},
    };
    char *folder = kit_folder_new(), *data = in_folder(folder, "data"), *log = in_folder(data, "log");
    char error[256];
    assert_ok(mkdir(data, 0755));
    append_by_the_clock(log);
    struct journal *old = kit_open_file(log);
    struct journal_id old_id = journal_id(old);
    journal_close(old);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[16];
        snprintf(name, sizeof(name), "new%u", i);
        char *target = in_folder(folder, name), *target_log = in_folder(target, "log");
        struct journal_restore_report report;
        struct heard heard;
        assert_ok(journal_restore(data, target, &cases[i].until, NULL, NULL, &report, error));
        assert_int_equal(report.copied.head, cases[i].head);
        assert_int_equal(report.source_head, 14);
        assert_int_equal(report.time_us, cases[i].time_s * 1000000);
        verify_expecting(target, 0, &heard);
        assert_int_equal(journal_restore(data, target, NULL, NULL, NULL, &report, error), FILE_LOG_E_EXISTS);
        struct journal *journal = kit_open_file(target_log);
        struct journal_id id = journal_id(journal);
        assert_memory_not_equal(&id, &old_id, sizeof(id)); /* cursors and followers of the old one notice */
        assert_int_equal(journal_head(journal), cases[i].head);
        uint64_t version;
        assert_ok(journal_stream_version(journal, B("s"), &version));
        assert_int_equal(version, cases[i].head);
        assert_ok(kit_append(journal, "s", "C", "", "{}", NULL));
        journal_close(journal);
        free(target_log);
        free(target);
    }
    free(log);
    free(data);
    kit_folder_remove(folder);
}

static void a_restore_replaces_nothing(void **state)
{
    char *folder = kit_folder_new(), *data = in_folder(folder, "data"), *log = in_folder(data, "log");
    char *full = in_folder(folder, "full"), *view = in_folder(full, "view.db");
    struct journal_restore_report report;
    char error[256] = "";
    assert_ok(mkdir(data, 0755));
    assert_ok(mkdir(full, 0755));
    append_by_the_clock(log);
    int file = open(view, O_CREAT | O_WRONLY, 0644);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(journal_restore(data, full, NULL, NULL, NULL, &report, error), FILE_LOG_E_EXISTS);
    assert_non_null(strstr(error, "holds something"));
    assert_int_equal(journal_restore(full, data, NULL, NULL, NULL, &report, error), FILE_LOG_E_MISSING);
    free(view);
    free(full);
    free(log);
    free(data);
    kit_folder_remove(folder);
}

/* ---- signed checkpoints ---- */

static struct note_key make_key(uint8_t first)
{
    uint8_t seed[NOTE_SEED_SIZE] = {first};
    struct note_key key;
    assert_ok(note_key_make("example.com/hotel", seed, &key));
    return key;
}

/* `count` events; the third says `third`. With the same id and key as another log: a forger has all that the folder has. */
static void write_history(const char *log_folder, const struct log_status *twin_of, unsigned count, const char *third)
{
    struct file_log_options options = {.id = twin_of ? twin_of->id : NULL, .key = twin_of ? twin_of->key : NULL};
    struct journal *journal;
    struct log *log;
    assert_ok(file_log_open(log_folder, &options, &log, NULL));
    assert_ok(journal_open(log, NULL, &journal, NULL));
    for (unsigned i = 1; i <= count; i++)
        assert_ok(kit_append(journal, "s", "A", "x", i == 3 ? third : "{}", NULL));
    journal_close(journal);
}

static struct signed_checkpoint sign(const char *data, const struct note_key *key)
{
    struct buffer note = {0};
    struct signed_checkpoint checkpoint;
    const char *reason;
    char error[256];
    assert_ok(journal_sign(data, key, &note, error));
    assert_ok(signed_checkpoint_open(buffer_bytes(&note), key, &checkpoint, &reason));
    buffer_deinit(&note);
    return checkpoint;
}

static struct log_status status_of(const char *log_folder)
{
    struct file_log_options options = {.read_only = true};
    struct log_status status;
    struct log *log;
    assert_ok(file_log_open(log_folder, &options, &log, NULL));
    log_status(log, &status);
    assert_ok(log_close(log));
    return status;
}

/* A history that was written anew from one record on, with every checksum and the whole chain right, is whole; but it is not
 * what was signed. */
static void a_consistent_forgery_is_whole_and_is_not_what_was_signed(void **state)
{
    char *folder = kit_folder_new(), *data = in_folder(folder, "data"), *log = in_folder(data, "log");
    char *forged = in_folder(folder, "forged"), *forged_log = in_folder(forged, "log");
    struct note_key key = make_key(1);
    struct journal_audit audit;
    struct heard heard;
    char error[256];
    assert_ok(mkdir(data, 0755));
    assert_ok(mkdir(forged, 0755));
    write_history(log, NULL, 6, "{\"paid\":false}");
    struct signed_checkpoint checkpoint = sign(data, &key);
    assert_int_equal(checkpoint.position, 6);
    struct log_status status = status_of(log);
    write_history(forged_log, &status, 9, "{\"paid\":true}");
    verify_expecting(forged, 0, &heard);
    assert_ok(journal_audit(forged, &checkpoint, &audit, error));
    assert_int_equal(audit.verdict, JOURNAL_DIFFERS);
    assert_false(audit.other_journal);
    assert_int_equal(audit.head, 9);
    assert_ok(journal_audit(data, &checkpoint, &audit, error));
    assert_int_equal(audit.verdict, JOURNAL_CONTAINS);
    write_history(log, NULL, 2, NULL); /* going on changes nothing before */
    assert_ok(journal_audit(data, &checkpoint, &audit, error));
    assert_int_equal(audit.verdict, JOURNAL_CONTAINS);
    assert_int_equal(audit.head, 8);
    free(forged_log);
    free(forged);
    free(log);
    free(data);
    kit_folder_remove(folder);
}

static void a_restored_journal_contains_what_was_signed_before_its_cut(void **state)
{
    char *folder = kit_folder_new(), *data = in_folder(folder, "data"), *log = in_folder(data, "log");
    char *whole = in_folder(folder, "whole"), *cut = in_folder(folder, "cut");
    struct note_key key = make_key(1);
    struct journal_restore_report report;
    struct journal_audit audit;
    char error[256];
    assert_ok(mkdir(data, 0755));
    write_history(log, NULL, 6, "{}");
    struct signed_checkpoint checkpoint = sign(data, &key);
    assert_ok(journal_restore(data, whole, NULL, NULL, NULL, &report, error));
    assert_ok(journal_audit(whole, &checkpoint, &audit, error));
    assert_int_equal(audit.verdict, JOURNAL_CONTAINS);
    assert_true(audit.other_journal);
    assert_ok(journal_restore(data, cut, &(struct journal_until){.position = 5}, NULL, NULL, &report, error));
    assert_ok(journal_audit(cut, &checkpoint, &audit, error));
    assert_int_equal(audit.verdict, JOURNAL_TOO_SHORT);
    free(cut);
    free(whole);
    free(log);
    free(data);
    kit_folder_remove(folder);
}

static void a_key_file_is_one_line_and_small(void **state)
{
    static const char good[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n";
    char *folder = kit_folder_new(), *path = in_folder(folder, "key");
    struct note_key key;
    char error[256] = "";
    assert_int_equal(journal_key_read(path, &key, error), -ENOENT);
    FILE *file = fopen(path, "w");
    fputs(good, file);
    fclose(file);
    assert_ok(journal_key_read(path, &key, error));
    assert_string_equal(key.name, "PeterNeumann");
    file = fopen(path, "a");
    for (size_t size = strlen(good); size <= JOURNAL_KEY_FILE_SIZE_MAX; size++)
        fputc('\n', file); /* as good as nothing, but too much */
    fclose(file);
    assert_int_equal(journal_key_read(path, &key, error), JOURNAL_TOOLS_E_KEY);
    assert_non_null(strstr(error, "keygen"));
    free(path);
    kit_folder_remove(folder);
}

/* ---- export and import ---- */

static uint64_t export_all(struct journal *journal, FILE *out)
{
    uint64_t count;
    assert_ok(journal_export(journal, &(struct journal_read){.system = true}, out, &count));
    rewind(out);
    return count;
}

/* Two exports line by line, times aside. */
static void assert_same_lines(FILE *a, FILE *b)
{
    char line_a[4096], line_b[4096];
    while (fgets(line_a, sizeof(line_a), a)) {
        assert_non_null(fgets(line_b, sizeof(line_b), b));
        char *time_a = strstr(line_a, "\"time\":\""), *time_b = strstr(line_b, "\"time\":\"");
        assert_non_null(time_a);
        assert_non_null(time_b);
        memset(time_a + 8, '0', 27);
        memset(time_b + 8, '0', 27);
        assert_string_equal(line_a, line_b);
    }
    assert_null(fgets(line_b, sizeof(line_b), b));
    rewind(a);
    rewind(b);
}

static void what_is_exported_and_imported_is_the_same_journal(void **state)
{
    struct memory_store *store = memory_store_new(), *other_store = memory_store_new();
    struct journal *journal = kit_open(store, true), *other = kit_open(other_store, true);
    struct journal_import_report report;
    FILE *out = tmpfile(), *again = tmpfile();
    append_some(journal, 3000); /* more than may be on their way at once */
    uint64_t count = export_all(journal, out);
    assert_int_equal(count, 4500);
    assert_ok(journal_import(other, out, true, &report));
    assert_int_equal(report.lines, count);
    assert_int_equal(report.events, count);
    assert_int_equal(report.replayed, 0);
    assert_int_equal(export_all(other, again), count);
    rewind(out);
    assert_same_lines(out, again);
    assert_ok(journal_import(other, out, true, &report));
    assert_int_equal(report.replayed, count); /* it can be repeated */
    assert_int_equal(journal_head(other), count);
    fclose(out);
    fclose(again);
    journal_close(journal);
    journal_close(other);
    memory_store_free(store);
    memory_store_free(other_store);
}

static void an_import_ends_with_the_first_line_that_is_wrong_and_names_it(void **state)
{
    static const char *const wrong[] = {
        "{\"type\":", "{\"data\":1}", "{\"type\":\"$A\",\"data\":1}", "[]",
        "{\"type\":\"A\",\"id\":\"0193e5c2-7a4b-7cde-8f00-0123456789ab\",\"data\":2}"};
    for (unsigned i = 0; i < 5; i++) {
        struct memory_store *store = memory_store_new();
        struct journal *journal = kit_open(store, true);
        struct journal_import_report report;
        FILE *in = tmpfile();
        fprintf(in, "{\"type\":\"A\",\"id\":\"0193e5c2-7a4b-7cde-8f00-0123456789ab\",\"data\":1}\n\n%s\n%s\n",
                wrong[i], "{\"type\":\"B\",\"data\":1}");
        rewind(in);
        int r = journal_import(journal, in, false, &report);
        assert_int_equal(r, i == 4 ? JOURNAL_E_ID_REUSED : JOURNAL_TOOLS_E_LINE);
        assert_int_equal(report.line_failed, 3);
        assert_memory_equal(report.detail, "line 3: ", 8);
        assert_true(journal_head(journal) >= 1);
        fclose(in);
        journal_close(journal);
        memory_store_free(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_journal_is_verified_event_by_event),
        cmocka_unit_test(a_damaged_byte_is_named_by_file_and_offset),
        cmocka_unit_test(what_no_checksum_sees_is_found_in_the_events),
        cmocka_unit_test(a_backup_is_taken_while_the_journal_is_written_and_becomes_a_journal_of_its_own),
        cmocka_unit_test(a_restore_stops_at_a_position_or_a_time_with_whole_appends),
        cmocka_unit_test(a_restore_replaces_nothing),
        cmocka_unit_test(a_consistent_forgery_is_whole_and_is_not_what_was_signed),
        cmocka_unit_test(a_restored_journal_contains_what_was_signed_before_its_cut),
        cmocka_unit_test(a_key_file_is_one_line_and_small),
        cmocka_unit_test(what_is_exported_and_imported_is_the_same_journal),
        cmocka_unit_test(an_import_ends_with_the_first_line_that_is_wrong_and_names_it),
    };
    return cmocka_run_group_tests_name("journal/tools", tests, NULL, NULL);
}
