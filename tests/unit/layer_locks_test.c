/*
 * Locks that several want at a time, and those of a whole chain, which are links of one file.
 */
#include "base/parallel.h"
#include "base/sys.h"
#include "base/util.h"
#include "layer/probackup/lock.h"
#include "layer_check.h"
#include "layer_lock_util.h"
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int check(void *ctx, struct errmsg *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

static int refuse_links(void *ctx, const struct sys_event *event)
{
	(void)ctx;
	return event->call == SYS_CALL_LINK ? -EPERM : 0;
}

static const struct sys_hook hook = {.before = refuse_links};

/* ---- several at a time ---- */

enum { ROUNDS = 60, TAKERS = 2 };

struct race {
	_Atomic unsigned ready, done, failed, without_line;
};

static void take_in_race(struct race *race)
{
	pid_t own = getpid();
	struct lock_request request = {.pid = own, .held_ms = 5000, .empty_ms = 5000};
	struct errmsg e;
	int reason, rc;

	race->ready++;
	while (race->ready < TAKERS)
		;
	rc = lock_share(unit_dir, "X", &request, check, NULL, &reason, &e);
	race->failed += rc != 1;
	race->done++;
	while (race->done < TAKERS) /* it stays while its process lives */
		(void)usleep(100);
	if (rc == 1 && strstr(content("backup_ro.pid"), lines(&own, 1)) == NULL)
		race->without_line++;
	_exit(0);
}

/* Of two who remove a stale latch one must not remove the latch that the other has made since. */
START_TEST(each_of_many_has_a_line)
{
	struct race *race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t dead = dead_pid();

	ck_assert(race != MAP_FAILED);
	for (unsigned n = 0; n < ROUNDS; n++) {
		race->ready = race->done = 0;
		(void)unlinkat(unit_dir, "backup_ro.pid", 0);
		make_file("backup.pid", lines(&dead, 1), strlen(lines(&dead, 1)));
		for (unsigned i = 0; i < TAKERS; i++) {
			if (fork() == 0)
				take_in_race(race);
		}
		for (unsigned i = 0; i < TAKERS; i++)
			(void)wait(NULL);
	}
	ck_assert_uint_eq(race->failed, 0);
	ck_assert_uint_eq(race->without_line, 0);
	ck_assert_str_eq(content("backup.pid"), "(none)");
	(void)munmap(race, sizeof(*race));
}
END_TEST

/* ---- threads of one process ---- */

enum { THREADS = 3, TURNS = 200 };

static _Atomic unsigned without_lock, without_own_line;

/* While it has its lock the line is there, whatever the other threads do with theirs. */
static void *take_turns(void *arg)
{
	struct lock_request request = {.pid = getpid(), .held_ms = 5000, .empty_ms = 5000};

	(void)arg;
	for (unsigned n = 0; n < TURNS; n++) {
		struct errmsg e;
		struct stat st;
		int reason;

		if (lock_share(unit_dir, "X", &request, check, NULL, &reason, &e) != 1) {
			without_lock++;
			continue;
		}
		without_own_line += fstatat(unit_dir, "backup_ro.pid", &st, 0) < 0;
		lock_unshare(unit_dir, &request);
	}
	return NULL;
}

START_TEST(threads_of_one_process_take_turns)
{
	pthread_t threads[THREADS];

	without_lock = without_own_line = 0;
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(thread_start(&threads[i], take_turns, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	ck_assert_uint_eq(without_lock, 0);
	ck_assert_uint_eq(without_own_line, 0);
	ck_assert_str_eq(content("backup_ro.pid"), "(none)");
	ck_assert_str_eq(content("backup.pid"), "(none)");
}
END_TEST

/* ---- the locks of a chain ---- */

static int member_dirs[3];

static void make_members(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++) {
		char name[] = {'m', (char)('0' + i), '\0'};

		ck_assert_int_eq(sys_mkdirat(unit_dir, name, 0700), 0);
		member_dirs[i] = sys_openat(unit_dir, name, O_RDONLY | O_DIRECTORY, 0);
		ck_assert_int_ge(member_dirs[i], 0);
	}
}

static void share_members(struct lock_request *request)
{
	int line_fd = -1;

	request->line_fd = &line_fd;
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++) {
		struct errmsg e;
		int reason;

		ck_assert_int_eq(lock_share(member_dirs[i], "X", request, check, NULL, &reason, &e),
				 1);
	}
	request->line_fd = NULL;
	ck_assert_int_ge(line_fd, 0);
	sys_close(line_fd);
}

static nlink_t assert_line(unsigned member, pid_t pid)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	size_t len;

	ck_assert_int_eq(sys_fstatat(member_dirs[member], "backup.pid", &st, 0), -ENOENT);
	ck_assert_int_eq(sys_read_file(member_dirs[member], "backup_ro.pid", 64, &data, &len), 0);
	ck_assert_str_eq(data, lines(&pid, 1));
	ck_assert_int_eq(sys_fstatat(member_dirs[member], "backup_ro.pid", &st, 0), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	return st.st_nlink;
}

static void assert_no_line(unsigned member)
{
	struct stat st;

	ck_assert_int_eq(sys_fstatat(member_dirs[member], "backup_ro.pid", &st, 0), -ENOENT);
	ck_assert_int_eq(sys_fstatat(member_dirs[member], "backup.pid", &st, 0), -ENOENT);
}

static void close_members(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++)
		sys_close(member_dirs[i]);
}

/* What another process does with its line in one of them does not change the others. */
START_TEST(a_chain_has_one_file)
{
	struct lock_request own = {.pid = getpid()}, other = {.pid = child};
	struct errmsg e;
	int reason;

	make_members();
	share_members(&own);
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++)
		ck_assert_uint_eq(assert_line(i, getpid()), ARRAY_SIZE(member_dirs));
	ck_assert_int_eq(lock_share(member_dirs[0], "X", &other, check, NULL, &reason, &e), 1);
	ck_assert_uint_eq(assert_line(1, getpid()), 2);
	lock_unshare(member_dirs[0], &own);
	ck_assert_uint_eq(assert_line(0, child), 1);
	ck_assert_uint_eq(assert_line(2, getpid()), 2);
	lock_unshare(member_dirs[1], &own);
	lock_unshare(member_dirs[2], &own);
	lock_unshare(member_dirs[0], &other);
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++)
		assert_no_line(i);
	close_members();
}
END_TEST

/* On a file system without them, or when /proc is not there. */
START_TEST(without_links_each_has_its_own)
{
	struct lock_request own = {.pid = getpid()};

	make_members();
	sys_set_hook(&hook);
	share_members(&own);
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++)
		ck_assert_uint_eq(assert_line(i, getpid()), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(member_dirs); i++) {
		lock_unshare(member_dirs[i], &own);
		assert_no_line(i);
	}
	close_members();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layer_locks");
	TCase *t = tcase_create("locks");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, lock_setup, lock_teardown);
	tcase_add_test(t, each_of_many_has_a_line);
	tcase_add_test(t, threads_of_one_process_take_turns);
	tcase_add_test(t, a_chain_has_one_file);
	tcase_add_test(t, without_links_each_has_its_own);
	suite_add_tcase(s, t);
	return unit_run(s);
}
