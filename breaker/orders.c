/* Orders: force, reset, reconfigure. */
#include <stdio.h>

#include "calls.h"
#include "config.h"
#include "registry.h"

/* What the machine is once a mode no longer overrules it: after forced open it is open until now, so probes
 * come first. */
static unsigned machine_under(unsigned mode, uint64_t state)
{
    if (mode == BREAKER_MODE_FORCED_OPEN)
        return BREAKER_OPEN;
    return mode == BREAKER_MODE_FORCED_CLOSED ? BREAKER_CLOSED : state_machine(state);
}

int breaker_force(const struct breaker *breaker, enum breaker_mode mode, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    if (!slot || breaker_is_gone(breaker))
        return BREAKER_E_UNTRACKED;
    uint64_t now = machine_clock(slot, now_ns);
    for (;;) {
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (state_mode(state) == mode)
            return 0;
        uint64_t to = state_pack(state_epoch(state) + 1, state_trips(state), BREAKER_REASON_FORCED, mode,
                                 machine_under(mode, state));
        if (machine_set(breaker, breaker_rules(breaker), state, to, NULL, now))
            return 0;
    }
}

int breaker_reset(const struct breaker *breaker, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    if (!slot || breaker_is_gone(breaker))
        return BREAKER_E_UNTRACKED;
    const struct rules *rules = breaker_rules(breaker);
    word_store(&slot->clock_ns, now_ns); /* a clock that ran ahead by mistake is forgotten too */
    for (;;) {
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        unsigned mode = word_load(&rules->mode) & 3;
        uint64_t to = state_pack(state_epoch(state) + 1, 0, BREAKER_REASON_RESET, mode,
                                 machine_under(mode, state_pack(0, 0, 0, 0, BREAKER_CLOSED)));
        if (machine_set(breaker, rules, state, to, NULL, now_ns))
            return 0;
    }
}

static bool geometry_is_same(const struct breaker_config *a, const struct breaker_config *b)
{
    return a->window_ns == b->window_ns && a->window_count == b->window_count &&
           (a->window_count || a->slices == b->slices) && a->hung == b->hung;
}

/* The next marks are due by another window: of the breaker, and of those made by key that follow it. */
static void marks_are_due(const struct breaker *breaker)
{
    struct breaker_region *region = breaker->region;
    word_store(&((struct slot *)breaker->slot)->latency_due_ns, 0);
    for (uint32_t i = region->breakers; i < region_entries(region) && slot_is_used(region, i); i++)
        if (slot_home(region, i) == breaker->slot)
            word_store(&region_slot(region, i)->latency_due_ns, 0);
}

/* The configuration in force is never written: the other of two is, and then put into force. */
void rules_install(const struct breaker *breaker, const struct breaker_config *config, bool is_new)
{
    struct named *home = breaker->rules;
    struct breaker_config before;
    uint64_t version = word_load(&home->slot.version);
    const struct rules *now = &home->rules[version & 1];
    uint64_t geometry = word_load(&now->geometry);
    rules_read(now, &before);
    if (is_new || !geometry_is_same(&before, config))
        geometry++;
    rules_write(&home->rules[(version + 1) & 1], config, geometry, version + 1);
    marks_are_due(breaker);
    if (geometry != word_load(&now->geometry))
        window_clear(breaker);
    atomic_store_explicit(&home->slot.version, version + 1, memory_order_release);
}

int config_check_in(const struct breaker_config *config, const struct breaker_region *region,
                    struct breaker_problem *ret_problem)
{
    char value[24], range[64];
    int answer = breaker_config_check(config, ret_problem);
    if (answer)
        return answer;
    if (config->window_ns && config->slices > region->slices) {
        snprintf(value, sizeof(value), "%u", config->slices);
        snprintf(range, sizeof(range), "2 to %u", region->slices);
        return problem_say(ret_problem, "slices", value, range, "the region was made for fewer", 0);
    }
    if (config->window_count > ring_room(region->shards + 1, region->slices)) {
        snprintf(value, sizeof(value), "count:%u", config->window_count);
        snprintf(range, sizeof(range), "count:1 to count:%u", ring_room(region->shards + 1, region->slices));
        return problem_say(ret_problem, "window", value, range, "the region has no room for that many calls",
                           0);
    }
    return 0;
}

int breaker_configure(const struct breaker *breaker, const struct breaker_config *config, uint64_t now_ns,
                      struct breaker_problem *ret_problem)
{
    struct breaker_config before;
    if (!breaker->slot)
        return BREAKER_E_UNTRACKED;
    if (breaker->id)
        return problem_say(ret_problem, "key", "", "configure its group",
                           "a breaker made by key follows its group", 0);
    int answer = config_check_in(config, breaker->region, ret_problem);
    if (answer)
        return answer;
    if (!registry_lock(breaker->region, true, now_ns))
        return BREAKER_E_BUSY;
    rules_read(breaker_rules(breaker), &before);
    rules_install(breaker, config, false);
    registry_unlock(breaker->region);
    return config->mode != before.mode ? breaker_force(breaker, (enum breaker_mode)config->mode, now_ns) : 0;
}
