/*
 * The helper and the daemon talk over a pair of sockets that keeps messages apart. The helper
 * sleeps in recv; when the daemon ends, however it ends, recv says so.
 */
#include "fuse/helper.h"

#include "base/sys.h"
#include "base/util.h"
#include "fuse/mountinfo.h"
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIVEN_MAX 250u /* the kernel takes 253 descriptors with a message */

enum helper_op {
	HELPER_MOUNTED,
	HELPER_READAHEAD,
	HELPER_UNMOUNT,
	HELPER_UNMOUNT_LAZY,
	HELPER_FLUSH,
	HELPER_GIVE, /* with descriptors */
	HELPER_DONE
};

struct helper_message {
	enum helper_op op;
	unsigned arg;
};

struct helper_reply {
	enum helper_asked asked;
	int result;
};

struct helper {
	pid_t pid;
	int fd;
};

/* ---- in the helper ---- */

struct helper_state {
	const struct helper_options *options;
	struct mountinfo mount;
	bool mounted;
	bool orderly;
	int *fds; /* given */
	unsigned fd_count;
};

static bool is_ours(const struct helper_state *h)
{
	struct mountinfo now;

	return h->mounted && mountinfo_find(h->options->mountpoint, &now) == 0 &&
	       now.major == h->mount.major && now.minor == h->mount.minor &&
	       strcmp(now.fstype, SESSION_FSTYPE) == 0;
}

static int unmount(struct helper_state *h, bool lazy)
{
	int rc;

	if (!is_ours(h))
		return 0;
	rc = mountinfo_unmount(h->options->mountpoint, lazy);
	if (rc == 0)
		h->mounted = false;
	return rc;
}

/* The daemon serves what this asks of it. */
static int flush(struct helper_state *h)
{
	_cleanup_close_ int fd = -1;

	if (!is_ours(h))
		return 0;
	fd = sys_openat(AT_FDCWD, h->options->mountpoint, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? fd : sys_syncfs(fd);
}

/* Room for descriptors beside a message. */
union rights {
	char space[CMSG_SPACE(sizeof(int) * GIVEN_MAX)];
	struct cmsghdr align;
};

/* Those beyond GIVEN_MAX of a message are never there: they are given in several. */
struct given {
	int fds[GIVEN_MAX];
	unsigned count;
};

static int receive(int fd, struct helper_message *ret, struct given *ret_given)
{
	struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret)};
	union rights rights;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &rights,
			     .msg_controllen = sizeof(rights)};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	ret_given->count = 0;
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		ret_given->count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret_given->fds, CMSG_DATA(c), ret_given->count * sizeof(int));
	}
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*ret) ? 0 : -EPIPE;
}

static void keep(struct helper_state *h, const struct given *given)
{
	size_t count = h->fd_count + given->count;
	int *fds = given->count > 0 ? reallocarray(h->fds, count, sizeof(*fds)) : NULL;

	if (fds == NULL)
		return;
	memcpy(fds + h->fd_count, given->fds, given->count * sizeof(*fds));
	h->fds = fds;
	h->fd_count = (unsigned)count;
}

static void reply(int fd, enum helper_asked asked, int result)
{
	const struct helper_reply r = {.asked = asked, .result = result};

	(void)send(fd, &r, sizeof(r), MSG_NOSIGNAL);
}

static void handle(struct helper_state *h, int fd, const struct helper_message *m,
		   const struct given *given)
{
	switch (m->op) {
	case HELPER_MOUNTED:
		h->mounted = mountinfo_find(h->options->mountpoint, &h->mount) == 0;
		break;
	case HELPER_READAHEAD:
		mountinfo_set_readahead(h->options->mountpoint, m->arg);
		break;
	case HELPER_UNMOUNT:
	case HELPER_UNMOUNT_LAZY:
		reply(fd,
		      m->op == HELPER_UNMOUNT ? HELPER_ASKED_UNMOUNT : HELPER_ASKED_UNMOUNT_LAZY,
		      unmount(h, m->op == HELPER_UNMOUNT_LAZY));
		break;
	case HELPER_FLUSH:
		reply(fd, HELPER_ASKED_FLUSH, flush(h));
		break;
	case HELPER_GIVE:
		keep(h, given);
		break;
	case HELPER_DONE:
		h->orderly = true;
		break;
	}
}

