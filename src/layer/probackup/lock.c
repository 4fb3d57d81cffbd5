/*
 * layer/probackup/lock.c: see lock.h. The protocol is pg_probackup's (2.4.6 and later); what we do
 * not do is fsync: the process a line names does not survive what the fsync would protect against.
 */
#include "layer/probackup/lock.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LATCH	  "backup.pid"
#define LINES	  "backup_ro.pid"
#define LINES_NEW "backup_ro.pidtmp"
/* pg_probackup copies the lines through a buffer of 8 KiB on its stack. */
#define LINES_MAX 7900u
#define STEP_MS	  100u

/* One line that this process has written, and how often it is wanted. */
struct held {
	struct held *next;
	dev_t dev;
	ino_t ino;
	pid_t pid;
	unsigned count;
};

/*
 * Guards the list and serialises the whole protocol within the process: a latch with our own pid in
 * it, seen by another thread, would be taken for a stale one.
 */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct held *held_list; /* guarded by: mutex */

static struct held **find_held(const struct stat *st, pid_t pid)
{
	struct held **at = &held_list;

	while (*at != NULL &&
	       ((*at)->dev != st->st_dev || (*at)->ino != st->st_ino || (*at)->pid != pid))
		at = &(*at)->next;
	return at;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void sleep_step(void)
{
	struct timespec step = {.tv_nsec = STEP_MS * 1000000L};

	(void)nanosleep(&step, NULL);
}

static bool store_is_unwritable(int rc)
{
	return rc == -EROFS || rc == -EACCES || rc == -EPERM || rc == -ENOSPC || rc == -EDQUOT;
}

/* EPERM is an answer too: the process lives and belongs to somebody else. */
static bool process_lives(long pid)
{
	return kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

/* The pid that starts a line; 0 if there is none. */
static long parse_pid(const char *s)
{
	long pid = 0;

	s += strspn(s, " \t"); /* strtol would go on to the next line */
	for (; *s >= '0' && *s <= '9'; s++) {
		pid = pid * 10 + (*s - '0');
		if (pid > INT32_MAX)
			return 0;
	}
	return pid;
}

/* What stands in the way at the latch. */
struct holder {
	ino_t ino;
	bool empty;
	bool unreadable; /* another user's file */
	long pid;	 /* 0: no process */
};

static int read_holder(int dirfd, struct holder *ret)
{
	_cleanup_free_ char *text = NULL;
	struct holder holder = {0};
	struct stat st;
	size_t len = 0;
	int rc;

	rc = sys_fstatat(dirfd, LATCH, &st, AT_SYMLINK_NOFOLLOW);
	if (rc < 0)
		return rc;
	holder.ino = st.st_ino;
	rc = sys_read_beneath(dirfd, LATCH, LINES_MAX, &st, &text, &len);
	if (rc == -EACCES || rc == -EPERM)
		holder.unreadable = true;
	else if (rc < 0)
		return rc;
	else
		holder.pid = parse_pid(text);
	holder.empty = rc == 0 && len == 0;
	*ret = holder;
	return 0;
}

static bool holder_lives(const struct holder *holder)
{
	/* Our own pid: we do not hold it (the mutex), so it is left from a process that had the
	 * number before. */
	return holder->unreadable ||
	       (holder->pid != 0 && holder->pid != (long)getpid() && process_lives(holder->pid));
}

/*
 * Removes a latch that nobody holds, unless it has become another one meanwhile. Of two who remove
 * the same one the second would remove what the first has made since: so whoever removes it holds
 * the file's flock. Where there is none, and beside pg_probackup, that can still happen.
 */
static int remove_stale(int dirfd, const struct holder *stale)
{
	_cleanup_close_ int fd = -1;
	struct holder again;
	struct stat st;
	int rc;

	fd = sys_open_beneath(dirfd, LATCH, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	(void)sys_flock(fd, LOCK_EX);
	rc = sys_fstat(fd, &st);
	if (rc == 0)
		rc = read_holder(dirfd, &again);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (st.st_ino != stale->ino || again.ino != stale->ino || again.pid != stale->pid)
		return 0;
	rc = sys_unlinkat(dirfd, LATCH, 0);
	return rc == -ENOENT ? 0 : rc;
}

/* Makes the latch with our pid in it: 0, or -EEXIST. */
static int create_latch(int dirfd, int *line_fd)
{
	char text[16];
	int fd, rc, rc_close;

	/* Of another file system, or of one without links: a file of its own, then. */
	rc = line_fd != NULL && *line_fd >= 0 ? sys_link_fd(*line_fd, dirfd, LATCH) : -EXDEV;
	if (rc == 0 || rc == -EEXIST)
		return rc;
	fd = sys_openat(dirfd, LATCH, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	(void)snprintf(text, sizeof(text), "%d\n", (int)getpid());
	rc = sys_pwrite_full(fd, text, strlen(text), 0);
	rc_close = sys_close(fd);
	if (rc == 0)
		rc = rc_close;
	if (rc < 0)
		(void)sys_unlinkat(dirfd, LATCH, 0);
	else if (line_fd != NULL && *line_fd < 0)
		*line_fd = sys_openat(dirfd, LATCH, O_RDONLY | O_NOFOLLOW, 0);
	return rc;
}

static int refuse_held(const char *id, const struct holder *holder, struct errmsg *e)
{
	if (holder->unreadable)
		return errmsg_set(
			e, -EBUSY,
			"backup %s is locked: its backup.pid belongs to another user; try again "
			"when that command has finished",
			id);
	return errmsg_set(e, -EBUSY,
			  "backup %s is locked by the process %ld (backup.pid), such as a "
			  "pg_probackup delete "
			  "or merge; try again when it has finished",
			  id, holder->pid);
}

static int latch_take(int dirfd, const char *id, const struct lock_request *request,
		      struct errmsg *e)
{
	unsigned held_ms = 0, empty_ms = 0;

	for (;;) {
		uint64_t before = now_ms();
		struct holder holder;
		int rc = create_latch(dirfd, request->line_fd);

		if (rc != -EEXIST)
			return rc;
		rc = read_holder(dirfd, &holder);
		if (rc == -ENOENT)
			continue;
		if (rc < 0)
			return rc;
		if (holder_lives(&holder)) {
			if (held_ms >= request->held_ms)
				return refuse_held(id, &holder, e);
			sleep_step();
			held_ms += (unsigned)(now_ms() - before);
		} else if (holder.empty && empty_ms < request->empty_ms) {
			sleep_step();
			empty_ms += (unsigned)(now_ms() - before);
		} else {
			rc = remove_stale(dirfd, &holder);
			if (rc < 0)
				return rc;
		}
	}
}

static void latch_drop(int dirfd)
{
	(void)sys_unlinkat(dirfd, LATCH, 0);
}

/* Writes the lines of everybody else who lives, and our own if with_own. Under the latch. */
static int rewrite_lines(int dirfd, pid_t own, bool with_own)
{
	_cleanup_free_ char *old = NULL;
	struct stat st;
	char text[LINES_MAX + 32];
	size_t old_len, len = 0;
	int fd, rc, rc_close;

	rc = sys_read_beneath(dirfd, LINES, LINES_MAX, &st, &old, &old_len);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	for (const char *line = old; line != NULL && *line != '\0';) {
		long pid = parse_pid(line);

		if (pid != 0 && pid != (long)own && process_lives(pid))
			len += (size_t)sprintf(text + len, "%ld\n", pid);
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	if (with_own)
		len += (size_t)sprintf(text + len, "%d\n", (int)own);
	if (len > LINES_MAX)
		return -EUSERS;
	if (len == 0) {
		rc = sys_unlinkat(dirfd, LINES, 0);
		return rc == -ENOENT ? 0 : rc;
	}

	rc = sys_unlinkat(dirfd, LINES_NEW, 0); /* of somebody who died; we hold the latch */
	if (rc < 0 && rc != -ENOENT)
		return rc;
	fd = sys_openat(dirfd, LINES_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	rc = sys_pwrite_full(fd, text, len, 0);
	rc_close = sys_close(fd);
	if (rc == 0)
		rc = rc_close;
	if (rc == 0)
		rc = sys_renameat(dirfd, LINES_NEW, dirfd, LINES);
	if (rc < 0)
		(void)sys_unlinkat(dirfd, LINES_NEW, 0);
	return rc;
}

/*
 * The latch has just the line that we want to add: if nobody else has one it becomes the file of the
 * lines, and is dropped by that. 1: done; 0: it is not that simple.
 */
static int turn_latch_into_lines(int dirfd, pid_t pid)
{
	struct stat st;
	int rc;

	if (pid != getpid() || sys_fstatat(dirfd, LINES, &st, AT_SYMLINK_NOFOLLOW) != -ENOENT)
		return 0;
	rc = sys_renameat(dirfd, LATCH, dirfd, LINES);
	return rc < 0 ? rc : 1;
}

/* Under the mutex and the latch. 1: and the latch is dropped. */
static int add_line(int dirfd, const struct stat *st, pid_t pid)
{
	struct held **at = find_held(st, pid);
	struct held *new = NULL;
	int rc;

	if (*at == NULL) {
		new = calloc(1, sizeof(*new));
		if (new == NULL)
			return -ENOMEM;
	}
	/* Also when we have a line already: somebody may have taken it for stale. */
	rc = turn_latch_into_lines(dirfd, pid);
	if (rc == 0)
		rc = rewrite_lines(dirfd, pid, true);
	if (rc < 0) {
		free(new);
		return rc;
	}
	if (new != NULL) {
		new->dev = st->st_dev;
		new->ino = st->st_ino;
		new->pid = pid;
		*at = new;
	}
	(*at)->count++;
	return rc;
}

static int share_locked(int dirfd, const char *id, const struct lock_request *request,
			int (*check)(void *ctx, struct errmsg *e), void *ctx, int *ret_reason,
			struct errmsg *e)
{
	struct stat st;
	int rc, rc_line = 0;

	rc = sys_fstat(dirfd, &st);
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: %s", id, errmsg_text(NULL, rc));
	rc = latch_take(dirfd, id, request, e);
	if (store_is_unwritable(rc)) {
		*ret_reason = -rc;
		return check(ctx, e);
	}
	if (rc < 0)
		return errmsg_set(e, rc, "backup %s: cannot take backup.pid: %s", id,
				  probackup_open_text(rc));
	rc = check(ctx, e);
	if (rc == 0)
		rc_line = add_line(dirfd, &st, request->pid);
	if (rc_line <= 0)
		latch_drop(dirfd);
	if (rc < 0)
		return rc;
	if (store_is_unwritable(rc_line)) {
		*ret_reason = -rc_line;
		return 0;
	}
	if (rc_line == -EUSERS || rc_line == -EFBIG)
		return errmsg_set(e, rc_line, "backup %s: backup_ro.pid: too many readers", id);
	if (rc_line < 0)
		return errmsg_set(e, rc_line, "backup %s: cannot write backup_ro.pid: %s", id,
				  probackup_open_text(rc_line));
	return 1;
}

int lock_share(int dirfd, const char *id, const struct lock_request *request,
	       int (*check)(void *ctx, struct errmsg *e), void *ctx, int *ret_reason,
	       struct errmsg *e)
{
	int rc;

	(void)pthread_mutex_lock(&mutex);
	rc = share_locked(dirfd, id, request, check, ctx, ret_reason, e);
	(void)pthread_mutex_unlock(&mutex);
	return rc;
}

static void unshare_locked(int dirfd, const struct lock_request *request)
{
	struct held **at, *held;
	struct stat st;

	if (sys_fstat(dirfd, &st) < 0)
		return;
	at = find_held(&st, request->pid);
	held = *at;
	if (held == NULL || --held->count > 0)
		return;
	*at = held->next;
	free(held);
	if (latch_take(dirfd, "", request, NULL) < 0)
		return;
	(void)rewrite_lines(dirfd, request->pid, false);
	latch_drop(dirfd);
}

/* Looked at without the latch, so that a lock that is long gone costs nobody a wait. */
static bool has_line(int dirfd, pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t len;

	if (sys_read_beneath(dirfd, LINES, LINES_MAX, &st, &text, &len) < 0)
		return false;
	for (const char *line = text; line != NULL && *line != '\0';) {
		if (parse_pid(line) == (long)pid)
			return true;
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return false;
}

void lock_release(int dirfd, const struct lock_request *request)
{
	(void)pthread_mutex_lock(&mutex);
	if (has_line(dirfd, request->pid) && latch_take(dirfd, "", request, NULL) == 0) {
		(void)rewrite_lines(dirfd, request->pid, false);
		latch_drop(dirfd);
	}
	(void)pthread_mutex_unlock(&mutex);
}

void lock_unshare(int dirfd, const struct lock_request *request)
{
	(void)pthread_mutex_lock(&mutex);
	unshare_locked(dirfd, request);
	(void)pthread_mutex_unlock(&mutex);
}
