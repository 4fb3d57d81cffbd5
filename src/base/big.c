/*
 * base/big.c: see big.h.
 */
#include "base/big.h"
#include "base/util.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *big_alloc(size_t bytes)
{
	size_t rounded = (size_t)round_up_u64(bytes, BIG_BYTES);
	void *p = bytes <= SIZE_MAX / 2 ? aligned_alloc(BIG_BYTES, rounded) : NULL;

	/* Without huge pages it is as good as any. */
	if (p != NULL)
		(void)madvise(p, rounded, MADV_HUGEPAGE);
	return p;
}

void *big_calloc(size_t count, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	if (bytes < BIG_BYTES)
		return calloc(1, MAX(bytes, (size_t)1));
	p = big_alloc(bytes);
	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

void *big_realloc(void *old, size_t old_bytes, size_t bytes)
{
	void *p;

	if (bytes < BIG_BYTES)
		return realloc(old, MAX(bytes, (size_t)1));
	p = big_alloc(bytes);
	if (p == NULL)
		return NULL;
	if (old_bytes > 0)
		memcpy(p, old, MIN(old_bytes, bytes));
	free(old);
	return p;
}
