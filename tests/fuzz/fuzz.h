/*
 * tests/fuzz/fuzz.h: one function a fuzzer. libFuzzer calls it (-Dfuzz=true, clang), or the driver
 * in fuzz_replay.c, which replays the corpus with a few damaged copies of each file in the normal
 * test run.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Always 0. What must hold is checked with FUZZ_CHECK. */
__attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: it must hold in release builds as well. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

#endif
