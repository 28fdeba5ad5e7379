/* past: everything that stands before an append at its turn: what is durable, and on top of it the events of the batch
 * being built (J4).
 *
 * The durable part is the journal's index and log; the upper part is an index of its own over events held in memory,
 * dropped when the batch is answered. Belongs to the writer.
 */
#pragma once

#include "journal/fetch.h"
#include "journal/index.h"

struct past {
    const struct index *durable;
    struct index *upper;          /* its base is the durable index's last position */
    struct journal_event *events; /* of the upper part, from base + 1 on */
    size_t event_count, event_capacity;
    uint8_t key[16];
    struct fetch fetch;
};

/* `key`: of the log's terms. Begins with nothing above what is durable. 0 or -errno. */
_must_check_ int past_init(struct past *past, struct log *log, const uint8_t key[16],
                           const struct index *durable);
void past_deinit(struct past *past);

/* Forget the upper part and begin again above what is durable now. 0 or -ENOMEM: then nothing may be asked. */
_must_check_ int past_rebase(struct past *past);

/* Put an event on top; what it points to must last until past_rebase(). 0; -ENOMEM: then only past_rebase() helps. */
_must_check_ int past_push(struct past *past, const struct journal_event *event);

/* The last position. A stream's version: 0, or -errno when the index cannot be read. */
uint64_t past_tail(const struct past *past);
_must_check_ int past_stream_version(const struct past *past, struct bytes stream, uint64_t *ret_version);

/* 0, or -errno when the log cannot be read. The event is valid until the next call for this past. */
_must_check_ int past_event(struct past *past, uint64_t position, struct journal_event *ret_event);

enum { PAST_E_NONE = 1 };
/* The event with this id; the first event of the append with this key. 0, PAST_E_NONE, -errno. */
_must_check_ int past_find_id(struct past *past, const uint8_t id[16], struct journal_event *ret_event);
_must_check_ int past_find_key(struct past *past, struct bytes key, struct journal_event *ret_event);

/* Each event after `after` that matches, in order. `each` returns 0 to go on. Its answer, 0, or -errno. `arena` holds
 * what the scan needs. */
int past_each(struct past *past, struct arena *arena, const struct journal_query *query, uint64_t after,
              int (*each)(void *user, const struct journal_event *event), void *user);

/* Candidates after `after`, counted up to `limit`; nothing is read. */
_must_check_ int past_count(struct past *past, struct arena *arena, const struct journal_query *query,
                            uint64_t after, uint64_t limit, uint64_t *ret_count);

/* The first event after `after` that matches the item: 0, PAST_E_NONE, -errno. Costs nothing but a look at the last
 * positions when there can be none. */
_must_check_ int past_first_match(struct past *past, struct arena *arena, const struct journal_item *item,
                                  uint64_t after, uint64_t *ret_position);
