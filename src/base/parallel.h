/*
 * base/parallel.h: threads: starting one, and the same work for many things on a few of them for as long as it takes.
 */
#ifndef BASE_PARALLEL_H
#define BASE_PARALLEL_H

#include "base/err.h"

#include <pthread.h>

/* How many this process may use; at least 1. */
unsigned parallel_processors(void);

/* A thread with all signals blocked: they belong to the one that serves. 0 or -errno. */
int thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg);

/*
 * Calls fn(ctx, i, e) for each i below count: in ascending order, but several at once, on the calling thread and up to
 * three others; never on more than there are processors, and on one alone below 2 * least things. The others have all
 * signals blocked. Blocks until all is done.
 *
 * Returns 0, or what the first i gave that failed (fn < 0), with its message in e; each i below that one was done, and
 * perhaps some above it. Without threads (none to be had) the caller does it all.
 */
int parallel_for(unsigned count, unsigned least, int (*fn)(void *ctx, unsigned i, struct errmsg *e), void *ctx,
		 struct errmsg *e);

#endif
