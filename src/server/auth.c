/* Who a bearer token belongs to, from the two files; and reading them again when they change. */

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "os/file.h"
#include "server/auth.h"
#include "server/jwt.h"
#include "server/tokens.h"

/* A file, and what stood in it when it was last looked at: the content alone tells whether it has changed, for a file can be
 * rewritten with its old size, time and inode. */
struct watched {
    const char *path;
    size_t size_max;
    uint8_t seen[crypto_generichash_BYTES];
};

struct auth {
    struct auth_options options;
    struct watched token_file, jwks_file;
    struct tokens *tokens; /* NULL: no token file */
    struct jwks *keys;     /* NULL: no signed tokens */
};

/* ---- files ---- */

/* The file's text, and whether this is another than the last time; an error is one too. 0, SERVER_E_START with what is wrong,
 * -ENOMEM. Never waits: a FIFO is refused. */
static int watched_read(struct watched *file, const char *what, struct buffer *text, bool *ret_changed,
                        char *ret_error)
{
    enum { SLACK = 128 * 1024 }; /* what reading takes at a time */
    uint8_t now[crypto_generichash_BYTES];
    int r;

    text->size_max = file->size_max + SLACK;
    r = os_file_read_whole(os_file_real(), file->path, text);
    if (r == 0 && text->size > file->size_max)
        r = -E2BIG;
    if (r == -E2BIG)
        snprintf(ret_error, SERVER_ERROR_SIZE, "%s: larger than %zu bytes", file->path, file->size_max);
    else if (r < 0)
        snprintf(ret_error, SERVER_ERROR_SIZE, "cannot read the %s %s: %s", what, file->path,
                 r == -ESPIPE ? "it is no regular file" : strerror(-r));
    crypto_generichash(now, sizeof(now), r < 0 ? (const uint8_t *)&r : text->data, r < 0 ? sizeof(r) : text->size,
                       r < 0 ? (const uint8_t *)"failed" : NULL, 0);
    *ret_changed = memcmp(now, file->seen, sizeof(now)) != 0;
    memcpy(file->seen, now, sizeof(now));
    return r == 0 || r == -ENOMEM ? r : SERVER_E_START;
}

/* Reads the token file if it has changed or `asked`: true when it was tried, and *ret_failure says how it went. */
static bool look_at_tokens(struct auth *auth, bool asked, int *ret_failure, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct tokens *tokens;
    bool changed = false;

    *ret_failure = 0;
    if (!auth->token_file.path)
        return false;
    *ret_failure = watched_read(&auth->token_file, "token file", &text, &changed, ret_error);
    if (*ret_failure != 0 || !(changed || asked))
        return changed || asked;
    *ret_failure = tokens_parse(buffer_bytes(&text), auth->token_file.path, &tokens, ret_error);
    if (*ret_failure != 0)
        return true;
    tokens_free(auth->tokens);
    auth->tokens = tokens;
    return true;
}

static bool look_at_keys(struct auth *auth, bool asked, int *ret_failure, char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct jwks *keys;
    bool changed = false;

    *ret_failure = 0;
    if (!auth->jwks_file.path)
        return false;
    *ret_failure = watched_read(&auth->jwks_file, "keys", &text, &changed, ret_error);
    if (*ret_failure != 0 || !(changed || asked))
        return changed || asked;
    *ret_failure = jwks_parse(buffer_bytes(&text), auth->jwks_file.path, &keys, ret_error);
    if (*ret_failure != 0)
        return true;
    jwks_free(auth->keys);
    auth->keys = keys;
    return true;
}

/* A server that nobody may ask is a mistake at the start. */
static int check_somebody(const struct auth *auth, char *ret_error)
{
    if (auth->tokens && tokens_count(auth->tokens) == 0)
        snprintf(ret_error, SERVER_ERROR_SIZE, "the token file %s has no token in it", auth->token_file.path);
    else if (auth->keys && jwks_count(auth->keys) == 0)
        snprintf(ret_error, SERVER_ERROR_SIZE, "%s: no key for EdDSA, ES256 or RS256", auth->jwks_file.path);
    else
        return 0;
    return SERVER_E_START;
}

