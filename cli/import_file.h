/* import_file: a file of lines, or of the elements of one JSON array, that is worked through once, even if the work is
 * interrupted. However long the file is, one of them is in memory at a time.
 *
 * Beside FILE stands FILE.progress: one JSON line that says how far the import into which journal has come. It is
 * rewritten after every answered request, so that a killed import goes on at the request that was in flight, which is
 * safe to send again: events carry ids, commands carry keys. It stays when the import is complete, so that doing it
 * twice by mistake does nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { IMPORT_LINE_SIZE_MAX = 4 << 20 };

struct import_counts {
    uint64_t lines, accepted, refused, replayed, position;
    uint64_t gone; /* events whose data is gone: passed over */
};

struct import_file {
    FILE *file;
    const char *name;
    int progress_fd;     /* -1: standard input, nothing is noted */
    char journal[40];    /* the journal it goes into */
    bool array;          /* what is a line elsewhere is an object in one array here: a batch of CloudEvents */
    bool begun, ended;   /* the array */
    uint64_t line_count; /* lines in all; 0: not known */
    uint64_t offset;     /* bytes read */
    bool complete;       /* an earlier import had come to the end */
    struct import_counts counts;
    struct hash_blake_state
        seen; /* hash of all lines so far: makes ids and keys that are the same at every try */
    char *line;
    size_t line_capacity;
};

/* Open FILE ("-": standard input) and go to where an earlier import into `journal` stopped, unless `restart`. An exit
 * code; errors are printed. */
int import_file_open(struct import_file *import, const char *name, const char *journal, bool restart, bool array);
void import_file_close(struct import_file *import);

/* The next line that is not empty, without its end, or the next object of the array, and a hash of all lines or objects up to
 * it; valid until the next call. 1: a line;
 * 0: the end; < 0: an exit code, negated; the error is printed. */
int import_file_next(struct import_file *import, struct bytes *ret_line, struct hash256 *ret_seen);

/* Note `counts` and the place: everything read so far has been answered. */
int import_file_note(struct import_file *import, bool complete);
