/* Whatever stands in a group's stream: it is taken in or refused, and what was taken in can be written and read again. The
 * input is lines of `TYPE DATA`. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "group/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int apply_line(struct group_memory *memory, struct bytes line)
{
    const uint8_t *blank = line.size > 0 ? memchr(line.data, ' ', line.size) : NULL;

    if (!blank)
        return 0;
    size_t at = (size_t)(blank - line.data);
    return group_memory_apply(memory, bytes_slice(line, 0, at), bytes_slice(line, at + 1, SIZE_MAX));
}

/* A state made from it, written, and read: it says the same. */
static void write_again(struct group_memory *memory)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    _cleanup_(group_memory_deinit) struct group_memory again = {0};
    struct group_state state;

    group_state_init(&state, memory->cursor, (const uint8_t[HASH_SIP_KEY_SIZE]){1});
    for (size_t i = 0; i < memory->parked_count; i++)
        assert(group_state_add_parked(&state, &memory->parked[i]) == 0);
    group_state_set_settled(&state, take_ptr(memory->settled), memory->settled_count);
    for (size_t i = 0; i < memory->returned_count; i++)
        assert(group_state_return(&state, memory->returned[i], NULL, 0) == 0);
    assert(group_record_state(&memory->definition, &state, &text) == 0);
    assert(group_memory_apply(&again, BYTES_LITERAL(GROUP_STATE), buffer_bytes(&text)) == 0);
    group_memory_finish(&again);
    assert(again.cursor >= memory->cursor && group_definition_same(&again.definition, &memory->definition));
    assert(again.parked_count == state.parked_count);
    for (size_t i = 1; i < again.settled_count; i++)
        assert(again.settled[i - 1].last < again.settled[i].first);
    group_state_deinit(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct group_memory memory = {0};
    struct bytes rest = bytes_make(data, size);
    int r = 0;

    while (rest.size > 0 && r == 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t line = end ? (size_t)(end - rest.data) : rest.size;
        r = apply_line(&memory, bytes_slice(rest, 0, line));
        rest = bytes_slice(rest, line + 1, SIZE_MAX);
    }
    assert(r == 0 || r == GROUP_RECORD_E_INVALID);
    group_memory_finish(&memory);
    if (r == 0 && memory.exists)
        write_again(&memory);
    group_memory_deinit(&memory);
    return 0;
}
