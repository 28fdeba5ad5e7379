/* view: the read side. Projections in SQL over the journal, and the questions asked of them.
 *
 * A view is one SQL file (docs/formats/view.md): tables, and what each type of event does to them. A
 * projector thread of its own applies the journal's events to the view's store, an SQLite file, and notes in
 * the same transaction how far it has come. A named query is an SQL file too: one select over one or more
 * views. All of a store can be deleted at any time; it is derived from the journal and rebuilt from it.
 *
 * Life: view_set_open() reads an application folder, opens or makes the stores and starts the projectors and
 * a small pool of workers; view_set_close() lets running questions end, answers the waiting ones, and stops.
 *
 * Threads: every function may be called from any thread. view_submit() never blocks: the question is answered
 * by a worker, which calls done(); one that waits for a position waits in a list, not on a thread. Questions
 * with as_of have a worker of their own, so that looking at the past does not hold up the present.
 *
 * Generations: a view's rows lie in VIEW@GENERATION.db; VIEW.current names the one that answers. A changed
 * view is built as the next generation beside the old one, which goes on answering and following the journal
 * by the definition it was built with; when the new one has reached it, the pointer moves and the old one is
 * deleted.
 *
 * Invariants:
 * V1 (P8) a store's rows are those of exactly the events 1…position, whatever is killed: {journal id,
 * position, chain} is written in the transaction of the rows. A store whose journal or chain does not match
 * is thrown away, and so is one with a page that is not as it was written: each has a checksum, and no question is
 * answered from one that does not hold. V2 (P9) an answer's position is that of its rows: at least min_position, and never more
 * than its rows show. V3 a view's position never goes back while the set is open, also not when generations
 * are swapped; but when what answers shows what was erased, and the one built instead stops at an event (V5), it
 * goes back to there; likewise when what answers is damaged. V4 rows depend on the events and the definition alone: what reads a clock, chance or the
 * connection is refused. V5 a statement that fails stops its view alone, before the event it failed on; no
 * event is passed over. V6 no question writes, outlives its time limit, or holds a read transaction longer
 * than that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "journal/journal.h"

/* Limits. Each has a test. */
enum {
    VIEW_COUNT_MAX = 64,                   /* views of an application, and named queries */
    VIEW_FILE_SIZE_MAX = 1024 * 1024,      /* bytes of an SQL file */
    VIEW_NAME_SIZE_MAX = 64,               /* bytes of the name of a view, query or parameter */
    VIEW_QUERY_USES_MAX = 10,              /* views one query uses */
    VIEW_ROW_COUNT_DEFAULT = 1000,         /* rows of a view's answer unless `limit` asks otherwise */
    VIEW_ROW_COUNT_MAX = 1000000,          /* rows of any answer */
    VIEW_FILTER_COUNT_MAX = 100,           /* conditions of one question, and columns it selects */
    VIEW_FILTER_DEPTH_MAX = 16,            /* and/or inside one another */
    VIEW_LIST_COUNT_MAX = 1000,            /* values of one in.(…) */
    VIEW_VALUE_SIZE_MAX = 8192,            /* bytes of one parameter's value */
    VIEW_TEXT_SIZE_MAX = 16 * 1024 * 1024, /* bytes of one text, blob or row inside SQL */
    VIEW_PARAMETER_COUNT_MAX = 256,        /* parameters of one question */
    VIEW_WAIT_MS_DEFAULT = 1000,           /* wait for min_position unless the question says otherwise */
    VIEW_WAIT_MS_MAX = 30000,              /* … and at most */
    VIEW_TIME_MS_MAX = 5000,               /* of a question's SQL, and so of a read transaction */
    VIEW_LONG_MS = 100,        /* what runs longer leaves its worker's place to others */
    VIEW_LONG_COUNT_MAX = 2,   /* of such questions of a view at once; its other questions wait, nobody else's do … */
    VIEW_SPARE_COUNT = 14,     /* … while no more than so many take long, of all views */
    VIEW_HISTORY_MS_MAX = 30000,           /* moving a scratch copy to the position as_of asks for */
    VIEW_APPLY_MS_MAX = 10000,             /* one event's statements: a runaway statement is a failing one */
    VIEW_SCRATCH_COUNT_MAX = 8,            /* scratch copies kept of each view */
    VIEW_ANSWER_MEMORY_MAX =
        1024 * 1024, /* bytes of an answer kept in memory; beyond it is spooled to a file */
    VIEW_ANSWER_SIZE_MAX = 1024 * 1024 * 1024, /* bytes of an answer */
    VIEW_QUEUE_COUNT_MAX = 4096,               /* questions waiting for a worker or a position */
};

