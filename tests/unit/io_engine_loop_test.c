/*
 * tests/unit/io_engine_loop_test.c: what is resumed, when `done` is called, what the descriptor
 * announces, and which engine is chosen.
 */
#include "io_util.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { SCRIPT_OPS = 24 };

static struct io_engine *engine;
static struct probe probe;
static struct io_op script[SCRIPT_OPS];
static struct iovec script_iov[SCRIPT_OPS];
static char script_buf[SCRIPT_OPS][64];
static unsigned done_count;
static unsigned long long rnd;

static int64_t a_job(struct io_op *op)
{
	return (int64_t)op->off * 3;
}

static void note_done(struct io_op *op)
{
	done_count++;
}

/* Pipes give short counts and, when non-blocking, EAGAIN; only the ring ignores the offset of a
 * pipe. */
START_TEST(the_ring_resumes_short_counts)
{
	char in[300], out[300];
	struct iovec iov[4] = {{in, 100}, {in + 100, 0}, {in + 100, 50}, {in + 150, 150}};
	struct io_op op = {.code = IO_READ, .iov = iov, .iovcnt = 4, .done = note_done};
	int p[2];

	engine = engine_start(ENGINE_URING);
	if (!engine)
		return;
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7);
	for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
		iov[0] = (struct iovec){in, 100};
		iov[1] = (struct iovec){in + 100, 0};
		iov[2] = (struct iovec){in + 100, 50};
		iov[3] = (struct iovec){in + 150, 150};
		done_count = 0;
		memset(in, 0, sizeof(in));
		ck_assert_int_eq(pipe2(p, O_CLOEXEC | flags), 0);
		op.fd = p[0];
		op.iov = iov;
		io_submit(engine, &op);
		io_wait(engine, 10);
		for (unsigned at = 0; at < 300; at += 30) {
			ck_assert_uint_eq(done_count, 0);
			ck_assert_int_eq(write(p[1], out + at, 30), 30);
			io_wait(engine, 10);
		}
		while (!io_idle(engine))
			io_wait(engine, 1000);
		ck_assert_int_eq(op.result, 300);
		ck_assert_int_eq(memcmp(in, out, 300), 0);
		close(p[0]);
		close(p[1]);
	}
	io_engine_free(engine);
}
END_TEST

START_TEST(the_ring_resumes_writes)
{
	enum { LEN = 200000 };
	char *out = malloc(LEN), *in = malloc(LEN);
	struct iovec iov[2] = {{out, 70000}, {out + 70000, LEN - 70000}};
	struct io_op op = {.code = IO_WRITE, .iov = iov, .iovcnt = 2, .done = note_done};
	size_t at = 0;
	int p[2];

	engine = engine_start(ENGINE_URING);
	if (!engine)
		return;
	rnd = 5;
	for (unsigned i = 0; i < LEN; i++)
		out[i] = (char)unit_random(&rnd);
	ck_assert_int_eq(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	op.fd = p[1];
	done_count = 0;
	io_submit(engine, &op);
	while (at < LEN) {
		ssize_t n;

		io_wait(engine, 1);
		n = read(p[0], in + at, LEN - at);
		if (n > 0)
			at += (size_t)n;
	}
	engine_drain(engine);
	ck_assert_int_eq(op.result, LEN);
	ck_assert_uint_eq(done_count, 1);
	ck_assert_int_eq(memcmp(in, out, LEN), 0);
	close(p[0]);
	close(p[1]);
	free(in);
	free(out);
	io_engine_free(engine);
}
END_TEST

/* ---- when things are called ---- */

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static pthread_t job_thread;
static sigset_t job_mask;

static int64_t job_notes_thread(struct io_op *op)
{
	job_thread = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &job_mask);
	return -ETIMEDOUT;
}

START_TEST(jobs_run_where_they_should)
{
	struct io_op op = {.code = IO_JOB, .job = job_notes_thread};
	sigset_t mine;

	engine = engine_start(_i);
	if (!engine)
		return;
	ck_assert_int_eq(engine_do(engine, &op), -ETIMEDOUT);
	if (_i == ENGINE_SYNC || _i == ENGINE_SHUFFLED) {
		ck_assert(pthread_equal(job_thread, pthread_self()));
	} else {
		ck_assert(!pthread_equal(job_thread, pthread_self()));
		ck_assert(sigismember(&job_mask, SIGTERM) && sigismember(&job_mask, SIGUSR1));
	}
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	ck_assert(!sigismember(&mine, SIGTERM));
	io_engine_free(engine);
}
END_TEST

