/*
 * tests/tools/many_files.c: looks up many files, many times; makes them first where they are missing.
 *
 *	many_files make DIR FILES
 *	many_files lookup DIR FILES LOOKUPS SEED
 *
 * The files are empty, 1,000 to a directory. lookup stats names in random order and starts over when
 * all had their turn, after the kernel was told to forget what it knows of them: a name that the
 * kernel still holds is no lookup. For that it runs drop_caches as often as a turn ends, so that each
 * stat is one request of the file system. Prints "lookups N".
 */
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PER_DIR = 1000 };

static void name_of(const char *dir, uint64_t file, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s/%03llu/%06llu", dir, (unsigned long long)(file / PER_DIR),
		       (unsigned long long)file);
}

static int failed(const char *name)
{
	(void)fprintf(stderr, "many_files: %s: %s\n", name, strerror(errno));
	return 1;
}

static int make(const char *dir, uint64_t files)
{
	char name[4200];

	for (uint64_t i = 0; i < files; i++) {
		int fd;

		name_of(dir, i, name, sizeof(name));
		if (i % PER_DIR == 0) {
			*strrchr(name, '/') = 0;
			if (mkdir(name, 0700) < 0 && errno != EEXIST)
				return failed(name);
			name_of(dir, i, name, sizeof(name));
		}
		fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return failed(name);
		(void)close(fd);
	}
	return 0;
}

static int drop_caches(void)
{
	static const char path[] = "/proc/sys/vm/drop_caches";
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "2\n", 2) != 2)
		return failed(path);
	(void)close(fd);
	return 0;
}

/* Fisher and Yates. */
static void shuffle(struct rng *r, uint32_t *order, uint64_t n)
{
	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = rng_below(r, i);
		uint32_t swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

static int lookup(const char *dir, uint64_t files, uint64_t lookups, uint64_t seed)
{
	uint32_t *order = calloc(files, sizeof(*order));
	struct rng r = {.state = seed};
	char name[4200];
	struct stat st;
	int rc = order == NULL;

	for (uint64_t i = 0; rc == 0 && i < files; i++)
		order[i] = (uint32_t)i;
	for (uint64_t done = 0; rc == 0 && done < lookups; done++) {
		if (done % files == 0) {
			shuffle(&r, order, files);
			rc = drop_caches();
		}
		name_of(dir, order[done % files], name, sizeof(name));
		if (rc == 0 && stat(name, &st) < 0)
			rc = failed(name);
	}
	free(order);
	if (rc == 0)
		printf("lookups %llu\n", (unsigned long long)lookups);
	return rc;
}

int main(int argc, char **argv)
{
	uint64_t files = argc >= 4 ? strtoull(argv[3], NULL, 10) : 0;

	if (argc == 4 && files > 0 && strcmp(argv[1], "make") == 0)
		return make(argv[2], files);
	if (argc == 6 && files > 0 && strcmp(argv[1], "lookup") == 0)
		return lookup(argv[2], files, strtoull(argv[4], NULL, 10),
			      strtoull(argv[5], NULL, 10));
	(void)fprintf(stderr, "usage: many_files make DIR FILES | lookup DIR FILES LOOKUPS SEED\n");
	return 2;
}
