/*
 * tests/barrier/seed.h: one seed: a chain, a diff, a load on it.
 */
#ifndef BARRIER_SEED_H
#define BARRIER_SEED_H

#include "load.h"

struct seed_options {
	const char *engine; /* "shuffle", "threads", "uring", "auto" */
	uint64_t ops;
	uint64_t power_cuts; /* after one in so many fsyncs; 0: none; engine shuffle only */
};

struct seed_result {
	bool good;
	uint64_t ops;
	struct load_stats load;
	struct vfd_stats vfd;
	struct diff_stats diff;
	uint64_t parked, refused, cuts;
	char why[400];
};

/* scratch is an empty directory, and is left as it is when the seed fails. */
void seed_run(const struct seed_options *options, uint64_t seed, const char *scratch,
	      struct seed_result *ret);

#endif
