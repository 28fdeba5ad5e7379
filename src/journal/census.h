/* census: every id and every version of a whole journal, looked at once, in memory that does not grow with it.
 *
 * For verify, which trusts no index. Entries are gathered in memory, sorted and written out as a run to a temporary file
 * (in $TMPDIR or /tmp, 64 bytes an event) whenever the memory is full; at the end the runs are merged, and what belongs
 * together comes side by side. A journal that fits needs no file.
 *
 * Streams are told apart by a keyed 128-bit hash of their names. One thread.
 */
#pragma once

#include "journal/journal.h"

enum {
    CENSUS_MEMORY_SIZE = 64 << 20, /* bytes: a million events without a file */
    CENSUS_MEMORY_SIZE_MIN = 4096,
};

struct census;

/* `key`: the log's, 16 bytes. `memory_size`: bytes, at least CENSUS_MEMORY_SIZE_MIN. 0 or -ENOMEM. */
_must_check_ int census_new(const uint8_t *key, size_t memory_size, struct census **ret_census);
void census_free(struct census *census); /* NULL is fine */

/* Count an event; they come in the order of their positions. 0; -errno: there is no room for the temporary file. */
_must_check_ int census_add(struct census *census, const struct journal_event *event);

/* When all are counted, once: `tell` hears of each event whose id stands at an earlier one (J5), or whose version does not
 * continue its stream (J7). 0 and how many streams there are; -errno. */
_must_check_ int census_check(struct census *census,
                              void (*tell)(void *user, uint64_t position, const char *what), void *user,
                              uint64_t *ret_stream_count);
