/*
 * tests/fault/below.c: what the kernel answers where inject.c has left a mark. --wrap puts these
 * functions in front of those of the C library and of liburing.
 */
#include "inject.h"

#include "base/util.h"

#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARTS 64u /* elements of a vector that is cut short */

static bool interrupted(void)
{
	struct below_mark mark;

	if (!inject_take(&mark))
		return false;
	errno = -mark.error;
	return true;
}

#define WRAP(type, name, params, args)                                                             \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return interrupted() ? (type)-1 : __real_##name args;                              \
	}
WRAP(int, openat64, (int fd, const char *path, int flags, mode_t mode), (fd, path, flags, mode))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size))
WRAP(int, fallocate64, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len))
WRAP(int, renameat, (int fd, const char *path, int fd2, const char *path2), (fd, path, fd2, path2))
WRAP(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
WRAP(int, fstat64, (int fd, void *ret), (fd, ret))
WRAP(int, fstatat64, (int fd, const char *path, void *ret, int flags), (fd, path, ret, flags))
WRAP(int, fstatvfs64, (int fd, void *ret), (fd, ret))
WRAP(int, flock, (int fd, int operation), (fd, operation))

/* It is closed whatever it says. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	int rc = __real_close(fd);

	return interrupted() ? -1 : rc;
}

/* openat2 has no wrapper in the C library. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;

	if (number == SYS_openat2 && interrupted())
		return -1;
	va_start(args, number);
	for (unsigned i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(args, long);
	va_end(args);
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The first half of the vector. */
static unsigned halve(struct iovec out[PARTS], const struct iovec *iov, unsigned iovcnt)
{
	size_t total = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < iovcnt; i++)
		total += iov[i].iov_len;
	total = total > 1 ? total / 2 : total;
	for (; n < MIN(iovcnt, PARTS) && total > 0; n++) {
		out[n] = iov[n];
		out[n].iov_len = MIN(iov[n].iov_len, total);
		total -= out[n].iov_len;
	}
	return n;
}

/* True: the vector goes through as *count elements of out; false with errno set: it does not. */
static bool transfer(struct iovec out[PARTS], const struct iovec **iov, int *count)
{
	struct below_mark mark;

	if (!inject_take(&mark))
		return true;
	if (mark.what == BELOW_EINTR || mark.what == BELOW_REST) {
		errno = -mark.error;
		return false;
	}
	if (mark.what == BELOW_BROKEN)
		inject_put_rest(mark.error);
	*count = (int)halve(out, *iov, (unsigned)*count);
	*iov = out;
	return true;
}

#define WRAP_VECTOR(name)                                                                          \
	ssize_t __real_##name(int, const struct iovec *, int, off_t);                              \
	ssize_t __wrap_##name(int, const struct iovec *, int, off_t);                              \
	ssize_t __wrap_##name(int fd, const struct iovec *iov, int count, off_t off)               \
	{                                                                                          \
		struct iovec part[PARTS];                                                          \
                                                                                                   \
		return transfer(part, &iov, &count) ? __real_##name(fd, iov, count, off) : -1;     \
	}
WRAP_VECTOR(preadv64)
WRAP_VECTOR(pwritev64)

/* Called once only, so what is left of a broken transfer must not hit the next call. */
ssize_t __real_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	struct below_mark mark = {.what = BELOW_NOTHING};
	struct iovec part[PARTS];

	if (!inject_take(&mark))
		return __real_preadv64v2(fd, iov, count, off, flags);
	if (mark.what == BELOW_EINTR) {
		errno = EINTR;
		return -1;
	}
	return __real_preadv64v2(fd, part, (int)halve(part, iov, (unsigned)count), off, flags);
}

/* ---- the ring ---- */

struct target {
	uint64_t user_data;
	struct below_mark mark;
};

/* Operations answered short that are to fail when they come again. */
static struct target rest[PARTS];
static unsigned rest_count;

