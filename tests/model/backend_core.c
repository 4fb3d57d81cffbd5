/*
 * tests/model/backend_core.c: operations of the model test on overlay/overlay.h. What the kernel
 * would check before it asks (open flags, empty names) is done here as the kernel does it.
 */
#include "backend_core.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct in_flight {
	struct backend_core *b;
	struct content_op *op;
	union {
		struct overlay_read read;
		struct overlay_write write;
		struct overlay_resize resize;
		struct overlay_sync sync;
		struct overlay_wait wait;
	} u;
};

static struct backend_core *core_of(struct backend *b)
{
	return CONTAINER_OF(b, struct backend_core, backend);
}

static void finish(struct in_flight *f, int64_t result)
{
	f->op->result = result;
	f->op->done = true;
	f->b->in_flight--;
	free(f);
}

static void read_done(struct overlay_read *op)
{
	struct in_flight *f = CONTAINER_OF(op, struct in_flight, u.read);

	if (op->result > 0 && (uint64_t)op->result <= f->op->len)
		memcpy(f->op->buf, op->data, (size_t)op->result);
	finish(f, op->result);
}

static void write_done(struct overlay_write *op)
{
	struct in_flight *f = CONTAINER_OF(op, struct in_flight, u.write);

	f->op->off = op->off;
	finish(f, op->result);
}

static void resize_done(struct overlay_resize *op)
{
	finish(CONTAINER_OF(op, struct in_flight, u.resize), op->result);
}

static void sync_done(struct overlay_sync *op)
{
	finish(CONTAINER_OF(op, struct in_flight, u.sync), op->result);
}

static void wait_done(struct overlay_wait *op)
{
	struct in_flight *f = CONTAINER_OF(op, struct in_flight, u.wait);

	overlay_getattr(f->b->core.ov, op->file, &f->op->st);
	finish(f, 0);
}

static void start_sync(struct overlay *ov, struct file *file, struct in_flight *f)
{
	f->u.sync = (struct overlay_sync){.done = sync_done};
	if (f->op->code == CONTENT_SYNC)
		f->u.sync.file = file;
	else
		f->u.sync.all = true;
	overlay_sync(ov, &f->u.sync);
}

static void start(struct overlay *ov, struct file *file, struct in_flight *f)
{
	const struct content_op *op = f->op;

	switch (op->code) {
	case CONTENT_READ:
		f->u.read = (struct overlay_read){
			.file = file, .off = op->off, .len = (uint32_t)op->len, .done = read_done};
		overlay_read(ov, &f->u.read);
		break;
	case CONTENT_WRITE:
	case CONTENT_APPEND:
		f->u.write = (struct overlay_write){.file = file,
						    .off = op->off,
						    .len = (uint32_t)op->len,
						    .data = op->buf,
						    .append = op->code == CONTENT_APPEND,
						    .done = write_done};
		overlay_write(ov, &f->u.write);
		break;
	case CONTENT_TRUNCATE:
	case CONTENT_FALLOCATE:
		f->u.resize = (struct overlay_resize){.file = file,
						      .fallocate = op->code == CONTENT_FALLOCATE,
						      .mode = op->mode,
						      .off = op->off,
						      .len = op->len,
						      .done = resize_done};
		overlay_resize(ov, &f->u.resize);
		break;
	case CONTENT_SYNC:
	case CONTENT_SYNC_ALL:
		start_sync(ov, file, f);
		break;
	case CONTENT_STAT:
		f->u.wait = (struct overlay_wait){.file = file, .done = wait_done};
		overlay_wait(ov, &f->u.wait);
		break;
	case CONTENT_MMAP_READ:
	case CONTENT_MMAP_WRITE:
		abort();
	}
}

static void submit(struct backend *backend, struct content_op *op)
{
	struct backend_core *b = core_of(backend);
	struct in_flight *f = calloc(1, sizeof(*f));
	struct overlay *ov = b->core.ov;
	struct file *file = b->handles[op->handle];

	if (!f)
		abort();
	f->b = b;
	f->op = op;
	op->done = false;
	b->in_flight++;
	start(ov, file, f);
	/* let some of it complete now and then, as an event loop would */
	if (b->in_flight % 3 == 2)
		(void)io_reap(b->core.io);
}

static bool drain(struct backend *backend)
{
	struct backend_core *b = core_of(backend);

	for (unsigned idle = 0; b->in_flight > 0 && idle < 200;)
		idle = io_wait(b->core.io, 100) > 0 ? 0 : idle + 1;
	return b->in_flight == 0;
}

