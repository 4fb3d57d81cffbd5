/*
 * tests/fuzz/fuzz_dir.h: a scratch directory for parsers that open their files themselves, and
 * allocations that fail. The directory is made at the first use, in TMPDIR or /dev/shm, and goes
 * with the process.
 */
#ifndef TESTS_FUZZ_FUZZ_DIR_H
#define TESTS_FUZZ_FUZZ_DIR_H

#include "../unit/memory_fail.h"
#include "fuzz.h"

int fuzz_dir(void);		/* its descriptor */
const char *fuzz_dir_path(void); /* absolute */

/* Replaces the content of a file in it; a file that is longer than necessary is cut. */
void fuzz_put(const char *name, const void *data, size_t len);
void fuzz_remove(const char *name); /* if it is there */

/*
 * Runs the body once as it is and, for one input of `every`, again with each of its first
 * allocations failing in turn, at most `most`.
 */
#define FUZZ_WITH_FAILING_MEMORY(size, every, most, call)                                          \
	do {                                                                                       \
		(void)(call);                                                                      \
		for (long at_ = 1; (size) % (every) == 0 && at_ <= (most); at_++) {                \
			memory_fail(at_);                                                          \
			(void)(call);                                                              \
			if (!memory_fail_hit())                                                    \
				at_ = (most);                                                      \
			memory_fail(0);                                                            \
		}                                                                                  \
	} while (0)

#endif
