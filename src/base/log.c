/*
 * base/log.c: the log. Each message is formatted on the caller's stack and appended with one call,
 * so lines of different threads never mix and writers take no lock. log_reopen replaces the open
 * file behind the same descriptor number; a writer therefore never sees a closed one.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 2048
#define SECOND	  INT64_C(1000000000)

static _Atomic int log_fd = -1; /* -1: stderr */
static _Atomic int log_max = LOG_LEVEL_NOTICE;

/* When the file could take no line more if all that it took had come one a second. */
static _Atomic int64_t log_paid_until;
static _Atomic uint64_t log_left_out;

static pthread_mutex_t place_lock = PTHREAD_MUTEX_INITIALIZER;
static int place_dirfd = -1; /* guarded by: place_lock */
static char *place_name;     /* guarded by: place_lock */

static int open_log(int dirfd, const char *name)
{
	return sys_openat(dirfd, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY, 0600);
}

/* Takes fd, which messages go to from now on. */
static int install(int fd)
{
	_cleanup_close_ int owned = fd;
	int current = atomic_load(&log_fd);

	if (current < 0) {
		atomic_store(&log_fd, TAKE_FD(owned));
		return 0;
	}
	return dup3(owned, current, O_CLOEXEC) < 0 ? -errno : 0;
}

int log_open(int dirfd, const char *name)
{
	_cleanup_free_ char *copy = strdup(name);
	_cleanup_close_ int dir = -1;
	int fd, rc;

	if (copy == NULL)
		return -ENOMEM;
	dir = sys_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	fd = open_log(dir, copy);
	if (fd < 0)
		return fd;
	rc = install(fd);
	if (rc < 0)
		return rc;

	pthread_mutex_lock(&place_lock);
	free(place_name);
	place_name = TAKE_PTR(copy);
	util_closep(&place_dirfd);
	place_dirfd = TAKE_FD(dir);
	pthread_mutex_unlock(&place_lock);
	return 0;
}

int log_reopen(void)
{
	int rc = 0;

	pthread_mutex_lock(&place_lock);
	if (place_name != NULL) {
		int fd = open_log(place_dirfd, place_name);

		rc = fd < 0 ? fd : install(fd);
	}
	pthread_mutex_unlock(&place_lock);
	return rc;
}

void log_set_level(enum log_level max)
{
	atomic_store(&log_max, (int)max);
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARNING:
		return "warning";
	case LOG_LEVEL_NOTICE:
		return "notice";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "?";
}

/* What stands before the text; returns its length. */
static size_t format_head(char *line, size_t size, int fd, enum log_level level)
{
	char stamp[32] = "";
	struct timespec now;
	struct tm tm;
	int n;

	if (fd < 0) {
		n = snprintf(line, size, "pgoverlay: ");
	} else {
		(void)clock_gettime(CLOCK_REALTIME, &now);
		if (gmtime_r(&now.tv_sec, &tm) != NULL)
			(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
		n = snprintf(line, size, "%s.%03ldZ %s ", stamp, now.tv_nsec / 1000000,
			     level_name(level));
	}
	return n > 0 ? MIN((size_t)n, size - 1) : 0;
}

/* Whoever reads a damaged page again and again must not fill the disk that the diff lies on. */
static bool is_too_much(void)
{
	int64_t paid = atomic_load(&log_paid_until), next;
	struct timespec ts;
	int64_t now;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
	do {
		next = MAX(paid, now) + SECOND;
		if (next - now > LOG_BURST * SECOND) {
			atomic_fetch_add(&log_left_out, 1);
			return true;
		}
	} while (!atomic_compare_exchange_weak(&log_paid_until, &paid, next));
	return false;
}

static void say_left_out(int fd)
{
	unsigned long long count = atomic_exchange(&log_left_out, 0);
	char line[LINE_SIZE];
	size_t len;
	int n;

	if (count == 0)
		return;
	len = format_head(line, sizeof(line), fd, LOG_LEVEL_WARNING);
	n = snprintf(line + len, sizeof(line) - len,
		     "%llu messages were left out here: too many\n", count);
	sys_append(fd, line, len + (size_t)n);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	int fd = atomic_load(&log_fd);
	char line[LINE_SIZE];
	size_t len;
	va_list args;
	int n;

	if ((int)level > atomic_load_explicit(&log_max, memory_order_relaxed))
		return;
	if (fd >= 0 && is_too_much()) {
		errno = saved;
		return;
	}
	if (fd >= 0)
		say_left_out(fd);

	/* One byte is kept for the newline. */
	len = format_head(line, sizeof(line) - 1, fd, level);
	va_start(args, fmt);
	n = vsnprintf(line + len, sizeof(line) - 1 - len, fmt, args);
	va_end(args);
	if (n > 0)
		len += MIN((size_t)n, sizeof(line) - 2 - len);
	/* A message is one line, whatever a file name in it contains. */
	for (size_t i = 0; i < len; i++) {
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = ' ';
	}
	line[len++] = '\n';
	sys_append(fd < 0 ? STDERR_FILENO : fd, line, len);
	errno = saved;
}
