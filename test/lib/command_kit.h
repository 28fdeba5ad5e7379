/* command_kit: send a command to a runtime and keep what it answered. */
#pragma once

#include "command/command.h"

/* A command under way, and its answer as plain strings. */
struct kit_command {
    int answer, journal_answer;
    uint64_t position;
    bool replayed;
    size_t event_count, violation_total;
    uint64_t first_position;
    char rule[64], sentence[256], facts[8192], detail[512];
    char type[64], data[8192], tags[512]; /* of the first event; tags with a blank between */
    bool done;
    unsigned done_count; /* must be 1 in the end (C6) */
};

/* Send it; `key`, `caller` NULL: none. The command stays until it is done. */
void kit_command_submit(struct command_runtime *runtime, struct kit_command *command, const char *name,
                        const char *json, const char *key, const char *caller);
/* Wait for it, at most 20 s; fails the test otherwise. */
void kit_command_wait(struct kit_command *command);
/* Whether it is done by now. */
bool kit_command_is_done(struct kit_command *command);

/* Both; returns the answer. */
int kit_command(struct command_runtime *runtime, struct kit_command *command, const char *name,
                const char *json, const char *key);
