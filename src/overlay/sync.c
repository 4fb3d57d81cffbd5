/*
 * overlay/sync.c: fsync, fsyncdir and the timer: wait for earlier writes, then one commit of the
 * diff.
 */
#include "base/util.h"
#include "overlay/overlay_internal.h"

static void synced(struct diff_sync *sync)
{
	struct overlay_sync *op = CONTAINER_OF(sync, struct overlay_sync, sync);

	op->result = sync->result;
	op->done(op);
}

static void start(struct overlay *ov, struct overlay_sync *op)
{
	struct diff_file *record = op->all ? NULL : op->file->record;

	op->sync = (struct diff_sync){.file = record, .all = op->all, .done = synced};
	if (diff_has_pending(ov->diff) || op->all)
		overlay_log_times(ov);
	diff_sync(ov->diff, &op->sync);
}

static void granted(struct ticket *ticket)
{
	struct overlay_sync *op = CONTAINER_OF(ticket, struct overlay_sync, ticket);

	start(op->ov, op);
}

void overlay_sync(struct overlay *ov, struct overlay_sync *op)
{
	op->ov = ov;
	op->result = 0;
	if (!ov->diff) {
		op->done(op); /* nothing here is ever written */
		return;
	}
	if (op->all) {
		start(ov, op);
		return;
	}
	op->ticket = (struct ticket){.from = 0, .to = UINT64_MAX, .granted = granted};
	barrier_enter(&op->file->barrier, &op->ticket);
}
