/* names: texts that people read to each other: of hotels, rooms and guests, and the numbers of reservations.
 *
 * A front desk compares them by eye. So a name shows what it holds: something that can be seen, words one blank apart, and
 * nothing that cannot be seen, moves the cursor or turns the direction of writing around.
 */
#pragma once

#include <daybook/app.h>

/* Whether the text, which is UTF-8, may be a name. */
bool name_is_good(struct daybook_text text);
