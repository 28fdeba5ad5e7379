/* Bearer tokens, of which the server knows only hashes. A line of the file is a hash and, behind white space, whatever its
 * owner likes to note: "sha256:HEX", "blake2b:HEX" (32 bytes), or bare HEX as sha256sum prints it. `#` begins a comment. */

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/hex.h"
#include "base/vector.h"
#include "server/internal.h"

enum { HASH_SIZE = 32, LINE_SIZE_MAX = 1024 };

struct token {
    bool blake2b;
    uint8_t hash[HASH_SIZE];
};

struct tokens {
    struct token *items;
    size_t count, capacity;
};

static bool parse_hash(const char *line, struct token *ret_token)
{
    struct token token = {0};
    struct buffer hash = {0};
    bool good;

    if (strncmp(line, "sha256:", 7) == 0) {
        line += 7;
    } else if (strncmp(line, "blake2b:", 8) == 0) {
        line += 8;
        token.blake2b = true;
    }
    good = hex_decode(bytes_make(line, strcspn(line, " \t\r\n")), &hash) == 0 && hash.size == HASH_SIZE;
    if (good) {
        memcpy(token.hash, hash.data, HASH_SIZE);
        *ret_token = token;
    }
    buffer_deinit(&hash);
    return good;
}

static int add_line(struct tokens *tokens, const char *line, unsigned number, const char *path,
                    char *ret_error)
{
    struct token token;

    line += strspn(line, " \t");
    if (*line == '#' || *line == '\n' || *line == '\r' || *line == '\0')
        return 0;
    if (!parse_hash(line, &token)) {
        snprintf(ret_error, SERVER_ERROR_SIZE,
                 "%s:%u: a line is sha256:HEX or blake2b:HEX of a token, 64 digits; `printf %%s TOKEN | "
                 "sha256sum` "
                 "makes one",
                 path, number);
        return SERVER_E_START;
    }
    int r = vector_reserve(&tokens->items, &tokens->capacity, tokens->count + 1);
    if (r == 0)
        tokens->items[tokens->count++] = token;
    return r;
}

int tokens_read(const char *path, struct tokens **ret_tokens, char ret_error[SERVER_ERROR_SIZE])
{
    FILE *file = fopen(path, "re");
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    char line[LINE_SIZE_MAX];
    int r = file && tokens ? 0 : SERVER_E_START;

    if (r != 0)
        snprintf(ret_error, SERVER_ERROR_SIZE, "cannot read the token file %s: %s", path, strerror(errno));
    for (unsigned number = 1; r == 0 && fgets(line, sizeof(line), file); number++)
        r = add_line(tokens, line, number, path, ret_error);
    if (r == 0 && tokens->count == 0) {
        snprintf(ret_error, SERVER_ERROR_SIZE, "the token file %s has no token in it", path);
        r = SERVER_E_START;
    }
    if (file)
        fclose(file);
    if (r == 0)
        *ret_tokens = take_ptr(tokens);
    tokens_free(tokens);
    return r;
}

void tokens_free(struct tokens *tokens)
{
    if (!tokens)
        return;
    free(tokens->items);
    free(tokens);
}

/* The token behind "Bearer ", or NULL. */
static const char *bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    authorization += 7;
    return authorization + strspn(authorization, " ");
}

bool tokens_know(const struct tokens *tokens, const char *authorization)
{
    const char *token = bearer(authorization);
    uint8_t hashes[2][HASH_SIZE];
    int known = 0;

    if (!token)
        return false;
    crypto_hash_sha256(hashes[0], (const uint8_t *)token, strlen(token));
    crypto_generichash(hashes[1], HASH_SIZE, (const uint8_t *)token, strlen(token), NULL, 0);
    /* All are compared, each in constant time: how long it takes says nothing. */
    for (size_t i = 0; i < tokens->count; i++)
        known |= sodium_memcmp(hashes[tokens->items[i].blake2b], tokens->items[i].hash, HASH_SIZE) == 0;
    return known != 0;
}

void tokens_caller(const char *authorization, char ret_caller[TOKEN_CALLER_SIZE])
{
    const char *token = bearer(authorization);
    uint8_t hash[HASH_SIZE];

    ret_caller[0] = '\0';
    if (!token)
        return;
    crypto_hash_sha256(hash, (const uint8_t *)token, strlen(token));
    sodium_bin2hex(ret_caller, TOKEN_CALLER_SIZE, hash, TOKEN_CALLER_SIZE / 2);
}
