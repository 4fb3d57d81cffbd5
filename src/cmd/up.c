/*
 * cmd/up.c: `pgoverlay up`: mounts a backup and starts PostgreSQL on it.
 *
 * Steps: mount; look at the data directory (version, programs, what must go); decide on the
 * settings; start the server as the owner; wait until it answers; say how to reach it and what was
 * changed. Whatever fails is undone: the server is stopped and the mount taken down, a temporary
 * clone removed, a diff of the user's kept.
 */
#include "cmd/clone_config.h"
#include "cmd/cmd.h"
#include "cmd/mount.h"
#include "cmd/registry.h"
#include "cmd/server.h"
#include "cmd/superuser.h"
#include "cmd/up_options.h"
#include "cmd/up_print.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define FIRST_PORT   5433
#define LOG_NAME     "postgres.log"
#define TAIL_LINES   20
#define MAJOR_OLDEST 10
#define WAL_WAIT_MS  10000

struct up {
	const struct up_options *options;
	struct errmsg *e;
	bool mounted, diff_is_new;
	struct mount_result mount;
	struct owner owner;
	struct pgbin bin;
	struct settings settings;
	struct server_facts facts;
	struct collation_list collations;
	char *notes;
	uint64_t log_start; /* bytes of the log that are of earlier starts */
	bool started;
};

/* ---- interruption ---- */

static volatile bool interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = true;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		(void)sigaction(numbers[i], &action, NULL);
}

static void tell(const char *text)
{
	(void)fprintf(stderr, "pgoverlay: %s\n", text);
}

/* ---- before the mount ---- */

/*
 * A server of this diff whose mount has died (kill -9 of pgoverlay) may still write WAL, which is
 * not in the mount. It must be gone before another one uses the same WAL.
 */
static int end_left_server(struct up *up)
{
	struct server_facts facts;
	struct clone clone;
	int rc = 0;

	if (up->options->mount.diff == NULL ||
	    registry_find_diff(up->options->mount.diff, NULL, &clone) < 0)
		return 0;
	if (!clone.running && clone.run_dir != NULL &&
	    server_facts_read(clone.run_dir, &facts) == 0) {
		if (server_facts_alive(&facts)) {
			tell("a server of this clone is left from before; stopping it");
			rc = server_stop(facts.pid, SERVER_STOP_IMMEDIATE, tell, &interrupted,
					 up->e);
		}
		server_facts_clear(&facts);
		if (rc == 0 && clone.mountpoint != NULL)
			server_wait_gone(clone.mountpoint);
	}
	registry_clone_free(&clone);
	return rc;
}

static int mount_it(struct up *up)
{
	struct stat st;
	int rc;

	up->diff_is_new = up->options->mount.diff != NULL &&
			  sys_fstatat(AT_FDCWD, up->options->mount.diff, &st, 0) == -ENOENT;
	rc = end_left_server(up);
	if (rc == 0)
		rc = mount_clone(&up->options->mount, up->e, &up->mount);
	if (rc < 0)
		return rc;
	up->mounted = true;
	catch_signals();
	if (up->mount.warnings != NULL && up->mount.warnings[0] != '\0')
		(void)fputs(up->mount.warnings, stderr);
	if (up->mount.note != NULL && up->mount.note[0] != '\0')
		tell(up->mount.note);
	return 0;
}

/* ---- the data directory ---- */

static int refuse_what_cannot_start(struct up *up)
{
	const struct mount_result *m = &up->mount;

	if (m->needs_archive)
		return errmsg_set(up->e, -ENOTSUP,
				  "backup %s cannot be started: it was taken without --stream, so "
				  "the WAL it needs is not in it but in "
				  "the store's archive, and recovery from there is not supported "
				  "yet; choose a backup with its WAL "
				  "inside (`pgoverlay list`, --backup)",
				  m->backup);
	if (m->uid == 0)
		return errmsg_set(
			up->e, -EPERM,
			"PostgreSQL does not run as root: say with --owner who owns the clone");
	return 0;
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
		int rc = sys_unlinkat(dir, names[i], 0);

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
	} while (process_now_ms() - since < WAL_WAIT_MS && !interrupted);
	return errmsg_set(up->e, -EBUSY,
			  "process %d, of a server on an earlier mount of this clone, still has "
			  "WAL in %s open: end it (kill -9 %d), then try again",
			  (int)pid, up->mount.wal_dir, (int)pid);
}

static int look_inside(struct up *up)
{
	char role[SUPERUSER_NAME_SIZE];
	int rc;

	rc = refuse_what_cannot_start(up);
	if (rc == 0)
		rc = find_programs(up);
	if (rc == 0)
		rc = wait_for_wal(up);
	if (rc == 0)
		rc = owner_enter(&up->owner, up->e);
	if (rc < 0)
		return rc;
	rc = remove_signals(up);
	if (rc == 0)
		rc = judge_pid_file(up);
	if (rc == 0)
		up->facts.user =
			strdup(superuser_find(up->mount.mountpoint, up->bin.major, role) == 0
				       ? role
				       : "postgres");
	owner_leave();
	if (rc == 0 && up->facts.user == NULL)
		rc = errmsg_set(up->e, -ENOMEM, "out of memory");
	return rc;
}

/* ---- the server ---- */

