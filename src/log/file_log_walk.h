/* Walking the frames of one segment, in order or past damage. Used by recovery, readers, verify and backup alike, so that
 * all of them mean the same by "damaged". */
#pragma once

#include "log/file_log_format.h"

/* Answers. */
enum {
    WALK_E_END = 1,     /* zeros, or the limit: nothing was ever written here */
    WALK_E_DAMAGED = 2, /* something is here that is not the frame that must be here: walk.what says why */
    WALK_E_NEWER = 3,   /* a frame of a later format */
};

struct walk {
    const struct os_file_ops *ops;
    int file;
    uint32_t seed;
    uint64_t offset;   /* of the frame next() will read */
    uint64_t limit;    /* the walk ends here, or at the end of the file */
    uint64_t position; /* the first position expected there */
    const char *what;  /* static; after WALK_E_DAMAGED */

    struct buffer window; /* bytes of the file from window_offset on */
    uint64_t window_offset;
    size_t step; /* how much to read at once: grows while the walk goes straight on */
};

/* Frames from `offset` to `limit` of an open file, which stays the caller's. */
void walk_init(struct walk *walk, const struct os_file_ops *ops, int file, uint32_t seed);
void walk_deinit(struct walk *walk);

/* Continue elsewhere, the next record being `position`. What was read ahead is kept if it is of use. */
void walk_seek(struct walk *walk, uint64_t offset, uint64_t position);

/* Forget what was read ahead: the file may have changed. */
void walk_forget(struct walk *walk);

/* Nothing is to be read for a while: gives the memory back. */
void walk_rest(struct walk *walk);

/* Reads and checks the frame at `offset` and goes behind it. *ret_data, header and body, is good until the next call. 0,
 * WALK_E_…, -errno; unless it returns 0 the walk stays where it was. */
int walk_next(struct walk *walk, struct format_frame *ret_frame, const uint8_t **ret_data);

/* The same without reading or checking the body: for finding a place. *ret_data is the header alone. */
int walk_skip(struct walk *walk, struct format_frame *ret_frame);

/* Looks for the next valid frame header at a multiple of 8 from `offset` on, whose first position is not below
 * `position`, and goes behind that header alone. WALK_E_END: there is none up to the limit. */
int walk_search(struct walk *walk, struct format_frame *ret_frame, uint64_t *ret_offset);

/* Where the last byte that is not zero ends, from `offset` to `limit`; `offset` if there is none. */
int walk_find_end(struct walk *walk, uint64_t *ret_end);
