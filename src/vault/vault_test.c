#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "lib/sim_disk.h"
#include "vault/slot.h"
#include "vault/vault.h"

#define FOLDER  "keys"
#define B(text) BYTES_LITERAL(text)

static struct vault *open_on(struct sim_disk *disk, const char *folder)
{
    struct vault_options options = {.file = sim_disk_ops(disk)};
    struct vault *vault;
    char error[256] = "";
    if (vault_open(folder, &options, &vault, error) != 0)
        fail_msg("%s", error);
    return vault;
}

static struct vault_id key_of(struct vault *vault, const char *subject)
{
    struct vault_id id;
    assert_ok(vault_key(vault, bytes_from_string(subject), &id));
    assert_ok(vault_sync(vault));
    return id;
}

/* "Ana" sealed for the subject, bound to "head". */
static size_t seal(struct vault *vault, const char *subject, uint8_t to[128])
{
    static const uint8_t nonce[VAULT_NONCE_SIZE] = {7};
    struct vault_id id = key_of(vault, subject);
    assert_ok(vault_seal(vault, &id, nonce, B("head"), B("Ana"), to));
    return vault_sealed_size(3);
}

static int unseal(struct vault *vault, const uint8_t *sealed, size_t size)
{
    _cleanup_(buffer_deinit) struct buffer plain = {0};
    int r = vault_unseal(vault, B("head"), bytes_make(sealed, size), &plain);
    if (r == 0)
        assert_true(bytes_equal(buffer_bytes(&plain), B("Ana")));
    else
        assert_int_equal(plain.size, 0);
    return r;
}

static void erase(struct vault *vault, const char *subject, uint64_t position)
{
    struct vault_id ids[VAULT_SUBJECT_KEY_COUNT_MAX];
    size_t count = vault_retire(vault, bytes_from_string(subject), ids);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        struct vault_fence fence = {.fingerprint = ids[i],
                                    .subject = vault_subject(vault, bytes_from_string(subject)),
                                    .position = position,
                                    .time_us = 5};
        assert_ok(vault_fence(vault, &fence));
    }
}

static bool contains(const struct buffer *content, const void *what, size_t size)
{
    return content && size > 0 && memmem(content->data, content->size, what, size) != NULL;
}

/* What is sealed is opened by the same vault, after it was opened again too, and by no other. */
static void what_is_sealed_can_be_opened_after_a_restart(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128];
    struct vault *vault = open_on(disk, FOLDER), *other = open_on(disk, "other");
    size_t size = seal(vault, "guest-17", sealed);
    assert_ok(unseal(vault, sealed, size));
    assert_int_equal(unseal(other, sealed, size), VAULT_E_MISSING);
    assert_int_equal(unseal(NULL, sealed, size), VAULT_E_MISSING);
    vault_close(vault);
    vault = open_on(disk, FOLDER);
    assert_ok(unseal(vault, sealed, size));
    vault_close(vault);
    vault_close(other);
    sim_disk_free(disk);
}

/* Every bit counts, those it is bound to as well. */
static void what_was_changed_or_moved_is_not_opened(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    _cleanup_(buffer_deinit) struct buffer plain = {0};
    uint8_t sealed[128];
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    for (size_t bit = 0; bit < size * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(unseal(vault, sealed, size), 0);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(vault_unseal(vault, B("Head"), bytes_make(sealed, size), &plain), VAULT_E_FORGED);
    assert_int_equal(unseal(vault, sealed, size - 1), VAULT_E_FORGED);
    assert_int_equal(unseal(vault, sealed, 10), VAULT_E_FORGED);
    vault_close(vault);
    sim_disk_free(disk);
}

/* One key a subject, and its name nowhere (K3). */
static void a_subject_has_one_key_and_its_name_is_in_no_file(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault *vault = open_on(disk, FOLDER);
    struct vault_id first = key_of(vault, "guest-17"), again = key_of(vault, "guest-17");
    struct vault_id other = key_of(vault, "guest-18");
    struct vault_status status;
    assert_memory_equal(&first, &again, sizeof(first));
    assert_memory_not_equal(&first, &other, sizeof(first));
    vault_status(vault, &status);
    assert_int_equal(status.keys, 2);
    assert_false(contains(sim_disk_content(disk, FOLDER "/keys"), "guest", 5));
    vault_close(vault);
    sim_disk_free(disk);
}

/* K2, for this process and later ones; and the next key of the subject is another. */
static void an_erased_key_is_gone_and_the_next_one_is_new(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128], later[128];
    struct slot slot;
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    assert_ok(slot_read(sim_disk_content(disk, FOLDER "/keys")->data + SLOT_SIZE, &slot));
    assert_true(contains(sim_disk_content(disk, FOLDER "/keys"), slot.secret, sizeof(slot.secret)));
    erase(vault, "guest-17", 9);
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    assert_false(contains(sim_disk_content(disk, FOLDER "/keys"), slot.secret, sizeof(slot.secret)));
    (void)seal(vault, "guest-17", later);
    assert_memory_not_equal(sealed + 4, later + 4, VAULT_FINGERPRINT_SIZE);
    vault_close(vault);
    vault = open_on(disk, FOLDER);
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    assert_ok(unseal(vault, later, size));
    vault_close(vault);
    sim_disk_free(disk);
}

