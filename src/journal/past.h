/* past: everything that stands before an append at its turn: what is durable, and on top of it the events of the batches
 * that are on their way to the disk, and of the one being built (J4).
 *
 * The durable part is the journal's index and log. Above it lies one layer (journal/layer.h) a batch, lowest first; the
 * lowest goes when its events have become durable and are in the index, and all of them go when one was not written, for
 * what stands on top of it then never was. Belongs to the writer.
 */
#pragma once

#include "journal/fetch.h"
#include "journal/index.h"
#include "journal/layer.h"

enum { JOURNAL_BATCHES_IN_FLIGHT_MAX = 4 }; /* batches built and not yet settled */

struct past {
    const struct index *durable;
    struct layer *layers[JOURNAL_BATCHES_IN_FLIGHT_MAX]; /* lowest first; the batches' */
    size_t layer_count;
    uint64_t era; /* rises whenever layers are dropped that turns have seen */
    uint8_t key[16];
    struct fetch fetch;
};

/* `key`: of the log's terms. Begins with nothing above what is durable. 0 or -errno. */
_must_check_ int past_init(struct past *past, struct log *log, const uint8_t key[16],
                           const struct index *durable);
void past_deinit(struct past *past);

/* Begin an empty layer above everything; it is the caller's and stays until it is settled or dropped. There are fewer
 * than JOURNAL_BATCHES_IN_FLIGHT_MAX (asserted). */
void past_begin(struct past *past, struct layer *layer);
/* The lowest layer's events are durable and in the index now (asserted). */
void past_settle(struct past *past);
/* Nothing is above what is durable; a new era. */
void past_drop(struct past *past);

/* Put an event on top; what it points to must last as long as the layer. 0 or -ENOMEM. */
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
