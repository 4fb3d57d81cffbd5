/*
 * tests/unit/diff_file_test.c: what the next mount finds of files: content, truncations, zeros,
 * names; and their host space.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

/* ---- durable or not ---- */

START_TEST(committed_is_there_after_kill)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 3, 100), 0);
	ck_assert_int_eq(env_write("base0", 5, 1, 200), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	env_kill();

	env_open();
	ck_assert_str_ne(diff_recovery_note(env.diff), "");
	ck_assert_uint_eq(env_size("a"), 3 * DIFF_BLCKSZ);
	for (uint32_t i = 0; i < 3; i++)
		env_assert_block("a", i, 100);
	env_assert_block("base0", 5, 200);
	ck_assert_int_eq(env_state("base0", 4), BLOCK_ABSENT);
	ck_assert_uint_eq(diff_file_base_limit(env_file("base0")), BASE_BLOCKS);
	env_close();

	env_open();
	ck_assert_str_eq(diff_recovery_note(env.diff), "");
	env_assert_block("a", 2, 100);
	env_assert_block("base0", 5, 200);
}
END_TEST

START_TEST(uncommitted_is_gone_after_kill)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 3, 100), 0);
	ck_assert_int_eq(env_write("base0", 5, 1, 200), 0);
	ck_assert_uint_eq(env_data_files(), 2);
	env_kill();

	env_open();
	ck_assert_uint_eq(env_id("a"), 0);
	ck_assert_int_eq(env_state("base0", 5), BLOCK_ABSENT);
	ck_assert_uint_eq(env_data_files(), 0);
}
END_TEST

/* fsync of one file makes all names durable, but claims no blocks of others. */
START_TEST(other_files_stay_behind)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_create("b"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	ck_assert_int_eq(env_write("b", 0, 1, 2), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	env_kill();

	env_open();
	env_assert_block("a", 0, 1);
	ck_assert_uint_ne(env_id("b"), 0);
	ck_assert_uint_eq(env_size("b"), 0);
	ck_assert_int_eq(env_state("b", 0), BLOCK_ABSENT);
}
END_TEST

START_TEST(ids_are_never_given_twice)
{
	uint64_t first, id;

	env_open();
	first = diff_new_id(env.diff);
	ck_assert_uint_ge(first, DIFF_ID_FIRST);
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_sync(NULL), 0);
	ck_assert_int_eq(env_unlink("a"), 0);
	env_close();
	env_open();
	id = diff_new_id(env.diff);
	ck_assert_uint_gt(id, first + 1);
}
END_TEST

/* ---- truncation ---- */

