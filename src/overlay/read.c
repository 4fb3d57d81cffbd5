/*
 * overlay/read.c: one READ: wait for earlier writes, take a buffer, fetch its blocks, answer.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>

struct read_state {
	struct overlay *ov;
	struct overlay_read *op;
	struct buf_wait wait;
	struct fetch fetch;
	uint8_t *buf;
};

static void finish(struct read_state *st, int64_t result)
{
	struct overlay_read *op = st->op;
	struct overlay *ov = st->ov;
	struct file *file = op->file;
	uint8_t *buf = st->buf;

	op->result = result;
	op->data = buf ? buf + op->off % BLCK : NULL;
	free(st);
	op->done(op);
	if (buf)
		bufpool_put(ov->buffers, buf);
	overlay_unref(ov, file);
}

static void fetched(struct fetch *fetch, int rc)
{
	struct read_state *st = CONTAINER_OF(fetch, struct read_state, fetch);

	finish(st, rc < 0 ? rc : (int64_t)st->op->len);
}

static void got_buffer(struct buf_wait *wait, void *buf)
{
	struct read_state *st = CONTAINER_OF(wait, struct read_state, wait);
	struct overlay_read *op = st->op;
	uint64_t size = file_size(op->file);

	/* The size may have changed while we waited for the buffer. */
	st->buf = buf;
	if (op->off >= size) {
		finish(st, 0);
		return;
	}
	op->len = (uint32_t)MIN(op->len, size - op->off);
	st->fetch = (struct fetch){
		.ov = st->ov,
		.file = op->file,
		.first = (uint32_t)(op->off / BLCK),
		.count = (uint32_t)((op->off + op->len - 1) / BLCK - op->off / BLCK + 1),
		.buf = buf,
		.done = fetched,
	};
	fetch_start(&st->fetch);
}

static void granted(struct ticket *ticket)
{
	struct overlay_read *op = CONTAINER_OF(ticket, struct overlay_read, ticket);
	struct read_state *st = op->state;
	uint64_t bytes = round_up_u64(op->off % BLCK + op->len, BLCK);
	void *buf;

	if (op->len == 0 || op->off >= file_size(op->file)) {
		finish(st, 0);
		return;
	}
	st->wait.ready = got_buffer;
	buf = bufpool_get(st->ov->buffers, bytes, &st->wait);
	if (buf)
		got_buffer(&st->wait, buf);
}

void overlay_read(struct overlay *ov, struct overlay_read *op)
{
	struct read_state *st = calloc(1, sizeof(*st));

	op->data = NULL;
	op->result = -ENOMEM;
	if (!file_is_regular(op->file) || op->len > (1u << 20))
		op->result = -EINVAL;
	if (!st || op->result == -EINVAL) {
		free(st);
		op->done(op);
		return;
	}
	st->ov = ov;
	st->op = op;
	op->state = st;
	overlay_ref(op->file);
	op->ticket = (struct ticket){.from = round_down_u64(op->off, BLCK),
				     .to = round_up_u64(op->off + op->len, BLCK),
				     .granted = granted};
	barrier_enter(&op->file->barrier, &op->ticket);
}
