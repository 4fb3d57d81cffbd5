/*
 * Trees of directories, walked by descriptor. Depth is bounded: a clone's own folders are shallow.
 */
#include "cmd/remove.h"

#include "base/sys.h"
#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>

#define DEPTH_MAX  16
#define ROUNDS_MAX 8

struct walk {
	int dirfd;
	dev_t dev;
	unsigned depth;
	uint64_t bytes;
};

static int remove_below(int dirfd, const char *name, dev_t dev, unsigned depth);

static int remove_entry(void *ctx, const char *name, unsigned char d_type)
{
	struct walk *w = ctx;
	int rc;

	if (d_type != DT_DIR) {
		rc = sys_unlinkat(w->dirfd, name, 0);
		if (rc != -EISDIR)
			return rc == -ENOENT ? 0 : rc;
	}
	return remove_below(w->dirfd, name, w->dev, w->depth + 1);
}

/* dev 0: the top, whatever it lies on. */
static int remove_below(int dirfd, const char *name, dev_t dev, unsigned depth)
{
	_cleanup_close_ int fd = -1;
	struct walk w = {.depth = depth};
	struct stat st;
	int rc;

	if (depth > DEPTH_MAX)
		return -ELOOP;
	fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	rc = sys_fstat(fd, &st);
	if (rc != 0)
		return rc;
	if (dev != 0 && st.st_dev != dev)
		return -EBUSY;
	w.dirfd = fd;
	w.dev = st.st_dev;
	/* A directory that changes while it is listed may show only a part of its names. */
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		rc = sys_readdir(fd, ".", remove_entry, &w);
		if (rc == 0)
			rc = sys_unlinkat(dirfd, name, AT_REMOVEDIR);
		if (rc != -ENOTEMPTY)
			break;
	}
	return rc == -ENOENT ? 0 : rc;
}

int remove_tree(int dirfd, const char *name)
{
	return remove_below(dirfd, name, 0, 0);
}

int remove_path(const char *path)
{
	_cleanup_free_ char *copy = strdup(path), *copy2 = strdup(path);
	_cleanup_close_ int dirfd = -1;

	if (copy == NULL || copy2 == NULL)
		return -ENOMEM;
	dirfd = sys_openat(AT_FDCWD, dirname(copy), O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return dirfd == -ENOENT ? 0 : dirfd;
	return remove_tree(dirfd, basename(copy2));
}

static int count_entry(void *ctx, const char *name, unsigned char d_type)
{
	struct walk *w = ctx;
	struct walk below = {.depth = w->depth + 1};
	struct stat st;

	if (d_type != DT_DIR) {
		if (sys_fstatat(w->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			w->bytes += (uint64_t)st.st_blocks * 512;
		return 0;
	}
	if (below.depth > DEPTH_MAX)
		return 0;
	below.dirfd = sys_openat(w->dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (below.dirfd < 0)
		return 0;
	(void)sys_readdir(below.dirfd, ".", count_entry, &below);
	(void)sys_close(below.dirfd);
	w->bytes += below.bytes;
	return 0;
}

uint64_t tree_bytes(const char *path)
{
	struct walk w = {.dirfd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0)};

	if (w.dirfd < 0)
		return 0;
	(void)sys_readdir(w.dirfd, ".", count_entry, &w);
	(void)sys_close(w.dirfd);
	return w.bytes;
}

static int make_components(char *path, unsigned mode)
{
	int rc;

	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		rc = sys_mkdirat(AT_FDCWD, path, mode);
		*slash = '/';
		if (rc != 0 && rc != -EEXIST && rc != -EROFS && rc != -EACCES)
			return rc;
	}
	rc = sys_mkdirat(AT_FDCWD, path, mode);
	return rc == -EEXIST ? 0 : rc;
}

/* The modes are meant: a strict umask of root's would keep the owner of a clone out of it. */
int make_path(const char *path, unsigned mode)
{
	_cleanup_free_ char *copy = strdup(path);
	mode_t mask;
	int rc;

	if (copy == NULL)
		return -ENOMEM;
	mask = umask(0);
	rc = make_components(copy, mode);
	(void)umask(mask);
	return rc;
}
