#pragma once

/*
 * auth: who may do what. A caller shows a bearer token; what it is good for is one of three roles, each of which
 * includes those below it:
 *
 *     reader     reads events, views, figures, and follows the log
 *     writer     appends and sends commands
 *     operator   orders the server about: rebuilds a view
 *
 * Two kinds of tokens are known, each by a file: opaque ones of which the token file has only hashes (tokens.h), and
 * signed ones (JWT) whose issuers' public keys are in a JWKS (jwks.h, jwt.h).
 *
 * Life: auth_new() reads the files and fails with file and line when one is wrong. auth_reread() reads again what has
 * changed; a file that is broken by then, or gone, changes nothing, and that is said. A token file that was emptied is not broken: it
 * lets nobody in from then on, and so is a JWKS without a usable key. At the start both are errors, for a server that nobody may
 * ask is a mistake. A file has changed when its content has, whatever its size and times are. All of it happens on one thread, the loop.
 *
 * Invariants:
 * A1 the server keeps hashes and public keys, nothing that would let anyone in.
 * A2 how long an opaque token takes to be refused says nothing about those that are known.
 * A3 no answer depends on what a token claims before its signature was found good.
 * A4 a route without a role of its own is closed, not open (server_test.c reads the table).
 */

#include "base/bytes.h"
#include "os/clock.h"
#include "server/server.h"

/* ---- roles: each includes those before it ---- */

enum role {
    ROLE_NONE,
    ROLE_READER,
    ROLE_WRITER,
    ROLE_OPERATOR,
};

/* ROLE_NONE: no role is called that. */
enum role role_from_name(struct bytes name);
const char *role_name(enum role role);
/* The role and all that it includes, with a comma between them: "reader,writer". */
const char *role_list(enum role role);

/* ---- whoever asks ---- */

enum {
    AUTH_CALLER_SIZE = 17, /* 16 hexadecimal digits and NUL */
    AUTH_CACHE_S = 5,      /* for how long a gateway may believe an answer of /v1/auth */
    AUTH_REREAD_MS = 500,  /* between two looks at the files */
    AUTH_ASK_MS = 30000,   /* who stays connected is looked at again after so long, for clocks may be set */
};

struct auth_grant {
    enum role role;
    /* A short name that stays the same for the same caller: the scope of its idempotency keys. Of an opaque token, its
     * hash; of a signed one, issuer and subject, so that a renewed token is the same caller. */
    char caller[AUTH_CALLER_SIZE];
    int64_t until_s; /* of a signed token: when it ends, in seconds since 1970; 0: when the file says so */
};

enum {
    AUTH_E_MISSING = 1, /* no bearer token at all */
    AUTH_E_REFUSED,     /* one that is not, or no longer, good */
};

struct auth;

struct auth_options {
    const char *token_file; /* or NULL */
    const char *jwks_file;  /* or NULL; at least one of the two */
    const char *issuer;     /* with jwks_file: what `iss` must be; NULL: anything */
    const char *audience;   /* with jwks_file: what `aud` must name; NULL: anything */
    const struct os_clock *clock;
};

/* The strings are the caller's for the object's life. 0; SERVER_E_START with a sentence; -ENOMEM. */
_must_check_ int auth_new(const struct auth_options *options, struct auth **ret_auth,
                          char ret_error[SERVER_ERROR_SIZE]);
void auth_free(struct auth *auth); /* NULL is fine */

/* How many tokens and keys there are, and which keys are of no use here. */
void auth_describe(const struct auth *auth, char ret_text[SERVER_ERROR_SIZE]);

/* Read the files that have changed since they were read, or all when `asked`. True when one was read or could not be:
 * ret_said has the sentence to log, and in the second case what was known before stays. */
bool auth_reread(struct auth *auth, bool asked, char ret_said[SERVER_ERROR_SIZE]);

/* Whoever shows this Authorization field (or NULL), for the first time or, being answered still, `again`, when the leeway of
 * clocks does not count any more: 0, AUTH_E_*. `ret_reason`, constant text for the caller, says what
 * is wrong with a refused token; it is set on AUTH_E_REFUSED. */
int auth_admit(struct auth *auth, const char *authorization, bool again, struct auth_grant *ret_grant,
               const char **ret_reason);
