/* The file of an import and the note of how far it has come. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli.h"
#include "import_file.h"

enum { NOTE_SIZE = 512 }; /* bytes; padded with spaces, so that one write replaces the whole note */

static uint64_t member(struct json_value object, const char *key)
{
    uint64_t number = 0;

    (void)!json_u64(json_get(object, key), &number);
    return number;
}

/* Take over an earlier import's note, if it is about the same journal. */
static void read_note(struct import_file *import)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    char text[NOTE_SIZE];
    ssize_t size = pread(import->progress_fd, text, sizeof text, 0);
    bool complete = false;

    if (size <= 0 || json_parse(bytes_make(text, (size_t)size), &doc, NULL) != 0)
        return;
    struct json_value note = json_root(&doc);
    if (!json_string_equals(json_get(note, "journal"), import->journal))
        return;
    import->offset = member(note, "offset");
    import->counts = (struct import_counts){.lines = member(note, "lines"),
                                            .accepted = member(note, "accepted"),
                                            .refused = member(note, "refused"),
                                            .replayed = member(note, "replayed"),
                                            .gone = member(note, "gone"),
                                            .position = member(note, "position")};
    import->complete = json_bool(json_get(note, "complete"), &complete) == 0 && complete;
}

int import_file_note(struct import_file *import, bool complete)
{
    char text[NOTE_SIZE];

    if (import->progress_fd < 0)
        return CLI_DONE;
    int size = snprintf(text, sizeof text,
                        "{\"journal\":\"%s\",\"complete\":%s,\"lines\":%" PRIu64 ",\"offset\":%" PRIu64
                        ",\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"replayed\":%" PRIu64 ",\"gone\":%" PRIu64
                        ",\"position\":%" PRIu64 "}",
                        import->journal, complete ? "true" : "false", import->counts.lines, import->offset,
                        import->counts.accepted, import->counts.refused, import->counts.replayed, import->counts.gone,
                        import->counts.position);
    memset(text + size, ' ', sizeof text - (size_t)size);
    text[NOTE_SIZE - 1] = '\n';
    if (pwrite(import->progress_fd, text, NOTE_SIZE, 0) != NOTE_SIZE)
        return cli_error(CLI_FAILED, "cannot note the progress in %s.progress: %s", import->name,
                         strerror(errno));
    return CLI_DONE;
}

static uint64_t count_lines(FILE *file)
{
    char chunk[65536];
    uint64_t count = 0;
    size_t size;
    bool open_line = false;

    while ((size = fread(chunk, 1, sizeof chunk, file)) > 0) {
        for (const char *at = chunk; (at = memchr(at, '\n', size - (size_t)(at - chunk))); at++)
            count++;
        open_line = chunk[size - 1] != '\n';
    }
    rewind(file);
    return count + open_line;
}

/* Read over what was answered before, so that the hash of what was seen is the same again. */
static int skip(struct import_file *import)
{
    uint64_t until = import->offset;
    struct import_counts counts = import->counts;
    struct bytes line;
    struct hash256 seen;

    import->offset = 0;
    import->counts.lines = 0;
    while (import->offset < until) {
        int r = import_file_next(import, &line, &seen);
        if (r < 0)
            return -r;
        if (r == 0)
            break;
    }
    if (import->offset != until)
        return cli_error(
            CLI_NO, "%s has changed since its import was interrupted (%s.progress); --restart begins anew",
            import->name, import->name);
    import->counts = counts;
    return CLI_DONE;
}

