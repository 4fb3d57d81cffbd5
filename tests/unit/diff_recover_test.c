/*
 * tests/unit/diff_recover_test.c: what the next mount makes of a journal that ends early, of
 * damage, and of files that nobody knows.
 */
#include "diff_util.h"

#include "diff/diff_internal.h"

static void assert_damaged(const char *words)
{
	int rc = env_try(true);

	ck_assert_msg(rc == -EUCLEAN, "%d: %s", rc, env.e.text);
	ck_assert_msg(strstr(env.e.text, words) != NULL, "'%s' is not in '%s'", words, env.e.text);
}

static int open_file(const char *relative)
{
	char path[400];
	int fd;

	env_path(path, sizeof(path), relative);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void flip(const char *relative, off_t at)
{
	int fd = open_file(relative);
	uint8_t c;

	ck_assert_int_eq(pread(fd, &c, 1, at), 1);
	c ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void overwrite(const char *relative, off_t at, const void *data, size_t len)
{
	int fd = open_file(relative);

	ck_assert_int_eq(pwrite(fd, data, len, at), (ssize_t)len);
	close(fd);
}

/* Three groups: a, b, c, each with one block; where each ends. */
static void three_groups(uint64_t ends[3])
{
	static const char *const names[] = {"a", "b", "c"};
	struct diff_stats st;

	env_open();
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(env_create(names[i]), 0);
		ck_assert_int_eq(env_write(names[i], 0, 1, 10 + i), 0);
		ck_assert_int_eq(env_sync(names[i]), 0);
		diff_get_stats(env.diff, &st);
		ends[i] = st.journal_used;
	}
	env_kill();
}

/* A power cut tears the last group anywhere: it is as if it had not been written. */
START_TEST(a_torn_tail_ends_the_journal)
{
	uint8_t *data, zeros[512] = {0};
	uint64_t ends[3];
	char path[400];
	size_t len;

	three_groups(ends);
	env_path(path, sizeof(path), "gen/1/journal");
	ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 21, (char **)&data, &len), 0);
	ck_assert_uint_le(ends[2] - ends[1], sizeof(zeros));
	for (uint64_t cut = ends[1]; cut < ends[2] - 8; cut += 5) {
		char *state;
		size_t state_len;

		env_path(path, sizeof(path), "gen/1/state");
		ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 21, &state, &state_len), 0);
		overwrite("gen/1/journal", (off_t)cut, zeros, ends[2] - cut);
		env_open();
		env_assert_block("a", 0, 10);
		env_assert_block("b", 0, 11);
		ck_assert_uint_eq(env_id("c"), 0);
		ck_assert_uint_eq(env_data_files(), 2);
		env_kill();
		env_open(); /* and it stays so */
		env_assert_block("b", 0, 11);
		ck_assert_str_eq(diff_recovery_note(env.diff), "");
		env_kill();
		overwrite("gen/1/journal", 0, data, len);
		{
			int fd = open_file("gen/1/state");

			ck_assert_int_eq(ftruncate(fd, (off_t)state_len), 0);
			ck_assert_int_eq(pwrite(fd, state, state_len, 0), (ssize_t)state_len);
			close(fd);
		}
		free(state);
		/* c's data file was removed; give it back */
		env_path(path, sizeof(path), "gen/1/data/00/0000000000000012");
		{
			uint32_t block[DIFF_BLCKSZ / 4];
			int fd = open(path, O_WRONLY | O_CREAT, 0600);

			for (unsigned i = 0; i < ARRAY_SIZE(block); i++)
				block[i] = 12;
			ck_assert_int_eq(write(fd, block, sizeof(block)), (ssize_t)sizeof(block));
			close(fd);
		}
	}
	env_open();
	env_assert_block("c", 0, 12);
	free(data);
}
END_TEST

/* Damage before the end is not a torn tail: what followed had been acknowledged. */
START_TEST(damage_inside_the_journal)
{
	uint64_t ends[3];

	three_groups(ends);
	for (uint64_t at = 0; at < ends[1]; at += 3) {
		if (at + 8 >= ends[at >= ends[0]]) /* may be padding */
			continue;
		flip("gen/1/journal", (off_t)at);
		assert_damaged("journal' is damaged");
		flip("gen/1/journal", (off_t)at);
	}
	env_open();
	env_assert_block("c", 0, 12);
}
END_TEST

START_TEST(a_journal_that_is_too_short)
{
	uint64_t ends[3];
	int fd;

	three_groups(ends);
	fd = open_file("gen/1/journal");
	ck_assert_int_eq(ftruncate(fd, 100), 0);
	close(fd);
	assert_damaged("too short");
	unlinkat(unit_dir, "diff/gen/1/journal", 0);
	assert_damaged("journal");
}
END_TEST

START_TEST(a_damaged_state)
{
	uint64_t ends[3];
	char path[400], *state;
	size_t len;

	three_groups(ends);
	env_open();
	env_close();
	env_path(path, sizeof(path), "gen/1/state");
	ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 21, &state, &len), 0);
	for (size_t at = 0; at < len; at++) {
		flip("gen/1/state", (off_t)at);
		assert_damaged("state' is damaged");
		flip("gen/1/state", (off_t)at);
	}
	for (size_t at = 0; at < len; at += 7) {
		int fd = open_file("gen/1/state");

		ck_assert_int_eq(ftruncate(fd, (off_t)at), 0);
		assert_damaged("state' is damaged");
		ck_assert_int_eq(pwrite(fd, state, len, 0), (ssize_t)len);
		close(fd);
	}
	unlinkat(unit_dir, "diff/gen/1/state", 0);
	assert_damaged("missing");
	free(state);
}
END_TEST

