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

#if defined(__SANITIZE_ADDRESS__)

void *big_map(size_t bytes)
{
	return calloc(1, bytes);
}

void big_unmap(void *p, size_t bytes)
{
	(void)bytes;
	free(p);
}

#else

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED ? p : NULL;
}

/* A part of more than is needed, where the system does not care for huge pages by itself. */
static void *map_aligned(size_t bytes)
{
	char *p = map(bytes + BIG_BYTES);
	size_t before;

	if (p == NULL)
		return NULL;
	before = (size_t)(-(uintptr_t)p & (BIG_BYTES - 1));
	if (before > 0)
		(void)munmap(p, before);
	if (before < BIG_BYTES)
		(void)munmap(p + before + bytes, BIG_BYTES - before);
	return p + before;
}

void *big_map(size_t bytes)
{
	size_t rounded = (size_t)round_up_u64(bytes, BIG_BYTES);
	void *p = bytes <= SIZE_MAX / 2 ? map(rounded) : NULL;

	if (p != NULL && (uintptr_t)p % BIG_BYTES != 0) {
		(void)munmap(p, rounded);
		p = map_aligned(rounded);
	}
	if (p != NULL)
		(void)madvise(p, rounded, MADV_HUGEPAGE);
	return p;
}

void big_unmap(void *p, size_t bytes)
{
	if (p != NULL)
		(void)munmap(p, (size_t)round_up_u64(bytes, BIG_BYTES));
}

#endif

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
