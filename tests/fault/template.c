/*
 * tests/fault/template.c: see template.h. The journal of such a diff is nothing but zeros.
 */
#include "template.h"

#include "base/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct kept {
	const char *name;
	char data[4096];
	size_t len;
} kept[] = {{.name = "superblock"}, {.name = "lock"}, {.name = "gen/1/state"}};

static const char journal[] = "gen/1/journal";
static off_t journal_size;

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	abort();
}

void template_take(const char *diff_path)
{
	char path[400];
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/%s", diff_path, kept[i].name);
		f = fopen(path, "r");
		must(f != NULL, path);
		kept[i].len = fread(kept[i].data, 1, sizeof(kept[i].data), f);
		must(kept[i].len < sizeof(kept[i].data), path);
		(void)fclose(f);
	}
	(void)snprintf(path, sizeof(path), "%s/%s", diff_path, journal);
	must(stat(path, &st) == 0, path);
	journal_size = st.st_size;
}

static void empty_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	must(d != NULL, name);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			must(unlinkat(fd, e->d_name, 0) == 0, e->d_name);
	(void)closedir(d);
}

void template_put(const char *diff_path, const bool used[256])
{
	char path[400];
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", diff_path, kept[i].name);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		must(fd >= 0 && write(fd, kept[i].data, kept[i].len) == (ssize_t)kept[i].len, path);
		(void)close(fd);
	}
	(void)snprintf(path, sizeof(path), "%s/%s", diff_path, journal);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && ftruncate(fd, journal_size) == 0, path);
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/gen/1/state.tmp", diff_path);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/gen/1/data", diff_path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0, path);
	for (unsigned i = 0; i < 256; i++) {
		if (!used[i])
			continue;
		(void)snprintf(path, sizeof(path), "%02x", i);
		empty_dir(fd, path);
	}
	(void)close(fd);
}
