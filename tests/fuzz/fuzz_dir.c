/*
 * tests/fuzz/fuzz_dir.c: see fuzz_dir.h.
 */
#include "fuzz_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[256];
static int dirfd_ = -1;
static pid_t owner;

static int remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(name);
}

static void remove_all(void)
{
	if (getpid() == owner)
		(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fuzz_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (dirfd_ >= 0)
		return dirfd_;
	(void)snprintf(path, sizeof(path), "%s/pgoverlay-fuzz-XXXXXX",
		       tmp != NULL ? tmp : "/dev/shm");
	FUZZ_CHECK(mkdtemp(path) != NULL);
	owner = getpid();
	FUZZ_CHECK(atexit(remove_all) == 0);
	dirfd_ = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(dirfd_ >= 0);
	return dirfd_;
}

const char *fuzz_dir_path(void)
{
	(void)fuzz_dir();
	return path;
}

void fuzz_put(const char *name, const void *data, size_t len)
{
	int fd = openat(fuzz_dir(), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(write(fd, data, len) == (ssize_t)len);
	FUZZ_CHECK(close(fd) == 0);
}

void fuzz_remove(const char *name)
{
	FUZZ_CHECK(unlinkat(fuzz_dir(), name, 0) == 0 || errno == ENOENT);
}
