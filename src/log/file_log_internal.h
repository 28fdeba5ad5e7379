/* What the parts of the file log share.
 *
 *     file_log_open.c     opening, state, closing
 *     file_log_scan.c     recovery: what a crash has left
 *     file_log_commit.c   the way of a batch: frames, queue, thread, publishing
 *     file_log_disk.c     the disk: room, segments, writes, syncs, cuts, floors
 *     file_log_page.c     durable.page, which tells readers in other processes how far records are durable
 *     file_log_read.c     readers, and following a log that another process writes
 *     file_log_scrub.c    reading everything again, slowly
 *     file_log_segments.c the list of segments and the places remembered in them
 *     file_log_verify.c, file_log_backup.c, file_log_restore.c   tools on a folder; file_log_copy.[ch] is what two share
 *     file_log_replace.c  stubs
 *
 * Invariants:
 * F1 a segment stands only when every record below its first is durable.
 * F2 between the end of the last frame and the end of the file there are zeros, whenever nothing is being written.
 * F3 `durable` never exceeds what a completed sync covers (LOG_SYNC) or a completed write (LOG_ASYNC).
 * F4 at most one group of frames is between its write and its sync.
 * F5 `allocated` is never below `end`: giving back room that was not needed cuts no frame.
 */
#pragma once

#include "log/file_log_format.h"
#include "log/file_log_walk.h"
#include "os/thread.h"

enum {
    SEGMENT_NAME_SIZE = 25, /* "00000000000000000001.seg" and its NUL */
    SEGMENT_SIZE_DEFAULT = 64 << 20,
    SEGMENT_SIZE_MIN = 64 << 10,
    IDLE_FLOOR_MS_DEFAULT = 100,
    ASYNC_DELAY_MS = 100,     /* LOG_ASYNC: from a write to its sync, until which nobody sees it */
    GROUP_SIZE_MAX = 8 << 20, /* queued batches that share a sync, bytes */
    MARK_GRANULE = 16 << 10,  /* a place is remembered every so many bytes of a segment */
    FILES_IDLE_MAX = 8,       /* segments that no reader reads any more and whose files stay open */
    ERROR_SIZE = 256,
};

#define SEGMENT_SIZE_MAX (UINT64_C(4) << 30)

#define FILE_LOG_LOCK_NAME "writer.lock"

/* Where the frame of a position begins. */
struct mark {
    uint64_t position, offset;
};

struct segment {
    uint64_t first;
    uint64_t size;    /* bytes that hold something; of the last segment: the durable ones */
    uint64_t version; /* one more each time another file took the name (replace) */
    struct mark *marks;
    size_t mark_count, mark_capacity;
};

/* A segment's file, open for all readers that read in it. */
struct shared_file {
    uint64_t first, version;
    int file;
    unsigned readers;
};

/* One batch on its way, its frames encoded. */
struct job {
    struct log_batch *batch;
    struct buffer frames;
    uint64_t first, last;
    struct log_chain chain_before, chain_after;
    struct job *next;
};

struct file_log {
    struct log log; /* first */
    const struct os_file_ops *ops;
    struct file_log_options options;
    char *folder;
    struct format_head head;
    uint32_t seed;
    int lock_file; /* -1: read only */

    struct os_mutex mutex; /* guards all that follows, up to the next blank line */
    struct os_cond changed;
    struct os_cond scrub_wanted;   /* the scrub waits: for its time, or the end */
    bool scrub_stopping;
    struct segment *segments;
    size_t segment_count, segment_capacity;
    struct shared_file **files;
    size_t file_count, file_capacity;
    uint64_t durable, synced, submitted, epoch; /* synced: as durable, but never on the kernel's word alone */
    struct log_chain chain_durable, chain_submitted;
    uint64_t failures;             /* batches that failed: who encoded on top of one must not be queued */
    enum log_outcome last_failure; /* what those queued behind it are told */
    bool failed; /* since then only batches came that were built ahead: on top of the one that failed */
    struct job *queue_first, *queue_last;
    bool busy;                     /* somebody is at the disk, who has what stands below the blank line */
    bool napping;                  /* the thread waits without a deadline */
    bool stopping, writable, damaged;
    bool incomplete;               /* damage ends the log: behind `durable` there was more */
    bool copied;                   /* COPY_MADE_MARK stands in the folder */
    uint64_t idle_due_ns;          /* when idle work is due, if there is some */
    uint64_t sync_due_ns;          /* LOG_ASYNC: likewise the sync, also under load */
    char reason[ERROR_SIZE];
    struct log_counters counters;

    struct os_mutex tell_mutex; /* held while somebody is told */
    void (*tell)(void *user);   /* log_on_synced() */
    void *tell_user;

    struct os_thread scrub; /* of who opens and closes */

    struct os_thread thread; /* the rest is the writer thread's, or whoever holds `busy` */
    int file;                /* the last segment, -1: none */
    uint64_t end;            /* behind its last frame */
    uint64_t allocated;      /* its size on the disk, as far as we asked for */
    uint64_t floor;          /* highest one that stands in a frame or follows from a segment's first */
    uint64_t floor_tried;    /* the last one a FLOOR was tried for */
    bool unsynced;           /* LOG_ASYNC */
    int page_file;           /* durable.page, -1: none */
    uint64_t page_told;      /* what it says */
    uint8_t boot[FORMAT_BOOT_SIZE];
};

