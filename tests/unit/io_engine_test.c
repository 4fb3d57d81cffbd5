/*
 * tests/unit/io_engine_test.c: every engine does the same, whatever the order of completion, and
 * errors reach the operation.
 */
#include "io_util.h"

#include <errno.h>
#include <linux/falloc.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { MODEL_SIZE = 512 << 10, SLOTS = 24, RANDOM_OPS = 10000, IOVS = 5 };

static struct io_engine *engine;
static struct probe probe;

/* ---- random operations against a model ---- */

struct slot {
	struct io_op op;
	struct iovec iov[IOVS];
	unsigned char *buf, *expected;
	uint64_t from, to;
	int64_t want;
	bool busy, writes;
};

static struct slot slots[SLOTS];
static unsigned char *model;
static uint64_t model_size;
static unsigned running;
static unsigned long long rnd;

static uint64_t random_below(uint64_t n)
{
	return n ? unit_random(&rnd) % n : 0;
}

static void slot_done(struct io_op *op)
{
	struct slot *s = (struct slot *)(void *)((char *)op - offsetof(struct slot, op));

	MUST(s->busy);
	MUST(op->result == s->want);
	MUST(op->code != IO_READ || memcmp(s->buf, s->expected, (size_t)s->want) == 0);
	s->busy = false;
	running--;
}

static bool conflicts(uint64_t from, uint64_t to, bool writes)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].busy && (writes || slots[i].writes) && slots[i].from < to &&
		    from < slots[i].to)
			return true;
	return false;
}

/* Cuts the buffer into some vectors, empty ones among them. */
static void fill_iov(struct slot *s, uint64_t len)
{
	unsigned n = 1 + (unsigned)random_below(IOVS);
	uint64_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t part = i + 1 == n ? len - at : random_below(len - at + 1);

		s->iov[i] = (struct iovec){.iov_base = s->buf + at, .iov_len = part};
		at += part;
	}
	s->op.iov = s->iov;
	s->op.iovcnt = n;
}

static int64_t a_job(struct io_op *op)
{
	return (int64_t)op->off * 3;
}

static void prepare_data(struct slot *s, enum io_code code)
{
	uint64_t len = random_below(32 << 10), off = random_below(MODEL_SIZE - len);

	s->op.off = off;
	s->from = off;
	s->to = off + len;
	s->writes = code != IO_READ;
	/* What depends on the size, or changes it, runs alone with its neighbours up to the end. */
	if (s->to > model_size) {
		s->from = 0;
		s->to = UINT64_MAX;
	}
	while (conflicts(s->from, s->to, s->writes))
		io_wait(engine, -1);
	fill_iov(s, len);
	if (code == IO_READ) {
		s->want = off >= model_size
				  ? 0
				  : (int64_t)(len < model_size - off ? len : model_size - off);
		memcpy(s->expected, model + off, (size_t)s->want);
		memset(s->buf, 0xee, len);
		return;
	}
	s->want = (int64_t)len;
	for (uint64_t i = 0; i < len; i++)
		s->buf[i] = (unsigned char)unit_random(&rnd);
	memcpy(model + off, s->buf, len);
	if (len > 0 && off + len > model_size)
		model_size = off + len;
}

static void prepare_fallocate(struct slot *s)
{
	uint64_t len = 1 + random_below(20000), off = random_below(MODEL_SIZE - len);

	s->op.off = off;
	s->op.len = len;
	s->from = 0;
	s->to = UINT64_MAX;
	s->writes = true;
	s->want = 0;
	while (conflicts(s->from, s->to, true))
		io_wait(engine, -1);
	if (random_below(2)) {
		s->op.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		memset(model + off, 0, len);
	} else {
		s->op.mode = 0;
		if (off + len > model_size)
			model_size = off + len;
	}
}

static struct slot *free_slot(void)
{
	for (;;) {
		unsigned first = (unsigned)random_below(SLOTS);

		for (unsigned i = 0; i < SLOTS; i++)
			if (!slots[(first + i) % SLOTS].busy)
				return &slots[(first + i) % SLOTS];
		io_wait(engine, -1);
	}
}

