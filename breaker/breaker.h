/* libbreaker: circuit breakers that several processes share through memory.
 *
 * A breaker stands before calls that may fail. It counts how they end and, when they end badly too often,
 * refuses them for a while (open), lets a few try (half-open), lets more and more through (ramp) and all
 * again (closed).
 *
 * The life of it: the caller brings memory – malloc, mmap, a file, a zone of nginx – and makes a region in it
 * once (breaker_region_init). Every process attaches to that region (breaker_region_attach), gets breakers by
 * name (breaker_get) or by key (breaker_key), and around each call does two steps:
 *
 *     struct breaker_permit permit;
 *     if (breaker_acquire(&payments, now, 0, &permit) != 0)
 *         return fallback(breaker_retry_after(&payments, now));
 *     bool ok = call();
 *     breaker_report(&payments, &permit, ok ? BREAKER_OK : BREAKER_FAILURE, breaker_clock());
 *
 * Threads and processes: every function may be called from any thread of any attached process at once.
 * Nothing between acquire and report locks, allocates or makes a system call. A process may be killed at any
 * instruction; what it held is given back (B5). The library has no thread, logs nothing, raises nothing and
 * never aborts.
 *
 * Time is an argument: nanoseconds of one monotonic clock that all processes of the region share
 * (CLOCK_MONOTONIC). A clock that steps back is taken to stand still.
 *
 * Invariants, cited by code and tests:
 *   B1  A permit is reported at most once; a second report does nothing.
 *   B2  A report whose permit was granted in an older epoch changes no state and enters no window.
 *   B3  Each transition is won by exactly one caller, adds one to the epoch and leaves one event.
 *   B4  One half-open epoch grants at most `probes` permits that count; a probe that does not report before
 * its lease ends has failed. B5  What a killed process held is given back: probes when their lease ends,
 * places in flight when its shard is reclaimed. B6  A region that cannot be trusted is never written to; all
 * calls pass and the answer says why. B7  Only a breaker that is closed, idle, empty and made by key is ever
 * evicted.
 */
#ifndef BREAKER_H
#define BREAKER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BREAKER_PUBLIC __attribute__((visibility("default")))
#else
#define BREAKER_PUBLIC
#endif

/* ---- Limits. Each is checked where a value comes in, and has a test. ---- */

#define BREAKER_NAME_MAX     63    /* bytes of a name; a longer key is kept as its beginning and a hash */
#define BREAKER_PROBES_MAX   128   /* half-open permits of one epoch */
#define BREAKER_SLICES_MAX   120   /* slices of a time window */
#define BREAKER_SHARDS_MAX   63    /* processes (or lanes of them) that own counters of their own */
#define BREAKER_BREAKERS_MAX 65535 /* breakers of one region */
#define BREAKER_EVENTS       64    /* transitions that are remembered for each breaker */

/* ---- Answers. 0 is done or granted, > 0 an answer, and no function fails otherwise. ---- */

enum breaker_answer {
    /* breaker_acquire() refuses */
    BREAKER_E_OPEN = 1,    /* open, or forced open; breaker_retry_after() says how long */
    BREAKER_E_PROBING = 2, /* half-open, and all probes are out (or this call must not be one) */
    BREAKER_E_RAMP = 3,    /* coming back: this call is not in the share that passes yet */
    BREAKER_E_FULL = 4,    /* max_in_flight calls are under way */
    BREAKER_E_FORCED = 5,  /* an operator forced it open */
    /* the rest of the kit refuses */
    BREAKER_E_RATE = 6,      /* no token: breaker_rate_take() says when there will be one */
    BREAKER_E_THROTTLED = 7, /* the service accepts too little of what it is asked */
    /* breaker_report() did not count */
    BREAKER_E_SPENT = 10, /* reported before, or never granted (B1) */
    BREAKER_E_STALE = 11, /* granted in an older epoch (B2), or the probe's lease had ended (B4) */
    /* breaker_retry_next(), breaker_run() */
    BREAKER_E_FAILED = 12,   /* the call failed, and so did every fallback */
    BREAKER_E_TIME = 13,     /* the time limit has passed, or would before the next try */
    BREAKER_E_ATTEMPTS = 14, /* tried as often as allowed */
    BREAKER_E_BUDGET = 15,   /* too many retries lately for the calls there were */
    /* breaker_get(), breaker_key(), breaker_find() */
    BREAKER_E_NAME = 20,      /* empty, longer than BREAKER_NAME_MAX, or holds control characters */
    BREAKER_E_CAPACITY = 21,  /* the region holds as many breakers as it can */
    BREAKER_E_ABSENT = 22,    /* no breaker of that name */
    BREAKER_E_BUSY = 23,      /* another process is registering one just now: calls pass untracked */
    BREAKER_E_UNTRACKED = 24, /* the handle has no breaker behind it: every call passes */
    /* configuration */
    BREAKER_E_CONFIG = 30, /* struct breaker_problem says field, value and range */
    BREAKER_E_SPACE = 31,  /* the text does not fit the buffer */
    /* breaker_region_init(), breaker_region_attach(): the reason why calls pass unguarded (B6) */
    BREAKER_E_MISSING = 40,   /* no memory given */
    BREAKER_E_ALIGNMENT = 41, /* the memory does not begin on a multiple of 64 bytes */
    BREAKER_E_EMPTY = 42,     /* the memory is zero: no region was made here yet */
    BREAKER_E_FOREIGN = 43,   /* these bytes are something else */
    BREAKER_E_LAYOUT = 44,    /* made by another version of this library or for another byte order */
    BREAKER_E_TRUNCATED = 45, /* shorter than what its header tells */
    BREAKER_E_CORRUPT = 46,   /* its header does not agree with its checksum */
    BREAKER_E_BOOT = 47,      /* made before this machine started: its times mean nothing now */
    BREAKER_E_SHARDS = 48,    /* guarded all the same: every shard is owned by a live process, so this one
                                 shares the common one, and its calls in flight are not limited */
    BREAKER_E_OPTIONS = 49,   /* an option is out of its range */
};

