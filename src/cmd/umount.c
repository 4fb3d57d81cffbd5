/*
 * `umount`: the daemon commits and its helper unmounts; where the daemon is dead, what it left is
 * cleared.
 */
#include "cmd/cmd.h"
#include "cmd/facts.h"
#include "cmd/mount.h"
#include "cmd/place.h"
#include "cmd/registry.h"
#include "cmd/remove.h"
#include "cmd/server.h"
#include "fuse/mountinfo.h"
#include "fuse/session.h"

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define END_WAIT_MS 600000

static const char help[] = "Usage: pgoverlay umount MOUNTPOINT [OPTION]...\n"
			   "Commit and unmount a clone. A temporary diff goes with it.\n\n"
			   "  --discard                 remove a permanent diff too\n"
			   "  --force                   although PostgreSQL or another process "
			   "uses it; the diff is committed\n"
			   "                            all the same, unless that fails\n"
			   "  --help, --version\n";

/* ---- a running clone ---- */

static int check_unused(const char *mountpoint, struct errmsg *e)
{
	pid_t pid = server_find(mountpoint);

	if (pid == 0)
		return 0;
	return errmsg_set(
		e, -EBUSY,
		"PostgreSQL (process %d) runs on '%s'; 'pgoverlay down %s' stops it and unmounts, "
		"--force unmounts under it",
		(int)pid, mountpoint, mountpoint);
}

/* The answer's errno, negative; 0 if all is well. */
static int parse_answer(const char *text)
{
	cJSON *o = cJSON_Parse(text);
	const cJSON *number = cJSON_GetObjectItemCaseSensitive(o, "errno");
	int rc = cJSON_IsNumber(number) && number->valueint > 0 ? -number->valueint : 0;

	if (!cJSON_IsObject(o))
		rc = -EPROTO;
	cJSON_Delete(o);
	return rc;
}

static int command(const struct clone *clone, const char *name, struct errmsg *e)
{
	_cleanup_free_ char *answer = NULL;
	int rc = registry_ask(clone, name, e, &answer);

	return rc == 0 ? parse_answer(answer) : rc;
}

/* It is ending by itself, or dead. */
static bool has_ended(int rc)
{
	return rc == -ECONNREFUSED || rc == -ECONNRESET;
}

/*
 * It has let go of all; a moment later it is gone, too, and whoever watches over it (systemd) need
 * not end it. pid: a descriptor of it, or -1 where there is none.
 */
static void wait_gone(int pid)
{
	struct pollfd p = {.fd = pid, .events = POLLIN};

	if (pid >= 0)
		(void)poll(&p, 1, END_WAIT_MS);
}

static int end_running(const struct clone *clone, unsigned flags, struct errmsg *e)
{
	_cleanup_close_ int pid = pidfd_open(clone->pid, 0);
	struct errmsg ask = {0};
	int rc = command(clone, "umount", &ask);

	if (rc != 0 && !has_ended(rc) && (flags & UMOUNT_FORCE) != 0) {
		rc = command(clone, "stop", &ask);
		/* Whether or not it could commit, it ends. */
		if (rc != 0 && rc != -EBUSY && registry_wait_end(clone, END_WAIT_MS) == 0) {
			log_warning("the last changes of '%s' are lost: %s", clone->mountpoint,
				    strerror(-rc));
			wait_gone(pid);
			return 0;
		}
	}
	if (rc == -EBUSY)
		return errmsg_set(e, rc, "'%s' is in use: end what works there, or give --force",
				  clone->mountpoint);
	if (rc == -ETOOMANYREFS)
		return errmsg_set(e, rc,
				  "'%s' is unmounted here, but other processes have a copy of the "
				  "mount in a mount namespace of their own (a container, unshare): "
				  "it ends with them, or give --force",
				  clone->mountpoint);
	if (has_ended(rc))
		rc = 0;
	if (rc != 0)
		return errmsg_set(e, rc,
				  "cannot unmount '%s': %s; --force unmounts without what could "
				  "not be committed",
				  clone->mountpoint, ask.text[0] != 0 ? ask.text : strerror(-rc));
	rc = registry_wait_end(clone, END_WAIT_MS);
	if (rc != 0)
		return errmsg_set(e, rc, "process %d, which serves '%s', does not end",
				  (int)clone->pid, clone->mountpoint);
	wait_gone(pid);
	return 0;
}

/* ---- a dead one ---- */

static int clear_dead(const char *mountpoint, struct errmsg *e)
{
	struct mountinfo info;
	int rc;

	while (mountinfo_find(mountpoint, &info) == 0 && strcmp(info.fstype, SESSION_FSTYPE) == 0) {
		rc = mountinfo_unmount(mountpoint, true);
		if (rc != 0)
			return errmsg_set(e, rc, "cannot unmount '%s': %s", mountpoint,
					  strerror(-rc));
	}
	return 0;
}

