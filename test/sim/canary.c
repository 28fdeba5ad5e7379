/* canary: a bug is planted for each promise, and the simulator must fall over it.
 *
 * A test that has never failed may be unable to. Here each of P1–P7, and of S1 and S2, is broken once, in the way it is broken in the wild:
 * by a lying sync, by a filter around the log, or by one function of log or journal replaced when the program is linked
 * (--wrap in meson.build). The oracle gets so many worlds to see it. Without a bug the same worlds are whole: that is what
 * sim itself shows.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal/check.h"
#include "journal/journal.h"
#include "journal/run.h"
#include "journal/scavenge_said.h"
#include "journal/state.h"
#include "log/file_log_internal.h"
#include "sim/world.h"

enum { SEEDS_MAX = 3000 };

enum bug {
    BUG_NONE,
    BUG_ACKNOWLEDGED_TOO_SOON,
    BUG_APPEND_IN_PIECES,
    BUG_POSITION_SKIPPED,
    BUG_CONDITION_IGNORED,
    BUG_FLIGHTS_IGNORED,
    BUG_REFUSED_TOO_SOON,
    BUG_ID_FORGOTTEN,
    BUG_DAMAGE_HIDDEN,
    BUG_FLOOR_TOO_HIGH,
    BUG_FAILED_SYNC_BELIEVED,
    BUG_NAMES_NOT_SYNCED,
    BUG_RUN_FORGETS,
    BUG_SCAVENGE_LEFT_HALF,
    BUG_SCAVENGE_UNSAID,
};

static enum bug planted;

/* ---- replaced functions: __wrap_x() stands in for x(), which is __real_x() ---- */

int __real_journal_reader_next(struct journal_reader *reader, struct journal_event *ret_event);
int __wrap_journal_reader_next(struct journal_reader *reader, struct journal_event *ret_event);
int __real_check_guards(struct past *past, struct arena *arena, const struct journal_append *append,
                        struct journal_result *result);
int __wrap_check_guards(struct past *past, struct arena *arena, const struct journal_append *append,
                        struct journal_result *result);
int __real_check_ids(struct past *past, struct arena *arena, const struct journal_append *append,
                     struct journal_result *result);
int __wrap_check_ids(struct past *past, struct arena *arena, const struct journal_append *append,
                     struct journal_result *result);
void __real_journal_flight_send(struct journal *journal, struct batch *batch, bool wait);
void __wrap_journal_flight_send(struct journal *journal, struct batch *batch, bool wait);
void __real_file_log_note_damage(struct file_log *log, uint64_t segment_first, uint64_t offset,
                                 const char *what);
void __wrap_file_log_note_damage(struct file_log *log, uint64_t segment_first, uint64_t offset,
                                 const char *what);

void __real_format_put_frame(const struct format_frame *frame, uint32_t seed, uint8_t *data);
void __wrap_format_put_frame(const struct format_frame *frame, uint32_t seed, uint8_t *data);

int __real_run_find_term(struct run *run, uint64_t term, struct run_postings *ret_postings);
int __wrap_run_find_term(struct run *run, uint64_t term, struct run_postings *ret_postings);

/* Some types and tags are not found in any file of the index. */
int __wrap_run_find_term(struct run *run, uint64_t term, struct run_postings *ret_postings)
{
    if (planted != BUG_RUN_FORGETS || term % 4 != 0)
        return __real_run_find_term(run, term, ret_postings);
    *ret_postings = (struct run_postings){0};
    return 0;
}

int __real_scavenge_redo(struct journal *journal);
int __wrap_scavenge_redo(struct journal *journal);
int __real_log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                       struct log_replaced *ret_replaced);
int __wrap_log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                       struct log_replaced *ret_replaced);

int __wrap_scavenge_redo(struct journal *journal)
{
    return planted == BUG_SCAVENGE_LEFT_HALF ? 0 : __real_scavenge_redo(journal);
}

/* One more than was said. */
int __wrap_log_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                       struct log_replaced *ret_replaced)
{
    struct log_range more = {1, count > 0 ? ranges[count - 1].last + 1 : 1};

    if (planted != BUG_SCAVENGE_UNSAID)
        return __real_log_replace(log, ranges, count, from, ret_replaced);
    return __real_log_replace(log, &more, 1, from, ret_replaced);
}

int __wrap_journal_reader_next(struct journal_reader *reader, struct journal_event *ret_event)
{
    int r = __real_journal_reader_next(reader, ret_event);

    if (planted == BUG_POSITION_SKIPPED && r == 0 && ret_event->position % 97 == 0)
        r = __real_journal_reader_next(reader, ret_event);
    return r;
}

