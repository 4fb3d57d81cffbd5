/*
 * overlay/plan.c: from a range of blocks to segments: runs that come from one place and can be read
 * at once.
 *
 * The diff speaks first: DATA blocks are read from its data file, ZERO blocks and blocks at or
 * above the base limit are zeros. What is left comes from the chain: neighbouring records of one
 * stored file become one segment.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t blocks_of(uint64_t bytes)
{
	return (uint32_t)((bytes + BLCK - 1) / BLCK);
}

/* What the diff says of block, and how many blocks from it on (at most max) it says it of. */
static enum block_state diff_run(const struct file *f, uint32_t block, uint32_t max,
				 uint32_t *ret_count)
{
	uint32_t limit;
	enum block_state state;

	*ret_count = max;
	if (!f->record)
		return BLOCK_ABSENT;
	state = diff_file_run(f->record, block, max, ret_count);
	if (state != BLOCK_ABSENT)
		return state;
	limit = diff_file_base_limit(f->record);
	if (block >= limit)
		return BLOCK_ZERO;
	*ret_count = MIN(*ret_count, limit - block);
	return BLOCK_ABSENT;
}

bool plan_needs_base(const struct fetch *fetch)
{
	const struct file *f = fetch->file;
	uint32_t n;

	if (!f->base || f->base->kind == LAYER_INLINE)
		return false;
	for (uint32_t i = 0; i < fetch->count; i += n) {
		uint32_t block = fetch->first + i;

		if (block >= blocks_of(f->base->size))
			return false;
		if (diff_run(f, block, fetch->count - i, &n) == BLOCK_ABSENT)
			return true;
	}
	return false;
}

static struct segment *add(struct fetch *fetch, enum segment_kind kind, uint32_t first,
			   uint32_t count)
{
	struct segment *s = &fetch->segments[fetch->segment_count++];

	*s = (struct segment){.kind = kind, .first = first, .count = count, .fetch = fetch};
	return s;
}

static void add_file_bytes(struct fetch *fetch, enum segment_kind kind, uint32_t first,
			   uint32_t count, struct vfd *vfd)
{
	struct segment *s = add(fetch, kind, first, count);

	s->vfd = vfd;
	s->off = (uint64_t)first * BLCK;
	s->len = (uint64_t)count * BLCK;
}

/* bulk.c plans on many threads. */
static void count_bytes(struct fetch *fetch, unsigned part, uint64_t bytes)
{
	const struct base *base = fetch->file->base;

	__atomic_fetch_add(&fetch->ov->layer_bytes[base->parts[part].layer], bytes,
			   __ATOMIC_RELAXED);
}

/* Neighbouring stored records in blocks [first, first + count) of the chain's file. */
static void plan_stored(struct fetch *fetch, uint32_t first, uint32_t count)
{
	struct base *base = fetch->file->base;
	struct segment *s = NULL;
	uint32_t old = fetch->segment_count;

	for (uint32_t block = first; block < first + count; block++) {
		struct index_entry e = *index_entry(base, block);

		if (e.part == INDEX_NO_PART) {
			add(fetch, SEGMENT_ZERO, block, 1);
			s = NULL;
			continue;
		}
		if (!s || s->part != e.part || s->off + s->len != e.off) {
			s = add(fetch, SEGMENT_STORED, block, 0);
			s->part = e.part;
			s->vfd = index_vfd(base, e.part);
			s->off = e.off;
		}
		s->count++;
		s->len += e.len;
		fetch->decode_count++;
	}
	for (uint32_t i = old; i < fetch->segment_count; i++)
		if (fetch->segments[i].kind == SEGMENT_STORED)
			count_bytes(fetch, fetch->segments[i].part, fetch->segments[i].len);
}

static void plan_plain(struct fetch *fetch, uint32_t first, uint32_t count)
{
	struct base *base = fetch->file->base;
	uint64_t off = (uint64_t)first * BLCK;

	add_file_bytes(fetch, SEGMENT_PLAIN, first, count, index_vfd(base, 0));
	count_bytes(fetch, 0, MIN((uint64_t)count * BLCK, base->size - off));
}

/* Blocks that the diff leaves to the chain. */
static void plan_base(struct fetch *fetch, uint32_t first, uint32_t count)
{
	struct base *base = fetch->file->base;
	uint32_t end = base ? blocks_of(base->size) : 0;
	uint32_t n = first < end ? MIN(count, end - first) : 0;

	if (n > 0 && base->kind == LAYER_INLINE)
		add(fetch, SEGMENT_INLINE, first, n);
	else if (n > 0 && base->kind == LAYER_PLAIN)
		plan_plain(fetch, first, n);
	else if (n > 0)
		plan_stored(fetch, first, n);
	/* bulk.c plans on many threads */
	__atomic_fetch_add(&fetch->ov->base_blocks, n, __ATOMIC_RELAXED);
	if (n < count)
		add(fetch, SEGMENT_ZERO, first + n, count - n);
}

int plan_segments(struct fetch *fetch)
{
	struct file *f = fetch->file;
	uint32_t n;

	fetch->segments = calloc(fetch->count + 1, sizeof(*fetch->segments));
	if (!fetch->segments)
		return -ENOMEM;
	for (uint32_t i = 0; i < fetch->count; i += n) {
		uint32_t block = fetch->first + i;

		switch (diff_run(f, block, fetch->count - i, &n)) {
		case BLOCK_DATA:
			add_file_bytes(fetch, SEGMENT_DIFF, block, n, diff_file_vfd(f->record));
			fetch->ov->diff_blocks += n;
			break;
		case BLOCK_ZERO:
			add(fetch, SEGMENT_ZERO, block, n);
			fetch->ov->zero_blocks += n;
			break;
		case BLOCK_ABSENT:
			plan_base(fetch, block, n);
			break;
		}
	}
	return 0;
}
