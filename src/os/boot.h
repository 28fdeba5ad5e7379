#pragma once

/* Which start of the machine this is: sixteen bytes, the same for every process until it starts again. */

#include <stdint.h>

#include "base/error.h"

enum { OS_BOOT_ID_SIZE = 16 };

/* 0, or -errno where the kernel does not say (no /proc). */
_must_check_ int os_boot_id(uint8_t ret_id[OS_BOOT_ID_SIZE]);
