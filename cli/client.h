/* client: HTTP requests of the command line, over libcurl.
 *
 * The server is at http://HOST:PORT, https://HOST:PORT, or unix:PATH for a socket in the file system.
 *
 * One connection, kept alive. A request that can be repeated safely (reads; writes that carry an id or a key of their own)
 * is repeated while the server is away or asks for patience (503 with Retry-After), up to `patience_ms`. Everything else is
 * reported at once. Where SIGTERM and SIGINT are caught (stop.h) the first ends all repeating, and a request that `waits`; the
 * second ends any request. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { CLIENT_HEADER_COUNT_MAX = 8, CLIENT_ANSWER_SIZE_MAX = 256 << 20, CLIENT_TOKEN_SIZE_MAX = 8192 };

struct client;

struct client_request {
    const char *method;                           /* "GET", "POST" */
    const char *path;                             /* from "/" on, query included, escaped */
    const char *headers[CLIENT_HEADER_COUNT_MAX]; /* "Name: value"; ends with NULL */
    struct bytes body;
    bool repeatable;      /* sending it twice does no harm */
    bool waits;           /* the answer may take long: it is given up at the first SIGTERM or SIGINT (stop.h) */
    bool settles;         /* it says how something ended: neither the first nor the second signal ends it, only no time is left */
    bool prints;          /* it is for standard output: it is given up when nobody reads that any more (output.h) */
    uint32_t patience_ms; /* how long to go on repeating; 0: once */
};

struct client_answer {
    long status; /* HTTP status */
    struct buffer body;
    uint64_t position; /* Daybook-Position, or 0 */
    char journal[40];  /* Daybook-Journal, or empty */
    bool follower;     /* Daybook-Role: it may be behind */
    char content_type[64];
    unsigned tries; /* how often the request was sent: a replay may be its own */
};

/* A client of the server at `url`; `token` may be NULL. 0, -EINVAL, -ENOMEM, -E2BIG: one of the two is longer than any. */
int client_new(const char *url, const char *token, struct client **ret_client);
void client_free(struct client *client);
static inline void client_freep(struct client **client)
{
    client_free(*client);
}

/* 0: an answer came, whatever its status; the caller ends it with client_answer_deinit(). -errno: none came, and
 * client_error() says why in a sentence; -ECANCELED: because the end was asked for, -EPIPE: because nobody reads the output. */
int client_send(struct client *client, const struct client_request *request,
                struct client_answer *ret_answer);
void client_answer_deinit(struct client_answer *answer);

/* Receive a body as it comes, line by line without the line end. `line` returns 0 to go on; anything else ends it and is
 * returned. 0: the server ended it; -errno as client_send(). Status other than 200: its problem is in *ret_answer, which may
 * be NULL. */
int client_stream(struct client *client, const struct client_request *request,
                  int (*line)(void *user, struct bytes line), void *user, struct client_answer *ret_answer);

const char *client_error(const struct client *client);

/* Append `text` percent-encoded for a path segment or a query value. */
int client_escape(struct buffer *buffer, const char *text);
/* Likewise a list: its commas stay, and separate; one that belongs to a name is written `\,`. */
int client_escape_list(struct buffer *buffer, const char *text);

/* Print a problem (RFC 9457) as `daybook NAME: title: detail` and one line for each violation or conflict; with --json the
 * document itself on standard output. Returns CLI_NO for a 4xx, CLI_FAILED else. */
int client_print_problem(const struct client_answer *answer);

/* client_new() from --url and --token-file, or an error printed. */
int client_open(struct client **ret_client);
