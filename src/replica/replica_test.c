/* A follower against a leader on a loopback socket, which serves a real journal and misbehaves on order. */
#include "lib/cmocka_all.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "lib/journal_kit.h"
#include "os/clock.h"
#include "os/thread.h"
#include "replica/replica.h"
#include "replica/wire.h"
#include "replica/wire_format.h"

#define WAIT_NS (20 * OS_NS_PER_SECOND)

enum manner {
    MANNER_GOOD,
    MANNER_CUT,     /* the connection ends after some bytes, each time */
    MANNER_SILENT,  /* the hello, then nothing */
    MANNER_MUTE,    /* takes the connection and says nothing at all */
    MANNER_RUBBISH, /* 200, and then something else */
    MANNER_REFUSES, /* 503 */
    MANNER_LIES,    /* the chain of a block is another's */
};

/* --- the leader ------------------------------------------------------------------------------------------------------------- */

struct leader {
    struct memory_store *store;
    struct journal *journal;
    int socket;
    char url[64];
    struct os_thread thread;
    atomic_bool stop;
    _Atomic enum manner manner;
    atomic_uint connections;
    char authorization[128];
};

static bool write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool write_text(int fd, const char *text)
{
    return write_all(fd, text, strlen(text));
}

/* The request's header; the position it asks after. */
static uint64_t read_request(struct leader *leader, int fd)
{
    char request[4096];
    size_t size = 0;
    ssize_t n;
    while (size < sizeof(request) - 1 && (n = read(fd, request + size, sizeof(request) - 1 - size)) > 0) {
        size += (size_t)n;
        request[size] = '\0';
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    request[size] = '\0';
    const char *after = strstr(request, "after="), *authorization = strstr(request, "Authorization: ");
    if (authorization)
        (void)snprintf(leader->authorization, sizeof(leader->authorization), "%.*s",
                       (int)strcspn(authorization, "\r"), authorization);
    return after ? strtoull(after + 6, NULL, 10) : 0;
}

/* Whether the follower has gone; looks for up to 5 ms. */
static bool is_gone(int fd)
{
    struct pollfd hangup = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&hangup, 1, 5) > 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

static void serve_journal(struct leader *leader, int fd, uint64_t after, enum manner manner)
{
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    size_t sent = 0, limit = manner == MANNER_CUT ? 300 : SIZE_MAX;
    assert_ok(wire_sender_new(leader->journal, after, &sender));
    while (!atomic_load(&leader->stop) && atomic_load(&leader->manner) == manner) {
        int r = manner == MANNER_SILENT && sent > 0 ? WIRE_E_MORE : wire_sender_fill(sender, &out);
        if (r == WIRE_E_MORE && out.size == 0 && is_gone(fd))
            break;
        if (manner == MANNER_LIES && out.size > WIRE_HELLO_SIZE)
            break;
        size_t size = out.size < limit - sent ? out.size : limit - sent;
        if (!write_all(fd, out.data, size) || (sent += size) == limit)
            break;
        buffer_clear(&out);
    }
    wire_sender_free(sender);
}

/* A hello with another chain, as a leader has whose journal was written anew with the same id. */
static void serve_lie(struct leader *leader, int fd, uint64_t after)
{
    struct wire_sender *sender = NULL;
    _cleanup_(buffer_deinit) struct buffer out = {0};
    assert_ok(wire_sender_new(leader->journal, after, &sender));
    assert_ok(wire_sender_fill(sender, &out));
    (void)wire_sender_fill(sender, &out);
    wire_sender_free(sender);
    uint8_t *block = out.data + WIRE_HELLO_SIZE;
    if (out.size > WIRE_HELLO_SIZE) {
        block[BLOCK_CHAIN] ^= 1;
        bytes_put_u32(block + BLOCK_CHECK, crc32c(bytes_make(block, BLOCK_CHECK)));
    }
    (void)write_all(fd, out.data, out.size);
}

static void serve(struct leader *leader, int fd)
{
    static const char ok[] =
        "HTTP/1.1 200 OK\r\nContent-Type: " WIRE_MEDIA_TYPE "\r\nConnection: close\r\n\r\n";
    enum manner manner = atomic_load(&leader->manner);
    uint64_t after = read_request(leader, fd);
    switch (manner) {
    case MANNER_REFUSES: (void)write_text(fd, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"); break;
    case MANNER_RUBBISH:
        (void)write_text(fd, ok);
        for (int i = 0; i < 100; i++)
            (void)write_text(fd, "this is no log ");
        break;
    case MANNER_MUTE:
        while (!atomic_load(&leader->stop) && !is_gone(fd))
            continue;
        break;
    case MANNER_LIES:
        (void)write_text(fd, ok);
        serve_lie(leader, fd, after);
        break;
    default:
        if (write_text(fd, ok))
            serve_journal(leader, fd, after, manner);
    }
}

static void run_leader(void *user)
{
    struct leader *leader = user;
    while (!atomic_load(&leader->stop)) {
        struct pollfd ready = {.fd = leader->socket, .events = POLLIN};
        if (poll(&ready, 1, 20) <= 0)
            continue;
        int fd = accept(leader->socket, NULL, NULL);
        if (fd < 0)
            continue;
        atomic_fetch_add(&leader->connections, 1);
        serve(leader, fd);
        (void)close(fd);
    }
}

/* With a journal of this id; NULL: of its own. */
static void leader_start(struct leader *leader, const struct journal_id *id)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    leader->store = memory_store_new();
    if (id)
        memory_store_set_id(leader->store, id->bytes);
    leader->journal = kit_open(leader->store, true);
    leader->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_ok(bind(leader->socket, (struct sockaddr *)&address, size));
    assert_ok(listen(leader->socket, 16));
    assert_ok(getsockname(leader->socket, (struct sockaddr *)&address, &size));
    (void)snprintf(leader->url, sizeof(leader->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_ok(os_thread_start(&leader->thread, "leader", run_leader, leader));
}

static void leader_stop(struct leader *leader)
{
    atomic_store(&leader->stop, true);
    os_thread_join(&leader->thread);
    (void)close(leader->socket);
    journal_close(leader->journal);
    memory_store_free(leader->store);
}

/* --- the follower ------------------------------------------------------------------------------------------------------------ */

struct fixture {
    struct leader leader;
    struct memory_store *store;
    struct journal *journal;
    struct replica *replica;
    struct replica_options options;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    leader_start(&f->leader, NULL);
    f->options.breaker =
        "window=30s min_calls=5 consecutive=5 open=50ms open_max=100ms probes=1 probe_ok=1 ramp=0s";
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    replica_stop(f->replica);
    journal_close(f->journal);
    memory_store_free(f->store);
    leader_stop(&f->leader);
    free(f);
    return 0;
}

/* Follow with a journal that carries `id`: the leader's, when NULL. */
static void follow(struct fixture *f, const struct journal_id *id)
{
    char error[REPLICA_ERROR_SIZE] = "";
    struct journal_id leader = journal_id(f->leader.journal);
    if (!f->journal) {
        struct journal_options options = {.follower = true};
        f->store = memory_store_new();
        memory_store_set_id(f->store, id ? id->bytes : leader.bytes);
        assert_ok(journal_open(memory_log_open(f->store, true), &options, &f->journal, NULL));
    }
    f->options.journal = f->journal;
    f->options.url = f->leader.url;
    assert_ok(replica_start(&f->options, &f->replica, error));
}

static void append(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_ok(kit_append(f->leader.journal, "s", "T", "a b", "{\"n\":1}", NULL));
}

static struct replica_status status_of(struct fixture *f)
{
    struct replica_status status;
    replica_status(f->replica, &status);
    return status;
}

static void wait_for(struct fixture *f, bool (*holds)(struct fixture *f))
{
    const struct timespec moment = {.tv_nsec = 1000000};
    uint64_t deadline_ns = os_monotonic_ns() + WAIT_NS;
    while (!holds(f)) {
        if (os_monotonic_ns() > deadline_ns)
            fail_msg("it is %s: %s", replica_state_name(status_of(f).state), status_of(f).reason);
        (void)nanosleep(&moment, NULL);
    }
}

static bool has_caught_up(struct fixture *f)
{
    return journal_head(f->journal) == journal_head(f->leader.journal) &&
           status_of(f).state == REPLICA_FOLLOWING;
}

static bool has_parted(struct fixture *f)
{
    return status_of(f).state == REPLICA_PARTED;
}

static bool is_waiting(struct fixture *f)
{
    return status_of(f).state == REPLICA_WAITING;
}

static bool is_open(struct fixture *f)
{
    return status_of(f).breaker_state == BREAKER_OPEN;
}

/* Same chain at the end: the same bytes from the beginning on. */
static void assert_same(struct fixture *f)
{
    struct log_chain own, leaders;
    uint64_t head = journal_head(f->journal);
    assert_int_equal(head, journal_head(f->leader.journal));
    assert_ok(journal_chain_at(f->journal, head, &own));
    assert_ok(journal_chain_at(f->leader.journal, head, &leaders));
    assert_memory_equal(own.bytes, leaders.bytes, sizeof(own.bytes));
}

/* --- tests ------------------------------------------------------------------------------------------------------------------- */

static void a_follower_catches_up_and_then_keeps_up(void **state)
{
    struct fixture *f = *state;
    append(f, 3000);
    follow(f, NULL);
    wait_for(f, has_caught_up);
    assert_same(f);
    append(f, 10);
    wait_for(f, has_caught_up);
    assert_same(f);
    struct replica_status status = status_of(f);
    assert_true(status.connected);
    assert_int_equal(status.lag, 0);
    assert_int_equal(status.records, 3010);
    assert_int_equal(status.connects, 1);
    assert_string_equal(status.reason, "");
}

static void a_follower_refuses_writes_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct journal_result result;
    follow(f, NULL);
    struct bytes tags[16];
    struct journal_event_new event = kit_event("s", "T", "", tags, "{}");
    struct journal_append own = {.events = &event, .event_count = 1};
    assert_int_equal(journal_append_wait(f->journal, &own, &result), JOURNAL_E_READ_ONLY);
}

static void a_connection_that_breaks_again_and_again_still_brings_everything(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->leader.manner, MANNER_CUT);
    append(f, 3);
    follow(f, NULL);
    wait_for(f, is_waiting);
    append(f, 200);
    atomic_store(&f->leader.manner, MANNER_GOOD);
    wait_for(f, has_caught_up);
    assert_same(f);
    assert_true(status_of(f).failures > 0);
}

static void a_silent_leader_is_left_and_asked_again(void **state)
{
    struct fixture *f = *state;
    f->options.silence_ms_max = 100;
    atomic_store(&f->leader.manner, MANNER_SILENT);
    append(f, 5);
    follow(f, NULL);
    wait_for(f, is_waiting);
    assert_string_equal(status_of(f).reason, "the leader was silent for too long");
    atomic_store(&f->leader.manner, MANNER_GOOD);
    wait_for(f, has_caught_up);
}

/* R3 */
static void a_leader_that_keeps_failing_is_not_asked_while_the_breaker_is_open(void **state)
{
    struct fixture *f = *state;
    f->options.breaker = "window=30s min_calls=2 consecutive=2 open=60s open_max=60s";
    atomic_store(&f->leader.manner, MANNER_REFUSES);
    follow(f, NULL);
    wait_for(f, is_open);
    assert_string_equal(status_of(f).reason, "the leader answered with status 503");
    unsigned connections = atomic_load(&f->leader.connections);
    assert_int_equal(connections, 2);
    uint64_t start_ns = os_monotonic_ns();
    replica_stop(f->replica); /* soon, though it has a minute to wait */
    f->replica = NULL;
    assert_true(os_monotonic_ns() - start_ns < 10 * OS_NS_PER_SECOND);
    assert_int_equal(atomic_load(&f->leader.connections), connections);
}

static void a_leader_that_comes_back_is_followed_again(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->leader.manner, MANNER_REFUSES);
    append(f, 20);
    follow(f, NULL);
    wait_for(f, is_open);
    atomic_store(&f->leader.manner, MANNER_GOOD);
    wait_for(f, has_caught_up);
    assert_same(f);
}

