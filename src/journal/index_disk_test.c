/* The index on the disk: what grew with the journal is what a rebuild makes, byte for byte; opening reads the tail alone;
 * and whatever happens to its files, an answer is right or is not given. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "journal/index_internal.h"
#include "journal/state.h"
#include "journal/tools.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"

enum { UNIT = 16, EVENTS = 1500, PER_APPEND = 25 };

struct stage {
    char *folder;
    char index_folder[OS_PATH_SIZE_MAX];
    uint32_t unit;
    bool read_only;
    struct journal *journal;
};

static void open_journal(struct stage *stage)
{
    char log_folder[OS_PATH_SIZE_MAX], error[256] = "";
    struct file_log_options log_options = {.segment_size = 256 * 1024, .read_only = stage->read_only};
    struct journal_options options = {
        .index_folder = stage->index_folder, .index_unit = stage->unit, .read_only = stage->read_only};
    struct log *log;
    assert_ok(os_path(log_folder, stage->folder, "log"));
    assert_ok(file_log_open(log_folder, &log_options, &log, error));
    assert_ok(journal_open(log, &options, &stage->journal, error));
}

static void close_journal(struct stage *stage)
{
    journal_close(stage->journal);
    stage->journal = NULL;
}

static void stage_begin(struct stage *stage, uint32_t unit)
{
    *stage = (struct stage){.folder = kit_folder_new(), .unit = unit};
    assert_ok(os_path(stage->index_folder, stage->folder, "index"));
    open_journal(stage);
}

static void stage_end(struct stage *stage)
{
    close_journal(stage);
    kit_folder_remove(stage->folder);
}

static void settle(struct stage *stage)
{
    assert_ok(index_settle(stage->journal->index));
}

/* Everything about an event follows from its number. */
struct text {
    char stream[16], type[16], tags[4][16];
    struct bytes tag_list[4];
};

static void make(struct text *text, struct journal_event_new *event, uint64_t number)
{
    snprintf(text->stream, sizeof(text->stream), "s-%u", (unsigned)(number * 7919 % 97));
    snprintf(text->type, sizeof(text->type), "T%u", (unsigned)(number % 3));
    snprintf(text->tags[0], sizeof(text->tags[0]), "all");
    snprintf(text->tags[1], sizeof(text->tags[1]), "own:%u", (unsigned)number);
    snprintf(text->tags[2], sizeof(text->tags[2]), "ten:%u", (unsigned)(number / 10));
    snprintf(text->tags[3], sizeof(text->tags[3]), "rare:%u", (unsigned)(number * 31 % 211));
    for (size_t i = 0; i < 4; i++)
        text->tag_list[i] = B(text->tags[i]);
    *event = (struct journal_event_new){.stream = B(text->stream),
                                        .type = B(text->type),
                                        .tags = text->tag_list,
                                        .tag_count = 4,
                                        .data = B("{}"),
                                        .has_id = number % 5 == 0};
    memset(event->id, 0, sizeof(event->id));
    bytes_put_u64(event->id, number);
}

static void append_numbers(struct stage *stage, uint64_t first, uint64_t last)
{
    static struct text texts[PER_APPEND];
    static struct journal_event_new events[PER_APPEND];
    while (first <= last) {
        size_t count = 0;
        for (; count < PER_APPEND && first <= last; count++, first++)
            make(&texts[count], &events[count], first);
        char key[32];
        snprintf(key, sizeof(key), "POST key-%u", (unsigned)first);
        struct journal_append append = {.events = events,
                                        .event_count = count,
                                        .key = B(key),
                                        .key_hash = B("0123456789abcdef")};
        assert_ok(journal_append_wait(stage->journal, &append, NULL));
    }
}