/* What an answer means, as a sentence without a full stop. Never NULL; static. */
BREAKER_PUBLIC const char *breaker_answer_text(int answer);

/* The answer's short name for logs and metrics ("open", "probing", "truncated"). Never NULL; static. */
BREAKER_PUBLIC const char *breaker_answer_name(int answer);

/* ---- States, modes, reasons, outcomes ---- */

enum breaker_state {
    BREAKER_CLOSED = 0,
    BREAKER_OPEN = 1,
    BREAKER_HALF_OPEN = 2,
    BREAKER_RAMP = 3,
    /* what breaker_snapshot() shows while a mode overrules the machine */
    BREAKER_FORCED_OPEN = 4,
    BREAKER_FORCED_CLOSED = 5,
    BREAKER_SHADOW = 6,
};

enum breaker_mode {
    BREAKER_MODE_AUTO = 0,          /* the machine decides */
    BREAKER_MODE_FORCED_OPEN = 1,   /* every call is refused */
    BREAKER_MODE_FORCED_CLOSED = 2, /* every call passes; counted in the totals, never judged */
    BREAKER_MODE_SHADOW = 3, /* every call passes; the machine runs and tells what it would have refused */
};

enum breaker_reason {
    BREAKER_REASON_NONE = 0,
    BREAKER_REASON_FORCED = 1,       /* an operator, or the configuration's mode */
    BREAKER_REASON_CONSECUTIVE = 2,  /* that many failures in a row */
    BREAKER_REASON_FAILURE_RATE = 3, /* failures of all completed calls */
    BREAKER_REASON_SLOW_RATE = 4,    /* slow and hung calls of all calls */
    BREAKER_REASON_PROBES_FAILED = 5,
    BREAKER_REASON_PROBES_OK = 6,
    BREAKER_REASON_RETRY = 7, /* the open time has passed: half-open */
    BREAKER_REASON_RAMPED = 8,
    BREAKER_REASON_RESET = 9,
};

enum breaker_outcome {
    BREAKER_OK = 0,
    BREAKER_FAILURE = 1,
    BREAKER_TIMEOUT = 2, /* a failure that is counted apart in the totals */
    BREAKER_SLOW = 3,    /* succeeded, and slow by the caller's judgement whatever time it took */
    BREAKER_NEUTRAL = 4, /* says nothing about the service: the caller gave up, a 429 … If it had waited
                            longer than slow_call, it is a slow sample all the same */
};

BREAKER_PUBLIC const char *breaker_state_name(int state);     /* "closed", "half_open", "forced_open" … */
BREAKER_PUBLIC const char *breaker_mode_name(int mode);       /* "auto", "forced_open" … */
BREAKER_PUBLIC const char *breaker_reason_name(int reason);   /* "failure_rate" … */
BREAKER_PUBLIC const char *breaker_outcome_name(int outcome); /* "ok", "timeout" … */

/* ---- Configuration ---- */

/* How one breaker judges. Begin with breaker_config_init(); struct_size lets newer libraries read older
 * structs. The names of the fields in text (breaker_config_set) stand in quotes; times are written 10s,
 * 800ms, 250us, 5m. */