static void rubbish_is_not_stored(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->leader.manner, MANNER_RUBBISH);
    append(f, 5);
    follow(f, NULL);
    wait_for(f, is_waiting);
    assert_string_equal(status_of(f).reason, "the leader sent rubbish: this is no log");
    assert_int_equal(journal_head(f->journal), 0);
}

/* R2 and the three ways to part. */
static void a_leader_with_another_journal_is_not_followed(void **state)
{
    struct fixture *f = *state;
    const struct journal_id other = {.bytes = {7}};
    append(f, 5);
    follow(f, &other);
    wait_for(f, has_parted);
    assert_string_equal(status_of(f).reason, "the leader holds another journal");
    assert_int_equal(journal_head(f->journal), 0);
}

static void a_leader_that_lost_its_end_is_not_followed(void **state)
{
    struct fixture *f = *state;
    append(f, 5);
    follow(f, NULL);
    wait_for(f, has_caught_up);
    replica_stop(f->replica);
    f->replica = NULL;
    struct journal_id id = journal_id(f->leader.journal);
    leader_stop(&f->leader);
    f->leader = (struct leader){.socket = -1};
    leader_start(&f->leader, &id); /* a new journal with the old id, and less in it */
    append(f, 3);
    follow(f, NULL);
    wait_for(f, has_parted);
    assert_string_equal(status_of(f).reason,
                        "the journals have parted: the leader's ends at 3, this copy at 5");
    assert_int_equal(journal_head(f->journal), 5);
    replica_stop(f->replica);
    f->replica = NULL;
    append(f, 3); /* as long, and another: the chain tells */
    follow(f, NULL);
    wait_for(f, has_parted);
    assert_string_equal(status_of(f).reason, "the journals have parted: the leader's chain at 5 is another");
    unsigned connections = atomic_load(&f->leader.connections);
    append(f, 5);
    assert_int_equal(atomic_load(&f->leader.connections), connections);
}

