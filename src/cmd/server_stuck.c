/*
 * cmd/server_stuck.c: tells a server that stops slowly from one that never will. See server_stuck.h.
 */
#include "cmd/server_stuck.h"

#include "base/sys.h"
#include "base/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Processes that stay until the checkpointer has ended, whatever it does. */
static bool stays(const char *title)
{
	return strstr(title, "stats collector") != NULL || strstr(title, "logger") != NULL ||
	       strstr(title, "archiver") != NULL;
}

/* "postgres: checkpointer" and no more: a checkpoint would be named behind it (version 14). */
static bool is_idle_checkpointer(const char *title)
{
	static const char word[] = "checkpointer";
	const char *at = strstr(title, word);

	return at != NULL && at[sizeof(word) - 1 + strspn(at + sizeof(word) - 1, " ")] == '\0';
}

/* The pid of the checkpointer, if nothing else is left that works. */
static pid_t lone_checkpointer(pid_t postmaster)
{
	_cleanup_free_ char *children = NULL;
	pid_t found = 0;
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)postmaster,
		       (int)postmaster);
	if (sys_read_file(AT_FDCWD, path, 65536, &children, &len) < 0)
		return 0;
	for (char *next, *p = children;; p = next) {
		_cleanup_free_ char *title = NULL;
		long child = strtol(p, &next, 10);

		if (next == p)
			return found;
		(void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", child);
		if (sys_read_file(AT_FDCWD, path, 4096, &title, &len) < 0)
			return 0;
		if (is_idle_checkpointer(title) && found == 0)
			found = (pid_t)child;
		else if (!stays(title))
			return 0;
	}
}

/* Nanoseconds of processor time; 0: unknown. */
static uint64_t time_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	if (sys_read_file(AT_FDCWD, path, 256, &text, &len) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

bool server_is_stuck(pid_t postmaster, uint64_t now_ms, struct server_calm *calm)
{
	pid_t checkpointer = lone_checkpointer(postmaster);
	uint64_t spent = checkpointer > 0 ? time_of(checkpointer) : 0;

	if (spent == 0 || checkpointer != calm->checkpointer || spent != calm->spent) {
		*calm = (struct server_calm){checkpointer, spent, now_ms};
		return false;
	}
	return now_ms - calm->since_ms >= SERVER_STUCK_MS;
}
