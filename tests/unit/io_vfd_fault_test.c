/*
 * tests/unit/io_vfd_fault_test.c: system calls fail at random: every operation still ends, with the
 * right content or the right error, and each failed fdatasync is remembered by exactly one file.
 */
#include "io_vfd_util.h"

#include <errno.h>
#include <string.h>

enum { FILES = 40, SLOTS = 4, FILE_SIZE = 4096, OPS = 10000 };

struct victim {
	struct vfd_op op;
	struct iovec iov;
	struct vfd *vfd;
	unsigned char buf[FILE_SIZE];
	int value, writing; /* the byte the file is full of, if not empty; the one being written */
	bool busy;
};

static struct victim victims[FILES];
static unsigned long long rnd;
static unsigned failed_ops, remembered, succeeded;

static atomic_ullong hook_random;
static atomic_uint failed_syncs, failed_calls;

static int fail_at_random(void *ctx, const struct sys_event *event)
{
	static const int errors[] = {-EIO, -ENOSPC, -EINTR, -ENOMEM, -EDQUOT};
	unsigned long long state = atomic_fetch_add(&hook_random, 0x9e3779b97f4a7c15u);
	unsigned pick;

	state = (state ^ state >> 31) * 0xbf58476d1ce4e5b9u;
	pick = unit_random(&state) % 400;
	if (pick >= 20 ||
	    event->call == SYS_CALL_CLOSE) /* a close that does not run leaves a descriptor */
		return 0;
	atomic_fetch_add(&failed_calls, 1);
	if (event->call == SYS_CALL_FDATASYNC)
		atomic_fetch_add(&failed_syncs, 1);
	if (event->call == SYS_CALL_OPEN && pick < 10)
		return -EMFILE;
	return errors[pick % 5];
}

static void fresh_vfd(struct victim *v)
{
	char name[16];

	snprintf(name, sizeof(name), "v%u", (unsigned)(v - victims));
	v->vfd = file(name, O_RDWR | O_CREAT);
}

static bool is_injected(int64_t rc)
{
	return rc == -EIO || rc == -ENOSPC || rc == -EINTR || rc == -ENOMEM || rc == -EDQUOT;
}

static void check_read(const struct victim *v)
{
	MUST(v->op.io.result == FILE_SIZE || v->op.io.result == 0);
	for (int64_t i = 0; i < v->op.io.result; i++)
		MUST(v->buf[i] == v->value);
}

static void victim_done(struct vfd_op *op)
{
	struct victim *v = (struct victim *)(void *)op;
	int64_t rc = op->io.result;

	v->busy = false;
	if (rc < 0) {
		MUST(is_injected(rc));
		failed_ops++;
		return; /* what fails before it runs changes nothing */
	}
	succeeded++;
	if (op->io.code == IO_WRITE)
		v->value = v->writing;
	else if (op->io.code == IO_READ)
		check_read(v);
	else
		MUST(vfd_error(v->vfd) == 0);
}

static void random_op(void)
{
	struct victim *v = &victims[unit_random(&rnd) % FILES];
	unsigned pick = unit_random(&rnd) % 8;

	while (v->busy)
		io_wait(engine, -1);
	if (vfd_error(v->vfd) < 0 && unit_random(&rnd) % 4 == 0) {
		remembered++;
		vfd_free(v->vfd);
		fresh_vfd(v);
	}
	v->iov = (struct iovec){.iov_base = v->buf, .iov_len = FILE_SIZE};
	v->op = (struct vfd_op){.io = {.code = pick < 4	  ? IO_WRITE
					       : pick < 7 ? IO_READ
							  : IO_FDATASYNC,
				       .iov = &v->iov,
				       .iovcnt = 1},
				.vfd = v->vfd,
				.done = victim_done};
	v->writing = (int)(unit_random(&rnd) % 256);
	if (pick < 4)
		memset(v->buf, v->writing, FILE_SIZE);
	v->busy = true;
	vfd_submit(&v->op);
}

START_TEST(calls_fail_at_random)
{
	struct sys_hook hook = {.before = fail_at_random};
	unsigned base;

	if (!start(_i < ENGINE_COUNT ? _i : ENGINE_URING, SLOTS))
		return;
	rnd = test_seed("fault", _i);
	base = count_descriptors();
	atomic_store(&hook_random, rnd);
	for (unsigned i = 0; i < FILES; i++)
		fresh_vfd(&victims[i]);
	ring_meddle = _i == ENGINE_COUNT ? rnd : 0;
	sys_set_hook(&hook);
	for (unsigned n = 0; n < OPS; n++) {
		random_op();
		if (unit_random(&rnd) % 8 == 0)
			io_reap(engine);
		if (n % 64 == 0)
			MUST(count_descriptors() <= base + SLOTS);
	}
	engine_drain(engine);
	ck_assert_uint_le(stats().used, SLOTS);
	/* A dirty file that is freed is not synced, so nothing is missing from the count. */
	for (unsigned i = 0; i < FILES; i++) {
		remembered += vfd_error(victims[i].vfd) < 0;
		vfd_free(victims[i].vfd);
	}
	engine_drain(engine);
	ck_assert_uint_eq(remembered, atomic_load(&failed_syncs));
	ck_assert_uint_gt(remembered, 10);
	ck_assert_uint_eq(succeeded + failed_ops, OPS);
	ck_assert_uint_gt(succeeded, failed_ops);
	ck_assert_uint_eq(stats().used, 0);
	ck_assert_uint_eq(count_descriptors(), base);
	printf("fault: %u calls failed, %u operations, %u files remember a failed sync\n",
	       atomic_load(&failed_calls), failed_ops, remembered);
	ring_meddle = 0;
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_vfd_fault");
	TCase *tc = tcase_create("vfd");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_loop_test(tc, calls_fail_at_random, 0, ENGINE_COUNT + 1);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
