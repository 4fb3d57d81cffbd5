/*
 * tests/unit/io_vfd_test.c: many files on few descriptors: content and the bound, waiting, opening.
 */
#include "io_vfd_util.h"

#include "base/util.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/resource.h>

enum { FILES = 200, SLOTS = 8, FILE_SIZE = 16 << 10, FLIGHTS = 48, RANDOM_OPS = 20000 };

static unsigned long long rnd;

/* ---- random operations ---- */

struct flight {
	struct vfd_op op;
	struct iovec iov[2];
	unsigned char *buf;
	struct model *on;
	int64_t want;
};

struct model {
	struct vfd *vfd;
	unsigned char *bytes;
	uint64_t size;
	unsigned running;
	bool writing, on_disk;
};

static struct model models[FILES];
static struct flight flights[FLIGHTS];
static unsigned done_count;

static uint64_t random_below(uint64_t n)
{
	return n ? unit_random(&rnd) % n : 0;
}

static void flight_done(struct vfd_op *op)
{
	struct flight *f = (struct flight *)(void *)op;
	struct model *m = f->on;

	MUST(op->io.result == f->want);
	if (op->io.code == IO_READ)
		MUST(memcmp(f->buf, m->bytes + op->io.off, (size_t)f->want) == 0);
	m->running--;
	m->writing = false;
	m->on_disk = true;
	f->on = NULL;
	done_count++;
}

static int64_t job_fstat(struct io_op *op)
{
	struct stat st;
	int rc = sys_fstat(op->fd, &st);

	return rc < 0 ? rc : st.st_size;
}

static void fill_write(struct flight *f, struct model *m, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		f->buf[i] = (unsigned char)unit_random(&rnd);
	memcpy(m->bytes + off, f->buf, len);
	if (len > 0 && off + len > m->size)
		m->size = off + len;
	f->want = (int64_t)len;
}

static void set_off(struct flight *f, unsigned char *buf, uint64_t off, uint64_t len)
{
	uint64_t cut = random_below(len + 1);

	f->op.io.off = off;
	f->op.io.len = len;
	f->iov[0] = (struct iovec){.iov_base = buf, .iov_len = cut};
	f->iov[1] = (struct iovec){.iov_base = buf + cut, .iov_len = len - cut};
	f->op.io.iov = f->iov;
	f->op.io.iovcnt = 2;
}

/* Fills in an operation on m that changes it; nothing else runs on it. */
static void prepare_change(struct flight *f, struct model *m)
{
	uint64_t len = 1 + random_below(3000), off = random_below(FILE_SIZE - len);
	unsigned pick = (unsigned)random_below(10);

	set_off(f, f->buf, off, len);
	m->writing = true;
	if (pick < 7) {
		f->op.io.code = IO_WRITE;
		fill_write(f, m, off, len);
	} else if (pick < 8) {
		f->op.io.code = IO_FALLOCATE;
		f->op.io.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		memset(m->bytes + off, 0, len);
		f->want = 0;
	} else if (pick < 9) {
		f->op.io.code = IO_FDATASYNC;
		f->want = 0;
	} else {
		f->op.io.code = IO_JOB;
		f->op.io.job = job_fstat;
		f->want = (int64_t)m->size;
	}
}

static void prepare_read(struct flight *f, struct model *m)
{
	uint64_t len = random_below(3000), off = random_below(FILE_SIZE - len);

	set_off(f, f->buf, off, len);
	f->op.io.code = IO_READ;
	f->want = off >= m->size ? 0 : (int64_t)(len < m->size - off ? len : m->size - off);
}

static void read_now(struct model *m)
{
	unsigned char buf[100];
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
	int64_t n = vfd_read_now(m->vfd, &iov, 1, 10);

	MUST(n == -EAGAIN || n >= 0);
	if (n > 0)
		MUST((uint64_t)n + 10 <= m->size && memcmp(buf, m->bytes + 10, (size_t)n) == 0);
}

static void reopen_model(struct model *m)
{
	char name[32];
	int flags = O_RDWR;

	snprintf(name, sizeof(name), "f%u", (unsigned)(m - models));
	if (!m->on_disk)
		flags |= O_CREAT | O_EXCL;
	m->vfd = file(name, flags);
}

static struct flight *free_flight(void)
{
	for (;;) {
		for (unsigned i = 0; i < FLIGHTS; i++)
			if (!flights[i].on)
				return &flights[i];
		io_wait(engine, -1);
	}
}

static void random_op(void)
{
	struct flight *f = free_flight();
	/* Half of all goes to a few hot files, so that operations on one file overlap. */
	struct model *m = &models[random_below(random_below(2) ? 6 : FILES)];

	if (m->writing)
		return;
	if (m->running == 0 && random_below(40) == 0) {
		vfd_free(m->vfd);
		reopen_model(m);
	}
	if (m->running == 0)
		read_now(m);
	memset(&f->op, 0xa5, sizeof(f->op));
	f->op.vfd = m->vfd;
	f->op.done = flight_done;
	if (m->running == 0 && random_below(2))
		prepare_change(f, m);
	else
		prepare_read(f, m);
	f->on = m;
	m->running++;
	vfd_submit(&f->op);
	MUST(f->on == m); /* done is never called from there */
}