int auth_new(const struct auth_options *options, struct auth **ret_auth, char ret_error[SERVER_ERROR_SIZE])
{
    struct auth *auth = calloc(1, sizeof(*auth));
    int r = auth ? 0 : -ENOMEM;

    if (r == 0) {
        auth->options = *options;
        auth->token_file = (struct watched){.path = options->token_file, .size_max = TOKENS_SIZE_MAX};
        auth->jwks_file = (struct watched){.path = options->jwks_file, .size_max = JWKS_SIZE_MAX};
        look_at_tokens(auth, true, &r, ret_error);
    }
    if (r == 0)
        look_at_keys(auth, true, &r, ret_error);
    if (r == 0)
        r = check_somebody(auth, ret_error);
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

void auth_describe(const struct auth *auth, char ret_text[SERVER_ERROR_SIZE])
{
    size_t passed_over = auth->keys ? jwks_passed_over_count(auth->keys) : 0;
    int size = snprintf(ret_text, SERVER_ERROR_SIZE, "%zu tokens, %zu keys",
                        auth->tokens ? tokens_count(auth->tokens) : 0, auth->keys ? jwks_count(auth->keys) : 0);

    if (passed_over > 0)
        snprintf(ret_text + size, SERVER_ERROR_SIZE - (size_t)size,
                 "; passed over %zu keys of %.600s that are not for verifying EdDSA, ES256 or RS256", passed_over,
                 auth->jwks_file.path);
}

bool auth_reread(struct auth *auth, bool asked, char ret_said[SERVER_ERROR_SIZE])
{
    char error[SERVER_ERROR_SIZE] = "", text[SERVER_ERROR_SIZE];
    int tokens_failure, keys_failure;
    bool tokens = look_at_tokens(auth, asked, &tokens_failure, error);
    bool keys = look_at_keys(auth, asked, &keys_failure, error);
    int failure = tokens && tokens_failure != 0 ? tokens_failure : keys ? keys_failure : 0;

    if (failure != 0)
        snprintf(ret_said, SERVER_ERROR_SIZE, "%.600s; what was known before stays good",
                 error[0] ? error : strerror(-failure));
    else if (tokens && tokens_count(auth->tokens) == 0)
        snprintf(ret_said, SERVER_ERROR_SIZE, "the token file %.600s has no token in it any more: it lets nobody in",
                 auth->token_file.path);
    else if (keys && jwks_count(auth->keys) == 0)
        snprintf(ret_said, SERVER_ERROR_SIZE, "%.600s has no usable key in it any more: it lets nobody in",
                 auth->jwks_file.path);
    else {
        auth_describe(auth, text);
        snprintf(ret_said, SERVER_ERROR_SIZE, "read again: %.700s", text);
    }
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

static int admit_signed(struct auth *auth, struct bytes token, bool again, struct auth_grant *ret_grant,
                        const char **ret_reason)
{
    const struct os_clock *clock = auth->options.clock;
    const struct jwt_rules rules = {.issuer = auth->options.issuer,
                                    .audience = auth->options.audience,
                                    .now_s = clock->realtime_us(clock) / 1000000,
                                    .strict_end = again};
    _cleanup_(buffer_deinit) struct buffer name = {0};
    struct auth_grant grant = {0};
    const char *wrong = jwt_verify(auth->keys, &rules, token, &grant.role, &name, &grant.until_s);

    if (wrong) {
        *ret_reason = wrong;
        return AUTH_E_REFUSED;
    }
    caller_of(name.size > 0 ? buffer_bytes(&name) : token, grant.caller);
    *ret_grant = grant;
    return 0;
}

int auth_admit(struct auth *auth, const char *authorization, bool again, struct auth_grant *ret_grant,
               const char **ret_reason)
{
    struct bytes token = bearer(authorization);
    struct auth_grant grant = {0};

    if (token.size == 0)
        return AUTH_E_MISSING;
    if (auth->tokens)
        grant.role = tokens_role(auth->tokens, token);
    if (grant.role == ROLE_NONE && auth->keys)
        return admit_signed(auth, token, again, ret_grant, ret_reason);
    if (grant.role == ROLE_NONE) {
        *ret_reason = "this token is not known";
        return AUTH_E_REFUSED;
    }
    caller_of(token, grant.caller);
    *ret_grant = grant;
    return 0;
}
