/* Statements are kept in one array in the order of the file; a type has the list of those that concern it. Each statement
 * knows which of the nine parameters it uses, so that only those are bound, and what has to be written out first (id, time,
 * tags) is written once an event and only when a statement asks for it. Text is bound in place: the event's memory outlives
 * the step, and every parameter is bound anew before the next.
 */
#include "view/program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/time.h"
#include "base/uuid.h"
#include "base/vector.h"
#include "view/carry.h"
#include "view/schema.h"
#include "view/view.h"

enum parameter {
    P_POSITION,
    P_STREAM,
    P_VERSION,
    P_TYPE,
    P_ID,
    P_TIME,
    P_DATA,
    P_TAGS,
    P_META,
    PARAMETER_COUNT
};

static const char *const parameter_names[PARAMETER_COUNT] = {
    ":position", ":stream", ":version", ":type", ":id", ":time", ":data", ":tags", ":meta",
};

struct statement {
    sqlite3_stmt *handle;
    unsigned line;
    int index[PARAMETER_COUNT]; /* SQLite's number for the parameter; 0: not used */
};

struct route {
    struct bytes type; /* in the definition's text */
    size_t *statements;
    size_t count, capacity;
};

struct program {
    struct guard *guard;
    const struct definition *definition;
    struct statement *statements;
    size_t count, capacity;
    struct route *routes; /* by type, sorted */
    size_t route_count, route_capacity;
    struct route all; /* what runs for a type that no section names: sections for "*" */
    bool has_all;
    bool compacts;
    struct bytes *types;
    struct buffer tags; /* the event's, as a JSON array */
    struct buffer carried[PARAMETER_COUNT]; /* the event's texts that could not be bound as they are */
};

/* --- messages ------------------------------------------------------------------------------------------------------------- */

/* Whether SQLite failed for a reason outside the statement and the event: the disk, memory, the file. */
static bool is_store_failure(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return true;
    default: return false;
    }
}

static int refuse_sql(const struct guard *guard, const struct definition *definition, unsigned line, int code,
                      int *ret_code, char *ret_error)
{
    *ret_code = code;
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s:%u: %.400s", definition->file, line, guard_message(guard));
    return is_store_failure(code) ? PROGRAM_E_STORE : PROGRAM_E_DEFINITION;
}

/* The line of an error in the statement that begins at `at`: SQLite knows the byte, when it is the statement's fault. */
static unsigned error_line(const struct guard *guard, struct definition_part part, size_t at)
{
    int offset = sqlite3_error_offset(guard->db);
    while (at < part.sql.size && (part.sql.data[at] == '\n' || part.sql.data[at] == ' '))
        at++;
    return definition_line(part, offset > 0 ? at + (size_t)offset : at);
}

/* --- tables ------------------------------------------------------------------------------------------------------------------ */

int program_make_tables(struct guard *guard, const struct definition *definition, int *ret_code,
                        char *ret_error)
{
    _cleanup_(buffer_deinit) struct buffer declared = {0};
    struct definition_part part = definition->schema;
    int r = schema_declare(part.sql, &declared);
    if (r < 0)
        return r;
    part.sql = buffer_bytes(&declared);
    for (size_t at = 0; at < part.sql.size;) {
        sqlite3_stmt *statement = NULL;
        size_t used = 0;
        int code = guard_prepare(guard, GUARD_SCHEMA, (const char *)part.sql.data + at, part.sql.size - at,
                                 &statement, &used);
        if (code == SQLITE_OK && statement && sqlite3_bind_parameter_count(statement) > 0) {
            (void)sqlite3_finalize(statement);
            (void)snprintf(ret_error, VIEW_ERROR_SIZE,
                           "%s:%u: there is no event yet: parameters stand after '-- on' only",
                           definition->file, error_line(guard, part, at));
            return PROGRAM_E_DEFINITION;
        }
        if (code == SQLITE_OK && statement) {
            while ((code = sqlite3_step(statement)) == SQLITE_ROW)
                continue;
            code = code == SQLITE_DONE ? SQLITE_OK : code;
        }
        if (code != SQLITE_OK) {
            unsigned line = error_line(guard, part, at);
            r = refuse_sql(guard, definition, line, code, ret_code, ret_error);
            (void)sqlite3_finalize(statement);
            return r;
        }
        (void)sqlite3_finalize(statement);
        at += used;
    }
    return 0;
}

