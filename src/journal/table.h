/* table: the index of a range of positions in memory: where each stream, type, tag, id and key stands in it.
 *
 * A table grows at its end until its range is full, and never changes after that. Streams keep their name, so that
 * versions are exact; all other answers are candidates (index.h).
 *
 * Threads: none of its own. Many may ask, or one may add. The last one who lets it go frees it.
 */
#pragma once

#include <stdatomic.h>

#include "base/hashmap.h"
#include "journal/journal.h"
#include "journal/places.h"
#include "journal/posting.h"
#include "journal/times.h"

struct table_stream {
    struct table_stream *next; /* another name with the same hash */
    struct posting posting;
    uint64_t version; /* of its last event here; versions in a table have no gap */
    size_t name_size;
    uint8_t name[];
};

/* A name that was added lately, and where its positions stand. */
enum { TABLE_RECENT_NAME_SIZE_MAX = 48, TABLE_RECENT_TAG_COUNT = 4 };
struct table_recent {
    void *place; /* struct posting or table_stream; NULL: none */
    size_t name_size;
    uint8_t name[TABLE_RECENT_NAME_SIZE_MAX];
};

struct table {
    uint64_t first, last, end; /* last: first - 1 when it is empty; end: the last position it may hold */
    struct hashmap terms;      /* -> struct posting * */
    struct hashmap streams;    /* -> struct table_stream * */
    struct places ids, keys;
    struct times times;
    int64_t time_last_us;
    uint64_t id_ms_lowest, id_ms_highest; /* of ids of version 7 */
    uint64_t stream_count, streams_begun; /* named here; whose version 1 is here */
    size_t size;                          /* bytes of postings and streams */
    struct table_recent type, stream, tags[TABLE_RECENT_TAG_COUNT]; /* of whoever adds */
    atomic_uint refs;
};

/* What an index hashes names with. */
struct table_hash {
    uint8_t key[HASH_SIP_KEY_SIZE];
    uint64_t mask; /* tests let hashes collide */
};

/* The term of a name, the hash of kind, colon and name: 't' type, 'g' tag, 's' stream, 'i' id, 'k' key. */
uint64_t table_term(const struct table_hash *hash, char kind, struct bytes name);

/* Milliseconds of an id of version 7. False: it has another version. */
bool table_id_ms(const uint8_t id[16], uint64_t *ret_ms);

_must_check_ int table_new(uint64_t first, uint64_t end, struct table **ret_table);
struct table *table_ref(struct table *table);
void table_unref(struct table *table); /* NULL is fine */

/* Add the event at last + 1, which is not above `end` (asserted), always with the same hash. 0; or -ENOMEM, and the table can only be let go. */
_must_check_ int table_add(struct table *table, const struct table_hash *hash, const struct journal_event *event);

static inline bool table_is_full(const struct table *table)
{
    return table->last == table->end;
}
size_t table_size(const struct table *table); /* bytes of memory, about */

/* Positions of a type or tag; a stream, by name. NULL: none. Valid as long as the table. */
const struct posting *table_find_term(const struct table *table, uint64_t term);
const struct table_stream *table_find_stream(const struct table *table, uint64_t term, struct bytes name);
/* The highest position below `below` under a hash of ids or keys; 0: none. */
uint64_t table_find_place(const struct table *table, uint64_t hash, uint64_t below);
