/* Opaque tokens: the file's lines, and looking one up without saying by the time it takes how near it came. */

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/vector.h"
#include "server/tokens.h"

enum { HASH_SIZE = 32 };

#define BLANKS " \t\r\n"

struct token {
    bool blake2b;
    enum role role;
    uint8_t hash[HASH_SIZE];
};

struct tokens {
    struct token *items;
    size_t count, capacity;
};

/* The word at the line's beginning; the line goes on behind it. */
static struct bytes take_word(const char **line)
{
    const char *begin = *line + strspn(*line, BLANKS);
    size_t size = strcspn(begin, BLANKS);

    *line = begin + size;
    return bytes_make(begin, size);
}

static bool parse_hash(struct bytes word, struct token *token)
{
    struct buffer hash = {0};

    if (bytes_starts_with(word, BYTES_LITERAL("sha256:"))) {
        word = bytes_slice(word, 7, word.size);
    } else if (bytes_starts_with(word, BYTES_LITERAL("blake2b:"))) {
        word = bytes_slice(word, 8, word.size);
        token->blake2b = true;
    }
    bool good = hex_decode(word, &hash) == 0 && hash.size == HASH_SIZE;
    if (good)
        memcpy(token->hash, hash.data, HASH_SIZE);
    buffer_deinit(&hash);
    return good;
}

/* "Reader", "readers", "write", "operators": meant as a role, and not one. */
static bool looks_like_role(struct bytes word)
{
    static const char *const stems[] = {"read", "writ", "oper"};

    for (size_t i = 0; i < 3; i++)
        if (word.size >= 4 && strncasecmp((const char *)word.data, stems[i], 4) == 0)
            return true;
    return memchr(word.data, ',', word.size) != NULL;
}

/* ROLE[,ROLE…]: the highest of them. False: it looks like that and is not. Anything else is a name and no role. */
static bool parse_roles(struct bytes word, enum role *ret_role)
{
    enum role highest = ROLE_NONE;

    if (word.size == 0 || !looks_like_role(word)) {
        *ret_role = ROLE_OPERATOR;
        return true;
    }
    for (size_t begin = 0; begin <= word.size;) {
        const uint8_t *comma = begin < word.size ? memchr(word.data + begin, ',', word.size - begin) : NULL;
        size_t end = comma ? (size_t)(comma - word.data) : word.size;
        enum role role = role_from_name(bytes_slice(word, begin, end - begin));
        if (role == ROLE_NONE)
            return false;
        highest = role > highest ? role : highest;
        begin = end + 1;
    }
    *ret_role = highest;
    return true;
}

static int line_error(const char *path, unsigned number, const char *what, char *ret_error)
{
    snprintf(ret_error, SERVER_ERROR_SIZE, "%s:%u: %s", path, number, what);
    return SERVER_E_START;
}

static int add_line(struct tokens *tokens, const char *line, unsigned number, const char *path,
                    char *ret_error)
{
    struct token token = {0};
    struct bytes word = take_word(&line);

    if (word.size == 0 || word.data[0] == '#')
        return 0;
    if (!parse_hash(word, &token))
        return line_error(
            path, number,
            "a line is sha256:HEX or blake2b:HEX of a token, 64 digits; `printf %s TOKEN | sha256sum` "
            "makes one",
            ret_error);
    if (!parse_roles(take_word(&line), &token.role))
        return line_error(path, number, "the roles are reader, writer and operator, a comma between two",
                          ret_error);
    if (tokens->count == TOKENS_COUNT_MAX)
        return line_error(path, number, "there are more tokens than the 4096 a file may have", ret_error);
    int r = vector_reserve(&tokens->items, &tokens->capacity, tokens->count + 1);
    if (r == 0)
        tokens->items[tokens->count++] = token;
    return r;
}

static int add_lines(struct tokens *tokens, struct bytes text, const char *name, char *ret_error)
{
    char line[TOKENS_LINE_SIZE_MAX + 1];
    int r = 0;

    for (unsigned number = 1; r == 0 && text.size > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        if (size + (end != NULL) > TOKENS_LINE_SIZE_MAX)
            return line_error(name, number, "the line is longer than 1024 bytes", ret_error);
        if (memchr(text.data, '\0', size))
            return line_error(name, number, "there is a NUL byte in the line", ret_error);
        memcpy(line, text.data, size);
        line[size] = '\0';
        r = add_line(tokens, line, number, name, ret_error);
        text = bytes_slice(text, size + (end != NULL), SIZE_MAX);
    }
    return r;
}

int tokens_parse(struct bytes text, const char *name, struct tokens **ret_tokens,
                 char ret_error[SERVER_ERROR_SIZE])
{
    static_assert(TOKENS_COUNT_MAX == 4096 && TOKENS_LINE_SIZE_MAX == 1024,
                  "the messages above say the numbers");
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    int r = tokens ? add_lines(tokens, text, name, ret_error) : -ENOMEM;

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

size_t tokens_count(const struct tokens *tokens)
{
    return tokens->count;
}

enum role tokens_role(const struct tokens *tokens, struct bytes token)
{
    uint8_t hashes[2][HASH_SIZE];
    unsigned role = ROLE_NONE;

    crypto_hash_sha256(hashes[0], token.data, token.size);
    crypto_generichash(hashes[1], HASH_SIZE, token.data, token.size, NULL, 0);
    /* All are compared, each in constant time, and none ends the search. Of a token listed twice the higher role counts. */
    for (size_t i = 0; i < tokens->count; i++) {
        const struct token *known = &tokens->items[i];
        unsigned equal = sodium_memcmp(hashes[known->blake2b], known->hash, HASH_SIZE) == 0;
        unsigned found = (unsigned)known->role & -equal;
        role = found > role ? found : role;
    }
    return (enum role)role;
}