/* --- compiling ------------------------------------------------------------------------------------------------------------- */

static bool find_parameter(const char *name, enum parameter *ret_parameter)
{
    for (int i = 0; name && i < PARAMETER_COUNT; i++) {
        if (strcmp(name, parameter_names[i]) == 0) {
            *ret_parameter = (enum parameter)i;
            return true;
        }
    }
    return false;
}

static int note_parameters(struct statement *statement, const struct definition *definition, char *ret_error)
{
    int count = sqlite3_bind_parameter_count(statement->handle);
    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(statement->handle, i);
        enum parameter parameter;
        if (!find_parameter(name, &parameter)) {
            (void)snprintf(ret_error, VIEW_ERROR_SIZE,
                           "%s:%u: there is no parameter %s: an event has :position :stream :version :type "
                           ":id :time :data "
                           ":tags :meta",
                           definition->file, statement->line, name ? name : "?");
            return PROGRAM_E_DEFINITION;
        }
        statement->index[parameter] = i;
    }
    return 0;
}

static int add_statement(struct program *program, sqlite3_stmt *handle, unsigned line, char *ret_error)
{
    if (vector_reserve(&program->statements, &program->capacity, program->count + 1) < 0) {
        (void)sqlite3_finalize(handle);
        return -ENOMEM;
    }
    struct statement *statement = &program->statements[program->count++];
    *statement = (struct statement){.handle = handle, .line = line};
    return note_parameters(statement, program->definition, ret_error);
}

static int compile_section(struct program *program, const struct definition_section *section, int *ret_code,
                           char *ret_error)
{
    struct definition_part part = section->part;
    size_t before = program->count;
    for (size_t at = 0; at < part.sql.size;) {
        sqlite3_stmt *handle = NULL;
        size_t used = 0;
        int code = guard_prepare(program->guard, GUARD_APPLY, (const char *)part.sql.data + at,
                                 part.sql.size - at, &handle, &used);
        unsigned line = error_line(program->guard, part, at);
        if (code != SQLITE_OK)
            return refuse_sql(program->guard, program->definition, line, code, ret_code, ret_error);
        int r = handle ? add_statement(program, handle, line, ret_error) : 0;
        if (r != 0)
            return r;
        at += used;
    }
    if (program->count > before)
        return 0;
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s: nothing follows '-- on %.*s'", program->definition->file,
                   BYTES_PRINT(section->types[0]));
    return PROGRAM_E_DEFINITION;
}

/* --- routes: which statements an event's type runs --------------------------------------------------------------------------- */

static int compare_routes(const void *a, const void *b)
{
    return bytes_compare(((const struct route *)a)->type, ((const struct route *)b)->type);
}

