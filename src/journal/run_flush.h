/* run_flush: runs out of what there is already: a table in memory, or smaller runs. */
#pragma once

#include "journal/run.h"
#include "journal/table.h"

/* What both need to know of where the run goes. */
struct run_target {
    const struct os_file_ops *ops;
    const char *folder;
    const uint8_t *key; /* the log's */
};

/* A full table becomes a run; the chains before its first and after its last position go into the header. 0 or -errno. */
_must_check_ int run_flush_table(const struct run_target *target, const struct table *table,
                                 const struct log_chain *chain_before, const struct log_chain *chain_after);

enum { RUN_MERGE_COUNT_MAX = 16 };

/* Called now and then while runs are merged, with the bytes written so far; not 0: the merge ends with that. */
typedef int run_merge_pause(void *user, uint64_t written);

/* Runs side by side become one, which says the same. `pause` may be NULL. 0, -errno, or what `pause` answered. */
_must_check_ int run_merge(const struct run_target *target, struct run *const *runs, size_t count,
                           run_merge_pause *pause, void *user);
