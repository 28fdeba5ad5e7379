/* SQLite looks at the clock between the steps of a statement, not within a function. A function whose cost is the product of
 * its arguments could therefore take minutes in one step: like, glob, instr, replace, trim with characters of its own, and
 * json_patch. They are replaced here. The first ones look at the clock, or are linear in what they are given; json_patch is
 * SQLite's own, for arguments whose product is bounded. Everything else that SQLite has costs no more than what it is given
 * and what it makes, which VIEW_TEXT_SIZE_MAX bounds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "view/guard.h"
#include "view/match.h"
#include "view/view.h"

/* Bytes of one argument of json_patch times bytes of the other: a second or so, were each byte a key. */
#define PATCH_PRODUCT_MAX (UINT64_C(1) << 36)

/* Parts replaced between two looks at the clock. */
enum { LOOK_PARTS = 1024 };

static bool look(void *user)
{
    return guard_is_over(user);
}

static struct match_watch watch_of(sqlite3_context *context)
{
    return (struct match_watch){.look = look, .user = sqlite3_user_data(context)};
}

/* The value as text; false: it is null, or there is no memory, and the result says so. */
static bool take_text(sqlite3_context *context, sqlite3_value *value, struct bytes *ret_text)
{
    const unsigned char *text = sqlite3_value_text(value);
    if (!text && sqlite3_value_type(value) != SQLITE_NULL)
        sqlite3_result_error_nomem(context);
    *ret_text = bytes_make(text, text ? (size_t)sqlite3_value_bytes(value) : 0);
    return text != NULL;
}

static void stop(sqlite3_context *context)
{
    sqlite3_result_error(context, "it ran longer than allowed", -1);
    sqlite3_result_error_code(context, SQLITE_INTERRUPT);
}

static void give_text(sqlite3_context *context, struct buffer *text)
{
    if (text->size > VIEW_TEXT_SIZE_MAX) {
        sqlite3_result_error_toobig(context);
        return;
    }
    struct buffer taken = *text;
    *text = (struct buffer){0};
    sqlite3_result_text64(context, taken.data ? (char *)taken.data : "", taken.size, taken.data ? free : SQLITE_STATIC,
                          SQLITE_UTF8);
}

/* --- like and glob ------------------------------------------------------------------------------------------------------ */

static void free_pattern(void *user)
{
    match_pattern_deinit(user);
    free(user);
}

/* The pattern, taken apart once a statement when it is a constant or a parameter. `ret_kept`: it is not to be freed here. */
static struct match_pattern *take_pattern(sqlite3_context *context, struct bytes text, uint32_t escape, bool like)
{
    struct match_pattern *pattern = sqlite3_get_auxdata(context, 0);
    if (pattern)
        return pattern;
    pattern = calloc(1, sizeof(*pattern));
    int r = !pattern ? -ENOMEM : like ? match_like(text, escape, pattern) : match_glob(text, pattern);
    if (r < 0 && pattern)
        free_pattern(pattern);
    if (r < 0)
        return NULL;
    sqlite3_set_auxdata(context, 0, pattern, free_pattern);
    return sqlite3_get_auxdata(context, 0); /* NULL: no memory, and it was freed */
}

static void compare(sqlite3_context *context, sqlite3_value **values, uint32_t escape, bool like)
{
    struct bytes pattern_text, text;
    struct match_watch watch = watch_of(context);
    if (!take_text(context, values[0], &pattern_text) || !take_text(context, values[1], &text))
        return;
    if (pattern_text.size > VIEW_VALUE_SIZE_MAX) {
        sqlite3_result_error(context, "the pattern of like or glob is too long", -1);
        return;
    }
    const struct match_pattern *pattern = take_pattern(context, pattern_text, escape, like);
    switch (pattern ? match_text(pattern, text, &watch) : MATCH_NO_MEMORY) {
    case MATCH_NO: sqlite3_result_int(context, 0); break;
    case MATCH_YES: sqlite3_result_int(context, 1); break;
    case MATCH_STOPPED: stop(context); break;
    case MATCH_NO_MEMORY: sqlite3_result_error_nomem(context); break;
    }
}

static void call_like(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint32_t escape = 0;
    struct bytes text;
    if (count == 3) {
        if (!take_text(context, values[2], &text))
            return;
        if (text.size == 0 || utf8_decode(text, &escape) != text.size) {
            sqlite3_result_error(context, "the escape of like is one character", -1);
            return;
        }
    }
    compare(context, values, escape, true);
}

static void call_glob(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    compare(context, values, 0, false);
}

