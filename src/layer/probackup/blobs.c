/*
 * layer/probackup/blobs.c: see blobs.h.
 */
#include "layer/probackup/blobs.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>

int blobs_add(struct blobs *blobs, uint64_t off, uint32_t size)
{
	if (blobs->count == blobs->cap) {
		size_t cap = MAX(blobs->cap * 4, (size_t)1024);
		void *items = big_realloc(blobs->items, blobs->cap * sizeof(*blobs->items),
					  cap * sizeof(*blobs->items));

		if (items == NULL)
			return -ENOMEM;
		blobs->items = items;
		blobs->cap = cap;
	}
	blobs->items[blobs->count++] = (struct blob){.off = off, .size = size};
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct blob *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Mostly they are: pg_probackup writes them in the order in which its threads finish. */
static bool is_sorted(const struct blobs *blobs)
{
	for (size_t i = 1; i < blobs->count; i++) {
		if (blobs->items[i].off < blobs->items[i - 1].off)
			return false;
	}
	return true;
}

bool blobs_are_apart(struct blobs *blobs, uint64_t *ret_off)
{
	if (!is_sorted(blobs))
		qsort(blobs->items, blobs->count, sizeof(*blobs->items), compare);
	for (size_t i = 1; i < blobs->count; i++) {
		const struct blob *before = &blobs->items[i - 1], *at = &blobs->items[i];

		if (at->off - before->off < before->size) {
			*ret_off = at->off;
			return false;
		}
	}
	return true;
}
