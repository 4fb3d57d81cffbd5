/*
 * tests/unit/diff_random_test.c: many operations in flight at once, on every engine, with kills and
 * clean ends between.
 *
 * A block's content names file, block and version, so that whatever is read back can be judged:
 * never another block's, never a mixture, and after a kill never older than what an fsync has
 * acknowledged. The caller's part is kept: writes in flight on one file do not overlap, and
 * everything else but fsync waits for them.
 *
 * PGOVERLAY_TEST_SEED replaces the seed.
 */
#include "diff_util.h"

#include <time.h>

enum { FILES = 12, BLOCKS = 80, FLIGHTS = 24, STEPS = 4000, MOUNTS = 6 };

struct block {
	uint32_t version, acked; /* counts what was done to it; what an fsync has covered */
	uint32_t last[3];	 /* the newest version with each state */
	bool busy;
};

struct file {
	uint64_t id; /* 0: does not exist */
	char name[8];
	struct diff_file *record;
	struct block blocks[BLOCKS];
	unsigned writes, syncs; /* in flight */
};

struct flight {
	enum { IDLE, WRITE, SYNC } kind;
	struct file *file;
	struct diff_write write;
	struct diff_sync sync;
	struct iovec iov;
	uint32_t *data;
	uint32_t first, count;
	bool covers[FILES];
	uint32_t covered[FILES][BLOCKS];
};

static struct file files[FILES];
static struct flight flights[FLIGHTS];
static unsigned long long rnd;
static unsigned in_flight;

static uint32_t below(uint32_t n)
{
	return unit_random(&rnd) % n;
}

static void wait_some(void)
{
	MUST(io_wait(env.io, 20000) > 0);
}

static void wait_all(void)
{
	while (in_flight > 0)
		wait_some();
}

static struct flight *take_flight(void)
{
	for (;;) {
		for (unsigned i = 0; i < FLIGHTS; i++)
			if (flights[i].kind == IDLE)
				return &flights[i];
		wait_some();
	}
}

static void changed(struct file *f, uint32_t block, enum block_state state)
{
	struct block *b = &f->blocks[block];

	b->version++;
	b->last[state] = b->version;
}

/* ---- operations ---- */

static uint32_t tag_of(const struct file *f, uint32_t block, uint32_t version)
{
	return (uint32_t)(f->id * 2654435761u) ^ block << 20 ^ version;
}

static void written(struct diff_write *op)
{
	struct flight *fl = CONTAINER_OF(op, struct flight, write);

	MUST(op->result == 0);
	for (uint32_t i = 0; i < fl->count; i++)
		fl->file->blocks[fl->first + i].busy = false;
	fl->file->writes--;
	fl->kind = IDLE;
	in_flight--;
}

static void start_write(struct file *f)
{
	struct flight *fl = take_flight();
	uint32_t first = below(BLOCKS), count = 1 + below(below(4) ? 3 : 20);

	count = MIN(count, BLOCKS - first);
	for (uint32_t i = first; i < first + count; i++)
		if (f->blocks[i].busy)
			return;
	fl->data = realloc(fl->data, (size_t)count * DIFF_BLCKSZ);
	fl->first = first;
	fl->count = count;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t tag;

		changed(f, first + i, BLOCK_DATA);
		f->blocks[first + i].busy = true;
		tag = tag_of(f, first + i, f->blocks[first + i].version);
		for (uint32_t k = 0; k < DIFF_BLCKSZ / 4; k++)
			fl->data[i * (DIFF_BLCKSZ / 4) + k] = tag;
	}
	fl->kind = WRITE;
	fl->file = f;
	fl->iov = (struct iovec){.iov_base = fl->data, .iov_len = (size_t)count * DIFF_BLCKSZ};
	fl->write = (struct diff_write){.file = f->record,
					.iov = &fl->iov,
					.iovcnt = 1,
					.off = (uint64_t)first * DIFF_BLCKSZ,
					.len = (uint64_t)count * DIFF_BLCKSZ,
					.size = (uint64_t)(first + count) * DIFF_BLCKSZ,
					.done = written};
	f->writes++;
	in_flight++;
	diff_write(env.diff, &fl->write);
}

