/* http, alive: a server on a port of its own and clients that speak over bare sockets. */

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/http.h"

enum { ANSWER_SIZE_MAX = 1 << 20, WAIT_S = 10, LARGE_SIZE = 16 << 20 /* more than sockets take */ };

/* ---- the server under test ---- */

struct fixture {
    struct http *http;
    pthread_t thread;
    uint16_t port;
};

static void handle_hello(struct http_request *request)
{
    http_answer_text(request, 200, "text/plain", "hello");
}

static void handle_echo(struct http_request *request)
{
    struct buffer body = {0};

    assert_int_equal(buffer_append_bytes(&body, http_request_param(request, 0)), 0);
    assert_int_equal(buffer_append_byte(&body, '|'), 0);
    assert_int_equal(buffer_append_bytes(&body, http_request_body(request)), 0);
    http_answer(request, 201, "text/plain", &body);
}

static void handle_large(struct http_request *request)
{
    struct buffer body = {0};
    uint8_t *text;

    assert_int_equal(buffer_extend(&body, LARGE_SIZE, &text), 0);
    memset(text, 'x', LARGE_SIZE);
    http_header(request, "Cache-Control", "immutable");
    http_answer(request, 200, "text/plain", &body);
}

static void handle_peer(struct http_request *request)
{
    char peer[HTTP_PEER_SIZE];

    http_request_peer(request, peer);
    http_answer_text(request, 200, "text/plain", peer);
}

static void handle_worker(struct http_request *request)
{
    http_header(request, "X-Worker", "yes");
    http_answer_text(request, 200, "text/plain", "from a worker");
}

static void handle_tagged(struct http_request *request)
{
    if (!http_answer_not_modified(request, "7"))
        http_answer_text(request, 200, "text/plain", "seven");
}

/* A stream that counts to ten, sleeping on a timer between two numbers. */
struct counting {
    struct http_request *request;
    struct http_timer timer;
    int next;
    bool awake;
};

static void counting_wake(struct http_task *task)
{
    struct counting *counting = (struct counting *)((char *)task - offsetof(struct counting, timer.task));

    counting->awake = true;
    http_wake(counting->request);
}

static ssize_t counting_read(void *user, uint8_t *buffer, size_t size)
{
    struct counting *counting = user;

    if (counting->next == 10)
        return HTTP_SOURCE_END;
    if (!counting->awake) {
        assert_int_equal(http_timer_set(http_request_server(counting->request), &counting->timer, 1), 0);
        return HTTP_SOURCE_WAIT;
    }
    counting->awake = false;
    return snprintf((char *)buffer, size, "%d;", counting->next++);
}

static void counting_free(void *user)
{
    struct counting *counting = user;

    http_timer_cancel(http_request_server(counting->request), &counting->timer);
}

static void handle_count(struct http_request *request)
{
    static const struct http_source source = {.read = counting_read, .free = counting_free};
    struct counting *counting = http_request_alloc(request, sizeof(*counting));

    assert_non_null(counting);
    counting->request = request;
    counting->timer.task.run = counting_wake;
    http_answer_stream(request, 200, "text/plain", &source, counting);
}

static ssize_t silent_read(void *user, uint8_t *buffer, size_t size)
{
    return HTTP_SOURCE_WAIT;
}

static void handle_silent(struct http_request *request)
{
    static const struct http_source source = {.read = silent_read, .endless = true};

    http_answer_stream(request, 200, "text/plain", &source, NULL);
}

/* Requests that were handed on with the promise of an answer soon: the test gives it when it likes. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct http_request *requests[128];
    size_t count;
} held = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void handle_soon(struct http_request *request)
{
    http_answer_soon(request);
    pthread_mutex_lock(&held.lock);
    held.requests[held.count++] = request;
    pthread_cond_signal(&held.more);
    pthread_mutex_unlock(&held.lock);
}

/* Answer everything that is held once there are `count`. */
static void held_answer(size_t count)
{
    pthread_mutex_lock(&held.lock);
    while (held.count < count)
        pthread_cond_wait(&held.more, &held.lock);
    for (; held.count > 0; held.count--) {
        struct http_request *request = held.requests[held.count - 1];
        struct buffer body = http_answer_buffer(request);
        assert_int_equal(buffer_append_string(&body, "after all"), 0);
        http_answer(request, 200, "text/plain", &body);
    }
    pthread_mutex_unlock(&held.lock);
}

