/* output: what a subcommand says arrives, or its exit code says that it did not.
 *
 * Subcommands print with stdio and need not look at what it answers. main() begins with output_open() and ends with
 * output_close(), which writes what is still in memory and knows of every earlier write that failed: a full disk, a reader
 * that has gone, a standard output that was closed before the program began. Whatever the subcommand found, the exit code is
 * then CLI_FAILED, with the reason on standard error. SIGPIPE ends nobody: a reader that has gone is an error like the others.
 *
 * What would go on for long asks output_lost() between two pieces of work and stops.
 *
 * A file that a subcommand writes is ended with output_file_close(), which knows as much.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/bytes.h"

/* First of all: descriptors 0 to 2 are taken, so that no file of a journal gets one of them; using one that was closed fails. */
void output_open(void);

/* Last of all: `code`, or CLI_FAILED if any of the output was lost, which is then said. */
int output_close(int code);

/* Is some of it lost, or its reader gone? Without a write it sees a pipe that nobody reads any more. */
bool output_lost(void);

/* What was printed so far, now: false if it is lost. */
bool output_flush(void);

/* The bytes as they are, NULs too, and a line end if they have none. */
void output_text(struct bytes text);

/* Flush, sync if it is a file, close. 0 or -errno of what went wrong since it was opened; `file` is closed in any case. */
int output_file_close(FILE *file);
