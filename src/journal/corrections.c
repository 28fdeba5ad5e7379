/* A clock that was ahead, and what makes it right: `$ClockCorrected` events, from which times follow the clock again.
 *
 * They are few. Their positions and times are kept in memory: between two of them times never go back, so that a time is
 * found by halving; what stands before one happened no later than it says. */

#include <stdio.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "journal/state.h"

bool journal_is_correction(const struct journal_event *event)
{
    return bytes_equal(event->type, JOURNAL_CLOCK_TYPE) && bytes_equal(event->stream, JOURNAL_CLOCK_STREAM);
}

int corrections_note(struct journal *journal, const struct journal_event *event)
{
    if (!journal_is_correction(event))
        return 0;
    _os_locked_(&journal->corrections_lock);
    size_t count = journal->correction_count;
    if (count > 0 && journal->corrections[count - 1].position >= event->position)
        return 0;
    int r = vector_reserve(&journal->corrections, &journal->correction_capacity, count + 1);
    if (r == 0)
        journal->corrections[journal->correction_count++] =
            (struct correction){.position = event->position, .time_us = event->time_us};
    return r;
}

int corrections_load(struct journal *journal)
{
    const struct journal_read read = {.stream = JOURNAL_CLOCK_STREAM, .system = true};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(journal, &read, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        r = corrections_note(journal, &event);
    return r == JOURNAL_E_END ? 0 : r;
}

/* Where times never go back and the one asked for lies: from *first (0: the beginning) to *last. */
static void find_span(struct journal *journal, int64_t time_us, uint64_t *first, uint64_t *last)
{
    _os_locked_(&journal->corrections_lock);
    for (size_t i = journal->correction_count; i-- > 0;) {
        const struct correction *correction = &journal->corrections[i];
        if (correction->position > *last)
            continue;
        if (correction->time_us <= time_us) {
            *first = correction->position;
            return;
        }
        *last = correction->position - 1;
    }
}

bool corrections_find(struct journal *journal, int64_t time_us, uint64_t *ret_position)
{
    uint64_t first = 0, last = journal_head(journal);
    struct fetch fetch;
    int r = 0;
    os_mutex_lock(&journal->corrections_lock);
    bool any = journal->correction_count > 0;
    os_mutex_unlock(&journal->corrections_lock);
    if (!any || fetch_init(&fetch, journal->log) < 0)
        return false;
    find_span(journal, time_us, &first, &last);
    while (r == 0 && first < last) {
        struct journal_event event;
        uint64_t middle = last - (last - first) / 2;
        r = fetch_event(&fetch, middle, &event);
        if (r == 0 && event.time_us <= time_us)
            first = middle;
        else
            last = middle - 1;
    }
    fetch_deinit(&fetch);
    *ret_position = first;
    return true;
}

int64_t journal_true_time(struct journal *journal, uint64_t position, int64_t time_us)
{
    _os_locked_(&journal->corrections_lock);
    for (size_t i = journal->correction_count; i-- > 0 && journal->corrections[i].position > position;)
        if (journal->corrections[i].time_us < time_us)
            time_us = journal->corrections[i].time_us;
    return time_us;
}

int64_t corrections_ahead_us(struct journal *journal)
{
    const struct os_clock *clock = journal->source.clock;
    struct index_figures figures;
    index_figures(journal->index, &figures);
    int64_t now = clock->realtime_us(clock);
    return figures.time_last_us > now ? figures.time_last_us - now : 0;
}

int journal_correct_clock(struct journal *journal, struct journal_result *ret_result)
{
    char data[64];
    int64_t ahead_us = corrections_ahead_us(journal);
    snprintf(data, sizeof(data), "{\"ahead_us\":%lld}", (long long)ahead_us);
    const struct journal_event_new event = {.stream = JOURNAL_CLOCK_STREAM,
                                            .type = JOURNAL_CLOCK_TYPE,
                                            .data = bytes_from_string(data),
                                            .system = true};
    struct journal_append append = {.events = &event, .event_count = 1};
    if (ahead_us == 0)
        return JOURNAL_E_RIGHT;
    return journal_append_wait(journal, &append, ret_result);
}

void journal_clock(const struct journal *journal, int64_t *ret_ahead_us, int64_t *ret_leap_us)
{
    *ret_ahead_us = atomic_load(&journal->source.behind_us);
    *ret_leap_us = atomic_load(&journal->source.leap_us);
}
