/*
 * Host writes and allocations.
 *
 * A write that claims blocks (touches some that are not DATA) or grows the file sets aside, before
 * it starts, the journal bytes that one more run can cost; when it has completed, what the record
 * of the file really grew by takes their place. Such a write also waits while a hole is punched
 * into the file, and holds further punching up (space.c).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/util.h"
#include "diff/diff_internal.h"

static void start_write(struct diff_write *op);

/* ---- the data file ---- */

int file_make_vfd(struct diff_file *file)
{
	struct diff *diff = file->diff;
	char path[DIFF_PATH_SIZE];

	if (file->vfd)
		return 0;
	if (!diff->vfds)
		return -EROFS;
	file_path(file->id, path);
	/* One that holds something must not be made anew, as if nothing had been lost. */
	return vfd_new(diff->vfds, diff->data_fd, path,
		       O_RDWR | O_NOFOLLOW | (file->map.data ? 0 : O_CREAT), 0600, &file->vfd);
}

struct vfd *diff_file_vfd(struct diff_file *file)
{
	if (!file->vfd && file->has_data)
		(void)file_make_vfd(file);
	return file->vfd;
}

/* ---- writes ---- */

static uint32_t first_block(uint64_t off)
{
	return (uint32_t)(off / DIFF_BLCKSZ);
}

/* The blocks of the write from the first to the last that is not DATA. */
static struct range claimed_range(const struct diff_write *op)
{
	const struct blockmap *map = &op->file->map;
	uint32_t pos = first_block(op->off), end = blocks_of(op->off + op->len), count;
	struct range range = {0};

	while (pos < end) {
		if (blockmap_run(map, pos, end - pos, &count) != BLOCK_DATA)
			range_add(&range, pos, pos + count);
		pos += count;
	}
	return range;
}

static uint64_t not_data_bytes(const struct diff_write *op, const struct range *range)
{
	uint32_t pos = range->from, count;
	uint64_t blocks = 0;

	while (pos < range->to) {
		if (blockmap_run(&op->file->map, pos, range->to - pos, &count) != BLOCK_DATA)
			blocks += count;
		pos += count;
	}
	return blocks * DIFF_BLCKSZ;
}

static void end_write(struct diff_write *op, int rc)
{
	op->result = rc;
	op->done(op);
}

/*
 * All or nothing: without memory for both maps the blocks stay as they were, and what was written
 * does not count.
 */
static int claim(struct diff_file *file, const struct range *range)
{
	uint32_t count = range->to - range->from;
	int rc = blockmap_prepare(&file->map, range->from, count);

	if (rc == 0)
		rc = blockmap_set(&file->changed, range->from, count, BLOCK_DATA);
	if (rc == 0)
		rc = blockmap_set(&file->map, range->from, count, BLOCK_DATA);
	return rc;
}

static int apply_write(struct diff_write *op)
{
	struct diff_file *file = op->file;
	struct range range = claimed_range(op);
	int rc = 0;

	if (file->error)
		return file->error;
	file->dirty = true;
	if (!range_is_empty(&range))
		rc = claim(file, &range);
	if (rc == 0 && op->size > file->size) {
		file->size = op->size;
		file->size_changed = true;
	}
	file_update_room(file);
	return rc;
}

/* The host write has ended: the bytes written, or -errno. */
static void host_written(struct diff_write *op, int64_t result)
{
	struct diff_file *file = op->file;
	struct diff *diff = op->diff;
	int rc = result < 0 ? (int)result : 0;

	file->claims -= op->claims;
	if (rc == -EIO)
		diff_file_fail(file, rc);
	if (rc == 0 && result != (int64_t)op->len)
		rc = -EIO;
	if (rc == 0)
		rc = apply_write(op);
	journal_release(diff, op->room_taken);
	if (op->claims)
		space_punch(file);
	end_write(op, rc);
}

static void written(struct vfd_op *io)
{
	struct diff_write *op = CONTAINER_OF(io, struct diff_write, io);

	op->diff->in_flight--;
	host_written(op, io->io.result);
}

static void retry_write(struct diff_room_wait *wait)
{
	start_write(CONTAINER_OF(wait, struct diff_write, room));
}

/* PostgreSQL writes small files at each checkpoint, and panics where it cannot. */
static bool is_little(const struct diff_write *op)
{
	return op->file->size == 0 && op->off == 0 && op->len <= DIFF_BLCKSZ;
}

static int claim_space(struct diff_write *op, uint64_t bytes)
{
	if (!op->accepted)
		return space_check(op->diff, bytes, is_little(op));
	space_claim(op->diff, bytes);
	return 0;
}

/* What diff_allocate has taken is there for this file even when the disk is full. */
static int reserve_claim(struct diff_write *op, const struct range *range, uint64_t bytes)
{
	struct diff_file *file = op->file;
	bool allocated = !range_is_empty(range) && range->from >= file->allocated.from &&
			 range->to <= file->allocated.to;
	int rc = bytes && !allocated ? claim_space(op, bytes) : 0;

	if (rc == 0)
		rc = journal_reserve(file->diff, DIFF_CLAIM_ROOM);
	if ((rc == -ENOSPC || rc == -EDQUOT) && allocated && file->held) {
		file->held = 0; /* used up: set aside for this write from now on */
		rc = 0;
	}
	return rc;
}

