/*
 * cmd/clone_end.h: the end of a mounted clone: its PostgreSQL server, if it has one, and its mount.
 * Used by `down`, and by `verify --start` for a clone whose maker has died.
 */
#ifndef CMD_CLONE_END_H
#define CMD_CLONE_END_H

#include "base/err.h"
#include "cmd/registry.h"

/*
 * Stops the server and unmounts; removes what goes with the mount and, if discard, a diff of the
 * user's too. clone: with a run_dir. *ret_stopped: a server ran. -EINTR: *stop became true, the server
 * goes on stopping.
 */
int clone_end(const struct clone *clone, bool discard, void (*tell)(const char *text),
	      const volatile bool *stop, struct errmsg *e, bool *ret_stopped);

#endif
