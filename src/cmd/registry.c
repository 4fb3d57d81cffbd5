/*
 * Clones on disk: <home>/run and <home>/known.
 *
 * A folder in run is locked (flock on the directory itself) as long as the daemon or its helper
 * lives, so that a stale one is told from a running one without asking anybody and without trusting
 * a pid.
 */
#include "cmd/registry_internal.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/remove.h"
#include "fuse/mountinfo.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#define NOTICE_WAIT_MS 2000
#define ENDING_WAIT_MS 60000
#define POLL_MS	       5
#define STAT_MAX       4096
/* In /proc/PID/stat: exiting, ended by a signal (PF_EXITING, PF_SIGNALED of the kernel). */
#define FLAGS_ENDING	0x404u
#define SKIP_7		" %*s %*s %*s %*s %*s %*s %*s"
#define SKIP_TO_PENDING SKIP_7 SKIP_7 SKIP_7

char *registry_path(const char *home, const char *folder, const char *key, const char *suffix)
{
	char *path;

	if (asprintf(&path, "%s/%s/%016llx%s", home, folder,
		     (unsigned long long)XXH3_64bits(key, strlen(key)), suffix) < 0)
		return NULL;
	return path;
}

/* ---- locks ---- */

/* 1: held by others, 0: free, or there is nothing to hold. */
static bool is_held(const char *run_dir)
{
	_cleanup_close_ int fd = sys_openat(AT_FDCWD, run_dir, O_RDONLY | O_DIRECTORY, 0);

	return fd >= 0 && sys_flock(fd, LOCK_SH | LOCK_NB) == -EWOULDBLOCK;
}

bool registry_is_held(const struct clone *clone)
{
	return clone->run_dir != NULL && is_held(clone->run_dir);
}

int registry_wait_end(const struct clone *clone, int timeout_ms)
{
	for (int waited = 0; registry_is_held(clone); waited += POLL_MS) {
		if (waited >= timeout_ms)
			return -ETIMEDOUT;
		(void)poll(NULL, 0, POLL_MS);
	}
	return 0;
}

/*
 * Of a process that was killed. What it holds goes with its last thread, on a busy machine seconds
 * later; until then it neither serves nor says that it does not.
 */
bool registry_is_ending(const struct clone *clone)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	const char *rest = NULL;
	unsigned flags = 0;
	unsigned long pending = 0;
	char state = 0;
	size_t len;

	if (asprintf(&path, "/proc/%d/stat", (int)clone->pid) < 0)
		return false;
	if (sys_read_file(AT_FDCWD, path, STAT_MAX, &text, &len) == 0)
		rest = strrchr(text, ')'); /* behind the name: state and numbers */
	if (rest == NULL)
		return true;
	if (sscanf(rest, ") %c %*s %*s %*s %*s %*s %u" SKIP_TO_PENDING " %lu", &state, &flags,
		   &pending) != 3)
		return false;
	return state == 'Z' || state == 'X' || (flags & FLAGS_ENDING) != 0 ||
	       (pending & 1ul << (SIGKILL - 1)) != 0;
}

/* ---- claiming ---- */

bool registry_is_mounted(const char *mountpoint)
{
	struct mountinfo info;

	return mountinfo_find(mountpoint, &info) == 0 && strcmp(info.fstype, SESSION_FSTYPE) == 0;
}

/*
 * A daemon whose mount is gone is on its last commit, and takes its control socket away when it
 * begins with it; one that was detached while files are open serves on, for as long as they are.
 */
static int wait_for_ending(int run_fd, const char *mountpoint)
{
	struct stat st;
	int rc = sys_flock(run_fd, LOCK_EX | LOCK_NB);

	for (int waited = 0; rc == -EWOULDBLOCK && !registry_is_mounted(mountpoint);
	     waited += POLL_MS) {
		bool ending =
			sys_fstatat(run_fd, SESSION_CONTROL, &st, AT_SYMLINK_NOFOLLOW) == -ENOENT;

		if (waited >= (ending ? ENDING_WAIT_MS : NOTICE_WAIT_MS))
			break;
		(void)poll(NULL, 0, POLL_MS);
		rc = sys_flock(run_fd, LOCK_EX | LOCK_NB);
	}
	return rc;
}

