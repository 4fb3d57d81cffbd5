/*
 * cmd/remove.h: removing what belonged to a clone.
 */
#ifndef CMD_REMOVE_H
#define CMD_REMOVE_H

#include "base/err.h"

#include <stdint.h>

/*
 * Removes the directory dirfd/name and all below it. Follows no symbolic link and enters no other
 * file system, so that it can only remove what really lies there. 0 too if there is nothing; -EBUSY
 * if something is mounted below.
 */
int remove_tree(int dirfd, const char *name);

/* The same for an absolute path. */
int remove_path(const char *path);

/* Removes a diff that nobody uses, holding its lock meanwhile. -EBUSY: in use; -EINVAL: not a diff.
 */
int remove_diff(const char *diff, struct errmsg *e);

/* Allocated bytes of all regular files below an absolute path; what cannot be read counts nothing.
 */
uint64_t tree_bytes(const char *path);

/* Makes a directory path and its missing parents, whatever the umask. -EEXIST is no error. Not
 * while other threads run. */
int make_path(const char *path, unsigned mode);

#endif
