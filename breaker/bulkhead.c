/* Bulkhead: a count and a limit.
 *
 * The adaptive limit is the gradient algorithm published with Netflix's concurrency-limits: usual latency (a long
 * average) by recent latency (the mean of one sample window), never above 1 nor below ½, plus room for a queue of about
 * the square root of the limit. In fixed point, so that it gives the same on every machine. Whoever moves the window's
 * beginning on is the one who adjusts; all others go on counting.
 */
#include "kit.h"

#define ONE          256
#define SAMPLE_NS    UINT64_C(100000000) /* an adjustment every 100 ms … */
#define SAMPLES_MIN  10                  /* … of at least so many calls */
#define USUAL_WEIGHT 64                  /* sample windows the long average remembers */
#define LIMIT_MAX    1000000

int breaker_bulkhead_init_adaptive(struct breaker_bulkhead *bulkhead, uint32_t least, uint32_t first,
                                   uint32_t most, uint32_t tolerance)
{
    if (least < 1 || first < least || most < first || most > LIMIT_MAX || tolerance > 1000)
        return BREAKER_E_OPTIONS;
    *bulkhead = (struct breaker_bulkhead){.limit = (uint64_t)first * ONE,
                                          .least = least,
                                          .most = most,
                                          .tolerance = tolerance ? tolerance : 50,
                                          .smoothing = 20};
    return 0;
}

int breaker_bulkhead_init(struct breaker_bulkhead *bulkhead, uint32_t limit)
{
    return breaker_bulkhead_init_adaptive(bulkhead, limit, limit, limit, 0);
}

uint32_t breaker_bulkhead_limit(const struct breaker_bulkhead *bulkhead)
{
    return (uint32_t)(plain_load(&bulkhead->limit) / ONE);
}

int breaker_bulkhead_enter(struct breaker_bulkhead *bulkhead)
{
    uint64_t held = plain_load(&bulkhead->in_flight);
    do {
        uint32_t limit = breaker_bulkhead_limit(bulkhead);
        if (limit && held >= limit)
            return BREAKER_E_FULL;
    } while (!plain_swap(&bulkhead->in_flight, &held, held + 1));
    uint64_t peak = plain_load(&bulkhead->peak);
    while (held + 1 > peak && !plain_swap(&bulkhead->peak, &peak, held + 1))
        ;
    return 0;
}

static uint64_t square_root(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= value)
            root |= bit;
    return root;
}

/* One step of the limit, from the mean latency of a sample window. */
static void adjust(struct breaker_bulkhead *bulkhead, uint64_t recent_ns, uint64_t peak)
{
    uint64_t limit = plain_load(&bulkhead->limit), usual = plain_load(&bulkhead->usual_ns);
    recent_ns = recent_ns ? recent_ns : 1;
    usual = usual ? (usual * (USUAL_WEIGHT - 1) + recent_ns) / USUAL_WEIGHT : recent_ns;
    if (usual / 2 > recent_ns) /* it has become faster for good: come down sooner */
        usual = usual / 100 * 95 + 1;
    plain_store(&bulkhead->usual_ns, usual);
    if (peak * ONE * 2 < limit)
        return; /* hardly used: says nothing about the limit */
    uint64_t gradient = (unsigned __int128)usual * (100 + bulkhead->tolerance) * ONE / 100 / recent_ns;
    gradient = gradient > ONE ? ONE : gradient < ONE / 2 ? ONE / 2 : gradient;
    uint64_t next = limit * gradient / ONE + square_root(limit / ONE) * ONE;
    next = (limit * (100 - bulkhead->smoothing) + next * bulkhead->smoothing) / 100;
    uint64_t least = (uint64_t)bulkhead->least * ONE, most = (uint64_t)bulkhead->most * ONE;
    plain_store(&bulkhead->limit, next < least ? least : next > most ? most : next);
}

void breaker_bulkhead_leave(struct breaker_bulkhead *bulkhead, uint64_t took_ns, enum breaker_outcome outcome,
                            uint64_t now_ns)
{
    uint64_t held = plain_load(&bulkhead->in_flight);
    while (held > 0 && !plain_swap(&bulkhead->in_flight, &held, held - 1))
        ;
    if (bulkhead->least == bulkhead->most || outcome == BREAKER_NEUTRAL || outcome == BREAKER_FAILURE)
        return; /* how fast something fails says nothing */
    __atomic_add_fetch(&bulkhead->sum_ns, took_ns, __ATOMIC_RELAXED);
    uint64_t count = __atomic_add_fetch(&bulkhead->count, 1, __ATOMIC_RELAXED);
    uint64_t began = plain_load(&bulkhead->window_ns);
    if (began != 0 && (now_ns < began + SAMPLE_NS || count < SAMPLES_MIN))
        return;
    if (!plain_swap(&bulkhead->window_ns, &began, now_ns) || began == 0)
        return;
    count = __atomic_exchange_n(&bulkhead->count, 0, __ATOMIC_ACQ_REL);
    uint64_t sum = __atomic_exchange_n(&bulkhead->sum_ns, 0, __ATOMIC_ACQ_REL);
    uint64_t peak = __atomic_exchange_n(&bulkhead->peak, plain_load(&bulkhead->in_flight), __ATOMIC_ACQ_REL);
    if (count)
        adjust(bulkhead, sum / count, peak);
}
