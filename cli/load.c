/* The load generator: one epoll loop. It shares its cores with what it measures, so it does little: a request is made by
 * copying, an answer is read with one call, and only its status and length are looked at. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "load.h"
#include "os/clock.h"

enum { HEAD_SIZE_MAX = 16384, EVENT_COUNT = 256 };

static const uint64_t POLL_NS_MAX = 100000000;

struct connection {
    int fd;
    struct buffer request;
    size_t sent;
    char head[HEAD_SIZE_MAX];
    size_t head_size;
    size_t body_left;
    bool in_body;
    int status;
    uint64_t began_ns; /* its latency counts from here */
    struct connection *next_idle;
};

struct load {
    const struct load_options *options;
    struct load_result *result;
    struct connection *connections;
    struct connection *idle; /* open: with nothing to do */
    int epoll;
    uint64_t next_index, began_ns, count_from_ns, until_ns;
};

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

/* Where the server is: an address, a name, or the path of a socket. */
static int find_server(const char *url, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct sockaddr_un *local = (struct sockaddr_un *)ret_address;
    struct addrinfo *list;
    char host[256], port[8] = "80";

    *ret_address = (struct sockaddr_storage){0};
    if (strncmp(url, "unix:", 5) == 0) {
        size_t size = strlen(url + 5);
        if (size == 0 || size >= sizeof local->sun_path)
            return -EINVAL;
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, url + 5, size);
        *ret_size = sizeof *local;
        return 0;
    }
    if (sscanf(url, "http://[%255[0-9a-fA-F:.]]:%7[0-9]", host, port) < 1 && sscanf(url, "http://%255[^:/]:%7[0-9]", host, port) < 1)
        return -EINVAL;
    if (getaddrinfo(host, port, &hints, &list) != 0)
        return -EINVAL;
    memcpy(ret_address, list->ai_addr, list->ai_addrlen);
    *ret_size = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

static int open_connection(struct load *load, struct connection *connection,
                           const struct sockaddr_storage *address, socklen_t size)
{
    int on = 1;

    connection->fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (const struct sockaddr *)address, size) < 0)
        return -errno;
    if (address->ss_family != AF_UNIX)
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    return epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0 ? -errno : 0;
}

/* Requests are small against a socket's buffer; what does not fit at once is sent blockingly. */
static int send_request(struct load *load, struct connection *connection, uint64_t began_ns)
{
    buffer_clear(&connection->request);
    int r = load->options->request(load->options->user, load->next_index++, &connection->request);
    if (r < 0)
        return r;
    connection->head_size = connection->body_left = 0;
    connection->in_body = false;
    connection->began_ns = began_ns;
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

    /* Open, what was due earlier and comes late is not spared. */
    uint64_t from = load->options->rate > 0 ? now : connection->began_ns;
    if (from < load->count_from_ns || now > load->until_ns)
        return;
    if (connection->status / 100 == 2)
        result->requests++;
    else
        result->refused++;
    result->histogram[bucket_of(now - connection->began_ns)]++;
}

/* ---- when the next one is asked ---- */

/* Open: when request number `index` is due. */
static uint64_t due_ns(const struct load *load, uint64_t index)
{
    return load->began_ns + index * 1000000000 / load->options->rate;
}

/* A connection has nothing to do: what is due next, or the next one at once. */
static int ask_again(struct load *load, struct connection *connection, uint64_t now)
{
    if (now >= load->until_ns)
        return 0;
    if (load->options->rate == 0)
        return send_request(load, connection, now);
    uint64_t due = due_ns(load, load->next_index);
    if (due <= now)
        return send_request(load, connection, due);
    connection->next_idle = load->idle;
    load->idle = connection;
    return 0;
}

/* Open: all that is due and has a connection. */
static int ask_due(struct load *load, uint64_t now)
{
    int r = 0;

    while (r == 0 && load->idle && due_ns(load, load->next_index) <= now) {
        struct connection *connection = load->idle;
        load->idle = connection->next_idle;
        r = send_request(load, connection, due_ns(load, load->next_index));
    }
    return r;
}

/* How long there is nothing to do but to wait for answers. */
static uint64_t wait_ns(const struct load *load, uint64_t now)
{
    uint64_t until = load->until_ns;

    if (load->idle && due_ns(load, load->next_index) < until)
        until = due_ns(load, load->next_index);
    if (until <= now)
        return 0;
    return until - now < POLL_NS_MAX ? until - now : POLL_NS_MAX;
}

/* ---- answers ---- */

/* The value of Content-Length between the first line and `end`; NULL: there is none. */
static const char *find_length(const char *line, const char *end)
{
    static const char name[] = "content-length:";

    while ((line = memchr(line, '\n', (size_t)(end - line)))) {
        line++;
        if ((*line | 0x20) == 'c' && strncasecmp(line, name, sizeof name - 1) == 0)
            return line + sizeof name - 1;
    }
    return NULL;
}

static int read_head(struct connection *connection, size_t *ret_extra)
{
    const char *head = connection->head;
    const char *end = memmem(head, connection->head_size, "\r\n\r\n", 4);

    if (!end)
        return connection->head_size + 1 >= HEAD_SIZE_MAX ? -EMSGSIZE : 0;
    size_t size = (size_t)(end - head) + 4;
    const char *length = find_length(head, end);
    if (!length || size < 16 || memcmp(head, "HTTP/1.", 7) != 0)
        return -EBADMSG;
    connection->status = (int)strtoul(head + 9, NULL, 10);
    connection->body_left = strtoull(length, NULL, 10);
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
    uint64_t now = os_monotonic_ns();
    count_answer(load, connection, now);
    return ask_again(load, connection, now);
}

/* Waiting ends when it should: what it takes longer, somebody else had our core. */
static int wait_for_answers(struct load *load, struct epoll_event *events, uint64_t *now)
{
    uint64_t wait = wait_ns(load, *now);
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
    int count = epoll_pwait2(load->epoll, events, EVENT_COUNT, &timeout, NULL);
    uint64_t then = os_monotonic_ns();

    if (then > *now + wait && then - *now - wait > load->result->stall_ns)
        load->result->stall_ns = then - *now - wait;
    *now = then;
    return count;
}

static int loop(struct load *load)
{
    struct epoll_event events[EVENT_COUNT];
    uint64_t now = os_monotonic_ns();

    while (now < load->until_ns) {
        int count = wait_for_answers(load, events, &now);
        int r = 0;
        for (int i = 0; r == 0 && i < count; i++)
            r = read_answer(load, events[i].data.ptr);
        if (r == 0 && load->options->rate > 0)
            r = ask_due(load, now);
        if (r < 0)
            return r;
    }
    return 0;
}

static int start(struct load *load)
{
    struct sockaddr_storage address;
    socklen_t size;
    int r = find_server(load->options->url, &address, &size);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < load->options->client_count; i++) {
        load->connections[i].fd = -1;
        r = open_connection(load, &load->connections[i], &address, size);
        if (r < 0)
            return r;
    }
    load->began_ns = os_monotonic_ns();
    load->count_from_ns = load->began_ns + load->options->warmup_ms * 1000000;
    load->until_ns = load->count_from_ns + load->options->duration_ms * 1000000;
    for (unsigned i = 0; i < load->options->client_count && r == 0; i++)
        r = ask_again(load, &load->connections[i], os_monotonic_ns());
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
    if (r == 0 && options->rate > 0 && due_ns(&load, load.next_index) < load.until_ns)
        ret_result->missed = (load.until_ns - due_ns(&load, load.next_index)) * options->rate / 1000000000;
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