/* A retired key opens and seals no more: what is appended after the fence's turn has another key. */
static void a_retired_key_opens_what_it_sealed_and_seals_nothing_more(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128];
    struct vault_id ids[VAULT_SUBJECT_KEY_COUNT_MAX];
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    struct vault_id first = key_of(vault, "guest-17");
    assert_int_equal(vault_retire(vault, B("guest-17"), ids), 1);
    assert_memory_equal(&ids[0], &first, sizeof(first));
    struct vault_id second = key_of(vault, "guest-17");
    assert_memory_not_equal(&first, &second, sizeof(first));
    assert_ok(unseal(vault, sealed, size));
    assert_int_equal(vault_retire(vault, B("guest-17"), ids), 2);
    assert_int_equal(vault_retire(vault, B("nobody"), ids), 0);
    vault_close(vault);
    sim_disk_free(disk);
}

static void a_subject_has_no_more_keys_than_the_limit(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault_id ids[VAULT_SUBJECT_KEY_COUNT_MAX], id;
    struct vault *vault = open_on(disk, FOLDER);
    for (unsigned i = 0; i < VAULT_SUBJECT_KEY_COUNT_MAX; i++) {
        (void)key_of(vault, "guest-17");
        assert_int_equal(vault_retire(vault, B("guest-17"), ids), i + 1);
    }
    assert_int_equal(vault_key(vault, B("guest-17"), &id), VAULT_E_BUSY);
    vault_close(vault);
    sim_disk_free(disk);
}

static void no_more_keys_wait_for_a_sync_than_the_limit(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault *vault = open_on(disk, FOLDER);
    struct vault_id id;
    char name[32];
    for (unsigned i = 0; i < VAULT_UNSYNCED_COUNT_MAX; i++) {
        snprintf(name, sizeof(name), "guest-%u", i);
        assert_ok(vault_key(vault, bytes_from_string(name), &id));
    }
    assert_int_equal(vault_key(vault, B("one more"), &id), VAULT_E_BUSY);
    assert_ok(vault_sync(vault));
    assert_ok(vault_key(vault, B("one more"), &id));
    vault_close(vault);
    sim_disk_free(disk);
}

/* Keys that an older copy brings back are destroyed when it is opened, once the fences are joined. */
static void a_restored_key_that_is_fenced_is_destroyed_at_opening(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128], kept[128];
    char error[256] = "";
    struct slot slot;
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    (void)seal(vault, "guest-18", kept);
    assert_ok(vault_backup(FOLDER, "backup", sim_disk_ops(disk), NULL, error));
    erase(vault, "guest-17", 9);
    vault_close(vault);

    vault = open_on(disk, "backup"); /* without the union it would come back */
    assert_ok(unseal(vault, sealed, size));
    vault_close(vault);
    assert_ok(slot_read(sim_disk_content(disk, "backup/keys")->data + SLOT_SIZE, &slot));
    assert_ok(vault_union_fences(FOLDER, "backup", sim_disk_ops(disk), NULL, error));
    vault = open_on(disk, "backup");
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    assert_ok(unseal(vault, kept, size));
    assert_false(contains(sim_disk_content(disk, "backup/keys"), slot.secret, sizeof(slot.secret)));
    struct vault_fence fence;
    assert_int_equal(vault_fence_count(vault), 1);
    vault_fence_get(vault, 0, &fence);
    assert_int_equal(fence.position, 9);
    assert_false(fence.done); /* its views may show what is erased */
    vault_close(vault);
    sim_disk_free(disk);
}

