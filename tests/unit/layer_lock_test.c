/*
 * Tests of pg_probackup's shared lock: what stands in the two files, whose lines stay, who is
 * waited for, and what happens when the store cannot be written.
 */
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/lock.h"
#include "layer_check.h"
#include "layer_lock_util.h"
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned checks;

static int check(void *ctx, struct errmsg *e)
{
	const int *rc = ctx;
	struct stat st;

	checks++;
	/* The latch is held, the line not yet written. */
	if (rc == NULL)
		ck_assert_int_eq(fstatat(unit_dir, "backup.pid", &st, 0), 0);
	return rc != NULL && *rc < 0 ? errmsg_set(e, *rc, "checked") : 0;
}

static int share(pid_t pid, unsigned held_ms, unsigned empty_ms, struct errmsg *e, int *reason)
{
	struct lock_request request = {.pid = pid, .held_ms = held_ms, .empty_ms = empty_ms};

	e->text[0] = '\0';
	return lock_share(unit_dir, "X", &request, check, NULL, reason, e);
}

static void unshare(pid_t pid)
{
	struct lock_request request = {.pid = pid};

	lock_unshare(unit_dir, &request);
}

START_TEST(a_line_comes_and_goes)
{
	pid_t own = getpid();
	struct errmsg e;
	struct stat st;
	int reason = 0;

	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	ck_assert_str_eq(content("backup_ro.pid"), lines(&own, 1));
	ck_assert_int_eq(fstatat(unit_dir, "backup_ro.pid", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	ck_assert_str_eq(content("backup.pid"), "(none)");
	ck_assert_str_eq(content("backup_ro.pidtmp"), "(none)");
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
	ck_assert_str_eq(content("backup.pid"), "(none)");
}
END_TEST

START_TEST(lines_of_the_living_stay)
{
	pid_t own = getpid(), dead = dead_pid();
	pid_t before[] = {dead, child, own}, during[] = {child, own};
	struct errmsg e;
	int reason;

	make_file("backup_ro.pid", lines(before, 3), strlen(lines(before, 3)));
	make_file("backup_ro.pidtmp", "rubbish", 7);
	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	ck_assert_str_eq(content("backup_ro.pid"), lines(during, 2));
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), lines(&child, 1));
	/* Without a newline at the end, and nonsense between. */
	make_file("backup_ro.pid", "x\n-5\n\n1", 7);
	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	during[0] = 1;
	ck_assert_str_eq(content("backup_ro.pid"), lines(during, 2));
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), "1\n");
}
END_TEST

START_TEST(chains_of_one_process_share_its_line)
{
	pid_t own = getpid();
	struct errmsg e;
	int reason;

	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	ck_assert_int_eq(share(child, 0, 0, &e, &reason), 1);
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), lines((pid_t[]){own, child}, 2));
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), lines(&child, 1));
	unshare(own); /* once too often */
	unshare(child);
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
}
END_TEST

START_TEST(stale_latches_are_removed)
{
	static const char *const stale[] = {"0\n", "-7\n", "rubbish", "99999999999999999999\n"};
	pid_t own = getpid(), dead = dead_pid();
	struct errmsg e;
	int reason;

	for (unsigned i = 0; i < ARRAY_SIZE(stale); i++) {
		make_file("backup.pid", stale[i], strlen(stale[i]));
		ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
		unshare(own);
	}
	make_file("backup.pid", lines(&dead, 1), strlen(lines(&dead, 1)));
	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	unshare(own);
	/* Our own number, from a process that had it before. */
	make_file("backup.pid", lines(&own, 1), strlen(lines(&own, 1)));
	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	unshare(own);
	ck_assert_str_eq(content("backup.pid"), "(none)");
}
END_TEST

static unsigned elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned)((now.tv_sec - since->tv_sec) * 1000 +
			  (now.tv_nsec - since->tv_nsec) / 1000000);
}

START_TEST(a_living_holder_is_waited_for)
{
	struct timespec start;
	struct errmsg e;
	int reason;

	make_file("backup.pid", lines(&child, 1), strlen(lines(&child, 1)));
	checks = 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	ck_assert_int_eq(share(getpid(), 300, 0, &e, &reason), -EBUSY);
	ck_assert_uint_ge(elapsed_ms(&start), 300);
	ck_assert_msg(strstr(e.text, "backup X is locked by the process") != NULL, "%s", e.text);
	ck_assert_uint_eq(checks, 0);
	/* The latch is not ours to remove. */
	ck_assert_str_eq(content("backup.pid"), lines(&child, 1));
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
}
END_TEST