static bool is_same(const struct io_uring_sqe *sqe, const struct sys_event *ev)
{
	static const uint8_t opcodes[SYS_CALL_MAX_] = {
		[SYS_CALL_READ] = IORING_OP_READV,	   [SYS_CALL_WRITE] = IORING_OP_WRITEV,
		[SYS_CALL_FSYNC] = IORING_OP_FSYNC,	   [SYS_CALL_FDATASYNC] = IORING_OP_FSYNC,
		[SYS_CALL_FALLOCATE] = IORING_OP_FALLOCATE};

	if (sqe->opcode != opcodes[ev->call] || sqe->fd != ev->fd)
		return false;
	return ev->iov ? sqe->addr == (uintptr_t)ev->iov
		       : sqe->opcode == IORING_OP_FSYNC || sqe->off == ev->off;
}

static bool find_rest(uint64_t user_data, struct target *ret)
{
	for (unsigned i = 0; i < rest_count; i++) {
		if (rest[i].user_data != user_data)
			continue;
		*ret = rest[i];
		rest[i] = rest[--rest_count];
		return true;
	}
	return false;
}

/*
 * The kernel gets half of the vector: whoever does not go on has neither written nor read the rest.
 * The copy lives until the completion, for which the submission waits.
 */
static void cut_short(struct io_uring_sqe *sqe, struct iovec part[PARTS])
{
	const struct iovec *iov = (const struct iovec *)(uintptr_t)sqe->addr;

	if (sqe->opcode != IORING_OP_READV && sqe->opcode != IORING_OP_WRITEV)
		return;
	sqe->len = halve(part, iov, sqe->len);
	sqe->addr = (uintptr_t)part;
}

static unsigned find_targets(const struct io_uring *ring, struct target *ret, unsigned max)
{
	static struct iovec parts[PARTS][PARTS];
	const struct io_uring_sq *sq = &ring->sq;
	struct below_mark marks[PARTS];
	unsigned n = 0, mark_count = 0;

	while (mark_count < PARTS && inject_take(&marks[mark_count]))
		mark_count++;
	for (unsigned at = sq->sqe_head; at != sq->sqe_tail && n < max; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];

		if (find_rest(sqe->user_data, &ret[n])) {
			n++;
			continue;
		}
		for (unsigned i = 0; i < mark_count; i++) {
			if (marks[i].what == BELOW_NOTHING || !is_same(sqe, &marks[i].event))
				continue;
			if (marks[i].what == BELOW_SHORT || marks[i].what == BELOW_BROKEN)
				cut_short(sqe, parts[n]);
			ret[n++] = (struct target){sqe->user_data, marks[i]};
			marks[i].what = BELOW_NOTHING;
			break;
		}
	}
	return n;
}

static struct io_uring_cqe *wait_for(struct io_uring *ring, uint64_t user_data)
{
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head;

		io_uring_for_each_cqe(ring, head, cqe) if (cqe->user_data == user_data) return cqe;
		(void)sched_yield(); /* lets the kernel post it */
	}
}

static void change(struct io_uring_cqe *cqe, const struct target *t)
{
	switch (t->mark.what) {
	case BELOW_EINTR:
		cqe->res = t->mark.number % 2 ? -EINTR : -EAGAIN;
		break;
	case BELOW_BROKEN:
		if (cqe->res <= 1 || rest_count == PARTS)
			break;
		rest[rest_count] = *t;
		rest[rest_count++].mark.what = BELOW_REST;
		break;
	case BELOW_REST:
		cqe->res = t->mark.error;
		break;
	case BELOW_SHORT: /* cut short when it was submitted */
	case BELOW_NOTHING:
	case BELOW_CLOSE:
		break;
	}
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	struct target targets[PARTS];
	unsigned n = find_targets(ring, targets, PARTS), ready = io_uring_sq_ready(ring);
	int rc = __real_io_uring_submit(ring);

	for (unsigned i = 0; i < n && rc == (int)ready; i++)
		change(wait_for(ring, targets[i].user_data), &targets[i]);
	return rc;
}
