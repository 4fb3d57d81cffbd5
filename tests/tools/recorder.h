/*
 * tests/tools/recorder.h: the log of a recorder.
 */
#ifndef RECORDER_H
#define RECORDER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* len bytes of data follow; none: a flush, of everything before it. */
struct recorded {
	uint64_t off, when; /* when it was answered: see recorder_now */
	uint32_t len, unused;
};

/* Nanoseconds of a clock that all processes share. */
static inline uint64_t recorder_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
