/*
 * Tests of src/base/sys*.c. The kernel's answers that a test cannot provoke (EINTR, short counts)
 * come from wrappers that the linker puts in front of the C library's functions (--wrap).
 */
#include "base/sys.h"
#include "base/util.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

/* ---- what the kernel answers ---- */

/* The next answers, in order: PASS, 0 or more: at most so many bytes, less than 0: -errno. */
#define PASS 1000000000L
static long script[16];
static unsigned script_len, script_pos;
static unsigned calls;

static void set_script(const long *answers, unsigned count)
{
	memcpy(script, answers, count * sizeof(*answers));
	script_len = count;
	script_pos = 0;
	calls = 0;
}

#define SCRIPT(...)                                                                                \
	set_script((const long[]){__VA_ARGS__}, ARRAY_SIZE(((const long[]){__VA_ARGS__})))

/* True: answer with *ret and errno; else let at most *max bytes through. */
static bool next_answer(ssize_t *ret, size_t *max)
{
	long answer = script_pos < script_len ? script[script_pos++] : PASS;

	calls++;
	*max = (size_t)answer;
	if (answer > 0)
		return false;
	if (answer < 0)
		errno = (int)-answer;
	*ret = answer < 0 ? -1 : 0;
	return true;
}

static unsigned limit_iov(struct iovec *out, const struct iovec *iov, unsigned iovcnt, size_t max)
{
	unsigned n = 0;

	while (n < iovcnt && n < 2048 && max > 0) {
		out[n] = iov[n];
		out[n].iov_len = MIN(iov[n].iov_len, max);
		max -= out[n].iov_len;
		n++;
	}
	return n;
}

#define WRAP_VECTOR(name)                                                                          \
	ssize_t __real_##name(int, const struct iovec *, int, off_t);                              \
	ssize_t __wrap_##name(int, const struct iovec *, int, off_t);                              \
	ssize_t __wrap_##name(int fd, const struct iovec *iov, int iovcnt, off_t off)              \
	{                                                                                          \
		static struct iovec part[2048];                                                    \
		ssize_t ret = 0;                                                                   \
		size_t max;                                                                        \
                                                                                                   \
		if (next_answer(&ret, &max))                                                       \
			return ret;                                                                \
		return __real_##name(fd, part, (int)limit_iov(part, iov, (unsigned)iovcnt, max),   \
				     off);                                                         \
	}
WRAP_VECTOR(preadv64)
WRAP_VECTOR(pwritev64)

#define WRAP_SIMPLE(name, params, args)                                                            \
	int __real_##name params;                                                                  \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		ssize_t ret = 0;                                                                   \
		size_t max;                                                                        \
                                                                                                   \
		if (next_answer(&ret, &max))                                                       \
			return (int)ret;                                                           \
		return __real_##name args;                                                         \
	}
WRAP_SIMPLE(fsync, (int fd), (fd))
WRAP_SIMPLE(fdatasync, (int fd), (fd))
WRAP_SIMPLE(close, (int fd), (fd))
WRAP_SIMPLE(fallocate64, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len))

ssize_t __real_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int iovcnt, off_t off, int flags)
{
	ssize_t ret = 0;
	size_t max;

	ck_assert_int_eq(flags, RWF_NOWAIT);
	if (next_answer(&ret, &max))
		return ret;
	return __real_preadv64v2(fd, iov, iovcnt, off, flags);
}

