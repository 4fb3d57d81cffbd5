/*
 * Requests: from arrival to reply.
 *
 * A request holds references to the files it works on, so that neither forget nor unlink can take
 * them away before the answer. It is answered exactly once, by request_reply or by an operation
 * that then calls request_done. Parked requests copy what lay in the receive buffer.
 */
#include "fuse/fuse_internal.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <time.h>

static const char *const type_names[REQUEST_MAX_] = {
	[REQUEST_LOOKUP] = "lookup",
	[REQUEST_GETATTR] = "getattr",
	[REQUEST_SETATTR] = "setattr",
	[REQUEST_READLINK] = "readlink",
	[REQUEST_MKNOD] = "mknod",
	[REQUEST_MKDIR] = "mkdir",
	[REQUEST_UNLINK] = "unlink",
	[REQUEST_RMDIR] = "rmdir",
	[REQUEST_SYMLINK] = "symlink",
	[REQUEST_RENAME] = "rename",
	[REQUEST_LINK] = "link",
	[REQUEST_OPEN] = "open",
	[REQUEST_CREATE] = "create",
	[REQUEST_READ] = "read",
	[REQUEST_WRITE] = "write",
	[REQUEST_RELEASE] = "release",
	[REQUEST_FSYNC] = "fsync",
	[REQUEST_OPENDIR] = "opendir",
	[REQUEST_READDIR] = "readdir",
	[REQUEST_READDIRPLUS] = "readdirplus",
	[REQUEST_RELEASEDIR] = "releasedir",
	[REQUEST_FSYNCDIR] = "fsyncdir",
	[REQUEST_STATFS] = "statfs",
	[REQUEST_ACCESS] = "access",
	[REQUEST_FALLOCATE] = "fallocate",
	[REQUEST_FORGET] = "forget",
};

const char *request_type_name(enum request_type type)
{
	return type_names[type];
}

uint64_t request_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ENOSYS never comes out of here: the kernel would take it for "never ask again" and turn fsync
 * into a lie. */
int request_errno(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case -EUCLEAN:
	case -EBADMSG:
	case -EAGAIN:
	case -ENOSYS:
	case -ENODEV:
	case -EBADF:
		return EIO;
	default:
		return rc < 0 ? -rc : EIO;
	}
}

/* ---- life ---- */

static void list_append(struct session *s, struct request *req)
{
	req->prev = s->newest;
	req->next = NULL;
	if (s->newest != NULL)
		s->newest->next = req;
	else
		s->oldest = req;
	s->newest = req;
	s->in_flight++;
}

static void list_remove(struct session *s, struct request *req)
{
	if (req->prev != NULL)
		req->prev->next = req->next;
	else
		s->oldest = req->next;
	if (req->next != NULL)
		req->next->prev = req->prev;
	else
		s->newest = req->prev;
	s->in_flight--;
}

static struct request *request_alloc(struct session *s)
{
	struct request *req = s->free_requests;

	if (req == NULL)
		return calloc(1, sizeof(*req));
	s->free_requests = req->next;
	s->free_count--;
	memset(req, 0, sizeof(*req));
	return req;
}

struct request *request_new(fuse_req_t fuse, enum request_type type, struct file *file)
{
	struct session *s = fuse_req_userdata(fuse);
	struct request *req = request_alloc(s);

	if (req == NULL) {
		fuse_reply_err(fuse, ENOMEM);
		return NULL;
	}
	req->session = s;
	req->fuse = fuse;
	req->type = type;
	req->begun = request_now();
	if (file != NULL) {
		req->file = file;
		overlay_ref(file);
	}
	list_append(s, req);
	return req;
}

struct request *request_for(fuse_req_t fuse, enum request_type type, fuse_ino_t ino)
{
	struct session *s = fuse_req_userdata(fuse);
	struct file *file = node_find(s, ino);

	if (file == NULL) {
		s->stats.count[type]++;
		s->stats.errors[type]++;
		fuse_reply_err(fuse, ESTALE);
		return NULL;
	}
	return request_new(fuse, type, file);
}

static void unref(struct session *s, struct file *file)
{
	if (file != NULL)
		overlay_unref(s->ov, file);
}

void request_done(struct request *req, int rc)
{
	struct session *s = req->session;
	uint64_t ns = request_now() - req->begun;

	s->stats.count[req->type]++;
	s->stats.ns[req->type] += ns;
	s->stats.latency[req->type][latency_bucket(ns)]++;
	if (rc < 0)
		s->stats.errors[req->type]++;
	list_remove(s, req);
	unref(s, req->file);
	unref(s, req->file2);
	unref(s, req->result);
	if (req->buffer != NULL)
		loop_put_buffer(s, req->buffer);
	free(req->names.own_name);
	free(req->names.own_name2);
	free(req->names.own_target);
	if (s->free_count >= REQUESTS_MAX) {
		free(req);
		return;
	}
	req->next = s->free_requests;
	s->free_requests = req;
	s->free_count++;
}

