/* The file of an import, read line by line or object by object. What is noted of it is in import_note.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli.h"
#include "import_file.h"
#include "import_note.h"
#include "os/random.h"
#include "stop.h"

enum { CHUNK_SIZE = 65536 };

/* ---- opening ---- */

/* A pipe may have nothing to say for long; who asks for the end does not wait for it: the end of the file comes then. */
static ssize_t read_pipe(void *cookie, char *data, size_t size)
{
    int fd = (int)(intptr_t)cookie;
    struct pollfd pipes[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd(), .events = POLLIN}};

    while (!stop_asked() && poll(pipes, 2, -1) < 0)
        if (errno != EINTR)
            return -1;
    return stop_asked() ? 0 : read(fd, data, size);
}

static int close_pipe(void *cookie)
{
    return (int)(intptr_t)cookie == STDIN_FILENO ? 0 : close((int)(intptr_t)cookie);
}

/* How many lines it has, and the hash of them all. */
static int survey(struct import_file *import)
{
    struct hash_blake_state state;
    char chunk[CHUNK_SIZE];
    size_t size;
    bool open_line = false;

    hash_blake_init(&state, (struct bytes){0});
    while ((size = fread(chunk, 1, sizeof chunk, import->file)) > 0) {
        hash_blake_update(&state, bytes_make(chunk, size));
        for (const char *at = chunk; !import->array && (at = memchr(at, '\n', size - (size_t)(at - chunk))); at++)
            import->line_count++;
        open_line = !import->array && chunk[size - 1] != '\n';
    }
    if (ferror(import->file))
        return cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(errno));
    rewind(import->file);
    import->line_count += open_line;
    import->content = hash_blake_final(&state);
    return CLI_DONE;
}

static int open_regular(struct import_file *import, int fd)
{
    import->file = fdopen(fd, "r");
    if (!import->file) {
        close(fd);
        return cli_error(CLI_FAILED, "no memory");
    }
    int code = import_note_open(import);
    return code == CLI_DONE ? survey(import) : code;
}

int import_file_open(struct import_file *import, const char *name, bool array)
{
    struct stat status;

    *import = (struct import_file){.name = name, .progress_fd = -1, .array = array};
    hash_blake_init(&import->seen, (struct bytes){0});
    int fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return cli_error(CLI_FAILED, "cannot read %s: %s", name, strerror(errno));
    if (fd != STDIN_FILENO && S_ISREG(status.st_mode))
        return open_regular(import, fd);
    import->file = fopencookie((void *)(intptr_t)fd, "r", (cookie_io_functions_t){.read = read_pipe, .close = close_pipe});
    if (!import->file && fd != STDIN_FILENO)
        close(fd);
    if (!import->file)
        return cli_error(CLI_FAILED, "no memory");
    return S_ISDIR(status.st_mode) ? cli_error(CLI_FAILED, "cannot read %s: %s", name, strerror(EISDIR)) : CLI_DONE;
}

void import_file_close(struct import_file *import)
{
    if (import->file)
        fclose(import->file);
    if (import->progress_fd >= 0)
        close(import->progress_fd);
    free(import->line);
    *import = (struct import_file){.progress_fd = -1};
}

/* ---- who it is ---- */

static void add_text(struct hash_blake_state *state, const char *text)
{
    hash_blake_update(state, bytes_make(text, strlen(text) + 1));
}

static int make_batch(struct import_file *import, const struct import_batch *batch)
{
    struct hash_blake_state state;
    _cleanup_(freep) char *path = realpath(import->name, NULL);

    if (!batch->name && (batch->restart || import->progress_fd < 0))
        return os_random(import->batch, sizeof import->batch) == 0 ? CLI_DONE : cli_error(CLI_FAILED, "no random bytes");
    hash_blake_init(&state, (struct bytes){0});
    add_text(&state, batch->name ? "import by name" : "import of a file");
    add_text(&state, batch->name ? batch->name : path ? path : import->name);
    if (!batch->name)
        hash_blake_update(&state, bytes_make(import->content.data, sizeof import->content.data));
    struct hash256 hash = hash_blake_final(&state);
    memcpy(import->batch, hash.data, sizeof import->batch);
    return CLI_DONE;
}

int import_file_begin(struct import_file *import, const struct import_batch *batch)
{
    struct import_note note = {0};
    bool noted = import->progress_fd >= 0;

    snprintf(import->journal, sizeof import->journal, "%s", batch->journal);
    int code = noted ? import_note_find(import, batch->restart, &note) : CLI_DONE;
    bool known = note.found && !batch->restart;
    if (code == CLI_DONE && known && !batch->name)
        memcpy(import->batch, note.batch, sizeof import->batch);
    else if (code == CLI_DONE)
        code = make_batch(import, batch);
    if (code != CLI_DONE)
        return code;
    if (known && memcmp(note.batch, import->batch, sizeof note.batch) == 0)
        return import_note_resume(import, &note, batch->head);
    import->fresh = noted && !batch->name && !batch->restart;
    return import_file_note(import, import->at, false);
}

/* ---- an array: objects are told apart by their braces, and are parsed by whom they are for ---- */

static int array_error(const struct import_file *import, const char *what)
{
    return -cli_error(CLI_NO, "%s, byte %" PRIu64 ": %s", import->name, import->at.offset, what);
}

/* The next byte that is no white space, or EOF. */
static int next_sign(struct import_file *import)
{
    int c;

    do {
        c = getc_unlocked(import->file);
        import->at.offset += c != EOF;
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

    for (int c = '{';; c = getc_unlocked(import->file), import->at.offset++) {
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
    int r = read_object(import, ret_object);
    import->at.lines += r > 0;
    return r;
}

/* ---- lines ---- */

/* 1 also for an empty line. */
static int next_line(struct import_file *import, struct bytes *ret_line)
{
    ssize_t size = getline(&import->line, &import->line_capacity, import->file);

    if (size < 0)
        return 0;
    import->at.offset += (uint64_t)size;
    import->at.lines++;
    while (size > 0 && strchr("\r\n \t", import->line[size - 1]) && import->line[size - 1])
        size--;
    if (size > IMPORT_LINE_SIZE_MAX)
        return -cli_error(CLI_NO, "%s:%" PRIu64 " is longer than 4 MiB", import->name, import->at.lines);
    *ret_line = bytes_make(import->line, (size_t)size);
    return 1;
}

static struct hash256 make_id(const struct import_file *import, struct bytes line)
{
    struct hash_blake_state state;
    uint8_t number[sizeof(uint64_t)];

    bytes_put_u64(number, import->at.lines);
    hash_blake_init(&state, bytes_make(import->batch, sizeof import->batch));
    hash_blake_update(&state, bytes_make(number, sizeof number));
    hash_blake_update(&state, line);
    return hash_blake_final(&state);
}

int import_file_next(struct import_file *import, struct bytes *ret_line, struct hash256 *ret_id)
{
    struct bytes line = {0};
    int r;

    do
        r = import->array ? next_object(import, &line) : next_line(import, &line);
    while (r > 0 && line.size == 0);
    if (ferror(import->file))
        return -cli_error(CLI_FAILED, "cannot read %s: %s", import->name, strerror(errno));
    if (r <= 0)
        return r;
    *ret_line = line;
    *ret_id = make_id(import, line);
    return 1;
}
