/* Who a bearer token belongs to, from the two files; and reading them again when they change. */

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "server/auth.h"
#include "server/jwt.h"
#include "server/tokens.h"

/* A file as it was when it was last read, or when reading it failed. */
struct watched {
    const char *path;
    struct stat seen;
};

struct auth {
    struct auth_options options;
    struct watched token_file, jwks_file;
    struct tokens *tokens; /* NULL: no token file */
    struct jwks *keys;     /* NULL: no signed tokens */
};

/* ---- files ---- */

/* Look before reading: what changes meanwhile is then seen as a change. */
static bool watched_changed(struct watched *file)
{
    struct stat now = {0};

    if (stat(file->path, &now) < 0)
        now = (struct stat){0}; /* gone: a change, once */
    bool changed = now.st_mtim.tv_sec != file->seen.st_mtim.tv_sec ||
                   now.st_mtim.tv_nsec != file->seen.st_mtim.tv_nsec || now.st_size != file->seen.st_size ||
                   now.st_ino != file->seen.st_ino;
    file->seen = now;
    return changed;
}

static int read_tokens(struct auth *auth, char *ret_error)
{
    struct tokens *tokens;
    int r = tokens_read(auth->token_file.path, &tokens, ret_error);

    if (r != 0)
        return r;
    tokens_free(auth->tokens);
    auth->tokens = tokens;
    return 0;
}

static int read_keys(struct auth *auth, char *ret_error)
{
    struct jwks *keys;
    int r = jwks_read(auth->jwks_file.path, &keys, ret_error);

    if (r != 0)
        return r;
    jwks_free(auth->keys);
    auth->keys = keys;
    return 0;
}

int auth_new(const struct auth_options *options, struct auth **ret_auth, char ret_error[SERVER_ERROR_SIZE])
{
    struct auth *auth = calloc(1, sizeof(*auth));
    int r = auth ? 0 : -ENOMEM;

    if (r == 0) {
        auth->options = *options;
        auth->token_file.path = options->token_file;
        auth->jwks_file.path = options->jwks_file;
    }
    if (r == 0 && options->token_file) {
        watched_changed(&auth->token_file);
        r = read_tokens(auth, ret_error);
    }
    if (r == 0 && options->token_file && tokens_count(auth->tokens) == 0) {
        snprintf(ret_error, SERVER_ERROR_SIZE, "the token file %s has no token in it", options->token_file);
        r = SERVER_E_START;
    }
    if (r == 0 && options->jwks_file) {
        watched_changed(&auth->jwks_file);
        r = read_keys(auth, ret_error);
    }
    if (r == 0)
        *ret_auth = take_ptr(auth);
    auth_free(auth);
    return r;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    tokens_free(auth->tokens);
    jwks_free(auth->keys);
    free(auth);
}

bool auth_reread(struct auth *auth, bool asked, char ret_said[SERVER_ERROR_SIZE])
{
    char error[SERVER_ERROR_SIZE] = "";
    bool tokens = auth->token_file.path && (watched_changed(&auth->token_file) || asked);
    bool keys = auth->jwks_file.path && (watched_changed(&auth->jwks_file) || asked);
    int r = tokens ? read_tokens(auth, error) : 0;

    if (r == 0 && keys)
        r = read_keys(auth, error);
    else if (keys)
        auth->jwks_file.seen = (struct stat){0}; /* its turn comes next */
    if (r == 0 && tokens && tokens_count(auth->tokens) == 0)
        snprintf(ret_said, SERVER_ERROR_SIZE, "the token file %.600s has no token in it any more: it lets nobody in",
                 auth->token_file.path);
    else if (r == 0)
        snprintf(ret_said, SERVER_ERROR_SIZE, "read again: %zu tokens, %zu keys",
                 auth->tokens ? tokens_count(auth->tokens) : 0, auth->keys ? jwks_count(auth->keys) : 0);
    else
        snprintf(ret_said, SERVER_ERROR_SIZE, "%.600s; what was known before stays good",
                 error[0] ? error : strerror(-r));
    return tokens || keys;
}

/* ---- tokens ---- */

/* The token behind "Bearer ", or nothing. */
static struct bytes bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return (struct bytes){0};
    authorization += 7;
    return bytes_from_string(authorization + strspn(authorization, " "));
}

static void caller_of(struct bytes name, char ret_caller[AUTH_CALLER_SIZE])
{
    uint8_t hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, name.data, name.size);
    sodium_bin2hex(ret_caller, AUTH_CALLER_SIZE, hash, AUTH_CALLER_SIZE / 2);
}

static int admit_signed(struct auth *auth, struct bytes token, struct auth_grant *ret_grant,
                        const char **ret_reason)
{
    const struct os_clock *clock = auth->options.clock;
    const struct jwt_rules rules = {.issuer = auth->options.issuer,
                                    .audience = auth->options.audience,
                                    .now_s = clock->realtime_us(clock) / 1000000};
    _cleanup_(buffer_deinit) struct buffer name = {0};
    struct auth_grant grant = {0};
    const char *wrong = jwt_verify(auth->keys, &rules, token, &grant.role, &name);

    if (wrong) {
        *ret_reason = wrong;
        return AUTH_E_REFUSED;
    }
    caller_of(name.size > 0 ? buffer_bytes(&name) : token, grant.caller);
    *ret_grant = grant;
    return 0;
}

int auth_admit(struct auth *auth, const char *authorization, struct auth_grant *ret_grant,
               const char **ret_reason)
{
    struct bytes token = bearer(authorization);
    struct auth_grant grant = {0};

    if (token.size == 0)
        return AUTH_E_MISSING;
    if (auth->tokens)
        grant.role = tokens_role(auth->tokens, token);
    if (grant.role == ROLE_NONE && auth->keys)
        return admit_signed(auth, token, ret_grant, ret_reason);
    if (grant.role == ROLE_NONE) {
        *ret_reason = "this token is not known";
        return AUTH_E_REFUSED;
    }
    caller_of(token, grant.caller);
    *ret_grant = grant;
    return 0;
}
