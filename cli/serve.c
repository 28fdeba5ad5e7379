/* daybook serve: the server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "listen.h"
#include "server/server.h"

enum { LIMIT_COUNT_MAX = 32 };

static const char *data_folder = "data", *listen_at, *follow, *hosts, *limits, *log_format;
static const char *durability = "sync";
static const char *checkpoint_key;
static bool keys_lost;
static const char *jwks, *issuer, *audience;
static uint64_t scavenge_every, scrub = SERVER_SCRUB_RATE_DEFAULT;
static bool limits_wanted;
static const char *memory;

/* --host NAME[,NAME…]; `text` is cut up. */
static int read_hosts(struct server_options *options, char *text)
{
    for (char *name = text; name; name = text) {
        text = strchr(name, ',');
        if (text)
            *text++ = '\0';
        if (options->host_count == SERVER_HOST_COUNT_MAX)
            return cli_error(CLI_USAGE, "--host takes %d names", SERVER_HOST_COUNT_MAX);
        options->hosts[options->host_count++] = name;
    }
    return CLI_DONE;
}

/* --limit NAME=VALUE[,NAME=VALUE…] */
static int read_limits(struct server_options *options)
{
    for (const char *at = limits; at && *at;) {
        size_t size = strcspn(at, ","), name_size = strcspn(at, "=,");
        char *end;
        errno = 0;
        unsigned long long value = at[name_size] == '=' ? strtoull(at + name_size + 1, &end, 10) : 0;
        if (at[name_size] != '=' || errno || end != at + size || end == at + name_size + 1 ||
            at[name_size + 1] == '-')
            return cli_error(CLI_USAGE, "--limit takes NAME=NUMBER, not \"%.*s\"", (int)size, at);
        if (server_limit_set(options, at, name_size, value) != 0)
            return cli_error(CLI_USAGE, "there is no limit \"%.*s\"; daybook serve --limits lists them",
                             (int)name_size, at);
        at += size + (at[size] == ',');
    }
    return CLI_DONE;
}

/* --memory SIZE: a number with K, M or G behind it, or of bytes. */
static int read_memory(struct server_options *options)
{
    static const char units[] = "KMG";
    char *end = NULL;
    const char *unit;

    if (!memory)
        return CLI_DONE;
    errno = 0;
    unsigned long long size = *memory >= '0' && *memory <= '9' ? strtoull(memory, &end, 10) : 0;
    unit = end && *end ? strchr(units, *end) : NULL;
    if (!end || errno || size > UINT64_MAX >> 31 || (*end && (!unit || end[1])))
        return cli_error(CLI_USAGE, "--memory takes a size such as 256M, not \"%s\"", memory);
    options->memory = size << (unit ? 10 * (unit - units + 1) : 0);
    if (options->memory < SERVER_MEMORY_MIN)
        return cli_error(CLI_USAGE, "--memory %s: the server needs at least 64M", memory);
    return CLI_DONE;
}

static void print_limit(void *user, const struct limit_row *row)
{
    bool *first = user;

    if (cli_json)
        printf("%s{\"name\":\"%s\",\"default\":%llu,\"unit\":\"%s\",\"sentence\":\"%s\"}", *first ? "" : ",",
               row->name, (unsigned long long)row->value_default, row->unit, row->sentence);
    else
        printf("  %-30s %10llu %s %s\n", row->name, (unsigned long long)row->value_default, row->unit,
               row->sentence);
    *first = false;
}

static int print_limits(void)
{
    bool first = true;

    fputs(cli_json ? "[" : "", stdout);
    server_limit_each(print_limit, &first);
    fputs(cli_json ? "]\n" : "", stdout);
    return CLI_DONE;
}

static int read_options(struct server_options *options, char *host_text)
{
    int code = cli_read_listen(listen_at, options);

    options->data_folder = data_folder;
    options->follow = follow;
    options->token_file = cli_token_file;
    options->checkpoint_key = checkpoint_key;
    options->keys_lost = keys_lost;
    options->jwks_file = jwks;
    options->scavenge_every_s = (uint32_t)scavenge_every;
    options->scrub_rate = scrub;
    options->issuer = issuer;
    options->audience = audience;
    options->leader_token = cli_token;
    options->ready_json = cli_json;
    if (log_format && strcmp(log_format, "json") != 0)
        return cli_error(CLI_USAGE, "--log takes json, not \"%s\"", log_format);
    options->log_json = log_format != NULL;
    if (strcmp(durability, "sync") != 0 && strcmp(durability, "async") != 0)
        return cli_error(CLI_USAGE, "--durability takes sync or async, not \"%s\"", durability);
    options->async = strcmp(durability, "async") == 0;
    if (code == CLI_DONE && host_text)
        code = read_hosts(options, host_text);
    if (code == CLI_DONE)
        code = read_memory(options);
    return code == CLI_DONE ? read_limits(options) : code;
}

