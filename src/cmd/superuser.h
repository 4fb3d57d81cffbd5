/*
 * cmd/superuser.h: which role to connect as, read from the data directory: a cluster need not have
 * one named postgres.
 */
#ifndef CMD_SUPERUSER_H
#define CMD_SUPERUSER_H

#include <stddef.h>

#define SUPERUSER_NAME_SIZE 64 /* NAMEDATALEN */

/*
 * The best role for `up` to name: a superuser that can log in, the one initdb made if that is one.
 * Reads pg_authid of a data directory that no server has changed since it was last clean or backed
 * up; what it says is a good guess, not a promise. -ENOENT: none found, and ret is untouched.
 */
int superuser_find(const char *data_dir, unsigned major, char ret[SUPERUSER_NAME_SIZE]);

/* For tests: looks at one page of pg_authid; rank is the best so far and starts at 0. */
void superuser_scan_page(const unsigned char *page, size_t size, unsigned major, unsigned *rank,
			 char name[SUPERUSER_NAME_SIZE]);

#endif
