/*
 * cmd/host.h: what is known of the file systems that the clone's files lie on.
 */
#ifndef CMD_HOST_H
#define CMD_HOST_H

#include "base/err.h"

#include <stdio.h>

/*
 * Writes a line for each reason why what is kept at the absolute path, or will be made there, may
 * not survive what it should. what: "diff" or "WAL directory". Blocks. -EINVAL: fsync does nothing
 * there, so nothing can be kept.
 */
int host_check(const char *what, const char *path, FILE *warnings, struct errmsg *e);

#endif
