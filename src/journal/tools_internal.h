/* What the files behind tools.h share. */
#pragma once

#include "journal/tools.h"

/* DATA/log, or the folder itself when it is a log's. 0 or -ENAMETOOLONG. */
int tools_find_log(const char *folder, char ret_path[OS_PATH_SIZE_MAX]);
/* DATA/index, or "index" beside the folder when it is a log's. 0 or -ENAMETOOLONG. */
_must_check_ int tools_find_index(const char *folder, char ret_path[OS_PATH_SIZE_MAX]);

/* Writes "WHAT FOLDER: why" to `ret_error` (256 bytes or NULL) and answers `r`, which is -errno. */
int tools_fail(char *ret_error, int r, const char *what, const char *folder);

/* Waits until everything that was acknowledged before the call is seen by other processes. */
void tools_wait_for_the_floor(void);
