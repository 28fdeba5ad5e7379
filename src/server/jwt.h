#pragma once

/*
 * jwt: signed tokens (RFC 7519 in compact form) checked against a set of public keys (JWKS, RFC 7517).
 *
 * Known are EdDSA (Ed25519, also by its own name, RFC 9864), ES256 and RS256. The key decides which one is right, the token only says which it was:
 * what does not fit is refused, `none` and secrets with it. A token needs a good signature first (A3), then `exp`; `nbf`,
 * `iss` and `aud` are checked as configured. A key is found by `kid`; a token without one needs a set in which one key
 * only fits its algorithm. Keys that this module has no use for are passed over (RFC 7517 §5), those that should never
 * stand in such a file (private ones, secrets) are an error.
 */

#include "server/auth.h"

#define JWT_SIZE_MAX       8192   /* bytes of a token */
#define JWT_LEEWAY_S       60     /* that clocks may differ by, for exp and nbf */
#define JWKS_SIZE_MAX      262144 /* bytes of the file */
#define JWKS_KEY_COUNT_MAX 64     /* usable keys of a set */
#define JWKS_RSA_BYTES_MIN 256    /* of a modulus: 2048 bits */
#define JWKS_RSA_BYTES_MAX 1024

struct jwks;

/* The keys of a file with this text; `name` is the file's, for the error message. A text without a usable key, a blank one too,
 * makes a set that lets nobody in. 0; SERVER_E_START with name, key and what is wrong; -ENOMEM. */
_must_check_ int jwks_parse(struct bytes text, const char *name, struct jwks **ret_keys,
                            char ret_error[SERVER_ERROR_SIZE]);
void jwks_free(struct jwks *keys); /* NULL is fine */
size_t jwks_count(const struct jwks *keys);
/* Keys of the text that this module has no use for. */
size_t jwks_passed_over_count(const struct jwks *keys);

/* The payload of a signed document (RFC 7515 §7.1) into `out`, only when its signature is good: NULL, or what is wrong as
 * constant text. */
const char *jws_open(const struct jwks *keys, struct bytes token, struct buffer *out);

struct jwt_rules {
    const char *issuer, *audience; /* NULL: anything */
    int64_t now_s;
    bool strict_end; /* `exp` without leeway: for who was let in before and is still here */
};

/* Whoever a token speaks for: NULL, or what is wrong as constant text. Roles come from `roles` (an array) or, without it,
 * from `scope`; names of others' roles are passed over. `ret_name` gets issuer and subject, empty without subject; `ret_until_s` the second
 * (since 1970) at which it is to be asked for again: `exp`, or the end of the leeway when that has passed. */
const char *jwt_verify(const struct jwks *keys, const struct jwt_rules *rules, struct bytes token,
                       enum role *ret_role, struct buffer *ret_name, int64_t *ret_until_s);
