/*
 * layer/probackup/item.c: what a line of a list says of the content of its file.
 */
#include "base/util.h"
#include "layer/probackup/probackup.h"
#include "pg/page.h"

#include <errno.h>

#define SEGNO_MAX (UINT32_MAX / PG_SEGMENT_BLOCKS)

static int fill_codec(const struct content_line *line, struct probackup_file *file,
		      struct errmsg *e)
{
	int codec = codec_from_name(line->compress_alg);

	if (codec < 0)
		return errmsg_set(e, -ENOTSUP,
				  "'%s' is compressed with %s, which is not known here", line->path,
				  line->compress_alg);
	file->codec = (uint8_t)codec;
	return 0;
}

/* A relation's main fork of which pages are stored here. */
static int fill_pages(const struct content_line *line, struct layer_entry *entry,
		      struct probackup_file *file, struct errmsg *e)
{
	if (line->n_headers == 0 || line->n_headers > PG_SEGMENT_BLOCKS)
		return errmsg_set(e, -EUCLEAN, "'%s' stores %u pages", line->path, line->n_headers);
	file->info = (struct headers_info){
		.size = (uint64_t)line->size,
		.hdr_off = line->hdr_off,
		.hdr_size = line->hdr_size,
		.hdr_crc = line->hdr_crc,
		.count = line->n_headers,
		.crc = line->crc,
		.whole = line->n_headers == line->n_blocks,
	};
	file->segno = line->segno;
	entry->stored_prefix = file->info.whole ? line->n_headers : 0;
	entry->file = 0; /* numbered when all are known */
	return fill_codec(line, file, e);
}

int item_fill_blocks(const struct content_line *line, struct layer_entry *entry,
		     struct probackup_file *file, struct errmsg *e)
{
	if (line->n_blocks > PG_SEGMENT_BLOCKS || line->segno > SEGNO_MAX)
		return errmsg_set(e, -EUCLEAN, "'%s' has %u blocks as segment %u", line->path,
				  line->n_blocks, line->segno);
	entry->kind = LAYER_BLOCKS;
	entry->segno = line->segno;
	if (line->size == 0) {
		entry->origin = LAYER_ORIGIN_NONE; /* whatever the older ones hold */
		return 0;
	}
	entry->origin = LAYER_ORIGIN_NEAREST;
	entry->size = LAYER_SIZE_UNKNOWN;
	entry->base_limit = line->n_blocks > 0 ? line->n_blocks : LAYER_NO_LIMIT;
	file->limit = entry->base_limit;
	return line->size > 0 ? fill_pages(line, entry, file, e) : 0;
}

void item_fill_plain(const struct content_line *line, struct layer_entry *entry,
		     struct probackup_file *file)
{
	entry->kind = LAYER_PLAIN;
	if (line->size < 0) {
		entry->origin = LAYER_ORIGIN_BELOW;
		entry->size = LAYER_SIZE_UNKNOWN; /* known when its backup is found */
		return;
	}
	entry->size = (uint64_t)line->size;
	file->info.size = (uint64_t)line->size;
	file->info.crc = line->crc;
	if (line->size > 0)
		entry->file = 0;
}
