/* schema: the part of a view's file that makes its tables, as SQLite is given it.
 *
 * SQLite takes an affinity from a declared type by its letters, and "json" has none that it knows: such a column would be
 * NUMERIC, and the JSON 12345678901234567890, 1.10 or 1e400 would be stored as some double near it. So a column declared
 * `json` is declared `json blob`, of which SQLite keeps every value as it is given.
 */
#pragma once

#include "base/bytes.h"

/* Append `sql` to `out`, columns declared so that values stay as they are; line breaks stay where they are. 0, -ENOMEM,
 * -E2BIG. */
_must_check_ int schema_declare(struct bytes sql, struct buffer *out);