/* The folder is the clone's if nobody has mounted there anew. */
static void remove_leftovers(const struct clone *clone)
{
	if (clone->temporary && clone->folder != NULL)
		(void)remove_path(clone->folder);
	/* Of a permanent clone only its mount point lies there. */
	if (!clone->temporary && clone->folder != NULL &&
	    place_is_below(clone->mountpoint, clone->folder)) {
		(void)sys_unlinkat(AT_FDCWD, clone->mountpoint, AT_REMOVEDIR);
		(void)sys_unlinkat(AT_FDCWD, clone->folder, AT_REMOVEDIR);
	}
	if (clone->run_dir != NULL && !registry_is_held(clone))
		(void)remove_path(clone->run_dir);
}

/* ---- removing a permanent diff ---- */

static int discard_diff(const struct clone *clone, struct errmsg *e)
{
	_cleanup_free_ char *home = NULL;
	int rc;

	if (clone->diff == NULL || clone->temporary)
		return 0;
	rc = remove_diff(clone->diff, e);
	if (rc == 0 && registry_home(false, e, &home) == 0)
		registry_forget(home, clone->diff);
	return rc;
}

static void take_off_list(const struct clone *clone)
{
	_cleanup_free_ char *home = NULL;

	if (clone->diff != NULL && registry_home(false, NULL, &home) == 0)
		registry_unwanted(home, clone->diff);
}

static int umount_found(const struct clone *clone, unsigned flags, struct errmsg *e)
{
	int rc = 0;

	if ((flags & UMOUNT_FORCE) == 0)
		rc = check_unused(clone->mountpoint, e);
	if (rc == 0 && registry_is_held(clone))
		rc = end_running(clone, flags, e);
	if (rc == 0)
		rc = clear_dead(clone->mountpoint, e);
	if (rc != 0)
		return rc;
	remove_leftovers(clone);
	if ((flags & UMOUNT_FOR_GOOD) != 0)
		take_off_list(clone);
	return (flags & UMOUNT_DISCARD) != 0 ? discard_diff(clone, e) : 0;
}

/* Its daemon, if it lives, commits when it sees that the mount is gone. */
static int umount_unknown(const char *mountpoint, unsigned flags, struct errmsg *e)
{
	bool lazy = (flags & UMOUNT_FORCE) != 0 || mountinfo_is_dead(mountpoint);
	int rc = lazy ? 0 : check_unused(mountpoint, e);

	if (rc == 0)
		rc = mountinfo_unmount(mountpoint, lazy);
	return rc == 0 ? 0
		       : errmsg_set(e, rc, "cannot unmount '%s': %s", mountpoint, strerror(-rc));
}

int umount_clone(const char *mountpoint, unsigned flags, struct errmsg *e)
{
	_cleanup_free_ char *canonical = NULL;
	struct clone clone = {0};
	struct errmsg find = {0};
	struct mountinfo info;
	int rc = registry_find(mountpoint, &find, &clone);

	if (rc == 0) {
		rc = umount_found(&clone, flags, e);
		registry_clone_free(&clone);
		return rc;
	}
	/* Not known, but a mount of ours all the same: made with another home, or its folder was
	 * removed. */
	if (rc == -ENOENT && place_mountpoint(mountpoint, e, &canonical) == 0 &&
	    mountinfo_find(canonical, &info) == 0 && strcmp(info.fstype, SESSION_FSTYPE) == 0)
		return umount_unknown(canonical, flags, e);
	return errmsg_set(e, rc, "%s", find.text);
}

int cmd_umount(int argc, char **argv)
{
	static const struct option options[] = {
		{"discard", no_argument, NULL, 'd'},
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	struct errmsg e = {0};
	unsigned flags = UMOUNT_FOR_GOOD;
	int id, rc;

	opterr = 0;
	optind = 1;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (id) {
		case 'd':
			flags |= UMOUNT_DISCARD;
			break;
		case 'f':
			flags |= UMOUNT_FORCE;
			break;
		case 'h':
			return cmd_print_help(help);
		case 'v':
			return cmd_print_version();
		default:
			return cmd_usage("umount", "unknown option: %s", argv[optind - 1]);
		}
	}
	if (argc - optind != 1)
		return cmd_usage("umount", "one MOUNTPOINT is needed");
	rc = umount_clone(argv[optind], flags, &e);
	return rc == 0 ? CMD_GOOD : cmd_failed(&e, rc);
}
