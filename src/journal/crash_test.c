/* A real process is killed by SIGKILL in the middle of its appends, again and again, and what it was told is compared with
 * what is there (P6): acknowledged ⊆ recovered ⊆ submitted, in order, byte for byte. */
#include "lib/cmocka_all.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/dice.h"
#include "lib/journal_kit.h"
#include "os/clock.h"
#include "os/thread.h"

enum {
    LIVES = 200,
    LIVES_OF_A_JOURNAL = 25, /* each life and each comparison reads it all: a long one costs its square */
    EFFORT_MAX = 4, /* of the long suite */
    WORKERS = 4,
    ACKNOWLEDGED_MAX = 16, /* appends acknowledged before a kill, fewer by chance */
    BULK = 10,             /* events of an append of every second worker: batches are built on top of each other */
    SUBMITTED_MAX = 20000, /* events of one worker in one journal */
    PAYLOAD_SIZE = 300,
};

/* What a worker writes into the pipe: before submitting, and when it was acknowledged. One write each, so never torn. */
struct note {
    uint32_t worker, number, count; /* events number … number + count - 1 */
    uint64_t position;              /* of the first; 0: about to be submitted */
};

struct worker {
    struct os_thread thread;
    struct journal *journal;
    uint32_t number, next;
    int pipe;
};

/* Content follows from worker and number, so that every byte can be checked. */
static void make_payload(uint32_t worker, uint32_t number, char payload[PAYLOAD_SIZE])
{
    int size = snprintf(payload, PAYLOAD_SIZE, "{\"worker\":%u,\"number\":%u,\"pad\":\"", worker, number);
    for (int i = size; i < PAYLOAD_SIZE - 3; i++)
        payload[i] = (char)('a' + (worker * 7 + number * 13 + (uint32_t)i) % 26);
    memcpy(payload + PAYLOAD_SIZE - 3, "\"}", 3);
}

static int append(struct worker *worker, uint32_t count, struct journal_result *ret_result)
{
    char payloads[BULK][PAYLOAD_SIZE], stream[32];
    struct bytes tags[16];
    struct journal_event_new events[BULK];
    struct journal_append append = {.events = events, .event_count = count};
    snprintf(stream, sizeof(stream), "worker-%u", worker->number);
    for (uint32_t i = 0; i < count; i++) {
        make_payload(worker->number, worker->next + i, payloads[i]);
        events[i] = kit_event(stream, "Worked", "some tags", tags, payloads[i]);
    }
    return journal_append_wait(worker->journal, &append, ret_result);
}

static void work(void *user)
{
    struct worker *worker = user;
    uint32_t count = worker->number % 2 ? BULK : 1;
    for (;; worker->next += count) {
        struct journal_result result;
        struct note note = {.worker = worker->number, .number = worker->next, .count = count};
        if (write(worker->pipe, &note, sizeof(note)) != sizeof(note))
            return;
        if (append(worker, count, &result) != 0)
            _exit(1);
        note.position = result.first;
        if (write(worker->pipe, &note, sizeof(note)) != sizeof(note))
            return;
    }
}

static void live(const char *folder, const uint32_t next[WORKERS], int out)
{
    static struct worker workers[WORKERS];
    struct journal *journal = kit_open_file(folder);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.journal = journal, .number = i, .next = next[i], .pipe = out};
        if (os_thread_start(&workers[i].thread, "worker", work, &workers[i]) != 0)
            _exit(1);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        os_thread_join(&workers[i].thread);
    _exit(1); /* unreachable: they end with the process */
}

struct account {
    uint32_t submitted[WORKERS];                /* how many */
    uint64_t positions[WORKERS][SUBMITTED_MAX]; /* 0: not acknowledged */
    uint64_t acknowledged;
};

static void note_down(struct account *account, const struct note *note)
{
    assert_true(note->worker < WORKERS && note->number + note->count < SUBMITTED_MAX);
    if (note->position == 0) {
        account->submitted[note->worker] = note->number + note->count;
        return;
    }
    for (uint32_t i = 0; i < note->count; i++)
        account->positions[note->worker][note->number + i] = note->position + i;
    account->acknowledged++;
}

