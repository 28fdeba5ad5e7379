/* The `daybook` program: find the subcommand, read its options, run it. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "output.h"
#include "version.h"

static const struct cli_command *const commands[] = {
    &cli_serve,  &cli_append, &cli_read,   &cli_tail,   &cli_do_command, &cli_query,
    &cli_group,  &cli_consume,
    &cli_import, &cli_export, &cli_verify, &cli_index, &cli_backup, &cli_restore, &cli_keygen, &cli_checkpoint,
    &cli_retention, &cli_scavenge, &cli_compact, &cli_clock, &cli_bench,
    &cli_erase,
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

bool cli_json;
const char *cli_url = "http://127.0.0.1:7070";
const char *cli_token;
const char *cli_token_file;

static const struct cli_command *current;
static bool help_wanted, version_wanted;

static const struct cli_option server_options[] = {
    {"--url", "URL", "the server to talk to, or unix:PATH (or DAYBOOK_URL)", CLI_TEXT, &cli_url, 0, 0},
    {"--token-file", "FILE", "a bearer token to send, in the first line of FILE (or DAYBOOK_TOKEN)", CLI_TEXT,
     &cli_token_file, 0, 0},
    {0},
};
static const struct cli_option common_options[] = {
    {"--json", NULL, "answer with one JSON document, for machines", CLI_FLAG, &cli_json, 0, 0},
    {"--help", NULL, "say this and stop", CLI_FLAG, &help_wanted, 0, 0},
    {"--version", NULL, "say the version and stop", CLI_FLAG, &version_wanted, 0, 0},
    {0},
};

int cli_error(enum cli_exit code, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "daybook%s%s: ", current ? " " : "", current ? current->name : "");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return code;
}

enum { OPTION_COLUMNS = 24 };

/* Columns that UTF-8 text takes on a terminal; narrow letters only. */
static int columns(const char *text)
{
    int count = 0;

    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void print_options(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        char left[64];

        snprintf(left, sizeof left, "%s %s", options->name, options->value_name ? options->value_name : "");
        printf("  %s%*s %s\n", left, OPTION_COLUMNS - columns(left), "", options->help);
    }
}

static void print_help(void)
{
    printf("daybook %s – an event store, its views and its circuit breaker\n\n"
           "usage: daybook COMMAND [OPTION…] [ARGUMENT…]\n\n",
           DAYBOOK_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->help);
    printf("\nEvery command that talks to a server takes:\n");
    print_options(server_options);
    printf("\nEvery command takes:\n");
    print_options(common_options);
    printf("\nExit code: 0 done, 1 the answer is no, 2 used wrongly, 3 failed.\n"
           "daybook COMMAND --help tells more, and the manual daybook(1) tells all.\n");
}

