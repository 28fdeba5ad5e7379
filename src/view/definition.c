/* One pass over the file, line by line, that knows just enough of SQL not to take a marker for one inside a string or a
 * block comment: the state at the start of each line is what a small scanner left behind.
 *
 *     header   `-- key: value` lines before the first line of SQL; other comments and empty lines may stand between
 *     schema   from there to the first `-- on` line
 *     section  from the line after `-- on` to the next one
 */
#include "view/definition.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "base/utf8.h"
#include "base/vector.h"
#include "view/view.h"

/* What a line begins inside of. */
enum scan { SCAN_SQL, SCAN_STRING, SCAN_QUOTED, SCAN_BACKTICK, SCAN_BRACKET, SCAN_BLOCK };

struct parser {
    struct definition *definition;
    struct bytes text;
    unsigned line; /* of the line being looked at */
    enum scan scan;
    bool in_body; /* SQL has begun: header keys count no more */
    bool has_version;
    size_t section_capacity, use_capacity, param_capacity;
    char *error;
};

_printf_(2, 3) static int refuse(struct parser *p, const char *format, ...)
{
    int length = snprintf(p->error, VIEW_ERROR_SIZE, "%s:%u: ", p->definition->file, p->line);
    if (length > 0 && length < VIEW_ERROR_SIZE) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(p->error + length, VIEW_ERROR_SIZE - (size_t)length, format, arguments);
        va_end(arguments);
    }
    return DEFINITION_E_INVALID;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_name_start(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && is_space(text.data[0]))
        text = bytes_slice(text, 1, text.size - 1);
    while (text.size > 0 && is_space(text.data[text.size - 1]))
        text.size--;
    return text;
}

bool definition_name_ok(struct bytes name)
{
    if (name.size == 0 || name.size > VIEW_NAME_SIZE_MAX || !is_name_start(name.data[0]))
        return false;
    for (size_t i = 1; i < name.size; i++) {
        if (!is_name_start(name.data[i]) && !is_digit(name.data[i]))
            return false;
    }
    return true;
}

/* Cut the next word off, up to white space or `stop`. */
static struct bytes take_word(struct bytes *rest, char stop)
{
    *rest = trim(*rest);
    size_t size = 0;
    while (size < rest->size && !is_space(rest->data[size]) && rest->data[size] != (uint8_t)stop)
        size++;
    struct bytes word = bytes_slice(*rest, 0, size);
    *rest = trim(bytes_slice(*rest, size, rest->size - size));
    return word;
}

/* --- the scanner: what the next line begins inside of -------------------------------------------------------------------- */

/* The state that a character opens in plain SQL, or SCAN_SQL. */
static enum scan opens(uint8_t c, uint8_t next)
{
    switch (c) {
    case '\'': return SCAN_STRING;
    case '"': return SCAN_QUOTED;
    case '`': return SCAN_BACKTICK;
    case '[': return SCAN_BRACKET;
    case '/': return next == '*' ? SCAN_BLOCK : SCAN_SQL;
    default: return SCAN_SQL;
    }
}

/* A doubled quote closes and opens again, which comes to the same. */
static bool closes(enum scan scan, uint8_t c, uint8_t next)
{
    switch (scan) {
    case SCAN_STRING: return c == '\'';
    case SCAN_QUOTED: return c == '"';
    case SCAN_BACKTICK: return c == '`';
    case SCAN_BRACKET: return c == ']';
    case SCAN_BLOCK: return c == '*' && next == '/';
    case SCAN_SQL: break;
    }
    return false;
}

static void scan_line(struct parser *p, struct bytes line)
{
    for (size_t i = 0; i < line.size; i++) {
        uint8_t c = line.data[i], next = i + 1 < line.size ? line.data[i + 1] : 0;
        if (p->scan != SCAN_SQL) {
            if (closes(p->scan, c, next)) {
                i += p->scan == SCAN_BLOCK;
                p->scan = SCAN_SQL;
            }
        } else if (c == '-' && next == '-') {
            return;
        } else {
            p->scan = opens(c, next);
            i += p->scan == SCAN_BLOCK;
        }
    }
}

/* --- the header ----------------------------------------------------------------------------------------------------------- */

