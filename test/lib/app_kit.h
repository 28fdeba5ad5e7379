#pragma once

/*
 * An application without daybook around it: events in an array, every state folded from the first of them, each time.
 * Slow and obviously right: what deciders are tested in, and what the runtime is compared with.
 */

#include "base/bytes.h"
#include <daybook/app.h>

struct app_kit;

/* How a command ended. Good until the kit is freed. */
struct app_kit_answer {
    int answer; /* 0 or COMMAND_E_* */
    struct bytes rule, sentence, facts;
    const char *problem; /* COMMAND_E_APP, or the first violation as "/pointer sentence" */
    size_t violation_count;
    size_t event_first, event_count; /* of the kit's events */
};

struct app_kit_event {
    struct bytes type, data;
    const struct bytes *tags;
    size_t tag_count;
};

/* Asserts that the application's table is right. */
struct app_kit *app_kit_new(daybook_app_fn *app);
void app_kit_free(struct app_kit *kit);

/* Decide a command and keep its events. Asserts that the JSON is JSON and the command known. */
struct app_kit_answer app_kit_command(struct app_kit *kit, const char *name, struct bytes json);

/* Put an event there as if it had been stored. */
void app_kit_event(struct app_kit *kit, const char *type, const char *tag, const char *json);

size_t app_kit_event_count(const struct app_kit *kit);
const struct app_kit_event *app_kit_event_at(const struct app_kit *kit, size_t index);
