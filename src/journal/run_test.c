/* A run says what the table said that it was made of, lists of every length included; runs merged say what they said
 * before; and the bytes are those of docs/formats/index.md, as a file kept from the first format shows. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/run_flush.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"

static const struct table_hash hash = {.key = "0123456789abcdef", .mask = UINT64_MAX};

enum { LONG = 20000, GOLDEN_UNIT = 64, GOLDEN_RUNS = 8 };

/* Events with tags of every frequency: "every:N" stands on each N-th. */
static void add_event(struct table *table, uint64_t position)
{
    static const unsigned steps[] = {1, 2, 7, 63, 64, 300, 5000};
    char text[8][24], stream[16], key[24];
    struct bytes tags[8];
    struct journal_event event = {.position = position,
                                  .append_first = position,
                                  .append_count = 1,
                                  .time_us = (int64_t)position * 1000,
                                  .type = B(position % 2 ? "Odd" : "Even"),
                                  .tags = tags};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (position % steps[i] != 0)
            continue;
        snprintf(text[event.tag_count], sizeof(text[0]), "every:%u", steps[i]);
        tags[event.tag_count] = B(text[event.tag_count]);
        event.tag_count++;
    }
    snprintf(stream, sizeof(stream), "s%u", (unsigned)(position % 10));
    snprintf(key, sizeof(key), "key %u", (unsigned)position);
    event.stream = B(stream);
    event.version = (position - 1) / 10 + 1;
    event.key = B(key);
    bytes_put_u64(event.id, position * UINT64_C(0x9e3779b97f4a7c15));
    event.id[6] = 0x70;
    assert_ok(table_add(table, &hash, &event));
}

static struct table *make_table(uint64_t first, uint64_t last)
{
    struct table *table;
    assert_ok(table_new(first, last, &table));
    for (uint64_t position = first; position <= last; position++)
        add_event(table, position);
    return table;
}

static struct run_target target(const char *folder)
{
    return (struct run_target){.ops = os_file_real(), .folder = folder, .key = hash.key};
}

/* Any chain will do here: it follows from the position. */
static struct log_chain chain_of(uint64_t position)
{
    struct log_chain chain = {0};
    bytes_put_u64(chain.bytes, position);
    return chain;
}

static struct run *flush(const char *folder, const struct table *table, struct block_cache *cache)
{
    struct run_target to = target(folder);
    struct log_chain before = chain_of(table->first - 1), after = chain_of(table->last);
    struct run *run;
    assert_ok(run_flush_table(&to, table, &before, &after));
    assert_ok(run_open(to.ops, folder, table->first, table->last, hash.key, cache, &run));
    return run;
}

/* The run's list of a tag against the table's, from many places, both ways. */
static void compare_list(struct run *run, const struct table *table, uint64_t term)
{
    const struct posting *posting = table_find_term(table, term);
    struct posting_cursor expected;
    struct run_cursor cursor;
    struct run_postings postings;
    uint64_t found;
    assert_ok(run_find_term(run, term, &postings));
    assert_int_equal(postings.count, posting->count);
    posting_cursor_init(&expected, posting);
    run_cursor_init(&cursor, run, &postings);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t from = table->first + dice((unsigned)(table->last - table->first + 3));
        assert_ok(run_cursor_next(&cursor, from, &found));
        assert_int_equal(found, posting_next(&expected, from));
        from = table->first + dice((unsigned)(table->last - table->first + 3));
        assert_ok(run_cursor_previous(&cursor, from, &found));
        assert_int_equal(found, posting_previous(&expected, from));
        uint64_t at = dice((unsigned)posting->count + 3);
        assert_ok(run_cursor_at(&cursor, at, &found));
        assert_int_equal(found, posting_at(&expected, at));
    }
    for (uint64_t at = table->first; at != 0;) {
        assert_ok(run_cursor_next(&cursor, at, &found));
        assert_int_equal(found, posting_next(&expected, at));
        at = found > 0 ? found + 1 : 0;
    }
}

