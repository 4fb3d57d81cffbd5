/*
 * Tests of the hook and the counters of src/base/sys*.c, and of what fails clean by them.
 */
#include "base/sys.h"
#include "base/util.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/file.h>

/* ---- the hook ---- */

static struct {
	enum sys_call calls[256];
	int64_t results[256];
	unsigned before, after;
	unsigned fail_at; /* this call, counted from 1, fails; 0: none */
	int fail_rc;
} seen;

static int seen_before(void *ctx, const struct sys_event *event)
{
	ck_assert_ptr_eq(ctx, &seen);
	ck_assert_uint_lt(seen.before, ARRAY_SIZE(seen.calls));
	seen.calls[seen.before++] = event->call;
	return seen.before == seen.fail_at ? seen.fail_rc : 0;
}

static void seen_after(void *ctx, const struct sys_event *event, int64_t result)
{
	seen.results[seen.after++] = result;
}

static const struct sys_hook seen_hook = {seen_before, seen_after, &seen};

static void start_seeing(unsigned fail_at, int fail_rc)
{
	memset(&seen, 0, sizeof(seen));
	seen.fail_at = fail_at;
	seen.fail_rc = fail_rc;
	sys_set_hook(&seen_hook);
}

static int open_file(const char *name)
{
	int fd = sys_openat(unit_dir, name, O_RDWR | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static const enum sys_call replace_calls[] = {
	SYS_CALL_OPEN,	 SYS_CALL_WRITE, SYS_CALL_FSYNC, SYS_CALL_CLOSE,
	SYS_CALL_RENAME, SYS_CALL_OPEN,	 SYS_CALL_FSYNC, SYS_CALL_CLOSE,
};

START_TEST(replace_file_in_order)
{
	struct stat st;

	unit_put_file("f", "old and longer");
	unit_put_file("f.tmp", "left over from a crash, and longer still");
	start_seeing(0, 0);
	ck_assert_int_eq(sys_replace_file(unit_dir, "f", "new", 3, 0600), 0);
	sys_set_hook(NULL);
	ck_assert_uint_eq(seen.before, ARRAY_SIZE(replace_calls));
	ck_assert_mem_eq(seen.calls, replace_calls, sizeof(replace_calls));
	unit_assert_file("f", "new");
	ck_assert_int_eq(sys_fstatat(unit_dir, "f.tmp", &st, 0), -ENOENT);

	ck_assert_int_eq(sys_mkdirat(unit_dir, "d", 0700), 0);
	ck_assert_int_eq(sys_replace_file(unit_dir, "d/g", "", 0, 0640), 0);
	unit_assert_file("d/g", "");
	ck_assert_int_eq(sys_fstatat(unit_dir, "d/g", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	ck_assert_int_eq(sys_replace_file(unit_dir, "x/g", "", 0, 0600), -ENOENT);
}
END_TEST

/* Each call fails in turn: the old or the new content is there, nothing in between, and nothing is
 * left. */
START_TEST(replace_file_fails_clean)
{
	unsigned n = (unsigned)_i + 1;
	struct stat st;

	unit_put_file("f", "old");
	start_seeing(n, -EIO);
	ck_assert_int_eq(sys_replace_file(unit_dir, "f", "new", 3, 0600),
			 n == ARRAY_SIZE(replace_calls) ? 0 : -EIO);
	sys_set_hook(NULL);
	/* From the opening of the directory on the name is there, only perhaps not durable. */
	unit_assert_file("f", n <= 5 ? "old" : "new");
	ck_assert_int_eq(sys_fstatat(unit_dir, "f.tmp", &st, 0), -ENOENT);
}
END_TEST

/* ---- hook and counters ---- */

START_TEST(hook_sees_one_call_once)
{
	char buf[8];
	int fd;

	unit_put_file("f", "0123");
	start_seeing(0, 0);
	fd = open_file("f");
	ck_assert_int_eq(sys_pread_full(fd, buf, 4, 0), 4);
	ck_assert_int_eq(sys_pwrite_full(fd, "ab", 2, 0), 0);
	ck_assert_int_eq(sys_fsync(-1), -EBADF);
	sys_close(fd);
	ck_assert_uint_eq(seen.before, 5);
	ck_assert_uint_eq(seen.after, 5);
	ck_assert_int_eq(seen.results[0], fd);
	ck_assert_int_eq(seen.results[1], 4);
	ck_assert_int_eq(seen.results[2], 2);
	ck_assert_int_eq(seen.results[3], -EBADF);
	ck_assert_int_eq(seen.results[4], 0);
	sys_set_hook(NULL);
}
END_TEST

/* Every wrapper once, as far as it can do without an argument that works. */
static int64_t call_one(enum sys_call call, int fd)
{
	struct iovec iov = {NULL, 0};
	struct statvfs vfs;
	struct stat st;
	char c = 'x';

	switch (call) {
	case SYS_CALL_OPEN:
		return sys_openat(unit_dir, "f", O_RDONLY, 0);
	case SYS_CALL_CLOSE:
		return sys_close(fd);
	case SYS_CALL_READ:
		return sys_pread_full(fd, &c, 1, 0);
	case SYS_CALL_WRITE:
		return sys_pwrite_full(fd, &c, 1, 0);
	case SYS_CALL_FSYNC:
		return sys_fsync(fd);
	case SYS_CALL_FDATASYNC:
		return sys_fdatasync(fd);
	case SYS_CALL_FALLOCATE:
		return sys_fallocate(fd, 0, 0, 1);
	case SYS_CALL_TRUNCATE:
		return sys_ftruncate(fd, 0);
	case SYS_CALL_RENAME:
		return sys_renameat(unit_dir, "f", unit_dir, "f");
	case SYS_CALL_LINK:
		return sys_link_fd(fd, unit_dir, "g");
	case SYS_CALL_UNLINK:
		return sys_unlinkat(unit_dir, "f", 0);
	case SYS_CALL_MKDIR:
		return sys_mkdirat(unit_dir, "d", 0700);
	case SYS_CALL_STAT:
		return sys_fstat(fd, &st);
	case SYS_CALL_READDIR:
		return sys_readdir(unit_dir, ".", NULL, NULL);
	case SYS_CALL_LOCK:
		return sys_flock(fd, LOCK_SH);
	case SYS_CALL_STATVFS:
		return sys_fstatvfs(fd, &vfs);
	case SYS_CALL_MAX_:
		break;
	}
	return sys_preadv_nowait(fd, &iov, 1, 0);
}

START_TEST(hook_fails_each_call)
{
	enum sys_call call = (enum sys_call)_i;
	uint64_t count;
	struct stat st;
	int fd;

	unit_put_file("f", "0123");
	fd = open_file("f");
	count = sys_call_count(call);
	start_seeing(1, -EDQUOT);
	ck_assert_int_eq(call_one(call, fd), -EDQUOT);
	ck_assert_uint_eq(seen.after, seen.before - 1);
	ck_assert_int_eq(seen.calls[0], call == SYS_CALL_MAX_ ? SYS_CALL_READ : call);
	sys_set_hook(NULL);

	/* Nothing of it happened. */
	unit_assert_file("f", "0123");
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(sys_fstatat(unit_dir, "d", &st, 0), -ENOENT);
	if (call < SYS_CALL_MAX_)
		ck_assert_uint_gt(sys_call_count(call), count);
	ck_assert_int_eq(sys_close(fd), 0);
}
END_TEST

START_TEST(hook_fails_open_beneath)
{
	start_seeing(1, -EMFILE);
	ck_assert_int_eq(sys_open_beneath(unit_dir, "f", O_RDONLY), -EMFILE);
	sys_set_hook(NULL);
}
END_TEST

START_TEST(hook_with_one_half)
{
	static const struct sys_hook none = {NULL, NULL, NULL};
	struct sys_event ev = {.call = SYS_CALL_WRITE, .fd = 3};

	sys_set_hook(&none);
	unit_put_file("f", "x");
	ck_assert_int_eq(sys_hook_before(&ev), 0);
	sys_hook_after(&ev, 1);
	start_seeing(2, -EIO);
	ck_assert_int_eq(sys_hook_before(&ev), 0);
	sys_hook_after(&ev, 17);
	ck_assert_int_eq(sys_hook_before(&ev), -EIO);
	ck_assert_uint_eq(seen.before, 2);
	ck_assert_int_eq(seen.results[0], 17);
	sys_set_hook(NULL);
}
END_TEST

static void *count_stats(void *arg)
{
	struct stat st;

	for (unsigned i = 0; i < 10000; i++)
		(void)sys_fstat(unit_dir, &st);
	return NULL;
}

START_TEST(counters_of_threads_add_up)
{
	uint64_t before = sys_call_count(SYS_CALL_STAT);
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_stats, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(sys_call_count(SYS_CALL_STAT) - before, 40000);
	ck_assert_uint_eq(sys_call_count(SYS_CALL_MAX_), 0);
}
END_TEST

START_TEST(calls_have_names)
{
	for (int i = 0; i < SYS_CALL_MAX_; i++)
		ck_assert_str_ne(sys_call_name((enum sys_call)i), "?");
	ck_assert_str_eq(sys_call_name(SYS_CALL_FDATASYNC), "fdatasync");
	ck_assert_str_eq(sys_call_name(SYS_CALL_MAX_), "?");
}
END_TEST

START_TEST(append_is_nobodys_call)
{
	int fd = sys_openat(unit_dir, "log", O_WRONLY | O_APPEND | O_CREAT, 0600);
	uint64_t before = sys_call_count(SYS_CALL_WRITE);

	start_seeing(1, -EIO);
	sys_append(fd, "one\n", 4);
	sys_append(fd, "two\n", 4);
	sys_append(-1, "x", 1);
	sys_set_hook(NULL);
	ck_assert_uint_eq(seen.before, 0);
	ck_assert_uint_eq(sys_call_count(SYS_CALL_WRITE), before);
	unit_assert_file("log", "one\ntwo\n");
	sys_close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sys_hook");
	TCase *t = tcase_create("sys_hook");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, replace_file_in_order);
	tcase_add_loop_test(t, replace_file_fails_clean, 0, ARRAY_SIZE(replace_calls));
	tcase_add_test(t, hook_sees_one_call_once);
	tcase_add_loop_test(t, hook_fails_each_call, 0, SYS_CALL_MAX_ + 1);
	tcase_add_test(t, hook_fails_open_beneath);
	tcase_add_test(t, hook_with_one_half);
	tcase_add_test(t, counters_of_threads_add_up);
	tcase_add_test(t, calls_have_names);
	tcase_add_test(t, append_is_nobodys_call);
	suite_add_tcase(s, t);
	return unit_run(s);
}
