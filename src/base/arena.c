/*
 * base/arena.c: chunks that are filled from both ends: aligned objects from the front, packed
 * strings from the back, so that strings cost no padding. Chunks grow eightfold up to a limit; a
 * request that would waste much of a chunk gets one of its own.
 */
#include "base/arena.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>
#include <stdalign.h>

#define CHUNK_MIN ((size_t)4096)
#define CHUNK_MAX BIG_BYTES
/* The first touch of many small pages costs more than what is not used of a large chunk. */
#define CHUNK_GROWTH 8
/* Bytes behind the last object that are asked for already: whoever fills many waits for memory else. */
#define AHEAD 384

struct chunk {
	struct chunk *next;
	size_t bytes;	    /* of all of it */
	size_t front, back; /* free bytes are data[front .. back-1] */
	alignas(max_align_t) char data[];
};

struct arena {
	struct chunk *chunks; /* the first one is being filled */
	size_t next_size;
	uint64_t bytes;
};

int arena_new(struct arena **ret)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return -ENOMEM;
	a->next_size = CHUNK_MIN;
	a->bytes = sizeof(*a);
	*ret = a;
	return 0;
}

static void chunk_free(struct chunk *c)
{
	if (c->bytes >= BIG_MIN)
		big_unmap(c, c->bytes);
	else
		free(c);
}

void arena_free(struct arena *a)
{
	if (a == NULL)
		return;
	while (a->chunks != NULL) {
		struct chunk *next = a->chunks->next;

		chunk_free(a->chunks);
		a->chunks = next;
	}
	free(a);
}

static struct chunk *chunk_new(struct arena *a, size_t payload)
{
	size_t bytes = sizeof(struct chunk) + payload;
	struct chunk *c;

	if (payload > SIZE_MAX / 2)
		return NULL;
	c = bytes >= BIG_MIN ? big_map(bytes) : calloc(1, bytes);
	if (c == NULL)
		return NULL;
	c->bytes = bytes;
	c->back = payload;
	a->bytes += bytes;
	return c;
}

/* The chunk to take size bytes from; size is what the request needs at most, padding included. */
static struct chunk *chunk_for(struct arena *a, size_t size)
{
	struct chunk *c = a->chunks;

	if (c != NULL && c->back - c->front >= size)
		return c;

	/* Who asks for much at once will do so again. */
	while (size > a->next_size / 4 && a->next_size < CHUNK_MAX)
		a->next_size *= CHUNK_GROWTH;
	if (size > a->next_size / 4) {
		c = chunk_new(a, size);
		if (c == NULL)
			return NULL;
		/* Behind the chunk being filled, which keeps its free room. */
		if (a->chunks != NULL) {
			c->next = a->chunks->next;
			a->chunks->next = c;
		} else {
			a->chunks = c;
		}
		return c;
	}

	c = chunk_new(a, a->next_size - sizeof(*c));
	if (c == NULL)
		return NULL;
	c->next = a->chunks;
	a->chunks = c;
	a->next_size = MIN(a->next_size * CHUNK_GROWTH, CHUNK_MAX);
	return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct chunk *c;
	void *p;

	if (size > SIZE_MAX / 4)
		return NULL;
	/* Rounded sizes keep front aligned; a zero-sized object gets an address of its own. */
	size = round_up_u64(MAX(size, (size_t)1), align);
	c = chunk_for(a, size);
	if (c == NULL)
		return NULL;
	p = c->data + c->front;
	c->front += size;
	__builtin_prefetch(c->data + c->front + AHEAD, 1);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	struct chunk *c;
	char *p;

	if (len > SIZE_MAX / 4)
		return NULL;
	c = chunk_for(a, len + 1);
	if (c == NULL)
		return NULL;
	c->back -= len + 1;
	p = c->data + c->back;
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

uint64_t arena_bytes(const struct arena *a)
{
	return a->bytes;
}
