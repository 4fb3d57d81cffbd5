/*
 * tests/unit/io_vfd_wait_test.c: stale handles, pinned slots, freeing while others wait, nobody
 * waits for ever.
 */
#include "io_vfd_util.h"

#include <errno.h>
#include <string.h>

START_TEST(a_taken_slot_is_noticed)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct vfd *a, *b;

	if (!start(_i, 1))
		return;
	make("a");
	make("b");
	a = file("a", O_RDONLY);
	b = file("b", O_RDONLY);
	ck_assert_int_eq(vfd_read_now(a, &iov, 1, 0), -EAGAIN); /* never open */
	expect_text(a, "a");
	ck_assert_int_eq(vfd_read_now(a, &iov, 1, 0), 1);
	ck_assert_int_eq(byte, 'a');
	expect_text(b, "b"); /* in a's slot */
	ck_assert_int_eq(vfd_read_now(a, &iov, 1, 0), -EAGAIN);
	ck_assert_int_eq(vfd_read_now(b, &iov, 1, 0), 1);
	ck_assert_int_eq(byte, 'b');
	expect_text(a, "a");
	ck_assert_int_eq(vfd_read_now(b, &iov, 1, 0), -EAGAIN);
	vfd_free(a);
	expect_text(b, "b");
	vfd_free(b);
	ck_assert_int_le(atomic_load(&probe.open_max), 1);
	stop();
}
END_TEST

static atomic_bool release;

static int64_t job_waits(struct io_op *op)
{
	while (!atomic_load(&release))
		usleep(500);
	return 1;
}

static void settle(void)
{
	for (unsigned i = 0; i < 30; i++)
		io_wait(engine, 1);
}

/* A write is in flight from before the sync until after it. */
START_TEST(a_sync_inside_a_write_leaves_the_file_dirty)
{
	struct vfd_op op = {.io = {.code = IO_JOB, .job = job_waits}, .done = finished};

	if (!start(_i, 2))
		return;
	op.vfd = file("f", O_RDWR | O_CREAT);
	to_free = op.vfd;
	ck_assert_int_eq(do_write(to_free, "x"), 1);
	atomic_store(&release, false);
	vfd_submit(&op);
	ck_assert_int_eq(do_sync(to_free), 0);
	ck_assert(vfd_is_dirty(to_free));
	atomic_store(&release, true);
	engine_drain(engine);
	ck_assert(vfd_is_dirty(to_free));
	ck_assert_int_eq(do_sync(to_free), 0);
	ck_assert(!vfd_is_dirty(to_free));
	vfd_free(to_free);
	stop();
}
END_TEST

START_TEST(pinned_slots_make_others_wait)
{
	struct vfd *v[4];
	struct vfd_op op[4];
	char name[3] = "p0";

	if (!start(_i, 2))
		return;
	atomic_store(&release, false);
	for (unsigned i = 0; i < 4; i++) {
		name[1] = (char)('0' + i);
		make(name);
		v[i] = file(name, O_RDONLY);
		op[i] = (struct vfd_op){
			.io = {.code = IO_JOB, .job = i < 2 ? job_waits : job_nothing},
			.vfd = v[i],
			.done = finished};
		vfd_submit(&op[i]);
		settle();
	}
	ck_assert(op[0].vfd && op[1].vfd && op[2].vfd && op[3].vfd);
	ck_assert_uint_eq(stats().pinned, 2);
	ck_assert_uint_eq(stats().waits, 2);
	atomic_store(&release, true);
	engine_drain(engine);
	ck_assert(!op[0].vfd && !op[1].vfd && !op[2].vfd && !op[3].vfd);
	ck_assert_int_le(atomic_load(&probe.open_max), 2);
	for (unsigned i = 0; i < 4; i++)
		vfd_free(v[i]);
	stop();
}
END_TEST

/* Freeing the file whose slot others wait for, from inside its last callback, and with a close
 * under way. */
