/*
 * base/sys_file.c: whole files and directories, made of the wrappers in sys.c.
 */
#include "base/big.h"
#include "base/sys_internal.h"
#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* What one call fetches; on the stack: recovery lists hundreds of directories, mostly empty. */
#define NAMES_SIZE 4096u
#define COUNT_STEP 512u /* descriptors */

static int for_each_name(const uint8_t *names, size_t len,
			 int (*fn)(void *ctx, const char *name, unsigned char d_type), void *ctx)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *d = (const void *)(names + at);
		int rc;

		at += d->d_reclen;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		rc = fn(ctx, d->d_name, d->d_type);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int list_dir(int dirfd, const char *path,
		    int (*fn)(void *ctx, const char *name, unsigned char d_type), void *ctx)
{
	_Alignas(struct dirent64) uint8_t names[NAMES_SIZE];
	ssize_t n = 0;
	int fd, rc = 0;

	do {
		fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	while (rc == 0 && (n = getdents64(fd, names, sizeof(names))) > 0)
		rc = for_each_name(names, (size_t)n, fn, ctx);
	if (n < 0)
		rc = -errno;
	(void)close(fd);
	return rc;
}

int sys_readdir(int dirfd, const char *path,
		int (*fn)(void *ctx, const char *name, unsigned char d_type), void *ctx)
{
	struct sys_event ev = {.call = SYS_CALL_READDIR, .fd = dirfd, .fd2 = -1, .path = path};
	int rc;

	rc = hook_before(&ev);
	if (rc < 0)
		return rc;
	rc = list_dir(dirfd, path, fn, ctx);
	hook_after(&ev, rc);
	return rc;
}

/* Bytes that are read into a huge page: touching as many small ones takes longer. */
#define LONG ((size_t)256 << 10)

/* Reads to the end; the size the file had a moment ago is only where the buffer starts. */
static int read_all(int fd, size_t hint, size_t max, char **ret_data, size_t *ret_len)
{
	_cleanup_free_ char *data = NULL;
	size_t cap = MIN(hint, max) + 1;
	size_t len = 0;

	for (;;) {
		char *bigger =
			big_realloc(data, len, cap < LONG ? cap + 1 : MAX(cap + 1, BIG_BYTES));
		int64_t n;

		if (bigger == NULL)
			return -ENOMEM;
		data = bigger;
		n = sys_pread_full(fd, data + len, cap - len, len);
		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (len < cap)
			break;
		cap = MIN(cap * 2, max + 1);
	}
	data[len] = '\0';
	*ret_data = TAKE_PTR(data);
	*ret_len = len;
	return 0;
}

/* O_NONBLOCK: a fifo in the way must not hang us. */
#define READ_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY)

static int read_opened(int fd, size_t max, struct stat *ret_stat, char **ret_data, size_t *ret_len)
{
	int rc;

	if (max > SIZE_MAX / 4)
		return -EINVAL;
	rc = sys_fstat(fd, ret_stat);
	if (rc < 0)
		return rc;
	if (S_ISDIR(ret_stat->st_mode))
		return -EISDIR;
	if (!S_ISREG(ret_stat->st_mode))
		return -EINVAL;
	if ((uint64_t)ret_stat->st_size > max)
		return -EFBIG;
	return read_all(fd, (size_t)ret_stat->st_size, max, ret_data, ret_len);
}

int sys_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	_cleanup_close_ int fd = sys_openat(dirfd, path, READ_FLAGS, 0);
	struct stat st;

	return fd < 0 ? fd : read_opened(fd, max, &st, ret_data, ret_len);
}

int sys_read_beneath(int dirfd, const char *path, size_t max, struct stat *ret_stat,
		     char **ret_data, size_t *ret_len)
{
	_cleanup_close_ int fd = sys_open_beneath(dirfd, path, READ_FLAGS);

	return fd < 0 ? fd : read_opened(fd, max, ret_stat, ret_data, ret_len);
}

static int write_temp(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	int fd, rc, rc_close;

	fd = sys_openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
	if (fd < 0)
		return fd;
	rc = sys_pwrite_full(fd, data, len, 0);
	if (rc == 0)
		rc = sys_fsync(fd);
	rc_close = sys_close(fd);
	return rc < 0 ? rc : rc_close;
}

static int sync_parent(int dirfd, const char *path)
{
	_cleanup_free_ char *parent = NULL;
	const char *slash = strrchr(path, '/');
	int fd, rc;

	/* "/name": the root itself */
	parent =
		slash == NULL ? strdup(".") : strndup(path, MAX((size_t)(slash - path), (size_t)1));
	if (parent == NULL)
		return -ENOMEM;
	fd = sys_openat(dirfd, parent, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	rc = sys_fsync(fd);
	(void)sys_close(fd);
	return rc;
}

int sys_replace_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	_cleanup_free_ char *temp = NULL;
	int rc;

	if (asprintf(&temp, "%s.tmp", path) < 0) {
		temp = NULL;
		return -ENOMEM;
	}
	rc = write_temp(dirfd, temp, data, len, mode);
	if (rc == 0)
		rc = sys_renameat(dirfd, temp, dirfd, path);
	if (rc < 0) {
		(void)sys_unlinkat(dirfd, temp, 0);
		return rc;
	}
	return sync_parent(dirfd, path);
}

void sys_append(int fd, const void *buf, size_t len)
{
	ssize_t n;

	do {
		n = write(fd, buf, len);
	} while (n < 0 && errno == EINTR);
}

/*
 * Since Linux 6.2 the size of that directory is their number; it cannot be read by a process that has
 * given up its rights. Before, poll tells of each descriptor that is none. The lowest number that is
 * free tells nothing: what is closed leaves gaps.
 */
unsigned sys_count_fds(unsigned limit)
{
	struct pollfd fds[COUNT_STEP];
	struct stat st;
	unsigned n = 0;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (unsigned)st.st_size;
	for (unsigned first = 0; first < limit; first += COUNT_STEP) {
		unsigned count = MIN(limit - first, COUNT_STEP);

		for (unsigned i = 0; i < count; i++)
			fds[i] = (struct pollfd){.fd = (int)(first + i)};
		if (poll(fds, count, 0) < 0)
			return limit;
		for (unsigned i = 0; i < count; i++)
			n += (fds[i].revents & POLLNVAL) == 0;
	}
	return n;
}
