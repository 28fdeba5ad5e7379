/* What an append sees at its turn: the past, as the batch being built has it. */

#include "journal/batch.h"

uint64_t journal_turn_tail(const struct journal_turn *turn)
{
    return past_tail(turn->batch->past);
}

uint64_t journal_turn_era(const struct journal_turn *turn)
{
    return turn->batch->past->era;
}

int journal_turn_each(struct journal_turn *turn, const struct journal_query *query, uint64_t after,
                      int (*each)(void *user, const struct journal_event *event), void *user)
{
    return past_each(turn->batch->past, &turn->batch->arena, query, after, each, user);
}

uint64_t journal_turn_count(struct journal_turn *turn, const struct journal_query *query, uint64_t after,
                            uint64_t limit)
{
    uint64_t count;
    int r = past_count(turn->batch->past, &turn->batch->arena, query, after, limit, &count);
    return r == 0 ? count : limit;
}

int journal_turn_find_key(struct journal_turn *turn, struct bytes key, uint64_t *ret_first,
                          uint64_t *ret_last, uint8_t ret_key_hash[16])
{
    struct journal_event event;
    int r = past_find_key(turn->batch->past, key, &event);
    if (r != 0)
        return r == PAST_E_NONE ? JOURNAL_E_END : r;
    *ret_first = event.append_first;
    *ret_last = event.append_first + event.append_count - 1;
    memcpy(ret_key_hash, event.key_hash.data, CODEC_KEY_HASH_SIZE);
    return 0;
}