/* Reads a tag's events; how many, or -errno. */
static int count_tag(struct journal *journal, const char *tag, uint64_t *ret_first)
{
    struct bytes name = B(tag);
    struct journal_item item = {.tags = &name, .tag_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    struct journal_reader *reader;
    struct journal_event event;
    int count = 0, r;
    assert_ok(journal_reader_new(journal, &(struct journal_read){.query = &query}, &reader));
    while ((r = journal_reader_next(reader, &event)) == 0)
        if (count++ == 0)
            *ret_first = event.position;
    journal_reader_free(reader);
    return r < 0 ? r : count;
}

static bool may_fail(int r)
{
    return r == -EAGAIN;
}

/* Ask many things about the events 1…last: each answer is right, or -EAGAIN. How many were not given. */
static unsigned ask_everything(struct stage *stage, uint64_t last)
{
    unsigned failed = 0;
    for (uint64_t number = 1; number <= last; number += 7) {
        struct text text;
        struct journal_event_new event;
        uint64_t first = 0, version;
        make(&text, &event, number);
        int r = count_tag(stage->journal, text.tags[1], &first);
        assert_true(may_fail(r) || (r == 1 && first == number));
        failed += r < 0;
        r = count_tag(stage->journal, text.tags[2], &first);
        uint64_t from = number / 10 * 10, to = from + 9 < last ? from + 9 : last;
        from = from > 0 ? from : 1;
        assert_true(may_fail(r) || (r == (int)(to - from + 1) && first == from));
        failed += r < 0;
        r = journal_stream_version(stage->journal, event.stream, &version);
        uint64_t expected = 0;
        for (uint64_t other = 1; other <= last; other++)
            expected += other * 7919 % 97 == number * 7919 % 97;
        assert_true(may_fail(r) || (r == 0 && version == expected));
        failed += r < 0;
    }
    return failed;
}

/* ---- files ---- */

struct files {
    struct buffer names;
    struct buffer content; /* of all, one after another */
};

static int order_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void read_files(const struct stage *stage, struct files *files)
{
    const struct os_file_ops *ops = os_file_real();
    _cleanup_(buffer_deinit) struct buffer names = {0};
    const char *list[1000];
    size_t count = 0;
    *files = (struct files){0};
    assert_ok(ops->list(ops, stage->index_folder, &names));
    for (size_t offset = 0; offset < names.size; offset += strlen(list[count - 1]) + 1)
        list[count++] = (const char *)names.data + offset;
    qsort(list, count, sizeof(list[0]), order_names);
    for (size_t i = 0; i < count; i++) {
        char path[OS_PATH_SIZE_MAX];
        assert_ok(os_path(path, stage->index_folder, list[i]));
        assert_ok(buffer_append(&files->names, list[i], strlen(list[i]) + 1));
        assert_ok(os_file_read_whole(ops, path, &files->content));
    }
}

static void free_files(struct files *files)
{
    buffer_deinit(&files->names);
    buffer_deinit(&files->content);
}

static void assert_same_files(const struct files *a, const struct files *b)
{
    assert_int_equal(a->names.size, b->names.size);
    assert_memory_equal(a->names.data, b->names.data, a->names.size);
    assert_int_equal(a->content.size, b->content.size);
    assert_memory_equal(a->content.data, b->content.data, a->content.size);
}

static void path_of(const struct stage *stage, const char *name, char ret_path[OS_PATH_SIZE_MAX])
{
    assert_ok(os_path(ret_path, stage->index_folder, name));
}

static void change_byte(const struct stage *stage, const char *name, uint64_t offset)
{
    char path[OS_PATH_SIZE_MAX];
    path_of(stage, name, path);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_ok(fseek(file, (long)offset, SEEK_SET));
    int byte = fgetc(file);
    assert_ok(fseek(file, (long)offset, SEEK_SET));
    assert_true(fputc(byte ^ 0x40, file) != EOF);
    assert_ok(fclose(file));
}

/* ---- the tests ---- */

static void an_index_that_grew_is_byte_for_byte_the_one_made_anew(void **state)
{
    static const uint32_t units[] = {UNIT, 64, 512};
    dice_seed(7);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        struct journal_index_options options = {.unit = units[i]};
        struct journal_index_report report;
        struct stage stage;
        struct files grown, made;
        stage_begin(&stage, units[i]);
        for (uint64_t number = 0; number < EVENTS; number += 250) {
            append_numbers(&stage, number + 1, number + 250);
            if (dice(2)) {
                close_journal(&stage);
                open_journal(&stage);
            }
        }
        settle(&stage);
        assert_int_equal(ask_everything(&stage, EVENTS), 0);
        read_files(&stage, &grown);
        close_journal(&stage);
        assert_ok(journal_rebuild_index(stage.folder, &options, NULL, NULL, &report, NULL));
        assert_int_equal(report.events, EVENTS);
        assert_int_equal(report.checkpoint, EVENTS / units[i] * units[i]);
        read_files(&stage, &made);
        assert_true(grown.content.size > 0);
        assert_same_files(&grown, &made);
        open_journal(&stage);
        assert_int_equal(ask_everything(&stage, EVENTS), 0);
        free_files(&grown);
        free_files(&made);
        stage_end(&stage);
    }
}

