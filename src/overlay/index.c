/*
 * overlay/index.c: where each block of a file of the chain is stored, found once and kept.
 *
 * An index is built at first use by an engine job that asks the layers, newest first, and takes for
 * each block the first answer: so a read costs the same however long the chain is. What is held is
 * bounded (options.index_memory); the least recently used index that nobody has pinned goes first.
 * An index owns the virtual descriptors of the stored files it points into.
 *
 * With verify_reads it also holds 4 bytes a block that the page must agree with. Reading those anew
 * from the header map would inflate the file's whole array for one page. Of a plain file nothing is
 * held, but it is compared with its sums before its first byte is served.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define LOCATE_BLOCKS                                                                              \
	131072u /* asked from a layer at once: a segment, so that its map is read once */

struct index {
	struct overlay *ov;
	struct base *base;
	struct index *lru_prev, *lru_next;
	unsigned pins;
	bool ready;
	struct index_wait *waiters, **waiters_tail;
	struct io_op job;
	struct errmsg error;
	uint64_t bytes;
	uint32_t count; /* blocks; 0 for PLAIN files, which need no entries */
	struct index_entry *entries;
	uint32_t *sums;	    /* one a block; NULL: reads are not verified */
	struct vfd *vfds[]; /* one a part */
};

static struct layer *part_layer(const struct overlay *ov, const struct base *base, unsigned part)
{
	return ov->chain->layers[base->parts[part].layer];
}

static int take_extents(struct index *ix, unsigned part, uint32_t first, uint32_t count,
			const struct layer_extent *extents)
{
	for (uint32_t i = 0; i < count; i++) {
		struct index_entry *entry = &ix->entries[first + i];

		if (entry->part != INDEX_NO_PART || entry->len || extents[i].len == LAYER_ABSENT)
			continue;
		if (extents[i].len == LAYER_ZERO) {
			entry->len = 1; /* decided: zeros */
			continue;
		}
		if (extents[i].off >= UINT64_C(1) << 40 || extents[i].len >= 1u << 14)
			return -EUCLEAN;
		*entry = (struct index_entry){
			.off = extents[i].off, .len = extents[i].len & 0x3fff, .part = part & 1023};
		if (ix->sums)
			ix->sums[first + i] = extents[i].sum;
	}
	return 0;
}

/* One layer's answers for all blocks; on an engine thread. */
static int locate_part(struct index *ix, unsigned part, struct layer_extent *extents)
{
	struct layer *layer = part_layer(ix->ov, ix->base, part);
	bool below = ix->base->parts[part].layer + 1 < ix->ov->chain->count;
	uint32_t end = below ? MIN(ix->count, ix->base->limit) : ix->count;
	int rc = 0;

	for (uint32_t first = 0; first < end && rc == 0; first += LOCATE_BLOCKS) {
		uint32_t n = MIN(LOCATE_BLOCKS, end - first);

		rc = layer->ops->locate(layer, ix->base->parts[part].file, first, n, extents,
					&ix->error);
		if (rc == 0)
			rc = take_extents(ix, part, first, n, extents);
	}
	return rc;
}

static bool all_placed(const struct index *ix)
{
	for (uint32_t i = 0; i < ix->count; i++)
		if (ix->entries[i].part == INDEX_NO_PART && !ix->entries[i].len)
			return false;
	return true;
}

/* A plain file, as a whole. */
static int64_t check_job(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);
	struct layer *layer = part_layer(ix->ov, ix->base, 0);

	return layer->ops->check(layer, ix->base->parts[0].file, &ix->error);
}

static int64_t build_job(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);
	_cleanup_free_ struct layer_extent *extents =
		calloc(MIN(ix->count, LOCATE_BLOCKS), sizeof(*extents));
	int rc = extents ? 0 : -ENOMEM;

	for (unsigned part = 0; part < ix->base->part_count && rc == 0; part++) {
		rc = locate_part(ix, part, extents);
		if (rc == 0 && part + 1 < ix->base->part_count && all_placed(ix))
			break;
	}
	return rc;
}

static void lru_remove(struct overlay *ov, struct index *ix)
{
	*(ix->lru_prev ? &ix->lru_prev->lru_next : &ov->lru_head) = ix->lru_next;
	*(ix->lru_next ? &ix->lru_next->lru_prev : &ov->lru_tail) = ix->lru_prev;
	ix->lru_prev = ix->lru_next = NULL;
}

static void lru_push(struct overlay *ov, struct index *ix)
{
	ix->lru_next = ov->lru_head;
	*(ov->lru_head ? &ov->lru_head->lru_prev : &ov->lru_tail) = ix;
	ov->lru_head = ix;
}

static void index_free(struct overlay *ov, struct index *ix)
{
	lru_remove(ov, ix);
	ov->index_bytes -= ix->bytes;
	ix->base->index = NULL;
	for (unsigned i = 0; i < ix->base->part_count; i++)
		vfd_free(ix->vfds[i]);
	free(ix->entries);
	free(ix->sums);
	free(ix);
}

static void shrink(struct overlay *ov)
{
	struct index *ix = ov->lru_tail;

	while (ix && ov->index_bytes > ov->options.index_memory) {
		struct index *prev = ix->lru_prev;

		if (ix->pins == 0)
			index_free(ov, ix);
		ix = prev;
	}
}

static void report(struct index *ix, int rc)
{
	const struct layer *layer = part_layer(ix->ov, ix->base, 0);

	if (rc != -ENOMEM)
		ix->ov->bad_files++;
	log_error("backup %s: file '%s' cannot be read: %s", layer->id,
		  layer->ops->name(layer, ix->base->parts[0].file), errmsg_text(&ix->error, rc));
}

