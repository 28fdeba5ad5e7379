/* carry: texts on their way into SQL and out of it.
 *
 * SQLite's functions take U+0000 for the end of a text: `:data ->> 'v'` of "a\u0000b" and of "a\u0000c" would both be "a",
 * two events one key. So U+0000 never comes in. It is carried as U+FDD0 "0", and U+FDD0 itself, a noncharacter that hardly
 * anybody sends, as U+FDD0 "1": different texts stay different, and on the way out they are what they were. A text without
 * either is not touched.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/* A text of an event or of a question. *ret_carried is `text` itself, or lies in `out`, which is cleared first. 0, -ENOMEM,
 * -E2BIG. */
_must_check_ int carry_text(struct bytes text, struct buffer *out, struct bytes *ret_carried);
/* The same for JSON, in whose strings the two may be written as escapes. */
_must_check_ int carry_json(struct bytes json, struct buffer *out, struct bytes *ret_carried);

/* Whether a text from SQL holds something that was carried. */
bool carry_is_in(struct bytes text);
/* Append what it was. A text that is JSON gets it as escapes, so that it stays JSON. 0, -ENOMEM, -E2BIG. */
_must_check_ int carry_out(struct bytes text, struct buffer *out);
