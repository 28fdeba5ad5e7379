/* Events about a subject, sealed, erased, and what stays of them. */
#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "journal/event_json.h"
#include "journal/seal.h"
#include "journal/tools.h"
#include "lib/journal_kit.h"
#include "lib/sim_disk.h"

struct stage {
    struct memory_store *store;
    struct sim_disk *disk;
    struct vault *vault;
    struct journal *journal;
};

static void open_vault(struct stage *stage)
{
    struct vault_options options = {.file = sim_disk_ops(stage->disk)};
    assert_ok(vault_open("keys", &options, &stage->vault, NULL));
}

static void open_journal(struct stage *stage)
{
    struct journal_options options = {.vault = stage->vault};
    char error[256] = "";
    if (journal_open(memory_log_open(stage->store, false), &options, &stage->journal, error) != 0)
        fail_msg("%s", error);
}

static void stage_open(struct stage *stage)
{
    *stage = (struct stage){.store = memory_store_new(), .disk = sim_disk_new()};
    open_vault(stage);
    open_journal(stage);
}

static void reopen(struct stage *stage)
{
    journal_close(stage->journal);
    vault_close(stage->vault);
    open_vault(stage);
    open_journal(stage);
}

static void stage_close(struct stage *stage)
{
    journal_close(stage->journal);
    vault_close(stage->vault);
    memory_store_free(stage->store);
    sim_disk_free(stage->disk);
}

static const uint8_t some_id[16] = {1, 2, 3, 4, 5, 6, 0x70, 8, 0x89, 10, 11, 12, 13, 14, 15, 16};

static int append_as(struct stage *stage, const char *subject, const char *data, const uint8_t *id,
                     struct journal_result *ret_result)
{
    struct bytes tags[16];
    struct journal_event_new event = kit_event("s", "Booked", "room:1 !early", tags, data);
    event.subject = B(subject);
    event.meta = B("{\"by\":\"desk\"}");
    if (id) {
        event.has_id = true;
        memcpy(event.id, id, sizeof(event.id));
    }
    struct journal_append append = {.events = &event, .event_count = 1};
    return journal_append_wait(stage->journal, &append, ret_result);
}

static void append(struct stage *stage, const char *subject, const char *data)
{
    struct journal_result result;
    int r = append_as(stage, subject, data, NULL, &result);
    if (r != 0)
        fail_msg("%d %s", r, result.detail);
}

/* The event as JSON, less what differs from run to run. */
static void assert_event(struct stage *stage, uint64_t position, const char *end)
{
    struct journal_read read = {.after = position - 1};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    _cleanup_(buffer_deinit) struct buffer json = {0};
    struct journal_event event;
    assert_ok(journal_reader_new(stage->journal, &read, &reader));
    assert_ok(journal_reader_next(reader, &event));
    assert_int_equal(event.position, position);
    assert_ok(event_json_write(&event, &json));
    const char *tags = strstr(buffer_string(&json), "\"tags\":");
    assert_string_equal(tags, end);
}

#define TAGS "\"tags\":[\"!early\",\"room:1\"]"

static void an_event_about_a_subject_is_read_as_it_was_appended(void **state)
{
    struct stage stage;
    stage_open(&stage);
    append(&stage, "guest-17", "{\"guest\":\"Ana\"}");
    append(&stage, "", "{\"guest\":\"Bo\"}");
    const char *ana =
        TAGS ",\"subject\":\"guest-17\",\"data\":{\"guest\":\"Ana\"},\"meta\":{\"by\":\"desk\"}}";
    assert_event(&stage, 1, ana);
    assert_event(&stage, 2, TAGS ",\"data\":{\"guest\":\"Bo\"},\"meta\":{\"by\":\"desk\"}}");
    reopen(&stage);
    assert_event(&stage, 1, ana);
    stage_close(&stage);
}

