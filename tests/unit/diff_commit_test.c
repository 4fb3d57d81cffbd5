/*
 * tests/unit/diff_commit_test.c: what a commit writes, when it need not, and what the next mount
 * finds.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

static struct diff_stats stats(void)
{
	struct diff_stats st;

	diff_get_stats(env.diff, &st);
	return st;
}

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

static void count_sync(struct diff_sync *op)
{
	op->next = NULL;
	op->parts = 1000;
}

static uint64_t data_bytes(const char *name)
{
	char path[DIFF_PATH_SIZE], full[400], relative[64];
	struct stat st;

	file_path(env_id(name), path);
	snprintf(relative, sizeof(relative), "gen/1/data/%s", path);
	env_path(full, sizeof(full), relative);
	ck_assert_int_eq(stat(full, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

START_TEST(space_is_freed_after_the_commit)
{
	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 64, 1), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	ck_assert_uint_ge(data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_int_eq(env_truncate("a", 10 * DIFF_BLCKSZ), 0);
	ck_assert_int_eq(env_zero("a", 2, 4), 0);
	env_drain();
	ck_assert_uint_ge(data_bytes("a"), 64 * DIFF_BLCKSZ);
	ck_assert_int_eq(env_write("a", 20, 1, 2), 0);
	ck_assert_int_eq(env_sync("a"), 0);
	env_drain();
	ck_assert_uint_eq(data_bytes("a"), 7 * DIFF_BLCKSZ);
	env_assert_block("a", 1, 1);
	env_assert_block("a", 9, 1);
	env_assert_block("a", 20, 2);
}
END_TEST

/* A newer truncation waits: what the commit in between claims once more must not be punched. */
START_TEST(space_is_left_to_the_newer_change)
{
	struct diff_sync op = {.done = count_sync};

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
	ck_assert_uint_eq(op.parts, 1000);
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
	ck_assert_uint_eq(stats().files, 0);
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
	ck_assert_uint_eq(stats().fast_syncs, 4);
	ck_assert_uint_eq(stats().groups, 1);
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
	used = stats().journal_used;
	ck_assert_int_eq(env_write("base0", 7, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_uint_le(stats().journal_used - used, 128);
	ck_assert_uint_le(data_bytes("base0"), 16384);
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
		ops[i] = (struct diff_sync){.file = env_file(name), .done = count_sync};
		diff_sync(env.diff, &ops[i]);
	}
	env_drain();
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_uint_eq(ops[i].parts, 1000);
		ck_assert_int_eq(ops[i].result, 0);
	}
	ck_assert_uint_eq(stats().groups, 2); /* the first, and one for all who came meanwhile */
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
	struct diff_sync names = {.done = count_sync}, file = {.done = count_sync};

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("base0", 0, 1, 2), 0);
	diff_sync(env.diff, &names);
	file.file = env_file("base0");
	diff_sync(env.diff, &file);
	ck_assert_uint_ne(file.parts, 1000);
	env_drain();
	ck_assert_uint_eq(names.parts, 1000);
	ck_assert_uint_eq(file.parts, 1000);
	ck_assert_uint_eq(stats().groups, 2);
	ck_assert_uint_eq(stats().commits, 2);
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
	ck_assert_uint_eq(stats().sync_ahead, 1);
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
	ck_assert_uint_eq(stats().sync_ahead, 0);
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
	groups = stats().groups;
	ck_assert_int_eq(env_write("base0", 0, 1, 2), 0);
	diff_file_touch(env_file("base0"), &attr);
	ck_assert_int_eq(env_sync("base0"), 0);
	ck_assert_uint_eq(stats().groups, groups); /* no reason to write */
	ck_assert(diff_has_pending(env.diff));
	ck_assert_int_eq(env_sync("*"), 0);
	ck_assert_uint_eq(stats().groups, groups + 1);
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
		ck_assert_uint_le(stats().journal_used, 3 * MAX(4096ul, env.diff->state_size));
	}
	ck_assert_uint_ge(stats().states, 2);
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
	ck_assert_uint_eq(stats().journal_size, DIFF_SEGMENT);
	r.id = env_id("base1");
	for (unsigned i = 0; i < 60000; i++) {
		r.attr.mtime = i;
		ck_assert_int_eq(env_log(&r, 1), 0);
		if (i % 1000 == 0)
			ck_assert_int_eq(env_sync(NULL), 0);
	}
	ck_assert_int_eq(env_sync(NULL), 0);
	ck_assert_uint_gt(stats().journal_size, 3 * DIFF_SEGMENT);
	ck_assert_uint_eq(stats().pending_bytes, 0);
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
		ck_assert_uint_ge(stats().pending_bytes,
				  env_file("base0")->changed.runs * DIFF_RUN_SIZE);
		ck_assert_int_eq(env_sync("base0"), 0);
		ck_assert_uint_eq(stats().pending_bytes, 0);
	}
	env_close();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_commit");
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
