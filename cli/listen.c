/* Where to listen, from one word. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "cli.h"
#include "listen.h"
#include "os/supervisor.h"

enum { NAME_SIZE_MAX = 256 };
#define UNIX_PREFIX "unix:"

static char name[NAME_SIZE_MAX], address[SERVER_ADDRESS_SIZE];

static bool is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static int read_port(const char *text, const char *digits, struct server_options *options)
{
    uint64_t port;

    if (bytes_parse_u64(bytes_from_string(digits), &port) != 0 || port > UINT16_MAX)
        return cli_error(CLI_USAGE, "--listen %s: the port is a number from 0 to 65535", text);
    options->port = (uint16_t)port;
    return CLI_DONE;
}

/* "HOST:PORT" in its parts; an IPv6 address has brackets, or no port. */
static int split(const char *text, struct server_options *options)
{
    uint8_t v6[sizeof(struct in6_addr)];
    const char *begin = text, *end = strrchr(text, ':'), *port = end ? end + 1 : NULL;

    if (inet_pton(AF_INET6, text, v6) == 1) {
        end = port = NULL;
    } else if (*text == '[') {
        begin++;
        end = strchr(begin, ']');
        if (!end || (end[1] != ':' && end[1] != '\0'))
            return cli_error(CLI_USAGE, "--listen %s: an IPv6 address is written [ADDRESS]:PORT", text);
        port = end[1] == ':' ? end + 2 : NULL;
    }
    size_t size = end ? (size_t)(end - begin) : strlen(begin);
    if (size == 0 || size >= sizeof name)
        return cli_error(CLI_USAGE, "--listen takes ADDRESS:PORT or unix:PATH, not \"%s\"", text);
    memcpy(name, begin, size);
    name[size] = '\0';
    return port ? read_port(text, port, options) : CLI_DONE;
}

static int resolve(const char *text, struct server_options *options)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    uint8_t bytes[sizeof(struct in6_addr)];
    struct addrinfo *list, *chosen;

    options->address = name;
    if (inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1)
        return CLI_DONE;
    if (strcasecmp(name, "localhost") == 0) { /* RFC 6761 §6.3: loopback, also where no /etc/hosts says so */
        options->address = "127.0.0.1";
        return CLI_DONE;
    }
    int r = getaddrinfo(name, NULL, &hints, &list);
    if (r != 0)
        return cli_error(CLI_USAGE, "--listen %s: \"%s\" is no address, and as a name it is not known (%s)", text, name,
                         r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    for (chosen = list; chosen && chosen->ai_family != AF_INET; chosen = chosen->ai_next)
        ;
    chosen = chosen ? chosen : list;
    r = getnameinfo(chosen->ai_addr, chosen->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    if (r != 0)
        return cli_error(CLI_FAILED, "--listen %s: %s", text, gai_strerror(r));
    options->address = address;
    options->hosts[options->host_count++] = name; /* the first */
    return CLI_DONE;
}

static int take_passed(const char *text, struct server_options *options)
{
    int r = os_supervisor_socket(&options->socket_fd);

    if (r < 0)
        return cli_error(CLI_FAILED, "the service manager passed %s",
                         r == -E2BIG ? "more than one socket; a server takes one"
                         : r == -ENOTSOCK ? "something that is no listening stream socket" : strerror(-r));
    if (options->socket_fd > 0 && text)
        return cli_error(CLI_USAGE, "--listen %s, and a socket was passed by the service manager: it is one or the other", text);
    return CLI_DONE;
}

int cli_read_listen(const char *text, struct server_options *options)
{
    int code = take_passed(text, options);

    if (code != CLI_DONE || !text)
        return code;
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        options->socket_path = text + strlen(UNIX_PREFIX);
        return CLI_DONE;
    }
    if (is_number(text))
        return read_port(text, text, options);
    code = split(text, options);
    return code == CLI_DONE ? resolve(text, options) : code;
}
