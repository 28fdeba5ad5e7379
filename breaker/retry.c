/* Retries out of a budget, and time limits.
 *
 * The budget is a balance in thousandths of a retry: each call pays its percentage in, time adds the small reserve that a
 * quiet client needs, a retry takes 1000 out. The cap is what ten seconds of reserve or a hundred retries come to, so a
 * long healthy time cannot save up for a storm.
 */
#include "kit.h"

#define RETRY_COST  1000u
#define BALANCE_MAX (100 * RETRY_COST)

int breaker_retry_init(struct breaker_retry *retry, uint32_t attempts, uint64_t base_ns, uint64_t max_ns,
                       uint32_t budget_percent, uint32_t budget_per_second, uint64_t seed)
{
    base_ns = base_ns ? base_ns : UINT64_C(100000000);
    max_ns = max_ns ? max_ns : UINT64_C(10000000000);
    if (attempts > 100 || budget_percent > 1000 || budget_per_second > 1000 || max_ns < base_ns)
        return BREAKER_E_OPTIONS;
    *retry = (struct breaker_retry){.balance = (uint64_t)RETRY_COST * 10 << 32,
                                    .random = seed,
                                    .base_ns = base_ns,
                                    .max_ns = max_ns,
                                    .attempts = attempts ? attempts : 3,
                                    .budget_percent = budget_percent ? budget_percent : 20,
                                    .budget_per_second = budget_per_second ? budget_per_second : 1};
    return 0;
}

/* What the balance is now, with `more` in it. Milliseconds wrap after 49 days: a quiet month is a full reserve anyway. */
static uint64_t balance_at(const struct breaker_retry *retry, uint64_t balance, uint32_t more,
                           uint64_t now_ns)
{
    uint32_t now_ms = (uint32_t)(now_ns / 1000000), then_ms = (uint32_t)balance;
    uint64_t elapsed = (int32_t)(now_ms - then_ms) > 0 && then_ms ? now_ms - then_ms : 0;
    uint64_t reserve =
        elapsed * retry->budget_per_second; /* 1000 thousandths a second are one a millisecond */
    uint64_t most = (uint64_t)RETRY_COST * 10 * retry->budget_per_second;
    uint64_t held = balance >> 32;
    if (held < most)
        held = held + reserve < most ? held + reserve : most;
    held += more;
    return (held < BALANCE_MAX ? held : BALANCE_MAX) << 32 | (now_ms ? now_ms : 1);
}

void breaker_retry_begin(struct breaker_retry *retry, uint64_t now_ns)
{
    uint64_t balance = plain_load(&retry->balance);
    while (!plain_swap(&retry->balance, &balance,
                       balance_at(retry, balance, retry->budget_percent * 10, now_ns)))
        ;
}

static bool budget_take(struct breaker_retry *retry, uint64_t now_ns)
{
    uint64_t balance = plain_load(&retry->balance), next;
    do {
        next = balance_at(retry, balance, 0, now_ns);
        if (next >> 32 < RETRY_COST)
            return false;
    } while (!plain_swap(&retry->balance, &balance, next - ((uint64_t)RETRY_COST << 32)));
    return true;
}

uint32_t breaker_retry_left(const struct breaker_retry *retry, uint64_t now_ns)
{
    return (uint32_t)(balance_at(retry, plain_load(&retry->balance), 0, now_ns) >> 32) / RETRY_COST;
}

int breaker_retry_next(struct breaker_retry *retry, uint32_t attempt, uint64_t retry_after_ns,
                       uint64_t now_ns, uint64_t *ret_wait_ns)
{
    if (attempt >= retry->attempts)
        return BREAKER_E_ATTEMPTS;
    if (retry_after_ns > retry->max_ns)
        return BREAKER_E_TIME;
    if (!budget_take(retry, now_ns))
        return BREAKER_E_BUDGET;
    uint64_t most = retry->base_ns;
    for (uint32_t i = 1; i < attempt && most < retry->max_ns; i++)
        most *= 2;
    most = most < retry->max_ns ? most : retry->max_ns;
    *ret_wait_ns = retry_after_ns + random_next(&retry->random) % (most + 1);
    return 0;
}

struct breaker_deadline breaker_deadline_make(uint64_t now_ns, uint64_t limit_ns,
                                              const struct breaker_deadline *outer)
{
    uint64_t end = outer ? outer->end_ns : UINT64_MAX;
    if (limit_ns && limit_ns < end - (now_ns < end ? now_ns : end))
        end = now_ns + limit_ns;
    return (struct breaker_deadline){end};
}

uint64_t breaker_deadline_left(const struct breaker_deadline *deadline, uint64_t now_ns)
{
    if (deadline->end_ns == UINT64_MAX)
        return UINT64_MAX;
    return deadline->end_ns > now_ns ? deadline->end_ns - now_ns : 0;
}
