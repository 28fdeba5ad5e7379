#pragma once

/* jansson, the second opinion of json_test.c, in a file of its own: some of its names are ours too. */

#include "base/bytes.h"

enum peer_opinion {
    PEER_ACCEPTS,
    PEER_REFUSES,
    PEER_CANNOT, /* beyond jansson's own limits: large numbers, NUL in keys */
};

enum peer_opinion peer_parse(struct bytes text);

/* Whether both texts are JSON of the same value. */
bool peer_same_value(struct bytes a, struct bytes b);
