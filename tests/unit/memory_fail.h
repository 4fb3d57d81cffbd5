/*
 * tests/unit/memory_fail.h: makes one allocation of this program fail. For tests linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc; one thread.
 */
#ifndef TESTS_UNIT_MEMORY_FAIL_H
#define TESTS_UNIT_MEMORY_FAIL_H

#include <stdbool.h>

void memory_fail(long at); /* the at-th allocation from now on returns NULL; 0: none does */
bool memory_fail_hit(void);

#endif