struct breaker_config {
    uint32_t struct_size;    /* sizeof(struct breaker_config), set by breaker_config_init() */
    uint32_t mode;           /* "mode": enum breaker_mode a breaker starts in */
    uint64_t window_ns;      /* "window=10s": length of a time window; 0 when the window counts calls */
    uint32_t window_count;   /* "window=count:100": the last that many calls; 0 when the window is of time */
    uint32_t slices;         /* "slices": parts of a time window */
    uint32_t min_calls;      /* "min_calls": completed calls a rate needs before it means anything */
    uint32_t failure_rate;   /* "failure_rate": percent 1–100 that trips; 0 off. "33.3%": failure_rate_milli */
    uint32_t consecutive;    /* "consecutive": failures in a row that trip; 0 off */
    uint32_t slow_rate;      /* "slow_rate": percent 1–100 of slow and hung calls that trips; 0 off */
    uint64_t slow_call_ns;   /* "slow_call": a call that took longer is slow; 0 off */
    uint32_t hung;           /* "hung=on": calls older than slow_call count as slow before they end */
    uint32_t every;          /* "evaluate=failures|every": 1 judges on every report, also on a success */
    uint64_t open_ns;        /* "open": open time after the first trip */
    uint64_t open_max_ns;    /* "open_max": doubling stops here; 0: the open time stays as it is */
    uint32_t jitter;         /* "jitter": percent 0–50 by which the open time differs, from the epoch */
    uint32_t probes;         /* "probes": permits while half-open, 1–128 */
    uint32_t probe_ok;       /* "probe_ok": of these must not fail; 0, "rate": judged by failure_rate */
    uint32_t max_in_flight;  /* "max_in_flight": calls under way over all processes; 0 without limit */
    uint64_t probe_lease_ns; /* "probe_lease": a probe that takes longer has failed */
    uint64_t ramp_ns;        /* "ramp": shortest time from 10 % to 100 %; 0 closes at once */
    uint64_t forget_ns;      /* "forget": closed that long, with traffic, the doubling starts anew */
    uint64_t
        retry_after_max_ns; /* "retry_after_max": an upstream's Retry-After is believed up to this; 0 never */
    uint64_t key_idle_ns;   /* "key_idle": a breaker made by key may be evicted when unused for so long */
    uint32_t failure_rate_milli; /* thousandths of a percent more: 33.3% is 33 and 300 */
    uint32_t slow_rate_milli;
    uint32_t preset; /* the library's own: which preset it began with, and what text has set since */
    uint32_t given;
};

/* What is wrong with a configuration, or questionable (is_warning). */
struct breaker_problem {
    char field[24];    /* as in the text: "min_calls" */
    char value[48];    /* what was given */
    char range[80];    /* what would do */
    char message[200]; /* all of it as one sentence */
    int is_warning;
};

/* The suggested defaults: window=10s slices=20 min_calls=20 failure_rate=50% consecutive=10 open=5s
 * open_max=60s jitter=15% probes=3 probe_ok=rate (2 of 3) ramp=10s probe_lease=10s forget=60s; slow calls off. */
BREAKER_PUBLIC void breaker_config_init(struct breaker_config *config);

/* Take all values of "default", "hystrix", "resilience4j" or "envoy". BREAKER_E_CONFIG for another name;
 * config is untouched then. What each means, and where its numbers are published: README.md. */
BREAKER_PUBLIC int breaker_config_preset(struct breaker_config *config, const char *name,
                                         struct breaker_problem *ret_problem);

/* Set one field from text ("open", "5s"), also "preset". Checks the value's own range; what fields must hold
 * together is left to breaker_config_check(). BREAKER_E_CONFIG: config is untouched and ret_problem (may be
 * NULL) is filled. Fields that depend on this one and were not set themselves follow it: README.md, "Presets". */
BREAKER_PUBLIC int breaker_config_set(struct breaker_config *config, const char *field, const char *value,
                                      struct breaker_problem *ret_problem);

/* Set several, "window=10s min_calls=20 …", separated by blanks, in any order: a preset among them comes first. Onto
 * what config holds; untouched if one is wrong. */
BREAKER_PUBLIC int breaker_config_parse(struct breaker_config *config, const char *text,
                                        struct breaker_problem *ret_problem);

/* Does all of it hold together? BREAKER_E_CONFIG if not. 0 with ret_problem->is_warning set when it is legal
 * but questionable; ret_problem->field is "" when there is nothing to say. */
BREAKER_PUBLIC int breaker_config_check(const struct breaker_config *config,
                                        struct breaker_problem *ret_problem);

/* All fields as text that breaker_config_parse() reads back to the same values. BREAKER_E_SPACE: too small
 * (512 will do). */
BREAKER_PUBLIC int breaker_config_format(const struct breaker_config *config, char *buffer, size_t size);

/* ---- The region ---- */

struct breaker_region_options {
    uint32_t struct_size; /* sizeof(struct breaker_region_options); 0 reads as this version */
    uint32_t breakers;    /* hard cap of breakers made by name; 0: 16 */
    uint32_t shards;      /* processes that count apart, about twice the workers for nginx; 0: 8 */
    uint32_t slices;      /* most slices a window may have here; 0: 20 */
    uint64_t boot_id;     /* 0: ask the kernel. Tests bring their own */
    uint32_t keys;        /* hard cap of breakers made by key; 0: as many as by name */
    uint32_t key_slices;  /* room of a keyed one's window: slices, or 16 calls each; 0: as slices */
    uint32_t key_probes;  /* most probes of a keyed one; 0: 32 */
    uint32_t zero;
};

