/* Checkpoints for auditors: signing how far a folder is, and holding what was signed against one. */
#include <sodium/utils.h>
#include <stdio.h>
#include <string.h>

#include "journal/tools_internal.h"
#include "os/clock.h"

enum { KEY_READ_SIZE_MAX = 256 * 1024 }; /* a file is read in steps; what is far too large is not read to its end */

int journal_key_read(const char *path, struct note_key *ret_key, char *ret_error)
{
    struct buffer content = {.size_max = KEY_READ_SIZE_MAX};
    int r = os_file_read_whole(os_file_real(), path, &content);

    if (r == -E2BIG || (r == 0 && (content.size > JOURNAL_KEY_FILE_SIZE_MAX ||
                                   note_key_parse(buffer_bytes(&content), ret_key) != 0)))
        r = JOURNAL_TOOLS_E_KEY;
    if (content.data)
        sodium_memzero(content.data, content.size);
    buffer_deinit(&content);
    if (r == JOURNAL_TOOLS_E_KEY && ret_error)
        snprintf(ret_error, 256, "%.150s holds no key for checkpoints; `daybook keygen` makes one", path);
    return r < 0 ? tools_fail(ret_error, r, "cannot read the key in", path) : r;
}

static int open_for_reading(const char *data_folder, struct log **ret_log, char *ret_error)
{
    struct file_log_options options = {.read_only = true};
    char folder[OS_PATH_SIZE_MAX];
    int r = tools_find_log(data_folder, folder);

    if (r < 0)
        return tools_fail(ret_error, r, "cannot use the path", data_folder);
    return file_log_open(folder, &options, ret_log, ret_error);
}

static int sign(struct log *log, const struct note_key *key, struct buffer *out)
{
    struct signed_checkpoint checkpoint = {.time_us = os_realtime_us()};
    struct log_status status;

    log_status(log, &status);
    checkpoint.position = status.head;
    memcpy(checkpoint.journal.bytes, status.id, sizeof(status.id));
    int r = log_chain_at(log, status.head, &checkpoint.chain);
    if (r != 0)
        return r < 0 ? r : -EBADMSG;
    return signed_checkpoint_write(&checkpoint, key, out);
}

int journal_sign(const char *data_folder, const struct note_key *key, struct buffer *out, char *ret_error)
{
    struct log *log;

    tools_wait_for_the_floor();
    int r = open_for_reading(data_folder, &log, ret_error);
    if (r != 0)
        return r;
    r = sign(log, key, out);
    (void)log_close(log);
    return r < 0 ? tools_fail(ret_error, r, "cannot sign what is in", data_folder) : 0;
}

int journal_audit(const char *data_folder, const struct signed_checkpoint *checkpoint,
                  struct journal_audit *ret_audit, char *ret_error)
{
    struct journal_audit audit = {.verdict = JOURNAL_TOO_SHORT};
    struct log_status status;
    struct log_chain chain;
    struct log *log;
    int r = open_for_reading(data_folder, &log, ret_error);

    if (r != 0)
        return r;
    log_status(log, &status);
    audit.head = status.head;
    audit.other_journal = memcmp(status.id, checkpoint->journal.bytes, sizeof(status.id)) != 0;
    if (checkpoint->position <= status.head) {
        r = log_chain_at(log, checkpoint->position, &chain);
        bool same = r == 0 && memcmp(chain.bytes, checkpoint->chain.bytes, LOG_CHAIN_SIZE) == 0;
        audit.verdict = same ? JOURNAL_CONTAINS : JOURNAL_DIFFERS;
    }
    (void)log_close(log);
    if (r != 0)
        return tools_fail(ret_error, r < 0 ? r : -EBADMSG, "cannot read", data_folder);
    *ret_audit = audit;
    return 0;
}
