/*
 * tests/unit/diff_failed_test.c: what a group says of a file of which data has been lost
 * (src/diff/failed.c).
 */
#include "diff_util.h"

#include <unistd.h>

static int no_data_sync(void *ctx, const struct sys_event *ev)
{
	char link[64], path[512];
	ssize_t n;

	(void)ctx;
	if (ev->call != SYS_CALL_FDATASYNC)
		return 0;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", ev->fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[MAX(n, 0)] = '\0';
	return strstr(path, "/data/") ? -ENOSPC : 0;
}

/*
 * A file that was cut inside a block and then made longer has zeros from there on in a block that
 * the group does not claim when they are lost: it must not be longer either, now or later.
 */
START_TEST(no_growth_without_the_blocks)
{
	static const struct sys_hook hook = {.before = no_data_sync};
	const uint64_t cut = DIFF_BLCKSZ + 77;

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 2, 7), 0);
	ck_assert_int_eq(env_truncate("a", cut), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	sys_set_hook(&hook);
	ck_assert_int_eq(env_write("a", 1, 1, 8), 0);
	ck_assert_int_eq(env_truncate("a", 3 * (uint64_t)DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_sync("a"), -ENOSPC);
	sys_set_hook(NULL);
	ck_assert_int_eq(env_truncate("a", 5 * (uint64_t)DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_create("b"), 0);
	ck_assert_int_eq(env_sync(NULL), 0);
	env_kill();

	env_open();
	ck_assert_uint_ne(env_id("b"), 0);
	ck_assert_uint_eq(env_size("a"), cut);
	env_close();
}
END_TEST

/* Shorter is what it was, for a moment: nothing shows that was not there. */
START_TEST(a_failed_file_gets_shorter)
{
	static const struct sys_hook hook = {.before = no_data_sync};

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 4, 7), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	sys_set_hook(&hook);
	ck_assert_int_eq(env_write("a", 3, 2, 8), 0);
	ck_assert_int_eq(env_truncate("a", DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_truncate("a", 4 * (uint64_t)DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 9), 0);
	ck_assert_int_eq(env_sync("a"), -ENOSPC);
	sys_set_hook(NULL);
	env_kill();

	env_open();
	ck_assert_uint_eq(env_size("a"), DIFF_BLCKSZ);
	env_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_failed");
	TCase *tcase = tcase_create("failed");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_add_test(tcase, no_growth_without_the_blocks);
	tcase_add_test(tcase, a_failed_file_gets_shorter);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
