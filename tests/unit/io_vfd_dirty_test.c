/*
 * tests/unit/io_vfd_dirty_test.c: what is dirty, which errors stick, what eviction does about both.
 */
#include "io_vfd_util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- dirty files ---- */

/* One that had to wait (on a busy machine) sends the next ones the other way for a while. */
static int64_t write_now(struct vfd *vfd, const struct iovec *iov)
{
	int64_t n = -EAGAIN;

	for (unsigned i = 0; i < 5000 && n == -EAGAIN; i++) {
		n = vfd_write_now(vfd, iov, 1, 4096);
		if (n == -EAGAIN)
			usleep(1000);
	}
	return n;
}

static ssize_t read_back(const char *name, char *ret)
{
	int fd = openat(unit_dir, name, O_RDONLY | O_CLOEXEC); /* not by sys.h: the probe counts */
	ssize_t n = pread(fd, ret, 4096, 4096);

	(void)close(fd);
	return n;
}

static bool unit_dir_is_ext4(void)
{
	struct statfs fs;

	return fstatfs(unit_dir, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC;
}

START_TEST(a_write_without_the_engine)
{
	static char page[4096], back[4096];
	struct iovec iov = {.iov_base = page, .iov_len = sizeof(page)};
	struct iovec part = {.iov_base = page, .iov_len = 100};
	struct vfd *v;

	if (!start(_i, 2))
		return;
	memset(page, 'w', sizeof(page));
	v = file("now", O_RDWR | O_CREAT);
	ck_assert_int_eq(vfd_write_now(v, &iov, 1, 4096), -EAGAIN); /* not open */
	ck_assert_int_eq(do_write(v, "text"), 4);
	ck_assert_int_eq(do_sync(v), 0);
	ck_assert(!vfd_is_dirty(v));
	ck_assert_int_eq(vfd_write_now(v, &part, 1, 4096), -EAGAIN);
	ck_assert_int_eq(vfd_write_now(v, &iov, 1, 100), -EAGAIN);
	ck_assert(!vfd_is_dirty(v));
	if (!io_completes_apart(engine) || !unit_dir_is_ext4()) {
		ck_assert_int_eq(vfd_write_now(v, &iov, 1, 4096), -EAGAIN);
	} else {
		ck_assert_int_eq(write_now(v, &iov), 4096);
		ck_assert(vfd_is_dirty(v));
		ck_assert_int_eq(do_read(v, back, 4), 4);
		ck_assert_mem_eq(back, "text", 4);
		ck_assert_int_eq(read_back("now", back), 4096);
		ck_assert_mem_eq(back, page, 4096);
		ck_assert_int_eq(do_sync(v), 0);
		ck_assert(!vfd_is_dirty(v));
		probe_fail(&probe, SYS_CALL_WRITE, 1, 1, -ENOSPC);
		ck_assert_int_eq(write_now(v, &iov), -ENOSPC);
		ck_assert_int_eq(write_now(v, &iov), 4096);
		push_out(3);
		ck_assert(!vfd_is_dirty(v)); /* synced on its way out */
		ck_assert_int_ge(calls(SYS_CALL_FDATASYNC), 1);
	}
	vfd_free(v);
	stop();
}
END_TEST

START_TEST(eviction_of_a_dirty_file_keeps_its_error)
{
	struct vfd *bad, *good;

	if (!start(_i, 2))
		return;
	bad = file("one", O_RDWR | O_CREAT);
	good = file("two", O_RDWR | O_CREAT);
	ck_assert_int_eq(do_write(bad, "text"), 4);
	ck_assert_int_eq(do_write(good, "text"), 4);
	ck_assert(vfd_is_dirty(bad) && vfd_is_dirty(good));
	probe_fail(&probe, SYS_CALL_FDATASYNC, 1, 1, -EIO);
	push_out(3);
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 2);
	if (vfd_error(good) < 0) { /* whose came first is the engine's choice */
		struct vfd *swap = good;

		good = bad;
		bad = swap;
	}
	ck_assert_int_eq(vfd_error(bad), -EIO);
	ck_assert_int_eq(vfd_error(good), 0);
	ck_assert(!vfd_is_dirty(good));
	/* Sticky, and not tried again; without a descriptor for the good one. */
	ck_assert_int_eq(do_sync(bad), -EIO);
	ck_assert_int_eq(do_sync(bad), -EIO);
	ck_assert_int_eq(do_sync(good), 0);
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 2);
	expect_text(bad, "text");
	ck_assert_int_eq(do_sync(bad), -EIO);
	ck_assert_int_eq(do_write(bad, "TEXT"), 4);
	ck_assert_int_eq(do_sync(bad), -EIO);
	push_out(3);
	expect_text(bad, "TEXT");
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 2);
	vfd_free(bad);
	vfd_free(good);
	stop();
}
END_TEST

START_TEST(an_fdatasync_error_sticks)
{
	struct vfd *v;

	if (!start(_i, 2))
		return;
	v = file("f", O_RDWR | O_CREAT);
	ck_assert_int_eq(do_write(v, "x"), 1);
	probe_fail(&probe, SYS_CALL_FDATASYNC, 1, 1, -ENOSPC);
	ck_assert_int_eq(do_sync(v), -ENOSPC);
	ck_assert_int_eq(do_sync(v), -ENOSPC);
	ck_assert_int_eq(vfd_error(v), -ENOSPC);
	ck_assert(vfd_is_dirty(v));
	vfd_free(v);
	stop();
}
END_TEST

