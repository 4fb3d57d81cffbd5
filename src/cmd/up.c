/*
 * cmd/up.c: `pgoverlay up`: mounts a backup and starts PostgreSQL on it (bring_up.h), then says how
 * to reach it and what was changed. Whatever fails is undone: the server is stopped and the mount
 * taken down, a temporary clone removed, a diff of the user's kept.
 */
#include "cmd/bring_up.h"
#include "cmd/cmd.h"
#include "cmd/up_print.h"

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
	rc = up_bring(&up);
	if (rc < 0)
		up_take_down(&up);
	else
		rc = report(&up);
	up_clear(&up);
	return rc < 0 ? cmd_failed(&e, rc) : CMD_GOOD;
}