/* Answers; behind each the status and code it becomes over HTTP. */
enum {
    VIEW_E_UNKNOWN = 1,   /* 404 no view or query of this name */
    VIEW_E_COLUMN = 2,    /* 400 the view has no such column */
    VIEW_E_OPERATOR = 3,  /* 400 no such operator, or not where it stands */
    VIEW_E_PARAMETER = 4, /* 400 a parameter is malformed, out of range, unknown to the query, or missing */
    VIEW_E_RANGE = 5,     /* 416 offset beyond the rows there are (total is set) */
    VIEW_E_NOT_CAUGHT_UP = 6, /* 409 not-caught-up, Retry-After: 1; `position` is what was reached */
    VIEW_E_TIMEOUT =
        7, /* 503 query-timeout, Retry-After: 1; as_of: a further try goes on from where it came to */
    VIEW_E_TOO_LARGE = 8, /* 422 the answer is above VIEW_ANSWER_SIZE_MAX */
    VIEW_E_BUSY = 9,      /* 429 VIEW_QUEUE_COUNT_MAX reached */
    VIEW_E_CLOSING = 10,  /* 503 draining */
    VIEW_E_FAILED = 11,  /* 422 query-failed: the query's SQL failed on these values, or as_of lies beyond the
                          * event the view stopped at; `detail` says which */
    VIEW_E_SCAVENGED = 13, /* 409 as_of lies before a scavenge that took events the view had then; `first` can be asked */
    VIEW_E_REBUILDING = 14, /* 503 view-rebuilding, Retry-After: 1; what was asked for stands on a damaged page: the view is built anew */
    VIEW_E_NO_ROOM = 15, /* 507 disk-full, Retry-After: 1; there was no room to open the view's store: it is tried again by itself */
    VIEW_E_INVALID = 12, /* opening: a file of the application is wrong; `ret_error` names file and line */
};

struct view_set;

/* Something for the log: the caller decides what becomes of it. Called on any of the set's threads; be quick. */
enum view_notice_kind {
    VIEW_NOTICE_DISCARDED, /* a store, its pointer or a copy of the past was damaged or is not of the journal: it is made anew */
    VIEW_NOTICE_REBUILDING,
    VIEW_NOTICE_SWAPPED, /* the new generation answers now */
    VIEW_NOTICE_FAILED,  /* stopped at an event (V5) */
    VIEW_NOTICE_STALLED, /* the disk is full or failing: tried again every second */
    VIEW_NOTICE_RESUMED,
};

struct view_options {
    const char *app_folder;  /* with views/ and queries/, both optional; NULL: no views */
    const char *data_folder; /* the stores lie in data_folder/views, made if missing */
    struct journal *journal; /* the caller's, until view_set_close() returned */
    bool follower;           /* the journal's head may still reach a min_position beyond it: wait for that */
    unsigned worker_count;   /* 0: 2 */
    /* Limits below their constants; 0: those. */
    uint32_t time_ms_max, history_ms_max, apply_ms_max;
    uint64_t answer_size_max;
    size_t (*answer_memory)(void *user); /* bytes an answer may keep in memory, asked for each; NULL: VIEW_ANSWER_MEMORY_MAX */
    void (*on_notice)(void *user, enum view_notice_kind kind, const char *view,
                      const char *sentence); /* may be NULL */
    void *user;
};

