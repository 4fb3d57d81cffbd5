/*
 * Operations on names: memory and journal only, answered at once unless the journal needs room
 * first.
 */
#include "fuse/fuse_internal.h"

#include <errno.h>

/* A name that is not there is an answer too: only this kernel makes names here, so it may remember
 * that. */
static void reply_negative(struct request *req)
{
	struct fuse_entry_param entry = {.entry_timeout = CACHE_SECONDS};

	request_done(req, fuse_reply_entry(req->fuse, &entry));
}

static void op_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct request *req = request_for(fuse, REQUEST_LOOKUP, parent);
	struct file *file;
	int rc;

	if (req == NULL)
		return;
	rc = overlay_lookup(req->session->ov, req->file, name, &file);
	if (rc == -ENOENT) {
		reply_negative(req);
		return;
	}
	if (rc != 0) {
		request_reply(req, rc);
		return;
	}
	req->result = file;
	overlay_ref(file);
	request_reply_entry(req);
}

static int run_create(struct request *req)
{
	struct file *file;
	int rc = overlay_create(req->session->ov, req->file, req->names.name, &req->names.what,
				&file);

	if (rc != 0)
		return rc;
	req->result = file;
	overlay_ref(file);
	request_reply_entry(req);
	return 0;
}

/* A directory with the set-group-id bit gives its group to what is made in it. */
static void inherit_group(struct request *req)
{
	struct overlay_create *what = &req->names.what;
	struct stat dir;

	overlay_getattr(req->session->ov, req->file, &dir);
	if ((dir.st_mode & S_ISGID) == 0)
		return;
	what->gid = dir.st_gid;
	if (S_ISDIR(what->mode))
		what->mode |= S_ISGID;
}

static void create(struct request *req, const char *name, uint32_t mode, const char *target)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req->fuse);

	req->names.name = name;
	req->names.what = (struct overlay_create){
		.mode = mode, .uid = ctx->uid, .gid = ctx->gid, .target = target};
	inherit_group(req);
	request_run(req, run_create);
}

static void op_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct request *req = request_for(fuse, REQUEST_MKNOD, parent);

	if (req == NULL)
		return;
	if ((mode & S_IFMT) == 0)
		mode |= S_IFREG;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode)) {
		request_reply(req, -EPERM);
		return;
	}
	create(req, name, mode & (S_IFMT | 07777), NULL);
}

static void op_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request *req = request_for(fuse, REQUEST_MKDIR, parent);

	if (req != NULL)
		create(req, name, S_IFDIR | (mode & 07777), NULL);
}

static void op_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
	struct request *req = request_for(fuse, REQUEST_SYMLINK, parent);

	if (req != NULL)
		create(req, name, S_IFLNK | 0777, target);
}

static void op_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_CREATE, parent);

	if (req == NULL)
		return;
	req->fi = *fi;
	create(req, name, S_IFREG | (mode & 07777), NULL);
}

static int run_unlink(struct request *req)
{
	struct overlay *ov = req->session->ov;
	int rc;

	if (req->type == REQUEST_RMDIR)
		rc = overlay_rmdir(ov, req->file, req->names.name);
	else
		rc = overlay_unlink(ov, req->file, req->names.name);
	if (rc == 0)
		request_reply(req, 0);
	return rc;
}

static void op_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct request *req = request_for(fuse, REQUEST_UNLINK, parent);

	if (req == NULL)
		return;
	req->names.name = name;
	request_run(req, run_unlink);
}

static void op_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct request *req = request_for(fuse, REQUEST_RMDIR, parent);

	if (req == NULL)
		return;
	req->names.name = name;
	request_run(req, run_unlink);
}

/* The other directory of a rename, or the file of a link. */
static bool add_second(struct request *req, fuse_ino_t ino)
{
	req->file2 = node_find(req->session, ino);
	if (req->file2 == NULL) {
		request_reply(req, -ESTALE);
		return false;
	}
	overlay_ref(req->file2);
	return true;
}

static int run_rename(struct request *req)
{
	int rc = overlay_rename(req->session->ov, req->file, req->names.name, req->file2,
				req->names.name2, req->names.flags);

	if (rc == 0)
		request_reply(req, 0);
	return rc;
}

static void op_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned flags)
{
	struct request *req = request_for(fuse, REQUEST_RENAME, parent);

	if (req == NULL || !add_second(req, newparent))
		return;
	req->names.name = name;
	req->names.name2 = newname;
	req->names.flags = flags;
	request_run(req, run_rename);
}

static int run_link(struct request *req)
{
	int rc = overlay_link(req->session->ov, req->file2, req->file, req->names.name);

	if (rc != 0)
		return rc;
	req->result = req->file2;
	overlay_ref(req->result);
	request_reply_entry(req);
	return 0;
}

static void op_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct request *req = request_for(fuse, REQUEST_LINK, newparent);

	if (req == NULL || !add_second(req, ino))
		return;
	req->names.name = newname;
	request_run(req, run_link);
}

static void op_readlink(fuse_req_t fuse, fuse_ino_t ino)
{
	struct request *req = request_for(fuse, REQUEST_READLINK, ino);
	const char *target;

	if (req == NULL)
		return;
	target = overlay_readlink(req->file);
	if (target == NULL)
		request_reply(req, -EINVAL);
	else
		request_done(req, fuse_reply_readlink(fuse, target));
}

static void op_forget(fuse_req_t fuse, fuse_ino_t ino, uint64_t lookups)
{
	struct session *s = fuse_req_userdata(fuse);

	s->stats.count[REQUEST_FORGET]++;
	node_forget(s, ino, lookups);
	fuse_reply_none(fuse);
}

static void op_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets)
{
	struct session *s = fuse_req_userdata(fuse);

	s->stats.count[REQUEST_FORGET] += count;
	for (size_t i = 0; i < count; i++)
		node_forget(s, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(fuse);
}

void ops_name_fill(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->create = op_create;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->link = op_link;
	ops->readlink = op_readlink;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
}
