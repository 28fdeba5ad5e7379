#include "base/hash.h"

#include <assert.h>
#include <sodium/core.h>
#include <sodium/crypto_shorthash_siphash24.h>

static_assert(HASH_SIP_KEY_SIZE == crypto_shorthash_siphashx24_KEYBYTES, "SipHash's key");
static_assert(sizeof(struct hash128) == crypto_shorthash_siphashx24_BYTES, "SipHash's output");

/* Before anything else runs: libsodium looks which instructions the processor has (BLAKE2b is three times as
 * fast with AVX2). Without it the results are the same. */
__attribute__((constructor)) static void choose_implementations(void)
{
    int r = sodium_init(); /* 0, or 1: somebody was earlier */

    assert(r >= 0);
}

struct hash128 hash_sip128(struct bytes bytes, const uint8_t key[HASH_SIP_KEY_SIZE])
{
    uint8_t out[crypto_shorthash_siphashx24_BYTES];

    (void)crypto_shorthash_siphashx24(out, bytes.data, bytes.size, key);
    return (struct hash128){.low = bytes_get_u64(out), .high = bytes_get_u64(out + 8)};
}

void hash_blake_init(struct hash_blake_state *state, struct bytes key)
{
    int r = crypto_generichash_blake2b_init(&state->state, key.data, key.size, HASH_BLAKE_SIZE);

    assert(r == 0); /* it fails for sizes out of range only, which is the contract */
}

void hash_blake_update(struct hash_blake_state *state, struct bytes bytes)
{
    (void)crypto_generichash_blake2b_update(&state->state, bytes.data, bytes.size);
}

struct hash256 hash_blake_final(struct hash_blake_state *state)
{
    struct hash256 hash;

    (void)crypto_generichash_blake2b_final(&state->state, hash.data, sizeof(hash.data));
    return hash;
}

struct hash256 hash_blake(struct bytes bytes, struct bytes key)
{
    struct hash_blake_state state;

    hash_blake_init(&state, key);
    hash_blake_update(&state, bytes);
    return hash_blake_final(&state);
}

/* Multiplies to 128 bits and folds the halves: every bit of the input reaches every bit of the output. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_fast64(struct bytes bytes, uint64_t seed)
{
    /* Odd numbers with about as many ones as zeros: the fractions of the golden ratio and of pi. */
    const uint64_t k1 = UINT64_C(0x9e3779b97f4a7c15), k2 = UINT64_C(0x243f6a8885a308d3);
    uint64_t hash = seed ^ fold(bytes.size ^ k1, k2), last = 0;
    size_t offset = 0;

    for (; bytes.size - offset >= 8; offset += 8)
        hash = fold(hash ^ bytes_get_u64(bytes.data + offset) ^ k1, k2 ^ hash);
    if (offset < bytes.size)
        memcpy(&last, bytes.data + offset, bytes.size - offset);
    return fold(hash ^ last ^ k2, k1);
}
