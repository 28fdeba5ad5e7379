/* One open-addressing table for all kinds: hash of kind and name -> the list of its events, oldest first. A slot of an
 * earlier round counts as empty, so that beginning again is one addition. Lists and nodes are named by number + 1, so
 * that they may move and 0 is none. */

#include "journal/layer.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/vector.h"

enum {
    SLOT_CAPACITY_FIRST = 256,
    SLOT_CAPACITY_KEPT = 1 << 16, /* a table larger than this is given back when the layer is begun again */
};

struct layer_node {
    uint32_t event; /* its place in the layer */
    uint32_t next;
};

struct layer_list {
    uint32_t first, last, count; /* nodes */
    uint32_t reached; /* a node that a walk came to: a later walk may begin here if it wants nothing before it */
};

struct layer_slot {
    uint64_t hash;
    uint32_t round, list;
};

void layer_begin(struct layer *layer, uint64_t base, const uint8_t *key)
{
    memcpy(layer->key, key, sizeof(layer->key));
    layer->base = base;
    layer->event_count = layer->list_count = layer->node_count = 0;
    memset(layer->known, 0, sizeof(layer->known));
    memset(layer->last, 0, sizeof(layer->last));
    if (layer->slot_capacity > SLOT_CAPACITY_KEPT || layer->round == UINT32_MAX) {
        free(layer->slots);
        layer->slots = NULL;
        layer->slot_capacity = 0;
        layer->round = 0;
    }
    layer->round++;
}

void layer_deinit(struct layer *layer)
{
    free(layer->events);
    free(layer->slots);
    free(layer->lists);
    free(layer->nodes);
    *layer = (struct layer){0};
}

int layer_push(struct layer *layer, const struct journal_event *event)
{
    assert(event->position == layer_last(layer) + 1); /* Y1 */
    int r = vector_reserve(&layer->events, &layer->event_capacity, layer->event_count + 1);
    if (r == 0)
        layer->events[layer->event_count++] = *event;
    return r;
}

const struct journal_event *layer_event(const struct layer *layer, uint64_t position)
{
    assert(position > layer->base && position <= layer_last(layer));
    return &layer->events[position - layer->base - 1];
}

/* ---- the table ---- */

static uint64_t hash_of(const struct layer *layer, enum layer_kind kind, struct bytes name)
{
    struct hash128 hash = hash_sip128(name, layer->key);
    return hash.low + hash.high * (2 * (uint64_t)kind + 1);
}

/* The events of an append mostly have one name in common. An id is nobody else's, and moves with the events. */
static uint64_t hash_to_add(struct layer *layer, enum layer_kind kind, struct bytes name)
{
    struct layer_name *last = &layer->last[kind];
    if (kind == LAYER_ID)
        return hash_of(layer, kind, name);
    if (last->name.size == 0 || !bytes_equal(last->name, name))
        *last = (struct layer_name){.name = name, .hash = hash_of(layer, kind, name)};
    return last->hash;
}

/* The slot of a hash, or the empty one where it would stand. There is one. */
static struct layer_slot *slot_of(const struct layer *layer, uint64_t hash)
{
    size_t mask = layer->slot_capacity - 1;
    for (size_t at = (size_t)hash & mask;; at = (at + 1) & mask) {
        struct layer_slot *slot = &layer->slots[at];
        if (slot->round != layer->round || slot->hash == hash)
            return slot;
    }
}

static int grow(struct layer *layer)
{
    struct layer_slot *old = layer->slots;
    size_t old_capacity = layer->slot_capacity;
    size_t capacity = old_capacity ? old_capacity * 2 : SLOT_CAPACITY_FIRST;
    struct layer_slot *slots = calloc(capacity, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    layer->slots = slots;
    layer->slot_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].round == layer->round)
            *slot_of(layer, old[i].hash) = old[i];
    free(old);
    return 0;
}

static struct layer_list *list_of(const struct layer *layer, uint32_t list)
{
    return &layer->lists[list - 1];
}

static int add(struct layer *layer, enum layer_kind kind, struct bytes name, size_t event)
{
    uint64_t hash = hash_to_add(layer, kind, name);
    int r = vector_reserve(&layer->nodes, &layer->node_capacity, layer->node_count + 1);
    if (r == 0)
        r = vector_reserve(&layer->lists, &layer->list_capacity, layer->list_count + 1);
    if (r == 0 && layer->list_count * 2 >= layer->slot_capacity)
        r = grow(layer);
    if (r < 0)
        return r;
    layer->nodes[layer->node_count++] = (struct layer_node){.event = (uint32_t)event};
    uint32_t node = (uint32_t)layer->node_count;
    struct layer_slot *slot = slot_of(layer, hash);
    if (slot->round != layer->round) {
        layer->lists[layer->list_count++] = (struct layer_list){.first = node, .reached = node};
        *slot = (struct layer_slot){hash, layer->round, (uint32_t)layer->list_count};
    } else {
        layer->nodes[list_of(layer, slot->list)->last - 1].next = node;
    }
    list_of(layer, slot->list)->last = node;
    list_of(layer, slot->list)->count++;
    return 0;
}

