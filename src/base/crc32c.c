/*
 * In software: eight bytes a step by eight tables ("slicing"): table k holds what a byte still contributes
 * after k further bytes have passed.
 *
 * In hardware: the instruction takes 3 cycles but a new one can start every cycle, so three neighbouring
 * lanes of LANE_SIZE bytes are computed side by side. A checksum is linear: that of "a, then n bytes" is a's
 * register pushed through n zero bytes, xored with that of the n bytes begun at 0. Pushing through LANE_SIZE
 * zeros is a fixed linear map of 32 bits, kept as four tables of 256.
 *
 * The tables are computed before main, once, so that no call has to look whether they are there.
 */
#include "base/crc32c.h"

#include <assert.h>

#define POLYNOMIAL UINT32_C(0x82f63b78) /* 0x1edc6f41, bits reversed */
#define LANE_SIZE  512

static uint32_t slices[8][256];
static uint32_t lane_shift[4][256]; /* by the byte of the register it comes from */
static bool has_hardware;

static uint32_t push_zero_byte(uint32_t crc)
{
    return slices[0][crc & 0xff] ^ crc >> 8;
}

static uint32_t push_zero_lane(uint32_t crc)
{
    for (size_t i = 0; i < LANE_SIZE; i++)
        crc = push_zero_byte(crc);
    return crc;
}

static void fill_lane_shift(void)
{
    uint32_t
        bits[32]; /* where each single bit of the register ends up: the rest follows, the map being linear */

    for (size_t bit = 0; bit < 32; bit++)
        bits[bit] = push_zero_lane(UINT32_C(1) << bit);
    for (size_t byte = 0; byte < 4; byte++) {
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t sum = 0;

            for (uint32_t bit = 0; bit < 8; bit++)
                sum ^= value >> bit & 1 ? bits[byte * 8 + bit] : 0;
            lane_shift[byte][value] = sum;
        }
    }
}

__attribute__((constructor)) static void fill_tables(void)
{
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t crc = value;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        slices[0][value] = crc;
    }
    for (size_t k = 1; k < 8; k++) {
        for (size_t value = 0; value < 256; value++)
            slices[k][value] = push_zero_byte(slices[k - 1][value]);
    }
    fill_lane_shift();
#if defined(__x86_64__)
    has_hardware = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t crc32c_extend_software(uint32_t crc, struct bytes bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    for (; left >= 8; p += 8, left -= 8) {
        uint64_t word = bytes_get_u64(p) ^ crc;

        crc = 0;
        for (size_t k = 0; k < 8; k++)
            crc ^= slices[7 - k][word >> (8 * k) & 0xff];
    }
    for (; left > 0; p++, left--)
        crc = slices[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return ~crc;
}

bool crc32c_has_hardware(void)
{
    return has_hardware;
}

#if defined(__x86_64__)

static uint32_t shift_lane(uint32_t crc)
{
    return lane_shift[0][crc & 0xff] ^ lane_shift[1][crc >> 8 & 0xff] ^ lane_shift[2][crc >> 16 & 0xff] ^
           lane_shift[3][crc >> 24];
}

/* Three lanes from p on; the register before and after them. */
__attribute__((target("sse4.2"))) static uint32_t three_lanes(uint32_t crc, const uint8_t *p)
{
    uint64_t a = crc, b = 0, c = 0;

    for (size_t i = 0; i < LANE_SIZE; i += 8) {
        a = __builtin_ia32_crc32di(a, bytes_get_u64(p + i));
        b = __builtin_ia32_crc32di(b, bytes_get_u64(p + LANE_SIZE + i));
        c = __builtin_ia32_crc32di(c, bytes_get_u64(p + 2 * (size_t)LANE_SIZE + i));
    }
    return shift_lane(shift_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_extend_hardware(uint32_t crc, struct bytes bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    for (; left >= 3 * (size_t)LANE_SIZE; p += 3 * (size_t)LANE_SIZE, left -= 3 * (size_t)LANE_SIZE)
        crc = three_lanes(crc, p);
    for (; left >= 8; p += 8, left -= 8)
        crc = (uint32_t)__builtin_ia32_crc32di(crc, bytes_get_u64(p));
    for (; left > 0; p++, left--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return ~crc;
}

#else

uint32_t crc32c_extend_hardware(uint32_t crc, struct bytes bytes)
{
    return crc32c_extend_software(crc, bytes);
}

#endif

uint32_t crc32c_extend(uint32_t crc, struct bytes bytes)
{
    return has_hardware ? crc32c_extend_hardware(crc, bytes) : crc32c_extend_software(crc, bytes);
}

uint32_t crc32c(struct bytes bytes)
{
    return crc32c_extend(0, bytes);
}
