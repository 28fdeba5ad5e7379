/* The journal and the naive one are given the same random appends and reads, and must agree on everything. Batches are
 * made on purpose: what is submitted while the log is held is one batch. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "lib/dice.h"
#include "lib/journal_kit.h"
#include "lib/naive_journal.h"

enum { ROUNDS = 400, APPENDS_OF_ROUND_MAX = 6, EVENTS_MAX = 3, ITEMS_MAX = 3 };

/* An append with everything it points to. */
struct random_append {
    struct kit_pending pending; /* first */
    struct journal_event_new events[EVENTS_MAX];
    struct bytes tags[EVENTS_MAX][3];
    struct journal_expectation expectations[2];
    struct journal_item items[ITEMS_MAX];
    struct bytes types[ITEMS_MAX][2], item_tags[ITEMS_MAX][2];
    char data[EVENTS_MAX][8];
};

static struct bytes one_of(const char *const *names, unsigned count)
{
    return B(names[dice(count)]);
}

static struct bytes some_stream(void)
{
    static const char *const names[] = {"", "a", "b", "c", "$s"};
    return one_of(names, 5);
}

static struct bytes some_type(void)
{
    static const char *const names[] = {"A", "B", "C", "$T"};
    return one_of(names, 4);
}

static struct bytes some_tag(void)
{
    static const char *const names[] = {"x", "y", "z", "x:1", "x:2", "$t"};
    return one_of(names, 6);
}

static void make_event(struct random_append *append, unsigned i)
{
    struct journal_event_new *event = &append->events[i];
    *event = (struct journal_event_new){.stream = some_stream(),
                                        .type = some_type(),
                                        .tags = append->tags[i],
                                        .tag_count = dice(4),
                                        .system = true};
    for (size_t j = 0; j < event->tag_count; j++)
        append->tags[i][j] = some_tag();
    snprintf(append->data[i], sizeof(append->data[i]), "%u", dice(3));
    event->data = B(append->data[i]);
    if (dice(4) == 0)
        event->content_type = B("text/plain");
    if (dice(3) == 0)
        event->meta = B("{\"m\":1}");
    event->has_id = dice(4) == 0;
    memset(event->id, (int)dice(60), sizeof(event->id)); /* few ids: many are known already */
}

static void make_query(struct journal_item *items, struct bytes (*types)[2], struct bytes (*tags)[2],
                       struct journal_query *query)
{
    *query = (struct journal_query){.items = items, .count = dice(ITEMS_MAX + 1)};
    for (size_t i = 0; i < query->count; i++) {
        items[i] = (struct journal_item){
            .types = types[i], .type_count = dice(3), .tags = tags[i], .tag_count = dice(3)};
        if (items[i].type_count + items[i].tag_count == 0)
            items[i].tag_count = 1;
        for (size_t j = 0; j < 2; j++) {
            types[i][j] = some_type();
            tags[i][j] = some_tag();
        }
    }
}

static void make_append(struct random_append *append, uint64_t head)
{
    *append = (struct random_append){0};
    struct journal_append *plain = &append->pending.append;
    plain->events = append->events;
    plain->event_count = 1 + dice(EVENTS_MAX);
    for (unsigned i = 0; i < plain->event_count; i++)
        make_event(append, i);
    plain->expectations = append->expectations;
    plain->expectation_count = dice(3) == 0 ? dice(3) : 0;
    for (size_t i = 0; i < plain->expectation_count; i++) {
        append->expectations[i] =
            (struct journal_expectation){some_stream(), (enum journal_expect)dice(4), dice(8)};
        if (append->expectations[i].stream.size == 0)
            append->expectations[i].stream = B("never");
    }
    if (dice(2) == 0) {
        make_query(append->items, append->types, append->item_tags, &append->pending.condition.query);
        append->pending.condition.after = head > 6 ? head - dice(6) : dice(3);
        plain->condition = &append->pending.condition;
    }
    if (dice(5) == 0) {
        plain->key = B("Command key");
        plain->key_hash = B("0123456789abcdef");
    }
}

/* ---- comparing ---- */

static void learn(struct journal *journal, struct naive_journal *naive, uint64_t after)
{
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t count = after;
    assert_ok(journal_reader_new(journal, &(struct journal_read){.after = after, .system = true}, &reader));
    while (journal_reader_next(reader, &event) == 0) {
        assert_int_equal(event.position, ++count); /* P3: no gap, no repetition */
        naive_learn(naive, &event);
    }
    assert_int_equal(count, naive_head(naive));
    journal_reader_free(reader);
}

static void compare_read(struct journal *journal, const struct naive_journal *naive,
                         const struct journal_read *read)
{
    static uint64_t expected[10000];
    size_t count = naive_read(naive, read, expected, 10000);
    struct journal_reader *reader;
    struct journal_event event;
    assert_ok(journal_reader_new(journal, read, &reader));
    for (size_t i = 0; i < count; i++) {
        assert_ok(journal_reader_next(reader, &event));
        assert_int_equal(event.position, expected[i]);
        if (read->direction == JOURNAL_FORWARD)
            assert_int_equal(journal_reader_examined(reader), event.position);
    }
    assert_int_equal(journal_reader_next(reader, &event), JOURNAL_E_END);
    if (read->direction == JOURNAL_FORWARD && read->before == 0)
        assert_true(journal_reader_examined(reader) >= naive_head(naive));
    journal_reader_free(reader);
}

