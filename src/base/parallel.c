/*
 * base/parallel.c: see parallel.h.
 */
#include "base/parallel.h"
#include "base/util.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define THREADS_MAX 4u

unsigned parallel_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

int thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;
	int rc;

	/* A thread inherits the mask of its creator. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(ret, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

struct work {
	unsigned count;
	int (*fn)(void *ctx, unsigned i, struct errmsg *e);
	void *ctx;
	_Atomic unsigned next; /* not yet begun */
};

/* One thread's part, and the first failure in it: it begins none behind that one. */
struct part {
	struct work *work;
	pthread_t thread;
	unsigned failed_at;
	int rc;
	struct errmsg e;
};

static void *run_part(void *arg)
{
	struct part *part = arg;
	struct work *work = part->work;
	unsigned i;

	while (part->rc >= 0 && (i = atomic_fetch_add(&work->next, 1)) < work->count) {
		part->rc = work->fn(work->ctx, i, &part->e);
		part->failed_at = i;
	}
	/* What is behind a failure is of no use: the others begin no more of it, either. */
	if (part->rc < 0)
		atomic_store(&work->next, work->count);
	return NULL;
}

static unsigned start(struct part *parts, unsigned wanted)
{
	unsigned started = 0;

	while (started < wanted &&
	       thread_start(&parts[started].thread, run_part, &parts[started]) == 0)
		started++;
	return started;
}

int parallel_for(unsigned count, unsigned least, int (*fn)(void *ctx, unsigned i, struct errmsg *e),
		 void *ctx, struct errmsg *e)
{
	struct work work = {.count = count, .fn = fn, .ctx = ctx};
	struct part parts[THREADS_MAX] = {0};
	unsigned threads = MIN(MIN(count / MAX(least, 1u), parallel_processors()), THREADS_MAX), others;
	const struct part *first = NULL;

	for (unsigned i = 0; i < THREADS_MAX; i++)
		parts[i].work = &work;
	others = threads > 1 ? start(parts + 1, threads - 1) : 0;
	(void)run_part(&parts[0]);
	for (unsigned i = 0; i <= others; i++) {
		if (i > 0)
			(void)pthread_join(parts[i].thread, NULL);
		if (parts[i].rc < 0 && (first == NULL || parts[i].failed_at < first->failed_at))
			first = &parts[i];
	}
	if (first == NULL)
		return 0;
	return first->e.text[0] != '\0' ? errmsg_set(e, first->rc, "%s", first->e.text) : first->rc;
}
