/*
 * layer/probackup/manifest.c: items become the arrays of a layer.
 */
#include "base/big.h"
#include "base/util.h"
#include "layer/probackup/probackup.h"

#include <errno.h>

static int compare_items(const void *a, const void *b)
{
	const struct load_item *x = a, *y = b;

	return strcmp(x->entry.path, y->entry.path);
}

void manifest_sort(struct load_item *items, uint32_t count)
{
	if (count > 0)
		qsort(items, count, sizeof(*items), compare_items);
}

int manifest_build(struct probackup_layer *layer, const struct load_item *items, uint32_t count)
{
	uint32_t files = 0;

	for (uint32_t i = 0; i < count; i++)
		files += items[i].entry.file != LAYER_NO_FILE;
	layer->base.entries = big_calloc(count, sizeof(*layer->base.entries));
	layer->files = big_calloc(files, sizeof(*layer->files));
	if (layer->base.entries == NULL || layer->files == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct layer_entry *entry = &layer->base.entries[i];

		*entry = items[i].entry;
		if (entry->file == LAYER_NO_FILE)
			continue;
		entry->file = layer->file_count;
		layer->files[layer->file_count++] = items[i].file;
	}
	layer->base.entry_count = count;
	return 0;
}
