/* log_kit: drives a log and keeps the model it is checked against: a list of all that was ever submitted, and how each
 * append ended. Every record says in its body which append it is of, so that the law (P2, P6) can be held against
 * whatever a log shows after a crash:
 *     acknowledged ⊆ recovered ⊆ submitted, each append whole, in its place, byte for byte, and nothing that failed.
 */
#pragma once

#include "log/log.h"

struct log_kit;

struct log_kit *log_kit_new(void);
void log_kit_free(struct log_kit *kit);

/* The log to drive from now on; its head is taken as the tail. NULL: none (it crashed or was closed). Appends without an
 * end by then are undecided: both recovered and not recovered are right. */
void log_kit_use(struct log_kit *kit, struct log *log);

/* Submits one batch of `appends` appends with `records` records of `body_size` bytes each, on top of what was submitted
 * before. What log_append() answers. */
int log_kit_submit(struct log_kit *kit, size_t appends, size_t records, size_t body_size);

/* Waits until everything submitted has ended; the outcome of the last batch to end. */
enum log_outcome log_kit_wait(struct log_kit *kit);

/* Both. A batch that is not taken counts as LOG_FAILED. */
enum log_outcome log_kit_append(struct log_kit *kit, size_t appends, size_t records, size_t body_size);

/* Reads all of the log and holds the law against it. With `may_be_damaged`, reading may end early, if the log then is not
 * writable and gives a reason. Undecided appends are decided by what was found. Fails the test that calls it. */
void log_kit_check(struct log_kit *kit, bool may_be_damaged);

/* Records acknowledged so far. */
uint64_t log_kit_acknowledged(const struct log_kit *kit);
