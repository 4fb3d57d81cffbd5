/*
 * tests/unit/cmd_restore_write_test.c: the sink of `restore`: which runs go past the page cache, and
 * that all bytes get there where the disk will not have it.
 *
 * What a disk answers to O_DIRECT depends on where the tests run, so wrappers that the linker puts in
 * front of the C library's functions (--wrap) play it: a descriptor that is asked for with O_DIRECT
 * is an ordinary one, and each write to it is checked, noted, and answered as the test says.
 */
#include "base/sys.h"
#include "base/util.h"
#include "cmd/restore.h"
#include "unit.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#define KIB   1024u
#define MIB   (1024u * KIB)
#define WHOLE SIZE_MAX

/* ---- the disk ---- */

static struct {
	int fd;		 /* the direct descriptor, while it is open; else -1 */
	int open_rc;	 /* what an open with O_DIRECT answers, if negative */
	int fsync_rc;	 /* what fsync answers, if negative */
	unsigned sector; /* what direct writes must be multiples of */
	size_t most[4];	 /* bytes that the n-th direct write takes; 0: it fails with write_rc */
	int write_rc;
	unsigned opens, writes, fsyncs, closes; /* of direct descriptors, but for fsyncs */
	uint64_t direct, ordinary;		/* bytes */
	int open_flags;
} disk;

int __real_openat64(int, const char *, int, mode_t);
int __wrap_openat64(int, const char *, int, mode_t);
int __wrap_openat64(int dirfd, const char *path, int flags, mode_t mode)
{
	if (!(flags & O_DIRECT))
		return __real_openat64(dirfd, path, flags, mode);
	disk.opens++;
	disk.open_flags = flags;
	if (disk.open_rc < 0) {
		errno = -disk.open_rc;
		return -1;
	}
	disk.fd = __real_openat64(dirfd, path, flags & ~O_DIRECT, mode);
	return disk.fd;
}

ssize_t __real_pwritev64(int, const struct iovec *, int, off_t);
ssize_t __wrap_pwritev64(int, const struct iovec *, int, off_t);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t off)
{
	struct iovec part = iov[0];
	ssize_t n;

	ck_assert_int_eq(count, 1);
	if (fd == disk.fd) {
		size_t most = disk.writes < ARRAY_SIZE(disk.most) ? disk.most[disk.writes] : WHOLE;

		disk.writes++;
		if (((uint64_t)off | part.iov_len | (uintptr_t)part.iov_base) % 4096 != 0)
			ck_abort_msg("a direct write that is not aligned");
		errno = most == 0 ? -disk.write_rc : EINVAL;
		if (most == 0 || ((uint64_t)off | part.iov_len) % disk.sector != 0)
			return -1;
		part.iov_len = MIN(part.iov_len, most);
	}
	n = __real_pwritev64(fd, &part, 1, off);
	*(fd == disk.fd ? &disk.direct : &disk.ordinary) += n > 0 ? (uint64_t)n : 0;
	return n;
}

int __real_close(int);
int __wrap_close(int);
int __wrap_close(int fd)
{
	if (fd == disk.fd) {
		disk.closes++;
		disk.fd = -1;
	}
	return __real_close(fd);
}

int __real_fsync(int);
int __wrap_fsync(int);
int __wrap_fsync(int fd)
{
	ck_assert_int_ne(fd, disk.fd);
	ck_assert_int_eq(disk.fd, -1); /* nothing may be written any more */
	disk.fsyncs++;
	errno = -disk.fsync_rc;
	return disk.fsync_rc < 0 ? -1 : __real_fsync(fd);
}

static unsigned long fs_type; /* 0: what it is */

int __real_fstatfs64(int, struct statfs *);
int __wrap_fstatfs64(int, struct statfs *);
int __wrap_fstatfs64(int fd, struct statfs *ret)
{
	int rc = __real_fstatfs64(fd, ret);

	if (fs_type != 0)
		ret->f_type = (__fsword_t)fs_type;
	return rc;
}