/* One process's door to a region. In the caller's memory; its fields are the library's. A zeroed one, or one
 * whose attach was refused, is legal everywhere and lets every call pass. */
struct breaker_region {
    void *base;
    uint64_t size;
    uint32_t breakers, shards, slices;
    uint32_t lanes;     /* shards this process owns */
    uint8_t lane[16];   /* their numbers */
    uint32_t is_common; /* owns none and shares the common shard */
    int answer;         /* of the attach */
    uint64_t untracked; /* calls that passed unguarded through this door */
    uint64_t boot_id;
    uint64_t self; /* this process, as its shards name it */
    uint32_t keys, key_slices, key_probes;
    uint32_t zero;
    uint64_t reserved;
};

/* Bytes a region of these options needs (NULL: defaults); 0 when an option is out of its range. */
BREAKER_PUBLIC size_t breaker_region_size(const struct breaker_region_options *options);

/* Make an empty region in memory of size bytes, aligned to 64, which no one is attached to. What was there is
 * lost. */
BREAKER_PUBLIC int breaker_region_init(void *memory, size_t size,
                                       const struct breaker_region_options *options);

/* Attach to a region; claim `lanes` shards (1 for a process with one busy thread, about one a busy thread
 * otherwise; at most 16). Shards of processes that are dead are reset and taken. 0, or the reason why calls
 * pass unguarded (B6); BREAKER_E_SHARDS is a warning. A child of fork() attaches anew. boot_id as in the
 * options, 0: ask the kernel. */
BREAKER_PUBLIC int breaker_region_attach(struct breaker_region *ret_region, void *memory, size_t size,
                                         uint32_t lanes, uint64_t boot_id);

/* Attach to look and to give orders: claims no shard and counts nothing. For tools. */
BREAKER_PUBLIC int breaker_region_observe(struct breaker_region *ret_region, void *memory, size_t size,
                                          uint64_t boot_id);

/* Give the shards back. Handles of this region must not be used any more. NULL and refused
 * regions are fine. */
BREAKER_PUBLIC void breaker_region_detach(struct breaker_region *region);

/* Copy all breakers into another region, empty or not, that may be of another size: rules, state, window, totals, events.
 * Calls under way stay where they are. Both must be of the same boot. 0; BREAKER_E_MISSING; or the answer that one of the
 * breakers met, BREAKER_E_CAPACITY or _CONFIG: the others were copied. */
BREAKER_PUBLIC int breaker_region_copy(struct breaker_region *to, struct breaker_region *from, uint64_t now_ns);

/* Give back what dead processes held in flight, and their shards. Attach does it, and once a second a call
 * that is refused as BREAKER_E_FULL; a supervisor may do it at once. Makes system calls. Returns how many
 * shards were freed. */
BREAKER_PUBLIC int breaker_region_sweep(struct breaker_region *region);

/* ---- Breakers ---- */

/* A handle: copy it as you like, keep it as long as the region is attached. A zeroed one lets every call
 * pass. */
struct breaker {
    struct breaker_region *region;
    void *slot;  /* NULL: untracked */
    void *rules; /* where its configuration lives: its own slot, or its group's */
    uint64_t id; /* of a breaker made by key: tells when it was evicted; 0 of a named one */
};

/* Find the breaker of that name, or make it. config (NULL: the defaults for a new one, no change for an
 * existing one) wins over what an existing one had, as breaker_configure(). Not for the hot path: may wait
 * for another process that registers. BREAKER_E_CONFIG fills ret_problem (may be NULL). On any answer > 0
 * *ret_breaker lets calls pass. */
BREAKER_PUBLIC int breaker_get(struct breaker_region *region, const char *name,
                               const struct breaker_config *config, uint64_t now_ns,
                               struct breaker *ret_breaker, struct breaker_problem *ret_problem);

/* Find by full name ("payments", or "payments:key" of a keyed one); never makes one. BREAKER_E_ABSENT. */
BREAKER_PUBLIC int breaker_find(struct breaker_region *region, const char *name, struct breaker *ret_breaker);

/* The breaker of a key within a group: the group is a named breaker, whose configuration counts for all its
 * keys. Made when new, in place of an idle one when the region is full. For the hot path: locks nothing and
 * never waits. BREAKER_E_CAPACITY (no room), BREAKER_E_BUSY, BREAKER_E_NAME (an empty key, or the group's name is too long),
 * BREAKER_E_CONFIG (the group's window or probes need more room than the region's keyed breakers have): *ret_breaker is the
 * group's own breaker, which all who found no room share. Ask anew for each call; do not keep it. */
BREAKER_PUBLIC int breaker_key(const struct breaker *group, const void *key, size_t key_size, uint64_t now_ns,
                               struct breaker *ret_breaker);

/* How many breakers made by key the region has room for; *ret_used are there, and so many look-ups (of all processes)
 * found no room and shared their group's. Either may be NULL. */
BREAKER_PUBLIC uint32_t breaker_keys_room(const struct breaker_region *region, uint32_t *ret_used,
                                          uint64_t *ret_shared);

