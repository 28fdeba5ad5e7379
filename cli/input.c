/* Reading a subcommand's document. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "input.h"

int cli_read_file(const char *name, struct buffer *ret_text)
{
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    char chunk[65536];
    size_t size;
    int r = 0;

    if (!file)
        return cli_error(CLI_FAILED, "cannot read %s: %s", name, strerror(errno));
    buffer_init(ret_text, CLI_INPUT_SIZE_MAX);
    while (r == 0 && (size = fread(chunk, 1, sizeof chunk, file)) > 0)
        r = buffer_append(ret_text, chunk, size);
    if (ferror(file))
        r = -EIO;
    if (file != stdin)
        fclose(file);
    if (r == 0)
        return CLI_DONE;
    buffer_deinit(ret_text);
    return cli_error(CLI_FAILED, "cannot read %s: %s", name,
                     r == -E2BIG ? "it is larger than 64 MiB" : strerror(-r));
}

int cli_read_input(const char *argument, struct buffer *ret_text)
{
    if (strcmp(argument, "-") == 0 || argument[0] == '@')
        return cli_read_file(argument[0] == '@' ? argument + 1 : argument, ret_text);
    buffer_init(ret_text, CLI_INPUT_SIZE_MAX);
    int r = buffer_append_string(ret_text, argument);
    return r < 0 ? cli_error(CLI_FAILED, "%s", strerror(-r)) : CLI_DONE;
}
