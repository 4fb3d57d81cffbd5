/*
 * tests/barrier/power.c: see power.h.
 *
 * Content reaches the simulated disk when its file is synced, the renamed and removed names of a
 * directory when the directory is. Names of new files are there at once: that they are not lost is
 * what the crash states are for.
 */
#include "power.h"

#include "base/util.h"
#include "record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int power_start(struct power *p, struct layer_chain *chain, const char *diff_path,
		const char *cut_path)
{
	const struct core_options options = {.kind = IO_KIND_SYNC,
					     .slots = 16,
					     .buffer_bytes = 3 * (size_t)BUFPOOL_LARGE,
					     .index_memory = 1u << 20};
	struct errmsg e = {0};
	int rc;

	*p = (struct power){.live = sim_new(), .durable = sim_new(), .chain = chain};
	disk_init(&p->disk, cut_path);
	rc = core_new(&p->core, &options, &e);
	if (rc == 0)
		record_start(diff_path, p->live, &p->trace);
	else
		(void)fprintf(stderr, "barrier: %s\n", errmsg_text(&e, rc));
	return rc;
}

void power_stop(struct power *p)
{
	record_stop();
	trace_cut(&p->trace, 0);
	trace_cut(&p->waits, 0);
	free(p->trace.ops);
	free(p->waits.ops);
	core_free(&p->core);
	disk_free(&p->disk);
	sim_free(p->live);
	sim_free(p->durable);
	*p = (struct power){0};
}

static bool is_on(const struct trace_op *op, uint32_t ino)
{
	return op->dir == SIM_NONE ? op->ino == ino : op->dir == ino;
}

static void sync_inode(struct power *p, uint32_t ino)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->waits.count; i++) {
		struct trace_op *op = &p->waits.ops[i];

		if (!is_on(op, ino)) {
			p->waits.ops[kept++] = *op;
			continue;
		}
		sim_apply(p->durable, op);
		free(op->data);
	}
	p->waits.count = kept;
}

static void take_trace(struct power *p)
{
	for (size_t i = 0; i < p->trace.count; i++) {
		const struct trace_op *op = &p->trace.ops[i];

		if (op->code == TRACE_SYNC)
			sync_inode(p, op->ino);
		else if (op->code == TRACE_CREATE || op->code == TRACE_MKDIR)
			sim_apply(p->durable, op);
		else
			trace_add(&p->waits, op); /* takes over the data */
	}
	p->trace.count = 0;
}

static void look(struct power *p, uint64_t id, bool must_be, const struct content *c,
		 const struct view *view, struct verdict *ret)
{
	struct file *file = overlay_find(p->core.ov, id);
	uint8_t *bytes;
	struct stat st;
	int64_t n;

	*ret = (struct verdict){.good = !must_be};
	if (!file) {
		(void)snprintf(ret->why, sizeof(ret->why), "the file is not there");
		return;
	}
	overlay_getattr(p->core.ov, file, &st);
	view_check_size(c, view, (uint64_t)st.st_size, false, ret);
	if (!ret->good || st.st_size == 0)
		return;
	bytes = malloc((size_t)st.st_size);
	if (!bytes)
		abort();
	n = core_read(&p->core, file, 0, (uint32_t)st.st_size, bytes);
	if (n == st.st_size) {
		view_check(c, view, bytes, (size_t)n, ret);
	} else {
		ret->good = false;
		(void)snprintf(ret->why, sizeof(ret->why), "read: %" PRId64, n);
	}
	free(bytes);
}

void power_check(struct power *p, uint64_t id, bool must_be, const struct content *c,
		 const struct view *view, struct verdict *ret)
{
	struct recording *recording = record_suspend();
	struct trace own = {0};
	struct errmsg e = {0};
	int rc;

	take_trace(p);
	p->cuts++;
	disk_set(&p->disk, p->durable);
	record_start(p->disk.path, p->disk.now, &own);
	rc = core_open(&p->core, p->chain, p->disk.path, &e);
	if (rc == 0) {
		look(p, id, must_be, c, view, ret);
	} else {
		*ret = (struct verdict){0};
		(void)snprintf(ret->why, sizeof(ret->why), "the diff cannot be opened: %.150s",
			       errmsg_text(&e, rc));
	}
	core_close(&p->core);
	record_stop();
	trace_cut(&own, 0);
	free(own.ops);
	record_resume(recording);
}
