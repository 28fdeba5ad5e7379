/* set: what the parts of a view set share. Private to src/view.
 *
 *     set.c        opening and closing
 *     application.c the folder of SQL files, checked before anything is touched
 *     standing.c   how things stand
 *     generation.c the stores of a view on the disk: which one answers, which ones go
 *     projector.c  a thread a view: events → rows
 *     ask.c        questions: waiting for positions and workers
 *     answer.c     a question answered from the present stores
 *     history.c    … and from scratch copies, for as_of
 *
 * One mutex guards what threads share (marked m below); it is held for a few instructions, never over SQL or I/O.
 */
#pragma once

#include <stdatomic.h>

#include "os/thread.h"
#include "view/definition.h"
#include "view/query.h"
#include "view/reader.h"
#include "view/store.h"
#include "view/view.h"

/* A store of a view, as projector and readers see it. */
struct generation {
    unsigned refs; /* m */
    uint64_t number;
    char *path;
    struct definition *definition;
    bool definition_owned; /* an older one, read from the store itself */
    struct relation *relation;
    uint64_t committed; /* m: the position in the store */
    uint64_t
        reached; /* m: every event up to here is in the rows: >= committed, for events the view has no section for */

    uint64_t forgets; /* m: of the view's, those it was begun after */

    /* The projector's alone. */
    struct store *store;
    struct journal_reader *reader;
    uint64_t until; /* stop before the event after this one, which failed; UINT64_MAX: none did */
    char error[VIEW_ERROR_SIZE]; /* why it did */
    bool failed;
    bool absent;          /* it stands in for a store that there was no room to open: no file, no rows. Of anybody, never changed */
    bool halted;          /* it cannot be written any more */
    atomic_bool damaged;  /* of anybody: a page did not hold. What is whole of it answers until the next one has its place */
};

/* A copy of a view moved to some position of the past. The history worker's. */
struct scratch {
    struct store *store;
    struct relation *relation;
    char *path;
    uint64_t number;
    uint64_t used; /* when last */
    uint64_t reached;
};

struct view {
    struct view_set *set;
    struct definition *definition; /* the present one */
    uint64_t number_last;          /* of generations: never used twice */
    atomic_bool rebuild_asked;
    uint64_t retry_ns;      /* when stalled or missing a key: the projector's */
    uint64_t key_missed_ns; /* since when a key has not come; 0: none is missed. Likewise */
    struct os_thread thread;
    struct scratch scratch[VIEW_SCRATCH_COUNT_MAX];
    /* m, changed by the projector only: */
    struct generation *current, *next;
    bool stalled;
    bool failed;      /* current stopped at an event: nothing beyond its position will come */
    bool next_failed; /* the one being built did */
    bool unreadable;  /* the journal is damaged where it has to be read next */
    uint64_t error_position;
    char error[VIEW_ERROR_SIZE];
    uint64_t events, batches;
    uint64_t forgets; /* how often it was asked to forget: what answers is clean when it was begun after the last */
};

/* What a question is asked of: a view, or a query over some. */
struct target {
    struct query *query; /* NULL: a view */
    struct view *views[VIEW_QUERY_USES_MAX];
    size_t view_count;
    uint64_t past_served; /* m: when the historian last answered a question of it, in questions */
};

/* Connections kept by a worker. */
enum { WORKER_READER_COUNT_MAX = 16 };
struct worker {
    struct view_set *set;
    struct os_thread thread;
    struct {
        struct reader *reader;
        const struct target *target;
        uint64_t used;
    } readers[WORKER_READER_COUNT_MAX];
    uint64_t question_count;
    bool stale; /* m: its connections, and the historian's copies, are to be closed */
    bool spare; /* works only while a question takes long, and is started when that happens first */
    uint64_t busy_ns;            /* m: since when it answers a question; 0: it does not */
    const struct target *target; /* m: of that question */
};

struct request_list {
    struct view_request *first, **end;
};

enum { WORKER_COUNT_MAX = 64 + VIEW_SPARE_COUNT };