/* Nothing of data, meta and subject is in the record; type, stream and tags are. */
static void the_log_holds_neither_data_nor_meta_nor_the_subject(void **state)
{
    struct stage stage;
    struct log_reader *reader;
    struct log_record record;
    stage_open(&stage);
    append(&stage, "guest-17", "{\"guest\":\"Ana\"}");
    assert_ok(journal_log_reader(stage.journal, 0, &reader));
    assert_ok(log_reader_next(reader, &record));
    assert_null(memmem(record.head.data, record.head.size, "guest-17", 8));
    assert_null(memmem(record.body.data, record.body.size, "guest", 5));
    assert_null(memmem(record.body.data, record.body.size, "desk", 4));
    assert_non_null(memmem(record.head.data, record.head.size, "room:1", 6));
    assert_non_null(memmem(record.head.data, record.head.size, SEAL_TAG_PREFIX, 5));
    log_reader_free(reader);
    stage_close(&stage);
}

static void an_erased_event_keeps_its_place_and_loses_its_data(void **state)
{
    struct stage stage;
    struct journal_erasure erasure;
    stage_open(&stage);
    append(&stage, "guest-17", "{\"guest\":\"Ana\"}");
    append(&stage, "guest-18", "{\"guest\":\"Bo\"}");
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    assert_int_equal(erasure.position, 3);
    assert_int_equal(erasure.key_count, 1);
    assert_false(erasure.again);
    for (int round = 0; round < 2; round++) {
        assert_event(&stage, 1, TAGS ",\"erased\":true}");
        assert_event(&stage, 2,
                     TAGS
                     ",\"subject\":\"guest-18\",\"data\":{\"guest\":\"Bo\"},\"meta\":{\"by\":\"desk\"}}");
        reopen(&stage);
    }
    stage_close(&stage);
}

static void erasing_again_answers_the_same_fence(void **state)
{
    struct stage stage;
    struct journal_erasure first, again;
    stage_open(&stage);
    assert_int_equal(journal_erase(stage.journal, B("guest-17"), &first), JOURNAL_E_NO_SUBJECT);
    assert_int_equal(journal_head(stage.journal), 0);
    append(&stage, "guest-17", "{}");
    assert_ok(journal_erase(stage.journal, B("guest-17"), &first));
    reopen(&stage);
    assert_ok(journal_erase(stage.journal, B("guest-17"), &again));
    assert_true(again.again);
    assert_int_equal(again.position, first.position);
    assert_int_equal(again.time_us, first.time_us);
    assert_int_equal(journal_head(stage.journal), 2);
    stage_close(&stage);
}

static void what_is_appended_after_an_erasure_has_a_new_key(void **state)
{
    struct stage stage;
    struct journal_erasure erasure;
    stage_open(&stage);
    append(&stage, "guest-17", "{\"n\":1}");
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    append(&stage, "guest-17", "{\"n\":2}");
    assert_event(&stage, 1, TAGS ",\"erased\":true}");
    assert_event(&stage, 3, TAGS ",\"subject\":\"guest-17\",\"data\":{\"n\":2},\"meta\":{\"by\":\"desk\"}}");
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    assert_int_equal(erasure.position, 4);
    assert_event(&stage, 3, TAGS ",\"erased\":true}");
    stage_close(&stage);
}

/* P5: compared as long as there is something to compare. */
static void an_id_known_from_a_sealed_event_is_a_replay_also_when_it_is_erased(void **state)
{
    struct stage stage;
    struct journal_erasure erasure;
    struct journal_result result;
    stage_open(&stage);
    assert_ok(append_as(&stage, "guest-17", "{\"n\":1}", some_id, &result));
    assert_ok(append_as(&stage, "guest-17", "{\"n\":1}", some_id, &result));
    assert_true(result.replayed);
    assert_int_equal(append_as(&stage, "guest-17", "{\"n\":2}", some_id, &result), JOURNAL_E_ID_REUSED);
    assert_int_equal(append_as(&stage, "guest-18", "{\"n\":1}", some_id, &result), JOURNAL_E_ID_REUSED);
    assert_int_equal(append_as(&stage, "", "{\"n\":1}", some_id, &result), JOURNAL_E_ID_REUSED);
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    assert_ok(append_as(&stage, "guest-17", "{\"n\":2}", some_id, &result));
    assert_true(result.replayed);
    assert_int_equal(result.first, 1);
    stage_close(&stage);
}

