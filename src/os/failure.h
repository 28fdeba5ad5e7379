#pragma once

/* failure: what -errno means to whoever started the program. */

/* A limit that is too small is named, with its cure; else as strerror(). `r` is -errno. The text is static. */
const char *os_failure_text(int r);
