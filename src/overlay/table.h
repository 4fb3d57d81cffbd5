/*
 * overlay/table.h: a hash table of pointers, for the files and names of a tree: 13 bytes a slot, and nothing in the
 * items. Open addressing with linear probing; a byte of each hash lies beside the slots, so that a search looks at hardly
 * any item but the one it is for. A walk goes in the order of adding, in which items mostly lie in memory.
 *
 * Pure but for the memory; one owner. Hashes must be well mixed in all 64 bits.
 */
#ifndef OVERLAY_TABLE_H
#define OVERLAY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table {
	uint64_t (*hash)(const void *item); /* set by the owner; all else begins as zeros */
	void **items;			    /* in the order of adding; NULL: removed */
	uint32_t *slots;		    /* positions in items */
	uint8_t *tags;			    /* one a slot */
	uint32_t size;			    /* slots: a power of two, or 0 */
	uint32_t count, end;		    /* items; positions in use, those of removed ones too */
};

#define TABLE_FREE    0u
#define TABLE_REMOVED 1u

/* Room for so many items in all, so that adding them cannot fail. 0 or -ENOMEM. */
int table_reserve(struct table *t, uint32_t count);
/* An item that is not there yet, not during a walk. 0 or -ENOMEM. */
int table_add(struct table *t, void *item);
/* The item itself, which must be there; a walk may go on. */
void table_remove(struct table *t, const void *item);
/* The next item from position *at on, which begins as 0; NULL: that was all. */
void *table_next(const struct table *t, uint32_t *at);
void table_free(struct table *t); /* not the items */

static inline uint8_t table_tag(uint64_t hash)
{
	uint8_t tag = (uint8_t)(hash >> 56);

	return tag > TABLE_REMOVED ? tag : (uint8_t)(tag + 2);
}

/* A hint that an item of that hash will be looked for or added soon: in a large table that is two waits for memory. */
static inline void table_expect(const struct table *t, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & (t->size - 1);

	__builtin_prefetch(&t->tags[at], 1);
	__builtin_prefetch(&t->slots[at], 1);
}

/* The item with that hash that is equal to the key, or NULL. */
static inline void *table_find(const struct table *t, uint64_t hash,
			       bool (*equals)(const void *item, const void *key), const void *key)
{
	uint32_t mask = t->size - 1, at = (uint32_t)hash & mask;
	uint8_t tag = table_tag(hash);

	if (t->size == 0)
		return NULL;
	for (; t->tags[at] != TABLE_FREE; at = (at + 1) & mask) {
		if (t->tags[at] == tag && equals(t->items[t->slots[at]], key))
			return t->items[t->slots[at]];
	}
	return NULL;
}

#endif
