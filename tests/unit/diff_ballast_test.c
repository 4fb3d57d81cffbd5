/*
 * tests/unit/diff_ballast_test.c: host space that is set aside for what the kernel has accepted:
 * when it is there, when it goes, when it comes back, and who may take the last of the disk.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB	(UINT64_C(1) << 20)
#define PIECE	(2 * MIB)
#define BALLAST (2 * PIECE)

static int room_fails; /* with this, while the hook is set */
static bool cut_fails;
static uint64_t seen; /* by the writer that finds no room */

/* Bytes of the host that it takes, and the diff says the same. */
static uint64_t ballast_blocks(void)
{
	char path[400];
	struct stat st;
	uint64_t bytes = 0;

	env_path(path, sizeof(path), "ballast");
	if (stat(path, &st) == 0) {
		bytes = (uint64_t)st.st_blocks * 512;
		ck_assert_uint_ge(bytes, (uint64_t)st.st_size);
	}
	ck_assert_uint_eq(bytes / MIB * MIB, env_stats().ballast_bytes);
	return bytes / MIB * MIB;
}

static bool ballast_is_there(void)
{
	char path[400];

	env_path(path, sizeof(path), "ballast");
	return access(path, F_OK) == 0 && ballast_blocks() == BALLAST;
}

static void spend_all(void)
{
	seen = 0;
	while (diff_ballast_spend(env.diff, &seen)) {
	}
	ck_assert_uint_eq(env_stats().ballast_bytes, 0);
}

static int before(void *ctx, const struct sys_event *ev)
{
	bool fails = ev->call == SYS_CALL_FALLOCATE || (cut_fails && ev->call == SYS_CALL_TRUNCATE);

	return fails ? room_fails : 0;
}

static int open_failing(int with)
{
	static const struct sys_hook hook = {.before = before};
	int rc;

	room_fails = with;
	sys_set_hook(&hook);
	rc = diff_ballast_open(env.diff, BALLAST);
	sys_set_hook(NULL);
	return rc;
}

/* The host has just said that so much is free. */
static void set_free(uint64_t bytes)
{
	env.diff->space_free = bytes;
	env.diff->space_files = UINT64_MAX;
	env.diff->space_claimed = 0;
	env.diff->space_time = time_ns();
}

static void setup(void)
{
	env_setup();
	seen = 0;
	env.options.reserve = MIB;
}

START_TEST(comes_and_goes)
{
	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	ck_assert(ballast_is_there());
	ck_assert_uint_eq(env_stats().ballast_bytes, BALLAST);
	ck_assert(!diff_is_tight(env.diff));
	env_close();
	ck_assert(!ballast_is_there());
}
END_TEST

START_TEST(what_a_crash_left_goes)
{
	char path[400];
	FILE *f;

	env_open();
	env_close();
	env_path(path, sizeof(path), "ballast");
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fclose(f);
	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, 0), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert(!diff_is_tight(env.diff));
	ck_assert(!diff_ballast_spend(env.diff, &seen));
	env_close();
}
END_TEST

/* All at once would be taken by whoever fills the disk. */
START_TEST(is_spent_by_pieces_and_comes_back)
{
	uint64_t other = 0;

	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	ck_assert_uint_eq(ballast_blocks(), PIECE);
	ck_assert(diff_is_tight(env.diff));
	/* Others that failed before that may try, too. */
	ck_assert(diff_ballast_spend(env.diff, &other));
	ck_assert_uint_eq(ballast_blocks(), PIECE);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	ck_assert_uint_eq(ballast_blocks(), 0);
	ck_assert(!diff_ballast_spend(env.diff, &seen));
	ck_assert(diff_ballast_spend(env.diff, &other));
	ck_assert(!diff_ballast_spend(env.diff, &other));
	ck_assert_uint_eq(env_stats().ballast_spent, 1);
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(ballast_is_there());
	ck_assert(!diff_is_tight(env.diff));
	env_close();
}
END_TEST

