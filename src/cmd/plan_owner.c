/*
 * Who owns a mount: pg_probackup's lists hold no user, so all files belong to one.
 */
#include "cmd/plan.h"

#include "base/sys.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

static int named_owner(const char *name, struct errmsg *e, uid_t *ret_uid, gid_t *ret_gid)
{
	const struct passwd *pw = getpwnam(name);
	char *end;
	unsigned long uid;

	if (pw == NULL) {
		uid = strtoul(name, &end, 10);
		if (end == name || *end != 0 || uid >= UINT32_MAX)
			return errmsg_set(e, -EINVAL, "no user is called '%s'", name);
		pw = getpwuid((uid_t)uid);
		if (pw == NULL) {
			*ret_uid = (uid_t)uid;
			*ret_gid = (gid_t)uid;
			return 0;
		}
	}
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

static int first_directory(void *ctx, const char *name, unsigned char d_type)
{
	char **first = ctx;

	if (name[0] == '.')
		return 0;
	*first = strdup(name);
	return 1;
}

/* The owner of <store>/backups/<instance>, or of the store where it has no such folder. */
static int store_owner(const char *store, const char *instance, struct errmsg *e, struct stat *ret)
{
	_cleanup_close_ int dirfd = sys_openat(AT_FDCWD, store, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int backups = -1;
	_cleanup_free_ char *first = NULL;
	int rc;

	if (dirfd < 0)
		return errmsg_set(e, dirfd, "cannot open the store '%s': %s", store,
				  strerror(-dirfd));
	backups = sys_openat(dirfd, "backups", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (backups >= 0 && instance == NULL) {
		(void)sys_readdir(backups, ".", first_directory, &first);
		instance = first;
	}
	if (backups >= 0 && instance != NULL &&
	    sys_fstatat(backups, instance, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(ret->st_mode))
		return 0;
	rc = sys_fstat(dirfd, ret);
	return rc == 0 ? 0
		       : errmsg_set(e, rc, "cannot look at the store '%s': %s", store,
				    strerror(-rc));
}

static int default_owner(const struct mount_request *request, const char *store, struct errmsg *e,
			 uid_t *ret_uid, gid_t *ret_gid)
{
	const struct passwd *pw;
	struct stat st;
	int rc;

	if (geteuid() != 0) {
		*ret_uid = geteuid();
		*ret_gid = getegid();
		return 0;
	}
	rc = store_owner(store, request->instance, e, &st);
	if (rc != 0)
		return rc;
	if (st.st_uid != 0) {
		pw = getpwuid(st.st_uid);
		*ret_uid = st.st_uid;
		*ret_gid = pw != NULL ? pw->pw_gid : st.st_gid;
		return 0;
	}
	pw = getpwnam("postgres");
	if (pw == NULL)
		return errmsg_set(
			e, -ENOENT,
			"the store belongs to root and there is no user postgres; give --owner");
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

int plan_owner(const struct mount_request *request, const char *store, struct errmsg *e,
	       struct owner *ret)
{
	uid_t uid = 0;
	gid_t gid = 0;
	int rc;

	if (request->owner != NULL)
		rc = named_owner(request->owner, e, &uid, &gid);
	else
		rc = default_owner(request, store, e, &uid, &gid);
	if (rc != 0)
		return rc;
	if (geteuid() != 0 && uid != geteuid())
		return errmsg_set(e, -EPERM, "only root may mount for another owner");
	return owner_find(uid, gid, e, ret);
}
