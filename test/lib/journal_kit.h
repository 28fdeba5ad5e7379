/* journal_kit: short ways for tests to open a journal and to say what is to be appended and read. */
#pragma once

#include "journal/journal.h"
#include "lib/memory_log.h"

/* A span of a string; so that "x" can stand where bytes are asked for. */
#define B(text) bytes_from_string(text)

/* How many times as much a test is to do: DAYBOOK_TEST_EFFORT, 1 if that is not set. The long suites set it. */
unsigned kit_effort(void);

/* Open a journal on the store; fails the test when it cannot. */
struct journal *kit_open(struct memory_store *store, bool threaded);

/* The same, with an index on the disk in `folder`: in parts so small that a test meets many, and all that is done with
 * them. */
enum { KIT_INDEX_UNIT = 16 };
struct journal *kit_open_indexed(struct memory_store *store, bool threaded, const char *folder);

/* A new folder below $TMPDIR or /tmp, and its removal with everything in it. The path is the caller's to free by
 * kit_folder_remove(). */
char *kit_folder_new(void);
void kit_folder_remove(char *folder);

/* Open a journal on the file log in a folder, with small segments, so that a test meets many of them; likewise with an
 * index on the disk, in FOLDER/index, in small parts. */
struct journal *kit_open_file(const char *folder);
struct journal *kit_open_file_indexed(const char *folder);

/* Keys of subjects in a folder, for journal_options.vault. */
struct vault *kit_vault_open(const char *folder);
void kit_vault_close(struct vault *vault);

/* Hand a batch to a log and wait for its end: what log_append() answered. */
int kit_log_write(struct log *log, struct log_batch *batch, enum log_outcome *ret_outcome);

/* An event of `type` in `stream` ("": none) with tags separated by blanks ("": none) and JSON data. `tags_memory` has room
 * for the tags and lives as long as the event; so do the strings. */
struct journal_event_new kit_event(const char *stream, const char *type, const char *tags,
                                   struct bytes tags_memory[16], const char *data);

/* Append one such event and wait; the answer. `ret_result` may be NULL. */
int kit_append(struct journal *journal, const char *stream, const char *type, const char *tags,
               const char *data, struct journal_result *ret_result);

/* The same, guarded: fails if an event with all these tags stands after `after`. */
int kit_append_unless(struct journal *journal, const char *type, const char *tags, uint64_t after,
                      struct journal_result *ret_result);

/* A stream's version; fails the test when the index cannot be read. */
uint64_t kit_stream_version(struct journal *journal, struct bytes stream);

/* An append whose end can be waited for, with what it was told. */
struct kit_pending {
    struct journal_append append;
    struct journal_event_new event;
    struct bytes tags[16];
    struct journal_condition condition;
    struct journal_item item;
    struct journal_result result; /* streams and conflicts: NULL */
    struct kit_landing *landing;
    bool done;
};

/* Appends that end one after another. */
struct kit_landing;
struct kit_landing *kit_landing_new(void);
void kit_landing_free(struct kit_landing *landing);
/* Wait until so many have ended, at most 20 s: whether they have. */
bool kit_landing_wait(struct kit_landing *landing, size_t count);
size_t kit_landing_count(struct kit_landing *landing);

/* Submit an append of events, or guarded by `condition_tags` (NULL: not). The pending stays until it has ended. */
void kit_submit(struct journal *journal, struct kit_pending *pending, struct kit_landing *landing,
                const char *type, const char *tags, const char *condition_tags);
/* For an append that the test has filled in itself. */
void kit_submit_append(struct journal *journal, struct kit_pending *pending, struct kit_landing *landing);

/* Types of the events a reader shows, with a blank behind each: "A B ". The text is static. */
const char *kit_types(struct journal *journal, const struct journal_read *read);

/* journal_position_at() of a journal that can be read. */
uint64_t kit_position_at(struct journal *journal, int64_t time_us);
