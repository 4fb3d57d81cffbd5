/*
 * layer/probackup/manifest.c: items become the arrays of a layer.
 */
#include "base/big.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>

#define AHEAD 8u

typedef bool before_fn(const struct load_item *a, const struct load_item *b);

/* The end of the ascending run that begins at from. */
static uint32_t run_end(struct load_item *const *items, uint32_t from, uint32_t count,
			before_fn *before)
{
	uint32_t end = MIN(from + 1, count);

	while (end < count && !before(items[end], items[end - 1]))
		end++;
	return end;
}

/* Merges two runs, one behind the other. */
static void merge(struct load_item *const *from, uint32_t first, uint32_t middle, uint32_t end,
		  struct load_item **to, before_fn *before)
{
	uint32_t a = first, b = middle;

	for (uint32_t i = first; i < end; i++) {
		if (b == end || (a < middle && !before(from[b], from[a])))
			to[i] = from[a++];
		else
			to[i] = from[b++];
	}
}

/* Merges pairs of runs; returns how many there were. */
static uint32_t merge_runs(struct load_item *const *from, struct load_item **to, uint32_t count,
			   before_fn *before)
{
	uint32_t runs = 0;

	for (uint32_t at = 0; at < count;) {
		uint32_t middle = run_end(from, at, count, before);
		uint32_t end = run_end(from, middle, count, before);

		runs += middle < end ? 2 : 1;
		merge(from, at, middle, end, to, before);
		at = end;
	}
	return runs;
}

struct load_item **manifest_sort(struct load_item *items, uint32_t count, before_fn *before)
{
	struct load_item **sorted = big_calloc(count, 2 * sizeof(*sorted));
	struct load_item **from = sorted, **to;

	if (sorted == NULL)
		return NULL;
	to = sorted + count;
	for (uint32_t i = 0; i < count; i++)
		from[i] = &items[i];
	if (run_end(from, 0, count, before) == count)
		return sorted;
	while (merge_runs(from, to, count, before) > 2) {
		struct load_item **was = from;

		from = to;
		to = was;
	}
	if (to != sorted)
		memcpy(sorted, to, count * sizeof(*sorted));
	return sorted;
}

/* A hint: they lie where their lines were, not where they belong. */
static void expect_item(const struct load_item *item)
{
	for (size_t at = 0; at < sizeof(*item); at += 64)
		__builtin_prefetch((const char *)item + at);
}

int manifest_build(struct probackup_layer *layer, struct load_item *const *sorted, uint32_t count,
		   struct arena *files, struct arena *entries)
{
	uint32_t stored = 0;

	for (uint32_t i = 0; i < count; i++)
		stored += sorted[i]->entry.file != LAYER_NO_FILE;
	layer->files = arena_alloc(files, stored * sizeof(*layer->files));
	layer->base.entries = entries != NULL
				      ? arena_alloc(entries, count * sizeof(*layer->base.entries))
				      : big_calloc(count, sizeof(*layer->base.entries));
	if (layer->base.entries == NULL || layer->files == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct layer_entry *entry = &layer->base.entries[i];

		expect_item(sorted[MIN(i + AHEAD, count - 1)]);
		*entry = sorted[i]->entry;
		if (entry->file == LAYER_NO_FILE)
			continue;
		entry->file = layer->file_count;
		layer->files[layer->file_count++] = sorted[i]->file;
	}
	layer->base.entry_count = count;
	return 0;
}
