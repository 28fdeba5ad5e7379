/* group_definition: what a consumer group is for: which events, in which order, with how much patience.
 *
 *     {"types":["RoomBooked"],"tags":[],"prefix":"room-","after":0,"order":"tag:reservation:","lease_seconds":30,"tries_max":5}
 *
 * Every field may be left out; unknown ones are violations, and all violations are told at once. */
#pragma once

#include "base/json.h"
#include "journal/arena.h"
#include "journal/journal.h"

enum {
    GROUP_NAME_SIZE_MAX = 128,
    GROUP_LEASE_SECONDS_MAX = 43200,
    GROUP_LEASE_SECONDS_DEFAULT = 30,
    GROUP_TRIES_MAX = 1000,
    GROUP_TRIES_DEFAULT = 5,
    GROUP_TERM_COUNT_MAX = 1000, /* types and tags, together */
    GROUP_VIOLATION_COUNT_MAX = 32,
};

/* Of events that share a key one is out at a time, in order. */
enum group_order {
    GROUP_ORDER_NONE,   /* no key: all at once */
    GROUP_ORDER_STREAM, /* the stream; an event in none has no key */
    GROUP_ORDER_TAG,    /* each tag that begins with order_prefix */
};

struct group_definition {
    const struct bytes *types, *tags;
    size_t type_count, tag_count;
    struct bytes prefix;
    uint64_t after; /* begins behind this position */
    bool after_now; /* asked for: behind the head, as it is when the group is made */
    enum group_order order;
    struct bytes order_prefix;
    uint64_t lease_s;
    uint64_t tries_max;
    struct arena arena; /* what the spans point into */
};

/* One violated rule: where, and how the sentence goes on. */
struct group_violation {
    char pointer[64];
    char detail[128];
};

enum { GROUP_DEFINITION_E_INVALID = 1 };

/* From an object. 0; GROUP_DEFINITION_E_INVALID with the violations and nothing to deinit; -ENOMEM. */
_must_check_ int group_definition_read(struct json_value value, struct group_definition *ret_definition,
                                       struct group_violation ret_violations[GROUP_VIOLATION_COUNT_MAX],
                                       size_t *ret_count);
/* As it is read, every field said. */
void group_definition_write(const struct group_definition *definition, struct json_writer *w);
void group_definition_deinit(struct group_definition *definition);

/* Whether two mean the same group, wherever each began. */
bool group_definition_same(const struct group_definition *a, const struct group_definition *b);

/* What to read of the journal; points into the definition and into `item`. */
struct journal_query group_definition_query(const struct group_definition *definition,
                                            struct journal_item *ret_item);

/* Keys of an event, hashed; 0 when it has none. `ret_keys` has room for JOURNAL_TAG_COUNT_MAX. */
size_t group_definition_keys(const struct group_definition *definition, const struct journal_event *event,
                             uint64_t *ret_keys);

/* "none", "stream", "tag:PREFIX", appended. */
_must_check_ int group_order_write(const struct group_definition *definition, struct buffer *out);

/* Which rule the name breaks, as the end of a sentence, or NULL. */
const char *group_name_rule(struct bytes name);
