/*
 * Attributes. GETATTR is the most frequent request of all (PostgreSQL seeks to the end after each
 * write): it is answered from memory, behind the barrier.
 *
 * set-user-id bits: the kernel is not told that we take care of them (HANDLE_KILLPRIV), so it sends
 * the new mode itself.
 */
#include "fuse/fuse_internal.h"

#include "base/util.h"

#include <errno.h>
#include <time.h>

static void op_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_GETATTR, ino);

	if (req == NULL)
		return;
	if (fi != NULL && admission_refuses(req->session, req->file)) {
		request_reply(req, -ENOSPC);
		return;
	}
	req->result = req->file;
	overlay_ref(req->result);
	request_reply_attr(req);
}

static int64_t timespec_ns(const struct timespec *ts)
{
	return ns_of(ts->tv_sec, ts->tv_nsec);
}

static int64_t wall_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return timespec_ns(&now);
}

/* What the kernel asks for, in the overlay's terms. */
static void take_attr(struct request *req, const struct stat *st, int to_set)
{
	struct diff_attr *a = &req->attr;

	if ((to_set & FUSE_SET_ATTR_MODE) != 0) {
		a->mode = st->st_mode & 07777;
		req->set |= OVERLAY_SET_MODE;
	}
	if ((to_set & FUSE_SET_ATTR_UID) != 0) {
		a->uid = st->st_uid;
		req->set |= OVERLAY_SET_UID;
	}
	if ((to_set & FUSE_SET_ATTR_GID) != 0) {
		a->gid = st->st_gid;
		req->set |= OVERLAY_SET_GID;
	}
	if ((to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) != 0) {
		a->atime = (to_set & FUSE_SET_ATTR_ATIME_NOW) != 0 ? wall_now()
								   : timespec_ns(&st->st_atim);
		req->set |= OVERLAY_SET_ATIME;
	}
	if ((to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
		a->mtime = (to_set & FUSE_SET_ATTR_MTIME_NOW) != 0 ? wall_now()
								   : timespec_ns(&st->st_mtim);
		req->set |= OVERLAY_SET_MTIME;
	}
	if ((to_set & FUSE_SET_ATTR_CTIME) != 0) {
		a->ctime = timespec_ns(&st->st_ctim);
		req->set |= OVERLAY_SET_CTIME;
	}
}

/* What the request has made of the file; requests that came later have no part in the answer. */
static void reply_attr(struct request *req, const struct stat *st, double seconds)
{
	struct session *s = req->session;

	request_done(req, fuse_reply_attr(req->fuse, st, seconds));
	admission_told(s);
}

static void setattr_resized(struct overlay_resize *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.resize);

	if (op->result != 0)
		request_reply(req, op->result);
	else
		reply_attr(req, &op->after, admission_mark(req->session, req->file));
}

/*
 * A new size takes its place among the writes at once, whatever else is set with it. It comes last
 * there: an error after it had changed would leave the kernel with the old one for as long as it
 * keeps attributes.
 */
static void setattr_resize(struct request *req)
{
	req->op.resize = (struct overlay_resize){.file = req->file,
						 .off = req->new_size,
						 .attr = &req->attr,
						 .which = req->set,
						 .done = setattr_resized};
	overlay_resize(req->session->ov, &req->op.resize);
}

/*
 * The kernel sends so, of a file that is open for writing, what it has counted itself (write-back).
 * It is no promise of fsync: as a change of attributes it would make each fsync a commit.
 */
static bool are_writes_times(const struct session *s, int to_set, const struct fuse_file_info *fi)
{
	return s->write_back && fi != NULL && (to_set & FUSE_SET_ATTR_MTIME) != 0 &&
	       (to_set & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME)) == 0;
}

static int run_times(struct request *req)
{
	struct stat st;

	if ((req->set & OVERLAY_SET_CTIME) == 0)
		req->attr.ctime = req->attr.mtime;
	overlay_take_times(req->session->ov, req->file, &req->attr);
	overlay_getattr(req->session->ov, req->file, &st);
	/* It comes with each fsync. Told for no time, who only reads would be asked and refused. */
	(void)admission_mark(req->session, req->file);
	reply_attr(req, &st, CACHE_SECONDS);
	return 0;
}

static int run_setattr(struct request *req)
{
	struct stat st;
	int rc = 0;

	if (req->set != 0)
		rc = overlay_setattr(req->session->ov, req->file, &req->attr, req->set);
	if (rc != 0)
		return rc;
	overlay_getattr(req->session->ov, req->file, &st);
	reply_attr(req, &st, admission_mark(req->session, req->file));
	return 0;
}

/* Behind the earlier writes: their times must not overwrite the ones set here. */
static void setattr_granted(struct overlay_wait *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.wait);

	request_run(req, req->run);
}

static void op_setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *st, int to_set,
		       struct fuse_file_info *fi)
{
	struct request *req = request_for(fuse, REQUEST_SETATTR, ino);

	if (req == NULL)
		return;
	take_attr(req, st, to_set);
	req->new_size = (uint64_t)st->st_size;
	if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
		setattr_resize(req);
		return;
	}
	req->run = are_writes_times(req->session, to_set, fi) ? run_times : run_setattr;
	req->op.wait = (struct overlay_wait){.file = req->file, .done = setattr_granted};
	overlay_wait(req->session->ov, &req->op.wait);
}

static void op_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
	struct request *req = request_new(fuse, REQUEST_STATFS, NULL);
	struct statvfs st = {0};
	int rc;

	if (req == NULL)
		return;
	rc = overlay_statfs(req->session->ov, &st);
	if (rc != 0)
		request_reply(req, rc);
	else
		request_done(req, fuse_reply_statfs(fuse, &st));
}

/* default_permissions: the kernel has checked before it asks. */
static void op_access(fuse_req_t fuse, fuse_ino_t ino, int mask)
{
	struct request *req = request_for(fuse, REQUEST_ACCESS, ino);

	if (req != NULL)
		request_reply(req, 0);
}

void ops_attr_fill(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->statfs = op_statfs;
	ops->access = op_access;
}
