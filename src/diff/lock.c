/*
 * <diff>/lock: flock keeps other mounts out; it goes with the descriptor, so a stale one cannot
 * exist. The text
 *
 *	pgoverlay lock
 *	pid = 1234567890
 *	state = open
 *
 * has always the same length and is overwritten in place, which a full disk does not prevent. The
 * pid is for the message of who finds the lock held. "open" is durable before the diff is changed,
 * so "clean" can be trusted: all is on disk, and there is no data file that nobody knows. "open"
 * left behind tells recovery to look for both.
 */
#include "diff/diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define MAGIC	  "pgoverlay lock\n"
#define TEXT_SIZE 46u

static void make_text(char text[TEXT_SIZE + 1], const char *state)
{
	(void)snprintf(text, TEXT_SIZE + 1, MAGIC "pid = %-10d\nstate = %-5s\n", (int)getpid(),
		       state);
}

static bool text_is(const char *text, const char *state)
{
	char line[16];

	(void)snprintf(line, sizeof(line), "state = %-5s\n", state);
	return strncmp(text, MAGIC, strlen(MAGIC)) == 0 && strstr(text, line) != NULL;
}

static int held(int fd, const char *path, struct errmsg *e)
{
	char text[TEXT_SIZE + 1] = "";
	int pid = 0;

	(void)sys_pread_full(fd, text, TEXT_SIZE, 0);
	if (sscanf(text, MAGIC "pid = %d", &pid) == 1)
		return errmsg_set(
			e, -EBUSY,
			"diff '%s' is in use: process %d has it mounted; unmount that first", path,
			pid);
	return errmsg_set(e, -EBUSY, "diff '%s' is in use by another mount; unmount that first",
			  path);
}

static int lock(int fd, const char *path, struct errmsg *e)
{
	int rc = sys_flock(fd, LOCK_EX | LOCK_NB);

	if (rc == -EWOULDBLOCK)
		return held(fd, path, e);
	if (rc == -ENOTSUP || rc == -ENOSYS || rc == -ENOLCK)
		return errmsg_set(
			e, -ENOTSUP,
			"diff '%s' lies on a filesystem without flock: %s; choose another place",
			path, strerror(-rc));
	return rc < 0 ? errmsg_set(e, rc, "'%s/lock': %s", path, strerror(-rc)) : 0;
}

int lock_take(int dirfd, const char *path, struct errmsg *e, int *ret_fd, bool *ret_unclean)
{
	char text[TEXT_SIZE + 1] = "";
	int fd = sys_openat(dirfd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600), rc;
	int64_t n;

	if (fd < 0)
		return errmsg_set(e, fd, "'%s/lock': %s", path, strerror(-fd));
	rc = lock(fd, path, e);
	if (rc < 0) {
		(void)sys_close(fd);
		return rc;
	}
	n = sys_pread_full(fd, text, TEXT_SIZE, 0);
	*ret_unclean = n != TEXT_SIZE || !text_is(text, "clean");
	make_text(text, "open");
	/* A full disk is no reason to refuse: whoever mounts it wants to make room. */
	rc = sys_pwrite_full(fd, text, TEXT_SIZE, 0);
	if (rc == 0 && !*ret_unclean)
		rc = sys_fsync(fd);
	if (rc < 0 && rc != -ENOSPC && rc != -EDQUOT) {
		(void)sys_close(fd);
		return errmsg_set(e, rc, "'%s/lock': %s", path, strerror(-rc));
	}
	*ret_fd = fd;
	return 0;
}

/* A crash may leave the size of what was written without the bytes. */
bool lock_is_ours(int dirfd)
{
	static const char nothing[TEXT_SIZE];
	char text[TEXT_SIZE + 1] = "";
	int fd = sys_openat(dirfd, "lock", O_RDONLY | O_NOFOLLOW, 0);
	int64_t n;

	if (fd < 0)
		return false;
	n = sys_pread_full(fd, text, TEXT_SIZE, 0);
	(void)sys_close(fd);
	return n >= 0 &&
	       (memcmp(text, nothing, TEXT_SIZE) == 0 || strncmp(text, MAGIC, strlen(MAGIC)) == 0);
}

void lock_mark_clean(int fd)
{
	char text[TEXT_SIZE + 1];

	make_text(text, "clean");
	(void)sys_pwrite_full(fd, text, TEXT_SIZE, 0);
}
