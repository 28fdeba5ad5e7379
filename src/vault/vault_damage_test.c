/* P6 for the vault (K5): every bit of both files is flipped, one at a time. Each flip is refused by name or mended and said; none
 * loses a key that sealed something, none brings back what was erased, and none gets into a backup that was good. */
#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "lib/sim_disk.h"
#include "vault/slot.h"
#include "vault/vault.h"

#define FOLDER  "keys"
#define B(text) BYTES_LITERAL(text)

enum { ANA, BO, CID, KEYS };

static const char *const subjects[KEYS] = {"ana", "bo", "cid"};

struct stage {
    struct sim_disk *disk;
    struct vault_id keys[KEYS];
    uint8_t sealed[KEYS][VAULT_SEALED_EXTRA + 3];
    struct vault_fence fence;  /* Bo's */
    struct vault_witness witness;
    bool log_is_lost; /* the witness knows nothing */
    unsigned notices;
};

static int testify(void *user, struct vault_evidence *evidence)
{
    const struct stage *stage = user;
    for (unsigned i = 0; i < KEYS && !stage->log_is_lost; i++)
        assert_ok(vault_evidence_add_key(evidence, &stage->keys[i], 10 + i));
    return stage->log_is_lost ? 0 : vault_evidence_add_fence(evidence, &stage->fence);
}

static void on_notice(void *user, const char *sentence)
{
    struct stage *stage = user;
    assert_non_null(strstr(sentence, "at byte"));
    stage->notices++;
}

static int open_folder(struct stage *stage, const char *folder, bool give_up, struct vault **ret_vault, char *error)
{
    const struct vault_options options = {.file = sim_disk_ops(stage->disk),
                                          .witness = stage->witness,
                                          .give_up = give_up,
                                          .on_notice = on_notice,
                                          .user = stage};
    stage->notices = 0;
    return vault_open(folder, &options, ret_vault, error);
}

static int unseal(const struct stage *stage, struct vault *vault, unsigned key)
{
    _cleanup_(buffer_deinit) struct buffer plain = {0};
    return vault_unseal(vault, B("head"), bytes_make(stage->sealed[key], sizeof(stage->sealed[key])), &plain);
}

static void seal(struct stage *stage, struct vault *vault, unsigned key)
{
    static const uint8_t nonce[VAULT_NONCE_SIZE] = {7};
    assert_ok(vault_key(vault, bytes_from_string(subjects[key]), &stage->keys[key]));
    assert_ok(vault_sync(vault));
    assert_ok(vault_seal(vault, &stage->keys[key], nonce, B("head"), B("Ana"), stage->sealed[key]));
}

/* Three keys, of which one is erased; "old" is a backup from before that, "backup" one from after it. */
static void stage_init(struct stage *stage)
{
    char error[256];
    struct vault *vault;
    *stage = (struct stage){.disk = sim_disk_new()};
    assert_ok(open_folder(stage, FOLDER, false, &vault, error));
    for (unsigned i = 0; i < KEYS; i++)
        seal(stage, vault, i);
    assert_ok(vault_backup(FOLDER, "old", sim_disk_ops(stage->disk), NULL, error));
    stage->fence = (struct vault_fence){.fingerprint = stage->keys[BO],
                                        .subject = vault_subject(vault, B("bo")),
                                        .position = 20,
                                        .time_us = 7};
    assert_ok(vault_fence(vault, &stage->fence));
    assert_ok(vault_fence_done(vault, 20));
    vault_close(vault);
    assert_ok(vault_backup(FOLDER, "backup", sim_disk_ops(stage->disk), NULL, error));
    stage->witness = (struct vault_witness){.ask = testify, .user = stage};
}

static void copy_file(struct stage *stage, const char *from, const char *to)
{
    const struct os_file_ops *ops = sim_disk_ops(stage->disk);
    struct buffer *content = sim_disk_content(stage->disk, from);
    int file;
    assert_ok(ops->open(ops, to, OS_FILE_WRITE | OS_FILE_CREATE | OS_FILE_TRUNCATE, &file));
    assert_ok(os_file_write_full(ops, file, content->data, content->size, 0));
    assert_ok(ops->close(ops, file));
}

static void put_back(struct stage *stage)
{
    copy_file(stage, "good/keys", FOLDER "/keys");
    copy_file(stage, "good/fences", FOLDER "/fences");
    copy_file(stage, "good-old/keys", "old/keys");
    copy_file(stage, "good-old/fences", "old/fences");
}

