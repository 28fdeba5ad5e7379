/*
 * Whatever a segment's file holds, opening, reading, verifying and writing on answer, and keep L1 to L3.
 *
 * Checksums would stop nearly every change at the door. So the first byte of the input says how many of the frames have
 * theirs put right before the log sees them, and what lies behind a checksum is met too. The same bytes also stand in
 * durable.page.
 */
#include <assert.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "lib/sim_disk.h"
#include "log/file_log_format.h"
#include "os/boot.h"

#define FOLDER "log"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct format_head head = {.id = "fuzz", .key = "fuzz"};

static void put_file(struct sim_disk *disk, const char *path, struct bytes content)
{
    const struct os_file_ops *ops = sim_disk_ops(disk);
    int file, r = ops->open(ops, path, OS_FILE_WRITE | OS_FILE_CREATE, &file);

    assert(r == 0);
    r = os_file_write_full(ops, file, content.data, content.size, 0);
    assert(r == 0);
    (void)ops->close(ops, file);
}

static void fix_header(uint8_t *data)
{
    bytes_put_u32(data + 76, crc32c_extend(format_seed(head.key), bytes_make(data, 76)));
}

/* Puts the checksums of the segment's header and its first `count` frames right, as far as they lie within. */
static void fix_checks(uint8_t *data, size_t size, size_t count)
{
    size_t offset = FORMAT_SEGMENT_SIZE;

    if (size >= FORMAT_SEGMENT_SIZE)
        fix_header(data);
    while (count-- > 0 && size - offset >= FORMAT_FRAME_SIZE && offset < size) {
        uint8_t *frame = data + offset;
        uint32_t body_size = bytes_get_u32(frame + 8);

        if (body_size > size - offset - FORMAT_FRAME_SIZE)
            body_size = (uint32_t)(size - offset - FORMAT_FRAME_SIZE);
        bytes_put_u32(frame + 72,
                      crc32c_extend(format_seed(head.key), bytes_make(frame + FORMAT_FRAME_SIZE, body_size)));
        fix_header(frame);
        offset += FORMAT_FRAME_SIZE + (body_size + FORMAT_ALIGN - 1) / FORMAT_ALIGN * FORMAT_ALIGN;
        if (offset > size)
            break;
    }
}

/* Reads all there is; positions follow one another up to the head or to damage that is named. */
static void read_all(struct log *log)
{
    _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
    struct log_status status;
    struct log_record record;
    uint64_t position = 0;
    int r;

    r = log_reader_new(log, 0, &reader);
    assert(r == 0);
    while ((r = log_reader_next(reader, &record)) == 0) {
        struct log_chain chain = {0};

        assert(record.position == ++position);
        log_chain_step(&chain, &record, &chain);
    }
    log_status(log, &status);
    assert((r == LOG_E_END && position == status.head) || (r == -EBADMSG && status.reason[0]));
}

static enum log_outcome outcome;

static void on_done(struct log_batch *batch, enum log_outcome ended)
{
    outcome = ended;
}

/* The same bytes as durable.page, with the right check if so asked: a reader beside shows nothing that does not hold. */
static void read_beside_page(struct sim_disk *disk, struct bytes data, bool fixed)
{
    struct file_log_options options = {.file = sim_disk_ops(disk), .read_only = true};
    uint8_t page[FORMAT_PAGE_SIZE] = "DPAG";
    struct log *log;

    memcpy(page + 4, data.data, data.size < sizeof(page) - 4 ? data.size : sizeof(page) - 4);
    if (fixed) {
        bytes_put_u32(page + 4, FORMAT_VERSION);
        if (os_boot_id(page + 8) < 0)
            return;
        memcpy(page + 24, head.id, sizeof(head.id));
        bytes_put_u32(page + 56, 0);
        bytes_put_u32(page + 60, crc32c_extend(format_seed(head.key), bytes_make(page, 60)));
    }
    put_file(disk, FOLDER "/durable.page", bytes_make(page, sizeof(page)));
    if (file_log_open(FOLDER, &options, &log, NULL) != 0)
        return;
    read_all(log);
    assert(log_close(log) == 0);
}

static void append_one(struct log *log)
{
    struct log_record record = {.head = BYTES_LITERAL("head"), .body = BYTES_LITERAL("body")};
    struct log_entry entry = {.records = &record, .count = 1};
    struct log_status status;
    struct log_batch batch = {.entries = &entry, .count = 1, .done = on_done};

    log_status(log, &status);
    if (!status.writable)
        return;
    batch.tail_expected = status.head;
    outcome = LOG_UNKNOWN;
    assert(log_append(log, &batch) == 0);
    assert(log_close(log) == 0);
    assert(outcome == LOG_DURABLE);
}

static void open_and_use(struct sim_disk *disk, bool append)
{
    struct file_log_options options = {.file = sim_disk_ops(disk), .segment_size = 64 << 10};
    struct file_log_report report;
    struct log_status status;
    struct log *log;
    char error[256] = "";
    int r = file_log_open(FOLDER, &options, &log, error);

    if (r != 0) {
        assert(r == FILE_LOG_E_NEWER && error[0]);
        return;
    }
    read_all(log);
    log_status(log, &status);
    if (append && status.writable)
        append_one(log); /* closes it */
    else
        assert(log_close(log) == 0);
    assert(file_log_verify(FOLDER, options.file, NULL, NULL, NULL, &report, error) == 0 || error[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(sim_disk_freep) struct sim_disk *disk = sim_disk_new();
    _cleanup_(buffer_deinit) struct buffer segment = {0};
    uint8_t head_data[FORMAT_HEAD_SIZE];

    if (size == 0)
        return 0;
    format_put_head(&head, head_data);
    put_file(disk, FOLDER "/log.head", bytes_make(head_data, sizeof(head_data)));
    assert(buffer_append(&segment, data + 1, size - 1) == 0);
    if (segment.size > 0)
        fix_checks(segment.data, segment.size, data[0] % 16);
    put_file(disk, FOLDER "/00000000000000000001.seg", buffer_bytes(&segment));
    read_beside_page(disk, bytes_make(data + 1, size - 1), data[0] & 16);
    open_and_use(disk, true);
    open_and_use(disk, false);
    return 0;
}
