/*
 * tests/unit/memory_fail.c: see memory_fail.h.
 */
#include "memory_fail.h"

#include <stdatomic.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static atomic_long fail_at, allocations;
static atomic_bool hit, for_ever, paused;

void memory_fail(long at)
{
	memory_fail_from(at, false);
}

void memory_fail_from(long at, bool sticky)
{
	atomic_store(&fail_at, 0);
	atomic_store(&allocations, 0);
	atomic_store(&hit, false);
	atomic_store(&paused, false);
	atomic_store(&for_ever, sticky);
	atomic_store(&fail_at, at);
}

void memory_fail_pause(bool pause)
{
	atomic_store(&paused, pause);
}

bool memory_fail_hit(void)
{
	return atomic_load(&hit);
}

long memory_fail_count(void)
{
	return atomic_load(&allocations);
}

static bool fails(void)
{
	long at = atomic_load(&fail_at), number;

	if (at == 0 || atomic_load(&paused))
		return false;
	number = atomic_fetch_add(&allocations, 1) + 1;
	if (at < 0 || (atomic_load(&for_ever) ? number < at : number != at))
		return false;
	atomic_store(&hit, true);
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}