static void compare_reads(struct journal *journal, const struct naive_journal *naive)
{
    struct journal_item items[ITEMS_MAX];
    struct bytes types[ITEMS_MAX][2], tags[ITEMS_MAX][2];
    uint64_t head = naive_head(naive);
    for (unsigned i = 0; i < 12; i++) {
        struct journal_query query;
        struct journal_read read = {.system = dice(2),
                                    .direction = dice(2) ? JOURNAL_FORWARD : JOURNAL_BACKWARD};
        make_query(items, types, tags, &query);
        if (dice(4) > 0)
            read.query = &query;
        if (dice(2))
            read.stream = some_stream();
        read.by_position = dice(2);
        read.after = dice(2) ? dice((unsigned)head + 3) : 0;
        read.before = dice(2) ? dice((unsigned)head + 3) : 0;
        if (dice(20) == 0)
            read.after = UINT64_MAX - dice(2);
        if (dice(20) == 0)
            read.before = UINT64_MAX - dice(2);
        compare_read(journal, naive, &read);
    }
    for (const char *const *name = (const char *const[]){"a", "b", "c", "$s", "never", NULL}; *name; name++)
        assert_int_equal(kit_stream_version(journal, B(*name)), naive_stream_version(naive, B(*name)));
}

static void compare_results(struct random_append *appends, size_t count, struct naive_journal *naive)
{
    for (size_t i = 0; i < count; i++) {
        const struct journal_result *result = &appends[i].pending.result;
        struct journal_result expected;
        naive_append(naive, &appends[i].pending.append, &expected);
        assert_int_equal(result->answer, expected.answer);
        assert_int_equal(result->replayed, expected.replayed);
        assert_int_equal(result->conflict_count, expected.conflict_count);
        if (expected.answer == 0) {
            assert_int_equal(result->first, expected.first);
            assert_int_equal(result->last, expected.last);
        }
    }
}

/* Ids that the journal made must be learnt before the next append may name them; here none can be guessed, so it is
 * enough to learn after each round. */
static void play_round(struct journal *journal, struct memory_store *store, struct naive_journal *naive)
{
    static struct random_append appends[APPENDS_OF_ROUND_MAX];
    struct kit_landing *landing = kit_landing_new();
    size_t count = 1 + dice(APPENDS_OF_ROUND_MAX);
    uint64_t before = naive_head(naive);
    bool one_batch = store && count > 1 && dice(2);
    if (one_batch)
        memory_store_hold(store);
    for (size_t i = 0; i < count; i++) {
        make_append(&appends[i], before);
        kit_submit_append(journal, &appends[i].pending, landing);
    }
    if (one_batch)
        memory_store_release(store);
    assert_true(kit_landing_wait(landing, count));
    compare_results(appends, count, naive);
    learn(journal, naive, before);
    kit_landing_free(landing);
}

static void play(unsigned seed, struct journal *(*open)(void *engine), void *engine,
                 struct memory_store *store)
{
    struct naive_journal *naive = naive_new();
    struct journal *journal = open(engine);
    dice_seed(seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        play_round(journal, store, naive);
        if (round % 5 == 0)
            compare_reads(journal, naive);
        if (dice(40) == 0) {
            journal_close(journal);
            journal = open(engine);
            learn(journal, naive, 0);
        }
    }
    assert_true(naive_head(naive) > ROUNDS); /* the dice let enough through */
    journal_close(journal);
    naive_free(naive);
}

static struct journal *open_memory(void *engine)
{
    return kit_open(engine, dice(2));
}

struct indexed {
    struct memory_store *store;
    const char *folder;
};

static struct journal *open_indexed(void *engine)
{
    const struct indexed *indexed = engine;
    return kit_open_indexed(indexed->store, dice(2), indexed->folder);
}

static struct journal *open_file_indexed(void *engine)
{
    return kit_open_file_indexed(engine);
}

static struct journal *open_file(void *engine)
{
    return kit_open_file(engine);
}

static void over_memory_the_journal_agrees_with_the_naive_one_whatever_comes(void **state)
{
    for (unsigned seed = 1; seed <= 8 * kit_effort(); seed++) {
        struct memory_store *store = memory_store_new();
        play(seed, open_memory, store, store);
        memory_store_free(store);
    }
}

static void over_files_the_journal_agrees_with_the_naive_one_whatever_comes(void **state)
{
    for (unsigned seed = 100; seed < 100 + 2 * kit_effort(); seed++) {
        char *folder = kit_folder_new();
        play(seed, open_file, folder, NULL);
        kit_folder_remove(folder);
    }
}

/* With runs of 16 positions everything that is done with runs is done many times. */
static void with_an_index_on_the_disk_the_journal_agrees_with_the_naive_one_whatever_comes(void **state)
{
    for (unsigned seed = 200; seed < 200 + 4 * kit_effort(); seed++) {
        struct memory_store *store = memory_store_new();
        char *folder = kit_folder_new();
        play(seed, open_indexed, &(struct indexed){store, folder}, store);
        kit_folder_remove(folder);
        memory_store_free(store);
    }
}

static void over_files_with_an_index_on_the_disk_the_journal_agrees_with_the_naive_one(void **state)
{
    for (unsigned seed = 300; seed < 300 + 2 * kit_effort(); seed++) {
        char *folder = kit_folder_new();
        play(seed, open_file_indexed, folder, NULL);
        kit_folder_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_memory_the_journal_agrees_with_the_naive_one_whatever_comes),
        cmocka_unit_test(over_files_the_journal_agrees_with_the_naive_one_whatever_comes),
        cmocka_unit_test(with_an_index_on_the_disk_the_journal_agrees_with_the_naive_one_whatever_comes),
        cmocka_unit_test(over_files_with_an_index_on_the_disk_the_journal_agrees_with_the_naive_one),
    };
    return cmocka_run_group_tests_name("journal/model", tests, NULL, NULL);
}
