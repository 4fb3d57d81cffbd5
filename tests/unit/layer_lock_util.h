/*
 * tests/unit/layer_lock_util.h: what the tests of pg_probackup's locks look at, in the directory of the
 * test (unit.h).
 */
#ifndef TESTS_UNIT_LAYER_LOCK_UTIL_H
#define TESTS_UNIT_LAYER_LOCK_UTIL_H

#include <sys/types.h>

extern pid_t child; /* a process that lives until the test ends */
void lock_setup(void);
void lock_teardown(void);

/* The number of a process that is gone. */
pid_t dead_pid(void);
/* Of a file, or "(none)"; until the next call. */
const char *content(const char *name);
/* A file of the lines of these processes; until the next call. */
const char *lines(const pid_t *pids, unsigned count);

#endif
