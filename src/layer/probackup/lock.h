/*
 * layer/probackup/lock.h: pg_probackup's own shared lock on one backup, so that delete and merge
 * leave it alone.
 *
 * Two files in the backup's directory: backup.pid, which whoever wants to look at or change the
 * other one holds for a moment (the latch; delete and merge keep it), and backup_ro.pid with one
 * line for each process that reads. Whether an owner lives is asked with kill(pid, 0).
 *
 * A process has one line in a directory however many chains it has open there; the lines are
 * counted here. Thread-safe; the functions may block as long as their limits say.
 */
#ifndef LAYER_PROBACKUP_LOCK_H
#define LAYER_PROBACKUP_LOCK_H

#include "base/err.h"

#include <sys/types.h>

struct lock_request {
	pid_t pid;	   /* whose line; it must live as long as the lock is wanted */
	unsigned held_ms;  /* how long to wait for a living holder of the latch */
	unsigned empty_ms; /* how long a latch without a pid may be one that is being written */
	/*
	 * For the locks of a whole chain, or NULL: -1 at first, then a file with our pid that the
	 * latches are links of, where that can be had: nobody writes one of these files in place,
	 * they are replaced or removed. The caller closes it.
	 */
	int *line_fd;
};

#define LOCK_HELD_MS	60000u /* pg_probackup's own limits */
#define LOCK_EMPTY_MS	30000u
#define LOCK_RELEASE_MS 3000u /* for giving back: a line left behind dies with its process */

/*
 * Takes the shared lock on the backup in dirfd; check (with ctx) is called under the latch, and its
 * failure is the result. Returns 1, or 0 if the store cannot be written: check was called, but
 * there is no lock; *ret_reason is the errno then. -EBUSY: the latch is held by another process for
 * longer than the limit.
 */
int lock_share(int dirfd, const char *id, const struct lock_request *request,
	       int (*check)(void *ctx, struct errmsg *e), void *ctx, int *ret_reason,
	       struct errmsg *e);

/* Takes the line out again. If that fails it stays: harmless as soon as the process is gone. */
void lock_unshare(int dirfd, const struct lock_request *request);

/* The same for another process, if it has a line. */
void lock_release(int dirfd, const struct lock_request *request);

#endif