static void remember(struct stage *stage)
{
    copy_file(stage, FOLDER "/keys", "good/keys");
    copy_file(stage, FOLDER "/fences", "good/fences");
    copy_file(stage, "old/keys", "good-old/keys");
    copy_file(stage, "old/fences", "good-old/fences");
}

/* What was sealed is there, and what was erased is not. */
static void compare(struct stage *stage, const char *folder)
{
    char error[256];
    struct vault *vault;
    assert_ok(open_folder(stage, folder, false, &vault, error));
    assert_int_equal(stage->notices, 0);
    assert_ok(unseal(stage, vault, ANA));
    assert_int_equal(unseal(stage, vault, BO), VAULT_E_ERASED);
    assert_ok(unseal(stage, vault, CID));
    vault_close(vault);
}

struct seen {
    const char *file;
    uint64_t offset;
    unsigned count, torn;
};

static void on_damage(void *user, const struct vault_damage *damage)
{
    struct seen *seen = user;
    assert_string_equal(damage->file, seen->file);
    assert_int_equal(damage->offset, seen->offset);
    seen->count++;
    seen->torn += damage->torn;
}

static void check_names(struct stage *stage, const char *file, uint64_t offset)
{
    _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
    struct seen seen = {.file = file, .offset = offset};
    assert_ok(testify(stage, &evidence));
    assert_ok(vault_check(FOLDER, sim_disk_ops(stage->disk), &evidence, on_damage, &seen, NULL));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.torn, 0);
}

static void try_to_open(struct stage *stage, const char *file, uint64_t offset)
{
    char error[256], place[64];
    struct vault *vault;
    int r = open_folder(stage, FOLDER, false, &vault, error);
    snprintf(place, sizeof(place), "keys/%s is damaged at byte %llu", file, (unsigned long long)offset);
    if (r == 0) {
        assert_int_equal(stage->notices, 1);
        vault_close(vault);
        compare(stage, FOLDER);
    } else {
        assert_int_equal(r, VAULT_E_DAMAGED);
        assert_non_null(strstr(error, place));
    }
}

static void flip_all(struct stage *stage, const char *file)
{
    char path[64], error[256];
    snprintf(path, sizeof(path), FOLDER "/%s", file);
    remember(stage);
    size_t size = sim_disk_content(stage->disk, path)->size;
    assert_true(size >= SLOT_SIZE);
    for (size_t bit = 0; bit < size * 8; bit++) {
        put_back(stage);
        sim_disk_content(stage->disk, path)->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        uint64_t offset = bit / 8 / SLOT_SIZE * SLOT_SIZE;
        check_names(stage, file, offset);
        int r = vault_backup(FOLDER, "backup", sim_disk_ops(stage->disk), &stage->witness, error);
        assert_true(r == 0 || (r == VAULT_E_DAMAGED && strstr(error, file)));
        compare(stage, "backup");
        _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
        assert_ok(testify(stage, &evidence));
        assert_ok(vault_union_fences(FOLDER, "old", sim_disk_ops(stage->disk), &evidence, error));
        compare(stage, "old");
        try_to_open(stage, file, offset);
    }
}

static void a_flipped_bit_of_the_keys_is_refused_by_name_or_mended_and_said(void **state)
{
    struct stage stage;
    stage_init(&stage);
    flip_all(&stage, "keys");
    sim_disk_free(stage.disk);
}

static void a_flipped_bit_of_the_fences_brings_back_nothing(void **state)
{
    struct stage stage;
    stage_init(&stage);
    flip_all(&stage, "fences");
    sim_disk_free(stage.disk);
}

/* `fences` alone, kept apart, knows of keys that nobody else knows of. */
static void a_flipped_bit_of_fences_that_stand_alone_is_not_passed_over(void **state)
{
    struct stage stage;
    char error[256];
    stage_init(&stage);
    remember(&stage);
    copy_file(&stage, FOLDER "/fences", "alone/fences");
    stage.log_is_lost = true;
    for (size_t bit = 0; bit < SLOT_SIZE * 8; bit++) {
        put_back(&stage);
        copy_file(&stage, "good/fences", "alone/fences");
        sim_disk_content(stage.disk, "alone/fences")->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(vault_union_fences("alone", "old", sim_disk_ops(stage.disk), NULL, error), VAULT_E_DAMAGED);
        assert_non_null(strstr(error, "alone/fences is damaged at byte 0"));
    }
    sim_disk_free(stage.disk);
}

