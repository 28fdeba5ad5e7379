/* Public keys from a JWKS, and the signatures they verify. Ed25519 is libsodium's, P-256 and RSA are libcrypto's. */

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "server/jwt.h"

enum algorithm { ALG_NONE, ALG_EDDSA, ALG_ES256, ALG_RS256 };

enum { ED25519_SIZE = 32, P256_SIZE = 32, ES256_SIZE = 64 };

struct key {
    enum algorithm algorithm;
    const char *alg; /* what the key says a token's `alg` must be; NULL: any name of its algorithm */
    char *kid;       /* NULL: it has none */
    uint8_t ed25519[ED25519_SIZE];
    EVP_PKEY *pkey;
};

struct jwks {
    struct key keys[JWKS_KEY_COUNT_MAX];
    size_t count, passed_over;
};

enum { NAME_COUNT_MAX = 2 };

static const struct {
    const char *names[NAME_COUNT_MAX], *type, *curve; /* names: of `alg`, all that mean this one */
} algorithms[] = {
    [ALG_EDDSA] = {{"EdDSA", "Ed25519"}, "OKP", "Ed25519"}, /* RFC 8037 §3.1, RFC 9864 §2.2 */
    [ALG_ES256] = {{"ES256"}, "EC", "P-256"},
    [ALG_RS256] = {{"RS256"}, "RSA", NULL},
};

/* The algorithm's own copy of the name that `alg` is; NULL: it is none of them. */
static const char *algorithm_name(enum algorithm algorithm, struct json_value alg)
{
    for (size_t i = 0; i < NAME_COUNT_MAX && algorithms[algorithm].names[i]; i++)
        if (json_string_equals(alg, algorithms[algorithm].names[i]))
            return algorithms[algorithm].names[i];
    return NULL;
}

/* ---- base64url without padding, canonical only ---- */