/* A backup over an older one keeps the fences that only the older one knows. */
static void a_backup_joins_the_fences_of_its_target(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128];
    char error[256] = "";
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    assert_ok(vault_backup(FOLDER, "old", sim_disk_ops(disk), NULL, error));
    assert_ok(vault_backup(FOLDER, "other", sim_disk_ops(disk), NULL, error));
    vault_close(vault);
    vault = open_on(disk, "old");
    erase(vault, "guest-17", 9);
    vault_close(vault);
    assert_ok(
        vault_backup("other", "old", sim_disk_ops(disk), NULL, error)); /* brings the key, and not past the fence */
    vault = open_on(disk, "old");
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    vault_close(vault);
    assert_ok(vault_backup("nothing-there", "empty", sim_disk_ops(disk), NULL, error));
    assert_null(sim_disk_content(disk, "empty/keys"));
    sim_disk_free(disk);
}

static void a_fence_is_set_once_and_done_once(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128];
    struct vault_fence fence;
    struct vault_status status;
    struct vault *vault = open_on(disk, FOLDER);
    (void)seal(vault, "guest-17", sealed);
    erase(vault, "guest-17", 9);
    vault_fence_get(vault, 0, &fence);
    fence.position = 20;
    assert_ok(vault_fence(vault, &fence)); /* the first one stands */
    assert_int_equal(vault_fence_count(vault), 1);
    vault_status(vault, &status);
    assert_int_equal(status.fences_open, 1);
    assert_ok(vault_fence_done(vault, 20));
    assert_ok(vault_fence_done(vault, 9));
    assert_ok(vault_fence_done(vault, 9));
    vault_close(vault);
    vault = open_on(disk, FOLDER);
    vault_status(vault, &status);
    assert_int_equal(status.fences, 1);
    assert_int_equal(status.fences_open, 0);
    assert_int_equal(status.destroyed, 1);
    vault_fence_get(vault, 0, &fence);
    assert_true(fence.done);
    assert_int_equal(fence.position, 9);
    vault_close(vault);
    sim_disk_free(disk);
}

/* P7: nobody reads what is being erased, also while there is no room for its fence; asked again, one fence is written. */
static void a_fence_without_room_ends_the_use_of_its_key_and_is_written_later(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    uint8_t sealed[128];
    struct vault *vault = open_on(disk, FOLDER);
    size_t size = seal(vault, "guest-17", sealed);
    const struct vault_fence fence = {.fingerprint = key_of(vault, "guest-17"), .position = 9};
    sim_disk_set_capacity(disk, sim_disk_used(disk));
    assert_int_equal(vault_fence(vault, &fence), -ENOSPC);
    assert_int_equal(vault_fence(vault, &fence), -ENOSPC);
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    assert_int_equal(vault_fence_done(vault, 9), -ENOSPC);
    sim_disk_set_capacity(disk, 0);
    assert_ok(vault_fence(vault, &fence));
    assert_ok(vault_fence_done(vault, 9));
    vault_close(vault);
    assert_int_equal(sim_disk_content(disk, FOLDER "/fences")->size, 2 * SLOT_SIZE);
    vault = open_on(disk, FOLDER);
    assert_int_equal(unseal(vault, sealed, size), VAULT_E_ERASED);
    vault_close(vault);
    sim_disk_free(disk);
}

