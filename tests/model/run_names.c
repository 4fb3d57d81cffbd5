/*
 * tests/model/run_names.c: random operations on names, attributes and handles. Both sides get the
 * same path; what they answer must be the same errno.
 */
#include "run.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Path of a directory of the model. */
static void dir_path(const struct run *r, const struct mnode *dir, char *ret, size_t size)
{
	char tail[RUN_PATH] = "";

	while (dir != r->fs->root) {
		char whole[RUN_PATH];

		for (size_t i = 0; i < dir->parent->name_count; i++) {
			if (dir->parent->names[i].node != dir)
				continue;
			(void)snprintf(whole, sizeof(whole), "%.290s%s%.300s",
				       dir->parent->names[i].name, tail[0] ? "/" : "", tail);
			break;
		}
		memcpy(tail, whole, sizeof(tail));
		dir = dir->parent;
	}
	(void)snprintf(ret, size, "%s", tail);
}

/* A directory that has a name, or the root; not too deep. */
static struct mnode *random_dir(struct run *r)
{
	for (unsigned i = 0; i < 50; i++) {
		struct mnode *n = r->fs->nodes[rng_below(&r->rng, r->fs->node_count)];

		if (S_ISDIR(n->mode) && n->nlink > 0 &&
		    (n == r->fs->root || n->parent == r->fs->root ||
		     n->parent->parent == r->fs->root))
			return n;
	}
	return r->fs->root;
}

/* Replaces one of the paths that operations choose from: an existing name, or one that may not
 * exist yet. */
static bool pick_base(struct run *r, char *path)
{
	for (unsigned i = 0; i < 20; i++) {
		struct mnode *n = r->fs->nodes[rng_below(&r->rng, r->fs->node_count)], *there;

		if (!n->origin || !S_ISREG(n->mode) || n->size == 0 ||
		    strlen(n->origin) >= RUN_PATH)
			continue;
		if (memfs_find(r->fs, n->origin, &there) < 0 || there != n)
			continue;
		(void)snprintf(path, RUN_PATH, "%s", n->origin);
		return true;
	}
	return false;
}

void run_refresh_hot(struct run *r)
{
	char *path = r->hot[rng_below(&r->rng, RUN_HOT)], dir[RUN_PATH];
	struct mnode *d = random_dir(r);
	const char *slash;

	if (rng_below(&r->rng, 10) < 4 && pick_base(r, path))
		return;
	dir_path(r, d, dir, sizeof(dir));
	slash = dir[0] ? "/" : "";
	if (strlen(dir) > 200)
		return;
	if (rng_one_in(&r->rng, 150)) {
		int len = rng_one_in(&r->rng, 2) ? 255 : 256;

		(void)snprintf(path, RUN_PATH, "%.200s%s%0*d", dir, slash, len, 7);
	} else if (d->name_count > 0 && rng_below(&r->rng, 3) > 0) {
		const char *name = d->names[rng_below(&r->rng, d->name_count)].name;

		(void)snprintf(path, RUN_PATH, "%.200s%s%.256s", dir, slash, name);
	} else {
		(void)snprintf(path, RUN_PATH, "%.200s%sn%u", dir, slash,
			       (unsigned)rng_below(&r->rng, 6));
	}
}

static struct mnode *node_at(struct run *r, const char *path)
{
	struct mnode *n;

	return memfs_find(r->fs, path, &n) == 0 ? n : NULL;
}

/* A link on the way: the kernel would follow it, the model does not. */
static bool crosses_link(struct run *r, const char *path)
{
	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		char part[RUN_PATH];
		struct mnode *n;

		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		n = node_at(r, part);
		if (n && S_ISLNK(n->mode))
			return true;
	}
	return false;
}

static const char *hot(struct run *r)
{
	const char *path = r->hot[rng_below(&r->rng, RUN_HOT)];

	while ((r->be->caps & BACKEND_KERNEL) && crosses_link(r, path)) {
		run_refresh_hot(r);
		path = r->hot[rng_below(&r->rng, RUN_HOT)];
	}
	return path;
}

/* The name changes are seen by getattrs in flight as links of the file. */
static void links_changed(struct run *r, const struct mnode *a, const struct mnode *b)
{
	if (a)
		run_changed(r, a);
	if (b && b != a)
		run_changed(r, b);
}

static bool still_open(const struct run *r, const struct mnode *n)
{
	for (unsigned i = 0; i < BACKEND_HANDLES; i++)
		if (r->handles[i].node == n)
			return true;
	return false;
}