/* What is left of it is not given up because the rest cannot be had. */
START_TEST(what_is_left_stays_until_the_rest_is_there)
{
	static const struct sys_hook hook = {.before = before};

	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	room_fails = -ENOSPC;
	sys_set_hook(&hook);
	diff_ballast_restore(env.diff);
	env_drain();
	sys_set_hook(NULL);
	ck_assert_uint_eq(ballast_blocks(), PIECE);
	ck_assert(diff_is_tight(env.diff));
	env.diff->ballast.tried = 0;
	diff_ballast_restore(env.diff);
	/* One that finds no room while the rest is on its way has what was there. */
	ck_assert(diff_ballast_spend(env.diff, &seen));
	env_drain();
	ck_assert_uint_eq(env_stats().ballast_bytes, 0);
	ck_assert(diff_is_tight(env.diff));
	env.diff->ballast.tried = 0;
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(ballast_is_there());
	ck_assert(!diff_is_tight(env.diff));
	env_close();
}
END_TEST

/* What is left of it needs no room once more. */
START_TEST(only_what_is_missing_needs_room)
{
	uint64_t bytes = 256 * MIB;

	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, bytes), 0);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	ck_assert_uint_ne(env_stats().ballast_bytes, bytes);
	env.diff->options.reserve = diff_host_free(env.diff) - bytes * 3 / 2;
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert_uint_eq(env_stats().ballast_bytes, bytes);
	env_close();
}
END_TEST

/* A host that cannot give a piece gives all. */
START_TEST(goes_as_a_whole_where_it_cannot_be_cut)
{
	static const struct sys_hook hook = {.before = before};

	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	room_fails = -ENOSPC;
	cut_fails = true;
	sys_set_hook(&hook);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	sys_set_hook(NULL);
	cut_fails = false;
	ck_assert_uint_eq(ballast_blocks(), 0);
	ck_assert(!diff_ballast_spend(env.diff, &seen));
	env_close();
}
END_TEST

START_TEST(does_not_come_back_where_it_would_be_tight)
{
	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	spend_all();
	env.diff->options.reserve = UINT64_C(1) << 60;
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(!ballast_is_there());
	ck_assert(diff_is_tight(env.diff));
	env.diff->options.reserve = MIB;
	/* Not asked again at once. */
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(!ballast_is_there());
	env.diff->ballast.tried = 0;
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(!diff_is_tight(env.diff));
	env_close();
}
END_TEST

START_TEST(is_tight_before_it_is_full)
{
	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	set_free(MIB + BALLAST);
	ck_assert(!diff_is_tight(env.diff));
	set_free(MIB + BALLAST - 1);
	ck_assert(diff_is_tight(env.diff));
	set_free(MIB + BALLAST);
	env.diff->space_claimed = 1;
	ck_assert(diff_is_tight(env.diff));
	ck_assert(!diff_is_tightest(env.diff));
	set_free(MIB + BALLAST / 2);
	ck_assert(!diff_is_tightest(env.diff));
	set_free(MIB + BALLAST / 2 - 1);
	ck_assert(diff_is_tightest(env.diff));
	set_free(MIB + BALLAST);
	ck_assert(diff_ballast_spend(env.diff, &seen));
	ck_assert(diff_is_tightest(env.diff));
	env_close();
}
END_TEST

/* statvfs says that there is room, and there is none. */
START_TEST(a_quota_is_tried_now_and_then)
{
	static const struct sys_hook hook = {.before = before};

	env_open();
	ck_assert_int_eq(open_failing(-EDQUOT), 0);
	ck_assert(!diff_ballast_is_there(env.diff));
	ck_assert(diff_is_tight(env.diff));
	ck_assert(!diff_has_little_room(env.diff));
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(diff_has_little_room(env.diff));
	ck_assert(diff_ballast_spend(env.diff, &seen));
	room_fails = -EDQUOT;
	sys_set_hook(&hook);
	env.diff->ballast.tried = 0;
	diff_ballast_restore(env.diff);
	env_drain();
	sys_set_hook(NULL);
	ck_assert(diff_is_tight(env.diff));
	ck_assert(diff_has_little_room(env.diff));
	env.diff->ballast.tried = time_ns() - UINT64_C(1000000000);
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(diff_is_tight(env.diff));
	env.diff->ballast.tried -= UINT64_C(1000000000);
	diff_ballast_restore(env.diff);
	env_drain();
	ck_assert(!diff_is_tight(env.diff));
	env_close();
}
END_TEST

