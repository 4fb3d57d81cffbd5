/*
 * cmd/look_inside.c: what stands in a data directory that was just mounted; see bring_up.h.
 */
#include "cmd/bring_up.h"
#include "cmd/superuser.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MAJOR_OLDEST 10
#define WAL_WAIT_MS  10000

static int refuse_root(struct up *up)
{
	return up->mount.uid != 0
		       ? 0
		       : errmsg_set(
				 up->e, -EPERM,
				 "PostgreSQL does not run as root: say with --owner who owns the "
				 "clone");
}

static int find_programs(struct up *up)
{
	unsigned major;
	int rc;

	rc = owner_find(up->mount.uid, up->mount.gid, up->e, &up->owner);
	if (rc == 0)
		rc = pgbin_read_major(up->mount.mountpoint, up->e, &major);
	if (rc < 0)
		return rc;
	if (major < MAJOR_OLDEST)
		return errmsg_set(up->e, -ENOTSUP,
				  "the backup is of PostgreSQL %u and `up` starts versions from %d "
				  "on: `pgoverlay mount` it and "
				  "start the server yourself",
				  major, MAJOR_OLDEST);
	return pgbin_find(major, &up->owner, up->e, &up->bin);
}

static int add_note(struct up *up, const char *file, const char *why)
{
	char *longer;

	if (asprintf(&longer, "%sremoved in the clone: %s (%s)\n",
		     up->notes == NULL ? "" : up->notes, file, why) < 0)
		return -ENOMEM;
	free(up->notes);
	up->notes = longer;
	return 0;
}

/* ---- recovery ---- */

static bool is_in_mount(const struct up *up, const char *name)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/%s", up->mount.mountpoint, name) < 0) {
		path = NULL;
		return false;
	}
	return sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * The server removes its signal file when it has recovered. A clone whose WAL was elsewhere and
 * that was made without a target still has its backup_label then, and cannot start.
 */
static int find_recovery(struct up *up)
{
	int rc = recovery_read_path(up->mount.diff, up->e, &up->recovery);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	up->recovers = rc == 0 && is_in_mount(up, recovery_signal_name(up->bin.major));
	if (!up->mount.needs_archive || up->recovers || !is_in_mount(up, "backup_label"))
		return 0;
	return errmsg_set(up->e, -ENOTSUP,
			  "this clone of backup %s cannot be started: the WAL it needs is in the "
			  "store's archive, and it was mounted without --target; make a new one",
			  up->mount.backup);
}

/* Files that would make a standby of the clone, or that the server refuses to see. They go in the
 * diff. */
static int remove_signals(struct up *up)
{
	static const char *const names[] = {"standby.signal", "recovery.signal", "recovery.conf"};
	_cleanup_close_ int dir =
		sys_openat(AT_FDCWD, up->mount.mountpoint, O_RDONLY | O_DIRECTORY, 0);

	if (dir < 0)
		return errmsg_set(up->e, dir, "cannot look into %s: %s", up->mount.mountpoint,
				  strerror(-dir));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int rc;

		if (up->recovers && strcmp(names[i], recovery_signal_name(up->bin.major)) == 0)
			continue;
		rc = sys_unlinkat(dir, names[i], 0);

		if (rc == 0)
			rc = add_note(up, names[i], "the clone is a primary of its own");
		if (rc < 0 && rc != -ENOENT)
			return errmsg_set(up->e, rc, "cannot remove %s/%s: %s",
					  up->mount.mountpoint, names[i], strerror(-rc));
	}
	return 0;
}

/*
 * Does the process look like a server of this cluster? One whose mount was detached works in "/";
 * one of another cluster works in its own data directory. directory: the second line of
 * postmaster.pid.
 */
