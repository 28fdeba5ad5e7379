/*
 * Whatever a client calls a retention rule, and whatever a leader says was scavenged, is read or refused; what is taken is
 * written as something that is taken again, and is the same. Input: a byte, even for a rule and odd for the event, then
 * JSON; of an event its position before it.
 */
#include <assert.h>

#include "journal/retention.h"
#include "journal/scavenge_said.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_rule(struct bytes json)
{
    struct retention_rule rule = {.name = BYTES_LITERAL("s")}, again = rule;
    struct retention_violations violations;
    struct buffer out = {0};

    if (retention_parse(json, &rule, &violations) != 0) {
        assert(rule.max_age_s == 0 && rule.max_count == 0 && rule.truncate_before == 0);
        return;
    }
    assert(retention_write(&rule, &out) == 0);
    int r = retention_parse(buffer_bytes(&out), &again, &violations);
    assert(r == 0 && again.max_age_s == rule.max_age_s && again.max_count == rule.max_count &&
           again.truncate_before == rule.truncate_before);
    buffer_deinit(&out);
}

static void try_said(uint64_t position, struct bytes json)
{
    struct journal_event event = {.position = position, .data = json};
    struct scavenge_ranges ranges = {0}, again = {0};
    struct buffer out = {0};

    if (position == 0 || scavenge_said_read(&event, &ranges) != 0)
        return;
    assert(log_ranges_valid(ranges.items, ranges.count, position - 1));
    assert(scavenge_said_write(&ranges, &out) == 0);
    event.data = buffer_bytes(&out);
    int r = scavenge_said_read(&event, &again);
    assert(r == 0 && again.count == ranges.count);
    scavenge_ranges_deinit(&ranges);
    scavenge_ranges_deinit(&again);
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] % 2 == 0)
        try_rule(bytes_make(data + 1, size - 1));
    else if (size > 9)
        try_said(bytes_get_u64(data + 1), bytes_make(data + 9, size - 9));
    return 0;
}
