/*
 * cmd/registry.h: where clones live and how commands find the ones that run.
 *
 *	<home>/clones/<name>/{mnt,diff,wal}      clones without a place of their own
 *	<home>/run/<16 hex>/facts.json, control  one for each mount; the number is XXH3-64 of the
 *						 mount point
 *
 * home is $PGOVERLAY_HOME, or /var/lib/pgoverlay for root, or $XDG_DATA_HOME/pgoverlay
 * (~/.local/share/pgoverlay). The folder of a mount belongs to its owner, is 0700 and goes with the
 * mount; for a permanent diff <home>/known/<16 hex> stays and keeps its facts, so that `status` can
 * list it as stopped.
 */
#ifndef CMD_REGISTRY_H
#define CMD_REGISTRY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Facts of a clone as its facts.json holds them. Strings are malloc'ed; absent ones are NULL. */
struct clone {
	char *mountpoint, *store, *instance, *backup;
	char *diff;    /* NULL: read-only */
	char *wal_dir; /* NULL: none */
	char *run_dir; /* NULL: stopped */
	char *folder;  /* <home>/clones/<name>, NULL if it has none */
	pid_t pid;     /* of the serving process; 0: stopped */
	uid_t uid;
	gid_t gid;
	bool temporary;
	bool read_only;
	bool mounted; /* one of our mounts is on the mount point */
	bool running; /* mounted and served */
};

struct clone_list {
	struct clone *items;
	size_t count;
};

/* The home directory in use, malloc'ed; made (0755 for root, else 0700) if make. */
int registry_home(bool make, struct errmsg *e, char **ret);

/* The clone mounted at mountpoint, searched in the own home, then in root's. -ENOENT: not one of
 * ours. */
int registry_find(const char *mountpoint, struct errmsg *e, struct clone *ret);
/* The clone that has this diff, running or known. -ENOENT. */
int registry_find_diff(const char *diff, struct errmsg *e, struct clone *ret);
void registry_clone_free(struct clone *clone);

/* True while the serving process of the clone, or its helper, lives. */
bool registry_is_held(const struct clone *clone);
/* True if the serving process was killed, or is gone, whatever is held still. */
bool registry_is_ending(const struct clone *clone);
/* Waits until neither lives. -ETIMEDOUT. */
int registry_wait_end(const struct clone *clone, int timeout_ms);

/* Waits, within limits, for a daemon whose mount is gone already. */
void registry_wait_ending(const struct clone *clone);

/* ---- for mount ---- */

/*
 * Makes the folder of a mount, of that owner, and locks it: *ret_fd holds the lock, and so does
 * every copy of it in other processes. What a dead mount left there is removed. -EBUSY: served by
 * another process.
 */
int registry_claim(const char *home, const char *mountpoint, uid_t uid, gid_t gid, struct errmsg *e,
		   char **ret_run_dir, int *ret_fd);
int registry_write(int run_fd, const char *facts);
/* Keeps or forgets the facts of a permanent diff. Failures cost only its line in `status`. */
void registry_remember(const char *home, const char *diff, const char *facts);
void registry_forget(const char *home, const char *diff);

/* ---- for up ---- */

#define REGISTRY_START	".up"	  /* beside the facts in <home>/known: how it was started last */
#define REGISTRY_WANTED ".wanted" /* it was started, and nobody has taken it down since */

/* Keeps both, durably. */
void registry_remember_start(const char *home, const char *diff, const void *text, size_t len);
char *registry_start_path(const char *home, const char *diff);
void registry_unwanted(const char *home, const char *diff);

/* All clones of the caller; for root, of everybody. Running ones first. */
int registry_list(struct errmsg *e, struct clone_list *ret);
void registry_list_free(struct clone_list *list);

/*
 * Sends one line to the clone's control socket and returns the answer (malloc'ed). Commands:
 * "status", "reset", "sync", "changes". -ECONNREFUSED: nobody answers.
 */
int registry_ask(const struct clone *clone, const char *command, struct errmsg *e, char **ret);

#endif
