#include "lib/cmocka_all.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/hashmap.h"
#include "base/hex.h"

static void crc32c_gives_the_checksums_of_rfc_3720(void **state)
{
    uint8_t zeros[32] = {0}, ones[32], rising[32];

    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < sizeof(rising); i++)
        rising[i] = (uint8_t)i;
    assert_int_equal(crc32c(bytes_make(zeros, 32)), 0x8a9136aa);
    assert_int_equal(crc32c(bytes_make(ones, 32)), 0x62a8ab43);
    assert_int_equal(crc32c(bytes_make(rising, 32)), 0x46dd794e);
    assert_int_equal(crc32c(BYTES_LITERAL("123456789")), 0xe3069283);
    assert_int_equal(crc32c((struct bytes){0}), 0);
}

static void both_ways_to_compute_crc32c_agree_at_every_size_and_place(void **state)
{
    _cleanup_(freep) uint8_t *data = malloc(8192);

    assert_non_null(data);
    for (size_t i = 0; i < 8192; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    if (!crc32c_has_hardware())
        skip();
    for (size_t size = 0; size < 5000; size += size < 40 ? 1 : 37) {
        struct bytes bytes = bytes_make(data + size % 9, size);

        assert_int_equal(crc32c_extend_hardware(7, bytes), crc32c_extend_software(7, bytes));
        assert_int_equal(
            crc32c_extend(crc32c(bytes_slice(bytes, 0, size / 3)), bytes_slice(bytes, size / 3, size)),
            crc32c(bytes));
    }
}

static void blake2b_gives_its_published_digest_whole_or_in_pieces(void **state)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct hash_blake_state pieces;
    struct hash256 hash = hash_blake(BYTES_LITERAL("abc"), (struct bytes){0}), other;

    assert_ok(hex_encode(bytes_make(hash.data, sizeof(hash.data)), &text));
    assert_string_equal(buffer_string(&text),
                        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    hash_blake_init(&pieces, (struct bytes){0});
    hash_blake_update(&pieces, BYTES_LITERAL("a"));
    hash_blake_update(&pieces, BYTES_LITERAL("bc"));
    other = hash_blake_final(&pieces);
    assert_true(hash256_equal(hash, other));
    other = hash_blake(BYTES_LITERAL("abc"), BYTES_LITERAL("sixteen byte key"));
    assert_false(hash256_equal(hash, other));
}

static void keyed_hashes_depend_on_the_key_and_on_every_byte(void **state)
{
    const uint8_t key[HASH_SIP_KEY_SIZE] = {1}, other_key[HASH_SIP_KEY_SIZE] = {2};
    struct hash128 hash = hash_sip128(BYTES_LITERAL("t:RoomBooked"), key);

    assert_true(hash128_equal(hash, hash_sip128(BYTES_LITERAL("t:RoomBooked"), key)));
    assert_false(hash128_equal(hash, hash_sip128(BYTES_LITERAL("t:RoomBooked"), other_key)));
    assert_false(hash128_equal(hash, hash_sip128(BYTES_LITERAL("t:RoomBookee"), key)));
    assert_true(hash_fast64(BYTES_LITERAL("a"), 0) != hash_fast64(BYTES_LITERAL("a\0"), 0));
    assert_true(hash_fast64(BYTES_LITERAL("a"), 0) != hash_fast64(BYTES_LITERAL("a"), 1));
}

/* The law: a map holds what an array of flags says it holds, after any mixture of puts and removes. */
static void a_map_agrees_with_an_array_after_a_hundred_thousand_changes(void **state)
{
    enum { KEYS = 4096 };
    _cleanup_(hashmap_deinit) struct hashmap map = {0};
    _cleanup_(freep) uint64_t *model = calloc(KEYS, sizeof(*model));
    size_t count = 0, walked = 0;
    uint32_t random = 1;

    assert_non_null(model);
    for (int i = 0; i < 100000; i++) {
        size_t index = (random = random * 1664525 + 1013904223) >> 8 & (KEYS - 1);
        struct hash128 key = {.low = index % 64, .high = index / 64}; /* {0, 0} is one of them */

        if (random >> 28 < 9) {
            assert_ok(hashmap_put(&map, key, (uint64_t)i + 1));
            count += model[index] == 0;
            model[index] = (uint64_t)i + 1;
        } else {
            assert_int_equal(hashmap_remove(&map, key), model[index] != 0);
            count -= model[index] != 0;
            model[index] = 0;
        }
        assert_int_equal(hashmap_count(&map), count);
    }
    for (size_t index = 0; index < KEYS; index++) {
        uint64_t *value = hashmap_find(&map, (struct hash128){.low = index % 64, .high = index / 64});

        assert_int_equal(value ? *value : 0, model[index]);
    }
    for (struct hashmap_cursor at = {0}; hashmap_next(&map, &at); walked++)
        assert_int_equal(*at.value, model[at.key.high * 64 + at.key.low]);
    assert_int_equal(walked, count);
}

static void an_empty_map_finds_and_removes_nothing(void **state)
{
    struct hashmap map = {0};
    struct hashmap_cursor at = {0};

    assert_null(hashmap_find(&map, (struct hash128){.low = 1}));
    assert_null(hashmap_find(&map, (struct hash128){0}));
    assert_false(hashmap_remove(&map, (struct hash128){.low = 1}));
    assert_false(hashmap_next(&map, &at));
    hashmap_deinit(&map);
}

/* Four texts side by side must not see each other: every size around the ends of blocks, each beside others, and keys or
 * none, as libsodium has it. */
static void many_texts_hash_to_what_each_of_them_hashes_to(void **state)
{
    enum { COUNT = 7, SIZE_TRIED = 520 };
    uint8_t data[SIZE_TRIED + COUNT * 131];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 2654435761u >> 11);
    for (size_t size = 0; size <= SIZE_TRIED; size++) {
        struct hash_blake_text texts[COUNT];

        for (size_t i = 0; i < COUNT; i++)
            texts[i] = (struct hash_blake_text){.text = bytes_make(data + i, size + (size % 3 == 0 ? i * 131 : 0)),
                                                .key = bytes_make(data + 7 * i, (size + i) % 5 * 16)};
        hash_blake_many(texts, size % (COUNT + 1));
        for (size_t i = 0; i < size % (COUNT + 1); i++)
            assert_true(hash256_equal(texts[i].hash, hash_blake(texts[i].text, texts[i].key)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_checksums_of_rfc_3720),
        cmocka_unit_test(both_ways_to_compute_crc32c_agree_at_every_size_and_place),
        cmocka_unit_test(blake2b_gives_its_published_digest_whole_or_in_pieces),
        cmocka_unit_test(many_texts_hash_to_what_each_of_them_hashes_to),
        cmocka_unit_test(keyed_hashes_depend_on_the_key_and_on_every_byte),
        cmocka_unit_test(a_map_agrees_with_an_array_after_a_hundred_thousand_changes),
        cmocka_unit_test(an_empty_map_finds_and_removes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
