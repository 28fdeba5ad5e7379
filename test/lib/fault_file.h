/* fault_file: a filter that stacks on any table of file functions and breaks its n-th call that changes something.
 *
 *     struct fault_file fault;
 *     for (uint64_t n = 1;; n++) {
 *         fault_file_init(&fault, below, FAULT_FAIL, n);
 *         … run with &fault.ops …
 *         if (!fault_file_fired(&fault)) break;      // there were fewer than n calls
 *     }
 *
 * What counts: opening a file for writing, pwrite, sync, truncate, allocate, rename, remove, make_folder, sync_folder.
 */
#pragma once

#include <stdatomic.h>

#include "lib/sim_disk.h"
#include "os/file.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_FAIL,    /* -EIO, and nothing was done */
    FAULT_SHORTEN, /* a pwrite does half and says so; other calls are left alone */
    FAULT_TEAR,    /* a pwrite does half and says -EIO; other calls are done, and say -EIO */
    FAULT_LOSE,    /* a pwrite, truncate or allocate says it was done and was not; other calls are left alone */
    FAULT_FULL,    /* from here on pwrite, allocate and open say -ENOSPC, until fault_file_heal() */
    FAULT_KILL,    /* the process dies before the call: it and all that follow do nothing and say -EIO */
    FAULT_KILL_TORN, /* likewise, but a pwrite does half first */
};

struct fault_file {
    struct os_file_ops ops; /* first */
    const struct os_file_ops *below;
    struct sim_disk *disk; /* set by whoever has one below: a sync that FAULT_FAILs forgets what it should have written */
    _Atomic int kind; /* enum fault_kind */
    uint64_t at;
    _Atomic uint64_t calls;
    _Atomic bool fired, dead, full;
};

void fault_file_init(struct fault_file *fault, const struct os_file_ops *below, enum fault_kind kind, uint64_t at);

/* Whether the n-th call came. */
bool fault_file_fired(const struct fault_file *fault);

/* The trouble is over. */
void fault_file_heal(struct fault_file *fault);

/* The process dies now. */
void fault_file_kill(struct fault_file *fault);
