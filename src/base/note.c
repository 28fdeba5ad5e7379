#include "base/note.h"

#include <assert.h>
#include <sodium/crypto_hash_sha256.h>
#include <sodium/crypto_sign_ed25519.h>
#include <sodium/utils.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/utf8.h"

enum {
    SIGNATURE_SIZE = crypto_sign_ed25519_BYTES,
    TYPE_ED25519 = 1, /* the specification's signature type */
};

static_assert(NOTE_SEED_SIZE == crypto_sign_ed25519_SEEDBYTES && NOTE_PUBLIC_SIZE == crypto_sign_ed25519_PUBLICKEYBYTES,
              "Ed25519");

static const char private_prefix[] = "PRIVATE+KEY+";
static const char dash[] = "\xe2\x80\x94 "; /* an em dash and a blank */

/* ---- keys ---- */

static bool name_is_good(struct bytes name)
{
    if (name.size == 0 || name.size > NOTE_NAME_SIZE_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] > '~' || name.data[i] == '+')
            return false;
    return true;
}

/* Name and public key are set; the id follows from them. */
static void compute_id(struct note_key *key)
{
    static const uint8_t between[2] = {'\n', TYPE_ED25519};
    crypto_hash_sha256_state state;
    uint8_t hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, (const uint8_t *)key->name, strlen(key->name));
    crypto_hash_sha256_update(&state, between, sizeof(between));
    crypto_hash_sha256_update(&state, key->public_key, NOTE_PUBLIC_SIZE);
    crypto_hash_sha256_final(&state, hash);
    memcpy(key->id, hash, sizeof(key->id));
}

static void set_name(struct note_key *key, struct bytes name)
{
    memcpy(key->name, name.data, name.size);
    key->name[name.size] = '\0';
}

static void set_seed(struct note_key *key, const uint8_t seed[NOTE_SEED_SIZE])
{
    uint8_t expanded[crypto_sign_ed25519_SECRETKEYBYTES];

    (void)crypto_sign_ed25519_seed_keypair(key->public_key, expanded, seed);
    sodium_memzero(expanded, sizeof(expanded));
    memcpy(key->seed, seed, NOTE_SEED_SIZE);
    key->secret = true;
}

int note_key_make(const char *name, const uint8_t seed[NOTE_SEED_SIZE], struct note_key *ret_key)
{
    struct note_key key = {0};

    if (!name_is_good(bytes_from_string(name)))
        return NOTE_E_INVALID;
    set_name(&key, bytes_from_string(name));
    set_seed(&key, seed);
    compute_id(&key);
    *ret_key = key;
    note_key_deinit(&key);
    return 0;
}

void note_key_deinit(struct note_key *key)
{
    sodium_memzero(key, sizeof(*key));
}

/* Cuts off what stands before the next `+`. False: there is none. */
static bool cut(struct bytes *text, struct bytes *ret_part)
{
    const uint8_t *plus = text->size ? memchr(text->data, '+', text->size) : NULL;
    size_t size = plus ? (size_t)(plus - text->data) : 0;

    if (!plus)
        return false;
    *ret_part = bytes_slice(*text, 0, size);
    *text = bytes_slice(*text, size + 1, text->size);
    return true;
}

/* Base64 of the type and 32 bytes. The last part of a key may have a `+` of its own. */
static bool decode_key(struct bytes text, uint8_t ret_key[32])
{
    struct buffer bytes = {0};
    bool good = base64_decode(text, &bytes) == 0 && bytes.size == 33 && bytes.data[0] == TYPE_ED25519;

    if (good)
        memcpy(ret_key, bytes.data + 1, 32);
    if (bytes.data)
        sodium_memzero(bytes.data, bytes.size);
    buffer_deinit(&bytes);
    return good;
}

static bool has_id(const struct note_key *key, struct bytes text)
{
    _cleanup_(buffer_deinit) struct buffer id = {0};

    return hex_decode(text, &id) == 0 && bytes_equal(buffer_bytes(&id), bytes_make(key->id, sizeof(key->id)));
}

int note_key_parse(struct bytes text, struct note_key *ret_key)
{
    struct bytes prefix = bytes_from_string(private_prefix), name, id;
    _cleanup_(note_key_deinit) struct note_key key = {0};
    uint8_t bytes[32];

    while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1]))
        text.size--;
    bool secret = bytes_starts_with(text, prefix);
    if (secret)
        text = bytes_slice(text, prefix.size, text.size);
    if (!cut(&text, &name) || !cut(&text, &id) || !name_is_good(name) || !decode_key(text, bytes))
        return NOTE_E_INVALID;
    set_name(&key, name);
    if (secret)
        set_seed(&key, bytes);
    else
        memcpy(key.public_key, bytes, sizeof(bytes));
    sodium_memzero(bytes, sizeof(bytes));
    compute_id(&key);
    if (!has_id(&key, id))
        return NOTE_E_INVALID;
    *ret_key = key;
    return 0;
}

static int write_key(const struct note_key *key, const char *prefix, const uint8_t bytes[32], struct buffer *out)
{
    uint8_t typed[33] = {TYPE_ED25519};
    int r = buffer_printf(out, "%s%s+", prefix, key->name);

    memcpy(typed + 1, bytes, 32);
    if (r == 0)
        r = hex_encode(bytes_make(key->id, sizeof(key->id)), out);
    if (r == 0)
        r = buffer_append_byte(out, '+');
    if (r == 0)
        r = base64_encode(bytes_make(typed, sizeof(typed)), out);
    sodium_memzero(typed, sizeof(typed));
    return r;
}

