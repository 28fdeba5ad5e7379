#include "server/needs.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hashmap.h"
#include "command/compact.h"
#include "group/group.h"

struct needs {
    struct server *server;
    enum needs_compact compact;
    struct scavenger *user;
    uint64_t compacted;
    struct command_compacted done; /* the last one */
    struct groups_waiting *waiting; /* NULL: there are no groups */
    struct hashmap states, datas; /* a tag's hash → position of its newest `$compacted` that holds one */
    char text[VIEW_NAME_SIZE_MAX + DAYBOOK_NAME_SIZE_MAX + GROUP_NAME_SIZE_MAX + 64];
};

/* Chosen tags that fall on one hash would need 2^64 tries: two of 128 bits are one tag. */
static struct hash128 tag_hash(struct bytes tag)
{
    static const uint8_t key[HASH_SIP_KEY_SIZE] = "daybook: needs.";

    return hash_sip128(tag, key);
}

/* ---- what has been compacted ---- */

static int note(struct needs *needs, const struct journal_event *event)
{
    const struct daybook_app *app = needs->server->commands ? command_app(needs->server->commands) : NULL;
    struct compacted compacted;
    int r = event->tag_count == 1 ? compact_read(app, event, &compacted) : COMPACT_E_NONE;

    if (r != 0)
        return r < 0 ? r : 0;
    if (compacted.has_state)
        r = hashmap_put(&needs->states, tag_hash(event->tags[0]), event->position);
    if (r == 0 && compacted.has_data)
        r = hashmap_put(&needs->datas, tag_hash(event->tags[0]), event->position);
    return r;
}

static int load(struct needs *needs)
{
    const struct bytes type = COMPACT_TYPE;
    const struct journal_item item = {.types = &type, .type_count = 1};
    const struct journal_query query = {.items = &item, .count = 1};
    struct journal_reader *reader = NULL;
    struct journal_event event;
    int r = journal_reader_new(needs->server->journal, &(struct journal_read){.query = &query, .system = true},
                               &reader);

    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        r = note(needs, &event);
    journal_reader_free(reader);
    return r == JOURNAL_E_END ? 0 : r > 0 ? -EIO : r;
}

int needs_new(struct server *server, enum needs_compact compact, struct scavenger *user,
              struct needs **ret_needs)
{
    struct needs *needs = calloc(1, sizeof(*needs));
    int r;

    if (!needs)
        return -ENOMEM;
    needs->server = server;
    needs->compact = compact;
    needs->user = user;
    r = load(needs);
    if (r == 0 && server->groups)
        r = groups_waiting_new(server->groups, &needs->waiting);
    if (r < 0)
        needs_free(needs);
    else
        *ret_needs = needs;
    return r;
}

void needs_free(struct needs *needs)
{
    if (!needs)
        return;
    groups_waiting_free(needs->waiting);
    hashmap_deinit(&needs->states);
    hashmap_deinit(&needs->datas);
    free(needs);
}

struct scavenger *needs_user(const struct needs *needs)
{
    return needs->user;
}

uint64_t needs_compacted(const struct needs *needs)
{
    return needs->compacted;
}

static bool stands_behind(const struct hashmap *map, struct bytes tag, uint64_t position)
{
    const uint64_t *at = hashmap_find(map, tag_hash(tag));

    return at && *at > position;
}

/* ---- deciders ---- */

/* Compact the tag, or suppose it was. NULL: done; else why not. */
static const char *compact_tag(struct needs *needs, struct bytes tag, uint64_t position)
{
    const struct daybook_app *app = command_app(needs->server->commands);
    struct command_compacted *done = &needs->done;
    int r = 0;

    if (app->state_version == 0)
        return "its states are not to be kept";
    *done = (struct command_compacted){.position = UINT64_MAX, .detail = "no memory"};
    if (needs->compact == NEEDS_COMPACT)
        r = command_compact(needs->server->commands, tag, (struct bytes){0}, done);
    if (r == 0)
        r = hashmap_put(&needs->states, tag_hash(tag), done->position);
    if (r != 0)
        return done->detail;
    needs->compacted++;
    return stands_behind(&needs->states, tag, position) ? NULL : "";
}

/* Its state would hold what erasing could not reach. */
static bool is_about_subject(const struct journal_event *event)
{
    return event->subject.size > 0 || event->erased || event->sealed;
}

/* A kind that still folds it, by one of its tags: which types evolve() looks at only the application knows. */
static const char *decider_of(struct needs *needs, const struct journal_event *event, const char **ret_why)
{
    for (size_t i = 0; needs->server->commands && i < event->tag_count; i++) {
        const char *kind = command_kind_of(needs->server->commands, event->tags[i]);

        if (!kind || stands_behind(&needs->states, event->tags[i], event->position))
            continue;
        *ret_why = needs->compact == NEEDS_AS_IT_IS  ? ""
                   : is_about_subject(event)         ? "sealed for a subject"
                                                     : compact_tag(needs, event->tags[i], event->position);
        if (*ret_why)
            return kind;
    }
    return NULL;
}

/* ---- views ---- */

static bool is_compacted_for_views(const struct needs *needs, const struct journal_event *event)
{
    for (size_t i = 0; i < event->tag_count; i++)
        if (!stands_behind(&needs->datas, event->tags[i], event->position))
            return false;
    return event->tag_count > 0;
}

/* Last of all the decider: asking it may compact. */
const char *needs_of(struct needs *needs, const struct journal_event *event)
{
    const char *why = "";
    const char *view = view_set_handles(needs->server->views, event->type, is_compacted_for_views(needs, event));
    const char *group = view || !needs->waiting ? NULL : groups_waiting_for(needs->waiting, event);
    const char *kind = view || group ? NULL : decider_of(needs, event, &why);

    if (!view && !group && !kind)
        return NULL;
    if (group)
        snprintf(needs->text, sizeof(needs->text), "group %s has not acknowledged it", group);
    else
        snprintf(needs->text, sizeof(needs->text), "%s %s%s%.40s", view ? "view" : "decider", view ? view : kind,
                 why[0] ? ": " : "", why);
    return needs->text;
}
