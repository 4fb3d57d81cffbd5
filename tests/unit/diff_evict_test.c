/*
 * tests/unit/diff_evict_test.c: a written file loses its descriptor to another one before anybody asked for an fsync of
 * it: what the fdatasync of the eviction has proven or failed to prove is what the later fsync says.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

#include <stdio.h>
#include <unistd.h>

enum { OTHERS = 6, ROUNDS = 20 };

static const int errors[] = {0, -EIO, -ENOSPC};

static struct {
	char path[DIFF_PATH_SIZE]; /* of the victim's data file */
	int with;		   /* what its fdatasync fails with */
	unsigned hits;
} victim;

static bool is_victim(int fd)
{
	char link[64], target[400];
	size_t len = strlen(victim.path);
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	return n > (ssize_t)len && memcmp(target + n - len, victim.path, len) == 0;
}

static int before(void *ctx, const struct sys_event *ev)
{
	if (ev->call != SYS_CALL_FDATASYNC || !is_victim(ev->fd))
		return 0;
	victim.hits++;
	return victim.with;
}

static void other_name(unsigned i, char ret[32])
{
	(void)snprintf(ret, 32, "other%u", i);
}

static void make_files(void)
{
	char name[32];

	MUST(env_create("victim") == 0);
	MUST(env_write("victim", 0, 4, 1) == 0);
	for (unsigned i = 0; i < OTHERS; i++) {
		other_name(i, name);
		MUST(env_create(name) == 0);
		MUST(env_write(name, 0, 1, 100 + i) == 0);
	}
	MUST(env_sync("*") == 0);
}

/* Returns the number of the last write to each of them. */
static unsigned evict(void)
{
	char name[32];

	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned i = 0; i < OTHERS; i++) {
			other_name(i, name);
			MUST(env_write(name, 0, 1, 1000 * round + i) == 0);
		}
		env_drain();
		if (victim.hits > 0)
			return round;
	}
	ck_abort_msg("the victim was not evicted");
	return 0;
}

START_TEST(a_later_fsync_tells_the_truth)
{
	const struct sys_hook hook = {.before = before};
	int with = errors[_i];
	unsigned round;
	char name[32];

	env.slots = 2;
	env_open();
	make_files();
	file_path(env_id("victim"), victim.path);
	victim.with = with;
	victim.hits = 0;
	sys_set_hook(&hook);
	MUST(env_write("victim", 1, 2, 2) == 0);
	round = evict();
	/* The disk is well again: an fdatasync now would succeed and prove nothing. */
	victim.with = 0;
	if (with == 0)
		env_assert_block("victim", 1, 2);
	ck_assert_int_eq(env_sync("victim"), with);
	ck_assert_int_eq(env_sync("victim"), with);
	/* A failed one is not tried again; after a good one it was opened anew, and asked once. */
	ck_assert_uint_eq(victim.hits, with != 0 ? 1 : 2);
	ck_assert_uint_eq(env_stats().failed_files, with != 0);
	for (unsigned i = 0; i < OTHERS; i++) {
		other_name(i, name);
		ck_assert_int_eq(env_sync(name), 0);
	}
	ck_assert_int_eq(env_write("other0", 1, 1, 3), with == -EIO ? -EROFS : 0);
	sys_set_hook(NULL);
	env_kill();
	env_open();
	env_assert_block("victim", 0, 1);
	for (unsigned i = 0; i < OTHERS; i++) {
		other_name(i, name);
		env_assert_block(name, 0, 1000 * round + i);
	}
	if (with == 0)
		env_assert_block("victim", 2, 2);
	env_close();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("diff_evict");
	TCase *tc = tcase_create("diff");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, env_setup, env_teardown);
	tcase_add_loop_test(tc, a_later_fsync_tells_the_truth, 0, (int)ARRAY_SIZE(errors));
	suite_add_tcase(s, tc);
	return unit_run(s);
}
