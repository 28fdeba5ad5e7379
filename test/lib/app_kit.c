#include "lib/app_kit.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vector.h"
#include "command/app_load.h"
#include "command/fields.h"
#include "command/out.h"
#include "command/state.h"

struct app_kit {
    struct daybook_app app;
    struct arena arena;
    struct app_kit_event *events;
    size_t event_count, event_capacity;
};

struct app_kit *app_kit_new(daybook_app_fn *app)
{
    struct app_kit *kit = calloc(1, sizeof(*kit));
    assert(kit);
    char error[APP_ERROR_SIZE] = "";
    int r = app_init(app, &kit->app, error);
    if (r != 0)
        fprintf(stderr, "app_kit: %s\n", error);
    assert(r == 0);
    return kit;
}

void app_kit_free(struct app_kit *kit)
{
    arena_deinit(&kit->arena);
    free(kit->events);
    free(kit);
}

static void keep(struct app_kit *kit, struct app_kit_event event)
{
    int r = vector_reserve(&kit->events, &kit->event_capacity, kit->event_count + 1);
    assert(r == 0);
    kit->events[kit->event_count++] = event;
}

void app_kit_event(struct app_kit *kit, const char *type, const char *tag, const char *json)
{
    struct bytes *tags = arena_alloc_array(&kit->arena, 1, sizeof(*tags));
    assert(tags);
    *tags = memory_copy(&kit->arena, bytes_from_string(tag));
    keep(kit, (struct app_kit_event){.type = memory_copy(&kit->arena, bytes_from_string(type)),
                                     .data = memory_copy(&kit->arena, bytes_from_string(json)),
                                     .tags = tags,
                                     .tag_count = 1});
}

static bool has_tag(const struct app_kit_event *event, struct bytes tag)
{
    for (size_t i = 0; i < event->tag_count; i++)
        if (bytes_equal(event->tags[i], tag))
            return true;
    return false;
}

/* The tag's state from the very first event on; -errno when the application could not carry it. */
static int fold(struct app_kit *kit, const struct command_boundary_tag *tag, struct command_state **ret_state)
{
    struct command_folder folder = {.app = &kit->app};
    struct command_state *state = NULL;
    int r = command_state_new(tag->kind, &state);
    for (size_t i = 0; i < kit->event_count && r == 0; i++) {
        const struct app_kit_event *event = &kit->events[i];
        if (has_tag(event, tag->tag))
            r = command_state_fold(
                state, &folder,
                &(struct journal_event){.position = i + 1, .type = event->type, .data = event->data});
    }
    command_folder_deinit(&folder);
    *ret_state = state;
    return r;
}

static void decide(struct app_kit *kit, const struct daybook_command *command,
                   const struct daybook_value *values, const struct daybook_tags *tags,
                   struct app_kit_answer *answer)
{
    struct command_state *states[DAYBOOK_BOUNDARY_COUNT_MAX] = {0};
    const struct daybook_state *views[DAYBOOK_BOUNDARY_COUNT_MAX];
    struct daybook_out out = {.app = &kit->app, .arena = &kit->arena};
    int r = 0;
    for (size_t i = 0; i < tags->count && r == 0; i++) {
        r = fold(kit, &tags->items[i], &states[i]);
        views[i] = &states[i]->view;
    }
    if (r == 0) {
        command->decide(views, values, &out);
        r = command_out_finish(&out);
    }
    answer->problem = out.problem;
    answer->answer = r < 0 ? COMMAND_E_APP : r > 0 ? r : out.refused ? COMMAND_E_REJECTED : 0;
    answer->rule = out.rule;
    answer->sentence = out.sentence;
    answer->facts = out.facts;
    for (size_t i = 0; i < out.event_count && answer->answer == 0; i++, answer->event_count++)
        keep(kit, (struct app_kit_event){.type = out.events[i].type,
                                         .data = out.events[i].data,
                                         .tags = out.events[i].tags,
                                         .tag_count = out.events[i].tag_count});
    for (size_t i = 0; i < tags->count; i++)
        command_state_free(states[i]);
    command_out_deinit(&out);
}

static const struct daybook_command *find(const struct daybook_app *app, const char *name)
{
    for (size_t i = 0; i < app->command_count; i++)
        if (strcmp(app->commands[i].name, name) == 0)
            return &app->commands[i];
    assert(!"the command is known");
    return NULL;
}

struct app_kit_answer app_kit_command(struct app_kit *kit, const char *name, struct bytes json)
{
    const struct daybook_command *command = find(&kit->app, name);
    struct daybook_value *values = arena_alloc_array(&kit->arena, command->field_count, sizeof(*values));
    struct app_kit_answer answer = {.event_first = kit->event_count};
    struct command_violations violations = {0};
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    int r = json_parse(json, &doc, NULL);
    assert(r == 0);

    answer.answer = command_fields_read(command, json_root(&doc), &kit->arena, values, &violations);
    if (answer.answer != 0) {
        answer.violation_count = violations.total;
        answer.problem = memory_printf(&kit->arena, "%.*s %.*s", BYTES_PRINT(violations.items[0].pointer),
                                       BYTES_PRINT(violations.items[0].sentence));
        return answer;
    }
    struct daybook_tags tags = {.app = &kit->app, .arena = &kit->arena};
    command->tags(values, &tags);
    answer.answer = command_tags_finish(&tags);
    answer.problem = tags.problem;
    if (answer.answer == 0)
        decide(kit, command, values, &tags, &answer);
    return answer;
}

size_t app_kit_event_count(const struct app_kit *kit)
{
    return kit->event_count;
}

const struct app_kit_event *app_kit_event_at(const struct app_kit *kit, size_t index)
{
    assert(index < kit->event_count);
    return &kit->events[index];
}