static void there_are_few_files_however_many_events_there_are(void **state)
{
    struct stage stage;
    struct index_figures figures;
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    index_figures(stage.journal->index, &figures);
    /* 1500 = 1 × 1024 + 3 × 128 + 5 × 16 + 12 */
    assert_int_equal(figures.runs, 1 + 3 + 5);
    assert_int_equal(figures.checkpoint, EVENTS / UNIT * UNIT);
    assert_int_equal(figures.failure, 0);
    assert_int_equal(figures.streams, 97);
    stage_end(&stage);
}

/* The record at position 1 cannot be read, and opening does not find out. */
static void opening_reads_only_what_is_behind_the_checkpoint(void **state)
{
    struct memory_store *store = memory_store_new();
    char *folder = kit_folder_new();
    struct journal *journal = kit_open_indexed(store, false, folder);
    for (unsigned i = 0; i < 40; i++)
        assert_ok(kit_append(journal, "s", "A", "x", "{}", NULL));
    assert_ok(index_settle(journal->index));
    journal_close(journal);
    memory_store_damage(store, 1);
    journal = kit_open_indexed(store, false, folder);
    assert_int_equal(journal_head(journal), 40);
    assert_int_equal(kit_stream_version(journal, B("s")), 40);
    assert_ok(kit_append(journal, "s", "A", "x", "{}", NULL));
    assert_int_equal(kit_stream_version(journal, B("s")), 41);
    journal_close(journal);
    memory_store_free(store);
    kit_folder_remove(folder);
}

static void a_damaged_run_is_made_again_and_meanwhile_no_answer_is_wrong(void **state)
{
    struct stage stage;
    char name[RUN_FILE_NAME_SIZE];
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    run_file_name(1, 1024, name);
    uint32_t blocks = stage.journal->index->parts->items[0].run->header.block_count;
    for (uint32_t block = 0; block < blocks; block += 1 + blocks / 12) {
        close_journal(&stage);
        change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 40);
        open_journal(&stage);
        (void)ask_everything(&stage, EVENTS);
        settle(&stage);
        assert_int_equal(ask_everything(&stage, EVENTS), 0);
    }
    stage_end(&stage);
}

/* What opening asks of the index for the events behind it stands in blocks like any other. */
static void a_journal_opens_whatever_is_damaged_in_its_index(void **state)
{
    struct stage stage;
    char name[RUN_FILE_NAME_SIZE];
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    run_file_name(1, 1024, name);
    uint32_t blocks = stage.journal->index->parts->items[0].run->header.block_count;
    for (int read_only = 0; read_only < 2; read_only++) {
        close_journal(&stage);
        for (uint32_t block = 1; block < blocks; block++)
            change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 40);
        stage.read_only = !read_only; /* which mends nothing on the disk, so the next finds the same */
        open_journal(&stage);
        (void)ask_everything(&stage, EVENTS);
        assert_ok(journal_await_index(stage.journal));
        assert_int_equal(ask_everything(&stage, EVENTS), 0);
        if (stage.read_only)
            for (uint32_t block = 1; block < blocks; block++)
                change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 40);
    }
    stage_end(&stage);
}