/* A fence for a key that is not here (yet) refuses it when it comes: a follower may hear of them in any order. */
static void a_fenced_key_is_not_imported(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    _cleanup_(buffer_deinit) struct buffer slots = {0};
    uint8_t sealed[128], other[128];
    uint64_t next;
    struct vault *leader = open_on(disk, FOLDER), *follower = open_on(disk, "follower");
    size_t size = seal(leader, "guest-17", sealed);
    (void)seal(leader, "guest-18", other);
    assert_ok(vault_export(leader, 0, 100, &slots, &next));
    assert_int_equal(slots.size, 3 * SLOT_SIZE);
    struct vault_id id = key_of(leader, "guest-17");
    assert_ok(vault_fence(follower, &(struct vault_fence){.fingerprint = id, .position = 3}));
    assert_ok(vault_import(follower, buffer_bytes(&slots)));
    assert_ok(vault_import(follower, buffer_bytes(&slots)));
    assert_int_equal(unseal(follower, sealed, size), VAULT_E_ERASED);
    assert_ok(unseal(follower, other, size));
    struct vault_id a = vault_subject(leader, B("x")), b = vault_subject(follower, B("x"));
    assert_memory_equal(&a, &b, sizeof(a));
    buffer_clear(&slots);
    assert_ok(vault_export(leader, next, 100, &slots, &next));
    assert_int_equal(slots.size, SLOT_SIZE);
    slots.data[40] ^= 1;
    assert_int_equal(vault_import(follower, buffer_bytes(&slots)), VAULT_E_DAMAGED);
    vault_close(leader);
    vault_close(follower);
    follower = open_on(disk, "follower");
    assert_ok(unseal(follower, other, size));
    vault_close(follower);
    sim_disk_free(disk);
}

static void a_key_that_is_missed_is_known_until_it_comes_or_is_fenced(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    _cleanup_(buffer_deinit) struct buffer slots = {0};
    uint8_t first[128], second[128];
    uint64_t next;
    struct vault *leader = open_on(disk, FOLDER), *follower = open_on(disk, "follower");
    size_t size = seal(leader, "guest-17", first);
    assert_false(vault_is_missing(follower));
    assert_int_equal(unseal(follower, first, size), VAULT_E_MISSING);
    assert_true(vault_is_missing(follower));
    assert_ok(vault_export(leader, 0, 100, &slots, &next));
    assert_ok(vault_import(follower, buffer_bytes(&slots)));
    assert_false(vault_is_missing(follower));
    assert_false(vault_misses(follower, bytes_make(first, size)));
    (void)seal(leader, "guest-18", second);
    assert_true(vault_misses(follower, bytes_make(second, size)));
    assert_true(vault_is_missing(follower));
    assert_ok(vault_fence(follower, &(struct vault_fence){.fingerprint = key_of(leader, "guest-18"), .position = 3}));
    assert_false(vault_is_missing(follower));
    assert_false(vault_misses(follower, bytes_make(second, size)));
    assert_false(vault_misses(follower, B("no sealed body")));
    vault_close(leader);
    vault_close(follower);
    sim_disk_free(disk);
}

static void a_vault_of_another_family_is_not_mixed_in(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    _cleanup_(buffer_deinit) struct buffer slots = {0};
    uint64_t next;
    struct vault *one = open_on(disk, FOLDER), *two = open_on(disk, "two");
    (void)key_of(one, "guest-17");
    (void)key_of(two, "guest-17");
    assert_ok(vault_export(one, 0, 100, &slots, &next));
    assert_int_equal(vault_import(two, buffer_bytes(&slots)), VAULT_E_DAMAGED);
    vault_close(one);
    vault_close(two);
    sim_disk_free(disk);
}

static void a_newer_format_is_refused_by_name(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault_options options = {.file = sim_disk_ops(disk)};
    char error[256] = "";
    struct slot slot;
    struct vault *vault = open_on(disk, FOLDER);
    (void)key_of(vault, "guest-17");
    vault_close(vault);
    struct buffer *content = sim_disk_content(disk, FOLDER "/keys");
    assert_ok(slot_read(content->data, &slot));
    content->data[4] = 2;
    bytes_put_u32(content->data + 124, crc32c(bytes_make(content->data, 124)));
    assert_int_equal(vault_open(FOLDER, &options, &vault, error), VAULT_E_NEWER);
    assert_non_null(strstr(error, "newer"));
    content->data[5] = 1; /* and now it does not hold */
    assert_int_equal(vault_open(FOLDER, &options, &vault, error), VAULT_E_DAMAGED);
    assert_non_null(strstr(error, "damaged"));
    sim_disk_free(disk);
}

