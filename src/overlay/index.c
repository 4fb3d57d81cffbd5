/*
 * overlay/index.c: where each block of a file of the chain is stored, found once and kept.
 *
 * An index is brought at first use by an engine job (index_build.c), either whole, by asking the
 * layers, or the pieces that are wanted, out of the cache. So a read costs the same however long
 * the chain is. What is held is bounded (options.index_memory); the least recently used index that
 * nobody has pinned goes first. An index owns the virtual descriptors of the stored files it points
 * into.
 *
 * With verify_reads it also holds 4 bytes a block that the page must agree with. Reading those anew
 * from the header map would inflate the file's whole array for one page. Of a plain file nothing is
 * held, but it is compared with its sums before its first byte is served.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

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
	index_pieces_free(ix->pieces, ix->piece_count);
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
	const struct layer *layer = index_layer(ix, 0);

	if (rc != -ENOMEM)
		ix->ov->bad_files++;
	log_error("backup %s: file '%s' cannot be read: %s", layer->id,
		  layer->ops->name(layer, ix->base->parts[0].file), errmsg_text(&ix->error, rc));
}

/* ---- pieces ---- */

/* The pieces that hold the blocks; none of a PLAIN file. */
static void pieces_of(const struct index *ix, const struct index_wait *wait, uint32_t *ret_from,
		      uint32_t *ret_to)
{
	uint32_t end = (uint32_t)MIN((uint64_t)wait->first + wait->count, ix->count);

	*ret_from = wait->first / INDEX_PIECE;
	*ret_to = (end + INDEX_PIECE - 1) / INDEX_PIECE;
}

static bool is_there(const struct index *ix, const struct index_wait *wait)
{
	uint32_t from, to;

	if (ix->base->kind != LAYER_BLOCKS)
		return ix->checked;
	pieces_of(ix, wait, &from, &to);
	for (uint32_t i = from; i < to; i++)
		if (!ix->pieces[i].entries)
			return false;
	return true;
}

/* What the job has brought; pieces that were there already stay, for somebody may be looking. */
static void take_fresh(struct index *ix)
{
	uint64_t block =
		sizeof(struct index_entry) + (ix->ov->options.verify_reads ? sizeof(uint32_t) : 0);

	for (uint32_t i = 0; i < ix->piece_count; i++) {
		uint64_t bytes = block * index_piece_blocks(ix, i);

		if (!ix->fresh[i].entries || ix->pieces[i].entries)
			continue;
		ix->pieces[i] = ix->fresh[i];
		ix->fresh[i].entries = NULL;
		ix->bytes += bytes;
		ix->ov->index_bytes += bytes;
	}
	index_pieces_free(ix->fresh, ix->piece_count);
	ix->fresh = NULL;
}

static void job_start(struct index *ix);

/* Those whose pieces are there, in order; the others go on waiting. */
static struct index_wait *take_ready(struct index *ix)
{
	struct index_wait *ready = NULL, **tail = &ready, *wait = ix->waiters, *next;

	ix->waiters = NULL;
	ix->waiters_tail = &ix->waiters;
	for (; wait; wait = next) {
		struct index_wait ***to = is_there(ix, wait) ? &tail : &ix->waiters_tail;

		next = wait->next;
		wait->next = NULL;
		**to = wait;
		*to = &wait->next;
	}
	return ready;
}

/* Nobody gets anything: their pins go, and the next one tries anew. */
static struct index_wait *take_failed(struct index *ix)
{
	struct index_wait *failed = ix->waiters;

	ix->waiters = NULL;
	ix->waiters_tail = &ix->waiters;
	for (const struct index_wait *wait = failed; wait; wait = wait->next)
		ix->pins--;
	if (ix->pins == 0)
		index_free(ix->ov, ix);
	return failed;
}

/* Answers everybody whose wait is over. Each holds a pin of its own when rc is 0. */
static void job_done(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);
	struct overlay *ov = ix->ov;
	struct index_wait *wait, *next;
	int rc = (int)op->result;

	ix->running = false;
	if (rc < 0) {
		report(ix, rc);
		rc = rc == -ENOMEM ? rc : -EIO; /* the backup is no worse for it */
		wait = take_failed(ix);
	} else {
		if (ix->base->kind == LAYER_BLOCKS)
			take_fresh(ix);
		ov->index_builds += ix->base->kind == LAYER_BLOCKS && !ix->loaded;
		ov->index_loads += ix->loaded;
		ix->checked = true;
		wait = take_ready(ix);
		if (ix->waiters)
			job_start(ix);
	}
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait, rc);
	}
	shrink(ov);
}