enum { VIEW_ERROR_SIZE = 512 };

/* Read the application folder, open the stores, start. `ret_error` (may be NULL; VIEW_ERROR_SIZE bytes) gets
 * a sentence with file and line. 0, VIEW_E_INVALID, or -errno. */
int view_set_open(const struct view_options *options, struct view_set **ret_set, char *ret_error);

/* Answer what waits with VIEW_E_CLOSING, interrupt what runs, let the projectors commit, stop. NULL is fine.
 */
void view_set_close(struct view_set *set);

/* --- asking
 * ------------------------------------------------------------------------------------------------------------
 */

enum view_kind { VIEW_KIND_VIEW, VIEW_KIND_QUERY };
enum view_format { VIEW_JSON, VIEW_CSV, VIEW_NDJSON };

/* One `name=value` of the URL's query part, percent-decoding done. */
struct view_parameter {
    struct bytes name, value;
};

/* How it went. Whoever gets it owns it: view_answer_deinit(). */
struct view_answer {
    int answer;        /* 0 or VIEW_E_* or -errno */
    uint64_t position; /* of the rows shown, the lowest of the views used (V2). VIEW_E_NOT_CAUGHT_UP: what was
                          reached */
    uint64_t first;                         /* VIEW_E_SCAVENGED: a position from which on the past can be told */
    struct buffer body;                     /* the rows in the format asked for, when body_fd is -1 */
    int body_fd;                            /* else an unnamed file that holds them, from offset 0 */
    uint64_t body_size;                     /* bytes, either way */
    uint64_t offset;                        /* rows passed over */
    uint64_t row_count;                     /* rows in the body */
    bool has_total;                         /* count_exact was asked for */
    uint64_t total;                         /* rows there are without limit and offset */
    char parameter[VIEW_NAME_SIZE_MAX + 1]; /* the one at fault, or empty */
    char detail[VIEW_ERROR_SIZE];           /* a sentence, for every answer but 0 */
};

/* A question. The caller's, and untouched by it, until done(). */
struct view_request {
    enum view_kind kind;
    struct bytes name;
    const struct view_parameter *parameters; /* all of the URL's: columns or the query's own, select, order,
                                              * limit, offset, and, or, and min_position and as_of */
    size_t parameter_count;
    struct bytes range; /* the Range header when its unit is items ("0-24", "items=0-24"), or empty */
    bool count_exact;   /* Prefer: count=exact */
    uint32_t wait_ms;   /* Prefer: wait, in ms; 0: VIEW_WAIT_MS_DEFAULT; cut to VIEW_WAIT_MS_MAX */
    enum view_format format;

    /* Called once, on a worker's thread or before view_submit() returns; `answer` is the callee's now (copy
     * the struct). Be quick, do not wait for anything; further view_submit() is fine. */
    void (*done)(struct view_request *request, struct view_answer *answer);
    void *user;

    struct {
        struct view_request *next;
        void *target;
        uint64_t min_position, as_of, deadline_ns;
        int64_t as_of_time_us;
        bool has_as_of, as_of_is_time;
    } own; /* the set's */
};

/* Ask. done() is always called, exactly once; nothing here blocks. */
void view_submit(struct view_set *set, struct view_request *request);

/* The same and wait for the answer; for tools and tests. done and user are overwritten. Returns
 * ret_answer->answer. */
int view_ask(struct view_set *set, struct view_request *request, struct view_answer *ret_answer);

/* Free body and file. Fine on {.body_fd = -1} and twice. */
void view_answer_deinit(struct view_answer *answer);

/* The media type of a format: "application/json", "text/csv; charset=utf-8", "application/x-ndjson". */
const char *view_format_media_type(enum view_format format);

/* --- standing
 * ----------------------------------------------------------------------------------------------------------
 */

