/* A circuit breaker as one would write it down: lists, loops and plain numbers, one caller at a time. The library must
 * answer like this, call by call.
 * Not installed. */
#pragma once

#include "breaker.h"

#define MODEL_CALLS 4096

struct model_call {
    uint64_t started;
    uint32_t epoch;
    int kind; /* 0 gone, 1 normal, 2 probe, 3 counted, 4 shadow */
    int probe;
    uint64_t lease_end;
    int has_place, counts_hung;
};

struct model_end {
    uint64_t slice;
    uint32_t epoch;
    int failed, slow;
};

struct model {
    struct breaker_config config;
    int is_keyed;
    uint64_t clock;
    int machine, mode, reason;
    uint32_t epoch, trips;
    uint64_t since, until, hint, looked;
    uint32_t hint_epoch, streak, evidence;
    uint64_t turn;
    int probe_state[BREAKER_PROBES_MAX]; /* 0 free, 1 out, 2 ok, 3 failed */
    int probe_slow[BREAKER_PROBES_MAX];
    uint64_t probe_end[BREAKER_PROBES_MAX];
    int in_flight;
    struct model_call calls[MODEL_CALLS]; /* by the number of its permit */
    struct model_end *ends;
    size_t end_count, end_room;
};

struct model_sum {
    uint64_t total, failures, slow, hung;
};

void model_init(struct model *model, const struct breaker_config *config, uint64_t now);
void model_free(struct model *model);

/* The same operations; `number` names the permit. */
int model_acquire(struct model *model, int number, uint64_t now, unsigned flags);
int model_report(struct model *model, int number, const struct breaker_result *result, uint64_t now);
void model_force(struct model *model, int mode, uint64_t now);
void model_reset(struct model *model, uint64_t now);
void model_configure(struct model *model, const struct breaker_config *config, uint64_t now);

struct model_probes {
    uint32_t out, ok, failed, slow; /* slow: of those that have ended */
};

struct model_probes model_probes(const struct model *model, uint64_t now);
struct model_sum model_sum(const struct model *model, uint64_t now);
