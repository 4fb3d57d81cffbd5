/*
 * Tests of the log: lines, rotation, how much of it, threads.
 */
#include "base/log.h"
#include "base/sys.h"
#include "base/util.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

static char *read_text(const char *name)
{
	char *data;
	size_t len;

	ck_assert_int_eq(sys_read_file(unit_dir, name, 1 << 20, &data, &len), 0);
	return data;
}

START_TEST(log_writes_lines_to_its_file)
{
	char *text;
	struct stat st;

	ck_assert_int_eq(log_open(unit_dir, "log"), 0);
	log_error("one %d", 1);
	log_warning("two\nlines");
	log_debug("not at this level");
	log_set_level(LOG_LEVEL_DEBUG);
	errno = EXDEV;
	log_debug("now %*s", 5000, "long");
	ck_assert_int_eq(errno, EXDEV);

	text = read_text("log");
	ck_assert_ptr_nonnull(strstr(text, "Z error one 1\n"));
	ck_assert_ptr_nonnull(strstr(text, "Z warning two lines\n"));
	ck_assert_ptr_null(strstr(text, "not at this level"));
	ck_assert_ptr_nonnull(strstr(text, "Z debug now "));
	ck_assert_uint_lt(strlen(text), 2300);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	free(text);
	ck_assert_int_eq(fstatat(unit_dir, "log", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

START_TEST(log_reopens_after_rotation)
{
	char *text;

	ck_assert_int_eq(log_reopen(), 0);
	ck_assert_int_eq(log_open(unit_dir, "log"), 0);
	log_notice("before");
	ck_assert_int_eq(renameat(unit_dir, "log", unit_dir, "log.1"), 0);
	log_notice("still the old file");
	ck_assert_int_eq(log_reopen(), 0);
	log_notice("after");
	text = read_text("log");
	ck_assert_ptr_null(strstr(text, "before"));
	ck_assert_ptr_nonnull(strstr(text, "after"));
	free(text);
	text = read_text("log.1");
	ck_assert_ptr_nonnull(strstr(text, "still the old file"));
	free(text);

	/* Another place; the first file is left as it is. */
	ck_assert_int_eq(log_open(unit_dir, "other"), 0);
	log_notice("elsewhere");
	text = read_text("other");
	ck_assert_ptr_nonnull(strstr(text, "elsewhere"));
	free(text);
	ck_assert_int_eq(log_open(unit_dir, "missing/log"), -ENOENT);
	ck_assert_int_eq(log_open(-5, "log"), -EBADF);
}
END_TEST

static unsigned lines_of(const char *text)
{
	unsigned n = 0;

	for (const char *at = strchr(text, '\n'); at != NULL; at = strchr(at + 1, '\n'))
		n++;
	return n;
}

START_TEST(log_is_bounded)
{
	char *text;

	ck_assert_int_eq(log_open(unit_dir, "log"), 0);
	for (unsigned i = 0; i < LOG_BURST + 500; i++)
		log_error("the same page");
	text = read_text("log");
	ck_assert_uint_ge(lines_of(text), LOG_BURST);
	ck_assert_uint_le(lines_of(text), LOG_BURST + 10); /* more if this took seconds */
	free(text);
	(void)sleep(2);
	log_error("another");
	text = read_text("log");
	ck_assert_ptr_nonnull(strstr(text, " messages were left out here: too many\n"));
	ck_assert_ptr_nonnull(strstr(text, "another\n"));
	free(text);
}
END_TEST

START_TEST(log_goes_to_stderr_first)
{
	char text[64] = "";
	int pipe_fds[2];

	ck_assert_int_eq(pipe(pipe_fds), 0);
	ck_assert_int_ge(dup2(pipe_fds[1], STDERR_FILENO), 0);
	log_notice("hello");
	ck_assert_int_gt(read(pipe_fds[0], text, sizeof(text) - 1), 0);
	ck_assert_str_eq(text, "pgoverlay: hello\n");

	/* Nowhere to write to is nobody's error. */
	close(STDERR_FILENO);
	errno = EXDEV;
	log_notice("lost");
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

static void *log_many(void *arg)
{
	for (unsigned i = 0; i < 200; i++)
		log_notice("%*s", 100, (const char *)arg);
	return NULL;
}

START_TEST(log_lines_of_threads_do_not_mix)
{
	pthread_t threads[4];
	unsigned lines = 0;
	char *text;

	ck_assert_int_eq(log_open(unit_dir, "log"), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, log_many, (void *)(uintptr_t) "end"), 0);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(log_reopen(), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	text = read_text("log");
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		ck_assert_uint_eq(strlen(line), strlen("2026-01-01T00:00:00.000Z notice ") + 100);
		lines++;
	}
	ck_assert_uint_eq(lines, 800);
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_log");
	TCase *t = tcase_create("base_log");

	tcase_add_checked_fixture(t, unit_setup, unit_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, log_writes_lines_to_its_file);
	tcase_add_test(t, log_reopens_after_rotation);
	tcase_add_test(t, log_is_bounded);
	tcase_add_test(t, log_goes_to_stderr_first);
	tcase_add_test(t, log_lines_of_threads_do_not_mix);
	suite_add_tcase(s, t);
	return unit_run(s);
}
