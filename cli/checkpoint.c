/* daybook keygen and daybook checkpoint: a key for signing, and how far a journal is, signed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli.h"
#include "journal/tools.h"
#include "os/random.h"
#include "output.h"
#include "places.h"

enum { KEY_PATH_SIZE_MAX = 4096 };

static const char *key_name, *key_file;

/* ---- keygen ---- */

/* A new file of one line, on the disk; never over an old one. */
static int write_new(const char *path, mode_t mode, struct buffer *line)
{
    if (buffer_append_byte(line, '\n') < 0)
        return cli_error(CLI_FAILED, "no memory");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return cli_error(errno == EEXIST ? CLI_NO : CLI_FAILED, "cannot make %s: %s", path,
                         errno == EEXIST ? "it is there already, and a key is not to be replaced" : strerror(errno));
    bool written = write(fd, line->data, line->size) == (ssize_t)line->size && fsync(fd) == 0;
    int reason = errno;
    if (close(fd) == 0 && written)
        return CLI_DONE;
    (void)unlink(path);
    return cli_error(CLI_FAILED, "cannot write %s: %s", path, strerror(reason));
}

static int write_keys(const char *path, const struct note_key *key)
{
    _cleanup_(buffer_deinit) struct buffer private_line = {0};
    _cleanup_(buffer_deinit) struct buffer public_line = {0};
    char public_path[KEY_PATH_SIZE_MAX];

    if ((size_t)snprintf(public_path, sizeof public_path, "%s.pub", path) >= sizeof public_path)
        return cli_error(CLI_USAGE, "the name %s is too long", path);
    if (note_key_write_private(key, &private_line) < 0 || note_key_write_public(key, &public_line) < 0)
        return cli_error(CLI_FAILED, "no memory");
    int code = write_new(path, 0600, &private_line);
    if (code == CLI_DONE)
        code = write_new(public_path, 0644, &public_line);
    memset(private_line.data, 0, private_line.size);
    if (code != CLI_DONE)
        return code;
    if (cli_json)
        printf("{\"private\":\"%s\",\"public\":\"%s\",\"key\":\"%.*s\"}\n", path, public_path,
               (int)public_line.size - 1, (const char *)public_line.data);
    else
        printf("%s signs and stays here; %s is for auditors:\n%s", path, public_path, buffer_string(&public_line));
    return CLI_DONE;
}

static int keygen_run(int argument_count, char **arguments)
{
    _cleanup_(note_key_deinit) struct note_key key = {0};
    uint8_t seed[NOTE_SEED_SIZE];

    if (!key_name)
        return cli_error(CLI_USAGE, "--name says whose key it is, like example.com/hotel");
    int code = cli_place_free(arguments[0]);
    if (code != CLI_DONE)
        return code;
    int r = os_random(seed, sizeof seed);
    if (r < 0)
        return cli_error(CLI_FAILED, "no random bytes: %s", strerror(-r));
    r = note_key_make(key_name, seed, &key);
    memset(seed, 0, sizeof seed);
    if (r != 0)
        return cli_error(CLI_USAGE, "a key's name has 1 to %d printable ASCII characters, no blank and no +, not \"%s\"",
                         NOTE_NAME_SIZE_MAX, key_name);
    return write_keys(arguments[0], &key);
}

static const struct cli_option keygen_options[] = {
    {"--name", "NAME", "whose key it is, like example.com/hotel: stands in every checkpoint", CLI_TEXT, &key_name, 0, 0},
    {0},
};

const struct cli_command cli_keygen = {
    .name = "keygen",
    .arguments = "FILE",
    .help = "make a key that signs checkpoints",
    .story = "FILE gets the private key and is readable by you alone; FILE.pub gets the public one. Neither is "
             "replaced.\n\n"
             "  daybook keygen --name example.com/hotel hotel.key",
    .options = keygen_options,
    .offline = true,
    .argument_count_min = 1,
    .argument_count_max = 1,
    .run = keygen_run,
};

/* ---- checkpoint ---- */

static int read_private_key(struct note_key *key)
{
    char error[256] = "";

    if (!key_file)
        return cli_error(CLI_USAGE, "--key FILE names the private key; `daybook keygen` makes one");
    if (journal_key_read(key_file, key, error) != 0)
        return cli_error(CLI_FAILED, "%s", error);
    if (!key->secret)
        return cli_error(CLI_USAGE, "%s is a public key; checkpoints are signed with the private one", key_file);
    return CLI_DONE;
}

static int checkpoint_run(int argument_count, char **arguments)
{
    _cleanup_(buffer_deinit) struct buffer note = {0};
    _cleanup_(note_key_deinit) struct note_key key = {0};
    char error[256] = "";
    int code = read_private_key(&key);

    if (code != CLI_DONE)
        return code;
    int r = journal_sign(argument_count > 0 ? arguments[0] : "data", &key, &note, error);
    if (r != 0)
        return cli_error(CLI_FAILED, "%s", error[0] ? error : strerror(r < 0 ? -r : EIO));
    output_text(buffer_bytes(&note));
    return CLI_DONE;
}

static const struct cli_option checkpoint_options[] = {
    {"--key", "FILE", "the private key", CLI_TEXT, &key_file, 0, 0},
    {0},
};

const struct cli_command cli_checkpoint = {
    .name = "checkpoint",
    .arguments = "[DATA]",
    .help = "say how far a journal is, signed, for an auditor to keep",
    .story = "Writes a signed note: position, chain over all records, journal and time. Whoever keeps it can find out later, by\n"
             "daybook verify --checkpoint, whether anything before it was changed. A server may write meanwhile; it can\n"
             "sign by itself, too (serve --checkpoint-key).\n\n"
             "  daybook checkpoint ./data --key hotel.key > march.note",
    .options = checkpoint_options,
    .offline = true,
    .argument_count_max = 1,
    .run = checkpoint_run,
};
