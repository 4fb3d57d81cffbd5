/*
 * tests/crash/workload.h: short sequences of operations on one file, with syncs between them.
 */
#ifndef CRASH_WORKLOAD_H
#define CRASH_WORKLOAD_H

#include "core.h"
#include "oracle.h"
#include "sim.h"

#include <stdio.h>

enum workload_kind {
	KIND_LAYER,
	KIND_NEW,
	KIND_RENAMED, /* from a layer */
	KIND_REGROWN, /* of a layer, truncated and extended again */
	KIND_MAX_
};

enum workload_op {
	OP_NONE,
	OP_CREATE,    /* another new file */
	OP_OVERWRITE, /* one whole block */
	OP_PARTIAL,   /* inside a block */
	OP_APPEND,
	OP_CUT,	    /* truncate down to a block */
	OP_EMPTY,   /* truncate to 0 */
	OP_REGROW,  /* truncate into a block, then extend */
	OP_PUNCH,   /* from the middle of a block on */
	OP_REPLACE, /* write a new file, fsync it, rename it over */
	OP_RENAME,  /* over another file of the layer */
	OP_UNLINK,
	OP_EXCHANGE,
	OP_ALLOCATE, /* extend by fallocate, then write */
	OP_LINK,
	OP_STORM, /* more names than the journal has room for: it grows */
	OP_MAX_
};

enum workload_sync {
	SYNC_NONE,
	SYNC_FILE,
	SYNC_DIR,
	SYNC_OTHER, /* another file, which was written too */
	SYNC_ALL,
	SYNC_FILE_OVERLAPPED, /* fsync is running while the next operation starts */
	SYNC_ALL_OVERLAPPED,
	SYNC_MAX_
};

struct workload {
	enum workload_kind kind;
	bool setup_synced;
	enum workload_op ops[2];
	enum workload_sync syncs[2];
	uint64_t journal_limit;
	uint64_t shuffle_seed;
	bool hold;	 /* the file stays referenced when it has lost its name */
	bool close;	 /* the clone is unmounted in the end */
	bool from_start; /* crashes while the diff is being made count too */
};

/* Workloads are numbered; the quick ones have one operation. */
size_t workload_count(bool quick);
void workload_get(size_t number, bool quick, struct workload *ret);
void workload_print(const struct workload *w, FILE *out);

/* The chain that workloads start from: files and what the oracle shall know of them. */
struct synth;
struct layer_chain *workload_chain(const char *dir, struct synth **ret);

struct workload_result {
	struct trace trace;
	size_t from; /* length of the trace when the operations began */
	struct oracle oracle;
	bool skipped; /* the second operation has nothing to work on */
};

/* Runs it on a new diff in an empty directory. -errno when an operation failed. */
int workload_run(const struct workload *w, struct layer_chain *chain, const char *diff_path,
		 struct workload_result *ret);
void workload_result_free(struct workload_result *r);

#endif
