/* cli: what every subcommand of `daybook` shares.
 *
 * A subcommand is one short file with one `struct cli_command`: its name, its options as a table, and run(). The table of
 * all of them (cli/main.c) feeds the dispatcher, `--help`, `daybook help NAME` and the test that holds the manual page
 * against it.
 *
 * Exit codes are the same everywhere: CLI_DONE, CLI_NO, CLI_USAGE, CLI_FAILED.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_exit {
    CLI_DONE = 0,   /* done; the answer is yes */
    CLI_NO = 1,     /* the answer is no: a conflict, a refusal, damage found, not caught up */
    CLI_USAGE = 2,  /* used wrongly: unknown option, missing argument */
    CLI_FAILED = 3, /* could not be done: no server, disk error */
};

enum cli_option_type { CLI_FLAG, CLI_TEXT, CLI_NUMBER };

/* One option. `target` is bool *, const char ** or uint64_t *, and holds the default before parsing. */
struct cli_option {
    const char *name;       /* "--url" */
    const char *value_name; /* "URL"; NULL for a flag */
    const char *help;       /* one line, no full stop */
    enum cli_option_type type;
    void *target;
    uint64_t min, max; /* CLI_NUMBER; max 0: no bound */
};

struct cli_command {
    const char *name;
    const char *arguments;            /* "FILE", "[NAME]", "" */
    const char *help;                 /* one line */
    const char *story;                /* a paragraph and an example, for `--help`; may be NULL */
    const struct cli_option *options; /* ends with a zero row */
    bool offline;                     /* it talks to no server: it does not take --url and --token-file */
    int argument_count_min, argument_count_max;
    int (*run)(int argument_count, char **arguments);
};

/* Options every subcommand has; set before run(). */
extern bool cli_json; /* --json: one JSON document for machines, on standard output */
extern const char
    *cli_url; /* --url, or DAYBOOK_URL, or http://127.0.0.1:7070: for those that talk to a server */
extern const char *cli_token_file; /* --token-file: for `serve` the file of hashes it lets in */
extern const char *cli_token; /* --token-file's first line or DAYBOOK_TOKEN: a bearer token, or NULL */

/* An error for a person on standard error: `daybook NAME: …`, with what to do about it. Returns `code`. */
int cli_error(enum cli_exit code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The subcommands. */
extern const struct cli_command cli_serve, cli_append, cli_read, cli_tail, cli_do_command, cli_query, cli_group,
    cli_consume, cli_import, cli_export, cli_verify, cli_index, cli_backup, cli_restore, cli_keygen, cli_checkpoint,
    cli_retention, cli_scavenge, cli_compact, cli_clock, cli_bench;

/* Of those, the one that nothing undoes. */
extern const struct cli_command cli_erase;