/* What is durable is looked at, and what stands before it in its own batch, but no batch that is on its way. */
static int check_without_flights(struct past *past, struct arena *arena, const struct journal_append *append,
                                 struct journal_result *result)
{
    struct past blind = *past;
    int r;

    blind.layers[0] = past->layers[past->layer_count - 1];
    blind.layer_count = 1;
    r = __real_check_guards(&blind, arena, append, result);
    past->fetch = blind.fetch;
    return r;
}

/* Only what is durable is looked at, not what stands before it in the batch; when nothing does, all is well. */
int __wrap_check_guards(struct past *past, struct arena *arena, const struct journal_append *append,
                        struct journal_result *result)
{
    if (planted == BUG_CONDITION_IGNORED && past_tail(past) > index_last(past->durable))
        return 0;
    if (planted == BUG_FLIGHTS_IGNORED && past->layer_count > 1)
        return check_without_flights(past, arena, append, result);
    return __real_check_guards(past, arena, append, result);
}

/* Who lost is told at once, be what it lost against on its way or not. */
void __wrap_journal_flight_send(struct journal *journal, struct batch *batch, bool wait)
{
    size_t kept = 0;

    for (size_t i = 0; planted == BUG_REFUSED_TOO_SOON && i < batch->append_count; i++) {
        if (batch->appends[i].result.answer == JOURNAL_E_CONFLICT)
            journal_answer(journal, batch->appends[i].append, &batch->appends[i].result);
        else
            batch->appends[kept++] = batch->appends[i];
    }
    if (planted == BUG_REFUSED_TOO_SOON)
        batch->append_count = kept;
    __real_journal_flight_send(journal, batch, wait);
}

int __wrap_check_ids(struct past *past, struct arena *arena, const struct journal_append *append,
                     struct journal_result *result)
{
    return planted == BUG_ID_FORGOTTEN ? 0 : __real_check_ids(past, arena, append, result);
}

void __wrap_file_log_note_damage(struct file_log *log, uint64_t segment_first, uint64_t offset,
                                 const char *what)
{
    if (planted != BUG_DAMAGE_HIDDEN)
        __real_file_log_note_damage(log, segment_first, offset, what);
}

/* The floor of a frame names the frame itself, which is not durable yet. */
void __wrap_format_put_frame(const struct format_frame *frame, uint32_t seed, uint8_t *data)
{
    struct format_frame high = *frame;

    if (planted == BUG_FLOOR_TOO_HIGH)
        high.floor += frame->count;
    __real_format_put_frame(&high, seed, data);
}

/* ---- a log whose appends are not whole: each record becomes an append of its own ---- */

struct pieces {
    struct log log; /* first */
    struct log *below;
};

struct split {
    struct log_batch batch; /* first: what the log below sees */
    struct log_batch *above;
    struct log_entry entries[];
};

static struct log *below(struct log *log)
{
    return ((struct pieces *)log)->below;
}

static void split_done(struct log_batch *batch, enum log_outcome outcome)
{
    struct log_batch *above = ((struct split *)batch)->above;

    above->chain_after = batch->chain_after;
    free(batch);
    above->done(above, outcome);
}

static int pieces_append(struct log *log, struct log_batch *batch)
{
    size_t records = 0, at = 0;
    struct split *split;
    int r;

    for (size_t i = 0; i < batch->count; i++)
        records += batch->entries[i].count;
    split = calloc(1, sizeof(*split) + records * sizeof(split->entries[0]));
    if (!split)
        return -ENOMEM;
    for (size_t i = 0; i < batch->count; i++)
        for (size_t j = 0; j < batch->entries[i].count; j++)
            split->entries[at++] = (struct log_entry){.records = &batch->entries[i].records[j], .count = 1};
    split->above = batch;
    split->batch = *batch;
    split->batch.entries = split->entries;
    split->batch.count = records;
    split->batch.done = split_done;
    r = log_append(below(log), &split->batch);
    if (r != 0)
        free(split);
    return r;
}

static int pieces_reader_new(struct log *log, uint64_t after, struct log_reader **ret_reader)
{
    return log_reader_new(below(log), after, ret_reader);
}

static int pieces_replace(struct log *log, const struct log_range *ranges, size_t count, uint64_t from,
                          struct log_replaced *ret_replaced)
{
    return log_replace(below(log), ranges, count, from, ret_replaced);
}

static void pieces_status(struct log *log, struct log_status *ret_status)
{
    log_status(below(log), ret_status);
}

