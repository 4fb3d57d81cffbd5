/*
 * cmd/bring_up.c: see bring_up.h.
 */
#include "cmd/bring_up.h"
#include "cmd/clone_config.h"
#include "cmd/registry.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define FIRST_PORT 5433
#define LOG_NAME   "postgres.log"
#define TAIL_LINES 20

/* ---- interruption ---- */

volatile bool up_interrupted;

static void on_signal(int number)
{
	(void)number;
	up_interrupted = true;
}

void up_catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		(void)sigaction(numbers[i], &action, NULL);
}

void up_tell(const char *text)
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
	/* One that ends in order takes the note of its server with it: up_look_inside names that. */
	if (!clone.running)
		registry_wait_ending(&clone);
	if (!clone.running && clone.run_dir != NULL &&
	    server_facts_read(clone.run_dir, &facts) == 0) {
		if (server_facts_alive(&facts)) {
			up_tell("a server of this clone is left from before; stopping it");
			rc = server_stop(facts.pid, SERVER_STOP_IMMEDIATE, up_tell, &up_interrupted,
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
	up_catch_signals();
	if (up->on_mount != NULL)
		up->on_mount(up->ctx, up->mount.mountpoint);
	if (up->mount.warnings != NULL && up->mount.warnings[0] != '\0')
		(void)fputs(up->mount.warnings, stderr);
	if (up->mount.note != NULL && up->mount.note[0] != '\0')
		up_tell(up->mount.note);
	return 0;
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
	struct recovery_setting settings[RECOVERY_SETTINGS_MAX];
	struct setting_pair pairs[RECOVERY_SETTINGS_MAX];
	_cleanup_free_ char *notes = NULL;
	char *all;
	int rc;

	request.recovered = !up->recovers && up->recovery.kind != TARGET_NONE;
	if (up->recovers) {
		request.recovery = pairs;
		request.recovery_count = recovery_settings(&up->recovery, settings);
		request.needs_queries = up->recovery.action == TARGET_PAUSE;
	}
	for (unsigned i = 0; i < request.recovery_count; i++)
		pairs[i] = (struct setting_pair){settings[i].name, settings[i].value};
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
	static const char short_of[] =
		"recovery ended before configured recovery target was reached";
	_cleanup_free_ char *tail = server_log_tail(up->facts.log, up->log_start, TAIL_LINES);

	if (tail != NULL)
		(void)fputs(tail, stderr);
	if (up->recovers && tail != NULL && strstr(tail, short_of) != NULL)
		return errmsg_set(
			up->e, -ECHILD,
			"recovery did not come to %s %s: the WAL in the archive ends before "
			"it, or it lies before the end of backup %s (then choose an older one "
			"with --backup); the last lines of PostgreSQL's log are above",
			target_kind_name(up->recovery.kind), up->recovery.value, up->mount.backup);
	return errmsg_set(
		up->e, -ECHILD,
		"PostgreSQL ended while it was starting; the last lines of its log are above");
}

static int wait_recovered(struct up *up)
{
	static const enum recovery_end ends[] = {[TARGET_PROMOTE] = RECOVERY_OPEN,
						 [TARGET_PAUSE] = RECOVERY_PAUSED,
						 [TARGET_SHUTDOWN] = RECOVERY_SHUT_DOWN};
	const struct setting *action = settings_find(
		&up->settings, "recovery_target_action"); /* --set has the last word */
	enum target_action after = up->recovery.action;
	struct recovery_wait wait = {
		.bin = &up->bin,
		.owner = &up->owner,
		.facts = &up->facts,
		.data_dir = up->mount.mountpoint,
		.segment_size = up->recovery.segment_size,
		.end_lsn = up->recovery.end_lsn,
		.tell = up_tell,
		.stop = &up_interrupted,
	};
	int rc;

	if (action != NULL && action->given && action->value != NULL)
		(void)target_action_find(action->value, &after);
	wait.end = ends[after];
	up->end = wait.end;
	if (wait.end == RECOVERY_PAUSED && up->bin.psql == NULL)
		return errmsg_set(up->e, -ENOENT,
				  "psql is not installed: without it nobody sees that recovery has "
				  "paused");
	rc = server_wait_recovered(&wait);
	if (rc == -ETIMEDOUT)
		return errmsg_set(up->e, rc,
				  "recovery has stood still for minutes; the server's log is %s",
				  up->facts.log);
	return rc;
}

static int wait_ready(struct up *up)
{
	int rc = up->recovers ? wait_recovered(up)
			      : server_wait(up->mount.mountpoint, up->facts.pid, up_tell,
					    &up_interrupted);

	if (rc == -ECHILD)
		return server_died(up);
	return rc < 0 ? errmsg_set(up->e, rc, "interrupted") : 0;
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
	if (rc == 0)
		rc = wait_ready(up);
	if (rc < 0 || up->end == RECOVERY_SHUT_DOWN)
		return rc;
	if (collation_check(&up->bin, &up->owner, up->facts.host, up->facts.port, up->facts.user,
			    &up->collations) < 0)
		return errmsg_set(up->e, -ENOMEM, "out of memory");
	return 0;
}

/* ---- all of it ---- */

int up_bring(struct up *up)
{
	int rc;

	rc = mount_it(up);
	if (rc == 0 && up_interrupted)
		return errmsg_set(up->e, -EINTR, "interrupted");
	if (rc == 0)
		rc = up_look_inside(up);
	if (rc == 0)
		rc = choose_places(up);
	if (rc == 0)
		rc = configure(up);
	if (rc == 0)
		rc = start(up);
	if (rc == 0 && up_interrupted)
		rc = errmsg_set(up->e, -EINTR, "interrupted");
	return rc;
}

/* A diff that this call made and nothing ever ran on is not left behind. */
void up_take_down(struct up *up)
{
	static const volatile bool never;
	struct errmsg e = {0};
	int rc = 0;

	if (up->started)
		rc = server_stop(up->facts.pid, SERVER_STOP_IMMEDIATE, up_tell, &never, &e);
	if (up->mounted)
		server_wait_gone(up->mount.mountpoint);
	if (rc == 0 && up->mounted)
		rc = umount_clone(up->mount.mountpoint,
				  up->diff_is_new && !up->started ? UMOUNT_DISCARD : 0, &e);
	/* A server that was just starting may be slow to end; nobody wants what it writes. */
	if (rc < 0 && up->mounted && up->mount.temporary) {
		e = (struct errmsg){0};
		rc = umount_clone(up->mount.mountpoint, UMOUNT_FORCE, &e);
	}
	if (rc < 0)
		(void)fprintf(stderr, "pgoverlay: cannot undo: %s\n", errmsg_text(&e, rc));
	if (up->facts.own_host)
		server_socket_dir_remove(up->facts.host);
}

void up_clear(struct up *up)
{
	mount_result_free(&up->mount);
	owner_clear(&up->owner);
	pgbin_clear(&up->bin);
	settings_free(&up->settings);
	server_facts_clear(&up->facts);
	collation_list_free(&up->collations);
	recovery_clear(&up->recovery);
	free(up->notes);
}
