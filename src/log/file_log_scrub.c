/*
 * Reading everything again, slowly, while the log is in use. A disk may lose what nobody reads; the scrub finds that out
 * while a backup or a follower still has it, and not on the day it is needed (P6).
 *
 * A pass goes over all that is durable when it begins, checks every header, checksum and the chain, and then rests. It
 * reads beside the cache of those who serve: through a file of its own, and having asked the kernel to forget what it
 * remembers of each stretch, so that the disk answers. A segment that is replaced meanwhile is read as it was: that, too,
 * has to be whole.
 *
 * Damage ends writing, as damage that a reader meets does; what is not damaged can be read on. A pass goes on with the next
 * segment; the scrub ends with a pass that found something, for what is to be done then is told by verify.
 */
#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "log/file_log_internal.h"
#include "os/clock.h"

enum {
    SCRUB_REST_MS_DEFAULT = 3600 * 1000,
    SCRUB_LOOKS_MAX = 3,        /* so often a place is read before it counts as damaged */
    SCRUB_PAUSE_MS_MIN = 20,    /* shorter pauses are saved up */
    SCRUB_STRETCH = 256 * 1024, /* bytes the kernel is asked to forget at once */
};

/* A segment as far as it is looked at. */
struct stretch {
    uint64_t first, size, next; /* `next`: the position that follows it */
};

struct scrub {
    struct file_log *log;
    uint64_t began_ns, read; /* of this pass: when, how many bytes */
    size_t damages;
    struct log_chain chain; /* before the next record, */
    bool chain_known;       /* but not behind damage */

    struct stretch end;     /* the last segment as it was when the pass began: it grows, the others do not */
    struct stretch segment; /* at hand */
    struct walk walk;
    uint64_t forgotten; /* up to this byte of it */
};

/* ---- pauses ---- */

/* False: the log is being closed. */
static bool wait_until(struct file_log *log, uint64_t due_ns)
{
    _os_locked_(&log->mutex);
    while (!log->scrub_stopping && os_cond_wait_until(&log->scrub_wanted, &log->mutex, due_ns))
        ;
    return !log->scrub_stopping;
}

/* `bytes` more were read: wait until they were due. False: the log is being closed. */
static bool keep_rate(struct scrub *scrub, uint64_t bytes)
{
    struct file_log *log = scrub->log;
    uint64_t rate = log->options.scrub_rate, due_ns = scrub->began_ns, now_ns = os_monotonic_ns();

    scrub->read += bytes;
    due_ns += scrub->read / rate * OS_NS_PER_SECOND;
    due_ns += (uint64_t)((double)(scrub->read % rate) / (double)rate * (double)OS_NS_PER_SECOND);
    os_mutex_lock(&log->mutex);
    log->counters.scrub_bytes += bytes;
    log->counters.scrub_position = scrub->walk.position - 1;
    os_mutex_unlock(&log->mutex);
    if (due_ns < now_ns + SCRUB_PAUSE_MS_MIN * OS_NS_PER_MS)
        due_ns = now_ns;
    return wait_until(log, due_ns);
}

/* ---- a segment ---- */

/* Where the pass will end. */
static void find_end(struct scrub *scrub)
{
    struct file_log *log = scrub->log;
    const struct segment *last;

    _os_locked_(&log->mutex);
    if (log->segment_count == 0)
        return;
    last = &log->segments[log->segment_count - 1];
    scrub->end = (struct stretch){.first = last->first, .size = last->size, .next = log->durable + 1};
}

/* The one behind that at hand. False: that was the last. */
static bool next_segment(struct scrub *scrub)
{
    struct file_log *log = scrub->log;

    _os_locked_(&log->mutex);
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct segment *segment = &log->segments[i];

        if (segment->first <= scrub->segment.first || segment->first > scrub->end.first)
            continue;
        scrub->segment = scrub->end;
        if (segment->first < scrub->end.first)
            scrub->segment =
                (struct stretch){.first = segment->first, .size = segment->size, .next = segment[1].first};
        return true;
    }
    return false;
}

static void tell(struct scrub *scrub, uint64_t offset, const char *what)
{
    struct file_log *log = scrub->log;

    _os_locked_(&log->mutex);
    log->counters.scrub_damages++;
    file_log_note_damage(log, scrub->segment.first, offset, what);
    scrub->damages++;
    scrub->chain_known = false;
}

static void forget_ahead(struct scrub *scrub)
{
    if (scrub->walk.offset < scrub->forgotten)
        return;
    os_file_forget(scrub->log->ops, scrub->walk.file, scrub->walk.offset, SCRUB_STRETCH);
    scrub->forgotten = scrub->walk.offset + SCRUB_STRETCH;
}