struct view_set {
    struct view_options options;
    char *folder;       /* of the stores */
    struct view *views; /* by name */
    size_t view_count;
    struct target *targets; /* one a view, in the same order, then one a query, by name */
    size_t query_count;
    struct journal_listener listener;
    struct worker workers[WORKER_COUNT_MAX];
    size_t worker_count; /* without the spare ones, which stand behind them */
    struct worker historian;
    uint64_t scratch_number;
    atomic_bool stop;      /* interrupts statements */
    _Atomic uint64_t head; /* the journal's, as last heard */
    struct os_mutex mutex;
    struct os_cond moved; /* the head, a position, or what is asked of a projector */
    struct os_cond asked; /* something for a worker */
    struct os_cond asked_spare;
    struct os_cond asked_history;
    /* m */
    bool closing;
    struct request_list ready, ready_history, waiting;
    size_t request_count; /* in the three lists */
    size_t idle_count;    /* workers, without the spare ones, that wait for a question */
    size_t idle_spare_count; /* spare ones that wait */
    bool watched;         /* a spare one waits for a question to have taken long, or for a deadline … */
    uint64_t watch_ns;    /* … at this moment */
    uint64_t past_served; /* questions the historian has answered */
    struct view_counters counters;
    bool listening;
};

/* --- application.c ------------------------------------------------------------------------------------------------- */

/* Read views and queries into the set. 0, VIEW_E_INVALID, -errno. */
int load_application(struct view_set *set, char *ret_error);
/* NULL: there is none of this name. */
struct view *find_view(struct view_set *set, struct bytes name);

/* --- generation.c --------------------------------------------------------------------------------------------------------------- */

/* Make the folder of the stores. 0 or -errno. */
int views_folder_make(struct view_set *set);
/* Find, make or take up the store that answers, and one being built beside it; delete all others. 0, STORE_E_*, -errno: nothing
 * has changed, and it can be tried again. Before the projector runs, and by it; view->set->mutex not held. */
int generations_open(struct view *view, char *ret_error);
/* Whether a failure goes away when there is room on the disk. */
bool is_want_of_room(int r);
/* P7: generations_open() failed for want of room: what stands in for the store until the projector could open it. 0, -ENOMEM. */
int generation_stand_in(struct view *view, int r, const char *error);
/* A new store for the present definition. 0, STORE_E_*, -errno; view->set->mutex not held. */
int generation_make(struct view *view, struct generation **ret_generation, char *ret_error);
/* Make it the one that answers after a restart too. 0 or -errno. */
int generation_point(struct view *view, const struct generation *generation);
/* Close the projector's side and delete the files. */
void generation_discard(struct view *view, struct generation *generation);
void generation_close(struct generation *generation);                       /* projector's side only */
void generation_unref(struct view_set *set, struct generation *generation); /* mutex not held */
void files_delete(const char *path); /* a store's file, -wal and -shm */
_printf_(4, 5) void view_notice(struct view *view, enum view_notice_kind kind, char *ret_sentence,
                                const char *format, ...);

/* A page of the store did not hold: it is built anew beside, by itself. Any thread; the mutex is not held. `what`: a sentence. */
void generation_damaged(struct view *view, struct generation *generation, const char *what);

/* --- projector.c ---------------------------------------------------------------------------------------------------------------- */

void projector_run(void *user); /* struct view */

/* --- ask.c ---------------------------------------------------------------------------------------------------------------------- */

void worker_run(void *user);    /* struct worker */
void historian_run(void *user); /* struct worker */
/* Under the mutex: a position moved, a view failed or the head moved: wake what waited for that. */
void ask_moved(struct view_set *set);
/* Answer everything in the lists with VIEW_E_CLOSING. */
void ask_end(struct view_set *set);
/* Fill the answer in. */
_printf_(3, 4) void answer_refuse(struct view_answer *answer, int code, const char *format, ...);

/* Under the mutex: connections to older stores, and scratch copies too when `history`, are to be closed. */
void workers_forget(struct view_set *set);

/* --- answer.c ------------------------------------------------------------------------------------------------------------------- */

/* Answer from these stores. `relation`: of a view target. `ret_positions`: what the rows show, a view each. */
void answer_from(struct reader *reader, const struct target *target, const struct relation *relation,
                 const struct view_request *request, uint64_t *ret_positions, struct view_answer *answer);
void answer_present(struct worker *worker, struct view_request *request, struct view_answer *answer);
/* The worker's connection over these stores; one of the same target over older stores is closed. 0, -ESTALE,
 * READER_E_DAMAGED, -errno. */
int worker_reader(struct worker *worker, const struct target *target, const struct reader_part *parts,
                  struct reader **ret_reader, char *ret_error);
void worker_forget(struct worker *worker); /* close its connections */

/* --- history.c ------------------------------------------------------------------------------------------------------------------ */

void answer_past(struct worker *worker, struct view_request *request, struct view_answer *answer);
/* Delete the scratch copies' folder's content; before the first and after the last question. */
int scratch_clear(struct view_set *set);
void scratch_forget(struct view *view);