void registry_wait_ending(const struct clone *clone)
{
	_cleanup_close_ int fd = -1;

	if (clone->run_dir == NULL)
		return;
	fd = sys_openat(AT_FDCWD, clone->run_dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		(void)wait_for_ending(fd, clone->mountpoint);
}

static int remove_leftover(void *ctx, const char *name, unsigned char d_type)
{
	return remove_tree(*(int *)ctx, name) == -ENOTDIR ? sys_unlinkat(*(int *)ctx, name, 0) : 0;
}

/* -EAGAIN: it was removed before the lock was there. */
static int claim_once(const char *run_dir, const char *mountpoint, uid_t uid, gid_t gid,
		      int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct stat locked, now;
	int rc;

	rc = sys_mkdirat(AT_FDCWD, run_dir, 0700);
	if (rc != 0 && rc != -EEXIST)
		return rc;
	fd = sys_openat(AT_FDCWD, run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd == -ENOENT ? -EAGAIN : fd;
	rc = wait_for_ending(fd, mountpoint);
	if (rc != 0)
		return rc == -EWOULDBLOCK ? -EBUSY : rc;
	rc = sys_fstat(fd, &locked);
	if (rc != 0)
		return rc;
	if (sys_fstatat(AT_FDCWD, run_dir, &now, AT_SYMLINK_NOFOLLOW) != 0 ||
	    now.st_ino != locked.st_ino)
		return -EAGAIN;
	(void)sys_readdir(fd, ".", remove_leftover, &fd);
	if (geteuid() == 0 && fchown(fd, uid, gid) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int registry_claim(const char *home, const char *mountpoint, uid_t uid, gid_t gid, struct errmsg *e,
		   char **ret_run_dir, int *ret_fd)
{
	_cleanup_free_ char *run = NULL;
	_cleanup_free_ char *run_dir = registry_path(home, "run", mountpoint, "");
	struct clone holder = {0};
	int rc;

	if (run_dir == NULL || asprintf(&run, "%s/run", home) < 0)
		return -ENOMEM;
	rc = make_path(run, geteuid() == 0 ? 0755 : 0700);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot make '%s': %s", run, strerror(-rc));
	do {
		rc = claim_once(run_dir, mountpoint, uid, gid, ret_fd);
	} while (rc == -EAGAIN);
	if (rc == -EBUSY) {
		pid_t pid = registry_find(mountpoint, NULL, &holder) == 0 ? holder.pid : 0;

		registry_clone_free(&holder);
		return errmsg_set(
			e, rc,
			"'%s' is mounted already: served by process %d; 'pgoverlay umount' ends it",
			mountpoint, (int)pid);
	}
	if (rc != 0)
		return errmsg_set(e, rc, "cannot claim '%s': %s", run_dir, strerror(-rc));
	*ret_run_dir = TAKE_PTR(run_dir);
	return 0;
}

/* Never seen in parts; not made durable: after a crash of the machine nothing is mounted. */
static int write_facts(int dirfd, const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_close_ int fd = -1;
	int rc;

	if (asprintf(&temporary, "%s.new", name) < 0)
		return -ENOMEM;
	fd = sys_openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
	if (fd < 0)
		return fd;
	rc = sys_pwrite_full(fd, text, strlen(text), 0);
	return rc == 0 ? sys_renameat(dirfd, temporary, dirfd, name) : rc;
}

int registry_write(int run_fd, const char *facts)
{
	return write_facts(run_fd, REGISTRY_FACTS, facts, 0600);
}

void registry_remember(const char *home, const char *diff, const char *facts)
{
	_cleanup_free_ char *path = registry_path(home, "known", diff, ".json");
	_cleanup_free_ char *known = NULL;

	if (path == NULL || asprintf(&known, "%s/known", home) < 0 ||
	    make_path(known, geteuid() == 0 ? 0755 : 0700) != 0)
		return;
	(void)write_facts(AT_FDCWD, path, facts, 0644);
}

void registry_forget(const char *home, const char *diff)
{
	_cleanup_free_ char *path = registry_path(home, "known", diff, ".json");

	_cleanup_free_ char *start = registry_start_path(home, diff);

	if (path != NULL)
		(void)sys_unlinkat(AT_FDCWD, path, 0);
	if (start != NULL)
		(void)sys_unlinkat(AT_FDCWD, start, 0);
	registry_unwanted(home, diff);
}

/* ---- how it was started ---- */

char *registry_start_path(const char *home, const char *diff)
{
	return registry_path(home, "known", diff, REGISTRY_START);
}

void registry_remember_start(const char *home, const char *diff, const void *text, size_t len)
{
	_cleanup_free_ char *start = registry_start_path(home, diff);
	_cleanup_free_ char *wanted = registry_path(home, "known", diff, REGISTRY_WANTED);

	if (start != NULL && wanted != NULL &&
	    sys_replace_file(AT_FDCWD, start, text, len, 0600) == 0)
		(void)sys_replace_file(AT_FDCWD, wanted, diff, strlen(diff), 0600);
}

void registry_unwanted(const char *home, const char *diff)
{
	_cleanup_free_ char *wanted = registry_path(home, "known", diff, REGISTRY_WANTED);

	if (wanted != NULL)
		(void)sys_unlinkat(AT_FDCWD, wanted, 0);
}
