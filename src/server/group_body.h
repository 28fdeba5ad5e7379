#pragma once

/* group_body: what a consumer or an operator of a group says, as JSON, checked whole. */

#include "server/internal.h"

enum {
    GROUP_BODY_SIZE_MAX = 65536,
    GROUP_FETCH_COUNT_DEFAULT = 10,
    GROUP_DELAY_SECONDS_MAX = 43200,
    GROUP_POSITION_COUNT_MAX = 1000, /* of a replay */
};

/* Each kind has its fields, and no others. */
enum group_body_kind {
    GROUP_BODY_FETCH,
    GROUP_BODY_ACK,
    GROUP_BODY_NACK,
    GROUP_BODY_EXTEND,
    GROUP_BODY_REPLAY
};

struct group_body {
    struct bytes consumer;
    uint64_t count, wait_s;
    struct group_token *tokens;
    size_t token_count;
    uint64_t delay_s, lease_s;
    struct bytes reason;
    bool untried; /* of a nack */
    uint64_t *positions;
    size_t position_count;
    struct buffer memory; /* of the texts */
};

/* Into a body that holds the defaults. False: answered, with every violation, and nothing to deinit. */
bool group_body_read(struct http_request *request, enum group_body_kind kind, struct group_body *body);
void group_body_deinit(struct group_body *body);

/* 422 with these. */
void answer_violations(struct http_request *request, const struct group_violation *violations, size_t count);

/* ---- groups.c ---- */

/* A query parameter nobody knows, a follower, a name that no group can have, or none of this name: true when answered. */
bool group_refused(struct http_request *request);
/* What a function of group.h answered other than 0; the result is of its GROUP_E_JOURNAL. */
void answer_group(struct http_request *request, int answer, const struct journal_result *result);
