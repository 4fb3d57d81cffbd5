/*
 * overlay/decode.c: stored records into blocks, checked. Runs on any thread and touches no file.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"
#include "pg/page.h"

#include <errno.h>

/* A damaged page is an error for that read, with one line that names it; never zeros, never a
 * guess. */
void decode_report(const struct segment *s, uint32_t block, const char *reason)
{
	struct overlay *ov = s->fetch->ov;
	const struct base_part *part = &s->fetch->file->base->parts[s->part];
	const struct layer *layer = ov->chain->layers[part->layer];

	__atomic_fetch_add(&ov->bad_pages, 1, __ATOMIC_RELAXED);
	log_error("backup %s: file '%s', block %u cannot be read: %s", layer->id,
		  layer->ops->name(layer, part->file), block, reason);
}

int decode_segment(struct segment *s, const uint8_t *raw, uint32_t from, uint32_t count)
{
	struct fetch *fetch = s->fetch;
	struct base *base = fetch->file->base;
	const struct base_part *part = &base->parts[s->part];
	const struct layer *layer = fetch->ov->chain->layers[part->layer];

	for (uint32_t i = from; i < from + count; i++) {
		uint32_t block = s->first + i;
		const struct index_entry *entry = index_entry(base, block);
		struct layer_extent x = {
			.off = entry->off, .len = entry->len, .sum = index_sum(base, block)};
		const char *reason = NULL;
		int rc = layer_take_page(
			layer, part->file, block, base->segno * PG_SEGMENT_BLOCKS + block, &x,
			raw + (x.off - s->off), fetch->ov->options.verify_reads,
			fetch->buf + (size_t)(block - fetch->first) * BLCK, &reason);

		if (rc == -ENOMEM)
			return rc;
		if (rc < 0) {
			decode_report(s, block, reason);
			return -EIO;
		}
	}
	return 0;
}