static void op_close(struct run *r, unsigned handle)
{
	struct mnode *n = r->handles[handle].node;

	run_drain(r);
	run_log(r, n, "close h%u", handle);
	r->be->ops->close(r->be, handle);
	r->handles[handle].node = NULL;
	memfs_release(r->fs, n);
}

/* What open(2) answers, and the file it leads to; creates and truncates in the model. */
static int model_open(struct run *r, const char *path, int flags, struct mnode **ret)
{
	struct mnode *n;
	int rc = memfs_find(r->fs, path, &n);

	if (rc == -ENOENT && (flags & O_CREAT))
		return memfs_create(r->fs, path, S_IFREG | 0600, NULL, ret);
	if (rc < 0)
		return rc;
	if ((flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (S_ISDIR(n->mode))
		return -EISDIR;
	rc = memfs_load(r->fs, n);
	if (rc < 0) {
		run_fail(r, n, "content of '%s' in the chain: %s", path, strerror(-rc));
		return rc;
	}
	if (flags & O_TRUNC) {
		memfs_resize(n, 0);
		run_changed(r, n);
	}
	*ret = n;
	return 0;
}

void run_open_op(struct run *r)
{
	unsigned handle = (unsigned)rng_below(&r->rng, r->handles_used);
	const char *path = hot(r);
	struct mnode *n = node_at(r, path);
	int flags = O_RDWR | O_NOFOLLOW, rc;

	if (r->handles[handle].node) {
		op_close(r, handle);
		return;
	}
	if (n && S_ISLNK(n->mode))
		return;
	if (rng_below(&r->rng, 10) < 7)
		flags |= O_CREAT;
	if (rng_one_in(&r->rng, 8))
		flags |= O_EXCL;
	if (rng_one_in(&r->rng, 9))
		flags |= O_TRUNC;
	if (rng_one_in(&r->rng, 8))
		flags |= O_APPEND;
	if ((r->be->caps & BACKEND_KERNEL) && !r->foreign && rng_one_in(&r->rng, 6))
		flags |= O_DIRECT;
	if ((flags & O_EXCL) && !(flags & O_CREAT))
		flags &= ~O_EXCL;
	rc = model_open(r, path, flags, &n);
	run_log(r, rc == 0 ? n : NULL, "open h%u '%s'%s%s%s%s%s", handle, path,
		flags & O_CREAT ? " creat" : "", flags & O_EXCL ? " excl" : "",
		flags & O_TRUNC ? " trunc" : "", flags & O_APPEND ? " append" : "",
		flags & O_DIRECT ? " direct" : "");
	if (r->failed ||
	    !run_same(r, n, "open", r->be->ops->open(r->be, handle, path, flags, 0600), rc))
		return;
	if (rc < 0)
		return;
	memfs_hold(n);
	r->handles[handle] = (struct run_handle){.node = n, .append = flags & O_APPEND};
}

static void op_unlink(struct run *r)
{
	const char *path = hot(r);
	struct mnode *n = node_at(r, path);
	int rc;

	run_log(r, n, "unlink '%s'", path);
	rc = memfs_unlink(r->fs, path);
	if (rc == 0 && still_open(r, n))
		run_changed(r, n);
	(void)run_same(r, n && still_open(r, n) ? n : NULL, "unlink",
		       r->be->ops->unlink(r->be, path), rc);
}

static void op_rename(struct run *r)
{
	static const struct {
		unsigned flags;
		const char *name;
	} modes[] = {{0, ""}, {0, ""}, {0, ""}, {1, " noreplace"}, {2, " exchange"}};
	const char *from = hot(r), *to = hot(r);
	size_t which = rng_below(&r->rng, ARRAY_SIZE(modes));
	struct mnode *a = node_at(r, from), *b = node_at(r, to);
	int rc, got;

	if (a == r->fs->root || b == r->fs->root)
		return;
	rc = memfs_rename(r->fs, from, to, modes[which].flags);
	run_log(r, rc == 0 ? a : NULL, "rename%s '%s' '%s'", modes[which].name, from, to);
	if (rc == 0)
		links_changed(r, still_open(r, a) ? a : NULL, b && still_open(r, b) ? b : NULL);
	got = r->be->ops->rename(r->be, from, to, modes[which].flags);
	(void)run_same(r, rc == 0 ? a : NULL, "rename", got, rc);
}

static void op_link(struct run *r)
{
	const char *from = hot(r), *to = hot(r);
	struct mnode *n = node_at(r, from);
	int rc = memfs_link(r->fs, from, to);

	run_log(r, n, "link '%s' '%s'", from, to);
	if (rc == 0)
		run_changed(r, n);
	(void)run_same(r, n, "link", r->be->ops->link(r->be, from, to), rc);
}

static void op_mkdir(struct run *r)
{
	const char *path = hot(r);
	struct mnode *n = NULL;
	int rc = memfs_create(r->fs, path, S_IFDIR | 0700, NULL, &n);

	run_log(r, n, "mkdir '%s'", path);
	(void)run_same(r, n, "mkdir", r->be->ops->mkdir(r->be, path, 0700), rc);
}

static void op_rmdir(struct run *r)
{
	const char *path = hot(r);
	int rc;

	run_log(r, node_at(r, path), "rmdir '%s'", path);
	rc = memfs_rmdir(r->fs, path);
	(void)run_same(r, NULL, "rmdir", r->be->ops->rmdir(r->be, path), rc);
}

static void op_symlink(struct run *r)
{
	const char *path = hot(r), *target = hot(r);
	struct mnode *n = NULL;
	int rc = memfs_create(r->fs, path, S_IFLNK | 0777, target, &n);

	run_log(r, n, "symlink '%s' -> '%s'", path, target);
	(void)run_same(r, n, "symlink", r->be->ops->symlink(r->be, target, path), rc);
}

static void op_readlink(struct run *r)
{
	const char *path = hot(r);
	struct mnode *n;
	char target[4096] = "";
	int rc = memfs_find(r->fs, path, &n);

	if (rc == 0 && !S_ISLNK(n->mode))
		rc = -EINVAL;
	run_log(r, rc == 0 ? n : NULL, "readlink '%s'", path);
	if (run_same(r, NULL, "readlink", r->be->ops->readlink(r->be, path, target, sizeof(target)),
		     rc) &&
	    rc == 0 && strcmp(target, n->target) != 0)
		run_fail(r, n, "readlink '%s': got '%s', model '%s'", path, target, n->target);
}

static void op_setattr(struct run *r)
{
	const char *path = hot(r);
	struct backend_attr attr = {0};
	struct mnode *n;
	int rc = memfs_find(r->fs, path, &n);

	if (rc == 0 && S_ISLNK(n->mode))
		return;
	/* an earlier write in flight would set the time after it */
	run_drain(r);
	attr.set_mode = rng_one_in(&r->rng, 2);
	attr.set_times = !attr.set_mode;
	attr.mode = rng_one_in(&r->rng, 2) ? 0600 : 0740;
	attr.atime = (int64_t)rng_below(&r->rng, UINT64_C(2000000000) * 1000000000);
	attr.mtime = (int64_t)rng_below(&r->rng, UINT64_C(2000000000) * 1000000000);
	run_log(r, rc == 0 ? n : NULL, "%s '%s'", attr.set_mode ? "chmod" : "utimes", path);
	if (rc == 0 && attr.set_mode && (!S_ISDIR(n->mode) || n != r->fs->root))
		n->mode = (n->mode & S_IFMT) | attr.mode;
	else if (attr.set_mode)
		attr.mode = 0700;
	if (rc == 0 && attr.set_times) {
		n->times_known = !n->mapped;
		n->atime = attr.atime;
		n->mtime = attr.mtime;
	}
	if (rc == 0)
		run_changed(r, n);
	(void)run_same(r, NULL, "setattr", r->be->ops->setattr(r->be, path, &attr), rc);
}

static void op_stat(struct run *r)
{
	const char *path = hot(r);
	struct mnode *n;
	struct stat st;
	int rc = memfs_find(r->fs, path, &n);

	run_drain(r);
	run_log(r, rc == 0 ? n : NULL, "stat '%s'", path);
	if (run_same(r, NULL, "stat", r->be->ops->stat(r->be, path, &st), rc) && rc == 0)
		run_check_stat(r, n, &st, path);
}

struct listing {
	struct run *r;
	struct mnode *dir;
	size_t seen;
	unsigned dots;
};

static int seen_name(void *ctx, const char *name, uint32_t type, uint64_t ino)
{
	struct listing *l = ctx;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		l->dots++;
		return 0;
	}
	for (size_t i = 0; i < l->dir->name_count; i++) {
		const struct mnode *n = l->dir->names[i].node;

		if (strcmp(l->dir->names[i].name, name) != 0)
			continue;
		l->seen++;
		if (type != (n->mode & S_IFMT) || (n->ino && ino != n->ino))
			run_fail(l->r, n,
				 "readdir: '%s' has type %o and number %" PRIu64
				 ", model %o and %" PRIu64,
				 name, type, ino, n->mode & S_IFMT, n->ino);
		return 0;
	}
	run_fail(l->r, l->dir, "readdir: '%s' is not there in the model", name);
	return 0;
}

static void op_list(struct run *r)
{
	char path[RUN_PATH];
	struct listing l = {.r = r, .dir = random_dir(r)};

	dir_path(r, l.dir, path, sizeof(path));
	run_log(r, l.dir, "readdir '%s'", path);
	if (!run_same(r, l.dir, "readdir", r->be->ops->list(r->be, path, seen_name, &l), 0))
		return;
	if (l.seen != l.dir->name_count || l.dots != 2)
		run_fail(r, l.dir, "readdir '%s': %zu names, model %zu", path, l.seen,
			 l.dir->name_count);
}

static void op_sync_dir(struct run *r)
{
	char path[RUN_PATH];
	struct mnode *dir = random_dir(r);

	dir_path(r, dir, path, sizeof(path));
	run_log(r, dir, "fsyncdir '%s'", path);
	(void)run_same(r, dir, "fsyncdir", r->be->ops->sync_dir(r->be, path), 0);
}

/* Hundreds of long names without a sync: the journal has to grow, and callers have to wait for it.
 */
static void op_storm(struct run *r)
{
	char from[RUN_PATH], to[RUN_PATH];
	struct mnode *n = NULL;
	unsigned count = 30;
	int rc;

	if (rng_one_in(&r->rng, 4))
		count = (unsigned)rng_range(&r->rng, 100, 600);
	run_log(r, NULL, "storm of %u names", count);
	for (unsigned i = 0; i < count && !r->failed; i++) {
		(void)snprintf(from, sizeof(from), "s%0*u", (int)rng_range(&r->rng, 20, 250), i);
		(void)snprintf(to, sizeof(to), "t%0*u", (int)rng_range(&r->rng, 20, 250), i);
		rc = memfs_create(r->fs, from, S_IFDIR | 0700, NULL, &n);
		(void)run_same(r, NULL, "mkdir", r->be->ops->mkdir(r->be, from, 0700), rc);
		rc = memfs_rename(r->fs, from, to, 0);
		(void)run_same(r, NULL, "rename", r->be->ops->rename(r->be, from, to, 0), rc);
		if (rng_one_in(&r->rng, 100))
			continue;
		rc = memfs_rmdir(r->fs, to);
		(void)run_same(r, NULL, "rmdir", r->be->ops->rmdir(r->be, to), rc);
	}
}

void run_name_op(struct run *r)
{
	static void (*const ops[])(struct run *) = {
		op_unlink,  op_unlink,	op_rename, op_rename, op_rename, op_rename,  op_link,
		op_link,    op_mkdir,	op_mkdir,  op_rmdir,  op_rmdir,	 op_symlink, op_readlink,
		op_setattr, op_setattr, op_stat,   op_stat,   op_stat,	 op_list,    op_sync_dir,
	};

	if (rng_one_in(&r->rng, 100))
		op_storm(r);
	else
		ops[rng_below(&r->rng, ARRAY_SIZE(ops))](r);
}

/*
 * Whatever the times are, they must be the same after reopening. But for WAL segments with write-back:
 * writes go past the kernel's pages, and it holds on to the time it had (docs/limits.md).
 */
static void remember_times(struct run *r, const char *path, struct mnode *n, void *ctx)
{
	struct stat st;

	if (n->wal && r->slack > 0)
		return;
	if ((!n->touched && !rng_one_in(&r->rng, 10)) || r->be->ops->stat(r->be, path, &st) < 0)
		return;
	n->times_known = true;
	n->atime = (int64_t)st.st_atim.tv_sec * 1000000000 + st.st_atim.tv_nsec;
	n->mtime = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

void run_reopen_op(struct run *r)
{
	run_drain(r);
	if (!(r->be->caps & BACKEND_REOPEN)) {
		run_log(r, NULL, "caches dropped");
		r->be->ops->disturb(r->be);
		return;
	}
	for (unsigned i = 0; i < BACKEND_HANDLES; i++)
		if (r->handles[i].node)
			op_close(r, i);
	run_log(r, NULL, "reopen");
	run_each_path(r, remember_times, NULL);
	r->reopens++;
	if (run_same(r, NULL, "reopen", r->be->ops->reopen(r->be), 0))
		run_check_all(r, rng_one_in(&r->rng, 3));
}
