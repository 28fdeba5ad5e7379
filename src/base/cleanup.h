#pragma once

/*
 * Scope-bound cleanup: a variable declared with _cleanup_(f) is handed to f, by address, when its scope is
 * left by whatever way. A function that gives its object away at the end says so with take_ptr().
 *
 *     _cleanup_(journal_freep) struct journal *j = NULL;
 *     …
 *     *ret_journal = take_ptr(j);
 *     return 0;
 */

#include <stdlib.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* The pointer's value; the pointer itself becomes NULL, so that its cleanup has nothing left to do. */
#define take_ptr(pointer)                                                                                    \
    ({                                                                                                       \
        __typeof__(pointer) *_take_from = &(pointer);                                                        \
        __typeof__(pointer) _taken = *_take_from;                                                            \
        *_take_from = NULL;                                                                                  \
        _taken;                                                                                              \
    })

/* Defines FUNCTIONp(), the form of FUNCTION that _cleanup_ needs; TYPE is a pointer type. NULL is left alone.
 */
#define DEFINE_CLEANUP(TYPE, FUNCTION)                                                                       \
    static inline void FUNCTION##p(TYPE *pointer)                                                            \
    {                                                                                                        \
        if (*pointer)                                                                                        \
            FUNCTION(*pointer);                                                                              \
    }

/* For memory from malloc: _cleanup_(freep) char *text = NULL; */
static inline void freep(void *pointer)
{
    free(*(void **)pointer);
}