static int header_name(struct parser *p, struct bytes value)
{
    if (p->definition->name)
        return refuse(p, "the name is given a second time");
    if (!definition_name_ok(value))
        return refuse(p, "'%.*s' is no name: a letter or _, then letters, digits and _, %d at most",
                      BYTES_PRINT(value), VIEW_NAME_SIZE_MAX);
    p->definition->name = bytes_dup_string(value);
    return p->definition->name ? 0 : -ENOMEM;
}

static int header_version(struct parser *p, struct bytes value)
{
    if (p->has_version)
        return refuse(p, "the version is given a second time");
    if (bytes_parse_u64(value, &p->definition->version) != 0 || p->definition->version == 0)
        return refuse(p, "'%.*s' is no version: a whole number from 1 on", BYTES_PRINT(value));
    p->has_version = true;
    return 0;
}

static int header_uses(struct parser *p, struct bytes value)
{
    struct definition *d = p->definition;
    do {
        struct bytes use = take_word(&value, ',');
        if (!definition_name_ok(use))
            return refuse(p, "'%.*s' is no name of a view", BYTES_PRINT(use));
        for (size_t i = 0; i < d->use_count; i++) {
            if (bytes_equal(d->uses[i], use))
                return refuse(p, "view %.*s is listed a second time", BYTES_PRINT(use));
        }
        if (d->use_count == VIEW_QUERY_USES_MAX)
            return refuse(p, "a query uses at most %d views", VIEW_QUERY_USES_MAX);
        if (vector_reserve(&d->uses, &p->use_capacity, d->use_count + 1) < 0)
            return -ENOMEM;
        d->uses[d->use_count++] = use;
        if (value.size > 0 && value.data[0] != ',')
            return refuse(p, "views are separated by commas");
        value = bytes_slice(value, 1, value.size);
    } while (trim(value).size > 0);
    return 0;
}

static bool parse_type(struct bytes word, enum definition_type *ret_type)
{
    static const char *const words[] = {
        [DEFINITION_ANY] = "any",
        [DEFINITION_TEXT] = "text",
        [DEFINITION_INTEGER] = "integer",
        [DEFINITION_REAL] = "real",
        [DEFINITION_DATE] = "date",
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (bytes_equal_string(word, words[i])) {
            *ret_type = (enum definition_type)i;
            return true;
        }
    }
    return false;
}

/* "(month|year)": words, none of them empty. */
static bool take_choices(struct bytes type, struct bytes *ret_choices)
{
    bool word = false;
    if (type.size < 3 || type.data[0] != '(' || type.data[type.size - 1] != ')')
        return false;
    for (size_t i = 1; i < type.size; i++) {
        bool ends = type.data[i] == '|' || i == type.size - 1;
        if (ends && !word)
            return false;
        word = !ends;
    }
    *ret_choices = bytes_slice(type, 1, type.size - 2);
    return true;
}

/* NAME [TYPE] [= DEFAULT] */
static int header_param(struct parser *p, struct bytes value)
{
    struct definition *d = p->definition;
    struct definition_param param = {.name = take_word(&value, '=')};
    if (!definition_name_ok(param.name))
        return refuse(p, "'%.*s' is no name of a parameter", BYTES_PRINT(param.name));
    for (size_t i = 0; i < d->param_count; i++) {
        if (bytes_equal(d->params[i].name, param.name))
            return refuse(p, "parameter %.*s is declared a second time", BYTES_PRINT(param.name));
    }
    if (value.size > 0 && value.data[0] != '=') {
        struct bytes type = take_word(&value, '=');
        if (take_choices(type, &param.choices))
            param.type = DEFINITION_CHOICE;
        else if (!parse_type(type, &param.type))
            return refuse(p, "'%.*s' is no type of a parameter: text, integer, real, date, any or (WORD|WORD)",
                          BYTES_PRINT(type));
    }
    if (value.size > 0) {
        if (value.data[0] != '=')
            return refuse(p, "what follows parameter %.*s is no default: = VALUE", BYTES_PRINT(param.name));
        param.has_default = true;
        param.default_value = trim(bytes_slice(value, 1, value.size));
    }
    if (vector_reserve(&d->params, &p->param_capacity, d->param_count + 1) < 0)
        return -ENOMEM;
    d->params[d->param_count++] = param;
    return 0;
}

