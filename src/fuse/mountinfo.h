/*
 * fuse/mountinfo.h: what is mounted where, from /proc/self/mountinfo, and unmounting.
 * Never touches the mount itself, so that a dead or stuck one hangs nobody. Any thread.
 */
#ifndef FUSE_MOUNTINFO_H
#define FUSE_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct mountinfo {
	char fstype[64];
	char source[PATH_MAX];
	unsigned major, minor;
	uid_t user_id; /* who mounted it, of a FUSE mount */
	char options[512]; /* of the file system, after a comma each; cut where there are more */
};

/* A mount of the file system with this device number: 0, -ENOENT. */
int mountinfo_of_device(unsigned major, unsigned minor, struct mountinfo *ret);

/* The topmost mount at exactly this canonical path: 0, -ENOENT if nothing is mounted there. */
int mountinfo_find(const char *mountpoint, struct mountinfo *ret);

/* Calls fn for every mount of our type. Stops at fn's first non-zero. */
int mountinfo_each(int (*fn)(void *ctx, const char *mountpoint, const struct mountinfo *info),
		   void *ctx);

/* True if it is a mount of our type whose serving process is gone. May ask the mount: only for ones
 * that nobody answers for. */
bool mountinfo_is_dead(const char *mountpoint);

/* The kernel offers 128 KiB of readahead; only root may raise it, and without it a mount is slower,
 * not wrong. */
void mountinfo_set_readahead(const char *mountpoint, unsigned kib);

/* Unmounts, as root by system call, else through fusermount3. -EBUSY: in use. */
int mountinfo_unmount(const char *mountpoint, bool lazy);

/* Cuts a line of /proc/self/mountinfo up; false if it is not of the known form. For the parser's own tests. */
bool mountinfo_parse_line(char *line, char **ret_mountpoint, struct mountinfo *ret);

#endif
