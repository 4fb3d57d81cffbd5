/*
 * overlay/resize.c: truncate and fallocate: whole-file tickets, small steps one after the other.
 *
 * Steps: the attributes that are set together with a size; zeros behind the old size when the file
 * grows; host space for what is allocated, before anything is destroyed that a full disk would not
 * give back; zeros into the partial first and last block of a range that is punched or zeroed; then
 * block states and size, each one record. A step that finds no journal room waits and runs again.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

enum step {
	STEP_ATTR,
	STEP_TAIL,
	STEP_ALLOCATE,
	STEP_HEAD_EDGE,
	STEP_TAIL_EDGE,
	STEP_ZERO,
	STEP_SIZE,
	STEP_DONE
};

struct resize_state {
	struct overlay *ov;
	struct overlay_resize *op;
	enum step step;
	uint64_t new_size;	     /* UINT64_MAX: unchanged */
	uint64_t zero_from, zero_to; /* bytes to become zeros; equal: none */
	bool allocate;
	struct patch patch;
	struct diff_allocate alloc;
	struct diff_room_wait room;
};

static void run(struct resize_state *st);

static void finish(struct resize_state *st, int rc)
{
	struct overlay_resize *op = st->op;
	struct overlay *ov = st->ov;
	struct file *f = op->file;

	op->result = rc;
	if (rc == 0) {
		file_touch(ov, f, true);
		overlay_getattr(ov, f, &op->after);
	}
	free(st);
	barrier_leave(&f->barrier, &op->ticket);
	op->done(op);
	overlay_unref(ov, f);
}

static void next(struct resize_state *st, int rc)
{
	if (rc < 0) {
		finish(st, rc);
		return;
	}
	st->step++;
	run(st);
}

static void patched(struct patch *patch, int rc)
{
	next(CONTAINER_OF(patch, struct resize_state, patch), rc);
}

static void allocated(struct diff_allocate *alloc)
{
	next(CONTAINER_OF(alloc, struct resize_state, alloc), alloc->result);
}

static void room_ready(struct diff_room_wait *room)
{
	run(CONTAINER_OF(room, struct resize_state, room));
}

/* After a step that logs: done, again when there is room, or failed. */
static void logged(struct resize_state *st, int rc)
{
	if (rc == -EAGAIN) {
		st->room.ready = room_ready;
		diff_wait_room(st->ov->diff, &st->room);
		return;
	}
	next(st, rc);
}

static void zero_edge(struct resize_state *st, uint64_t from, uint64_t to)
{
	st->patch = (struct patch){.ov = st->ov,
				   .file = st->op->file,
				   .off = from,
				   .len = (uint32_t)(to - from),
				   .grow_to = UINT64_MAX,
				   .done = patched};
	patch_start(&st->patch);
}

/* The part of the range before its first whole block, or all of it when it lies inside one block.
 */
static void run_head_edge(struct resize_state *st)
{
	uint64_t end = MIN(st->zero_to, round_up_u64(st->zero_from, BLCK));

	if (st->zero_from % BLCK == 0 || st->zero_from == st->zero_to)
		next(st, 0);
	else
		zero_edge(st, st->zero_from, end);
}

static void run_tail_edge(struct resize_state *st)
{
	uint64_t start = round_down_u64(st->zero_to, BLCK);

	if (st->zero_to % BLCK == 0 || start < st->zero_from)
		next(st, 0);
	else
		zero_edge(st, start, st->zero_to);
}

static void run_zero(struct resize_state *st)
{
	uint64_t first = round_up_u64(st->zero_from, BLCK) / BLCK, end = st->zero_to / BLCK;

	if (first >= end)
		next(st, 0);
	else
		logged(st, diff_zero(st->ov->diff, st->op->file->record, (uint32_t)first,
				     (uint32_t)(end - first), st->allocate));
}

static void run(struct resize_state *st)
{
	struct overlay_resize *op = st->op;

	switch (st->step) {
	case STEP_ATTR:
		if (op->which != 0)
			logged(st, overlay_setattr(st->ov, op->file, op->attr, op->which));
		else
			next(st, 0);
		break;
	case STEP_TAIL:
		st->patch = (struct patch){.ov = st->ov, .file = op->file, .done = patched};
		if (st->new_size != UINT64_MAX && st->new_size > file_size(op->file))
			patch_zero_tail(&st->patch);
		else
			next(st, 0);
		break;
	case STEP_HEAD_EDGE:
		run_head_edge(st);
		break;
	case STEP_TAIL_EDGE:
		run_tail_edge(st);
		break;
	case STEP_ZERO:
		run_zero(st);
		break;
	case STEP_ALLOCATE:
		st->alloc = (struct diff_allocate){.file = op->file->record,
						   .off = op->off,
						   .len = op->len,
						   .done = allocated};
		if (st->allocate)
			diff_allocate(st->ov->diff, &st->alloc);
		else
			next(st, 0);
		break;
	case STEP_SIZE:
		if (st->new_size != UINT64_MAX && st->new_size != file_size(op->file))
			logged(st, diff_truncate(st->ov->diff, op->file->record, st->new_size));
		else
			next(st, 0);
		break;
	case STEP_DONE:
		finish(st, 0);
		break;
	}
}

/* Turns the request into what the steps do. */
static int prepare(struct resize_state *st)
{
	struct overlay_resize *op = st->op;
	uint64_t size = file_size(op->file), end = op->off + op->len;
	bool keep = op->mode & FALLOC_FL_KEEP_SIZE;
	int kind = op->mode & ~FALLOC_FL_KEEP_SIZE;

	st->new_size = UINT64_MAX;
	if (!op->fallocate) {
		st->new_size = op->off;
		return 0;
	}
	if (op->len == 0 || end < op->off)
		return -EINVAL;
	if (kind != 0 && kind != FALLOC_FL_ZERO_RANGE && !(kind == FALLOC_FL_PUNCH_HOLE && keep))
		return -EOPNOTSUPP;
	if (!keep && end > size)
		st->new_size = end;
	st->allocate = kind != FALLOC_FL_PUNCH_HOLE;
	if (kind != 0) {
		st->zero_from = MIN(op->off, size);
		st->zero_to = MIN(end, size);
	}
	return 0;
}

static void granted(struct ticket *ticket)
{
	struct overlay_resize *op = CONTAINER_OF(ticket, struct overlay_resize, ticket);
	struct resize_state *st = op->state;
	uint64_t most = (uint64_t)DIFF_MAX_BLOCKS * BLCK;
	int rc = diff_writable(st->ov->diff);

	if (rc == 0)
		rc = prepare(st);
	if (rc == 0 && (op->off > most || (op->fallocate && op->off + op->len > most)))
		rc = -EFBIG;
	if (rc == 0)
		rc = file_get_record(st->ov, op->file);
	if (rc < 0)
		finish(st, rc);
	else
		run(st);
}

void overlay_resize(struct overlay *ov, struct overlay_resize *op)
{
	struct resize_state *st = NULL;
	int rc = 0;

	if (!ov->diff)
		rc = -EROFS;
	else if (!file_is_regular(op->file))
		rc = file_is_dir(op->file) ? -EISDIR : -EINVAL;
	else if (!(st = calloc(1, sizeof(*st))))
		rc = -ENOMEM;
	if (rc < 0) {
		op->result = rc;
		op->done(op);
		return;
	}
	st->ov = ov;
	st->op = op;
	op->state = st;
	overlay_ref(op->file);
	op->ticket =
		(struct ticket){.from = 0, .to = UINT64_MAX, .mutates = true, .granted = granted};
	barrier_enter(&op->file->barrier, &op->ticket);
}
