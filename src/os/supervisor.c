#include "os/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* A number of the environment; false when it is not there or is none. */
static bool read_number(const char *name, uint64_t *ret_number)
{
    const char *text = getenv(name);

    return text && bytes_parse_u64(bytes_from_string(text), ret_number) == 0;
}

/* For this process, not for one that inherited the environment? */
static bool is_for_us(const char *name)
{
    uint64_t pid;

    return read_number(name, &pid) && pid == (uint64_t)getpid();
}

static bool is_listening(int fd)
{
    int listening = 0, type = 0;
    socklen_t size = sizeof(listening), type_size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_STREAM;
}

int os_supervisor_socket(int *ret_fd)
{
    uint64_t count;

    *ret_fd = -1;
    if (!is_for_us("LISTEN_PID") || !read_number("LISTEN_FDS", &count) || count == 0)
        return 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (count > 1)
        return -E2BIG;
    if (!is_listening(FIRST_FD))
        return -ENOTSOCK;
    if (fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(FIRST_FD, F_SETFL, fcntl(FIRST_FD, F_GETFL) | O_NONBLOCK) < 0)
        return error_from_errno();
    *ret_fd = FIRST_FD;
    return 0;
}

int os_supervisor_tell(const char *state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path ? strlen(path) : 0;

    if (size == 0)
        return 0;
    if ((path[0] != '/' && path[0] != '@') || size >= sizeof(to.sun_path))
        return -EINVAL;
    memcpy(to.sun_path, path, size);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* an abstract name: no file, and its length counts */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_from_errno();
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    int r = sent < 0 ? error_from_errno() : 0;
    close(fd);
    return r;
}

uint64_t os_supervisor_watchdog_us(void)
{
    uint64_t us;

    if (!read_number("WATCHDOG_USEC", &us) || (getenv("WATCHDOG_PID") && !is_for_us("WATCHDOG_PID")))
        return 0;
    return us;
}
