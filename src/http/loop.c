/* The loop: one thread, one epoll set of our own, in which libmicrohttpd's epoll descriptor is one member among others.
 *
 * libmicrohttpd is always called with a timeout of nothing (MHD_run()), so that it never sleeps by itself: the epoll
 * thread that 0.9.75 can run collects events 128 at a time and, when exactly 128 were ready, goes to sleep before it has
 * handled them. We also accept ourselves, so that a connection too many is told so instead of left waiting. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/internal.h"

enum {
    EVENT_COUNT = 64,   /* events taken from the kernel at once */
    ACCEPT_COUNT = 64,  /* connections accepted before others get their turn */
    SURPLUS_COUNT = 64, /* connections above the limit that still get a proper 503 */
    LISTEN_BACKLOG = 1024,
    SWEEP_MS = 100,        /* between two looks at deadlines */
    ACCEPT_PAUSE_MS = 100, /* without file descriptors */
    POLLED_PAUSE_MS = 1,
    UNSENT_SIZE_MAX = 128 * 1024, /* kept in the kernel for a client, besides what is on its way to it */
};

uint64_t http_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t http_now_ms(void)
{
    return http_now_us() / 1000;
}

bool http_on_loop(const struct http *http)
{
    return !http->running || pthread_equal(http->loop, pthread_self());
}

static void loop_wake(struct http *http)
{
    uint64_t one = 1;
    ssize_t written = write(http->wake_fd, &one, sizeof(one)); /* full means: it will wake anyway */

    (void)written;
}

static void tasks_run(struct http *http);

/* ---- life ---- */

static int loop_watch(struct http *http, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? error_from_errno() : 0;
}

int http_new(const struct http_options *options, struct http **ret_http)
{
    struct http *http = calloc(1, sizeof(*http));
    int r;

    if (!http)
        return -ENOMEM;
    http->options = *options;
    http->listen_fd = http->epoll_fd = http->wake_fd = -1;
    http->tasks_tail = &http->tasks;
    pthread_mutex_init(&http->lock, NULL);
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = http->epoll_fd < 0 || http->wake_fd < 0 ? error_from_errno() : 0;
    if (r == 0)
        r = loop_watch(http, http->wake_fd);
    if (r == 0)
        r = connection_daemon_start(http);
    if (r == 0)
        r = loop_watch(http, MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    if (r == 0)
        r = pool_init(&http->pool, options->limits.worker_count, options->limits.worker_queue_count_max);
    if (r < 0)
        http_free(http);
    else
        *ret_http = http;
    return r;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    http->running = false;
    pool_deinit(&http->pool);
    tasks_run(http); /* what the workers left behind */
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    if (http->listen_fd >= 0)
        close(http->listen_fd);
    request_spares_free(http);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    if (http->epoll_fd >= 0)
        close(http->epoll_fd);
    pthread_mutex_destroy(&http->lock);
    free(http->timers);
    free(http);
}

/* ---- accepting ---- */

static int address_parse(const char *text, uint16_t port, struct sockaddr_storage *ret_address,
                         socklen_t *ret_size)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;

    memset(ret_address, 0, sizeof(*ret_address));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *ret_size = sizeof(*v4);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *ret_size = sizeof(*v6);
        return 0;
    }
    return -EINVAL;
}

static uint16_t socket_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                              : ((struct sockaddr_in6 *)&address)->sin6_port);
}

int http_listen(struct http *http, const char *address, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_storage to;
    socklen_t size;
    int on = 1;
    int r = address_parse(address, port, &to, &size);

    if (r < 0)
        return r;
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_from_errno();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
               sizeof(on)); /* a restart need not wait for old connections */
    if (bind(fd, (struct sockaddr *)&to, size) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        r = error_from_errno();
        close(fd);
        return r;
    }
    *ret_port = socket_port(fd);
    return http_listen_socket(http, fd);
}

int http_listen_socket(struct http *http, int fd)
{
    http->listen_fd = fd;
    return loop_watch(http, fd);
}

static void accept_again(struct http_task *task)
{
    struct http *http = (struct http *)((char *)task - offsetof(struct http, accept_timer.task));

    if (http->listen_fd >= 0)
        loop_watch(http, http->listen_fd);
    http->accept_paused = false;
}

/* No descriptors left: look away for a moment, for the listening socket would stay ready all the time. */
static void accept_pause(struct http *http)
{
    epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, http->listen_fd, NULL);
    http->accept_paused = true;
    http->accept_timer.task.run = accept_again;
    if (http_timer_set(http, &http->accept_timer, ACCEPT_PAUSE_MS) < 0)
        accept_again(&http->accept_timer.task);
}

static void accept_refuse(struct http *http, int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    ssize_t sent = send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void)sent; /* a courtesy */
    close(fd);
    http->counters.connections_refused++;
}

