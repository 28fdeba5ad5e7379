/* validate: what can be said about an append without looking at the journal: names, numbers, sizes. */
#pragma once

#include "journal/journal.h"

/* Encoded bytes of an append: what LOG_APPEND_SIZE_MAX limits. SIZE_MAX when the sum does not fit. */
size_t validate_append_size(const struct journal_append *append);

/* 0; or JOURNAL_E_INVALID, JOURNAL_E_TOO_LARGE with `answer`, `index` and `detail` of the result set. No events is for
 * the caller to judge. */
_must_check_ int validate_append(const struct journal_append *append, struct journal_result *ret_result);