static void compare(struct run *run, const struct table *table)
{
    static const char *const tags[] = {"every:1",  "every:2",   "every:7",   "every:63",
                                       "every:64", "every:300", "every:5000"};
    struct run_postings postings;
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        if (table_find_term(table, table_term(&hash, 'g', B(tags[i]))))
            compare_list(run, table, table_term(&hash, 'g', B(tags[i])));
    compare_list(run, table, table_term(&hash, 't', B("Odd")));
    assert_ok(run_find_term(run, table_term(&hash, 'g', B("never")), &postings));
    assert_int_equal(postings.count, 0);
    for (unsigned i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof(name), "s%u", i);
        const struct table_stream *stream = table_find_stream(table, table_term(&hash, 's', B(name)), B(name));
        assert_ok(run_find_stream(run, table_term(&hash, 's', B(name)), B(name), &postings));
        assert_int_equal(postings.count, stream->posting.count);
        assert_int_equal(postings.version + postings.count - 1, stream->version);
    }
    assert_ok(run_find_stream(run, table_term(&hash, 's', B("s1")), B("another"), &postings));
    assert_int_equal(postings.count, 0);
}

static void compare_places_and_times(struct run *run, uint64_t first, uint64_t last)
{
    uint64_t found;
    for (uint64_t position = first; position <= last; position += 3) {
        char key[24];
        snprintf(key, sizeof(key), "key %u", (unsigned)position);
        assert_ok(run_find_place(run, table_term(&hash, 'k', B(key)), 0, &found));
        assert_int_equal(found, position);
        assert_ok(run_find_place(run, table_term(&hash, 'k', B(key)), 1, &found));
        assert_int_equal(found, 0);
        assert_ok(run_find_time(run, (int64_t)position * 1000, &found));
        uint64_t sample = (position - 1) / TIMES_STEP * TIMES_STEP + 1;
        assert_int_equal(found, sample >= first ? sample : 0);
    }
    assert_ok(run_find_place(run, 12345, 0, &found));
    assert_int_equal(found, 0);
}

static void a_run_says_what_its_table_said(void **state)
{
    char *folder = kit_folder_new();
    struct table *table = make_table(1, LONG);
    struct block_cache *cache;
    dice_seed(5);
    assert_ok(block_cache_new(BLOCK_CACHE_SIZE_MIN, &cache));
    struct run *run = flush(folder, table, cache);
    compare(run, table);
    compare_places_and_times(run, 1, LONG);
    assert_false(run_is_damaged(run));
    run_unref(run);
    table_unref(table);
    block_cache_free(cache);
    kit_folder_remove(folder);
}

static void merged_runs_say_what_they_said_before(void **state)
{
    enum { SPAN = LONG / 8 };
    char *folder = kit_folder_new();
    struct table *whole = make_table(1, LONG);
    struct block_cache *cache;
    struct run *runs[8], *merged;
    struct run_target to = target(folder);
    dice_seed(6);
    assert_ok(block_cache_new(BLOCK_CACHE_SIZE_MIN, &cache));
    for (uint64_t i = 0; i < 8; i++) {
        struct table *table = make_table(i * SPAN + 1, (i + 1) * SPAN);
        runs[i] = flush(folder, table, cache);
        table_unref(table);
    }
    assert_ok(run_merge(&to, runs, 8, NULL, NULL));
    assert_ok(run_open(to.ops, folder, 1, LONG, hash.key, cache, &merged));
    compare(merged, whole);
    compare_places_and_times(merged, 1, LONG);
    assert_memory_equal(&merged->header.chain_before, &runs[0]->header.chain_before, LOG_CHAIN_SIZE);
    assert_memory_equal(&merged->header.chain_after, &runs[7]->header.chain_after, LOG_CHAIN_SIZE);
    for (size_t i = 0; i < 8; i++)
        run_unref(runs[i]);
    run_unref(merged);
    table_unref(whole);
    block_cache_free(cache);
    kit_folder_remove(folder);
}

