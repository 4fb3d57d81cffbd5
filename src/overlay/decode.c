/*
 * overlay/decode.c: stored records into blocks, checked. Runs on any thread and touches no file.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"
#include "pg/page.h"

#include <errno.h>
#include <string.h>

static int check_page(const struct fetch *fetch, const struct layer *layer, uint32_t block,
		      const uint8_t *page)
{
	uint32_t blkno = fetch->file->base->segno * PG_SEGMENT_BLOCKS + block;

	if (!fetch->ov->options.verify_reads || !layer->page_checksums || pg_page_is_zero(page))
		return 0;
	return pg_page_compute_checksum(page, blkno) == pg_page_checksum(page) ? 0 : -EBADMSG;
}

/* A damaged page is an error for that read, with one line that names it; never zeros, never a
 * guess. */
static int report_bad(const struct segment *s, const struct layer *layer, uint32_t block, int rc)
{
	struct overlay *ov = s->fetch->ov;
	uint32_t file = s->fetch->file->base->parts[s->part].file;

	__atomic_fetch_add(&ov->bad_pages, 1, __ATOMIC_RELAXED);
	log_error("backup %s: file '%s', block %u: %s", layer->id, layer->ops->name(layer, file),
		  block,
		  rc == -EBADMSG ? "page checksum does not match" : "stored page is damaged");
	return -EIO;
}

int decode_segment(struct segment *s, const uint8_t *raw, uint32_t from, uint32_t count)
{
	struct fetch *fetch = s->fetch;
	struct base *base = fetch->file->base;
	const struct base_part *part = &base->parts[s->part];
	const struct layer *layer = fetch->ov->chain->layers[part->layer];
	uint32_t entry_count;
	const struct index_entry *entries = index_entries(base, &entry_count);

	for (uint32_t i = from; i < from + count; i++) {
		uint32_t block = s->first + i;
		uint32_t len = entries[block].len;
		uint8_t *page = fetch->buf + (size_t)(block - fetch->first) * BLCK;
		const uint8_t *record = raw + (entries[block].off - s->off);
		int rc = layer->ops->decode(layer, part->file, block, record, len, page);

		if (rc == 0)
			rc = check_page(fetch, layer, block, page);
		if (rc < 0)
			return report_bad(s, layer, block, rc);
	}
	return 0;
}
