#include "group/record.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"

bool group_record_is_whole(struct bytes type)
{
    return bytes_equal_string(type, GROUP_STATE) || bytes_equal_string(type, GROUP_CREATED) ||
           bytes_equal_string(type, GROUP_DELETED);
}

/* ---- reading ---- */

void group_memory_deinit(struct group_memory *memory)
{
    if (memory->exists)
        group_definition_deinit(&memory->definition);
    free(memory->settled);
    free(memory->parked);
    free(memory->returned);
    *memory = (struct group_memory){0};
}

static int invalid_or(int r)
{
    return r > 0 ? GROUP_RECORD_E_INVALID : r;
}

static void drop_returned(struct group_memory *memory, struct group_range range)
{
    size_t kept = 0;

    for (size_t i = 0; i < memory->returned_count; i++) {
        uint64_t position = memory->returned[i];
        if (position < range.first || position > range.last)
            memory->returned[kept++] = position;
    }
    memory->returned_count = kept;
}

static int add_settled(struct group_memory *memory, struct group_range range)
{
    int r = vector_reserve(&memory->settled, &memory->settled_capacity, memory->settled_count + 1);

    if (r < 0)
        return r;
    memory->settled[memory->settled_count++] = range;
    drop_returned(memory, range);
    return 0;
}

static int read_range(struct json_value value, struct group_range *ret_range)
{
    struct json_cursor at = json_walk(value);
    struct group_range range = {0};

    if (json_type(value) != JSON_ARRAY || json_count(value) != 2 || !json_next(&at) ||
        json_u64(at.value, &range.first) != 0 || !json_next(&at) || json_u64(at.value, &range.last) != 0 ||
        range.first < 1 || range.first > range.last)
        return GROUP_RECORD_E_INVALID;
    *ret_range = range;
    return 0;
}

static int read_ranges(struct group_memory *memory, struct json_value value)
{
    struct json_cursor at = json_walk(value);
    struct group_range range;
    int r = json_type(value) == JSON_ARRAY ? 0 : GROUP_RECORD_E_INVALID;

    while (r == 0 && json_next(&at)) {
        r = read_range(at.value, &range);
        if (r == 0)
            r = add_settled(memory, range);
    }
    return r;
}

static int read_cursor(struct group_memory *memory, struct json_value value)
{
    uint64_t cursor;

    if (json_u64(value, &cursor) != 0)
        return GROUP_RECORD_E_INVALID;
    if (cursor > memory->cursor)
        memory->cursor = cursor;
    return 0;
}

static int take_acked(struct group_memory *memory, struct json_value data)
{
    int r = read_cursor(memory, json_get(data, "cursor"));

    return r == 0 ? read_ranges(memory, json_get(data, "acked")) : r;
}

/* The index of a parked event, or their count. */
static size_t find_parked(const struct group_memory *memory, uint64_t position)
{
    size_t i = 0;

    while (i < memory->parked_count && memory->parked[i].position != position)
        i++;
    return i;
}

static int read_parked(struct json_value value, struct group_parked *ret_parked)
{
    _cleanup_(buffer_deinit) struct buffer reason = {0};
    uint64_t tries = 0;
    struct group_parked parked = {.stored = true};
    int r = json_string(json_get(value, "reason"), &reason);

    if (r < 0)
        return r;
    if (r > 0 || reason.size > GROUP_REASON_SIZE_MAX || json_u64(json_get(value, "tries"), &tries) != 0 ||
        json_u64(json_get(value, "position"), &parked.position) != 0 || parked.position < 1 ||
        tries > UINT32_MAX || json_i64(json_get(value, "time"), &parked.time_us) != 0)
        return GROUP_RECORD_E_INVALID;
    parked.tries = (uint32_t)tries;
    if (reason.size > 0)
        memcpy(parked.reason, reason.data, reason.size);
    *ret_parked = parked;
    return 0;
}

