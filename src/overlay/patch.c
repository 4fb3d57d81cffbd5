/*
 * overlay/patch.c: a write below the barrier: merges partial blocks and hands whole ones to the
 * diff.
 *
 * Blocks that the diff holds as DATA are overwritten in place, byte for byte. A block that it does
 * not hold is always written whole: what the write leaves of the first and last block is fetched
 * and merged, with zeros behind the old size. Bytes between the old size and a write beyond it must
 * read as zeros, so what an earlier shrink left there is overwritten first (patch_zero_tail), or
 * together with the write where that begins in the same block.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[BLCK];

static bool is_data(const struct file *f, uint32_t block)
{
	uint32_t n;

	return diff_file_run(f->record, block, 1, &n) == BLOCK_DATA;
}

static uint64_t patch_end(const struct patch *p)
{
	return p->off + p->len;
}

static uint32_t first_block(const struct patch *p)
{
	return (uint32_t)(p->off / BLCK);
}

static uint32_t last_block(const struct patch *p)
{
	return (uint32_t)((patch_end(p) - 1) / BLCK);
}

static void finish(struct patch *p, int rc)
{
	free(p->edges);
	p->edges = NULL;
	p->done(p, rc);
}

static void written(struct diff_write *write)
{
	finish(CONTAINER_OF(write, struct patch, write), write->result);
}

static void add_iov(struct patch *p, const void *data, uint64_t len)
{
	if (len == 0)
		return;
	/* iovec has no const; the data is only read. */
	p->iov[p->write.iovcnt++] =
		(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	p->write.len += len;
}

static uint64_t new_size(const struct patch *p)
{
	if (p->grow_to == UINT64_MAX)
		return 0;
	return p->grow_to ? p->grow_to : patch_end(p);
}

/* Both edges are merged, or lie in DATA blocks: one host write for prefix, data, suffix. */
static void write_all(struct patch *p)
{
	uint64_t size = file_size(p->file), gap = 0;
	const uint8_t *head = p->edges, *tail = p->edges ? p->edges + BLCK : NULL;
	bool head_data = is_data(p->file, first_block(p)),
	     tail_data = is_data(p->file, last_block(p));
	uint64_t lead = p->off % BLCK, trail = (BLCK - patch_end(p) % BLCK) % BLCK;

	p->write = (struct diff_write){.file = p->file->record,
				       .iov = p->iov,
				       .off = p->off,
				       .size = new_size(p),
				       .accepted = p->accepted,
				       .done = written};
	if (head_data && p->off > size && size / BLCK == first_block(p) && p->grow_to != UINT64_MAX)
		gap = p->off - size;
	if (head_data) {
		p->write.off -= gap;
		add_iov(p, zeros, gap);
	} else {
		p->write.off -= lead;
		add_iov(p, head, lead);
	}
	add_iov(p, p->data ? p->data : zeros, p->len);
	if (!tail_data && trail > 0)
		add_iov(p, (first_block(p) == last_block(p) ? head : tail) + BLCK - trail, trail);
	diff_write(p->ov->diff, &p->write);
}

/* What a fetched block holds behind the size is not the file's: it must not come back when the file
 * grows. */
static void clip_edge(const struct patch *p, uint8_t *edge, uint32_t block)
{
	uint64_t size = file_size(p->file), start = (uint64_t)block * BLCK;

	if (size < start + BLCK)
		memset(edge + (size > start ? size - start : 0), 0,
		       BLCK - (size_t)(size > start ? size - start : 0));
}

static void next_edge(struct patch *p);

static void edge_fetched(struct fetch *fetch, int rc)
{
	struct patch *p = CONTAINER_OF(fetch, struct patch, fetch);

	if (rc < 0) {
		finish(p, rc);
		return;
	}
	clip_edge(p, fetch->buf, fetch->first);
	next_edge(p);
}

/* step 0: the first block; 1: the last one; 2: write. */
static void next_edge(struct patch *p)
{
	uint32_t first = first_block(p), last = last_block(p);
	bool head = p->off % BLCK || (first == last && patch_end(p) % BLCK);
	bool tail = first != last && patch_end(p) % BLCK;
	uint32_t block = p->step == 0 ? first : last;
	bool wanted = p->step == 0 ? head : tail;

	if (p->step++ == 2) {
		write_all(p);
		return;
	}
	if (!wanted || is_data(p->file, block)) {
		next_edge(p);
		return;
	}
	if (!p->edges)
		p->edges = malloc(2 * (size_t)BLCK);
	if (!p->edges) {
		finish(p, -ENOMEM);
		return;
	}
	p->fetch = (struct fetch){.ov = p->ov,
				  .file = p->file,
				  .first = block,
				  .count = 1,
				  .buf = p->edges + (block == first ? 0 : BLCK),
				  .done = edge_fetched};
	fetch_start(&p->fetch);
}

void patch_start(struct patch *p)
{
	int rc = file_get_record(p->ov, p->file);

	if (rc == 0 && patch_end(p) > (uint64_t)DIFF_MAX_BLOCKS * BLCK)
		rc = -EFBIG;
	p->step = 0;
	p->edges = NULL;
	if (rc < 0 || p->len == 0)
		finish(p, rc);
	else
		next_edge(p);
}

void patch_zero_tail(struct patch *p)
{
	uint64_t size = file_size(p->file);
	uint32_t block = (uint32_t)(size / BLCK), n;
	int rc = file_get_record(p->ov, p->file);
	enum block_state state;

	p->edges = NULL;
	if (rc < 0 || size % BLCK == 0) {
		p->done(p, rc);
		return;
	}
	state = diff_file_run(p->file->record, block, 1, &n);
	if (state == BLOCK_ZERO ||
	    (state == BLOCK_ABSENT && block >= diff_file_base_limit(p->file->record))) {
		p->done(p, 0);
		return;
	}
	p->off = size;
	p->len = (uint32_t)(BLCK - size % BLCK);
	p->data = NULL;
	p->grow_to = UINT64_MAX;
	patch_start(p);
}
