/*
 * tests/barrier/power.h: the power cut after an fsync: what an open diff would show if nothing had
 * reached the disk but what was synced. For the engine that runs on the calling thread.
 */
#ifndef BARRIER_POWER_H
#define BARRIER_POWER_H

#include "content.h"
#include "core.h"
#include "disk.h"

struct power {
	struct sim *live;    /* what the host has */
	struct sim *durable; /* what has been synced of it */
	struct trace trace;  /* recorded since the last look */
	struct trace waits;  /* not synced */
	struct disk disk;    /* where the diff is opened once more */
	struct core core;
	struct layer_chain *chain;
	uint64_t cuts;
};

/* Records what happens below diff_path from now on; cut_path is for the diffs after the cut. Both
 * are empty directories. */
int power_start(struct power *p, struct layer_chain *chain, const char *diff_path,
		const char *cut_path);
void power_stop(struct power *p);

/*
 * Cuts the power now and looks at the file. must_be: it has had a name since it was synced. view:
 * the file at the moment of the request that was answered.
 */
void power_check(struct power *p, uint64_t id, bool must_be, const struct content *c,
		 const struct view *view, struct verdict *ret);

#endif
