/* fold: text as it is compared when case and composition do not matter: case folded, canonically composed (NFC). */
#pragma once

#include "base/bytes.h"

/* Append `text`, folded, to `out`. Bytes that are not UTF-8 stay as they are. 0, -ENOMEM, -E2BIG. */
_must_check_ int fold_text(struct bytes text, struct buffer *out);