static void synced(struct diff_sync *op)
{
	struct flight *fl = CONTAINER_OF(op, struct flight, sync);

	MUST(op->result == 0);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &files[i];

		if (!fl->covers[i])
			continue;
		f->syncs--;
		for (uint32_t b = 0; b < BLOCKS; b++)
			f->blocks[b].acked = MAX(f->blocks[b].acked, fl->covered[i][b]);
	}
	fl->kind = IDLE;
	in_flight--;
}

/* Covers what is complete now; of a block being written, the version before. */
static void start_sync(struct file *f, bool all)
{
	struct flight *fl = take_flight();

	fl->kind = SYNC;
	fl->file = f;
	fl->sync = (struct diff_sync){.file = f ? f->record : NULL, .all = all, .done = synced};
	for (unsigned i = 0; i < FILES; i++) {
		fl->covers[i] = files[i].id && (&files[i] == f || all);
		if (!fl->covers[i])
			continue;
		files[i].syncs++;
		for (uint32_t b = 0; b < BLOCKS; b++)
			fl->covered[i][b] =
				files[i].blocks[b].busy ? 0 : files[i].blocks[b].version;
	}
	in_flight++;
	diff_sync(env.diff, &fl->sync);
}

static void wait_file(struct file *f, bool syncs)
{
	while (f->writes > 0 || (syncs && f->syncs > 0))
		wait_some();
}

static void truncate_some(struct file *f)
{
	uint32_t blocks = below(BLOCKS + 1);

	wait_file(f, false);
	MUST(env_truncate(f->name,
			  (uint64_t)blocks * DIFF_BLCKSZ - (blocks ? below(2) * 100 : 0)) == 0);
	for (uint32_t i = blocks; i < BLOCKS; i++)
		changed(f, i, BLOCK_ABSENT);
}

static void zero_some(struct file *f)
{
	uint32_t first = below(BLOCKS), count = 1 + below(30);

	count = MIN(count, BLOCKS - first);
	wait_file(f, false);
	MUST(env_zero(f->name, first, count) == 0);
	for (uint32_t i = first; i < first + count; i++)
		changed(f, i, BLOCK_ZERO);
}

static void make(struct file *f)
{
	MUST(env_create(f->name) == 0);
	f->id = env_id(f->name);
	memset(f->blocks, 0, sizeof(f->blocks));
	f->record = env_file(f->name);
}

static void discard(struct file *f)
{
	wait_file(f, true);
	MUST(env_unlink(f->name) == 0);
	f->id = 0;
}

static void move(struct file *f, struct file *f2)
{
	if (f == f2)
		return;
	wait_file(f, true);
	wait_file(f2, true);
	MUST(env_rename(f->name, f2->name) == 0);
	f2->id = f->id;
	f2->record = f->record;
	memcpy(f2->blocks, f->blocks, sizeof(f->blocks));
	f->id = 0;
}

static void step(void)
{
	struct file *f = &files[below(FILES)];
	uint32_t what = below(1000);

	if (!f->id)
		make(f);
	else if (what < 600)
		start_write(f);
	else if (what < 850)
		start_sync(f, false);
	else if (what < 860)
		start_sync(NULL, below(2));
	else if (what < 900)
		truncate_some(f);
	else if (what < 950)
		zero_some(f);
	else if (what < 960)
		discard(f);
	else if (what < 970)
		move(f, &files[below(FILES)]);
	else
		(void)io_reap(env.io);
}

/* ---- verdict ---- */

static void read_done(struct vfd_op *op)
{
	op->vfd = NULL;
}

static uint32_t read_tag(struct file *f, uint32_t block)
{
	static uint32_t data[DIFF_BLCKSZ / 4];
	struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
	struct vfd_op op = {.vfd = diff_file_vfd(f->record), .done = read_done};

	MUST(op.vfd);
	op.io = (struct io_op){
		.code = IO_READ, .off = (uint64_t)block * DIFF_BLCKSZ, .iov = &iov, .iovcnt = 1};
	vfd_submit(&op);
	while (op.vfd)
		wait_some();
	MUST(op.io.result == (int64_t)sizeof(data));
	for (unsigned i = 1; i < ARRAY_SIZE(data); i++)
		MUST(data[i] == data[0]);
	return data[0];
}

