/*
 * overlay/fetch.c: brings blocks of a file into a buffer: from the diff, from the chain, or zeros.
 *
 * First everything is tried at once: what is in the page cache is read without waiting, and a few
 * pages are decoded on the spot. What is left is submitted: reads in parallel, and decoding as jobs
 * on the engine's threads so that the core thread goes on serving. A stored file that ends early is
 * damage, a data file that ends early is a hole (blocks are claimed only after they were written).
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_DECODE 4u  /* pages decoded on the core thread; more are worth a job */
#define JOB_DECODE    16u /* pages of one decoding job */

struct decode_job {
	struct io_op op;
	struct segment *segment;
	uint32_t from, count;
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
	free(fetch->segments);
	free(fetch->raw);
	fetch->segments = NULL;
	fetch->raw = NULL;
	fetch->done(fetch, rc);
}

static void part_done(struct fetch *fetch, int rc)
{
	if (rc < 0 && fetch->rc == 0)
		fetch->rc = rc;
	if (--fetch->pending == 0)
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

/* Bytes that a stored file must have; a plain file's last block ends with the file. */
static uint64_t must_have(const struct segment *s)
{
	if (s->kind == SEGMENT_DIFF)
		return 0;
	if (s->kind == SEGMENT_PLAIN)
		return MIN(s->len, s->fetch->file->base->size - s->off);
	return s->len;
}

/* The first block of the segment that is not whole in its first got bytes. */
static uint32_t first_missing(const struct segment *s, int64_t got)
{
	uint64_t left = (uint64_t)got;
	const struct base *base = s->fetch->file->base;
	uint32_t block = s->first;

	if (s->kind == SEGMENT_PLAIN)
		return block + (uint32_t)(left / BLCK);
	for (; block + 1 < s->first + s->count && left >= index_entry(base, block)->len; block++)
		left -= index_entry(base, block)->len;
	return block;
}

static int check_read(struct segment *s, int64_t got)
{
	if (got >= 0 && (uint64_t)got >= must_have(s)) {
		if (s->kind == SEGMENT_DIFF || s->kind == SEGMENT_PLAIN)
			memset(block_buf(s) + got, 0, (size_t)s->count * BLCK - (size_t)got);
		return 0;
	}
	if (s->kind == SEGMENT_DIFF)
		return (int)got;
	decode_report(s, first_missing(s, MAX(got, (int64_t)0)),
		      got < 0 ? strerror((int)-got) : "the file is shorter than its backup says");
	return -EIO;
}

static void decode_done(struct io_op *op)
{
	struct decode_job *job = CONTAINER_OF(op, struct decode_job, op);
	struct fetch *fetch = job->segment->fetch;
	int rc = (int)op->result;

	free(job);
	part_done(fetch, rc);
}

static int64_t decode_run(struct io_op *op)
{
	struct decode_job *job = CONTAINER_OF(op, struct decode_job, op);
	struct segment *s = job->segment;

	return decode_segment(s, s->fetch->raw + s->raw_off, job->from, job->count);
}

/* The segment's stored bytes are in fetch->raw: decode here, or in jobs. Keeps the segment's
 * pending count. */
static void decode_submit(struct segment *s)
{
	struct fetch *fetch = s->fetch;

	if (fetch->decode_count <= INLINE_DECODE) {
		part_done(fetch, decode_segment(s, fetch->raw + s->raw_off, 0, s->count));
		return;
	}
	for (uint32_t from = 0; from < s->count; from += JOB_DECODE) {
		struct decode_job *job = calloc(1, sizeof(*job));

		fetch->pending++;
		if (!job) {
			part_done(fetch, -ENOMEM);
			continue;
		}
		job->op = (struct io_op){.code = IO_JOB, .job = decode_run, .done = decode_done};
		job->segment = s;
		job->from = from;
		job->count = MIN(JOB_DECODE, s->count - from);
		io_submit(fetch->ov->io, &job->op);
	}
	part_done(fetch, 0);
}

static void read_done(struct vfd_op *op)
{
	struct segment *s = CONTAINER_OF(op, struct segment, op);
	int rc = check_read(s, op->io.result);

	if (rc == 0 && s->kind == SEGMENT_STORED)
		decode_submit(s);
	else
		part_done(s->fetch, rc);
}

static void read_submit(struct segment *s)
{
	s->op = (struct vfd_op){.io = {.code = IO_READ, .off = s->off, .iov = &s->iov, .iovcnt = 1},
				.vfd = s->vfd,
				.done = read_done};
	vfd_submit(&s->op);
}

/* Reads without waiting: true when the segment's bytes are all there. */
static bool read_now(struct segment *s)
{
	int64_t got = vfd_read_now(s->vfd, &s->iov, 1, s->off);

	if (got < 0 || (uint64_t)got < s->len)
		return false; /* the end of a file is told from a cold cache by the real read */
	return true;
}

static void segment_run(struct segment *s)
{
	struct fetch *fetch = s->fetch;

	switch (s->kind) {
	case SEGMENT_ZERO:
		memset(block_buf(s), 0, (size_t)s->count * BLCK);
		break;
	case SEGMENT_INLINE:
		fill_inline(s);
		break;
	case SEGMENT_DIFF:
	case SEGMENT_PLAIN:
		s->iov = (struct iovec){.iov_base = block_buf(s), .iov_len = s->len};
		fetch->pending++;
		if (read_now(s))
			part_done(fetch, 0);
		else
			read_submit(s);
		break;
	case SEGMENT_STORED:
		s->iov = (struct iovec){.iov_base = fetch->raw + s->raw_off, .iov_len = s->len};
		fetch->pending++;
		if (read_now(s))
			decode_submit(s);
		else
			read_submit(s);
		break;
	}
}

static void run_plan(struct fetch *fetch)
{
	int rc = plan_segments(fetch);

	fetch->pending = 1;
	if (rc == 0 && fetch->raw_len > 0) {
		fetch->raw = malloc(fetch->raw_len);
		if (!fetch->raw)
			rc = -ENOMEM;
	}
	for (unsigned i = 0; i < fetch->segment_count && rc == 0; i++)
		segment_run(&fetch->segments[i]);
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
