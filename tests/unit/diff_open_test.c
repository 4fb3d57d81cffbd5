/*
 * tests/unit/diff_open_test.c: making a diff, whom it lets in, and what is refused with which
 * words.
 */
#include "diff_util.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static void assert_refused(bool create, int rc, const char *words)
{
	ck_assert_int_eq(env_try(create), rc);
	ck_assert_msg(strstr(env.e.text, words) != NULL, "'%s' is not in '%s'", words, env.e.text);
}

static void put(const char *relative, const char *text)
{
	char path[400];
	FILE *f;

	env_path(path, sizeof(path), relative);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static char *get(const char *relative)
{
	char path[400], *data;
	size_t len;

	env_path(path, sizeof(path), relative);
	ck_assert_int_eq(sys_read_file(AT_FDCWD, path, 1 << 20, &data, &len), 0);
	return data;
}

/* Writes the superblock anew with one piece of text exchanged, the checksum made right. */
static void edit_superblock(const char *from, const char *to)
{
	char *text = get("superblock"), *at = strstr(text, from), *crc;
	char edited[4096];

	ck_assert_ptr_nonnull(at);
	snprintf(edited, sizeof(edited), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	crc = strstr(edited, "crc32c = ");
	ck_assert_ptr_nonnull(crc);
	snprintf(crc, 32, "crc32c = %08x\n", crc32c(0, edited, (size_t)(crc - edited)));
	put("superblock", edited);
	free(text);
}

START_TEST(new_and_again)
{
	struct env_calls c;
	uint64_t print;
	char *text;

	assert_refused(false, -ENOENT, env.path);
	env_open();
	ck_assert_str_eq(diff_recovery_note(env.diff), "");
	ck_assert_uint_eq(diff_new_id(env.diff), DIFF_ID_FIRST);
	ck_assert_int_eq(diff_describe(env.path, &env.e, &text), 0);
	ck_assert_ptr_nonnull(strstr(
		text, "kind = pg_probackup\nstore = /srv/store\ninstance = main\nbackup = FULL1\n"
		      "backup = DELTA2\ncontent = 0707"));
	free(text);
	env_close();
	print = env_fingerprint();
	env_calls_reset();
	ck_assert_int_eq(env_try(false), 0);
	c = env_calls();
	ck_assert_uint_eq(c.writes, 1); /* the pid in the lock */
	ck_assert_uint_eq(c.fsyncs, 1);
	ck_assert_uint_eq(c.fdatasyncs + c.renames + c.unlinks + c.fallocates, 0);
	env_close();
	ck_assert_uint_eq(env_fingerprint(), print);
}
END_TEST

START_TEST(an_empty_directory_will_do)
{
	ck_assert_int_eq(mkdir(env.path, 0700), 0);
	assert_refused(false, -ENOENT, "no superblock");
	env_open();
}
END_TEST

START_TEST(other_directories_stay_untouched)
{
	ck_assert_int_eq(mkdir(env.path, 0700), 0);
	put("mine", "");
	assert_refused(true, -ENOTEMPTY, "not empty");
	ck_assert_int_eq(unlinkat(unit_dir, "diff/mine", 0), 0);
	ck_assert_int_eq(mkdirat(unit_dir, "diff/gen", 0700), 0);
	assert_refused(true, -ENOTEMPTY, "not empty");
	put("lock", "somebody else's\n");
	assert_refused(true, -ENOTEMPTY, "not empty");
	ck_assert_int_ne(faccessat(unit_dir, "diff/superblock", F_OK, 0), 0);
	snprintf(env.path, sizeof(env.path), "%s/no/such", unit_path);
	assert_refused(true, -ENOENT, "cannot make");
}
END_TEST

/* Stopped after any call, the next open makes it anew, or finds it whole. */
START_TEST(making_can_be_interrupted)
{
	for (long at = 1;;
	     at += at > 8 && at < 262 ? 50 : 1) { /* in the middle it makes 256 directories */
		int rc;

		snprintf(env.path, sizeof(env.path), "%s/diff%ld", unit_path, at);
		env_fail(at, true, -EIO);
		rc = env_try(true);
		if (rc == 0 && env_fail_seen() < at) {
			env_fail(0, false, 0);
			env_close();
			ck_assert_int_gt(at, 280);
			break;
		}
		env_fail(0, false, 0);
		if (rc == 0)
			env_kill();
		env_open();
		ck_assert_int_eq(env_create("a"), 0);
		ck_assert_int_eq(env_write("a", 0, 1, 1), 0);
		env_close();
	}
}
END_TEST

/* ---- the lock ---- */

static pid_t hold_elsewhere(void)
{
	int fds[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (env_try(true) < 0)
			_exit(1);
		(void)!write(fds[1], "x", 1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

START_TEST(one_at_a_time)
{
	char words[64];
	pid_t pid;

	env_open();
	env_close();
	pid = hold_elsewhere();
	snprintf(words, sizeof(words), "process %d ", (int)pid);
	assert_refused(true, -EBUSY, words);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	env_open(); /* a stale lock needs no help */
}
END_TEST

/*
 * After a kill, what was written is in the page cache only: it is made durable even if no group
 * tells of it.
 */
START_TEST(a_kill_is_noticed)
{
	struct env_calls c;

	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 1), 0);
	env_close();
	env_open();
	ck_assert_int_eq(env_write("base0", 0, 1, 2), 0); /* claimed already: nothing to record */
	env_kill();
	env_calls_reset();
	env_open();
	c = env_calls();
	ck_assert_uint_eq(c.fdatasyncs, 1);
	ck_assert_uint_eq(c.renames, 0);
	env_assert_block("base0", 0, 2);
	env_close();
	env_calls_reset();
	env_open();
	ck_assert_uint_eq(env_calls().fdatasyncs, 0);
}
END_TEST

/* ---- what it belongs to ---- */

START_TEST(another_chain_is_refused)
{
	static const char *const longer[] = {"FULL1", "DELTA2", "DELTA3"}, *const other[] = {
										   "FULL1",
										   "DELTA9"};
	struct diff_binding right;

	env_open();
	env_close();
	right = env.binding;
	env.binding.store = "/mnt/elsewhere"; /* it may move */
	env_open();
	env_close();
	env.binding.kind = "native";
	assert_refused(true, -EINVAL, "its kind is 'pg_probackup', not 'native'");
	env.binding = right;
	env.binding.instance = "second";
	assert_refused(true, -EINVAL, "its instance is 'main', not 'second'");
	env.binding = right;
	env.binding.backups = other;
	assert_refused(true, -EINVAL, "'DELTA2', not 'DELTA9'");
	env.binding.backups = longer;
	env.binding.backup_count = 3;
	assert_refused(true, -EINVAL, "not 'DELTA3'");
	env.binding.backup_count = 1;
	assert_refused(true, -EINVAL, "'DELTA2'");
	env.binding = right;
	env.binding.content_hash[3]++;
	assert_refused(true, -EINVAL, "other content");
	env.binding = right;
	env_open();
}
END_TEST

START_TEST(odd_names_survive)
{
	static const char *const odd[] = {"100% \n = x", "\t"};

	env.binding.backups = odd;
	env.binding.instance = "a = b\ncrc32c = 00000000";
	env.binding.store = "/srv/%41\n";
	env_open();
	env_close();
	env_open();
}
END_TEST

START_TEST(newer_and_damaged_superblocks)
{
	char *text, *copy;

	env_open();
	env_close();
	text = get("superblock");
	edit_superblock("format = 1\n", "format = 7\n");
	assert_refused(true, -ENOTSUP, "format 7");
	put("superblock", "format = 4711\nall else is different\n");
	assert_refused(true, -ENOTSUP, "format 4711");
	put("superblock", "");
	assert_refused(true, -EUCLEAN, "damaged");
	put("superblock", text);
	edit_superblock("kind = ", "colour = ");
	assert_refused(true, -EUCLEAN, "damaged");
	put("superblock", text);
	/* An escape is two digits, and does not reach into the next line. */
	edit_superblock("\ninstance = ", "\nstore = a%1\ninstance = ");
	assert_refused(true, -EUCLEAN, "damaged");
	put("superblock", text);
	edit_superblock("\ncrc32c = ", "\nstore = a%1\ncrc32c = ");
	assert_refused(true, -EUCLEAN, "damaged");
	copy = strdup(text);
	for (size_t i = strlen("format = "); i < strlen(text); i++) {
		copy[i] ^= 1;
		put("superblock", copy);
		ck_assert_int_lt(env_try(true), 0);
		copy[i] ^= 1;
		if (i % 7 == 0) {
			copy[i] = '\0';
			put("superblock", copy);
			ck_assert_int_eq(env_try(true), -EUCLEAN);
			copy[i] = text[i];
		}
	}
	put("superblock", text);
	env_open();
	free(copy);
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("diff_open");
	const TTest *const tests[] = {
		new_and_again,
		an_empty_directory_will_do,
		other_directories_stay_untouched,
		making_can_be_interrupted,
		one_at_a_time,
		a_kill_is_noticed,
		another_chain_is_refused,
		odd_names_survive,
		newer_and_damaged_superblocks,
	};
	TCase *tcase = tcase_create("open");

	tcase_add_checked_fixture(tcase, env_setup, env_teardown);
	tcase_set_timeout(tcase, 300);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