void request_reply(struct request *req, int rc)
{
	fuse_reply_err(req->fuse, request_errno(rc));
	request_done(req, rc);
}

void request_free_all(struct session *s)
{
	while (s->free_requests != NULL) {
		struct request *req = s->free_requests;

		s->free_requests = req->next;
		free(req);
	}
	s->free_count = 0;
}

/* ---- waiting for room in the journal ---- */

static int keep_string(const char **name, char **own)
{
	if (*name == NULL || *own != NULL)
		return 0;
	*own = strdup(*name);
	if (*own == NULL)
		return -ENOMEM;
	*name = *own;
	return 0;
}

static void room_ready(struct diff_room_wait *wait)
{
	struct request *req = CONTAINER_OF(wait, struct request, room);

	request_run(req, req->run);
}

static int park(struct request *req)
{
	struct name_args *n = &req->names;
	int rc;

	rc = keep_string(&n->name, &n->own_name);
	if (rc == 0)
		rc = keep_string(&n->name2, &n->own_name2);
	if (rc == 0)
		rc = keep_string(&n->what.target, &n->own_target);
	if (rc != 0)
		return rc;
	req->session->parked++;
	req->room.ready = room_ready;
	overlay_wait_room(req->session->ov, &req->room);
	return 0;
}

void request_run(struct request *req, int (*run)(struct request *req))
{
	int rc;

	req->run = run;
	rc = run(req);
	if (rc == -EAGAIN)
		rc = park(req);
	if (rc != 0)
		request_reply(req, rc);
}

/* ---- replies that wait for the barrier ---- */

int entry_fill(struct session *s, struct file *file, struct fuse_entry_param *ret)
{
	int rc = node_get(s, file);

	if (rc != 0)
		return rc;
	memset(ret, 0, sizeof(*ret));
	overlay_getattr(s->ov, file, &ret->attr);
	ret->ino = overlay_file_id(file);
	ret->attr_timeout = admission_mark(s, file);
	ret->entry_timeout = CACHE_SECONDS;
	return 0;
}

/* A reply that does not reach the kernel gave it no reference. */
static void entry_ready(struct overlay_wait *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.wait);
	struct session *s = req->session;
	struct fuse_entry_param entry;
	int rc = entry_fill(s, req->result, &entry);

	if (rc != 0) {
		request_reply(req, rc);
		return;
	}
	if (req->type == REQUEST_CREATE) {
		req->fi.fh = (uint64_t)(uintptr_t)req->result;
		open_flags(s, req->result, &req->fi);
		overlay_ref(req->result);
		admission_opened(s, req->result, req->fi.flags);
		entry.attr_timeout = admission_mark(s, req->result);
		rc = fuse_reply_create(req->fuse, &entry, &req->fi);
		if (rc != 0) {
			admission_released(s, req->result, req->fi.flags);
			overlay_unref(s->ov, req->result);
		}
	} else {
		rc = fuse_reply_entry(req->fuse, &entry);
	}
	if (rc != 0)
		node_forget(s, entry.ino, 1);
	request_done(req, rc);
	admission_told(s);
}

void request_reply_entry(struct request *req)
{
	req->op.wait = (struct overlay_wait){.file = req->result, .done = entry_ready};
	overlay_wait(req->session->ov, &req->op.wait);
}

static void attr_ready(struct overlay_wait *op)
{
	struct request *req = CONTAINER_OF(op, struct request, op.wait);
	struct session *s = req->session;
	struct stat st;
	double seconds = admission_mark(s, req->result);

	overlay_getattr(s->ov, req->result, &st);
	request_done(req, fuse_reply_attr(req->fuse, &st, seconds));
	admission_told(s);
}

void request_reply_attr(struct request *req)
{
	req->op.wait = (struct overlay_wait){.file = req->result, .done = attr_ready};
	overlay_wait(req->session->ov, &req->op.wait);
}

/* ---- stuck ones ---- */

void request_log_stuck(struct session *s)
{
	uint64_t now = request_now();

	for (struct request *req = s->oldest; req != NULL; req = req->next) {
		uint64_t age = (now - req->begun) / 1000000000u;

		if (age < STUCK_SECONDS)
			break;
		if (req->warned)
			continue;
		req->warned = true;
		log_warning(
			"a %s of node %llu has been waiting for %llu s", type_names[req->type],
			(unsigned long long)(req->file != NULL ? overlay_file_id(req->file) : 0),
			(unsigned long long)age);
	}
}