START_TEST(truncate_and_regrow)
{
	env_open();
	ck_assert_int_eq(env_write("base0", 8, 4, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_int_eq(env_truncate("base0", 10 * DIFF_BLCKSZ - 100), 0);
	ck_assert_int_eq(env_truncate("base0", 16 * DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_state("base0", 9), BLOCK_DATA);
	ck_assert_int_eq(env_state("base0", 10), BLOCK_ABSENT);
	ck_assert_uint_eq(diff_file_base_limit(env_file("base0")), 10);
	ck_assert_int_eq(env_write("base0", 12, 1, 2), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	for (int again = 0; again < 2; again++) {
		env_kill();
		env_open();
		ck_assert_uint_eq(env_size("base0"), 16 * DIFF_BLCKSZ);
		ck_assert_uint_eq(diff_file_base_limit(env_file("base0")), 10);
		env_assert_block("base0", 9, 1);
		ck_assert_int_eq(env_state("base0", 10), BLOCK_ABSENT);
		ck_assert_int_eq(env_state("base0", 11), BLOCK_ABSENT);
		env_assert_block("base0", 12, 2);
	}
}
END_TEST

/* What was written before a truncation is committed with it, even by the fsync of another file. */
START_TEST(truncate_takes_the_file_along)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 4, 1), 0);
	ck_assert_int_eq(env_truncate("a", 2 * DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	env_kill();
	env_open();
	ck_assert_uint_eq(env_size("a"), 2 * DIFF_BLCKSZ);
	env_assert_block("a", 1, 1);
	ck_assert_int_eq(env_state("a", 2), BLOCK_ABSENT);
}
END_TEST

START_TEST(zero_is_not_absent)
{
	env_open();
	ck_assert_int_eq(env_write("base0", 4, 2, 1), 0);
	ck_assert_int_eq(env_zero("base0", 5, 3), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	env_kill();
	env_open();
	env_assert_block("base0", 4, 1);
	for (uint32_t i = 5; i < 8; i++)
		ck_assert_int_eq(env_state("base0", i), BLOCK_ZERO);
	ck_assert_int_eq(env_state("base0", 8), BLOCK_ABSENT);
	ck_assert_uint_eq(env_size("base0"), BASE_BLOCKS * DIFF_BLCKSZ);
}
END_TEST

START_TEST(sizes_that_no_file_can_have)
{
	uint64_t most = (uint64_t)DIFF_MAX_BLOCKS * DIFF_BLCKSZ;

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_truncate("a", most + 1), -EFBIG);
	ck_assert_int_eq(env_write("a", DIFF_MAX_BLOCKS - 1, 2, 1), -EFBIG);
	ck_assert_int_eq(env_zero("a", DIFF_MAX_BLOCKS - 1, 2), -EFBIG);
	ck_assert_int_eq(env_allocate("a", most, 1), -EFBIG);
	ck_assert_int_eq(env_truncate("a", most), 0);
	ck_assert_int_eq(env_zero("a", DIFF_MAX_BLOCKS - 2, 2), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	env_kill();
	env_open();
	ck_assert_uint_eq(env_size("a"), most);
	ck_assert_int_eq(env_state("a", DIFF_MAX_BLOCKS - 1), BLOCK_ZERO);
}
END_TEST

/* ---- host space ---- */

START_TEST(space_is_freed_after_the_commit)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 64, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_uint_ge(env_data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_int_eq(env_truncate("a", 10 * DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_zero("a", 2, 4), 0);
	env_drain();
	ck_assert_uint_ge(env_data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_int_eq(env_write("a", 20, 1, 2), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	env_drain();
	ck_assert_uint_eq(env_data_bytes("a"), 7 * DIFF_BLCKSZ);
	env_assert_block("a", 1, 1);
	env_assert_block("a", 9, 1);
	env_assert_block("a", 20, 2);
}
END_TEST

/* A newer truncation waits: what the commit in between claims once more must not be punched. */
START_TEST(space_is_left_to_the_newer_change)
{
	struct diff_sync op = {.done = env_sync_done};

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 8, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_int_eq(env_truncate("a", 0), 0);
	ck_assert_int_eq(env_write("a", 0, 8, 2), 0);
	op.file = env_file("a");
	diff_sync(env.diff, &op);
	ck_assert_int_eq(env_truncate("a", 0), 0); /* while the commit is in flight */
	env_drain();
	ck_assert_ptr_null(op.done);
	env_kill();
	env_open();
	for (uint32_t i = 0; i < 8; i++)
		env_assert_block("a", i, 2);
}
END_TEST

START_TEST(data_files_of_dropped_files_go)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_uint_eq(env_data_files(), 1);
	ck_assert_int_eq(env_unlink("a"), 0);
	env_drain();
	ck_assert_uint_eq(env_data_files(), 1); /* not before the commit */
	ck_assert_int_eq(env_sync(NULL), 0);
	env_drain();
	ck_assert_uint_eq(env_data_files(), 0);

	ck_assert_int_eq(env_create("t"), 0); /* never committed: at once */
	ck_assert_int_eq(env_write("t", 0, 1, 1), 0);
	ck_assert_int_eq(env_unlink("t"), 0);
	env_drain();
	ck_assert_uint_eq(env_data_files(), 0);
	ck_assert_uint_eq(env_stats().files, 0);
	env_close();
}
END_TEST

START_TEST(rename_over)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_int_eq(env_create("b"), 0);
	ck_assert_int_eq(env_write("b", 0, 1, 2), 0);
	ck_assert_int_eq(env_sync("b"), 0);
	ck_assert_int_eq(env_rename("b", "a"), 0);
	env_kill();
	env_open();
	env_assert_block("a", 0, 1);
	env_assert_block("b", 0, 2);
	ck_assert_int_eq(env_rename("b", "a"), 0);
	ck_assert_int_eq(env_rename("a", "base0"), 0);
	ck_assert_int_eq(env_sync(NULL), 0);
	env_kill();
	env_open();
	ck_assert_uint_eq(env_id("a"), 0);
	ck_assert_uint_eq(env_id("b"), 0);
	env_assert_block("base0", 0, 2);
	ck_assert_uint_eq(env_data_files(), 1);
}
END_TEST

static void write_done(struct diff_write *op)
{
}

/* A file without a name goes on working, and leaves nothing behind. */
START_TEST(unlinked_and_open)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	{
		struct diff_file *file = env_file("a");
		uint32_t data[DIFF_BLCKSZ / 4] = {5};
		struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
		struct diff_write op = {.file = file,
					.iov = &iov,
					.iovcnt = 1,
					.off = DIFF_BLCKSZ,
					.len = DIFF_BLCKSZ};

		ck_assert_int_eq(env_unlink_open("a"), 0);
		op.size = 2 * DIFF_BLCKSZ;
		op.done = write_done;
		diff_write(env.diff, &op);
		env_drain();
		ck_assert_int_eq(op.result, 0);
		diff_file_touch(file, &(struct diff_attr){.mode = S_IFREG | 0600});
		ck_assert_int_eq(env_sync("*"), 0);
		ck_assert_int_eq(diff_checkpoint(env.diff), 0);
		ck_assert_int_eq(env_sync("*"), 0);
		diff_file_drop(env.diff, file);
	}
	env_drain();
	ck_assert_uint_eq(env_data_files(), 0);
	env_kill();
	env_open();
	ck_assert_uint_eq(env_id("a"), 0);
	ck_assert_str_eq(diff_recovery_note(env.diff), "");
}
END_TEST

/* ---- a full disk ---- */

/* Below the reserve, new blocks are refused; what makes room or needs none goes on. */
START_TEST(the_reserve_is_kept)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 4, 1), 0);
	ck_assert_int_eq(env_allocate("a", 0, 16 * DIFF_BLCKSZ), 0);
	env_close();
	env.options.reserve = UINT64_C(1) << 60;
	env_open();
	ck_assert_int_eq(env_write("a", 4, 1, 2), -ENOSPC);
	ck_assert_int_eq(env_write("a", 3, 2, 2), -ENOSPC);
	ck_assert_int_eq(env_allocate("a", 0, DIFF_BLCKSZ), -ENOSPC);
	ck_assert_uint_eq(env_size("a"), 4 * DIFF_BLCKSZ);
	env_assert_block("a", 3, 1);
	ck_assert_int_eq(env_write("a", 0, 4, 3), 0);
	ck_assert_int_eq(env_zero("a", 1, 2), 0);
	ck_assert_int_eq(env_truncate("a", DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_create("b"), 0);
	ck_assert_int_eq(env_sync("*"), 0);
	env_assert_block("a", 0, 3);
	ck_assert_int_eq(env_unlink("a"), 0);
	env_close();
}
END_TEST

START_TEST(allocation_is_real)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_allocate("a", 8 * DIFF_BLCKSZ, 64 * DIFF_BLCKSZ), 0);
	ck_assert_uint_ge(env_data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_uint_eq(env_size("a"), 0);
	ck_assert_int_eq(env_state("a", 8), BLOCK_ABSENT);
	env.diff->options.reserve = UINT64_C(1)
				    << 60; /* what was allocated may be written all the same */
	ck_assert_int_eq(env_write("a", 10, 2, 1), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), -ENOSPC);
	ck_assert_int_eq(env_sync("a"), 0);
	env_drain();
	ck_assert_uint_ge(env_data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_int_eq(env_unlink("a"), 0);
	ck_assert_int_eq(env_sync(NULL), 0);
	ck_assert_uint_eq(env_stats().pending_bytes, 0);
	env_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_file");
	const TTest *const tests[] = {
		committed_is_there_after_kill,
		uncommitted_is_gone_after_kill,
		other_files_stay_behind,
		ids_are_never_given_twice,
		truncate_and_regrow,
		truncate_takes_the_file_along,
		zero_is_not_absent,
		sizes_that_no_file_can_have,
		space_is_freed_after_the_commit,
		space_is_left_to_the_newer_change,
		data_files_of_dropped_files_go,
		rename_over,
		unlinked_and_open,
		the_reserve_is_kept,
		allocation_is_real,
	};
	TCase *tcase = tcase_create("file");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 120);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
