/*
 * tests/unit/overlay_cache_test.c: indexes that are kept: a second mount reads them instead of the
 * store, and whatever became of their files, what is read of the backup is the same.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer_check.h"
#include "overlay_show.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLCK LAYER_BLCKSZ

/* ---- what is read of the store ---- */

static bool is_data[1024];
static uint64_t data_opens, data_bytes;

static void count_after(void *ctx, const struct sys_event *ev, int64_t result)
{
	if (ev->call == SYS_CALL_OPEN && result >= 0 && result < 1024) {
		is_data[result] = strncmp(ev->path, "database/base", 13) == 0;
		data_opens += is_data[result];
	}
	if (ev->call == SYS_CALL_READ && result > 0 && ev->fd < 1024 && is_data[ev->fd])
		data_bytes += (uint64_t)result;
}

START_TEST(a_second_mount_reads_only_pages)
{
	static const struct sys_hook counter = {.after = count_after};
	bool map = _i == 1;
	char letters[4];

	make_store(map);
	fill();
	sys_set_hook(&counter);
	show(TOP);
	ck_assert_uint_eq(data_opens, 0);
	ck_assert_uint_eq(data_bytes, 0);
	ck_assert_int_eq(read_blocks(LARGE, 2400, 1, letters), BLCK);
	ck_assert_int_eq(letters[0], 'c');
	ck_assert_uint_eq(data_opens, 1);
	ck_assert_uint_gt(data_bytes, 0);
	ck_assert_uint_lt(data_bytes, 200);
	/* Of the three pieces one. */
	ck_assert_uint_lt(stats().index_bytes, 1024 * 12);
	ck_assert_int_eq(read_blocks(LARGE, 1023, 2, letters), 2 * BLCK);
	ck_assert_int_eq(letters[0] == 'b' && letters[1] == 'b', 1);
	ck_assert_int_eq(read_blocks(LARGE, 1700, 1, letters), BLCK);
	ck_assert_int_eq(letters[0], 'y');
	ck_assert_uint_eq(stats().index_builds, 0);
	ck_assert_uint_eq(stats().index_loads, 2);
	ck_assert_uint_eq(data_opens, 2); /* the page of the newest backup is in another file */
	if (!map) {
		ck_assert_str_eq(small(), CONTENT);
		ck_assert_uint_eq(stats().index_builds, 0);
	}
	hide();
	sys_set_hook(NULL);
}
END_TEST

/* Pushed out of memory it comes back from the cache, too. */
START_TEST(little_memory_costs_loads)
{
	char letters[PARTS];

	make_store(false);
	fill();
	options.index_memory = 1;
	show(TOP);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(read_blocks(LARGE, i * 500, 1, letters), BLCK);
		ck_assert_int_eq(letters[0], 'a' + (int)i / 2);
		ck_assert_str_eq(small(), CONTENT);
	}
	ck_assert_uint_eq(stats().index_builds, 0);
	ck_assert_uint_eq(stats().index_loads, 10);
	ck_assert_uint_eq(stats().index_bytes, 0);
	hide();
}
END_TEST

/* A page that has become another one since it was indexed; the cluster has no page checksums. */
START_TEST(what_is_loaded_verifies_reads)
{
	const char *path = "backups/main/" FULL "/database/" LARGE;
	struct layer_extent x;
	char letters[4];
	uint8_t record[400];
	int fd;

	make_store(_i == 1);
	fill();
	/* The record of block 2400 in the place of block 0's: as long, and it decodes. */
	check_opens(TOP);
	ck_assert_int_ge(chain->layers[0]->ops->locate(chain->layers[0], 1, 2400, 1, &x, &message),
			 0);
	check_close();
	fd = openat(unit_dir, path, O_RDWR);
	ck_assert_int_eq(pread(fd, record, x.len, (off_t)x.off), x.len);
	ck_assert_uint_eq(get_le32(record), 2400);
	put_le32(record, 0);
	ck_assert_int_eq(pwrite(fd, record, x.len, 0), x.len);
	ck_assert_int_eq(pread(fd, record, 4, x.len + 0), 4);
	ck_assert_uint_eq(get_le32(record), 1);
	close(fd);
	show(TOP);
	ck_assert_int_eq(read_blocks(LARGE, 0, 1, letters), -EIO);
	ck_assert_int_eq(read_blocks(LARGE, 1, 1, letters), BLCK);
	ck_assert_uint_eq(stats().bad_pages, 1);
	ck_assert_uint_eq(stats().index_builds, 0);
	hide();
}
END_TEST

