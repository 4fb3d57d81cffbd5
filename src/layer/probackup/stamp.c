/*
 * layer/probackup/stamp.c: see stamp.h.
 */
#include "layer/probackup/stamp.h"
#include "base/sys.h"
#include "base/util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define SETTLED 2 /* seconds: the coarsest times of a file system that holds a store */

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_ns = ns_of(st->st_mtim.tv_sec, st->st_mtim.tv_nsec),
		.ctime_ns = ns_of(st->st_ctim.tv_sec, st->st_ctim.tv_nsec),
	};
}

bool stamp_make(const struct stat *st, struct stamp *ret)
{
	time_t settled = time(NULL) - SETTLED;

	if (!S_ISREG(st->st_mode) || st->st_mtim.tv_sec > settled || st->st_ctim.tv_sec > settled)
		return false;
	*ret = stamp_of(st);
	return true;
}

bool stamp_take(int dirfd, const char *name, struct stamp *ret)
{
	struct stat st;

	return sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && stamp_make(&st, ret);
}

bool stamp_same(int dirfd, const char *name, const struct stamp *stamp)
{
	struct stamp now;
	struct stat st;

	if (sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	now = stamp_of(&st);
	return now.ino == stamp->ino && now.size == stamp->size &&
	       now.mtime_ns == stamp->mtime_ns && now.ctime_ns == stamp->ctime_ns;
}
