/*
 * fuse/helper.h: a small process that unmounts.
 *
 * It is forked before the serving process gives up its rights and before it holds much memory, and
 * keeps them: the mount of a root's clone can go although the daemon runs as the owner, and a
 * daemon that dies, even by kill -9, leaves no dead mount behind. It ignores SIGTERM, SIGINT and
 * SIGHUP and ends with the daemon.
 */
#ifndef FUSE_HELPER_H
#define FUSE_HELPER_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct helper;

struct helper_options {
	const char *mountpoint;	    /* canonical; both sides keep copies */
	int keep_fd;		    /* stays open in the helper; -1: none */
	void (*started)(void *ctx); /* in the helper, first; NULL is fine */
	/* In the helper, when the daemon has ended and nothing is mounted any more; orderly:
	 * helper_done was called before. fds: what helper_give has given. */
	void (*finish)(void *ctx, bool orderly, const int *fds, unsigned count);
	void *ctx;
};

/* Forks. All other descriptors are closed in the helper. */
int helper_start(const struct helper_options *options, struct errmsg *e, struct helper **ret);
/* Lets the helper end: it unmounts what is still mounted. Returns at once. NULL is fine. */
void helper_free(struct helper *helper);
/* The same, and waits until it has ended: for the way back when mounting fails. */
void helper_end(struct helper *helper);

/* Copies of fds for options.finish, which may do with them what the daemon no longer may. */
int helper_give(struct helper *helper, const int *fds, unsigned count);

pid_t helper_pid(const struct helper *helper);
int helper_fd(const struct helper *helper); /* polls readable when helper_answer has something */

/* The mount stands: from now on the helper answers for it. */
int helper_mounted(struct helper *helper);
/* Raises the mount's readahead, if the helper may. No answer. */
int helper_readahead(struct helper *helper, unsigned kib);
/* Asks for an unmount, lazy or not; answered once. */
int helper_unmount(struct helper *helper, bool lazy);
/* Asks for a syncfs of the mount, in which the kernel writes out what it keeps; answered once. */
int helper_flush(struct helper *helper);

enum helper_asked { HELPER_ASKED_UNMOUNT, HELPER_ASKED_UNMOUNT_LAZY, HELPER_ASKED_FLUSH };
/* What was asked and 0 or -errno of it, in the order of asking. -EAGAIN: no answer yet; -EPIPE: the
 * helper is gone. */
int helper_answer(struct helper *helper, enum helper_asked *ret_asked, int *ret_result);
/* All is committed: whatever is left of the clone may go. */
int helper_done(struct helper *helper);

/* Points 0, 1 and 2 to /dev/null and closes every descriptor but a and b (-1: none). */
void helper_close_others(int a, int b);

#endif
