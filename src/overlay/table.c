/*
 * overlay/table.c: see table.h. A table is made anew when 13 of 16 slots have been used, and goes on to
 * 15 of 16 where there is no memory for that. Positions and used slots are bounded together: each new
 * slot takes a new position.
 */
#include "overlay/table.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>

#define SIZE_LEAST 64u
#define SIZE_MOST  (UINT32_C(1) << 30)

static uint32_t limit_of(uint32_t size)
{
	return size / 16 * 13;
}

static uint32_t last_limit_of(uint32_t size)
{
	return size / 16 * 15;
}

static int take_memory(struct table *t, uint32_t size)
{
	size_t positions = last_limit_of(size) * sizeof(*t->items);
	size_t bytes = positions + size * (sizeof(*t->slots) + sizeof(*t->tags));
	void **items = big_realloc(NULL, 0, bytes);

	if (!items)
		return -ENOMEM;
	t->items = items;
	t->slots = (uint32_t *)(void *)((char *)items + positions);
	t->tags = (uint8_t *)(t->slots + size);
	memset(t->tags, TABLE_FREE, size * sizeof(*t->tags));
	t->size = size;
	t->count = t->end = 0;
	return 0;
}

static void put(struct table *t, void *item)
{
	uint64_t hash = t->hash(item);
	uint32_t at = (uint32_t)hash & (t->size - 1);

	while (t->tags[at] > TABLE_REMOVED)
		at = (at + 1) & (t->size - 1);
	t->tags[at] = table_tag(hash);
	t->slots[at] = t->end;
	t->items[t->end++] = item;
	t->count++;
}

static int make_anew(struct table *t, uint32_t size)
{
	struct table old = *t;
	uint32_t at = 0;
	void *item;
	int rc = take_memory(t, size);

	if (rc < 0)
		return rc;
	while ((item = table_next(&old, &at)))
		put(t, item);
	free(old.items);
	return 0;
}

int table_reserve(struct table *t, uint32_t count)
{
	uint32_t size = SIZE_LEAST;

	while (limit_of(size) < count && size < SIZE_MOST)
		size *= 2;
	if (limit_of(size) < count)
		return -ENOMEM;
	return size > t->size ? make_anew(t, size) : 0;
}

int table_add(struct table *t, void *item)
{
	if (t->end >= limit_of(t->size)) {
		/* Where many are removed ones, the same size does. */
		int rc = table_reserve(t, t->count + t->count / 2 + 1);

		if (rc == 0 && t->end >= limit_of(t->size))
			rc = make_anew(t, t->size);
		if (rc < 0 && t->end >= last_limit_of(t->size))
			return rc;
	}
	put(t, item);
	return 0;
}

void table_remove(struct table *t, const void *item)
{
	uint32_t mask = t->size - 1, at = (uint32_t)t->hash(item) & mask;

	while (t->tags[at] <= TABLE_REMOVED || t->items[t->slots[at]] != item)
		at = (at + 1) & mask;
	t->count--;
	t->items[t->slots[at]] = NULL;
	t->tags[at] = TABLE_REMOVED;
	/* Before a free slot nobody has gone past. */
	while (t->tags[(at + 1) & mask] == TABLE_FREE && t->tags[at] == TABLE_REMOVED) {
		t->tags[at] = TABLE_FREE;
		at = (at - 1) & mask;
	}
}

void *table_next(const struct table *t, uint32_t *at)
{
	while (*at < t->end) {
		void *item = t->items[(*at)++];

		if (item)
			return item;
	}
	return NULL;
}

void table_free(struct table *t)
{
	free(t->items);
	*t = (struct table){.hash = t->hash};
}
