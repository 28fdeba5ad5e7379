#include "lib/command_kit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "os/clock.h"
#include "os/thread.h"

enum { WAIT_S_MAX = 20 };

static struct os_mutex lock = OS_MUTEX_INIT;
static struct os_cond done;

/* A condition waits by the monotonic clock, which no static initializer can say. */
__attribute__((constructor)) static void init_done(void)
{
    os_cond_init(&done);
}

static void keep(char *to, size_t size, struct bytes text)
{
    snprintf(to, size, "%.*s", BYTES_PRINT(text));
}

static void keep_event(struct kit_command *command, const struct command_event *event)
{
    command->first_position = event->position;
    keep(command->type, sizeof(command->type), event->type);
    keep(command->data, sizeof(command->data), event->data);
    command->tags[0] = '\0';
    for (size_t i = 0, used = 0; i < event->tag_count && used < sizeof(command->tags); i++)
        used += (size_t)snprintf(command->tags + used, sizeof(command->tags) - used, "%s%.*s", i ? " " : "",
                                 BYTES_PRINT(event->tags[i]));
}

static void on_done(void *user, const struct command_result *result)
{
    struct kit_command *command = user;
    command->answer = result->answer;
    command->journal_answer = result->journal_answer;
    command->position = result->position;
    command->replayed = result->replayed;
    command->event_count = result->event_count;
    command->violation_total = result->violation_total;
    keep(command->rule, sizeof(command->rule), result->rule);
    keep(command->sentence, sizeof(command->sentence), result->sentence);
    keep(command->facts, sizeof(command->facts), result->facts);
    assert(result->detail);
    snprintf(command->detail, sizeof(command->detail), "%s", result->detail);
    if (result->event_count > 0)
        keep_event(command, &result->events[0]);

    os_mutex_lock(&lock);
    command->done = true;
    command->done_count++;
    os_cond_broadcast(&done);
    os_mutex_unlock(&lock);
}

void kit_command_submit(struct command_runtime *runtime, struct kit_command *command, const char *name,
                        const char *json, const char *key, const char *caller)
{
    memset(command, 0, sizeof(*command));
    command_submit(runtime, &(struct command_request){.name = bytes_from_string(name),
                                                      .body = bytes_from_string(json),
                                                      .key = bytes_from_string(key),
                                                      .caller = bytes_from_string(caller),
                                                      .done = on_done,
                                                      .user = command});
}

void kit_command_wait(struct kit_command *command)
{
    uint64_t deadline_ns = os_monotonic_ns() + WAIT_S_MAX * OS_NS_PER_SECOND;
    os_mutex_lock(&lock);
    while (!command->done && os_cond_wait_until(&done, &lock, deadline_ns))
        continue;
    assert(command->done);
    os_mutex_unlock(&lock);
}

bool kit_command_is_done(struct kit_command *command)
{
    os_mutex_lock(&lock);
    bool is = command->done;
    os_mutex_unlock(&lock);
    return is;
}

int kit_command(struct command_runtime *runtime, struct kit_command *command, const char *name,
                const char *json, const char *key)
{
    kit_command_submit(runtime, command, name, json, key, NULL);
    kit_command_wait(command);
    return command->answer;
}