/* A filter is wrong in one direction only, and not often. */
static void a_filter_never_forgets_a_key_and_seldom_invents_one(void **state)
{
    enum { KEYS = 20000 };
    uint64_t lines = (uint64_t)run_filter_blocks(KEYS) * RUN_LINES_PER_BLOCK;
    uint8_t *filter = calloc(lines, RUN_LINE_SIZE);
    unsigned invented = 0;
    for (uint64_t i = 0; i < 2 * KEYS; i++) {
        uint8_t name[8];
        bytes_put_u64(name, i);
        uint64_t key = hash_sip128(bytes_make(name, 8), hash.key).low;
        uint8_t *line = filter + run_filter_line(key, lines) * RUN_LINE_SIZE;
        if (i < KEYS)
            run_filter_add(line, key);
        else
            invented += run_filter_has(line, key);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        uint8_t name[8];
        bytes_put_u64(name, i);
        uint64_t key = hash_sip128(bytes_make(name, 8), hash.key).low;
        assert_true(run_filter_has(filter + run_filter_line(key, lines) * RUN_LINE_SIZE, key));
    }
    assert_true(invented < KEYS / 40);
    free(filter);
}

/* ---- what was written by the first format ---- */

static void assert_same_file(const char *folder, const char *golden, uint64_t first, uint64_t last)
{
    _cleanup_(buffer_deinit) struct buffer mine = {0}, kept = {0};
    char name[RUN_FILE_NAME_SIZE], path[OS_PATH_SIZE_MAX];
    run_file_name(first, last, name);
    assert_ok(os_path(path, folder, name));
    assert_ok(os_file_read_whole(os_file_real(), path, &mine));
    assert_ok(os_path(path, golden, name));
    assert_ok(os_file_read_whole(os_file_real(), path, &kept));
    assert_int_equal(mine.size, kept.size);
    assert_memory_equal(mine.data, kept.data, mine.size);
}

static void runs_of_format_1_are_read_and_still_made_byte_for_byte(void **state)
{
    const char *golden = getenv("INDEX_CORPUS");
    const char *make = getenv("INDEX_GOLDEN_MAKE"); /* a folder: write them there */
    char *folder = kit_folder_new();
    const char *to_folder = make ? make : folder;
    struct run_target to = target(to_folder);
    struct block_cache *cache;
    struct run *runs[GOLDEN_RUNS], *kept;
    assert_non_null(golden);
    assert_ok(block_cache_new(BLOCK_CACHE_SIZE_MIN, &cache));
    for (uint64_t i = 0; i < GOLDEN_RUNS; i++) {
        struct table *table = make_table(i * GOLDEN_UNIT + 1, (i + 1) * GOLDEN_UNIT);
        runs[i] = flush(to_folder, table, cache);
        table_unref(table);
    }
    assert_ok(run_merge(&to, runs, GOLDEN_RUNS, NULL, NULL));
    assert_same_file(to_folder, golden, 1, GOLDEN_UNIT);
    assert_same_file(to_folder, golden, 1, GOLDEN_UNIT * GOLDEN_RUNS);
    assert_ok(run_open(to.ops, golden, 1, GOLDEN_UNIT * GOLDEN_RUNS, hash.key, cache, &kept));
    struct table *whole = make_table(1, GOLDEN_UNIT * GOLDEN_RUNS);
    compare(kept, whole);
    compare_places_and_times(kept, 1, GOLDEN_UNIT * GOLDEN_RUNS);
    for (size_t i = 0; i < GOLDEN_RUNS; i++)
        run_unref(runs[i]);
    run_unref(kept);
    table_unref(whole);
    block_cache_free(cache);
    kit_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_says_what_its_table_said),
        cmocka_unit_test(merged_runs_say_what_they_said_before),
        cmocka_unit_test(a_filter_never_forgets_a_key_and_seldom_invents_one),
        cmocka_unit_test(runs_of_format_1_are_read_and_still_made_byte_for_byte),
    };
    return cmocka_run_group_tests_name("journal/run", tests, NULL, NULL);
}
