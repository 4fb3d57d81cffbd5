/*
 * base/sys.c: the wrappers of single system calls. Each one passes the hook once, whatever number
 * of kernel calls it takes to resume short counts and EINTR.
 */
#include "base/sys_internal.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Evaluates the call again while a signal interrupts it; the value is the result or -errno. */
#define RETRY(call)                                                                                \
	({                                                                                         \
		int64_t _rc;                                                                       \
		do {                                                                               \
			_rc = (call);                                                              \
		} while (_rc < 0 && errno == EINTR);                                               \
		_rc < 0 ? (int64_t)-errno : _rc;                                                   \
	})

/* Runs the call between the two halves of the hook; the value is the result or -errno. */
#define HOOKED(event, call)                                                                        \
	({                                                                                         \
		int64_t _result = hook_before(event);                                              \
		if (_result == 0) {                                                                \
			_result = RETRY(call);                                                     \
			hook_after(event, _result);                                                \
		}                                                                                  \
		(int)_result;                                                                      \
	})

static _Atomic uint64_t no_descriptor_count;

uint64_t sys_no_descriptor_count(void)
{
	return atomic_load_explicit(&no_descriptor_count, memory_order_relaxed);
}

static int count_no_descriptor(int rc)
{
	if (rc == -EMFILE || rc == -ENFILE)
		atomic_fetch_add_explicit(&no_descriptor_count, 1, memory_order_relaxed);
	return rc;
}

int sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	struct sys_event ev = {
		.call = SYS_CALL_OPEN, .fd = dirfd, .fd2 = -1, .path = path, .flags = flags};

	return count_no_descriptor(HOOKED(&ev, openat(dirfd, path, flags | O_CLOEXEC, mode)));
}

/* openat2 lets ".." through as long as it stays below; we do not. */
static bool has_dotdot(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.')
			return true;
		if (path[len] == '\0')
			return false;
		path += len + 1;
	}
}

int sys_open_beneath(int dirfd, const char *path, int flags)
{
	struct sys_event ev = {
		.call = SYS_CALL_OPEN, .fd = dirfd, .fd2 = -1, .path = path, .flags = flags};
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	if (has_dotdot(path))
		return -EXDEV;
	return count_no_descriptor(
		HOOKED(&ev, syscall(SYS_openat2, dirfd, path, &how, sizeof(how))));
}

int sys_close(int fd)
{
	struct sys_event ev = {.call = SYS_CALL_CLOSE, .fd = fd, .fd2 = -1};
	int rc;

	rc = hook_before(&ev);
	if (rc < 0)
		return rc;
	/* Even with EINTR it is closed: a second try could hit another thread's descriptor. */
	rc = close(fd) < 0 && errno != EINTR ? -errno : 0;
	hook_after(&ev, rc);
	return rc;
}

/* Drops the first n bytes from the vector. */
static void iov_advance(struct iovec **iov, unsigned *iovcnt, size_t n)
{
	while (*iovcnt > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*iovcnt)--;
	}
	if (*iovcnt > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int iovcnt, off_t off);

/* Transfers until the vector is used up, an error, or a count of 0. Returns the bytes or -errno. */
static int64_t transfer(transfer_fn *call, int fd, struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	int64_t total = 0;

	iov_advance(&iov, &iovcnt, 0);
	while (iovcnt > 0) {
		int64_t n = RETRY(call(fd, iov, (int)MIN(iovcnt, (unsigned)IOV_MAX),
				       (off_t)(off + (uint64_t)total)));

		if (n <= 0)
			return n < 0 ? n : total;
		total += n;
		iov_advance(&iov, &iovcnt, (size_t)n);
	}
	return total;
}

static struct sys_event transfer_of(enum sys_call call, int fd, const struct iovec *iov,
				    unsigned iovcnt, uint64_t off)
{
	return (struct sys_event){.call = call,
				  .fd = fd,
				  .fd2 = -1,
				  .iov = iov,
				  .iovcnt = iovcnt,
				  .off = off};
}

int64_t sys_preadv_full(int fd, struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct sys_event ev = transfer_of(SYS_CALL_READ, fd, iov, iovcnt, off);
	int64_t rc;

	rc = hook_before(&ev);
	if (rc < 0)
		return rc;
	rc = transfer(preadv, fd, iov, iovcnt, off);
	hook_after(&ev, rc);
	return rc;
}

int64_t sys_pread_full(int fd, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};

	return sys_preadv_full(fd, &iov, 1, off);
}

int64_t sys_preadv_nowait(int fd, const struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct sys_event ev = transfer_of(SYS_CALL_READ, fd, iov, iovcnt, off);
	int64_t rc;

	rc = hook_before(&ev);
	if (rc < 0)
		return rc;
	rc = RETRY(preadv2(fd, iov, (int)MIN(iovcnt, (unsigned)IOV_MAX), (off_t)off, RWF_NOWAIT));
	/* A file system that cannot say what is cached: the caller goes the waiting way. */
	if (rc == -EOPNOTSUPP)
		rc = -EAGAIN;
	hook_after(&ev, rc);
	return rc;
}

