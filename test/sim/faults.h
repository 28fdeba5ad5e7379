/* faults: what can go wrong between daybook and a disk (lib/sim_disk.h), by the scheduler's die.
 *
 * A table of file functions that stacks on the disk's. Each call takes some time, is traced, and may go wrong as the plan
 * says. At the call with number `crash_at` the process dies: that call is done in part or not at all, and it and all that
 * follow answer -EIO and do nothing, so that the dead process's threads unwind without leaving a mark.
 */
#pragma once

#include "lib/sim_disk.h"
#include "os/file.h"

enum { FAULTS_FILE_COUNT_MAX = 256 };

/* Each number: once in so many calls; 0: never. */
struct faults_plan {
    uint32_t read_error, write_error, sync_error, name_error; /* -EIO; names: open, rename, remove, folders */
    uint32_t short_transfer;                                  /* half of what was asked for */
    uint32_t lie;                 /* syncs: a lost or a misdirected write, once a world */
    uint64_t crash_at;            /* in calls from now; 0: never */
    bool no_sync, no_folder_sync, sync_says_done; /* bugs that the canary plants, see world.h */
};

struct faults {
    struct os_file_ops ops; /* first */
    const struct os_file_ops *below;
    struct sim_disk *disk;
    struct faults_plan plan;
    uint64_t calls;
    bool dead;        /* the process has died */
    bool hurt;        /* something went wrong since the plan was made */
    bool full;        /* there was no room at least once since then */
    bool sync_failed; /* since then, of something that is not derived */
    const char *derived; /* a folder whose files can be made again; NULL: there is none */
    bool is_derived[FAULTS_FILE_COUNT_MAX];
    char names[FAULTS_FILE_COUNT_MAX][32];
};

void faults_init(struct faults *faults, struct sim_disk *disk);

/* From here on this plan; a new process. */
void faults_plan(struct faults *faults, const struct faults_plan *plan);
void faults_die(struct faults *faults);
