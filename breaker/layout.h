/* How a region lies in memory. Not installed; README.md draws it by byte.
 *
 *     struct head | index[index_size] | named 0 | named 1 | … | keyed 0 | keyed 1 | …
 *     named = struct named | 4 marks | shard × (shards + 1) | struct cell × (shards + 1) × slices
 *     keyed = struct keyed | 4 marks | shard | places[shards + 1] | probes[key_probes] | struct cell × key_slices
 *
 * A breaker made by name is called by everybody, so each process counts in lines of its own. There are many made by key
 * and each is called little: they are small, and all processes count in the same words.
 *
 * Everything is an offset, so every process may map it elsewhere. What is read here was written by another
 * process and is never trusted as an index or a bound: geometry comes from the door (struct breaker_region),
 * which was validated once, and the few indices kept in memory are checked where they are read.
 *
 * A counter carries its own tag: the upper half of the 64-bit word says which slice of which epoch the lower
 * half counts. A word with another tag reads as zero and begins anew with the next count, so nothing has to
 * be swept when a slice ends or the state changes, and no process can be killed in the middle of sweeping.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "breaker.h"
#include "prefix.h"

#define REGION_MAGIC  UINT64_C(0x31524b4145524200) /* "\0BREAKR1" */
#define REGION_LAYOUT 3u /* 2: how long calls took; 3: rates in thousandths of a percent, more probes */
#define REGION_ORDER  0x01020304u
#define LINE          64
#define SLICE_NS_MIN  UINT64_C(10000000) /* 10 ms: slice numbers then last 497 days in 32 bits */
#define SLICE_NS_MAX                                                                                         \
    UINT64_C(360000000000) /* a counter of 32 bits holds six minutes of 11 million calls a second */
#define RATE_WHOLE UINT64_C(100000) /* rules keep rates in thousandths of a percent */
#define CLOCK_STEP_NS  UINT64_C(1000000)    /* the shared clock is written at most that often */
#define LATENCY_UNIT_NS 31250 /* shortest time that is told apart */
#define LATENCY_BUCKETS 80    /* a quarter of an octave each, up to 65 s */
#define KEY_BUCKETS     20    /* an octave each */
#define LATENCY_MARKS   4     /* sums of a window that are written down */
#define KEY_PROBES      32    /* of a keyed one, unless the region was made for more */
#define KEY_SLICES_MAX  62500 /* a window of a million calls */
#define KEY_EVENTS      4     /* transitions that are remembered of a breaker made by key */
#define PLACE_SWEEP_NS UINT64_C(1000000000) /* a full breaker looks for the dead at most that often */

typedef _Atomic uint64_t word;

/* ---- the packed state, the one word that decides ---- */

/* epoch 32 | zero 8 | trips 8 | reason 8 | mode 4 | machine 4: closed under mode auto has a low
 * byte of zero. */
static inline uint64_t state_pack(uint32_t epoch, unsigned trips, unsigned reason, unsigned mode,
                                  unsigned machine)
{
    return (uint64_t)epoch << 32 | (uint64_t)(trips & 255) << 16 | (uint64_t)(reason & 255) << 8 |
           (uint64_t)(mode & 15) << 4 | (machine & 15);
}

