/* Every call that changes the disk is broken once, in every way; then the process ends in one of three ways, the vault is
 * opened on a healthy disk, and K1 and K2 are held against it: a key that was said to be durable is there unless it was
 * being erased, and one that was said to be erased is in no file and opens nothing. */
#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "lib/fault_file.h"
#include "lib/sim_disk.h"
#include "vault/vault.h"

#define FOLDER "keys"

enum { KEYS = 6 };

enum told { TOLD_NOTHING, TOLD_DURABLE, TOLD_ERASING, TOLD_ERASED };

struct trial {
    struct sim_disk *disk;
    struct fault_file fault;
    struct os_random random; /* its n-th answer is n, all over, so that a key is known when it is seen */
    uint8_t draws;
    enum told told[KEYS];
    bool made[KEYS];
    uint8_t sealed[KEYS][VAULT_SEALED_EXTRA + 3];
    uint8_t secret_byte[KEYS];
    bool done_told; /* the first erasure was said to be done with */
};

static struct trial *trial_now;

static int draw(const struct os_random *random, void *data, size_t size)
{
    memset(data, ++trial_now->draws, size);
    return 0;
}

static int open_vault(struct trial *trial, const struct os_file_ops *ops, struct vault **ret_vault)
{
    struct vault_options options = {.file = ops, .random = &trial->random};
    char error[256] = "";
    return vault_open(FOLDER, &options, ret_vault, error);
}

static bool heard(const struct trial *trial)
{
    return !trial->fault.dead;
}

/* As the journal does it: key, sync, and only then may something sealed with it be acknowledged. */
static void make_key(struct trial *trial, struct vault *vault, unsigned number, const char *subject)
{
    static const uint8_t nonce[VAULT_NONCE_SIZE];
    struct vault_id id;
    if (vault_key(vault, bytes_from_string(subject), &id) != 0)
        return;
    trial->made[number] = true;
    trial->secret_byte[number] = trial->draws;
    assert_ok(vault_seal(vault, &id, nonce, (struct bytes){0}, BYTES_LITERAL("Ana"), trial->sealed[number]));
    int r = vault_sync(vault);
    if (r == -ENOSPC) {
        fault_file_heal(&trial->fault); /* somebody made room */
        r = vault_sync(vault);
        assert_ok(r);
    }
    if (r == 0 && heard(trial))
        trial->told[number] = TOLD_DURABLE;
}

static void erase(struct trial *trial, struct vault *vault, unsigned number, const char *subject,
                  uint64_t position)
{
    struct vault_id ids[VAULT_SUBJECT_KEY_COUNT_MAX];
    size_t count = vault_retire(vault, bytes_from_string(subject), ids);
    int r = 0;
    if (count == 0)
        return;
    trial->told[number] = TOLD_ERASING;
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct vault_fence fence = {.fingerprint = ids[i], .position = position};
        r = vault_fence(vault, &fence);
        if (r == -ENOSPC) {
            fault_file_heal(&trial->fault);
            r = vault_fence(vault, &fence);
        }
    }
    if (r == 0 && heard(trial))
        trial->told[number] = TOLD_ERASED;
    if (r == 0)
        r = vault_fence_done(vault, position);
    if (r == 0 && heard(trial) && number == 0)
        trial->done_told = true;
}

static void run(struct trial *trial)
{
    struct vault *vault;
    if (open_vault(trial, &trial->fault.ops, &vault) != 0)
        return;
    make_key(trial, vault, 0, "a");
    make_key(trial, vault, 1, "b");
    make_key(trial, vault, 2, "c");
    erase(trial, vault, 0, "a", 10);
    make_key(trial, vault, 3, "a");
    make_key(trial, vault, 4, "d");
    erase(trial, vault, 2, "c", 11);
    make_key(trial, vault, 5, "e");
    vault_close(vault);
}

/* 32 bytes of the key side by side. */
static bool stands_in(const struct buffer *content, uint8_t byte)
{
    uint8_t secret[VAULT_SECRET_SIZE];
    memset(secret, byte, sizeof(secret));
    return content && memmem(content->data, content->size, secret, sizeof(secret)) != NULL;
}

