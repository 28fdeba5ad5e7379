/* fields: a command's JSON against its table. All problems at once, each with the JSON pointer of its field.
 */
#pragma once

#include "base/json.h"
#include "command/memory.h"
#include "command/command.h"

struct command_violations {
    struct command_violation *items; /* in the arena; at most COMMAND_VIOLATION_COUNT_MAX */
    size_t count, total;             /* listed; found */
};

/* Check `object` (a JSON object) and take its values, in the order of the table; texts are copied to the
 * arena. 0; COMMAND_E_INVALID: ret_violations says why; -ENOMEM. */
_must_check_ int command_fields_read(const struct daybook_command *command, struct json_value object,
                                     struct arena *arena, struct daybook_value *ret_values,
                                     struct command_violations *ret_violations);

/* Whether a field of the table makes sense: min not above max, a known type. */
bool command_field_valid(const struct daybook_field *field);
