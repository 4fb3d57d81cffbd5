/*
 * overlay/table.c: see table.h. A table is made anew when 13 of 16 slots are used, and goes on to 15 of
 * 16 where there is no memory for that.
 */
#include "overlay/table.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>

#define SIZE_MIN  64u
#define SIZE_MAX_ (UINT32_C(1) << 30)

static uint32_t limit_of(uint32_t size)
{
	return size / 16 * 13;
}

/* Half a huge page is worth a whole one: the first touch of a small page costs as much as that of a
 * big one. */
static void *slots_new(uint32_t size)
{
	size_t bytes = size * (sizeof(void *) + 1);

	return big_calloc(1, bytes < BIG_BYTES / 2 ? bytes : MAX(bytes, BIG_BYTES));
}

static void put(struct table *t, void *item)
{
	uint64_t hash = t->hash(item);
	uint32_t at = (uint32_t)hash & (t->size - 1);

	while (t->tags[at] > TABLE_REMOVED)
		at = (at + 1) & (t->size - 1);
	t->used += t->tags[at] == TABLE_FREE;
	t->tags[at] = table_tag(hash);
	t->slots[at] = item;
	t->count++;
}

static int make_anew(struct table *t, uint32_t size)
{
	struct table old = *t;
	uint32_t at = 0;
	void **slots = slots_new(size), *item;

	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	t->tags = (uint8_t *)(slots + size);
	t->size = size;
	t->count = t->used = 0;
	while ((item = table_next(&old, &at)))
		put(t, item);
	free(old.slots);
	return 0;
}

int table_reserve(struct table *t, uint32_t count)
{
	uint32_t size = SIZE_MIN;

	while (limit_of(size) < count && size < SIZE_MAX_)
		size *= 2;
	if (limit_of(size) < count)
		return -ENOMEM;
	return size > t->size ? make_anew(t, size) : 0;
}

int table_add(struct table *t, void *item)
{
	if (t->used >= limit_of(t->size)) {
		/* Where many are removed ones, the same size does. */
		int rc = table_reserve(t, t->count + t->count / 2 + 1);

		if (rc == 0 && t->used >= limit_of(t->size))
			rc = make_anew(t, t->size);
		if (rc < 0 && t->used >= t->size / 16 * 15)
			return rc;
	}
	put(t, item);
	return 0;
}

void table_remove(struct table *t, const void *item)
{
	uint32_t mask = t->size - 1, at = (uint32_t)t->hash(item) & mask;

	while (t->tags[at] <= TABLE_REMOVED || t->slots[at] != item)
		at = (at + 1) & mask;
	t->count--;
	t->slots[at] = NULL;
	t->tags[at] = TABLE_REMOVED;
	/* Before a free slot nobody has gone past. */
	while (t->tags[(at + 1) & mask] == TABLE_FREE && t->tags[at] == TABLE_REMOVED) {
		t->tags[at] = TABLE_FREE;
		t->used--;
		at = (at - 1) & mask;
	}
}

void *table_next(const struct table *t, uint32_t *at)
{
	while (*at < t->size) {
		uint32_t i = (*at)++;

		if (t->tags[i] > TABLE_REMOVED)
			return t->slots[i];
	}
	return NULL;
}

void table_free(struct table *t)
{
	free(t->slots);
	*t = (struct table){.hash = t->hash};
}
