/* The present and the past against a naive replay: the same events, folded by a few lines of C. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "lib/view_kit.h"

enum { ROOMS = 10 };

struct naive {
    struct {
        bool there;
        long n;
        uint64_t last;
    } rooms[ROOMS];
    uint64_t events;
};

static void fold(struct naive *naive, const struct journal_event *event)
{
    unsigned room, n;
    char text[64];
    (void)snprintf(text, sizeof(text), "%.*s", BYTES_PRINT(event->data));
    assert_int_equal(sscanf(text, "{\"room\":\"r%u\",\"n\":%u}", &room, &n), 2);
    bool added = bytes_equal_string(event->type, "Added");
    naive->events++;
    if (!added && !naive->rooms[room].there)
        return;
    naive->rooms[room].there = true;
    naive->rooms[room].n += added ? (long)n : -(long)n;
    naive->rooms[room].last = event->position;
}

/* What the views of view_kit_write_application() must say after event `position`. */
static void replay(struct view_kit *kit, uint64_t position, struct naive *ret_naive)
{
    struct journal_read read = {.before = position + 1};
    struct journal_reader *reader = NULL;
    struct journal_event event;
    *ret_naive = (struct naive){.events = 0};
    assert_ok(journal_reader_new(kit->journal, &read, &reader));
    while (position > 0 && journal_reader_next(reader, &event) == 0)
        fold(ret_naive, &event);
    journal_reader_free(reader);
    assert_int_equal(ret_naive->events, position);
}

static void write_counts(const struct naive *naive, char *ret_text, size_t size)
{
    size_t used = (size_t)snprintf(ret_text, size, "[");
    for (int i = 0; i < ROOMS; i++) {
        if (naive->rooms[i].there)
            used += (size_t)snprintf(ret_text + used, size - used,
                                     "%s{\"room\":\"r%d\",\"n\":%ld,\"last\":%llu}", used > 1 ? ",\n" : "", i,
                                     naive->rooms[i].n, (unsigned long long)naive->rooms[i].last);
    }
    (void)snprintf(ret_text + used, size - used, "]\n");
}

static void write_total(const struct naive *naive, char *ret_text, size_t size)
{
    long sum = 0;
    bool any = false;
    for (int i = 0; i < ROOMS; i++) {
        if (naive->rooms[i].there && naive->rooms[i].n >= 0) {
            sum += naive->rooms[i].n;
            any = true;
        }
    }
    if (any)
        (void)snprintf(ret_text, size, "[{\"n\":%ld,\"events\":%llu}]\n", sum,
                       (unsigned long long)naive->events);
    else
        (void)snprintf(ret_text, size, "[{\"n\":null,\"events\":%llu}]\n", (unsigned long long)naive->events);
}

static int set_up(void **state)
{
    struct view_kit *kit = calloc(1, sizeof(*kit));
    assert_non_null(kit);
    view_kit_init(kit);
    view_kit_write_application(kit);
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    view_kit_deinit(*state);
    free(*state);
    return 0;
}

static uint64_t seed = 11;

