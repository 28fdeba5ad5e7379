#include "view/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/utf8.h"
#include "view/carry.h"

/* Once there is a file, it is written to in pieces of this size. */
#define PIECE_SIZE ((size_t)256 * 1024)

/* --- the file ----------------------------------------------------------------------------------------------------------------- */

static int write_all(int fd, struct bytes bytes)
{
    while (bytes.size > 0) {
        ssize_t n = write(fd, bytes.data, bytes.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes = bytes_slice(bytes, (size_t)n, bytes.size);
    }
    return 0;
}

static int spill(struct rows *rows)
{
    if (rows->fd < 0) {
        rows->fd = open(rows->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (rows->fd < 0)
            return -errno;
    }
    int r = write_all(rows->fd, buffer_bytes(&rows->buffer));
    if (r < 0)
        return r;
    rows->file_size += rows->buffer.size;
    buffer_clear(&rows->buffer);
    return rows->file_size > rows->size_max ? ROWS_E_TOO_LARGE : 0;
}

static int spill_if_full(struct rows *rows)
{
    return rows->buffer.size < (rows->fd < 0 ? rows->memory_max : PIECE_SIZE) ? 0 : spill(rows);
}

/* --- columns ------------------------------------------------------------------------------------------------------------------ */

static int add_csv(struct buffer *out, struct bytes text)
{
    bool quote = text.size == 0; /* an empty text is "", nothing at all is null */
    for (size_t i = 0; !quote && i < text.size; i++)
        quote = text.data[i] == '"' || text.data[i] == ',' || text.data[i] == '\n' || text.data[i] == '\r';
    if (!quote)
        return buffer_append_bytes(out, text);
    int r = buffer_append_byte(out, '"');
    for (size_t i = 0; r == 0 && i < text.size; i++)
        r = text.data[i] == '"' ? buffer_append_string(out, "\"\"") : buffer_append_byte(out, text.data[i]);
    return r < 0 ? r : buffer_append_byte(out, '"');
}

static int write_json_text(struct buffer *out, struct bytes text)
{
    struct json_writer w = json_writer(out);
    json_write_bytes(&w, text);
    return json_write_end(&w);
}

static int init_column(struct rows_column *column, sqlite3_stmt *statement, int index)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct bytes name = bytes_from_string(sqlite3_column_name(statement, index));
    column->form = relation_form_of(sqlite3_column_decltype(statement, index));
    int r = write_json_text(&text, name);
    if (r == 0)
        r = buffer_append_byte(&text, ':');
    if (r < 0)
        return r;
    column->key = bytes_dup_string(buffer_bytes(&text));
    buffer_clear(&text);
    r = add_csv(&text, name);
    if (r < 0)
        return r;
    column->title = bytes_dup_string(buffer_bytes(&text));
    return column->key && column->title ? 0 : -ENOMEM;
}

static int write_titles(struct rows *rows)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < rows->column_count; i++) {
        if (i > 0)
            r = buffer_append_byte(&rows->buffer, ',');
        if (r == 0)
            r = buffer_append_string(&rows->buffer, rows->columns[i].title);
    }
    return r < 0 ? r : buffer_append_string(&rows->buffer, "\r\n");
}

int rows_init(struct rows *rows, enum view_format format, const char *folder, uint64_t size_max,
              size_t memory_max, sqlite3_stmt *statement)
{
    int count = sqlite3_column_count(statement);
    *rows = (struct rows){.format = format, .folder = folder, .size_max = size_max, .memory_max = memory_max, .fd = -1};
    buffer_init(&rows->buffer, size_max);
    rows->columns = calloc((size_t)count + 1, sizeof(struct rows_column));
    if (!rows->columns)
        return -ENOMEM;
    for (int i = 0; i < count; i++) {
        rows->column_count++;
        int r = init_column(&rows->columns[i], statement, i);
        if (r < 0)
            return r;
    }
    switch (format) {
    case VIEW_JSON: return buffer_append_byte(&rows->buffer, '[');
    case VIEW_CSV: return write_titles(rows);
    case VIEW_NDJSON: break;
    }
    return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------------------- */

static struct bytes column_bytes(sqlite3_stmt *statement, int index)
{
    const void *data = sqlite3_column_type(statement, index) == SQLITE_BLOB
                           ? sqlite3_column_blob(statement, index)
                           : sqlite3_column_text(statement, index);
    return bytes_make(data, data ? (size_t)sqlite3_column_bytes(statement, index) : 0);
}

static int write_base64(struct buffer *out, struct bytes blob)
{
    int r = buffer_append_byte(out, '"');
    if (r == 0)
        r = base64_encode(blob, out);
    return r < 0 ? r : buffer_append_byte(out, '"');
}

/* What JSON and CSV have no number for; SQLite has no NaN, it is null from the start. */
static const char *infinity_of(double number)
{
    return !isinf(number) ? NULL : number > 0 ? "Infinity" : "-Infinity";
}

static int write_double(struct buffer *out, double number)
{
    struct json_writer w = json_writer(out);
    if (infinity_of(number))
        json_write_string(&w, infinity_of(number));
    else
        json_write_double(&w, number);
    return json_write_end(&w);
}

/* A text in a column declared json: as it is when it is JSON, else as a string. */
static int write_json_column(struct buffer *out, struct bytes text)
{
    struct json_doc doc = {0};
    int r = json_parse(text, &doc, NULL);
    if (r >= 0)
        r = r == 0 ? json_minify(text, out) : write_json_text(out, text);
    json_doc_deinit(&doc);
    return r;
}

/* A text from SQL as it was before it went in: in place, or in `room`. */
static int take_out(struct bytes *text, struct buffer *room)
{
    if (!carry_is_in(*text))
        return 0;
    int r = carry_out(*text, room);
    *text = buffer_bytes(room);
    return r;
}

static int write_text(struct buffer *out, struct bytes text, enum relation_form form)
{
    _cleanup_(buffer_deinit) struct buffer room = {0};
    int r = take_out(&text, &room);
    if (r < 0)
        return r;
    return form == RELATION_JSON ? write_json_column(out, text) : write_json_text(out, text);
}

/* CSV is sent as UTF-8: bytes that are not become U+FFFD each, as in JSON. */
static int write_csv_text(struct buffer *out, struct bytes text)
{
    _cleanup_(buffer_deinit) struct buffer room = {0}, valid = {0};
    int r = take_out(&text, &room);
    size_t end = r == 0 && !utf8_valid(text) ? text.size : 0;
    for (size_t at = 0, size; r == 0 && at < end; at += size) {
        uint32_t ignored;
        size = utf8_decode(bytes_slice(text, at, text.size), &ignored);
        r = size > 0 ? buffer_append(&valid, text.data + at, size) : buffer_append_string(&valid, "\xef\xbf\xbd");
        size = size > 0 ? size : 1;
    }
    return r < 0 ? r : add_csv(out, valid.size > 0 ? buffer_bytes(&valid) : text);
}

static int write_json_value(struct buffer *out, sqlite3_stmt *statement, int index, enum relation_form form)
{
    switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER: {
        sqlite3_int64 number = sqlite3_column_int64(statement, index);
        if (form == RELATION_BOOLEAN && (number == 0 || number == 1))
            return buffer_append_string(out, number ? "true" : "false");
        return buffer_append_i64(out, number);
    }
    case SQLITE_FLOAT: return write_double(out, sqlite3_column_double(statement, index));
    case SQLITE_TEXT:
        return write_text(out, column_bytes(statement, index), form);
    case SQLITE_BLOB: return write_base64(out, column_bytes(statement, index));
    default: return buffer_append_string(out, "null");
    }
}