static int open_file(const char *name)
{
	int fd = sys_openat(unit_dir, name, O_RDWR | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* ---- resuming ---- */

/* What was closed leaves a gap, which is none of them. */
START_TEST(open_descriptors_are_counted)
{
	unsigned before = sys_count_fds(1024);
	int fds[8];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = dup(unit_dir);
	ck_assert_uint_eq(sys_count_fds(1024), before + 8);
	close(fds[0]);
	close(fds[5]);
	ck_assert_uint_eq(sys_count_fds(1024), before + 6);
	for (unsigned i = 1; i < ARRAY_SIZE(fds); i++)
		(void)(i != 5 && close(fds[i]));
}
END_TEST

START_TEST(read_resumes)
{
	char a[4], b[1], c[8];
	struct iovec iov[] = {{a, 4}, {NULL, 0}, {b, 1}, {c, 8}};
	int fd;

	unit_put_file("f", "0123456789");
	fd = open_file("f");
	SCRIPT(-EINTR, 3, 1, -EINTR, -EINTR, 3, PASS);
	ck_assert_int_eq(sys_preadv_full(fd, iov, 4, 1), 9);
	ck_assert_uint_eq(calls, 8);
	ck_assert_mem_eq(a, "1234", 4);
	ck_assert_mem_eq(b, "5", 1);
	ck_assert_mem_eq(c, "6789", 4);
	sys_close(fd);
}
END_TEST

static int count_call(void *ctx, const struct sys_event *event)
{
	++*(unsigned *)ctx;
	return 0;
}

static void check_result(void *ctx, const struct sys_event *event, int64_t result)
{
	++*(unsigned *)ctx;
	ck_assert_int_eq(result, 4);
}

START_TEST(hook_runs_once_however_often_a_call_resumes)
{
	unsigned halves = 0;
	struct sys_hook hook = {count_call, check_result, &halves};
	char buf[4];
	int fd;

	unit_put_file("f", "0123");
	fd = open_file("f");
	sys_set_hook(&hook);
	SCRIPT(1, -EINTR, 1, PASS);
	ck_assert_int_eq(sys_pread_full(fd, buf, 4, 0), 4);
	ck_assert_uint_eq(halves, 2);
	SCRIPT(1, -EINTR, 2, PASS);
	ck_assert_int_eq(sys_pwrite_full(fd, buf, 4, 0), 0);
	ck_assert_uint_eq(halves, 4);
	sys_set_hook(NULL);
	sys_close(fd);
}
END_TEST

START_TEST(read_reports_errors_and_ends)
{
	char buf[16];
	int fd;

	unit_put_file("f", "0123");
	fd = open_file("f");
	SCRIPT(2, -EIO);
	ck_assert_int_eq(sys_pread_full(fd, buf, 4, 0), -EIO);
	SCRIPT(PASS);
	ck_assert_int_eq(sys_pread_full(fd, buf, 16, 0), 4);
	ck_assert_int_eq(sys_pread_full(fd, buf, 16, 4), 0);
	ck_assert_int_eq(sys_pread_full(fd, buf, 0, 0), 0);
	ck_assert_int_eq(sys_preadv_full(fd, NULL, 0, 0), 0);
	ck_assert_int_eq(sys_pread_full(fd, buf, 1, UINT64_MAX), -EINVAL);
	ck_assert_int_eq(sys_pread_full(-1, buf, 1, 0), -EBADF);
	sys_close(fd);
}
END_TEST

START_TEST(write_resumes)
{
	char a[] = "abcd", b[] = "e", c[] = "fgh";
	struct iovec iov[] = {{a, 4}, {b, 1}, {NULL, 0}, {c, 3}};
	int fd;

	unit_put_file("f", "..");
	fd = open_file("f");
	SCRIPT(1, -EINTR, 3, 2, PASS);
	ck_assert_int_eq(sys_pwritev_full(fd, iov, 4, 2), 0);
	ck_assert_uint_eq(calls, 5);
	unit_assert_file("f", "..abcdefgh");
	sys_close(fd);
}
END_TEST

START_TEST(write_reports_errors)
{
	int fd = open_file("f");

	SCRIPT(2, -ENOSPC);
	ck_assert_int_eq(sys_pwrite_full(fd, "abcd", 4, 0), -ENOSPC);
	/* No progress and no reason. */
	SCRIPT(2, 0);
	ck_assert_int_eq(sys_pwrite_full(fd, "abcd", 4, 0), -EIO);
	SCRIPT(PASS);
	ck_assert_int_eq(sys_pwrite_full(fd, "", 0, 0), 0);
	ck_assert_int_eq(sys_pwrite_full(-1, "x", 1, 0), -EBADF);
	sys_close(fd);
}
END_TEST

/* The kernel itself cuts this write at the limit and refuses the rest. */
START_TEST(write_meets_a_real_limit)
{
	struct rlimit limit = {5, 5};
	int fd = open_file("f");

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(sys_pwrite_full(fd, "0123456789", 10, 0), -EFBIG);
	unit_assert_file("f", "01234");
	sys_close(fd);
}
END_TEST

START_TEST(vectors_longer_than_the_kernel_takes)
{
	enum { COUNT = 3000 };
	static struct iovec iov[COUNT];
	static char bytes[COUNT], back[COUNT];
	int fd = open_file("f");

	for (unsigned i = 0; i < COUNT; i++) {
		bytes[i] = (char)(i * 31);
		iov[i] = (struct iovec){&bytes[i], 1};
	}
	ck_assert_int_eq(sys_pwritev_full(fd, iov, COUNT, 0), 0);
	for (unsigned i = 0; i < COUNT; i++)
		iov[i] = (struct iovec){&back[i], 1};
	ck_assert_int_eq(sys_preadv_full(fd, iov, COUNT, 0), COUNT);
	ck_assert_mem_eq(bytes, back, COUNT);
	sys_close(fd);
}
END_TEST

START_TEST(nowait_never_waits)
{
	char buf[8];
	struct iovec iov = {buf, sizeof(buf)};
	int fd;

	unit_put_file("f", "0123");
	fd = open_file("f");
	SCRIPT(-EINTR, PASS);
	ck_assert_int_eq(sys_preadv_nowait(fd, &iov, 1, 1), 3);
	ck_assert_mem_eq(buf, "123", 3);
	SCRIPT(-EOPNOTSUPP, -EAGAIN, -EIO);
	ck_assert_int_eq(sys_preadv_nowait(fd, &iov, 1, 0), -EAGAIN);
	ck_assert_int_eq(sys_preadv_nowait(fd, &iov, 1, 0), -EAGAIN);
	ck_assert_int_eq(sys_preadv_nowait(fd, &iov, 1, 0), -EIO);
	sys_close(fd);
}
END_TEST

START_TEST(syncs_resume_and_report)
{
	int fd = open_file("f");

	SCRIPT(-EINTR, -EINTR, PASS);
	ck_assert_int_eq(sys_fsync(fd), 0);
	ck_assert_uint_eq(calls, 3);
	SCRIPT(-EINTR, -EIO);
	ck_assert_int_eq(sys_fdatasync(fd), -EIO);
	SCRIPT(PASS);
	ck_assert_int_eq(sys_fdatasync(fd), 0);
	SCRIPT(-EINTR, -ENOSPC);
	ck_assert_int_eq(sys_fallocate(fd, 0, 0, 4096), -ENOSPC);
	SCRIPT(PASS);
	ck_assert_int_eq(sys_fallocate(fd, 0, 0, 4096), 0);
	sys_close(fd);
}
END_TEST

START_TEST(close_is_done_once)
{
	int fd = open_file("f");

	/* Closed whatever it says. */
	SCRIPT(-EINTR);
	ck_assert_int_eq(sys_close(fd), 0);
	ck_assert_uint_eq(calls, 1);
	SCRIPT(-EIO);
	ck_assert_int_eq(sys_close(fd), -EIO);
	SCRIPT(PASS);
	ck_assert_int_eq(sys_close(fd), 0);
	ck_assert_int_eq(sys_close(fd), -EBADF);
}
END_TEST

/* ---- the other calls ---- */

START_TEST(names_and_attributes)
{
	struct statvfs vfs;
	struct stat st;
	int fd;

	unit_put_file("f", "0123456789");
	fd = open_file("f");
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(sys_ftruncate(fd, 4), 0);
	ck_assert_int_eq(sys_fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 4);
	ck_assert_int_eq(sys_fstatvfs(fd, &vfs), 0);
	ck_assert_uint_gt(vfs.f_bsize, 0);
	ck_assert_int_eq(sys_close(fd), 0);

	ck_assert_int_eq(sys_mkdirat(unit_dir, "d", 0700), 0);
	ck_assert_int_eq(sys_mkdirat(unit_dir, "d", 0700), -EEXIST);
	ck_assert_int_eq(sys_renameat(unit_dir, "f", unit_dir, "d/g"), 0);
	ck_assert_int_eq(sys_renameat(unit_dir, "f", unit_dir, "d/g"), -ENOENT);
	ck_assert_int_eq(sys_fstatat(unit_dir, "d/g", &st, 0), 0);
	ck_assert_int_eq(sys_fstatat(unit_dir, "d/h", &st, 0), -ENOENT);
	ck_assert_int_eq(sys_unlinkat(unit_dir, "d", AT_REMOVEDIR), -ENOTEMPTY);
	ck_assert_int_eq(sys_unlinkat(unit_dir, "d/g", 0), 0);
	ck_assert_int_eq(sys_unlinkat(unit_dir, "d", AT_REMOVEDIR), 0);
	ck_assert_int_eq(sys_openat(unit_dir, "none", O_RDONLY, 0), -ENOENT);
	ck_assert_int_eq(sys_ftruncate(-1, 0), -EBADF);
	ck_assert_int_eq(sys_fstat(-1, &st), -EBADF);
	ck_assert_int_eq(sys_fstatvfs(-1, &vfs), -EBADF);
}
END_TEST

START_TEST(locks_exclude)
{
	int a = open_file("lock"), b = open_file("lock");

	ck_assert_int_eq(sys_flock(a, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(sys_flock(b, LOCK_EX | LOCK_NB), -EWOULDBLOCK);
	ck_assert_int_eq(sys_close(a), 0);
	ck_assert_int_eq(sys_flock(b, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(sys_close(b), 0);
}
END_TEST

START_TEST(beneath_stays_beneath)
{
	static const struct {
		const char *path;
		int rc;
	} cases[] = {
		{"d/f", 0},	      {"d", 0},		{".", 0},
		{"d//f", 0},	      {"d/x", -ENOENT}, {"../x", -EXDEV},
		{"d/../d/f", -EXDEV}, {"..", -EXDEV},	{"d/..", -EXDEV},
		{"/etc", -EXDEV},     {"link", -ELOOP}, {"dlink/f", -ELOOP},
	};

	ck_assert_int_eq(sys_mkdirat(unit_dir, "d", 0700), 0);
	unit_put_file("d/f", "x");
	ck_assert_int_eq(symlinkat("d/f", unit_dir, "link"), 0);
	ck_assert_int_eq(symlinkat("d", unit_dir, "dlink"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = sys_open_beneath(unit_dir, cases[i].path, O_RDONLY);

		ck_assert_msg(MIN(fd, 0) == cases[i].rc, "'%s': %d", cases[i].path, fd);
		if (fd < 0)
			continue;
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
		ck_assert_int_eq(sys_close(fd), 0);
	}
}
END_TEST

static int list_names(void *ctx, const char *name, unsigned char d_type)
{
	char *text = ctx;

	ck_assert_uint_eq(d_type, name[0] == 'd' ? DT_DIR : DT_REG);
	strcat(text, name);
	return strlen(text) >= 6 ? 99 : 0;
}

START_TEST(readdir_lists_names)
{
	char text[64] = "";

	unit_put_file("f1", "");
	ck_assert_int_eq(sys_mkdirat(unit_dir, "d1", 0700), 0);
	ck_assert_int_eq(sys_readdir(unit_dir, ".", list_names, text), 0);
	ck_assert(strcmp(text, "f1d1") == 0 || strcmp(text, "d1f1") == 0);
	unit_put_file("f2", "");
	unit_put_file("f3", "");
	text[0] = '\0';
	ck_assert_int_eq(sys_readdir(unit_dir, ".", list_names, text), 99);
	ck_assert_uint_eq(strlen(text), 6);
	ck_assert_int_eq(sys_readdir(unit_dir, "f1", list_names, text), -ENOTDIR);
	ck_assert_int_eq(sys_readdir(unit_dir, "none", list_names, text), -ENOENT);
	text[0] = '\0';
	ck_assert_int_eq(sys_readdir(unit_dir, "d1", list_names, text), 0);
	ck_assert_str_eq(text, "");
}
END_TEST

/* ---- whole files ---- */

START_TEST(read_file_bounds)
{
	char *data = NULL;
	size_t len = 77;

	unit_put_file("f", "0123456789");
	unit_put_file("empty", "");
	unit_assert_file("empty", "");
	ck_assert_int_eq(sys_read_file(unit_dir, "f", 10, &data, &len), 0);
	ck_assert_uint_eq(len, 10);
	ck_assert_str_eq(data, "0123456789");
	free(data);
	data = NULL;
	len = 77;
	ck_assert_int_eq(sys_read_file(unit_dir, "f", 9, &data, &len), -EFBIG);
	ck_assert_int_eq(sys_read_file(unit_dir, "f", SIZE_MAX, &data, &len), -EINVAL);
	ck_assert_int_eq(sys_read_file(unit_dir, "none", 9, &data, &len), -ENOENT);
	ck_assert_int_eq(sys_read_file(unit_dir, ".", 9, &data, &len), -EISDIR);
	ck_assert_int_eq(mkfifoat(unit_dir, "fifo", 0600), 0);
	ck_assert_int_eq(sys_read_file(unit_dir, "fifo", 9, &data, &len), -EINVAL);
	ck_assert_ptr_null(data);
	ck_assert_uint_eq(len, 77);
}
END_TEST

/* A file that says it has 0 bytes and gives them in pieces. */
START_TEST(read_file_without_a_size)
{
	char *data;
	size_t len;

	ck_assert_int_eq(sys_read_file(AT_FDCWD, "/proc/self/smaps", 16 << 20, &data, &len), 0);
	ck_assert_uint_gt(len, 8192);
	ck_assert_uint_eq(strlen(data), len);
	ck_assert_int_eq(data[len - 1], '\n');
	free(data);
	ck_assert_int_eq(sys_read_file(AT_FDCWD, "/proc/self/smaps", 5000, &data, &len), -EFBIG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sys");
	TCase *t = tcase_create("sys");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, open_descriptors_are_counted);
	tcase_add_test(t, read_resumes);
	tcase_add_test(t, hook_runs_once_however_often_a_call_resumes);
	tcase_add_test(t, read_reports_errors_and_ends);
	tcase_add_test(t, write_resumes);
	tcase_add_test(t, write_reports_errors);
	tcase_add_test(t, write_meets_a_real_limit);
	tcase_add_test(t, vectors_longer_than_the_kernel_takes);
	tcase_add_test(t, nowait_never_waits);
	tcase_add_test(t, syncs_resume_and_report);
	tcase_add_test(t, close_is_done_once);
	tcase_add_test(t, names_and_attributes);
	tcase_add_test(t, locks_exclude);
	tcase_add_test(t, beneath_stays_beneath);
	tcase_add_test(t, readdir_lists_names);
	tcase_add_test(t, read_file_bounds);
	tcase_add_test(t, read_file_without_a_size);
	suite_add_tcase(s, t);
	return unit_run(s);
}
