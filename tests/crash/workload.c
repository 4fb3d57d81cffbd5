/*
 * tests/crash/workload.c: runs a workload on the core while the recorder listens, and tells the
 * oracle.
 */
#include "workload.h"

#include "base/util.h"
#include "naive.h"
#include "record.h"
#include "rng.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 8192u
#define STORM 4000u /* even */

struct overlapped {
	struct overlay_sync op;
	struct runner *runner;
	unsigned version;
	uint64_t id;
	bool done;
};

struct runner {
	const struct workload *w;
	struct core core;
	struct workload_result *result;
	struct oracle *o;
	uint64_t target;   /* id of the file worked on */
	struct file *file; /* referenced; NULL: gone */
	uint64_t fills;
	struct overlapped overlapped;
	int rc;
};

static void step(struct runner *r, const char *what)
{
	oracle_step(r->o, r->result->trace.count, what);
}

static void note(struct runner *r, int rc)
{
	if (rc < 0 && r->rc == 0)
		r->rc = rc;
}

static struct file *file_at(struct runner *r, const char *path)
{
	struct file *f = NULL;

	note(r, core_find(&r->core, path, &f));
	return f;
}

static void do_write(struct runner *r, struct file *f, uint64_t off, uint32_t len, const char *what)
{
	uint8_t buf[3 * BLOCK];

	rng_fill(UINT64_C(0xabcdef) + ++r->fills, buf, len);
	step(r, what);
	oracle_write(r->o, overlay_file_id(f), off, len, buf);
	note(r, core_write(&r->core, f, off, len, buf));
}

static void do_truncate(struct runner *r, struct file *f, uint64_t size, const char *what)
{
	step(r, what);
	oracle_truncate(r->o, overlay_file_id(f), size);
	note(r, core_truncate(&r->core, f, size));
}

static void do_sync(struct runner *r, struct file *f, bool all)
{
	unsigned version = r->o->count - 1;
	int rc = core_sync(&r->core, f, all);
	struct stat st;

	note(r, rc);
	if (f)
		overlay_getattr(r->core.ov, f, &st);
	if (rc == 0)
		oracle_ack(r->o, r->result->trace.count, version,
			   !f || S_ISDIR(st.st_mode) ? 0 : overlay_file_id(f), all);
}

static struct file *do_create(struct runner *r, const char *path, const char *what)
{
	struct overlay_create make = {.mode = S_IFREG | 0600, .uid = getuid(), .gid = getgid()};
	struct core *c = &r->core;
	struct file *dir, *f = NULL;
	const char *name;
	int rc;

	step(r, what);
	note(r, core_find_parent(c, path, &dir, &name));
	rc = CORE_RETRY(c, overlay_create(c->ov, dir, name, &make, &f));
	note(r, rc);
	if (rc == 0)
		oracle_add_file(r->o, overlay_file_id(f), path, 0, NULL);
	return f;
}

static void do_rename(struct runner *r, const char *from, const char *to, unsigned flags,
		      const char *what)
{
	struct core *c = &r->core;
	struct file *dir, *dir2;
	const char *name, *name2;

	step(r, what);
	note(r, core_find_parent(c, from, &dir, &name));
	note(r, core_find_parent(c, to, &dir2, &name2));
	note(r, CORE_RETRY(c, overlay_rename(c->ov, dir, name, dir2, name2, flags)));
	oracle_rename(r->o, from, to, flags != 0);
}

static void do_unlink(struct runner *r, const char *path, const char *what)
{
	struct core *c = &r->core;
	struct file *dir;
	const char *name;

	step(r, what);
	note(r, core_find_parent(c, path, &dir, &name));
	note(r, CORE_RETRY(c, overlay_unlink(c->ov, dir, name)));
	oracle_unlink(r->o, path);
}

static void do_link(struct runner *r, const char *path, const char *what)
{
	struct core *c = &r->core;
	struct file *dir;
	const char *name;

	step(r, what);
	note(r, core_find_parent(c, path, &dir, &name));
	note(r, CORE_RETRY(c, overlay_link(c->ov, r->file, dir, name)));
	oracle_link(r->o, r->target, path);
}

static void do_fallocate(struct runner *r, int mode, uint64_t off, uint64_t len, const char *what)
{
	uint64_t size = oracle_size(r->o, r->target);

	step(r, what);
	if (mode & FALLOC_FL_PUNCH_HOLE && off < size)
		oracle_zero(r->o, r->target, off, MIN(len, size - off));
	else if (mode == 0 && off + len > size)
		oracle_truncate(r->o, r->target, off + len);
	note(r, core_fallocate(&r->core, r->file, mode, off, len));
}

