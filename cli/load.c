/* The load generator: one epoll loop over non-blocking sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

enum { HEAD_SIZE_MAX = 16384, POLL_MS = 100 };

struct connection {
    int fd;
    struct buffer request;
    size_t sent;
    char head[HEAD_SIZE_MAX];
    size_t head_size;
    size_t body_left;
    bool in_body;
    int status;
    uint64_t began_ns;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    struct connection *connections;
    int epoll;
    uint64_t next_index, began_ns, count_from_ns, until_ns;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A bucket keeps the highest six bits: bucket / 64 is how far they were shifted. */
static size_t bucket_of(uint64_t ns)
{
    unsigned high = ns < 64 ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 5;
    size_t bucket = (size_t)high * 64 + (size_t)(ns >> high);

    return bucket < LOAD_BUCKET_COUNT ? bucket : LOAD_BUCKET_COUNT - 1;
}

double load_percentile_us(const struct load_result *result, unsigned permille)
{
    uint64_t wanted = (result->requests + result->refused) * permille / 1000;
    uint64_t seen = 0;

    for (size_t i = 0; i < LOAD_BUCKET_COUNT; i++) {
        seen += result->histogram[i];
        if (seen > wanted || (seen > 0 && seen == wanted && permille == 1000))
            return (double)((uint64_t)(i % 64) << (i / 64)) / 1000.0;
    }
    return 0;
}

static int parse_url(const char *url, struct sockaddr_in *ret_address)
{
    char host[64];
    unsigned port = 80;

    if (sscanf(url, "http://%63[0-9.]:%u", host, &port) < 1 || port > 65535)
        return -EINVAL;
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &ret_address->sin_addr) == 1 ? 0 : -EINVAL;
}

static int open_connection(struct load *load, struct connection *connection,
                           const struct sockaddr_in *address)
{
    int on = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (const struct sockaddr *)address, sizeof *address) < 0)
        return -errno;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0 ? -errno : 0;
}

/* Requests are small against a socket's buffer; what does not fit at once is sent blockingly. */
static int send_request(struct load *load, struct connection *connection)
{
    buffer_clear(&connection->request);
    int r = load->options->request(load->options->user, load->next_index++, &connection->request);
    if (r < 0)
        return r;
    connection->head_size = connection->body_left = 0;
    connection->in_body = false;
    connection->began_ns = now_ns();
    for (connection->sent = 0; connection->sent < connection->request.size;) {
        ssize_t size = send(connection->fd, connection->request.data + connection->sent,
                            connection->request.size - connection->sent, MSG_NOSIGNAL);
        if (size < 0 && errno != EINTR)
            return -errno;
        connection->sent += size > 0 ? (size_t)size : 0;
    }
    return 0;
}

static void count_answer(struct load *load, const struct connection *connection, uint64_t now)
{
    struct load_result *result = load->result;

    if (connection->began_ns < load->count_from_ns || now > load->until_ns)
        return;
    if (connection->status / 100 == 2)
        result->requests++;
    else
        result->refused++;
    result->histogram[bucket_of(now - connection->began_ns)]++;
}

static int read_head(struct connection *connection, size_t *ret_extra)
{
    connection->head[connection->head_size] = '\0';
    char *end = strstr(connection->head, "\r\n\r\n");
    if (!end)
        return connection->head_size + 1 >= HEAD_SIZE_MAX ? -EMSGSIZE : 0;
    size_t size = (size_t)(end - connection->head) + 4;
    const char *length = strcasestr(connection->head, "\ncontent-length:");
    if (sscanf(connection->head, "HTTP/1.%*d %d", &connection->status) != 1 || !length || length > end)
        return -EBADMSG;
    connection->body_left = strtoull(length + 16, NULL, 10);
    *ret_extra = connection->head_size - size;
    connection->in_body = true;
    return 0;
}

static int read_answer(struct load *load, struct connection *connection)
{
    char scratch[65536];
    char *into = connection->in_body ? scratch : connection->head + connection->head_size;
    size_t room = connection->in_body ? sizeof scratch : HEAD_SIZE_MAX - 1 - connection->head_size;
    ssize_t size = recv(connection->fd, into, room, 0);

    if (size == 0)
        return -ECONNRESET;
    if (size < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    size_t got = (size_t)size;
    if (!connection->in_body) {
        connection->head_size += got;
        got = 0;
        int r = read_head(connection, &got);
        if (r < 0 || !connection->in_body)
            return r;
    }
    if (got > connection->body_left)
        return -EBADMSG;
    connection->body_left -= got;
    load->result->bytes += got;
    if (connection->body_left > 0)
        return 0;
    uint64_t now = now_ns();
    count_answer(load, connection, now);
    return now < load->until_ns ? send_request(load, connection) : 0;
}

static int loop(struct load *load)
{
    struct epoll_event events[256];

    while (now_ns() < load->until_ns) {
        int count = epoll_wait(load->epoll, events, 256, POLL_MS);
        for (int i = 0; i < count; i++) {
            int r = read_answer(load, events[i].data.ptr);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int start(struct load *load)
{
    struct sockaddr_in address;
    int r = parse_url(load->options->url, &address);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < load->options->client_count; i++) {
        load->connections[i].fd = -1;
        r = open_connection(load, &load->connections[i], &address);
        if (r < 0)
            return r;
    }
    load->began_ns = now_ns();
    load->count_from_ns = load->began_ns + load->options->warmup_ms * 1000000;
    load->until_ns = load->count_from_ns + load->options->duration_ms * 1000000;
    for (unsigned i = 0; i < load->options->client_count && r == 0; i++)
        r = send_request(load, &load->connections[i]);
    return r;
}

int load_run(const struct load_options *options, struct load_result *ret_result)
{
    struct load load = {.options = options, .result = ret_result};

    memset(ret_result, 0, sizeof *ret_result);
    load.connections = calloc(options->client_count, sizeof *load.connections);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!load.connections || load.epoll < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < options->client_count; i++)
        load.connections[i].fd = -1;
    int r = start(&load);
    if (r == 0)
        r = loop(&load);
    ret_result->elapsed_ns = load.options->duration_ms * 1000000;
    if (r < 0)
        snprintf(ret_result->error, sizeof ret_result->error, "%s: %s", options->url, strerror(-r));
    for (unsigned i = 0; i < options->client_count; i++) {
        if (load.connections[i].fd >= 0)
            close(load.connections[i].fd);
        buffer_deinit(&load.connections[i].request);
    }
    free(load.connections);
    close(load.epoll);
    return r;
}
