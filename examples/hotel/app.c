/* The hotel: rooms, and who sleeps in them when. Start here; README.md walks through it.
 *
 * Two kinds of tag carry what is decided on:
 *   reservation:NUMBER   a number is used once, and what became of it   (reservation.c)
 *   rooms:HOTEL/TYPE     how many rooms there are, and which nights     (rooms.c)
 * commands.c has the six commands and every rule. */

#include "hotel.h"
#include "reservation.h"
#include "rooms.h"

const struct daybook_host *host;

static const struct daybook_kind kinds[] = {
    {.prefix = "reservation", .state_size = sizeof(struct reservation), .evolve = reservation_evolve},
    {.prefix = "rooms", .state_size = sizeof(struct rooms), .evolve = rooms_evolve},
};

int daybook_app(const struct daybook_host *daybook, struct daybook_app *ret_app)
{
    if (!DAYBOOK_HOST_HAS(daybook, close) || daybook->version != DAYBOOK_APP_VERSION)
        return 1; /* a server that is older than this application */

    host = daybook;
    ret_app->version = DAYBOOK_APP_VERSION;
    ret_app->name = "hotel";
    ret_app->kinds = kinds;
    ret_app->kind_count = sizeof(kinds) / sizeof(kinds[0]);
    ret_app->commands = hotel_commands;
    ret_app->command_count = hotel_command_count;
    ret_app->state_version = 1; /* one more when struct reservation or struct rooms changes */
    return 0;
}