static void op_content(struct runner *r, enum workload_op op)
{
	uint64_t size = oracle_size(r->o, r->target);

	switch ((int)op) {
	case OP_OVERWRITE:
		do_write(r, r->file, BLOCK, BLOCK, "overwrite");
		break;
	case OP_PARTIAL:
		do_write(r, r->file, 2 * BLOCK + 100, 5000, "partial write");
		break;
	case OP_APPEND:
		do_write(r, r->file, size, BLOCK + BLOCK / 2, "append");
		break;
	case OP_CUT:
		do_truncate(r, r->file, size > 2 * BLOCK ? 2 * BLOCK : size / BLOCK * BLOCK, "cut");
		break;
	case OP_EMPTY:
		do_truncate(r, r->file, 0, "empty");
		break;
	case OP_REGROW:
		do_truncate(r, r->file, BLOCK + 4196, "regrow: cut");
		do_truncate(r, r->file, 4 * BLOCK, "regrow: extend");
		break;
	case OP_PUNCH:
		do_fallocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK / 2,
			     2 * BLOCK + BLOCK / 2, "punch");
		break;
	case OP_ALLOCATE:
		do_fallocate(r, 0, size, 3 * BLOCK - size % BLOCK, "fallocate");
		do_write(r, r->file, size + BLOCK, BLOCK, "write allocated");
		break;
	default:
		break;
	}
}

static void op_replace(struct runner *r)
{
	const char *name = oracle_name_of(r->o, r->target);
	struct file *f = do_create(r, "tmp", "replace: create");
	char to[16];

	(void)snprintf(to, sizeof(to), "%s", name);
	if (!f)
		return;
	do_write(r, f, 0, 2 * BLOCK + 77, "replace: write");
	do_sync(r, f, false);
	do_rename(r, "tmp", to, 0, "replace: rename");
}

/* Back and forth between two names; to whoever looks in the end, one step. */
static void op_storm(struct runner *r, const char *name)
{
	struct core *c = &r->core;
	const char *a, *b = "storm";
	char other[DIFF_NAME_MAX + 1];
	struct file *dir;

	memset(other, 'x', DIFF_NAME_MAX);
	other[DIFF_NAME_MAX] = '\0';
	step(r, "storm");
	note(r, core_find_parent(c, name, &dir, &a));
	for (unsigned i = 0; i < STORM && r->rc == 0; i++)
		note(r, CORE_RETRY(c, overlay_rename(c->ov, dir, i % 2 ? other : a, dir,
						     i % 2 ? a : other, 0)));
	note(r, CORE_RETRY(c, overlay_rename(c->ov, dir, a, overlay_root(c->ov), b, 0)));
	oracle_rename(r->o, name, b, false);
}

static void op_names(struct runner *r, enum workload_op op)
{
	const char *now = oracle_name_of(r->o, r->target);
	char name[16];

	if (!now)
		return;
	(void)snprintf(name, sizeof(name), "%s", now);
	switch ((int)op) {
	case OP_REPLACE:
		op_replace(r);
		break;
	case OP_RENAME:
		do_rename(r, name, "victim", 0, "rename over");
		break;
	case OP_UNLINK:
		do_unlink(r, name, "unlink");
		break;
	case OP_EXCHANGE:
		do_rename(r, name, "victim", 2, "exchange");
		break;
	case OP_LINK:
		do_link(r, "d/hard", "link");
		break;
	case OP_STORM:
		op_storm(r, name);
		break;
	default:
		break;
	}
}

static bool has_name(const struct runner *r, const char *name)
{
	const struct oracle_version *v = &r->o->versions[r->o->count - 1];

	for (unsigned i = 0; i < v->name_count; i++)
		if (strcmp(v->names[i].name, name) == 0)
			return true;
	return false;
}

/* False: there is nothing the operation could work on. */
static bool possible(const struct runner *r, enum workload_op op)
{
	const char *name = oracle_name_of(r->o, r->target);

	switch ((int)op) {
	case OP_CREATE:
		return !has_name(r, "d/fresh");
	case OP_REPLACE:
	case OP_UNLINK:
	case OP_STORM:
		return name != NULL;
	case OP_RENAME:
	case OP_EXCHANGE:
		return name && has_name(r, "victim") && strcmp(name, "victim") != 0;
	case OP_LINK:
		return name && !has_name(r, "d/hard");
	default:
		return r->file != NULL;
	}
}

static void run_op(struct runner *r, enum workload_op op)
{
	struct file *f;

	if (op == OP_CREATE) {
		f = do_create(r, "d/fresh", "create");
		if (f)
			do_write(r, f, 0, BLOCK + BLOCK / 2, "write new");
	} else {
		op_names(r, op);
		op_content(r, op);
	}
	/* the last user of a file without a name goes: its record is dropped */
	if (!oracle_name_of(r->o, r->target) && !r->w->hold && r->file) {
		overlay_unref(r->core.ov, r->file);
		r->file = NULL;
	}
}

static void overlapped_done(struct overlay_sync *op)
{
	struct overlapped *s = CONTAINER_OF(op, struct overlapped, op);

	s->done = true;
	note(s->runner, op->result);
	if (op->result == 0)
		oracle_ack(s->runner->o, s->runner->result->trace.count, s->version, s->id,
			   op->all);
}

static void start_overlapped(struct runner *r, bool all)
{
	struct overlapped *s = &r->overlapped;

	*s = (struct overlapped){
		.op = {.file = all ? NULL : r->file, .all = all, .done = overlapped_done},
		.runner = r,
		.version = r->o->count - 1,
		.id = all ? 0 : r->target,
	};
	overlay_sync(r->core.ov, &s->op);
}