static void records_that_do_not_continue_the_chain_are_not_stored(void **state)
{
    struct fixture *f = *state;
    append(f, 5);
    atomic_store(&f->leader.manner, MANNER_LIES);
    follow(f, NULL);
    wait_for(f, has_parted);
    assert_non_null(strstr(status_of(f).reason, "from 1 on does not continue this one"));
    assert_int_equal(journal_head(f->journal), 0);
}

static void the_leader_is_asked_for_its_id_before_there_is_a_log(void **state)
{
    struct fixture *f = *state;
    struct journal_id id, expected = journal_id(f->leader.journal);
    char error[REPLICA_ERROR_SIZE] = "";
    append(f, 5);
    assert_ok(replica_ask_leader(f->leader.url, "secret", 5000, &id, error));
    assert_memory_equal(id.bytes, expected.bytes, sizeof(id.bytes));
    assert_string_equal(f->leader.authorization, "Authorization: Bearer secret");
    atomic_store(&f->leader.manner, MANNER_MUTE);
    assert_int_equal(replica_ask_leader(f->leader.url, NULL, 100, &id, error), REPLICA_E_UNREACHABLE);
    assert_string_equal(error, "the leader was silent for too long");
    assert_int_equal(replica_ask_leader("http://127.0.0.1:1", NULL, 100, &id, error), REPLICA_E_UNREACHABLE);
    assert_non_null(strstr(error, "cannot be reached"));
}

