/* view_kit: for tests of views: an application folder on the disk, a journal, and questions in one line. */
#pragma once

#include "lib/journal_kit.h"
#include "view/view.h"

struct view_kit {
    char folder[64]; /* of everything; removed at the end */
    char app[96], data[96];
    struct memory_store *store;
    struct journal *journal;
    struct view_set *set;
    struct view_options options; /* used by view_kit_open(); app, data and journal are filled in */
    struct view_notice_count {
        unsigned of[8];
    } notices;
    char last_notice[VIEW_ERROR_SIZE];
    char error[VIEW_ERROR_SIZE];
};

/* A folder, and an empty journal in memory. */
void view_kit_init(struct view_kit *kit);
void view_kit_deinit(struct view_kit *kit);

/* Write a file of the application: "views/rooms.sql". */
void view_kit_write(struct view_kit *kit, const char *name, const char *text);
/* A small application: views `counts` (per room) and `log` (per event), query `total`. */
void view_kit_write_application(struct view_kit *kit);

/* Open the set, closing it first if it is open. The answer of view_set_open(). */
int view_kit_open(struct view_kit *kit);
void view_kit_close(struct view_kit *kit);

/* Append `count` events like {"room":"r3","n":1}, types Added and Removed, chosen by `seed`. */
void view_kit_append(struct view_kit *kit, unsigned count, uint64_t seed);
/* Append one. */
void view_kit_append_one(struct view_kit *kit, const char *type, const char *data);

/* Wait until all views are at the journal's head; fails the test after 20 s. */
void view_kit_catch_up(struct view_kit *kit);
/* Wait until the view has this state and no rebuild is under way. */
void view_kit_wait_state(struct view_kit *kit, const char *view, enum view_state state);
void view_kit_wait_generation(struct view_kit *kit, const char *view, uint64_t generation);
struct view_status view_kit_status(struct view_kit *kit, const char *view);

/* Ask: "views/counts?order=n.desc&limit=3". The body as a string, to be freed; NULL when it was refused. */
char *view_kit_get(struct view_kit *kit, const char *url, struct view_answer *ret_answer);
/* The same with everything of the request but kind, name and parameters set by the caller. */
char *view_kit_ask(struct view_kit *kit, const char *url, struct view_request *request,
                   struct view_answer *ret_answer);
/* Fails the test unless the body is this. */
void view_kit_expect(struct view_kit *kit, const char *url, const char *body);
/* Fails the test unless it is refused so; its detail holds `detail`. */
void view_kit_refused(struct view_kit *kit, const char *url, int answer, const char *detail);