static uint64_t pick(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static void expect_at(struct view_kit *kit, uint64_t position, const char *parameter)
{
    struct naive naive;
    char url[96], expected[2048];
    replay(kit, position, &naive);
    write_counts(&naive, expected, sizeof(expected));
    (void)snprintf(url, sizeof(url), "views/counts?%s=%llu", parameter, (unsigned long long)position);
    view_kit_expect(kit, url, expected);
    write_total(&naive, expected, sizeof(expected));
    (void)snprintf(url, sizeof(url), "queries/total?%s=%llu", parameter, (unsigned long long)position);
    view_kit_expect(kit, url, expected);
}

static void the_present_is_what_a_naive_replay_gives(void **state)
{
    struct view_kit *kit = *state;
    assert_ok(view_kit_open(kit));
    for (int round = 0; round < 30; round++) {
        view_kit_append(kit, (unsigned)pick(200), seed);
        expect_at(kit, journal_head(kit->journal), "min_position");
    }
}

static void the_past_at_a_hundred_random_positions_is_what_a_naive_replay_gives(void **state)
{
    struct view_kit *kit = *state;
    view_kit_append(kit, 5000, 3);
    assert_ok(view_kit_open(kit));
    expect_at(kit, 0, "as_of");
    for (int round = 0; round < 100; round++)
        expect_at(kit, pick(journal_head(kit->journal) + 1), "as_of");
    expect_at(kit, journal_head(kit->journal), "as_of");
}

static void the_past_moves_forward_without_starting_over(void **state)
{
    struct view_kit *kit = *state;
    struct view_counters counters;
    view_kit_append(kit, 500, 3);
    assert_ok(view_kit_open(kit));
    for (uint64_t position = 1; position < 500; position += 25)
        expect_at(kit, position, "as_of");
    view_set_counters(kit->set, &counters);
    assert_int_equal(counters.scratch_copies, 2); /* one a view */
    for (uint64_t position = 475; position > 0; position -= 25)
        expect_at(kit, position, "as_of");
    view_set_counters(kit->set, &counters);
    assert_int_equal(counters.scratch_copies, 2 * VIEW_SCRATCH_COUNT_MAX); /* and never more */
}

/* A long way leaves a step behind: going back to it is free. */
static void the_past_looked_at_back_and_forth_is_not_replayed_from_the_start(void **state)
{
    struct view_kit *kit = *state;
    static const char *const positions[] = {"3000", "6000", "9000", "3001", "8999", "6500", "9001"};
    struct view_counters counters;
    view_kit_append(kit, 10000, 3);
    assert_ok(view_kit_open(kit));
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        char url[96], expected[64];
        (void)snprintf(url, sizeof(url), "views/log?select=position&order=position.desc&limit=1&as_of=%s",
                       positions[i]);
        (void)snprintf(expected, sizeof(expected), "[{\"position\":%s}]\n", positions[i]);
        view_kit_expect(kit, url, expected);
    }
    view_set_counters(kit->set, &counters);
    assert_int_equal(counters.replayed,
                     9000 + 1 + 2999 + 500 + 1); /* 8999 from the step at 6000, 6500 as well */
    expect_at(kit, 6001, "as_of");
    expect_at(kit, 9500, "as_of");
}

static void a_time_is_the_position_of_its_last_event(void **state)
{
    struct view_kit *kit = *state;
    struct journal_read read = {.after = 299};
    struct journal_reader *reader = NULL;
    struct journal_event event;
    struct view_answer answer;
    char url[96], text[TIME_TEXT_SIZE];
    for (int i = 0; i < 5; i++)
        view_kit_append(kit, 100, 3); /* several appends, several times */
    assert_ok(view_kit_open(kit));
    assert_ok(journal_reader_new(kit->journal, &read, &reader));
    assert_ok(journal_reader_next(reader, &event));
    assert_ok(time_format(event.time_us, text));
    journal_reader_free(reader);
    (void)snprintf(url, sizeof(url), "views/log?limit=1000000&select=position&as_of=%s", text);
    _cleanup_(freep) char *body = view_kit_get(kit, url, &answer);
    assert_non_null(body);
    assert_int_equal(answer.position, kit_position_at(kit->journal, event.time_us));
    assert_true(answer.position >= 300);
    assert_int_equal(answer.row_count, answer.position);
    free(view_kit_get(kit, "views/log?as_of=1999-12-31T23:59:59Z", &answer));
    assert_int_equal(answer.position, 0);
    assert_int_equal(answer.row_count, 0);
}

static void the_past_has_the_present_definition(void **state)
{
    struct view_kit *kit = *state;
    view_kit_append(kit, 100, 3);
    assert_ok(view_kit_open(kit));
    view_kit_catch_up(kit);
    view_kit_write(kit, "views/log.sql",
                   "-- view: log\n-- version: 2\ncreate table log (position integer primary key);\n"
                   "-- on *\ninsert into log values (-:position);\n");
    assert_ok(view_kit_open(kit));
    view_kit_expect(kit, "views/log?as_of=2", "[{\"position\":-2},\n{\"position\":-1}]\n");
}

static void a_future_is_refused_by_a_leader(void **state)
{
    struct view_kit *kit = *state;
    view_kit_append(kit, 10, 3);
    assert_ok(view_kit_open(kit));
    view_kit_refused(kit, "views/counts?as_of=11", VIEW_E_NOT_CAUGHT_UP, "the journal ends at 10");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define HISTORY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        HISTORY_TEST(the_present_is_what_a_naive_replay_gives),
        HISTORY_TEST(the_past_at_a_hundred_random_positions_is_what_a_naive_replay_gives),
        HISTORY_TEST(the_past_moves_forward_without_starting_over),
        HISTORY_TEST(the_past_looked_at_back_and_forth_is_not_replayed_from_the_start),
        HISTORY_TEST(a_time_is_the_position_of_its_last_event),
        HISTORY_TEST(the_past_has_the_present_definition),
        HISTORY_TEST(a_future_is_refused_by_a_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
