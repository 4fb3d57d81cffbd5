/*
 * cmd/up.c: `pgoverlay up`: mounts a backup and starts PostgreSQL on it (bring_up.h), then says how
 * to reach it and what was changed. Whatever fails is undone: the server is stopped and the mount
 * taken down, a temporary clone removed, a diff of the user's kept.
 */
#include "cmd/again.h"
#include "cmd/bring_up.h"
#include "cmd/cmd.h"
#include "cmd/up_print.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>

#define STAY_POLL_MS 200

static int report(struct up *up)
{
	struct up_report r = {.mount = &up->mount,
			      .bin = &up->bin,
			      .facts = &up->facts,
			      .settings = &up->settings,
			      .collations = &up->collations,
			      .recovery = up->recovers ? &up->recovery : NULL,
			      .end = up->end,
			      .notes = up->notes == NULL ? "" : up->notes};

	if (up->options->format == CMD_FORMAT_JSON)
		return up_print_json(&r);
	up_print_text(&r);
	return 0;
}

/* ---- staying ---- */

/* Until the server has ended, its mount is gone, or a signal asks for the end. */
static int stay(struct up *up)
{
	int status = -1;

	again_notify("READY=1\nSTATUS=PostgreSQL accepts connections");
	while (!up_interrupted && process_is_alive(up->mount.pid)) {
		if (server_has_ended(up->facts.pid, &status))
			break;
		process_sleep_ms(STAY_POLL_MS);
	}
	if (up_interrupted || status == 0)
		return 0;
	return errmsg_set(
		up->e, -ECHILD,
		status >= 0 ? "PostgreSQL has ended by itself; its log is %s"
			    : "the process that served the mount has ended; PostgreSQL's log is %s",
		up->facts.log);
}

/* In good order where the mount is served: a checkpoint, a commit. */
static int serve(struct up *up)
{
	static const volatile bool never;
	bool server = up->end != RECOVERY_SHUT_DOWN;
	int rc = server ? stay(up) : 0;
	struct errmsg e = {0};

	again_notify("STOPPING=1");
	(void)fflush(NULL);
	if (server)
		(void)server_stop(up->facts.pid, rc == 0 ? SERVER_STOP_FAST : SERVER_STOP_IMMEDIATE,
				  up_tell, &never, &e);
	server_wait_gone(up->mount.mountpoint);
	if (umount_clone(up->mount.mountpoint, rc == 0 ? UMOUNT_FOR_GOOD : 0, &e) == -ENOENT ||
	    rc < 0)
		return rc; /* `down` was there before */
	return e.text[0] == '\0' ? 0 : errmsg_set(up->e, -EIO, "%s", e.text);
}

/* ---- the command ---- */

/* As it was started last. */
static int parse_again(struct up_options *options, struct errmsg *e, char ***ret_argv)
{
	struct up_options given = *options;
	int argc, rc = again_load(given.mount.diff, e, &argc, ret_argv);

	if (rc < 0)
		return cmd_failed(e, rc);
	*options = (struct up_options){.mount = MOUNT_REQUEST_INIT};
	rc = up_options_parse(argc, *ret_argv, options);
	options->foreground = given.foreground;
	options->format = given.format;
	return rc;
}

int cmd_up(int argc, char **argv)
{
	_cleanup_free_ char **again = NULL;
	struct up_options options = {.mount = MOUNT_REQUEST_INIT};
	struct errmsg e = {0};
	struct up up = {.options = &options, .e = &e};
	int rc;

	rc = up_options_parse(argc, argv, &options);
	if (rc == UP_GO_ON && options.all)
		return again_all();
	if (rc == UP_GO_ON && options.mount.store == NULL)
		rc = parse_again(&options, &e, &again);
	if (rc != UP_GO_ON)
		return rc;
	options.mount.native_wal = options.mount.wal_dir == NULL;
	rc = up_bring(&up);
	if (rc < 0)
		up_take_down(&up);
	else
		rc = report(&up);
	if (rc >= 0)
		again_remember(&up);
	if (rc >= 0 && options.foreground)
		rc = serve(&up);
	up_clear(&up);
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}
