/*
 * overlay/index.c: where each block of a file of the chain is stored, found once and kept.
 *
 * An index is brought at first use by an engine job (index_build.c), either whole, by asking the
 * layers, or the pieces that are wanted, out of the cache. So a read costs the same however long
 * the chain is. What is held is bounded (options.index_memory, index_memory.c): pieces that went are
 * read again, on the spot where the cache's file is open and in the page cache. An index owns the
 * virtual descriptors of the stored files it points into, and of its file in the cache.
 *
 * With verify_reads it also holds 4 bytes a block that the page must agree with. Reading those anew
 * from the header map would inflate the file's whole array for one page. Of a plain file nothing is
 * held, but it is compared with its sums before its first byte is served.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/index_internal.h"

#include <errno.h>
#include <stdlib.h>

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

static bool bring_piece_now(struct index *ix, uint32_t piece)
{
	uint8_t bytes[INDEX_FILE_PIECE(INDEX_PIECE)];
	const uint32_t len = index_file_piece(index_piece_blocks(ix, piece));
	const struct iovec iov = {.iov_base = bytes, .iov_len = len};
	struct index_piece found;

	if (vfd_read_now(ix->kept, &iov, 1, index_file_at(piece)) != (int64_t)len ||
	    index_file_get_piece(ix, piece, bytes, ix->head, &found) < 0)
		return false;
	index_hold(ix, piece, &found);
	return true;
}

/* Waking a thread and being woken by it takes several times as long as that. */
static bool bring_now(struct index *ix, const struct index_wait *wait)
{
	uint32_t from, to;

	if (!ix->kept || ix->running || ix->head[0] == 0)
		return false;
	pieces_of(ix, wait, &from, &to);
	for (uint32_t i = from; i < to; i++) {
		if (!ix->pieces[i].entries && !bring_piece_now(ix, i))
			return false;
	}
	ix->ov->index_loads++;
	return true;
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
		index_free(ix);
	return failed;
}

/* A new file may have come to the name since it was opened, or failed to be. */
static void renew_kept(struct index *ix)
{
	if (!ix->no_file)
		return;
	vfd_free(ix->kept);
	ix->kept = index_cache_vfd(ix->ov->cache, ix);
	ix->no_file = false;
}

static struct index_wait *take_brought(struct index *ix)
{
	struct overlay *ov = ix->ov;
	struct index_wait *ready;

	if (ix->base->kind == LAYER_BLOCKS)
		index_take_fresh(ix);
	ov->index_builds += ix->base->kind == LAYER_BLOCKS && !ix->loaded;
	ov->index_loads += ix->loaded;
	ix->checked = true;
	renew_kept(ix);
	ready = take_ready(ix);
	if (ix->waiters)
		job_start(ix);
	return ready;
}

/* Answers everybody whose wait is over. Each holds a pin of its own when rc is 0. */
static void finish_job(struct index *ix, int rc)
{
	struct overlay *ov = ix->ov;
	struct index_wait *wait, *next;

	ix->running = false;
	if (rc < 0) {
		report(ix, rc);
		rc = rc == -ENOMEM ? rc : -EIO; /* the backup is no worse for it */
		wait = take_failed(ix);
	} else {
		wait = take_brought(ix);
	}
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait, rc);
	}
	index_shrink(ov);
}

static void build_done(struct io_op *op)
{
	finish_job(CONTAINER_OF(op, struct index, job.io), (int)op->result);
}

static int64_t build_run(struct io_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job.io);

	return ix->base->kind == LAYER_BLOCKS ? index_bring(ix) : index_check(ix);
}

static void build_start(struct index *ix)
{
	ix->job = (struct vfd_op){.io = {.code = IO_JOB, .job = build_run, .done = build_done}};
	io_submit(ix->ov->io, &ix->job.io);
}

static int64_t load_run(struct io_op *op)
{
	return index_bring_kept(CONTAINER_OF(op, struct index, job.io), op->fd);
}

static void load_done(struct vfd_op *op)
{
	struct index *ix = CONTAINER_OF(op, struct index, job);

	ix->no_file = op->io.result < 0;
	if (ix->no_file)
		build_start(ix);
	else
		finish_job(ix, 0);
}

/* For the first who waits. */
static void job_start(struct index *ix)
{
	pieces_of(ix, ix->waiters, &ix->from, &ix->to);
	while (ix->from < ix->to && ix->pieces[ix->from].entries)
		ix->from++;
	ix->loaded = false;
	ix->running = true;
	if (!ix->kept) {
		build_start(ix);
		return;
	}
	ix->job = (struct vfd_op){
		.io = {.code = IO_JOB, .job = load_run}, .vfd = ix->kept, .done = load_done};
	vfd_submit(&ix->job);
}

/* ---- indexes ---- */

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
		ix = index_new(ov, base);
		if (!ix)
			return -ENOMEM;
		ix->checked = !needs_job(ix);
	}
	index_used(ix);
	ix->pins++;
	if (is_there(ix, wait) || bring_now(ix, wait))
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
	index_shrink(ov);
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
