/*
 * layer/probackup/wanted.c: see wanted.h. Open addressing, half full at most.
 */
#include "layer/probackup/wanted.h"
#include "base/big.h"
#include "base/util.h"

#include <errno.h>
#include <xxhash.h>

#define SEARCH_SHARE 64u /* one of so many is searched by halves at the most */

int wanted_init(struct wanted_table *table, uint32_t max)
{
	if (max > UINT32_MAX / 4)
		return -ENOMEM;
	*table = (struct wanted_table){.sorted = true};
	table->items = big_realloc(NULL, 0, max * sizeof(*table->items));
	return table->items != NULL ? 0 : -ENOMEM;
}

void wanted_add(struct wanted_table *table, const char *path, uint32_t item, enum want want)
{
	table->items[table->count++] = (struct wanted){
		.path = path, .path_len = (uint32_t)strlen(path), .item = item, .want = want};
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

static int make_slots(struct wanted_table *table)
{
	uint32_t size = 16;

	while (size < table->count * 2)
		size *= 2;
	table->slots = big_calloc(size, sizeof(*table->slots));
	if (table->slots == NULL)
		return -ENOMEM;
	table->mask = size - 1;
	for (uint32_t i = 0; i < table->count; i++) {
		const struct wanted *w = &table->items[i];
		uint64_t hash = XXH3_64bits(w->path, w->path_len);

		*find_slot(table, hash, w->path, w->path_len) =
			(hash & ~(uint64_t)UINT32_MAX) | (i + 1);
	}
	return 0;
}

/* By halves; as strcmp, of which both are without NUL. */
static struct wanted *search(const struct wanted_table *table, const char *path, uint32_t len)
{
	uint32_t from = 0, to = table->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		struct wanted *w = &table->items[middle];
		int order = memcmp(w->path, path, MIN(w->path_len, len));

		if (order == 0 && w->path_len == len)
			return w;
		if (order < 0 || (order == 0 && w->path_len < len))
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

int wanted_find(struct wanted_table *table, const char *path, uint32_t len, struct wanted **ret)
{
	uint64_t slot;
	int rc;

	if (table->slots == NULL && table->sorted &&
	    table->searched < table->count / SEARCH_SHARE) {
		table->searched++;
		*ret = search(table, path, len);
		return 0;
	}
	rc = table->slots == NULL ? make_slots(table) : 0;
	if (rc < 0)
		return rc;
	slot = *find_slot(table, XXH3_64bits(path, len), path, len);
	*ret = slot != 0 ? &table->items[(uint32_t)slot - 1] : NULL;
	return 0;
}

void wanted_free(struct wanted_table *table)
{
	free(table->items);
	free(table->slots);
	*table = (struct wanted_table){0};
}
