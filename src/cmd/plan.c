/*
 * Paths of a mount, checked and made.
 */
#include "cmd/plan.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/place.h"
#include "cmd/registry.h"
#include "cmd/remove.h"
#include "fuse/mountinfo.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#define DEAD_WAIT_MS 60000

/* ---- directories for the owner ---- */

static int stop_at_first(void *ctx, const char *name, unsigned char d_type)
{
	return 1;
}

/*
 * Makes the last component if it is missing and gives it to the owner; an existing directory is
 * given to the owner only if root left it empty. By descriptor: nobody can slip another file under
 * the chown.
 */
static int own_directory(const struct owner *owner, const char *path, struct errmsg *e,
			 bool *ret_made)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int rc = sys_mkdirat(AT_FDCWD, path, 0700);

	*ret_made = rc == 0;
	if (rc != 0 && rc != -EEXIST)
		return errmsg_set(e, rc, "cannot make '%s': %s", path, strerror(-rc));
	if (geteuid() != 0 || owner->uid == 0)
		return 0;
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return errmsg_set(e, fd, "cannot open '%s': %s", path, strerror(-fd));
	rc = sys_fstat(fd, &st);
	if (rc == 0 && st.st_uid == 0 &&
	    (*ret_made || sys_readdir(fd, ".", stop_at_first, NULL) == 0) &&
	    fchown(fd, owner->uid, owner->gid) < 0)
		rc = -errno;
	if (rc != 0)
		return errmsg_set(e, rc, "cannot give '%s' to user %s: %s", path, owner->name,
				  strerror(-rc));
	return 0;
}

/* ---- the clone's own folder ---- */

static void clean_name(char *name)
{
	for (char *c = name; *c != 0; c++) {
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
			   *c) == NULL)
			*c = '_';
	}
}

/* A permanent clone is found at the same place every time; a temporary one is new each time. */
static int make_name(const struct mount_plan *plan, char **ret)
{
	const struct mount_request *r = plan->request;
	_cleanup_free_ char *from = strdup(r->diff != NULL	 ? plan->diff
					   : r->instance != NULL ? r->instance
								 : plan->store);
	uint32_t number = 0;
	char *base;

	if (from == NULL)
		return -ENOMEM;
	if (r->diff != NULL)
		number = (uint32_t)XXH3_64bits(plan->diff, strlen(plan->diff));
	else if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -EIO;
	base = basename(from);
	base[strnlen(base, 40)] = 0;
	clean_name(base);
	return asprintf(ret, "%s/clones/%s-%06x", plan->home, base, (unsigned)(number & 0xffffff)) <
			       0
		       ? -ENOMEM
		       : 0;
}

static int make_folder(struct mount_plan *plan, struct errmsg *e)
{
	_cleanup_free_ char *clones = NULL;
	bool made;
	int rc;

	if (asprintf(&clones, "%s/clones", plan->home) < 0)
		return -ENOMEM;
	rc = make_path(clones, geteuid() == 0 ? 0755 : 0700);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot make '%s': %s", clones, strerror(-rc));
	rc = make_name(plan, &plan->folder);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot name the clone: %s", strerror(-rc));
	return own_directory(&plan->owner, plan->folder, e, &made);
}

static int in_folder(const struct mount_plan *plan, const char *name, char **ret)
{
	return asprintf(ret, "%s/%s", plan->folder, name) < 0 ? -ENOMEM : 0;
}

/* ---- checks ---- */

static int check_request(const struct mount_request *r, struct errmsg *e)
{
	if (r->read_only && r->diff != NULL)
		return errmsg_set(e, -EINVAL,
				  "--read-only shows the backup itself: it takes no --diff");
	if (r->read_only && (r->wal_dir != NULL || r->native_wal))
		return errmsg_set(e, -EINVAL, "--read-only takes no --wal-dir: nothing writes WAL");
	return 0;
}

static int check_apart(const char *what, const char *path, const char *what2, const char *path2,
		       struct errmsg *e)
{
	if (path == NULL || path2 == NULL || !place_is_below(path, path2))
		return 0;
	return errmsg_set(e, -EINVAL, "%s '%s' lies in %s '%s'", what, path, what2, path2);
}