static void a_vault_opened_for_reading_changes_nothing(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault_options options = {.file = sim_disk_ops(disk), .read_only = true};
    uint8_t sealed[128];
    struct vault *vault = open_on(disk, FOLDER), *reader;
    struct vault_id id;
    size_t size = seal(vault, "guest-17", sealed);
    assert_ok(vault_open(FOLDER, &options, &reader, NULL));
    assert_ok(unseal(reader, sealed, size));
    assert_int_equal(vault_key(reader, B("guest-18"), &id), -EROFS);
    id = key_of(vault, "guest-17");
    assert_ok(vault_fence(reader, &(struct vault_fence){.fingerprint = id, .position = 3}));
    assert_int_equal(unseal(reader, sealed, size), VAULT_E_ERASED);
    assert_ok(unseal(vault, sealed, size));
    vault_close(reader);
    assert_ok(vault_open("not-there", &options, &reader, NULL));
    assert_null(sim_disk_content(disk, "not-there/keys"));
    vault_close(reader);
    vault_close(vault);
    sim_disk_free(disk);
}

static void copy_golden(struct sim_disk *disk, const char *from, const char *to)
{
    const struct os_file_ops *ops = sim_disk_ops(disk);
    _cleanup_(buffer_deinit) struct buffer content = {0};
    int file;
    assert_ok(os_file_read_whole(os_file_real(), from, &content));
    assert_ok(ops->open(ops, to, OS_FILE_WRITE | OS_FILE_CREATE, &file));
    assert_ok(os_file_write_full(ops, file, content.data, content.size, 0));
    assert_ok(ops->close(ops, file));
}

/* Written by the first version, byte for byte as docs/formats/keys.md says: what is sealed under it stays readable. */
static void files_of_format_1_are_read(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault_status status;
    struct vault_fence fence;
    copy_golden(disk, CORPUS "/vault/keys-1.bin", FOLDER "/keys");
    copy_golden(disk, CORPUS "/vault/fences-1.bin", FOLDER "/fences");
    struct vault *vault = open_on(disk, FOLDER);
    vault_status(vault, &status);
    assert_int_equal(status.keys, 1);
    assert_int_equal(status.destroyed, 1);
    assert_int_equal(status.fences_open, 0);
    assert_int_equal(status.slots_broken, 0);
    vault_fence_get(vault, 0, &fence);
    struct vault_id subject = vault_subject(vault, B("guest-17")), id = key_of(vault, "guest-18");
    assert_memory_equal(&fence.subject, &subject, sizeof(subject));
    assert_int_equal(fence.position, 9);
    uint8_t secret[VAULT_SECRET_SIZE];
    memset(secret, 2, sizeof(secret));
    struct vault_id fingerprint = slot_fingerprint(secret);
    assert_memory_equal(&id, &fingerprint, sizeof(id));
    vault_close(vault);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_can_be_opened_after_a_restart),
        cmocka_unit_test(what_was_changed_or_moved_is_not_opened),
        cmocka_unit_test(a_subject_has_one_key_and_its_name_is_in_no_file),
        cmocka_unit_test(an_erased_key_is_gone_and_the_next_one_is_new),
        cmocka_unit_test(a_retired_key_opens_what_it_sealed_and_seals_nothing_more),
        cmocka_unit_test(a_subject_has_no_more_keys_than_the_limit),
        cmocka_unit_test(no_more_keys_wait_for_a_sync_than_the_limit),
        cmocka_unit_test(a_restored_key_that_is_fenced_is_destroyed_at_opening),
        cmocka_unit_test(a_backup_joins_the_fences_of_its_target),
        cmocka_unit_test(a_fence_is_set_once_and_done_once),
        cmocka_unit_test(a_fence_without_room_ends_the_use_of_its_key_and_is_written_later),
        cmocka_unit_test(a_fenced_key_is_not_imported),
        cmocka_unit_test(a_key_that_is_missed_is_known_until_it_comes_or_is_fenced),
        cmocka_unit_test(a_vault_of_another_family_is_not_mixed_in),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(files_of_format_1_are_read),
        cmocka_unit_test(a_vault_opened_for_reading_changes_nothing),
    };
    return cmocka_run_group_tests_name("vault/vault", tests, NULL, NULL);
}
