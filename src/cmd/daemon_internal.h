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
	struct overlay *tree; /* built ahead; new_overlay takes it */
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
	bool log_open;
	bool confined; /* only the helper can unmount now */
	uint64_t held; /* bytes of writes that the kernel may hold; 0: not known */
	bool write_back;
};

/* Store, chain, diff and overlay, as the owner. */
int daemon_open_layers(struct daemon *d, struct errmsg *e);
/* The facts of the mount, when all is opened. */
int daemon_fill_result(struct daemon *d);
/* A permanent clone is listed even when it is not mounted. */
void daemon_remember(const struct daemon *d);
/* Right after mounting, with the rights for it: bounds what the kernel may hold of writes. */
void writes_bound(struct daemon *d);
/* As the owner: decides for write-back or not, and sets its host space aside. */
int writes_choose(struct daemon *d, struct errmsg *e);
int daemon_copy_string(const char *from, char **to); /* NULL is copied as such */

#endif