/* Go through all: *cursor begins at 0. 0, or BREAKER_E_ABSENT after the last one. */
BREAKER_PUBLIC int breaker_next(struct breaker_region *region, uint32_t *cursor, struct breaker *ret_breaker);

/* ---- Calls ---- */

/* Proof that a call may be made. Caller's memory, from acquire to report; its fields are the library's. A
 * refused or reported permit is spent (kind 0), and reporting it does nothing. */
struct breaker_permit {
    uint64_t started_ns;
    uint64_t lease;
    uint32_t epoch;
    uint8_t kind;  /* 0: spent */
    uint8_t probe; /* which probe of a half-open epoch */
    uint8_t shard;
    uint8_t flags;
};

enum breaker_acquire_flags {
    BREAKER_NO_PROBE = 1, /* this call should not be a probe (it is not idempotent): refused while half-open,
                             unless no better call has come for one open time */
};

/* May the call be made? 0: granted, report ret_permit once. BREAKER_E_OPEN, _PROBING, _RAMP, _FULL, _FORCED:
 * refused, ret_permit is spent. */
BREAKER_PUBLIC int breaker_acquire(const struct breaker *breaker, uint64_t now_ns, unsigned flags,
                                   struct breaker_permit *ret_permit);

/* The call ended at now_ns. 0: counted; BREAKER_E_SPENT, BREAKER_E_STALE: not. Spends the permit in each
 * case. */
BREAKER_PUBLIC int breaker_report(const struct breaker *breaker, struct breaker_permit *permit,
                                  enum breaker_outcome outcome, uint64_t now_ns);

/* The same with more to tell. */
struct breaker_result {
    uint32_t outcome;        /* enum breaker_outcome */
    uint32_t flags;          /* BREAKER_NEVER_SLOW */
    uint64_t took_ns;        /* what slow is judged on, e.g. the time to the header; 0: now − acquire */
    uint64_t retry_after_ns; /* what the upstream asked for (Retry-After); 0 nothing */
};

enum breaker_result_flags {
    BREAKER_NEVER_SLOW = 1, /* a long answer was asked for: whatever it took, it is not slow */
};

BREAKER_PUBLIC int breaker_report_result(const struct breaker *breaker, struct breaker_permit *permit,
                                         const struct breaker_result *result, uint64_t now_ns);

/* Give a permit back without an outcome: breaker_report() with BREAKER_NEUTRAL. For clean-up paths. */
BREAKER_PUBLIC int breaker_release(const struct breaker *breaker, struct breaker_permit *permit,
                                   uint64_t now_ns);

/* How this permit was granted: as a probe; though it would have been refused (shadow); with no breaker behind
 * it. */
BREAKER_PUBLIC int breaker_permit_is_probe(const struct breaker_permit *permit);
BREAKER_PUBLIC int breaker_permit_is_shadow(const struct breaker_permit *permit);
BREAKER_PUBLIC int breaker_permit_is_untracked(const struct breaker_permit *permit);

/* ns until a refused caller should try again: what remains of the open time, or of the first probe lease to
 * end; a tenth of the ramp; the base open time when forced open. 0 when calls pass now or no time is known
 * (full). */
BREAKER_PUBLIC uint64_t breaker_retry_after(const struct breaker *breaker, uint64_t now_ns);

/* The same for the HTTP header: whole seconds, rounded up, at least 1. */
BREAKER_PUBLIC uint32_t breaker_retry_after_seconds(const struct breaker *breaker, uint64_t now_ns);

/* ---- Orders ---- */

/* A fallback has served in place of a call, or could not. Counted beside the calls and never judged; breaker_run() does
 * it. */
BREAKER_PUBLIC void breaker_count_fallback(const struct breaker *breaker, int has_served, uint64_t now_ns);

/* Overrule the machine, or hand back to it. AUTO after forced open: open until now, so that probes come
 * first. One event. BREAKER_E_UNTRACKED. */
BREAKER_PUBLIC int breaker_force(const struct breaker *breaker, enum breaker_mode mode, uint64_t now_ns);

/* Closed, empty window, no trips remembered, the configuration's mode. One event. */
BREAKER_PUBLIC int breaker_reset(const struct breaker *breaker, uint64_t now_ns);

/* Other rules from now on. State, trips and open time stay; counts stay if the window's geometry (window,
 * slices, hung) did. BREAKER_E_CONFIG (nothing changed), BREAKER_E_BUSY, BREAKER_E_UNTRACKED. Keys follow
 * their group. */
BREAKER_PUBLIC int breaker_configure(const struct breaker *breaker, const struct breaker_config *config,
                                     uint64_t now_ns, struct breaker_problem *ret_problem);

/* ---- Looking ---- */

