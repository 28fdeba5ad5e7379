#include "server/needs.h"

#include <stdio.h>
#include <stdlib.h>

struct needs {
    struct server *server;
    struct scavenger *user;
    char text[VIEW_NAME_SIZE_MAX + DAYBOOK_NAME_SIZE_MAX + 16];
};

int needs_new(struct server *server, struct scavenger *user, struct needs **ret_needs)
{
    struct needs *needs = calloc(1, sizeof(*needs));

    if (!needs)
        return -ENOMEM;
    needs->server = server;
    needs->user = user;
    *ret_needs = needs;
    return 0;
}

void needs_free(struct needs *needs)
{
    free(needs);
}

struct scavenger *needs_user(const struct needs *needs)
{
    return needs->user;
}

/* A kind that folds it, by one of its tags. Which types evolve() looks at only the application knows. */
static const char *decider_of(const struct needs *needs, const struct journal_event *event)
{
    const char *kind = NULL;

    for (size_t i = 0; !kind && needs->server->commands && i < event->tag_count; i++)
        kind = command_kind_of(needs->server->commands, event->tags[i]);
    return kind;
}

const char *needs_of(struct needs *needs, const struct journal_event *event)
{
    const char *view = view_set_handles(needs->server->views, event->type);
    const char *kind = view ? NULL : decider_of(needs, event);

    if (!view && !kind)
        return NULL;
    snprintf(needs->text, sizeof(needs->text), "%s %s", view ? "view" : "decider", view ? view : kind);
    return needs->text;
}
