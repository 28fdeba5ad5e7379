/* tools: what is done with a journal beside serving it: backup, restore, verify, signed checkpoints, export and import.
 *
 * A data folder is what `daybook serve --data` takes: DATA/log holds the journal, everything else in it is derived. These
 * functions take either, DATA or the log's own folder. None of them needs the server to be stopped.
 */
#pragma once

#include <stdio.h>

#include "journal/cloudevents.h"
#include "journal/journal.h"
#include "journal/signed_checkpoint.h"
#include "log/file_log.h"

enum {
    JOURNAL_IMPORT_PENDING_COUNT_MAX = 1024, /* appends of an import on their way at once */
    JOURNAL_KEY_FILE_SIZE_MAX = 4096,        /* bytes of a file with a key for checkpoints */
};

/* Answers: those of file_log_open() and file_log_backup() (FILE_LOG_E_*), those of journal.h, and: */
enum {
    JOURNAL_TOOLS_E_LINE = 32, /* import: a line is no event, or was refused; the report says which and why */
    JOURNAL_TOOLS_E_KEY = 33,  /* a file has no key for checkpoints in it */
    JOURNAL_TOOLS_E_KEYS = 34, /* the copy is made, and lacks a key of a subject that its source lacks, too */
};

/* Told now and then: units done, units in all (0: unknown). */
typedef void journal_tools_progress(void *user, uint64_t done, uint64_t total);

/* Copy the journal of `data_folder`, also one that is being written to by another process, up to its durable head, into
 * `target`/log: what was acknowledged before the call is in the copy. `target` is made if it is missing; an earlier backup
 * of the same journal is continued, and only what is new is copied. It is a data folder at every moment; its first writer
 * gives it a new journal id. The keys of subjects and the fences go along (docs/erasure.md). 0; JOURNAL_TOOLS_E_KEYS; else as
 * file_log_backup(). `ret_error`: 256 bytes or NULL. */
int journal_backup(const char *data_folder, const char *target, journal_tools_progress *on_progress,
                   void *user, struct file_log_copied *ret_copied, char *ret_error);

/* How much of a journal: up to a position, or up to a time. */
struct journal_until {
    bool by_time;
    uint64_t position;
    int64_t time_us;
};
struct journal_restore_report {
    struct file_log_copied copied; /* head: the restored journal's */
    uint64_t source_head;
    int64_t time_us; /* of the last event restored; 0: there is none */
};

/* Make a new data folder from a backup, or any other data folder: all of it, or (`until` not NULL) up to the last whole
 * append at or before that position or time. The journal gets a new id, so that cursors and followers of the old one
 * notice; views and index are derived and made anew by who serves it. No body is in it that it says is scavenged (S4).
 * `data_folder` must be empty or missing, but for fences that journal_join_fences() put there. 0; else as
 * file_log_restore(). */
int journal_restore(const char *backup, const char *data_folder, const struct journal_until *until,
                    journal_tools_progress *on_progress, void *user, struct journal_restore_report *ret_report,
                    char *ret_error);

/* Add the fences of the data folder `from` to those of `data_folder`, which is made if it is missing and not being served:
 * what was erased there stays erased here. 0; FILE_LOG_E_NEWER, -errno; a sentence. */
int journal_join_fences(const char *from, const char *data_folder, char *ret_error);

struct journal_verify_report {
    struct file_log_report log; /* damage_count: damage of both kinds */
    uint64_t events, appends, streams;
};

/* Read everything and check it: the log's checksums and chain, then each event by the rules of docs/formats/event.md, and
 * that versions have no gaps, appends are whole, times do not go back and no id stands twice, and that no key is missing or damaged (K5). Its
 * memory does not grow with the journal; a long one needs 64 bytes an event in a temporary file (census.h). Each damage is told with
 * file and offset. Changes nothing and needs no lock; of a journal being written to, it checks what is durable. 0: read to
 * the end, report.log.acknowledged_count says how it is; else as file_log_open(). */
int journal_verify(const char *data_folder,
                   void (*on_damage)(void *user, const struct file_log_damage *damage),
                   journal_tools_progress *on_progress, void *user, struct journal_verify_report *ret_report,
                   char *ret_error);