/* ---- a restore of one file ---- */

static struct restore_request request;
static struct restore_root root;
static struct restore_tree tree;
static struct restore_file file;
static struct bulk_file bulk_file;
static uint8_t *bytes; /* what the file is to be */

static void begin(void)
{
	unsigned long long state = 7;

	unit_setup();
	memset(&disk, 0, sizeof(disk));
	memset(disk.most, 0xFF, sizeof(disk.most));
	disk.fd = -1;
	disk.sector = 512;
	fs_type = EXT4_SUPER_MAGIC;
	request = (struct restore_request){0};
	root = (struct restore_root){.path = unit_path, .fd = unit_dir, .shown = ""};
	tree = (struct restore_tree){.request = &request,
				     .places = {.roots = &root, .count = 1},
				     .lock = PTHREAD_MUTEX_INITIALIZER};
	file = (struct restore_file){
		.root = &root, .path = "f", .mode = S_IFREG | 0640, .fd = -1, .direct_fd = -1};
	bytes = aligned_alloc(BULK_ALIGN, 4 * MIB);
	for (size_t i = 0; i < 4 * MIB; i += sizeof(unsigned))
		memcpy(bytes + i, &(unsigned){unit_random(&state)}, sizeof(unsigned));
	unit_put_file(RESTORE_MARKER, "");
}

static void end(void)
{
	free(bytes);
	unit_teardown();
}

static void open_file(uint64_t size)
{
	(void)restore_direct_choose(&tree);
	disk.opens = disk.closes = 0;
	bulk_file = (struct bulk_file){.size = size, .user = &file};
	ck_assert_int_eq(restore_sink_ops.open(&tree, &bulk_file), 0);
}

static int put(uint64_t off, size_t len)
{
	return restore_sink_ops.write(&tree, &bulk_file, off, bytes + off, len);
}

static int close_file(int rc)
{
	return restore_sink_ops.close(&tree, &bulk_file, rc);
}

/* All of the file is right, and its mode. */
static void check_file(size_t size)
{
	uint8_t *got = malloc(size + 1);
	int fd = openat(unit_dir, "f", O_RDONLY);
	struct stat st;

	ck_assert_int_eq(pread(fd, got, size + 1, 0), (ssize_t)size);
	ck_assert_msg(memcmp(got, bytes, size) == 0, "other bytes");
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert_int_eq(disk.closes, disk.open_rc < 0 ? 0 : disk.opens);
	ck_assert_int_eq(close(fd), 0);
	free(got);
}

/* ---- which way ---- */

START_TEST(long_runs_go_directly_and_all_else_does_not)
{
	open_file(2 * MIB + 100);
	ck_assert_int_eq(put(0, MIB), 0);
	ck_assert_uint_eq(disk.direct, MIB);
	ck_assert_int_eq(put(MIB, 8 * KIB), 0);
	ck_assert_uint_eq(disk.ordinary, 8 * KIB);
	ck_assert_int_eq(put(MIB + 8 * KIB, 504 * KIB), 0);
	ck_assert_uint_eq(disk.direct, MIB + 504 * KIB);
	ck_assert_int_eq(put(MIB + 512 * KIB, 512 * KIB + 100), 0);
	ck_assert_uint_eq(disk.direct, MIB + 504 * KIB);
	ck_assert_int_eq(close_file(0), 0);
	check_file(2 * MIB + 100);
	ck_assert_int_eq(disk.open_flags & (O_CREAT | O_EXCL | O_TRUNC), 0);
	ck_assert_int_ne(disk.open_flags & O_NOFOLLOW, 0);
}
END_TEST

