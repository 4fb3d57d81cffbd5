/*
 * io/vfd.h: virtual descriptors: any number of open files on a bounded number of real ones.
 *
 * A vfd names a file (directory descriptor and relative name) and how to open it; a real descriptor
 * is opened on first use and closed by clock eviction. Fixed slots with a recently-used bit, and a
 * tag per slot so that a vfd whose slot was taken notices. A slot is pinned while an operation runs
 * and never evicted then; after two fruitless rounds the operation waits for a slot instead of
 * spinning. Reopening strips O_CREAT, O_EXCL and O_TRUNC.
 *
 * A slot is dirty when it was written since its last successful fdatasync. Clean slots are evicted
 * first; a dirty one is closed only after an fdatasync. An error of any fdatasync or of that one
 * stays in the vfd (vfd_error) and is the result of every later IO_FDATASYNC on it: the host
 * reports a write-back error once per open file, so it must not be lost with the descriptor.
 *
 * Locking: core thread only. Opening and closing happen on engine threads as jobs.
 */
#ifndef IO_VFD_H
#define IO_VFD_H

#include "io/engine.h"

#include <stdbool.h>
#include <sys/types.h>

struct vfd;
struct vfd_cache;

/* Fill io (all but fd), vfd and done; keep until done. io.done is the cache's. The result is in
 * io.result. */
struct vfd_op {
	struct io_op
		io; /* IO_READ, IO_WRITE, IO_FDATASYNC, IO_FALLOCATE; IO_JOB runs with io.fd open */
	struct vfd *vfd;
	void (*done)(struct vfd_op *op);

	/* the cache's own */
	struct vfd_op *next;
	uint64_t write_seq, start_ns;
};

/* An open is "after replace" when the same vfd lost its last descriptor to another one. */
struct vfd_stats {
	uint64_t open, open_after_replace, close, close_by_replace, read, write, fsync, stat;
	uint64_t open_ns, open_after_replace_ns, close_ns, close_by_replace_ns, read_ns, write_ns,
		fsync_ns, stat_ns;
	uint64_t slots, used, pinned, dirty, waits;
};

/*
 * slots 0: from RLIMIT_NOFILE, whose soft limit is raised to the hard one, less what is open now and
 * a reserve for everything else; -EMFILE when fewer than 16 are left. Never more than `slots` descriptors exist,
 * counting those being opened or closed. A temporary lack of descriptors (EMFILE, ENFILE) makes the
 * cache smaller and operations wait.
 */
int vfd_cache_new(struct io_engine *engine, unsigned slots, struct vfd_cache **ret);
/* All vfds must be freed, the engine not yet. Waits for the closes that vfd_free began. NULL is
 * fine. */
void vfd_cache_free(struct vfd_cache *cache);
void vfd_cache_stats(const struct vfd_cache *cache, struct vfd_stats *ret);

/*
 * Opens nothing. dirfd stays the caller's and must outlive the vfd; name is copied. flags as for
 * openat (O_RDONLY files are opened beneath dirfd, following no symbolic link, and must be regular
 * files); with O_CREAT the file is made on first use.
 */
int vfd_new(struct vfd_cache *cache, int dirfd, const char *name, int flags, mode_t mode,
	    struct vfd **ret);
/* No operation may be running. What was written and not synced is the caller's loss. NULL is fine.
 */
void vfd_free(struct vfd *vfd);

/*
 * Opens if need be, runs the operation with its slot pinned, unpins, calls done on the core thread
 * inside io_reap, never inside this call. Operations on one vfd start in the order of submission
 * and then run side by side. When the file cannot be opened, all that wait for it fail with that
 * error.
 *
 * IO_FDATASYNC answers 0 without a descriptor when the vfd has been open before and is closed now:
 * then all that was written through it has been synced. A vfd that was never open is opened and
 * synced in earnest. An IO_JOB counts as a write unless the file is opened O_RDONLY.
 */
void vfd_submit(struct vfd_op *op);

/* Reads at once if that needs no waiting: -EAGAIN unless open and in the page cache. Bytes read,
 * may be short. */
int64_t vfd_read_now(struct vfd *vfd, const struct iovec *iov, unsigned iovcnt, uint64_t off);

/*
 * Writes at once if that is a copy into the page cache, as a rule: -EAGAIN unless open, whole pages, and
 * the file system is one of those. Then the caller submits; something may have been written. It may
 * block for as long as such a copy can; having done so it answers -EAGAIN for a while.
 */
int64_t vfd_write_now(struct vfd *vfd, const struct iovec *iov, unsigned iovcnt, uint64_t off);

bool vfd_is_dirty(const struct vfd *vfd);
int vfd_error(const struct vfd *vfd);	    /* 0, or the -errno that sticks */
bool vfd_is_created(const struct vfd *vfd); /* O_CREAT was given and the first open has succeeded */

#endif