static int serve(int argument_count, char **arguments)
{
    struct server_options options;
    char error[SERVER_ERROR_SIZE] = "";
    char *host_text = hosts ? strdup(hosts) : NULL;

    if (limits_wanted)
        return print_limits();
    server_options_init(&options);
    int code = read_options(&options, host_text);
    if (code == CLI_DONE) {
        options.app_folder = argument_count > 0 ? arguments[0] : NULL;
        int r = server_run(&options, error);
        if (r != 0)
            code = cli_error(r == SERVER_E_USAGE ? CLI_USAGE : CLI_FAILED, "%s",
                             error[0] ? error : strerror(-r));
    }
    free(host_text);
    return code;
}

static const struct cli_option options_table[] = {
    {"--data", "DIR", "the data folder; made if missing (./data)", CLI_TEXT, &data_folder, 0, 0},
    {"--listen", "ADDR:PORT", "where to listen, or a port alone, or unix:PATH; port 0 picks a free one (127.0.0.1:7070)",
     CLI_TEXT, &listen_at, 0, 0},
    {"--follow", "URL", "be a read-only copy of the server at URL", CLI_TEXT, &follow, 0, 0},
    {"--host", "NAME,…", "names this server has in Host fields, besides localhost and addresses", CLI_TEXT,
     &hosts, 0, 0},
    {"--token-file", "FILE", "let in the tokens whose hashes stand in FILE; an address beyond loopback needs it",
     CLI_TEXT, &cli_token_file, 0, 0},
    {"--jwks", "FILE", "let in signed tokens (JWT) that a public key of FILE verifies", CLI_TEXT, &jwks, 0,
     0},
    {"--issuer", "TEXT", "with --jwks: what their iss must be", CLI_TEXT, &issuer, 0, 0},
    {"--audience", "TEXT", "with --jwks: what their aud must name", CLI_TEXT, &audience, 0, 0},
    {"--checkpoint-key", "FILE", "sign checkpoints with this private key: GET /v1/checkpoint", CLI_TEXT, &checkpoint_key,
     0, 0},
    {"--keys-lost", NULL, "start although keys are missing or damaged: what was sealed with them is given up", CLI_FLAG,
     &keys_lost, 0, 0},
    {"--scavenge-every", "SECONDS", "scavenge by itself so often; else only when asked to", CLI_NUMBER, &scavenge_every, 1,
     SERVER_SCAVENGE_S_MAX},
    {"--scrub", "RATE", "read the log again for damage, so many bytes a second; 0: never (4194304)", CLI_NUMBER, &scrub, 0,
     SERVER_SCRUB_RATE_MAX},
    {"--durability", "MODE",
     "sync: answered when on the disk; async: before, and shown then; a power cut loses up to a second (sync)", CLI_TEXT, &durability,
     0, 0},
    {"--memory", "SIZE", "what the server may use, such as 256M; limits follow from it (what there is)", CLI_TEXT,
     &memory, 0, 0},
    {"--limit", "NAME=N,…", "change limits", CLI_TEXT, &limits, 0, 0},
    {"--limits", NULL, "list the limits and stop", CLI_FLAG, &limits_wanted, 0, 0},
    {"--log", "json", "one JSON line a request, on standard error", CLI_TEXT, &log_format, 0, 0},
    {0},
};

const struct cli_command cli_serve = {
    .name = "serve",
    .arguments = "[APP]",
    .help = "serve a journal, and an application if APP names its folder",
    .story =
        "It says in one line where it listens when it is ready; SIGTERM drains and ends it. A service manager may pass the\n"
        "socket (LISTEN_FDS), is told READY and STOPPING (NOTIFY_SOCKET), and gets signs of life (WATCHDOG_USEC). An address "
        "beyond\n"
        "loopback needs --token-file FILE with the hashes of the tokens that are let in, one a line:\n"
        "  printf %s TOKEN | sha256sum >> FILE\n"
        "Behind a hash may stand what it is good for, reader, writer or operator; else it is everything.\n"
        "SIGHUP reads the file again, and so does a change of it.\n\n"
        "  daybook serve --data ./data build/examples/hotel",
    .options = options_table,
    .offline = true,
    .argument_count_max = 1,
    .run = serve,
};
