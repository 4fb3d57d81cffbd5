/*
 * fsync and fsyncdir: real ones. Neither may ever answer ENOSYS, which the kernel would remember as
 * "always succeeds". flush is not offered: closing a file makes nothing durable.
 */
#include "fuse/fuse_internal.h"

#include "base/util.h"

static void sync_done(struct overlay_sync *op)
{
	request_reply(CONTAINER_OF(op, struct request, op.sync), op->result);
}

static void sync_file(struct request *req)
{
	req->op.sync = (struct overlay_sync){.file = req->file, .done = sync_done};
	overlay_sync(req->session->ov, &req->op.sync);
}

static void op_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_FSYNC, ino);

	if (req != NULL)
		sync_file(req);
}

static void op_fsyncdir(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_FSYNCDIR, ino);

	if (req != NULL)
		sync_file(req);
}

void ops_sync_fill(struct fuse_lowlevel_ops *ops)
{
	ops->fsync = op_fsync;
	ops->fsyncdir = op_fsyncdir;
}
