/* Everything around one call, in the order breaker.h gives with its reasons. */
#include <stdio.h>
#include <time.h>

#include "config.h"
#include "kit.h"

int breaker_fallback_run(const struct breaker_fallback *chain, size_t count, void *context, int why,
                         size_t *ret_which)
{
    for (size_t i = 0; i < count; i++) {
        struct breaker_bulkhead *bulkhead = chain[i].bulkhead;
        if (bulkhead && breaker_bulkhead_enter(bulkhead))
            continue;
        int answer = chain[i].serve(context, why);
        if (bulkhead)
            breaker_bulkhead_leave(bulkhead, 0, BREAKER_NEUTRAL, 0);
        if (answer == 0) {
            *ret_which = i;
            return 0;
        }
    }
    return BREAKER_E_FAILED;
}

static uint64_t policy_now(const struct breaker_policy *policy)
{
    return policy->clock ? policy->clock(policy->clock_context) : breaker_clock();
}

static void policy_wait(const struct breaker_policy *policy, uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    if (policy->wait)
        policy->wait(policy->clock_context, ns);
    else
        nanosleep(&time, NULL);
}

/* ---- one attempt ---- */

/* What we refuse ourselves, then the breaker. On a refusal nothing is held. */
static int attempt_enter(const struct breaker_policy *policy, uint64_t now_ns,
                         struct breaker_permit *ret_permit, struct breaker_run *run)
{
    if (policy->rate && breaker_rate_take(policy->rate, 1, now_ns, &run->retry_after_ns))
        return BREAKER_E_RATE;
    if (policy->throttle && breaker_throttle_enter(policy->throttle, now_ns))
        return BREAKER_E_THROTTLED;
    if (policy->bulkhead && breaker_bulkhead_enter(policy->bulkhead))
        return BREAKER_E_FULL;
    int answer = policy->breaker ? breaker_acquire(policy->breaker, now_ns, 0, ret_permit) : 0;
    if (answer) {
        run->retry_after_ns = breaker_retry_after(policy->breaker, now_ns);
        if (policy->bulkhead)
            breaker_bulkhead_leave(policy->bulkhead, 0, BREAKER_NEUTRAL, now_ns);
    }
    return answer;
}

static void attempt_leave(const struct breaker_policy *policy, struct breaker_permit *permit,
                          const struct breaker_result *result, uint64_t began_ns, uint64_t now_ns)
{
    enum breaker_outcome outcome = (enum breaker_outcome)result->outcome;
    if (policy->breaker)
        breaker_report_result(policy->breaker, permit, result, now_ns);
    if (policy->bulkhead)
        breaker_bulkhead_leave(policy->bulkhead, now_ns > began_ns ? now_ns - began_ns : 0, outcome, now_ns);
    if (policy->throttle)
        breaker_throttle_report(policy->throttle, outcome, now_ns);
}

/* 0: ended well; BREAKER_E_FAILED: made and failed; else refused. */
static int attempt(const struct breaker_policy *policy, breaker_call *call, void *context,
                   const struct breaker_deadline *whole, struct breaker_result *ret_result,
                   struct breaker_run *run)
{
    struct breaker_permit permit = {0};
    uint64_t began = policy_now(policy);
    int answer = attempt_enter(policy, began, &permit, run);
    if (answer)
        return answer;
    struct breaker_deadline deadline = breaker_deadline_make(began, policy->attempt_limit_ns, whole);
    *ret_result = (struct breaker_result){0};
    run->attempts++;
    call(context, run->attempts, breaker_deadline_left(&deadline, began), ret_result);
    uint64_t now = policy_now(policy);
    if (now >= deadline.end_ns && ret_result->outcome == BREAKER_FAILURE)
        ret_result->outcome = BREAKER_TIMEOUT;
    run->outcome = ret_result->outcome;
    attempt_leave(policy, &permit, ret_result, began, now);
    bool is_failure = ret_result->outcome == BREAKER_FAILURE || ret_result->outcome == BREAKER_TIMEOUT;
    return is_failure ? BREAKER_E_FAILED : 0;
}

/* ---- attempts until one ends well, or no more is allowed ---- */

static int attempts(const struct breaker_policy *policy, breaker_call *call, void *context,
                    struct breaker_run *run)
{
    uint64_t now = policy_now(policy), wait;
    struct breaker_deadline whole = breaker_deadline_make(now, policy->limit_ns, NULL);
    struct breaker_result result;
    if (policy->retry)
        breaker_retry_begin(policy->retry, now);
    for (;;) {
        int answer = attempt(policy, call, context, &whole, &result, run);
        if (answer != BREAKER_E_FAILED)
            return answer;
        now = policy_now(policy);
        if (breaker_deadline_left(&whole, now) == 0)
            return BREAKER_E_TIME;
        if (!policy->retry)
            return BREAKER_E_FAILED;
        answer = breaker_retry_next(policy->retry, run->attempts, result.retry_after_ns, now, &wait);
        if (answer)
            return answer;
        if (wait >= breaker_deadline_left(&whole, now))
            return BREAKER_E_TIME;
        policy_wait(policy, wait);
    }
}

int breaker_run(const struct breaker_policy *policy, breaker_call *call, void *context,
                struct breaker_run *ret_run)
{
    struct breaker_run run = {0}, *told = ret_run ? ret_run : &run;
    size_t which = 0;
    *told = run;
    told->why = attempts(policy, call, context, told);
    if (told->why == 0)
        return 0;
    bool has_served =
        breaker_fallback_run(policy->fallbacks, policy->fallback_count, context, told->why, &which) == 0;
    if (policy->fallback_count && policy->breaker)
        breaker_count_fallback(policy->breaker, has_served, policy_now(policy));
    if (has_served) {
        told->fallback = which + 1;
        return 0;
    }
    return told->why;
}

int breaker_policy_check(const struct breaker_policy *policy, uint64_t now_ns,
                         struct breaker_problem *ret_problem)
{
    struct breaker_snapshot snapshot;
    char value[32], range[64] = "below window=";
    memset(ret_problem, 0, sizeof(*ret_problem));
    uint64_t limit = policy->attempt_limit_ns ? policy->attempt_limit_ns : policy->limit_ns;
    if (!policy->breaker || limit == 0 || breaker_snapshot(policy->breaker, now_ns, &snapshot))
        return 0;
    config_time_format(limit, value, sizeof(value));
    if (snapshot.config.window_ns && limit >= snapshot.config.window_ns) {
        config_time_format(snapshot.config.window_ns, range + strlen(range), 32);
        return problem_say(ret_problem, "attempt_limit", value, range,
                           "a timed-out call ends after the slice it began in was forgotten", 1);
    }
    if (limit > snapshot.config.probe_lease_ns) {
        snprintf(range, sizeof(range), "at most probe_lease=");
        config_time_format(snapshot.config.probe_lease_ns, range + strlen(range), 32);
        return problem_say(ret_problem, "attempt_limit", value, range,
                           "a probe's lease ends before its call does", 1);
    }
    return 0;
}