static bool decode64(struct bytes text, uint8_t *out, size_t size_max, size_t *ret_size)
{
    return text.size > 0 && sodium_base642bin(out, size_max, (const char *)text.data, text.size, NULL,
                                              ret_size, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0;
}

static bool member64(struct json_value jwk, const char *name, uint8_t *out, size_t size_max, size_t *ret_size)
{
    struct bytes text;

    return json_string_plain(json_get(jwk, name), &text) && decode64(text, out, size_max, ret_size);
}

/* ---- keys ---- */

static EVP_PKEY *make_pkey(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (params && context && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *p256_key(struct json_value jwk)
{
    uint8_t point[1 + 2 * P256_SIZE] = {POINT_CONVERSION_UNCOMPRESSED};
    size_t x_size, y_size;
    EVP_PKEY *pkey = NULL;

    if (!member64(jwk, "x", point + 1, P256_SIZE, &x_size) || x_size != P256_SIZE ||
        !member64(jwk, "y", point + 1 + P256_SIZE, P256_SIZE, &y_size) || y_size != P256_SIZE)
        return NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, "group", "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, "pub", point, sizeof(point)) == 1)
        pkey = make_pkey("EC", build); /* refuses a point that is not on the curve */
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static EVP_PKEY *rsa_key(struct json_value jwk)
{
    uint8_t n[JWKS_RSA_BYTES_MAX], e[8];
    size_t n_size, e_size;
    EVP_PKEY *pkey = NULL;

    if (!member64(jwk, "n", n, sizeof(n), &n_size) || n_size < JWKS_RSA_BYTES_MIN || n[0] == 0 ||
        !member64(jwk, "e", e, sizeof(e), &e_size) || e[e_size - 1] % 2 == 0 || (e_size == 1 && e[0] < 3))
        return NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn(n, (int)n_size, NULL), *exponent = BN_bin2bn(e, (int)e_size, NULL);
    if (build && modulus && exponent && OSSL_PARAM_BLD_push_BN(build, "n", modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, "e", exponent) == 1)
        pkey = make_pkey("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return pkey;
}

/* What the key says it is for: signatures, and verifying them (RFC 7517 §4.2, §4.3). */
static bool is_for_verifying(struct json_value jwk)
{
    struct json_value use = json_get(jwk, "use"), operations = json_get(jwk, "key_ops");
    struct json_cursor at = json_walk(operations);

    if (json_exists(use) && !json_string_equals(use, "sig"))
        return false;
    while (json_type(operations) == JSON_ARRAY && json_next(&at))
        if (json_string_equals(at.value, "verify"))
            return true;
    return !json_exists(operations);
}

static enum algorithm algorithm_of(struct json_value jwk)
{
    struct json_value alg = json_get(jwk, "alg");

    for (enum algorithm a = ALG_EDDSA; a <= ALG_RS256; a++) {
        if (!json_string_equals(json_get(jwk, "kty"), algorithms[a].type) ||
            (algorithms[a].curve && !json_string_equals(json_get(jwk, "crv"), algorithms[a].curve)))
            continue;
        return is_for_verifying(jwk) && (!json_exists(alg) || algorithm_name(a, alg)) ? a : ALG_NONE;
    }
    return ALG_NONE;
}

/* NULL, or what is wrong with it. One of no use here leaves the set as it was. */
static const char *add_key(struct jwks *keys, struct json_value jwk)
{
    struct json_value kid = json_get(jwk, "kid");
    struct key *key = &keys->keys[keys->count];
    size_t size;

    if (json_type(jwk) != JSON_OBJECT)
        return "a key is an object";
    if (json_exists(json_get(jwk, "d")) || json_exists(json_get(jwk, "k")))
        return "this is a private key or a secret; only public keys belong here";
    enum algorithm algorithm = algorithm_of(jwk);
    if (algorithm == ALG_NONE) {
        keys->passed_over++;
        return NULL;
    }
    if (keys->count == JWKS_KEY_COUNT_MAX)
        return "there are more keys than a set may have";
    /* Keys of other types may share a kid: a token's `alg` tells which is meant (RFC 7517 §4.5). */
    for (size_t i = 0; i < keys->count && json_exists(kid); i++)
        if (keys->keys[i].algorithm == algorithm && keys->keys[i].kid && json_string_equals(kid, keys->keys[i].kid))
            return "another key of the same type has the same kid";
    if (json_exists(kid) && json_string_dup(kid, &key->kid) != 0)
        return "kid is a string";
    keys->count++; /* from here on jwks_free() sees it */
    key->algorithm = algorithm;
    key->alg = algorithm_name(algorithm, json_get(jwk, "alg"));
    if (algorithm == ALG_EDDSA)
        return member64(jwk, "x", key->ed25519, ED25519_SIZE, &size) && size == ED25519_SIZE
                   ? NULL
                   : "x is 32 bytes, base64url";
    key->pkey = algorithm == ALG_ES256 ? p256_key(jwk) : rsa_key(jwk);
    return key->pkey                ? NULL
           : algorithm == ALG_ES256 ? "x and y are not a point of P-256"
                                    : "n and e are not an RSA key of 2048 to 8192 bits";
}

/* Nothing, or nothing but white space: what a file that was emptied holds. */
static bool is_blank(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!strchr(" \t\r\n", text.data[i]) || text.data[i] == '\0')
            return false;
    return true;
}

int jwks_parse(struct bytes text, const char *name, struct jwks **ret_keys, char ret_error[SERVER_ERROR_SIZE])
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct jwks *keys = calloc(1, sizeof(*keys));
    bool blank = is_blank(text);
    int r = !keys ? -ENOMEM : blank ? 0 : json_parse(text, &doc, NULL);
    size_t number = 0;
    const char *wrong = NULL;

    if (r == 0 && !blank && json_type(json_get(json_root(&doc), "keys")) != JSON_ARRAY)
        r = JSON_E_INVALID;
    struct json_cursor at = json_walk(blank ? (struct json_value){0} : json_get(json_root(&doc), "keys"));
    for (; r == 0 && !blank && !wrong && json_next(&at); number++)
        wrong = add_key(keys, at.value);
    if (wrong)
        snprintf(ret_error, SERVER_ERROR_SIZE, "%s: key %zu: %s", name, number, wrong);
    else if (r > 0)
        snprintf(ret_error, SERVER_ERROR_SIZE, "%s: not a JWKS, {\"keys\":[…]}", name);
    if (r > 0 || (r == 0 && wrong))
        r = SERVER_E_START;
    if (r == 0)
        *ret_keys = take_ptr(keys);
    jwks_free(keys);
    return r;
}

void jwks_free(struct jwks *keys)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        free(keys->keys[i].kid);
        EVP_PKEY_free(keys->keys[i].pkey);
    }
    free(keys);
}

size_t jwks_count(const struct jwks *keys)
{
    return keys->count;
}

size_t jwks_passed_over_count(const struct jwks *keys)
{
    return keys->passed_over;
}

/* ---- signatures ---- */

static bool digest_verify(const struct key *key, struct bytes text, const uint8_t *signature, size_t size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
                EVP_DigestVerify(context, signature, size, text.data, text.size) == 1;

    EVP_MD_CTX_free(context);
    return good;
}

/* A JWS has r and s side by side (RFC 7518 §3.4), libcrypto wants them in DER. */
static bool es256_verify(const struct key *key, struct bytes text, const uint8_t *signature)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, P256_SIZE, NULL), *s = BN_bin2bn(signature + P256_SIZE, P256_SIZE, NULL);
    uint8_t *der = NULL;
    bool good = false;

    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair's now */
        int size = i2d_ECDSA_SIG(pair, &der);
        good = size > 0 && digest_verify(key, text, der, (size_t)size);
    }
    BN_free(r);
    BN_free(s);
    OPENSSL_free(der);
    ECDSA_SIG_free(pair);
    return good;
}