int import_file_open(struct import_file *import, const char *name, const char *journal, bool restart, bool array)
{
    char note_name[4096];

    *import = (struct import_file){.name = name, .progress_fd = -1, .array = array};
    snprintf(import->journal, sizeof import->journal, "%s", journal);
    hash_blake_init(&import->seen, (struct bytes){0});
    if (strcmp(name, "-") == 0) {
        import->file = stdin;
        return CLI_DONE;
    }
    import->file = fopen(name, "re");
    if (!import->file)
        return cli_error(CLI_FAILED, "cannot read %s: %s", name, strerror(errno));
    struct stat status;
    if (fstat(fileno(import->file), &status) < 0 || !S_ISREG(status.st_mode))
        return CLI_DONE; /* a pipe: read once, as it comes */
    import->line_count = array ? 0 : count_lines(import->file);
    if (snprintf(note_name, sizeof note_name, "%s.progress", name) >= (int)sizeof note_name)
        return cli_error(CLI_USAGE, "the name %s is too long", name);
    import->progress_fd = open(note_name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (import->progress_fd < 0)
        return cli_error(CLI_FAILED, "cannot note the progress in %s: %s", note_name, strerror(errno));
    if (restart)
        return CLI_DONE;
    read_note(import);
    return import->complete ? CLI_DONE : skip(import);
}

void import_file_close(struct import_file *import)
{
    if (import->file && import->file != stdin)
        fclose(import->file);
    if (import->progress_fd >= 0)
        close(import->progress_fd);
    free(import->line);
    *import = (struct import_file){.progress_fd = -1};
}

/* ---- an array: objects are told apart by their braces, and are parsed by whom they are for ---- */

static int array_error(const struct import_file *import, const char *what)
{
    return -cli_error(CLI_NO, "%s, byte %" PRIu64 ": %s", import->name, import->offset, what);
}

/* The next byte that is no white space, or EOF. */
static int next_sign(struct import_file *import)
{
    int c;

    do {
        c = getc_unlocked(import->file);
        import->offset += c != EOF;
    } while (c == ' ' || c == '\t' || c == '\r' || c == '\n');
    return c;
}

static int keep(struct import_file *import, size_t size, int c)
{
    if (size == import->line_capacity) {
        size_t capacity = size ? size * 2 : 4096;
        char *line = realloc(import->line, capacity);
        if (!line)
            return -cli_error(CLI_FAILED, "no memory");
        import->line = line;
        import->line_capacity = capacity;
    }
    import->line[size] = (char)c;
    return 0;
}

/* The rest of an object whose brace has been read; a brace in a string is none. */
static int read_object(struct import_file *import, struct bytes *ret_object)
{
    size_t size = 0, depth = 0;
    bool in_string = false, escaped = false;

    for (int c = '{';; c = getc_unlocked(import->file), import->offset++) {
        if (c == EOF)
            return array_error(import, "the file ends within an event");
        if (size == IMPORT_LINE_SIZE_MAX)
            return array_error(import, "an event is longer than 4 MiB");
        int r = keep(import, size++, c);
        if (r < 0)
            return r;
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        in_string = c == '"';
        depth += c == '{';
        depth -= c == '}';
        if (depth == 0)
            break;
    }
    *ret_object = bytes_make(import->line, size);
    return 1;
}

/* As import_file_next(), but for the hash. */
static int next_object(struct import_file *import, struct bytes *ret_object)
{
    int c = next_sign(import);

    if (!import->begun) {
        if (c != '[')
            return array_error(import, "a batch of CloudEvents is an array, and begins with [");
        import->begun = true;
        c = next_sign(import);
        import->ended = c == ']';
    } else if (!import->ended) {
        import->ended = c == ']';
        if (!import->ended && c != ',')
            return array_error(import, "a comma or ] is expected behind an event");
        if (!import->ended)
            c = next_sign(import);
    } else if (c != EOF) {
        return array_error(import, "nothing may stand behind the array");
    }
    if (import->ended)
        return c == EOF || (c = next_sign(import)) == EOF ? 0 : array_error(import, "nothing may stand behind the array");
    if (c != '{')
        return array_error(import, c == EOF ? "the file ends before its array" : "an event is an object, and begins with {");
    return read_object(import, ret_object);
}

static int next_array_line(struct import_file *import, struct bytes *ret_line, struct hash256 *ret_seen)
{
    int r = next_object(import, ret_line);

    if (ferror(import->file))
        return -cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(errno));
    if (r <= 0)
        return r;
    import->counts.lines++;
    hash_blake_update(&import->seen, *ret_line);
    struct hash_blake_state copy = import->seen;
    *ret_seen = hash_blake_final(&copy);
    return 1;
}

int import_file_next(struct import_file *import, struct bytes *ret_line, struct hash256 *ret_seen)
{
    if (import->array)
        return next_array_line(import, ret_line, ret_seen);
    for (;;) {
        ssize_t size = getline(&import->line, &import->line_capacity, import->file);
        if (size < 0) {
            if (ferror(import->file))
                return -cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(errno));
            return 0;
        }
        import->offset += (uint64_t)size;
        import->counts.lines++;
        struct bytes line = bytes_make(import->line, (size_t)size);
        hash_blake_update(&import->seen, line);
        while (line.size > 0 && strchr("\r\n \t", line.data[line.size - 1]))
            line.size--;
        if (line.size == 0)
            continue;
        if (line.size > IMPORT_LINE_SIZE_MAX)
            return -cli_error(CLI_NO, "%s:%" PRIu64 " is longer than 4 MiB", import->name,
                              import->counts.lines);
        struct hash_blake_state copy = import->seen;
        *ret_seen = hash_blake_final(&copy);
        *ret_line = line;
        return 1;
    }
}