static void compare(const struct trial *trial, struct vault *vault)
{
    for (unsigned number = 0; number < KEYS; number++) {
        _cleanup_(buffer_deinit) struct buffer plain = {0};
        if (!trial->made[number])
            continue;
        int r = vault_unseal(vault, (struct bytes){0},
                             bytes_make(trial->sealed[number], sizeof(trial->sealed[number])), &plain);
        switch (trial->told[number]) {
        case TOLD_NOTHING: assert_true(r == 0 || r == VAULT_E_MISSING); break;
        case TOLD_DURABLE: assert_ok(r); break; /* K1 */
        case TOLD_ERASING: assert_true(r == 0 || r == VAULT_E_ERASED || r == VAULT_E_MISSING); break;
        case TOLD_ERASED: assert_int_equal(r, VAULT_E_ERASED); break; /* K2 */
        }
        if (r == VAULT_E_ERASED)
            assert_false(
                stands_in(sim_disk_content(trial->disk, FOLDER "/keys"), trial->secret_byte[number]));
    }
    struct vault_fence fence;
    if (trial->done_told) {
        vault_fence_get(vault, 0, &fence);
        assert_true(fence.done);
    }
}

enum aftermath { RESTART, KILL, POWER_LOSS, AFTERMATHS };

static bool try(enum fault_kind kind, uint64_t n, enum aftermath aftermath)
{
    struct trial trial = {.disk = sim_disk_new(), .random = {.fill = draw}};
    struct vault *vault;
    trial_now = &trial;
    fault_file_init(&trial.fault, sim_disk_ops(trial.disk), kind, n);
    trial.fault.disk = trial.disk;
    run(&trial);
    if (aftermath == KILL)
        sim_disk_kill(trial.disk);
    if (aftermath == POWER_LOSS)
        sim_disk_power_loss(trial.disk, SIM_LOSE_SOME, n);
    /* What was said to be erased is not in the file, even before anything opens it again. */
    for (unsigned number = 0; number < KEYS; number++)
        if (trial.told[number] == TOLD_ERASED)
            assert_false(stands_in(sim_disk_content(trial.disk, FOLDER "/keys"), trial.secret_byte[number]));
    assert_ok(open_vault(&trial, sim_disk_ops(trial.disk), &vault));
    compare(&trial, vault);
    for (unsigned number = 0; number < KEYS; number++)
        if (trial.told[number] == TOLD_NOTHING)
            trial.made[number] = false; /* it may come to be another's */
    vault_close(vault);
    /* What the opening found is as durable as what was told: the power goes once more. */
    sim_disk_power_loss(trial.disk, SIM_LOSE_ALL, n);
    assert_ok(open_vault(&trial, sim_disk_ops(trial.disk), &vault));
    compare(&trial, vault);
    make_key(&trial, vault, 5, "f");
    vault_close(vault);
    bool fired = fault_file_fired(&trial.fault);
    sim_disk_free(trial.disk);
    return fired;
}

static void sweep(enum fault_kind kind)
{
    for (unsigned aftermath = 0; aftermath < AFTERMATHS; aftermath++) {
        uint64_t n = 1;
        while (try(kind, n, (enum aftermath)aftermath))
            n++;
        assert_true(n > 20);
    }
}

static void a_call_that_fails_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_FAIL);
}

static void a_write_that_is_shortened_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_SHORTEN);
}

static void a_write_that_is_torn_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_TEAR);
}

static void a_full_disk_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_FULL);
}

static void a_death_before_any_call_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_KILL);
}

static void a_death_within_any_write_loses_no_key_and_brings_none_back(void **state)
{
    sweep(FAULT_KILL_TORN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_loses_no_key_and_brings_none_back),
        cmocka_unit_test(a_write_that_is_shortened_loses_no_key_and_brings_none_back),
        cmocka_unit_test(a_write_that_is_torn_loses_no_key_and_brings_none_back),
        cmocka_unit_test(a_full_disk_loses_no_key_and_brings_none_back),
        cmocka_unit_test(a_death_before_any_call_loses_no_key_and_brings_none_back),
        cmocka_unit_test(a_death_within_any_write_loses_no_key_and_brings_none_back),
    };
    return cmocka_run_group_tests_name("vault/fault", tests, NULL, NULL);
}
