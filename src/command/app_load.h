/* app_load: an application's table, fetched from app.so and checked before anything relies on it. */
#pragma once

#include "base/error.h"
#include <daybook/app.h>

enum { APP_ERROR_SIZE = 256 };

/* The functions that applications are handed. */
extern const struct daybook_host command_host;

/* Load `path` and find its daybook_app(). The library stays loaded until the process ends: its code may be
 * running, and what it handed out points into it. 0; COMMAND_E_APP with a sentence in ret_error
 * (APP_ERROR_SIZE bytes). */
_must_check_ int app_load(const char *path, daybook_app_fn **ret_app, char *ret_error);

/* Ask the application for its table and check all of it: names, limits, functions. Answers as above. */
_must_check_ int app_init(daybook_app_fn *app, struct daybook_app *ret_table, char *ret_error);
