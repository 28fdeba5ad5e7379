/* Writing and reading events; see events.h. */
#include "events.h"

unsigned state_visible(uint64_t state)
{
    switch (state_mode(state)) {
    case BREAKER_MODE_FORCED_OPEN: return BREAKER_FORCED_OPEN;
    case BREAKER_MODE_FORCED_CLOSED: return BREAKER_FORCED_CLOSED;
    case BREAKER_MODE_SHADOW: return BREAKER_SHADOW;
    default: return state_machine(state) <= BREAKER_RAMP ? state_machine(state) : BREAKER_CLOSED;
    }
}

/* In shadow the machine's own moves are what one wants to see; an order shows the mode. */
static unsigned event_state(uint64_t state, uint64_t other)
{
    bool is_shadow = state_mode(state) == BREAKER_MODE_SHADOW && state_mode(other) == BREAKER_MODE_SHADOW;
    return is_shadow ? state_machine(state) : state_visible(state);
}

static uint64_t both(uint64_t high, uint64_t low)
{
    return (high < UINT32_MAX ? high : UINT32_MAX) << 32 | (low < UINT32_MAX ? low : UINT32_MAX);
}

static uint64_t record_check(const uint64_t words[7])
{
    uint64_t check = 0x6576656e74;
    for (int i = 0; i < 7; i++)
        check = mix64(check ^ words[i]) + (uint64_t)i;
    return check;
}

void event_write(const struct breaker *breaker, uint64_t from, uint64_t to, const struct window_sum *numbers,
                 uint32_t streak, uint64_t open_ns, uint64_t now_ns)
{
    uint32_t kept;
    struct record *records = breaker_records(breaker, &kept), *record = &records[state_epoch(to) % kept];
    word *const places[7] = {&record->epoch, &record->at_ns,  &record->what,   &record->total,
                             &record->slow,  &record->streak, &record->open_ns};
    uint64_t what = (uint64_t)event_state(from, to) << 56 | (uint64_t)event_state(to, from) << 48 |
                    (uint64_t)state_reason(to) << 40 | (uint64_t)state_mode(to) << 32 | state_trips(to);
    const uint64_t words[7] = {state_epoch(to),
                               now_ns,
                               what,
                               both(numbers->total, numbers->failures),
                               both(numbers->slow, numbers->hung),
                               both(streak, 0),
                               open_ns};
    for (int i = 0; i < 7; i++)
        word_store(places[i], words[i]);
    atomic_store_explicit(&record->check, record_check(words), memory_order_release);
}

static bool event_read(const struct record *record, uint32_t epoch, struct breaker_event *ret_event)
{
    uint64_t check = atomic_load_explicit((word *)&record->check, memory_order_acquire);
    uint64_t words[7] = {word_load(&record->epoch),  word_load(&record->at_ns), word_load(&record->what),
                         word_load(&record->total),  word_load(&record->slow),  word_load(&record->streak),
                         word_load(&record->open_ns)};
    if (words[0] != epoch || check != record_check(words))
        return false;
    *ret_event = (struct breaker_event){
        .epoch = epoch,
        .at_ns = words[1],
        .from = (uint8_t)(words[2] >> 56),
        .to = (uint8_t)(words[2] >> 48),
        .reason = (uint8_t)(words[2] >> 40),
        .mode = (uint8_t)(words[2] >> 32),
        .trips = (uint32_t)words[2],
        .total = (uint32_t)(words[3] >> 32),
        .failures = (uint32_t)words[3],
        .slow = (uint32_t)(words[4] >> 32),
        .hung = (uint32_t)words[4],
        .consecutive = (uint32_t)(words[5] >> 32),
        .open_ns = words[6],
    };
    return true;
}

size_t breaker_events(const struct breaker *breaker, uint32_t after, struct breaker_event *ret_events,
                      size_t max)
{
    if (!breaker || !breaker->slot)
        return 0;
    const struct slot *slot = breaker->slot;
    uint32_t last = state_epoch(atomic_load_explicit((word *)&slot->state, memory_order_acquire));
    uint32_t kept;
    const struct record *records = breaker_records(breaker, &kept);
    uint32_t first = last - after > kept ? last - kept + 1 : after + 1;
    size_t count = 0;
    for (uint32_t epoch = first; epoch != last + 1 && count < max; epoch++)
        if (event_read(&records[epoch % kept], epoch, &ret_events[count]))
            count++;
    return count;
}
