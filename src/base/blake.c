/*
 * BLAKE2b (RFC 7693) of many texts. Of one text each step waits for the step before it, and most of the processor idles;
 * texts do not wait for each other. Word i of the states of four texts lies in one register of 256 bits, and all four take
 * every step together. libsodium, which hashes everything else, knows one text at a time; the test holds the two against
 * each other at every size.
 *
 * Texts of different sizes go together too: a lane whose text has ended goes on with zeros, and nobody looks at it.
 */
#include "base/hash.h"

#include <assert.h>

enum { LANES = 4, BLOCK_SIZE = 128, WORDS = 16, ROUNDS = 12 };

static void hash_alone(struct hash_blake_text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        texts[i].hash = hash_blake(texts[i].text, texts[i].key);
}

#if defined(__x86_64__)

#include <immintrin.h>

/* Everything that touches a wide register is inlined into one function, so that they stay registers. */
#define WIDE __attribute__((target("avx2")))
#define WIDE_INLINE static inline __attribute__((target("avx2"), always_inline))

static const uint64_t initial[8] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
    UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
    UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};

/* Which words of the block a round takes, in its order. */
static const uint8_t schedule[ROUNDS][WORDS] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static bool has_wide;

__attribute__((constructor)) static void look_at_processor(void)
{
    has_wide = __builtin_cpu_supports("avx2");
}

/* ---- four blocks ---- */

/* One block of each lane, and what the compression is told about it. */
struct blocks {
    const uint8_t *data[LANES];
    uint64_t done[LANES]; /* bytes so far, this block included */
    uint64_t last[LANES]; /* all ones for a lane's last block */
};

/* Words 4·i to 4·i + 3 of the four blocks, turned so that each register has one word of all. */
WIDE_INLINE void turn(const struct blocks *blocks, size_t i, __m256i *ret_words)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(blocks->data[0] + 32 * i));
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(blocks->data[1] + 32 * i));
    __m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(blocks->data[2] + 32 * i));
    __m256i d = _mm256_loadu_si256((const __m256i *)(const void *)(blocks->data[3] + 32 * i));
    __m256i even_ab = _mm256_unpacklo_epi64(a, b), odd_ab = _mm256_unpackhi_epi64(a, b);
    __m256i even_cd = _mm256_unpacklo_epi64(c, d), odd_cd = _mm256_unpackhi_epi64(c, d);

    ret_words[0] = _mm256_permute2x128_si256(even_ab, even_cd, 0x20);
    ret_words[1] = _mm256_permute2x128_si256(odd_ab, odd_cd, 0x20);
    ret_words[2] = _mm256_permute2x128_si256(even_ab, even_cd, 0x31);
    ret_words[3] = _mm256_permute2x128_si256(odd_ab, odd_cd, 0x31);
}

/* Rotations of each word to the right; by whole bytes a shuffle does it. */
WIDE_INLINE __m256i rotate_32(__m256i x)
{
    return _mm256_shuffle_epi32(x, 0xb1);
}

WIDE_INLINE __m256i rotate_24(__m256i x)
{
    return _mm256_shuffle_epi8(x, _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3, 4, 5, 6, 7,
                                                   0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10));
}

WIDE_INLINE __m256i rotate_16(__m256i x)
{
    return _mm256_shuffle_epi8(x, _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2, 3, 4, 5, 6,
                                                   7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9));
}

WIDE_INLINE __m256i rotate_63(__m256i x)
{
    return _mm256_xor_si256(_mm256_srli_epi64(x, 63), _mm256_add_epi64(x, x));
}

/* The mixing function G of RFC 7693, section 3.1, on four of the sixteen words of the state. */
WIDE_INLINE void mix(__m256i *v, size_t a, size_t b, size_t c, size_t d, __m256i x, __m256i y)
{
    v[a] = _mm256_add_epi64(_mm256_add_epi64(v[a], v[b]), x);
    v[d] = rotate_32(_mm256_xor_si256(v[d], v[a]));
    v[c] = _mm256_add_epi64(v[c], v[d]);
    v[b] = rotate_24(_mm256_xor_si256(v[b], v[c]));
    v[a] = _mm256_add_epi64(_mm256_add_epi64(v[a], v[b]), y);
    v[d] = rotate_16(_mm256_xor_si256(v[d], v[a]));
    v[c] = _mm256_add_epi64(v[c], v[d]);
    v[b] = rotate_63(_mm256_xor_si256(v[b], v[c]));
}

