#include "command/compact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "command/runtime.h"

/* ---- reading ---- */

/* Whether the document's state is one of this application's, and of this kind unless that is NULL. */
static bool is_ours(struct json_value root, const struct daybook_app *app, const struct daybook_kind *kind)
{
    uint64_t version;

    return app && app->state_version > 0 && json_u64(json_get(root, "state_version"), &version) == 0 &&
           version == app->state_version && json_string_equals(json_get(root, "app"), app->name) &&
           (!kind || json_string_equals(json_get(root, "kind"), kind->prefix)) &&
           json_type(json_get(root, "state")) == JSON_STRING;
}

int compact_read(const struct daybook_app *app, const struct journal_event *event,
                 struct compacted *ret_compacted)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    int r = json_parse(event->data, &doc, NULL);

    if (r < 0)
        return r;
    *ret_compacted = (struct compacted){0};
    if (r == 0) {
        ret_compacted->has_state = is_ours(json_root(&doc), app, NULL);
        ret_compacted->has_data = json_exists(json_get(json_root(&doc), "data"));
    }
    return 0;
}

/* The bytes become the state; they are as large as the application made them then. */
static int take_state(const struct daybook_kind *kind, struct bytes text, uint64_t position,
                      struct command_state **ret_state)
{
    _cleanup_(command_state_freep) struct command_state *state = NULL;
    _cleanup_(buffer_deinit) struct buffer bytes = {0};
    int r = base64_decode(text, &bytes);

    if (r != 0)
        return r < 0 ? r : COMPACT_E_NONE;
    if (bytes.size < kind->state_size || bytes.size > DAYBOOK_STATE_SIZE_MAX)
        return COMPACT_E_NONE;
    r = command_state_new(kind, &state);
    if (r == 0 && !host_grow(&state->view, bytes.size) && bytes.size > 0)
        r = -ENOMEM;
    if (r < 0)
        return r;
    if (bytes.size > 0)
        memcpy(state->view.data, bytes.data, bytes.size);
    state->view.size = bytes.size;
    state->position = position;
    *ret_state = take_ptr(state);
    return 0;
}

static int use(const struct daybook_app *app, const struct daybook_kind *kind,
               const struct journal_event *event, struct command_state **ret_state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes text;
    int r = json_parse(event->data, &doc, NULL);

    if (r != 0)
        return r < 0 ? r : COMPACT_E_NONE;
    if (!is_ours(json_root(&doc), app, kind) || !json_string_plain(json_get(json_root(&doc), "state"), &text))
        return COMPACT_E_NONE;
    return take_state(kind, text, event->position, ret_state);
}

int compact_find(struct journal *journal, const struct daybook_app *app, const struct daybook_kind *kind,
                 struct bytes tag, struct command_state **ret_state)
{
    const struct bytes type = COMPACT_TYPE;
    const struct journal_item item = {.types = &type, .type_count = 1, .tags = &tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = app->state_version > 0 ? 0 : COMPACT_E_NONE;

    if (r == 0)
        r = journal_reader_new(
            journal,
            &(struct journal_read){.query = &query, .direction = JOURNAL_BACKWARD, .system = true}, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0) {
        r = use(app, kind, &event, ret_state);
        if (r != COMPACT_E_NONE)
            return r;
        r = 0;
    }
    return r == JOURNAL_E_END ? COMPACT_E_NONE : r > 0 && r != COMPACT_E_NONE ? -EIO : r;
}

/* ---- loading ---- */

/* Carry the state on to the head. 0, COMMAND_E_APP, COMMAND_E_SCAVENGED, -errno. */
static int fold_to_head(struct journal *journal, struct command_state *state, struct bytes tag,
                        struct command_folder *folder)
{
    const struct journal_item item = {.tags = &tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    int r = journal_reader_new(
        journal, &(struct journal_read){.query = &query, .after = state->position, .system = true}, &reader);
    if (r != 0)
        return r < 0 ? r : -EIO;

    struct journal_event event;
    while ((r = journal_reader_next(reader, &event)) == 0) {
        r = command_state_fold(state, folder, &event);
        if (r != 0)
            return r;
    }
    if (r != JOURNAL_E_END)
        return r < 0 ? r : -EIO;
    if (journal_reader_examined(reader) > state->position)
        state->position = journal_reader_examined(reader);
    return 0;
}

static int begin(struct journal *journal, const struct daybook_app *app, const struct daybook_kind *kind,
                 struct bytes tag, struct command_state **ret_state)
{
    int r = compact_find(journal, app, kind, tag, ret_state);

