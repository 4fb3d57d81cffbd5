/*
 * io/bufpool.h: a bounded pool of page-aligned buffers for request data and stored bytes.
 *
 * Buffers come in two sizes, BUFPOOL_SMALL and BUFPOOL_LARGE. When the bound is reached the taker waits:
 * its continuation runs from a later bufpool_put, in order of asking. A request holds at most one buffer of
 * each size at a time and takes the large one first, so that waiting cannot go round in a circle.
 *
 * Locking: core thread only.
 */
#ifndef IO_BUFPOOL_H
#define IO_BUFPOOL_H

#include <stddef.h>
#include <stdint.h>

#define BUFPOOL_SMALL (32u << 10)
#define BUFPOOL_LARGE ((1u << 20) + (32u << 10)) /* the largest request plus slack for block rounding */

struct bufpool;

struct buf_wait {
	void (*ready)(struct buf_wait *wait, void *buf);
	struct buf_wait *next; /* the pool's own */
	size_t size;
};

int bufpool_new(size_t max_bytes, struct bufpool **ret);
void bufpool_free(struct bufpool *pool); /* everything put back; NULL is fine */

/* A buffer of at least size bytes (size <= BUFPOOL_LARGE), or NULL: then wait->ready is called later. */
void *bufpool_get(struct bufpool *pool, size_t size, struct buf_wait *wait);
void bufpool_put(struct bufpool *pool, void *buf);

/* Gives the memory of those back that nobody has needed since the last call. */
void bufpool_trim(struct bufpool *pool);

uint64_t bufpool_bytes(const struct bufpool *pool); /* allocated now */

#endif
