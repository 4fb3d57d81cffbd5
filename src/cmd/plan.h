/*
 * cmd/plan.h: what a mount needs before its daemon starts: who owns it, where everything lies.
 *
 * Made by the process the user called, with the user's rights: folders of the clone are made (and
 * given to the owner) here, and the mount point is claimed.
 */
#ifndef CMD_PLAN_H
#define CMD_PLAN_H

#include "cmd/mount.h"
#include "cmd/process.h"

struct mount_plan {
	const struct mount_request *request;
	struct owner owner;
	char *home;
	char *store;	  /* canonical */
	char *mountpoint; /* canonical, an existing directory */
	char *diff;	  /* canonical; NULL: read-only */
	char *wal_dir;	  /* NULL: none asked for */
	char *cache;	  /* where indexes are kept; need not exist */
	char *folder;	  /* <home>/clones/<name>; NULL: none needed */
	char *run_dir;
	char *note;	     /* what was cleared away, or NULL */
	int run_fd;	     /* its lock; copies in the daemon and its helper hold it too */
	bool temporary;	     /* folder goes with the mount */
	bool own_mountpoint; /* the mount point is in folder and goes with the mount */
	bool own_wal;	     /* wal_dir lies in the clone's own folder */
	bool made_diff;	     /* by us, just now */
	bool allow_other;
};

int plan_make(const struct mount_request *request, struct errmsg *e, struct mount_plan *ret);
/* Removes what goes with the mount. Any process that has a copy of the plan; twice does no harm. */
void plan_finish(const struct mount_plan *plan);
/* Nothing was mounted: takes back what plan_make made. */
void plan_undo(const struct mount_plan *plan);
/* Closes this process's copy of the lock. */
void plan_free(struct mount_plan *plan);

/* The owner of a mount as DESIGN.md has it. */
int plan_owner(const struct mount_request *request, const char *store, struct errmsg *e,
	       struct owner *ret);
/* Clears dead mounts of ours away: *ret_cleared how many. -EBUSY: a living one is there. */
int plan_clear_dead(const char *mountpoint, struct errmsg *e, unsigned *ret_cleared);

#endif