static const struct http_route routes[] = {
    {"GET", "/hello", handle_hello},
    {"GET", "/peer", handle_peer},
    {"POST", "/echo/{word}", handle_echo, .body_size_max = 1000},
    {"POST", "/json", handle_hello, HTTP_JSON},
    {"GET", "/worker", handle_worker, HTTP_BLOCKING},
    {"GET", "/tagged", handle_tagged},
    {"GET", "/count", handle_count},
    {"GET", "/silent", handle_silent},
    {"GET", "/large", handle_large, HTTP_LARGE},
    {"POST", "/large/{word}", handle_echo},
    {"GET", "/soon", handle_soon},
};

static void *serve(void *argument)
{
    struct fixture *fixture = argument;

    assert_int_equal(http_run(fixture->http), 0);
    return NULL;
}

static void start_at(struct fixture *fixture, const char *address, void (*change)(struct http_options *options))
{
    struct http_options options = {.routes = routes,
                                   .route_count = sizeof(routes) / sizeof(routes[0]),
                                   .problem_prefix = "urn:test:",
                                   .log_fd = -1};

    limits_init(http_limit_rows, http_limit_row_count, &options.limits);
    if (change)
        change(&options);
    assert_int_equal(http_new(&options, &fixture->http), 0);
    assert_int_equal(http_listen(fixture->http, address, 0, &fixture->port), 0);
    assert_int_equal(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
}

static void start(struct fixture *fixture, void (*change)(struct http_options *options))
{
    start_at(fixture, "127.0.0.1", change);
}

static void stop(struct fixture *fixture)
{
    http_drain(fixture->http);
    pthread_join(fixture->thread, NULL);
    http_free(fixture->http);
}

/* ---- a client ---- */

static int client_open(const struct fixture *fixture)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fixture->port)};
    struct timeval limit = {.tv_sec = WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything until the server closes, as a string that lives until the next call. */
static const char *client_read_all(int fd)
{
    static char answer[ANSWER_SIZE_MAX];
    size_t size = 0;
    ssize_t got;

    while (size < sizeof(answer) - 1 && (got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0)
        size += (size_t)got;
    answer[size] = '\0';
    return answer;
}

/* Asks once on a connection of its own. */
static const char *ask(const struct fixture *fixture, const char *request)
{
    int fd = client_open(fixture);

    client_send(fd, request);
    const char *answer = client_read_all(fd);
    close(fd);
    return answer;
}

#define REQUEST(line, ...) line " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" __VA_ARGS__ "\r\n"
#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr(text, part))                                                                             \
            fail_msg("«%s» is not in «%s»", part, text);                                                     \
    } while (0)

/* ---- tests ---- */

static void a_route_answers_get_and_head(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "HTTP/1.1 200 OK");
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "\r\n\r\nhello");
    const char *answer = ask(&fixture, REQUEST("HEAD /hello"));
    assert_contains(answer, "Content-Length: 5");
    assert_null(strstr(answer, "\r\n\r\nh"));
    stop(&fixture);
}

