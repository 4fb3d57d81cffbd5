/*
 * cmd/again.h: starting permanent clones again as they were started last, after `down` or after a
 * restart of the machine.
 *
 * <home>/known/<16 hex>.up keeps the arguments of the last `up` of a diff, <16 hex>.wanted is there
 * from that `up` to the `down` or `umount` that somebody asks for.
 */
#ifndef CMD_AGAIN_H
#define CMD_AGAIN_H

#include "cmd/bring_up.h"

/* Keeps how a permanent clone was started. A failure costs only that. */
void again_remember(const struct up *up);
/* The command line for a diff, argv[0] and the terminating NULL included; one block, to be freed.
 * -ENOENT. */
int again_load(const char *diff, struct errmsg *e, int *ret_argc, char ***ret_argv);
/* Starts every clone that is wanted and does not run, each in a process of its own. The exit
 * status. */
int again_all(void);

/* Says READY=1 and the like to who started us (sd_notify); nothing where nobody listens. */
void again_notify(const char *state);

#endif