/* The key is elsewhere: nothing says that it was destroyed. */
static void an_event_whose_key_is_not_here_is_sealed(void **state)
{
    struct stage stage;
    stage_open(&stage);
    append(&stage, "guest-17", "{\"n\":1}");
    journal_close(stage.journal);
    vault_close(stage.vault);
    struct sim_disk *before = stage.disk;
    stage.disk = sim_disk_new();
    open_vault(&stage);
    open_journal(&stage);
    assert_event(&stage, 1, TAGS ",\"sealed\":true}");
    sim_disk_free(before);
    stage_close(&stage);
}

/* An older copy of the keys beside the journal: its fences are obeyed before anybody reads. */
static void a_fence_in_the_journal_destroys_a_key_that_came_back(void **state)
{
    struct stage stage;
    struct journal_erasure erasure;
    char error[256];
    stage_open(&stage);
    append(&stage, "guest-17", "{\"n\":1}");
    assert_ok(vault_backup("keys", "old", sim_disk_ops(stage.disk), NULL, error));
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    journal_close(stage.journal);
    vault_close(stage.vault);
    struct vault_options options = {.file = sim_disk_ops(stage.disk)};
    assert_ok(vault_open("old", &options, &stage.vault, NULL));
    open_journal(&stage);
    assert_event(&stage, 1, TAGS ",\"erased\":true}");
    struct vault_status status;
    vault_status(stage.vault, &status);
    assert_int_equal(status.keys, 0);
    assert_int_equal(status.fences_open, 1);
    stage_close(&stage);
}

static int count_types(void *user, const struct journal_event *event)
{
    ++*(unsigned *)user;
    return 0;
}

struct looking {
    struct journal_append append;
    unsigned seen;
};