/* The next frame, or why there is none: NULL in *ret_what, or the sentence. -errno: nothing is known. */
static int read_frame(struct scrub *scrub, struct format_frame *ret_frame, const uint8_t **ret_data,
                      const char **ret_what)
{
    int r = WALK_E_END;

    for (int look = 0; look < SCRUB_LOOKS_MAX && (r > 0 || r == -EIO); look++) {
        if (look > 0)
            walk_forget(&scrub->walk);
        r = walk_next(&scrub->walk, ret_frame, ret_data);
    }
    *ret_what = NULL;
    switch (r) {
    case WALK_E_END: *ret_what = "frames that were written are missing"; return 0;
    case WALK_E_DAMAGED: *ret_what = scrub->walk.what; return 0;
    case WALK_E_NEWER: *ret_what = "a frame is of a newer format than this daybook can read"; return 0;
    case -EIO: *ret_what = "it cannot be read from the disk"; return 0;
    default: return r;
    }
}

/* 0: to the end of the segment, or to damage, which was told. -ECANCELED: the log is being closed. */
static int check_frames(struct scrub *scrub)
{
    while (scrub->walk.offset < scrub->segment.size) {
        uint64_t offset = scrub->walk.offset;
        struct format_frame frame;
        const uint8_t *data;
        const char *what;
        int r;

        forget_ahead(scrub);
        r = read_frame(scrub, &frame, &data, &what);
        if (r < 0)
            return r;
        if (!what && memcmp(frame.chain.bytes, scrub->chain.bytes, LOG_CHAIN_SIZE) != 0)
            what = "the chain does not continue";
        if (what) {
            tell(scrub, offset, what);
            return 0;
        }
        file_log_chain_over(&frame, data, &scrub->chain);
        if (!keep_rate(scrub, format_frame_end(&frame)))
            return -ECANCELED;
    }
    if (scrub->walk.position != scrub->segment.next)
        tell(scrub, scrub->walk.offset, "frames that were written are missing");
    return 0;
}

static int check_header(struct scrub *scrub, bool *ret_whole)
{
    uint8_t data[FORMAT_SEGMENT_SIZE];
    struct format_segment header;
    size_t size = 0;
    int r;

    forget_ahead(scrub);
    r = os_file_read_full(scrub->log->ops, scrub->walk.file, data, sizeof(data), 0, &size);
    if (r < 0 && r != -EIO)
        return r;
    *ret_whole = r == 0 && size == sizeof(data) &&
                 format_get_segment(bytes_make(data, size), scrub->log->seed, &header) == 0 &&
                 header.first == scrub->segment.first &&
                 (!scrub->chain_known || memcmp(&header.chain, &scrub->chain, sizeof(header.chain)) == 0);
    if (*ret_whole)
        scrub->chain = header.chain;
    else
        tell(scrub, 0, "the header of the segment does not hold");
    scrub->chain_known = *ret_whole;
    return 0;
}

static int check_segment(struct scrub *scrub)
{
    struct file_log *log = scrub->log;
    bool whole;
    int file, r = segment_open(log, scrub->segment.first, OS_FILE_READ, &file);

    if (r == -ENOENT) {
        tell(scrub, 0, "the file is missing");
        return 0;
    }
    if (r < 0)
        return r;
    walk_init(&scrub->walk, log->ops, file, log->seed);
    walk_seek(&scrub->walk, 0, scrub->segment.first);
    scrub->walk.limit = scrub->segment.size;
    scrub->forgotten = 0;
    r = check_header(scrub, &whole);
    walk_seek(&scrub->walk, FORMAT_SEGMENT_SIZE, scrub->segment.first);
    if (r == 0 && whole)
        r = check_frames(scrub);
    walk_deinit(&scrub->walk);
    (void)log->ops->close(log->ops, file);
    return r;
}

/* ---- the thread ---- */

/* One pass. *ret_damages: places it found. What cannot be read for want of memory or files is left for the next. */
static void pass(struct file_log *log, size_t *ret_damages)
{
    struct scrub scrub = {.log = log, .began_ns = os_monotonic_ns(), .chain_known = true};
    int r = 0;

    find_end(&scrub);
    while (r == 0 && next_segment(&scrub))
        r = check_segment(&scrub);
    *ret_damages = scrub.damages;
    _os_locked_(&log->mutex);
    log->counters.scrub_passes += r == 0;
}

static void run_scrub(void *user)
{
    struct file_log *log = (struct file_log *)user;
    uint32_t rest_ms = log->options.scrub_rest_ms ? log->options.scrub_rest_ms : SCRUB_REST_MS_DEFAULT;
    size_t damages = 0;

    os_thread_stand_back();
    do
        pass(log, &damages);
    while (damages == 0 && wait_until(log, os_monotonic_ns() + rest_ms * OS_NS_PER_MS));
}

int file_log_start_scrub(struct file_log *log)
{
    return log->options.scrub_rate > 0 ? os_thread_start(&log->scrub, "log-scrub", run_scrub, log) : 0;
}

void file_log_stop_scrub(struct file_log *log)
{
    os_mutex_lock(&log->mutex);
    log->scrub_stopping = true;
    os_cond_broadcast(&log->scrub_wanted);
    os_mutex_unlock(&log->mutex);
    os_thread_join(&log->scrub);
}
