#pragma once

/* cmocka with the headers it wants before it. Its macros fail, skip and mock take those names away. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 0, with the number that came instead shown when it is not. */
#define assert_ok(expression) assert_int_equal((expression), 0)
