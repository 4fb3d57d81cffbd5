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

static bool stays(const struct load_item *item, const struct load_item *limit, bool equal_too,
		  before_fn *before)
{
	return equal_too ? !before(limit, item) : before(item, limit);
}

/*
 * How many items at the beginning of a run are before the limit or, with equal_too, not behind it.
 * Looked for by doubling, then by halves: runs that lie apart take few comparisons.
 */
static uint32_t run_before(struct load_item *const *items, uint32_t count,
			   const struct load_item *limit, bool equal_too, before_fn *before)
{
	uint32_t from = 0, step = 1, to;

	while (step <= count && stays(items[step - 1], limit, equal_too, before)) {
		from = step;
		step *= 2;
	}
	to = MIN(step - 1, count);
	while (from < to) {
		uint32_t middle = from + (to - from) / 2;

		if (stays(items[middle], limit, equal_too, before))
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* Merges two runs, one behind the other; of equal items the first run's come first. */
static void merge(struct load_item *const *from, uint32_t first, uint32_t middle, uint32_t end,
		  struct load_item **to, before_fn *before)
{
	uint32_t a = first, b = middle;

	while (a < middle && b < end) {
		uint32_t n = run_before(from + a, middle - a, from[b], true, before);

		memcpy(to + (a - first) + (b - middle), from + a, n * sizeof(*to));
		a += n;
		if (a == middle)
			break;
		n = run_before(from + b, end - b, from[a], false, before);
		memcpy(to + (a - first) + (b - middle), from + b, n * sizeof(*to));
		b += n;
	}
	to += (a - first) + (b - middle);
	memcpy(to, from + a, (middle - a) * sizeof(*to));
	memcpy(to + (middle - a), from + b, (end - b) * sizeof(*to));
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
		merge(from, at, middle, end, to + at, before);
		at = end;
	}
	return runs;
}

struct load_item **manifest_sort(struct load_item *items, uint32_t count, before_fn *before)
{
	struct load_item **sorted = big_realloc(NULL, 0, count * 2 * sizeof(*sorted));
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
				      : big_realloc(NULL, 0, count * sizeof(*layer->base.entries));
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
