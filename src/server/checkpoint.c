/* GET /v1/checkpoint and /v1/checkpoint/key: how far the journal is, signed, and by whom. The key is read at the start and
 * stays in memory; who wants another one starts the server again. */

#include <stdio.h>
#include <stdlib.h>

#include "journal/tools.h"
#include "os/clock.h"
#include "server/internal.h"

#define NOTE_TYPE "text/plain; charset=utf-8"

int checkpoint_key_open(struct server *server, char *ret_error)
{
    const char *path = server->options->checkpoint_key;
    char error[256];

    if (!path)
        return 0;
    server->checkpoint_key = calloc(1, sizeof(*server->checkpoint_key));
    if (!server->checkpoint_key)
        return -ENOMEM;
    int r = journal_key_read(path, server->checkpoint_key, error);
    if (r == 0 && server->checkpoint_key->secret)
        return 0;
    if (r == 0)
        snprintf(error, sizeof(error), "%.150s is a public key; checkpoints are signed with the private one", path);
    snprintf(ret_error, SERVER_ERROR_SIZE, "%s", error);
    return SERVER_E_START;
}

void checkpoint_key_close(struct server *server)
{
    if (server->checkpoint_key)
        note_key_deinit(server->checkpoint_key);
    free(server->checkpoint_key);
    server->checkpoint_key = NULL;
}

/* True when it has been answered that nothing is signed here. */
static bool key_missing(struct http_request *request)
{
    if (server_of(request)->checkpoint_key)
        return false;
    http_answer_error(request, 404, "no-checkpoint-key",
                      "This server signs no checkpoints; daybook serve --checkpoint-key FILE lets it.");
    return true;
}

static int sign_head(struct server *server, uint64_t position, struct buffer *body)
{
    struct signed_checkpoint checkpoint = {
        .position = position, .journal = journal_id(server->journal), .time_us = os_realtime_us()};
    int r = journal_chain_at(server->journal, position, &checkpoint.chain);

    if (r != 0)
        return r < 0 ? r : -EBADMSG;
    return signed_checkpoint_write(&checkpoint, server->checkpoint_key, body);
}

void handle_checkpoint(struct http_request *request)
{
    struct server *server = server_of(request);
    struct buffer body = {0};

    if (parameters_refused(request) || key_missing(request))
        return;
    uint64_t position = journal_head(server->journal);
    int r = sign_head(server, position, &body);
    answer_position(request, position);
    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, NOTE_TYPE, &body);
    buffer_deinit(&body);
}

void handle_checkpoint_key(struct http_request *request)
{
    struct buffer body = {0};

    if (parameters_refused(request) || key_missing(request))
        return;
    int r = note_key_write_public(server_of(request)->checkpoint_key, &body);
    if (r == 0)
        r = buffer_append_byte(&body, '\n');
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, NOTE_TYPE, &body);
    buffer_deinit(&body);
}
