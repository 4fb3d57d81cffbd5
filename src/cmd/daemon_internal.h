/*
 * cmd/daemon_internal.h: what the files of the serving process share.
 */
#ifndef CMD_DAEMON_INTERNAL_H
#define CMD_DAEMON_INTERNAL_H

#include "cmd/daemon.h"
#include "cmd/recovery.h"
#include "fuse/session.h"

struct daemon {
	struct mount_plan *plan;
	const struct daemon_report *report;
	struct helper *helper;
	struct store *store;
	struct layer_chain *chain;
	struct diff *diff;
	struct overlay *overlay;
	struct session *session;
	struct io_engine *io;
	struct vfd_cache *vfds;
	struct bufpool *buffers;
	char *wal_dir;
	char *warnings; /* about where the diff lies; NULL: not looked at yet */
	struct mount_result result;
	struct recovery recovery; /* what a new diff is prepared for */
	pid_t pid;
	bool served;
	bool confined; /* only the helper can unmount now */
};

/* The facts of the mount, when all is opened. */
int daemon_fill_result(struct daemon *d);
/* A permanent clone is listed even when it is not mounted. */
void daemon_remember(const struct daemon *d);
int daemon_copy_string(const char *from, char **to); /* NULL is copied as such */

#endif
