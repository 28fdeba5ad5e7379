/* Copying frames into a folder of segments, for file_log_backup.c and file_log_restore.c.
 *
 * Invariants:
 * C1 the folder's segments are at every moment those of a whole log, up to the last that stands.
 * C2 an append is copied whole or not at all.
 * C3 what does not hold, by checksum or by chain, is not copied: the copy ends before it and says where it is.
 */
#pragma once

#include "log/file_log_internal.h"

/* Stands in a folder that is being restored into; ends in .tmp so that the next writer removes one that was left. */
#define COPY_RESTORE_MARK "restore.tmp"

/* Stands in a log that was made from a copy until it is settled (log_settle()). */
#define COPY_MADE_MARK "copied"

struct copy {
    struct file_log *from; /* opened for reading, undamaged up to `until` */
    const struct os_file_ops *ops;
    const char *folder;
    uint64_t until;                         /* the last position wanted */
    uint64_t last;                          /* the last position that is in the folder */
    struct log_chain chain;                 /* after it */
    uint64_t previous_first, previous_size; /* of the folder's last segment; 0: it has none */
    uint64_t done, total;                   /* bytes of the source */
    void (*on_progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    struct file_log_copied report;
    struct buffer step;
    char error[ERROR_SIZE]; /* a sentence, when something does not hold */
};

/* Adds to the folder every append behind copy->last that ends at or before copy->until; fills in the report. 0 or -errno:
 * then the folder holds what the report says. */
int file_log_copy(struct copy *copy);

/* What stands in a log's folder, by its names. */
struct folder_content {
    bool head, segments, foreign;
    bool restoring; /* COPY_RESTORE_MARK */
    bool copied;    /* COPY_MADE_MARK */
};
struct folder_content file_log_look_into(const struct buffer *names);

/* Removes leftovers (.tmp, but for COPY_RESTORE_MARK), and segments too if asked to. */
int file_log_remove_names(const struct os_file_ops *ops, const char *folder, const struct buffer *names,
                          bool segments);

/* Writes log.head, and makes the folder's own name durable. */
int file_log_put_head(const struct os_file_ops *ops, const char *folder, const struct format_head *head);