static inline uint32_t state_epoch(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

static inline unsigned state_trips(uint64_t state)
{
    return state >> 16 & 255;
}

static inline unsigned state_reason(uint64_t state)
{
    return state >> 8 & 255;
}

static inline unsigned state_mode(uint64_t state)
{
    return state >> 4 & 15;
}

static inline unsigned state_machine(uint64_t state)
{
    return state & 15;
}

/* ---- what a slot holds ---- */

enum rule_flags { RULE_HUNG = 1, RULE_PLACES = 2, RULE_COUNT = 4, RULE_EVERY = 8 };

/* A configuration as the hot path reads it; the first line is all that a closed breaker touches. An inverse is
 * ⌊2⁶⁴ / divisor⌋: see divide(). */
struct rules {
    word flags;
    word slice_ns, slice_inverse;
    word slices, slices_inverse;
    word slow_call_ns;
    word geometry; /* times the geometry has changed: part of every tag */
    word max_in_flight;

    word window_count, min_calls, failure_rate, consecutive;
    word slow_rate, open_ns, open_max_ns, jitter;
    word probes, probe_ok, probe_lease_ns, ramp_ns;
    word forget_ns, retry_after_max_ns, key_idle_ns, mode;
    word window_ns;
    word serial; /* which configuration of this slot it is: part of what lenience is tagged with */
    word origin; /* of a configuration: preset 32 | given 32 */
    word min_given; /* min_calls as it was given, which may be more than a window of calls holds */
    word spare[4];
};
static_assert(sizeof(struct rules) == 4 * LINE, "rules are four lines");

/* One transition; `check` mixes all other words, so that a torn record shows. */
struct record {
    word epoch; /* 0: being written */
    word at_ns;
    word what;   /* from 8 | to 8 | reason 8 | mode 8 | trips 32 */
    word total;  /* total 32 | failures 32 */
    word slow;   /* slow 32 | hung 32 */
    word streak; /* consecutive 32 | zero 32 */
    word open_ns;
    word check;
};
static_assert(sizeof(struct record) == LINE, "a record is a line");

struct slot {
    /* read by every call, written by transitions (and the clock, once a millisecond) */
    word state;
    word since;      /* marked time of the last transition */
    word until;      /* marked time when open ends */
    word clock_ns;   /* latest time seen: time stands still when a caller's clock steps back */
    word version;    /* of a named one: rules[version & 1] are in force */
    word identity;   /* 0: no breaker here; never used twice */
    word hung_slice; /* the slice whose first acquire has looked for hung calls */
    word latency_due_ns; /* when the next mark is to be written */

    /* written by failures, and by successes after a failure */
    word streak;   /* tagged with the epoch: failures in a row */
    word evidence; /* tagged with the epoch: successes since it began, while ramping or while trips are
                      remembered */
    word hint;     /* marked time until which the upstream asked to be left alone */
    word position; /* tagged with the era: writes into a window that counts calls */
    word used_ns;  /* keyed: last look-up */
    word swept_ns; /* last look for the dead */
    word
        lenience; /* tagged: bad samples that cannot trip a rate, so that nobody has to sum the window for them */
    word group; /* of a keyed breaker: its group's slot + 1 */

    word name[8];
};
static_assert(sizeof(struct slot) == 3 * LINE, "what all breakers have is three lines");

struct named {
    struct slot slot;
    struct rules rules[2];
    struct record events[BREAKER_EVENTS];
    word probe[BREAKER_PROBES_MAX]; /* epoch 32 | state 2 | lease end in ms after the epoch began 30 */
};
static_assert(sizeof(struct named) == (3 + 8 + BREAKER_EVENTS + BREAKER_PROBES_MAX / 8) * LINE, "a named one has 91 lines");

struct keyed {
    struct slot slot;
    struct record events[KEY_EVENTS];
};
static_assert(sizeof(struct keyed) == (3 + KEY_EVENTS) * LINE, "a keyed one has seven lines");

/* Sums over all shards at the beginning of a quarter of a window: buckets, then struct lately. */
struct mark {
    word tag; /* 0: being written */
    _Atomic uint32_t count[];
};

/* What is told of the last window whatever the state: it is not emptied when that changes. */
enum lately {
    LATELY_OK,
    LATELY_FAILURE,
    LATELY_TIMEOUT,
    LATELY_SLOW,
    LATELY_SLOW_FAILURE,
    LATELY_SLOW_TIMEOUT,
    LATELY_REFUSED,
    LATELY_FALLBACK,
    LATELY_FALLBACK_FAILED,
    LATELY_SHADOW,
    LATELY_COUNTS = 10,
};

enum total {
    TOTAL_STARTED, /* not counted here: keeps totals and cells parallel */
    TOTAL_OK,
    TOTAL_FAILURE,
    TOTAL_TIMEOUT,
    TOTAL_SLOW,
    TOTAL_SLOW_FAILURE,
    TOTAL_SLOW_TIMEOUT,
    TOTAL_NEUTRAL,
    TOTAL_REFUSED_OPEN,
    TOTAL_REFUSED_PROBING,
    TOTAL_REFUSED_RAMP,
    TOTAL_REFUSED_FULL,
    TOTAL_REFUSED_FORCED,
    TOTAL_SHADOW_REFUSED,
    TOTAL_STALE,
    TOTAL_PROBES,
    TOTAL_LEASES_ENDED,
    TOTAL_TRIPS_CONSECUTIVE,
    TOTAL_TRIPS_FAILURE_RATE,
    TOTAL_TRIPS_SLOW_RATE,
    TOTAL_TRIPS_PROBES_FAILED,
    TOTAL_FALLBACK,
    TOTAL_FALLBACK_FAILED,
    TOTALS = 30,
};

/* What one process (or lane of one) counts for one breaker; of a keyed one, all of them. */
struct shard {
    word total[TOTALS];
    word in_flight; /* of a named one */
    word turn;      /* calls that came while ramping */
    /* calls that were ok, by how long they took, a row of buckets; total[TOTAL_OK] has the others. Then a row of those
       that were not ok */
    word took[];
};
static_assert(offsetof(struct shard, took) == 4 * LINE, "a shard's head is four lines");

/* One slice of one shard: how calls that began in it ended. Tagged words, same order as enum total. */
struct cell {
    word count[8];
};
static_assert(sizeof(struct cell) == LINE, "a cell is a line");

struct head {
    /* written once, guarded by `check` */
    uint64_t magic;
    uint32_t layout, order;
    uint64_t size;
    uint32_t breakers, shards, slices, index_size;
    uint64_t boot_id;
    uint64_t seed;
    uint64_t check;

    word lock;         /* owner of the registry, 0 free */
    word lock_seen_ns; /* last time someone looked whether that owner lives */
    word used;         /* named slots ever taken */
    word keys_used;    /* keyed ones */
    word hand;         /* where the search for an idle one goes on */
    word next_identity;
    word shards_used; /* bit per shard that ever counted */
    word shared;      /* look-ups of a key that found no room and got the group's own breaker */

    /* written once, guarded by `check` too */
    uint32_t keys, key_slices, key_probes, zero;
    uint64_t nothing[6];

    word owner[BREAKER_SHARDS_MAX + 1]; /* pid 32 | start time 32, 0 free */
};
static_assert(offsetof(struct head, lock) == LINE && offsetof(struct head, keys) == 2 * LINE,
              "what never changes has lines of its own");
static_assert(sizeof(struct head) == 11 * LINE, "the head is eleven lines");

/* ---- tagged counters and marked times ---- */

/* The race tests compile the library so that it gives its core away now and then before it writes: what takes a
 * million rounds to happen by itself then happens in a hundred. */
#ifdef BREAKER_CHAOS
void chaos(void);
#else
static inline void chaos(void) {}
#endif

static inline uint64_t word_load(const word *from)
{
    return atomic_load_explicit((word *)from, memory_order_relaxed);
}

static inline void word_store(word *to, uint64_t value)
{
    chaos();
    atomic_store_explicit(to, value, memory_order_relaxed);
}

static inline uint64_t word_add(word *to, uint64_t more)
{
    return atomic_fetch_add_explicit(to, more, memory_order_relaxed);
}

static inline bool word_swap(word *to, uint64_t *expected, uint64_t value)
{
    chaos();
    return atomic_compare_exchange_strong_explicit(to, expected, value, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* The count of a tagged word; 0 when it counts something else. */
static inline uint32_t tagged_count(uint64_t value, uint32_t tag)
{
    return value >> 32 == tag ? (uint32_t)value : 0;
}

/* A time in µs with the lower 16 bits of an epoch: which transition it belongs to. */
static inline uint64_t mark_pack(uint32_t epoch, uint64_t at_ns)
{
    return (uint64_t)(epoch & 0xffff) << 48 | ((at_ns + 999) / 1000 & UINT64_C(0xffffffffffff));
}

static inline bool mark_is_of(uint64_t mark, uint32_t epoch)
{
    return mark >> 48 == (epoch & 0xffff) && (mark & UINT64_C(0xffffffffffff)) != 0;
}

static inline uint64_t mark_ns(uint64_t mark)
{
    return (mark & UINT64_C(0xffffffffffff)) * 1000;
}

static inline uint64_t mix64(uint64_t value)
{
    value = (value ^ value >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 29) * UINT64_C(0xd6e8feb86659fd93);
    return value ^ value >> 32;
}

/* ---- where things are ---- */

static inline struct head *region_head(const struct breaker_region *region)
{
    return region->base;
}

static inline word *region_index(const struct breaker_region *region)
{
    return (word *)((char *)region->base + sizeof(struct head));
}

static inline uint32_t index_size_of(uint32_t entries)
{
    uint32_t size = 8;
    while (size < 2 * entries)
        size *= 2;
    return size;
}

static inline uint32_t region_entries(const struct breaker_region *region)
{
    return region->breakers + region->keys;
}

static inline uint64_t lines_of(uint64_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

static inline uint64_t mark_size_of(uint32_t buckets)
{
    return lines_of(sizeof(struct mark) + (buckets + LATELY_COUNTS) * sizeof(uint32_t));
}

static inline uint64_t shard_size_of(uint32_t buckets)
{
    return lines_of(sizeof(struct shard) + 2 * buckets * sizeof(word));
}

static inline uint64_t named_size_of(uint32_t shards, uint32_t slices)
{
    return sizeof(struct named) + LATENCY_MARKS * mark_size_of(LATENCY_BUCKETS) +
           (shards + UINT64_C(1)) * (shard_size_of(LATENCY_BUCKETS) + slices * sizeof(struct cell));
}

static inline uint64_t places_size_of(uint32_t shards)
{
    return lines_of((shards + UINT64_C(1)) * sizeof(word));
}

static inline uint64_t keyed_size_of(uint32_t shards, uint32_t slices, uint32_t probes)
{
    return sizeof(struct keyed) + LATENCY_MARKS * mark_size_of(KEY_BUCKETS) + shard_size_of(KEY_BUCKETS) +
           places_size_of(shards) + lines_of(probes * sizeof(word)) + slices * sizeof(struct cell);
}

/* Named ones first. */
static inline struct slot *region_slot(const struct breaker_region *region, uint32_t number)
{
    char *named = (char *)region->base + sizeof(struct head) + index_size_of(region_entries(region)) * sizeof(word);
    uint64_t size = named_size_of(region->shards, region->slices);
    if (number < region->breakers)
        return (struct slot *)(void *)(named + number * size);
    return (struct slot *)(void *)(named + region->breakers * size +
                                   (number - region->breakers) *
                                       keyed_size_of(region->shards, region->key_slices, region->key_probes));
}

/* Where a slot's rules live: its group's slot when it was made by key; NULL when memory names none. */
static inline struct slot *slot_home(const struct breaker_region *region, uint32_t number)
{
    struct slot *slot = region_slot(region, number);
    if (number < region->breakers)
        return slot;
    uint64_t group = word_load(&slot->group);
    return group >= 1 && group <= region->breakers ? region_slot(region, (uint32_t)group - 1) : NULL;
}

/* ---- what a breaker has; a handle of one made by key has an id ---- */

static inline bool breaker_is_keyed(const struct breaker *breaker)
{
    return __builtin_expect(breaker->id != 0, 0);
}

static inline struct record *breaker_records(const struct breaker *breaker, uint32_t *ret_count)
{
    *ret_count = breaker_is_keyed(breaker) ? KEY_EVENTS : BREAKER_EVENTS;
    return breaker_is_keyed(breaker) ? ((struct keyed *)breaker->slot)->events : ((struct named *)breaker->slot)->events;
}

static inline uint32_t breaker_buckets(const struct breaker *breaker)
{
    return breaker_is_keyed(breaker) ? KEY_BUCKETS : LATENCY_BUCKETS;
}

static inline struct mark *breaker_mark(const struct breaker *breaker, uint64_t number)
{
    bool is_keyed = breaker_is_keyed(breaker);
    char *marks = (char *)breaker->slot + (is_keyed ? sizeof(struct keyed) : sizeof(struct named));
    return (struct mark *)(void *)(marks + number % LATENCY_MARKS * mark_size_of(breaker_buckets(breaker)));
}

#define NAMED_SHARDS (sizeof(struct named) + LATENCY_MARKS * mark_size_of(LATENCY_BUCKETS))
#define KEYED_SHARD  (sizeof(struct keyed) + LATENCY_MARKS * mark_size_of(KEY_BUCKETS))
#define KEYED_PLACES (KEYED_SHARD + shard_size_of(KEY_BUCKETS))

/* How many a breaker has: each lane's and the common one, or the one for all. */
static inline uint32_t breaker_shards(const struct breaker *breaker)
{
    return breaker_is_keyed(breaker) ? 1 : breaker->region->shards + 1;
}

static inline struct shard *breaker_shard(const struct breaker *breaker, uint32_t lane)
{
    char *slot = breaker->slot;
    if (breaker_is_keyed(breaker))
        return (struct shard *)(void *)(slot + KEYED_SHARD);
    return (struct shard *)(void *)(slot + NAMED_SHARDS + lane * shard_size_of(LATENCY_BUCKETS));
}

/* Shards that ever counted, by their bits. */
static inline uint64_t breaker_shard_bits(const struct breaker *breaker)
{
    uint64_t all = UINT64_MAX >> (BREAKER_SHARDS_MAX - breaker->region->shards);
    return breaker_is_keyed(breaker) ? 1 : word_load(&region_head(breaker->region)->shards_used) & all;
}

/* Calls of a lane that are under way. */
static inline word *breaker_place(const struct breaker *breaker, uint32_t lane)
{
    if (breaker_is_keyed(breaker))
        return (word *)(void *)((char *)breaker->slot + KEYED_PLACES) + lane;
    return &breaker_shard(breaker, lane)->in_flight;
}

static inline word *breaker_probe(const struct breaker *breaker, uint32_t number)
{
    char *slot = breaker->slot;
    if (breaker_is_keyed(breaker))
        return (word *)(void *)(slot + KEYED_PLACES + places_size_of(breaker->region->shards)) + number;
    return &((struct named *)breaker->slot)->probe[number];
}

static inline uint32_t breaker_probes_room(const struct breaker *breaker)
{
    return breaker_is_keyed(breaker) ? breaker->region->key_probes : BREAKER_PROBES_MAX;
}

static inline uint32_t breaker_slices(const struct breaker *breaker)
{
    return breaker_is_keyed(breaker) ? breaker->region->key_slices : breaker->region->slices;
}

static inline struct cell *breaker_cells(const struct breaker *breaker, uint32_t lane)
{
    const struct breaker_region *region = breaker->region;
    if (breaker_is_keyed(breaker))
        return (struct cell *)(void *)((char *)breaker_probe(breaker, 0) + lines_of(region->key_probes * sizeof(word)));
    struct cell *cells = (struct cell *)(void *)breaker_shard(breaker, region->shards + 1);
    return cells + (uint64_t)lane * region->slices;
}

/* Entries of a window that counts calls: it takes the room of all cells, four bytes a call. */
static inline uint32_t ring_room(uint32_t shards, uint32_t slices)
{
    return shards * slices * (uint32_t)(sizeof(struct cell) / sizeof(uint32_t));
}

static inline uint32_t ring_capacity(const struct breaker *breaker)
{
    return ring_room(breaker_shards(breaker), breaker_slices(breaker));
}

static inline struct rules *breaker_rules(const struct breaker *breaker)
{
    struct named *home = breaker->rules;
    return &home->rules[atomic_load_explicit(&home->slot.version, memory_order_acquire) & 1];
}