static void check_block(struct file *f, uint32_t block, bool exact)
{
	struct block *b = &f->blocks[block];
	uint32_t n, low = exact ? b->version : b->acked, tag;
	enum block_state state = diff_file_run(f->record, block, 1, &n);

	if (state != BLOCK_DATA) {
		MUST(b->last[state] >= low || (state == BLOCK_ABSENT && low == 0));
		return;
	}
	tag = read_tag(f, block);
	for (uint32_t v = low; v <= b->version; v++)
		if (tag == tag_of(f, block, v) && v > 0)
			return;
	ck_abort_msg("%s block %u holds %08x, versions %u to %u, acknowledged %u", f->name, block,
		     tag, low, b->version, b->acked);
}

static void check(bool exact)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &files[i];

		for (uint32_t b = 0; b < BLOCKS && f->id; b++)
			check_block(f, b, exact);
	}
}

/* What a kill has left is the truth from now on. */
static void adopt(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &files[i];
		uint64_t id = env_id(f->name);

		if (id != f->id) { /* a name that no commit had reached: another file, or none */
			f->id = 0;
			if (id)
				MUST(env_unlink(f->name) == 0);
			continue;
		}
		if (f->id)
			f->record = env_file(f->name);
	}
	check(false);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &files[i];

		for (uint32_t b = 0; b < BLOCKS && f->id; b++) {
			uint32_t n;
			enum block_state state = diff_file_run(f->record, b, 1, &n);

			if (state != BLOCK_DATA)
				changed(f, b, state);
			else
				while (read_tag(f, b) != tag_of(f, b, f->blocks[b].version))
					f->blocks[b].version--;
			f->blocks[b].acked = 0;
		}
	}
}

static void run(const struct io_engine_options *engine, uint64_t limit)
{
	const char *text = getenv("PGOVERLAY_TEST_SEED");

	rnd = text ? strtoull(text, NULL, 10) : (unsigned long long)time(NULL);
	fprintf(stderr, "diff_random: seed %llu\n", rnd);
	env.engine = *engine;
	env.options.journal_limit = limit;
	env.slots = 5;
	memset(files, 0, sizeof(files));
	for (unsigned i = 0; i < FILES; i++)
		snprintf(files[i].name, sizeof(files[i].name), "f%u", i);
	for (unsigned mount = 0; mount < MOUNTS; mount++) {
		bool killed = below(2);
		struct diff_stats st;

		env_open();
		adopt();
		for (unsigned i = 0; i < STEPS; i++)
			step();
		wait_all();
		check(true);
		if (killed) {
			env_kill();
			continue;
		}
		ck_assert_int_eq(env_sync("*"), 0);
		env_drain();
		diff_get_stats(env.diff, &st);
		ck_assert_uint_eq(st.pending_bytes, 0);
		env_close();
		env_open();
		ck_assert_str_eq(diff_recovery_note(env.diff), "");
		for (unsigned i = 0; i < FILES; i++)
			if (files[i].id)
				files[i].record = env_file(files[i].name);
		check(true);
		env_close();
	}
	for (unsigned i = 0; i < FLIGHTS; i++)
		free(flights[i].data);
	memset(flights, 0, sizeof(flights));
}

START_TEST(in_order)
{
	run(&(struct io_engine_options){.kind = IO_KIND_SYNC}, 0);
}
END_TEST

START_TEST(shuffled)
{
	run(&(struct io_engine_options){.kind = IO_KIND_SYNC,
					.shuffle_seed = 1 + (uint64_t)time(NULL)},
	    _i ? 8192 : 0);
}
END_TEST

START_TEST(on_threads)
{
	sys_set_hook(NULL); /* it counts without locks */
	run(&(struct io_engine_options){.kind = IO_KIND_THREADS, .threads = 4}, 8192);
}
END_TEST

START_TEST(on_the_ring)
{
	struct io_engine *probe;

	sys_set_hook(NULL);
	if (io_engine_new(&(struct io_engine_options){.kind = IO_KIND_URING}, NULL, &probe) < 0) {
		fprintf(stderr, "skipped: no io_uring\n");
		return;
	}
	io_engine_free(probe);
	run(&(struct io_engine_options){.kind = IO_KIND_URING}, 8192);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_random");
	TCase *tcase = tcase_create("random");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, in_order);
	tcase_add_loop_test(tcase, shuffled, 0, 2);
	tcase_add_test(tcase, on_threads);
	tcase_add_test(tcase, on_the_ring);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
