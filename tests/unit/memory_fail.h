/*
 * tests/unit/memory_fail.h: makes allocations of this program fail. For tests linked with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc. Allocations are counted on all threads.
 */
#ifndef TESTS_UNIT_MEMORY_FAIL_H
#define TESTS_UNIT_MEMORY_FAIL_H

#include <stdbool.h>

void memory_fail(long at); /* the at-th allocation from now on returns NULL; 0: none does */
/* The same, and with sticky all after it; at -1: none, they are only counted. */
void memory_fail_from(long at, bool sticky);
void memory_fail_pause(bool pause); /* while true, nothing is counted and nothing fails */
bool memory_fail_hit(void);
long memory_fail_count(void); /* allocations since memory_fail or memory_fail_from */

#endif
