/* input: what a subcommand is given as its document: a literal argument, a file, or standard input. */
#pragma once

#include "base/bytes.h"

enum { CLI_INPUT_SIZE_MAX = 64 << 20 };

/* "-": standard input; "@FILE": that file; anything else: the argument itself. CLI_DONE, or an error printed. The
 * caller ends the buffer. */
int cli_read_input(const char *argument, struct buffer *ret_text);

/* The whole of a file ("-": standard input), CLI_INPUT_SIZE_MAX bytes at most. */
int cli_read_file(const char *name, struct buffer *ret_text);