    return r == COMPACT_E_NONE ? command_state_new(kind, ret_state) : r;
}

int compact_load(struct journal *journal, const struct daybook_kind *kind, struct bytes tag,
                 struct command_folder *folder, struct command_state *from, struct command_state **ret_state)
{
    _cleanup_(command_state_freep) struct command_state *state = from;
    int r = COMMAND_E_SCAVENGED;

    /* Twice: what `from` was to be carried over may have been compacted and scavenged since. */
    for (int attempt = 0; attempt < 2 && r == COMMAND_E_SCAVENGED; attempt++) {
        if (attempt > 0)
            command_state_free(take_ptr(state));
        r = state ? 0 : begin(journal, folder->app, kind, tag, &state);
        if (r == 0)
            r = fold_to_head(journal, state, tag, folder);
    }
    if (r == 0)
        *ret_state = take_ptr(state);
    return r;
}

/* ---- writing ---- */

enum { TURN_AGAIN = JOURNAL_E_REFUSED, TURN_FAILED, TURN_TOO_LARGE, TURN_SUBJECT, ATTEMPT_COUNT_MAX = 8 };

struct compaction {
    struct journal_append append;
    struct command_runtime *runtime;
    struct command_folder folder;
    struct command_state *state;
    struct bytes tag, data;
    struct buffer json;
    struct journal_event_new event;
    size_t folded;
    bool turned; /* has had a turn: what was folded then may never have been written */
};

static int fold_one(void *user, const struct journal_event *event)
{
    struct compaction *compaction = user;

    if (++compaction->folded > COMMAND_DELTA_COUNT_MAX)
        return TURN_AGAIN;
    return command_state_fold(compaction->state, &compaction->folder, event) == 0 ? 0 : TURN_FAILED;
}

static int write_state(struct compaction *compaction)
{
    const struct daybook_state *view = &compaction->state->view;
    _cleanup_(buffer_deinit) struct buffer text = {0};
    struct json_writer w = json_writer(&compaction->json);
    int r = base64_encode(bytes_make(view->data, view->size), &text);

    if (r < 0)
        return r;
    json_write_object_begin(&w);
    json_write_member_bytes(&w, "tag", compaction->tag);
    json_write_member_string(&w, "app", compaction->runtime->app.name);
    json_write_member_string(&w, "kind", compaction->state->kind->prefix);
    json_write_member_u64(&w, "state_version", compaction->runtime->app.state_version);
    json_write_member_bytes(&w, "state", buffer_bytes(&text));
    if (compaction->data.size > 0)
        json_write_member_raw(&w, "data", compaction->data);
    json_write_object_end(&w);
    return json_write_end(&w);
}

/* At the append's turn: everything with the tag that stands before it goes in. */
static int turn(struct journal_append *append, struct journal_turn *journal_turn)
{
    struct compaction *compaction = (struct compaction *)append;
    const struct journal_item item = {.tags = &compaction->tag, .tag_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    int r;

    if (compaction->turned)
        return TURN_AGAIN;
    compaction->turned = true;
    r = journal_turn_each(journal_turn, &query, compaction->state->position, fold_one, compaction);
    if (r != 0)
        return r;
    if (compaction->folder.about_subject)
        return TURN_SUBJECT;
    if (compaction->state->view.size > COMMAND_COMPACT_SIZE_MAX)
        return TURN_TOO_LARGE;
    r = write_state(compaction);
    compaction->event = (struct journal_event_new){.type = COMPACT_TYPE,
                                                   .tags = &compaction->tag,
                                                   .tag_count = 1,
                                                   .data = buffer_bytes(&compaction->json),
                                                   .system = true};
    append->events = &compaction->event;
    append->event_count = 1;
    return r;
}

/* One try. TURN_AGAIN: too much came in between. */
static int attempt(struct compaction *compaction, const struct daybook_kind *kind,
                   struct journal_result *result)
{
    int r;

    buffer_clear(&compaction->json);
    command_state_free(take_ptr(compaction->state));
    compaction->folded = 0;
    compaction->folder.about_subject = false;
    compaction->turned = false;
    compaction->append = (struct journal_append){.prepare = turn};
    r = compact_load(compaction->runtime->journal, kind, compaction->tag, &compaction->folder, NULL,
                     &compaction->state);
    if (r != 0)
        return r == COMMAND_E_APP ? TURN_FAILED : r;
    return journal_append_wait(compaction->runtime->journal, &compaction->append, result);
}

static int conclude(int r, const struct journal_result *result, struct command_compacted *ret_compacted)
{
    const char *detail = result->detail;
    int answer = COMMAND_E_JOURNAL;

    switch (r) {
    case 0: return 0;
    case TURN_AGAIN: answer = COMMAND_E_CONTENTION, detail = "too much came in between, time and again"; break;
    case TURN_FAILED: answer = COMMAND_E_APP, detail = "the application could not carry the state"; break;
    case TURN_TOO_LARGE: answer = COMMAND_E_INVALID, detail = "the state is too large to be kept"; break;
    case TURN_SUBJECT:
        answer = COMMAND_E_INVALID, detail = "its events are sealed for a subject: erasing must reach them";
        break;
    case COMMAND_E_SCAVENGED:
        answer = r, detail = "events of the tag went, and no compacted state of it can be used";
        break;
    default: break;
    }
    ret_compacted->journal_answer = answer == COMMAND_E_JOURNAL ? r : 0;
    snprintf(ret_compacted->detail, sizeof(ret_compacted->detail), "%s", r < 0 ? strerror(-r) : detail);
    return r < 0 ? r : answer;
}

static const struct daybook_kind *find_kind(const struct command_runtime *runtime, struct bytes tag)
{
    const char *prefix = command_kind_of(runtime, tag);

    for (size_t i = 0; prefix && i < runtime->app.kind_count; i++)
        if (runtime->app.kinds[i].prefix == prefix)
            return &runtime->app.kinds[i];
    return NULL;
}

int command_compact(struct command_runtime *runtime, struct bytes tag, struct bytes data,
                    struct command_compacted *ret_compacted)
{
    struct compaction compaction = {
        .runtime = runtime, .folder = {.app = &runtime->app}, .tag = tag, .data = data};
    const struct daybook_kind *kind = find_kind(runtime, tag);
    struct journal_result result = {0};
    int r = TURN_AGAIN;

    *ret_compacted = (struct command_compacted){0};
    if (!kind || runtime->app.state_version == 0) {
        snprintf(ret_compacted->detail, sizeof(ret_compacted->detail), "%s",
                 kind ? "the application does not say by state_version that its states may be kept"
                      : "the tag is of none of the application's kinds");
        return COMMAND_E_INVALID;
    }
    for (int i = 0; i < ATTEMPT_COUNT_MAX && r == TURN_AGAIN; i++)
        r = attempt(&compaction, kind, &result);
    command_state_free(compaction.state);
    command_folder_deinit(&compaction.folder);
    buffer_deinit(&compaction.json);
    r = conclude(r, &result, ret_compacted);
    if (r == 0)
        ret_compacted->position = result.last;
    return r;
}