static void accept_one(struct http *http, int fd, const struct sockaddr *address, socklen_t size)
{
    int on = 1, unsent_size_max = UNSENT_SIZE_MAX;
    unsigned user_timeout_ms = (unsigned)http->options.limits.write_ms_max;

    http->counters.connections++;
    http->next_is_surplus = !pressure_make_place(http);
    if (http->connection_count - http->leaving_count >=
        http->options.limits.connection_count_max + SURPLUS_COUNT) {
        accept_refuse(http, fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_size_max, sizeof(unsent_size_max));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (MHD_add_connection(http->daemon, fd, address, size) != MHD_YES)
        http->counters.connections_refused++; /* the socket is closed already */
}

static void accept_many(struct http *http)
{
    for (int i = 0; i < ACCEPT_COUNT; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof(address);
        int fd = accept4(http->listen_fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(http, fd, (struct sockaddr *)&address, size);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(http);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* ---- tasks ---- */

void http_post(struct http *http, struct http_task *task)
{
    bool first;

    task->next = NULL;
    pthread_mutex_lock(&http->lock);
    first = http->tasks == NULL;
    *http->tasks_tail = task;
    http->tasks_tail = &task->next;
    pthread_mutex_unlock(&http->lock);
    if (first) /* else somebody has woken the loop already and it has not looked yet */
        loop_wake(http);
}

static void tasks_run(struct http *http)
{
    struct http_task *task;

    pthread_mutex_lock(&http->lock);
    task = http->tasks;
    http->tasks = NULL;
    http->tasks_tail = &http->tasks;
    pthread_mutex_unlock(&http->lock);
    while (task) {
        struct http_task *next = task->next;
        task->run(task);
        task = next;
    }
}

int http_work(struct http *http, struct http_task *task)
{
    return pool_submit(&http->pool, task) == 0 ? 0 : HTTP_E_BUSY;
}

/* ---- running ---- */

void http_drain(struct http *http)
{
    http->draining = true;
    loop_wake(http);
}

bool http_draining(const struct http *http)
{
    return http->draining;
}

static void drain_begin(struct http *http)
{
    http->drain_begun = true;
    http->drain_deadline_ms = http_now_ms() + http->options.limits.drain_ms_max;
    close(http->listen_fd);
    http->listen_fd = -1;
    connection_drain(http, false);
    if (http->options.drained)
        http->options.drained(http->options.user);
}

/* libmicrohttpd counts a polled request as work at hand and would be called again and again for it. What else it has to do
 * shows in that it did something in its last run, or sends a file; only a header larger than what was read at once does not,
 * and waits here for POLLED_PAUSE_MS. */
static int loop_timeout_ms(struct http *http, uint64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG mhd_ms;
    int timeout_ms = timers_timeout_ms(http, now_ms);

    if (http->connection_count > 0 && (timeout_ms < 0 || timeout_ms > SWEEP_MS))
        timeout_ms = SWEEP_MS;
    if (http->polled_count > 0 && !http->stirred && http->file_count == 0)
        return timeout_ms < POLLED_PAUSE_MS ? timeout_ms : POLLED_PAUSE_MS;
    if (MHD_get_timeout(http->daemon, &mhd_ms) == MHD_YES &&
        (timeout_ms < 0 || mhd_ms < (unsigned)timeout_ms))
        timeout_ms = (int)mhd_ms;
    return timeout_ms;
}

static void loop_event(struct http *http, const struct epoll_event *event)
{
    uint64_t count;

    if (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        connection_left(http, event->data.fd);
    } else if (event->data.fd == http->wake_fd) {
        ssize_t size = read(http->wake_fd, &count, sizeof(count));
        (void)size;
    } else if (event->data.fd == http->listen_fd) {
        accept_many(http);
    }
    /* Else it is libmicrohttpd's, which gets its turn each time round. */
}

static int loop_turn(struct http *http)
{
    struct epoll_event events[EVENT_COUNT];
    uint64_t now_ms = http_now_ms();
    int count = epoll_wait(http->epoll_fd, events, EVENT_COUNT, loop_timeout_ms(http, now_ms));

    if (count < 0 && errno != EINTR)
        return error_from_errno();
    http->now_ms = now_ms = http_now_ms();
    for (int i = 0; i < count; i++)
        loop_event(http, &events[i]);
    tasks_run(http);
    timers_run(http, now_ms);
    if (now_ms >= http->sweep_ms) {
        connection_sweep(http, now_ms);
        pressure_sweep(http, now_ms);
        http->sweep_ms = now_ms + SWEEP_MS;
    }
    http->stirred = false;
    return MHD_run(http->daemon) == MHD_YES ? 0 : -EIO;
}

/* At the deadline every connection is ended; requests still worked on elsewhere may yet answer into the void. One that
 * nobody answers is a bug, but no reason to stay for ever: true, with -ETIMEDOUT. */
static bool drain_overdue(struct http *http, int *ret_failure)
{
    uint64_t now_ms = http_now_ms();

    if (now_ms > http->drain_deadline_ms)
        connection_drain(http, true);
    if (now_ms <= http->drain_deadline_ms + http->options.limits.drain_ms_max)
        return false;
    *ret_failure = -ETIMEDOUT;
    return true;
}

int http_run(struct http *http)
{
    int r = 0;

    http->loop = pthread_self();
    http->now_ms = http_now_ms();
    http->running = true;
    for (;;) {
        if (http->draining && !http->drain_begun)
            drain_begin(http);
        if (http->drain_begun &&
            (http->connection_count + http->orphan_count == 0 || drain_overdue(http, &r)))
            return r;
        r = loop_turn(http);
        if (r < 0)
            return r;
    }
}

/* ---- queries ---- */

void http_counters(const struct http *http, struct http_counters *ret_counters)
{
    struct http_counters counters = {
        .connections = http->counters.connections,
        .connections_open = http->counters.connections_open,
        .connections_refused = http->counters.connections_refused,
        .connections_timed_out = http->counters.connections_timed_out,
        .connections_evicted = http->counters.connections_evicted,
        .connections_pressed = http->counters.connections_pressed,
        .bodies_size = http->counters.bodies_size,
        .bodies_refused = http->counters.bodies_refused,
        .answers_size = http->counters.answers_size,
        .answers_refused = http->counters.answers_refused,
        .requests = http->counters.requests,
        .requests_open = http->counters.requests_open,
        .bytes_received = http->counters.bytes_received,
        .worker_queue = pool_queue_count((struct pool *)&http->pool),
    };

    for (size_t i = 0; i < 6; i++)
        counters.answers[i] = http->counters.answers[i];
    *ret_counters = counters;
}

const struct http_limits *http_limits(const struct http *http)
{
    return &http->options.limits;
}
