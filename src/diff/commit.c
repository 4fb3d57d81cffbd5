/*
 * Commits. One runs at a time:
 *
 *	capture	  all names logged so far, and of the files that take part the changed blocks as
 *		  they are now (capture.c)
 *	data	  fdatasync of these files, fsync of the directories of new data files
 *	write	  one group at the journal's tail and an fdatasync; or, when the journal has become
 *		  long and all files are in order, a new state
 *	finish	  answer, then free host space that has become unreachable
 *
 * Changes after the capture belong to the next commit. What a group says of a file whose fdatasync
 * failed is left out of it (failed.c). A group that could not be written for want of space goes
 * back in front of what the next commit writes; after any other error the journal is not written
 * any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "base/util.h"
#include "diff/diff_internal.h"

#define SYNCS_MAX   32u			 /* fdatasyncs in flight */
#define STATE_PAUSE UINT64_C(1000000000) /* ns after a state that failed */

static const uint8_t padding[DIFF_GROUP_ALIGN];

static void next_step(struct diff *diff);

bool commit_concerns(const struct diff *diff, const struct diff_file *file)
{
	const struct commit *c = &diff->commit;

	return c->running && (c->names_len > 0 || (file && file->in_commit));
}

/* ---- data ---- */

static void start_syncs(struct diff *diff);

static void data_done(struct diff *diff)
{
	struct commit *c = &diff->commit;

	if (c->running_syncs > 0 || c->running_dirs > 0 || c->next_file < c->file_count)
		return;
	c->synced = true;
	next_step(diff);
}

static void commit_file_synced(struct diff_file_wait *wait, int rc)
{
	struct commit_file *cf = CONTAINER_OF(wait, struct commit_file, wait);

	if (rc < 0)
		cf->error = rc;
	cf->diff->commit.running_syncs--;
	start_syncs(cf->diff);
}

/* Files that have nothing to sync answer at once, inside file_sync: a loop, not a recursion. */
static void start_syncs(struct diff *diff)
{
	struct commit *c = &diff->commit;

	if (c->starting)
		return;
	c->starting = true;
	while (c->next_file < c->file_count && c->running_syncs < SYNCS_MAX) {
		struct commit_file *cf = &c->files[c->next_file++];

		c->running_syncs++;
		cf->wait.done = commit_file_synced;
		file_sync(cf->file, &cf->wait);
	}
	c->starting = false;
	data_done(diff);
}

static int64_t dir_sync_job(struct io_op *op)
{
	const struct dir_sync *dir = CONTAINER_OF(op, struct dir_sync, op);
	char name[4];
	int fd, rc;

	(void)snprintf(name, sizeof(name), "%02x", dir->dir & 0xff);
	fd = sys_openat(dir->diff->data_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	rc = sys_fsync(fd);
	(void)sys_close(fd);
	return rc;
}

static unsigned dir_of(const struct diff_file *file)
{
	return (unsigned)(file->id >> 8) & 0xff;
}

static void dir_synced(struct io_op *op)
{
	struct dir_sync *dir = CONTAINER_OF(op, struct dir_sync, op);
	struct commit *c = &dir->diff->commit;

	dir->wanted = false;
	for (size_t i = 0; i < c->file_count; i++) {
		struct commit_file *cf = &c->files[i];

		if (!cf->wants_dir || dir_of(cf->file) != dir->dir)
			continue;
		if (op->result < 0) {
			cf->error = (int)op->result;
			diff_file_fail(cf->file, cf->error);
		} else {
			cf->file->name_durable = true;
		}
	}
	c->running_dirs--;
	data_done(dir->diff);
}

static void start_dirs(struct diff *diff)
{
	struct commit *c = &diff->commit;

	if (diff_test_defect == DIFF_DEFECT_NO_DIR_SYNC)
		return;
	for (size_t i = 0; i < c->file_count; i++) {
		struct dir_sync *dir = &diff->dirs[dir_of(c->files[i].file)];

		if (!c->files[i].wants_dir || dir->wanted)
			continue;
		dir->wanted = true;
		dir->diff = diff;
		dir->dir = dir_of(c->files[i].file);
		c->running_dirs++;
		dir->op = (struct io_op){.code = IO_JOB, .job = dir_sync_job, .done = dir_synced};
		io_submit(diff->io, &dir->op);
	}
}

/* ---- write ---- */

static void write_done(struct diff *diff, int rc)
{
	diff->commit.result = rc;
	diff->commit.written = true;
	next_step(diff);
}

static uint64_t group_size(const struct commit *c)
{
	return round_up_u64(DIFF_GROUP_HEADER + c->payload.len, DIFF_GROUP_ALIGN);
}

static void group_durable(struct diff *diff)
{
	diff->journal.tail += group_size(&diff->commit);
	diff->journal.sequence++;
	diff->stats.groups++;
	write_done(diff, 0);
}

/*
 * The journal is not written any more, so whatever this commit should have recorded stays
 * unrecorded.
 */
static void journal_failed(struct diff *diff, int rc)
{
	struct commit *c = &diff->commit;

	diff->journal.error = rc;
	diff->journal.lost_names |= c->names_len > 0;
	diff_set_read_only(diff);
	for (size_t i = 0; i < c->file_count; i++)
		if (c->files[i].len > 0)
			diff_file_fail(c->files[i].file, rc);
}

static void group_failed(struct diff *diff, int rc)
{
	if (rc != -ENOSPC && rc != -EDQUOT)
		journal_failed(diff, rc);
	write_done(diff, rc);
}

static void group_synced(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, commit.op);

	if (op->result < 0)
		group_failed(diff, (int)op->result);
	else
		group_durable(diff);
}

