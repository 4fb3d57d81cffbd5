/*
 * tests/unit/diff_commit_test.c: what a commit costs, whom it serves, what goes with it, and how
 * long the journal gets.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

/* ---- the cost of fsync ---- */

START_TEST(overwriting_costs_one_fdatasync)
{
	struct env_calls c;

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 4, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	for (uint32_t i = 0; i < 4; i++) {
		env_calls_reset();
		ck_assert_int_eq(env_write("base0", i, 1, 10 + i), 0);
		c = env_calls();
		ck_assert_uint_eq(c.writes, 1);
		ck_assert_uint_eq(c.fdatasyncs + c.fsyncs + c.others + c.fallocates, 0);
		env_calls_reset();
		ck_assert_int_eq(env_sync("base0"), 0);
		c = env_calls();
		ck_assert_uint_eq(c.fdatasyncs, 1);
		ck_assert_uint_eq(
			c.writes + c.fsyncs + c.others + c.fallocates + c.renames + c.unlinks, 0);
	}
	env_calls_reset();
	ck_assert_int_eq(env_sync("base0"), 0); /* nothing was written */
	ck_assert_int_eq(env_sync(NULL), 0);
	ck_assert_int_eq(env_sync("*"), 0);
	c = env_calls();
	ck_assert_uint_eq(c.writes + c.fdatasyncs + c.fsyncs + c.others, 0);
	ck_assert_uint_eq(env_stats().fast_syncs, 4);
	ck_assert_uint_eq(env_stats().groups, 1);
}
END_TEST

START_TEST(claiming_costs_two)
{
	struct env_calls c;

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	env_calls_reset();
	ck_assert_int_eq(env_write("base0", 1, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	c = env_calls();
	ck_assert_uint_eq(c.writes, 2);
	ck_assert_uint_eq(c.fdatasyncs, 2);
	ck_assert_uint_eq(c.fsyncs + c.others, 0);
}
END_TEST

/* One page into a large file: acceptance 8 of the design, less what the data file itself needs. */
START_TEST(a_page_costs_little)
{
	uint64_t used;

	env_open();
	used = env_stats().journal_used;
	ck_assert_int_eq(env_write("base0", 7, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_uint_le(env_stats().journal_used - used, 128);
	ck_assert_uint_le(env_data_bytes("base0"), 16384);
}
END_TEST

START_TEST(fsyncs_share_a_commit)
{
	struct diff_sync ops[5];
	char name[8];

	env_open();
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ck_assert_int_eq(env_create(name), 0);
		ck_assert_int_eq(env_write(name, 0, 1, i), 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ops[i] = (struct diff_sync){.file = env_file(name), .done = env_sync_done};
		diff_sync(env.diff, &ops[i]);
	}
	env_drain();
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_ptr_null(ops[i].done);
		ck_assert_int_eq(ops[i].result, 0);
	}
	ck_assert_uint_eq(env_stats().groups,
			  2); /* the first, and one for all who came meanwhile */
	env_kill();
	env_open();
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		env_assert_block(name, 0, i);
	}
}
END_TEST

/*
 * While names are on their way, the fsync of a file that has nothing to record does its fdatasync
 * at the same time.
 */
START_TEST(fsync_joins_names_in_flight)
{
	struct diff_sync names = {.done = env_sync_done}, file = {.done = env_sync_done};

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("base0", 0, 1, 2), 0);
	diff_sync(env.diff, &names);
	file.file = env_file("base0");
	diff_sync(env.diff, &file);
	ck_assert_ptr_nonnull(file.done);
	env_drain();
	ck_assert_ptr_null(names.done);
	ck_assert_ptr_null(file.done);
	ck_assert_uint_eq(env_stats().groups, 2);
	ck_assert_uint_eq(env_stats().commits, 2);
}
END_TEST

START_TEST(checkpoints_sync_ahead)
{
	struct env_calls c;
	char name[8];

	env_open();
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ck_assert_int_eq(env_create(name), 0);
		ck_assert_int_eq(env_write(name, 0, 1, i), 0);
	}
	ck_assert_int_eq(env_sync(NULL), 0);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		env_calls_reset();
		ck_assert_int_eq(env_sync(name), 0);
		c = env_calls();
		ck_assert_uint_eq(c.fdatasyncs, (i < 4 ? 2 : i == 4 ? 37 : 0));
	}
	ck_assert_uint_eq(env_stats().sync_ahead, 1);
	env_kill();
	env_open();
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		env_assert_block(name, 0, i);
	}
}
END_TEST

START_TEST(one_file_never_syncs_others)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(env_write("base0", i % 3, 1, i), 0);
		ck_assert_int_eq(env_sync("base0"), 0);
	}
	ck_assert_uint_eq(env_stats().sync_ahead, 0);
	env_kill();
	env_open();
	ck_assert_int_eq(env_state("a", 0), BLOCK_ABSENT);
}
END_TEST

/* ---- times ---- */

