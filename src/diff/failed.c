/*
 * What a group may say of a file of which data has been lost. It claims no blocks of it, so it must
 * not make it longer either: what was cut off earlier, and has been overwritten with zeros since,
 * would show again. A size that was smaller in between stays: it only takes away.
 */
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "diff/diff_internal.h"

static bool cut_blocks(struct commit *c)
{
	bool any = false;

	for (size_t i = c->file_count; i-- > 0;) {
		struct commit_file *cf = &c->files[i];
		uint8_t *at;

		if (!cf->error)
			continue;
		any = true;
		if (cf->len == 0)
			continue;
		at = c->payload.data + cf->off;
		memmove(at, at + cf->len, c->payload.len - cf->off - cf->len);
		c->payload.len -= cf->len;
	}
	return any;
}

/* BLOCKS records that are still there are of data that is durable, and so are their sizes. */
static void limit_sizes(struct diff *diff)
{
	struct diff_buffer *payload = &diff->commit.payload;
	struct diff_record record;

	for (size_t pos = 0; pos < payload->len;) {
		int64_t len = diff_record_peek(payload->data + pos, payload->len - pos, &record);
		struct diff_file *file = diff_file_find(diff, record.id);

		assert(len > 0);
		if (file && file->error && record.type == DIFF_RECORD_SIZE) {
			file->recorded_size = MIN(record.size, file->recorded_size);
			diff_record_put_size(payload->data + pos, file->recorded_size);
		} else if (file && file->error && record.type == DIFF_RECORD_BLOCKS) {
			file->recorded_size = record.size;
		}
		pos += (size_t)len;
	}
}

bool failed_cut(struct diff *diff)
{
	struct commit *c = &diff->commit;
	bool any = cut_blocks(c) || diff->failed > 0;

	for (size_t i = 0; i < c->file_count; i++)
		if (!c->files[i].file->error)
			c->files[i].file->recorded_size = c->files[i].size;
	if (any)
		limit_sizes(diff);
	return any;
}