/* Answers everybody who waited. Each holds a pin of its own when rc is 0. */
static void build_done(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);
	struct overlay *ov = ix->ov;
	struct index_wait *wait = ix->waiters, *next;
	int rc = (int)op->result;

	if (rc < 0)
		report(ix, rc);
	ix->ready = rc == 0;
	ix->waiters = NULL;
	if (rc < 0) {
		rc = rc == -ENOMEM ? rc : -EIO; /* the backup is no worse for it */
		ix->pins = 0;
		index_free(ov, ix);
	}
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait, rc);
	}
	shrink(ov);
}

static int make_vfds(struct overlay *ov, struct index *ix)
{
	for (unsigned i = 0; i < ix->base->part_count; i++) {
		struct layer *layer = part_layer(ov, ix->base, i);
		int rc = vfd_new(ov->vfds, layer->dirfd,
				 layer->ops->name(layer, ix->base->parts[i].file), O_RDONLY, 0,
				 &ix->vfds[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int index_new(struct overlay *ov, struct base *base, struct index **ret)
{
	size_t head = sizeof(struct index) + base->part_count * sizeof(struct vfd *);
	struct index *ix = calloc(1, head);

	if (!ix)
		return -ENOMEM;
	ix->ov = ov;
	ix->base = base;
	ix->bytes = head + base->part_count * 160u; /* with what a vfd takes */
	if (base->kind == LAYER_BLOCKS) {
		ix->count = (uint32_t)((base->size + BLCK - 1) / BLCK);
		ix->entries = calloc(ix->count, sizeof(*ix->entries));
		ix->bytes += (uint64_t)ix->count * sizeof(*ix->entries);
		if (ov->options.verify_reads) {
			ix->sums = calloc(ix->count, sizeof(*ix->sums));
			ix->bytes += (uint64_t)ix->count * sizeof(*ix->sums);
		}
	}
	lru_push(ov, ix);
	base->index = ix;
	ov->index_bytes += ix->bytes;
	if ((ix->count && (!ix->entries || (ov->options.verify_reads && !ix->sums))) ||
	    make_vfds(ov, ix) < 0) {
		index_free(ov, ix);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < ix->count; i++)
		ix->entries[i].part = INDEX_NO_PART;
	*ret = ix;
	return 0;
}

static bool needs_job(const struct overlay *ov, const struct base *base)
{
	if (base->kind == LAYER_BLOCKS)
		return true;
	return ov->options.verify_reads && part_layer(ov, base, 0)->ops->check;
}

static void build_start(struct overlay *ov, struct index *ix)
{
	ix->waiters_tail = &ix->waiters;
	ix->job = (struct io_op){.code = IO_JOB,
				 .job = ix->base->kind == LAYER_BLOCKS ? build_job : check_job,
				 .done = build_done};
	ov->index_builds++;
	io_submit(ov->io, &ix->job);
}

int index_get(struct overlay *ov, struct base *base, struct index_wait *wait)
{
	struct index *ix = base->index;

	if (!ix) {
		int rc = index_new(ov, base, &ix);

		if (rc < 0)
			return rc;
		if (needs_job(ov, base))
			build_start(ov, ix);
		else
			ix->ready = true;
	} else if (ix != ov->lru_head) {
		lru_remove(ov, ix);
		lru_push(ov, ix);
	}
	ix->pins++;
	if (ix->ready)
		return 0;
	wait->next = NULL;
	*ix->waiters_tail = wait;
	ix->waiters_tail = &wait->next;
	return -EINPROGRESS;
}

void index_put(struct overlay *ov, struct base *base)
{
	base->index->pins--;
	if (ov->index_bytes > ov->options.index_memory)
		shrink(ov);
}

const struct index_entry *index_entries(const struct base *base, uint32_t *ret_count)
{
	*ret_count = base->index->count;
	return base->index->entries;
}

const uint32_t *index_sums(const struct base *base)
{
	return base->index->sums;
}

struct vfd *index_vfd(const struct base *base, unsigned part)
{
	return base->index->vfds[part];
}

void index_free_all(struct overlay *ov)
{
	while (ov->lru_head)
		index_free(ov, ov->lru_head);
}

int index_build(struct overlay *ov, struct base *base, struct errmsg *e)
{
	struct index *ix = calloc(1, sizeof(*ix) + base->part_count * sizeof(struct vfd *));
	int rc = ix ? 0 : -ENOMEM;

	if (rc < 0)
		return errmsg_set(e, rc, "out of memory");
	ix->ov = ov;
	ix->base = base;
	if (base->kind == LAYER_BLOCKS) {
		ix->count = (uint32_t)((base->size + BLCK - 1) / BLCK);
		ix->entries = calloc(ix->count, sizeof(*ix->entries));
		if (ov->options.verify_reads)
			ix->sums = calloc(ix->count, sizeof(*ix->sums));
		for (uint32_t i = 0; ix->entries && i < ix->count; i++)
			ix->entries[i].part = INDEX_NO_PART;
		rc = ix->entries && (ix->sums || !ov->options.verify_reads)
			     ? (int)build_job(&ix->job)
			     : -ENOMEM;
	} else if (needs_job(ov, base)) {
		rc = (int)check_job(&ix->job);
	}
	if (rc < 0) {
		(void)errmsg_set(e, rc, "%s", errmsg_text(&ix->error, rc));
		free(ix->entries);
		free(ix->sums);
		free(ix);
		return rc;
	}
	base->index = ix;
	return 0;
}

void index_drop(struct base *base)
{
	free(base->index->entries);
	free(base->index->sums);
	free(base->index);
	base->index = NULL;
}
