/*
 * Content: open, read, write, fallocate, release.
 *
 * The data of a WRITE lies in the receive buffer it came in. The request keeps that buffer until
 * the write is done and the loop takes another one, so that nothing is copied; when all are taken
 * the loop stops reading.
 */
#include "fuse/fuse_internal.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>

static struct file *handle_file(const struct fuse_file_info *fi)
{
	return (struct file *)(uintptr_t)fi->fh;
}

void open_flags(const struct session *s, const struct file *file, struct fuse_file_info *fi)
{
	fi->keep_cache = 1;
	/* WAL is written in order to be synced: on its way through the kernel's cache each commit
	 * would be a WRITE, a SETATTR and an FSYNC, one after the other. */
	fi->direct_io = s->write_back && overlay_is_wal(file);
}

void open_answer(struct request *req)
{
	struct session *s = req->session;
	int rc;

	overlay_ref(req->file); /* the handle's */
	req->fi.fh = (uint64_t)(uintptr_t)req->file;
	open_flags(s, req->file, &req->fi);
	rc = fuse_reply_open(req->fuse, &req->fi);
	if (rc != 0) {
		admission_released(s, req->file, req->fi.flags);
		overlay_unref(s->ov, req->file);
	}
	request_done(req, rc);
}

static void open_ready(struct overlay_wait *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.wait);

	admission_opened(req->session, req->file, req->fi.flags);
	if (!admission_delays(req))
		open_answer(req);
}

static void op_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_OPEN, ino);

	if (req == NULL)
		return;
	req->fi = *fi;
	req->op.wait = (struct overlay_wait){.file = req->file, .done = open_ready};
	overlay_wait(req->session->ov, &req->op.wait);
}

static void op_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct session *s = fuse_req_userdata(fuse);
	struct request *req = request_new(fuse, REQUEST_RELEASE, NULL);

	admission_released(s, handle_file(fi), fi->flags);
	overlay_unref(s->ov, handle_file(fi));
	if (req != NULL)
		request_reply(req, 0);
}

static void read_done(struct overlay_read *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.read);

	if (op->result < 0) {
		request_reply(req, (int)op->result);
		return;
	}
	req->session->stats.read_bytes += (uint64_t)op->result;
	request_done(req, fuse_reply_buf(req->fuse, op->data, (size_t)op->result));
}

static void op_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct request *req = request_new(fuse, REQUEST_READ, handle_file(fi));

	if (req == NULL)
		return;
	req->op.read = (struct overlay_read){
		.file = req->file,
		.off = (uint64_t)off,
		.len = (uint32_t)MIN(size, (size_t)REQUEST_MAX_WRITE),
		.done = read_done,
	};
	overlay_read(req->session->ov, &req->op.read);
}

static void write_reply(struct request *req, uint32_t len)
{
	req->session->stats.write_bytes += len;
	request_done(req, fuse_reply_write(req->fuse, len));
}

static void write_synced(struct overlay_sync *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.sync);

	if (op->result != 0)
		request_reply(req, op->result);
	else
		write_reply(req, req->written);
}

static void write_done(struct overlay_write *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.write);

	if (op->cached)
		admission_written(req->session, req->file);
	if (op->result != 0) {
		request_reply(req, op->result);
		return;
	}
	if (!req->write_syncs) {
		write_reply(req, op->len);
		return;
	}
	req->written = op->len;
	req->op.sync = (struct overlay_sync){.file = req->file, .done = write_synced};
	overlay_sync(req->session->ov, &req->op.sync);
}

static void op_write(fuse_req_t fuse, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct request *req = request_new(fuse, REQUEST_WRITE, handle_file(fi));

	if (req == NULL)
		return;
	if (size > REQUEST_MAX_WRITE) {
		request_reply(req, -EINVAL);
		return;
	}
	req->buffer = TAKE_PTR(req->session->receiving);
	/* O_DSYNC, O_SYNC and RWF_DSYNC: the kernel sends an FSYNC after a write by way of its cache,
	 * none after one to what was opened direct. That is so of WAL, see open_flags. */
	req->write_syncs =
		req->session->write_back && !fi->writepage && (fi->flags & O_DSYNC) != 0;
	/* O_APPEND: the kernel knows the size, being the only one that changes it, and sends the
	 * offset. */
	req->op.write = (struct overlay_write){
		.file = req->file,
		.off = (uint64_t)off,
		.len = (uint32_t)size,
		.data = data,
		.cached = fi->writepage,
		.done = write_done,
	};
	overlay_write(req->session->ov, &req->op.write);
}

static void fallocate_done(struct overlay_resize *op)
{
	request_reply(CONTAINER_OF(op, struct request, op.resize), op->result);
}

/* Anything else is answered EOPNOTSUPP: never a success that does nothing. */
static bool mode_is_known(int mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return true;
	default:
		return false;
	}
}

static void op_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct request *req = request_new(fuse, REQUEST_FALLOCATE, handle_file(fi));

	if (req == NULL)
		return;
	if (!mode_is_known(mode)) {
		request_reply(req, -EOPNOTSUPP);
		return;
	}
	req->op.resize = (struct overlay_resize){
		.file = req->file,
		.fallocate = true,
		.mode = mode,
		.off = (uint64_t)off,
		.len = (uint64_t)len,
		.done = fallocate_done,
	};
	overlay_resize(req->session->ov, &req->op.resize);
}

void ops_data_fill(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->release = op_release;
	ops->read = op_read;
	ops->write = op_write;
	ops->fallocate = op_fallocate;
}
