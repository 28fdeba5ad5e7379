#include <stdlib.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "command/command.h"
#include "command/out.h"
#include "command/state.h"

enum { UPCAST_COUNT_MAX = 16 }; /* a chain of upcasters longer than this goes in circles */

static void event_deinit(struct daybook_event *event)
{
    json_doc_deinit(&event->doc);
    arena_deinit(&event->texts);
}

void command_folder_deinit(struct command_folder *folder)
{
    event_deinit(&folder->event);
    event_deinit(&folder->upcast);
    arena_deinit(&folder->memory);
}

/* ---- states ---- */

int command_state_new(const struct daybook_kind *kind, struct command_state **ret_state)
{
    _cleanup_(command_state_freep) struct command_state *state = calloc(1, sizeof(*state));
    if (!state)
        return -ENOMEM;

    state->kind = kind;
    state->view.size = kind->state_size;
    state->view.data = calloc(1, kind->state_size > 0 ? kind->state_size : 1);
    if (!state->view.data)
        return -ENOMEM;
    if (kind->init)
        kind->init(&state->view);
    if (state->failed)
        return -ENOMEM;
    *ret_state = take_ptr(state);
    return 0;
}

int command_state_copy(const struct command_state *state, struct command_state **ret_state)
{
    _cleanup_(command_state_freep) struct command_state *copy = malloc(sizeof(*copy));
    if (!copy)
        return -ENOMEM;

    *copy = *state;
    copy->view.data = malloc(state->view.size > 0 ? state->view.size : 1);
    if (!copy->view.data)
        return -ENOMEM;
    memcpy(copy->view.data, state->view.data, state->view.size);
    *ret_state = take_ptr(copy);
    return 0;
}

void command_state_free(struct command_state *state)
{
    if (!state)
        return;
    free(state->view.data);
    free(state);
}

size_t command_state_size(const struct command_state *state)
{
    return sizeof(*state) + state->view.size;
}

void *host_grow(struct daybook_state *view, size_t size)
{
    struct command_state *state = (struct command_state *)view;
    if (size <= view->size)
        return view->data;
    if (state->failed || size > DAYBOOK_STATE_SIZE_MAX) {
        state->failed = true;
        return NULL;
    }

    uint8_t *data = realloc(view->data, size);
    if (!data) {
        state->failed = true;
        return NULL;
    }
    memset(data + view->size, 0, size - view->size);
    view->data = data;
    view->size = size;
    return data;
}

/* ---- folding ---- */

static const struct daybook_upcaster *upcaster_find(const struct daybook_app *app, struct bytes type)
{
    for (size_t i = 0; i < app->upcaster_count; i++)
        if (bytes_equal_string(type, app->upcasters[i].type))
            return &app->upcasters[i];
    return NULL;
}

/* Makes `event` mean another stored event, or an upcast one. */
static void event_set(struct daybook_event *event, const struct daybook_event *from, struct bytes type,
                      struct bytes data)
{
    event->position = from->position;
    event->time_us = from->time_us;
    event->type = type;
    event->data = data;
    event->parsed = false;
}

/* Turns the folder's event into today's form; `out` keeps what was built until after evolve(). */
static int event_upcast(struct command_folder *folder, struct daybook_out *out)
{
    for (int i = 0; i < UPCAST_COUNT_MAX; i++) {
        const struct daybook_upcaster *upcaster = upcaster_find(folder->app, folder->event.type);
        if (!upcaster)
            return 0;

        event_set(&folder->upcast, &folder->event, folder->event.type, folder->event.data);
        command_out_clear(out);
        upcaster->upcast(&folder->upcast, out);
        int r = command_out_finish(out);
        if (r < 0)
            return r;
        if (r > 0 || out->refused || out->event_count != 1)
            return COMMAND_E_APP;
        event_set(&folder->event, &folder->upcast, out->events[0].type, out->events[0].data);
    }
    return COMMAND_E_APP;
}

/* Daybook's own event on the tag, `$compacted`, says nothing new. */
static bool is_system(const struct journal_event *stored)
{
    return stored->type.size > 0 && stored->type.data[0] == '$';
}

