/* seal: events about a subject, on their way into a record and out of it (docs/erasure.md, docs/formats/event.md).
 *
 * On the way in: the subject's key, a tag of daybook's own that names the key, so that what was sealed with it is
 * found without the subject's name, and a sealed body. On the way out: the body opened, or the event marked as erased or
 * sealed; the tag is taken away again. Events about no subject cost one comparison.
 */
#pragma once

#include "journal/arena.h"
#include "journal/codec.h"
#include "vault/vault.h"

#define SEAL_TAG_PREFIX "$key:"
enum { SEAL_TAG_SIZE = sizeof(SEAL_TAG_PREFIX) - 1 + 2 * VAULT_FINGERPRINT_SIZE };

/* A key's own tag. */
void seal_tag(const struct vault_id *fingerprint, uint8_t ret_tag[SEAL_TAG_SIZE]);
bool seal_is_own_tag(struct bytes tag);

/* The keys for an append's events, `ret_keys` NULL when it needs none; else one an event, in the arena. 0; JOURNAL_E_* with
 * a sentence in `result`; -errno. Writer thread. */
_must_check_ int seal_keys(struct vault *vault, struct arena *arena, const struct journal_append *append,
                           struct vault_id **ret_keys, struct journal_result *result);

/* The tags with the key's own among them. 0 or -ENOMEM. */
_must_check_ int seal_add_tag(struct arena *arena, const struct vault_id *key, const struct bytes **tags,
                              size_t *count);

/* The keys of a batch are durable before it is written (K1). LOG_FULL or LOG_FAILED in `ret_outcome` when they are not: then
 * the batch must not be written, and has ended so. Writer thread. */
void seal_sync(struct vault *vault, enum log_outcome *ret_outcome);

/* The first sealed event of a log: `ret_position`, 0: there is none. 0 or -errno. */
_must_check_ int seal_find_first(struct log *log, uint64_t *ret_position);

size_t seal_body_size(const struct journal_event *event);
/* Write the sealed body; `head` is the record's. `plain` is room that is wiped again. 0 or -errno. */
_must_check_ int seal_write_body(struct vault *vault, const struct os_random *random,
                                 const struct vault_id *key, const struct journal_event *event,
                                 struct bytes head, struct buffer *plain, uint8_t *to);

/* Take daybook's own tag off an event read into `tags`. */
void seal_hide_tag(struct codec_tags *tags, struct journal_event *event);

/* Open an event that codec_read() found sealed: its data and meta point into `plain` then. Without its key: erased or
 * sealed. `own_tags`: leave daybook's own tag on it. 0; -EBADMSG: it is not what was sealed; -ENOMEM. */
_must_check_ int seal_open(struct vault *vault, const struct log_record *record, bool own_tags,
                           struct codec_tags *tags, struct buffer *plain, struct journal_event *event);
