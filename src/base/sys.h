/*
 * base/sys.h: every system call on store, diff and cache.
 *
 * The wrappers resume short counts and EINTR, return -errno, count calls, and pass a hook that tests use to
 * record, to fail or to stop at the N-th call. io_uring submissions of src/io pass the same hook through
 * sys_hook_before and sys_hook_after. All functions are thread-safe except sys_set_hook, which is called
 * before threads exist. All of them may block unless the comment says otherwise.
 *
 * Paths are relative to a directory descriptor. Every descriptor is opened O_CLOEXEC.
 */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

enum sys_call {
	SYS_CALL_OPEN,
	SYS_CALL_CLOSE,
	SYS_CALL_READ,
	SYS_CALL_WRITE,
	SYS_CALL_FSYNC,
	SYS_CALL_FDATASYNC,
	SYS_CALL_FALLOCATE,
	SYS_CALL_TRUNCATE,
	SYS_CALL_RENAME,
	SYS_CALL_LINK,
	SYS_CALL_UNLINK,
	SYS_CALL_MKDIR,
	SYS_CALL_STAT,
	SYS_CALL_READDIR,
	SYS_CALL_LOCK,
	SYS_CALL_STATVFS,
	SYS_CALL_MAX_
};

/* One call as the hook sees it; fields that a call does not have are 0, -1 or NULL. */
struct sys_event {
	enum sys_call call;
	int fd;            /* the descriptor worked on; for path calls the directory */
	int fd2;           /* rename: directory of path2 */
	const char *path;  /* open, rename, unlink, mkdir, stat */
	const char *path2; /* rename: the new name */
	const struct iovec *iov;
	unsigned iovcnt; /* read, write */
	uint64_t off;    /* read, write, fallocate */
	uint64_t len;    /* fallocate: length; truncate: the new size */
	int flags;       /* open flags, fallocate mode, unlink flags, rename flags */
};

/*
 * before: returns 0 to let the call run, or -errno to fail it without running. It may _exit the process.
 * after: is told the result (a count, a descriptor, 0 or -errno) of a call that ran; event->iov may have been
 * advanced by then. Both are called from any thread, once a call of a wrapper, however often it resumes. NULL is fine.
 */
struct sys_hook {
	int (*before)(void *ctx, const struct sys_event *event);
	void (*after)(void *ctx, const struct sys_event *event, int64_t result);
	void *ctx;
};

/* NULL removes the hook. The struct must outlive its use. Only while no other thread is in sys or io. */
void sys_set_hook(const struct sys_hook *hook);

/* For submissions that do not go through the wrappers below (io_uring). Counts the call too. */
int sys_hook_before(const struct sys_event *event);
void sys_hook_after(const struct sys_event *event, int64_t result);

const char *sys_call_name(enum sys_call call);
uint64_t sys_call_count(enum sys_call call);
/* Opens that failed because the process or the system had no descriptor left. */
uint64_t sys_no_descriptor_count(void);

int sys_openat(int dirfd, const char *path, int flags, mode_t mode); /* a descriptor */
/* Opens below dirfd only: no "..", no absolute path, no symbolic link in any component (openat2). */
int sys_open_beneath(int dirfd, const char *path, int flags);
int sys_close(int fd);

/* Bytes read; less than asked only at the end of the file. */
int64_t sys_pread_full(int fd, void *buf, size_t len, uint64_t off);
int64_t sys_preadv_full(int fd, struct iovec *iov, unsigned iovcnt, uint64_t off); /* iov may be changed */
/* Never blocks: -EAGAIN unless the bytes are in the page cache. May be short. */
int64_t sys_preadv_nowait(int fd, const struct iovec *iov, unsigned iovcnt, uint64_t off);
/* One pwritev: may be short. */
int64_t sys_pwritev_once(int fd, const struct iovec *iov, unsigned iovcnt, uint64_t off);
/* A buffered write of whole pages is a copy into memory, as a rule, and cannot be asked not to wait. */
bool sys_writes_are_copies(int fd);
/*
 * What was allocated is room that is there when the file is cut, as long as nobody else takes it. Not
 * so where blocks are never overwritten in place, or the file system is another machine's.
 */
bool sys_keeps_allocated(int fd);
int sys_pwrite_full(int fd, const void *buf, size_t len, uint64_t off);             /* 0 */
int sys_pwritev_full(int fd, struct iovec *iov, unsigned iovcnt, uint64_t off); /* 0; iov may be changed */

int sys_fsync(int fd);
int sys_fdatasync(int fd);
/* Of the whole file system that fd is on. Errors of its write-back since fd was opened are reported (Linux 5.8). */
int sys_syncfs(int fd);
/* Only a hint, which makes a later fsync shorter; neither counted nor hooked, and not durable. */
void sys_start_writeback(int fd, uint64_t off, uint64_t len);
int sys_ftruncate(int fd, uint64_t size);
int sys_fallocate(int fd, int mode, uint64_t off, uint64_t len);
int sys_renameat(int dirfd, const char *path, int dirfd2, const char *path2);
/* A further name for the file that fd is open on, in another directory of the same file system. Before Linux 6.10 it needs /proc. */
int sys_link_fd(int fd, int dirfd, const char *path);
int sys_unlinkat(int dirfd, const char *path, int flags);
int sys_mkdirat(int dirfd, const char *path, mode_t mode);
int sys_fstat(int fd, struct stat *ret);
int sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags);
int sys_fstatvfs(int fd, struct statvfs *ret);
/*
 * Makes the table of descriptors long enough for count more. Where several threads share it the kernel takes ten
 * milliseconds and more each time it grows. A hint: neither counted nor hooked.
 */
void sys_expect_fds(int fd, unsigned count);
/* How many of the numbers below limit are open descriptors of this process; neither counted nor hooked. */
unsigned sys_count_fds(unsigned limit);
int sys_flock(int fd, int operation); /* -EWOULDBLOCK when held elsewhere and LOCK_NB is given */

/* Calls fn for every name in the directory but "." and ".."; d_type as readdir gives it. Stops at fn's first non-zero. */
int sys_readdir(int dirfd, const char *path, int (*fn)(void *ctx, const char *name, unsigned char d_type), void *ctx);

/* The whole file in malloc'ed memory with a NUL behind it; -EFBIG above max bytes. */
int sys_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len);

/* The same for a file that is opened as sys_open_beneath does; ret_stat: as it was before it was read. */
int sys_read_beneath(int dirfd, const char *path, size_t max, struct stat *ret_stat, char **ret_data,
		     size_t *ret_len);

/* Replaces path by the bytes: temporary name in the same directory, fsync, rename, fsync of the directory. */
int sys_replace_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode);

/* For the log only: appends with one call; neither counted nor hooked, and errors have nowhere to go. */
void sys_append(int fd, const void *buf, size_t len);

#endif
