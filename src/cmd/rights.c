/*
 * Giving up rights: first the user's, then the paths, then the calls. Each is a boundary of its
 * own: the user's rights say what the owner may do, the others what this program needs of that.
 */
#include "cmd/rights.h"

#include "base/log.h"
#include "base/sys_confine.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int rights_drop(const struct owner *owner, struct errmsg *e)
{
	int rc;

	/* Write-out of a file system must not wait for dirty pages of its own making. */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (geteuid() != 0 || owner->uid == 0)
		return 0;
	rc = initgroups(owner->name, owner->gid);
	if (rc < 0)
		rc = setgroups(1, &owner->gid);
	if (rc < 0 || setresgid(owner->gid, owner->gid, owner->gid) < 0 ||
	    setresuid(owner->uid, owner->uid, owner->uid) < 0)
		return errmsg_set(e, -errno, "cannot become user %s: %s", owner->name,
				  strerror(errno));
	if (setuid(0) == 0 || geteuid() != owner->uid || getuid() != owner->uid)
		return errmsg_set(e, -EPERM, "cannot give up root's rights for user %s",
				  owner->name);
	return 0;
}

int rights_confine(int store_fd, int diff_fd, int cache_fd, int run_fd, struct errmsg *e)
{
	struct sys_place places[4] = {
		{.dirfd = store_fd},
		{.dirfd = run_fd, .changes = true, .sockets = true},
	};
	unsigned count = 2;
	int rc;

	if (diff_fd >= 0)
		places[count++] = (struct sys_place){.dirfd = diff_fd, .changes = true};
	if (cache_fd >= 0)
		places[count++] = (struct sys_place){.dirfd = cache_fd, .changes = true};
	rc = sys_confine_files(places, count);
	if (rc == -ENOSYS || rc == -EOPNOTSUPP) {
		log_notice("this kernel has no Landlock: file permissions alone keep the process "
			   "to store and diff");
		return 0;
	}
	return rc == 0 ? 0
		       : errmsg_set(e, rc, "cannot confine the process to store and diff: %s",
				    strerror(-rc));
}

void rights_confine_calls(void)
{
	int rc = sys_confine_calls();

	if (rc != 0 && rc != -ENOSYS)
		log_notice("cannot confine the process to the calls it needs: %s", strerror(-rc));
}
