/* places: where a subcommand may write. A copy that grows within what is copied, or a file of somebody else within a data folder,
 * is found out by walking up from it: by device and inode, so that links and names do not matter. */
#pragma once

/* Is neither folder within the other, nor the same? `target` need not be there yet. CLI_DONE, or CLI_USAGE, printed. */
int cli_places_apart(const char *source, const char *target);

/* Is this file that is to be made in no data folder (one with log/log.head in it)? CLI_DONE, or CLI_USAGE, printed. */
int cli_place_free(const char *file);