int64_t sys_pwritev_once(int fd, const struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct sys_event ev = transfer_of(SYS_CALL_WRITE, fd, iov, iovcnt, off);

	return HOOKED(&ev, pwritev(fd, iov, (int)MIN(iovcnt, (unsigned)IOV_MAX), (off_t)off));
}

bool sys_writes_are_copies(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC;
}

/* An overlay does not say what it lies on. */
bool sys_keeps_allocated(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC ||
					 fs.f_type == XFS_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC);
}

static uint64_t iov_total(const struct iovec *iov, unsigned iovcnt)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < iovcnt; i++)
		total += iov[i].iov_len;
	return total;
}

int sys_pwritev_full(int fd, struct iovec *iov, unsigned iovcnt, uint64_t off)
{
	struct sys_event ev = transfer_of(SYS_CALL_WRITE, fd, iov, iovcnt, off);
	int64_t want = (int64_t)iov_total(iov, iovcnt);
	int64_t rc;

	rc = hook_before(&ev);
	if (rc < 0)
		return (int)rc;
	rc = transfer(pwritev, fd, iov, iovcnt, off);
	/* A write that makes no progress and gives no reason would loop for ever. */
	if (rc >= 0 && rc < want)
		rc = -EIO;
	hook_after(&ev, rc);
	return rc < 0 ? (int)rc : 0;
}

int sys_pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return sys_pwritev_full(fd, &iov, 1, off);
}

int sys_fsync(int fd)
{
	struct sys_event ev = {.call = SYS_CALL_FSYNC, .fd = fd, .fd2 = -1};

	return HOOKED(&ev, fsync(fd));
}

int sys_fdatasync(int fd)
{
	struct sys_event ev = {.call = SYS_CALL_FDATASYNC, .fd = fd, .fd2 = -1};

	return HOOKED(&ev, fdatasync(fd));
}

int sys_syncfs(int fd)
{
	struct sys_event ev = {.call = SYS_CALL_FSYNC, .fd = fd, .fd2 = -1};

	return HOOKED(&ev, syncfs(fd));
}

void sys_start_writeback(int fd, uint64_t off, uint64_t len)
{
	(void)sync_file_range(fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

int sys_ftruncate(int fd, uint64_t size)
{
	struct sys_event ev = {.call = SYS_CALL_TRUNCATE, .fd = fd, .fd2 = -1, .len = size};

	return HOOKED(&ev, ftruncate(fd, (off_t)size));
}

int sys_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	struct sys_event ev = {.call = SYS_CALL_FALLOCATE,
			       .fd = fd,
			       .fd2 = -1,
			       .off = off,
			       .len = len,
			       .flags = mode};

	return HOOKED(&ev, fallocate(fd, mode, (off_t)off, (off_t)len));
}

int sys_renameat(int dirfd, const char *path, int dirfd2, const char *path2)
{
	struct sys_event ev = {
		.call = SYS_CALL_RENAME, .fd = dirfd, .fd2 = dirfd2, .path = path, .path2 = path2};

	return HOOKED(&ev, renameat(dirfd, path, dirfd2, path2));
}

void sys_expect_fds(int fd, unsigned count)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, fd + (int)MIN(count, 100000u));

	if (high >= 0)
		(void)close(high);
}

/* Before Linux 6.10 the short way is for those alone who may read everything. */
static int link_fd(int fd, int dirfd, const char *path)
{
	char self[32];

	if (linkat(fd, "", dirfd, path, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT)
		return -1;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, dirfd, path, AT_SYMLINK_FOLLOW);
}

int sys_link_fd(int fd, int dirfd, const char *path)
{
	struct sys_event ev = {.call = SYS_CALL_LINK, .fd = fd, .fd2 = dirfd, .path = path};

	return HOOKED(&ev, link_fd(fd, dirfd, path));
}

int sys_unlinkat(int dirfd, const char *path, int flags)
{
	struct sys_event ev = {
		.call = SYS_CALL_UNLINK, .fd = dirfd, .fd2 = -1, .path = path, .flags = flags};

	return HOOKED(&ev, unlinkat(dirfd, path, flags));
}

int sys_mkdirat(int dirfd, const char *path, mode_t mode)
{
	struct sys_event ev = {.call = SYS_CALL_MKDIR, .fd = dirfd, .fd2 = -1, .path = path};

	return HOOKED(&ev, mkdirat(dirfd, path, mode));
}

int sys_fstat(int fd, struct stat *ret)
{
	struct sys_event ev = {.call = SYS_CALL_STAT, .fd = fd, .fd2 = -1};

	return HOOKED(&ev, fstat(fd, ret));
}

int sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	struct sys_event ev = {
		.call = SYS_CALL_STAT, .fd = dirfd, .fd2 = -1, .path = path, .flags = flags};

	return HOOKED(&ev, fstatat(dirfd, path, ret, flags));
}

int sys_fstatvfs(int fd, struct statvfs *ret)
{
	struct sys_event ev = {.call = SYS_CALL_STATVFS, .fd = fd, .fd2 = -1};

	return HOOKED(&ev, fstatvfs(fd, ret));
}

int sys_flock(int fd, int operation)
{
	struct sys_event ev = {.call = SYS_CALL_LOCK, .fd = fd, .fd2 = -1, .flags = operation};

	return HOOKED(&ev, flock(fd, operation));
}
