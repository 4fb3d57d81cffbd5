/*
 * layer/probackup/wanted.c: see wanted.h. Open addressing, half full at most.
 */
#include "layer/probackup/wanted.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>
#include <xxhash.h>

int wanted_init(struct wanted_table *table, uint32_t max)
{
	uint32_t size = 16;

	if (max > UINT32_MAX / 4)
		return -ENOMEM;
	while (size < max * 2)
		size *= 2;
	table->items = big_calloc(max, sizeof(*table->items));
	table->slots = big_calloc(size, sizeof(*table->slots));
	table->count = 0;
	table->mask = size - 1;
	return table->items != NULL && table->slots != NULL ? 0 : -ENOMEM;
}

static uint64_t *find_slot(const struct wanted_table *table, uint64_t hash, const char *path,
			   uint32_t len)
{
	uint32_t at = (uint32_t)hash & table->mask;

	for (; table->slots[at] != 0; at = (at + 1) & table->mask) {
		uint64_t slot = table->slots[at];
		const struct wanted *w = &table->items[(uint32_t)slot - 1];

		if (slot >> 32 == hash >> 32 && w->path_len == len &&
		    memcmp(w->path, path, len) == 0)
			break;
	}
	return &table->slots[at];
}

void wanted_add(struct wanted_table *table, const char *path, uint32_t item, enum want want)
{
	uint32_t len = (uint32_t)strlen(path);
	uint64_t hash = XXH3_64bits(path, len);

	table->items[table->count] =
		(struct wanted){.path = path, .path_len = len, .item = item, .want = want};
	table->count++;
	*find_slot(table, hash, path, len) = (hash & ~(uint64_t)UINT32_MAX) | table->count;
}

struct wanted *wanted_find(const struct wanted_table *table, const char *path, uint32_t len)
{
	uint64_t slot = *find_slot(table, XXH3_64bits(path, len), path, len);

	return slot != 0 ? &table->items[(uint32_t)slot - 1] : NULL;
}

void wanted_free(struct wanted_table *table)
{
	free(table->items);
	free(table->slots);
	*table = (struct wanted_table){0};
}
