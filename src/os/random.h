#pragma once

/* Bytes nobody can guess, from the kernel, drawn by the page so that sixteen of them cost a copy and not a call. */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Fills data. 0, or -errno when the kernel has none to give (it does, from a moment after the machine's start on). */
_must_check_ int os_random(void *data, size_t size);

/* The same as a table, for code whose tests want to say what comes. */
struct os_random {
    int (*fill)(const struct os_random *random, void *data, size_t size); /* as os_random() */
};

/* The kernel's. */
const struct os_random *os_random_real(void);