START_TEST(free_while_others_wait)
{
	struct vfd_op first, second;

	if (!start(_i, 1))
		return;
	make("a");
	make("b");
	for (unsigned round = 0; round < 200; round++) {
		struct vfd *b = file("b", O_RDONLY);

		to_free = file("a", O_RDONLY);
		first = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
					.vfd = to_free,
					.done = done_frees};
		second = (struct vfd_op){
			.io = {.code = IO_JOB, .job = job_nothing}, .vfd = b, .done = finished};
		vfd_submit(&first);
		vfd_submit(&second);
		if (round % 2)
			io_wait(engine, 0);
		engine_drain(engine);
		ck_assert(!first.vfd && !second.vfd);
		vfd_free(b);
		if (round % 3 == 0)
			engine_drain(engine);
	}
	ck_assert_int_le(atomic_load(&probe.open_max), 1);
	ck_assert_uint_ge(stats().close + stats().close_by_replace, 400 - 1);
	stop();
}
END_TEST

/* A file in the middle of being evicted is freed: its fdatasync and close go on without it. */
START_TEST(free_while_being_evicted)
{
	struct vfd_op op;

	if (!start(_i, 1))
		return;
	make("b");
	for (unsigned round = 0; round < 100; round++) {
		struct vfd *a = file("a", O_RDWR | O_CREAT), *b = file("b", O_RDONLY);

		ck_assert_int_eq(do_write(a, "1"), 1);
		op = (struct vfd_op){
			.io = {.code = IO_JOB, .job = job_nothing}, .vfd = b, .done = finished};
		vfd_submit(&op);
		for (unsigned i = 0; i < round % 4; i++)
			io_reap(engine);
		vfd_free(a);
		engine_drain(engine);
		ck_assert_ptr_null(op.vfd);
		ck_assert_int_eq(op.io.result, 1);
		vfd_free(b);
	}
	ck_assert_int_le(atomic_load(&probe.open_max), 1);
	stop();
}
END_TEST

static unsigned hot_left;
static bool cold_is_done;

static void hot_again(struct vfd_op *op)
{
	if (!cold_is_done && hot_left-- > 0)
		vfd_submit(op);
}

static void cold_done(struct vfd_op *op)
{
	cold_is_done = true;
}

/* Every slot always has an operation in flight, and still the newcomer gets one. */
START_TEST(nobody_waits_for_ever)
{
	struct vfd *hot[2], *cold;
	struct vfd_op hots[6], op;

	if (!start(_i, 2))
		return;
	make("h0");
	make("h1");
	make("cold");
	hot[0] = file("h0", O_RDONLY);
	hot[1] = file("h1", O_RDONLY);
	cold = file("cold", O_RDONLY);
	hot_left = 1000000;
	cold_is_done = false;
	for (unsigned i = 0; i < 6; i++) {
		hots[i] = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing},
					  .vfd = hot[i % 2],
					  .done = hot_again};
		vfd_submit(&hots[i]);
	}
	for (unsigned i = 0; i < 50; i++)
		io_wait(engine, 10);
	op = (struct vfd_op){
		.io = {.code = IO_JOB, .job = job_nothing}, .vfd = cold, .done = cold_done};
	vfd_submit(&op);
	engine_drain(engine);
	ck_assert(cold_is_done);
	ck_assert_uint_gt(hot_left, 990000);
	vfd_free(hot[0]);
	vfd_free(hot[1]);
	vfd_free(cold);
	stop();
}
END_TEST

enum { PRESSURE_FILES = 7, PRESSURE_OPS = 14, PRESSURE_ROUNDS = 200000 };

struct pressure {
	struct vfd_op op;
	unsigned on;
	uint64_t number, born;
};

static struct vfd *pressure_files[PRESSURE_FILES];
static struct pressure pressures[PRESSURE_OPS];
static uint64_t pressure_given[PRESSURE_FILES], pressure_ran[PRESSURE_FILES];
static uint64_t pressure_done, longest_wait;
static unsigned long long rnd;

static int64_t job_in_order(struct io_op *op)
{
	struct pressure *p = (struct pressure *)(void *)op;

	MUST(p->number == pressure_ran[p->on]++);
	return 0;
}

static void pressure_again(struct vfd_op *op);

static void pressure_submit(struct pressure *p)
{
	p->number = pressure_given[p->on]++;
	p->born = pressure_done;
	p->op = (struct vfd_op){.io = {.code = IO_JOB, .job = job_in_order},
				.vfd = pressure_files[p->on],
				.done = pressure_again};
	vfd_submit(&p->op);
}

