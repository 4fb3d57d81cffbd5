/*
 * The libfuse session: options, mounting, what is agreed with the kernel, the in-process transport.
 * Serving is in loop.c.
 */
#include "fuse/fuse_internal.h"

#include "base/sys.h"
#include "base/util.h"
#include "fuse/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECEIVE_SIZE   (REQUEST_MAX_WRITE + 4096)
#define MAX_BACKGROUND 64
#define MAX_READAHEAD  (1u << 20)

/* ---- what is agreed with the kernel ---- */

static void want(struct fuse_conn_info *conn, unsigned capability, bool on)
{
	if (on)
		conn->want |= conn->capable & capability;
	else
		conn->want &= ~capability;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct session *s = userdata;

	/* The mount is the only writer: nothing but the kernel's own changes makes its caches
	 * wrong. */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
	want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
	want(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO, true);
	want(conn, FUSE_CAP_WRITEBACK_CACHE, s->parts.write_back);
	s->write_back = (conn->want & FUSE_CAP_WRITEBACK_CACHE) != 0;
	/* O_TRUNC comes as SETATTR, one path for all truncations. */
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);
	/* Locks stay inside the kernel; set-user-id bits are taken away by the kernel. */
	want(conn, FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_HANDLE_KILLPRIV, false);
	want(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
	want(conn, FUSE_CAP_IOCTL_DIR, false);
	conn->max_write = REQUEST_MAX_WRITE;
	conn->max_readahead = MIN(conn->max_readahead, MAX_READAHEAD);
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	s->initialised = true;
}

/*
 * Calls that are missing here are answered ENOSYS, which makes the kernel do the right thing by
 * itself and never ask again: extended attributes, flush, lseek, copy_file_range, ioctl, poll,
 * locks.
 */
static struct fuse_lowlevel_ops make_ops(void)
{
	struct fuse_lowlevel_ops ops = {.init = op_init};

	ops_name_fill(&ops);
	ops_attr_fill(&ops);
	ops_data_fill(&ops);
	ops_dir_fill(&ops);
	ops_sync_fill(&ops);
	return ops;
}

/* ---- life ---- */

static int add_options(const struct session_options *o, char **ret)
{
	_cleanup_free_ char *source = NULL;
	const char *const options[] = {
		"subtype=" SESSION_SUBTYPE,
		"default_permissions",
		"nosuid",
		"nodev",
		"noatime",
		o->allow_other ? "allow_other" : NULL,
		o->read_only ? "ro" : NULL,
		o->noexec ? "noexec" : NULL,
	};

	if (asprintf(&source, "fsname=%s", o->store) < 0)
		return -ENOMEM;
	if (fuse_opt_add_opt_escaped(ret, source) != 0)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		if (options[i] != NULL && fuse_opt_add_opt(ret, options[i]) != 0)
			return -ENOMEM;
	}
	return 0;
}

static int new_fuse(struct session *s)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	const struct fuse_lowlevel_ops ops = make_ops();
	char *options = NULL;
	int rc = add_options(&s->options, &options);

	if (rc == 0 &&
	    (fuse_opt_add_arg(&args, "pgoverlay") != 0 || fuse_opt_add_arg(&args, "-o") != 0 ||
	     fuse_opt_add_arg(&args, options) != 0))
		rc = -ENOMEM;
	if (rc == 0) {
		s->fuse = fuse_session_new(&args, &ops, sizeof(ops), s);
		if (s->fuse == NULL)
			rc = -EINVAL;
	}
	free(options);
	fuse_opt_free_args(&args);
	return rc;
}

int session_new(const struct session_options *options, struct errmsg *e, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	s->epoll_fd = -1;
	s->options = *options;
	s->store = strdup(options->store);
	s->options.store = s->store;
	rc = s->store != NULL ? new_fuse(s) : -ENOMEM;
	if (rc != 0) {
		session_free(s);
		return errmsg_set(e, rc, "cannot make a FUSE session: %s", strerror(-rc));
	}
	*ret = s;
	return 0;
}

static void free_buffers(struct session *s)
{
	if (s->receiving != NULL)
		loop_put_buffer(s, TAKE_PTR(s->receiving));
	while (s->free_buffers != NULL) {
		struct receive_buffer *buffer = s->free_buffers;

		s->free_buffers = buffer->next;
		free(buffer->buf.mem);
		free(buffer);
	}
}