/* 0: go on; 1: op->room waits; else the error. */
static int prepare_write(struct diff_write *op)
{
	struct diff_file *file = op->file;
	struct range range = claimed_range(op);
	bool claims = !range_is_empty(&range);
	int rc = diff_writable(op->diff);

	if (rc == 0)
		rc = file->error;
	if (rc == 0)
		rc = file_make_vfd(file);
	if (rc < 0 || (!claims && op->size <= file->size))
		return rc;
	if (claims && file->punching) {
		op->room.next = file->punch_waiters;
		file->punch_waiters = &op->room;
		return 1;
	}
	rc = reserve_claim(op, &range, not_data_bytes(op, &range));
	if (rc == -EAGAIN) {
		journal_wait(op->diff, &op->room);
		return 1;
	}
	if (rc < 0)
		return rc;
	op->room_taken = DIFF_CLAIM_ROOM;
	op->claims = claims;
	file->claims += claims;
	return 0;
}

static void start_write(struct diff_write *op)
{
	int rc = prepare_write(op);
	int64_t now;

	if (rc < 0)
		end_write(op, rc);
	if (rc != 0)
		return;
	now = vfd_write_now(op->file->vfd, op->iov, op->iovcnt, op->off);
	if (now != -EAGAIN) {
		host_written(op, now);
		return;
	}
	op->io = (struct vfd_op){
		.io = {.code = IO_WRITE, .off = op->off, .iov = op->iov, .iovcnt = op->iovcnt},
		.vfd = op->file->vfd,
		.done = written,
	};
	op->diff->in_flight++;
	vfd_submit(&op->io);
}

#ifndef NDEBUG
static bool is_data_or_aligned(const struct diff_write *op, uint64_t off)
{
	uint32_t count;

	return off % DIFF_BLCKSZ == 0 ||
	       blockmap_run(&op->file->map, first_block(off), 1, &count) == BLOCK_DATA;
}
#endif

void diff_write(struct diff *diff, struct diff_write *op)
{
	uint64_t most = (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ;

	op->diff = diff;
	op->room_taken = 0;
	op->claims = false;
	op->room.ready = retry_write;
	if (op->off > most || op->len > most - op->off || op->size > most) {
		end_write(op, -EFBIG);
		return;
	}
	if (op->len == 0) {
		end_write(op, 0);
		return;
	}
	assert(is_data_or_aligned(op, op->off) && is_data_or_aligned(op, op->off + op->len));
	start_write(op);
}

/* ---- allocation ---- */

static void start_allocate(struct diff_allocate *op);

static void end_allocate(struct diff_allocate *op, int rc)
{
	op->result = rc;
	op->done(op);
}

static void allocated(struct vfd_op *io)
{
	struct diff_allocate *op = CONTAINER_OF(io, struct diff_allocate, io);
	struct diff_file *file = op->file;
	uint32_t from = first_block(op->off), to = blocks_of(op->off + op->len);
	int rc = (int)MIN(io->io.result, 0);

	op->diff->in_flight--;
	file->claims--;
	if (rc == -EIO)
		diff_file_fail(file, rc);
	if (rc < 0 || file->held > 0) {
		journal_release(op->diff, DIFF_CLAIM_ROOM);
	} else {
		file->held = DIFF_CLAIM_ROOM;
	}
	if (rc == 0) {
		if (!range_is_empty(&file->allocated) &&
		    (from > file->allocated.to || to < file->allocated.from))
			file->allocated = (struct range){0};
		range_add(&file->allocated, from, to);
		range_cut(&file->freed, from, to);
		range_cut(&file->freed_commit, from, to);
		range_cut(&file->freed_ready, from, to);
	}
	space_punch(file);
	end_allocate(op, rc);
}

static void retry_allocate(struct diff_room_wait *wait)
{
	start_allocate(CONTAINER_OF(wait, struct diff_allocate, room));
}

static int prepare_allocate(struct diff_allocate *op)
{
	struct diff_file *file = op->file;
	int rc = diff_writable(op->diff);

	if (rc == 0)
		rc = file->error;
	if (rc == 0)
		rc = file_make_vfd(file);
	if (rc < 0)
		return rc;
	if (file->punching) {
		op->room.next = file->punch_waiters;
		file->punch_waiters = &op->room;
		return 1;
	}
	rc = space_check(op->diff, op->len, false);
	if (rc == 0)
		rc = journal_reserve(op->diff, DIFF_CLAIM_ROOM);
	if (rc != -EAGAIN)
		return rc;
	journal_wait(op->diff, &op->room);
	return 1;
}

static void start_allocate(struct diff_allocate *op)
{
	int rc = prepare_allocate(op);

	if (rc < 0)
		end_allocate(op, rc);
	if (rc != 0)
		return;
	op->file->claims++; /* as if written: no hole may be punched meanwhile */
	op->diff->in_flight++;
	op->io = (struct vfd_op){
		.io = {.code = IO_FALLOCATE,
		       .mode = FALLOC_FL_KEEP_SIZE,
		       .off = op->off,
		       .len = op->len},
		.vfd = op->file->vfd,
		.done = allocated,
	};
	vfd_submit(&op->io);
}

void diff_allocate(struct diff *diff, struct diff_allocate *op)
{
	uint64_t most = (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ;

	op->diff = diff;
	op->room.ready = retry_allocate;
	if (op->len == 0 || op->off > most || op->len > most - op->off) {
		end_allocate(op, op->len == 0 ? -EINVAL : -EFBIG);
		return;
	}
	start_allocate(op);
}