static void group_written(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, commit.op);

	if (op->result != (int64_t)group_size(&diff->commit)) {
		group_failed(diff, op->result < 0 ? (int)op->result : -EIO);
		return;
	}
	if (diff_test_defect == DIFF_DEFECT_NO_JOURNAL_SYNC) {
		group_durable(diff);
		return;
	}
	op->code = IO_FDATASYNC;
	op->done = group_synced;
	io_submit(diff->io, op);
}

static void write_group(struct diff *diff)
{
	struct commit *c = &diff->commit;
	struct journal *j = &diff->journal;
	size_t pad = group_size(c) - DIFF_GROUP_HEADER - c->payload.len;

	if (c->payload.len == 0) {
		write_done(diff, 0);
		return;
	}
	if (c->payload.len > UINT32_MAX || group_size(c) > j->size - j->tail) {
		journal_grow(diff); /* it does not come to this while every byte was set aside */
		group_failed(diff, -ENOSPC);
		return;
	}
	journal_group(diff, c->header, j->sequence, c->payload.data, c->payload.len);
	j->attempted = MAX(j->attempted, j->sequence);
	c->iov[0] = (struct iovec){.iov_base = c->header, .iov_len = DIFF_GROUP_HEADER};
	c->iov[1] = (struct iovec){.iov_base = c->payload.data, .iov_len = c->payload.len};
	c->iov[2] = (struct iovec){.iov_base = (void *)(uintptr_t)padding, .iov_len = pad};
	c->op = (struct io_op){.code = IO_WRITE,
			       .fd = j->fd,
			       .off = j->tail,
			       .iov = c->iov,
			       .iovcnt = pad ? 3 : 2,
			       .done = group_written};
	io_submit(diff->io, &c->op);
}

static int64_t state_job(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, commit.op);

	return state_write(diff, &diff->commit.state, &diff->commit.state_renamed);
}

static void state_written(struct io_op *op)
{
	struct diff *diff = CONTAINER_OF(op, struct diff, commit.op);
	struct commit *c = &diff->commit;

	if (op->result < 0 && c->state_renamed) {
		journal_failed(diff, (int)op->result);
		write_done(diff, (int)op->result);
		return;
	}
	diff->state_wanted = false;
	if (op->result < 0) {
		if (op->result == -EIO)
			diff_set_read_only(diff);
		diff->state_retry_at = diff->journal.tail + DIFF_SEGMENT;
		diff->state_retry_time = time_ns() + STATE_PAUSE;
		write_group(diff);
		return;
	}
	diff->state_size = c->state.len;
	diff->state_retry_at = 0;
	diff->journal.sequence = c->state_sequence;
	diff->journal.tail = 0;
	diff->stats.states++;
	write_done(diff, 0);
}

static void write_journal(struct diff *diff)
{
	struct commit *c = &diff->commit;

	if (failed_cut(diff))
		diff_buffer_free(&c->state);
	if (c->state.len == 0) {
		write_group(diff);
		return;
	}
	c->op = (struct io_op){.code = IO_JOB, .job = state_job, .done = state_written};
	io_submit(diff->io, &c->op);
}