static void random_op(int fd)
{
	struct slot *s = free_slot();
	unsigned pick = (unsigned)random_below(100);

	memset(&s->op, 0xa5, sizeof(s->op));
	s->op.fd = fd;
	s->op.done = slot_done;
	s->from = s->to = 0;
	s->want = 0;
	s->writes = false;
	if (pick < 45) {
		s->op.code = IO_READ;
		prepare_data(s, IO_READ);
	} else if (pick < 90) {
		s->op.code = IO_WRITE;
		prepare_data(s, IO_WRITE);
	} else if (pick < 92) {
		s->op.code = pick < 91 ? IO_FDATASYNC : IO_FSYNC;
	} else if (pick < 95) {
		s->op.code = IO_FALLOCATE;
		prepare_fallocate(s);
	} else {
		s->op.code = IO_JOB;
		s->op.job = a_job;
		s->op.off = random_below(1000);
		s->want = (int64_t)s->op.off * 3;
	}
	s->busy = true;
	running++;
	io_submit(engine, &s->op);
	MUST(s->busy); /* done is never called from there */
}

START_TEST(random_against_model)
{
	struct io_stats stats;
	uint64_t total = 0;
	int fd;

	/* One case more than engines: a ring that gives short counts and errors that mean "again".
	 */
	ring_is_old = _i == ENGINE_COUNT;
	engine = engine_start_with(_i < ENGINE_COUNT ? _i : ENGINE_URING,
				   &(struct io_engine_options){.depth = 8});
	if (!engine)
		return;
	rnd = test_seed("engine", _i);
	ring_meddle = _i == ENGINE_COUNT ? rnd : 0;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	model = calloc(1, MODEL_SIZE);
	for (unsigned i = 0; i < SLOTS; i++) {
		slots[i].buf = malloc(32 << 10);
		slots[i].expected = malloc(32 << 10);
	}
	for (unsigned n = 0; n < RANDOM_OPS; n++) {
		random_op(fd);
		if (random_below(4) == 0)
			io_reap(engine);
		if (random_below(16) == 0)
			io_flush(engine);
	}
	engine_drain(engine);
	ring_meddle = 0;
	ck_assert_uint_eq(running, 0);
	io_engine_stats(engine, &stats);
	for (unsigned i = 0; i < IO_CODE_MAX_; i++) {
		ck_assert_uint_eq(stats.submitted[i], stats.completed[i]);
		ck_assert_uint_gt(stats.submitted[i], 0);
		total += stats.submitted[i];
	}
	ck_assert_uint_eq(total, RANDOM_OPS);
	ck_assert_uint_eq(stats.in_flight, 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		free(slots[i].buf);
		free(slots[i].expected);
	}
	free(model);
	close(fd);
	io_engine_free(engine);
}
END_TEST

/* ---- the N-th call fails ---- */

enum { SCRIPT_OPS = 24 };

static struct io_op script[SCRIPT_OPS];
static struct iovec script_iov[SCRIPT_OPS];
static char script_buf[SCRIPT_OPS][64];
static unsigned script_done;

static void script_finished(struct io_op *op)
{
	script_done++;
}

static void script_run(int fd)
{
	static const enum io_code codes[] = {IO_WRITE, IO_READ,	     IO_FDATASYNC,
					     IO_FSYNC, IO_FALLOCATE, IO_WRITE};

	script_done = 0;
	for (unsigned i = 0; i < SCRIPT_OPS; i++) {
		script_iov[i] = (struct iovec){.iov_base = script_buf[i], .iov_len = 64};
		script[i] = (struct io_op){.code = codes[i % 6],
					   .fd = fd,
					   .off = i * 64,
					   .len = 64,
					   .iov = &script_iov[i],
					   .iovcnt = 1,
					   .done = script_finished};
		io_submit(engine, &script[i]);
	}
	engine_drain(engine);
	ck_assert_uint_eq(script_done, SCRIPT_OPS);
}

START_TEST(nth_call_fails)
{
	int fd;

	engine = engine_start_with(_i, &(struct io_engine_options){.depth = 4, .threads = 3});
	if (!engine)
		return;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, 65536), 0);
	probe_install(&probe);
	for (unsigned n = 1; n <= SCRIPT_OPS + 1; n++) {
		for (unsigned once = 0; once < 2; once++) {
			unsigned failed = 0, want = once ? 1 : SCRIPT_OPS - n + 1;

			probe_fail(&probe, SYS_CALL_MAX_, n, once, -ENOSPC);
			script_run(fd);
			for (unsigned i = 0; i < SCRIPT_OPS; i++) {
				ck_assert(script[i].result >= 0 || script[i].result == -ENOSPC);
				failed += script[i].result < 0;
			}
			ck_assert_uint_eq(failed, n > SCRIPT_OPS ? 0 : want);
			ck_assert_int_eq(atomic_load(&probe.running), 0);
		}
	}
	probe_remove();
	close(fd);
	io_engine_free(engine);
}
END_TEST