static int add_event(struct layer *layer, enum layer_kind kind, size_t at)
{
    const struct journal_event *event = &layer->events[at];
    int r = 0;
    switch (kind) {
    case LAYER_STREAM: return event->stream.size > 0 ? add(layer, kind, event->stream, at) : 0;
    case LAYER_ID: return add(layer, kind, bytes_make(event->id, sizeof(event->id)), at);
    case LAYER_KEY:
        if (event->key.size == 0 || event->position != event->append_first)
            return 0;
        return add(layer, kind, event->key, at);
    case LAYER_TYPE: return add(layer, kind, event->type, at);
    case LAYER_TAG:
        for (size_t i = 0; r == 0 && i < event->tag_count; i++)
            r = add(layer, kind, event->tags[i], at);
        return r;
    case LAYER_KIND_COUNT: break;
    }
    return -EINVAL;
}

/* An event of which a part could not be added is added again: a candidate that is proposed twice does no harm, and its
 * chain still ascends. */
static int catch_up(struct layer *layer, enum layer_kind kind)
{
    int r = 0;
    while (r == 0 && layer->known[kind] < layer->event_count) {
        r = add_event(layer, kind, layer->known[kind]);
        if (r == 0)
            layer->known[kind]++;
    }
    return r;
}

/* ---- chains ---- */

static uint64_t position_of(const struct layer *layer, uint32_t node)
{
    return layer->base + layer->nodes[node - 1].event + 1;
}

int layer_find(struct layer *layer, enum layer_kind kind, struct bytes name, struct layer_chain *ret_chain)
{
    int r = catch_up(layer, kind);
    if (r < 0)
        return r;
    *ret_chain = (struct layer_chain){0};
    if (layer->list_count == 0)
        return 0;
    struct layer_slot *slot = slot_of(layer, hash_of(layer, kind, name));
    if (slot->round == layer->round)
        *ret_chain = (struct layer_chain){slot->list, list_of(layer, slot->list)->first};
    return 0;
}

uint64_t layer_chain_next(struct layer *layer, struct layer_chain *chain, uint64_t from)
{
    if (chain->node == 0)
        return 0;
    uint32_t reached = list_of(layer, chain->list)->reached;
    if (position_of(layer, chain->node) < from && position_of(layer, reached) <= from &&
        position_of(layer, reached) > position_of(layer, chain->node))
        chain->node = reached;
    while (chain->node != 0 && position_of(layer, chain->node) < from)
        chain->node = layer->nodes[chain->node - 1].next;
    if (chain->node == 0)
        return 0;
    list_of(layer, chain->list)->reached = chain->node;
    return position_of(layer, chain->node);
}

uint64_t layer_chain_last(const struct layer *layer, const struct layer_chain *chain)
{
    return chain->list ? position_of(layer, list_of(layer, chain->list)->last) : 0;
}

/* ---- scans ---- */

/* Note a chain to be walked. False: there are too many. */
static bool take_chain(struct layer_scan *scan, const struct layer_chain *chain)
{
    if (scan->chain_count == LAYER_SCAN_CHAINS_MAX)
        return false;
    scan->chains[scan->chain_count++] = *chain;
    return true;
}

/* The types of an item whose last event is above `after`: whether there are any. When `walked`, their chains are noted. */
static int scan_types(struct layer_scan *scan, const struct journal_item *item, uint64_t after, bool walked,
                      bool *ret_any)
{
    bool any = false;
    for (size_t i = 0; i < item->type_count && !scan->all; i++) {
        struct layer_chain chain;
        int r = layer_find(scan->layer, LAYER_TYPE, item->types[i], &chain);
        if (r < 0)
            return r;
        if (layer_chain_last(scan->layer, &chain) <= after)
            continue;
        any = true;
        if (walked)
            scan->all |= !take_chain(scan, &chain);
    }
    *ret_any = any;
    return 0;
}

/* With tags: the rarest of them is walked, if all of them and one of the types have something above `after`. */
static int scan_item(struct layer_scan *scan, const struct journal_item *item, uint64_t after)
{
    struct layer_chain rarest = {0};
    bool any = true;
    for (size_t i = 0; i < item->tag_count; i++) {
        struct layer_chain chain;
        int r = layer_find(scan->layer, LAYER_TAG, item->tags[i], &chain);
        if (r < 0)
            return r;
        if (layer_chain_last(scan->layer, &chain) <= after)
            return 0;
        if (rarest.list == 0 ||
            list_of(scan->layer, chain.list)->count < list_of(scan->layer, rarest.list)->count)
            rarest = chain;
    }
    int r = item->type_count > 0 ? scan_types(scan, item, after, item->tag_count == 0, &any) : 0;
    if (r == 0 && any && rarest.list)
        scan->all |= !take_chain(scan, &rarest);
    return r;
}

int layer_scan_begin(struct layer *layer, const struct journal_query *query, uint64_t after,
                     struct layer_scan *ret_scan)
{
    *ret_scan = (struct layer_scan){.layer = layer, .all = query->count == 0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < query->count && !ret_scan->all; i++)
        r = scan_item(ret_scan, &query->items[i], after);
    return r;
}

uint64_t layer_scan_next(struct layer_scan *scan, uint64_t from)
{
    struct layer *layer = scan->layer;
    uint64_t nearest = 0;
    if (from <= layer->base)
        from = layer->base + 1;
    if (scan->all)
        return from <= layer_last(layer) ? from : 0;
    for (size_t i = 0; i < scan->chain_count && nearest != from; i++) {
        uint64_t position = layer_chain_next(layer, &scan->chains[i], from);
        if (position != 0 && (nearest == 0 || position < nearest))
            nearest = position;
    }
    return nearest;
}
