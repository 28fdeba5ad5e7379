/* Idempotency-Key on plain appends: the key, with its scope, and a hash of the body stand in the events' records, as durable
 * and as old as they (src/command does the same for commands). At the append's turn the key is looked for: the same body
 * gets the first answer again, another body is refused. A refusal is not remembered. */

#include <stdio.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "server/idempotency.h"

enum { KEY_SIZE_MAX = 255, SHOWN_MS_MAX = 10000 };

static bool key_is_valid(struct bytes key)
{
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] < 0x20 || key.data[i] >= 0x7f)
            return false;
    return key.size > 0 && key.size <= KEY_SIZE_MAX;
}

bool idempotency_take(struct http_request *request, const char *route, struct bytes stream,
                      struct idempotency *ret_idempotency)
{
    const char *field = http_request_header(request, "Idempotency-Key");
    struct hash_blake_state state;
    char caller[AUTH_CALLER_SIZE];

    *ret_idempotency = (struct idempotency){0};
    if (!field)
        return true;
    if (!key_is_valid(bytes_from_string(field))) {
        http_answer_error(request, 400, "idempotency-key-invalid",
                          "An idempotency key has 1 to %d visible ASCII characters.", KEY_SIZE_MAX);
        return false;
    }
    door_caller(request, caller);
    snprintf(ret_idempotency->scope, sizeof(ret_idempotency->scope), "%s\n%s\n%s", route, caller, field);
    hash_blake_init(&state, (struct bytes){0});
    hash_blake_update(&state, bytes_make(stream.data, stream.size));
    hash_blake_update(&state, bytes_make("\n", 1));
    hash_blake_update(&state, http_request_body(request));
    struct hash256 hash = hash_blake_final(&state);
    memcpy(ret_idempotency->hash, hash.data, sizeof(ret_idempotency->hash));
    return true;
}

bool idempotency_mark(struct http_request *request, const struct idempotency *idempotency, size_t index,
                      struct journal_append *append)
{
    size_t size = sizeof(idempotency->scope) + 24;
    char *key;

    if (idempotency->scope[0] == '\0')
        return true;
    key = http_request_alloc(request, size);
    if (!key)
        return false;
    if (index > 0)
        snprintf(key, size, "%s\n%zu", idempotency->scope, index);
    else
        snprintf(key, size, "%s", idempotency->scope);
    append->key = bytes_from_string(key);
    append->key_hash = bytes_make(idempotency->hash, sizeof(idempotency->hash));
    return true;
}

int idempotency_find(const struct journal_append *append, struct journal_turn *turn, uint64_t *ret_first,
                     uint64_t *ret_last)
{
    uint8_t hash[16];
    int r = journal_turn_find_key(turn, append->key, ret_first, ret_last, hash);

    if (r == JOURNAL_E_END)
        return 0;
    if (r != 0)
        return r < 0 ? r : -EIO;
    return memcmp(hash, append->key_hash.data, sizeof(hash)) == 0 ? IDEMPOTENCY_E_REPLAYED
                                                                 : IDEMPOTENCY_E_REUSED;
}

struct http_problem idempotency_problem(void)
{
    return (struct http_problem){.status = 422,
                                 .code = "idempotency-key-reused",
                                 .detail = "The idempotency key came with another body before."};
}

int idempotency_versions(struct server *server, uint64_t first, uint64_t last,
                         int (*each)(void *user, struct bytes stream, uint64_t version), void *user)
{
    const struct journal_read read = {.after = first - 1, .before = last + 1, .system = true};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_wait(server->journal, last - 1, SHOWN_MS_MAX);

    if (r == 0)
        r = journal_reader_new(server->journal, &read, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        if (event.stream.size > 0)
            r = each(user, event.stream, event.version);
    return r == JOURNAL_E_END ? 0 : r;
}
