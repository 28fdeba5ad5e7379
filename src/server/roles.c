/* The three roles and their names. */

#include "server/auth.h"

static const char *const names[] = {"", "reader", "writer", "operator"};
static const char *const lists[] = {"", "reader", "reader,writer", "reader,writer,operator"};

enum role role_from_name(struct bytes name)
{
    for (enum role role = ROLE_READER; role <= ROLE_OPERATOR; role++)
        if (bytes_equal_string(name, names[role]))
            return role;
    return ROLE_NONE;
}

const char *role_name(enum role role)
{
    return names[role];
}

const char *role_list(enum role role)
{
    return lists[role];
}
