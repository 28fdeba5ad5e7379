/* Names and sentences for every number of the interface. One table each: documentation, exports and tools
 * read these. */
#include <stddef.h>

#include "breaker.h"

struct answer {
    int number;
    const char *name, *text;
};

static const struct answer answers[] = {
    {0, "ok", "done"},
    {BREAKER_E_OPEN, "open", "refused: the breaker is open"},
    {BREAKER_E_PROBING, "probing", "refused: half-open, and its probes are out"},
    {BREAKER_E_RAMP, "ramp", "refused: coming back, this call is not in the share that passes yet"},
    {BREAKER_E_FULL, "full", "refused: too many calls are under way"},
    {BREAKER_E_FORCED, "forced", "refused: forced open by an operator"},
    {BREAKER_E_RATE, "rate", "refused: faster than the rate that is allowed"},
    {BREAKER_E_THROTTLED, "throttled", "refused: the service accepts too little of what it is asked"},
    {BREAKER_E_FAILED, "failed", "the call failed, and so did every fallback"},
    {BREAKER_E_TIME, "time", "the time limit has passed, or would before the next try"},
    {BREAKER_E_ATTEMPTS, "attempts", "tried as often as allowed"},
    {BREAKER_E_BUDGET, "budget", "too many retries lately for the calls there were"},
    {BREAKER_E_SPENT, "spent", "not counted: the permit was reported before or never granted"},
    {BREAKER_E_STALE, "stale", "not counted: the breaker has changed its state since the call began"},
    {BREAKER_E_NAME, "name", "a name is 1 to 63 bytes without control characters"},
    {BREAKER_E_CAPACITY, "capacity", "the region holds as many breakers as it can"},
    {BREAKER_E_ABSENT, "absent", "no breaker of that name"},
    {BREAKER_E_BUSY, "busy", "another process is registering a breaker"},
    {BREAKER_E_UNTRACKED, "untracked", "no breaker stands behind this handle: calls pass"},
    {BREAKER_E_CONFIG, "config", "the configuration does not hold together"},
    {BREAKER_E_SPACE, "space", "the buffer is too small"},
    {BREAKER_E_MISSING, "missing", "no memory was given for the region"},
    {BREAKER_E_ALIGNMENT, "alignment", "the memory does not begin on a multiple of 64 bytes"},
    {BREAKER_E_EMPTY, "empty", "the memory is zero: no region was made in it yet"},
    {BREAKER_E_FOREIGN, "foreign", "these bytes are no region of breakers"},
    {BREAKER_E_LAYOUT, "layout", "the region was made by another version of the library"},
    {BREAKER_E_TRUNCATED, "truncated", "the region is shorter than its header tells"},
    {BREAKER_E_CORRUPT, "corrupt", "the region's header does not agree with its checksum"},
    {BREAKER_E_BOOT, "boot", "the region was made before this machine started"},
    {BREAKER_E_SHARDS, "shards", "every shard is owned by a live process: this one shares the common shard"},
    {BREAKER_E_OPTIONS, "options", "an option of the region is out of its range"},
};

static const struct answer *answer_find(int number)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        if (answers[i].number == number)
            return &answers[i];
    static const struct answer unknown = {-1, "unknown", "no answer of this library"};
    return &unknown;
}

const char *breaker_answer_text(int answer)
{
    return answer_find(answer)->text;
}

const char *breaker_answer_name(int answer)
{
    return answer_find(answer)->name;
}

static const char *name_of(const char *const *names, size_t count, int number)
{
    return number >= 0 && (size_t)number < count ? names[number] : "unknown";
}

#define NAME_OF(names, number) name_of(names, sizeof(names) / sizeof((names)[0]), number)

const char *breaker_state_name(int state)
{
    static const char *const names[] = {"closed",      "open",          "half_open", "ramp",
                                        "forced_open", "forced_closed", "shadow"};
    return NAME_OF(names, state);
}

const char *breaker_mode_name(int mode)
{
    static const char *const names[] = {"auto", "forced_open", "forced_closed", "shadow"};
    return NAME_OF(names, mode);
}

const char *breaker_reason_name(int reason)
{
    static const char *const names[] = {"none",      "forced",        "consecutive", "failure_rate",
                                        "slow_rate", "probes_failed", "probes_ok",   "retry",
                                        "ramped",    "reset"};
    return NAME_OF(names, reason);
}

const char *breaker_outcome_name(int outcome)
{
    static const char *const names[] = {"ok", "failure", "timeout", "slow", "neutral"};
    return NAME_OF(names, outcome);
}

const char *breaker_version(void)
{
    return "1.0.0";
}