/* All numbers of one breaker. Counters only grow. */
struct breaker_totals {
    /* how calls ended; each call in one */
    uint64_t ok, failure, timeout, slow, slow_failure, slow_timeout, neutral;
    uint64_t refused_open, refused_probing, refused_ramp, refused_full, refused_forced;
    uint64_t shadow_refused; /* passed, and would have been refused */
    uint64_t stale;          /* reports that came too late to count */
    uint64_t probes;         /* permits granted as probes */
    uint64_t leases_ended;   /* probes that never reported */
    /* into open, by reason */
    uint64_t trips_consecutive, trips_failure_rate, trips_slow_rate, trips_probes_failed;
    uint64_t fallbacks, fallbacks_failed; /* breaker_count_fallback() */
};

/* What happened within the last window (10 s when it counts calls), or three quarters of it. Unlike the window that is
 * judged it is not emptied when the state changes: what dashboards show. */
struct breaker_lately {
    uint64_t total; /* completed, not neutral */
    uint64_t failures, timeouts, slow;
    uint64_t refused, shadow_refused;
    uint64_t fallbacks, fallbacks_failed; /* breaker_count_fallback() */
};

struct breaker_snapshot {
    uint32_t struct_size; /* set it to sizeof before the call, or leave 0 */
    char name[BREAKER_NAME_MAX + 1];
    int state;                /* enum breaker_state as a user sees it: modes overrule */
    int machine;              /* what lies under a mode: closed, open, half_open, ramp */
    int mode;                 /* enum breaker_mode */
    int reason;               /* of the last transition */
    uint32_t epoch;           /* transitions so far */
    uint32_t trips;           /* since it was last stable: the exponent of the open time is one less */
    uint32_t share;           /* percent of calls that pass now: 0, 10…100 */
    uint64_t since_ns;        /* time of the last transition; of its making, before the first */
    uint64_t retry_at_ns;     /* open: when it ends */
    uint64_t window_total;    /* live window: completed, not neutral */
    uint64_t window_failures; /* slow failures included */
    uint64_t window_timeouts; /* of these; 0 for a window of calls */
    uint64_t window_slow;     /* slow failures included */
    uint64_t window_hung;     /* running, started longer than slow_call ago */
    uint64_t consecutive;     /* failures in a row */
    uint64_t in_flight;       /* counted while max_in_flight is set */
    uint32_t probes_out, probes_ok, probes_failed; /* half-open */
    uint32_t probes_slow;                          /* of those that were ok or failed */
    struct breaker_totals totals;
    struct breaker_lately lately;
    struct breaker_config config;
};

BREAKER_PUBLIC int breaker_snapshot(const struct breaker *breaker, uint64_t now_ns,
                                    struct breaker_snapshot *ret_snapshot);

/* How long calls took lately. A call that was reported as BREAKER_NEVER_SLOW, and a neutral end, are not in it. */
enum breaker_level {
    BREAKER_LEAST,
    BREAKER_P25,
    BREAKER_P50,
    BREAKER_P75,
    BREAKER_P90,
    BREAKER_P95,
    BREAKER_P99,
    BREAKER_P99_5,
    BREAKER_MOST,
    BREAKER_LEVELS,
};

struct breaker_latency {
    uint64_t count; /* calls that ended within the last window (10 s when it counts calls), or three quarters of it */
    uint64_t mean_ns;
    uint64_t level_ns[BREAKER_LEVELS]; /* that many percent took no longer; at most an eighth off; 0 without calls.
                                          Shorter than 31 µs and longer than 57 s are not told apart */
};

/* Changes of state do not empty it. BREAKER_E_UNTRACKED. */
BREAKER_PUBLIC int breaker_latency(const struct breaker *breaker, uint64_t now_ns,
                                   struct breaker_latency *ret_latency);

/* Just the state as a user sees it; FORCED_CLOSED for a handle with nothing behind it. Cheap. */
BREAKER_PUBLIC enum breaker_state breaker_state(const struct breaker *breaker);

/* Number of transitions so far: a new number means new events. Cheap. */
BREAKER_PUBLIC uint32_t breaker_epoch(const struct breaker *breaker);

/* One transition. */
struct breaker_event {
    uint32_t epoch; /* the epoch it began */
    uint8_t from, to, reason, mode;
    uint64_t at_ns;
    uint64_t open_ns; /* into open: for how long */
    uint32_t trips;
    uint32_t total, failures, slow, hung, consecutive; /* what the window held */
};

/* Events after the epoch `after`, oldest first, at most `max`; returns how many. Reads without stopping
 * writers; one that was overwritten, or whose writer was killed in between, is left out. */
BREAKER_PUBLIC size_t breaker_events(const struct breaker *breaker, uint32_t after,
                                     struct breaker_event *ret_events, size_t max);

enum breaker_format {
    BREAKER_JSON = 0,        /* one document: {"breakers":[…]} */
    BREAKER_OPENMETRICS = 1, /* application/openmetrics-text; version=1.0.0, ends with # EOF */
    BREAKER_STREAM = 2,      /* text/event-stream with the fields of hystrix.stream */
    BREAKER_PROMETHEUS = 3,  /* text/plain; version=0.0.4: what everything that reads metrics understands */
};