static int take_parked(struct group_memory *memory, struct json_value data)
{
    struct group_parked parked;
    int r = read_parked(data, &parked);

    if (r == 0)
        r = vector_reserve(&memory->parked, &memory->parked_capacity, memory->parked_count + 1);
    if (r != 0)
        return r;
    size_t at = find_parked(memory, parked.position);
    memory->parked[at] = parked;
    memory->parked_count += at == memory->parked_count;
    return add_settled(memory, (struct group_range){parked.position, parked.position});
}

static int add_returned(struct group_memory *memory, struct json_value value)
{
    uint64_t position;
    int r = vector_reserve(&memory->returned, &memory->returned_capacity, memory->returned_count + 1);

    if (r < 0)
        return r;
    if (json_u64(value, &position) != 0 || position < 1)
        return GROUP_RECORD_E_INVALID;
    size_t at = find_parked(memory, position);
    if (at < memory->parked_count)
        memory->parked[at] = memory->parked[--memory->parked_count];
    drop_returned(memory, (struct group_range){position, position}); /* once is enough */
    memory->returned[memory->returned_count++] = position;
    return 0;
}

static int read_returned(struct group_memory *memory, struct json_value value)
{
    struct json_cursor at = json_walk(value);
    int r = json_type(value) == JSON_ARRAY ? 0 : GROUP_RECORD_E_INVALID;

    while (r == 0 && json_next(&at))
        r = add_returned(memory, at.value);
    return r;
}

static int take_replayed(struct group_memory *memory, struct json_value data)
{
    return read_returned(memory, json_get(data, "positions"));
}

static int take_deleted(struct group_memory *memory, struct json_value data)
{
    group_memory_deinit(memory);
    return 0;
}

static int take_created(struct group_memory *memory, struct json_value data)
{
    struct group_violation violations[GROUP_VIOLATION_COUNT_MAX];
    size_t count;

    group_memory_deinit(memory);
    int r = group_definition_read(json_get(data, "definition"), &memory->definition, violations, &count);
    if (r != 0)
        return invalid_or(r);
    memory->exists = true;
    memory->cursor = memory->definition.after;
    return 0;
}

static int take_state(struct group_memory *memory, struct json_value data)
{
    struct json_cursor at = json_walk(json_get(data, "parked"));
    int r = take_created(memory, data);

    if (r == 0)
        r = read_cursor(memory, json_get(data, "cursor"));
    if (r == 0)
        r = read_ranges(memory, json_get(data, "settled"));
    while (r == 0 && json_next(&at))
        r = take_parked(memory, at.value);
    return r == 0 ? read_returned(memory, json_get(data, "returned")) : r;
}

static const struct {
    const char *type;
    int (*take)(struct group_memory *memory, struct json_value data);
} kinds[] = {
    {GROUP_ACKED, take_acked},     {GROUP_PARKED, take_parked}, {GROUP_REPLAYED, take_replayed},
    {GROUP_CREATED, take_created}, {GROUP_STATE, take_state},   {GROUP_DELETED, take_deleted},
};

int group_memory_apply(struct group_memory *memory, struct bytes type, struct bytes data)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    int r = json_parse(data, &doc, NULL);

    if (r != 0)
        return invalid_or(r);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (bytes_equal_string(type, kinds[i].type))
            return invalid_or(kinds[i].take(memory, json_root(&doc)));
    }
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct group_range *left = a, *right = b;

    return (left->first > right->first) - (left->first < right->first);
}

void group_memory_finish(struct group_memory *memory)
{
    size_t count = 0;

    if (memory->settled_count > 0)
        qsort(memory->settled, memory->settled_count, sizeof(*memory->settled), compare_ranges);
    for (size_t i = 0; i < memory->settled_count; i++) {
        struct group_range range = memory->settled[i];
        if (range.last <= memory->cursor)
            continue;
        if (count > 0 && range.first <= memory->settled[count - 1].last) {
            if (range.last > memory->settled[count - 1].last)
                memory->settled[count - 1].last = range.last;
        } else {
            memory->settled[count++] = range;
        }
    }
    memory->settled_count = count;
}

/* ---- writing ---- */