static int64_t job_run(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);

	return ix->base->kind == LAYER_BLOCKS ? index_bring(ix) : index_check(ix);
}

/* For the first who waits. */
static void job_start(struct index *ix)
{
	pieces_of(ix, ix->waiters, &ix->from, &ix->to);
	while (ix->from < ix->to && ix->pieces[ix->from].entries)
		ix->from++;
	ix->loaded = false;
	ix->running = true;
	ix->job = (struct io_op){.code = IO_JOB, .job = job_run, .done = job_done};
	io_submit(ix->ov->io, &ix->job);
}

/* ---- indexes ---- */

static int make_vfds(struct overlay *ov, struct index *ix)
{
	for (unsigned i = 0; i < ix->base->part_count; i++) {
		struct layer *layer = index_layer(ix, i);
		int rc = vfd_new(ov->vfds, layer->dirfd,
				 layer->ops->name(layer, ix->base->parts[i].file), O_RDONLY, 0,
				 &ix->vfds[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct index *index_alloc(struct overlay *ov, struct base *base)
{
	size_t head = sizeof(struct index) + base->part_count * sizeof(struct vfd *);
	struct index *ix = calloc(1, head);

	if (!ix)
		return NULL;
	ix->ov = ov;
	ix->base = base;
	ix->waiters_tail = &ix->waiters;
	if (base->kind == LAYER_BLOCKS) {
		ix->count = (uint32_t)((base->size + BLCK - 1) / BLCK);
		ix->piece_count = (ix->count + INDEX_PIECE - 1) / INDEX_PIECE;
		ix->pieces = calloc(ix->piece_count, sizeof(*ix->pieces));
		if (!ix->pieces) {
			free(ix);
			return NULL;
		}
	}
	ix->bytes = head + base->part_count * 160u + /* with what a vfd takes */
		    ix->piece_count * sizeof(*ix->pieces);
	return ix;
}

static int index_new(struct overlay *ov, struct base *base, struct index **ret)
{
	struct index *ix = index_alloc(ov, base);

	if (!ix)
		return -ENOMEM;
	lru_push(ov, ix);
	base->index = ix;
	ov->index_bytes += ix->bytes;
	if (make_vfds(ov, ix) < 0) {
		index_free(ov, ix);
		return -ENOMEM;
	}
	*ret = ix;
	return 0;
}

static bool needs_job(const struct index *ix)
{
	if (ix->base->kind == LAYER_BLOCKS)
		return true;
	return ix->ov->options.verify_reads && index_layer(ix, 0)->ops->check;
}

int index_get(struct overlay *ov, struct base *base, struct index_wait *wait)
{
	struct index *ix = base->index;

	if (!ix) {
		int rc = index_new(ov, base, &ix);

		if (rc < 0)
			return rc;
		ix->checked = !needs_job(ix);
	} else if (ix != ov->lru_head) {
		lru_remove(ov, ix);
		lru_push(ov, ix);
	}
	ix->pins++;
	if (is_there(ix, wait))
		return 0;
	wait->next = NULL;
	*ix->waiters_tail = wait;
	ix->waiters_tail = &wait->next;
	if (!ix->running)
		job_start(ix);
	return -EINPROGRESS;
}

void index_put(struct overlay *ov, struct base *base)
{
	base->index->pins--;
	if (ov->index_bytes > ov->options.index_memory)
		shrink(ov);
}

uint32_t index_count(const struct base *base)
{
	return base->index->count;
}

const struct index_entry *index_entry(const struct base *base, uint32_t block)
{
	return &base->index->pieces[block / INDEX_PIECE].entries[block % INDEX_PIECE];
}

uint32_t index_sum(const struct base *base, uint32_t block)
{
	const uint32_t *sums = base->index->pieces[block / INDEX_PIECE].sums;

	return sums ? sums[block % INDEX_PIECE] : LAYER_NO_SUM;
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
	struct index *ix = index_alloc(ov, base);
	int rc = 0;

	if (!ix)
		return errmsg_set(e, -ENOMEM, "out of memory");
	ix->to = ix->piece_count;
	if (base->kind == LAYER_BLOCKS)
		rc = index_bring(ix);
	else if (needs_job(ix))
		rc = index_check(ix);
	base->index = ix;
	if (rc < 0) {
		(void)errmsg_set(e, rc, "%s", errmsg_text(&ix->error, rc));
		index_drop(base);
		return rc;
	}
	free(ix->pieces);
	ix->pieces = ix->fresh;
	return 0;
}

void index_drop(struct base *base)
{
	index_pieces_free(base->index->pieces, base->index->piece_count);
	free(base->index);
	base->index = NULL;
}
