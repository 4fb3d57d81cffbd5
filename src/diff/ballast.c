/*
 * The ballast: a file of allocated, unused host space.
 *
 * With write-back the kernel accepts writes that reach us later. What it may hold at once is
 * bounded; as much (and what goes with it) is allocated here beforehand, so that those writes have
 * room whoever fills the disk meanwhile. When one of them finds none, some of the ballast goes
 * (diff_ballast_spend), and no more is accepted until all of it is back (diff_is_tight).
 *
 * Some of it, because whoever fills the disk may not have stopped: what is given up belongs to whom
 * takes it first. A small piece is taken by the write that waits for it, nearly always; of all at
 * once hardly anything would be left a moment later.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define BALLAST_NAME "ballast"
#define RETRY_NS     UINT64_C(200000000)
#define QUOTA_NS     UINT64_C(2000000000)
#define MIN_PIECE    (UINT64_C(2) << 20) /* more than the journal grows by, or one write takes */
#define PIECES	     64u
#define FILES_KEPT   1000u /* free on the host for others to make, beside those that are expected */

/* If it cannot be had as a whole, what was there before stays. */
static int make(const struct diff *diff, uint64_t before)
{
	int fd = sys_openat(diff->dirfd, BALLAST_NAME, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return fd;
	rc = sys_fallocate(fd, 0, 0, diff->ballast.bytes);
	if (rc < 0 && before > 0)
		(void)sys_ftruncate(fd, before);
	(void)sys_close(fd);
	if (rc < 0 && before == 0)
		(void)sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);
	return rc;
}

static void take_result(struct diff *diff, int rc)
{
	struct ballast *b = &diff->ballast;

	/* A host without allocation has no ballast to give: distance to the end must do. */
	b->unsupported = rc == -EOPNOTSUPP || rc == -ENOSYS;
	b->present = rc == 0;
	b->quota = rc == -EDQUOT;
	if (rc == 0)
		b->left = b->bytes;
}

int diff_ballast_open(struct diff *diff, uint64_t bytes)
{
	int rc = sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	diff->ballast.bytes = bytes;
	if (bytes == 0)
		return 0;
	rc = make(diff, 0);
	take_result(diff, rc);
	return diff->ballast.unsupported || rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

bool diff_ballast_is_there(const struct diff *diff)
{
	return diff->ballast.present;
}

bool diff_ballast_is_sure(const struct diff *diff)
{
	return sys_keeps_allocated(diff->data_fd);
}

/*
 * Waits for the host: what it buys is worth that. Cutting a file needs no room on any host; punching
 * holes does on some, and does nothing behind the end of a file on others.
 */
static int give_piece(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	uint64_t piece = MAX(MIN_PIECE, b->bytes / PIECES);
	int fd, rc = -EOPNOTSUPP;

	if (b->left > piece) {
		fd = sys_openat(diff->dirfd, BALLAST_NAME, O_RDWR | O_NOFOLLOW, 0);
		rc = fd < 0 ? fd : sys_ftruncate(fd, b->left - piece);
		if (fd >= 0)
			(void)sys_close(fd);
	}
	if (rc == 0) {
		b->left -= piece;
		return 0;
	}
	rc = sys_unlinkat(diff->dirfd, BALLAST_NAME, 0);
	if (rc == 0 || rc == -ENOENT)
		b->left = 0;
	return rc;
}

bool diff_ballast_spend(struct diff *diff, uint64_t *seen)
{
	struct ballast *b = &diff->ballast;

	if (b->bytes == 0 || b->unsupported)
		return false;
	if (*seen == b->given) {
		if (b->left == 0 || give_piece(diff) < 0)
			return false;
		b->given++;
	}
	*seen = b->given;
	if (b->present) {
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
	const struct ballast *b = &diff->ballast;

	diff->space_time = 0;
	return space_left(diff) >= diff->options.reserve + 2 * b->bytes - b->left;
}

static int64_t make_job(struct io_op *op)
{
	const struct diff *diff = CONTAINER_OF(op, struct diff, ballast.op);

	return make(diff, diff->ballast.before);
}

static void made(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, ballast.op);

	diff->ballast.running = false;
	diff->in_flight--;
	diff->space_time = 0;
	/* A piece that has gone meanwhile may be missing in what was made. */
	if (diff->ballast.given == diff->ballast.given_before)
		take_result(diff, (int)op->result);
}

void diff_ballast_restore(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	uint64_t now = time_ns();

	if (b->bytes == 0 || b->unsupported || b->present || b->running || !diff->io ||
	    now - b->tried < (b->quota ? QUOTA_NS : RETRY_NS))
		return;
	b->tried = now;
	if (!is_affordable(diff))
		return;
	/* A quota cannot be asked: to try takes the room of others for a moment. */
	b->running = true;
	b->before = b->left;
	b->given_before = b->given;
	diff->in_flight++;
	b->op = (struct io_op){.code = IO_JOB, .job = make_job, .done = made};
	io_submit(diff->io, &b->op);
}

void diff_expect_files(struct diff *diff, unsigned files)
{
	diff->ballast.files = files;
}

static bool are_few_files(struct diff *diff, uint64_t kept)
{
	return space_files_left(diff) < kept + 2 * (uint64_t)diff->ballast.files;
}

bool diff_is_tight(struct diff *diff)
{
	struct ballast *b = &diff->ballast;
	/* Some more to come out of it, or it would go to and fro. */
	uint64_t needed = diff->options.reserve + b->bytes + (b->tight ? b->bytes / 4 : 0);

	if (b->bytes == 0)
		return false;
	b->tight = (!b->unsupported && !b->present) || space_left(diff) < needed ||
		   are_few_files(diff, FILES_KEPT + (b->tight ? FILES_KEPT / 4 : 0));
	return b->tight;
}

bool diff_is_tightest(struct diff *diff)
{
	const struct ballast *b = &diff->ballast;

	return b->bytes != 0 && ((!b->unsupported && !b->present) ||
				 space_left(diff) < diff->options.reserve + b->bytes / 2 ||
				 are_few_files(diff, FILES_KEPT / 2));
}

bool diff_has_little_room(struct diff *diff)
{
	/* With a quota the ballast is the only room that is known of. */
	if (diff->ballast.quota && diff->ballast.left == 0)
		return false;
	return space_left(diff) >= diff->options.reserve / 2 + DIFF_BLCKSZ &&
	       !are_few_files(diff, FILES_KEPT / 4);
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
