/*
 * base/big.c: see big.h.
 */
#include "base/big.h"
#include "base/util.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

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
	if (bytes < BIG_MIN)
		return calloc(1, MAX(bytes, (size_t)1));
	p = big_alloc(bytes);
	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

void *big_realloc(void *old, size_t old_bytes, size_t bytes)
{
	void *p;

	if (bytes < BIG_MIN)
		return realloc(old, MAX(bytes, (size_t)1));
	p = big_alloc(bytes);
	if (p == NULL)
		return NULL;
	if (old_bytes > 0)
		memcpy(p, old, MIN(old_bytes, bytes));
	free(old);
	return p;
}

/* The heap's end, as a number; 0 if it has none. */
static uintptr_t heap_end(void)
{
	void *end = sbrk(0);

	return end == (void *)-1 ? 0 : (uintptr_t)end;
}

/*
 * Address space up to just before `until`, from where the allocator goes on: never touched, never
 * given back. It is more than the heap has, which therefore grows, by M_TOP_PAD more than is needed.
 */
static void skip_until(uintptr_t until)
{
	static void *volatile gap; /* the compiler leaves out what it sees nobody use */
	uintptr_t at = heap_end() - mallinfo2().keepcost + PAGE;

	if (gap == NULL && at < until && until - at <= 2 * BIG_BYTES)
		gap = malloc(until - at);
}

void big_heap(void)
{
	uintptr_t from = (uintptr_t)round_up_u64(heap_end() + 2 * PAGE, BIG_BYTES);

	/* Not given back while it is free, or the huge page would be split. */
	(void)mallopt(M_TOP_PAD, (int)BIG_BYTES + 2 * PAGE);
	(void)mallopt(M_MMAP_THRESHOLD, 2 * (int)BIG_BYTES + 1);
	if (heap_end() != 0)
		skip_until(from);
	(void)mallopt(M_MMAP_THRESHOLD, (int)BIG_MIN);
	if (heap_end() >= from + BIG_BYTES)
		(void)madvise((void *)from, BIG_BYTES, MADV_HUGEPAGE);
}
