/*
 * Runs a fuzzer's entry point without a fuzzing compiler: every file of a corpus folder as it is, then MUTATIONS
 * changed copies of each (flipped bits, cut, repeated and swapped pieces), from a seed that is printed, so that a run
 * can be repeated. Speaks TAP. What it must find shows as a crash or a sanitizer's report.
 *
 *     fuzz_replay FOLDER [MUTATIONS [SEED]]
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_SIZE_MAX    ((size_t)1 << 20)
#define MUTATIONS_DEFAULT 200
#define SEED_DEFAULT      1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state >> 33;
}

static size_t random_below(size_t limit)
{
    return limit ? (size_t)(random_next() % limit) : 0;
}

static void mutate_once(uint8_t *data, size_t *size)
{
    size_t at = random_below(*size), length = random_below(*size - at), to;

    switch (*size ? random_next() % 6 : 6) {
    case 0: data[at] ^= (uint8_t)(1u << random_below(8)); break;
    case 1: data[at] = (uint8_t)random_next(); break;
    case 2: *size = at; break;
    case 3: /* take a piece away */
        memmove(data + at, data + at + length, *size - at - length);
        *size -= length;
        break;
    case 4: /* repeat a piece */
        if (*size + length <= INPUT_SIZE_MAX) {
            memmove(data + at + length, data + at, *size - at);
            *size += length;
        }
        break;
    case 5: /* copy a piece elsewhere */
        to = random_below(*size - length);
        memmove(data + to, data + at, length);
        break;
    default: break;
    }
}

/* The input in memory of exactly its size, so that a sanitizer sees every step beyond it. */
static void run_exact(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);

    if (!exact)
        abort();
    if (size > 0)
        memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static size_t read_whole(const char *folder, const char *name, uint8_t *data)
{
    char path[4096];
    size_t size = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file)
        return SIZE_MAX;
    size = fread(data, 1, INPUT_SIZE_MAX, file);
    (void)fclose(file);
    return size;
}

static void run_file(const uint8_t *original, size_t original_size, uint8_t *work, size_t mutations)
{
    run_exact(original, original_size);
    for (size_t i = 0; i < mutations; i++) {
        size_t size = original_size;

        memcpy(work, original, size);
        for (size_t changes = 1 + random_below(4); changes > 0; changes--)
            mutate_once(work, &size);
        run_exact(work, size);
    }
}

int main(int argc, char **argv)
{
    size_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : MUTATIONS_DEFAULT, count = 0;
    uint8_t *original = malloc(INPUT_SIZE_MAX), *work = malloc(INPUT_SIZE_MAX);
    struct dirent **entries = NULL;
    int found = argc > 1 ? scandir(argv[1], &entries, NULL, alphasort) : -1;

    random_state = argc > 3 ? strtoull(argv[3], NULL, 10) : SEED_DEFAULT;
    if (!original || !work || found < 0) {
        (void)fprintf(stderr, "usage: fuzz_replay FOLDER [MUTATIONS [SEED]]\n");
        return 2;
    }
    printf("# seed %" PRIu64 ", %zu mutations a file\n", random_state, mutations);
    for (int i = 0; i < found; i++) {
        size_t size =
            entries[i]->d_name[0] == '.' ? SIZE_MAX : read_whole(argv[1], entries[i]->d_name, original);

        if (size != SIZE_MAX) {
            run_file(original, size, work, mutations);
            printf("ok %zu - %s survives itself and its mutations\n", ++count, entries[i]->d_name);
        }
        free(entries[i]);
    }
    printf("1..%zu\n", count);
    free(entries);
    free(original);
    free(work);
    return count > 0 ? 0 : 1;
}