START_TEST(the_hook_sees_every_call_and_depth_bounds_them)
{
	static const enum sys_call calls[] = {SYS_CALL_READ, SYS_CALL_WRITE, SYS_CALL_FSYNC,
					      SYS_CALL_FDATASYNC, SYS_CALL_FALLOCATE};
	int fd;

	engine = engine_start_with(_i, &(struct io_engine_options){.depth = 4, .threads = 4});
	if (!engine)
		return;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	probe_install(&probe);
	script_run(fd);
	for (unsigned i = 0; i < 5; i++) {
		long want = calls[i] == SYS_CALL_WRITE ? SCRIPT_OPS / 3 : SCRIPT_OPS / 6;

		ck_assert_int_eq(atomic_load(&probe.before[calls[i]]), want);
		ck_assert_int_eq(atomic_load(&probe.after[calls[i]]), want);
	}
	ck_assert_int_le(atomic_load(&probe.running_max), 4);
	probe_remove();
	close(fd);
	io_engine_free(engine);
}
END_TEST

/* ---- results ---- */

static int64_t read_at(int fd, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct io_op op = {.code = IO_READ, .fd = fd, .iov = &iov, .iovcnt = 1, .off = off};

	return engine_do(engine, &op);
}

static int64_t write_at(int fd, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct io_op op = {.code = IO_WRITE, .fd = fd, .iov = &iov, .iovcnt = 1, .off = off};

	return engine_do(engine, &op);
}

START_TEST(results)
{
	char buf[100] = "";
	int fd, ro;
	struct io_op op;

	engine = engine_start(_i);
	if (!engine)
		return;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	ro = openat(unit_dir, "f", O_RDONLY);
	ck_assert_int_eq(write_at(fd, buf, 100, 0), 100);
	ck_assert_int_eq(write_at(fd, buf, 0, 50), 0);
	ck_assert_int_eq(read_at(fd, buf, 100, 0), 100);
	ck_assert_int_eq(read_at(fd, buf, 0, 0), 0);
	ck_assert_int_eq(read_at(fd, buf, 100, 60), 40);
	ck_assert_int_eq(read_at(fd, buf, 100, 100), 0);
	ck_assert_int_eq(read_at(fd, buf, 100, 1 << 30), 0);
	ck_assert_int_eq(write_at(ro, buf, 10, 0), -EBADF);
	ck_assert_int_eq(read_at(-1, buf, 10, 0), -EBADF);
	op = (struct io_op){.code = IO_FALLOCATE, .fd = ro, .len = 10};
	ck_assert_int_eq(engine_do(engine, &op), -EBADF);
	op = (struct io_op){.code = IO_FDATASYNC, .fd = -1};
	ck_assert_int_eq(engine_do(engine, &op), -EBADF);
	op = (struct io_op){.code = IO_FSYNC, .fd = ro};
	ck_assert_int_eq(engine_do(engine, &op), 0);
	close(fd);
	close(ro);
	io_engine_free(engine);
}
END_TEST

/* A limit on the size of files makes the kernel write a part and refuse the rest. */
START_TEST(a_short_write_is_resumed)
{
	struct rlimit old, small = {.rlim_cur = 40000, .rlim_max = RLIM_INFINITY};
	char *buf = calloc(1, 65536);
	struct stat st;
	int fd;

	engine = engine_start(_i);
	if (!engine)
		return;
	signal(SIGXFSZ, SIG_IGN);
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	ck_assert_int_eq(write_at(fd, buf, 65536, 0), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &old);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 40000);
	free(buf);
	close(fd);
	io_engine_free(engine);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_engine");
	TCase *tc = tcase_create("engine");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_loop_test(tc, random_against_model, 0, ENGINE_COUNT + 1);
	tcase_add_loop_test(tc, nth_call_fails, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, the_hook_sees_every_call_and_depth_bounds_them, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, results, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_short_write_is_resumed, 0, ENGINE_COUNT);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