static int core_open_file(struct backend *backend, unsigned handle, const char *path, int flags,
			  uint32_t mode)
{
	struct backend_core *b = core_of(backend);
	struct core *c = &b->core;
	struct overlay_create what = {.mode = S_IFREG | mode, .uid = getuid(), .gid = getgid()};
	struct file *dir, *file;
	const char *name;
	struct stat st;
	int rc = core_find_parent(c, path, &dir, &name);

	if (rc < 0)
		return rc;
	rc = overlay_lookup(c->ov, dir, name, &file);
	if (rc == -ENOENT && (flags & O_CREAT))
		rc = CORE_RETRY(c, overlay_create(c->ov, dir, name, &what, &file));
	else if (rc == 0 && (flags & O_CREAT) && (flags & O_EXCL))
		rc = -EEXIST;
	if (rc < 0)
		return rc;
	overlay_getattr(c->ov, file, &st);
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	overlay_ref(file);
	if (flags & O_TRUNC)
		rc = core_truncate(c, file, 0);
	if (rc < 0)
		overlay_unref(c->ov, file);
	else
		b->handles[handle] = file;
	return rc;
}

static void core_close_file(struct backend *backend, unsigned handle)
{
	struct backend_core *b = core_of(backend);

	overlay_unref(b->core.ov, b->handles[handle]);
	b->handles[handle] = NULL;
}

static int make(struct backend *backend, const char *path, const struct overlay_create *what)
{
	struct core *c = &core_of(backend)->core;
	struct file *dir, *file;
	const char *name;
	int rc = core_find_parent(c, path, &dir, &name);

	return rc < 0 ? rc : CORE_RETRY(c, overlay_create(c->ov, dir, name, what, &file));
}

static int core_mkdir(struct backend *backend, const char *path, uint32_t mode)
{
	struct overlay_create what = {.mode = S_IFDIR | mode, .uid = getuid(), .gid = getgid()};

	return make(backend, path, &what);
}

static int core_symlink(struct backend *backend, const char *target, const char *path)
{
	struct overlay_create what = {
		.mode = S_IFLNK | 0777, .uid = getuid(), .gid = getgid(), .target = target};

	return make(backend, path, &what);
}

static int core_rmdir(struct backend *backend, const char *path)
{
	struct core *c = &core_of(backend)->core;
	struct file *dir;
	const char *name;
	int rc = core_find_parent(c, path, &dir, &name);

	return rc < 0 ? rc : CORE_RETRY(c, overlay_rmdir(c->ov, dir, name));
}

static int core_unlink(struct backend *backend, const char *path)
{
	struct core *c = &core_of(backend)->core;
	struct file *dir;
	const char *name;
	int rc = core_find_parent(c, path, &dir, &name);

	return rc < 0 ? rc : CORE_RETRY(c, overlay_unlink(c->ov, dir, name));
}

static int core_link(struct backend *backend, const char *from, const char *to)
{
	struct core *c = &core_of(backend)->core;
	struct file *file, *dir;
	const char *name;
	struct file *there;
	int rc = core_find(c, from, &file);

	if (rc == 0)
		rc = core_find_parent(c, to, &dir, &name);
	/* before it asks whether the file may be linked at all */
	if (rc == 0 && overlay_lookup(c->ov, dir, name, &there) == 0)
		rc = -EEXIST;
	return rc < 0 ? rc : CORE_RETRY(c, overlay_link(c->ov, file, dir, name));
}

static int core_rename(struct backend *backend, const char *from, const char *to, unsigned flags)
{
	struct core *c = &core_of(backend)->core;
	struct file *dir, *dir2, *file;
	const char *name, *name2;
	int rc = core_find_parent(c, from, &dir, &name);

	if (rc == 0)
		rc = core_find_parent(c, to, &dir2, &name2);
	/* the kernel looks both names up first */
	if (rc == 0)
		rc = overlay_lookup(c->ov, dir, name, &file);
	if (rc == 0 && overlay_lookup(c->ov, dir2, name2, &file) == -ENAMETOOLONG)
		rc = -ENAMETOOLONG;
	if (rc == 0)
		rc = CORE_RETRY(c, overlay_rename(c->ov, dir, name, dir2, name2, flags));
	/* over a directory that the file lies in: never asked by the kernel, which says it this way
	 */
	if (rc == -EISDIR && strncmp(from, to, strlen(to)) == 0 && from[strlen(to)] == '/')
		rc = -ENOTEMPTY;
	return rc;
}