/* Read a key of signed checkpoints from a file: its first line is the key, public or private (base/note.h). 0;
 * JOURNAL_TOOLS_E_KEY: there is none in it; -errno. */
int journal_key_read(const char *path, struct note_key *ret_key, char *ret_error);

/* Sign how far a data folder's journal is durable, also of one that is being written to, as the owner of `key`: the note is
 * appended to `out`. 0; else as file_log_open(). */
int journal_sign(const char *data_folder, const struct note_key *key, struct buffer *out, char *ret_error);

/* Whether a journal still contains what was signed. */
enum journal_verdict {
    JOURNAL_CONTAINS,  /* the chain at that position is the one that was signed */
    JOURNAL_DIFFERS,   /* it is another one: something before it was changed, left out or put in */
    JOURNAL_TOO_SHORT, /* the journal ends before that position */
};
struct journal_audit {
    enum journal_verdict verdict;
    uint64_t head;
    bool other_journal; /* it was signed by a journal with another id: the one this was restored from, or a stranger */
};
/* Hold a checkpoint against a data folder. It compares with the chain as it stands in the folder: that the chain is the one
 * of the records is what journal_verify() finds out. 0; else as file_log_open(). */
int journal_audit(const char *data_folder, const struct signed_checkpoint *checkpoint,
                  struct journal_audit *ret_audit, char *ret_error);

/* What was found in the index on the disk, or made of it. */
struct journal_index_report {
    uint64_t events;        /* of the log, looked at */
    uint64_t runs, bytes;   /* files of the index */
    uint64_t checkpoint;    /* the last position that is in them; what comes behind it is read at every opening */
    uint64_t damage_count;  /* verify: what is wrong in them */
};

/* Of the index's part of a data folder, DATA/index (of a log's own folder: "index" beside it). */
struct journal_index_options {
    const struct os_file_ops *file; /* NULL: the real kernel */
    uint32_t unit;                  /* as journal_options.index_unit */
};

/* Throw the index of a data folder away and make it anew from the log. It gives the same bytes as the index has that grew
 * with the journal, once its thread has nothing more to do. The journal must not be in use: FILE_LOG_E_LOCKED. 0; else as
 * file_log_open(), or -errno. `options` may be NULL; progress counts positions. */
int journal_rebuild_index(const char *data_folder, const struct journal_index_options *options,
                          journal_tools_progress *on_progress, void *user, struct journal_index_report *ret_report,
                          char *ret_error);

/* Hold the index of a data folder against its log: each stream, type, tag, id and key of each event must lead to it, and
 * nothing else may stand there. Changes nothing and needs no lock. Each fault is told with the file (its name) and the
 * first position concerned, 0: unknown. What is damaged may be deleted; the journal makes it again. 0: read to the end,
 * damage_count says how it is; else as file_log_open(), or -errno. Log and index are each read once, from beginning to end;
 * memory is 48 bytes a unit of the largest file beside a fixed size. */
int journal_verify_index(const char *data_folder, const struct journal_index_options *options,
                         void (*on_damage)(void *user, const char *file, uint64_t position, const char *what),
                         journal_tools_progress *on_progress, void *user, struct journal_index_report *ret_report,
                         char *ret_error);

/* Write what `read` shows to `out` as NDJSON, an event a line (event_json.h). 0 and how many; -errno: `out` could not be
 * written, or the journal not be read. */
int journal_export(struct journal *journal, const struct journal_read *read, FILE *out, uint64_t *ret_count);

struct journal_import_report {
    uint64_t lines, events, replayed;
    uint64_t line_failed; /* JOURNAL_TOOLS_E_LINE: from 1 */
    char detail[256];
};

/* Append the events of an export, one append a line, in the order of the lines, many on their way at once. Events that are
 * there already with the same content are counted as replayed, so that an import can be repeated after a failure. It ends
 * with the first line that is refused; lines behind it are not appended unless they were on their way already. Answers
 * JOURNAL_TOOLS_E_LINE, JOURNAL_E_* of the append that failed, or -errno; the report is filled in always. */
int journal_import(struct journal *journal, FILE *in, bool system, struct journal_import_report *ret_report);
