/* GET /v1/keys: the keys of subjects, for followers (docs/formats/keys.md, "Over HTTP"). Whoever has them can read everything
 * that was not erased, so only operators get them. */

#include "replica/key_copy.h"
#include "server/internal.h"
#include "vault/vault.h"

/* Where to go on, then the slots. */
static int write_keys(struct vault *vault, uint64_t after, struct buffer *body)
{
    uint8_t next_bytes[8] = {0};
    uint64_t next;
    int r = buffer_append(body, next_bytes, sizeof(next_bytes));

    if (r == 0)
        r = vault_export(vault, after, KEY_COPY_COUNT_MAX, body, &next);
    if (r == 0)
        bytes_put_u64(body->data, next);
    return r;
}

/* Whoever asks for what comes after a place has stored, durably, what came before it. */
static void note_copied(struct server *server, uint64_t after)
{
    struct vault_status status;
    uint64_t known = atomic_load(&server->keys_copied);

    vault_status(server->vault, &status);
    if (after > status.slots_durable) /* it is not of these keys */
        return;
    while (after > known && !atomic_compare_exchange_weak(&server->keys_copied, &known, after))
        continue;
}

void handle_keys(struct http_request *request)
{
    struct buffer body = {0};
    uint64_t after = 0;

    if (parameters_refused(request) || !ask_u64(request, "after", 0, UINT64_MAX, &after))
        return;
    note_copied(server_of(request), after);
    int r = write_keys(server_of(request)->vault, after, &body);
    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, KEY_COPY_MEDIA_TYPE, &body);
    if (body.data)
        explicit_bzero(body.data, body.size);
    buffer_deinit(&body);
}