static void random_setup(void)
{
	for (unsigned i = 0; i < FILES; i++) {
		models[i].bytes = calloc(1, FILE_SIZE);
		reopen_model(&models[i]);
	}
	for (unsigned i = 0; i < FLIGHTS; i++)
		flights[i].buf = malloc(FILE_SIZE);
}

static void random_check_and_free(void)
{
	static unsigned char buf[FILE_SIZE + 1];

	for (unsigned i = 0; i < FILES; i++) {
		char name[32];
		int fd;

		vfd_free(models[i].vfd);
		snprintf(name, sizeof(name), "f%u", i);
		fd = openat(unit_dir, name, O_RDONLY);
		if (models[i].on_disk) {
			ck_assert_int_eq(read(fd, buf, sizeof(buf)), (ssize_t)models[i].size);
			ck_assert_int_eq(memcmp(buf, models[i].bytes, models[i].size), 0);
		}
		close(fd);
		free(models[i].bytes);
	}
	for (unsigned i = 0; i < FLIGHTS; i++)
		free(flights[i].buf);
}

START_TEST(random_against_model)
{
	unsigned base, max = 0;
	struct vfd_stats s;

	/* One case more than engines: a ring that gives short counts and errors that mean "again".
	 */
	if (!start(_i < ENGINE_COUNT ? _i : ENGINE_URING, SLOTS))
		return;
	rnd = test_seed("vfd", _i);
	ring_meddle = _i == ENGINE_COUNT ? rnd : 0;
	base = count_descriptors();
	random_setup();
	for (unsigned n = 0; n < RANDOM_OPS; n++) {
		unsigned fds;

		random_op();
		if (random_below(8) == 0)
			io_reap(engine);
		if (n % 64 == 0) {
			fds = count_descriptors();
			max = fds > max ? fds : max;
		}
	}
	engine_drain(engine);
	s = stats();
	ck_assert_uint_eq(s.pinned, 0);
	ck_assert_uint_le(s.used, SLOTS);
	/* An exact count, with those being opened and closed; and what the kernel shows. */
	ck_assert_int_eq(atomic_load(&probe.open_max), SLOTS);
	ck_assert_uint_le(max, base + SLOTS);
	ck_assert_uint_gt(s.close_by_replace, RANDOM_OPS / 8);
	ck_assert_uint_gt(s.open_after_replace, 0);
	random_check_and_free();
	printf("vfd: %u done, %llu replaced, %llu waits, %ld descriptors at most\n", done_count,
	       (unsigned long long)s.close_by_replace, (unsigned long long)s.waits,
	       atomic_load(&probe.open_max));
	stop();
}
END_TEST

/* ---- opening ---- */

static void resubmit_elsewhere(struct vfd_op *op)
{
	op->vfd = NULL;
	done_count++;
}

START_TEST(open_errors_reach_all_that_wait)
{
	struct vfd_op ops[5];
	struct vfd *v, *link;

	if (!start(_i, 2))
		return;
	v = file("missing", O_RDONLY);
	done_count = 0;
	for (unsigned i = 0; i < 5; i++) {
		ops[i] = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
					 .vfd = v,
					 .done = resubmit_elsewhere};
		vfd_submit(&ops[i]);
	}
	ck_assert_uint_eq(done_count, 0);
	engine_drain(engine);
	ck_assert_uint_eq(done_count, 5);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(ops[i].io.result, -ENOENT);
	make("missing");
	expect_text(v, "missing");
	ck_assert_int_eq(symlinkat("missing", unit_dir, "link"), 0);
	link = file("link", O_RDONLY);
	ck_assert_int_eq(do_sync(link), -ELOOP);
	ck_assert_int_eq(do_sync(link), -ELOOP); /* the error of an open does not stick */
	ck_assert_int_eq(vfd_error(link), 0);
	vfd_free(link);
	link = file("../etc/passwd", O_RDONLY);
	ck_assert_int_eq(do_sync(link), -EXDEV);
	to_free = link;
	ops[0] = (struct vfd_op){
		.io = {.code = IO_JOB, .job = job_nothing}, .vfd = link, .done = done_frees};
	vfd_submit(&ops[0]);
	engine_drain(engine);
	ck_assert_ptr_null(ops[0].vfd);
	vfd_free(v);
	stop();
}
END_TEST

START_TEST(reopening_never_creates_or_truncates)
{
	struct vfd *v;

	if (!start(_i, 1))
		return;
	v = file("f", O_RDWR | O_CREAT | O_EXCL | O_TRUNC);
	ck_assert_int_eq(do_write(v, "kept"), 4);
	push_out(2);
	expect_text(v, "kept");
	push_out(2);
	ck_assert_int_eq(unlinkat(unit_dir, "f", 0), 0);
	ck_assert_int_eq(do_write(v, "new"), -ENOENT);
	ck_assert_int_lt(faccessat(unit_dir, "f", F_OK, 0), 0);
	vfd_free(v);
	stop();
}
END_TEST