/* Most stay with their file, so that its slot is never without an operation; some move on. */
static void pressure_again(struct vfd_op *op)
{
	struct pressure *p = (struct pressure *)(void *)op;

	if (pressure_done - p->born > longest_wait)
		longest_wait = pressure_done - p->born;
	if (++pressure_done > PRESSURE_ROUNDS)
		return;
	if (unit_random(&rnd) % 200 == 0)
		p->on = unit_random(&rnd) % PRESSURE_FILES;
	pressure_submit(p);
}

/* In the engine that runs in order: operations on a file run in theirs, and none waits for long. */
START_TEST(order_and_progress_under_pressure)
{
	char name[8];

	ck_assert(start(ENGINE_SYNC, 2 + (unsigned)_i));
	rnd = test_seed("pressure", _i);
	for (unsigned i = 0; i < PRESSURE_FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		make(name);
		pressure_files[i] = file(name, O_RDONLY);
	}
	for (unsigned i = 0; i < PRESSURE_OPS; i++) {
		pressures[i].on = i % PRESSURE_FILES;
		pressure_submit(&pressures[i]);
	}
	engine_drain(engine);
	for (unsigned i = 0; i < PRESSURE_FILES; i++) {
		ck_assert_uint_eq(pressure_ran[i], pressure_given[i]);
		vfd_free(pressure_files[i]);
	}
	printf("pressure: waited for %llu others at most, %llu replaced\n",
	       (unsigned long long)longest_wait, (unsigned long long)stats().close_by_replace);
	ck_assert_uint_le(longest_wait, 500);
	stop();
}
END_TEST

/* The clock passes over what has been used since it last came by. */
START_TEST(used_files_stay)
{
	struct vfd *v[6];
	char name[3] = "u0", byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};

	if (!start(_i, 4))
		return;
	for (unsigned i = 0; i < 6; i++) {
		name[1] = (char)('0' + i);
		make(name);
		v[i] = file(name, O_RDONLY);
	}
	for (unsigned i = 0; i < 5; i++) { /* the fifth takes the place of the first */
		name[1] = (char)('0' + i);
		expect_text(v[i], name);
	}
	ck_assert_int_eq(vfd_read_now(v[0], &iov, 1, 0), -EAGAIN);
	expect_text(v[1], "u1");
	expect_text(v[5], "u5");
	ck_assert_int_eq(vfd_read_now(v[1], &iov, 1, 0), 1);
	ck_assert_int_eq(vfd_read_now(v[2], &iov, 1, 0), -EAGAIN);
	for (unsigned i = 0; i < 6; i++)
		vfd_free(v[i]);
	stop();
}
END_TEST

/* An open that fails gives its slot to whoever waits. */
START_TEST(a_failed_open_lets_others_go_on)
{
	struct vfd_op bad = {.io = {.code = IO_JOB, .job = job_nothing}, .done = finished};
	struct vfd_op good = bad;
	struct vfd *missing;

	if (!start(_i, 1))
		return;
	make("good");
	good.vfd = to_free = file("good", O_RDONLY);
	bad.vfd = missing = file("missing", O_RDONLY);
	vfd_submit(&bad);
	vfd_submit(&good);
	engine_drain(engine);
	ck_assert_int_eq(bad.io.result, -ENOENT);
	ck_assert_ptr_null(good.vfd);
	ck_assert_int_eq(good.io.result, 1);
	vfd_free(missing);
	vfd_free(to_free);
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_vfd_wait");
	TCase *tc = tcase_create("vfd");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_loop_test(tc, a_taken_slot_is_noticed, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, pinned_slots_make_others_wait, ENGINE_THREADS, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_sync_inside_a_write_leaves_the_file_dirty, ENGINE_THREADS,
			    ENGINE_COUNT);
	tcase_add_loop_test(tc, free_while_others_wait, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, free_while_being_evicted, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, nobody_waits_for_ever, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, used_files_stay, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_failed_open_lets_others_go_on, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, order_and_progress_under_pressure, 0, 3);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
