/* import_note: FILE.progress, how far the import of a file has come, journal by journal (import_file.h). */
#pragma once

#include "import_file.h"

struct import_note {
    bool found, complete;
    uint8_t batch[IMPORT_BATCH_ID_SIZE];
    struct import_place done;
    struct hash256 seen; /* of the file up to there */
    struct import_counts counts;
};

/* Open FILE.progress, make it if it is not there, and lock it. An exit code; errors are printed. */
int import_note_open(struct import_file *import);

/* The line about `import->journal`, and where it is or is to go. `ignored`: what it says does not matter and may be damaged. An
 * exit code; errors are printed. */
int import_note_find(struct import_file *import, bool ignored, struct import_note *ret_note);

/* Go behind what was imported, if the file still begins with it; or to the beginning, if the journal, whose position is `head`,
 * has lost some of it. An exit code; errors are printed. */
int import_note_resume(struct import_file *import, const struct import_note *note, uint64_t head);
