/* Whatever comes as a note, a checkpoint or a key is answered; nothing opens that was not signed; and what parses is written
 * and read again as the same checkpoint. */

#include <assert.h>

#include "base/cleanup.h"
#include "journal/signed_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Signed and opened, a checkpoint is what it was. */
static void check_again(const struct signed_checkpoint *checkpoint, const struct note_key *key)
{
    _cleanup_(buffer_deinit) struct buffer note = {0};
    struct signed_checkpoint again;

    assert(signed_checkpoint_write(checkpoint, key, &note) == 0);
    assert(signed_checkpoint_open(buffer_bytes(&note), key, &again, NULL) == 0);
    assert(again.position == checkpoint->position && again.time_us == checkpoint->time_us);
    assert(memcmp(&again.chain, &checkpoint->chain, sizeof(again.chain)) == 0);
    assert(memcmp(&again.journal, &checkpoint->journal, sizeof(again.journal)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[NOTE_SEED_SIZE] = {42};
    struct bytes input = bytes_make(data, size), text;
    struct signed_checkpoint checkpoint;
    struct note_key key, other;
    const char *reason = NULL;

    assert(note_key_make("example.com/fuzz", seed, &key) == 0);
    assert(note_open(input, &key, &text, &reason) != 0 && reason);
    reason = NULL;
    int r = signed_checkpoint_parse(input, &checkpoint, &reason);
    assert(r == 0 || reason);
    if (r == 0)
        check_again(&checkpoint, &key);
    if (note_key_parse(input, &other) == 0) {
        struct buffer line = {0};
        assert(note_key_write_public(&other, &line) == 0 && note_key_parse(buffer_bytes(&line), &key) == 0);
        buffer_deinit(&line);
    }
    return 0;
}
