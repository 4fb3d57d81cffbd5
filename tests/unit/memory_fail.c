/*
 * tests/unit/memory_fail.c: see memory_fail.h.
 */
#include "memory_fail.h"

#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static long left;
static bool hit;

void memory_fail(long at)
{
	left = at;
	hit = false;
}

bool memory_fail_hit(void)
{
	return hit;
}

static bool fails(void)
{
	if (left == 0 || --left > 0)
		return false;
	hit = true;
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