int command_state_fold(struct command_state *state, struct command_folder *folder,
                       const struct journal_event *stored)
{
    if (is_system(stored)) {
        state->position = stored->position;
        return 0;
    }
    if (stored->stub)
        return COMMAND_E_SCAVENGED;
    folder->about_subject |= stored->subject.size > 0 || stored->erased || stored->sealed;
    const bool json =
        stored->content_type.size == 0 || bytes_equal_string(stored->content_type, "application/json");
    struct daybook_event as_stored = {.position = stored->position, .time_us = stored->time_us};
    event_set(&folder->event, &as_stored, stored->type,
              json ? stored->data : (struct bytes){0});

    struct daybook_out out = {.app = folder->app, .arena = &folder->memory};
    int r = 0;
    if (folder->app->upcaster_count > 0)
        r = event_upcast(folder, &out);
    if (r == 0) {
        state->kind->evolve(&state->view, &folder->event);
        folder->folded++;
        state->position = stored->position;
        r = state->failed ? COMMAND_E_APP : 0;
    }
    command_out_deinit(&out);
    arena_reset(&folder->memory);
    arena_reset(&folder->event.texts);
    arena_reset(&folder->upcast.texts);
    return r;
}

/* ---- what evolve() may ask of an event ---- */

struct daybook_text host_event_type(const struct daybook_event *event)
{
    return (struct daybook_text){(const char *)event->type.data, event->type.size};
}

uint64_t host_event_position(const struct daybook_event *event)
{
    return event->position;
}

int64_t host_event_time_us(const struct daybook_event *event)
{
    return event->time_us;
}

/* One step of a JSON pointer: the member or item that `token`, still escaped, names. */
static struct json_value pointer_step(struct json_value value, struct bytes token)
{
    char key[DAYBOOK_NAME_SIZE_MAX + 1];
    size_t size = 0;
    for (size_t i = 0; i < token.size; i++) {
        if (size == sizeof(key) - 1)
            return (struct json_value){0};
        char c = (char)token.data[i];
        if (c == '~' && i + 1 < token.size)
            c = token.data[++i] == '1' ? '/' : '~';
        key[size++] = c;
    }
    key[size] = '\0';
    if (json_type(value) == JSON_OBJECT)
        return json_get(value, key);

    uint64_t index;
    if (json_type(value) != JSON_ARRAY || bytes_parse_u64(bytes_make(key, size), &index) != 0)
        return (struct json_value){0};
    struct json_cursor cursor = json_walk(value);
    for (uint64_t i = 0; json_next(&cursor); i++)
        if (i == index)
            return cursor.value;
    return (struct json_value){0};
}

/* The value a getter asks for. Data is parsed once an event, when first asked for, into memory that stays. */
static struct json_value event_find(const struct daybook_event *event, const char *name)
{
    struct daybook_event *own = (struct daybook_event *)event; /* made by command_state_fold(), not const */
    if (!own->parsed) {
        own->parsed = true;
        if (json_parse(own->data, &own->doc, NULL) != 0)
            json_doc_deinit(&own->doc); /* not JSON: every member is missing */
    }
    struct json_value value = json_root(&own->doc);
    if (name[0] != '/')
        return json_get(value, name);

    struct bytes rest = bytes_from_string(name + 1);
    for (;;) {
        const uint8_t *slash = rest.size > 0 ? memchr(rest.data, '/', rest.size) : NULL;
        size_t size = slash ? (size_t)(slash - rest.data) : rest.size;
        value = pointer_step(value, bytes_slice(rest, 0, size));
        if (!slash)
            return value;
        rest = bytes_slice(rest, size + 1, rest.size);
    }
}

bool host_get_text(const struct daybook_event *event, const char *name, struct daybook_text *ret_text)
{
    struct json_value value = event_find(event, name);
    struct bytes text;
    if (!json_string_plain(value, &text)) {
        _cleanup_(buffer_deinit) struct buffer unescaped = {0};
        if (json_string(value, &unescaped) != 0)
            return false;
        text = memory_copy(&((struct daybook_event *)event)->texts, buffer_bytes(&unescaped));
        if (!text.data)
            return false;
    }
    *ret_text = (struct daybook_text){(const char *)text.data, text.size};
    return true;
}

bool host_get_integer(const struct daybook_event *event, const char *name, int64_t *ret_integer)
{
    return json_i64(event_find(event, name), ret_integer) == 0;
}

bool host_get_boolean(const struct daybook_event *event, const char *name, bool *ret_boolean)
{
    return json_bool(event_find(event, name), ret_boolean) == 0;
}

bool host_get_date(const struct daybook_event *event, const char *name, int64_t *ret_days)
{
    struct bytes text;
    return json_string_plain(event_find(event, name), &text) && time_parse_date(text, ret_days) == 0;
}
