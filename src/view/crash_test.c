/* P8: a child process appends and projects, on real files, and is killed with SIGKILL at random moments, also while a view
 * is being rebuilt. Whatever stands on the disk afterwards, every event is in the rows exactly once.
 */
#include "lib/cmocka_all.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lib/view_kit.h"
#include "log/file_log.h"

enum { ROUNDS = 20, APPEND_COUNT = 50 };

static uint64_t seed = 5;

static uint64_t pick(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

/* The kit's journal on files instead of in memory. */
static void open_on_files(struct view_kit *kit)
{
    char folder[128];
    struct log *log = NULL;
    char error[256] = "";
    (void)snprintf(folder, sizeof(folder), "%s/log", kit->data);
    struct file_log_options options = {.segment_size = 1024 * 1024, .durability = LOG_ASYNC};
    struct journal_options journal_options = {.follower = false};
    if (file_log_open(folder, &options, &log, error) != 0 ||
        journal_open(log, &journal_options, &kit->journal, error) != 0)
        fail_msg("%s", error);
    if (view_kit_open(kit) != 0)
        fail_msg("%s", kit->error);
}

static void close_files(struct view_kit *kit)
{
    view_kit_close(kit);
    journal_close(kit->journal);
    kit->journal = NULL;
}

/* Append without end, and rebuild now and then. Never returns. */
static void live_until_killed(struct view_kit *kit, uint64_t round, int started)
{
    open_on_files(kit);
    for (unsigned i = 0;; i++) {
        view_kit_append(kit, APPEND_COUNT, round * 1000 + i);
        if (i == 0)
            assert_int_equal(write(started, "s", 1), 1);
        if (round % 2 == 0 && i % 4 == 1)
            (void)view_rebuild(kit->set, B("counts"));
    }
}

static void run_and_kill(struct view_kit *kit, uint64_t round)
{
    const struct timespec moment = {.tv_nsec = (long)pick(40000) * 1000};
    int started[2];
    char byte;
    assert_ok(pipe(started));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live_until_killed(kit, round, started[1]);
    if (round % 5 != 3) /* the others may be hit while they open */
        assert_int_equal(read(started[0], &byte, 1), 1);
    (void)nanosleep(&moment, NULL); /* the moment is the point of the test */
    assert_ok(kill(child, SIGKILL));
    (void)close(started[0]);
    (void)close(started[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* One query says it all: log has each position once, and counts is what log's rows add up to. */
static const char check[] =
    "-- query: check_rows\n-- uses: counts, log\n"
    "select (select count(*) from log) as rows, (select max(position) from log) as last,\n"
    "  (select count(*) from (select data ->> 'room' as room, min(case type when 'Added' then position end) "
    "as first\n"
    "     from log group by 1) f\n"
    "   where f.first is not null and coalesce((select n from counts c where c.room = f.room), 'missing') is "
    "not\n"
    "     (select sum(case type when 'Added' then 1 else -1 end * (data ->> 'n')) from log l\n"
    "      where l.data ->> 'room' = f.room and l.position >= f.first)) as wrong\n";

static void every_event_is_in_the_rows_exactly_once_whatever_is_killed(void **state)
{
    struct view_kit kit;
    char expected[128];
    uint64_t head_before = 0;
    (void)state;
    view_kit_init(&kit);
    view_kit_write_application(&kit);
    view_kit_write(&kit, "queries/check_rows.sql", check);
    journal_close(kit.journal);
    kit.journal = NULL;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        run_and_kill(&kit, round);
        if (round % 5 != 4)
            continue;
        open_on_files(&kit);
        view_kit_catch_up(&kit);
        uint64_t head = journal_head(kit.journal);
        assert_true(head > head_before);
        head_before = head;
        (void)snprintf(expected, sizeof(expected), "[{\"rows\":%llu,\"last\":%llu,\"wrong\":0}]\n",
                       (unsigned long long)head, (unsigned long long)head);
        view_kit_expect(&kit, "queries/check_rows", expected);
        assert_int_equal(kit.notices.of[VIEW_NOTICE_DISCARDED],
                         0); /* taken up where they stood, not built anew */
        close_files(&kit);
    }
    kit.journal = kit_open(kit.store, true);
    view_kit_deinit(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_is_in_the_rows_exactly_once_whatever_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