/* ---- file_log_segments.c ---- */

void segment_name(uint64_t first, char ret_name[SEGMENT_NAME_SIZE]);
/* "00000000000000000001.seg" → 1; 0 for any other name. */
uint64_t segment_parse_name(const char *name);
int segment_path(const struct file_log *log, uint64_t first, char ret_path[OS_PATH_SIZE_MAX]);
int segment_open(const struct file_log *log, uint64_t first, unsigned flags, int *ret_file);
/* Adds a segment at the end; the mutex is held, or nobody else knows the log yet. */
int segment_add(struct file_log *log, uint64_t first, uint64_t size);
/* A segment's file for one more reader, and one less. The mutex is held. */
int segment_acquire_file(struct file_log *log, const struct segment *segment, struct shared_file **ret_file);
void segment_release_file(struct file_log *log, struct shared_file *file);
/* Closes them all: no reader is left. */
void segment_close_files(struct file_log *log);
/* Forgets the segments from `index` on. */
void segments_drop(struct file_log *log, size_t index);
/* Remembers where a frame begins, if the last mark is far enough away. Failing to is no harm. */
void segment_mark(struct segment *segment, uint64_t position, uint64_t offset);
/* Nothing lies behind `size` any more. */
void segment_cut(struct segment *segment, uint64_t size);
/* The nearest known place at or before a position. */
struct mark segment_find(const struct segment *segment, uint64_t position);
/* The index of the segment that holds the position, or the last one; the log has one. */
size_t segment_index(const struct file_log *log, uint64_t position);

/* ---- file_log_scan.c ---- */

/* What opening found, before anything is changed. */
struct scan {
    uint64_t floor, tail;        /* F and T of docs/formats/log.md */
    uint64_t tail_end;           /* S: where the last good frame ends */
    uint64_t floor_end;          /* where the last frame of records at or below F ends: what lies behind it, a FLOOR too,
                                  * may never have reached the disk */
    uint64_t epoch;              /* the highest seen */
    struct log_chain chain_tail; /* after T */
    bool damaged;
    const char *what; /* static */
};

/* Scans the last segment, from its header on. 0, FILE_LOG_E_NEWER or -errno. */
int file_log_scan(struct file_log *log, int file, const struct format_segment *header, uint64_t file_size,
                  struct scan *ret_scan);

/* Reads headers and the last segment; sets segments, durable, submitted, chain, epoch, floor, end. Changes no file. */
int file_log_recover(struct file_log *log, struct buffer *names, struct scan *ret_scan, char *error);

/* Moves the chain over the records of a frame whose body was checked. */
void file_log_chain_over(const struct format_frame *frame, const uint8_t *data, struct log_chain *chain);

/* The list of segments as the folder has it now, nothing else looked at. For verify. */
int file_log_list_again(struct file_log *log);

/* ---- file_log_open.c ---- */

/* Notes damage and ends writing; the first one noted stays. The mutex is held or nobody else knows the log. */
void file_log_note_damage(struct file_log *log, uint64_t segment_first, uint64_t offset, const char *what);

/* ---- file_log_commit.c ---- */

int file_log_append(struct log *log, struct log_batch *batch);
int file_log_start_writer(struct file_log *log);
/* Ends the thread after everything queued; then writes the last floor. */
void file_log_stop_writer(struct file_log *log);

/* ---- file_log_disk.c: the caller is `busy`, or alone ---- */

/* One place, one sync for the jobs of a list, `size` bytes in all. Nothing is published. */
enum log_outcome file_log_write_group(struct file_log *log, const struct job *group, uint64_t size);
/* Says on the disk how far the records are durable, unless it says so already. */
int file_log_write_floor(struct file_log *log);
int file_log_sync(struct file_log *log);
/* Ends writing for good, with `what` and the failure as the reason (L4). */
void file_log_poison(struct file_log *log, const char *what, int failure);

/* ---- file_log_page.c ---- */

/* The writer's: opens the page and writes it; says how far records are durable now, unless it says so already (the caller
 * is `busy`, or alone); closes it. Nothing of that can fail: without a page, floors tell. */
void file_log_page_begin(struct file_log *log);
void file_log_page_tell(struct file_log *log);
void file_log_page_end(struct file_log *log);
/* A reader's: the highest position the page vouches for; 0: none, or it does not count. */
uint64_t file_log_page_read(const struct file_log *log);

/* ---- file_log_scrub.c ---- */

/* Starts the thread, if the options ask for one. */
int file_log_start_scrub(struct file_log *log);
/* Ends it at once. */
void file_log_stop_scrub(struct file_log *log);

/* ---- file_log_read.c ---- */

int file_log_reader_new(struct log *log, uint64_t after, struct log_reader **ret_reader);
/* Opened for reading: looks what is new in the files. The mutex is held. */
int file_log_refresh(struct file_log *log);
int file_log_chain_at(struct log *log, uint64_t position, struct log_chain *ret_chain);

/* ---- file_log_replace.c ---- */

int file_log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                     struct log_replaced *ret_replaced);

static inline struct file_log *file_log_of(struct log *log)
{
    return (struct file_log *)log;
}