static int core_readlink(struct backend *backend, const char *path, char *ret, size_t size)
{
	struct file *file;
	int rc = core_find(&core_of(backend)->core, path, &file);

	if (rc < 0)
		return rc;
	if (!overlay_readlink(file))
		return -EINVAL;
	(void)snprintf(ret, size, "%s", overlay_readlink(file));
	return 0;
}

static int core_setattr(struct backend *backend, const char *path, const struct backend_attr *attr)
{
	struct core *c = &core_of(backend)->core;
	struct diff_attr new = {.mode = attr->mode, .atime = attr->atime, .mtime = attr->mtime};
	unsigned which = 0;
	struct file *file;
	int rc = core_find(c, path, &file);

	if (attr->set_mode)
		which |= OVERLAY_SET_MODE;
	if (attr->set_times)
		which |= OVERLAY_SET_ATIME | OVERLAY_SET_MTIME;
	return rc < 0 ? rc : CORE_RETRY(c, overlay_setattr(c->ov, file, &new, which));
}

static int core_stat(struct backend *backend, const char *path, struct stat *ret)
{
	struct core *c = &core_of(backend)->core;
	struct file *file;
	int rc = core_find(c, path, &file);

	if (rc == 0)
		overlay_getattr(c->ov, file, ret);
	return rc;
}

static int core_list(struct backend *backend, const char *path, backend_name_fn *fn, void *ctx)
{
	struct core *c = &core_of(backend)->core;
	struct overlay_dir list;
	struct file *file;
	int rc = core_find(c, path, &file);

	if (rc == 0)
		rc = overlay_list(c->ov, file, &list);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < list.count && rc == 0; i++)
		rc = fn(ctx, list.entries[i].name, list.entries[i].mode & S_IFMT,
			list.entries[i].id);
	overlay_list_free(&list);
	return rc;
}

static int core_sync_dir(struct backend *backend, const char *path)
{
	struct core *c = &core_of(backend)->core;
	struct file *file;
	int rc = core_find(c, path, &file);

	return rc < 0 ? rc : core_sync(c, file, false);
}

static int core_reopen(struct backend *backend)
{
	struct backend_core *b = core_of(backend);
	int rc = core_sync(&b->core, NULL, true);

	core_drain(&b->core);
	if (rc < 0)
		return rc;
	core_close(&b->core);
	rc = core_open(&b->core, b->chain, b->diff_path, &b->e);
	if (rc < 0)
		(void)fprintf(stderr, "model: reopen: %s\n", errmsg_text(&b->e, rc));
	return rc;
}

static void core_disturb(struct backend *backend)
{
	(void)io_reap(core_of(backend)->core.io);
}

static const struct backend_ops core_ops = {
	.open = core_open_file,
	.close = core_close_file,
	.submit = submit,
	.drain = drain,
	.mkdir = core_mkdir,
	.rmdir = core_rmdir,
	.unlink = core_unlink,
	.symlink = core_symlink,
	.link = core_link,
	.rename = core_rename,
	.readlink = core_readlink,
	.setattr = core_setattr,
	.stat = core_stat,
	.list = core_list,
	.sync_dir = core_sync_dir,
	.reopen = core_reopen,
	.disturb = core_disturb,
};

void backend_core_init(struct backend_core *b, struct layer_chain *chain, const char *diff_path)
{
	*b = (struct backend_core){.chain = chain};
	b->backend.ops = &core_ops;
	b->backend.caps = BACKEND_ASYNC | BACKEND_REOPEN;
	(void)snprintf(b->diff_path, sizeof(b->diff_path), "%s", diff_path);
}

int backend_core_open(struct backend_core *b, struct layer_chain *chain, const char *diff_path,
		      const struct core_options *options)
{
	int rc;

	backend_core_init(b, chain, diff_path);
	rc = core_new(&b->core, options, &b->e);
	if (rc == 0) {
		rc = core_open(&b->core, chain, b->diff_path, &b->e);
		if (rc < 0)
			core_free(&b->core);
	}
	if (rc < 0)
		(void)fprintf(stderr, "model: %s\n", errmsg_text(&b->e, rc));
	return rc;
}

void backend_core_close(struct backend_core *b)
{
	(void)core_sync(&b->core, NULL, true);
	core_drain(&b->core);
	core_close(&b->core);
	core_free(&b->core);
}