static int write_csv_value(struct buffer *out, sqlite3_stmt *statement, int index, enum relation_form form)
{
    switch (sqlite3_column_type(statement, index)) {
    case SQLITE_NULL: return 0;
    case SQLITE_BLOB: return base64_encode(column_bytes(statement, index), out);
    case SQLITE_TEXT: return write_csv_text(out, column_bytes(statement, index));
    case SQLITE_FLOAT:
        if (infinity_of(sqlite3_column_double(statement, index)))
            return buffer_append_string(out, infinity_of(sqlite3_column_double(statement, index)));
        return write_double(out, sqlite3_column_double(statement, index));
    default: return write_json_value(out, statement, index, form);
    }
}

static int write_object(struct rows *rows, sqlite3_stmt *statement)
{
    struct buffer *out = &rows->buffer;
    int r = buffer_append_byte(out, '{');
    for (size_t i = 0; r == 0 && i < rows->column_count; i++) {
        if (i > 0)
            r = buffer_append_byte(out, ',');
        if (r == 0)
            r = buffer_append_string(out, rows->columns[i].key);
        if (r == 0)
            r = write_json_value(out, statement, (int)i, rows->columns[i].form);
    }
    return r < 0 ? r : buffer_append_byte(out, '}');
}

static int write_record(struct rows *rows, sqlite3_stmt *statement)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < rows->column_count; i++) {
        if (i > 0)
            r = buffer_append_byte(&rows->buffer, ',');
        if (r == 0)
            r = write_csv_value(&rows->buffer, statement, (int)i, rows->columns[i].form);
    }
    return r < 0 ? r : buffer_append_string(&rows->buffer, "\r\n");
}

int rows_add(struct rows *rows, sqlite3_stmt *statement)
{
    int r = 0;
    switch (rows->format) {
    case VIEW_JSON:
        r = rows->row_count > 0 ? buffer_append_string(&rows->buffer, ",\n") : 0;
        if (r == 0)
            r = write_object(rows, statement);
        break;
    case VIEW_NDJSON:
        r = write_object(rows, statement);
        if (r == 0)
            r = buffer_append_byte(&rows->buffer, '\n');
        break;
    case VIEW_CSV: r = write_record(rows, statement); break;
    }
    if (r < 0)
        return r == -E2BIG ? ROWS_E_TOO_LARGE : r;
    rows->row_count++;
    return spill_if_full(rows);
}

int rows_end(struct rows *rows, struct view_answer *answer)
{
    int r = rows->format == VIEW_JSON ? buffer_append_string(&rows->buffer, "]\n") : 0;
    if (r == 0 && rows->fd >= 0)
        r = spill(rows);
    if (r != 0)
        return r;
    answer->row_count = rows->row_count;
    answer->body_fd = rows->fd;
    answer->body_size = rows->fd >= 0 ? rows->file_size : rows->buffer.size;
    if (rows->fd < 0) {
        answer->body = rows->buffer;
        rows->buffer = (struct buffer){0};
    }
    rows->fd = -1;
    return 0;
}

void rows_deinit(struct rows *rows)
{
    for (size_t i = 0; i < rows->column_count; i++) {
        free(rows->columns[i].key);
        free(rows->columns[i].title);
    }
    free(rows->columns);
    buffer_deinit(&rows->buffer);
    if (rows->fd >= 0)
        (void)close(rows->fd);
    *rows = (struct rows){.fd = -1};
}
