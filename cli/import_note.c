/* FILE.progress: lines of NOTE_SIZE bytes, padded with blanks, so that one write replaces one of them as a whole. Each is a JSON
 * object whose last member, "check", is the CRC-32C of all before it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "import_note.h"

enum { NOTE_SIZE = 512, NAME_SIZE_MAX = 4096, CHUNK_SIZE = 65536 };
#define CHECK ",\"check\":\""

int import_note_open(struct import_file *import)
{
    char name[NAME_SIZE_MAX];

    if (snprintf(name, sizeof name, "%s.progress", import->name) >= (int)sizeof name)
        return cli_error(CLI_USAGE, "the name %s is too long", import->name);
    import->progress_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (import->progress_fd < 0)
        return cli_error(CLI_FAILED, "cannot note the progress in %s: %s", name, strerror(errno));
    if (flock(import->progress_fd, LOCK_EX | LOCK_NB) < 0)
        return cli_error(CLI_NO, "another import of %s is under way", import->name);
    return CLI_DONE;
}

/* ---- reading one ---- */

static bool read_number(struct json_value note, const char *key, uint64_t *ret_number)
{
    return json_u64(json_get(note, key), ret_number) == 0;
}

static bool read_hex(struct json_value note, const char *key, void *data, size_t size)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {0};
    struct bytes text;

    if (!json_string_plain(json_get(note, key), &text) || hex_decode(text, &bytes) != 0 || bytes.size != size)
        return false;
    memcpy(data, bytes.data, size);
    return true;
}

static bool check_holds(struct bytes line)
{
    char wanted[sizeof CHECK + 16];
    const uint8_t *at = memmem(line.data, line.size, CHECK, strlen(CHECK));

    if (!at)
        return false;
    int size = snprintf(wanted, sizeof wanted, CHECK "%08" PRIx32 "\"}",
                        crc32c(bytes_make(line.data, (size_t)(at - line.data))));
    return bytes_starts_with(bytes_slice(line, (size_t)(at - line.data), line.size), bytes_make(wanted, (size_t)size));
}

static bool read_members(struct json_value json, struct import_note *note)
{
    struct import_counts *counts = &note->counts;

    return json_bool(json_get(json, "complete"), &note->complete) == 0 &&
           read_hex(json, "import", note->batch, sizeof note->batch) && read_number(json, "lines", &note->done.lines) &&
           read_number(json, "offset", &note->done.offset) &&
           read_hex(json, "seen", note->seen.data, sizeof note->seen.data) &&
           read_number(json, "accepted", &counts->accepted) && read_number(json, "refused", &counts->refused) &&
           read_number(json, "replayed", &counts->replayed) && read_number(json, "before", &counts->before) &&
           read_number(json, "gone", &counts->gone) && read_number(json, "position", &counts->position);
}

/* Is this line a note? Whether it is about the journal shows in note->found. */
static bool read_line(const struct import_file *import, struct bytes line, struct import_note *note)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct import_note found = {0};

    if (!check_holds(line) || json_parse(line, &doc, NULL) != 0 || !read_members(json_root(&doc), &found))
        return false;
    found.found = json_string_equals(json_get(json_root(&doc), "journal"), import->journal);
    if (found.found)
        *note = found;
    return true;
}

int import_note_find(struct import_file *import, bool ignored, struct import_note *ret_note)
{
    char text[NOTE_SIZE];
    struct import_note note = {0};
    ssize_t size;

    for (import->slot = 0; (size = pread(import->progress_fd, text, sizeof text, import->slot)) > 0; import->slot += NOTE_SIZE) {
        bool whole = size == NOTE_SIZE && read_line(import, bytes_make(text, (size_t)size), &note);
        if (whole && !note.found)
            continue;
        if (whole || ignored)
            break; /* one that is damaged is written anew */
        return cli_error(CLI_NO,
                         "%s.progress is damaged (line %" PRId64 "): what was imported cannot be told. Without it %s is sent whole, and "
                         "what is in the journal under this name and content is not stored twice; --restart stores all of it anew",
                         import->name, import->slot / NOTE_SIZE + 1, import->name);
    }
    if (size < 0)
        return cli_error(CLI_FAILED, "cannot read %s.progress: %s", import->name, strerror(errno));
    *ret_note = note;
    return CLI_DONE;
}

/* ---- what was seen of the file ---- */

/* Lead the hash to `offset`: it is read once more, from memory. 1: the file is shorter. */
static int see(struct import_file *import, uint64_t offset)
{
    char chunk[CHUNK_SIZE];

    while (import->seen_size < offset) {
        uint64_t left = offset - import->seen_size;
        ssize_t size = pread(fileno(import->file), chunk, left < sizeof chunk ? (size_t)left : sizeof chunk, (off_t)import->seen_size);
        if (size < 0)
            return -errno;
        if (size == 0)
            return 1;
        hash_blake_update(&import->seen, bytes_make(chunk, (size_t)size));
        import->seen_size += (uint64_t)size;
    }
    return 0;
}

