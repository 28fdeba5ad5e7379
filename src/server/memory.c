#include "server/memory.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE_SIZE_MAX = 4096, PATH_SIZE_MAX = LINE_SIZE_MAX + 64 };

#define SCARCE_SIZE        (UINT64_C(1) << 30)
#define MMAP_THRESHOLD     (128 * 1024)
#define SCARCE_ARENA_COUNT 2
#define SCARCE_STACK_SIZE  (1024 * 1024)

/* ---- what there is ---- */

/* The number in a file; 0: none, or no limit ("max", or close to 2^63 as version 1 has it). */
static uint64_t limit_read(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long long value = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu", &value) != 1 || value > UINT64_MAX / 4)
        value = 0;
    (void)fclose(file);
    return value;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return b > 0 && b < a ? b : a;
}

/* The least limit of a group and those above it. */
static uint64_t group_limit(uint64_t memory, const char *folder, const char *controller, const char *group,
                            const char *name)
{
    char path[PATH_SIZE_MAX];
    size_t size = strlen(group);

    for (;;) {
        if (snprintf(path, sizeof(path), "%s%s%.*s/%s", folder, controller, (int)size, group, name) < (int)sizeof(path))
            memory = least(memory, limit_read(path));
        if (size == 0)
            return memory;
        size--;
        while (size > 0 && group[size] != '/')
            size--;
    }
}

uint64_t memory_within(uint64_t memory, const char *groups_file, const char *limits_folder)
{
    FILE *file = fopen(groups_file, "re");
    char line[LINE_SIZE_MAX];

    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        const char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group)
            continue;
        if (group == kind + 1)
            memory = group_limit(memory, limits_folder, "", group + 1, "memory.max");
        else if (strncmp(kind, ":memory:", 8) == 0)
            memory = group_limit(memory, limits_folder, "/memory", group + 1, "memory.limit_in_bytes");
    }
    if (file)
        (void)fclose(file);
    return memory;
}

/* Three quarters of the address space, where that is limited (ulimit -v): programs and libraries take of it too. */
static uint64_t space_limit(uint64_t memory)
{
    struct rlimit space;

    if (getrlimit(RLIMIT_AS, &space) < 0 || space.rlim_cur == RLIM_INFINITY)
        return memory;
    return least(memory, space.rlim_cur / 4 * 3);
}

uint64_t memory_found(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return space_limit(memory_within(memory, "/proc/self/cgroup", "/sys/fs/cgroup"));
}

/* ---- what follows ---- */

static const struct {
    const char *limit;
    uint64_t divisor; /* of the memory: what is left is the limit, if the default is not less */
} shares[] = {
    {"connection_count_max", 64 * 1024}, {"subscription_count_max", 128 * 1024},
    {"group_waiting_count_max", 256 * 1024}, {"bodies_size_max", 12}, /* one that is read takes several times its size */
    {"answers_size_max", 16}, {"body_size_max", 32},
    {"page_size_max", 64}, {"page_cache_size_max", 32},
    {"subscription_buffer_size_max", 32}, {"stream_piece_size_max", 1024},
};

void memory_fit(struct server_options *options)
{
    if (options->memory == 0)
        options->memory = memory_found();
    if (options->memory < SERVER_MEMORY_MIN)
        options->memory = SERVER_MEMORY_MIN;
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
        server_limit_lower(options, shares[i].limit, options->memory / shares[i].divisor);
}

/* A thread reserves 8 MiB for its stack and an arena 64 MiB, of which next to nothing is used. */
static void thrift_with_space(void)
{
    pthread_attr_t attributes;

    mallopt(M_ARENA_MAX, 1);
    if (pthread_attr_init(&attributes) != 0)
        return;
    if (pthread_attr_setstacksize(&attributes, SCARCE_STACK_SIZE) == 0)
        (void)pthread_setattr_default_np(&attributes);
    (void)pthread_attr_destroy(&attributes);
}

void memory_thrift(uint64_t memory)
{
    if (memory > SCARCE_SIZE)
        return;
    mallopt(M_ARENA_MAX, SCARCE_ARENA_COUNT);
    if (space_limit(SCARCE_SIZE) < SCARCE_SIZE)
        thrift_with_space();
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD); /* and no more: else what was freed once is kept the next time */
}