/* ---- what may become of the files ---- */

static void assert_the_same(unsigned builds, const char *what, size_t at)
{
	show(TOP);
	ck_assert_msg(strcmp(small(), CONTENT) == 0, "%s %zu: %s", what, at, small());
	ck_assert_msg(stats().index_builds == builds, "%s %zu", what, at);
	hide();
}

static void damage(const char *path, unsigned builds)
{
	char *bytes, *now;
	size_t len, now_len;

	ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 20, &bytes, &len), 0);
	ck_assert_uint_lt(len, 1024);
	for (size_t i = 0; i < len; i++) {
		int fd = open(path, O_WRONLY);
		char byte = (char)(bytes[i] ^ (i % 2 ? 0x01 : 0x80));

		ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)i), 1);
		close(fd);
		assert_the_same(builds, "byte", i);
		ck_assert_int_eq(truncate(path, (off_t)i), 0);
		assert_the_same(builds, "length", i);
	}
	/* It was mended each time. */
	ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 20, &now, &now_len), 0);
	ck_assert_uint_eq(now_len, len);
	ck_assert_mem_eq(now, bytes, len);
	free(bytes);
	free(now);
}

START_TEST(damaged_files_are_made_anew)
{
	char path[500];

	make_store(false);
	fill();
	show(TOP);
	(void)snprintf(path, sizeof(path), "%s/%016llx", chain_dir,
		       (unsigned long long)overlay_file_id(find(REL)));
	hide();
	damage(path, 1);
	(void)snprintf(path, sizeof(path), "%s/lengths", chain_dir);
	damage(path, 0);
}
END_TEST

/* Another file's index under this one's name, and one of another chain. */
START_TEST(an_index_of_another_file_is_none)
{
	char other[350];

	make_store(false);
	fill();
	memcpy(other, chain_dir, sizeof(other));
	shell("cd '%s' && set -- $(ls | grep -v lengths) && [ $# = 2 ] && mv $1 x && mv $2 $1 && "
	      "mv x $2",
	      chain_dir);
	fill();
	show(MIDDLE);
	ck_assert_str_eq(small(), "abaaab");
	ck_assert_str_ne(chain_dir, other);
	hide();
	shell("rm -r '%s' && cp -r '%s' '%s'", other, chain_dir, other);
	fill();
}
END_TEST

/* Made without sums it does not serve a mount that verifies; the other way round it does. */
START_TEST(sums_are_there_when_they_are_wanted)
{
	make_store(false);
	options.verify_reads = false;
	fill();
	options.verify_reads = true;
	fill();
	options.verify_reads = false;
	assert_the_same(0, "verified", 0);
}
END_TEST

START_TEST(removed_while_in_use)
{

	make_store(false);
	show(TOP);
	shell("rm -r '%s'", cache_dir);
	ck_assert_str_eq(small(), CONTENT);
	hide();
	fill();
	assert_the_same(0, "kept", 0);
}
END_TEST

START_TEST(a_directory_of_others_is_not_used)
{
	make_store(false);
	fill();
	ck_assert_int_eq(chmod(cache_dir, 0777), 0);
	fill();
	ck_assert_int_eq(chmod(cache_dir, 0700), 0);
	ck_assert_int_eq(chmod(chain_dir, 0720), 0);
	fill();
	ck_assert_int_eq(chmod(chain_dir, 0700), 0);
	assert_the_same(0, "ours again", 0);
}
END_TEST

/* ---- calls that fail, and a process that does not live to see the end ---- */

static unsigned fail_at, calls;
static int fail_with; /* 0: the process ends */

static int fail_before(void *ctx, const struct sys_event *ev)
{
	char link[64], path[400] = "";
	bool ours = ev->path != NULL && strstr(ev->path, "cache") != NULL;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", ev->fd);
	if (ev->fd >= 0 && readlink(link, path, sizeof(path) - 1) > 0)
		ours = strncmp(path, cache_dir, strlen(cache_dir)) == 0;
	if (!ours || calls++ != fail_at)
		return 0;
	if (fail_with == 0)
		_exit(9);
	return fail_with;
}