/* All breakers of a region as text. wall_ms: Unix time in ms for the stream. Writes at most size bytes with a
 * final zero; ret_length is what the whole needs without it. BREAKER_E_SPACE: cut. */
BREAKER_PUBLIC int breaker_export(struct breaker_region *region, enum breaker_format format, uint64_t now_ns,
                                  uint64_t wall_ms, char *buffer, size_t size, size_t *ret_length);

/* ---- The rest of the kit ----
 *
 * Small things in the caller's memory, usable alone, from any thread; they hold no pointers, so they may lie in shared
 * memory too. Zeroed ones let everything pass. Same clock, same outcomes. README.md tells the
 * theory of each. */

/* At most so many calls at a time. Adaptive: the limit follows the gradient of latency – long-term average by recent
 * one – between `least` and `most`: it shrinks when calls get slower than they usually are, and grows by about its
 * square root while they do not. */
struct breaker_bulkhead {
    uint64_t in_flight, peak;
    uint64_t limit; /* in 1/256 */
    uint32_t least, most, tolerance, smoothing;
    uint64_t usual_ns, sum_ns, count, window_ns;
};

/* A fixed limit, at least 1. BREAKER_E_OPTIONS. */
BREAKER_PUBLIC int breaker_bulkhead_init(struct breaker_bulkhead *bulkhead, uint32_t limit);

/* Adaptive from `first` on. tolerance: percent by which calls may be slower than usual, 0 reads as 50. */
BREAKER_PUBLIC int breaker_bulkhead_init_adaptive(struct breaker_bulkhead *bulkhead, uint32_t least,
                                                  uint32_t first, uint32_t most, uint32_t tolerance);

/* 0: leave it once; BREAKER_E_FULL. */
BREAKER_PUBLIC int breaker_bulkhead_enter(struct breaker_bulkhead *bulkhead);
BREAKER_PUBLIC void breaker_bulkhead_leave(struct breaker_bulkhead *bulkhead, uint64_t took_ns,
                                           enum breaker_outcome outcome, uint64_t now_ns);
BREAKER_PUBLIC uint32_t breaker_bulkhead_limit(const struct breaker_bulkhead *bulkhead);

/* A bucket of tokens: `rate` a second, at most `burst` at once. */
struct breaker_rate {
    uint64_t full_at_ns; /* when the bucket would be full again: its whole state */
    uint64_t token_ns, burst_ns;
};

/* BREAKER_E_OPTIONS: rate or burst is 0 or above 1000000000. */
BREAKER_PUBLIC int breaker_rate_init(struct breaker_rate *rate, uint32_t tokens_per_second, uint32_t burst);

/* Take tokens. BREAKER_E_RATE: none taken, *ret_wait_ns (may be NULL) until there are enough; UINT64_MAX if never. */
BREAKER_PUBLIC int breaker_rate_take(struct breaker_rate *rate, uint32_t tokens, uint64_t now_ns,
                                     uint64_t *ret_wait_ns);

/* The throttle of Google's SRE book: refuse by yourself, with the probability (requests − K·accepts) / (requests + 1)
 * over the last two minutes, what the service would refuse anyway. */
#define BREAKER_THROTTLE_SLICES 12
struct breaker_throttle {
    uint64_t requests[BREAKER_THROTTLE_SLICES], accepts[BREAKER_THROTTLE_SLICES];
    uint64_t slice_ns, random;
    uint32_t k_percent, reserved;
};

/* k_percent: 200 lets twice as much through as is accepted; 0 reads as 200. window_ns 0: two minutes. */
BREAKER_PUBLIC int breaker_throttle_init(struct breaker_throttle *throttle, uint32_t k_percent,
                                         uint64_t window_ns, uint64_t seed);

/* 0, report it; BREAKER_E_THROTTLED, do not. */
BREAKER_PUBLIC int breaker_throttle_enter(struct breaker_throttle *throttle, uint64_t now_ns);
BREAKER_PUBLIC void breaker_throttle_report(struct breaker_throttle *throttle, enum breaker_outcome outcome,
                                            uint64_t now_ns);

/* Retries: waits that double, each drawn evenly between 0 and its length (full jitter), out of a budget that grows with
 * the calls, so that retries never multiply an outage. */
struct breaker_retry {
    uint64_t balance; /* thousandths of retries 32 | time in ms 32 */
    uint64_t random;
    uint64_t base_ns, max_ns;
    uint32_t attempts, budget_percent, budget_per_second, reserved;
};

/* attempts: the first one included, 0 reads as 3. base, max: 0 reads as 100 ms and 10 s. budget_percent: retries per 100
 * calls, 0 reads as 20; per_second: retries that are always there, 0 reads as 1. */
BREAKER_PUBLIC int breaker_retry_init(struct breaker_retry *retry, uint32_t attempts, uint64_t base_ns,
                                      uint64_t max_ns, uint32_t budget_percent, uint32_t budget_per_second,
                                      uint64_t seed);

