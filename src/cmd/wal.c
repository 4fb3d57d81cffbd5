/*
 * Filling a native pg_wal. It happens once in a clone's life, before anything is served, on an
 * overlay of its own and the engine that runs on the calling thread.
 */
#include "cmd/wal.h"

#include "base/sys.h"
#include "base/util.h"
#include "cmd/offline.h"
#include "cmd/remove.h"

#include <errno.h>
#include <fcntl.h>

#define RECORD	   "wal-dir"
#define PATH_BYTES 4096
#define CHUNK	   (1u << 20)
#define DEPTH_MAX  4

/* ---- where it is ---- */

static int exists(const char *dir)
{
	struct stat st;
	int rc = sys_fstatat(AT_FDCWD, dir, &st, 0);

	return rc == 0 && !S_ISDIR(st.st_mode) ? -ENOTDIR : rc;
}

int wal_place(struct diff *diff, const char *wanted, struct errmsg *e, char **ret_dir,
	      bool *ret_fill)
{
	_cleanup_free_ char *recorded = NULL;
	size_t len;
	int rc = sys_read_file(diff_dirfd(diff), RECORD, PATH_BYTES, &recorded, &len);

	*ret_fill = false;
	*ret_dir = NULL;
	if (rc == -ENOENT) {
		if (wanted == NULL)
			return 0;
		*ret_fill = true;
		*ret_dir = strdup(wanted);
		return *ret_dir != NULL ? 0 : -ENOMEM;
	}
	if (rc != 0)
		return errmsg_set(e, rc, "cannot read where the diff's WAL is: %s", strerror(-rc));
	recorded[strcspn(recorded, "\n")] = 0;
	if (wanted != NULL && strcmp(wanted, recorded) != 0)
		return errmsg_set(e, -EINVAL,
				  "the WAL of this diff is in '%s': it cannot be in '%s'", recorded,
				  wanted);
	rc = exists(recorded);
	if (rc != 0)
		return errmsg_set(
			e, rc, "the WAL of this diff, '%s': %s; without it the clone cannot start",
			recorded, strerror(-rc));
	*ret_dir = TAKE_PTR(recorded);
	return 0;
}

int wal_record(struct diff *diff, const char *dir, struct errmsg *e)
{
	_cleanup_free_ char *line = NULL;
	int rc;

	line = malloc(strlen(dir) + 2);
	if (line == NULL)
		return -ENOMEM;
	(void)stpcpy(stpcpy(line, dir), "\n");
	rc = sys_replace_file(diff_dirfd(diff), RECORD, line, strlen(line), 0600);
	return rc == 0 ? 0
		       : errmsg_set(e, rc, "cannot record where the diff's WAL is: %s",
				    strerror(-rc));
}

/* ---- copying ---- */

struct copy {
	struct overlay *ov;
	struct io_engine *io;
	struct overlay_read read;
	int fd; /* the file being written */
	bool done;
	int rc;
};

static void chunk_read(struct overlay_read *op)
{
	struct copy *c = CONTAINER_OF(op, struct copy, read);

	c->done = true;
	c->rc = (int)MIN(op->result, 0);
	if (op->result > 0)
		c->rc = sys_pwrite_full(c->fd, op->data, (size_t)op->result, op->off);
}

static int copy_content(struct copy *c, struct file *file)
{
	for (uint64_t off = 0;; off += CHUNK) {
		c->done = false;
		c->read = (struct overlay_read){
			.file = file, .off = off, .len = CHUNK, .done = chunk_read};
		overlay_read(c->ov, &c->read);
		while (!c->done)
			(void)io_wait(c->io, -1);
		if (c->rc != 0)
			return c->rc;
		if (c->read.result < CHUNK)
			break;
	}
	return sys_fsync(c->fd);
}

static int copy_directory(struct copy *c, struct file *dir, int dirfd, unsigned depth);

static int copy_entry(struct copy *c, const struct overlay_dirent *d, int dirfd, unsigned depth)
{
	_cleanup_close_ int fd = -1;
	int rc;

	if (S_ISREG(d->mode)) {
		fd = sys_openat(dirfd, d->name, O_WRONLY | O_CREAT | O_EXCL, d->mode & 0777);
		c->fd = fd;
		return fd < 0 ? fd : copy_content(c, d->file);
	}
	if (!S_ISDIR(d->mode))
		return 0;
	rc = sys_mkdirat(dirfd, d->name, d->mode & 0777);
	if (rc != 0)
		return rc;
	fd = sys_openat(dirfd, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? fd : copy_directory(c, d->file, fd, depth + 1);
}

static int copy_directory(struct copy *c, struct file *dir, int dirfd, unsigned depth)
{
	struct overlay_dir list;
	int rc;

	if (depth > DEPTH_MAX)
		return -ELOOP;
	rc = overlay_list(c->ov, dir, &list);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		if (strcmp(list.entries[i].name, ".") != 0 &&
		    strcmp(list.entries[i].name, "..") != 0)
			rc = copy_entry(c, &list.entries[i], dirfd, depth);
	}
	overlay_list_free(&list);
	return rc == 0 ? sys_fsync(dirfd) : rc;
}

static int open_target(const char *dir, bool own, struct errmsg *e)
{
	int rc = own ? remove_path(dir) : 0;
	int fd;

	if (rc == 0)
		rc = sys_mkdirat(AT_FDCWD, dir, 0700);
	if (rc != 0 && rc != -EEXIST)
		return errmsg_set(e, rc, "cannot make '%s': %s", dir, strerror(-rc));
	fd = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	return fd >= 0 ? fd : errmsg_set(e, fd, "cannot open '%s': %s", dir, strerror(-fd));
}

static int name_one(void *ctx, const char *name, unsigned char d_type)
{
	return -ENOTEMPTY;
}

static int fill_with(struct copy *c, const char *dir, bool own, struct errmsg *e)
{
	_cleanup_close_ int fd = open_target(dir, own, e);
	struct file *wal;
	int rc;

	if (fd < 0)
		return fd;
	rc = sys_readdir(fd, ".", name_one, NULL);
	if (rc == -ENOTEMPTY)
		return errmsg_set(e, rc, "'%s' is not empty: it is no place for a new clone's WAL",
				  dir);
	rc = overlay_lookup(c->ov, overlay_root(c->ov), "pg_wal", &wal);
	if (rc != 0)
		return errmsg_set(e, rc, "the backup has no pg_wal");
	rc = copy_directory(c, wal, fd, 0);
	return rc == 0 ? 0 : errmsg_set(e, rc, "cannot copy WAL to '%s': %s", dir, strerror(-rc));
}

int wal_fill(struct overlay *ov, const char *dir, bool own, struct errmsg *e)
{
	struct copy copy = {.ov = ov};
	struct offline offline;
	int rc = offline_start(ov, e, &offline);

	copy.io = offline.io;
	if (rc == 0)
		rc = fill_with(&copy, dir, own, e);
	offline_end(&offline);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot copy WAL to '%s': %s", dir, strerror(-rc));
	return 0;
}