static int look(struct journal_append *append, struct journal_turn *turn)
{
    struct bytes tag = B("room:1");
    struct journal_item item = {.tags = &tag, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    return journal_turn_each(turn, &query, 0, count_types, &((struct looking *)append)->seen);
}

/* Conditions and turns go by type and tags, which stay. */
static void erased_events_still_count_for_conditions_and_at_turns(void **state)
{
    struct stage stage;
    struct journal_erasure erasure;
    struct journal_result result;
    struct looking looking = {.append.prepare = look};
    stage_open(&stage);
    append(&stage, "guest-17", "{\"n\":1}");
    assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
    assert_int_equal(kit_append_unless(stage.journal, "Booked", "room:1", 0, &result), JOURNAL_E_CONFLICT);
    assert_ok(journal_append_wait(stage.journal, &looking.append, &result));
    assert_int_equal(looking.seen, 1);
    assert_string_equal(kit_types(stage.journal, &(struct journal_read){.stream = B("s")}), "Booked ");
    stage_close(&stage);
}

/* `$` tags are daybook's own: shown and found only with `system`. */
static void the_keys_tag_finds_what_was_sealed_and_is_hidden(void **state)
{
    struct stage stage;
    struct vault_id key;
    uint8_t text[SEAL_TAG_SIZE];
    stage_open(&stage);
    append(&stage, "guest-17", "{}");
    append(&stage, "guest-18", "{}");
    assert_ok(vault_key(stage.vault, B("guest-18"), &key));
    seal_tag(&key, text);
    struct bytes tag = bytes_make(text, sizeof(text));
    struct journal_item item = {.tags = &tag, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    assert_string_equal(kit_types(stage.journal, &(struct journal_read){.query = &query}), "");
    assert_string_equal(kit_types(stage.journal, &(struct journal_read){.query = &query, .own_tags = true}),
                        "Booked ");
    stage_close(&stage);
}

static void a_subject_is_a_name_and_needs_keys_and_room_for_a_tag(void **state)
{
    struct stage stage;
    struct journal_result result;
    stage_open(&stage);
    assert_int_equal(append_as(&stage, "a\nb", "{}", NULL, &result), JOURNAL_E_INVALID);
    assert_non_null(strstr(result.detail, "subject"));
    char text[300];
    memset(text, 'x', sizeof(text));
    text[VAULT_SUBJECT_SIZE_MAX + 1] = '\0';
    assert_int_equal(append_as(&stage, text, "{}", NULL, &result), JOURNAL_E_INVALID);
    text[VAULT_SUBJECT_SIZE_MAX] = '\0';
    append(&stage, text, "{}");

    static char names[JOURNAL_TAG_COUNT_MAX][8];
    struct bytes tags[JOURNAL_TAG_COUNT_MAX];
    for (unsigned i = 0; i < JOURNAL_TAG_COUNT_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "t%u", i);
        tags[i] = B(names[i]);
    }
    struct journal_event_new event = {
        .type = B("T"), .tags = tags, .tag_count = JOURNAL_TAG_COUNT_MAX, .data = B("{}"), .subject = B("x")};
    struct journal_append wanted = {.events = &event, .event_count = 1};
    assert_int_equal(journal_append_wait(stage.journal, &wanted, &result), JOURNAL_E_INVALID);
    event.tag_count--;
    assert_ok(journal_append_wait(stage.journal, &wanted, &result));
    stage_close(&stage);

    struct memory_store *store = memory_store_new();
    struct journal *journal = kit_open(store, false);
    event.tag_count = 1;
    assert_int_equal(journal_append_wait(journal, &wanted, &result), JOURNAL_E_INVALID);
    assert_non_null(strstr(result.detail, "no keys"));
    journal_close(journal);
    memory_store_free(store);
}

/* A key that cannot be made durable takes its events with it, and a full disk takes writes again (P7). */
static void no_event_is_acknowledged_whose_key_is_not_durable(void **state)
{
    struct stage stage;
    struct journal_result result;
    stage_open(&stage);
    append(&stage, "guest-17", "{}");
    sim_disk_set_capacity(stage.disk, sim_disk_used(stage.disk));
    assert_int_equal(append_as(&stage, "guest-18", "{}", NULL, &result), JOURNAL_E_FULL);
    assert_int_equal(journal_head(stage.journal), 1);
    sim_disk_set_capacity(stage.disk, 0);
    append(&stage, "guest-18", "{}");
    sim_disk_fail_syncs(stage.disk, 1);
    assert_int_equal(append_as(&stage, "guest-19", "{}", NULL, &result), JOURNAL_E_FAILED);
    assert_int_equal(append_as(&stage, "guest-17", "{}", NULL, &result), JOURNAL_E_READ_ONLY);
    reopen(&stage);
    assert_int_equal(journal_head(stage.journal), 2);
    append(&stage, "guest-19", "{}");
    stage_close(&stage);
}

/* Written once, byte for byte as docs/formats/event.md and keys.md say, by another program. */
static void a_sealed_record_of_format_2_is_read(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    const struct os_file_ops *ops = sim_disk_ops(disk);
    struct vault_options options = {.file = ops};
    _cleanup_(buffer_deinit) struct buffer keys = {0}, golden = {0}, plain = {0};
    struct codec_tags tags;
    struct journal_event event;
    struct vault *vault;
    assert_ok(os_file_read_whole(os_file_real(), CORPUS "/vault/keys-1.bin", &keys));
    assert_ok(os_file_read_whole(os_file_real(), CORPUS "/codec/golden-2.bin", &golden));
    assert_ok(os_file_replace(ops, "v", "keys", buffer_bytes(&keys)));
    assert_ok(vault_open("v", &options, &vault, NULL));
    struct bytes rest = bytes_slice(buffer_bytes(&golden), 16, SIZE_MAX);
    struct log_record record = {.position = 7, .head = bytes_slice(rest, 0, bytes_get_u32(golden.data + 12))};
    record.body = bytes_slice(rest, record.head.size, SIZE_MAX);
    assert_ok(codec_read(&record, &tags, &event, NULL));
    assert_true(event.sealed);
    assert_ok(seal_open(vault, &record, false, &tags, &plain, &event));
    assert_false(event.sealed);
    assert_true(bytes_equal(event.subject, B("guest-18")));
    assert_true(bytes_equal(event.data, B("{\"nights\":2}")));
    assert_true(bytes_equal(event.meta, B("{\"who\":\"me\"}")));
    assert_int_equal(event.tag_count, 1);
    vault_close(vault);
    sim_disk_free(disk);
}

/* As cli's `restore --fences` does it: an erased subject stays erased, whatever backup comes back. */
static void a_restored_backup_with_the_fences_joined_stays_erased(void **state)
{
    char *folder = kit_folder_new();
    char data[256], backup[256], restored[256], keys[300], log_folder[300], error[256] = "";
    struct stage stage = {0};
    struct journal_erasure erasure;
    struct file_log_copied copied;
    struct journal_restore_report report;
    struct log *log;
    snprintf(data, sizeof(data), "%s/data", folder);
    snprintf(backup, sizeof(backup), "%s/backup", folder);
    snprintf(restored, sizeof(restored), "%s/restored", folder);
    for (int round = 0; round < 2; round++) {
        const char *here = round == 0 ? data : restored;
        assert_ok(os_file_real()->make_folder(os_file_real(), here));
        snprintf(keys, sizeof(keys), "%s/keys", here);
        snprintf(log_folder, sizeof(log_folder), "%s/log", here);
        assert_ok(
            file_log_open(log_folder, &(struct file_log_options){.segment_size = 64 * 1024}, &log, error));
        assert_ok(vault_open(keys, NULL, &stage.vault, error));
        assert_ok(journal_open(log, &(struct journal_options){.vault = stage.vault}, &stage.journal, error));
        if (round == 0) {
            append(&stage, "guest-17", "{\"n\":1}");
            append(&stage, "guest-18", "{\"n\":2}");
            assert_ok(journal_backup(data, backup, NULL, NULL, &copied, error));
            assert_int_equal(copied.head, 2);
            assert_ok(journal_erase(stage.journal, B("guest-17"), &erasure));
        } else {
            assert_event(&stage, 1, TAGS ",\"erased\":true}");
            assert_event(&stage, 2,
                         TAGS ",\"subject\":\"guest-18\",\"data\":{\"n\":2},\"meta\":{\"by\":\"desk\"}}");
        }
        journal_close(stage.journal);
        vault_close(stage.vault);
        if (round == 0) {
            assert_ok(journal_join_fences(data, restored, error));
            assert_ok(journal_restore(backup, restored, NULL, NULL, NULL, &report, error));
        }
    }
    kit_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_about_a_subject_is_read_as_it_was_appended),
        cmocka_unit_test(the_log_holds_neither_data_nor_meta_nor_the_subject),
        cmocka_unit_test(an_erased_event_keeps_its_place_and_loses_its_data),
        cmocka_unit_test(erasing_again_answers_the_same_fence),
        cmocka_unit_test(what_is_appended_after_an_erasure_has_a_new_key),
        cmocka_unit_test(an_id_known_from_a_sealed_event_is_a_replay_also_when_it_is_erased),
        cmocka_unit_test(an_event_whose_key_is_not_here_is_sealed),
        cmocka_unit_test(a_fence_in_the_journal_destroys_a_key_that_came_back),
        cmocka_unit_test(erased_events_still_count_for_conditions_and_at_turns),
        cmocka_unit_test(the_keys_tag_finds_what_was_sealed_and_is_hidden),
        cmocka_unit_test(a_subject_is_a_name_and_needs_keys_and_room_for_a_tag),
        cmocka_unit_test(a_restored_backup_with_the_fences_joined_stays_erased),
        cmocka_unit_test(a_sealed_record_of_format_2_is_read),
        cmocka_unit_test(no_event_is_acknowledged_whose_key_is_not_durable),
    };
    return cmocka_run_group_tests_name("journal/erase", tests, NULL, NULL);
}