static const struct header {
    const char *key;
    enum definition_kind kind;
    int (*take)(struct parser *p, struct bytes value);
} headers[] = {
    {"view", DEFINITION_VIEW, header_name},    {"version", DEFINITION_VIEW, header_version},
    {"query", DEFINITION_QUERY, header_name},  {"uses", DEFINITION_QUERY, header_uses},
    {"param", DEFINITION_QUERY, header_param},
};

/* A comment before the SQL: a key of ours is taken, all else is a comment. */
static int take_header(struct parser *p, struct bytes comment)
{
    struct bytes rest = trim(comment);
    struct bytes key = take_word(&rest, ':');
    if (rest.size == 0 || rest.data[0] != ':')
        return 0;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        if (!bytes_equal_string(key, headers[i].key))
            continue;
        if (headers[i].kind != p->definition->kind)
            return refuse(p, "a %s has no '%s:'", p->definition->kind == DEFINITION_VIEW ? "view" : "query",
                          headers[i].key);
        return headers[i].take(p, trim(bytes_slice(rest, 1, rest.size)));
    }
    return 0;
}

/* --- sections --------------------------------------------------------------------------------------------------------------- */

/* A type as it stands, or in double quotes when it holds blanks or commas. */
static int take_type(struct parser *p, struct bytes *rest, struct bytes *ret_type)
{
    *rest = trim(*rest);
    if (rest->size > 0 && rest->data[0] == '"') {
        const uint8_t *end = memchr(rest->data + 1, '"', rest->size - 1);
        if (!end)
            return refuse(p, "the quote around a type is not closed");
        *ret_type = bytes_make(rest->data + 1, (size_t)(end - rest->data) - 1);
        *rest = trim(bytes_slice(*rest, ret_type->size + 2, rest->size));
    } else {
        *ret_type = take_word(rest, ',');
    }
    int rule = bytes_equal_string(*ret_type, "*") ? 0 : name_check(NAME_TYPE, *ret_type);
    if (rule != 0 && rule != NAME_E_SYSTEM)
        return refuse(p, "'%.*s' %s to be the type of an event", BYTES_PRINT(*ret_type), name_rule(rule));
    return 0;
}

static int take_section(struct parser *p, struct bytes types)
{
    struct definition *d = p->definition;
    if (vector_reserve(&d->sections, &p->section_capacity, d->section_count + 1) < 0)
        return -ENOMEM;
    struct definition_section *section = &d->sections[d->section_count++];
    *section = (struct definition_section){0};
    size_t capacity = 0;
    for (;;) {
        struct bytes type;
        int r = take_type(p, &types, &type);
        if (r != 0)
            return r;
        for (size_t i = 0; i < section->type_count; i++) {
            if (bytes_equal(section->types[i], type))
                return refuse(p, "type %.*s is listed a second time", BYTES_PRINT(type));
        }
        if (vector_reserve(&section->types, &capacity, section->type_count + 1) < 0)
            return -ENOMEM;
        section->types[section->type_count++] = type;
        if (types.size == 0)
            return 0;
        if (types.data[0] != ',')
            return refuse(
                p,
                "types after '-- on' are separated by commas (a type with blanks stands in double quotes)");
        types = bytes_slice(types, 1, types.size);
    }
}

/* Where SQL goes that comes now. */
static struct definition_part *open_part(struct parser *p)
{
    struct definition *d = p->definition;
    if (d->kind == DEFINITION_QUERY)
        return &d->select;
    return d->section_count == 0 ? &d->schema : &d->sections[d->section_count - 1].part;
}