enum view_state {
    VIEW_CATCHING_UP, /* behind the journal's head by more than a moment */
    VIEW_LIVE,
    VIEW_REBUILDING, /* live or catching up, with a new generation beside it: rebuild_*; when it is because of damage: error */
    VIEW_STALLED,    /* cannot write now (disk full …), tried again every second: error. Without a store yet: generation 0 */
    VIEW_FAILED,     /* a statement failed: error, error_position. Answers go on at `position` */
};

struct view_status {
    char name[VIEW_NAME_SIZE_MAX + 1];
    uint64_t version; /* of the definition that answers */
    uint64_t generation;
    enum view_state state;
    uint64_t position, lag;   /* lag: journal's head less position */
    uint64_t events, batches; /* applied and committed since opening */
    uint64_t rebuild_version; /* 0: none under way */
    uint64_t rebuild_position;
    double progress;             /* 0…1 of what is under way: the rebuild, or catching up */
    uint64_t wal_size;           /* bytes on the disk beside the stores, not yet in them */
    uint64_t error_position;     /* the event named; 0: none */
    char error[VIEW_ERROR_SIZE]; /* a sentence, or empty */
};

struct view_counters {
    uint64_t asked, answered, refused, timed_out, not_caught_up, spooled, history;
    uint64_t waiting;        /* now: for a worker or a position */
    uint64_t scratch_copies; /* now */
    uint64_t replayed;       /* events applied to them */
};

/* The word for a state: "catching_up", "live", "rebuilding", "stalled", "failed". */
const char *view_state_name(enum view_state state);

/* How many views there are; they stay the same while the set is open, in the order of their names. */
size_t view_set_count(const struct view_set *set);
/* How the index-th of them stands. */
void view_set_status(struct view_set *set, size_t index, struct view_status *ret_status);
void view_set_counters(struct view_set *set, struct view_counters *ret_counters);

/* The position all views have reached that have not failed; the head when there are none. */
uint64_t view_set_position(struct view_set *set);

/* Wait until every view has reached `position` or failed: 0, or -ETIMEDOUT. For tools and tests. */
int view_set_wait(struct view_set *set, uint64_t position, uint32_t timeout_ms);

/* Build the view anew beside the old one, then swap. 0: begun, or already under way; VIEW_E_UNKNOWN. A failed
 * view begins again this way. */
int view_rebuild(struct view_set *set, struct bytes name);

/* Events of these types cannot be read any more as they were (erasure): build every view that handles one of them anew, in
 * a new file, also when a rebuild is under way, and drop every copy of the past. The old files are deleted when the new ones
 * have caught up. Returns at once. */
void view_set_forget(struct view_set *set, const struct bytes *types, size_t count);
/* Wait until nothing is left of what was there before the last view_set_forget(): 0; -ETIMEDOUT; VIEW_E_CLOSING. A view whose
 * rebuild stops at an event answers from there, failed (V3): its old file is gone too. */
int view_set_wait_forgotten(struct view_set *set, uint32_t timeout_ms);
/* Whether the index-th view answers from a file that was begun after the last view_set_forget() that it was meant by. */
bool view_set_has_forgotten(struct view_set *set, size_t index);

/* Whether the index-th view has a section for one of these types. */
bool view_set_reads(struct view_set *set, size_t index, const struct bytes *types, size_t count);

/* The name of a view with a section for this type: of the present definitions, and of older ones that still answer. NULL:
 * none. `compacted`: views that can begin at a `$compacted` (they have a section for it) need it no more. Valid while the
 * set is open. */
const char *view_set_handles(struct view_set *set, struct bytes type, bool compacted);

/* The named queries, for /openapi.json: name and parameters as "hotel,from,to". Valid while the set is open.
 */
size_t view_query_count(const struct view_set *set);
void view_query_describe(const struct view_set *set, size_t index, const char **ret_name,
                         const char **ret_parameters);
