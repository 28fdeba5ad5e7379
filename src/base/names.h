#pragma once

/*
 * What streams, event types and tags may be called: 1 to 256 bytes of UTF-8, no control characters
 * (U+0000–U+001F, U+007F–U+009F), not "." or "..", no "/" in names of streams. Names that begin with "$" are
 * daybook's own.
 */

#include "base/bytes.h"

#define NAME_SIZE_MAX 256

enum name_kind { NAME_STREAM, NAME_TYPE, NAME_TAG };

enum {
    NAME_E_EMPTY = 1,
    NAME_E_LONG,
    NAME_E_UTF8,
    NAME_E_CONTROL,
    NAME_E_SLASH,
    NAME_E_DOT,
    NAME_E_RESERVED, /* name_type_is_reserved() */
    NAME_E_SYSTEM, /* the last rule looked at: the name is a good one, but only daybook itself may use it */
};

/* Which rule the name breaks: 0 or the first NAME_E_*, in the order above. */
_must_check_ int name_check(enum name_kind kind, struct bytes name);

/* Whether a type could be taken for one of the server's own frames in a subscription: it begins with "daybook.", blanks before
 * that not counted. New events must not have one; old ones may, and name_check() does not ask. */
bool name_type_is_reserved(struct bytes type);

/* The broken rule as the end of a sentence that begins with the name: "must not be empty". */
const char *name_rule(int answer);