static void extend_part(struct parser *p, struct bytes line)
{
    struct definition_part *part = open_part(p);
    if (!part->sql.data)
        *part = (struct definition_part){.sql = line, .line = p->line};
    part->sql.size = (size_t)(line.data + line.size - part->sql.data);
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

static int take_line(struct parser *p, struct bytes line)
{
    bool comment = p->scan == SCAN_SQL && bytes_starts_with(line, BYTES_LITERAL("--"));
    if (comment && p->definition->kind == DEFINITION_VIEW &&
        bytes_starts_with(line, BYTES_LITERAL("-- on "))) {
        p->in_body = true;
        return take_section(p, bytes_slice(line, 6, line.size));
    }
    if (!p->in_body && comment)
        return take_header(p, bytes_slice(line, 2, line.size));
    if (!p->in_body && trim(line).size == 0)
        return 0;
    p->in_body = true;
    scan_line(p, line);
    extend_part(p, line);
    return 0;
}

static int check_name(struct parser *p)
{
    const char *file = p->definition->file, *slash = strrchr(file, '/'), *name = p->definition->name;
    const char *base = slash ? slash + 1 : file;
    size_t size = strlen(base);
    if (size >= 4 && strcmp(base + size - 4, ".sql") == 0)
        size -= 4;
    if (!bytes_equal_string(bytes_make(base, size), name))
        return refuse(p, "the file is named %s, but what it defines is named %s", base, name);
    if (strncasecmp(name, "sqlite_", 7) == 0 || strncasecmp(name, "daybook_", 8) == 0 ||
        strcmp(name, "main") == 0 || strcmp(name, "temp") == 0)
        return refuse(p, "the name %s is not free", name);
    return 0;
}

/* What must have been said by the end of the file. */
static int check_complete(struct parser *p)
{
    const struct definition *d = p->definition;
    p->line = 1;
    if (!d->name)
        return refuse(p, "the line '-- %s: NAME' is missing", d->kind == DEFINITION_VIEW ? "view" : "query");
    int r = check_name(p);
    if (r != 0)
        return r;
    if (d->kind == DEFINITION_QUERY) {
        if (d->use_count == 0)
            return refuse(p, "the line '-- uses: VIEW[, VIEW]' is missing");
        return d->select.sql.size > 0 ? 0 : refuse(p, "there is no select");
    }
    if (!p->has_version)
        return refuse(p, "the line '-- version: NUMBER' is missing");
    if (d->schema.sql.size == 0)
        return refuse(p, "no tables are made before the first '-- on'");
    return d->section_count > 0 ? 0
                                : refuse(p, "there is no '-- on TYPE' section: the view would stay empty");
}

static int parse_lines(struct parser *p)
{
    for (size_t at = 0; at < p->text.size;) {
        const uint8_t *end = memchr(p->text.data + at, '\n', p->text.size - at);
        size_t size = end ? (size_t)(end - p->text.data) - at : p->text.size - at;
        p->line++;
        int r = take_line(p, bytes_slice(p->text, at, size));
        if (r != 0)
            return r;
        at += size + 1;
    }
    if (p->scan != SCAN_SQL)
        return refuse(p, "the file ends inside a string, a quoted name or a comment");
    return check_complete(p);
}

int definition_parse(enum definition_kind kind, const char *file, struct bytes text,
                     struct definition **ret_definition, char *ret_error)
{
    _cleanup_(definition_freep) struct definition *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->kind = kind;
    d->file = strdup(file);
    d->text = bytes_dup_string(text);
    d->text_size = text.size;
    if (!d->file || !d->text)
        return -ENOMEM;
    struct parser p = {.definition = d, .text = bytes_make(d->text, text.size), .error = ret_error};
    if (text.size > VIEW_FILE_SIZE_MAX)
        return refuse(&p, "the file is above %d bytes", VIEW_FILE_SIZE_MAX);
    if (!utf8_valid(p.text) || memchr(d->text, 0, text.size))
        return refuse(&p, "the file is not UTF-8 text");
    d->hash = hash_blake(p.text, (struct bytes){0});
    int r = parse_lines(&p);
    if (r == 0)
        *ret_definition = take_ptr(d);
    return r;
}

void definition_free(struct definition *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->section_count; i++)
        free(d->sections[i].types);
    free(d->sections);
    free(d->uses);
    free(d->params);
    free(d->name);
    free(d->file);
    free(d->text);
    free(d);
}

unsigned definition_line(struct definition_part part, size_t offset)
{
    unsigned line = part.line;
    for (size_t i = 0; i < offset && i < part.sql.size; i++)
        line += part.sql.data[i] == '\n';
    return line;
}

bool definition_handles(const struct definition *definition, struct bytes type)
{
    bool system = type.size > 0 && type.data[0] == '$';

    for (size_t s = 0; s < definition->section_count; s++)
        for (size_t t = 0; t < definition->sections[s].type_count; t++)
            if (bytes_equal(definition->sections[s].types[t], type) ||
                (!system && bytes_equal_string(definition->sections[s].types[t], "*")))
                return true;
    return false;
}

bool definition_compacts(const struct definition *definition)
{
    return definition_handles(definition, BYTES_LITERAL("$compacted"));
}
