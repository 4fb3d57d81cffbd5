/*
 * tests/unit/overlay_pieces_test.c: the pieces of indexes: what is held of them when memory is little,
 * and that those in the cache come back without another open.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer_check.h"
#include "overlay_show.h"
#include "unit.h"

#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLCK LAYER_BLCKSZ

static uint64_t data_opens, index_opens, index_reads;
static int index_fd; /* the last one opened */

/* A file of the chain's in the cache, opened to be read. */
static bool is_index(const struct sys_event *ev)
{
	return strlen(ev->path) == 16 && strspn(ev->path, "0123456789abcdef") == 16;
}

static void count_calls(void *ctx, const struct sys_event *ev, int64_t result)
{
	index_reads += ev->call == SYS_CALL_READ && ev->fd == index_fd;
	if (ev->call != SYS_CALL_OPEN || result < 0)
		return;
	data_opens += strncmp(ev->path, "database/base", 13) == 0;
	if (!is_index(ev))
		return;
	index_opens++;
	index_fd = (int)result;
}

static const struct sys_hook counter = {.after = count_calls};

/* Some file systems, such as tmpfs, do not tell what is cached: each read waits for a thread then. */
static bool tells_what_is_cached(void)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	int fd;
	bool tells;

	unit_put_file("probe", "x");
	fd = openat(unit_dir, "probe", O_RDONLY);
	tells = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
	close(fd);
	return tells;
}

static void begin_counting(void)
{
	data_opens = index_opens = index_reads = 0;
	index_fd = -1;
	sys_set_hook(&counter);
}

static void assert_large(unsigned block)
{
	char letters[4];

	ck_assert_int_eq(read_blocks(LARGE, block, 1, letters), BLCK);
	ck_assert_int_eq(letters[0], 'a' + (int)block / 1000);
}

/* Memory for no piece, but for what knows where they are: no file is opened twice, and nobody waits for a
 * thread. */
START_TEST(pieces_go_before_descriptors)
{
	make_store(true);
	fill();
	options.index_memory = 4000;
	begin_counting();
	show(TOP);
	for (unsigned i = 0; i < 10; i++)
		assert_large(i * 257);
	ck_assert_uint_eq(data_opens, 1);
	ck_assert_uint_eq(index_opens, 1);
	if (tells_what_is_cached()) /* its head by the one job; no other was needed */
		ck_assert_uint_eq(index_reads, 1 + 10);
	ck_assert_uint_eq(stats().index_builds, 0);
	ck_assert_uint_eq(stats().index_loads, 10);
	ck_assert_uint_lt(stats().index_bytes, 4000);
	hide();
	sys_set_hook(NULL);
}
END_TEST

/* Made as a whole for one piece, it does not fill the memory with the others. */
START_TEST(what_nobody_asked_for_has_half)
{
	make_store(true);
	options.index_memory = 40000;
	show(TOP);
	assert_large(2400);
	ck_assert_uint_gt(stats().index_bytes, 1024 * 12);
	ck_assert_uint_lt(stats().index_bytes, 20000);
	assert_large(1400);
	assert_large(10);
	assert_large(1400);
	ck_assert_uint_eq(stats().index_builds, 1);
	hide();
}
END_TEST

static void large_path(char ret[500])
{
	show(TOP);
	(void)snprintf(ret, 500, "%s/%016llx", chain_dir,
		       (unsigned long long)overlay_file_id(find(LARGE)));
	hide();
}

/* What the cache does not take would have to be made anew for each piece: it stays whole. */
START_TEST(what_is_not_kept_stays_whole)
{
	make_store(true);
	options.index_memory = 40000;
	options.cache_limit = 60000; /* for one file a quarter of that */
	show(TOP);
	for (unsigned i = 0; i < 10; i++)
		assert_large(i * 257);
	ck_assert_uint_eq(stats().index_builds, 1);
	ck_assert_uint_eq(stats().index_loads, 0);
	hide();
}
END_TEST

enum { COPIES = 6 };

/* A small relation, and plain files whose indexes are bare. */
static void make_small_store(void)
{
	struct made_backup b;
	char path[40];

	make_cluster(&b, FULL);
	make_rel(&b, REL, 5, "abcab");
	for (unsigned i = 0; i < COPIES; i++) {
		(void)snprintf(path, sizeof(path), "base/5/plain%u", i);
		make_plain(&b, path, "x", 1);
	}
	make_end(&b, "FULL", NULL, "OK", NULL);
}

static void read_small_and_plain(unsigned i)
{
	char letters[8] = "", path[40];

	(void)snprintf(path, sizeof(path), "base/5/plain%u", i % COPIES);
	ck_assert_int_eq(read_blocks(REL, 0, 5, letters), 5 * BLCK);
	ck_assert_str_eq(letters, "abcab");
	ck_assert_int_eq(read_blocks(path, 0, 1, letters), 1);
}

/* The cache does not have what a small file needs: as long as it is in use others go, whose turn it is. */
START_TEST(small_files_in_use_are_not_made_anew)
{
	uint64_t three;

	make_small_store();
	show(FULL);
	read_small_and_plain(0);
	read_small_and_plain(1);
	three = stats().index_bytes;
	hide();
	options.index_memory = three + 10;
	show(FULL);
	for (unsigned i = 0; i < 4 * COPIES; i++)
		read_small_and_plain(i);
	ck_assert_uint_le(stats().index_bytes, three + 10);
	ck_assert_uint_eq(stats().index_builds, 1);
	hide();
}
END_TEST

/* In the file that is open: it is made anew, once, and the new one is used. */
START_TEST(damaged_while_in_use)
{
	char path[500], zeros[64] = {0};
	int fd;

	make_store(true);
	fill();
	large_path(path);
	options.index_memory = 4000;
	show(TOP);
	assert_large(2400);
	assert_large(10);
	fd = open(path, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 64 + 1024 * 12 + 4 + 100), 64);
	close(fd);
	assert_large(2400);
	ck_assert_uint_eq(stats().index_builds, 0);
	assert_large(1400);
	ck_assert_uint_eq(stats().index_builds, 1);
	begin_counting();
	for (unsigned i = 0; i < 10; i++)
		assert_large(i * 257);
	sys_set_hook(NULL);
	ck_assert_uint_eq(stats().index_builds, 1);
	ck_assert_uint_eq(index_opens, 1);
	hide();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("overlay_pieces");
	TCase *t = tcase_create("pieces");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, show_setup, check_teardown);
	tcase_add_test(t, pieces_go_before_descriptors);
	tcase_add_test(t, what_nobody_asked_for_has_half);
	tcase_add_test(t, what_is_not_kept_stays_whole);
	tcase_add_test(t, small_files_in_use_are_not_made_anew);
	tcase_add_test(t, damaged_while_in_use);
	suite_add_tcase(s, t);
	return unit_run(s);
}
