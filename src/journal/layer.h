/* layer: the events of one batch while it is not durable yet, in memory, on top of what is (journal/past.h).
 *
 * Most appends ask little: the versions of the streams they name, and nothing if they name none. So an event that is put
 * on top is only noted down; the table that finds events by stream, id, key, or type and tag is filled when something of
 * that kind is first asked for, and then with what has come since. What nobody asks for costs nothing, and a layer that is
 * begun again keeps its memory.
 *
 * Life: {0} is a layer; layer_begin() empties it and says what it stands on; layer_deinit(). Belongs to the writer.
 *
 * Invariants:
 * Y1 its events are base + 1 … layer_last(), in order.
 * Y2 what is found is a candidate: hashes may collide, the event has the last word. No event is missing.
 */
#pragma once

#include "journal/journal.h"

enum layer_kind { LAYER_STREAM, LAYER_ID, LAYER_KEY, LAYER_TYPE, LAYER_TAG, LAYER_KIND_COUNT };

struct layer_node;
struct layer_list;
struct layer_slot;

/* The last name of a kind that was put into the table, an event's own. */
struct layer_name {
    struct bytes name;
    uint64_t hash;
};

struct layer {
    uint8_t key[16];
    uint64_t base; /* position below the first event */
    struct journal_event *events;
    size_t event_count, event_capacity;
    size_t known[LAYER_KIND_COUNT]; /* so many events are in the table, by kind */
    struct layer_name last[LAYER_KIND_COUNT];
    struct layer_slot *slots;
    size_t slot_capacity; /* 0 or a power of two */
    struct layer_list *lists;
    size_t list_count, list_capacity;
    struct layer_node *nodes;
    size_t node_count, node_capacity;
    uint32_t round; /* slots of earlier rounds are empty */
};

/* Empty, above `base`. `key`: 16 bytes that nobody outside knows, so that names cannot be made to collide. */
void layer_begin(struct layer *layer, uint64_t base, const uint8_t *key);
void layer_deinit(struct layer *layer);

/* Put the event at layer_last() + 1 on top (asserted); what it points to lasts until the layer is begun again. 0; -ENOMEM,
 * and it is not there. */
_must_check_ int layer_push(struct layer *layer, const struct journal_event *event);

static inline uint64_t layer_last(const struct layer *layer)
{
    return layer->base + layer->event_count;
}

/* The event at a position that is in the layer (asserted). */
const struct journal_event *layer_event(const struct layer *layer, uint64_t position);

/* The candidates for a name, ascending; good until the layer is begun again. */
struct layer_chain {
    uint32_t list; /* 0: there are none */
    uint32_t node; /* the next one, 0: no more */
};

/* 0 or -ENOMEM. An id is a name of 16 bytes; a key leads to the first event of its append. */
_must_check_ int layer_find(struct layer *layer, enum layer_kind kind, struct bytes name,
                            struct layer_chain *ret_chain);
/* The next candidate at or above `from`, 0: none. Calls with rising `from`, of whatever chain of that name, cost one walk
 * over the candidates together. */
uint64_t layer_chain_next(struct layer *layer, struct layer_chain *chain, uint64_t from);
/* The highest candidate; 0: there are none. */
uint64_t layer_chain_last(const struct layer *layer, const struct layer_chain *chain);

/* The candidates for a query above a position, ascending. */
enum { LAYER_SCAN_CHAINS_MAX = 8 }; /* a query of more is answered by looking at every event */
struct layer_scan {
    struct layer *layer;
    struct layer_chain chains[LAYER_SCAN_CHAINS_MAX];
    size_t chain_count;
    bool all;
};
/* 0 or -ENOMEM. Names are not needed later. */
_must_check_ int layer_scan_begin(struct layer *layer, const struct journal_query *query, uint64_t after,
                                  struct layer_scan *ret_scan);
/* The next candidate at or above `from`, 0: none. */
uint64_t layer_scan_next(struct layer_scan *scan, uint64_t from);
