/* wire: a journal's records on their way to a follower: what GET /v1/log streams. Format: docs/formats/wire.md.
 *
 * A stream is a hello and then blocks without end. The hello says whose records these are and what the chain is where they
 * begin, so that a follower whose journal has parted from the leader's finds out before it stores anything. A block is a
 * whole number of appends, records verbatim, and the chain behind its last one; a block without records is a heartbeat.
 *
 * Both ends belong to one thread each. The decoder takes bytes from a network: it checks everything and believes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "journal/journal.h"

#define WIRE_MEDIA_TYPE "application/vnd.daybook.log"

enum {
    WIRE_BLOCK_SIZE_MAX =
        2 * 1024 * 1024, /* bytes of a block's records; the sender keeps to about an eighth of it */
    WIRE_BLOCK_COUNT_MAX = LOG_APPEND_COUNT_MAX, /* records of a block */
    WIRE_HEARTBEAT_MS =
        5000, /* silence after which the sender must send a heartbeat; three times that, and it is dead */
};

enum {
    WIRE_E_MORE = 1,    /* decoder: feed it more. sender: nothing to send now */
    WIRE_E_INVALID = 2, /* decoder: these bytes are no stream of ours: wire_decoder_error() */
    WIRE_E_NEWER = 3,   /* decoder: a newer format than this daybook knows */
};

/* --- sending: the leader's side of one connection ----------------------------------------------------------------------- */

struct wire_sender;

/* Send what comes after position `after` of the journal, which outlives the sender. Above the head: the hello says so, and
 * nothing follows. 0, -errno. */
int wire_sender_new(struct journal *journal, uint64_t after, struct wire_sender **ret_sender);
void wire_sender_free(struct wire_sender *sender); /* NULL is fine */

/* Append what can be sent now to `out`: the hello when it is the first call, and blocks of about 256 KiB in all. 0: something
 * was appended, call again when it is gone. WIRE_E_MORE: nothing now; call again when the journal's head moves
 * (journal_listen()). -EBADMSG: the log is damaged; -errno. */
int wire_sender_fill(struct wire_sender *sender, struct buffer *out);

/* Append a heartbeat. After WIRE_HEARTBEAT_MS without anything sent. 0, -ENOMEM. */
int wire_sender_beat(struct wire_sender *sender, struct buffer *out);

/* The last position sent, `after` at first; 0 to a follower that has more than this journal, which is sent nothing. */
uint64_t wire_sender_position(const struct wire_sender *sender);

/* --- receiving ----------------------------------------------------------------------------------------------------------- */

enum wire_kind { WIRE_HELLO, WIRE_RECORDS, WIRE_HEARTBEAT };

/* What came. Memory is the decoder's, valid until its next call. */
struct wire_message {
    enum wire_kind kind;
    uint64_t head; /* the leader's, when it was sent */
    /* WIRE_HELLO */
    struct journal_id journal;
    uint64_t after; /* as asked for */
    /* WIRE_HELLO: the chain at `after` (zeros when that is above head). WIRE_RECORDS: behind the last record */
    struct log_chain chain;
    /* WIRE_RECORDS: whole appends; position, epoch, flags, head, body, salt and, in a stub, body_hash are set */
    struct log_record *records;
    size_t count;
};

struct wire_decoder;

int wire_decoder_new(struct wire_decoder **ret_decoder); /* 0, -ENOMEM */
void wire_decoder_free(struct wire_decoder *decoder);    /* NULL is fine */

/* Take bytes as they come, in any pieces. 0, -ENOMEM. */
int wire_decoder_feed(struct wire_decoder *decoder, struct bytes bytes);

/* The next message. 0; WIRE_E_MORE; WIRE_E_INVALID or _NEWER, and that for ever. -ENOMEM. */
int wire_decoder_next(struct wire_decoder *decoder, struct wire_message *ret_message);

/* A sentence for WIRE_E_INVALID and WIRE_E_NEWER. */
const char *wire_decoder_error(const struct wire_decoder *decoder);
