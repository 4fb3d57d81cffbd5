/*
 * tests/crash/enumerate.h: the states a power cut can leave.
 *
 * What was synced is there. Of what was not, anything may be: a prefix, all but one operation, one
 * alone, a few chosen at random, and each write torn at pages or sectors, or with its size but
 * without its bytes. Contents are durable by fsync or fdatasync of the file, names only by fsync of
 * their directory.
 */
#ifndef CRASH_ENUMERATE_H
#define CRASH_ENUMERATE_H

#include "rng.h"
#include "sim.h"

/* Called for every state: a crash after `at` operations of the trace. False ends the enumeration.
 */
typedef bool enumerate_fn(void *ctx, size_t at, const struct sim *image);

struct enumeration {
	const struct sim *start; /* what was there, durable, before the trace */
	const struct trace *trace;
	size_t from; /* crashes before are left out */
	struct rng rng;
	enumerate_fn *fn;
	void *ctx;
};

/* False when fn ended it. */
bool enumerate(struct enumeration *e);

#endif
