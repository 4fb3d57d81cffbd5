/*
 * fdatasync of one data file, and what a diff_sync has to wait for.
 *
 * A file has one fdatasync in flight at most: the host reports a failed write-back once per open
 * file, and of two concurrent calls the wrong one could get it. Who comes while one runs is served
 * by the next.
 *
 * A diff_sync is answered without a commit when no commit has anything to do with it: then it is
 * one fdatasync, or nothing. When only names are missing and are on their way in the commit that
 * runs, it waits for that one and does its fdatasync meanwhile. Else it queues, and all that queue
 * share the next commit.
 */
#include <errno.h>

#include "base/util.h"
#include "diff/diff_internal.h"

#define REPEATS_MAX 16u /* fsyncs of files seen before, between two of a checkpoint */

void file_hold(struct diff_file *file)
{
	file->holds++;
}

void file_unhold(struct diff_file *file)
{
	file->holds--;
	space_settle(file);
}

/* ---- fdatasync of one file ---- */

static void answer_all(struct diff_file_wait *list, int rc)
{
	struct diff_file_wait *next;

	for (; list; list = next) {
		next = list->next;
		list->done(list, rc);
	}
}

static void file_synced(struct vfd_op *op)
{
	struct diff_file *file = CONTAINER_OF(op, struct diff_file, sync_op);
	struct diff_file_wait *waiters = TAKE_PTR(file->sync_waiters), *next;
	int rc = (int)MIN(op->io.result, 0);

	file->syncing = false;
	file->diff->in_flight--;
	if (rc < 0)
		diff_file_fail(file, rc);
	file_update_list(file);
	answer_all(waiters, rc);
	for (waiters = TAKE_PTR(file->next_sync_waiters); waiters; waiters = next) {
		next = waiters->next;
		file_sync(file, waiters);
	}
	file_unhold(file);
}

static void start_sync(struct diff_file *file)
{
	file->syncing = true;
	file->dirty = false;
	file_update_list(file);
	file_hold(file);
	file->diff->in_flight++;
	file->sync_op = (struct vfd_op){
		.io = {.code = IO_FDATASYNC}, .vfd = file->vfd, .done = file_synced};
	vfd_submit(&file->sync_op);
}

void file_sync(struct diff_file *file, struct diff_file_wait *wait)
{
	int rc = diff_file_error(file);

	if (rc < 0)
		diff_file_fail(file, rc);
	if (rc < 0 || (!file->dirty && !file->syncing)) {
		wait->done(wait, rc);
		return;
	}
	if (file->syncing) {
		wait->next = file->next_sync_waiters;
		file->next_sync_waiters = wait;
		return;
	}
	wait->next = NULL;
	file->sync_waiters = wait;
	start_sync(file);
}

/* ---- diff_sync ---- */

void sync_part_done(struct diff_sync *op, int rc)
{
	if (rc < 0 && op->result == 0)
		op->result = rc;
	if (--op->parts == 0)
		op->done(op);
}

static void sync_file_done(struct diff_file_wait *wait, int rc)
{
	sync_part_done(CONTAINER_OF(wait, struct diff_sync, wait), rc);
}

static void sync_data(struct diff_sync *op)
{
	op->parts++;
	op->wait.done = sync_file_done;
	file_sync(op->file, &op->wait);
}

static void join_commit(struct diff_sync *op)
{
	op->parts++;
	op->next = op->diff->commit.waiters;
	op->diff->commit.waiters = op;
}

static void enqueue(struct diff_sync *op)
{
	op->parts++;
	op->next = op->diff->queue;
	op->diff->queue = op;
	commit_start(op->diff);
}

static void room_done(struct diff_sync *op)
{
	struct diff *diff = op->diff;

	op->done = NULL;
	if (diff->journal.tail > 0)
		journal_full(diff);
	journal_wake(diff);
}

bool sync_for_room(struct diff *diff)
{
	struct diff_sync *op = &diff->room_sync;

	if (!op->done && !diff->state_wanted)
		return false;
	if (!op->done) {
		*op = (struct diff_sync){.all = true, .done = room_done, .diff = diff};
		enqueue(op);
	}
	return true;
}

/*
 * PostgreSQL's checkpointer syncs file after file: from the fifth different one on, what it will
 * ask for next is synced beforehand. In between, backends sync their WAL, which is one file again
 * and again: that neither counts nor, while it is not too much, interrupts the row.
 */
static bool is_checkpoint(struct diff *diff, const struct diff_file *file)
{
	for (unsigned i = 0; i < ARRAY_SIZE(diff->recent); i++) {
		if (diff->recent[i] != file->id)
			continue;
		if (++diff->repeats > REPEATS_MAX)
			diff->streak = 0;
		return false;
	}
	diff->repeats = 0;
	diff->recent[diff->recent_pos++ % ARRAY_SIZE(diff->recent)] = file->id;
	return ++diff->streak > ARRAY_SIZE(diff->recent);
}

static void sync_one(struct diff_sync *op)
{
	struct diff *diff = op->diff;
	struct diff_file *file = op->file;
	bool changed = file && (file_needs_record(file) || file->truncated);
	bool row = file && is_checkpoint(diff, file);

	if (row && (changed || file->dirty) && diff->dirty.head != diff->dirty.tail) {
		op->ahead = true;
		diff->stats.sync_ahead++;
	}
	if (op->ahead || diff->names.len > 0 || changed || (file && file->in_commit)) {
		enqueue(op);
		return;
	}
	op->parts++; /* not done before both parts have begun */
	if (commit_concerns(diff, file))
		join_commit(op);
	if (file) {
		diff->stats.fast_syncs += file->dirty;
		sync_data(op);
	}
	sync_part_done(op, 0);
}

void diff_sync(struct diff *diff, struct diff_sync *op)
{
	int rc = op->file ? diff_file_error(op->file) : 0;

	if (rc < 0)
		diff_file_fail(op->file, rc);
	else if (op->all || diff->journal.lost_names)
		rc = diff->journal.error;
	op->diff = diff;
	op->parts = 0;
	op->ahead = false;
	op->result = rc;
	if (rc < 0) {
		op->done(op);
	} else if (!op->all) {
		sync_one(op);
	} else if (diff_has_pending(diff) || diff->commit.running) {
		enqueue(op);
	} else {
		op->result = diff_failed(diff);
		op->done(op);
	}
}

bool diff_has_pending(const struct diff *diff)
{
	return diff->names.len > 0 || diff->dirty.head;
}