/* The hook says EMFILE: the cache shrinks, waits, and grows back. */
START_TEST(a_lack_of_descriptors_is_waited_for)
{
	struct vfd *v[40];
	struct vfd_op ops[40];
	char name[8];

	if (!start(_i, 16))
		return;
	for (unsigned round = 0; round < 4; round++) {
		probe_fail(&probe, SYS_CALL_OPEN, 1 + round * 5, 3 + round * 10,
			   round % 2 ? -EMFILE : -ENFILE);
		for (unsigned i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "e%u", i);
			make(name);
			if (round == 0)
				v[i] = file(name, O_RDONLY);
			ops[i] = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
						 .vfd = v[i],
						 .done = finished};
			vfd_submit(&ops[i]);
		}
		engine_drain(engine);
		for (unsigned i = 0; i < 40; i++)
			ck_assert_int_eq(ops[i].io.result, 1);
		for (unsigned i = 0; i < 400; i++) /* the bound has grown back */
			expect_text(v[i % 40], (snprintf(name, sizeof(name), "e%u", i % 40), name));
		ck_assert_uint_eq(stats().used, 16);
	}
	for (unsigned i = 0; i < 40; i++)
		vfd_free(v[i]);
	stop();
}
END_TEST

/* The system really has no more. */
START_TEST(a_real_lack_of_descriptors)
{
	struct rlimit old, few;
	struct vfd *v[100];
	struct vfd_op ops[100];
	char name[8];

	if (!start(_i, 64))
		return;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		make(name);
		v[i] = file(name, O_RDONLY);
	}
	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){.rlim_cur = count_descriptors() + 6, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			ops[i] = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
						 .vfd = v[i],
						 .done = finished};
			vfd_submit(&ops[i]);
		}
		engine_drain(engine);
		for (unsigned i = 0; i < 100; i++)
			ck_assert_int_eq(ops[i].io.result, 1);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	for (unsigned i = 0; i < 100; i++)
		vfd_free(v[i]);
	stop();
}
END_TEST

START_TEST(the_bound_comes_from_the_limit)
{
	struct rlimit limit;
	unsigned open_now;
	int held[100];

	engine = engine_start(ENGINE_SYNC);
	open_now = count_descriptors();
	limit = (struct rlimit){.rlim_cur = 100, .rlim_max = 256};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(vfd_cache_new(engine, 0, &cache), 0);
	ck_assert_uint_eq(stats().slots, 192 - open_now);
	vfd_cache_free(cache);
	getrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_uint_eq(limit.rlim_cur, 256);
	/* A long chain holds two for each of its backups. */
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
		held[i] = dup(0);
	ck_assert_int_eq(vfd_cache_new(engine, 0, &cache), 0);
	ck_assert_uint_eq(stats().slots, 92 - open_now);
	vfd_cache_free(cache);
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
		close(held[i]);
	/* What the test has inherited may lie above the limit, and takes nothing then. */
	limit = (struct rlimit){.rlim_cur = 75 + open_now, .rlim_max = 75 + open_now};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(vfd_cache_new(engine, 0, &cache), -EMFILE);
	vfd_cache_free(NULL);
	vfd_free(NULL);
	io_engine_free(engine);
}
END_TEST

START_TEST(statistics)
{
	struct vfd_stats s;
	struct vfd *v;

	if (!start(_i, 1))
		return;
	v = file("f", O_RDWR | O_CREAT);
	ck_assert_int_eq(do_write(v, "1"), 1);
	expect_text(v, "1");
	ck_assert_int_eq(do_sync(v), 0);
	push_out(1);
	expect_text(v, "1");
	vfd_free(v);
	engine_drain(engine);
	s = stats();
	ck_assert_uint_eq(s.open, 2);
	ck_assert_uint_eq(s.open_after_replace, 1);
	ck_assert_uint_eq(s.close, 2);
	ck_assert_uint_eq(s.close_by_replace, 1);
	ck_assert_uint_eq(s.write, 1);
	ck_assert_uint_eq(s.read, 2);
	ck_assert_uint_eq(s.fsync, 1);
	ck_assert(s.open_ns && s.open_after_replace_ns && s.close_ns && s.close_by_replace_ns);
	ck_assert(s.read_ns && s.write_ns && s.fsync_ns);
	ck_assert_uint_eq(s.used, 0);
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_vfd");
	TCase *tc = tcase_create("vfd");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_loop_test(tc, random_against_model, 0, ENGINE_COUNT + 1);
	tcase_add_loop_test(tc, open_errors_reach_all_that_wait, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, reopening_never_creates_or_truncates, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_lack_of_descriptors_is_waited_for, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_real_lack_of_descriptors, 0, ENGINE_COUNT);
	tcase_add_test(tc, the_bound_comes_from_the_limit);
	tcase_add_loop_test(tc, statistics, 0, ENGINE_COUNT);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