/* Listen until so many were acknowledged, then kill; what still stands in the pipe counts, too. */
static void kill_after(pid_t child, int in, struct account *account, uint64_t count)
{
    struct note note;
    uint64_t until = account->acknowledged + count;
    struct pollfd readable = {.fd = in, .events = POLLIN};
    while (account->acknowledged < until) {
        assert_int_equal(poll(&readable, 1, 20000), 1);
        assert_int_equal(read(in, &note, sizeof(note)), sizeof(note));
        note_down(account, &note);
    }
    assert_ok(kill(child, SIGKILL));
    assert_int_equal(waitpid(child, NULL, 0), child);
    while (read(in, &note, sizeof(note)) == sizeof(note))
        note_down(account, &note);
}

/* Each worker's events must be 0, 1, 2… of what it submitted, those acknowledged at the place they were given. */
static void compare(struct journal *journal, struct account *account, uint32_t next[WORKERS])
{
    struct journal_reader *reader;
    struct journal_event event;
    uint64_t count = 0;
    memset(next, 0, WORKERS * sizeof(*next));
    assert_ok(journal_reader_new(journal, &(struct journal_read){0}, &reader));
    while (journal_reader_next(reader, &event) == 0) {
        char payload[PAYLOAD_SIZE];
        uint32_t worker = (uint32_t)(event.stream.data[event.stream.size - 1] - '0');
        assert_true(worker < WORKERS);
        assert_int_equal(event.position, ++count);
        assert_int_equal(event.version, next[worker] + 1);
        assert_int_equal(event.append_count, worker % 2 ? BULK : 1);
        assert_true(next[worker] < account->submitted[worker]);
        make_payload(worker, next[worker], payload);
        assert_true(bytes_equal_string(event.data, payload));
        uint64_t acknowledged = account->positions[worker][next[worker]];
        assert_true(acknowledged == 0 || acknowledged == event.position);
        account->positions[worker][next[worker]++] = event.position;
    }
    for (uint32_t worker = 0; worker < WORKERS; worker++)
        assert_int_equal(next[worker] % (worker % 2 ? BULK : 1), 0); /* P2: no append in part */
    for (uint32_t worker = 0; worker < WORKERS; worker++)
        for (uint32_t i = next[worker]; i < account->submitted[worker]; i++)
            assert_int_equal(account->positions[worker][i], 0); /* acknowledged means recovered */
    journal_reader_free(reader);
}

/* A process that opens the journal, writes and is killed. */
static void live_and_die(const char *folder, struct account *account, const uint32_t next[WORKERS])
{
    int ends[2];
    assert_ok(pipe(ends));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        live(folder, next, ends[1]);
    }
    close(ends[1]);
    kill_after(child, ends[0], account, dice(ACKNOWLEDGED_MAX));
    close(ends[0]);
}

/* One journal that is killed again and again; answers how many appends it acknowledged. */
static uint64_t try_journal(struct account *account, unsigned lives)
{
    uint32_t next[WORKERS] = {0};
    struct log_chain chain = {0};
    uint64_t head = 0;
    char *folder = kit_folder_new();
    memset(account, 0, sizeof(*account));
    for (unsigned i = 0; i < lives; i++) {
        struct log_chain again;
        live_and_die(folder, account, next);
        struct journal *journal = kit_open_file(folder);
        compare(journal, account, next);
        for (uint32_t worker = 0; worker < WORKERS; worker++)
            account->submitted[worker] = next[worker]; /* the next life submits the others again */
        assert_ok(journal_chain_at(journal, head, &again));
        assert_memory_equal(&chain, &again, sizeof(chain)); /* the past has not changed */
        head = journal_head(journal);
        assert_ok(journal_chain_at(journal, head, &chain));
        journal_close(journal);
    }
    kit_folder_remove(folder);
    return account->acknowledged;
}

static void what_was_acknowledged_survives_every_kill_in_its_place(void **state)
{
    static struct account account;
    uint64_t acknowledged = 0;
    dice_seed(5);
    unsigned effort = kit_effort() < EFFORT_MAX ? kit_effort() : EFFORT_MAX;
    for (unsigned lives = 0; lives < LIVES * effort; lives += LIVES_OF_A_JOURNAL)
        acknowledged += try_journal(&account, LIVES_OF_A_JOURNAL);
    assert_true(acknowledged > LIVES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_survives_every_kill_in_its_place),
    };
    return cmocka_run_group_tests_name("journal/crash", tests, NULL, NULL);
}
