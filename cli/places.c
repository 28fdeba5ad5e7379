/* Where a subcommand may write. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli.h"
#include "places.h"

/* The folder itself, or of what is not there yet the nearest one above that is: absolute, without links; from malloc. */
static char *existing(const char *path)
{
    char *found = realpath(path, NULL);
    _cleanup_(freep) char *above = found ? NULL : strdup(path);

    while (!found && above) {
        char *slash = strrchr(above, '/');
        if (slash && slash[1] == '\0' && slash != above) { /* "a/" is a */
            *slash = '\0';
            continue;
        }
        if (!slash || slash == above)
            return realpath(slash ? "/" : ".", NULL);
        *slash = '\0';
        found = realpath(above, NULL);
    }
    return found;
}

/* One folder up; false: it was the last. */
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');

    if (!slash || path[1] == '\0')
        return false;
    slash[slash == path] = '\0';
    return true;
}

static bool is_within(const char *path, const char *folder)
{
    _cleanup_(freep) char *at = existing(path);
    struct stat wanted, here;

    if (!at || stat(folder, &wanted) < 0)
        return false;
    do {
        if (stat(at, &here) == 0 && here.st_dev == wanted.st_dev && here.st_ino == wanted.st_ino)
            return true;
    } while (go_up(at));
    return false;
}

int cli_places_apart(const char *source, const char *target)
{
    bool inside = is_within(target, source), around = is_within(source, target);

    if (inside && around)
        return cli_error(CLI_USAGE, "%s and %s are the same folder", source, target);
    if (inside || around)
        return cli_error(CLI_USAGE, "%s lies within %s: a copy and what it is made from must be apart", inside ? target : source,
                         inside ? source : target);
    return CLI_DONE;
}

static bool is_data_folder(const char *folder)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/log/log.head", folder) < (int)sizeof path && access(path, F_OK) == 0;
}

int cli_place_free(const char *file)
{
    _cleanup_(freep) char *at = existing(file);

    if (!at)
        return CLI_DONE; /* whoever makes it will find out */
    do {
        if (is_data_folder(at))
            return cli_error(CLI_USAGE, "%s lies within %s, which is a data folder: only its server writes there", file, at);
    } while (go_up(at));
    return CLI_DONE;
}
