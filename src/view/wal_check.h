/* wal_check: whether what SQLite will take from the WAL of a view's store is all that its file was already brought up to.
 *
 * When SQLite opens a database that a process left in the middle, it reads the WAL up to the first frame whose checksum does not
 * hold, and forgets the others. Of a torn end that is right: what was committed last is applied again (V1). Of a damaged frame it
 * may not be: frames behind it may have been copied into the file, which then has newer pages than the WAL, and the older ones of
 * the WAL would stand in front of them. How far copying has come stands in the -shm file beside it; SQLite makes that one anew.
 */
#pragma once

#include <stdbool.h>

/* `path`: of the database, which nobody has open. False: the WAL is damaged before its end, and the store must be made again. */
bool wal_check_holds(const char *path);
