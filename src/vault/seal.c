/* Sealed bodies: docs/formats/event.md, body format 2. */

#include <assert.h>
#include <sodium.h>

#include "vault/internal.h"

enum { FORMAT = 2, AT_FLAGS = 1, AT_RESERVED = 2, AT_FINGERPRINT = 4, AT_NONCE = 20, FLAG_SEALED = 1 };

static_assert(VAULT_SECRET_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "a key is the cipher's");
static_assert(VAULT_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "so is a nonce");
static_assert(AT_NONCE + VAULT_NONCE_SIZE == VAULT_SEALED_HEAD_SIZE, "the fields lie side by side");
static_assert(VAULT_SEALED_EXTRA == VAULT_SEALED_HEAD_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES,
              "and the tag behind them");

size_t vault_sealed_size(size_t size)
{
    return size + VAULT_SEALED_EXTRA;
}

/* Whoever can fetch keys asks for them then. */
static void note_missed(struct vault *vault, struct vault_id fingerprint)
{
    os_rwlock_write(&vault->lock);
    vault->missed = fingerprint;
    vault->has_missed = true;
    os_rwlock_unlock(&vault->lock);
}

/* A copy, so that no lock is held while the cipher runs. To be wiped. */
static int copy_key(struct vault *vault, struct vault_id fingerprint, uint8_t ret_secret[VAULT_SECRET_SIZE])
{
    int answer = VAULT_E_MISSING;
    if (!vault)
        return answer;
    os_rwlock_read(&vault->lock);
    const struct key *key = vault_find_key(vault, fingerprint, &answer);
    if (key)
        memcpy(ret_secret, key->secret, sizeof(key->secret));
    os_rwlock_unlock(&vault->lock);
    if (answer == VAULT_E_MISSING)
        note_missed(vault, fingerprint);
    return answer;
}

int vault_seal(struct vault *vault, const struct vault_id *fingerprint, const uint8_t nonce[VAULT_NONCE_SIZE],
               struct bytes bound, struct bytes plain, uint8_t *to)
{
    uint8_t secret[VAULT_SECRET_SIZE];
    int r = copy_key(vault, *fingerprint, secret);
    if (r != 0)
        return r;
    to[0] = FORMAT;
    to[AT_FLAGS] = FLAG_SEALED;
    bytes_put_u16(to + AT_RESERVED, 0);
    memcpy(to + AT_FINGERPRINT, fingerprint, sizeof(*fingerprint));
    memcpy(to + AT_NONCE, nonce, VAULT_NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(to + VAULT_SEALED_HEAD_SIZE, NULL, plain.data,
                                                     plain.size, bound.data, bound.size, NULL, nonce, secret);
    explicit_bzero(secret, sizeof(secret));
    return 0;
}

const char *vault_sealed_check(struct bytes sealed, struct vault_id *ret_fingerprint)
{
    if (sealed.size < VAULT_SEALED_EXTRA || sealed.data[0] != FORMAT)
        return "the body is not a sealed one";
    if (sealed.data[AT_FLAGS] != FLAG_SEALED)
        return "unknown flags in the sealed body";
    if (bytes_get_u16(sealed.data + AT_RESERVED) != 0)
        return "reserved bytes of the sealed body must be 0";
    memcpy(ret_fingerprint, sealed.data + AT_FINGERPRINT, sizeof(*ret_fingerprint));
    return NULL;
}

int vault_unseal(struct vault *vault, struct bytes bound, struct bytes sealed, struct buffer *plain)
{
    struct vault_id fingerprint;
    uint8_t secret[VAULT_SECRET_SIZE], *to;
    if (vault_sealed_check(sealed, &fingerprint))
        return VAULT_E_FORGED;
    int r = copy_key(vault, fingerprint, secret);
    if (r != 0)
        return r;
    buffer_clear(plain);
    r = buffer_extend(plain, sealed.size - VAULT_SEALED_EXTRA, &to);
    if (r == 0 &&
        crypto_aead_xchacha20poly1305_ietf_decrypt(to, NULL, NULL, sealed.data + VAULT_SEALED_HEAD_SIZE,
                                                   sealed.size - VAULT_SEALED_HEAD_SIZE, bound.data,
                                                   bound.size, sealed.data + AT_NONCE, secret) != 0)
        r = VAULT_E_FORGED;
    explicit_bzero(secret, sizeof(secret));
    if (r != 0)
        buffer_clear(plain);
    return r;
}

bool vault_misses(struct vault *vault, struct bytes sealed)
{
    struct vault_id fingerprint;
    int answer;
    if (vault_sealed_check(sealed, &fingerprint))
        return false;
    os_rwlock_read(&vault->lock);
    (void)vault_find_key(vault, fingerprint, &answer);
    os_rwlock_unlock(&vault->lock);
    if (answer == VAULT_E_MISSING)
        note_missed(vault, fingerprint);
    return answer == VAULT_E_MISSING;
}

bool vault_is_missing(struct vault *vault)
{
    int answer = 0;
    os_rwlock_read(&vault->lock);
    if (vault->has_missed)
        (void)vault_find_key(vault, vault->missed, &answer);
    os_rwlock_unlock(&vault->lock);
    return answer == VAULT_E_MISSING;
}
