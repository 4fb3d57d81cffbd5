/*
 * tests/crash/explore.h: one workload, all its crash states, each recovered and checked.
 */
#ifndef CRASH_EXPLORE_H
#define CRASH_EXPLORE_H

#include "diff/diff.h"
#include "recover.h"
#include "workload.h"

struct explore_counts {
	uint64_t workloads, skipped, failed; /* failed: an operation itself failed */
	uint64_t states;		     /* enumerated and checked by the oracle */
	uint64_t recoveries;		     /* distinct images, really recovered */
	uint64_t nested; /* states of crashes during a recovery, part of states */
	uint64_t violations;
};

struct explore_options {
	enum diff_defect defect; /* while the workload runs; recovery is always sound */
	unsigned nest_every;	 /* crash during each so many-th recovery; 0: never */
	uint64_t max_violations; /* stop after so many; 0: no limit */
	unsigned print;		 /* violations to print */
	bool verbose;		 /* with the trace */
};

/* scratch: a directory of the caller's; r recovers in one below it. */
void explore(size_t number, const struct workload *w, struct layer_chain *chain, struct recovery *r,
	     const char *scratch, const struct explore_options *options,
	     struct explore_counts *counts);

#endif