/* Columns, then diagonals. */
WIDE_INLINE void mix_round(__m256i *v, const __m256i *m, const uint8_t *s)
{
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
}

/* The compression function F, section 3.2; `h` is eight words of each lane. */
WIDE static void compress(uint64_t h[8][LANES], const struct blocks *blocks)
{
    __m256i v[WORDS], m[WORDS];

    for (size_t i = 0; i < 4; i++)
        turn(blocks, i, m + 4 * i);
    for (size_t i = 0; i < 8; i++) {
        v[i] = _mm256_loadu_si256((const __m256i *)(const void *)h[i]);
        v[i + 8] = _mm256_set1_epi64x((long long)initial[i]);
    }
    v[12] = _mm256_xor_si256(v[12], _mm256_loadu_si256((const __m256i *)(const void *)blocks->done));
    v[14] = _mm256_xor_si256(v[14], _mm256_loadu_si256((const __m256i *)(const void *)blocks->last));
#pragma GCC unroll 12
    for (size_t round = 0; round < ROUNDS; round++)
        mix_round(v, m, schedule[round]);
    for (size_t i = 0; i < 8; i++) {
        __m256i before = _mm256_loadu_si256((const __m256i *)(const void *)h[i]);

        before = _mm256_xor_si256(before, _mm256_xor_si256(v[i], v[i + 8]));
        _mm256_storeu_si256((__m256i *)(void *)h[i], before);
    }
}

/* ---- four texts ---- */

/* A key stands in front of the text, filled up to a block. */
static uint64_t size_of(const struct hash_blake_text *text)
{
    return (text->key.size > 0 ? BLOCK_SIZE : 0) + (uint64_t)text->text.size;
}

static uint64_t block_count(const struct hash_blake_text *text)
{
    uint64_t size = size_of(text);

    return size == 0 ? 1 : (size - 1) / BLOCK_SIZE + 1;
}

/* The number-th block: where it lies, or, filled up with zeros, in `room`. */
static const uint8_t *block_of(const struct hash_blake_text *text, uint64_t number, uint8_t room[BLOCK_SIZE])
{
    struct bytes left = text->key;

    if (text->key.size == 0 || number > 0)
        left = bytes_slice(text->text, (size_t)(number - (text->key.size > 0)) * BLOCK_SIZE, BLOCK_SIZE);
    if (left.size == BLOCK_SIZE)
        return left.data;
    memset(room, 0, BLOCK_SIZE);
    if (left.size > 0)
        memcpy(room, left.data, left.size);
    return room;
}

static void take_hash(uint64_t h[8][LANES], size_t lane, struct hash256 *ret_hash)
{
    for (size_t i = 0; i < HASH_BLAKE_SIZE / 8; i++)
        bytes_put_u64(ret_hash->data + 8 * i, h[i][lane]);
}

static void hash_four(struct hash_blake_text texts[LANES])
{
    uint8_t room[LANES][BLOCK_SIZE];
    uint64_t h[8][LANES], counts[LANES], most = 0;

    for (size_t lane = 0; lane < LANES; lane++) {
        assert(texts[lane].key.size <= HASH_BLAKE_KEY_SIZE_MAX);
        counts[lane] = block_count(&texts[lane]);
        most = counts[lane] > most ? counts[lane] : most;
        for (size_t i = 0; i < 8; i++)
            h[i][lane] = initial[i];
        h[0][lane] ^= 0x01010000 ^ texts[lane].key.size << 8 ^ HASH_BLAKE_SIZE;
    }
    for (uint64_t number = 0; number < most; number++) {
        struct blocks blocks;

        for (size_t lane = 0; lane < LANES; lane++) {
            bool last = number + 1 >= counts[lane];

            blocks.data[lane] = block_of(&texts[lane], number, room[lane]);
            blocks.done[lane] = last ? size_of(&texts[lane]) : (number + 1) * BLOCK_SIZE;
            blocks.last[lane] = last ? UINT64_MAX : 0;
        }
        compress(h, &blocks);
        for (size_t lane = 0; lane < LANES; lane++) {
            if (number + 1 == counts[lane])
                take_hash(h, lane, &texts[lane].hash);
        }
    }
}

void hash_blake_many(struct hash_blake_text *texts, size_t count)
{
    for (; has_wide && count >= LANES; texts += LANES, count -= LANES)
        hash_four(texts);
    hash_alone(texts, count);
}

#else

void hash_blake_many(struct hash_blake_text *texts, size_t count)
{
    hash_alone(texts, count);
}

#endif
