/*
 * cmd/place.h: homes and paths.
 */
#ifndef CMD_PLACE_H
#define CMD_PLACE_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define PLACE_ROOT_HOME "/var/lib/pgoverlay"

/*
 * Every home whose clones the caller may see: its own first, then root's, and for root those of
 * users that have mounts. With PGOVERLAY_HOME that one alone: whoever sets it wants to be apart
 * from all others.
 */
struct place_homes {
	char **paths;
	unsigned count;
};
int place_homes(struct place_homes *ret);
void place_homes_free(struct place_homes *homes);

/* The canonical path of a mount point, asking nothing of what is mounted there: it may be dead. */
int place_mountpoint(const char *path, struct errmsg *e, char **ret);
/* The canonical path of something that need not exist; its directory must. */
int place_new(const char *path, struct errmsg *e, char **ret);
/*
 * Where indexes are kept: in the diff; without one (NULL) in the owner's cache directory. The
 * caller's own environment counts only if the caller is the owner.
 */
int place_cache(const char *diff, uid_t uid, const char *home, char **ret);
/* Canonical paths: is it the directory or something below it? */
bool place_is_below(const char *path, const char *directory);

#endif
