/*
 * tests/unit/unit.h: what the unit tests share: an empty directory for each test, and the main
 * function.
 *
 * unit_setup and unit_teardown go into tcase_add_checked_fixture; unit_dir is then open on the
 * directory.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern int unit_dir;	    /* descriptor of the directory */
extern char unit_path[256]; /* its absolute path */

void unit_setup(void);
void unit_teardown(void);

/* Writes and compares small text files in the directory, not through what is tested. */
void unit_put_file(const char *name, const char *text);
void unit_assert_file(const char *name, const char *text);

/* The bytes of tests/unit/data/<name>, malloc'ed. Fails the test if it cannot be read. */
unsigned char *unit_data(const char *name, size_t *ret_len);

/* A random number that is the same in each run; state starts with any value. */
unsigned unit_random(unsigned long long *state);

/* What main returns. */
int unit_run(Suite *suite);

#endif
