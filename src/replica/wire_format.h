/* wire_format: where each field stands. docs/formats/wire.md. */
#pragma once

#include <stdint.h>

enum { WIRE_FORMAT = 1 };

enum {
    HELLO_MAGIC = 0,
    HELLO_FORMAT = 8,
    HELLO_JOURNAL = 16,
    HELLO_AFTER = 32,
    HELLO_HEAD = 40,
    HELLO_CHAIN = 48,
    HELLO_CHECK = 92,
    WIRE_HELLO_SIZE = 96,
};

enum {
    BLOCK_MAGIC = 0,
    BLOCK_BODY_SIZE = 4,
    BLOCK_FIRST = 8,
    BLOCK_HEAD = 16,
    BLOCK_COUNT = 24,
    BLOCK_BODY_CHECK = 28,
    BLOCK_CHAIN = 32,
    BLOCK_CHECK = 68,
    WIRE_BLOCK_SIZE = 72,
};

enum {
    RECORD_HEAD_SIZE = 0,
    RECORD_BODY_SIZE = 4,
    RECORD_FLAGS = 8,
    RECORD_RESERVED = 12,
    RECORD_EPOCH = 16,
    RECORD_SALT = 24,
    WIRE_RECORD_SIZE = 40,
};

static const uint8_t wire_magic[8] = {'d', 'a', 'y', 'b', 'o', 'o', 'k', 'w'};
static const uint8_t wire_block_magic[4] = {'D', 'W', 'B', 'K'};
