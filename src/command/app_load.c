#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "command/app_load.h"
#include "command/command.h"
#include "command/fields.h"
#include "command/out.h"
#include "command/state.h"

const struct daybook_host command_host = {
    .struct_size = sizeof(struct daybook_host),
    .version = DAYBOOK_APP_VERSION,
    .tag = host_tag,
    .event_type = host_event_type,
    .event_position = host_event_position,
    .event_time_us = host_event_time_us,
    .get_text = host_get_text,
    .get_integer = host_get_integer,
    .get_boolean = host_get_boolean,
    .get_date = host_get_date,
    .grow = host_grow,
    .event = host_event,
    .event_tag = host_event_tag,
    .refuse = host_refuse,
    .put_text = host_put_text,
    .put_integer = host_put_integer,
    .put_boolean = host_put_boolean,
    .put_date = host_put_date,
    .put_null = host_put_null,
    .open_object = host_open_object,
    .open_array = host_open_array,
    .close = host_close,
    .event_subject = host_event_subject,
};

static _printf_(2, 3) int refuse(char *ret_error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_error, APP_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return COMMAND_E_APP;
}

int app_load(const char *path, daybook_app_fn **ret_app, char *ret_error)
{
    /* realpath(): a bare "app.so" would make dlopen() search the system's folders instead. */
    _cleanup_(freep) char *absolute = realpath(path, NULL);
    if (!absolute)
        return refuse(ret_error, "%s: %s", path, strerror(errno));

    void *library = dlopen(absolute, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return refuse(ret_error, "cannot load the application: %s", dlerror());

    void *symbol = dlsym(library, DAYBOOK_APP_SYMBOL);
    if (!symbol) {
        dlclose(library);
        return refuse(ret_error, "%s does not export %s(): is it an application for daybook?", path,
                      DAYBOOK_APP_SYMBOL);
    }
    *ret_app = (daybook_app_fn *)symbol;
    return 0;
}

/* Letters, digits, `-` and `_`, 1…DAYBOOK_NAME_SIZE_MAX bytes. */
static bool name_valid(const char *name)
{
    if (!name || name[0] == '\0' || strnlen(name, DAYBOOK_NAME_SIZE_MAX + 1) > DAYBOOK_NAME_SIZE_MAX)
        return false;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' ||
              *c == '_'))
            return false;
    return true;
}

static int check_kinds(const struct daybook_app *app, char *ret_error)
{
    if (app->kind_count == 0 || app->kind_count > DAYBOOK_KIND_COUNT_MAX || !app->kinds)
        return refuse(ret_error, "the application has %zu kinds of tag, not 1 to %d", app->kind_count,
                      DAYBOOK_KIND_COUNT_MAX);
    for (size_t i = 0; i < app->kind_count; i++) {
        const struct daybook_kind *kind = &app->kinds[i];
        if (!name_valid(kind->prefix))
            return refuse(ret_error, "kind %zu of the application has no valid prefix", i);
        if (kind->state_size > DAYBOOK_STATE_SIZE_MAX)
            return refuse(ret_error, "kind %s: a state of %zu bytes is above DAYBOOK_STATE_SIZE_MAX (%d)",
                          kind->prefix, kind->state_size, DAYBOOK_STATE_SIZE_MAX);
        if (!kind->evolve)
            return refuse(ret_error, "kind %s has no evolve()", kind->prefix);
        for (size_t j = 0; j < i; j++)
            if (strcmp(kind->prefix, app->kinds[j].prefix) == 0)
                return refuse(ret_error, "kind %s is in the table twice", kind->prefix);
    }
    return 0;
}

static int check_fields(const struct daybook_command *command, char *ret_error)
{
    if (command->field_count > DAYBOOK_FIELD_COUNT_MAX || (command->field_count > 0 && !command->fields))
        return refuse(ret_error, "command %s has %zu fields, at most %d are allowed", command->name,
                      command->field_count, DAYBOOK_FIELD_COUNT_MAX);
    for (size_t i = 0; i < command->field_count; i++) {
        const struct daybook_field *field = &command->fields[i];
        if (!name_valid(field->name))
            return refuse(ret_error, "command %s: field %zu has no valid name", command->name, i);
        if (!command_field_valid(field))
            return refuse(ret_error, "command %s: field %s has no valid type or limits", command->name,
                          field->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(field->name, command->fields[j].name) == 0)
                return refuse(ret_error, "command %s: field %s is in the table twice", command->name,
                              field->name);
    }
    return 0;
}

static int check_commands(const struct daybook_app *app, char *ret_error)
{
    if (app->command_count == 0 || app->command_count > DAYBOOK_COMMAND_COUNT_MAX || !app->commands)
        return refuse(ret_error, "the application has %zu commands, not 1 to %d", app->command_count,
                      DAYBOOK_COMMAND_COUNT_MAX);
    for (size_t i = 0; i < app->command_count; i++) {
        const struct daybook_command *command = &app->commands[i];
        if (!name_valid(command->name))
            return refuse(ret_error, "command %zu of the application has no valid name", i);
        if (!command->tags || !command->decide)
            return refuse(ret_error, "command %s has no %s()", command->name,
                          command->tags ? "decide" : "tags");
        int r = check_fields(command, ret_error);
        if (r != 0)
            return r;
        for (size_t j = 0; j < i; j++)
            if (strcmp(command->name, app->commands[j].name) == 0)
                return refuse(ret_error, "command %s is in the table twice", command->name);
    }
    return 0;
}

static int check_upcasters(const struct daybook_app *app, char *ret_error)
{
    for (size_t i = 0; i < app->upcaster_count; i++)
        if (!app->upcasters || !app->upcasters[i].type || !app->upcasters[i].upcast)
            return refuse(ret_error, "upcaster %zu of the application has no type or no upcast()", i);
    return 0;
}

int app_init(daybook_app_fn *app, struct daybook_app *ret_table, char *ret_error)
{
    struct daybook_app table = {.struct_size = sizeof(table)};
    int r = app(&command_host, &table);
    if (r != 0)
        return refuse(ret_error, "the application says it cannot run on this server (%d)", r);
    if (table.struct_size != sizeof(table))
        return refuse(ret_error,
                      "the application changed struct_size: it was compiled against another daybook/app.h");
    if (table.version != DAYBOOK_APP_VERSION)
        return refuse(ret_error,
                      "the application is made for version %u of daybook/app.h, this server has version %u",
                      table.version, DAYBOOK_APP_VERSION);
    if (!table.name || !utf8_valid(bytes_from_string(table.name)))
        return refuse(ret_error, "the application has no name");

    r = check_kinds(&table, ret_error);
    if (r == 0)
        r = check_commands(&table, ret_error);
    if (r == 0)
        r = check_upcasters(&table, ret_error);
    if (r == 0)
        *ret_table = table;
    return r;
}