/* ---- finish ---- */

/* In front of what has been logged since. */
static void put_back(struct diff *diff)
{
	struct commit *c = &diff->commit;
	struct diff_buffer *names = &diff->names;

	if (diff_buffer_room(&c->payload, names->len) < 0) {
		journal_failed(diff, -ENOMEM);
		return;
	}
	diff->journal.reserved += c->payload.len + (names->len ? 0 : DIFF_GROUP_ROOM);
	if (names->len)
		memcpy(c->payload.data + c->payload.len, names->data, names->len);
	c->payload.len += names->len;
	diff_buffer_free(names);
	*names = c->payload;
	c->payload = (struct diff_buffer){0};
}

static void settle_drops(struct diff *diff, struct file_list drops, bool durable)
{
	struct diff_file *f, *next;

	for (f = drops.head; f; f = next) {
		next = f->next;
		list_push(durable ? &diff->going : &diff->drops, f);
		f->unlink_ready = durable;
		space_settle(f);
	}
}

/* Who asks for everything is not told of success while a file that has lost data is there. */
static int result_for(const struct diff_sync *op, const struct commit_file *files, size_t count,
		      int rc)
{
	if (rc == 0 && op->file)
		rc = op->file->error;
	for (size_t i = 0; i < count && rc == 0 && op->all; i++)
		rc = files[i].error;
	return rc == 0 && op->all ? diff_failed(op->diff) : rc;
}

static void answer(struct diff_sync *waiters, const struct commit_file *files, size_t count, int rc)
{
	struct diff_sync *op, *next;

	for (op = waiters; op; op = next) {
		next = op->next;
		sync_part_done(op, result_for(op, files, count, rc));
	}
}

/*
 * Everything is taken out of diff->commit before the first answer: whom we answer may start the
 * next one.
 */
static void finish(struct diff *diff, int rc)
{
	struct commit *c = &diff->commit, done;
	bool durable = rc == 0 && c->written;

	journal_release(diff, c->room);
	if (c->written && (rc == -ENOSPC || rc == -EDQUOT))
		put_back(diff);
	done = *c;
	diff->stats.commits++;
	c->running = false;
	c->waiters = NULL;
	c->files = NULL;
	c->file_count = c->file_cap = c->next_file = 0;
	c->payload = c->state = (struct diff_buffer){0};
	c->names_len = 0;
	c->drops = (struct file_list){0};
	for (size_t i = 0; i < done.file_count; i++) {
		done.files[i].file->in_commit = false;
		space_committed(done.files[i].file, durable);
	}
	if (!durable)
		settle_drops(diff, done.drops, false);
	answer(done.waiters, done.files, done.file_count, rc);
	for (size_t i = 0; i < done.file_count; i++) {
		space_punch(done.files[i].file);
		file_unhold(done.files[i].file);
	}
	if (durable)
		settle_drops(diff, done.drops, true);
	if (done.state.len > 0)
		journal_wake(diff);
	diff_buffer_free(&done.payload);
	diff_buffer_free(&done.state);
	free(done.files);
	diff->in_flight--;
	commit_start(diff);
}

/* ---- the steps in order ---- */

static void next_step(struct diff *diff)
{
	struct commit *c = &diff->commit;
	bool data_first = diff_test_defect != DIFF_DEFECT_JOURNAL_BEFORE_DATA;

	if (!c->synced && (data_first || c->written)) {
		start_dirs(diff);
		start_syncs(diff);
	} else if (!c->written) {
		write_journal(diff);
	} else {
		finish(diff, c->result);
	}
}

static void begin(struct diff *diff)
{
	struct commit *c = &diff->commit;

	c->running = true;
	c->waiters = TAKE_PTR(diff->queue);
	c->all = c->timer = c->synced = c->written = c->state_renamed = false;
	c->result = 0;
	c->room = 0;
	c->names_len = 0;
	for (const struct diff_sync *op = c->waiters; op; op = op->next) {
		c->all |= op->all || op->ahead;
		c->timer |= op->all;
	}
	diff->in_flight++;
}

void commit_start(struct diff *diff)
{
	int rc;

	if (diff->commit.running || !diff->queue)
		return;
	begin(diff);
	rc = diff->journal.error;
	if (rc == 0)
		rc = commit_capture(diff);
	if (rc < 0)
		finish(diff, rc);
	else
		next_step(diff);
}