static bool is_left_server(pid_t pid, const char *directory)
{
	_cleanup_free_ char *works_in = process_directory(pid);
	_cleanup_free_ char *comm = NULL;
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (!process_is_alive(pid) || sys_read_file(AT_FDCWD, path, 64, &comm, &len) < 0 ||
	    strncmp(comm, "postgres", 8) != 0)
		return false;
	return works_in == NULL || works_in[0] != '/' || works_in[1] == '\0' ||
	       (strncmp(works_in, directory, strlen(works_in)) == 0 &&
		directory[strlen(works_in)] == '\n');
}

/*
 * The mount is fresh, so no server can run on it, whatever postmaster.pid says. Its number may be
 * another process's by now, or a zombie's, which would keep the server from starting; or that of a
 * server on an earlier mount that we know nothing of.
 */
static int judge_pid_file(struct up *up)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *data = NULL;
	const char *second_line;
	size_t len;
	pid_t pid;
	int rc;

	if (asprintf(&path, "%s/postmaster.pid", up->mount.mountpoint) < 0) {
		path = NULL;
		return errmsg_set(up->e, -ENOMEM, "out of memory");
	}
	if (sys_read_file(AT_FDCWD, path, 8192, &data, &len) < 0)
		return 0;
	pid = (pid_t)atol(data);
	if (process_start_time(pid) == 0)
		return 0; /* there is none: the server knows that case itself */
	second_line = data + strcspn(data, "\n");
	if (is_left_server(pid, *second_line == '\0' ? second_line : second_line + 1))
		return errmsg_set(
			up->e, -EBUSY,
			"a PostgreSQL server (pid %d) from an earlier mount of this clone still "
			"runs: stop it (kill -QUIT %d), then try again",
			(int)pid, (int)pid);
	rc = sys_unlinkat(AT_FDCWD, path, 0);
	if (rc < 0)
		return errmsg_set(up->e, rc, "cannot remove %s: %s", path, strerror(-rc));
	return add_note(up, "postmaster.pid", "of an earlier server; its number is taken");
}

/*
 * Native WAL is no part of the mount: a backend that has outlived its server and its mount could
 * still write there, and no lock of PostgreSQL's tells. Such a one ends when it notices.
 */
static int wait_for_wal(struct up *up)
{
	uint64_t since = process_now_ms();
	pid_t pid = 0;

	if (up->mount.temporary || up->mount.wal_dir == NULL)
		return 0;
	do {
		if (pid != 0)
			process_sleep_ms(50);
		pid = server_wal_user(up->mount.wal_dir);
		if (pid == 0)
			return 0;
	} while (process_now_ms() - since < WAL_WAIT_MS && !up_interrupted);
	return errmsg_set(up->e, -EBUSY,
			  "process %d, of a server on an earlier mount of this clone, still has "
			  "WAL in %s open: end it (kill -9 %d), then try again",
			  (int)pid, up->mount.wal_dir, (int)pid);
}

static int as_owner(struct up *up, int (*fn)(struct up *up))
{
	int rc = owner_enter(&up->owner, up->e);

	if (rc < 0)
		return rc;
	rc = fn(up);
	owner_leave();
	return rc;
}

static int read_clone(struct up *up)
{
	char role[SUPERUSER_NAME_SIZE];
	int rc = find_recovery(up);

	if (rc == 0)
		rc = remove_signals(up);
	if (rc == 0)
		up->facts.user =
			strdup(superuser_find(up->mount.mountpoint, up->bin.major, role) == 0
				       ? role
				       : "postgres");
	if (rc == 0 && up->facts.user == NULL)
		rc = errmsg_set(up->e, -ENOMEM, "out of memory");
	return rc;
}

/* The server that is left as a whole is named before any of its processes that has WAL open. */
int up_look_inside(struct up *up)
{
	int rc = refuse_root(up);

	if (rc == 0)
		rc = find_programs(up);
	if (rc == 0)
		rc = as_owner(up, judge_pid_file);
	if (rc == 0)
		rc = wait_for_wal(up);
	return rc == 0 ? as_owner(up, read_clone) : rc;
}