/* --- instr, replace, trim ------------------------------------------------------------------------------------------------ */

static sqlite3_int64 count_chars(const uint8_t *from, const uint8_t *to)
{
    sqlite3_int64 count = 0;
    for (; from < to; from++)
        count += (*from & 0xc0) != 0x80;
    return count;
}

static const uint8_t *find(struct bytes text, struct bytes part)
{
    if (text.size < part.size)
        return NULL;
    return part.size == 1 ? memchr(text.data, part.data[0], text.size)
                          : memmem(text.data, text.size, part.data, part.size);
}

static void call_instr(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct bytes text, part;
    bool blobs =
        sqlite3_value_type(values[0]) == SQLITE_BLOB && sqlite3_value_type(values[1]) == SQLITE_BLOB;
    (void)count;
    if (blobs) {
        text = bytes_make(sqlite3_value_blob(values[0]), (size_t)sqlite3_value_bytes(values[0]));
        part = bytes_make(sqlite3_value_blob(values[1]), (size_t)sqlite3_value_bytes(values[1]));
    } else if (!take_text(context, values[0], &text) || !take_text(context, values[1], &part)) {
        return;
    }
    const uint8_t *found = part.size == 0 ? text.data : find(text, part);
    if (part.size > 0 && !found)
        sqlite3_result_int(context, 0);
    else
        sqlite3_result_int64(context, 1 + (blobs ? (found ? found - text.data : 0) : count_chars(text.data, found)));
}

/* What lies between the parts found, with `by` in their places. -EINTR: it is enough. */
static int replace_all(struct bytes text, struct bytes part, struct bytes by, struct match_watch *watch,
                       struct buffer *out)
{
    const uint8_t *found;
    int r = 0;
    while (r == 0 && (found = find(text, part))) {
        size_t before = (size_t)(found - text.data);
        r = buffer_append_bytes(out, bytes_slice(text, 0, before));
        if (r == 0)
            r = buffer_append_bytes(out, by);
        text = bytes_slice(text, before + part.size, text.size);
        if (r == 0 && ++watch->steps % LOOK_PARTS == 0 && watch->look(watch->user))
            r = -EINTR;
    }
    return r == 0 ? buffer_append_bytes(out, text) : r;
}

static void call_replace(sqlite3_context *context, int count, sqlite3_value **values)
{
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct match_watch watch = watch_of(context);
    struct bytes text, part, by;
    (void)count;
    if (!take_text(context, values[0], &text) || !take_text(context, values[1], &part))
        return;
    if (part.size == 0) {
        sqlite3_result_value(context, values[0]);
        return;
    }
    if (!take_text(context, values[2], &by))
        return;
    buffer_init(&out, VIEW_TEXT_SIZE_MAX);
    int r = replace_all(text, part, by, &watch, &out);
    if (r == -EINTR)
        stop(context);
    else if (r == -E2BIG)
        sqlite3_result_error_toobig(context);
    else if (r < 0)
        sqlite3_result_error_nomem(context);
    else
        give_text(context, &out);
}

/* Which ends a trim works on. */
enum { TRIM_LEFT = 1, TRIM_RIGHT = 2 };

/* Whether this character, which takes `size` bytes, is one of `chars`. */
static bool is_one_of(const uint8_t *at, size_t size, struct bytes chars)
{
    for (size_t i = 0, other; i < chars.size; i += other) {
        uint32_t ignored;
        other = utf8_decode(bytes_slice(chars, i, chars.size), &ignored);
        other = other > 0 ? other : 1;
        if (other == size && memcmp(at, chars.data + i, size) == 0)
            return true;
    }
    return false;
}

static size_t first_size(struct bytes text)
{
    uint32_t ignored;
    size_t size = utf8_decode(text, &ignored);
    return size > 0 ? size : 1;
}

static size_t last_size(struct bytes text)
{
    size_t size = 1;
    while (size < text.size && size < UTF8_SIZE_MAX && (text.data[text.size - size] & 0xc0) == 0x80)
        size++;
    return size;
}

static bool trim_ends(struct bytes *text, struct bytes chars, int ends, struct match_watch *watch)
{
    enum { STEPS = 1 << 22 };
    uint64_t steps = 0;
    for (bool left = (ends & TRIM_LEFT) != 0, right = (ends & TRIM_RIGHT) != 0; text->size > 0 && (left || right);) {
        size_t size = left ? first_size(*text) : last_size(*text);
        const uint8_t *at = left ? text->data : text->data + text->size - size;
        if (is_one_of(at, size, chars))
            *text = left ? bytes_slice(*text, size, text->size) : bytes_slice(*text, 0, text->size - size);
        else if (left)
            left = false;
        else
            right = false;
        steps += chars.size + 1;
        if (steps > STEPS && watch->look(watch->user))
            return false;
        steps = steps > STEPS ? 0 : steps;
    }
    return true;
}

