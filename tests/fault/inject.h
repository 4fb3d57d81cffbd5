/*
 * tests/fault/inject.h: makes the N-th call through base/sys.h, or the N-th allocation, go wrong.
 *
 * Errors are returned by the hook, so the call never runs; a close runs and then reports the error,
 * as the kernel does it. What only the kernel can answer (EINTR, EAGAIN, short counts) is put below
 * the wrappers: in front of the C library (--wrap) and, for the ring, into its completions before
 * the engine sees them.
 */
#ifndef FAULT_INJECT_H
#define FAULT_INJECT_H

#include "base/sys.h"

#include <stdbool.h>
#include <stdint.h>

enum inject_kind {
	INJECT_NONE,   /* only counts */
	INJECT_ERROR,  /* the call fails */
	INJECT_EINTR,  /* the first answer is EINTR, in the ring every second time EAGAIN */
	INJECT_SHORT,  /* the first answer of a read or write is half of it */
	INJECT_BROKEN, /* half of it, and then the error */
	INJECT_MEMORY, /* malloc, calloc or realloc returns NULL */
};

struct inject {
	enum inject_kind kind;
	int error;   /* -errno; ERROR and BROKEN */
	bool sticky; /* from the N-th on, every one */
	long at;     /* N, from 1 */
};

/* A call that was made to go wrong. */
struct inject_hit {
	enum sys_call call;
	char path[200];	  /* as far as it is known */
	uint64_t file_id; /* of a data file of the diff, or 0 */
	int data_dir;	  /* the directory data/xx itself: xx; else -1 */
	bool layer;	  /* below the chain's directory, not the diff's */
};

#define INJECT_HITS 32u

/* layers: absolute path of what the chain lies in. */
void inject_start(const struct inject *what, const char *layers);
void inject_stop(void);
/* While true, nothing is counted and nothing goes wrong: the test itself is at work. */
void inject_pause(bool pause);

/* What could have gone wrong since the start. Allocations count with INJECT_NONE and MEMORY. */
struct inject_seen {
	long calls, transfers, allocations;
};
struct inject_seen inject_seen(void);
/* How many went wrong; the first INJECT_HITS of them are described. Allocations are not. */
unsigned inject_hits(const struct inject_hit **ret);

/* ---- between inject.c and what is linked below the wrappers ---- */

enum below { BELOW_NOTHING, BELOW_EINTR, BELOW_SHORT, BELOW_BROKEN, BELOW_CLOSE, BELOW_REST };

struct below_mark {
	enum below what;
	int error;
	struct sys_event event;
	long number;
};

/* The latest mark of this thread, which is taken away. */
bool inject_take(struct below_mark *ret);
/* The transfer that was answered short is to fail when it goes on. */
void inject_put_rest(int error);

#endif
