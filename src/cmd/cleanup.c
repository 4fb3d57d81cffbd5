/*
 * `cleanup`: removes diffs nobody uses.
 *
 * Whether a diff is used is decided by its lock alone, which is held while it is removed. Temporary
 * clones lie in <home>/clones; what is there without a living daemon is stale.
 */
#include "cmd/cmd.h"
#include "cmd/place.h"
#include "cmd/registry.h"
#include "cmd/remove.h"
#include "fuse/mountinfo.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static const char help[] =
	"Usage: pgoverlay cleanup DIFF\n"
	"       pgoverlay cleanup --stale\n"
	"Remove a diff that nobody uses, or everything that temporary clones have left behind.\n\n"
	"  --stale                   all temporary clones whose process is gone\n"
	"  --format text|json\n"
	"  --help, --version\n";

/* ---- one diff ---- */

/* Only what is a diff is removed, whatever path was given. */
static int lock_diff(const char *diff, struct errmsg *e, int *ret_lock)
{
	_cleanup_close_ int dirfd = sys_openat(AT_FDCWD, diff, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int lock = -1;
	struct stat st;
	int rc;

	if (dirfd < 0)
		return errmsg_set(e, dirfd, "cannot open the diff '%s': %s", diff,
				  strerror(-dirfd));
	if (sys_fstatat(dirfd, "superblock", &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errmsg_set(e, -EINVAL, "'%s' is not a diff: it has no superblock", diff);
	lock = sys_openat(dirfd, "lock", O_RDWR | O_NOFOLLOW, 0);
	if (lock < 0)
		return errmsg_set(e, lock, "cannot open the lock of '%s': %s", diff,
				  strerror(-lock));
	rc = sys_flock(lock, LOCK_EX | LOCK_NB);
	if (rc == -EWOULDBLOCK)
		return errmsg_set(e, -EBUSY,
				  "the diff '%s' is in use; 'pgoverlay umount' its mount first",
				  diff);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot lock '%s': %s", diff, strerror(-rc));
	*ret_lock = TAKE_FD(lock);
	return 0;
}

int remove_diff(const char *diff, struct errmsg *e)
{
	_cleanup_close_ int lock = -1;
	int rc = lock_diff(diff, e, &lock);

	if (rc != 0)
		return rc;
	rc = remove_path(diff);
	return rc == 0 ? 0 : errmsg_set(e, rc, "cannot remove '%s': %s", diff, strerror(-rc));
}

static int cleanup_diff(const char *path, struct errmsg *e)
{
	_cleanup_free_ char *diff = NULL;
	_cleanup_free_ char *home = NULL;
	int rc = place_new(path, e, &diff);

	if (rc == 0)
		rc = remove_diff(diff, e);
	if (rc == 0 && registry_home(false, e, &home) == 0)
		registry_forget(home, diff);
	return rc;
}

/* ---- stale ones ---- */

struct stale {
	const struct clone_list *running;
	const char *folder;
	unsigned removed;
	int rc;
};

/* 0: removed what was left; 1: it lives. */
static int clear_run(const struct clone *clone)
{
	if (registry_is_held(clone))
		return 1;
	if (mountinfo_is_dead(clone->mountpoint))
		(void)mountinfo_unmount(clone->mountpoint, true);
	if (clone->temporary && clone->folder != NULL)
		(void)remove_path(clone->folder);
	return remove_path(clone->run_dir);
}

static bool is_running(const struct clone_list *list, const char *folder)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct clone *c = &list->items[i];

		if (c->folder != NULL && strcmp(c->folder, folder) == 0 && registry_is_held(c))
			return true;
	}
	return false;
}

/* A folder without a living daemon. A mount that is being prepared has no diff yet that could be
 * locked. */
static int clear_folder(void *ctx, const char *name, unsigned char d_type)
{
	struct stale *stale = ctx;
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *diff = NULL;
	_cleanup_close_ int lock = -1;
	int rc;

	if (asprintf(&path, "%s/%s", stale->folder, name) < 0 ||
	    asprintf(&diff, "%s/diff", path) < 0)
		return -ENOMEM;
	if (is_running(stale->running, path) || lock_diff(diff, NULL, &lock) != 0)
		return 0;
	rc = remove_path(path);
	if (rc == 0)
		stale->removed++;
	else
		stale->rc = rc;
	return 0;
}

static int clear_home(const char *home, struct stale *stale)
{
	_cleanup_free_ char *clones = NULL;
	int rc;

	if (asprintf(&clones, "%s/clones", home) < 0)
		return -ENOMEM;
	stale->folder = clones;
	rc = sys_readdir(AT_FDCWD, clones, clear_folder, stale);
	return rc == -ENOENT || rc == -EACCES ? 0 : rc;
}

static int cleanup_stale(struct errmsg *e, unsigned *ret_removed)
{
	struct clone_list list;
	struct stale stale = {.running = &list};
	struct place_homes homes = {0};
	int rc = registry_list(e, &list);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < list.count; i++) {
		if (list.items[i].run_dir != NULL && clear_run(&list.items[i]) == 0)
			stale.removed++;
	}
	rc = place_homes(&homes);
	for (unsigned i = 0; rc == 0 && i < homes.count; i++)
		rc = clear_home(homes.paths[i], &stale);
	place_homes_free(&homes);
	registry_list_free(&list);
	*ret_removed = stale.removed;
	if (rc == 0)
		rc = stale.rc;
	return rc == 0 ? 0
		       : errmsg_set(e, rc, "cannot remove what stale clones have left: %s",
				    strerror(-rc));
}

int cmd_cleanup(int argc, char **argv)
{
	static const struct option options[] = {
		{"stale", no_argument, NULL, 's'},
		{"format", required_argument, NULL, 'F'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	enum cmd_format format = CMD_FORMAT_TEXT;
	struct errmsg e = {0};
	unsigned removed = 1;
	bool stale = false;
	int id, rc;

	opterr = 0;
	optind = 1;
	while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (id == 'h')
			return cmd_print_help(help);
		if (id == 'v')
			return cmd_print_version();
		if (id == 's')
			stale = true;
		else if (id != 'F')
			return cmd_usage("cleanup", "unknown option: %s", argv[optind - 1]);
		else if (cmd_parse_format(optarg, false, &format) != 0)
			return cmd_usage("cleanup", "bad value for --format: '%s'", optarg);
	}
	if (argc - optind != (stale ? 0 : 1))
		return cmd_usage("cleanup", "either one DIFF or --stale is needed");
	rc = stale ? cleanup_stale(&e, &removed) : cleanup_diff(argv[optind], &e);
	if (rc != 0)
		return cmd_failed(&e, rc);
	if (format == CMD_FORMAT_JSON)
		(void)printf("{\"removed\":%u}\n", removed);
	else
		(void)printf("removed %u clone%s\n", removed, removed == 1 ? "" : "s");
	return CMD_GOOD;
}
