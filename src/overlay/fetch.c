/*
 * overlay/fetch.c: brings blocks of a file into a buffer: from the diff, from the chain, or zeros.
 *
 * First everything is read: what is in the page cache without waiting, the rest submitted, in
 * parallel. Then stored records are decoded: a few on the spot, more of them as jobs on the engine's
 * threads, so that the core thread goes on serving. A stored file that ends early is damage, a data
 * file that ends early is a hole (blocks are claimed only after they were written).
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_DECODE 4u  /* pages decoded on the core thread; more are worth a job */
#define JOB_DECODE    32u /* blocks of one decoding job */

struct decode_job {
	struct io_op op;
	struct fetch *fetch;
	uint32_t from, to; /* blocks of the fetch */
};

static uint8_t *block_buf(const struct segment *s)
{
	return s->fetch->buf + (size_t)(s->first - s->fetch->first) * BLCK;
}

static void finish(struct fetch *fetch)
{
	int rc = fetch->rc;

	if (fetch->pinned)
		index_put(fetch->ov, fetch->file->base);
	free(TAKE_PTR(fetch->segments));
	free(TAKE_PTR(fetch->groups));
	free(TAKE_PTR(fetch->raw));
	fetch->done(fetch, rc);
}

static void decode_all(struct fetch *fetch);

static void part_done(struct fetch *fetch, int rc)
{
	if (rc < 0 && fetch->rc == 0)
		fetch->rc = rc;
	if (--fetch->pending > 0)
		return;
	if (fetch->rc == 0 && fetch->decode_count > 0 && !fetch->decoding)
		decode_all(fetch);
	else
		finish(fetch);
}

static void fill_inline(const struct segment *s)
{
	const struct base *base = s->fetch->file->base;
	uint64_t off = (uint64_t)s->first * BLCK;
	uint64_t n = MIN(base->size - off, (uint64_t)s->count * BLCK);

	memcpy(block_buf(s), (const uint8_t *)base->data + off, n);
	memset(block_buf(s) + n, 0, (uint64_t)s->count * BLCK - n);
}

/* ---- decoding ---- */

/* The stored ones among blocks [from, to) of the fetch. */
static int decode_range(struct fetch *fetch, uint32_t from, uint32_t to)
{
	int rc = 0;

	for (unsigned i = 0; i < fetch->segment_count && rc == 0; i++) {
		struct segment *s = &fetch->segments[i];
		uint32_t at = s->first - fetch->first;
		uint32_t begin = MAX(at, from), end = MIN(at + s->count, to);

		if (s->kind == SEGMENT_STORED && begin < end)
			rc = decode_segment(s, group_raw(s), begin - at, end - begin);
	}
	return rc;
}

static void decode_done(struct io_op *op)
{
	struct decode_job *job = CONTAINER_OF(op, struct decode_job, op);
	struct fetch *fetch = job->fetch;
	int rc = (int)op->result;

	free(job);
	part_done(fetch, rc);
}

static int64_t decode_run(struct io_op *op)
{
	struct decode_job *job = CONTAINER_OF(op, struct decode_job, op);

	return decode_range(job->fetch, job->from, job->to);
}

/* All stored records are in fetch->raw. */
static void decode_all(struct fetch *fetch)
{
	fetch->decoding = true;
	fetch->pending = 1;
	if (fetch->decode_count <= INLINE_DECODE) {
		part_done(fetch, decode_range(fetch, 0, fetch->count));
		return;
	}
	for (uint32_t from = 0; from < fetch->count; from += JOB_DECODE) {
		struct decode_job *job = calloc(1, sizeof(*job));

		fetch->pending++;
		if (!job) {
			part_done(fetch, -ENOMEM);
			continue;
		}
		job->op = (struct io_op){.code = IO_JOB, .job = decode_run, .done = decode_done};
		job->fetch = fetch;
		job->from = from;
		job->to = MIN(from + JOB_DECODE, fetch->count);
		io_submit(fetch->ov->io, &job->op);
	}
	part_done(fetch, 0);
}

/* ---- reading: segments of the diff and of plain files ---- */

/* Bytes that must be there; a plain file's last block ends with the file. */
static uint64_t must_have(const struct segment *s)
{
	if (s->kind == SEGMENT_DIFF)
		return 0;
	return MIN(s->len, s->fetch->file->base->size - s->off);
}

