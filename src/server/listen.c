/* Where the server listens: an address and port, a socket in the file system, or one that the service manager made. */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/internal.h"
#include "server/listen.h"

enum { LISTEN_BACKLOG = 1024 };

/* ---- a socket in the file system ---- */

static int fail(char *ret_error, int answer, const char *path, const char *why)
{
    snprintf(ret_error, SERVER_ERROR_SIZE, "cannot listen on unix:%s: %s", path, why);
    return answer;
}

/* What a server left behind that did not come to its end is taken away; nothing else is. */
static int clear_place(const char *path, const struct sockaddr_un *address, char *ret_error)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : fail(ret_error, SERVER_E_START, path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return fail(ret_error, SERVER_E_START, path, "it is there, and is no socket");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(ret_error, SERVER_E_START, path, strerror(errno));
    int reason = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    close(fd);
    if (reason == 0)
        return fail(ret_error, SERVER_E_START, path, "another server listens there");
    if (reason != ECONNREFUSED && reason != ENOENT)
        return fail(ret_error, SERVER_E_START, path, strerror(reason));
    if (unlink(path) < 0 && errno != ENOENT)
        return fail(ret_error, SERVER_E_START, path, strerror(errno));
    return 0;
}

static int listen_unix(struct server *server, const char *path, char *ret_error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(address.sun_path)) {
        snprintf(ret_error, SERVER_ERROR_SIZE, "unix:%s: the path of a socket has 1 to %zu bytes", path,
                 sizeof(address.sun_path) - 1);
        return SERVER_E_USAGE;
    }
    memcpy(address.sun_path, path, size + 1);
    int r = clear_place(path, &address, ret_error);
    if (r != 0)
        return r;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(ret_error, SERVER_E_START, path, strerror(errno));
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ||
        stat(path, &status) < 0) {
        r = fail(ret_error, SERVER_E_START, path, strerror(errno));
        close(fd);
        return r;
    }
    server->socket_device = status.st_dev;
    server->socket_inode = status.st_ino;
    snprintf(server->url, sizeof(server->url), "unix:%s", path);
    return http_listen_socket(server->http, fd);
}

void server_unlisten(const struct server *server)
{
    const char *path = server->options->socket_path;
    struct stat status;

    if (path && server->socket_inode != 0 && lstat(path, &status) == 0 && status.st_dev == server->socket_device &&
        status.st_ino == server->socket_inode)
        (void)unlink(path); /* left behind it is recognized by the next one */
}

/* ---- an address ---- */

static void note_url(struct server *server, const char *address, uint16_t port)
{
    bool v6 = strchr(address, ':') != NULL;

    snprintf(server->url, sizeof(server->url), "http://%s%s%s:%u", v6 ? "[" : "", address, v6 ? "]" : "", port);
}

static int listen_address(struct server *server, const char *address, uint16_t port, char *ret_error)
{
    int r = http_listen(server->http, address, port, &port);

    if (r < 0) {
        snprintf(ret_error, SERVER_ERROR_SIZE, "cannot listen on %s:%u: %s", address, port,
                 r == -EINVAL ? "it is not a numeric address" : strerror(-r));
        return SERVER_E_START;
    }
    note_url(server, address, port);
    return 0;
}

/* ---- a socket that was passed ---- */

int server_socket_address(int fd, char ret_address[SERVER_ADDRESS_SIZE], uint16_t *ret_port)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return error_from_errno();
    ret_address[0] = '\0';
    *ret_port = 0;
    if (address.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, ret_address, SERVER_ADDRESS_SIZE);
        *ret_port = ntohs(v4->sin_port);
    } else if (address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, ret_address, SERVER_ADDRESS_SIZE);
        *ret_port = ntohs(v6->sin6_port);
    } else if (address.ss_family != AF_UNIX) {
        return -EAFNOSUPPORT;
    }
    return 0;
}

static int listen_passed(struct server *server, int fd)
{
    char address[SERVER_ADDRESS_SIZE];
    struct sockaddr_un un = {0};
    socklen_t size = sizeof(un) - 1;
    uint16_t port;
    int r = server_socket_address(fd, address, &port);

    if (r < 0)
        return r;
    if (address[0])
        note_url(server, address, port);
    else if (getsockname(fd, (struct sockaddr *)&un, &size) == 0)
        snprintf(server->url, sizeof(server->url), "unix:%s", un.sun_path);
    return http_listen_socket(server->http, fd);
}

int server_listen(struct server *server, char *ret_error)
{
    const struct server_options *options = server->options;

    if (options->socket_fd > 0)
        return listen_passed(server, options->socket_fd);
    if (options->socket_path)
        return listen_unix(server, options->socket_path, ret_error);
    return listen_address(server, options->address, options->port, ret_error);
}