static struct route *find_route(struct program *program, struct bytes type)
{
    size_t low = 0, high = program->route_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(type, program->routes[middle].type);
        if (order == 0)
            return &program->routes[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool is_all(struct bytes type)
{
    return bytes_equal_string(type, "*");
}

static int collect_types(struct program *program)
{
    const struct definition *d = program->definition;
    for (size_t s = 0; s < d->section_count; s++) {
        for (size_t t = 0; t < d->sections[s].type_count; t++) {
            struct bytes type = d->sections[s].types[t];
            program->has_all |= is_all(type);
            if (is_all(type) || find_route(program, type))
                continue;
            if (vector_reserve(&program->routes, &program->route_capacity, program->route_count + 1) < 0)
                return -ENOMEM;
            program->routes[program->route_count++] = (struct route){.type = type};
            qsort(program->routes, program->route_count, sizeof(struct route), compare_routes);
        }
    }
    program->types = calloc(program->route_count + 1, sizeof(struct bytes));
    if (!program->types)
        return -ENOMEM;
    for (size_t i = 0; i < program->route_count; i++)
        program->types[i] = program->routes[i].type;
    return 0;
}

static int add_to_route(struct route *route, size_t first, size_t end)
{
    if (vector_reserve(&route->statements, &route->capacity, route->count + (end - first)) < 0)
        return -ENOMEM;
    for (size_t i = first; i < end; i++)
        route->statements[route->count++] = i;
    return 0;
}

/* Statements first…end belong to the section: to each of its types, or to all. */
static int route_section(struct program *program, const struct definition_section *section, size_t first,
                         size_t end)
{
    for (size_t t = 0; t < section->type_count; t++) {
        int r = 0;
        if (!is_all(section->types[t])) {
            r = add_to_route(find_route(program, section->types[t]), first, end);
        } else {
            r = add_to_route(&program->all, first, end);
            for (size_t i = 0; r == 0 && i < program->route_count; i++)
                r = add_to_route(&program->routes[i], first, end);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int program_compile(struct guard *guard, const struct definition *definition, struct program **ret_program,
                    int *ret_code, char *ret_error)
{
    struct program *program = calloc(1, sizeof(*program));
    if (!program)
        return -ENOMEM;
    program->guard = guard;
    program->definition = definition;
    program->compacts = definition_compacts(definition);
    int r = collect_types(program);
    for (size_t s = 0; r == 0 && s < definition->section_count; s++) {
        size_t first = program->count;
        r = compile_section(program, &definition->sections[s], ret_code, ret_error);
        if (r == 0)
            r = route_section(program, &definition->sections[s], first, program->count);
    }
    if (r != 0) {
        program_free(program);
        return r;
    }
    *ret_program = program;
    return 0;
}

void program_free(struct program *program)
{
    if (!program)
        return;
    for (size_t i = 0; i < program->count; i++)
        (void)sqlite3_finalize(program->statements[i].handle);
    for (size_t i = 0; i < program->route_count; i++)
        free(program->routes[i].statements);
    free(program->all.statements);
    free(program->statements);
    free(program->routes);
    free(program->types);
    buffer_deinit(&program->tags);
    for (int i = 0; i < PARAMETER_COUNT; i++)
        buffer_deinit(&program->carried[i]);
    free(program);
}

size_t program_types(const struct program *program, const struct bytes **ret_types, bool *ret_all)
{
    *ret_types = program->types;
    *ret_all = program->has_all;
    return program->route_count;
}

/* --- running ------------------------------------------------------------------------------------------------------------------ */

/* An event's values that must be written out, each when first asked for. */
struct values {
    const struct journal_event *event;
    struct bytes carried[PARAMETER_COUNT];
    bool has_carried[PARAMETER_COUNT];
    bool has_id, has_time, has_tags;
    char id[UUID_TEXT_SIZE];
    char time[TIME_TEXT_SIZE];
};

/* Bind a text of the event, as carry.h has it. */
static int bind_text(struct program *program, sqlite3_stmt *handle, enum parameter parameter, int index, struct bytes text,
                     struct values *values)
{
    bool json = parameter == P_DATA || parameter == P_TAGS || parameter == P_META;
    struct bytes *carried = &values->carried[parameter];
    struct buffer *out = &program->carried[parameter];
    if (!values->has_carried[parameter] && (json ? carry_json(text, out, carried) : carry_text(text, out, carried)) < 0)
        return SQLITE_NOMEM;
    values->has_carried[parameter] = true;
    return sqlite3_bind_text64(handle, index, carried->data ? (const char *)carried->data : "", carried->size,
                               SQLITE_STATIC, SQLITE_UTF8);
}

/* The same; an empty one is null. */
static int bind_optional(struct program *program, sqlite3_stmt *handle, enum parameter parameter, int index,
                         struct bytes text, struct values *values)
{
    return text.size == 0 ? sqlite3_bind_null(handle, index)
                          : bind_text(program, handle, parameter, index, text, values);
}

static bool is_json(struct bytes content_type)
{
    return content_type.size == 0 || bytes_starts_with(content_type, BYTES_LITERAL("application/json")) ||
           (content_type.size > 5 && memcmp(content_type.data + content_type.size - 5, "+json", 5) == 0);
}

static int bind_data(struct program *program, sqlite3_stmt *handle, int index, struct values *values)
{
    const struct journal_event *event = values->event;
    if (event->stub || event->erased || event->sealed)
        return sqlite3_bind_null(handle, index);
    if (is_json(event->content_type))
        return bind_text(program, handle, P_DATA, index, event->data, values);
    return sqlite3_bind_blob64(handle, index, event->data.data ? event->data.data : (const uint8_t *)"",
                               event->data.size, SQLITE_STATIC);
}

static int bind_tags(struct program *program, sqlite3_stmt *handle, int index, struct values *values)
{
    if (!values->has_tags) {
        buffer_clear(&program->tags);
        struct json_writer w = json_writer(&program->tags);
        json_write_array_begin(&w);
        for (size_t i = 0; i < values->event->tag_count; i++)
            json_write_bytes(&w, values->event->tags[i]);
        json_write_array_end(&w);
        if (json_write_end(&w) < 0)
            return SQLITE_NOMEM;
        values->has_tags = true;
    }
    return bind_text(program, handle, P_TAGS, index, buffer_bytes(&program->tags), values);
}

static int bind_id(sqlite3_stmt *handle, int index, struct values *values)
{
    if (!values->has_id) {
        struct uuid uuid;
        memcpy(uuid.data, values->event->id, sizeof(uuid.data));
        uuid_format(uuid, values->id);
        values->has_id = true;
    }
    return sqlite3_bind_text(handle, index, values->id, UUID_TEXT_SIZE - 1, SQLITE_STATIC);
}

static int bind_time(sqlite3_stmt *handle, int index, struct values *values)
{
    if (!values->has_time && time_format(values->event->time_us, values->time) != 0)
        return sqlite3_bind_null(handle, index);
    values->has_time = true;
    return sqlite3_bind_text(handle, index, values->time, TIME_TEXT_SIZE - 1, SQLITE_STATIC);
}

static int bind_parameter(struct program *program, sqlite3_stmt *handle, enum parameter parameter, int index,
                          struct values *values)
{
    const struct journal_event *event = values->event;
    switch (parameter) {
    case P_POSITION: return sqlite3_bind_int64(handle, index, (sqlite3_int64)event->position);
    case P_STREAM: return bind_optional(program, handle, P_STREAM, index, event->stream, values);
    case P_VERSION:
        return event->version > 0 ? sqlite3_bind_int64(handle, index, (sqlite3_int64)event->version)
                                  : sqlite3_bind_null(handle, index);
    case P_TYPE: return bind_text(program, handle, P_TYPE, index, event->type, values);
    case P_ID: return bind_id(handle, index, values);
    case P_TIME: return bind_time(handle, index, values);
    case P_DATA: return bind_data(program, handle, index, values);
    case P_TAGS: return bind_tags(program, handle, index, values);
    case P_META: return bind_optional(program, handle, P_META, index, event->meta, values);
    case PARAMETER_COUNT: break;
    }
    return SQLITE_MISUSE;
}

static int run_statement(struct program *program, const struct statement *statement, struct values *values)
{
    int code = SQLITE_OK;
    for (int i = 0; code == SQLITE_OK && i < PARAMETER_COUNT; i++) {
        if (statement->index[i] != 0)
            code = bind_parameter(program, statement->handle, (enum parameter)i, statement->index[i], values);
    }
    while (code == SQLITE_OK || code == SQLITE_ROW)
        code = sqlite3_step(statement->handle);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Say what happened before the statement is reset. */
static int explain(struct program *program, const struct statement *statement,
                   const struct journal_event *event, int code, int *ret_code, char *ret_error)
{
    const struct guard *guard = program->guard;
    *ret_code = code;
    if (code == SQLITE_INTERRUPT && guard->end == GUARD_INTERRUPTED)
        return PROGRAM_E_STOPPED;
    if (is_store_failure(code)) {
        (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s", sqlite3_errmsg(guard->db));
        return PROGRAM_E_STORE;
    }
    (void)snprintf(ret_error, VIEW_ERROR_SIZE, "%s:%u: failed on event %llu (%.*s): %.250s",
                   program->definition->file, statement->line, (unsigned long long)event->position,
                   BYTES_PRINT(bytes_slice(event->type, 0, 64)), guard_message(guard));
    return PROGRAM_E_STATEMENT;
}

int program_run(struct program *program, const struct journal_event *event, int *ret_code, char *ret_error)
{
    const struct route *route = find_route(program, event->type);
    if (!route)
        route = &program->all;
    if (event->stub && program->compacts)
        return 0; /* a `$compacted` behind it says what it said */
    struct values values = {.event = event};
    for (size_t i = 0; i < route->count; i++) {
        const struct statement *statement = &program->statements[route->statements[i]];
        int code = run_statement(program, statement, &values);
        int r = code == SQLITE_OK ? 0 : explain(program, statement, event, code, ret_code, ret_error);
        (void)sqlite3_reset(statement->handle);
        if (r != 0)
            return r;
    }
    return 0;
}
