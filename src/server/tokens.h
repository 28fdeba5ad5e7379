#pragma once

/*
 * tokens: opaque bearer tokens from a file that has only their hashes. A line is
 *
 *     HASH [ROLE[,ROLE…]] [name]
 *
 * HASH is sha256:HEX, blake2b:HEX (32 bytes), or bare HEX as sha256sum prints it. Without roles the token is good for
 * everything. The name is its owner's note and may be anything; a word that looks like a mistaken role ("Reader",
 * "write", "reader,all") is an error and not a name, because a token with a name and no roles may do everything.
 * `#` begins a comment line. A file without any token lets nobody in.
 */

#include "server/auth.h"

#define TOKENS_LINE_SIZE_MAX 1024 /* bytes of a line of the file, its end included */
#define TOKENS_SIZE_MAX      (TOKENS_LINE_SIZE_MAX * 8192) /* bytes of the file */
#define TOKENS_COUNT_MAX     4096 /* lines with a token: each is compared with every token that is shown */

struct tokens;

/* The tokens of a file with this text; `name` is the file's, for the error message. 0; SERVER_E_START with name, line and what
 * is wrong; -ENOMEM. */
_must_check_ int tokens_parse(struct bytes text, const char *name, struct tokens **ret_tokens,
                              char ret_error[SERVER_ERROR_SIZE]);
void tokens_free(struct tokens *tokens); /* NULL is fine */
size_t tokens_count(const struct tokens *tokens);

/* What the token is good for; ROLE_NONE when it is not known. Takes the same time either way (A2). */
enum role tokens_role(const struct tokens *tokens, struct bytes token);