START_TEST(clean_ones_go_first)
{
	struct vfd *d[2], *c[2];

	if (!start(_i, 4))
		return;
	d[0] = file("d0", O_RDWR | O_CREAT);
	d[1] = file("d1", O_RDWR | O_CREAT);
	make("c0");
	make("c1");
	c[0] = file("c0", O_RDONLY);
	c[1] = file("c1", O_RDONLY);
	ck_assert_int_eq(do_write(d[0], "0"), 1);
	ck_assert_int_eq(do_write(d[1], "1"), 1);
	expect_text(c[0], "c0");
	expect_text(c[1], "c1");
	crowd(20);
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 0);
	ck_assert(vfd_is_dirty(d[0]) && vfd_is_dirty(d[1]));
	ck_assert_uint_eq(stats().dirty, 2);
	ck_assert_int_eq(do_sync(d[0]), 0);
	ck_assert(!vfd_is_dirty(d[0]));
	for (unsigned i = 0; i < 2; i++) {
		vfd_free(d[i]);
		vfd_free(c[i]);
	}
	stop();
}
END_TEST

/* A sync that runs beside a write proves nothing about it. */
START_TEST(a_sync_beside_a_write_leaves_the_file_dirty)
{
	char byte = 'x';
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct vfd_op w, s;
	struct vfd *v;

	if (!start(_i, 2))
		return;
	v = file("f", O_RDWR | O_CREAT);
	ck_assert_int_eq(do_write(v, "y"), 1);
	for (unsigned i = 0; i < 50; i++) {
		w = (struct vfd_op){.io = {.code = IO_WRITE, .iov = &iov, .iovcnt = 1},
				    .vfd = v,
				    .done = finished};
		s = (struct vfd_op){.io.code = IO_FDATASYNC, .vfd = v, .done = finished};
		if (i % 2) {
			vfd_submit(&w);
			vfd_submit(&s);
		} else {
			vfd_submit(&s);
			vfd_submit(&w);
		}
		ck_assert(vfd_is_dirty(v));
		engine_drain(engine);
		ck_assert(vfd_is_dirty(v));
	}
	ck_assert_int_eq(do_sync(v), 0);
	ck_assert(!vfd_is_dirty(v));
	vfd_free(v);
	stop();
}
END_TEST

START_TEST(jobs_of_writers_make_dirty)
{
	struct vfd_op op;
	struct vfd *w, *r;

	if (!start(_i, 2))
		return;
	w = file("f", O_RDWR | O_CREAT);
	op = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing}, .vfd = w};
	ck_assert(!vfd_is_created(w));
	ck_assert_int_eq(run(&op), 1);
	ck_assert(vfd_is_dirty(w) && vfd_is_created(w));
	r = file("f", O_RDONLY);
	op = (struct vfd_op){.io = {.code = IO_JOB, .job = job_nothing}, .vfd = r};
	ck_assert_int_eq(run(&op), 1);
	ck_assert(!vfd_is_dirty(r) && !vfd_is_created(r));
	op = (struct vfd_op){.io = {.code = IO_FALLOCATE, .len = 10}, .vfd = r};
	ck_assert_int_eq(run(&op), -EBADF);
	vfd_free(w);
	vfd_free(r);
	stop();
}
END_TEST

START_TEST(syncs_without_a_descriptor)
{
	struct vfd *v;

	if (!start(_i, 1))
		return;
	make("f");
	v = file("f", O_RDWR);
	ck_assert_int_eq(do_sync(v),
			 0); /* never open: in earnest, for what an earlier process left */
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 1);
	ck_assert_int_eq(do_write(v, "g"), 1);
	push_out(1);
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 2);
	ck_assert_uint_eq(stats().open_after_replace, 0);
	ck_assert_int_eq(do_sync(v), 0);
	ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 2);
	ck_assert_uint_eq(stats().open_after_replace, 0);
	expect_text(v, "g");
	ck_assert_uint_eq(stats().open_after_replace, 1);
	vfd_free(v);
	stop();
}
END_TEST

/* A sync that comes while the file is being evicted takes part in that one. */
START_TEST(syncs_during_eviction)
{
	struct vfd_op r = {.io.code = IO_READ, .done = finished}, s = {.io.code = IO_FDATASYNC};
	struct vfd *v, *o;

	if (!start(_i, 1))
		return;
	make("o");
	for (unsigned fail = 0; fail < 2; fail++) {
		v = file(fail ? "g" : "f", O_RDWR | O_CREAT);
		o = file("o", O_RDONLY);
		ck_assert_int_eq(do_write(v, "1"), 1);
		probe_fail(&probe, SYS_CALL_FDATASYNC, fail, 0, -EIO);
		r.vfd = o;
		vfd_submit(&r); /* evicts v */
		ck_assert(vfd_is_dirty(v));
		s.vfd = v;
		ck_assert_int_eq(run(&s), fail ? -EIO : 0);
		engine_drain(engine);
		ck_assert_int_eq(calls(SYS_CALL_FDATASYNC), 1);
		ck_assert(!vfd_is_dirty(v));
		vfd_free(v);
		vfd_free(o);
	}
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_vfd_dirty");
	TCase *tc = tcase_create("vfd");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, unit_setup, unit_teardown);
	tcase_add_loop_test(tc, a_write_without_the_engine, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, eviction_of_a_dirty_file_keeps_its_error, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, an_fdatasync_error_sticks, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, clean_ones_go_first, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, a_sync_beside_a_write_leaves_the_file_dirty, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, jobs_of_writers_make_dirty, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, syncs_without_a_descriptor, 0, ENGINE_COUNT);
	tcase_add_loop_test(tc, syncs_during_eviction, 0, ENGINE_COUNT);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
