/*
 * tests/crash/disk.c: see disk.h. Works with plain system calls: nothing here is recorded.
 */
#include "disk.h"

#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	abort();
}

void disk_init(struct disk *d, const char *path)
{
	*d = (struct disk){.now = sim_new()};
	(void)snprintf(d->path, sizeof(d->path), "%s", path);
	d->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(d->dirfd >= 0, path);
}

void disk_free(struct disk *d)
{
	(void)close(d->dirfd);
	sim_free(d->now);
}

static void remove_tree(const struct sim *s, uint32_t ino, int dirfd, const char *name)
{
	const struct sim_inode *n = s->inodes[ino];
	int fd;

	if (n->dir) {
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(fd >= 0, name);
		for (uint32_t i = 0; i < n->entry_count; i++)
			remove_tree(s, n->entries[i].ino, fd, n->entries[i].name);
		(void)close(fd);
	}
	must(unlinkat(dirfd, name, n->dir ? AT_REMOVEDIR : 0) == 0, name);
}

/* old NULL: a new file */
static void put_file(const struct sim_inode *old, const struct sim_inode *new, int dirfd,
		     const char *name)
{
	static const uint8_t zeros[SIM_PAGE];
	int fd;

	if (old == new)
		return;
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0, name);
	if ((old ? old->size : 0) != new->size)
		must(ftruncate(fd, (off_t) new->size) == 0, "ftruncate");
	for (uint32_t i = 0; (uint64_t)i * SIM_PAGE < new->size; i++) {
		const struct sim_page *a = old && i < old->page_count ? old->pages[i] : NULL;
		const struct sim_page *b = i < new->page_count ? new->pages[i] : NULL;
		uint64_t off = (uint64_t)i * SIM_PAGE;
		size_t len = MIN(new->size - off, SIM_PAGE);

		if (a == b)
			continue;
		must(pwrite(fd, b ? b->data : zeros, len, (off_t)off) == (ssize_t)len, "pwrite");
	}
	(void)close(fd);
}

static uint32_t entry_ino(const struct sim_inode *n, const char *name)
{
	for (uint32_t i = 0; n && i < n->entry_count; i++)
		if (n->entries[i].name == name)
			return n->entries[i].ino;
	return SIM_NONE;
}

static const struct sim_inode *inode_at(const struct sim *s, uint32_t ino)
{
	return ino == SIM_NONE ? NULL : s->inodes[ino];
}

/* Makes the directory fd, which holds old of s, hold new of t. */
static void put_dir(const struct sim *s, const struct sim_inode *old, const struct sim *t,
		    const struct sim_inode *new, int fd)
{
	for (uint32_t i = 0; old && i < old->entry_count; i++) {
		const struct sim_inode *a = s->inodes[old->entries[i].ino];
		const struct sim_inode *b = inode_at(t, entry_ino(new, old->entries[i].name));

		if (!b || b->dir != a->dir)
			remove_tree(s, old->entries[i].ino, fd, old->entries[i].name);
	}
	for (uint32_t i = 0; i < new->entry_count; i++) {
		const char *name = new->entries[i].name;
		const struct sim_inode *b = t->inodes[new->entries[i].ino];
		const struct sim_inode *a = inode_at(s, entry_ino(old, name));
		int sub;

		if (a && a->dir != b->dir)
			a = NULL;
		if (!b->dir) {
			put_file(a, b, fd, name);
			continue;
		}
		must(a || mkdirat(fd, name, 0700) == 0, name);
		if (b->entry_count == 0 && (!a || a->entry_count == 0))
			continue;
		sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(sub >= 0, name);
		put_dir(s, a, t, b, sub);
		(void)close(sub);
	}
}

void disk_set(struct disk *d, const struct sim *image)
{
	put_dir(d->now, d->now->inodes[0], image, image->inodes[0], d->dirfd);
	sim_free(d->now);
	d->now = sim_clone(image);
}

static bool check_file(const struct sim_inode *n, int dirfd, const char *name)
{
	static const uint8_t zeros[SIM_PAGE];
	uint8_t buf[SIM_PAGE];
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == n->size;

	for (uint32_t i = 0; good && (uint64_t)i * SIM_PAGE < n->size; i++) {
		const uint8_t *want = i < n->page_count && n->pages[i] ? n->pages[i]->data : zeros;
		ssize_t len = pread(fd, buf, SIM_PAGE, (off_t)i * SIM_PAGE);

		good = len > 0 && memcmp(buf, want, (size_t)len) == 0;
	}
	if (!good)
		(void)fprintf(stderr, "crash: '%s' is not what was recorded\n", name);
	if (fd >= 0)
		(void)close(fd);
	return good;
}

static bool check_dir(const struct sim *s, const struct sim_inode *n, int fd)
{
	DIR *dir = fdopendir(dup(fd));
	struct dirent *e;
	uint32_t found = 0;
	bool good = dir != NULL;

	rewinddir(dir);
	while (good && (e = readdir(dir)))
		found += e->d_name[0] != '.';
	(void)closedir(dir);
	if (found != n->entry_count) {
		(void)fprintf(stderr, "crash: a directory has %u names, %u were recorded\n", found,
			      n->entry_count);
		return false;
	}
	for (uint32_t i = 0; i < n->entry_count && good; i++) {
		const struct sim_inode *b = s->inodes[n->entries[i].ino];
		int sub;

		if (!b->dir) {
			good = check_file(b, fd, n->entries[i].name);
			continue;
		}
		sub = openat(fd, n->entries[i].name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		good = sub >= 0 && check_dir(s, b, sub);
		if (sub >= 0)
			(void)close(sub);
	}
	return good;
}

bool disk_check(const struct disk *d)
{
	return check_dir(d->now, d->now->inodes[0], d->dirfd);
}
