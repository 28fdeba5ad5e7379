/* scavenge_said: the event `$Scavenged`, which says what goes. Its data: {"ranges":[[1,40],[42,42]],"count":41} */
#pragma once

#include "journal/codec.h"

struct journal;

#define SCAVENGE_STREAM BYTES_LITERAL("$scavenge")
#define SCAVENGE_TYPE   BYTES_LITERAL("$Scavenged")

struct scavenge_ranges {
    struct log_range *items;
    size_t count, capacity;
};
void scavenge_ranges_deinit(struct scavenge_ranges *ranges);
/* One position more, above all others. 0, -ENOMEM. */
_must_check_ int scavenge_ranges_add(struct scavenge_ranges *ranges, uint64_t position);
uint64_t scavenge_ranges_positions(const struct scavenge_ranges *ranges);

/* The event's data. 0, -ENOMEM. */
_must_check_ int scavenge_said_write(const struct scavenge_ranges *ranges, struct buffer *out);
/* Read it again, trusting no byte: positions ascend and lie before the event itself. 0, -EBADMSG, -ENOMEM. */
_must_check_ int scavenge_said_read(const struct journal_event *event, struct scavenge_ranges *ret_ranges);

/* Whether a record is such an event, by its head alone. */
bool scavenge_said_in(const struct log_record *record);

/* Put the stubs in their places. The caller is the log's writer. `replaced` is added to. 0, LOG_E_READ_ONLY, -errno. */
_must_check_ int scavenge_replace(struct log *log, const struct scavenge_ranges *ranges,
                                  struct log_replaced *replaced);

/* S4: put stubs wherever any `$Scavenged` of this log says so and a body is still there, and settle the log. Reads all of it.
 * The caller is the log's writer. 0, LOG_E_READ_ONLY, -EBADMSG, -errno: what was done is done, and the log is not settled. */
_must_check_ int scavenge_settle_copy(struct log *log);

/* S2, S4: finish what was said and not done. The caller is the log's writer. 0, LOG_E_READ_ONLY, -errno. */
_must_check_ int scavenge_redo(struct journal *journal);
