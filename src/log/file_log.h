/* file_log: the log as a folder of files.
 *
 *     FOLDER/log.head            magic, format, id, term key                     (docs/formats/log.md)
 *     FOLDER/00000000000000000001.seg …   segments, named by their first position
 *     FOLDER/writer.lock         one writer at a time
 *     FOLDER/durable.page        how far records are durable, for readers in other processes
 *
 * Opening finds the highest durable floor anywhere in the segments: a torn tail above it is cut and zeroed, damage at or
 * below it opens the log read-only with file and offset in log_status().reason (P6), and reading to its end ends in
 * -EBADMSG and not as if nothing had followed. After a failed sync the tail above
 * the floor is written and synced again on opening instead of trusted from the page cache (P7).
 */
#pragma once

#include "log/log.h"
#include "os/file.h"

/* Answers of file_log_open(). */
enum {
    FILE_LOG_E_LOCKED = 16,  /* another process writes here */
    FILE_LOG_E_NEWER = 17,   /* a file carries a newer format; `error` names it */
    FILE_LOG_E_DAMAGED = 18, /* not even readable: log.head is broken or missing beside segments */
    FILE_LOG_E_MISSING = 19, /* read_only and nothing there */
    FILE_LOG_E_EXISTS = 20,  /* backup, restore: there is something else in the target folder */
    FILE_LOG_E_DIVERGED = 21, /* backup: the target is of another log, or of another past of this one */
};

struct file_log_options {
    const struct os_file_ops *file; /* NULL: the real kernel */
    uint64_t segment_size;          /* bytes; 0: 64 MiB; 64 KiB … 4 GiB */
    enum log_durability durability;
    bool read_only;                 /* no lock, no repair; sees what is durable in the files at each look */
    uint32_t idle_floor_ms;         /* idleness after which the floor is written; 0: 100 */
    const uint8_t *id;              /* make a new log with this id (a follower's); NULL: a new one */
    const uint8_t *key;             /* likewise the term key; NULL: a new one */
    uint64_t scrub_rate;            /* bytes a second that a writer's log reads again in the background, in passes over all
                                     * of it; 0: it does not. Damage it finds is as damage that a reader finds */
    uint32_t scrub_rest_ms;         /* from one pass to the next; 0: an hour */
    /* Told once, when damage is first met: while opening, or later by whoever reads. Whoever meets it calls, so: be quick,
     * and leave the log alone. May be NULL. */
    void (*on_damage)(void *user, const char *sentence);
    void *user;
};

/* Open the log in `folder` (made if missing, unless read_only). `ret_error` (may be NULL; 256 bytes) gets a sentence that
 * says what is wrong and what to do. Answers as above, or -errno. */
int file_log_open(const char *folder, const struct file_log_options *options, struct log **ret_log, char *ret_error);

/* Where the frame begins that the last record of this reader came from: name of the file in the folder, byte offset in it.
 * For readers of file logs only; before the first record: "" and 0. */
void file_log_reader_place(const struct log_reader *reader, char ret_file[64], uint64_t *ret_offset);

/* What verify found. */
struct file_log_damage {
    char file[64];    /* name in the folder */
    uint64_t offset;  /* bytes from its start */
    uint64_t position; /* first position concerned, 0: unknown */
    bool acknowledged; /* at or below the durable floor */
    char what[128];    /* "body checksum differs", "chain does not continue", … */
};
struct file_log_report {
    uint64_t records, frames, segments, bytes, head, floor;
    struct log_chain chain; /* after the last good record */
    size_t damage_count;       /* all of them, also those not reported */
    size_t acknowledged_count; /* those of them at or below the durable floor: the others are what a crash leaves */
};

/* Read everything, check every checksum and the whole chain. `on_damage` and `on_progress` (bytes done, bytes in all) may
 * be NULL. 0: read to the end (damage_count says how it is); else as file_log_open(). Needs no lock, changes nothing. */
int file_log_verify(const char *folder, const struct os_file_ops *file,
                    void (*on_damage)(void *user, const struct file_log_damage *damage),
                    void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                    struct file_log_report *ret_report, char *ret_error);

/* What a copy came to. */
struct file_log_copied {
    uint64_t head_before, head; /* last position in the target, before and now */
    uint64_t bytes, segments;   /* written */
};

/* Copy a log, also one that is being written to, up to its durable head, into the folder `target`: a new one, or one that
 * an earlier backup of the same log made, to which only what is new is added. The target is at every moment a log that can
 * be opened and verified, up to the position it has reached, whatever is interrupted; the same call again goes on there.
 * It gets a new id from the first writer that opens it, and is no backup any more then. Each frame's checksums and chain
 * are checked on the way. 0; FILE_LOG_E_EXISTS, _DIVERGED, _LOCKED: the target is not for this log, or in use; -EBADMSG when
 * the source or target is damaged; else as file_log_open(). `ret_error` (256 bytes or NULL) says what and where. */
int file_log_backup(const char *source, const char *target, const struct os_file_ops *file,
                    void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                    struct file_log_copied *ret_copied, char *ret_error);

/* Make a new log in the folder `target`, which must be empty or missing, from a backup or any other log: all of it, or up
 * to the last whole append at or before position `until`. It has an id of its own at once. Interrupted, it does not open,
 * and the same call again begins anew. 0; FILE_LOG_E_EXISTS: the target holds something; -EBADMSG: the source is damaged
 * at or before `until`; else as file_log_open(). */
int file_log_restore(const char *source, const char *target, const struct os_file_ops *file, uint64_t until,
                     void (*on_progress)(void *user, uint64_t done, uint64_t total), void *user,
                     struct file_log_copied *ret_copied, char *ret_error);
