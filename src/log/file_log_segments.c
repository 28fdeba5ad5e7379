/* The list of segments, and the places remembered in them: every frame that begins MARK_GRANULE or more behind the last
 * mark leaves one, so that finding a position costs a binary search and a short walk. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vector.h"
#include "log/file_log_internal.h"

void segment_name(uint64_t first, char ret_name[SEGMENT_NAME_SIZE])
{
    (void)snprintf(ret_name, SEGMENT_NAME_SIZE, "%020llu.seg", (unsigned long long)first);
}

uint64_t segment_parse_name(const char *name)
{
    uint64_t first = 0;

    if (strlen(name) != SEGMENT_NAME_SIZE - 1 || strcmp(name + 20, ".seg") != 0 ||
        bytes_parse_u64(bytes_make(name, 20), &first) != 0)
        return 0;
    return first;
}

int segment_path(const struct file_log *log, uint64_t first, char ret_path[OS_PATH_SIZE_MAX])
{
    char name[SEGMENT_NAME_SIZE];

    segment_name(first, name);
    return os_path(ret_path, log->folder, name);
}

int segment_open(const struct file_log *log, uint64_t first, unsigned flags, int *ret_file)
{
    char path[OS_PATH_SIZE_MAX];
    int r = segment_path(log, first, path);

    return r < 0 ? r : log->ops->open(log->ops, path, flags, ret_file);
}

int segment_add(struct file_log *log, uint64_t first, uint64_t size)
{
    int r = vector_reserve(&log->segments, &log->segment_capacity, log->segment_count + 1);

    if (r < 0)
        return r;
    log->segments[log->segment_count++] = (struct segment){.first = first, .size = size};
    return 0;
}

void segments_drop(struct file_log *log, size_t index)
{
    while (log->segment_count > index)
        free(log->segments[--log->segment_count].marks);
}

/* ---- files for readers: many of them read the same few segments ---- */

static void close_file(struct file_log *log, size_t index)
{
    struct shared_file *file = log->files[index];

    log->files[index] = log->files[--log->file_count];
    (void)log->ops->close(log->ops, file->file);
    free(file);
}

int segment_acquire_file(struct file_log *log, const struct segment *segment, struct shared_file **ret_file)
{
    struct shared_file *file;
    int r;

    for (size_t i = 0; i < log->file_count; i++) {
        file = log->files[i];
        if (file->first == segment->first && file->version == segment->version) {
            file->readers++;
            *ret_file = file;
            return 0;
        }
    }
    r = vector_reserve(&log->files, &log->file_capacity, log->file_count + 1);
    if (r < 0)
        return r;
    file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    r = segment_open(log, segment->first, OS_FILE_READ, &file->file);
    if (r < 0) {
        free(file);
        return r;
    }
    file->first = segment->first;
    file->version = segment->version;
    file->readers = 1;
    log->files[log->file_count++] = file;
    *ret_file = file;
    return 0;
}

void segment_release_file(struct file_log *log, struct shared_file *file)
{
    size_t idle = 0, oldest = 0;

    assert(file->readers > 0);
    file->readers--;
    for (size_t i = log->file_count; i > 0; i--) {
        if (log->files[i - 1]->readers == 0) {
            idle++;
            oldest = i - 1;
        }
    }
    if (idle > FILES_IDLE_MAX)
        close_file(log, oldest);
}

void segment_close_files(struct file_log *log)
{
    while (log->file_count > 0)
        close_file(log, 0);
    free(log->files);
    log->files = NULL;
}

void segment_mark(struct segment *segment, uint64_t position, uint64_t offset)
{
    uint64_t last =
        segment->mark_count ? segment->marks[segment->mark_count - 1].offset : FORMAT_SEGMENT_SIZE;

    if (offset < last + MARK_GRANULE)
        return;
    if (vector_reserve(&segment->marks, &segment->mark_capacity, segment->mark_count + 1) < 0)
        return;
    segment->marks[segment->mark_count++] = (struct mark){.position = position, .offset = offset};
}

void segment_cut(struct segment *segment, uint64_t size)
{
    segment->size = size;
    while (segment->mark_count > 0 && segment->marks[segment->mark_count - 1].offset >= size)
        segment->mark_count--;
}

struct mark segment_find(const struct segment *segment, uint64_t position)
{
    size_t low = 0, high = segment->mark_count; /* marks below `low` are at or before the position */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (segment->marks[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return (struct mark){.position = segment->first, .offset = FORMAT_SEGMENT_SIZE};
    return segment->marks[low - 1];
}

size_t segment_index(const struct file_log *log, uint64_t position)
{
    size_t low = 0, high = log->segment_count; /* segments below `low` begin at or before the position */

    assert(log->segment_count > 0);
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (log->segments[middle].first <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : low - 1;
}