static void trim(sqlite3_context *context, int count, sqlite3_value **values, int ends)
{
    struct bytes text, chars = BYTES_LITERAL(" ");
    struct match_watch watch = watch_of(context);
    if (!take_text(context, values[0], &text) || (count == 2 && !take_text(context, values[1], &chars)))
        return;
    if (!trim_ends(&text, chars, ends, &watch))
        stop(context);
    else
        sqlite3_result_text64(context, text.data ? (const char *)text.data : "", text.size, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void call_trim(sqlite3_context *context, int count, sqlite3_value **values)
{
    trim(context, count, values, TRIM_LEFT | TRIM_RIGHT);
}

static void call_ltrim(sqlite3_context *context, int count, sqlite3_value **values)
{
    trim(context, count, values, TRIM_LEFT);
}

static void call_rtrim(sqlite3_context *context, int count, sqlite3_value **values)
{
    trim(context, count, values, TRIM_RIGHT);
}

/* --- json_patch ----------------------------------------------------------------------------------------------------------- */

/* SQLite's own, on a connection that has it, made when it is first asked for; NULL: no memory. */
static sqlite3_stmt *own_patch(struct guard *guard)
{
    int code = SQLITE_OK;
    if (!guard->original)
        code = sqlite3_open_v2(":memory:", &guard->original, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK && !guard->patch)
        (void)sqlite3_prepare_v3(guard->original, "select json_patch(?1, ?2)", -1, SQLITE_PREPARE_PERSISTENT,
                                 &guard->patch, NULL);
    return guard->patch;
}

static void call_patch(sqlite3_context *context, int count, sqlite3_value **values)
{
    enum { SUBTYPE_JSON = 'J' };
    struct bytes target, patch;
    (void)count;
    if (!take_text(context, values[0], &target) || !take_text(context, values[1], &patch))
        return;
    if ((uint64_t)target.size * patch.size > PATCH_PRODUCT_MAX) {
        sqlite3_result_error(context, "the arguments of json_patch are too large for one another", -1);
        return;
    }
    sqlite3_stmt *statement = own_patch(sqlite3_user_data(context));
    if (!statement) {
        sqlite3_result_error_nomem(context);
        return;
    }
    for (int i = 0; i < 2; i++)
        (void)sqlite3_bind_value(statement, i + 1, values[i]);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        sqlite3_result_value(context, sqlite3_column_value(statement, 0));
        sqlite3_result_subtype(context, SUBTYPE_JSON);
    } else {
        sqlite3_result_error(context, sqlite3_errmsg(sqlite3_db_handle(statement)), -1);
    }
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
}

/* --- replacing -------------------------------------------------------------------------------------------------------------- */

static const struct costly {
    const char *name;
    int argument_count;
    void (*call)(sqlite3_context *context, int count, sqlite3_value **values);
} costly_functions[] = {
    {"like", 2, call_like},   {"like", 3, call_like},   {"glob", 2, call_glob},
    {"instr", 2, call_instr}, {"replace", 3, call_replace}, {"trim", 1, call_trim},
    {"trim", 2, call_trim},   {"ltrim", 1, call_ltrim}, {"ltrim", 2, call_ltrim},
    {"rtrim", 1, call_rtrim}, {"rtrim", 2, call_rtrim}, {"json_patch", 2, call_patch},
};

int guard_cost_bound(struct guard *guard)
{
    enum { FLAGS = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS };
    int code = SQLITE_OK;
    for (size_t i = 0; code == SQLITE_OK && i < sizeof(costly_functions) / sizeof(costly_functions[0]); i++) {
        const struct costly *costly = &costly_functions[i];
        int flags = costly->call == call_patch ? FLAGS | SQLITE_SUBTYPE : FLAGS;
        code = sqlite3_create_function_v2(guard->db, costly->name, costly->argument_count, flags, guard, costly->call,
                                          NULL, NULL, NULL);
    }
    return code == SQLITE_OK ? 0 : code == SQLITE_NOMEM ? -ENOMEM : -EIO;
}

void guard_cost_deinit(struct guard *guard)
{
    (void)sqlite3_finalize(guard->patch);
    (void)sqlite3_close(guard->original);
}
