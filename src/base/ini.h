/*
 * base/ini.h: the `key = value` files of backup tools (pg_probackup's backup.control and pg_probackup.conf).
 *
 *	# a comment; empty lines are allowed
 *	compress-alg = zlib        # a bare value ends at '#' or at the end of the line
 *	note = 'it''s quoted'      a quoted one at its last quote
 *
 * The writer of these files does not escape quotes, so a quoted value that is not well formed is taken as it
 * stands between the first and the last quote of its line. Pure functions; any thread.
 */
#ifndef BASE_INI_H
#define BASE_INI_H

#include "base/err.h"

#include <stddef.h>

#define INI_LINE_MAX 8192 /* bytes of a line, longer ones are damage */

/*
 * Calls fn for each pair, in the order of the file; keys are normalised (lower case, '_' and blanks become
 * '-'), strings live until fn returns. Stops at fn's first non-zero value and returns it. -EUCLEAN with the
 * line number in e for what is no pair, has no end or contains a NUL; pairs before it were delivered.
 */
int ini_parse(const char *data, size_t len, int (*fn)(void *ctx, const char *key, const char *value), void *ctx,
	      struct errmsg *e);

#endif