static void pieces_counters(struct log *log, struct log_counters *ret_counters)
{
    log_counters(below(log), ret_counters);
}

static int pieces_chain_at(struct log *log, uint64_t position, struct log_chain *ret_chain)
{
    return log_chain_at(below(log), position, ret_chain);
}

static int pieces_close(struct log *log)
{
    int r = log_close(below(log));

    free(log);
    return r;
}

static uint64_t pieces_synced(struct log *log)
{
    return log_synced(below(log));
}

static void pieces_on_synced(struct log *log, void (*moved)(void *user), void *user)
{
    log_on_synced(below(log), moved, user);
}

static struct log *cut_into_pieces(struct log *log)
{
    static const struct log_ops ops = {
        .name = "pieces",
        .append = pieces_append,
        .reader_new = pieces_reader_new,
        .replace = pieces_replace,
        .status = pieces_status,
        .counters = pieces_counters,
        .chain_at = pieces_chain_at,
        .synced = pieces_synced,
        .on_synced = pieces_on_synced,
        .close = pieces_close,
    };
    struct pieces *pieces = calloc(1, sizeof(*pieces));

    if (!pieces)
        abort();
    *pieces = (struct pieces){.log = {.ops = &ops}, .below = log};
    return &pieces->log;
}

/* ---- letting the oracle look ---- */

static const struct {
    enum bug bug;
    const char *what;
    struct world_plant plant;
} bugs[] = {
    {BUG_ACKNOWLEDGED_TOO_SOON, "P1: an append that is acknowledged before its sync", {.no_sync = true}},
    {BUG_APPEND_IN_PIECES, "P2: an append that is written in pieces", {.wrap_log = cut_into_pieces}},
    {BUG_POSITION_SKIPPED, "P3: a reader that skips a position", {0}},
    {BUG_CONDITION_IGNORED, "P4: a condition that is ignored within a batch", {0}},
    {BUG_FLIGHTS_IGNORED, "P4: a condition that does not see the batches on their way", {0}},
    {BUG_REFUSED_TOO_SOON, "P4: a refusal that is told before what it lost against is durable", {0}},
    {BUG_ID_FORGOTTEN, "P5: an event id that is forgotten", {0}},
    {BUG_DAMAGE_HIDDEN, "P6: damage below the floor that is hidden", {0}},
    {BUG_FLOOR_TOO_HIGH, "P6: a floor that stands for what is not durable yet", {0}},
    {BUG_NAMES_NOT_SYNCED, "P1: a segment whose name is not synced", {.no_folder_sync = true}},
    {BUG_RUN_FORGETS, "I2: a run of the index that forgets a term", {0}},
    {BUG_SCAVENGE_LEFT_HALF, "S2: a scavenge that a crash interrupts and nobody finishes", {0}},
    {BUG_SCAVENGE_UNSAID, "S1: a body that goes and nothing says so", {0}},
    {BUG_FAILED_SYNC_BELIEVED, "P7: a failed sync that is repeated and believed", {.sync_says_done = true}},
};

enum { BUG_COUNT = sizeof(bugs) / sizeof(bugs[0]) };

static _Noreturn void look(size_t i, bool loud, uint64_t *seed)
{
    planted = bugs[i].bug;
    if (!loud && !freopen("/dev/null", "w", stderr))
        exit(0);
    for (*seed = 1; *seed <= SEEDS_MAX; ++*seed)
        (void)world_run(*seed, false, &bugs[i].plant);
    exit(0);
}

/* True when the process that looked came to a bad end: the oracle's, or an assertion's. */
static bool is_caught(size_t i, bool loud, uint64_t *seed)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        look(i, loud, seed);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    return WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) != 0;
}

int main(int argc, char **argv)
{
    bool loud = argc > 1 && strcmp(argv[1], "-v") == 0, good = true;
    uint64_t *seed = mmap(NULL, sizeof(*seed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (seed == MAP_FAILED)
        return 1;
    printf("1..%d\n", BUG_COUNT);
    (void)fflush(stdout);
    for (size_t i = 0; i < BUG_COUNT; i++) {
        bool caught = is_caught(i, loud, seed);

        if (caught)
            printf("ok %zu - %s is seen, in world %llu\n", i + 1, bugs[i].what, (unsigned long long)*seed);
        else
            printf("not ok %zu - %s is not seen in %d worlds\n", i + 1, bugs[i].what, SEEDS_MAX);
        (void)fflush(stdout);
        good &= caught;
    }
    return good ? 0 : 1;
}