static int check_read(struct segment *s, int64_t got)
{
	if (got >= 0 && (uint64_t)got >= must_have(s)) {
		memset(block_buf(s) + got, 0, (size_t)s->count * BLCK - (size_t)got);
		return 0;
	}
	if (s->kind == SEGMENT_DIFF)
		return (int)got;
	decode_report(s, s->first + (uint32_t)(MAX(got, (int64_t)0) / BLCK),
		      got < 0 ? strerror((int)-got) : "the file is shorter than its backup says");
	return -EIO;
}

static void read_done(struct vfd_op *op)
{
	struct segment *s = CONTAINER_OF(op, struct segment, op);

	part_done(s->fetch, check_read(s, op->io.result));
}

/* Reads without waiting: true when all is there. The end of a file is told from a cold cache by the
 * real read. */
static bool read_now(struct vfd *vfd, const struct iovec *iov, uint64_t off)
{
	int64_t got = vfd_read_now(vfd, iov, 1, off);

	return got >= 0 && (uint64_t)got == iov->iov_len;
}

static void read_segment(struct segment *s)
{
	s->iov = (struct iovec){.iov_base = block_buf(s), .iov_len = s->len};
	if (read_now(s->vfd, &s->iov, s->off))
		return;
	s->op = (struct vfd_op){.io = {.code = IO_READ, .off = s->off, .iov = &s->iov, .iovcnt = 1},
				.vfd = s->vfd,
				.done = read_done};
	s->fetch->pending++;
	vfd_submit(&s->op);
}

static void segment_run(struct segment *s)
{
	switch (s->kind) {
	case SEGMENT_ZERO:
		memset(block_buf(s), 0, (size_t)s->count * BLCK);
		break;
	case SEGMENT_INLINE:
		fill_inline(s);
		break;
	case SEGMENT_DIFF:
	case SEGMENT_PLAIN:
		read_segment(s);
		break;
	case SEGMENT_STORED: /* in groups */
		break;
	}
}

/* ---- reading: stored records ---- */

static void group_done(struct vfd_op *op)
{
	struct group *g = CONTAINER_OF(op, struct group, op);
	int64_t got = op->io.result;
	const struct segment *s;
	uint32_t block;

	s = got < 0 || (uint64_t)got < g->len ? group_missing(g, got, &block) : NULL;
	if (s)
		decode_report(s, block,
			      got < 0 ? strerror((int)-got)
				      : "the file is shorter than its backup says");
	part_done(g->fetch, s ? -EIO : 0);
}

static void group_run(struct group *g)
{
	g->iov = (struct iovec){.iov_base = g->fetch->raw + g->raw_off, .iov_len = g->len};
	if (read_now(g->vfd, &g->iov, g->off))
		return;
	g->op = (struct vfd_op){.io = {.code = IO_READ, .off = g->off, .iov = &g->iov, .iovcnt = 1},
				.vfd = g->vfd,
				.done = group_done};
	g->fetch->pending++;
	vfd_submit(&g->op);
}

static void run_plan(struct fetch *fetch)
{
	int rc = plan_segments(fetch);

	fetch->pending = 1;
	if (rc == 0 && fetch->decode_count > 0)
		rc = group_segments(fetch);
	for (unsigned i = 0; i < fetch->segment_count && rc == 0; i++)
		segment_run(&fetch->segments[i]);
	for (unsigned i = 0; i < fetch->group_count && rc == 0; i++)
		group_run(&fetch->groups[i]);
	part_done(fetch, rc);
}

static void index_ready(struct index_wait *wait, int rc)
{
	struct fetch *fetch = CONTAINER_OF(wait, struct fetch, index_wait);

	if (rc < 0) {
		fetch->rc = rc;
		finish(fetch);
		return;
	}
	fetch->pinned = true;
	run_plan(fetch);
}

void fetch_start(struct fetch *fetch)
{
	int rc = 0;

	if (plan_needs_base(fetch)) {
		fetch->index_wait = (struct index_wait){
			.first = fetch->first, .count = fetch->count, .ready = index_ready};
		rc = index_get(fetch->ov, fetch->file->base, &fetch->index_wait);
		if (rc == -EINPROGRESS)
			return;
		if (rc == 0)
			fetch->pinned = true;
	}
	if (rc < 0) {
		fetch->rc = rc;
		finish(fetch);
		return;
	}
	run_plan(fetch);
}
