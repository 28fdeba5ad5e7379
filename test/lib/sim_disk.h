/* sim_disk: a disk in memory, as a table of file functions, that can lose power.
 *
 * Every file knows what it holds and what of that is durable: writes, truncations and allocations since the last sync are
 * kept in order. sim_disk_power_loss() keeps some of them, by sectors of 512 bytes, and forgets the others; likewise
 * names made, moved or removed since their folder was last synced. sim_disk_kill() is the gentler end: a process dies and
 * the kernel keeps what it was handed. Both close every file, so that its locks are gone.
 *
 * A failed sync (fail_syncs) behaves like Linux's: the pages count as clean from then on, can still be read until they
 * are dropped from memory (sim_disk_drop_clean()), and are never written unless they are written again.
 *
 * A disk can also lie: say that it has written and have lost a write or put it elsewhere (sim_disk_lie()), or forget a bit
 * of what it had (sim_disk_flip_bit()). What is in the page cache hides that until it is dropped or power is lost.
 *
 * Any thread may call. A sync of a folder makes the names right in it durable, no others. Folders need not be made.
 */
#pragma once

#include "os/file.h"

enum sim_loss { SIM_LOSE_ALL, SIM_LOSE_SOME };
enum sim_lie { SIM_LIE_LOST, SIM_LIE_MISDIRECTED };

struct sim_disk;

struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *disk);
static inline void sim_disk_freep(struct sim_disk **disk)
{
    sim_disk_free(*disk);
}

const struct os_file_ops *sim_disk_ops(struct sim_disk *disk);

/* How much all files together may take; 0: no limit. Beyond it: -ENOSPC. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
uint64_t sim_disk_used(struct sim_disk *disk);

/* The next `count` syncs of files fail. */
void sim_disk_fail_syncs(struct sim_disk *disk, unsigned count);
/* The next `count` syncs fail too, but some sectors of what they should have written are durable, as the seed says. */
void sim_disk_tear_syncs(struct sim_disk *disk, unsigned count, uint64_t seed);

/* Clean pages go from memory: a file reads as what is durable and what was written since its last sync. */
void sim_disk_drop_clean(struct sim_disk *disk);

/* The next sync that has something to write lies about one of its writes. A misdirected one goes to another place, at the
 * same distance from the beginning of a sector, in a file the seed says. */
void sim_disk_lie(struct sim_disk *disk, enum sim_lie lie, uint64_t seed);
/* How many times it has lied. */
unsigned sim_disk_lie_count(struct sim_disk *disk);
/* One durable bit of the file is another, also in memory. False: there is no such file, or nothing in it. */
bool sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t bit);

void sim_disk_kill(struct sim_disk *disk);
void sim_disk_power_loss(struct sim_disk *disk, enum sim_loss loss, uint64_t seed);

/* A file's content, to be looked at or damaged; NULL: no such file. */
struct buffer *sim_disk_content(struct sim_disk *disk, const char *path);
/* How many files are open. */
size_t sim_disk_open_count(struct sim_disk *disk);