/* The log of a permanent clone stays with its diff. */
static int choose_places(struct up *up)
{
	const struct mount_result *m = &up->mount;
	struct stat st;
	int rc;

	rc = server_socket_dir(m->run_dir, &up->owner, up->e, &up->facts.host, &up->facts.own_host);
	if (rc < 0)
		return rc;
	up->facts.port = up->options->port != 0 ? up->options->port : server_free_port(FIRST_PORT);
	if (asprintf(&up->facts.log, "%s/%s", m->temporary ? m->run_dir : m->diff, LOG_NAME) < 0) {
		up->facts.log = NULL;
		return errmsg_set(up->e, -ENOMEM, "out of memory");
	}
	if (sys_fstatat(AT_FDCWD, up->facts.log, &st, AT_SYMLINK_NOFOLLOW) == 0)
		up->log_start = (uint64_t)st.st_size;
	return 0;
}

static int configure(struct up *up)
{
	const struct up_options *o = up->options;
	struct clone_config_request request = {
		.bin = &up->bin,
		.owner = &up->owner,
		.data_dir = up->mount.mountpoint,
		.run_dir = up->mount.run_dir,
		.socket_dir = up->facts.host,
		.listen = o->listen,
		.port = up->facts.port,
		.sets = o->sets,
		.keep_hba = o->keep_hba,
		.keep_preload = o->keep_preload,
	};
	_cleanup_free_ char *notes = NULL;
	char *all;
	int rc;

	rc = clone_config_make(&request, up->e, &up->settings, &notes);
	if (rc < 0)
		return rc;
	if (asprintf(&all, "%s%s", up->notes == NULL ? "" : up->notes, notes) < 0)
		return errmsg_set(up->e, -ENOMEM, "out of memory");
	free(up->notes);
	up->notes = all;
	return 0;
}

static int server_died(struct up *up)
{
	_cleanup_free_ char *tail = server_log_tail(up->facts.log, up->log_start, TAIL_LINES);

	if (tail != NULL)
		(void)fputs(tail, stderr);
	return errmsg_set(
		up->e, -ECHILD,
		"PostgreSQL ended while it was starting; the last lines of its log are above");
}

static int start(struct up *up)
{
	int rc;

	rc = server_start(&up->bin, &up->owner, &up->settings, up->mount.mountpoint, up->facts.log,
			  up->e, &up->facts.pid);
	if (rc < 0)
		return rc;
	up->started = true;
	up->facts.start_time = process_start_time(up->facts.pid);
	rc = server_facts_write(up->mount.run_dir, &up->owner, &up->facts, up->e);
	if (rc < 0)
		return rc;
	rc = server_wait(up->mount.mountpoint, up->facts.pid, tell, &interrupted);
	if (rc == -ECHILD)
		return server_died(up);
	if (rc < 0)
		return errmsg_set(up->e, rc, "interrupted");
	if (collation_check(&up->bin, &up->owner, up->facts.host, up->facts.port, up->facts.user,
			    &up->collations) < 0)
		return errmsg_set(up->e, -ENOMEM, "out of memory");
	return 0;
}

/* ---- all of it ---- */

static int bring_up(struct up *up)
{
	int rc;

	rc = mount_it(up);
	if (rc == 0)
		rc = look_inside(up);
	if (rc == 0)
		rc = choose_places(up);
	if (rc == 0)
		rc = configure(up);
	if (rc == 0)
		rc = start(up);
	if (rc == 0 && interrupted)
		rc = errmsg_set(up->e, -EINTR, "interrupted");
	return rc;
}

/* A diff that this call made and nothing ever ran on is not left behind. */
static void take_down(struct up *up)
{
	static const volatile bool never;
	struct errmsg e = {0};
	int rc = 0;

	if (up->started)
		rc = server_stop(up->facts.pid, SERVER_STOP_IMMEDIATE, tell, &never, &e);
	if (up->mounted)
		server_wait_gone(up->mount.mountpoint);
	if (rc == 0 && up->mounted)
		rc = umount_clone(up->mount.mountpoint,
				  up->diff_is_new && !up->started ? UMOUNT_DISCARD : 0, &e);
	if (rc < 0)
		(void)fprintf(stderr, "pgoverlay: cannot undo: %s\n", errmsg_text(&e, rc));
	if (up->facts.own_host)
		server_socket_dir_remove(up->facts.host);
}

static int report(struct up *up)
{
	struct up_report r = {.mount = &up->mount,
			      .bin = &up->bin,
			      .facts = &up->facts,
			      .settings = &up->settings,
			      .collations = &up->collations,
			      .notes = up->notes == NULL ? "" : up->notes};

	if (up->options->format == CMD_FORMAT_JSON)
		return up_print_json(&r);
	up_print_text(&r);
	return 0;
}

int cmd_up(int argc, char **argv)
{
	struct up_options options = {.mount = MOUNT_REQUEST_INIT};
	struct errmsg e = {0};
	struct up up = {.options = &options, .e = &e};
	int rc;

	rc = up_options_parse(argc, argv, &options);
	if (rc != UP_GO_ON)
		return rc;
	options.mount.native_wal = options.mount.wal_dir == NULL;
	rc = bring_up(&up);
	if (rc < 0)
		take_down(&up);
	else
		rc = report(&up);
	mount_result_free(&up.mount);
	owner_clear(&up.owner);
	pgbin_clear(&up.bin);
	settings_free(&up.settings);
	server_facts_clear(&up.facts);
	collation_list_free(&up.collations);
	free(up.notes);
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}
