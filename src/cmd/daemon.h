/*
 * cmd/daemon.h: the process that serves a mount.
 *
 * It forks its helper, reads the store and recovers the diff with the owner's rights, mounts with
 * its own, gives them up for good, and serves until the mount is gone.
 */
#ifndef CMD_DAEMON_H
#define CMD_DAEMON_H

#include "cmd/plan.h"

struct daemon_report {
	void (*serving)(void *ctx,
			const struct mount_result *result); /* requests are answered from now on */
	void *ctx;
};

/*
 * Serves in the calling process and returns when the mount is gone: 0, or the -errno of the last
 * commit. A failure before it served comes with a message, and then nothing stays mounted.
 * *ret_served tells the two apart.
 */
int daemon_serve(struct mount_plan *plan, const struct daemon_report *report, struct errmsg *e,
		 bool *ret_served);

/* Makes the calling process (just forked) nobody's child: own session, no descriptors but these
 * two, working in /. */
int daemon_detach(int keep, int keep2);

#endif