START_TEST(bytes_that_lie_askew_in_memory_go_the_ordinary_way)
{
	uint8_t *askew = bytes + 512;

	open_file(MIB);
	ck_assert_int_eq(restore_sink_ops.write(&tree, &bulk_file, 0, askew, MIB), 0);
	ck_assert_uint_eq(disk.ordinary, MIB);
	ck_assert_int_eq(close_file(0), 0);
	bytes += 512;
	check_file(MIB);
	bytes -= 512;
}
END_TEST

START_TEST(small_files_have_one_descriptor)
{
	open_file(512 * KIB);
	ck_assert_uint_eq(disk.opens, 0);
	ck_assert_int_eq(put(0, 512 * KIB), 0);
	ck_assert_int_eq(close_file(0), 0);
	check_file(512 * KIB);
}
END_TEST

START_TEST(without_syncing_the_page_cache_has_it_all)
{
	request.no_sync = true;
	ck_assert(!restore_direct_choose(&tree));
	open_file(2 * MIB);
	ck_assert_int_eq(put(0, 2 * MIB), 0);
	ck_assert_int_eq(close_file(0), 0);
	ck_assert_uint_eq(disk.opens, 0);
	check_file(2 * MIB);
}
END_TEST

START_TEST(file_systems_that_are_better_without_it)
{
	ck_assert(restore_direct_choose(&tree));
	fs_type = BTRFS_SUPER_MAGIC;
	ck_assert(!restore_direct_choose(&tree));
	ck_assert(!root.direct);
	fs_type = TMPFS_MAGIC;
	ck_assert(!restore_direct_choose(&tree));
	fs_type = EXT4_SUPER_MAGIC;
	disk.open_rc = -EINVAL;
	ck_assert(!restore_direct_choose(&tree));
	ck_assert(!root.direct);
}
END_TEST

static int reserve_rc;

static int see_reserve(void *ctx, const struct sys_event *event)
{
	uint64_t *reserved = ctx;

	if (event->call != SYS_CALL_FALLOCATE)
		return 0;
	*reserved += event->len;
	ck_assert_int_ne(event->fd, disk.fd);
	return reserve_rc;
}

/* A file with holes keeps them. */
START_TEST(whole_files_have_their_place_at_once)
{
	uint64_t reserved = 0;
	const struct sys_hook hook = {.before = see_reserve, .ctx = &reserved};
	bool whole = _i % 2 == 1;

	reserve_rc = _i < 2 ? 0 : -ENOSPC;
	(void)restore_direct_choose(&tree);
	bulk_file = (struct bulk_file){.size = 2 * MIB, .user = &file, .whole = whole};
	disk.opens = disk.closes = 0;
	sys_set_hook(&hook);
	ck_assert_int_eq(restore_sink_ops.open(&tree, &bulk_file), 0);
	ck_assert_uint_eq(reserved, whole ? 2 * MIB : 0);
	ck_assert_int_eq(put(MIB, MIB), 0);
	ck_assert_int_eq(put(0, MIB), 0);
	ck_assert_int_eq(close_file(0), 0);
	sys_set_hook(NULL);
	check_file(2 * MIB);
}
END_TEST

/* As the kernel has it, whatever this file system says to O_DIRECT. */
START_TEST(the_real_disk)
{
	int fd = __real_openat64(unit_dir, RESTORE_MARKER, O_WRONLY | O_DIRECT, 0);

	open_file(2 * MIB);
	if (fd >= 0 && file.direct_fd >= 0) {
		ck_assert_int_eq(close(file.direct_fd), 0);
		file.direct_fd = __real_openat64(unit_dir, "f", O_WRONLY | O_DIRECT, 0);
		ck_assert_int_ge(file.direct_fd, 0);
	}
	ck_assert_int_eq(put(MIB, MIB), 0);
	ck_assert_int_eq(put(0, MIB), 0);
	disk.closes = disk.opens;
	ck_assert_int_eq(close_file(0), 0);
	check_file(2 * MIB);
	if (fd >= 0)
		close(fd);
}
END_TEST

/* ---- what the disk refuses ---- */

