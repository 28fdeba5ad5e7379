#pragma once

/*
 * server: wires everything into one process: journal, commands, views, the follower and HTTP. What it answers is
 * settled in the API's contract; /openapi.json describes it and is made from the same table of routes.
 *
 * Life: server_run() opens the data folder, listens, says in one line on standard output where, and to a service manager that
 * it is ready (os/supervisor.h), serves until SIGTERM or SIGINT, drains, and closes everything in the reverse order. It is called once in a process, on the main thread.
 *
 * The data folder:
 *     DATA/log/      the journal's log (log/file_log.h); one writer at a time
 *     DATA/views/    the stores of the views: derived, may be deleted while the server is down
 *
 * Safe by default: an address beyond loopback needs a token file; a request needs a known Host (http/field.h) and a
 * write application/json, so that no web page elsewhere can write through a visitor's browser.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/limits.h"
#include "server/limits.h"

enum { SERVER_HOST_COUNT_MAX = 16, SERVER_ADDRESS_SIZE = 64 };

struct server_options {
    const char *data_folder;
    const char *address;      /* numeric */
    uint16_t port;            /* 0: a free one */
    const char *socket_path;  /* listen on a socket in the file system instead, who may write to which may connect; or NULL */
    int socket_fd;            /* or on this one, which was passed and listens already; 0: none was */
    const char *follow;       /* URL of the leader, or NULL: be one */
    const char *leader_token; /* sent to the leader, or NULL */
    const char *token_file;
    const char *jwks_file;         /* public keys of those who sign tokens, or NULL */
    const char *issuer, *audience; /* with jwks_file: what a signed token must say; NULL: anything */
    const char *checkpoint_key;    /* file of the private key that signs checkpoints, or NULL */
    uint32_t scavenge_every_s;     /* scavenge by itself so often, at most SERVER_SCAVENGE_S_MAX; 0: only when asked to */
    uint64_t scrub_rate;           /* bytes of the log a second that are read again to find damage; 0: none */
    const char *app_folder;        /* or NULL: a plain event store */
    const char *hosts[SERVER_HOST_COUNT_MAX];
    size_t host_count;
    bool log_json;   /* one JSON line a request on standard error */
    bool async;      /* log/log.h LOG_ASYNC: acknowledged before it is synced */
    bool keys_lost;  /* start although the keys of sealed events are missing: their data is given up */
    bool ready_json; /* the line that says where as a JSON document */
    uint64_t memory;  /* bytes the server may use (memory.h); 0: what there is */
    struct http_limits http_limits;
    struct server_limits limits;
    uint64_t limits_set; /* bits of the rows that were set by name, in the order of the tables */
};

enum { SERVER_SCAVENGE_S_MAX = 30 * 86400 };
#define SERVER_SCRUB_RATE_DEFAULT (UINT64_C(4) << 20)
#define SERVER_MEMORY_MIN (UINT64_C(64) << 20)
#define SERVER_SCRUB_RATE_MAX     (UINT64_C(1) << 40)

/* Everything's default: the loopback address, port 7070, ./data. */
void server_options_init(struct server_options *options);

/* Set a limit by name, whichever table it is in. LIMITS_E_UNKNOWN. */
int server_limit_set(struct server_options *options, const char *name, size_t name_size, uint64_t value);

/* Lower a limit that was not set, whichever table it is in; one that is lower already stays. */
void server_limit_lower(struct server_options *options, const char *name, uint64_t value);

/* Call `each` with every row of both tables. */
void server_limit_each(void (*each)(void *user, const struct limit_row *row), void *user);

enum { SERVER_ERROR_SIZE = 768 };

/* Answers of server_run(). */
enum {
    SERVER_E_USAGE = 1, /* the options do not go together */
    SERVER_E_START,     /* could not start: folder, port, application */
};

/* Serve. 0 after an orderly end; SERVER_E_* or -errno with a sentence in `ret_error`. */
int server_run(const struct server_options *options, char ret_error[SERVER_ERROR_SIZE]);
