/* codec: an event as a log record and back. The format is docs/formats/event.md, byte by byte.
 *
 * Writing is for events that have been checked; reading trusts no byte. Pure: no I/O, no state, any thread.
 */
#pragma once

#include "journal/journal.h"

enum {
    CODEC_FORMAT = 1,
    CODEC_FORMAT_SEALED = 2, /* of bodies only */
    CODEC_PLAIN_FIXED_SIZE = 2,
    CODEC_HEAD_FIXED_SIZE = 48,
    CODEC_BODY_FIXED_SIZE = 8,
    CODEC_KEY_HASH_SIZE = 16,
};

/* Answers of codec_read(). */
enum {
    CODEC_E_DAMAGED = 1, /* a rule of the format is broken */
    CODEC_E_NEWER = 2,   /* a format this daybook does not know */
};

/* Memory for the tags of one event as read. */
struct codec_tags {
    struct bytes tags[JOURNAL_TAG_COUNT_MAX];
};

/* Encoded sizes in bytes. `event` needs type, stream, key and tags; content type, meta and data. */
size_t codec_head_size(const struct journal_event *event);
size_t codec_body_size(const struct journal_event *event);

/* Write the head, or the body, to `to`, which has room for exactly the size above. The event is whole but for its
 * position: tags sorted and once each (asserted), append_first not above position, sizes within the limits. */
void codec_write_head(const struct journal_event *event, uint8_t *to);
void codec_write_body(const struct journal_event *event, uint8_t *to);

/* What is sealed of an event: its subject, then its body. Reading: NULL, or the broken rule; `event` gets subject, content
 * type, meta and data, which point into `plain`. */
size_t codec_plain_size(const struct journal_event *event);
void codec_write_plain(const struct journal_event *event, uint8_t *to);
const char *codec_read_plain(struct bytes plain, struct journal_event *event);

/* Read a record; one with a sealed body is an event that is `sealed`, which journal/seal.h opens. 0: `ret_event` points into the record and into `tags`. Else CODEC_E_*, and `*ret_rule` (may be NULL)
 * is the broken rule, a static text: "version must be 0 outside of streams". */
_must_check_ int codec_read(const struct log_record *record, struct codec_tags *tags,
                            struct journal_event *ret_event, const char **ret_rule);

/* Whether the record has a body that anybody can read: it is neither a stub nor sealed. */
static inline bool codec_is_open(const struct log_record *record)
{
    return !(record->flags & LOG_RECORD_STUB) && record->body.size > 0 && record->body.data[0] == CODEC_FORMAT;
}

/* Whether the record's event is of this type, by its head alone; false for one that cannot be read. */
bool codec_has_type(const struct log_record *record, struct bytes type);
/* Whether the record is the last one of its append; false for one that cannot be read. */
bool codec_ends_append(const struct log_record *record);
