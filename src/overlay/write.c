/*
 * overlay/write.c: one WRITE: its turn in the barrier, zeros behind the old size if it leaves a
 * gap, the patch, the new times, the answer.
 *
 * A write that extends the file takes the whole file's ticket, because it changes the size that
 * everything else goes by; a write inside the file takes the blocks it touches.
 *
 * A write to global/pg_control waits until everything written before it is durable. After a crash
 * PostgreSQL syncs its whole data directory before it trusts what it finds there; with
 * recovery_init_sync_method = syncfs it asks the kernel, which does not pass that on to a FUSE
 * server. The control file is what would vouch for pages that were never synced.
 */
#include "base/log.h"
#include "base/util.h"
#include "overlay/overlay_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct write_state {
	struct overlay *ov;
	struct overlay_write *op;
	struct patch patch;
	struct diff_sync sync;
	uint64_t ballast_seen;
};

static void begin(struct write_state *st);

/* Nobody is left to be told but by fsync. */
static void lost(struct overlay *ov, struct file *f, int rc)
{
	log_error("a write of file %llu that the kernel had accepted is lost: %s; syncs of the file "
		  "fail until the clone is mounted again",
		  (unsigned long long)f->id, strerror(-rc));
	if (file_get_record(ov, f) == 0)
		diff_file_fail(f->record, rc);
	else
		diff_set_read_only(ov->diff);
}

/* What the kernel has accepted takes the room that is kept for it before it is lost. */
static bool finds_room(struct write_state *st, int rc)
{
	if (!st->op->cached || (rc != -ENOSPC && rc != -EDQUOT))
		return false;
	return diff_ballast_spend(st->ov->diff, &st->ballast_seen);
}

static void finish(struct write_state *st, int rc)
{
	struct overlay_write *op = st->op;
	struct overlay *ov = st->ov;
	struct file *f = op->file;

	if (finds_room(st, rc)) {
		begin(st);
		return;
	}
	op->result = rc;
	if (rc == 0)
		file_touch(ov, f, true);
	else if (op->cached)
		lost(ov, f, rc);
	free(st);
	barrier_leave(&f->barrier, &op->ticket);
	op->done(op);
	overlay_unref(ov, f);
}

static void patched(struct patch *patch, int rc)
{
	finish(CONTAINER_OF(patch, struct write_state, patch), rc);
}

static void write_patch(struct write_state *st)
{
	struct overlay_write *op = st->op;

	st->patch = (struct patch){.ov = st->ov,
				   .file = op->file,
				   .off = op->off,
				   .len = op->len,
				   .data = op->data,
				   .accepted = op->cached,
				   .done = patched};
	patch_start(&st->patch);
}

static void tail_zeroed(struct patch *patch, int rc)
{
	struct write_state *st = CONTAINER_OF(patch, struct write_state, patch);

	if (rc < 0)
		finish(st, rc);
	else
		write_patch(st);
}

static void start(struct write_state *st)
{
	struct overlay_write *op = st->op;
	uint64_t size = file_size(op->file);

	if (op->append)
		op->off = size;
	if (op->off <= size || op->off / BLCK == size / BLCK) {
		write_patch(st);
		return;
	}
	st->patch = (struct patch){.ov = st->ov,
				   .file = op->file,
				   .accepted = op->cached,
				   .done = tail_zeroed};
	patch_zero_tail(&st->patch);
}

static void all_synced(struct diff_sync *sync)
{
	struct write_state *st = CONTAINER_OF(sync, struct write_state, sync);

	if (sync->result < 0)
		finish(st, sync->result);
	else
		start(st);
}

static void begin(struct write_state *st)
{
	struct overlay_write *op = st->op;
	int rc = diff_writable(st->ov->diff);

	if (rc < 0 || op->len == 0) {
		finish(st, rc);
		return;
	}
	if (op->file->id != st->ov->control_id) {
		start(st);
		return;
	}
	/* Answers at once where nothing is pending and no commit is on its way. */
	st->sync = (struct diff_sync){.all = true, .done = all_synced};
	diff_sync(st->ov->diff, &st->sync);
}

static void granted(struct ticket *ticket)
{
	struct overlay_write *op = CONTAINER_OF(ticket, struct overlay_write, ticket);

	begin(op->state);
}

static void set_range(struct overlay_write *op)
{
	bool whole = op->append || op->off + op->len > file_size(op->file) ||
		     barrier_has_whole(&op->file->barrier);

	op->ticket =
		(struct ticket){.from = 0, .to = UINT64_MAX, .mutates = true, .granted = granted};
	if (!whole) {
		op->ticket.from = round_down_u64(op->off, BLCK);
		op->ticket.to = round_up_u64(op->off + op->len, BLCK);
	}
}

void overlay_write(struct overlay *ov, struct overlay_write *op)
{
	struct write_state *st = NULL;
	int rc = 0;

	if (!ov->diff)
		rc = -EROFS;
	else if (!file_is_regular(op->file))
		rc = -EINVAL;
	else if (op->len > (1u << 20) || op->off + op->len < op->off)
		rc = -EFBIG;
	else if (!(st = calloc(1, sizeof(*st))))
		rc = -ENOMEM;
	if (rc < 0) {
		if (op->cached && ov->diff)
			lost(ov, op->file, rc);
		op->result = rc;
		op->done(op);
		return;
	}
	st->ov = ov;
	st->op = op;
	op->state = st;
	overlay_ref(op->file);
	set_range(op);
	barrier_enter(&op->file->barrier, &op->ticket);
}
