#include "vault/slot.h"

#include <assert.h>
#include <sodium.h>

#include "base/crc32c.h"
#include "base/hash.h"

static const uint8_t magic[4] = {'D', 'K', 'E', 'Y'};

enum {
    AT_FORMAT = 4,
    AT_KIND = 6,
    AT_POSITION = 8,
    AT_TIME = 16,
    AT_FINGERPRINT = 24,
    AT_SUBJECT = 40,
    AT_SECRET = 56,
    AT_RESERVED = 88,
    AT_CHECK = 124,
};
static_assert(AT_SECRET + VAULT_SECRET_SIZE == AT_RESERVED, "the fields lie side by side");

void slot_write(const struct slot *slot, uint8_t to[SLOT_SIZE])
{
    memset(to, 0, SLOT_SIZE);
    memcpy(to, magic, sizeof(magic));
    bytes_put_u16(to + AT_FORMAT, SLOT_FORMAT);
    bytes_put_u16(to + AT_KIND, (uint16_t)slot->kind);
    bytes_put_u64(to + AT_POSITION, slot->position);
    bytes_put_u64(to + AT_TIME, (uint64_t)slot->time_us);
    memcpy(to + AT_FINGERPRINT, &slot->fingerprint, sizeof(slot->fingerprint));
    memcpy(to + AT_SUBJECT, &slot->subject, sizeof(slot->subject));
    memcpy(to + AT_SECRET, slot->secret, sizeof(slot->secret));
    bytes_put_u32(to + AT_CHECK, crc32c(bytes_make(to, AT_CHECK)));
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return sodium_is_zero(data, size);
}

/* What a slot of its kind may hold. */
static bool fits_kind(const struct slot *slot)
{
    bool has_secret = !is_zero(slot->secret, sizeof(slot->secret));
    bool has_position = slot->position != 0 || slot->time_us != 0;
    switch (slot->kind) {
    case SLOT_VAULT: return has_secret && !has_position;
    case SLOT_KEY:
        return has_secret && !has_position &&
               memcmp(slot_fingerprint(slot->secret).bytes, slot->fingerprint.bytes,
                      sizeof(slot->fingerprint.bytes)) == 0;
    case SLOT_DESTROYED: return !has_secret && !has_position;
    case SLOT_FENCE:
    case SLOT_DONE: return !has_secret;
    }
    return false;
}

int slot_read(const uint8_t from[SLOT_SIZE], struct slot *ret_slot)
{
    *ret_slot = (struct slot){.kind = (enum slot_kind)bytes_get_u16(from + AT_KIND),
                              .position = bytes_get_u64(from + AT_POSITION),
                              .time_us = (int64_t)bytes_get_u64(from + AT_TIME)};
    memcpy(&ret_slot->fingerprint, from + AT_FINGERPRINT, sizeof(ret_slot->fingerprint));
    memcpy(&ret_slot->subject, from + AT_SUBJECT, sizeof(ret_slot->subject));
    memcpy(ret_slot->secret, from + AT_SECRET, sizeof(ret_slot->secret));
    if (memcmp(from, magic, sizeof(magic)) != 0 ||
        bytes_get_u32(from + AT_CHECK) != crc32c(bytes_make(from, AT_CHECK)))
        return SLOT_E_BROKEN;
    if (bytes_get_u16(from + AT_FORMAT) > SLOT_FORMAT)
        return SLOT_E_NEWER;
    if (bytes_get_u16(from + AT_FORMAT) != SLOT_FORMAT ||
        !is_zero(from + AT_RESERVED, AT_CHECK - AT_RESERVED) || !fits_kind(ret_slot))
        return SLOT_E_BROKEN;
    return 0;
}

struct vault_id slot_fingerprint(const uint8_t key[VAULT_SECRET_SIZE])
{
    struct hash256 hash =
        hash_blake(BYTES_LITERAL("daybook key fingerprint"), bytes_make(key, VAULT_SECRET_SIZE));
    struct vault_id id;
    memcpy(id.bytes, hash.data, sizeof(id.bytes));
    return id;
}
