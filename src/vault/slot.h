/* slot: the 128 bytes that both files of a vault are made of (docs/formats/keys.md). Pure. */
#pragma once

#include "vault/vault.h"

enum { SLOT_SIZE = VAULT_SLOT_SIZE, SLOT_FORMAT = 1 };

enum slot_kind { SLOT_VAULT = 1, SLOT_KEY, SLOT_DESTROYED, SLOT_FENCE, SLOT_DONE };

struct slot {
    enum slot_kind kind;
    uint64_t position;
    int64_t time_us;
    struct vault_id fingerprint, subject;
    uint8_t secret[VAULT_SECRET_SIZE];
};

/* Answers of slot_read(). */
enum {
    SLOT_E_BROKEN = 1, /* it does not hold; `ret_slot` has the fingerprint that stands there all the same */
    SLOT_E_NEWER = 2,
};

void slot_write(const struct slot *slot, uint8_t to[SLOT_SIZE]);
_must_check_ int slot_read(const uint8_t from[SLOT_SIZE], struct slot *ret_slot);

struct vault_id slot_fingerprint(const uint8_t key[VAULT_SECRET_SIZE]);