static void run_sync(struct runner *r, enum workload_sync how)
{
	switch (how) {
	case SYNC_NONE:
	case SYNC_MAX_:
		break;
	case SYNC_FILE:
		if (r->file)
			do_sync(r, r->file, false);
		break;
	case SYNC_DIR:
		do_sync(r, overlay_root(r->core.ov), false);
		break;
	case SYNC_OTHER:
		do_write(r, file_at(r, "d/other"), BLOCK, 3000, "write other");
		do_sync(r, file_at(r, "d/other"), false);
		break;
	case SYNC_ALL:
		do_sync(r, NULL, true);
		break;
	case SYNC_FILE_OVERLAPPED:
		if (r->file)
			start_overlapped(r, false);
		break;
	case SYNC_ALL_OVERLAPPED:
		start_overlapped(r, true);
		break;
	}
}

/* The oracle's first version: the chain. */
static void add_base(struct runner *r, const char *path)
{
	uint8_t *data = NULL;
	uint64_t len = 0;
	struct file *f = file_at(r, path);

	note(r, naive_read(r->core.chain, naive_find(r->core.chain, path), &data, &len));
	if (r->rc == 0)
		oracle_add_file(r->o, overlay_file_id(f), path, len, data);
	free(data);
}

static void setup(struct runner *r)
{
	add_base(r, "base");
	add_base(r, "d/other");
	add_base(r, "victim");
	if (r->rc < 0)
		return;
	r->file = file_at(r, "base");
	switch (r->w->kind) {
	case KIND_LAYER:
	case KIND_MAX_:
		break;
	case KIND_NEW:
		r->file = do_create(r, "new", "setup: create");
		if (r->file)
			do_write(r, r->file, 0, 3 * BLOCK, "setup: write");
		if (r->file)
			do_write(r, r->file, 3 * BLOCK, BLOCK, "setup: write");
		break;
	case KIND_RENAMED:
		do_rename(r, "base", "d/moved", 0, "setup: rename");
		break;
	case KIND_REGROWN:
		do_truncate(r, r->file, BLOCK + 700, "setup: cut");
		do_write(r, r->file, 3 * BLOCK, BLOCK, "setup: write");
		break;
	}
	if (r->rc < 0)
		return;
	r->target = overlay_file_id(r->file);
	overlay_ref(r->file);
	if (r->w->setup_synced) {
		do_sync(r, NULL, true);
		core_drain(&r->core);
	}
}

static void run_all(struct runner *r)
{
	r->result->from = r->w->from_start ? 0 : r->result->trace.count;
	setup(r);
	if (r->w->setup_synced)
		r->result->from = r->result->trace.count;
	for (unsigned i = 0; i < 2 && r->rc == 0 && r->w->ops[i] != OP_NONE; i++) {
		if (!possible(r, r->w->ops[i])) {
			r->result->skipped = true;
			break;
		}
		run_op(r, r->w->ops[i]);
		if (r->rc == 0)
			run_sync(r, r->w->syncs[i]);
	}
	if (r->overlapped.runner && !r->overlapped.done && !core_run(&r->core, &r->overlapped.done))
		note(r, -ETIMEDOUT);
	core_drain(&r->core);
}

/* As at unmount. */
static void close_all(struct runner *r)
{
	if (r->file)
		overlay_unref(r->core.ov, r->file);
	r->file = NULL;
	if (r->w->close)
		do_sync(r, NULL, true);
	else
		(void)core_sync(&r->core, NULL, true); /* nobody listens any more */
	core_drain(&r->core);
	core_close(&r->core);
}

int workload_run(const struct workload *w, struct layer_chain *chain, const char *diff_path,
		 struct workload_result *ret)
{
	struct core_options options = {.kind = IO_KIND_SYNC,
				       .shuffle_seed = w->shuffle_seed,
				       .journal_limit = w->journal_limit,
				       .slots = 16,
				       .buffer_bytes = 3 * (size_t)BUFPOOL_LARGE,
				       .index_memory = 1u << 20};
	struct runner *r = calloc(1, sizeof(*r));
	struct sim *sim = sim_new();
	struct errmsg e = {0};
	int rc;

	if (!r)
		abort();
	*ret = (struct workload_result){0};
	oracle_init(&ret->oracle);
	r->w = w;
	r->result = ret;
	r->o = &ret->oracle;
	rc = core_new(&r->core, &options, &e);
	if (rc == 0) {
		record_start(diff_path, sim, &ret->trace);
		rc = core_open(&r->core, chain, diff_path, &e);
		if (rc == 0)
			run_all(r);
		if (!w->close)
			record_stop();
		if (rc == 0)
			close_all(r);
		record_stop();
	}
	if (rc < 0)
		(void)fprintf(stderr, "crash: %s\n", errmsg_text(&e, rc));
	note(r, rc);
	core_free(&r->core);
	rc = r->rc;
	sim_free(sim);
	free(r);
	return rc;
}

void workload_result_free(struct workload_result *r)
{
	trace_cut(&r->trace, 0);
	oracle_free(&r->oracle);
}