static int check_places(const struct mount_plan *p, struct errmsg *e)
{
	static const char mnt[] = "the mount point", diff[] = "the diff", store[] = "the store",
			  wal[] = "the WAL directory";
	int rc = check_apart(diff, p->diff, mnt, p->mountpoint, e);

	if (rc == 0)
		rc = check_apart(mnt, p->mountpoint, diff, p->diff, e);
	if (rc == 0)
		rc = check_apart(store, p->store, mnt, p->mountpoint, e);
	if (rc == 0)
		rc = check_apart(mnt, p->mountpoint, store, p->store, e);
	if (rc == 0)
		rc = check_apart(diff, p->diff, store, p->store, e);
	if (rc == 0)
		rc = check_apart(store, p->store, diff, p->diff, e);
	if (rc == 0)
		rc = check_apart(wal, p->wal_dir, mnt, p->mountpoint, e);
	if (rc == 0)
		rc = check_apart(wal, p->wal_dir, store, p->store, e);
	if (rc == 0)
		rc = check_apart("the home of clones", p->home, mnt, p->mountpoint, e);
	return rc;
}

/* found: what registry_find has said of it. */
static int refuse_stranger(const char *mountpoint, int found, const struct errmsg *why,
			   struct errmsg *e)
{
	if (found == -EACCES)
		return errmsg_set(e, -EBUSY, "%s", errmsg_text(why, found));
	return errmsg_set(e, -EBUSY,
			  "'%s' is mounted already, and not, or not yet, known in this home of "
			  "clones ($PGOVERLAY_HOME); who mounted it can end it, root with 'umount'",
			  mountpoint);
}

int plan_clear_dead(const char *mountpoint, struct errmsg *e, unsigned *ret_cleared)
{
	struct mountinfo info;

	*ret_cleared = 0;
	while (mountinfo_find(mountpoint, &info) == 0 && strcmp(info.fstype, SESSION_FSTYPE) == 0) {
		struct clone clone = {0};
		struct errmsg why = {""};
		int found = registry_find(mountpoint, &why, &clone);
		bool known = found == 0;
		bool held = known && registry_is_held(&clone);
		pid_t pid = clone.pid;
		int rc;

		/* Killed: it goes when it comes to it. Aborted: it makes its last commit first. */
		if (held && (registry_is_ending(&clone) || mountinfo_is_dead(mountpoint)))
			held = registry_wait_end(&clone, DEAD_WAIT_MS) != 0;
		registry_clone_free(&clone);
		if (known && !held && mountinfo_find(mountpoint, &info) != 0)
			break;
		if (held)
			return errmsg_set(e, -EBUSY,
					  "'%s' is mounted already (process %d serves it); "
					  "'pgoverlay umount' ends it",
					  mountpoint, (int)pid);
		if (!known && !mountinfo_is_dead(mountpoint))
			return refuse_stranger(mountpoint, found, &why, e);
		rc = mountinfo_unmount(mountpoint, true);
		if (rc != 0)
			return errmsg_set(e, rc, "cannot clear the dead mount on '%s': %s",
					  mountpoint, strerror(-rc));
		(*ret_cleared)++;
	}
	return 0;
}

/* ---- places ---- */

static int place_store(struct mount_plan *plan, struct errmsg *e)
{
	plan->store = realpath(plan->request->store, NULL);
	if (plan->store == NULL)
		return errmsg_set(e, -errno, "cannot open the store '%s': %s", plan->request->store,
				  strerror(errno));
	return 0;
}

/* umount(8) comes back before the daemon has made its last commit. */
static void wait_for_previous(const char *diff)
{
	struct clone clone = {0};

	if (registry_find_diff(diff, NULL, &clone) != 0)
		return;
	registry_wait_ending(&clone);
	registry_clone_free(&clone);
}

static int place_diff(struct mount_plan *plan, struct errmsg *e)
{
	if (plan->request->read_only)
		return 0;
	if (plan->temporary)
		return in_folder(plan, "diff", &plan->diff);
	return place_new(plan->request->diff, e, &plan->diff);
}

static int place_wal(struct mount_plan *plan, struct errmsg *e)
{
	const struct mount_request *r = plan->request;

	if (r->wal_dir != NULL)
		return place_new(r->wal_dir, e, &plan->wal_dir);
	if (!r->native_wal)
		return 0;
	plan->own_wal = true;
	if (plan->temporary)
		return in_folder(plan, "wal", &plan->wal_dir);
	return asprintf(&plan->wal_dir, "%s/wal", plan->diff) < 0 ? -ENOMEM : 0;
}

