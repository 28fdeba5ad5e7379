/* import_file: a file of lines, or of the elements of one JSON array, that is worked through once, even if the work is
 * interrupted. However long the file is, one of them is in memory at a time.
 *
 * An import is a batch of its own. Its identity, 16 bytes, goes into the id of each line that has none, together with the line's
 * number and its bytes: other files, and lines that are equal, have other ids; the same line of the same import has the same at
 * every try. A file's identity is made from its name (its absolute path) and what is in it when its import begins, so that a
 * lost note does no harm; that of a named batch from the name; that of standard input, or of a beginning anew, by chance.
 *
 * Beside FILE stands FILE.progress: a line of 512 bytes for each journal that FILE was imported into, which says how far it has
 * come, with a hash of all that was read and a checksum. It is rewritten after every answered request, so that a killed import
 * goes on at the request that was in flight, which is safe to send again. It stays when the import is complete: the same call
 * then does nothing, or goes on where the file has grown. A file that does not begin any more with what was imported of it is
 * another file, and a line that is damaged says nothing: both are errors, and neither is passed over in silence.
 *
 * One import of a file at a time: the note is locked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { IMPORT_LINE_SIZE_MAX = 4 << 20, IMPORT_BATCH_ID_SIZE = 16 };

struct import_counts {
    uint64_t accepted, refused, position;
    uint64_t replayed; /* of the accepted: were there already, by the ids they bring with them */
    uint64_t before;   /* of the accepted: have no id, and were stored by an earlier import of this name and content */
    uint64_t gone;     /* events whose data is gone: passed over */
};

/* Up to here: bytes and lines. */
struct import_place {
    uint64_t offset, lines;
};

struct import_file {
    FILE *file;
    const char *name;
    int progress_fd;  /* -1: standard input or a pipe, nothing is noted */
    int64_t slot;     /* where in FILE.progress the line about this journal is, or goes */
    char journal[40]; /* the journal it goes into */
    uint8_t batch[IMPORT_BATCH_ID_SIZE];
    struct hash256 content; /* of the whole file, when it was opened */
    bool array;              /* what is a line elsewhere is an object in one array here: a batch of CloudEvents */
    bool begun, ended;       /* the array */
    bool fresh;              /* nothing is known of an earlier try */
    bool resumed;            /* one is known, and this goes on behind it */
    bool complete;           /* it had come to the end */
    uint64_t line_count;     /* lines in all; 0: not known */
    struct import_place at;   /* read */
    struct import_place done; /* noted: all before is answered */
    struct import_counts counts;
    struct hash_blake_state seen; /* of the first `seen_size` bytes */
    uint64_t seen_size;
    char *line;
    size_t line_capacity;
};

/* How an import is told from others. */
struct import_batch {
    const char *name;     /* --batch, or NULL */
    const char *journal;  /* where it goes */
    uint64_t head;        /* position of that journal */
    bool restart;         /* whatever the note says */
};

/* Open FILE ("-": standard input), and its note; no server is needed for that. An exit code; errors are printed. */
int import_file_open(struct import_file *import, const char *name, bool array);
/* Go to where an earlier try stopped, or to the beginning. An exit code; errors are printed. */
int import_file_begin(struct import_file *import, const struct import_batch *batch);
void import_file_close(struct import_file *import);

/* The next line that is not empty, without its end, or the next object of the array, and the hash that its id is made from if
 * it has none; valid until the next call. 1: a line; 0: the end; < 0: an exit code, negated; the error is printed. */
int import_file_next(struct import_file *import, struct bytes *ret_line, struct hash256 *ret_id);

/* Note `counts`, and that everything before `place` has been answered. */
int import_file_note(struct import_file *import, struct import_place place, bool complete);