static void what_is_wrong_is_said_as_a_problem(void **state)
{
    static const struct {
        const char *request, *status, *part;
    } cases[] = {
        {REQUEST("GET /nowhere"), "404", "\"code\":\"not-found\""},
        {REQUEST("DELETE /hello"), "405", "Allow: GET, HEAD, OPTIONS"},
        {REQUEST("OPTIONS /hello"), "204", "Allow: GET, HEAD, OPTIONS"},
        {REQUEST("GET /echo/%zz"), "400", "path-invalid"},
        {REQUEST("GET /hello?a=%f"), "400", "query-invalid"},
        {REQUEST("GET /hello?a=%ff"), "400", "query-invalid"},
        {REQUEST("POST /json", "Content-Length: 2\r\n") "{}", "415", "json-needed"},
        {REQUEST("POST /echo/a", "Content-Length: 1001\r\nExpect: 100-continue\r\n"), "413",
         "body-too-large"},
        {"GET /hello HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "421", "unknown-host"},
        {"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n", "400", "host-invalid"},
    };
    struct fixture fixture;

    start(&fixture, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = client_open(&fixture);
        client_send(fd, cases[i].request);
        shutdown(fd, SHUT_WR);
        const char *answer = client_read_all(fd);
        if (strncmp(answer + 9, cases[i].status, 3) != 0)
            fail_msg("%s: wanted %s, got %s", cases[i].request, cases[i].status, answer);
        assert_contains(answer, cases[i].part);
        close(fd);
    }
    stop(&fixture);
}

static void a_body_reaches_the_handler_whole_and_segments_are_decoded(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    const char *answer = ask(&fixture, REQUEST("POST /echo/a%2Fb", "Content-Length: 5\r\n") "12345");
    assert_contains(answer, "HTTP/1.1 201");
    assert_contains(answer, "a/b|12345");
    answer = ask(&fixture, REQUEST("POST /echo/x",
                                   "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_contains(answer, "x|abcde");
    stop(&fixture);
}

static void a_worker_may_answer(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    for (int i = 0; i < 100; i++)
        assert_contains(ask(&fixture, REQUEST("GET /worker")), "from a worker");
    stop(&fixture);
}

static void requests_sent_at_once_are_answered_in_order(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    const char *answer =
        ask(&fixture, "GET /worker HTTP/1.1\r\nHost: localhost\r\n\r\n"
                      "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n" REQUEST("GET /worker"));
    const char *first = strstr(answer, "from a worker");
    assert_non_null(first);
    const char *second = strstr(first, "hello");
    assert_non_null(second);
    assert_non_null(strstr(second, "from a worker"));
    stop(&fixture);
}

static void a_stream_waits_and_goes_on(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    const char *answer = ask(&fixture, REQUEST("GET /count"));
    for (char number[] = "0;"; number[0] <= '9'; number[0]++)
        assert_contains(answer, number);
    assert_contains(answer, "\r\n0\r\n\r\n"); /* the end of the chunks */
    stop(&fixture);
}

static void an_entity_tag_saves_the_body(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    assert_contains(ask(&fixture, REQUEST("GET /tagged")), "ETag: \"7\"");
    assert_contains(ask(&fixture, REQUEST("GET /tagged", "If-None-Match: W/\"7\"\r\n")), "HTTP/1.1 304");
    assert_contains(ask(&fixture, REQUEST("GET /tagged", "If-None-Match: \"8\"\r\n")), "HTTP/1.1 200");
    stop(&fixture);
}

/* One limit a server: what is not the matter of a test has its usual, long time, also on a busy machine. */
static void shorten_header(struct http_options *options)
{
    options->limits.header_ms_max = 1000;
}

static void shorten_body(struct http_options *options)
{
    options->limits.body_ms_max = 100;
}

static void shorten_idle(struct http_options *options)
{
    options->limits.idle_ms_max = 100;
}

static void who_is_too_slow_is_told_and_let_go(void **state)
{
    struct fixture fixture;

    start(&fixture, shorten_header);
    assert_contains(ask(&fixture, "GET /hello HT"), "HTTP/1.1 408");
    assert_contains(ask(&fixture, "GET /hello HTTP/1.1\r\nHost: loc"), "header-timeout");
    assert_string_equal(ask(&fixture, ""), "");
    stop(&fixture);
    start(&fixture, shorten_body);
    assert_contains(ask(&fixture, REQUEST("POST /echo/a", "Content-Length: 5\r\n") "123"), "body-timeout");
    stop(&fixture);
    start(&fixture, shorten_idle);
    assert_contains(ask(&fixture, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"), "hello");
    stop(&fixture);
}

static void allow_two(struct http_options *options)
{
    options->limits.connection_count_max = 2;
}

static void one_connection_too_many_gets_503_and_the_others_go_on(void **state)
{
    struct fixture fixture;

    start(&fixture, allow_two);
    int first = client_open(&fixture), second = client_open(&fixture);
    client_send(first, "GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n");
    char byte;
    assert_int_equal(recv(first, &byte, 1, 0), 1); /* both have been accepted, for it is done in order */
    client_send(second, "GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(recv(second, &byte, 1, 0), 1);
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "too-many-connections");
    close(first);
    while (!strstr(ask(&fixture, REQUEST("GET /hello")), "hello"))
        ; /* until it has been noticed that the first is gone */
    close(second);
    stop(&fixture);
}

/* Nothing is lost with a connection on which nothing is asked. */
static void the_connection_unused_for_longest_makes_room_for_a_new_one(void **state)
{
    struct fixture fixture;
    struct http_counters counters;
    char byte;

    start(&fixture, allow_two);
    int first = client_open(&fixture), second = client_open(&fixture);
    for (int i = 0; i < 2; i++) {
        client_send(i == 0 ? first : second, "GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_int_equal(recv(i == 0 ? first : second, &byte, 1, 0), 1);
    }
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "hello");
    client_read_all(first); /* to its end: it has been closed */
    client_send(second, REQUEST("GET /hello"));
    assert_contains(client_read_all(second), "hello");
    http_counters(fixture.http, &counters);
    assert_int_equal(counters.connections_evicted, 1);
    assert_int_equal(counters.answers[5], 0);
    close(first);
    close(second);
    stop(&fixture);
}

static void small_bodies_total(struct http_options *options)
{
    options->limits.bodies_size_max = 262144;
}

static uint64_t bodies_size(const struct fixture *fixture)
{
    struct http_counters counters;

    http_counters(fixture->http, &counters);
    return counters.bodies_size;
}

static void bodies_that_stop_halfway_leave_room_for_small_ones(void **state)
{
    static char half[150000];
    struct fixture fixture;

    memset(half, ' ', sizeof(half) - 1);
    start(&fixture, small_bodies_total);
    int stopped = client_open(&fixture);
    client_send(stopped, "POST /large/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 180000\r\n\r\n");
    client_send(stopped, half);
    while (bodies_size(&fixture) < sizeof(half) - 1)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    const char *refused = ask(&fixture, REQUEST("POST /large/x", "Expect: 100-continue\r\nContent-Length: 100000\r\n"));
    assert_contains(refused, "HTTP/1.1 503");
    assert_contains(refused, "too-many-bodies");
    assert_contains(refused, "Retry-After: 1");
    assert_contains(ask(&fixture, REQUEST("POST /large/x", "Content-Length: 2\r\n") "hi"), "x|hi");
    close(stopped);
    while (bodies_size(&fixture) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    stop(&fixture);
}

static void two_large_answers(struct http_options *options)
{
    options->limits.answers_size_max = 3 * LARGE_SIZE / 2;
}

static uint64_t answers_size(const struct fixture *fixture)
{
    struct http_counters counters;

    http_counters(fixture->http, &counters);
    return counters.answers_size;
}

static void answers_that_nobody_takes_are_bounded_together(void **state)
{
    struct fixture fixture;

    start(&fixture, two_large_answers);
    int lazy = client_open(&fixture);
    client_send(lazy, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    while (answers_size(&fixture) < LARGE_SIZE)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    const char *refused = ask(&fixture, REQUEST("GET /large"));
    assert_contains(refused, "HTTP/1.1 503");
    assert_contains(refused, "too-many-answers");
    assert_contains(refused, "Retry-After: 1");
    if (strstr(refused, "immutable"))
        fail_msg("what was said of the answer is said of its refusal: %s", refused);
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "hello");
    close(lazy);
    while (answers_size(&fixture) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_contains(ask(&fixture, REQUEST("GET /large")), "HTTP/1.1 200");
    stop(&fixture);
}

static bool no_stream_is_open(const struct fixture *fixture)
{
    struct http_counters counters;

    http_counters(fixture->http, &counters);
    return counters.requests_open == 0;
}

/* A suspended connection is not read, so its end must be noticed by other means. */
static void a_client_that_leaves_a_silent_stream_is_noticed(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    int fd = client_open(&fixture);
    char byte;
    client_send(fd, REQUEST("GET /silent"));
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    assert_false(no_stream_is_open(&fixture));
    close(fd);
    for (int i = 0; i < 1000 && !no_stream_is_open(&fixture); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(no_stream_is_open(&fixture));
    stop(&fixture);
}

static void draining_ends_endless_streams_and_idle_connections(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    int stream = client_open(&fixture), idle = client_open(&fixture);
    char byte;
    client_send(stream, REQUEST("GET /silent"));
    assert_int_equal(recv(stream, &byte, 1, 0), 1);
    http_drain(fixture.http);
    pthread_join(fixture.thread, NULL);
    assert_contains(client_read_all(stream), "\r\n0\r\n\r\n");
    assert_string_equal(client_read_all(idle), "");
    close(stream);
    close(idle);
    http_free(fixture.http);
}

/* libmicrohttpd 0.9.75's own loop takes 128 events at a time and sleeps when it got exactly that many. */
static void any_number_of_clients_at_once_is_served(void **state)
{
    struct fixture fixture;
    int fds[130];

    start(&fixture, NULL);
    for (size_t count = 127; count <= 130; count++) {
        for (size_t i = 0; i < count; i++)
            fds[i] = client_open(&fixture);
        for (size_t i = 0; i < count; i++)
            client_send(fds[i], REQUEST("GET /worker"));
        for (size_t i = 0; i < count; i++) {
            assert_contains(client_read_all(fds[i]), "from a worker");
            close(fds[i]);
        }
    }
    stop(&fixture);
}

/* More than are looked for at once: the others' connections are suspended, and all have their answer. */
static void answers_that_come_soon_are_sent_however_many_wait(void **state)
{
    struct fixture fixture;
    int fds[100];

    start(&fixture, NULL);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 100; i++) {
            fds[i] = client_open(&fixture);
            client_send(fds[i], REQUEST("GET /soon"));
        }
        held_answer(100);
        for (size_t i = 0; i < 100; i++) {
            assert_contains(client_read_all(fds[i]), "after all");
            close(fds[i]);
        }
    }
    stop(&fixture);
}

/* The stream takes ten milliseconds at least, longer than anything is looked for. */
static void an_answer_that_was_to_come_soon_may_take_long(void **state)
{
    struct fixture fixture;

    start(&fixture, NULL);
    int fd = client_open(&fixture);
    client_send(fd, REQUEST("GET /soon"));
    assert_contains(ask(&fixture, REQUEST("GET /count")), "9;");
    held_answer(1);
    assert_contains(client_read_all(fd), "after all");
    close(fd);
    stop(&fixture);
}

/* T2: with a reset the connection ends at once, and the request is answered into the void and freed then. */
static void a_request_outlives_its_client_until_it_is_answered(void **state)
{
    const struct linger reset = {.l_onoff = 1};
    struct fixture fixture;
    struct http_counters counters;
    bool outlived = false;

    start(&fixture, NULL);
    for (int tries = 0; tries < 1000 && !outlived; tries++) {
        int fd = client_open(&fixture);
        client_send(fd, REQUEST("GET /soon"));
        pthread_mutex_lock(&held.lock);
        while (held.count == 0)
            pthread_cond_wait(&held.more, &held.lock);
        pthread_mutex_unlock(&held.lock);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        /* Once it is suspended (the machine was busy) its leaving is not noticed: the next try. */
        for (int looks = 0; looks < 10000 && !outlived; looks++) {
            http_counters(fixture.http, &counters);
            outlived = counters.connections_open == 0;
        }
        held_answer(1);
    }
    assert_true(outlived);
    assert_contains(ask(&fixture, REQUEST("GET /hello")), "hello");
    stop(&fixture);
}

/* Asks for its own address, having connected `to` a server there, and compares it with what it is called here. */
static void check_peer(const char *address, struct sockaddr *to, socklen_t size, in_port_t *port)
{
    struct fixture fixture;
    char host[64], service[16], expected[96];
    struct timeval limit = {.tv_sec = WAIT_S};

    start_at(&fixture, address, NULL);
    *port = htons(fixture.port);
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, to, size), 0);
    assert_int_equal(getsockname(fd, to, &size), 0);
    assert_int_equal(getnameinfo(to, size, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV), 0);
    snprintf(expected, sizeof(expected), to->sa_family == AF_INET6 ? "\r\n\r\n[%s]:%s" : "\r\n\r\n%s:%s", host, service);
    client_send(fd, REQUEST("GET /peer"));
    const char *body = strstr(client_read_all(fd), "\r\n\r\n");
    assert_non_null(body);
    assert_string_equal(body, expected);
    close(fd);
    stop(&fixture);
}

static void a_peer_is_told_by_address_and_port(void **state)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has_six = fd >= 0 && bind(fd, (struct sockaddr *)&six, sizeof(six)) == 0; /* containers may lack it */

    if (fd >= 0)
        close(fd);
    check_peer("127.0.0.1", (struct sockaddr *)&four, sizeof(four), &four.sin_port);
    if (has_six)
        check_peer("::1", (struct sockaddr *)&six, sizeof(six), &six.sin6_port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_answers_get_and_head),
        cmocka_unit_test(what_is_wrong_is_said_as_a_problem),
        cmocka_unit_test(a_body_reaches_the_handler_whole_and_segments_are_decoded),
        cmocka_unit_test(a_worker_may_answer),
        cmocka_unit_test(a_peer_is_told_by_address_and_port),
        cmocka_unit_test(requests_sent_at_once_are_answered_in_order),
        cmocka_unit_test(a_stream_waits_and_goes_on),
        cmocka_unit_test(an_entity_tag_saves_the_body),
        cmocka_unit_test(who_is_too_slow_is_told_and_let_go),
        cmocka_unit_test(one_connection_too_many_gets_503_and_the_others_go_on),
        cmocka_unit_test(the_connection_unused_for_longest_makes_room_for_a_new_one),
        cmocka_unit_test(bodies_that_stop_halfway_leave_room_for_small_ones),
        cmocka_unit_test(answers_that_nobody_takes_are_bounded_together),
        cmocka_unit_test(a_client_that_leaves_a_silent_stream_is_noticed),
        cmocka_unit_test(draining_ends_endless_streams_and_idle_connections),
        cmocka_unit_test(answers_that_come_soon_are_sent_however_many_wait),
        cmocka_unit_test(an_answer_that_was_to_come_soon_may_take_long),
        cmocka_unit_test(a_request_outlives_its_client_until_it_is_answered),
        cmocka_unit_test(any_number_of_clients_at_once_is_served),
    };

    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