void helper_close_others(int a, int b)
{
	unsigned low = (unsigned)MIN(a, b), high = (unsigned)MAX(a, b);
	int null = sys_openat(AT_FDCWD, "/dev/null", O_RDWR, 0);

	for (int fd = 0; null >= 0 && fd < 3; fd++)
		(void)dup2(null, fd);
	if (MIN(a, b) < 0)
		low = high;
	if (low > 3)
		(void)close_range(3, low - 1, 0);
	if (high > low + 1)
		(void)close_range(low + 1, high - 1, 0);
	(void)close_range(high + 1, ~0u, 0);
}

static void __attribute__((noreturn)) helper_main(int fd, const struct helper_options *options)
{
	struct helper_state h = {.options = options};
	struct helper_message m;
	struct given given;
	int rc;

	(void)prctl(PR_SET_NAME, "pgoverlay-helpr");
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	helper_close_others(fd, options->keep_fd);
	if (options->started != NULL)
		options->started(options->ctx);
	do {
		rc = receive(fd, &m, &given);
		if (rc == 0)
			handle(&h, fd, &m, &given);
	} while (rc == 0 || rc == -EINTR);
	(void)unmount(&h, true);
	if (options->finish != NULL)
		options->finish(options->ctx, h.orderly, h.fds, h.fd_count);
	_exit(0);
}

/* ---- in the daemon ---- */

int helper_start(const struct helper_options *options, struct errmsg *e, struct helper **ret)
{
	struct helper *helper = calloc(1, sizeof(*helper));
	int fds[2];

	if (helper == NULL)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(helper);
		return errmsg_set(e, -errno, "cannot make a socket pair: %s", strerror(errno));
	}
	helper->pid = fork();
	if (helper->pid == 0)
		helper_main(fds[1], options);
	(void)sys_close(fds[1]);
	if (helper->pid < 0) {
		int rc = errmsg_set(e, -errno, "cannot fork: %s", strerror(errno));

		(void)sys_close(fds[0]);
		free(helper);
		return rc;
	}
	helper->fd = fds[0];
	*ret = helper;
	return 0;
}

void helper_free(struct helper *helper)
{
	if (helper == NULL)
		return;
	(void)sys_close(helper->fd);
	free(helper);
}

void helper_end(struct helper *helper)
{
	pid_t pid = helper != NULL ? helper->pid : 0;

	helper_free(helper);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

pid_t helper_pid(const struct helper *helper)
{
	return helper->pid;
}

int helper_fd(const struct helper *helper)
{
	return helper->fd;
}

static int tell(struct helper *helper, enum helper_op op, unsigned arg)
{
	const struct helper_message m = {.op = op, .arg = arg};

	return send(helper->fd, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int give_some(struct helper *helper, const int *fds, unsigned count)
{
	struct helper_message m = {.op = HELPER_GIVE};
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	union rights rights = {{0}};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &rights,
			     .msg_controllen = CMSG_SPACE(sizeof(*fds) * count)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(*fds) * count);
	memcpy(CMSG_DATA(c), fds, sizeof(*fds) * count);
	return sendmsg(helper->fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int helper_give(struct helper *helper, const int *fds, unsigned count)
{
	int rc = 0;

	for (unsigned at = 0; at < count && rc == 0; at += GIVEN_MAX)
		rc = give_some(helper, fds + at, MIN(count - at, GIVEN_MAX));
	return rc;
}

int helper_mounted(struct helper *helper)
{
	return tell(helper, HELPER_MOUNTED, 0);
}

int helper_readahead(struct helper *helper, unsigned kib)
{
	return tell(helper, HELPER_READAHEAD, kib);
}

int helper_unmount(struct helper *helper, bool lazy)
{
	return tell(helper, lazy ? HELPER_UNMOUNT_LAZY : HELPER_UNMOUNT, 0);
}

int helper_flush(struct helper *helper)
{
	return tell(helper, HELPER_FLUSH, 0);
}

int helper_done(struct helper *helper)
{
	return tell(helper, HELPER_DONE, 0);
}

int helper_answer(struct helper *helper, enum helper_asked *ret_asked, int *ret_result)
{
	struct helper_reply r;
	ssize_t n = recv(helper->fd, &r, sizeof(r), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(r)) {
		*ret_asked = r.asked;
		*ret_result = r.result;
		return 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	return -EPIPE;
}