int group_record_created(const struct group_definition *definition, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    json_write_object_begin(&w);
    json_write_key(&w, "definition");
    group_definition_write(definition, &w);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void write_ranges(struct json_writer *w, const char *key, const struct group_range *ranges,
                         size_t count)
{
    json_write_key(w, key);
    json_write_array_begin(w);
    for (size_t i = 0; i < count; i++) {
        json_write_array_begin(w);
        json_write_u64(w, ranges[i].first);
        json_write_u64(w, ranges[i].last);
        json_write_array_end(w);
    }
    json_write_array_end(w);
}

static int compare_positions(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

/* What was acknowledged and the cursor does not say; neighbours are one range. From malloc. */
static int acked_ranges(const struct group_state *state, struct group_range **ret_ranges, size_t *ret_count)
{
    size_t size = (state->acked_count + 1) * sizeof(uint64_t), count = 0;
    struct group_range *ranges = calloc(state->acked_count + 1, sizeof(*ranges));
    _cleanup_(freep) uint64_t *sorted = malloc(size);

    if (!ranges || !sorted) {
        free(ranges);
        return -ENOMEM;
    }
    if (state->acked_count > 0)
        memcpy(sorted, state->acked, state->acked_count * sizeof(uint64_t));
    qsort(sorted, state->acked_count, sizeof(uint64_t), compare_positions);
    for (size_t i = 0; i < state->acked_count; i++) {
        if (count > 0 && sorted[i] <= ranges[count - 1].last + 1)
            ranges[count - 1].last = sorted[i];
        else
            ranges[count++] = (struct group_range){sorted[i], sorted[i]};
    }
    *ret_ranges = ranges;
    *ret_count = count;
    return 0;
}

int group_record_acked(const struct group_state *state, struct buffer *out)
{
    _cleanup_(freep) struct group_range *ranges = NULL;
    struct json_writer w = json_writer(out);
    size_t count;
    int r = acked_ranges(state, &ranges, &count);

    if (r < 0)
        return r;
    json_write_object_begin(&w);
    json_write_member_u64(&w, "cursor", state->cursor);
    write_ranges(&w, "acked", ranges, count);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void write_parked(struct json_writer *w, const struct group_parked *parked)
{
    json_write_object_begin(w);
    json_write_member_u64(w, "position", parked->position);
    json_write_member_u64(w, "tries", parked->tries);
    json_write_member_string(w, "reason", parked->reason);
    json_write_member_i64(w, "time", parked->time_us);
    json_write_object_end(w);
}

int group_record_parked(const struct group_parked *parked, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    write_parked(&w, parked);
    return json_write_end(&w);
}

static void write_positions(struct json_writer *w, const char *key, const uint64_t *positions, size_t count)
{
    json_write_key(w, key);
    json_write_array_begin(w);
    for (size_t i = 0; i < count; i++)
        json_write_u64(w, positions[i]);
    json_write_array_end(w);
}

int group_record_replayed(const uint64_t *positions, size_t count, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    json_write_object_begin(&w);
    write_positions(&w, "positions", positions, count);
    json_write_object_end(&w);
    return json_write_end(&w);
}

static void write_returned(struct json_writer *w, const struct group_state *state)
{
    json_write_key(w, "returned");
    json_write_array_begin(w);
    for (size_t i = 0; i < state->count; i++) {
        if (state->entries[i].returned && state->entries[i].state != GROUP_SETTLED)
            json_write_u64(w, state->entries[i].position);
    }
    json_write_array_end(w);
}

int group_record_state(const struct group_definition *definition, const struct group_state *state,
                       struct buffer *out)
{
    _cleanup_(freep) struct group_range *ranges = NULL;
    struct json_writer w = json_writer(out);
    size_t count;
    int r = group_state_ranges(state, &ranges, &count);

    if (r < 0)
        return r;
    json_write_object_begin(&w);
    json_write_key(&w, "definition");
    group_definition_write(definition, &w);
    json_write_member_u64(&w, "cursor", state->cursor);
    write_ranges(&w, "settled", ranges, count);
    json_write_key(&w, "parked");
    json_write_array_begin(&w);
    for (size_t i = 0; i < state->parked_count; i++)
        write_parked(&w, &state->parked[i]);
    json_write_array_end(&w);
    write_returned(&w, state);
    json_write_object_end(&w);
    return json_write_end(&w);
}
