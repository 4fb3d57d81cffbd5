/*
 * cmd/restore_direct.c: long runs go to the disk past the page cache.
 *
 * Copying what is written into the page cache, and writing it from there, takes half of the
 * processor time of a restore, and pushes out what others on the machine use. A long run of whole
 * pages is therefore written through a second descriptor of its file, opened O_DIRECT; all else
 * goes through the ordinary one. No page is written both ways at once, as runs do not overlap.
 *
 * Nothing depends on it: where the second descriptor cannot be had, or turns out to be refused, the
 * bytes go the ordinary way. What is written directly has no more promises than other writes: the
 * file's length, where its blocks lie and the disk's own cache are for syncing.
 */
#include "cmd/restore.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DISK_PAGE  4096u
#define FILE_MIN   (1u << 20)	/* bytes of a file that is worth a second descriptor */
#define LENGTH_MIN (128u << 10) /* bytes of a run that is worth waiting for the disk */

/* btrfs does not compress what is written directly; a file in memory has no other place to go. */
static bool is_worth_it(int dirfd)
{
	struct statfs fs;

	return fstatfs(dirfd, &fs) == 0 && (unsigned long)fs.f_type != BTRFS_SUPER_MAGIC &&
	       (unsigned long)fs.f_type != TMPFS_MAGIC;
}

static int open_direct(struct restore_root *root, const char *path)
{
	int fd = sys_openat(root->fd, path, O_WRONLY | O_DIRECT | O_NOFOLLOW, 0);

	if (fd == -EINVAL)
		__atomic_store_n(&root->direct, false, __ATOMIC_RELAXED);
	return fd;
}

bool restore_direct_choose(struct restore_tree *tree)
{
	struct restore_root *data = &tree->places.roots[0];
	int fd;

	for (size_t i = 0; i < tree->places.count; i++)
		tree->places.roots[i].direct =
			!tree->request->no_sync && is_worth_it(tree->places.roots[i].fd);
	if (!data->direct)
		return false;
	/* The one file that is there already tells whether it is refused. */
	fd = open_direct(data, RESTORE_MARKER);
	util_closep(&fd);
	return data->direct;
}

/*
 * Its place is asked for at once: each direct write would find one of its own, and several files
 * that are written side by side would lie in pieces of one another. A hint, as is all in here: a
 * full disk is for the writes to say.
 */
void restore_direct_open(struct restore_file *file, const struct bulk_file *bf)
{
	file->direct_fd = -1;
	if (bf->size >= FILE_MIN && __atomic_load_n(&file->root->direct, __ATOMIC_RELAXED))
		file->direct_fd = open_direct(file->root, file->path);
	if (file->direct_fd >= 0 && bf->whole)
		(void)sys_fallocate(file->fd, 0, 0, bf->size);
}

/* A page of the cache, too: a larger one that lies half in a run could bring back old bytes. */
static bool is_aligned(uint64_t off, const uint8_t *data, size_t len)
{
	uint64_t page = MAX((uint64_t)sysconf(_SC_PAGESIZE), (uint64_t)DISK_PAGE);

	return (off | len) % page == 0 && (uintptr_t)data % DISK_PAGE == 0;
}

/*
 * As much of the run as goes directly. Ends early where a short count leaves a rest that is not
 * aligned, and where a disk wants more than pages (larger sectors): then nobody tries any more.
 */
static int64_t write_direct(const struct restore_file *file, uint64_t off, const uint8_t *data,
			    size_t len)
{
	size_t done = 0;

	while (done < len && is_aligned(off + done, data + done, len - done)) {
		const struct iovec iov = {.iov_base = (void *)(uintptr_t)(data + done),
					  .iov_len = len - done};
		int64_t n = sys_pwritev_once(file->direct_fd, &iov, 1, off + done);

		if (n == -EINVAL)
			__atomic_store_n(&file->root->direct, false, __ATOMIC_RELAXED);
		if (n == -EINVAL || n == 0)
			break;
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (int64_t)done;
}

int restore_direct_write(const struct restore_file *file, uint64_t off, const uint8_t *data,
			 size_t len)
{
	int64_t done = 0;

	if (file->direct_fd >= 0 && len >= LENGTH_MIN &&
	    __atomic_load_n(&file->root->direct, __ATOMIC_RELAXED))
		done = write_direct(file, off, data, len);
	if (done < 0)
		return (int)done;
	if ((size_t)done == len)
		return 1;
	return sys_pwrite_full(file->fd, data + done, len - (size_t)done, off + (uint64_t)done);
}
