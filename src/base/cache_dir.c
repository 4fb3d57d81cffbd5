/*
 * base/cache_dir.c: see cache_dir.h.
 */
#include "base/cache_dir.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SPARE (UINT64_C(256) << 20) /* bytes that stay free for others */

static int make_dirs(int dirfd, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	int rc = sys_mkdirat(dirfd, path, 0700);

	if (rc != -ENOENT || !copy)
		return rc;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)sys_mkdirat(dirfd, copy, 0700);
		*slash = '/';
	}
	return sys_mkdirat(dirfd, path, 0700);
}

int cache_dir_open(int dirfd, const char *path, bool make)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int rc = make ? make_dirs(dirfd, path) : 0;

	if (rc < 0 && rc != -EEXIST)
		return rc;
	fd = sys_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	rc = fd < 0 ? fd : sys_fstat(fd, &st);
	if (rc < 0)
		return rc;
	if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return -EPERM;
	return TAKE_FD(fd);
}

static int has_room(int fd, size_t len)
{
	struct statvfs st;
	int rc = sys_fstatvfs(fd, &st);

	if (rc < 0)
		return rc;
	return (uint64_t)st.f_bavail * st.f_frsize >= SPARE + len ? 0 : -ENOSPC;
}

static int write_file(int fd, const char *name, const void *data, size_t len)
{
	int file = sys_openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	int rc, rc_close;

	if (file < 0)
		return file;
	rc = sys_pwrite_full(file, data, len, 0);
	rc_close = sys_close(file);
	return rc < 0 ? rc : rc_close;
}

int cache_dir_put(int fd, const char *temp, const char *name, const void *data, size_t len)
{
	int rc = has_room(fd, len);

	if (rc < 0)
		return rc;
	rc = write_file(fd, temp, data, len);
	if (rc == 0)
		rc = sys_renameat(fd, temp, fd, name);
	if (rc < 0 && rc != -EEXIST)
		(void)sys_unlinkat(fd, temp, 0);
	return rc;
}
