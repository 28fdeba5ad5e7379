/* index: where in the journal a stream, type, tag, id or idempotency key stands.
 *
 * Derived from the log and rebuilt at opening; here it lives in memory. Nothing above this header may depend on that:
 * what is asked of an index is "which positions may match", lowest or highest first, and the last word is the record's.
 *
 * A term is the SipHash-128, keyed with the log's secret, of a letter, a colon and the name: "t:" type, "g:" tag. Each
 * leads to the ascending positions of its events. Streams ("s:") keep their name, so that versions are exact without
 * reading a record. Ids ("i:") and keys ("k:") lead to candidates that the caller settles on the record.
 *
 * An index may begin above position 0: the writer keeps the events of the batch it is building in an index of their own
 * on top of the durable one, and drops it when the batch fails.
 *
 * Invariants:
 * I1 every event from base + 1 to index_last() is in it, once, in order.
 * I2 candidates are complete: an event that matches is proposed. They need not be right: hashes may collide.
 * I3 position number v of a stream (from 1) is that of its version v, less the versions below this index's base.
 *
 * What is asked of an index may have to be read from a disk: every question can fail with -errno, and then nothing is
 * known.
 *
 * Threads: none of its own. Many may ask, or one may add.
 */
#pragma once

#include "journal/arena.h"
#include "journal/journal.h"
#include "journal/posting.h"

struct index;

/* `key`: the log's, 16 bytes, copied. `base`: the position below its first. `term_bits`: 0 for all 128; tests take few,
 * so that hashes collide. 0 or -ENOMEM. */
_must_check_ int index_new(const uint8_t *key, uint64_t base, unsigned term_bits, struct index **ret_index);
void index_free(struct index *index);
static inline void index_freep(struct index **index)
{
    index_free(*index);
}

/* Add the event at index_last() + 1 (asserted). 0; or -ENOMEM, and the index can only be freed. */
_must_check_ int index_add(struct index *index, const struct journal_event *event);

uint64_t index_base(const struct index *index);
uint64_t index_last(const struct index *index);
uint64_t index_stream_count(const struct index *index);
size_t index_size(const struct index *index); /* bytes of memory, about */

/* The stream's last version as far as this index knows; 0: it knows no event of it. */
_must_check_ int index_stream_version(const struct index *index, struct bytes stream, uint64_t *ret_version);

/* Where an id may stand; where an append with this key may begin. Each call gives the next candidate, 0: no more.
 * *probe begins as {0}. */
struct index_probe {
    size_t at;
    bool begun;
};
_must_check_ int index_find_id(const struct index *index, const uint8_t id[16], struct index_probe *probe,
                               uint64_t *ret_position);
_must_check_ int index_find_key(const struct index *index, struct bytes key, struct index_probe *probe,
                                uint64_t *ret_position);

/* Whether an event above `after` may match the item: a look at the last positions of its terms and no more. */
_must_check_ int index_may_match(const struct index *index, const struct journal_item *item, uint64_t after,
                                 bool *ret_may);

/* The candidates of a query, or the positions of a stream. Made in `arena`, valid as long as it and the index; query and
 * names are not needed later. The scan sees what is added to the index after it was made. 0 or -ENOMEM. */
struct index_scan;
_must_check_ int index_scan_new(const struct index *index, const struct journal_query *query,
                                struct arena *arena, struct index_scan **ret_scan);
_must_check_ int index_scan_new_stream(const struct index *index, struct bytes stream, struct arena *arena,
                                       struct index_scan **ret_scan);
/* Lets go of what the scan holds beside its memory; NULL is fine. */
void index_scan_end(struct index_scan *scan);
/* The lowest candidate in `from`…`limit`, or 0; the highest in `limit`…`from`, or 0. The limit bounds the work: long lists
 * that never agree are walked no further than to it. */
_must_check_ int index_scan_next(struct index_scan *scan, uint64_t from, uint64_t limit, uint64_t *ret_position);
_must_check_ int index_scan_previous(struct index_scan *scan, uint64_t from, uint64_t limit,
                                     uint64_t *ret_position);
/* Of a stream's scan: the position of a version, 0: this index does not have it. Only for an index that begins at 0. */
_must_check_ int index_scan_version(struct index_scan *scan, uint64_t version, uint64_t *ret_position);
