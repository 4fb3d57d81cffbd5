/*
 * Host space: whether there is enough of it for new blocks, and giving back what nothing can reach
 * any more.
 *
 * Blocks that stop being DATA are remembered as one range a file, and pass through three stages:
 * `freed` until a commit takes the change, `freed_commit` until that is durable, then
 * `freed_ready`. Holes are punched from there, run by run, for what is not DATA by now. Not while a
 * newer change waits: a commit in between may have claimed the same blocks once more, so they are
 * left to the newer one. And not while host writes into blocks that are not DATA yet are in flight;
 * those in turn wait while a hole is being punched.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <time.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define ASK_BYTES (16u << 20) /* newly claimed since the filesystem was asked */
#define ASK_NS	  UINT64_C(1000000000)

uint64_t time_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- ranges ---- */

bool range_is_empty(const struct range *range)
{
	return range->from >= range->to;
}

void range_add(struct range *range, uint32_t from, uint32_t to)
{
	if (from >= to)
		return;
	if (range_is_empty(range)) {
		*range = (struct range){from, to};
		return;
	}
	range->from = MIN(range->from, from);
	range->to = MAX(range->to, to);
}

void range_cut(struct range *range, uint32_t from, uint32_t to)
{
	struct range low = {range->from, MIN(range->to, from)},
		     high = {MAX(range->from, to), range->to};
	uint32_t low_len = range_is_empty(&low) ? 0 : low.to - low.from;
	uint32_t high_len = range_is_empty(&high) ? 0 : high.to - high.from;

	if (from >= to || range_is_empty(range))
		return;
	*range = low_len >= high_len ? low : high;
}

static void range_move(struct range *to, struct range *from)
{
	range_add(to, from->from, from->to);
	*from = (struct range){0};
}

/* ---- room on the host ---- */

static int ask(struct diff *diff, uint64_t now)
{
	struct statvfs st;
	int rc = sys_fstatvfs(diff->data_fd, &st);

	if (rc < 0)
		return rc;
	diff->space_free = (uint64_t)st.f_bavail * st.f_frsize;
	/* None at all: a file system that does not count them. */
	diff->space_files = st.f_files != 0 ? st.f_favail : UINT64_MAX;
	diff->space_claimed = 0;
	diff->space_time = now;
	return 0;
}

static uint64_t left(const struct diff *diff)
{
	return diff->space_free - MIN(diff->space_claimed, diff->space_free);
}

static bool is_old(const struct diff *diff, uint64_t now)
{
	return diff->space_time == 0 || now - diff->space_time > ASK_NS ||
	       diff->space_claimed > ASK_BYTES;
}

uint64_t space_left(struct diff *diff)
{
	uint64_t now = time_ns();

	if (is_old(diff, now) && ask(diff, now) < 0)
		return UINT64_MAX;
	return left(diff);
}

uint64_t space_files_left(struct diff *diff)
{
	return space_left(diff) == UINT64_MAX ? UINT64_MAX : diff->space_files;
}

void space_claim(struct diff *diff, uint64_t len)
{
	diff->space_claimed += len;
}

int space_check(struct diff *diff, uint64_t len, bool little)
{
	uint64_t needed = diff->options.reserve / (little ? 2 : 1) + len;
	uint64_t now;
	int rc;

	if (diff->options.reserve == 0)
		return 0;
	now = time_ns();
	if (is_old(diff, now) || left(diff) < needed) {
		rc = ask(diff, now);
		if (rc < 0)
			return rc;
	}
	if (left(diff) < needed)
		return -ENOSPC;
	space_claim(diff, len);
	return 0;
}

/* ---- holes ---- */

static void wake_writers(struct diff_file *file)
{
	struct diff_room_wait *wait = file->punch_waiters, *next;

	file->punch_waiters = NULL;
	for (; wait; wait = next) {
		next = wait->next;
		wait->ready(wait);
	}
}

/* A hole that cannot be punched costs space, nothing else. */
static void punched(struct vfd_op *op)
{
	struct diff_file *file = CONTAINER_OF(op, struct diff_file, punch_op);
	struct diff *diff = file->diff;

	file->punching = false;
	diff->in_flight--;
	if (op->io.result < 0)
		file->freed_ready = (struct range){0};
	wake_writers(file);
	space_punch(file);
	file_unhold(file);
}

static void submit_punch(struct diff_file *file, uint32_t first, uint32_t count)
{
	file->punching = true;
	file_hold(file);
	file->diff->in_flight++;
	file->punch_op = (struct vfd_op){
		.io = {.code = IO_FALLOCATE,
		       .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       .off = (uint64_t)first * DIFF_BLCKSZ,
		       .len = (uint64_t)count * DIFF_BLCKSZ},
		.vfd = file->vfd,
		.done = punched,
	};
	vfd_submit(&file->punch_op);
}

void space_punch(struct diff_file *file)
{
	struct range *ready = &file->freed_ready;
	bool defect = diff_test_defect == DIFF_DEFECT_FREE_BEFORE_COMMIT;

	if (file->dropped || file->punching || file->claims > 0 || range_is_empty(ready) ||
	    file->error)
		return;
	if (!defect && !range_is_empty(&file->freed)) {
		range_move(&file->freed, ready);
		return;
	}
	if (!defect && !range_is_empty(&file->freed_commit)) {
		range_move(&file->freed_commit, ready);
		return;
	}
	if (!file_has_data(file))
		*ready = (struct range){0};
	else if (file_make_vfd(file) < 0)
		return;
	while (!range_is_empty(ready)) {
		uint32_t first = ready->from, count;
		enum block_state state = blockmap_run(&file->map, first, ready->to - first, &count);

		ready->from += count;
		if (state != BLOCK_DATA) {
			submit_punch(file, first, count);
			return;
		}
	}
}

void space_capture(struct diff_file *file)
{
	if (diff_test_defect == DIFF_DEFECT_FREE_BEFORE_COMMIT) {
		range_move(&file->freed_ready, &file->freed);
		space_punch(file);
	} else {
		range_move(&file->freed_commit, &file->freed);
	}
}

void space_committed(struct diff_file *file, bool durable)
{
	range_move(durable ? &file->freed_ready : &file->freed, &file->freed_commit);
}

/* ---- dropped files ---- */

static int64_t unlink_job(struct io_op *op)
{
	const struct diff_file *file = CONTAINER_OF(op, struct diff_file, unlink_op);
	char path[DIFF_PATH_SIZE];

	file_path(file->id, path);
	return sys_unlinkat(file->diff->data_fd, path, 0);
}

/* What stays behind is removed by the next recovery. */
static void unlinked(struct io_op *op)
{
	struct diff_file *file = CONTAINER_OF(op, struct diff_file, unlink_op);

	file->diff->in_flight--;
	file->diff->unlinked[(file->id >> 8) & 0xff] = true;
	list_remove(&file->diff->going, file);
	file_free(file);
}

void space_settle(struct diff_file *file)
{
	struct diff *diff = file->diff;
	bool exists = file_has_data(file);

	if (!file->dropped || !file->unlink_ready || file->holds > 0)
		return;
	vfd_free(TAKE_PTR(file->vfd));
	if (!exists || !diff->io) {
		list_remove(&diff->going, file);
		file_free(file);
		return;
	}
	diff->in_flight++;
	file->unlink_op = (struct io_op){.code = IO_JOB, .job = unlink_job, .done = unlinked};
	io_submit(diff->io, &file->unlink_op);
}