static struct hash256 seen_hash(const struct import_file *import)
{
    struct hash_blake_state copy = import->seen;

    return hash_blake_final(&copy);
}

/* The end of a last line that had none when it was imported, if it has one now: 0, 1 or 2 bytes. < 0: it goes on otherwise, so
 * that it was another line. */
static int line_end_size(const struct import_file *import, uint64_t offset)
{
    char around[3];
    ssize_t size = offset > 0 && !import->array ? pread(fileno(import->file), around, sizeof around, (off_t)offset - 1) : 0;

    if (size < 2 || around[0] == '\n')
        return 0;
    if (around[1] == '\n')
        return 1;
    return size == 3 && around[1] == '\r' && around[2] == '\n' ? 2 : -1;
}

static int is_other(const struct import_file *import, const char *how)
{
    return cli_error(CLI_NO,
                     "%s is not the file that was imported under this name, of which %s.progress tells: it %s. Nothing was sent. "
                     "--restart imports it as another one; so does another name",
                     import->name, import->name, how);
}

int import_note_resume(struct import_file *import, const struct import_note *note, uint64_t head)
{
    int r = see(import, note->done.offset);
    struct hash256 hash = seen_hash(import);

    if (r < 0)
        return cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(-r));
    if (r > 0)
        return is_other(import, "is shorter than what was imported");
    if (!hash256_equal(hash, note->seen))
        return is_other(import, "begins otherwise");
    int end = line_end_size(import, note->done.offset);
    if (end < 0)
        return is_other(import, "goes on within the last line that was imported");
    import->resumed = true;
    if (head < note->counts.position) {
        hash_blake_init(&import->seen, (struct bytes){0});
        import->seen_size = 0;
        cli_error(CLI_DONE, "the journal is at position %" PRIu64 ", behind %" PRIu64 " where this import was: all of %s is sent again",
                  head, note->counts.position, import->name);
        return CLI_DONE;
    }
    import->at = import->done = note->done;
    import->counts = note->counts;
    import->complete = note->complete;
    import->begun = import->array && note->done.offset > 0;
    import->at.offset += (uint64_t)end;
    return fseeko(import->file, (off_t)import->at.offset, SEEK_SET) == 0
               ? CLI_DONE
               : cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(errno));
}

/* ---- writing one ---- */

static int write_note(const struct import_file *import, bool complete, char text[NOTE_SIZE])
{
    _cleanup_(buffer_deinit) struct buffer note = {0}, batch = {0}, seen = {0};
    const struct import_counts *counts = &import->counts;
    struct hash256 hash = seen_hash(import);
    int r = hex_encode(bytes_make(import->batch, sizeof import->batch), &batch);

    r = error_first(r, hex_encode(bytes_make(hash.data, sizeof hash.data), &seen));
    r = error_first(r, buffer_printf(&note,
                                     "{\"journal\":\"%s\",\"import\":\"%.*s\",\"complete\":%s,\"lines\":%" PRIu64
                                     ",\"offset\":%" PRIu64 ",\"seen\":\"%.*s\",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64
                                     ",\"replayed\":%" PRIu64 ",\"before\":%" PRIu64 ",\"gone\":%" PRIu64 ",\"position\":%" PRIu64,
                                     import->journal, BYTES_PRINT(buffer_bytes(&batch)), complete ? "true" : "false",
                                     import->done.lines, import->done.offset, BYTES_PRINT(buffer_bytes(&seen)), counts->accepted,
                                     counts->refused, counts->replayed, counts->before, counts->gone, counts->position));
    r = error_first(r, buffer_printf(&note, CHECK "%08" PRIx32 "\"}", crc32c(buffer_bytes(&note))));
    if (r < 0 || note.size >= NOTE_SIZE)
        return r < 0 ? r : -E2BIG;
    memset(text, ' ', NOTE_SIZE);
    memcpy(text, note.data, note.size);
    text[NOTE_SIZE - 1] = '\n';
    return 0;
}

int import_file_note(struct import_file *import, struct import_place place, bool complete)
{
    char text[NOTE_SIZE];

    import->done = place;
    if (import->progress_fd < 0)
        return CLI_DONE;
    int r = see(import, place.offset);
    if (r > 0)
        return cli_error(CLI_FAILED, "%s became shorter while it was imported", import->name);
    if (r == 0)
        r = write_note(import, complete, text);
    if (r == 0 && pwrite(import->progress_fd, text, NOTE_SIZE, import->slot) != NOTE_SIZE)
        r = errno ? -errno : -EIO;
    return r == 0 ? CLI_DONE
                  : cli_error(CLI_FAILED, "cannot note the progress in %s.progress: %s", import->name, strerror(-r));
}