/* The kernel has let go of the connection. */
static bool is_gone(const struct session *s)
{
	struct pollfd p = {.fd = fuse_session_fd(s->fuse)};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

void session_free(struct session *s)
{
	if (s == NULL)
		return;
	control_close(s);
	loop_close(s);
	node_free_all(s);
	request_free_all(s);
	admission_free(s);
	free_buffers(s);
	if (s->mounted && is_gone(s))
		fuse_session_unmount(
			s->fuse); /* nothing to unmount; it frees what it keeps of it */
	if (s->fuse != NULL)
		fuse_session_destroy(s->fuse);
	free(s->dir_buffer);
	free(s->facts);
	free(s->mountpoint);
	free(s->store);
	free(s);
}

/* ---- mounting ---- */

/* libfuse and fusermount3 say why on stderr and nowhere else: it is caught there while fn runs. */
static int catch_stderr(int (*fn)(struct session *s), struct session *s, char *text, size_t size)
{
	_cleanup_close_ int file = memfd_create("stderr", MFD_CLOEXEC);
	_cleanup_close_ int old = file >= 0 ? fcntl(2, F_DUPFD_CLOEXEC, 3) : -1;
	int64_t n;
	int rc;

	text[0] = 0;
	if (old < 0)
		return fn(s);
	(void)fflush(stderr);
	(void)dup2(file, 2);
	rc = fn(s);
	(void)fflush(stderr);
	(void)dup2(old, 2);
	n = sys_pread_full(file, text, size - 1, 0);
	text[MAX(n, 0)] = 0;
	return rc;
}

static int mount_now(struct session *s)
{
	return fuse_session_mount(s->fuse, s->mountpoint);
}

int session_mount(struct session *s, const char *mountpoint, struct errmsg *e)
{
	char why[512];
	int flags;

	s->mountpoint = strdup(mountpoint);
	if (s->mountpoint == NULL)
		return -ENOMEM;
	if (catch_stderr(mount_now, s, why, sizeof(why)) != 0) {
		why[strcspn(why, "\n")] = 0;
		return errmsg_set(e, -EIO, "cannot mount on '%s': %s", mountpoint,
				  why[0] != 0 ? why : "libfuse gives no reason");
	}
	s->mounted = true;
	flags = fcntl(fuse_session_fd(s->fuse), F_GETFL);
	if (flags < 0 || fcntl(fuse_session_fd(s->fuse), F_SETFL, flags | O_NONBLOCK) < 0)
		return errmsg_set(e, -errno, "cannot set up /dev/fuse: %s", strerror(errno));
	return 0;
}

void session_unmount(struct session *s)
{
	if (!s->mounted)
		return;
	s->mounted = false;
	fuse_session_unmount(s->fuse);
}

int session_start(struct session *s, const struct session_parts *parts, struct errmsg *e)
{
	int rc;

	s->parts = *parts;
	s->ov = parts->overlay;
	s->facts = strdup(parts->facts != NULL ? parts->facts : "{}");
	if (s->facts == NULL)
		return -ENOMEM;
	rc = node_add_root(s);
	if (rc != 0 || !s->mounted)
		return rc;
	rc = loop_open(s);
	if (rc != 0)
		return errmsg_set(e, rc, "cannot start the event loop: %s", strerror(-rc));
	if (parts->run_dirfd >= 0)
		rc = control_open(s, parts->run_dirfd, e);
	return rc;
}

/* ---- receive buffers ---- */

bool loop_take_buffer(struct session *s)
{
	struct receive_buffer *buffer;

	if (s->receiving != NULL)
		return true;
	if (s->free_buffers != NULL) {
		s->receiving = s->free_buffers;
		s->free_buffers = s->receiving->next;
		s->free_buffer_count--;
		s->idle_buffers = MIN(s->idle_buffers, s->free_buffer_count);
		return true;
	}
	if (s->buffer_count >= RECEIVE_BUFFERS)
		return false;
	buffer = calloc(1, sizeof(*buffer));
	if (buffer == NULL)
		return false;
	/* Untouched pages of it cost nothing: most requests are small. */
	buffer->buf.mem = malloc(RECEIVE_SIZE);
	if (buffer->buf.mem == NULL) {
		free(buffer);
		return false;
	}
	s->buffer_count++;
	s->receiving = buffer;
	return true;
}

void loop_put_buffer(struct session *s, struct receive_buffer *buffer)
{
	/* Last in, first out: the same few stay warm. */
	buffer->next = s->free_buffers;
	s->free_buffers = buffer;
	s->free_buffer_count++;
}

void loop_trim_buffers(struct session *s)
{
	struct receive_buffer **last = &s->free_buffers;

	for (unsigned kept = s->free_buffer_count - s->idle_buffers; kept > 0; kept--)
		last = &(*last)->next;
	while (*last != NULL) {
		struct receive_buffer *buffer = *last;

		*last = buffer->next;
		free(buffer->buf.mem);
		free(buffer);
		s->free_buffer_count--;
		s->buffer_count--;
	}
	s->idle_buffers = s->free_buffer_count;
}

/* ---- the in-process transport ---- */

static ssize_t pipe_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *s = userdata;
	ssize_t len = 0;

	for (int i = 0; i < count; i++)
		len += (ssize_t)iov[i].iov_len;
	s->pipe.reply(s->pipe.ctx, iov, count);
	return len;
}

static ssize_t pipe_read(int fd, void *buf, size_t len, void *userdata)
{
	errno = EAGAIN;
	return -1;
}

int session_attach(struct session *s, const struct session_pipe *pipe)
{
	const struct fuse_custom_io io = {.writev = pipe_writev, .read = pipe_read};
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	s->pipe = *pipe;
	return fuse_session_custom_io(s->fuse, &io, fd);
}

int session_feed(struct session *s, const void *message, size_t len)
{
	if (len > RECEIVE_SIZE)
		return -EINVAL;
	if (!loop_take_buffer(s))
		return -EAGAIN;
	memcpy(s->receiving->buf.mem, message, len);
	s->receiving->buf.size = len;
	fuse_session_process_buf(s->fuse, &s->receiving->buf);
	return 0;
}

void session_get_stats(const struct session *s, struct session_stats *ret)
{
	*ret = (struct session_stats){
		.nodes = s->node_count,
		.in_flight = s->in_flight,
		.parked = s->parked,
		.held_back = s->held_back,
	};
}