/* A call begins: its share goes into the budget. Once a call, not once an attempt. */
BREAKER_PUBLIC void breaker_retry_begin(struct breaker_retry *retry, uint64_t now_ns);

/* Attempt number `attempt` (from 1) has failed: try again after *ret_wait_ns? retry_after_ns: what the upstream asked for,
 * at least that long is waited. BREAKER_E_ATTEMPTS, _BUDGET, _TIME (asked to wait longer than max). */
BREAKER_PUBLIC int breaker_retry_next(struct breaker_retry *retry, uint32_t attempt, uint64_t retry_after_ns,
                                      uint64_t now_ns, uint64_t *ret_wait_ns);

/* How many retries the budget would pay for now: for who must know beforehand whether there can be one. */
BREAKER_PUBLIC uint32_t breaker_retry_left(const struct breaker_retry *retry, uint64_t now_ns);

/* A time limit is a point in time; what is inside another's limit cannot last longer than that. limit_ns 0: only the
 * outer one (may be NULL). The library stops nothing: pass what is left on to poll(), to CURLOPT_TIMEOUT_MS … */
struct breaker_deadline {
    uint64_t end_ns; /* UINT64_MAX: none */
};
BREAKER_PUBLIC struct breaker_deadline breaker_deadline_make(uint64_t now_ns, uint64_t limit_ns,
                                                             const struct breaker_deadline *outer);
BREAKER_PUBLIC uint64_t breaker_deadline_left(const struct breaker_deadline *deadline, uint64_t now_ns);

/* One step of a fallback chain. why: the answer the call ended with. 0: this one has served; anything else: the next. */
struct breaker_fallback {
    const char *name;
    int (*serve)(void *context, int why);
    struct breaker_bulkhead *bulkhead; /* its own limit; NULL without */
};

/* Try them in their order. 0 and *ret_which, or BREAKER_E_FAILED. None is tried twice. */
BREAKER_PUBLIC int breaker_fallback_run(const struct breaker_fallback *chain, size_t count, void *context,
                                        int why, size_t *ret_which);

/* All of it around one call, in this order, outermost first; NULL or 0 leaves a part out:
 *
 *     fallback     serves whatever comes out as an answer, refusals too, within no other limit but its own
 *     time limit   of the whole, so that retries cannot outlast the caller's patience
 *     retry        outside of everything that judges, so that each attempt is judged for itself; a refusal is not
 *                  retried: it would only come again
 *     rate, throttle, bulkhead
 *                  what we ourselves refuse: before the breaker, so that it neither takes a probe nor says anything
 *                  about the service
 *     breaker      next to the call, so that it sees every attempt and nothing else
 *     time limit   of the attempt: the call is told how long it may take
 */
struct breaker_policy {
    const struct breaker_fallback *fallbacks;
    size_t fallback_count;
    uint64_t limit_ns; /* of the whole */
    struct breaker_retry *retry;
    struct breaker_rate *rate;
    struct breaker_throttle *throttle;
    struct breaker_bulkhead *bulkhead;
    const struct breaker *breaker;
    uint64_t attempt_limit_ns;
    uint64_t (*clock)(void *clock_context);         /* NULL: breaker_clock() */
    void (*wait)(void *clock_context, uint64_t ns); /* NULL: nanosleep(); only retries wait */
    void *clock_context;
};

/* The call: takes at most left_ns (UINT64_MAX: no limit) and fills what it has to tell; a zeroed result is a success. */
typedef void breaker_call(void *context, uint32_t attempt, uint64_t left_ns,
                          struct breaker_result *ret_result);

struct breaker_run {
    int why;                 /* answer before the fallbacks; 0 when the call succeeded */
    uint32_t attempts;       /* calls that were made */
    uint32_t outcome;        /* of the last one */
    size_t fallback;         /* which one served, plus 1; 0 none */
    uint64_t retry_after_ns; /* when refused by the breaker or the rate */
};

/* 0: the call or a fallback has served; else the answer nothing could be done about, and *ret_run tells more. An outcome of
 * neutral is an answer the caller asked for and ends the run with 0. */
BREAKER_PUBLIC int breaker_run(const struct breaker_policy *policy, breaker_call *call, void *context,
                               struct breaker_run *ret_run);

/* Is the policy sensible with its breaker's rules? A warning when an attempt may last as long as the window or as a probe's
 * lease: its result then comes too late to count. Always 0; ret_problem->field is "" when there is nothing to say. */
BREAKER_PUBLIC int breaker_policy_check(const struct breaker_policy *policy, uint64_t now_ns,
                                        struct breaker_problem *ret_problem);

/* CLOCK_MONOTONIC in ns: what most programs pass as now. */
BREAKER_PUBLIC uint64_t breaker_clock(void);

/* "1.0.0" */
BREAKER_PUBLIC const char *breaker_version(void);

#ifdef __cplusplus
}
#endif

#endif
