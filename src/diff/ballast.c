/*
 * The ballast: a file of allocated, unused host space.
 *
 * With write-back the kernel accepts writes that reach us later. What it may hold at once is
 * bounded; as much (and what goes with it) is allocated here beforehand, so that those writes have
 * room whoever fills the disk meanwhile. When one of them finds none, the ballast goes
 * (diff_ballast_spend), and no more is accepted until it is back (diff_is_tight).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define BALLAST_NAME "ballast"
#define RETRY_NS     UINT64_C(200000000)

static int make(const struct diff *diff)
{
	int fd = sys_openat(diff->dirfd, BALLAST_NAME, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return fd;
	rc = sys_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, diff->ballast.bytes);
	(void)sys_close(fd);
	if (rc < 0)
		(void)sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);
	return rc;
}

static void take_result(struct diff *diff, int rc)
{
	struct ballast *b = &diff->ballast;

	/* A host without allocation has no ballast to give: distance to the end must do. */
	b->unsupported = rc == -EOPNOTSUPP || rc == -ENOSYS;
	b->present = rc == 0;
}

int diff_ballast_open(struct diff *diff, uint64_t bytes)
{
	int rc = sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	diff->ballast.bytes = bytes;
	if (bytes == 0)
		return 0;
	rc = make(diff);
	take_result(diff, rc);
	return diff->ballast.unsupported || rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

bool diff_ballast_spend(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	int rc;

	if (b->bytes == 0 || b->unsupported)
		return false;
	if (b->present) {
		/* Waits for the host: what it buys is worth that. */
		rc = sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);
		if (rc < 0)
			return false;
		b->present = false;
		diff->stats.ballast_spent++;
		log_warning("the disk is full: what was set aside is used for what the kernel had "
			    "accepted");
	}
	/* What was told of the disk before is not true any more. */
	diff->space_time = 0;
	diff->journal.grow_error = 0;
	diff->journal.full_error = 0;
	return true;
}

/* Enough is free that it would not be tight again at once. */
static bool is_affordable(struct diff *diff)
{
	diff->space_time = 0;
	return space_left(diff) >= diff->options.reserve + 2 * diff->ballast.bytes;
}

static int64_t make_job(struct io_op *op)
{
	return make(CONTAINER_OF(op, struct diff, ballast.op));
}

static void made(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, ballast.op);

	diff->ballast.running = false;
	diff->in_flight--;
	take_result(diff, (int)op->result);
	diff->space_time = 0;
}

void diff_ballast_restore(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	uint64_t now = time_ns();

	if (b->bytes == 0 || b->unsupported || b->present || b->running || !diff->io ||
	    now - b->tried < RETRY_NS)
		return;
	b->tried = now;
	if (!is_affordable(diff))
		return;
	b->running = true;
	diff->in_flight++;
	b->op = (struct io_op){.code = IO_JOB, .job = make_job, .done = made};
	io_submit(diff->io, &b->op);
}

bool diff_is_tight(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	/* Some more to come out of it, or it would go to and fro. */
	uint64_t needed = diff->options.reserve + b->bytes + (b->tight ? b->bytes / 4 : 0);

	if (b->bytes == 0)
		return false;
	b->tight = (!b->unsupported && !b->present) || space_left(diff) < needed;
	return b->tight;
}

bool diff_is_tightest(struct diff *diff)
{
	const struct ballast *b = &diff->ballast;

	return b->bytes != 0 && ((!b->unsupported && !b->present) ||
				 space_left(diff) < diff->options.reserve + b->bytes / 2);
}

bool diff_has_little_room(struct diff *diff)
{
	return space_left(diff) >= diff->options.reserve / 2 + DIFF_BLCKSZ;
}

uint64_t diff_host_free(struct diff *diff)
{
	return space_left(diff);
}

void ballast_close(struct diff *diff)
{
	if (diff->ballast.bytes != 0)
		(void)sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);
}
