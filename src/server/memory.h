#pragma once

/* memory: how much the server may use, and the limits that follow from it.
 *
 * One figure, `--memory` or what the machine and its control group give, from which the limits of what clients can make the
 * server hold are derived: each is its default, or a share of the figure where that is less. A limit that was set by name
 * stays as it was set. docs/reference/limits.md has the table. */

#include "server/server.h"

/* The memory of the machine, or what the control groups of this process, or the limit of its address space, allow where that
 * is less; in bytes. */
uint64_t memory_found(void);
/* The same of a machine with so much memory, where the process's groups stand in this file, and their limits in this folder. */
uint64_t memory_within(uint64_t memory, const char *groups_file, const char *limits_folder);

/* options->memory, found when 0 and at least SERVER_MEMORY_MIN, and every limit that follows from it and was not set. */
void memory_fit(struct server_options *options);

/* Let malloc() give back what was large, and keep few arenas, where memory is scarce. Before any thread is started. */
void memory_thrift(uint64_t memory);