static bool key_verify(const struct key *key, struct bytes text, struct bytes encoded)
{
    uint8_t signature[JWKS_RSA_BYTES_MAX];
    size_t size;

    if (!decode64(encoded, signature, sizeof(signature), &size))
        return false;
    switch (key->algorithm) {
    case ALG_EDDSA:
        return size == crypto_sign_BYTES &&
               crypto_sign_verify_detached(signature, text.data, text.size, key->ed25519) == 0;
    case ALG_ES256: return size == ES256_SIZE && es256_verify(key, text, signature);
    case ALG_RS256: return digest_verify(key, text, signature, size);
    default: return false;
    }
}

/* The one key that the header means. */
static const struct key *find_key(const struct jwks *keys, struct json_value header)
{
    struct json_value kid = json_get(header, "kid"), alg = json_get(header, "alg");
    const struct key *found = NULL;

    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->keys[i];
        const char *name = algorithm_name(key->algorithm, alg);
        if (!name || (key->alg && key->alg != name))
            continue;
        if (json_exists(kid) && (!key->kid || !json_string_equals(kid, key->kid)))
            continue;
        if (found)
            return NULL;
        found = key;
    }
    return found;
}

const char *jws_open(const struct jwks *keys, struct bytes token, struct buffer *out)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    uint8_t text[JWT_SIZE_MAX];
    size_t size;

    if (token.size == 0 || token.size > JWT_SIZE_MAX)
        return "the token is too long";
    const uint8_t *first = memchr(token.data, '.', token.size);
    const uint8_t *second =
        first ? memchr(first + 1, '.', token.size - (size_t)(first + 1 - token.data)) : NULL;
    if (!second)
        return "this token is not known";
    struct bytes head = bytes_make(token.data, (size_t)(first - token.data));
    struct bytes body = bytes_make(first + 1, (size_t)(second - first - 1));
    struct bytes tail = bytes_make(second + 1, token.size - (size_t)(second + 1 - token.data));
    if (!decode64(head, text, sizeof(text), &size) || json_parse(bytes_make(text, size), &doc, NULL) != 0 ||
        json_type(json_root(&doc)) != JSON_OBJECT)
        return "the token cannot be read";
    if (json_exists(json_get(json_root(&doc), "crit")) || json_exists(json_get(json_root(&doc), "b64")))
        return "the token needs an extension that is not known";
    const struct key *key = find_key(keys, json_root(&doc));
    if (!key)
        return "no key for this token";
    if (!key_verify(key, bytes_make(token.data, (size_t)(second - token.data)), tail))
        return "the signature is wrong";
    if (!decode64(body, text, sizeof(text), &size) || buffer_append(out, text, size) < 0)
        return "the token cannot be read";
    return NULL;
}