static struct io_op chain_op;
static unsigned chain_left;

static void chain_done(struct io_op *op)
{
	if (chain_left-- > 0) {
		io_submit(engine, op);
		io_flush(engine);
	}
}

START_TEST(done_may_submit)
{
	int fd;

	engine = engine_start(_i);
	if (!engine)
		return;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	probe_install(&probe);
	for (unsigned fails = 0; fails < 2; fails++) {
		probe_fail(&probe, SYS_CALL_FALLOCATE, fails, 0, -EIO);
		chain_left = 200;
		chain_op = (struct io_op){
			.code = IO_FALLOCATE, .fd = fd, .len = 4096, .done = chain_done};
		io_submit(engine, &chain_op);
		/* One batch at a time: a callback that keeps submitting does not hold the loop. */
		ck_assert_uint_le(io_wait(engine, -1), 1);
		engine_drain(engine);
		ck_assert_uint_eq(chain_left, UINT32_MAX);
		ck_assert_int_eq(chain_op.result, fails ? -EIO : 0);
	}
	probe_remove();
	close(fd);
	io_engine_free(engine);
}
END_TEST

static atomic_bool release;

static int64_t job_waits(struct io_op *op)
{
	while (!atomic_load(&release))
		usleep(1000);
	return 7;
}

START_TEST(polling_and_waiting)
{
	struct io_op op = {.code = IO_JOB, .job = job_waits, .done = note_done};
	bool threads = _i == ENGINE_THREADS || _i == ENGINE_URING;

	engine = engine_start(_i);
	if (!engine)
		return;
	ck_assert(io_idle(engine));
	ck_assert_uint_eq(io_wait(engine, -1), 0); /* nothing to wait for */
	ck_assert_uint_eq(io_reap(engine), 0);
	ck_assert(!is_readable(io_poll_fd(engine)));

	atomic_store(&release, !threads);
	done_count = 0;
	io_submit(engine, &op);
	ck_assert(!io_idle(engine));
	ck_assert_uint_eq(done_count, 0);
	io_flush(engine);
	if (threads) {
		ck_assert(!is_readable(io_poll_fd(engine)));
		ck_assert_uint_eq(io_wait(engine, 20), 0);
		atomic_store(&release, true);
		for (int i = 0; i < 5000 && !is_readable(io_poll_fd(engine)); i++)
			usleep(1000);
	}
	ck_assert(is_readable(io_poll_fd(engine)));
	while (io_reap(engine) == 0) /* the shuffled engine takes its time */
		ck_assert(is_readable(io_poll_fd(engine)));
	ck_assert_uint_eq(done_count, 1);
	ck_assert_int_eq(op.result, 7);
	ck_assert(io_idle(engine));
	io_reap(engine);
	ck_assert(!is_readable(io_poll_fd(engine)));
	io_engine_free(engine);
}
END_TEST

/* The event loop's way: poll, reap, never wait. Nothing may be left behind unannounced. */
START_TEST(the_descriptor_announces_everything)
{
	struct pollfd p = {.events = POLLIN};
	int fd;

	engine = engine_start_with(_i, &(struct io_engine_options){.depth = 3});
	if (!engine)
		return;
	fd = openat(unit_dir, "f", O_RDWR | O_CREAT, 0600);
	p.fd = io_poll_fd(engine);
	probe_install(&probe);
	for (unsigned round = 0; round < 300; round++) {
		probe_fail(&probe, SYS_CALL_MAX_, 1 + round % 30, 1 + round % 5, -EIO);
		done_count = 0;
		for (unsigned i = 0; i < SCRIPT_OPS; i++) {
			script_iov[i] = (struct iovec){.iov_base = script_buf[i], .iov_len = 64};
			script[i] = (struct io_op){.code = i % 3 == 0	? IO_JOB
							   : i % 3 == 1 ? IO_READ
									: IO_WRITE,
						   .fd = fd,
						   .iov = &script_iov[i],
						   .iovcnt = 1,
						   .off = i * 64,
						   .job = a_job,
						   .done = note_done};
			io_submit(engine, &script[i]);
		}
		io_flush(engine);
		while (!io_idle(engine)) {
			ck_assert_int_eq(poll(&p, 1, 10000), 1);
			io_reap(engine);
		}
		ck_assert_uint_eq(done_count, SCRIPT_OPS);
	}
	probe_remove();
	close(fd);
	io_engine_free(engine);
}
END_TEST

