/*
 * tests/crash/recover.h: opens the diff of an image, and tells what it shows.
 */
#ifndef CRASH_RECOVER_H
#define CRASH_RECOVER_H

#include "core.h"
#include "disk.h"
#include "oracle.h"

struct recovery {
	struct disk disk;
	struct core core;
	struct layer_chain *chain;
	uint64_t runs, checked;
};

/* path: an empty directory for the diff. */
int recovery_init(struct recovery *r, struct layer_chain *chain, const char *path);
void recovery_free(struct recovery *r);

/*
 * Recovers the image, looks at everything, closes, and does it again: the second time nothing may
 * change. What the first recovery did to the disk is added to trace (may be NULL).
 */
void recovery_run(struct recovery *r, const struct sim *image, struct trace *trace,
		  struct found *ret);
void found_free(struct found *f);
bool found_equal(const struct found *a, const struct found *b);

/* Looks at an open core. */
void recovery_look(struct core *c, struct found *ret);

#endif
