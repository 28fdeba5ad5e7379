/* Many threads at once, over both engines: exactly one wins each boundary (P4), nobody sees a gap (P3). */
#include "lib/cmocka_all.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/journal_kit.h"
#include "os/thread.h"

enum { RACERS = 8, BOUNDARIES = 60, READERS = 3 };

struct race {
    struct journal *journal;
    _Atomic unsigned wins[BOUNDARIES];
    _Atomic unsigned losses, others;
    _Atomic bool over;
    _Atomic uint64_t read[READERS];
    _Atomic unsigned wrong;
};

struct runner {
    struct os_thread thread;
    struct race *race;
    unsigned number;
};

/* Each racer tries every boundary once: a tag that must be new, or a stream that must not exist. */
static void run_racer(void *user)
{
    struct runner *runner = user;
    struct race *race = runner->race;
    for (unsigned i = 0; i < BOUNDARIES; i++) {
        char tag[32];
        struct journal_result result;
        snprintf(tag, sizeof(tag), "night:%u", i);
        int r;
        if (i % 2) {
            r = kit_append_unless(race->journal, "Taken", tag, 0, &result);
        } else {
            struct journal_event_new event = {.stream = B(tag), .type = B("Taken")};
            struct journal_expectation none = {B(tag), JOURNAL_EXPECT_NONE, 0};
            struct journal_append append = {
                .events = &event, .event_count = 1, .expectations = &none, .expectation_count = 1};
            r = journal_append_wait(race->journal, &append, &result);
        }
        if (r == 0)
            race->wins[i]++;
        else if (r == JOURNAL_E_CONFLICT)
            race->losses++;
        else
            race->others++;
        /* A loser is told of an event that it can read at once (J4). */
        if (r == JOURNAL_E_CONFLICT && journal_head(race->journal) == 0)
            race->wrong++;
        if (r == 0 && journal_head(race->journal) < result.last)
            race->wrong++;
    }
}

/* A reader follows the head: every position once, in order, and never above the head. */
static void run_reader(void *user)
{
    struct runner *runner = user;
    struct race *race = runner->race;
    struct bytes type = B("Taken");
    struct journal_item item = {.types = &type, .type_count = 1};
    struct journal_query query = {.items = &item, .count = 1};
    struct journal_read read = {.query = runner->number % 2 ? &query : NULL};
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t position = 0;
    if (journal_reader_new(race->journal, &read, &reader) != 0) {
        race->wrong++;
        return;
    }
    while (!race->over || position < journal_head(race->journal)) {
        int r = journal_reader_next(reader, &event);
        if (r == 0 && (event.position != position + 1 || event.position > journal_head(race->journal)))
            race->wrong++;
        if (r == 0)
            position = event.position;
        else if (r == JOURNAL_E_END)
            (void)journal_wait(race->journal, position, 20);
        else
            race->wrong++;
    }
    race->read[runner->number] = position;
    journal_reader_free(reader);
}

static void race(struct journal *journal)
{
    static struct race race;
    struct runner racers[RACERS], readers[READERS];
    race = (struct race){.journal = journal};
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct runner){.race = &race, .number = i};
        assert_ok(os_thread_start(&readers[i].thread, "reader", run_reader, &readers[i]));
    }
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct runner){.race = &race, .number = i};
        assert_ok(os_thread_start(&racers[i].thread, "racer", run_racer, &racers[i]));
    }
    for (unsigned i = 0; i < RACERS; i++)
        os_thread_join(&racers[i].thread);
    race.over = true;
    for (unsigned i = 0; i < READERS; i++) {
        os_thread_join(&readers[i].thread);
        assert_int_equal(race.read[i], BOUNDARIES);
    }
    for (unsigned i = 0; i < BOUNDARIES; i++)
        assert_int_equal(race.wins[i], 1);
    assert_int_equal(race.losses, BOUNDARIES * (RACERS - 1));
    assert_int_equal(race.others, 0);
    assert_int_equal(race.wrong, 0);
    assert_int_equal(journal_head(journal), BOUNDARIES);
}

static void over_memory_of_all_racers_on_a_boundary_exactly_one_wins(void **state)
{
    struct memory_store *store = memory_store_new();
    struct journal *journal = kit_open(store, true);
    race(journal);
    journal_close(journal);
    memory_store_free(store);
}

static void over_files_of_all_racers_on_a_boundary_exactly_one_wins(void **state)
{
    char *folder = kit_folder_new();
    struct journal *journal = kit_open_file(folder);
    race(journal);
    journal_close(journal);
    journal = kit_open_file(folder);
    assert_int_equal(journal_head(journal), BOUNDARIES);
    journal_close(journal);
    kit_folder_remove(folder);
}

/* Losing again and again against batches that fail must not make a wrong refusal: with every second batch full, still
 * each boundary is won by exactly one of those that went on trying. */
static void run_stubborn(void *user)
{
    struct runner *runner = user;
    struct race *race = runner->race;
    for (unsigned i = 0; i < BOUNDARIES; i++) {
        char tag[32];
        int r;
        snprintf(tag, sizeof(tag), "night:%u", i);
        do
            r = kit_append_unless(race->journal, "Taken", tag, 0, NULL);
        while (r == JOURNAL_E_FULL);
        if (r == 0)
            race->wins[i]++;
        else if (r != JOURNAL_E_CONFLICT)
            race->others++;
    }
}

static void run_saboteur(void *user)
{
    struct runner *runner = user;
    struct journal *journal = runner->race->journal;
    struct memory_store *store = (struct memory_store *)(uintptr_t)runner->race->read[0];
    uint64_t seen = 0;
    while (!runner->race->over) {
        (void)journal_wait(journal, journal_head(journal), 1);
        uint64_t batches = memory_store_batches(store);
        if (batches > seen + 1) {
            memory_store_script(store, LOG_FULL, 1, false);
            seen = batches;
        }
    }
}

static void a_full_disk_now_and_then_makes_no_wrong_refusal(void **state)
{
    static struct race race;
    struct memory_store *store = memory_store_new();
    struct journal *journal = kit_open(store, true);
    struct runner racers[RACERS], saboteur = {.race = &race};
    race = (struct race){.journal = journal};
    race.read[0] = (uintptr_t)store;
    assert_ok(os_thread_start(&saboteur.thread, "saboteur", run_saboteur, &saboteur));
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct runner){.race = &race, .number = i};
        assert_ok(os_thread_start(&racers[i].thread, "racer", run_stubborn, &racers[i]));
    }
    for (unsigned i = 0; i < RACERS; i++)
        os_thread_join(&racers[i].thread);
    race.over = true;
    os_thread_join(&saboteur.thread);
    for (unsigned i = 0; i < BOUNDARIES; i++)
        assert_int_equal(race.wins[i], 1);
    assert_int_equal(race.others, 0);
    assert_int_equal(journal_head(journal), BOUNDARIES);
    journal_close(journal);
    memory_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_memory_of_all_racers_on_a_boundary_exactly_one_wins),
        cmocka_unit_test(over_files_of_all_racers_on_a_boundary_exactly_one_wins),
        cmocka_unit_test(a_full_disk_now_and_then_makes_no_wrong_refusal),
    };
    return cmocka_run_group_tests_name("journal/race", tests, NULL, NULL);
}
