/*
 * Whatever a sealed body is, it is opened to what was sealed, or not at all.
 * Input: bytes that go over a good sealed body: u16 offset, then what stands there; a byte more cuts or lengthens it.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "lib/sim_disk.h"
#include "vault/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vault *vault;
static uint8_t good[VAULT_SEALED_EXTRA + 100], plain[100];

static void make(void)
{
    static const uint8_t nonce[VAULT_NONCE_SIZE];
    struct vault_options options = {.file = sim_disk_ops(sim_disk_new())};
    struct vault_id id;
    int r = vault_open("v", &options, &vault, NULL);
    if (r == 0)
        r = vault_key(vault, BYTES_LITERAL("guest"), &id);
    if (r == 0)
        r = vault_seal(vault, &id, nonce, BYTES_LITERAL("head"), bytes_make(plain, sizeof(plain)), good);
    assert(r == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buffer_deinit) struct buffer opened = {0};
    struct vault_id id;
    if (!vault)
        make();
    (void)vault_sealed_check(bytes_make(data, size), &id);
    assert(vault_unseal(vault, BYTES_LITERAL("head"), bytes_make(data, size), &opened) != 0);
    if (size < 2)
        return 0;
    size_t at = bytes_get_u16(data) % sizeof(good), length = sizeof(good) - (size % 7 == 3);
    uint8_t *sealed = malloc(sizeof(good));
    assert(sealed);
    memcpy(sealed, good, sizeof(good));
    for (size_t i = 2; i < size && at < length; i++)
        sealed[at++] ^= data[i];
    bool same = length == sizeof(good) && memcmp(sealed, good, sizeof(good)) == 0;
    int r = vault_unseal(vault, BYTES_LITERAL("head"), bytes_make(sealed, length), &opened);
    assert((r == 0) == same);
    assert(r != 0 || bytes_equal(buffer_bytes(&opened), bytes_make(plain, sizeof(plain))));
    free(sealed);
    return 0;
}
