/* cloudevents: events as CloudEvents 1.0 in JSON, for export and import (docs/formats/cloudevents.md).
 *
 * Both ways go from JSON to JSON, between a line of event_json.h and one CloudEvent; an element of a batch
 * (application/cloudevents-batch+json) is such an object. What this journal wrote and takes in again is the same event; of
 * what others wrote, everything that has no place of its own is kept in meta, under "cloudevents".
 */
#pragma once

#include "base/bytes.h"

#define CLOUDEVENTS_SOURCE_PREFIX "urn:daybook:" /* and the journal's id: who wrote it, unless it is said otherwise */

enum { CLOUDEVENTS_E_INVALID = 1 };

/* Appends the event of a line to `out` as a CloudEvent. CLOUDEVENTS_E_INVALID: the line is no event; -ENOMEM, -E2BIG. */
_must_check_ int cloudevents_from_line(struct bytes line, const char *source, struct buffer *out);

/* Appends a CloudEvent to `out` as a line that an import takes. An id that is no UUID becomes one, made of source and id: the
 * same at every try. CLOUDEVENTS_E_INVALID: it is no CloudEvent, and *ret_reason, static, says why: the end of a sentence. */
_must_check_ int cloudevents_to_line(struct bytes event, struct buffer *out, const char **ret_reason);