static const int open_errors[] = {-EINVAL, -EMFILE, -ENFILE, -EACCES, -ENOMEM};

START_TEST(an_open_that_fails_is_done_without)
{
	ck_assert(restore_direct_choose(&tree));
	disk.open_rc = open_errors[_i];
	root.direct = true;
	bulk_file = (struct bulk_file){.size = MIB, .user = &file};
	disk.opens = disk.closes = 0;
	ck_assert_int_eq(restore_sink_ops.open(&tree, &bulk_file), 0);
	ck_assert_uint_eq(disk.opens, 1);
	/* A file system that refuses is not asked for each file; a lack of descriptors passes. */
	ck_assert_int_eq(root.direct, open_errors[_i] != -EINVAL);
	ck_assert_int_eq(put(0, MIB), 0);
	ck_assert_uint_eq(disk.ordinary, MIB);
	ck_assert_int_eq(close_file(0), 0);
	check_file(MIB);
	ck_assert_str_eq(tree.error.text, "");
}
END_TEST

/* No descriptor at all is the restore's error. */
START_TEST(an_ordinary_open_that_fails_is_said)
{
	struct rlimit old, limit;

	(void)restore_direct_choose(&tree);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = 0;
	bulk_file = (struct bulk_file){.size = MIB, .user = &file};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(restore_sink_ops.open(&tree, &bulk_file), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_ptr_nonnull(strstr(tree.error.text, "/f': "));
}
END_TEST

START_TEST(larger_sectors_are_done_without)
{
	disk.sector = 64 * KIB;
	open_file(3 * MIB);
	ck_assert_int_eq(put(0, 256 * KIB), 0); /* these are multiples of 64 KiB */
	ck_assert_uint_eq(disk.direct, 256 * KIB);
	ck_assert_int_eq(put(256 * KIB, MIB - 8 * KIB), 0);
	ck_assert_uint_eq(disk.ordinary, MIB - 8 * KIB);
	ck_assert_uint_eq(disk.writes, 2);
	ck_assert_int_eq(put(MIB + 248 * KIB, 2 * MIB - 248 * KIB), 0);
	ck_assert_uint_eq(disk.writes, 2);
	ck_assert_int_eq(close_file(0), 0);
	check_file(3 * MIB);
}
END_TEST

/* Bytes that a first direct write takes, and how many of the run go directly in the end. */
static const struct {
	size_t first, second;
	uint64_t direct;
} shorts[] = {
	{512 * KIB, WHOLE, 2 * MIB},
	{4096, 8192, 2 * MIB},
	{4096 + 512, WHOLE, 4096 + 512},
	{1, WHOLE, 1},
	{4096, 100, 4196},
};

START_TEST(a_short_write_goes_on_with_the_rest)
{
	disk.most[0] = shorts[_i].first;
	disk.most[1] = shorts[_i].second;
	open_file(2 * MIB);
	ck_assert_int_eq(put(0, 2 * MIB), 0);
	ck_assert_uint_eq(disk.direct, shorts[_i].direct);
	ck_assert_uint_eq(disk.ordinary, 2 * MIB - shorts[_i].direct);
	ck_assert_int_eq(close_file(0), 0);
	check_file(2 * MIB);
}
END_TEST

START_TEST(what_is_refused_after_a_short_write_is_the_rest_alone)
{
	disk.most[0] = 512 * KIB;
	disk.most[1] = 0;
	disk.write_rc = -EINVAL;
	open_file(2 * MIB);
	ck_assert_int_eq(put(0, 2 * MIB), 0);
	ck_assert_uint_eq(disk.direct, 512 * KIB);
	ck_assert_uint_eq(disk.ordinary, 2 * MIB - 512 * KIB);
	ck_assert_int_eq(close_file(0), 0);
	check_file(2 * MIB);
}
END_TEST

static const int write_errors[] = {-ENOSPC, -EIO, -EDQUOT, -EROFS};

/* Of a first write, and of one after a short write, which is how a disk fills up. */
START_TEST(an_error_of_the_disk_is_said)
{
	unsigned at = (unsigned)_i % 2;

	disk.most[0] = 512 * KIB;
	disk.most[at] = 0;
	disk.write_rc = write_errors[_i / 2];
	open_file(2 * MIB);
	ck_assert_int_eq(put(0, 2 * MIB), disk.write_rc);
	ck_assert_uint_eq(disk.ordinary, 0);
	ck_assert_ptr_nonnull(strstr(tree.error.text, "cannot write '"));
	ck_assert_ptr_nonnull(strstr(tree.error.text, strerror(-disk.write_rc)));
	ck_assert_int_eq(close_file(disk.write_rc), disk.write_rc);
	ck_assert_uint_eq(disk.closes, 1);
}
END_TEST

/* ---- closing ---- */

static int fail_close(void *ctx, const struct sys_event *event)
{
	return event->call == SYS_CALL_CLOSE && event->fd == *(const int *)ctx ? -EIO : 0;
}

START_TEST(each_files_fsync_comes_after_its_last_write)
{
	tree.sync_files = true;
	open_file(MIB);
	ck_assert_int_eq(put(0, MIB), 0);
	ck_assert_int_eq(close_file(0), 0);
	ck_assert_uint_eq(disk.fsyncs, 1);
	check_file(MIB);
}
END_TEST

START_TEST(a_failed_fsync_is_said)
{
	tree.sync_files = true;
	disk.fsync_rc = -EIO;
	open_file(MIB);
	ck_assert_int_eq(put(0, MIB), 0);
	ck_assert_int_eq(close_file(0), -EIO);
	ck_assert_ptr_nonnull(strstr(tree.error.text, strerror(EIO)));
	ck_assert_uint_eq(disk.closes, 1);
}
END_TEST

/* Some file systems say only then that a write has failed. */
START_TEST(a_failed_close_is_said)
{
	int fd;
	const struct sys_hook hook = {.before = fail_close, .ctx = &fd};

	open_file(MIB);
	fd = file.direct_fd;
	ck_assert_int_eq(put(0, MIB), 0);
	sys_set_hook(&hook);
	ck_assert_int_eq(close_file(0), -EIO);
	sys_set_hook(NULL);
	ck_assert_ptr_nonnull(strstr(tree.error.text, strerror(EIO)));
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cmd_restore_write");
	TCase *tcase = tcase_create("write");

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, long_runs_go_directly_and_all_else_does_not);
	tcase_add_test(tcase, bytes_that_lie_askew_in_memory_go_the_ordinary_way);
	tcase_add_test(tcase, small_files_have_one_descriptor);
	tcase_add_test(tcase, without_syncing_the_page_cache_has_it_all);
	tcase_add_test(tcase, file_systems_that_are_better_without_it);
	tcase_add_loop_test(tcase, whole_files_have_their_place_at_once, 0, 4);
	tcase_add_test(tcase, the_real_disk);
	tcase_add_loop_test(tcase, an_open_that_fails_is_done_without, 0, ARRAY_SIZE(open_errors));
	tcase_add_test(tcase, an_ordinary_open_that_fails_is_said);
	tcase_add_test(tcase, larger_sectors_are_done_without);
	tcase_add_loop_test(tcase, a_short_write_goes_on_with_the_rest, 0, ARRAY_SIZE(shorts));
	tcase_add_test(tcase, what_is_refused_after_a_short_write_is_the_rest_alone);
	tcase_add_loop_test(tcase, an_error_of_the_disk_is_said, 0, 2 * ARRAY_SIZE(write_errors));
	tcase_add_test(tcase, each_files_fsync_comes_after_its_last_write);
	tcase_add_test(tcase, a_failed_fsync_is_said);
	tcase_add_test(tcase, a_failed_close_is_said);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