static unsigned order[SCRIPT_OPS];

static void note_order(struct io_op *op)
{
	order[done_count++] = (unsigned)(op - script);
}

static uint64_t order_of_seed(uint64_t seed)
{
	uint64_t hash = 0;
	unsigned late = 0;

	engine = engine_start_with(ENGINE_SHUFFLED,
				   &(struct io_engine_options){.shuffle_seed = seed});
	done_count = 0;
	for (unsigned i = 0; i < SCRIPT_OPS; i++) {
		script[i] = (struct io_op){.code = IO_JOB, .job = a_job, .done = note_order};
		io_submit(engine, &script[i]);
	}
	while (!io_idle(engine)) {
		late += io_reap(engine) == 0;
		io_wait(engine, 0);
	}
	for (unsigned i = 0; i < SCRIPT_OPS; i++)
		hash = hash * 31 + order[i];
	io_engine_free(engine);
	return hash * 31 + late;
}

START_TEST(shuffling_is_deterministic)
{
	unsigned same = 0;
	uint64_t first = order_of_seed(1);

	ck_assert_uint_eq(first, order_of_seed(1));
	for (uint64_t seed = 2; seed < 20; seed++)
		same += order_of_seed(seed) == first;
	ck_assert_uint_eq(same, 0);
}
END_TEST

/* ---- choosing an engine ---- */

static void forbid(unsigned call)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

START_TEST(auto_falls_back_to_threads)
{
	static const unsigned calls[] = {SYS_io_uring_setup, SYS_io_uring_enter,
					 SYS_io_uring_register};
	struct io_engine_options options = {.kind = IO_KIND_URING};
	struct io_op op = {.code = IO_JOB, .job = a_job, .off = 5};
	struct errmsg e = {{0}};
	unsigned before = count_descriptors();

	forbid(calls[_i]);
	ck_assert_int_lt(io_engine_new(&options, &e, &engine), 0);
	ck_assert_ptr_nonnull(strstr(e.text, "io_uring"));
	options.kind = IO_KIND_AUTO;
	ck_assert_int_eq(io_engine_new(&options, &e, &engine), 0);
	ck_assert_str_eq(io_engine_name(engine), "threads");
	ck_assert_int_eq(engine_do(engine, &op), 15);
	io_engine_free(engine);
	ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

START_TEST(names_and_failures_to_start)
{
	static const char *const names[] = {"sync", "sync", "threads", "uring"};
	struct io_engine_options options = {.kind = IO_KIND_AUTO};
	struct rlimit old, none;
	struct errmsg e = {{0}};

	engine = engine_start(_i);
	if (!engine)
		return;
	ck_assert_str_eq(io_engine_name(engine), names[_i]);
	io_engine_free(engine);
	io_engine_free(NULL);
	if (_i == ENGINE_URING) {
		ck_assert_int_eq(io_engine_new(&options, NULL, &engine), 0);
		ck_assert_str_eq(io_engine_name(engine), "uring");
		io_engine_free(engine);
	}
	getrlimit(RLIMIT_NOFILE, &old);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	ck_assert_int_eq(io_engine_new(&options, &e, &engine), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	ck_assert_ptr_nonnull(strstr(e.text, "eventfd"));
}
END_TEST

START_TEST(many_starts_leave_nothing)
{
	unsigned before = count_descriptors();

	for (unsigned i = 0; i < 50; i++) {
		engine = engine_start(_i);
		if (!engine)
			return;
		io_engine_free(engine);
	}
	ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_engine_loop");
	TCase *tc = tcase_create("engine");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_test(tc, the_ring_resumes_short_counts);
	tcase_add_test(tc, the_ring_resumes_writes);
	tcase_add_loop_test(tc, jobs_run_where_they_should, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, done_may_submit, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, polling_and_waiting, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, the_descriptor_announces_everything, 0, ENGINE_COUNT);
	tcase_add_test(tc, shuffling_is_deterministic);
	tcase_add_loop_test(tc, auto_falls_back_to_threads, 0, 3);
	tcase_add_loop_test(tc, names_and_failures_to_start, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, many_starts_leave_nothing, 0, ENGINE_COUNT);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