static void an_address_that_is_none_is_refused(void **state)
{
    static const char *const urls[] = {"",           "127.0.0.1:7070", "ftp://x", "http://", "http://x/path",
                                       "http://u@x", "http://a b"};
    struct journal_id id;
    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        char error[REPLICA_ERROR_SIZE] = "";
        assert_int_equal(replica_ask_leader(urls[i], NULL, 10, &id, error), REPLICA_E_URL);
        assert_non_null(strstr(error, "is no leader's address"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define REPLICA_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        REPLICA_TEST(a_follower_catches_up_and_then_keeps_up),
        REPLICA_TEST(a_follower_refuses_writes_of_its_own),
        REPLICA_TEST(a_connection_that_breaks_again_and_again_still_brings_everything),
        REPLICA_TEST(a_silent_leader_is_left_and_asked_again),
        REPLICA_TEST(a_leader_that_keeps_failing_is_not_asked_while_the_breaker_is_open),
        REPLICA_TEST(a_leader_that_comes_back_is_followed_again),
        REPLICA_TEST(rubbish_is_not_stored),
        REPLICA_TEST(a_leader_with_another_journal_is_not_followed),
        REPLICA_TEST(a_leader_that_lost_its_end_is_not_followed),
        REPLICA_TEST(records_that_do_not_continue_the_chain_are_not_stored),
        REPLICA_TEST(the_leader_is_asked_for_its_id_before_there_is_a_log),
        REPLICA_TEST(an_address_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
