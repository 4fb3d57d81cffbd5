/*
 * Directories. opendir takes a snapshot of the names, so that offsets stay what they are while
 * others create and unlink; reading from offset 0 again takes a new one. A name is shown only if it
 * is still there when the answer is made: the kernel keeps what readdirplus tells it for hours.
 *
 * readdirplus counts one lookup for each entry but "." and ".."; an entry that does not fit counts
 * none.
 */
#include "fuse/fuse_internal.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define DIR_REPLY_MAX (1u << 20)

struct dir_handle {
	struct file *dir; /* referenced */
	struct overlay_dir list;
	bool listed;
};

static struct dir_handle *handle_dir(const struct fuse_file_info *fi)
{
	return (struct dir_handle *)(uintptr_t)fi->fh;
}

static void dir_free(struct session *s, struct dir_handle *handle)
{
	if (handle->listed)
		overlay_list_free(&handle->list);
	overlay_unref(s->ov, handle->dir);
	free(handle);
}

static void op_opendir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_OPENDIR, ino);
	struct dir_handle *handle;
	int rc;

	if (req == NULL)
		return;
	handle = calloc(1, sizeof(*handle));
	if (handle == NULL) {
		request_reply(req, -ENOMEM);
		return;
	}
	handle->dir = req->file;
	overlay_ref(handle->dir);
	fi->fh = (uint64_t)(uintptr_t)handle;
	rc = fuse_reply_open(fuse, fi);
	if (rc != 0)
		dir_free(req->session, handle);
	request_done(req, rc);
}

static void op_releasedir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = fuse_req_userdata(fuse);
	struct request *req = request_new(fuse, REQUEST_RELEASEDIR, NULL);

	dir_free(s, handle_dir(fi));
	if (req != NULL)
		request_reply(req, 0);
}

static int dir_list(struct session *s, struct dir_handle *handle, off_t off)
{
	int rc;

	if (handle->listed && off != 0)
		return 0;
	if (handle->listed)
		overlay_list_free(&handle->list);
	handle->listed = false;
	rc = overlay_list(s->ov, handle->dir, &handle->list);
	handle->listed = rc == 0;
	return rc;
}

static bool is_dot(const char *name)
{
	return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

/* One entry at the end of the reply: its size, 0 if the name is gone, -ENOSPC if it does not fit.
 */
static int64_t add_entry(struct session *s, fuse_req_t fuse, struct dir_handle *handle, size_t i,
			 bool plus, char *buf, size_t room)
{
	const struct overlay_dirent *d = &handle->list.entries[i];
	struct fuse_entry_param entry = {.attr = {.st_ino = d->id, .st_mode = d->mode}};
	struct file *file = NULL;
	size_t size;
	int rc;

	if (!is_dot(d->name) && overlay_lookup(s->ov, handle->dir, d->name, &file) != 0)
		return 0;
	if (!plus) {
		if (file != NULL)
			entry.attr.st_ino = overlay_file_id(file);
		size = fuse_add_direntry(fuse, buf, room, d->name, &entry.attr, (off_t)i + 1);
		return size > room ? -ENOSPC : (int64_t)size;
	}
	if (file != NULL) {
		rc = entry_fill(s, file, &entry);
		if (rc != 0)
			return rc;
	}
	size = fuse_add_direntry_plus(fuse, buf, room, d->name, &entry, (off_t)i + 1);
	if (size <= room)
		return (int64_t)size;
	if (file != NULL)
		node_forget(s, entry.ino, 1);
	return -ENOSPC;
}

static int dir_buffer(struct session *s, size_t size)
{
	void *buf;

	if (s->dir_buffer != NULL && s->dir_size >= size)
		return 0;
	size = MAX(size, (size_t)1); /* a place to point to, also for who asks for nothing */
	buf = realloc(s->dir_buffer, size);
	if (buf == NULL)
		return -ENOMEM;
	s->dir_buffer = buf;
	s->dir_size = size;
	return 0;
}

static void read_dir(fuse_req_t fuse, enum request_type type, size_t size, off_t off,
		     struct dir_handle *handle)
{
	struct request *req = request_new(fuse, type, handle->dir);
	struct session *s;
	size_t used = 0;
	int rc;

	if (req == NULL)
		return;
	s = req->session;
	if (size > DIR_REPLY_MAX)
		size = DIR_REPLY_MAX;
	rc = dir_buffer(s, size);
	if (rc == 0)
		rc = dir_list(s, handle, off);
	if (rc != 0 || off < 0) {
		request_reply(req, rc != 0 ? rc : -EINVAL);
		return;
	}
	for (size_t i = (size_t)off; i < handle->list.count; i++) {
		int64_t n = add_entry(s, fuse, handle, i, type == REQUEST_READDIRPLUS,
				      (char *)s->dir_buffer + used, size - used);

		if (n < 0)
			break;
		used += (size_t)n;
	}
	request_done(req, fuse_reply_buf(fuse, s->dir_buffer, used));
	admission_told(s);
}

static void op_readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	read_dir(fuse, REQUEST_READDIR, size, off, handle_dir(fi));
}

static void op_readdirplus(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	read_dir(fuse, REQUEST_READDIRPLUS, size, off, handle_dir(fi));
}

void ops_dir_fill(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->releasedir = op_releasedir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
}