START_TEST(is_tight_before_the_last_file_is_made)
{
	env_open();
	ck_assert_int_eq(diff_ballast_open(env.diff, BALLAST), 0);
	set_free(64 * MIB);
	env.diff->space_files = 1000;
	ck_assert(!diff_is_tight(env.diff));
	ck_assert(diff_has_little_room(env.diff));
	diff_expect_files(env.diff, 1);
	ck_assert(diff_is_tight(env.diff));
	env.diff->space_files = 1200;
	ck_assert(diff_is_tight(env.diff));
	ck_assert(!diff_is_tightest(env.diff));
	env.diff->space_files = 1252;
	ck_assert(!diff_is_tight(env.diff));
	env.diff->space_files = 501;
	ck_assert(diff_is_tightest(env.diff));
	ck_assert(diff_has_little_room(env.diff));
	env.diff->space_files = 251;
	ck_assert(!diff_has_little_room(env.diff));
	env_close();
}
END_TEST

START_TEST(a_full_disk_opens_without)
{
	env_open();
	ck_assert_int_eq(open_failing(-ENOSPC), 0);
	ck_assert(!ballast_is_there());
	ck_assert(diff_is_tight(env.diff));
	env_close();
}
END_TEST

START_TEST(a_host_that_does_not_allocate_has_the_distance_only)
{
	env_open();
	ck_assert_int_eq(open_failing(-EOPNOTSUPP), 0);
	ck_assert(!diff_is_tight(env.diff));
	ck_assert(!diff_ballast_spend(env.diff, &seen));
	env.diff->options.reserve = UINT64_C(1) << 60;
	ck_assert(diff_is_tight(env.diff));
	env_close();
}
END_TEST

START_TEST(another_error_is_told)
{
	env_open();
	ck_assert_int_eq(open_failing(-EIO), -EIO);
	env_close();
}
END_TEST

static void write_done(struct diff_write *op)
{
	op->file = NULL;
}

static int write_block(const char *name, uint32_t block, bool accepted)
{
	static uint8_t page[DIFF_BLCKSZ];
	struct iovec iov = {.iov_base = page, .iov_len = sizeof(page)};
	struct diff_write op = {.file = env_file(name),
				.iov = &iov,
				.iovcnt = 1,
				.off = (uint64_t)block * DIFF_BLCKSZ,
				.len = DIFF_BLCKSZ,
				.size = (block + 1) * (uint64_t)DIFF_BLCKSZ,
				.accepted = accepted,
				.done = write_done};

	diff_write(env.diff, &op);
	while (op.file != NULL)
		(void)io_wait(env.io, -1);
	return op.result;
}

START_TEST(only_the_accepted_take_of_the_reserve)
{
	env.options.reserve = UINT64_C(1) << 60;
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(write_block("a", 0, false), -ENOSPC);
	ck_assert_int_eq(write_block("a", 0, true), 0);
	env_close();
}
END_TEST

START_TEST(the_first_block_of_a_file_takes_half_of_the_reserve)
{
	struct statvfs st;

	ck_assert_int_eq(fstatvfs(unit_dir, &st), 0);
	env.options.reserve = (uint64_t)st.f_bavail * st.f_frsize / 2 * 3;
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(write_block("a", 0, false), 0);
	ck_assert_int_eq(write_block("a", 1, false), -ENOSPC);
	ck_assert_int_eq(env_create("b"), 0);
	ck_assert_int_eq(write_block("b", 1, false), -ENOSPC);
	env_close();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("diff_ballast");
	TCase *tc = tcase_create("diff");

	tcase_add_checked_fixture(tc, setup, env_teardown);
	tcase_add_test(tc, comes_and_goes);
	tcase_add_test(tc, what_a_crash_left_goes);
	tcase_add_test(tc, is_spent_by_pieces_and_comes_back);
	tcase_add_test(tc, what_is_left_stays_until_the_rest_is_there);
	tcase_add_test(tc, only_what_is_missing_needs_room);
	tcase_add_test(tc, goes_as_a_whole_where_it_cannot_be_cut);
	tcase_add_test(tc, does_not_come_back_where_it_would_be_tight);
	tcase_add_test(tc, a_quota_is_tried_now_and_then);
	tcase_add_test(tc, is_tight_before_it_is_full);
	tcase_add_test(tc, is_tight_before_the_last_file_is_made);
	tcase_add_test(tc, a_full_disk_opens_without);
	tcase_add_test(tc, a_host_that_does_not_allocate_has_the_distance_only);
	tcase_add_test(tc, another_error_is_told);
	tcase_add_test(tc, only_the_accepted_take_of_the_reserve);
	tcase_add_test(tc, the_first_block_of_a_file_takes_half_of_the_reserve);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