static void print_command_help(const struct cli_command *command)
{
    printf("usage: daybook %s [OPTION…]%s%s\n\n%c%s.\n", command->name, command->arguments[0] ? " " : "",
           command->arguments, toupper((unsigned char)command->help[0]), command->help + 1);
    if (command->story)
        printf("\n%s\n", command->story);
    if (command->options && command->options->name) {
        printf("\nOptions:\n");
        print_options(command->options);
    }
    if (!command->offline) {
        printf("\nThe server to talk to:\n");
        print_options(server_options);
    }
    printf("\nEvery command takes:\n");
    print_options(common_options);
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static const struct cli_option *find_option(const struct cli_option *options, const char *name, size_t size)
{
    for (; options && options->name; options++)
        if (strlen(options->name) == size && memcmp(options->name, name, size) == 0)
            return options;
    return NULL;
}

static int set_number(const struct cli_option *option, const char *value)
{
    char *end;

    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (errno || *end || end == value || value[0] == '-')
        return cli_error(CLI_USAGE, "%s takes a whole number, not \"%s\"", option->name, value);
    if (number < option->min || (option->max && number > option->max))
        return cli_error(CLI_USAGE, "%s takes %" PRIu64 " to %" PRIu64 ", not %s", option->name, option->min,
                         option->max, value);
    *(uint64_t *)option->target = number;
    return CLI_DONE;
}

static const struct cli_option *find_any_option(const struct cli_command *command, const char *name, size_t size)
{
    const struct cli_option *option = find_option(command->options, name, size);

    if (!option && !command->offline)
        option = find_option(server_options, name, size);
    return option ? option : find_option(common_options, name, size);
}

/* One option at arguments[*index]; moves *index over its value. */
static int take_option(const struct cli_command *command, char **arguments, int count, int *index)
{
    const char *text = arguments[*index];
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    const struct cli_option *option = find_any_option(command, text, size);

    if (!option)
        return cli_error(CLI_USAGE, "there is no option %.*s; --help lists them", (int)size, text);
    if (option->type == CLI_FLAG) {
        if (equals)
            return cli_error(CLI_USAGE, "%s takes no value", option->name);
        *(bool *)option->target = true;
        return CLI_DONE;
    }
    if (!equals && *index + 1 >= count)
        return cli_error(CLI_USAGE, "%s needs a value: %s %s", option->name, option->name,
                         option->value_name);
    const char *value = equals ? equals + 1 : arguments[++*index];
    if (option->type == CLI_NUMBER)
        return set_number(option, value);
    *(const char **)option->target = value;
    return CLI_DONE;
}

/* Options are taken out; what is left moves to the front. Returns an exit code, and how many are left. */
static int take_options(const struct cli_command *command, char **arguments, int count, int *ret_left)
{
    int left = 0;
    bool options_ended = false;

    for (int i = 0; i < count; i++) {
        if (!options_ended && strcmp(arguments[i], "--") == 0) {
            options_ended = true;
        } else if (!options_ended && arguments[i][0] == '-' && arguments[i][1] != '\0') {
            int code = take_option(command, arguments, count, &i);
            if (code != CLI_DONE)
                return code;
        } else {
            arguments[left++] = arguments[i];
        }
    }
    *ret_left = left;
    return CLI_DONE;
}

/* The first line of the file, whole: a token that was cut would only be refused. */
static int read_token(void)
{
    static char token[CLIENT_TOKEN_SIZE_MAX + 3]; /* with a line's end */

    cli_token = getenv("DAYBOOK_TOKEN");
    if (!cli_token_file || current == &cli_serve)
        return CLI_DONE;
    FILE *file = fopen(cli_token_file, "re");
    bool read = file && fgets(token, sizeof token, file);
    int reason = file && !read && !ferror(file) ? ENODATA : errno;
    if (file)
        fclose(file);
    if (!read)
        return cli_error(CLI_FAILED, "cannot read a token from %s: %s", cli_token_file,
                         reason == ENODATA ? "it is empty" : strerror(reason));
    token[strcspn(token, "\r\n")] = '\0';
    cli_token = token;
    return CLI_DONE;
}

static int run_command(const struct cli_command *command, char **arguments, int count)
{
    int left;

    current = command;
    int code = take_options(command, arguments, count, &left);
    if (code != CLI_DONE)
        return code;
    if (help_wanted) {
        print_command_help(command);
        return CLI_DONE;
    }
    if (version_wanted) {
        printf("daybook %s\n", DAYBOOK_VERSION);
        return CLI_DONE;
    }
    if (left < command->argument_count_min || left > command->argument_count_max)
        return cli_error(CLI_USAGE, "wrong number of arguments; it is: daybook %s [OPTION…] %s",
                         command->name, command->arguments);
    code = read_token();
    return code == CLI_DONE ? command->run(left, arguments) : code;
}

static int dispatch(int argument_count, char **arguments)
{
    const char *url = getenv("DAYBOOK_URL");

    if (url && *url)
        cli_url = url;
    if (argument_count < 2) {
        print_help();
        return CLI_USAGE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        const struct cli_command *asked = argument_count > 2 ? find_command(arguments[2]) : NULL;
        if (argument_count > 2 && !asked)
            return cli_error(CLI_USAGE, "there is no command \"%s\"; daybook --help lists them",
                             arguments[2]);
        if (asked)
            print_command_help(asked);
        else
            print_help();
        return CLI_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("daybook %s\n", DAYBOOK_VERSION);
        return CLI_DONE;
    }
    const struct cli_command *command = find_command(name);
    if (!command)
        return cli_error(CLI_USAGE, "there is no command \"%s\"; daybook --help lists them", name);
    return run_command(command, arguments + 2, argument_count - 2);
}

int main(int argument_count, char **arguments)
{
    output_open();
    return output_close(dispatch(argument_count, arguments));
}
