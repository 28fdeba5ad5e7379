/* world: one simulated world from a seed: a disk, and a process that lives several lives on it.
 *
 * In each life the log and the journal are opened, the oracle compares what is there, clients work, and the process ends:
 * by closing, or at any call of the disk. Then the machine may lose power, or only its page cache.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "log/log.h"

/* What the canary plants between the parts; all NULL or false: nothing. */
struct world_plant {
    bool no_sync;        /* syncs of files say done and do nothing */
    bool no_folder_sync; /* likewise those of folders */
    bool sync_says_done; /* a failed sync is repeated and believed */
    struct log *(*wrap_log)(struct log *log);
};

/* Runs it to its end; a broken promise ends the process (scheduler_fail()). Answers the hash of every step. */
uint64_t world_run(uint64_t seed, bool verbose, const struct world_plant *plant);