START_TEST(a_missing_data_file)
{
	uint64_t ends[3];
	int fd;

	three_groups(ends);
	fd = open_file("gen/1/data/00/0000000000000011");
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	close(fd);
	assert_damaged("00/0000000000000011' is too short");
	unlinkat(unit_dir, "diff/gen/1/data/00/0000000000000011", 0);
	assert_damaged("00/0000000000000011' is missing");
	unlinkat(unit_dir, "diff/gen/1/data/00/0000000000000010", 0);
	unlinkat(unit_dir, "diff/gen/1/data/00/0000000000000012", 0);
	ck_assert_int_eq(unlinkat(unit_dir, "diff/gen/1/data/00", AT_REMOVEDIR), 0);
	assert_damaged("data/00");
}
END_TEST

START_TEST(strays_go_and_their_ids_with_them)
{
	uint64_t print;

	env_open();
	ck_assert_int_eq(env_create("a"), 0);
	ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
	env_close();
	print = env_fingerprint();
	env_open();
	env_create("b"); /* killed with something pending: else nobody looks for strays */
	env_kill();
	unit_put_file("diff/gen/1/data/ff/000000000000ff01", "x");
	unit_put_file("diff/gen/1/data/12/8000000000001234", "x");
	unit_put_file("diff/gen/1/data/12/notes", "not ours");
	unit_put_file("diff/gen/1/data/13/8000000000001234", "not where we would put it");
	env_open();
	ck_assert_ptr_nonnull(strstr(diff_recovery_note(env.diff), "removed 2 files"));
	ck_assert_uint_eq(env_data_files(), 3);
	ck_assert_uint_gt(diff_new_id(env.diff), 0xff01);
	env_kill();
	env_open();
	ck_assert_uint_gt(diff_new_id(env.diff), 0xff01);
	ck_assert_uint_ne(env_fingerprint(), print);
	env_assert_block("a", 0, 1);
}
END_TEST

/* Valid checksums around nonsense: the namespace or the file says no. */
static void write_group(const struct diff_record *records, unsigned count)
{
	struct diff_buffer payload = {0};
	uint8_t header[DIFF_GROUP_HEADER];

	env_open();
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(diff_record_encode(&payload, &records[i]), 0);
	journal_group(env.diff, header, env.diff->journal.sequence, payload.data, payload.len);
	overwrite("gen/1/journal", 0, header, sizeof(header));
	overwrite("gen/1/journal", DIFF_GROUP_HEADER, payload.data, payload.len);
	diff_buffer_free(&payload);
	env_kill();
}

START_TEST(records_that_do_not_fit)
{
	static const struct diff_run run = {30, 1, BLOCK_DATA};
	const struct diff_record bad[] = {
		{.type = DIFF_RECORD_NEXT_ID, .id = 100},
		{.type = DIFF_RECORD_UNLINK, .dir = 1, .name = "nobody", .name_len = 6},
		{.type = DIFF_RECORD_INODE, .id = 3, .attr.mode = S_IFREG},
		{.type = DIFF_RECORD_INODE, .id = DIFF_ID_BASE | 77, .attr.mode = S_IFREG},
		{.type = DIFF_RECORD_SIZE, .id = DIFF_ID_BASE | 1, .base_limit = BASE_BLOCKS + 1},
		{.type = DIFF_RECORD_BLOCKS, .id = DIFF_ID_BASE | 1, .base_limit = BASE_BLOCKS + 1},
		{.type = DIFF_RECORD_BLOCKS, .id = DIFF_ID_BASE | 1, .runs = &run, .run_count = 1},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		write_group(&bad[i], 1);
		assert_damaged("damaged");
		overwrite("gen/1/journal", 0, (char[64]){0}, 64);
	}
	env_open();
}
END_TEST

/* Garbage of every kind behind the last group, as preallocated space may hold it. */
START_TEST(garbage_behind_the_end)
{
	unsigned long long rnd = 3;
	uint8_t data[4096];
	uint64_t ends[3];

	three_groups(ends);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)unit_random(&rnd);
	for (unsigned i = 0; i < sizeof(data); i += 64)
		put_le32(data + i, 0x4a4f4750);
	overwrite("gen/1/journal", (off_t)ends[2], data, sizeof(data));
	env_open();
	env_assert_block("a", 0, 10);
	env_assert_block("c", 0, 12);
}
END_TEST

/* Recovery stopped by an error at any call leaves what the next one can use. */
START_TEST(recovery_can_be_interrupted)
{
	uint64_t ends[3];

	three_groups(ends);
	unit_put_file("diff/gen/1/data/ff/000000000000ff01", "x");
	for (long at = 1;; at++) {
		int rc;

		env_fail(at, true, -EIO);
		rc = env_try(true);
		if (rc == 0 && env_fail_seen() < at)
			break;
		env_fail(0, false, 0);
		if (rc == 0)
			env_kill();
	}
	env_fail(0, false, 0);
	env_assert_block("a", 0, 10);
	env_assert_block("b", 0, 11);
	env_assert_block("c", 0, 12);
	ck_assert_uint_eq(env_data_files(), 3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_recover");
	const TTest *const tests[] = {
		a_torn_tail_ends_the_journal, damage_inside_the_journal,
		a_journal_that_is_too_short,  a_damaged_state,
		a_missing_data_file,	      strays_go_and_their_ids_with_them,
		records_that_do_not_fit,      garbage_behind_the_end,
		recovery_can_be_interrupted,
	};
	TCase *tcase = tcase_create("recover");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 300);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
