/* Fan-out: so many subscribers, appends at a steady rate, and how long each event is on its way to each of them.
 *
 *     fan_out PORT SUBSCRIBERS APPENDS-PER-SECOND SECONDS
 *
 * One epoll loop: it appends on one connection, an event with the time in its data, and counts from there to the moment each
 * subscriber's socket has handed the event over. Prints one line of JSON: microseconds at the 50th, 99th and 99.9th of a
 * hundred, and how long the loop itself was late, for it shares its cores with what it measures. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_COUNT = 256, PIECE_SIZE = 65536, POLL_MS = 1, SETTLE_NS = 2000000000 };

static const char mark[] = "\"at\":";

/* Where a subscriber is in its text: how much of the mark was seen, then the number behind it. */
struct subscriber {
    int fd;
    size_t seen;
    uint64_t number;
};

struct bench {
    struct subscriber *subscribers;
    size_t count, ready;
    int epoll, appender;
    uint16_t port;
    uint32_t *delays_us; /* of each delivery */
    size_t delivered, capacity;
    uint64_t appended, late_ns_max;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int open_connection(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        err(3, "cannot connect to port %u", port);
    return fd;
}

static void send_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        if (sent < 0)
            err(3, "cannot send");
        text += sent;
        size -= (size_t)sent;
    }
}

static void subscribe(struct bench *bench, size_t index)
{
    static const char request[] =
        "GET /v1/events?type=Timed HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    struct subscriber *subscriber = &bench->subscribers[index];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = subscriber};

    subscriber->fd = open_connection(bench->port);
    send_all(subscriber->fd, request, sizeof(request) - 1);
    if (epoll_ctl(bench->epoll, EPOLL_CTL_ADD, subscriber->fd, &event) < 0)
        err(3, "epoll_ctl");
}

static void note(struct bench *bench, uint64_t at_ns, uint64_t arrived_ns)
{
    if (bench->delivered == bench->capacity)
        return; /* an event more than was appended: the check at the end says so */
    bench->delays_us[bench->delivered++] = arrived_ns > at_ns ? (uint32_t)((arrived_ns - at_ns) / 1000) : 0;
}

static void take(struct bench *bench, struct subscriber *subscriber, const char *text, size_t size,
                 uint64_t arrived_ns)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (subscriber->seen < sizeof(mark) - 1) {
            subscriber->seen = c == mark[subscriber->seen] ? subscriber->seen + 1 : c == mark[0];
        } else if (c >= '0' && c <= '9') {
            subscriber->number = subscriber->number * 10 + (uint64_t)(c - '0');
        } else {
            note(bench, subscriber->number, arrived_ns);
            subscriber->seen = 0;
            subscriber->number = 0;
        }
    }
}

/* A subscriber is ready once it was told that it has caught up. */
static void poll_once(struct bench *bench, bool counting)
{
    static char piece[PIECE_SIZE];
    struct epoll_event events[EVENT_COUNT];
    int count = epoll_wait(bench->epoll, events, EVENT_COUNT, POLL_MS);

    for (int i = 0; i < count; i++) {
        struct subscriber *subscriber = events[i].data.ptr;
        ssize_t size = recv(subscriber->fd, piece, sizeof(piece) - 1, 0);
        if (size <= 0)
            errx(3, "a subscription has ended");
        piece[size] = '\0';
        if (counting)
            take(bench, subscriber, piece, (size_t)size, now_ns());
        else if (strstr(piece, "daybook.caught-up"))
            bench->ready++;
    }
}

static void append(struct bench *bench)
{
    char body[128], request[512], answer[2048];
    int size = snprintf(body, sizeof(body),
                        "{\"events\":[{\"type\":\"Timed\",\"data\":{\"at\":%" PRIu64 "}}]}", now_ns());

    size = snprintf(request, sizeof(request),
                    "POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n%s",
                    size, body);
    send_all(bench->appender, request, (size_t)size);
    bench->appended++;
    while (recv(bench->appender, answer, sizeof(answer), MSG_DONTWAIT) > 0) {
    } /* answers of those before */
}

static void run(struct bench *bench, uint64_t per_second, uint64_t seconds)
{
    uint64_t step_ns = 1000000000 / per_second, total = per_second * seconds, due_ns = now_ns();

    while (bench->appended < total) {
        uint64_t late_ns = now_ns();
        if (late_ns < due_ns) {
            poll_once(bench, true);
            continue;
        }
        if (late_ns - due_ns > bench->late_ns_max)
            bench->late_ns_max = late_ns - due_ns;
        append(bench);
        due_ns += step_ns;
    }
    for (uint64_t until_ns = now_ns() + SETTLE_NS;
         bench->delivered < total * bench->count && now_ns() < until_ns;)
        poll_once(bench, true);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static uint32_t at(const struct bench *bench, size_t of_thousand)
{
    return bench->delivered ? bench->delays_us[(bench->delivered - 1) * of_thousand / 1000] : 0;
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 5)
        errx(2, "usage: fan_out PORT SUBSCRIBERS APPENDS-PER-SECOND SECONDS");
    uint64_t per_second = strtoull(arguments[3], NULL, 10), seconds = strtoull(arguments[4], NULL, 10);
    struct bench bench = {.port = (uint16_t)strtoul(arguments[1], NULL, 10),
                          .count = strtoul(arguments[2], NULL, 10),
                          .epoll = epoll_create1(0)};

    bench.capacity = bench.count * per_second * seconds + 1;
    bench.subscribers = calloc(bench.count, sizeof(*bench.subscribers));
    bench.delays_us = calloc(bench.capacity, sizeof(*bench.delays_us));
    if (!bench.subscribers || !bench.delays_us || bench.epoll < 0)
        err(3, "cannot begin");
    for (size_t i = 0; i < bench.count; i++)
        subscribe(&bench, i);
    while (bench.ready < bench.count)
        poll_once(&bench, false);
    bench.appender = open_connection(bench.port);
    run(&bench, per_second, seconds);
    qsort(bench.delays_us, bench.delivered, sizeof(*bench.delays_us), compare);
    printf("{\"subscribers\":%zu,\"appended\":%" PRIu64 ",\"delivered\":%zu,\"expected\":%" PRIu64
           ",\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u,\"stall_us\":%" PRIu64 "}\n",
           bench.count, bench.appended, bench.delivered, bench.appended * bench.count, at(&bench, 500),
           at(&bench, 990), at(&bench, 999), at(&bench, 1000), bench.late_ns_max / 1000);
    return bench.delivered == bench.appended * bench.count ? 0 : 1;
}
