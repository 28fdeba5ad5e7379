#pragma once

/*
 * The three hashes of daybook, each for one purpose:
 *
 *   hash_sip128   keyed, 128 bits (SipHash-2-4): names what comes from outside (index terms) in tables, so that
 *                 nobody without the key can make two collide
 *   hash_blake*   256 bits (BLAKE2b): what must not be forged or mistaken, like the chain over the log
 *   hash_fast64   unkeyed, in memory only, for data nobody hostile chooses; may change with any version
 */

#include <sodium/crypto_generichash_blake2b.h>
#include <stdint.h>

#include "base/bytes.h"

#define HASH_SIP_KEY_SIZE 16
#define HASH_BLAKE_SIZE   32

#define HASH_BLAKE_KEY_SIZE_MAX 64

struct hash128 {
    uint64_t low, high;
};

struct hash256 {
    uint8_t data[HASH_BLAKE_SIZE];
};

static inline bool hash128_equal(struct hash128 a, struct hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

static inline bool hash256_equal(struct hash256 a, struct hash256 b)
{
    return memcmp(a.data, b.data, sizeof(a.data)) == 0;
}

struct hash128 hash_sip128(struct bytes bytes, const uint8_t key[HASH_SIP_KEY_SIZE]);

/* BLAKE2b-256 of the bytes, keyed when key is not empty. A key has 1 to 64 bytes. */
struct hash256 hash_blake(struct bytes bytes, struct bytes key);

/* The same of many texts, each with its key or an empty one; `hash` is filled in. On a processor with AVX2 four of them take
 * little longer than one, best if they are about as long as each other. Keys and texts should be no secret: what is left of
 * them on the stack is not wiped. */
struct hash_blake_text {
    struct bytes text, key;
    struct hash256 hash;
};

void hash_blake_many(struct hash_blake_text *texts, size_t count);

/* The same in pieces: init, update as often as needed, final once. */
struct hash_blake_state {
    crypto_generichash_blake2b_state state;
};

void hash_blake_init(struct hash_blake_state *state, struct bytes key);
void hash_blake_update(struct hash_blake_state *state, struct bytes bytes);
struct hash256 hash_blake_final(struct hash_blake_state *state);

uint64_t hash_fast64(struct bytes bytes, uint64_t seed);
