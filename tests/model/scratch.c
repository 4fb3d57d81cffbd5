/*
 * tests/model/scratch.c: see scratch.h.
 */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void scratch_new(const char *name, char *ret, size_t size)
{
	const char *top = getenv("MODEL_SCRATCH");

	if (!top)
		top = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(ret, size, "%s/pgoverlay-%s.XXXXXX", top, name);
	if (!mkdtemp(ret)) {
		perror(ret);
		abort();
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_DNR)
		(void)chmod(path, 0700);
	return remove(path);
}

void scratch_remove(const char *path)
{
	(void)nftw(path, remove_one, 20, FTW_DEPTH | FTW_PHYS);
}