static void a_block_that_is_damaged_while_the_journal_runs_is_noticed_and_made_good(void **state)
{
    struct stage stage;
    struct files before, after;
    struct index_figures figures;
    char name[RUN_FILE_NAME_SIZE];
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    read_files(&stage, &before);
    close_journal(&stage);
    open_journal(&stage); /* with nothing in memory yet */
    settle(&stage);
    struct run *run = stage.journal->index->parts->items[0].run;
    run_file_name(run->header.first, run->header.last, name);
    for (uint32_t block = run->header.data; block < run->header.guides; block++)
        change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 100);
    assert_true(ask_everything(&stage, EVENTS) > 0);
    settle(&stage);
    index_figures(stage.journal->index, &figures);
    assert_int_equal(figures.rebuilds, 1);
    assert_int_equal(ask_everything(&stage, EVENTS), 0);
    read_files(&stage, &after);
    assert_same_files(&before, &after);
    free_files(&before);
    free_files(&after);
    stage_end(&stage);
}

static void files_may_be_deleted_while_the_journal_is_closed(void **state)
{
    struct stage stage;
    struct files before, after;
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    read_files(&stage, &before);
    for (size_t offset = 0; offset < before.names.size;) {
        const char *name = (const char *)before.names.data + offset;
        char path[OS_PATH_SIZE_MAX];
        offset += strlen(name) + 1;
        close_journal(&stage);
        path_of(&stage, name, path);
        assert_ok(remove(path));
        open_journal(&stage);
        assert_int_equal(ask_everything(&stage, EVENTS), 0);
        settle(&stage);
    }
    read_files(&stage, &after);
    assert_same_files(&before, &after);
    free_files(&before);
    free_files(&after);
    stage_end(&stage);
}

static void the_runs_of_another_journal_are_not_believed(void **state)
{
    struct stage mine, other;
    stage_begin(&mine, UNIT);
    stage_begin(&other, UNIT);
    append_numbers(&mine, 1, 200);
    append_numbers(&other, 301, 700);
    settle(&other);
    close_journal(&mine);
    close_journal(&other);
    struct stage mixed = {.folder = mine.folder, .unit = UNIT};
    memcpy(mixed.index_folder, other.index_folder, sizeof(mixed.index_folder));
    open_journal(&mixed);
    assert_int_equal(ask_everything(&mixed, 200), 0);
    close_journal(&mixed);
    open_journal(&mine);
    open_journal(&other);
    stage_end(&mine);
    stage_end(&other);
}

static void a_run_of_a_newer_format_is_made_again(void **state)
{
    struct stage stage;
    char path[OS_PATH_SIZE_MAX], name[RUN_FILE_NAME_SIZE];
    uint8_t block[RUN_BLOCK_SIZE];
    uint8_t key[16];
    size_t size;
    int file;
    const struct os_file_ops *ops = os_file_real();
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, 200);
    settle(&stage);
    memcpy(key, stage.journal->key, sizeof(key));
    close_journal(&stage);
    run_file_name(1, 128, name);
    path_of(&stage, name, path);
    assert_ok(ops->open(ops, path, OS_FILE_WRITE, &file));
    assert_ok(os_file_read_full(ops, file, block, sizeof(block), 0, &size));
    struct run_header header;
    assert_ok(run_header_get(block, key, &header));
    bytes_put_u32(block + 8, RUN_FORMAT + 1);
    uint32_t check = crc32c_extend(crc32c(bytes_make(key, 16)), bytes_make(block, RUN_BLOCK_SIZE - 4));
    bytes_put_u32(block + RUN_BLOCK_SIZE - 4, check);
    assert_int_equal(run_header_get(block, key, &header), RUN_E_NEWER);
    assert_ok(os_file_write_full(ops, file, block, sizeof(block), 0));
    assert_ok(ops->close(ops, file));
    open_journal(&stage);
    assert_int_equal(ask_everything(&stage, 200), 0);
    stage_end(&stage);
}

