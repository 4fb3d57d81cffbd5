/*
 * tests/tools/slowfs.c: a directory shown through FUSE, where reading can be made to take as long
 * as a test wants.
 *
 *	slowfs DIR SLOW GATE MOUNTPOINT [FUSE options]
 *
 * A read of a file whose path ends with SLOW waits until the file GATE is gone; everything else is
 * answered at once. Read-only.
 */
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *dir, *slow, *gate;

static const char *below(const char *path)
{
	static _Thread_local char full[4096];

	(void)snprintf(full, sizeof(full), "%s%s", dir, path);
	return full;
}

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	return lstat(below(path), st) < 0 ? -errno : 0;
}

static int slow_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	DIR *d = opendir(below(path));
	const struct dirent *e;

	if (d == NULL)
		return -errno;
	while ((e = readdir(d)) != NULL)
		(void)fill(buf, e->d_name, NULL, 0, 0);
	(void)closedir(d);
	return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi)
{
	int fd = open(below(path), O_RDONLY | O_CLOEXEC);

	if ((fi->flags & O_ACCMODE) != O_RDONLY || fd < 0) {
		if (fd >= 0)
			(void)close(fd);
		return fd < 0 ? -errno : -EROFS;
	}
	fi->fh = (uint64_t)fd;
	return 0;
}

static int slow_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	size_t len = strlen(path), end = strlen(slow);
	ssize_t n;

	while (len >= end && strcmp(path + len - end, slow) == 0 && access(gate, F_OK) == 0)
		(void)usleep(50000);
	n = pread((int)fi->fh, buf, size, off);
	return n < 0 ? -errno : (int)n;
}

static int slow_release(const char *path, struct fuse_file_info *fi)
{
	(void)close((int)fi->fh);
	return 0;
}

static int slow_statfs(const char *path, struct statvfs *st)
{
	return statvfs(below(path), st) < 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
	static const struct fuse_operations ops = {
		.getattr = slow_getattr,
		.readdir = slow_readdir,
		.open = slow_open,
		.read = slow_read,
		.release = slow_release,
		.statfs = slow_statfs,
	};

	if (argc < 5) {
		(void)fprintf(stderr, "usage: slowfs DIR SLOW GATE MOUNTPOINT [FUSE options]\n");
		return 2;
	}
	dir = argv[1];
	slow = argv[2];
	gate = argv[3];
	argv[3] = argv[0];
	return fuse_main(argc - 3, argv + 3, &ops, NULL);
}