int note_key_write_public(const struct note_key *key, struct buffer *out)
{
    return write_key(key, "", key->public_key, out);
}

int note_key_write_private(const struct note_key *key, struct buffer *out)
{
    assert(key->secret);
    return write_key(key, private_prefix, key->seed, out);
}

/* ---- notes ---- */

static bool text_is_good(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < ' ' && text.data[i] != '\n')
            return false;
    return text.size > 0 && text.data[text.size - 1] == '\n' && utf8_valid(text);
}

int note_sign(struct bytes text, const struct note_key *key, struct buffer *out)
{
    uint8_t expanded[crypto_sign_ed25519_SECRETKEYBYTES], public_key[NOTE_PUBLIC_SIZE], signature[4 + SIGNATURE_SIZE];

    assert(key->secret && text_is_good(text));
    memcpy(signature, key->id, 4);
    (void)crypto_sign_ed25519_seed_keypair(public_key, expanded, key->seed);
    (void)crypto_sign_ed25519_detached(signature + 4, NULL, text.data, text.size, expanded);
    sodium_memzero(expanded, sizeof(expanded));
    int r = buffer_append_bytes(out, text);
    if (r == 0)
        r = buffer_printf(out, "\n%s%s ", dash, key->name);
    if (r == 0)
        r = base64_encode(bytes_make(signature, sizeof(signature)), out);
    return r == 0 ? buffer_append_byte(out, '\n') : r;
}

static int fail(const char **ret_reason, int answer, const char *reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return answer;
}

/* The text ends before the last empty line. False: there is none. */
static bool split(struct bytes note, struct bytes *ret_text, struct bytes *ret_signatures)
{
    for (size_t i = note.size; i >= 2; i--) {
        if (note.data[i - 1] == '\n' && note.data[i - 2] == '\n') {
            *ret_text = bytes_slice(note, 0, i - 1);
            *ret_signatures = bytes_slice(note, i, note.size);
            return true;
        }
    }
    return false;
}

/* A signature line without its newline. False: it is none; else its name and the bytes of id and signature. */
static bool read_signature(struct bytes line, struct bytes *ret_name, struct buffer *bytes)
{
    struct bytes begin = bytes_from_string(dash);
    const uint8_t *blank;

    if (!bytes_starts_with(line, begin))
        return false;
    line = bytes_slice(line, begin.size, line.size);
    blank = line.size ? memchr(line.data, ' ', line.size) : NULL;
    if (!blank || blank == line.data)
        return false;
    *ret_name = bytes_slice(line, 0, (size_t)(blank - line.data));
    buffer_clear(bytes);
    return base64_decode(bytes_slice(line, ret_name->size + 1, line.size), bytes) == 0 && bytes->size > 4;
}

/* 0: it is this key's and holds; NOTE_E_UNSIGNED: another's. */
static int check_signature(struct bytes text, const struct note_key *key, struct bytes name,
                           const struct buffer *bytes)
{
    if (!bytes_equal_string(name, key->name) || memcmp(bytes->data, key->id, 4) != 0)
        return NOTE_E_UNSIGNED;
    if (bytes->size != 4 + SIGNATURE_SIZE ||
        crypto_sign_ed25519_verify_detached(bytes->data + 4, text.data, text.size, key->public_key) != 0)
        return NOTE_E_FORGED;
    return 0;
}

/* All lines are looked at: one of this key that does not hold spoils the note. */
static int check_signatures(struct bytes text, struct bytes lines, const struct note_key *key, const char **ret_reason)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {0};
    bool held = false;

    for (size_t count = 0; lines.size > 0; count++) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        struct bytes name;

        if (count == NOTE_SIGNATURE_COUNT_MAX)
            return fail(ret_reason, NOTE_E_INVALID, "it has more than 64 signatures");
        if (!end || !read_signature(bytes_slice(lines, 0, (size_t)(end - lines.data)), &name, &bytes))
            return fail(ret_reason, NOTE_E_INVALID, "a line below its text is no signature");
        int r = check_signature(text, key, name, &bytes);
        if (r == NOTE_E_FORGED)
            return fail(ret_reason, r, "its signature does not hold: it is not what the key's owner signed");
        held = held || r == 0;
        lines = bytes_slice(lines, (size_t)(end - lines.data) + 1, lines.size);
    }
    return held ? 0 : fail(ret_reason, NOTE_E_UNSIGNED, "it is not signed with this key");
}

int note_open(struct bytes note, const struct note_key *key, struct bytes *ret_text, const char **ret_reason)
{
    struct bytes text, signatures;

    static_assert(NOTE_SIGNATURE_COUNT_MAX == 64 && NOTE_SIZE_MAX == 65536, "the sentences say the numbers");
    if (note.size > NOTE_SIZE_MAX)
        return fail(ret_reason, NOTE_E_INVALID, "it is larger than 65536 bytes");
    if (!text_is_good(note))
        return fail(ret_reason, NOTE_E_INVALID, "it is not UTF-8, has control characters, or does not end with a newline");
    if (!split(note, &text, &signatures) || !text_is_good(text))
        return fail(ret_reason, NOTE_E_INVALID, "it has no empty line before its signatures");
    int r = check_signatures(text, signatures, key, ret_reason);
    if (r == 0)
        *ret_text = text;
    return r;
}