static void ids_and_keys_are_found_in_runs(void **state)
{
    struct stage stage;
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    for (uint64_t number = 5; number <= EVENTS; number += 5) {
        struct text text;
        struct journal_event_new event;
        struct journal_result result;
        make(&text, &event, number);
        struct journal_append append = {.events = &event, .event_count = 1};
        assert_ok(journal_append_wait(stage.journal, &append, &result)); /* P5: known, of whoever made the id */
        assert_true(result.replayed);
        assert_int_equal(result.first, number);
        event.data = B("[]");
        assert_int_equal(journal_append_wait(stage.journal, &append, &result), JOURNAL_E_ID_REUSED);
    }
    for (uint64_t first = 1; first <= EVENTS; first += PER_APPEND) {
        uint64_t found, last;
        uint8_t hash[16];
        char key[32];
        snprintf(key, sizeof(key), "POST key-%u", (unsigned)(first + PER_APPEND));
        assert_ok(journal_find_key(stage.journal, B(key), &found, &last, hash));
        assert_int_equal(found, first);
        assert_int_equal(last, first + PER_APPEND - 1);
    }
    stage_end(&stage);
}

static void an_id_that_the_journal_made_itself_is_known_too(void **state)
{
    struct stage stage;
    struct journal_reader *reader;
    struct journal_event event;
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, 300);
    settle(&stage);
    assert_ok(journal_reader_new(stage.journal, &(struct journal_read){0}, &reader));
    while (journal_reader_next(reader, &event) == 0) {
        struct journal_event_new wanted = {.type = B("Other"), .has_id = true};
        struct journal_append append = {.events = &wanted, .event_count = 1};
        memcpy(wanted.id, event.id, 16);
        assert_int_equal(journal_append_wait(stage.journal, &append, NULL), JOURNAL_E_ID_REUSED);
    }
    journal_reader_free(reader);
    stage_end(&stage);
}

static void verify_finds_nothing_in_a_sound_index(void **state)
{
    struct stage stage;
    struct journal_index_report report;
    struct journal_index_options options = {.unit = UNIT};
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    close_journal(&stage);
    assert_ok(journal_verify_index(stage.folder, &options, NULL, NULL, NULL, &report, NULL));
    assert_int_equal(report.damage_count, 0);
    assert_int_equal(report.checkpoint, EVENTS / UNIT * UNIT);
    assert_int_equal(report.runs, 9);
    open_journal(&stage);
    stage_end(&stage);
}

static void note_damage(void *user, const char *file, uint64_t position, const char *what)
{
    char *told = user;
    size_t size = strlen(told);
    assert_true(strlen(what) > 0);
    snprintf(told + size, 2000 - size, "%s ", file);
}

static void verify_tells_of_every_damaged_block(void **state)
{
    struct stage stage;
    struct journal_index_options options = {.unit = UNIT};
    char name[RUN_FILE_NAME_SIZE];
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    uint32_t blocks = stage.journal->index->parts->items[1].run->header.block_count;
    close_journal(&stage);
    run_file_name(1025, 1152, name);
    for (uint32_t block = 0; block < blocks; block++) {
        struct journal_index_report report;
        char told[2000] = "";
        change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 50);
        assert_ok(journal_verify_index(stage.folder, &options, note_damage, NULL, told, &report, NULL));
        assert_true(report.damage_count > 0);
        assert_non_null(strstr(told, name));
        change_byte(&stage, name, (uint64_t)block * RUN_BLOCK_SIZE + 50);
    }
    open_journal(&stage);
    stage_end(&stage);
}

