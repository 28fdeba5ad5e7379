#include "journal/ready.h"

#include <stdlib.h>

#include "base/checked.h"
#include "journal/check.h"
#include "journal/codec.h"

static struct journal_event body_of(const struct journal_event_new *event)
{
    return (struct journal_event){.content_type = check_content_type(event->content_type),
                                  .data = event->data,
                                  .meta = event->meta};
}

/* Bytes of all bodies; 0: they are not to be made here. */
static size_t bodies_size(const struct journal_append *append)
{
    size_t size = 0;
    for (size_t i = 0; i < append->event_count; i++) {
        struct journal_event body = body_of(&append->events[i]);
        if (append->events[i].subject.size > 0 || !checked_add_size(size, codec_body_size(&body), &size))
            return 0;
    }
    return size < JOURNAL_READY_SIZE_MIN ? 0 : size;
}

void ready_make(struct journal_append *append)
{
    append->ready = NULL;
    size_t size = append->prepare ? 0 : bodies_size(append);
    if (size == 0)
        return;
    size_t records_size = append->event_count * sizeof(struct log_record); /* JOURNAL_EVENT_COUNT_MAX of them at most */
    struct journal_ready *ready = malloc(sizeof(*ready) + records_size + size);
    if (!ready)
        return;
    ready->count = append->event_count;
    append->ready = ready;
    uint8_t *to = (uint8_t *)(ready->records + ready->count);
    for (size_t i = 0; i < ready->count; i++) {
        struct journal_event body = body_of(&append->events[i]);
        size_t body_size = codec_body_size(&body);
        codec_write_body(&body, to);
        ready->records[i] = (struct log_record){.body = bytes_make(to, body_size)};
        to += body_size;
    }
    if (log_records_hash(ready->records, ready->count) < 0)
        ready_free(append);
}

void ready_free(struct journal_append *append)
{
    free(append->ready);
    append->ready = NULL;
}