static int place_mount(struct mount_plan *plan, struct errmsg *e)
{
	unsigned cleared = 0;
	struct stat st;
	bool made;
	int rc;

	if (plan->own_mountpoint)
		rc = in_folder(plan, "mnt", &plan->mountpoint);
	else
		rc = place_mountpoint(plan->request->mountpoint, e, &plan->mountpoint);
	if (rc == 0)
		rc = plan_clear_dead(plan->mountpoint, e, &cleared);
	if (rc == 0 && plan->own_mountpoint)
		rc = own_directory(&plan->owner, plan->mountpoint, e, &made);
	if (rc != 0)
		return rc;
	if (cleared > 0)
		plan->note = strdup("cleared a dead mount");
	rc = sys_fstatat(AT_FDCWD, plan->mountpoint, &st, 0);
	if (rc == 0 && !S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	if (rc != 0)
		return errmsg_set(e, rc, "cannot mount on '%s': %s", plan->mountpoint,
				  strerror(-rc));
	return 0;
}

static int make_places(struct mount_plan *plan, struct errmsg *e)
{
	const struct mount_request *r = plan->request;
	bool made;
	int rc = place_store(plan, e);

	if (rc == 0)
		rc = plan_owner(r, plan->store, e, &plan->owner);
	if (rc == 0 && !plan->temporary)
		rc = place_diff(plan, e);
	if (rc == 0 && (plan->temporary || plan->own_mountpoint))
		rc = make_folder(plan, e);
	if (rc == 0 && plan->temporary)
		rc = place_diff(plan, e);
	if (rc == 0)
		rc = place_wal(plan, e);
	if (rc == 0)
		rc = place_mount(plan, e);
	if (rc == 0)
		rc = check_places(plan, e);
	if (rc == 0 && r->diff != NULL) {
		wait_for_previous(plan->diff);
		rc = own_directory(&plan->owner, plan->diff, e, &plan->made_diff);
	}
	if (rc == 0)
		rc = place_cache(plan->diff, plan->owner.uid, plan->owner.home, &plan->cache);
	if (rc == 0 && r->wal_dir != NULL)
		rc = own_directory(&plan->owner, plan->wal_dir, e, &made);
	if (rc == 0)
		rc = registry_claim(plan->home, plan->mountpoint, plan->owner.uid, plan->owner.gid,
				    e, &plan->run_dir, &plan->run_fd);
	return rc;
}

int plan_make(const struct mount_request *request, struct errmsg *e, struct mount_plan *ret)
{
	struct mount_plan plan = {
		.request = request,
		.run_fd = -1,
		.temporary = request->diff == NULL && !request->read_only,
		.own_mountpoint = request->mountpoint == NULL,
	};
	int rc = check_request(request, e);

	if (rc == 0)
		rc = registry_home(true, e, &plan.home);
	if (rc == 0)
		rc = make_places(&plan, e);
	if (rc != 0) {
		plan_undo(&plan);
		plan_free(&plan);
		return errmsg_set(e, rc, "cannot prepare the mount: %s", strerror(-rc));
	}
	plan.allow_other = geteuid() == 0 && plan.owner.uid != 0;
	*ret = plan;
	return 0;
}

/* ---- the way back ---- */

/* The next mount may have made the folder anew. */
static bool is_our_lock(const struct mount_plan *plan)
{
	struct stat ours, now;

	return plan->run_fd >= 0 && sys_fstat(plan->run_fd, &ours) == 0 &&
	       sys_fstatat(AT_FDCWD, plan->run_dir, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_ino == now.st_ino;
}

void plan_finish(const struct mount_plan *plan)
{
	if (plan->folder != NULL && plan->temporary) {
		(void)remove_path(plan->folder);
	} else if (plan->folder != NULL && plan->own_mountpoint) {
		(void)sys_unlinkat(AT_FDCWD, plan->mountpoint, AT_REMOVEDIR);
		(void)sys_unlinkat(AT_FDCWD, plan->folder, AT_REMOVEDIR);
	}
	if (plan->run_dir != NULL && is_our_lock(plan))
		(void)remove_path(plan->run_dir);
}

void plan_undo(const struct mount_plan *plan)
{
	if (plan->mountpoint != NULL || !plan->own_mountpoint)
		plan_finish(plan);
	if (plan->made_diff)
		(void)remove_path(plan->diff);
}

void plan_free(struct mount_plan *plan)
{
	if (plan->run_fd >= 0)
		(void)sys_close(plan->run_fd);
	owner_clear(&plan->owner);
	free(plan->home);
	free(plan->store);
	free(plan->mountpoint);
	free(plan->diff);
	free(plan->wal_dir);
	free(plan->cache);
	free(plan->folder);
	free(plan->run_dir);
	free(plan->note);
	*plan = (struct mount_plan){.run_fd = -1};
}