/* Change what a block says, and give it the checksum that belongs to it. */
static void reseal(const char *path, const uint8_t key[16], uint32_t number)
{
    const struct os_file_ops *ops = os_file_real();
    uint8_t block[RUN_BLOCK_SIZE];
    size_t size;
    int file;
    assert_ok(ops->open(ops, path, OS_FILE_WRITE, &file));
    assert_ok(os_file_read_full(ops, file, block, sizeof(block), (uint64_t)number * RUN_BLOCK_SIZE, &size));
    enum run_block_kind kind = (enum run_block_kind)bytes_get_u16(block);
    if (kind == RUN_FILTER)
        memset(block + RUN_BLOCK_HEAD_SIZE, 0, RUN_PAYLOAD_SIZE);
    else
        block[RUN_BLOCK_HEAD_SIZE] ^= 1;
    run_block_seal(block, kind, bytes_get_u16(block + 2), number, run_seed(key, 1025, 1152));
    assert_ok(os_file_write_full(ops, file, block, sizeof(block), (uint64_t)number * RUN_BLOCK_SIZE));
    assert_ok(ops->close(ops, file));
}

/* The law: not the checksums are the index's truth, but the log. */
static void verify_tells_of_what_is_wrong_and_bears_a_right_checksum(void **state)
{
    struct stage stage;
    struct journal_index_options options = {.unit = UNIT};
    _cleanup_(buffer_deinit) struct buffer sound = {0};
    const struct os_file_ops *ops = os_file_real();
    char name[RUN_FILE_NAME_SIZE], path[OS_PATH_SIZE_MAX];
    uint8_t key[16];
    stage_begin(&stage, UNIT);
    append_numbers(&stage, 1, EVENTS);
    settle(&stage);
    memcpy(key, stage.journal->key, sizeof(key));
    close_journal(&stage);
    run_file_name(1025, 1152, name);
    path_of(&stage, name, path);
    assert_ok(os_file_read_whole(ops, path, &sound));
    for (uint32_t number = 1; number < sound.size / RUN_BLOCK_SIZE; number++) {
        struct journal_index_report report;
        char told[2000] = "";
        reseal(path, key, number);
        assert_ok(journal_verify_index(stage.folder, &options, note_damage, NULL, told, &report, NULL));
        assert_int_equal(report.damage_count, 1);
        assert_non_null(strstr(told, name));
        assert_ok(os_file_replace(ops, stage.index_folder, name, buffer_bytes(&sound)));
    }
    open_journal(&stage);
    stage_end(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_grew_is_byte_for_byte_the_one_made_anew),
        cmocka_unit_test(there_are_few_files_however_many_events_there_are),
        cmocka_unit_test(opening_reads_only_what_is_behind_the_checkpoint),
        cmocka_unit_test(a_damaged_run_is_made_again_and_meanwhile_no_answer_is_wrong),
        cmocka_unit_test(a_journal_opens_whatever_is_damaged_in_its_index),
        cmocka_unit_test(a_block_that_is_damaged_while_the_journal_runs_is_noticed_and_made_good),
        cmocka_unit_test(files_may_be_deleted_while_the_journal_is_closed),
        cmocka_unit_test(the_runs_of_another_journal_are_not_believed),
        cmocka_unit_test(a_run_of_a_newer_format_is_made_again),
        cmocka_unit_test(ids_and_keys_are_found_in_runs),
        cmocka_unit_test(an_id_that_the_journal_made_itself_is_known_too),
        cmocka_unit_test(verify_finds_nothing_in_a_sound_index),
        cmocka_unit_test(verify_tells_of_every_damaged_block),
        cmocka_unit_test(verify_tells_of_what_is_wrong_and_bears_a_right_checksum),
    };
    return cmocka_run_group_tests_name("journal/index_disk", tests, NULL, NULL);
}
