#include "journal/signed_checkpoint.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/time.h"

static int fail(const char **ret_reason, const char *reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return NOTE_E_INVALID;
}

/* ---- writing ---- */

static int write_text(const struct signed_checkpoint *checkpoint, const char *origin, struct buffer *out)
{
    char time[TIME_TEXT_SIZE];
    int r = buffer_printf(out, "%s\n%" PRIu64 "\n", origin, checkpoint->position);

    if (r == 0)
        r = base64_encode(bytes_make(checkpoint->chain.bytes, LOG_CHAIN_SIZE), out);
    if (r == 0)
        r = buffer_append_string(out, "\njournal ");
    if (r == 0)
        r = hex_encode(bytes_make(checkpoint->journal.bytes, sizeof(checkpoint->journal.bytes)), out);
    if (r == 0)
        r = buffer_append_byte(out, '\n');
    if (r == 0 && time_format(checkpoint->time_us, time) == 0)
        r = buffer_printf(out, "time %s\n", time);
    return r;
}

int signed_checkpoint_write(const struct signed_checkpoint *checkpoint, const struct note_key *key,
                            struct buffer *out)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = write_text(checkpoint, key->name, &text);

    return r == 0 ? note_sign(buffer_bytes(&text), key, out) : r;
}

/* ---- reading ---- */

/* Cuts off the next line, without its newline. False: there is none, or an empty one. */
static bool next_line(struct bytes *text, struct bytes *ret_line)
{
    const uint8_t *end = text->size ? memchr(text->data, '\n', text->size) : NULL;

    if (!end || end == text->data)
        return false;
    *ret_line = bytes_slice(*text, 0, (size_t)(end - text->data));
    *text = bytes_slice(*text, ret_line->size + 1, text->size);
    return true;
}

/* Exactly `size` bytes, by one of the decoders of hex.h. */
static bool decode(int (*decoder)(struct bytes text, struct buffer *out), struct bytes text, uint8_t *ret_bytes,
                   size_t size)
{
    _cleanup_(buffer_deinit) struct buffer bytes = {0};

    if (decoder(text, &bytes) != 0 || bytes.size != size)
        return false;
    memcpy(ret_bytes, bytes.data, size);
    return true;
}

/* What we say beside the three lines; anything else is not for us. */
static bool parse_extension(struct bytes line, struct signed_checkpoint *checkpoint)
{
    if (bytes_starts_with(line, BYTES_LITERAL("journal ")))
        return decode(hex_decode, bytes_slice(line, 8, line.size), checkpoint->journal.bytes,
                      sizeof(checkpoint->journal.bytes));
    if (bytes_starts_with(line, BYTES_LITERAL("time ")))
        return time_parse(bytes_slice(line, 5, line.size), &checkpoint->time_us) == 0;
    return true;
}

int signed_checkpoint_parse(struct bytes text, struct signed_checkpoint *ret_checkpoint, const char **ret_reason)
{
    struct signed_checkpoint checkpoint = {0};
    struct bytes origin, size, root, line;

    if (!next_line(&text, &origin) || !next_line(&text, &size) || !next_line(&text, &root))
        return fail(ret_reason, "it has not the three lines of a checkpoint: origin, size and root hash");
    memcpy(checkpoint.origin, origin.data, bytes_slice(origin, 0, NOTE_NAME_SIZE_MAX).size);
    if (bytes_parse_u64(size, &checkpoint.position) != 0 || (size.data[0] == '0' && size.size > 1))
        return fail(ret_reason, "its second line is no position");
    if (!decode(base64_decode, root, checkpoint.chain.bytes, LOG_CHAIN_SIZE))
        return fail(ret_reason, "its third line is not 32 bytes as base64");
    while (text.size > 0) {
        if (!next_line(&text, &line))
            return fail(ret_reason, "it has an empty line");
        if (!parse_extension(line, &checkpoint))
            return fail(ret_reason, "its line `journal` or `time` is not as it should be");
    }
    *ret_checkpoint = checkpoint;
    return 0;
}

int signed_checkpoint_open(struct bytes note, const struct note_key *key, struct signed_checkpoint *ret_checkpoint,
                           const char **ret_reason)
{
    struct bytes text;
    int r = note_open(note, key, &text, ret_reason);

    return r == 0 ? signed_checkpoint_parse(text, ret_checkpoint, ret_reason) : r;
}
