/*
 * durable.page: how far the records are durable, for readers in other processes, who would else learn it from floors only
 * and up to an idle floor's time late (docs/formats/log.md).
 *
 * The page is written in place and never synced: after the machine has started anew it counts for nothing, and as long as
 * it runs the kernel shows every process what was written last. It goes through pwrite and not through a mapping. Beside
 * a sync one call more costs nothing, while a store to a page whose file somebody has cut, or whose disk is full, would
 * end the process that writes (SIGBUS).
 *
 * It only ever shows more of what the files hold and what holds by itself; it is no evidence. Opening does not look at it,
 * and nothing is called damaged on its word. So not being able to write it is no error either: floors go on as before.
 */
#include "log/file_log_internal.h"
#include "os/boot.h"

#define PAGE_NAME "durable.page"

/* A page being written may be read half old and half new, which its check tells; then it is read again. */
enum { PAGE_READS_MAX = 3 };

static int open_page(const struct file_log *log, unsigned flags, int *ret_file)
{
    char path[OS_PATH_SIZE_MAX];
    int r = os_path(path, log->folder, PAGE_NAME);

    return r < 0 ? r : log->ops->open(log->ops, path, flags, ret_file);
}

void file_log_page_begin(struct file_log *log)
{
    if (os_boot_id(log->boot) < 0 || open_page(log, OS_FILE_WRITE | OS_FILE_CREATE, &log->page_file) < 0)
        return;
    log->page_told = UINT64_MAX; /* whatever it says, an earlier writer has said it */
    file_log_page_tell(log);
}

void file_log_page_tell(struct file_log *log)
{
    struct format_page page = {.epoch = log->epoch, .durable = log->synced};
    uint8_t data[FORMAT_PAGE_SIZE];

    if (log->page_file < 0 || log->page_told == page.durable)
        return;
    memcpy(page.boot, log->boot, sizeof(page.boot));
    memcpy(page.id, log->head.id, sizeof(page.id));
    format_put_page(&page, log->seed, data);
    if (os_file_write_full(log->ops, log->page_file, data, sizeof(data), 0) == 0)
        log->page_told = page.durable;
}

void file_log_page_end(struct file_log *log)
{
    if (log->page_file >= 0)
        (void)log->ops->close(log->ops, log->page_file);
    log->page_file = -1;
}

/* Whether the page is of this log, this start of the machine, and no writer before the last one this reader knows of. */
static bool is_current(const struct file_log *log, const struct format_page *page)
{
    uint8_t boot[OS_BOOT_ID_SIZE];

    return page->epoch >= log->epoch && memcmp(page->id, log->head.id, sizeof(page->id)) == 0 &&
           os_boot_id(boot) == 0 && memcmp(page->boot, boot, sizeof(boot)) == 0;
}

uint64_t file_log_page_read(const struct file_log *log)
{
    uint8_t data[FORMAT_PAGE_SIZE];
    struct format_page page;
    int file, r = open_page(log, OS_FILE_READ, &file), answer = FORMAT_E_INVALID;

    if (r < 0)
        return 0;
    for (int reads = 0; reads < PAGE_READS_MAX && r == 0 && answer == FORMAT_E_INVALID; reads++) {
        size_t size = 0;

        r = os_file_read_full(log->ops, file, data, sizeof(data), 0, &size);
        if (r == 0)
            answer = format_get_page(bytes_make(data, size), log->seed, &page);
    }
    (void)log->ops->close(log->ops, file);
    return r == 0 && answer == 0 && is_current(log, &page) ? page.durable : 0;
}