START_TEST(an_empty_latch_is_waited_for_on_its_own)
{
	struct timespec start;
	struct errmsg e;
	int reason;

	make_file("backup.pid", "", 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	ck_assert_int_eq(share(getpid(), 0, 300, &e, &reason), 1);
	ck_assert_uint_ge(elapsed_ms(&start), 300);
	unshare(getpid());
}
END_TEST

START_TEST(a_holder_that_goes_lets_us_in)
{
	pid_t other = fork();
	struct errmsg e;
	int reason;

	if (other == 0) {
		struct timespec t = {.tv_nsec = 400000000};

		nanosleep(&t, NULL);
		_exit(unlinkat(unit_dir, "backup.pid", 0) == 0 ? 0 : 1);
	}
	make_file("backup.pid", lines(&other, 1), strlen(lines(&other, 1)));
	ck_assert_int_eq(share(getpid(), 10000, 0, &e, &reason), 1);
	waitpid(other, NULL, 0);
	unshare(getpid());
}
END_TEST

START_TEST(a_failed_check_leaves_nothing)
{
	struct lock_request request = {.pid = getpid()};
	struct errmsg e = {""};
	int reason, rc = -ESTALE;

	ck_assert_int_eq(lock_share(unit_dir, "X", &request, check, &rc, &reason, &e), -ESTALE);
	ck_assert_str_eq(e.text, "checked");
	ck_assert_str_eq(content("backup.pid"), "(none)");
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
}
END_TEST

/* ---- a store that cannot be written ---- */

static struct {
	enum sys_call call;
	const char *path; /* NULL: any */
	int rc;
} fault;

static int before(void *ctx, const struct sys_event *event)
{
	bool hit = event->call == fault.call &&
		   (fault.path == NULL ||
		    (event->path != NULL && strcmp(event->path, fault.path) == 0));

	/* Reading is not what fails here. */
	if (event->call == SYS_CALL_OPEN && (event->flags & O_ACCMODE) == O_RDONLY)
		hit = false;
	return hit ? fault.rc : 0;
}

static const struct sys_hook hook = {.before = before};

START_TEST(an_unwritable_store_gives_no_lock_but_its_reason)
{
	const struct {
		enum sys_call call;
		const char *path;
		pid_t pid; /* our own: the latch becomes the file of the lines */
	} steps[] = {
		{SYS_CALL_OPEN, "backup.pid", getpid()}, {SYS_CALL_WRITE, NULL, getpid()},
		{SYS_CALL_RENAME, NULL, getpid()},	 {SYS_CALL_OPEN, "backup_ro.pidtmp", child},
		{SYS_CALL_RENAME, NULL, child},
	};
	static const int codes[] = {-EROFS, -EACCES, -EPERM, -ENOSPC, -EDQUOT};
	int quiet = 0;
	struct errmsg e = {""};

	sys_set_hook(&hook);
	for (unsigned i = 0; i < ARRAY_SIZE(steps) * ARRAY_SIZE(codes); i++) {
		struct lock_request request = {.pid = steps[i / ARRAY_SIZE(codes)].pid};
		int reason = 0;

		fault.call = steps[i / ARRAY_SIZE(codes)].call;
		fault.path = steps[i / ARRAY_SIZE(codes)].path;
		fault.rc = codes[i % ARRAY_SIZE(codes)];
		checks = 0;
		ck_assert_int_eq(lock_share(unit_dir, "X", &request, check, &quiet, &reason, &e),
				 0);
		ck_assert_int_eq(reason, -fault.rc);
		ck_assert_uint_eq(checks, 1);
		ck_assert_str_eq(e.text, "");
		ck_assert_str_eq(content("backup.pid"), "(none)");
		ck_assert_str_eq(content("backup_ro.pid"), "(none)");
		ck_assert_str_eq(content("backup_ro.pidtmp"), "(none)");
	}
}
END_TEST

START_TEST(other_errors_are_errors)
{
	struct errmsg e;
	int reason;

	sys_set_hook(&hook);
	fault.call = SYS_CALL_OPEN;
	fault.path = "backup.pid";
	fault.rc = -EIO;
	ck_assert_int_eq(share(getpid(), 0, 0, &e, &reason), -EIO);
	ck_assert_ptr_nonnull(strstr(e.text, "backup.pid"));
	fault.path = "backup_ro.pidtmp";
	ck_assert_int_eq(share(child, 0, 0, &e, &reason), -EIO);
	ck_assert_ptr_nonnull(strstr(e.text, "backup_ro.pid"));
	fault.call = SYS_CALL_RENAME;
	fault.path = NULL;
	ck_assert_int_eq(share(getpid(), 0, 0, &e, &reason), -EIO);
	ck_assert_ptr_nonnull(strstr(e.text, "backup_ro.pid"));
	ck_assert_str_eq(content("backup.pid"), "(none)");
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
}
END_TEST

START_TEST(a_line_that_cannot_be_removed_stays)
{
	pid_t own = getpid();
	struct errmsg e;
	int reason;

	ck_assert_int_eq(share(own, 0, 0, &e, &reason), 1);
	make_file("backup.pid", lines(&child, 1), strlen(lines(&child, 1)));
	unshare(own);
	ck_assert_str_eq(content("backup_ro.pid"), lines(&own, 1));
	ck_assert_str_eq(content("backup.pid"), lines(&child, 1));
}
END_TEST

START_TEST(too_many_readers)
{
	char text[8000];
	struct errmsg e;
	size_t len = 0;
	int reason;

	while (len < 7898)
		len += (size_t)sprintf(text + len, "%d\n", 1);
	make_file("backup_ro.pid", text, len);
	ck_assert_int_eq(share(getpid(), 0, 0, &e, &reason), -EUSERS);
	make_file("backup_ro.pid", text, 8000);
	ck_assert_int_eq(share(getpid(), 0, 0, &e, &reason), -EFBIG);
	ck_assert_str_eq(content("backup.pid"), "(none)");
}
END_TEST

/* ---- whole chains ---- */

static void chain_of_two(void)
{
	struct made_backup b;

	make_full("aaa");
	make_cluster(&b, MIDDLE);
	make_data_unchanged(&b, REL, 3);
	make_end(&b, "DELTA", FULL, "OK", NULL);
}

static int open_locked(const char *backup, pid_t pid)
{
	message.text[0] = '\0';
	if (store == NULL)
		ck_assert_int_eq(store_open(unit_path, &message, &store), 0);
	return store->driver->open_chain(store, "main", backup, pid, &message, &chain);
}

#define RO(id) "backups/main/" id "/backup_ro.pid"

START_TEST(every_member_is_locked)
{
	pid_t own = getpid();
	struct layer_chain *second;

	chain_of_two();
	ck_assert_int_eq(open_locked(MIDDLE, own), 0);
	ck_assert_str_eq(content(RO(FULL)), lines(&own, 1));
	ck_assert_str_eq(content(RO(MIDDLE)), lines(&own, 1));
	second = chain;
	ck_assert_int_eq(open_locked(FULL, own), 0);
	store->driver->close_chain(second);
	ck_assert_str_eq(content(RO(MIDDLE)), "(none)");
	ck_assert_str_eq(content(RO(FULL)), lines(&own, 1));
	store->driver->close_chain(chain);
	chain = NULL;
	ck_assert_str_eq(content(RO(FULL)), "(none)");
	ck_assert_int_eq(open_locked(MIDDLE, 0), 0);
	ck_assert_str_eq(content(RO(FULL)), "(none)");
}
END_TEST

START_TEST(a_failed_opening_gives_all_locks_back)
{
	chain_of_two();
	make_file("backups/main/" MIDDLE "/backup_content.control", "", 0);
	ck_assert_int_eq(open_locked(MIDDLE, getpid()), -EBADMSG);
	ck_assert_str_eq(content(RO(FULL)), "(none)");
	ck_assert_str_eq(content(RO(MIDDLE)), "(none)");
}
END_TEST

static unsigned controls_read;

/* Lets the second reading of the FULL's backup.control find a merge that began in between. */
static void after(void *ctx, const struct sys_event *event, int64_t result)
{
	struct made_backup b;

	if (event->call != SYS_CALL_OPEN || strcmp(event->path, "backup.pid") != 0 ||
	    controls_read++ > 0)
		return;
	make_cluster(&b, FULL);
	make_end(&b, "FULL", NULL, "MERGING", NULL);
}

static const struct sys_hook merge_hook = {.after = after};

START_TEST(the_status_is_read_again_under_the_latch)
{
	chain_of_two();
	sys_set_hook(&merge_hook);
	ck_assert_int_eq(open_locked(MIDDLE, getpid()), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(message.text, "status MERGING"));
	ck_assert_str_eq(content(RO(FULL)), "(none)");
	ck_assert_str_eq(content("backups/main/" FULL "/backup.pid"), "(none)");
}
END_TEST

START_TEST(an_unwritable_store_is_opened_with_a_warning)
{
	chain_of_two();
	fault.call = SYS_CALL_OPEN;
	fault.path = "backup.pid";
	fault.rc = -EROFS;
	sys_set_hook(&hook);
	ck_assert_int_eq(open_locked(MIDDLE, getpid()), 0);
	ck_assert_ptr_nonnull(
		strstr(chain->warnings, "the store cannot be written (Read-only file system)"));
	ck_assert_str_eq(blocks_of(REL), "aaa");
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, a_line_comes_and_goes);
	tcase_add_test(t, lines_of_the_living_stay);
	tcase_add_test(t, chains_of_one_process_share_its_line);
	tcase_add_test(t, stale_latches_are_removed);
	tcase_add_test(t, a_living_holder_is_waited_for);
	tcase_add_test(t, an_empty_latch_is_waited_for_on_its_own);
	tcase_add_test(t, a_holder_that_goes_lets_us_in);
	tcase_add_test(t, a_failed_check_leaves_nothing);
	tcase_add_test(t, an_unwritable_store_gives_no_lock_but_its_reason);
	tcase_add_test(t, other_errors_are_errors);
	tcase_add_test(t, a_line_that_cannot_be_removed_stays);
	tcase_add_test(t, too_many_readers);
	tcase_add_test(t, every_member_is_locked);
	tcase_add_test(t, a_failed_opening_gives_all_locks_back);
	tcase_add_test(t, the_status_is_read_again_under_the_latch);
	tcase_add_test(t, an_unwritable_store_is_opened_with_a_warning);
}

int main(void)
{
	Suite *s = suite_create("layer_lock");
	TCase *t = tcase_create("lock");

	tcase_add_checked_fixture(t, lock_setup, lock_teardown);
	tcase_set_timeout(t, 30);
	add_tests(t);
	suite_add_tcase(s, t);
	return unit_run(s);
}
