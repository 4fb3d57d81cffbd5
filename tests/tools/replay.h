/*
 * tests/tools/replay.h: what the two halves of replay share.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include "layer/layer.h"

#include <stdbool.h>
#include <stdint.h>

struct place {
	const char *ledger, *base; /* see ledger.c; NULL: somebody else checks */
	const char *mnt;	   /* where the state is mounted; the diff is `diff` in it */
	const char *dump;	   /* a directory of ours */
	struct layer_chain *chain;
};

/*
 * Opens the diff, without FUSE and kernel, and compares all files of the ledger with what it may say of them
 * at that moment. False, with a line, if something is lost or the diff does not open.
 */
bool replay_check(const struct place *p, uint64_t until);

#endif