START_TEST(any_call_may_fail)
{
	static const struct sys_hook failing = {.before = fail_before};
	static const int errors[] = {-ENOSPC, -EIO, -EROFS};

	make_store(false);
	fail_with = errors[_i];
	for (fail_at = 0;; fail_at++) {
		shell("rm -rf '%s'", cache_dir);
		calls = 0;
		sys_set_hook(&failing);
		for (unsigned i = 0; i < 2; i++) { /* once without a cache, once with one */
			show(TOP);
			ck_assert_msg(strcmp(small(), CONTENT) == 0, "call %u", fail_at);
			hide();
		}
		sys_set_hook(NULL);
		if (calls <= fail_at)
			break;
	}
	ck_assert_uint_gt(fail_at, 20);
}
END_TEST

static int count_temp(void *ctx, const char *name, unsigned char d_type)
{
	*(unsigned *)ctx += strncmp(name, "tmp-", 4) == 0;
	return 0;
}

static unsigned count_temps(void)
{
	unsigned count = 0;

	ck_assert_int_eq(sys_readdir(AT_FDCWD, chain_dir, count_temp, &count), 0);
	return count;
}

START_TEST(killed_at_any_call)
{
	static const struct sys_hook failing = {.before = fail_before};
	unsigned temps = 0;
	int status = 0;

	make_store(false);
	fail_with = 0;
	for (fail_at = 0;; fail_at++) {
		pid_t pid = fork();

		if (pid == 0) {
			sys_set_hook(&failing);
			show(TOP);
			(void)small();
			hide();
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (status == 0)
			break;
		ck_assert_int_eq(WEXITSTATUS(status), 9);
		show(TOP);
		ck_assert_msg(strcmp(small(), CONTENT) == 0, "call %u", fail_at);
		hide();
		temps += count_temps();
		shell("rm -f '%s'/*", chain_dir);
	}
	ck_assert_uint_gt(fail_at, 10);
	ck_assert_uint_gt(temps, 2);
	/* What they leave goes when it is old. */
	shell("rm -f '%s'/*", chain_dir);
	shell("cd '%s' && touch -d '2 hours ago' tmp-1 && touch tmp-2", chain_dir);
	fill();
	ck_assert_uint_eq(count_temps(), 1);
}
END_TEST

START_TEST(the_oldest_go)
{
	char old[450];

	make_store(false);
	(void)snprintf(old, sizeof(old), "%s/index-00112233445566778899aabbccddeeff", cache_dir);
	shell("mkdir -p -m 700 '%s' && for i in 1 2 3 4; do head -c 50000 /dev/zero "
	      ">'%s'/000000000000000$i; "
	      "touch -d \"2020-01-0$i\" '%s'/000000000000000$i; done",
	      old, old, old);
	chmod(cache_dir, 0700);
	options.cache_limit = 220000; /* the large one takes 30 kB */
	fill();
	shell("cd '%s' && [ \"$(echo *)\" = '%s' ]", old, "0000000000000003 0000000000000004");
	assert_the_same(0, "kept", 0);
	options.cache_limit = 60000;
	show(MIDDLE);
	ck_assert_str_eq(small(), "abaaab");
	hide();
	shell("[ ! -e '%s' ] && [ -d '%s' ]", old, chain_dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("overlay_cache");
	TCase *t = tcase_create("cache");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, show_setup, check_teardown);
	tcase_add_loop_test(t, a_second_mount_reads_only_pages, 0, 2);
	tcase_add_test(t, little_memory_costs_loads);
	tcase_add_loop_test(t, what_is_loaded_verifies_reads, 0, 2);
	tcase_add_test(t, damaged_files_are_made_anew);
	tcase_add_test(t, an_index_of_another_file_is_none);
	tcase_add_test(t, sums_are_there_when_they_are_wanted);
	tcase_add_test(t, removed_while_in_use);
	tcase_add_test(t, a_directory_of_others_is_not_used);
	tcase_add_loop_test(t, any_call_may_fail, 0, 3);
	tcase_add_test(t, killed_at_any_call);
	tcase_add_test(t, the_oldest_go);
	suite_add_tcase(s, t);
	return unit_run(s);
}
