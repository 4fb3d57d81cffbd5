/*
 * layer/store.c: finds the driver for a path. Kinds of store that have no driver are recognised all
 * the same, so that the user reads what it is instead of what it is not.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/drivers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static const struct store_driver *const drivers[] = {
	&probackup_driver,
};

static bool has_kind(int dirfd, const char *path, mode_t kind)
{
	struct stat st;

	return sys_fstatat(dirfd, path, &st, 0) == 0 && (st.st_mode & S_IFMT) == kind;
}

static bool has_dir(int dirfd, const char *path)
{
	return has_kind(dirfd, path, S_IFDIR);
}

static bool has_file(int dirfd, const char *path)
{
	return has_kind(dirfd, path, S_IFREG);
}

/* Looks for <path>/<any directory>/<file>. */
struct below {
	int dirfd;
	const char *path, *file;
};

static int find_below(void *ctx, const char *name, unsigned char d_type)
{
	const struct below *b = ctx;
	char path[512];
	int len = snprintf(path, sizeof(path), "%s/%s/%s", b->path, name, b->file);

	return name[0] != '.' && len > 0 && (size_t)len < sizeof(path) && has_file(b->dirfd, path);
}

static bool has_below(int dirfd, const char *path, const char *file)
{
	struct below b = {.dirfd = dirfd, .path = path, .file = file};
	_cleanup_close_ int fd = sys_open_beneath(dirfd, path, O_RDONLY | O_DIRECTORY);

	return fd >= 0 && sys_readdir(fd, ".", find_below, &b) == 1;
}

static bool is_pgbackrest(int dirfd)
{
	return has_dir(dirfd, "archive") && has_dir(dirfd, "backup") &&
	       (has_below(dirfd, "backup", "backup.info") ||
		has_below(dirfd, "archive", "archive.info"));
}

static bool is_native(int dirfd)
{
	return has_file(dirfd, "backup_manifest") || has_below(dirfd, ".", "backup_manifest");
}

static bool is_data_directory(int dirfd)
{
	return has_file(dirfd, "PG_VERSION") && has_file(dirfd, "global/pg_control");
}

static bool is_barman(int dirfd)
{
	return has_dir(dirfd, "base") && has_dir(dirfd, "wals");
}

static const struct {
	bool (*is)(int dirfd);
	const char *what;
} strangers[] = {
	{is_pgbackrest, "a pgBackRest repository"},
	{is_native, "a PostgreSQL backup directory (it has a backup_manifest)"},
	{is_data_directory, "a plain data directory"},
	{is_barman, "a Barman server directory"},
};

/* Says what the directory is if no driver takes it. */
static int refuse(int dirfd, const char *path, struct errmsg *e)
{
	if (has_file(dirfd, "backup_content.control"))
		return errmsg_set(
			e, -EINVAL,
			"%s: a single backup of a pg_probackup store; give the store's directory, "
			"three levels up, and --backup",
			path);
	if (has_file(dirfd, "pg_probackup.conf"))
		return errmsg_set(
			e, -EINVAL,
			"%s: an instance of a pg_probackup store; give the store's directory, two "
			"levels up, and --instance",
			path);
	for (unsigned i = 0; i < ARRAY_SIZE(strangers); i++) {
		if (strangers[i].is(dirfd))
			return errmsg_set(e, -ENOTSUP, "%s: %s; no driver for it yet", path,
					  strangers[i].what);
	}
	return errmsg_set(
		e, -EINVAL,
		"%s: not a backup store that is known here (a pg_probackup store has a directory "
		"'backups' with pg_probackup.conf one level below)",
		path);
}

static int cannot_open(const char *path, int rc, struct errmsg *e)
{
	const struct passwd *pw = rc == -EACCES ? getpwuid(geteuid()) : NULL;

	if (pw == NULL)
		return errmsg_set(e, rc, "%s: %s", path, errmsg_text(NULL, rc));
	return errmsg_set(e, rc, "%s: user %s must be able to read it: %s", path, pw->pw_name,
			  errmsg_text(NULL, rc));
}

int store_open(const char *path, struct errmsg *e, struct store **ret)
{
	_cleanup_close_ int dirfd = -1;
	int rc;

	dirfd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd == -ENOTDIR && has_file(AT_FDCWD, path))
		return errmsg_set(e, -ENOTSUP,
				  "%s: a file; if it is a packed image: no driver for it yet",
				  path);
	if (dirfd < 0)
		return cannot_open(path, dirfd, e);
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		rc = drivers[i]->probe(dirfd);
		if (rc < 0)
			return cannot_open(path, rc, e);
		if (rc > 0)
			return drivers[i]->open(path, e, ret);
	}
	return refuse(dirfd, path, e);
}

void store_close(struct store *store)
{
	if (store != NULL)
		store->driver->close(store);
}

void store_unlock(int layer_dirfd, pid_t lock_pid)
{
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (drivers[i]->unlock != NULL)
			drivers[i]->unlock(layer_dirfd, lock_pid);
	}
}

void layer_extras_free(struct layer_extras *extras)
{
	free(extras->spaces);
	free(extras->outsides);
	free(extras->entries);
	*extras = (struct layer_extras){0};
}

void wal_list_free(struct wal_list *list)
{
	for (size_t i = 0; i < list->history_count; i++)
		free(list->histories[i].ancestors);
	free(list->histories);
	free(list->segments);
	*list = (struct wal_list){0};
}