static void append(struct stage *stage, const char *path, const void *data, size_t size)
{
    assert_ok(buffer_append(sim_disk_content(stage->disk, path), data, size));
}

/* What a crash leaves behind the last key is no damage, and is taken out, so that it never lies in the middle of the file. */
static void a_slot_that_was_being_appended_is_taken_out(void **state)
{
    static const uint8_t rest[SLOT_SIZE] = {'D', 'K', 'E', 'Y', 1};
    static const size_t sizes[] = {SLOT_SIZE, 5};
    struct stage stage;
    char error[256];
    struct vault *vault;
    struct vault_status status;
    stage_init(&stage);
    for (size_t i = 0; i < 4; i++) {
        append(&stage, i < 2 ? FOLDER "/keys" : FOLDER "/fences", rest, sizes[i % 2]);
        assert_ok(open_folder(&stage, FOLDER, false, &vault, error));
        vault_status(vault, &status);
        assert_int_equal(status.slots_broken, 1);
        assert_int_equal(status.keys, 2);
        vault_close(vault);
        compare(&stage, FOLDER);
        assert_ok(open_folder(&stage, FOLDER, false, &vault, error));
        vault_status(vault, &status);
        assert_int_equal(status.slots_broken, 0);
        assert_int_equal(status.destroyed, 1);
        vault_close(vault);
    }
    sim_disk_free(stage.disk);
}

/* A file that ends early looks like a torn one; the log knows better. */
static void a_torn_end_is_damage_when_the_log_needs_what_stood_there(void **state)
{
    struct stage stage;
    char error[256];
    struct vault *vault;
    stage_init(&stage);
    struct buffer *keys = sim_disk_content(stage.disk, FOLDER "/keys");
    keys->size -= 60;
    assert_int_equal(open_folder(&stage, FOLDER, false, &vault, error), VAULT_E_DAMAGED);
    assert_non_null(strstr(error, "event 12"));
    assert_ok(open_folder(&stage, FOLDER, true, &vault, error)); /* given up: the others are there */
    assert_ok(unseal(&stage, vault, ANA));
    assert_int_equal(unseal(&stage, vault, CID), VAULT_E_MISSING);
    vault_close(vault);
    struct seen seen = {.file = "keys", .offset = (uint64_t)3 * SLOT_SIZE};
    _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
    assert_ok(testify(&stage, &evidence));
    assert_ok(vault_check(FOLDER, sim_disk_ops(stage.disk), &evidence, on_damage, &seen, NULL));
    assert_int_equal(seen.count, 1);
    sim_disk_free(stage.disk);
}

/* Keys that the source has lost are kept in its backup; those of another family are not mixed in, nor put in their place. */
static void a_backup_keeps_the_keys_that_its_source_has_lost(void **state)
{
    struct stage stage;
    char error[256];
    struct vault *vault;
    stage_init(&stage);
    sim_disk_content(stage.disk, FOLDER "/keys")->size -= SLOT_SIZE;
    assert_ok(vault_backup(FOLDER, "backup", sim_disk_ops(stage.disk), &stage.witness, error));
    compare(&stage, "backup");
    assert_ok(open_folder(&stage, "other", false, &vault, error));
    vault_close(vault);
    assert_int_equal(vault_backup("other", "backup", sim_disk_ops(stage.disk), NULL, error), VAULT_E_FOREIGN);
    compare(&stage, "backup");
    sim_disk_free(stage.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_of_the_keys_is_refused_by_name_or_mended_and_said),
        cmocka_unit_test(a_flipped_bit_of_the_fences_brings_back_nothing),
        cmocka_unit_test(a_flipped_bit_of_fences_that_stand_alone_is_not_passed_over),
        cmocka_unit_test(a_slot_that_was_being_appended_is_taken_out),
        cmocka_unit_test(a_torn_end_is_damage_when_the_log_needs_what_stood_there),
        cmocka_unit_test(a_backup_keeps_the_keys_that_its_source_has_lost),
    };
    return cmocka_run_group_tests_name("vault/damage", tests, NULL, NULL);
}
