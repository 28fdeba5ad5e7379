/* naive_journal: the journal as an array of events and the shortest code that can be right.
 *
 * What journal.h promises, said a second time without index, batches, disk or threads: each append is compared with the
 * array from its beginning to its end. Random tests run both and compare.
 */
#pragma once

#include "journal/journal.h"

struct naive_journal;

struct naive_journal *naive_new(void);
void naive_free(struct naive_journal *naive);

/* Decide an append without prepare(): answer, replayed, first and last of `ret_result`; conflicts are counted. On 0 its
 * events stand in the array; ids and times that the journal makes are learnt by naive_learn(). */
void naive_append(struct naive_journal *naive, const struct journal_append *append,
                  struct journal_result *ret_result);

/* Event as the journal shows it: fills in the id and time that only it knows, and asserts that the rest is equal. */
void naive_learn(struct naive_journal *naive, const struct journal_event *event);

/* Positions that a read shows, in its order; at most `max` of them. Answers how many. */
size_t naive_read(const struct naive_journal *naive, const struct journal_read *read, uint64_t *ret_positions,
                  size_t max);

uint64_t naive_head(const struct naive_journal *naive);
uint64_t naive_stream_version(const struct naive_journal *naive, struct bytes stream);

/* Forget everything above `head`: what a crash may have taken. */
void naive_cut(struct naive_journal *naive, uint64_t head);
/* The body of an event went. */
void naive_forget(struct naive_journal *naive, uint64_t position);
/* Put an event as read at the end. */
void naive_adopt(struct naive_journal *naive, const struct journal_event *event);
