/*
 * Two regions of address space, one a size, each cut into buffers of that size: the place of a
 * buffer says its size. Memory is used only once a buffer has been touched, and given back when
 * many are idle.
 *
 * The bound is divided between the sizes for good (a quarter for the small ones). If they shared
 * it, the holders of large buffers could wait for small ones while the large ones take all there
 * is.
 */
#include "io/bufpool.h"

#include "base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)	((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#define IDLE_KEPT_BYTES (8u << 20) /* a size: memory of idle buffers above this is given back */

/* Buffers of one size. Free ones are on one of two stacks: backed by memory, or not (any more). */
struct region {
	char *base;
	size_t size;
	unsigned count;
	unsigned *backed, *bare; /* stacks of indexes */
	unsigned backed_count, bare_count;
	unsigned idle; /* the least backed_count since the last trim */
	bool *taken;
	unsigned taken_count;
	struct buf_wait *head, *tail; /* takers, in order of asking */
	bool serving;
};

struct bufpool {
	struct region small, large;
};

static int region_init(struct region *r, size_t size, size_t bytes)
{
	void *base;

	r->size = size;
	r->count = (unsigned)(bytes / size);
	base = mmap(NULL, r->count * size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -ENOMEM;
	r->base = base;
	r->backed = calloc(r->count, sizeof(*r->backed));
	r->bare = calloc(r->count, sizeof(*r->bare));
	r->taken = calloc(r->count, sizeof(*r->taken));
	if (!r->backed || !r->bare || !r->taken)
		return -ENOMEM;
	/* Huge pages would make a few small buffers occupy the whole region. */
	(void)madvise(base, r->count * size, MADV_NOHUGEPAGE);
	ASAN_POISON_MEMORY_REGION(base, r->count * size);
	for (unsigned i = r->count; i-- > 0;)
		r->bare[r->bare_count++] = i;
	return 0;
}

static void region_deinit(struct region *r)
{
	assert(r->taken_count == 0);
	if (r->base) {
		ASAN_UNPOISON_MEMORY_REGION(r->base, r->count * r->size);
		(void)munmap(r->base, r->count * r->size);
	}
	free(r->backed);
	free(r->bare);
	free(r->taken);
}

static void *region_get(struct region *r)
{
	unsigned i;
	char *buf;

	if (r->backed_count > 0) {
		i = r->backed[--r->backed_count];
		r->idle = MIN(r->idle, r->backed_count);
	} else if (r->bare_count > 0) {
		i = r->bare[--r->bare_count];
	} else {
		return NULL;
	}
	r->taken[i] = true;
	r->taken_count++;
	buf = r->base + (size_t)i * r->size;
	ASAN_UNPOISON_MEMORY_REGION(buf, r->size);
	return buf;
}

static void region_put(struct region *r, char *buf)
{
	unsigned i = (unsigned)((size_t)(buf - r->base) / r->size);

	assert((size_t)(buf - r->base) % r->size == 0 && r->taken[i]);
	r->taken[i] = false;
	r->taken_count--;
	if ((size_t)r->backed_count * r->size < IDLE_KEPT_BYTES ||
	    madvise(buf, r->size, MADV_DONTNEED) < 0)
		r->backed[r->backed_count++] = i;
	else
		r->bare[r->bare_count++] = i;
	ASAN_POISON_MEMORY_REGION(buf, r->size);
}

/* The stack is used from the top: those at its bottom have been idle. */
static void region_trim(struct region *r)
{
	unsigned given = 0;

	while (given < r->idle) {
		char *buf = r->base + (size_t)r->backed[given] * r->size;

		if (madvise(buf, r->size, MADV_DONTNEED) < 0)
			break;
		r->bare[r->bare_count++] = r->backed[given++];
	}
	r->backed_count -= given;
	memmove(r->backed, r->backed + given, r->backed_count * sizeof(*r->backed));
	r->idle = r->backed_count;
}

/* A continuation may put and get again: that only changes the lists this loop works on. */
static void serve(struct region *r)
{
	struct buf_wait *wait;
	void *buf;

	if (r->serving)
		return;
	r->serving = true;
	while ((wait = r->head) && (buf = region_get(r))) {
		r->head = wait->next;
		if (!r->head)
			r->tail = NULL;
		wait->next = NULL;
		wait->ready(wait, buf);
	}
	r->serving = false;
}

int bufpool_new(size_t max_bytes, struct bufpool **ret)
{
	size_t small = MAX(max_bytes / 4, BUFPOOL_SMALL);
	struct bufpool *pool;
	int rc;

	if (max_bytes < BUFPOOL_SMALL + BUFPOOL_LARGE)
		return -EINVAL;
	/* One large buffer at least. */
	small = MIN(small, max_bytes - BUFPOOL_LARGE);
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	rc = region_init(&pool->small, BUFPOOL_SMALL, small);
	if (rc == 0)
		rc = region_init(&pool->large, BUFPOOL_LARGE, max_bytes - small);
	if (rc < 0) {
		bufpool_free(pool);
		return rc;
	}
	*ret = pool;
	return 0;
}

void bufpool_free(struct bufpool *pool)
{
	if (!pool)
		return;
	region_deinit(&pool->small);
	region_deinit(&pool->large);
	free(pool);
}

void *bufpool_get(struct bufpool *pool, size_t size, struct buf_wait *wait)
{
	struct region *r = size <= BUFPOOL_SMALL ? &pool->small : &pool->large;
	void *buf = NULL;

	assert(size <= BUFPOOL_LARGE);
	if (!r->head)
		buf = region_get(r);
	if (buf)
		return buf;
	wait->size = size;
	wait->next = NULL;
	if (r->tail)
		r->tail->next = wait;
	else
		r->head = wait;
	r->tail = wait;
	return NULL;
}

void bufpool_put(struct bufpool *pool, void *buf)
{
	struct region *r = &pool->large;
	const char *p = buf;

	if (p >= pool->small.base && p < pool->small.base + pool->small.count * pool->small.size)
		r = &pool->small;
	region_put(r, buf);
	serve(r);
}

void bufpool_trim(struct bufpool *pool)
{
	region_trim(&pool->small);
	region_trim(&pool->large);
}

uint64_t bufpool_bytes(const struct bufpool *pool)
{
	return (uint64_t)(pool->small.count - pool->small.bare_count) * pool->small.size +
	       (uint64_t)(pool->large.count - pool->large.bare_count) * pool->large.size;
}