START_TEST(times_go_with_the_next_group)
{
	struct diff_attr attr = {.mode = S_IFREG | 0640, .mtime = 12345};
	uint64_t groups;

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	groups = env_stats().groups;
	ck_assert_int_eq(env_write("base0", 0, 1, 2), 0);
	diff_file_touch(env_file("base0"), &attr);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_uint_eq(env_stats().groups, groups); /* no reason to write */
	ck_assert(diff_has_pending(env.diff));
	ck_assert_int_eq(env_sync("*"), 0);
	ck_assert_uint_eq(env_stats().groups, groups + 1);
	ck_assert(!diff_has_pending(env.diff));
	env_kill();
	env_open();
	for (unsigned i = 0; i < ENV_NAMES; i++)
		if (env.inodes[i].id == env_id("base0"))
			ck_assert_int_eq(env.inodes[i].attr.mtime, 12345);
}
END_TEST

/* What is logged by name later is newer than what a write has left. */
START_TEST(logged_attributes_win)
{
	struct diff_attr old = {.mode = S_IFREG | 0600, .mtime = 1},
			 new = {.mode = S_IFREG | 0400, .mtime = 2};
	struct diff_record r = {.type = DIFF_RECORD_ATTR, .attr = new};

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	diff_file_touch(env_file("base0"), &old);
	r.id = env_id("base0");
	ck_assert_int_eq(env_log(&r, 1), 0);
	ck_assert_int_eq(env_sync("*"), 0);
	env_kill();
	env_open();
	for (unsigned i = 0; i < ENV_NAMES; i++)
		if (env.inodes[i].id == env_id("base0"))
			ck_assert_uint_eq(env.inodes[i].attr.mode, S_IFREG | 0400);
}
END_TEST

/* ---- the journal's length ---- */

START_TEST(a_new_state_replaces_a_long_journal)
{
	char name[8];

	env.options.journal_limit = 4096;
	env_open();
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		ck_assert_int_eq(env_create(name), 0);
		ck_assert_int_eq(env_write(name, i % 7, 1 + i % 3, i), 0);
		ck_assert_int_eq(env_sync(name), 0);
		ck_assert_uint_le(env_stats().journal_used, 3 * MAX(4096ul, env.diff->state_size));
	}
	ck_assert_uint_ge(env_stats().states, 2);
	for (int again = 0; again < 2; again++) {
		env_kill();
		env_open();
		for (unsigned i = 0; i < 200; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			env_assert_block(name, i % 7, i);
			ck_assert_uint_eq(env_size(name), (i % 7 + 1 + i % 3) * DIFF_BLCKSZ);
		}
	}
}
END_TEST

START_TEST(the_journal_grows)
{
	struct diff_record r = {.type = DIFF_RECORD_ATTR, .attr.mode = S_IFREG | 0600};

	env.options.journal_limit = 64 << 20;
	env_open();
	ck_assert_uint_eq(env_stats().journal_size, DIFF_SEGMENT);
	r.id = env_id("base1");
	for (unsigned i = 0; i < 60000; i++) {
		r.attr.mtime = i;
		ck_assert_int_eq(env_log(&r, 1), 0);
		if (i % 1000 == 0)
			ck_assert_int_eq(env_sync(NULL), 0);
	}
	ck_assert_int_eq(env_sync(NULL), 0);
	ck_assert_uint_gt(env_stats().journal_size, 3 * DIFF_SEGMENT);
	ck_assert_uint_eq(env_stats().pending_bytes, 0);
	env_kill();
	env_open();
	for (unsigned i = 0; i < ENV_NAMES; i++)
		if (env.inodes[i].id == r.id)
			ck_assert_int_eq(env.inodes[i].attr.mtime, 59999);
}
END_TEST

/* Scattered blocks: what was set aside fits what is written, to the byte. */
START_TEST(reservations_come_out_even)
{
	unsigned long long rnd = 5;

	env_open();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 100; i++) {
			unsigned block = unit_random(&rnd) % 3000;

			if (unit_random(&rnd) % 4 == 0)
				ck_assert_int_eq(
					env_zero("base0", block, 1 + unit_random(&rnd) % 50), 0);
			else
				ck_assert_int_eq(
					env_write("base0", block, 1 + unit_random(&rnd) % 5, i), 0);
		}
		if (round % 5 == 0)
			ck_assert_int_eq(
				env_truncate("base0", unit_random(&rnd) % 2000 * DIFF_BLCKSZ), 0);
		ck_assert_uint_ge(env_stats().pending_bytes,
				  env_file("base0")->changed.runs * DIFF_RUN_SIZE);
		ck_assert_int_eq(env_sync("base0"), 0);
		ck_assert_uint_eq(env_stats().pending_bytes, 0);
	}
	env_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_commit");
	const TTest *const tests[] = {
		overwriting_costs_one_fdatasync,
		claiming_costs_two,
		a_page_costs_little,
		fsyncs_share_a_commit,
		fsync_joins_names_in_flight,
		checkpoints_sync_ahead,
		one_file_never_syncs_others,
		times_go_with_the_next_group,
		logged_attributes_win,
		a_new_state_replaces_a_long_journal,
		the_journal_grows,
		reservations_come_out_even,
	};
	TCase *tcase = tcase_create("commit");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 120);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
