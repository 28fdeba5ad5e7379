/*
 * Whatever bytes the two files have, the vault opens or says why not; what it opens it opens again, with the same keys and
 * fences and nothing fenced alive.
 * Input: u32 size of `keys`, then its bytes, then `fences`.
 */
#include <assert.h>

#include "base/cleanup.h"
#include "lib/sim_disk.h"
#include "vault/slot.h"
#include "vault/vault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct sim_disk *disk, const char *path, struct bytes content)
{
    const struct os_file_ops *ops = sim_disk_ops(disk);
    int file;
    int r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &file);
    if (r == 0)
        r = os_file_write_full(ops, file, content.data, content.size, 0);
    assert(r == 0);
    (void)ops->close(ops, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_disk *disk = sim_disk_new();
    struct vault_options options = {.file = sim_disk_ops(disk)};
    struct vault_status first, second;
    struct vault *vault;
    struct slot slot;
    char error[256];
    if (size >= SLOT_SIZE)
        assert(slot_read(data, &slot) >= 0);
    if (size >= 4) {
        struct bytes rest = bytes_make(data + 4, size - 4), keys = bytes_slice(rest, 0, bytes_get_u32(data));
        put(disk, "f/keys", keys);
        put(disk, "f/fences", bytes_slice(rest, keys.size, SIZE_MAX));
        if (vault_open("f", &options, &vault, error) == 0) {
            vault_status(vault, &first);
            vault_close(vault);
            assert(vault_open("f", &options, &vault, error) == 0);
            vault_status(vault, &second);
            assert(first.keys == second.keys && first.fences == second.fences);
            vault_close(vault);
        }
        (void)vault_backup("f", "g", sim_disk_ops(disk), NULL, error);
    }
    sim_disk_free(disk);
    return 0;
}
